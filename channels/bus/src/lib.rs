//! The carrier of committed events: trait [`Bus`] and its embedded form.
//!
//! The bus is never the record: what it carries was committed by the store before, and whoever misses something reads
//! it there. A reader that joins a conversation subscribes first, reads the store, then follows the bus through a
//! [`Cursor`]: each record once, in order (law L6).

mod cursor;
mod embedded;
pub mod limits;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ark_conversation::{ConversationId, Record, Tenant};

pub use cursor::{Cursor, Seen};
pub use embedded::EmbeddedBus;

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

/// Why the bus did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// There are as many subscribers as may be.
    #[error("the bus has {subscribers} subscribers already; close some or try again later")]
    Full {
        /// How many there are.
        subscribers: usize,
    },
    /// The bus was closed.
    #[error("the bus is closed")]
    Closed,
}

/// Why a subscription has no record to give now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// The reader was too slow and this many records that it wanted were not kept for it. Read them from the store by
    /// `seq`; the records after this follow here.
    #[error("{missed} records were not kept for this slow reader; read them from the store")]
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The bus was closed; everything that was published before was given.
    #[error("the bus is closed")]
    Closed,
}

/// The carrier of committed events.
///
/// # Laws
/// - **L3 order**: a subscriber sees a conversation's records in the order in which they were published; publishers
///   publish in the order of `seq`.
/// - **L7 not silently**: each record that was published while a subscription lives is given to it at least once, or
///   counted in [`Missed::Lagged`] at its place.
/// - A slow or stuck subscriber holds up neither the publisher nor its neighbours.
pub trait Bus: Send + Sync + 'static {
    /// Carries committed records to whoever wants them, in the order given.
    ///
    /// # Errors
    /// [`BusError::Closed`].
    fn publish(&self, records: Vec<Arc<Record>>) -> Answer<'_, Result<(), BusError>>;

    /// Begins to keep what is published from now on, for one reader.
    ///
    /// # Errors
    /// [`BusError::Full`] or [`BusError::Closed`].
    fn subscribe(&self, filter: Filter) -> Answer<'_, Result<Subscription, BusError>>;

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

/// How a bus is, for `/readyz` and `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusHealth {
    /// What is wrong and what to do; none when nothing is.
    pub failing: Option<String>,
    /// Live subscriptions.
    pub subscribers: usize,
    /// Records published since it was opened.
    pub published: u64,
    /// Records that slow readers had to fetch from the store since it was opened.
    pub lagged: u64,
}
