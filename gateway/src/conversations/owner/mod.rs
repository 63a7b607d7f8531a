//! The owner of the conversations whose shards this gateway has: here the conversation machine runs.
//!
//! It reads the inbox of its shards (woken at each message, and by itself every second), gives each message to its conversation's
//! [`ark_conversation::machine::Conversation`], and commits what that decides in one transaction: the row done, the events in the
//! log, the messages for channels as deliveries under the adapter's name. Commits are under way a few at once and in order. Each
//! says by which record of each log it was decided ([`ark_store::Commit::after`]) and under which lease: when somebody else wrote in
//! between, or the shard has passed on, nothing is written; the machines of it are dropped, opened again from the log, and given
//! their input again. So a message is in the log once and in order, whoever dies when.
//!
//! Calls are written to the log by the switch's own road, which waits for nobody. The owner reads them there: a machine whose log
//! has gone on is opened anew, and the end of a call in a conversation that has a session open lets it close what is over.
//!
//! What no conversation takes, now or ever, is parked: as a dead delivery under [`PARKED`], seen by `ark bus dead` and taken up again
//! by `ark bus replay`; those behind it go on.

mod batch;
mod command;
mod direct;
mod elsewhere;
#[doc(hidden)]
pub mod failpoint;
mod hand;
mod hear;
mod ingest;
pub mod limits;
mod linked;
mod machines;
mod people;
mod plans;
mod run;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_bus::Bus;
use ark_conversation::ConversationId;
use ark_conversation::machine::Policy;
use ark_store::{Store, StoreError};
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::shards::OwnShards;
use super::{Onward, Writer};
use crate::control::Ready;
use crate::telemetry::{Sample, SampleKind};
use limits::*;
use machines::Key;

pub use batch::{Happening, PARKED, ParkedRow};
#[cfg(test)]
pub(crate) use command::carry_out;
pub use command::{Command, CommandError, Done, Outcome, Wish};
pub use hand::Hand;
pub use ingest::Ingest;
pub use plans::{Ask, ChatPlans, Found, WANTS, WANTS_PERSON};

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the owner is told beside the inbox.
enum Note {
    /// When a conversation that was found open wants to be looked at.
    Deadline(Key, Timestamp),
    /// A call's end is in its log.
    CallOver(Key),
    /// An action that a chat's plan asked has answered.
    Answered(Key, u64, Box<crate::call::HttpResult>),
}

/// Numbers of the owner, for metrics and readiness. Counters count from its start.
#[derive(Debug, Default)]
pub struct Stats {
    commits: AtomicU64,
    applied: AtomicU64,
    conflicts: AtomicU64,
    parked: AtomicU64,
    commands: AtomicU64,
    machines: AtomicU64,
    deadlines: AtomicU64,
    stuck: AtomicU64,
    oldest_ms: AtomicU64,
    failing: Mutex<Option<String>>,
}

impl Stats {
    fn well(&self) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it was well before.
    fn fail(&self, error: &StoreError) -> bool {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).replace(error.to_string()).is_none()
    }
}

/// How an owner is made.
pub struct Setup {
    /// The log of record.
    pub store: Arc<dyn Store>,
    /// The carrier.
    pub bus: Arc<dyn Bus>,
    /// Where what is committed goes on.
    pub onward: Onward,
    /// The shards of this gateway.
    pub own: Arc<OwnShards>,
    /// What the house decided.
    pub policy: Policy,
    /// Plans that have chats.
    pub plans: ChatPlans,
    /// Who this gateway is.
    pub writer: Writer,
    /// The wall clock.
    pub clock: Clock,
}

/// The owner, as the rest of the gateway sees it. Cheap to clone.
#[derive(Clone)]
pub struct Conversations {
    ingest: Ingest,
    asks: mpsc::Sender<command::Asked>,
    waiting: Arc<elsewhere::Waiting>,
    happenings: broadcast::Sender<Happening>,
    parked: Arc<Notify>,
    stats: Arc<Stats>,
    clock: Clock,
    gateway: String,
}

/// What runs for it.
pub struct Tasks {
    stop: watch::Sender<bool>,
    owner: tokio::task::JoinHandle<()>,
    others: JoinSet<()>,
}

impl Tasks {
    /// Whether the owner has ended by a fault.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.owner.is_finished()
    }

    /// Takes nothing more up, and waits a moment for what is being committed. The rest is in the inbox.
    pub async fn end(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_MAX + Duration::from_secs(1), &mut self.owner).await.is_err() {
            self.owner.abort();
        }
        self.others.shutdown().await;
    }
}

/// Starts the owner.
#[must_use]
pub fn start(setup: Setup) -> (Conversations, Tasks) {
    let Setup { store, bus, onward, own, policy, plans, writer, clock } = setup;
    let (asks, asked) = mpsc::channel(COMMANDS);
    let (notes, noted) = mpsc::channel(NOTES);
    let (happenings, _) = broadcast::channel(HAPPENINGS);
    let (stop, stopped) = watch::channel(false);
    let (wake, parked, stats) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Stats::default()));
    let (policy, waiting) = (Arc::new(policy), Arc::new(elsewhere::Waiting::default()));
    let (short, offers) = direct::ShortRoad::new();
    let ingest = Ingest {
        store: Arc::clone(&store),
        bus: Arc::clone(&bus),
        own: Arc::clone(&own),
        wake: Arc::clone(&wake),
        short: Arc::clone(&short),
    };
    let calls_of = onward.clone();
    let owner = run::Owner {
        store: Arc::clone(&store),
        onward,
        own: Arc::clone(&own),
        policy: Arc::clone(&policy),
        gateway: writer.gateway.clone(),
        clock: Arc::clone(&clock),
        asks: asked,
        notes: noted,
        wake: Arc::clone(&wake),
        parked: Arc::clone(&parked),
        happenings: happenings.clone(),
        stats: Arc::clone(&stats),
        offers,
        short,
        plans,
        shelf: plans::Shelf::default(),
        note: notes.clone(),
        asking: Arc::new(tokio::sync::Semaphore::new(ACTIONS_ASKED)),
        machines: machines::Machines::default(),
        deadlines: machines::Deadlines::default(),
        work: run::Work::default(),
    };
    let mut others = JoinSet::new();
    others.spawn(hear::wake_ups(Arc::clone(&bus), Arc::clone(&store), Arc::clone(&own), wake, notes.clone()));
    let calls = (bus, Arc::clone(&store), Arc::clone(&own), notes.clone());
    others.spawn(async move {
        let (bus, store, own, notes) = calls;
        if let Some(ended) = hear::Ended::of(&calls_of).await {
            drop(calls_of);
            hear::follow_calls(bus, store, own, ended, notes).await;
        }
    });
    others.spawn(hear::find_deadlines(Arc::clone(&store), Arc::clone(&own), policy, notes, writer.tenant));
    others.spawn(elsewhere::fetch(store, Arc::clone(&waiting), writer.gateway.clone()));
    let owner = tokio::spawn(owner.run(stopped));
    let handle = Conversations { ingest, asks, waiting, happenings, parked, stats, clock, gateway: writer.gateway };
    (handle, Tasks { stop, owner, others })
}

impl Conversations {
    /// Where messages from channels are left.
    #[must_use]
    pub fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    /// What follows from commits here from now on: rings, grants, places in line. One that does not keep up is told how much it
    /// missed; what is so is in the log.
    #[must_use]
    pub fn happenings(&self) -> broadcast::Receiver<Happening> {
        self.happenings.subscribe()
    }

    /// Lets the conversation's owner do something, here or at whichever gateway it lives, and waits for the answer, at most
    /// [`ANSWER_WAIT`].
    ///
    /// # Errors
    /// [`CommandError`]; of [`CommandError::Unavailable`] it is not known whether it is done.
    pub async fn command(&self, command: Command) -> Outcome {
        let late = || {
            let why =
                "the conversation's owner did not answer in time; it may be done yet: ask again with the same key";
            Err(CommandError::Unavailable(why.to_owned()))
        };
        tokio::time::timeout(ANSWER_WAIT, self.ask(command)).await.unwrap_or_else(|_| late())
    }

    async fn ask(&self, command: Command) -> Outcome {
        let own = &self.ingest.own;
        if !own.holds(own.topology().shard(command.conversation)) {
            let now = (self.clock)();
            return elsewhere::ask(&self.ingest, &self.waiting, &self.gateway, now, command).await;
        }
        let (reply, answer) = oneshot::channel();
        let asked = command::Asked { command, reply, tries: 0 };
        let full = "too much is asked of the conversations here; try again in a moment".to_owned();
        self.asks.try_send(asked).map_err(|_| CommandError::Unavailable(full))?;
        answer.await.unwrap_or_else(|_| Err(CommandError::Unavailable("the gateway ends".to_owned())))
    }

    /// Whether this gateway works on that conversation.
    #[must_use]
    pub fn holds(&self, conversation: ConversationId) -> bool {
        let own = &self.ingest.own;
        own.holds(own.topology().shard(conversation))
    }

    /// Says that a parked row is to be taken up again.
    pub fn parked_again(&self) {
        self.parked.notify_one();
    }

    /// For `/metrics`.
    pub async fn samples(&self) -> Vec<Sample> {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let waiting = self.ingest.store.backlog().await.map_or(0, |backlog| backlog.inbox);
        let oldest_ms = if waiting == 0 { 0 } else { self.oldest_ms() };
        let stats = &self.stats;
        #[expect(clippy::cast_precision_loss, reason = "Prometheus speaks in doubles")]
        let sample = |name, help, kind, value: u64| Sample { name, help, kind, label: None, value: value as f64 };
        let (counter, gauge) = (SampleKind::Counter, SampleKind::Gauge);
        vec![
            sample("ark_inbox_rows", "Messages in the inbox that no conversation has taken yet.", gauge, waiting),
            sample("ark_inbox_oldest_ms", "How long the oldest of this gateway's waits.", gauge, oldest_ms),
            sample("ark_inbox_applied_total", "Messages that conversations took.", counter, load(&stats.applied)),
            sample(
                "ark_inbox_passed_total",
                "Of these, messages that went straight to their log, in one commit.",
                counter,
                load(&self.ingest.short.passed),
            ),
            sample(
                "ark_inbox_turned_away_total",
                "Messages that were tried to go straight to their log, and went by the inbox.",
                counter,
                load(&self.ingest.short.turned_away),
            ),
            sample("ark_inbox_parked_total", "Messages that no conversation takes.", counter, load(&stats.parked)),
            sample("ark_conversations_open", "Conversations that are open in memory.", gauge, load(&stats.machines)),
            sample("ark_conversation_deadlines", "Deadlines that are waited for.", gauge, load(&stats.deadlines)),
            sample("ark_conversation_commits_total", "Commits of conversations.", counter, load(&stats.commits)),
            sample("ark_conversation_commands_total", "Commands to conversations.", counter, load(&stats.commands)),
            sample(
                "ark_conversation_conflicts_total",
                "Commits that were decided again: somebody else wrote, or a lease had passed on.",
                counter,
                load(&stats.conflicts),
            ),
        ]
    }

    fn oldest_ms(&self) -> u64 {
        let oldest = self.stats.oldest_ms.load(Ordering::Relaxed);
        let now = u64::try_from((self.clock)().as_millisecond()).unwrap_or(0);
        if oldest == 0 { 0 } else { now.saturating_sub(oldest) }
    }

    /// For `/readyz`.
    #[must_use]
    pub fn ready(&self) -> Ready {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let failing = self.stats.failing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stuck = load(&self.stats.stuck);
        let detail = match &failing {
            Some(error) => error.clone(),
            None if stuck > 0 => format!("{stuck} messages are too large for any conversation and stay in the inbox"),
            None => format!(
                "{} open in memory, {} messages taken since the start, {} parked",
                load(&self.stats.machines),
                load(&self.stats.applied),
                load(&self.stats.parked)
            ),
        };
        Ready { name: "conversations".to_owned(), ok: failing.is_none(), detail }
    }
}

#[cfg(test)]
mod tests;
