//! The road of events from the switch to the log, and from the log to whoever follows it.
//!
//! The switch never waits: it pushes into a bounded queue ([`LogSink`]). One writer appends to the store; only then what was
//! committed goes on ([`Onward`]): to the embedded bus at once, to a broker by the outbox and its relay. While the store is
//! away events wait in the queue; what does not fit any more is counted, and the log says so (`ark.log.gap.v1`) as soon as it
//! can.

mod lost;
pub mod relay;
pub mod shards;
pub mod site;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ark_bus::Bus;
use ark_conversation::event::LogGap;
use ark_conversation::{CloudEvent, ConversationId, Event, EventId, NewEvent, Record, Tenant, source};
use ark_store::{Store, StoreError};
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};

use crate::telemetry::LogEventLost;

pub use lost::{IsGone, PROCESS, close_lost_calls, mend_recordings};

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
/// How long the end of the process waits for events that are still in the queue.
const FLUSH_MAX: Duration = Duration::from_secs(10);

/// Numbers of the road, for metrics and readiness.
#[derive(Debug, Default)]
pub struct LogStats {
    /// Events committed.
    pub committed: AtomicU64,
    /// Events that did not fit into the queue, or that the store can never take.
    pub dropped: AtomicU64,
    /// Appends that failed and were tried again.
    pub retries: AtomicU64,
}

/// Where the switch leaves its events. Never waits.
#[derive(Clone)]
pub struct LogSink {
    queue: mpsc::Sender<NewEvent>,
    stats: Arc<LogStats>,
}

impl LogSink {
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

/// The end of the writer: every event that was pushed before is in the log, or it was said that it is not.
pub struct LogWriter {
    task: tokio::task::JoinHandle<()>,
}

impl LogWriter {
    /// Waits until the queue is empty; every [`LogSink`] must be gone.
    pub async fn finish(self) {
        if tokio::time::timeout(FLUSH_MAX, self.task).await.is_err() {
            tracing::error!("the log's queue could not be written before the end: the store does not answer");
        }
    }
}

/// Where records go once they are committed.
#[derive(Clone)]
pub enum Onward {
    /// To the bus of this process, at once.
    Direct(Arc<dyn Bus>),
    /// Into the store's outbox, with the commit; the relay is woken to carry them to the broker.
    Relay(Arc<Notify>),
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
            Self::Relay(wake) => wake.notify_one(),
        }
    }

    /// There may be something to carry.
    pub fn wake(&self) {
        if let Self::Relay(wake) = self {
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

/// Starts the writer.
pub fn start(store: Arc<dyn Store>, onward: Onward, writer: Writer) -> (LogSink, LogWriter) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    let stats = Arc::new(LogStats::default());
    let task = tokio::spawn(write(receiver, store, onward, writer, Arc::clone(&stats)));
    (LogSink { queue, stats }, LogWriter { task })
}

async fn write(
    mut queue: mpsc::Receiver<NewEvent>,
    store: Arc<dyn Store>,
    onward: Onward,
    writer: Writer,
    stats: Arc<LogStats>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut gap = Gap::default();
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let began = tokio::time::Instant::now();
        let done = append(std::mem::take(&mut batch), &*store, &onward, &stats, &mut gap).await;
        gap.look(&stats);
        let told = match gap.take(&writer) {
            Some(event) => append(vec![event], &*store, &onward, &stats, &mut gap).await,
            None => Ok(()),
        };
        if done.and(told).is_err() {
            tracing::error!("the store has ended: nothing is written to the log any more");
            return;
        }
        // A batch's worth that waits already is not made to wait.
        if queue.len() < BATCH && !queue.is_closed() {
            tokio::time::sleep_until(began + COMMIT_EVERY).await;
        }
    }
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

    fn take(&mut self, writer: &Writer) -> Option<NewEvent> {
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

/// The store has ended, by a fault of ours.
struct StoreGone;

/// Appends until it is done: a store that is away is asked again, what it can never take is dropped and counted.
async fn append(
    events: Vec<NewEvent>,
    store: &dyn Store,
    onward: &Onward,
    stats: &LogStats,
    gap: &mut Gap,
) -> Result<(), StoreGone> {
    let mut pause = RETRY_MIN;
    let mut damaged = 0;
    let mut said: Option<Instant> = None;
    loop {
        match store.append(events.clone()).await {
            Ok(appended) => {
                if said.is_some() {
                    tracing::warn!(events = appended.len(), "the log is written again");
                }
                stats.committed.fetch_add(appended.len() as u64, Ordering::Relaxed);
                onward.committed(appended.into_iter().filter(|a| !a.duplicate).map(|a| a.record).collect()).await;
                return Ok(());
            }
            Err(StoreError::Closed) => return Err(StoreGone),
            // One event that cannot be taken must not hold up those beside it.
            Err(StoreError::Refused { .. } | StoreError::Corrupt { .. }) if events.len() > 1 => {
                for event in events {
                    Box::pin(append(vec![event], store, onward, stats, gap)).await?;
                }
                return Ok(());
            }
            Err(error @ (StoreError::Refused { .. } | StoreError::Corrupt { .. }))
                if matches!(error, StoreError::Refused { .. }) || damaged == DAMAGED_TRIES =>
            {
                LogEventLost { reason: &error.to_string() }.emit();
                stats.dropped.fetch_add(1, Ordering::Relaxed);
                gap.reason = error.to_string();
                return Ok(());
            }
            Err(error) => {
                damaged += u32::from(matches!(error, StoreError::Corrupt { .. }));
                stats.retries.fetch_add(1, Ordering::Relaxed);
                if said.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
                    tracing::error!(%error, "the log cannot be written; calls go on, events wait");
                    said = Some(Instant::now());
                }
                gap.reason = error.to_string();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }
}
