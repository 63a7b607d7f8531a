//! Which shards this gateway has the lease of.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ark_conversation::ConversationId;
use ark_store::Topology;

/// How often a conversation's id is drawn anew to fall in a shard of this gateway's: with one shard of 64 it succeeds all but
/// once in ten million.
const DRAWS: usize = 1_024;

/// The shards whose lease this gateway has, shared by who keeps the leases, the relay, and whoever draws a conversation's id.
///
/// It decides nothing (fences in the store do): an id in a shard of one's own is carried by one's own relay, at once; in
/// another's shard its events wait until that gateway looks.
#[derive(Debug)]
pub struct OwnShards {
    topology: Topology,
    held: Vec<AtomicBool>,
    count: AtomicUsize,
}

impl OwnShards {
    /// None is held yet.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        let held = (0..topology.shards).map(|_| AtomicBool::new(false)).collect();
        Self { topology, held, count: AtomicUsize::new(0) }
    }

    /// How many shards there are.
    #[must_use]
    pub const fn topology(&self) -> Topology {
        self.topology
    }

    /// How many are held.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Those that are held, in order.
    #[must_use]
    pub fn held(&self) -> Vec<u16> {
        (0..).zip(&self.held).filter(|(_, held)| held.load(Ordering::Relaxed)).map(|(shard, _)| shard).collect()
    }

    /// Whether this one is held.
    #[must_use]
    pub fn holds(&self, shard: u16) -> bool {
        self.held.get(usize::from(shard)).is_some_and(|held| held.load(Ordering::Relaxed))
    }

    /// A lease was taken, or has gone.
    pub fn set(&self, shard: u16, held: bool) {
        let Some(place) = self.held.get(usize::from(shard)) else { return };
        match (place.swap(held, Ordering::Relaxed), held) {
            (false, true) => _ = self.count.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = self.count.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Draws ids until one falls in a shard that is held; any, while none is.
    pub fn draw(&self, mut draw: impl FnMut() -> ConversationId) -> ConversationId {
        let mut id = draw();
        for _ in 0..DRAWS {
            let shard = usize::from(self.topology.shard(id));
            if self.count() == 0 || self.held.get(shard).is_some_and(|held| held.load(Ordering::Relaxed)) {
                break;
            }
            id = draw();
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_falls_in_a_shard_that_is_held() {
        let own = OwnShards::new(Topology::FIRST);
        let mut random = 0;
        let mut draw = || {
            random += 1;
            ConversationId::new(5, random)
        };
        own.draw(&mut draw);
        own.set(7, true);
        own.set(7, true);
        own.set(64, true);
        assert_eq!((own.count(), own.held()), (1, vec![7]));
        for _ in 0..50 {
            assert_eq!(Topology::FIRST.shard(own.draw(&mut draw)), 7);
        }
        own.set(7, false);
        assert_eq!((own.count(), own.held()), (0, vec![]));
    }
}
