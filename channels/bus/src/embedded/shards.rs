//! Wake-ups inside one process: a bounded queue for each shard, one active reader at a time, dead letters.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::limits::{DELIVERY_LIMIT, EMBEDDED_DEAD_LETTERS, EMBEDDED_SHARD_WAKE_UPS, PREFETCH};
use crate::{Answer, BusError, DeadLetter, Delivery, IngressFeed, Settle, Shard, Verdict, WakeUp, Which};

/// All shards of one bus.
pub(super) struct Shards {
    count: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    shards: Vec<ShardQueue>,
    dead: VecDeque<Dead>,
    /// Number of the next wake-up, and of the next reader.
    next: u64,
    closed: bool,
}

#[derive(Default)]
struct ShardQueue {
    /// By the order in which they came: what is given back goes to its old place.
    waiting: BTreeMap<u64, Item>,
    held: BTreeMap<u64, Held>,
    /// The first one is active.
    readers: VecDeque<(u64, Arc<Notify>)>,
}

struct Item {
    wake_up: WakeUp,
    deliveries: u32,
}

struct Held {
    item: Item,
    reader: u64,
}

struct Dead {
    letter: DeadLetter,
    wake_up: WakeUp,
    shard: Shard,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every change below is whole before anything could panic.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Shards {
    fn default() -> Self {
        Self::new(super::SHARDS)
    }
}

impl Shards {
    pub(super) fn new(count: u16) -> Self {
        let shards = (0..count).map(|_| ShardQueue::default()).collect();
        let state = State { shards, dead: VecDeque::new(), next: 1, closed: false };
        Self { count, state: Arc::new(Mutex::new(state)) }
    }

    pub(super) const fn count(&self) -> u16 {
        self.count
    }

    pub(super) fn wake(&self, wake_up: WakeUp) -> Result<(), BusError> {
        let shard = Shard::of(wake_up.conversation, self.count);
        let mut state = lock(&self.state);
        if state.closed {
            return Err(BusError::Closed);
        }
        let number = state.number();
        let Some(queue) = state.shards.get_mut(usize::from(shard.0)) else {
            return Err(BusError::NoSuchShard { shard, shards: self.count });
        };
        if queue.waiting.len() + queue.held.len() >= EMBEDDED_SHARD_WAKE_UPS {
            return Err(BusError::ShardFull { shard });
        }
        queue.waiting.insert(number, Item { wake_up, deliveries: 0 });
        queue.rouse();
        Ok(())
    }

    pub(super) fn read(&self, shards: Vec<Shard>) -> Result<EmbeddedIngress, BusError> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(BusError::Closed);
        }
        if let Some(&shard) = shards.iter().find(|shard| shard.0 >= self.count) {
            return Err(BusError::NoSuchShard { shard, shards: self.count });
        }
        let (reader, wake) = (state.number(), Arc::new(Notify::new()));
        for shard in &shards {
            state.shards[usize::from(shard.0)].readers.push_back((reader, Arc::clone(&wake)));
        }
        Ok(EmbeddedIngress { state: Arc::clone(&self.state), shards, reader, wake, turn: 0 })
    }

    pub(super) fn dead(&self, limit: usize) -> Vec<DeadLetter> {
        lock(&self.state).dead.iter().take(limit).map(|dead| dead.letter.clone()).collect()
    }

    pub(super) fn replay(&self, which: &Which) -> usize {
        let mut state = lock(&self.state);
        let dead = std::mem::take(&mut state.dead);
        let meant = |dead: &Dead| match which {
            Which::All => true,
            Which::Id(id) => dead.letter.id == *id,
        };
        let (going, staying): (VecDeque<_>, VecDeque<_>) = dead.into_iter().partition(meant);
        state.dead = staying;
        let count = going.len();
        for Dead { wake_up, shard, .. } in going {
            let number = state.number();
            let queue = &mut state.shards[usize::from(shard.0)];
            queue.waiting.insert(number, Item { wake_up, deliveries: 0 });
            queue.rouse();
        }
        count
    }

    pub(super) fn waiting(&self) -> usize {
        lock(&self.state).shards.iter().map(|queue| queue.waiting.len() + queue.held.len()).sum()
    }

    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for queue in &state.shards {
            for (_, wake) in &queue.readers {
                wake.notify_one();
            }
        }
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Puts what a reader gave back to its place, or among the dead.
    fn give_back(&mut self, shard: Shard, number: u64, item: Item, park: bool) {
        let worn_out = item.deliveries > DELIVERY_LIMIT;
        if !park && !worn_out {
            let queue = &mut self.shards[usize::from(shard.0)];
            queue.waiting.insert(number, item);
            queue.rouse();
            return;
        }
        if self.dead.len() >= EMBEDDED_DEAD_LETTERS {
            self.dead.pop_front();
        }
        let body = serde_json::to_vec(&item.wake_up).unwrap_or_default();
        let letter = DeadLetter {
            id: item.wake_up.id.clone(),
            queue: shard.to_string(),
            reason: if park { "rejected" } else { "delivery_limit" }.to_owned(),
            conversation: Some(item.wake_up.conversation.to_string()),
            at: Timestamp::from_second(Timestamp::now().as_second()).ok(),
            bytes: body.len(),
            body,
        };
        tracing::warn!(?letter, "a wake-up was parked");
        self.dead.push_back(Dead { letter, wake_up: item.wake_up, shard });
    }
}

impl ShardQueue {
    fn rouse(&self) {
        if let Some((_, wake)) = self.readers.front() {
            wake.notify_one();
        }
    }

    /// The next one for a reader, when it is the active one and has room.
    fn take(&mut self, reader: u64) -> Option<(u64, WakeUp, u32)> {
        let active = self.readers.front().is_some_and(|(first, _)| *first == reader);
        if !active || self.held.len() >= usize::from(PREFETCH) {
            return None;
        }
        let (number, mut item) = self.waiting.pop_first()?;
        item.deliveries += 1;
        let taken = (number, item.wake_up.clone(), item.deliveries);
        self.held.insert(number, Held { item, reader });
        Some(taken)
    }
}

/// A reader of some shards.
pub(super) struct EmbeddedIngress {
    state: Arc<Mutex<State>>,
    shards: Vec<Shard>,
    reader: u64,
    wake: Arc<Notify>,
    /// Where the last delivery came from: the shards take turns.
    turn: usize,
}

impl EmbeddedIngress {
    /// `Err`: the bus is closed.
    fn take(&mut self) -> Result<Option<Delivery>, ()> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(());
        }
        for step in 1..=self.shards.len() {
            let at = (self.turn + step) % self.shards.len();
            let shard = self.shards[at];
            if let Some((number, wake_up, deliveries)) = state.shards[usize::from(shard.0)].take(self.reader) {
                self.turn = at;
                let settle = EmbeddedSettle { state: Arc::downgrade(&self.state), shard, number, reader: self.reader };
                return Ok(Some(Delivery::new(wake_up, shard, deliveries, Box::new(settle))));
            }
        }
        Ok(None)
    }
}

impl IngressFeed for EmbeddedIngress {
    fn next(&mut self) -> Answer<'_, Option<Delivery>> {
        Box::pin(async move {
            loop {
                match self.take() {
                    Err(()) => return None,
                    Ok(Some(delivery)) => return Some(delivery),
                    // One reader: a wake-up between `take` and here is kept by `notify_one`.
                    Ok(None) => self.wake.notified().await,
                }
            }
        })
    }
}

impl Drop for EmbeddedIngress {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        for &shard in &self.shards {
            let queue = &mut state.shards[usize::from(shard.0)];
            queue.readers.retain(|(reader, _)| *reader != self.reader);
            let mine: Vec<u64> =
                queue.held.iter().filter(|(_, held)| held.reader == self.reader).map(|(number, _)| *number).collect();
            for number in mine {
                if let Some(held) = state.shards[usize::from(shard.0)].held.remove(&number) {
                    state.give_back(shard, number, held.item, false);
                }
            }
            state.shards[usize::from(shard.0)].rouse();
        }
    }
}

struct EmbeddedSettle {
    state: Weak<Mutex<State>>,
    shard: Shard,
    number: u64,
    reader: u64,
}

impl EmbeddedSettle {
    fn settle_now(&self, verdict: Verdict) -> bool {
        let Some(state) = self.state.upgrade() else { return false };
        let mut state = lock(&state);
        let queue = &mut state.shards[usize::from(self.shard.0)];
        if queue.held.get(&self.number).is_none_or(|held| held.reader != self.reader) {
            return false;
        }
        let Some(held) = queue.held.remove(&self.number) else { return false };
        queue.rouse();
        if verdict != Verdict::Ack {
            state.give_back(self.shard, self.number, held.item, verdict == Verdict::Park);
        }
        true
    }
}

impl Settle for EmbeddedSettle {
    fn settle(self: Box<Self>, verdict: Verdict) -> Answer<'static, bool> {
        let settled = self.settle_now(verdict);
        Box::pin(std::future::ready(settled))
    }
}
