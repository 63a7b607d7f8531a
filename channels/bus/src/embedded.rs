//! The embedded bus: one process, a bounded queue for each subscriber and for each shard.

mod shards;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ark_conversation::{ConversationId, LiveEvent, Record};
use tokio::sync::Notify;

use crate::limits::{SUBSCRIBERS_MAX, SUBSCRIPTION_RECORDS};
use crate::live::Live;
use crate::{
    Answer, Bus, BusError, BusHealth, DeadLetter, Feed, Filter, Ingress, Missed, Overheard, Receipt, Shard,
    Subscription, WakeUp, Which,
};
use shards::Shards;

/// Shards of a bus that nobody told otherwise.
const SHARDS: u16 = 64;

/// The bus of a single gateway. Publishing never waits: a subscriber that does not keep up is told how much it missed.
///
/// Nothing of it outlives the process: committed records are in the store, and so is every inbox that a wake-up is for.
#[derive(Default)]
pub struct EmbeddedBus {
    inner: Arc<Inner>,
    shards: Shards,
    live: Live,
}

#[derive(Default)]
struct Inner {
    subscribers: Mutex<Subscribers>,
    published: AtomicU64,
    lagged: AtomicU64,
}

/// Subscribers by the conversation that they want, so that a publish looks at those of its conversation and at the
/// tails only.
#[derive(Default)]
struct Subscribers {
    of_one: HashMap<ConversationId, Vec<Arc<Queue>>>,
    of_all: Vec<Arc<Queue>>,
    count: usize,
    closed: bool,
}

/// What is kept for one subscriber.
struct Queue {
    filter: Filter,
    kept: Mutex<Kept>,
    wake: Notify,
}

#[derive(Default)]
struct Kept {
    records: VecDeque<Arc<Record>>,
    /// Records after the kept ones that were not kept.
    missed: u64,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these; if it did, a queue is whole after each push.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EmbeddedBus {
    /// An empty bus.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty bus with that many shards, at least one.
    #[must_use]
    pub fn with_shards(shards: u16) -> Self {
        Self { inner: Arc::default(), shards: Shards::new(shards.max(1)), live: Live::default() }
    }

    /// Ends every subscription after what was published before; later calls answer [`BusError::Closed`].
    pub fn close(&self) {
        self.shards.close();
        self.live.close();
        let mut subscribers = lock(&self.inner.subscribers);
        subscribers.closed = true;
        for queue in subscribers.of_all.iter().chain(subscribers.of_one.values().flatten()) {
            lock(&queue.kept).closed = true;
            queue.wake.notify_one();
        }
    }

    pub(crate) fn publish_now(&self, records: &[Arc<Record>]) -> Result<(), BusError> {
        let subscribers = lock(&self.inner.subscribers);
        if subscribers.closed {
            return Err(BusError::Closed);
        }
        self.inner.published.fetch_add(records.len() as u64, Ordering::Relaxed);
        let mut lagged = 0;
        for record in records {
            let of_one = subscribers.of_one.get(&record.conversation).into_iter().flatten();
            for queue in of_one.chain(&subscribers.of_all).filter(|queue| queue.filter.wants(record)) {
                lagged += u64::from(!queue.offer(record));
            }
        }
        self.inner.lagged.fetch_add(lagged, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn subscribe_now(&self, filter: Filter) -> Result<Subscription, BusError> {
        let mut subscribers = lock(&self.inner.subscribers);
        if subscribers.closed {
            return Err(BusError::Closed);
        }
        if subscribers.count >= SUBSCRIBERS_MAX {
            return Err(BusError::TooManySubscribers { subscribers: subscribers.count });
        }
        let queue = Arc::new(Queue { filter, kept: Mutex::default(), wake: Notify::new() });
        match queue.filter.conversation {
            Some(conversation) => subscribers.of_one.entry(conversation).or_default().push(Arc::clone(&queue)),
            None => subscribers.of_all.push(Arc::clone(&queue)),
        }
        subscribers.count += 1;
        Ok(Subscription::new(EmbeddedFeed { queue, bus: Arc::downgrade(&self.inner) }))
    }
}

/// What a carrier over the network needs of it: its own readers are subscribers here.
impl EmbeddedBus {
    /// Tells the subscribers of a shard among `count` (none: all of them) that they may have missed something.
    pub(crate) fn tell_of_a_hole(&self, shard: Option<Shard>, count: u16) {
        let subscribers = lock(&self.inner.subscribers);
        let of_one = subscribers
            .of_one
            .iter()
            .filter(|(conversation, _)| shard.is_none_or(|shard| Shard::of(**conversation, count) == shard));
        let mut told = 0;
        for queue in of_one.flat_map(|(_, queues)| queues).chain(&subscribers.of_all) {
            lock(&queue.kept).missed += 1;
            queue.wake.notify_one();
            told += 1;
        }
        self.inner.lagged.fetch_add(told, Ordering::Relaxed);
    }

    /// The live road here.
    pub(crate) const fn live(&self) -> &Live {
        &self.live
    }

    /// Counters: subscribers, records handed over, records missed.
    pub(crate) fn counters(&self) -> (usize, u64, u64) {
        let count = lock(&self.inner.subscribers).count;
        (count, self.inner.published.load(Ordering::Relaxed), self.inner.lagged.load(Ordering::Relaxed))
    }
}

impl Drop for EmbeddedBus {
    fn drop(&mut self) {
        self.close();
    }
}

impl Bus for EmbeddedBus {
    fn carry(&self, records: Vec<Arc<Record>>) -> Result<Receipt, BusError> {
        self.publish_now(&records).map(|()| Receipt::done())
    }

    fn wake(&self, wake_up: WakeUp) -> Result<Receipt, BusError> {
        self.shards.wake(wake_up).map(|()| Receipt::done())
    }

    fn subscribe(&self, filter: Filter) -> Answer<'_, Result<Subscription, BusError>> {
        let subscription = self.subscribe_now(filter);
        Box::pin(std::future::ready(subscription))
    }

    fn ingress(&self, shards: Vec<Shard>) -> Result<Ingress, BusError> {
        self.shards.read(shards).map(Ingress::new)
    }

    fn announce(&self, events: Vec<LiveEvent>) {
        self.live.announce(events.into_iter().map(Arc::new));
    }

    fn overhear(&self) -> Result<Overheard, BusError> {
        self.live.overhear()
    }

    fn shards(&self) -> u16 {
        self.shards.count()
    }

    fn dead(&self, limit: usize) -> Answer<'_, Result<Vec<DeadLetter>, BusError>> {
        let dead = self.shards.dead(limit);
        Box::pin(std::future::ready(Ok(dead)))
    }

    fn replay(&self, which: Which) -> Answer<'_, Result<usize, BusError>> {
        let replayed = self.shards.replay(&which);
        Box::pin(std::future::ready(Ok(replayed)))
    }

    fn health(&self) -> Answer<'_, BusHealth> {
        let closed = lock(&self.inner.subscribers).closed;
        let (subscribers, published, lagged) = self.counters();
        let failing = closed.then(|| BusError::Closed.to_string());
        let (waiting, announced) = (self.shards.waiting(), self.live.announced());
        let health = BusHealth { failing, subscribers, published, lagged, waiting, announced, ..BusHealth::default() };
        Box::pin(std::future::ready(health))
    }
}

impl Queue {
    /// Keeps a record for the reader; false when there is no room, or when the reader has yet to hear of a hole
    /// before it.
    fn offer(&self, record: &Arc<Record>) -> bool {
        let mut kept = lock(&self.kept);
        // After a hole nothing is kept until the reader knows of it: the hole is told at its place.
        let fits = kept.missed == 0 && kept.records.len() < SUBSCRIPTION_RECORDS;
        if fits {
            kept.records.push_back(Arc::clone(record));
        } else {
            kept.missed += 1;
        }
        drop(kept);
        self.wake.notify_one();
        fits
    }

    fn take(&self) -> Option<Result<Arc<Record>, Missed>> {
        let mut kept = lock(&self.kept);
        if let Some(record) = kept.records.pop_front() {
            return Some(Ok(record));
        }
        match std::mem::take(&mut kept.missed) {
            0 if kept.closed => Some(Err(Missed::Closed)),
            0 => None,
            missed => Some(Err(Missed::Lagged { missed })),
        }
    }
}

struct EmbeddedFeed {
    queue: Arc<Queue>,
    bus: Weak<Inner>,
}

impl Feed for EmbeddedFeed {
    fn next(&mut self) -> Answer<'_, Result<Arc<Record>, Missed>> {
        Box::pin(async move {
            loop {
                if let Some(taken) = self.queue.take() {
                    return taken;
                }
                // One reader: a wake-up between `take` and here is kept by `notify_one`.
                self.queue.wake.notified().await;
            }
        })
    }

    fn try_next(&mut self) -> Option<Result<Arc<Record>, Missed>> {
        self.queue.take()
    }
}

impl Drop for EmbeddedFeed {
    fn drop(&mut self) {
        let Some(bus) = self.bus.upgrade() else { return };
        let mut subscribers = lock(&bus.subscribers);
        let is_this = |queue: &Arc<Queue>| Arc::ptr_eq(queue, &self.queue);
        match self.queue.filter.conversation {
            Some(conversation) => {
                if let Some(queues) = subscribers.of_one.get_mut(&conversation) {
                    queues.retain(|queue| !is_this(queue));
                    if queues.is_empty() {
                        subscribers.of_one.remove(&conversation);
                    }
                }
            }
            None => subscribers.of_all.retain(|queue| !is_this(queue)),
        }
        subscribers.count -= 1;
    }
}
