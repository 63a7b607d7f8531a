//! The log of record: trait [`Store`] and its SQLite form.
//!
//! Nothing else is the record: the bus carries what was committed here, pages and desks read it. The laws that every
//! store keeps are at [`Store`]; `contract` holds them as tests.

#[doc(hidden)]
pub mod contract;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod health;
pub mod limits;
mod plan;
mod sqlite;

use std::future::Future;
use std::pin::Pin;

use ark_conversation::{ConversationId, ConversationKind, ConversationState, NewEvent, Record, Tenant};
use jiff::Timestamp;

pub use error::StoreError;
pub use health::{Health, HealthState};
pub use plan::{NewPlanVersion, PlanChange, PlanChangeKind, PlanVersion};
pub use sqlite::{Options, SqliteStore};

/// A future that a store returns: boxed, so that the trait can be an object and the backend a line of the
/// configuration.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What became of one event of an append.
#[derive(Clone, Debug, PartialEq)]
pub struct Appended {
    /// The record in the log: the new one, or for a duplicate the one that was there.
    pub record: Record,
    /// Whether an event with this (tenant, source, id) was in the log before; nothing was written then.
    pub duplicate: bool,
}

/// Which conversations a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Openness {
    /// All of them.
    #[default]
    All,
    /// Those that have a leg alive.
    Open,
    /// Those that have ended.
    Ended,
}

/// What to list. The default is the newest page of everything but the system's own log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Open ones, ended ones, or both.
    pub openness: Openness,
    /// Of one kind only; none: every kind but the system's own log.
    pub kind: Option<ConversationKind>,
    /// Only those that began at or after this time.
    pub since: Option<Timestamp>,
    /// Only those before this one in the list: [`Page::next`] of the page before.
    pub before: Option<ConversationId>,
}

/// A page of conversations, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The conversations as their logs tell them.
    pub conversations: Vec<ConversationState>,
    /// For [`ListFilter::before`] of the next page; none when this one is the last.
    pub next: Option<ConversationId>,
}

/// The log of record.
///
/// # Laws
/// - **L1 order**: within a conversation `seq` is 1, 2, 3 ... without gaps, in the order in which events were appended.
/// - **L2 durable**: what was answered with `Ok` is in the log for ever, whatever is killed afterwards.
/// - **L4 once**: an event with the same (tenant, source, id) is in the log once; appending it again answers the
///   record that is there.
/// - **L5 prefix**: a reader sees a prefix of each conversation's log, and what it has seen once stays; it never sees
///   what may vanish.
/// - An append that failed is either absent or, after a crash at the wrong moment, there; appending it again is
///   always safe (L4).
///
/// Numbers L3, L6 and L7 belong to the bus. Every method may be called from any task; none blocks the calling thread.
pub trait Store: Send + Sync + 'static {
    /// Appends events, all or none, in the order given; they may be of several conversations. Answers in the same
    /// order.
    ///
    /// # Errors
    /// [`StoreError::Busy`] at once when too much waits already; [`StoreError::Refused`] for what can never be
    /// appended; otherwise what the disk or the database said. The store goes on after each of them.
    fn append(&self, events: Vec<NewEvent>) -> Answer<'_, Vec<Appended>>;

    /// Reads a conversation's log after `after_seq` (0: from its beginning), in order. At most `limit` records, never
    /// more than [`limits::READ_RECORDS_MAX`] or much more than [`limits::READ_BYTES_MAX`]: a short page is not the
    /// end, an empty one is, also for a conversation that is not there.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn read(
        &self,
        tenant: &Tenant,
        conversation: ConversationId,
        after_seq: u64,
        limit: usize,
    ) -> Answer<'_, Vec<Record>>;

    /// Lists conversations, newest first. At most `limit`, never more than [`limits::LIST_MAX`].
    ///
    /// # Errors
    /// As [`Store::append`].
    fn list(&self, tenant: &Tenant, filter: ListFilter, limit: usize) -> Answer<'_, Page>;

    /// One conversation as its log tells it; none when it is not there.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn summary(&self, tenant: &Tenant, conversation: ConversationId) -> Answer<'_, Option<ConversationState>>;

    /// Keeps a plan's source under the next version number of its name. The same source again (by SHA-256) answers
    /// the version that is there. Nothing goes live by this.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn put_plan_version(&self, plan: NewPlanVersion) -> Answer<'_, PlanVersion>;

    /// The versions of one plan, or of all, newest first; at most `limit`, never more than [`limits::LIST_MAX`].
    ///
    /// # Errors
    /// As [`Store::append`].
    fn plan_versions(&self, tenant: &Tenant, name: Option<&str>, limit: usize) -> Answer<'_, Vec<PlanVersion>>;

    /// One version of a plan.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn plan_version(&self, tenant: &Tenant, name: &str, version: u32) -> Answer<'_, Option<PlanVersion>>;

    /// The version of a plan that is live.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn live_plan(&self, tenant: &Tenant, name: &str) -> Answer<'_, Option<PlanVersion>>;

    /// Makes a version live (publish and rollback alike), and appends `event` to the log in the same transaction.
    /// Answers the live version and the one that was live before. Making live what is live already changes nothing
    /// and appends nothing.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPlan`] when there is no such version; otherwise as [`Store::append`].
    fn set_live_plan(&self, change: PlanChange, event: Option<NewEvent>) -> Answer<'_, LivePlan>;

    /// What was live when, newest first; at most `limit`, never more than [`limits::LIST_MAX`].
    ///
    /// # Errors
    /// As [`Store::append`].
    fn plan_history(&self, tenant: &Tenant, name: &str, limit: usize) -> Answer<'_, Vec<PlanChange>>;

    /// Whether it can write and read now. Never fails: what is wrong is in the answer. After a failed write this
    /// tries one, so that an idle store is found well again.
    fn health(&self) -> Pin<Box<dyn Future<Output = Health> + Send + '_>>;

    /// The id that this store was given when it was made, 32 hex digits: what a bus topology carries (ARCHITECTURE.md
    /// D5).
    fn store_id(&self) -> &str;
}

/// The answer of [`Store::set_live_plan`].
#[derive(Clone, Debug, PartialEq)]
pub struct LivePlan {
    /// What is live now.
    pub live: PlanVersion,
    /// The version that was live before, if any; the same as `live.version` when nothing changed.
    pub previous: Option<u32>,
    /// The record of the event, when one was appended.
    pub appended: Option<Appended>,
}
