//! The carrier between gateways: trait [`Bus`], in one process ([`EmbeddedBus`]) or over RabbitMQ ([`RabbitBus`]).
//!
//! The bus is never the record: what it carries was committed by the store before, and whoever misses something reads
//! it there. It has two durable directions. *Log*: committed records to whoever shows them; a reader that joins a conversation
//! subscribes first, reads the store, then follows the bus through a [`Cursor`]: each record once, in order (law L6).
//! *Ingress*: wake-ups to the gateway that holds a shard's lease; a lost one costs as long as its inbox is polled.
//! Beside both is the *live* road: what is so just now, from every gateway to every gateway, never kept and never waited for.
//!
//! Nothing that is called here waits for a broker: what is handed over waits in a bounded queue, and a full queue is
//! an error with a name.

#[doc(hidden)]
pub mod contract;
mod cursor;
mod embedded;
mod error;
mod ingress;
#[doc(hidden)]
pub mod kit;
pub mod limits;
mod live;
mod rabbitmq;
mod receipt;
mod relay;
mod shard;
pub mod topology;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ark_conversation::{ConversationId, LiveEvent, Record, Tenant};

pub use cursor::{Cursor, Seen};
pub use embedded::EmbeddedBus;
pub use error::BusError;
pub use ingress::{DeadLetter, Delivery, Ingress, IngressFeed, Settle, Verdict, WakeUp, Which};
pub use live::Overheard;
pub use rabbitmq::{
    AdapterQueue, Broker, Brought, Compared, Comparison, ForAdapter, Inbound, Manager, QueueDepth, RabbitBus,
    RabbitConfig, Standing, Tls,
};
pub use receipt::Receipt;
pub use relay::{Outbox, Relay, RelayStats, Stretch};
pub use shard::Shard;

/// A future that a bus returns: boxed, so that the trait can be an object and the backend a line of the configuration.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a subscriber wants to see. The default is every record of the tenant `main`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this tenant.
    pub tenant: Tenant,
    /// Of one conversation only.
    pub conversation: Option<ConversationId>,
    /// Of these event types only (`ark.call.ringing.v1`); empty: every type.
    ///
    /// With types chosen, the records seen have gaps in their `seq` by design, and a [`Cursor`] does not apply.
    pub types: Vec<String>,
}

impl Filter {
    /// One conversation's log.
    #[must_use]
    pub fn conversation(tenant: &Tenant, conversation: ConversationId) -> Self {
        Self { tenant: tenant.clone(), conversation: Some(conversation), types: Vec::new() }
    }

    /// Whether a record is wanted.
    #[must_use]
    pub fn wants(&self, record: &Record) -> bool {
        record.tenant == self.tenant
            && self.conversation.is_none_or(|conversation| conversation == record.conversation)
            && (self.types.is_empty() || self.types.iter().any(|name| name == record.event.type_name()))
    }
}

/// Why a subscription has no record to give now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// The reader was too slow, or the carrier was away, and at least this many records that it wanted may not have
    /// been kept for it. Read them from the store by `seq`; the records after this follow here.
    #[error("{missed} or more records were not kept for this reader; read them from the store")]
    Lagged {
        /// How many at least.
        missed: u64,
    },
    /// The bus was closed; everything that was published before was given.
    #[error("the bus is closed")]
    Closed,
}

/// The carrier between gateways.
///
/// # Laws
/// - **L3 order**: a subscriber sees a conversation's records in the order in which they were carried; whoever carries
///   does so in the order of `seq`. Some may come twice; after dropping what is old by `seq`, the order holds. When a
///   conversation's owner moves to another gateway, a record may overtake: its reader's [`Cursor`] says so.
/// - **L7 not silently**: each record that was carried while a subscription lives is given to it at least once, or
///   told by [`Missed::Lagged`] at its place. A receipt that is `Ok` is true; one that is not says why.
/// - A slow or stuck subscriber holds up neither the carrier nor its neighbours.
/// - What is announced is given to a listener once, in the order in which its gateway said it, or is lost; a hole that is known is
///   told by [`Missed::Lagged`] at its place. Nobody ever waits for it: neither who says it nor what is carried durably.
/// - A wake-up is given to one reader of its shard at a time, again and again until it is acknowledged, and after
///   [`limits::DELIVERY_LIMIT`] returns it lies among the dead letters, where it can be seen and sent again.
pub trait Bus: Send + Sync + 'static {
    /// Hands committed records over, in order. Never waits; the receipt tells when the carrier has them all.
    ///
    /// # Errors
    /// [`BusError::Full`], [`BusError::Away`], [`BusError::Blocked`], [`BusError::TooLarge`] (nothing was handed over),
    /// [`BusError::Closed`].
    fn carry(&self, records: Vec<Arc<Record>>) -> Result<Receipt, BusError>;

    /// Hands committed records over and does not ask what became of them: readers find what is lost in the store.
    ///
    /// # Errors
    /// As [`Bus::carry`].
    fn publish(&self, records: Vec<Arc<Record>>) -> Answer<'_, Result<(), BusError>> {
        let handed = self.carry(records).map(drop);
        Box::pin(std::future::ready(handed))
    }

    /// Hands a wake-up over to its shard. Never waits; the receipt tells when the carrier has it.
    ///
    /// # Errors
    /// As [`Bus::carry`], and [`BusError::ShardFull`] (from RabbitMQ in the receipt): the shard's reader does not keep up.
    fn wake(&self, wake_up: WakeUp) -> Result<Receipt, BusError>;

    /// Begins to keep what is carried from now on, for one reader.
    ///
    /// # Errors
    /// [`BusError::TooManySubscribers`] or [`BusError::Closed`].
    fn subscribe(&self, filter: Filter) -> Answer<'_, Result<Subscription, BusError>>;

    /// Begins to read the wake-ups of these shards, in the order in which each shard got them. Of several readers of
    /// one shard only the first gets any; the next one follows when it goes, with what it had not acknowledged.
    ///
    /// # Errors
    /// [`BusError::NoSuchShard`] or [`BusError::Closed`].
    fn ingress(&self, shards: Vec<Shard>) -> Result<Ingress, BusError>;

    /// Says what is so just now to whoever listens, here and at every other gateway. Never waits and never fails: what there is
    /// no room or no broker for is lost, and counted.
    fn announce(&self, events: Vec<LiveEvent>);

    /// Begins to hear what is announced from now on, here and at every other gateway.
    ///
    /// # Errors
    /// [`BusError::TooManySubscribers`] or [`BusError::Closed`].
    fn overhear(&self) -> Result<Overheard, BusError>;

    /// How many shards there are.
    fn shards(&self) -> u16;

    /// The oldest dead letters, `limit` at most.
    ///
    /// # Errors
    /// [`BusError::Away`] and its kind when a broker cannot be asked.
    fn dead(&self, limit: usize) -> Answer<'_, Result<Vec<DeadLetter>, BusError>>;

    /// Sends dead letters back to where they died. Gives how many went.
    ///
    /// # Errors
    /// As [`Bus::dead`]; what was sent before the error is gone from the dead letters.
    fn replay(&self, which: Which) -> Answer<'_, Result<usize, BusError>>;

    /// How it is. Never fails: what is wrong is in the answer.
    fn health(&self) -> Answer<'_, BusHealth>;
}

/// What a bus gives one subscriber: implemented by each backend.
pub trait Feed: Send {
    /// The next record, waiting for it. Cancelling the future loses nothing.
    fn next(&mut self) -> Answer<'_, Result<Arc<Record>, Missed>>;

    /// The next record if there is one now.
    fn try_next(&mut self) -> Option<Result<Arc<Record>, Missed>>;
}

/// One reader's place on the bus; dropping it ends it.
pub struct Subscription(Box<dyn Feed>);

impl Subscription {
    /// Wraps a backend's feed.
    #[must_use]
    pub fn new(feed: impl Feed + 'static) -> Self {
        Self(Box::new(feed))
    }

    /// The next record, waiting for it. Cancelling the future (a `select!`, a timeout) loses nothing.
    ///
    /// # Errors
    /// [`Missed::Lagged`] once for each hole, then records again; [`Missed::Closed`] at the end.
    pub async fn next(&mut self) -> Result<Arc<Record>, Missed> {
        self.0.next().await
    }

    /// The next record if there is one now; `None` when there is not.
    pub fn try_next(&mut self) -> Option<Result<Arc<Record>, Missed>> {
        self.0.try_next()
    }
}

/// How a bus is, for `/readyz` and `/metrics`. Counters count from its opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusHealth {
    /// What is wrong and what to do; none when nothing is.
    pub failing: Option<String>,
    /// Why the broker takes nothing at the moment (a memory or disk alarm); it is in [`BusHealth::failing`] too.
    pub blocked: Option<String>,
    /// Live subscriptions.
    pub subscribers: usize,
    /// Records that were handed over.
    pub published: u64,
    /// Records that slow readers had to fetch from the store.
    pub lagged: u64,
    /// Messages that wait in this process for the carrier.
    pub waiting: usize,
    /// Of those, messages that were sent and not yet confirmed.
    pub unconfirmed: usize,
    /// Messages that the broker confirmed.
    pub confirmed: u64,
    /// Messages that were sent again, after a reconnect or a refusal.
    pub republished: u64,
    /// Messages that the broker refused for want of room.
    pub refused: u64,
    /// Times that a connection to a broker was made.
    pub connects: u64,
    /// Acknowledgements that came after their connection had gone, and were dropped.
    pub late_acks: u64,
    /// Messages that nobody can read and that were parked.
    pub unreadable: u64,
    /// Times that the broker gave nothing of a shard although messages waited in it, and the channel was made anew.
    pub stalls: u64,
    /// Live events that were announced here.
    pub announced: u64,
    /// Of those, live events that did not go to the other gateways: no broker, or no room.
    pub unheard: u64,
}
