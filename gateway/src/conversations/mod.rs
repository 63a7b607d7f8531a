//! The road of events from the switch to the log, and from the log to whoever follows it.
//!
//! The switch never waits: it pushes into a bounded queue ([`LogSink`]). One writer appends to the store; only then what was
//! committed goes on ([`Onward`]): to the embedded bus at once, to a broker by the outbox and its relay. While the store is
//! away events wait on disk ([`spool`]), those behind them too, until the store has taken them all; what fits neither there nor
//! into the queue is counted, and the log says so (`ark.log.gap.v1`) as soon as it can.

pub mod callback;
mod lost;
pub mod owner;
pub mod relay;
pub mod shards;
pub mod site;
pub mod spool;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_bus::Bus;
use ark_conversation::event::LogGap;
use ark_conversation::{CloudEvent, ConversationId, Event, EventId, NewEvent, Record, Tenant, source};
use ark_store::{Answer, Appended, Store, StoreError};
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::Instant;

use crate::telemetry::LogEventLost;

pub use lost::{IsGone, PROCESS, close_lost_calls, mend_recordings};
use spool::{Head, Spool};

/// Events that wait for the writer: about ten minutes of a gateway with ten calls a second and eight events each.
pub const QUEUE: usize = 65_536;
/// Events of one transaction.
const BATCH: usize = 512;
/// Transactions begin at most this often: under load what comes in between shares the next one, because a transaction costs
/// more than the events in it. An event that comes alone is written at once.
const COMMIT_EVERY: Duration = Duration::from_millis(10);
/// Pause before a failed append is tried again; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// An event that finds a damaged place in the store is tried so often before it is given up.
const DAMAGED_TRIES: u32 = 3;
/// Events wait in memory for this long while the store is away; then they go to disk.
const SPOOL_AFTER: Duration = Duration::from_secs(1);
/// How often the queue is looked at while the store lets us wait.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// While the store is away it is said again this often.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the store to take what still waits; then it goes to the spool.
const FLUSH_MAX: Duration = Duration::from_secs(10);
/// How long a start waits for what an earlier process left in the spool; the rest of it is written while calls come.
const BEGIN_MAX: Duration = Duration::from_secs(30);
/// How much longer it waits for the spool.
const SPOOL_MAX: Duration = Duration::from_secs(10);

/// Numbers of the road, for metrics and readiness.
#[derive(Debug, Default)]
pub struct LogStats {
    /// Events committed.
    pub committed: AtomicU64,
    /// Events that did not fit into the queue, or that the store can never take.
    pub dropped: AtomicU64,
    /// Appends that failed and were tried again.
    pub retries: AtomicU64,
    /// Events that wait in the spool now.
    pub spool_events: AtomicU64,
    /// Bytes of the spool now.
    pub spool_bytes: AtomicU64,
}

/// Where the switch leaves its events. Never waits.
#[derive(Clone)]
pub struct LogSink {
    queue: mpsc::Sender<NewEvent>,
    stats: Arc<LogStats>,
}

impl LogSink {
    /// A road that ends with the receiver, for benches.
    pub(crate) fn to_nowhere(room: usize) -> (Self, mpsc::Receiver<NewEvent>) {
        let (queue, receiver) = mpsc::channel(room);
        (Self { queue, stats: Arc::default() }, receiver)
    }

    /// Leaves an event for the writer; `false`: the queue is full, it was counted and is lost.
    pub fn push(&self, event: NewEvent) -> bool {
        let taken = self.queue.try_send(event).is_ok();
        if !taken {
            self.stats.dropped.fetch_add(1, Ordering::Relaxed);
            LogEventLost { reason: "the queue before the store is full" }.emit();
        }
        taken
    }

    /// Whether nobody writes any more.
    pub fn is_gone(&self) -> bool {
        self.queue.is_closed()
    }

    /// The road's numbers.
    pub fn stats(&self) -> &Arc<LogStats> {
        &self.stats
    }
}

/// The end of the writer: every event that was pushed before is in the log, in the spool, or it was said that it is not.
pub struct LogWriter {
    task: tokio::task::JoinHandle<()>,
}

impl LogWriter {
    /// Waits until the queue is empty; every [`LogSink`] must be gone.
    pub async fn finish(self) {
        if tokio::time::timeout(FLUSH_MAX + SPOOL_MAX, self.task).await.is_err() {
            tracing::error!("the log's queue could not be written before the end: neither store nor disk answers");
        }
    }
}

/// Where records go once they are committed.
#[derive(Clone)]
pub enum Onward {
    /// To the bus of this process, at once.
    Direct(Arc<dyn Bus>),
    /// Into the store's outbox, with the commit; the relay is woken to carry them to the broker.
    Relay(Arc<Notify>, CallEnds),
}

/// Tells of conversations in whose logs this gateway has written the end of a call: what their owner wants to know, and over a broker
/// would have to read every record for.
pub type CallEnds = broadcast::Sender<(Tenant, ConversationId)>;

/// Whether a call is over with it.
fn ends_call(event: &Event) -> bool {
    // Or hands its customer to another agent, to whom a chat goes with them.
    if matches!(event, Event::TransferFinished(finished) if finished.owner.is_some()) {
        return true;
    }
    matches!(event, Event::CallEnded(_) | Event::CallLost(_))
}

impl Onward {
    /// These records are in the store.
    pub async fn committed(&self, records: Vec<Record>) {
        match self {
            Self::Direct(bus) if !records.is_empty() => {
                if let Err(error) = bus.publish(records.into_iter().map(Arc::new).collect()).await {
                    tracing::warn!(%error, "committed events were not carried; readers find them in the store");
                }
            }
            Self::Direct(_) => {}
            Self::Relay(wake, ends) => {
                for record in records.iter().filter(|record| ends_call(&record.event.event)) {
                    // Nobody may listen yet.
                    let _ = ends.send((record.tenant.clone(), record.conversation));
                }
                wake.notify_one();
            }
        }
    }

    /// There may be something to carry.
    pub fn wake(&self) {
        if let Self::Relay(wake, _) = self {
            wake.notify_one();
        }
    }
}

/// Who writes: for events that the writer makes itself.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Whose log.
    pub tenant: Tenant,
    /// The gateway's name.
    pub gateway: String,
}

impl Writer {
    /// An event of the gateway itself, for the system's own log.
    pub fn system_event(&self, subject: &str, event: impl Into<Event>) -> NewEvent {
        self.event(ConversationId::SYSTEM, subject, event)
    }

    /// An event that the gateway writes into a conversation's log.
    pub(crate) fn event_of(&self, conversation: ConversationId, subject: &str, event: impl Into<Event>) -> NewEvent {
        self.event(conversation, subject, event)
    }

    fn event(&self, conversation: ConversationId, subject: &str, event: impl Into<Event>) -> NewEvent {
        let now = Timestamp::now();
        let id = EventId::new(u64::try_from(now.as_millisecond()).unwrap_or(0), rand::random());
        let source = source::gateway(&self.tenant, &self.gateway, subject);
        NewEvent {
            tenant: self.tenant.clone(),
            conversation,
            epoch: 1,
            at: now,
            event: CloudEvent::new(id.to_string(), source, now, event),
        }
    }
}

/// Starts the writer. What an earlier process left in the spool is in the store when it returns, unless the store is away or
/// needs more than [`BEGIN_MAX`] for it.
pub async fn start(store: Arc<dyn Store>, onward: Onward, writer: Writer, spool: Spool) -> (LogSink, LogWriter) {
    start_with(Arc::new(store), onward, writer, spool, &Bounds::default()).await
}

/// What the writer needs of a store.
trait Append: Send + Sync + 'static {
    fn append(&self, events: Vec<NewEvent>) -> Answer<'_, Vec<Appended>>;
}

impl Append for Arc<dyn Store> {
    fn append(&self, events: Vec<NewEvent>) -> Answer<'_, Vec<Appended>> {
        Store::append(&**self, events)
    }
}

/// The bounds of the road.
struct Bounds {
    queue: usize,
    spool_after: Duration,
    flush: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { queue: QUEUE, spool_after: SPOOL_AFTER, flush: FLUSH_MAX }
    }
}

async fn start_with(
    store: Arc<dyn Append>,
    onward: Onward,
    writer: Writer,
    spool: Spool,
    bounds: &Bounds,
) -> (LogSink, LogWriter) {
    let (sender, queue) = mpsc::channel(bounds.queue);
    let stats = Arc::new(LogStats::default());
    let mut road = Road {
        queue,
        store,
        onward,
        writer,
        stats: Arc::clone(&stats),
        spool: Arc::new(Mutex::new(spool)),
        spool_after: bounds.spool_after,
        flush: bounds.flush,
        held: Vec::with_capacity(BATCH),
        telling: false,
        gap: Gap::default(),
        singly: 0,
        damaged: 0,
        pause: RETRY_MIN,
        failing: None,
        said: None,
        spooling: false,
        refused: false,
        until: None,
    };
    road.begin().await;
    (LogSink { queue: sender, stats }, LogWriter { task: tokio::spawn(road.run()) })
}

/// Events that were lost since the log last said so.
#[derive(Default)]
struct Gap {
    told: u64,
    lost: u64,
    from: Option<Timestamp>,
    reason: String,
}

impl Gap {
    fn look(&mut self, stats: &LogStats) {
        let dropped = stats.dropped.load(Ordering::Relaxed);
        self.lost = dropped - self.told;
        if self.lost > 0 && self.from.is_none() {
            self.from = Some(Timestamp::now());
        }
    }

    fn take(&mut self, writer: &Writer, stats: &LogStats) -> Option<NewEvent> {
        self.look(stats);
        if self.lost == 0 {
            return None;
        }
        let until = Timestamp::now();
        let event = LogGap {
            dropped_events: self.lost,
            from: self.from.take().unwrap_or(until),
            until,
            reason: std::mem::take(&mut self.reason),
        };
        self.told += self.lost;
        self.lost = 0;
        Some(writer.system_event("log", event))
    }
}

/// What became of one try.
enum Step {
    /// Something was settled, or the next try is another one.
    Done,
    /// The store is away.
    Failed,
    /// The end of the process waits no longer.
    Over,
    /// The store has ended, by a fault of ours.
    Gone,
}

/// The writer.
struct Road {
    queue: mpsc::Receiver<NewEvent>,
    store: Arc<dyn Append>,
    onward: Onward,
    writer: Writer,
    stats: Arc<LogStats>,
    spool: Arc<Mutex<Spool>>,
    spool_after: Duration,
    flush: Duration,
    /// The oldest events that are not in the spool: behind all that are.
    held: Vec<NewEvent>,
    /// Whether the last that was taken up is our own word about a gap.
    telling: bool,
    gap: Gap,
    /// So many events go one by one: one that cannot be taken must not hold up those beside it.
    singly: usize,
    /// Tries at a damaged place.
    damaged: u32,
    pause: Duration,
    /// Since when the store is away, and when that was said last.
    failing: Option<Instant>,
    said: Option<Instant>,
    /// Whether it was said that events wait on disk, and that the disk takes none.
    spooling: bool,
    refused: bool,
    /// When the end of the process waits no longer.
    until: Option<Instant>,
}

impl Road {
    /// Carries what an earlier process left, as far as the store takes it.
    async fn begin(&mut self) {
        let left = self.with_spool(|spool| spool.events()).await.unwrap_or(0);
        if left > 0 {
            self.spooling = true;
            tracing::warn!(events = left, "events of an earlier process wait in the spool; they go to the log first");
        }
        let until = Instant::now() + BEGIN_MAX;
        while !self.is_spool_empty() && Instant::now() < until && matches!(self.step().await, Step::Done) {}
    }

    async fn run(mut self) {
        loop {
            let began = Instant::now();
            let empty = self.is_spool_empty();
            if empty && self.held.is_empty() {
                match self.gap.take(&self.writer, &self.stats) {
                    // A store that does not take even this is not told for ever.
                    Some(event) if !self.telling => {
                        self.held.push(event);
                        self.telling = true;
                    }
                    _ => {
                        self.telling = false;
                        if self.queue.recv_many(&mut self.held, BATCH).await == 0 {
                            return;
                        }
                    }
                }
            } else if !empty {
                self.take_in().await;
            }
            match self.step().await {
                // A batch's worth that waits already is not made to wait.
                Step::Done if empty && self.held.is_empty() && self.queue.len() < BATCH && !self.queue.is_closed() => {
                    tokio::time::sleep_until(began + COMMIT_EVERY).await;
                }
                Step::Done => {}
                Step::Failed if !self.is_over() => self.rest().await,
                Step::Failed | Step::Over => {
                    return self.leave("the store did not answer before the end of the process").await;
                }
                Step::Gone => return self.leave("the store has ended: nothing is written to the log any more").await,
            }
        }
    }

    /// Whether the process ends, and has waited long enough for the store.
    fn is_over(&mut self) -> bool {
        self.queue.is_closed() && Instant::now() >= *self.until.get_or_insert(Instant::now() + self.flush)
    }

    fn is_spool_empty(&self) -> bool {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Works on the spool where waiting for the disk holds up nobody.
    async fn with_spool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (spool, stats) = (Arc::clone(&self.spool), Arc::clone(&self.stats));
        let work = move || {
            let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
            let done = work(&mut spool);
            stats.spool_events.store(spool.events(), Ordering::Relaxed);
            stats.spool_bytes.store(spool.bytes(), Ordering::Relaxed);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
    }

    /// Tries to settle the oldest events that wait.
    async fn step(&mut self) -> Step {
        let limit = if self.singly > 0 { 1 } else { BATCH };
        let from_spool = !self.is_spool_empty();
        let head = if from_spool {
            match self.with_spool(move |spool| spool.head(limit)).await.flatten() {
                Ok(head) => head,
                Err(error) => return self.unreadable(&error).await,
            }
        } else {
            Head { events: self.held.iter().take(limit).cloned().collect(), ..Head::default() }
        };
        if head.torn {
            tracing::warn!("the spool ends in a line that a crash cut short; it was never kept and is left out");
        }
        if head.events.is_empty() {
            self.settled(&head, from_spool).await;
            return Step::Done;
        }
        let Some(answer) = self.ask(&head.events).await else { return Step::Over };
        if !from_spool && !self.is_spool_empty() {
            // They went to the spool meanwhile, the first of it, and are settled from there: the store knows them again.
            // What is held now are others.
            if let Ok(appended) = answer {
                self.committed(appended).await;
            }
            return Step::Done;
        }
        match answer {
            Ok(appended) => {
                self.committed(appended).await;
                self.settled(&head, from_spool).await;
            }
            Err(StoreError::Closed) => return Step::Gone,
            Err(StoreError::Refused { .. } | StoreError::Corrupt { .. }) if head.events.len() > 1 => {
                self.singly = head.events.len();
            }
            Err(error @ (StoreError::Refused { .. } | StoreError::Corrupt { .. }))
                if matches!(error, StoreError::Refused { .. }) || self.damaged == DAMAGED_TRIES =>
            {
                self.lost(1, &error.to_string());
                self.settled(&head, from_spool).await;
            }
            Err(error) => {
                self.damaged += u32::from(matches!(error, StoreError::Corrupt { .. }));
                self.failed(&error).await;
                return Step::Failed;
            }
        }
        Step::Done
    }

    /// Asks the store. What comes meanwhile goes to disk when that takes long. None: the end waits no longer.
    async fn ask(&mut self, events: &[NewEvent]) -> Option<Result<Vec<Appended>, StoreError>> {
        let (store, events) = (Arc::clone(&self.store), events.to_vec());
        let mut asking = std::pin::pin!(async move { store.append(events).await });
        let began = Instant::now();
        loop {
            tokio::select! {
                biased;
                answer = &mut asking => return Some(answer),
                () = tokio::time::sleep(LOOK_EVERY.min(self.spool_after)) => {}
            }
            if self.is_over() {
                return None;
            }
            if began.elapsed() >= self.spool_after || self.queue.len() >= self.queue.max_capacity() / 2 {
                self.take_in().await;
            }
        }
    }

    async fn committed(&mut self, appended: Vec<Appended>) {
        if self.failing.take().is_some() {
            tracing::warn!(events = appended.len(), "the log is written again");
        }
        (self.said, self.refused, self.pause) = (None, false, RETRY_MIN);
        let records: Vec<Record> = appended.into_iter().filter(|a| !a.duplicate).map(|a| a.record).collect();
        self.stats.committed.fetch_add(records.len() as u64, Ordering::Relaxed);
        self.onward.committed(records).await;
    }

    /// These events need nothing more.
    async fn settled(&mut self, head: &Head, from_spool: bool) {
        let events = head.events.len();
        self.singly = self.singly.saturating_sub(events);
        self.damaged = 0;
        if !from_spool {
            self.held.drain(..events);
            return;
        }
        if head.damaged > 0 {
            self.lost(head.damaged, "a line of the spool is damaged");
        }
        let (bytes, events) = (head.bytes, events as u64 + head.damaged);
        let _ = self.with_spool(move |spool| spool.advance(bytes, events)).await;
        if self.is_spool_empty() && std::mem::take(&mut self.spooling) {
            tracing::warn!("the spool is empty: all that waited on disk is in the log");
        }
    }

    fn lost(&mut self, events: u64, reason: &str) {
        LogEventLost { reason }.emit();
        self.stats.dropped.fetch_add(events, Ordering::Relaxed);
        reason.clone_into(&mut self.gap.reason);
    }

    async fn failed(&mut self, error: &StoreError) {
        self.stats.retries.fetch_add(1, Ordering::Relaxed);
        let failing = *self.failing.get_or_insert(Instant::now());
        if self.said.is_none_or(|at| at.elapsed() > SAY_EVERY) {
            tracing::error!(%error, "the log cannot be written; calls go on, events wait");
            self.said = Some(Instant::now());
        }
        self.gap.reason = error.to_string();
        self.gap.look(&self.stats);
        if failing.elapsed() >= self.spool_after || self.queue.len() >= self.queue.max_capacity() / 2 {
            self.take_in().await;
        }
    }

    /// A file of the spool that cannot be read is tried again, then set aside.
    async fn unreadable(&mut self, error: &io::Error) -> Step {
        if self.damaged < DAMAGED_TRIES {
            self.damaged += 1;
            tracing::error!(%error, "the spool cannot be read; it is tried again");
            return Step::Failed;
        }
        self.damaged = 0;
        let lost = self.with_spool(Spool::set_aside).await.unwrap_or(0);
        self.lost(lost, &format!("a file of the spool cannot be read and was set aside: {error}"));
        Step::Done
    }

    /// Puts what is held, and what waits in the queue, into the spool. What it does not take stays held.
    async fn take_in(&mut self) {
        while self.put_aside().await {
            while self.held.len() < BATCH
                && let Ok(event) = self.queue.try_recv()
            {
                self.held.push(event);
            }
            if self.held.is_empty() {
                return;
            }
        }
    }

    /// Puts what is held into the spool; `false`: it takes no more.
    async fn put_aside(&mut self) -> bool {
        if self.held.is_empty() {
            return true;
        }
        let events = self.held.len() as u64;
        let put = match spool::encode(&self.held) {
            Ok(lines) => self.with_spool(move |spool| spool.push(&lines, events)).await.flatten(),
            Err(error) => Err(error),
        };
        match put {
            Ok(()) => {
                self.held.clear();
                if !std::mem::replace(&mut self.spooling, true) {
                    tracing::warn!("events wait in the spool on disk until the store takes them");
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::error!(%error, "the spool takes no more; events wait in memory, then they are lost");
                }
                false
            }
        }
    }

    /// Waits before the next try. What comes meanwhile goes behind what is in the spool.
    async fn rest(&mut self) {
        let until = Instant::now() + self.pause;
        let until = self.until.map_or(until, |end| end.min(until));
        self.pause = (self.pause * 2).min(RETRY_MAX);
        loop {
            let take = self.held.is_empty() && !self.is_spool_empty() && !self.queue.is_closed();
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                _ = self.queue.recv_many(&mut self.held, BATCH), if take => {}
            }
            self.put_aside().await;
        }
    }

    /// The end, with the store away: everything goes to the spool; what it does not take is lost, and it is said how much.
    async fn leave(&mut self, why: &str) {
        self.queue.close();
        self.take_in().await;
        if self.held.is_empty()
            && let Some(event) = self.gap.take(&self.writer, &self.stats)
        {
            self.held.push(event);
            self.put_aside().await;
        }
        let lost = self.held.len() + self.queue.len();
        let waiting = self.stats.spool_events.load(Ordering::Relaxed);
        tracing::error!(waiting, lost, "{why}; what waits in the spool is written at the next start");
        if lost > 0 {
            self.lost(lost as u64, "the process ends and the spool takes no more");
        }
    }
}

#[cfg(test)]
mod tests;
