//! Which shards this gateway has the lease of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ark_conversation::ConversationId;
use ark_store::{Fence, Topology};
use tokio::sync::watch;

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
    /// Under which leases; none of a gateway that is alone.
    fences: Mutex<HashMap<u16, Fence>>,
    alone: bool,
    changed: watch::Sender<u64>,
}

/// By what right a gateway writes for a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// Nobody else can: the gateway is alone with its store.
    Alone,
    /// Under this lease.
    Lease(Fence),
}

impl Right {
    /// The lease, for [`ark_store::Commit::fence`].
    #[must_use]
    pub fn fence(&self) -> Option<&Fence> {
        match self {
            Self::Alone => None,
            Self::Lease(fence) => Some(fence),
        }
    }
}

impl OwnShards {
    /// None is held yet.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        let held = (0..topology.shards).map(|_| AtomicBool::new(false)).collect();
        let (fences, changed) = (Mutex::default(), watch::Sender::new(0));
        Self { topology, held, count: AtomicUsize::new(0), fences, alone: false, changed }
    }

    /// All of them, without leases: of a gateway that is alone with its store.
    #[must_use]
    pub fn alone(topology: Topology) -> Self {
        let own = Self { alone: true, ..Self::new(topology) };
        (0..topology.shards).for_each(|shard| own.set(shard, true));
        own
    }

    /// A lease was taken.
    pub fn hold(&self, fence: Fence) {
        let shard = fence.shard;
        self.fences.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, fence);
        self.set(shard, true);
    }

    /// By what right this gateway writes for a shard; none: it does not.
    #[must_use]
    pub fn right(&self, shard: u16) -> Option<Right> {
        if !self.holds(shard) {
            return None;
        }
        if self.alone {
            return Some(Right::Alone);
        }
        self.fences.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned().map(Right::Lease)
    }

    /// How often a shard was taken or has gone.
    #[must_use]
    pub fn changes(&self) -> u64 {
        *self.changed.borrow()
    }

    /// Tells whenever a shard was taken or has gone.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
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

    /// A shard is this gateway's, or has gone; one that comes with a lease by [`OwnShards::hold`].
    pub fn set(&self, shard: u16, held: bool) {
        let Some(place) = self.held.get(usize::from(shard)) else { return };
        if !held {
            self.fences.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
        }
        match (place.swap(held, Ordering::Relaxed), held) {
            (false, true) => _ = self.count.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = self.count.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
        // Last: whoever is told looks at what is held now.
        self.changed.send_modify(|times| *times += 1);
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
    fn a_right_is_the_lease_that_was_taken_and_goes_with_it() {
        let own = OwnShards::new(Topology::FIRST);
        let changed = own.changed();
        assert_eq!(own.right(7), None);
        let fence = Fence { shard: 7, gateway: "gw1".to_owned(), number: 3 };
        own.hold(fence.clone());
        assert!(changed.has_changed().unwrap());
        assert_eq!(own.right(7).as_ref().and_then(Right::fence), Some(&fence));
        own.set(7, false);
        assert_eq!((own.right(7), OwnShards::alone(Topology::FIRST).right(63)), (None, Some(Right::Alone)));
    }

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
