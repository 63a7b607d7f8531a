//! The log of record: trait [`Store`], on SQLite (one gateway) and on PostgreSQL (several).
//!
//! Nothing else is the record: the bus carries what was committed here, pages and desks read it. The laws that every
//! store keeps are at [`Store`]; `contract` holds them as tests, and both backends run them.
//!
//! The road through it: [`Store::ingest`] makes a message from outside durable and finds or makes its conversation;
//! the gateway that holds the lease of the conversation's shard ([`Store::claim`]) reads it from the inbox, and writes
//! what it makes of it with one [`Store::commit`]: the inbox row done, events in the log, deliveries for adapters, and
//! the events in the outbox from which a relay carries them to the bus. An owner that is given a message itself may write
//! all of it with one commit ([`Commit::direct`]): the message is known, and in the log, and never waits.

mod account;
mod check;
mod commit;
#[doc(hidden)]
pub mod contract;
mod erase;
mod error;
#[doc(hidden)]
pub mod failpoint;
mod feed;
#[doc(hidden)]
pub mod fuzz;
mod heads;
mod health;
mod inbox;
#[doc(hidden)]
pub mod kit;
mod lease;
pub mod limits;
mod note;
mod outbox;
mod pace;
mod pending;
mod person;
mod plan;
mod postgres;
mod search;
mod sqlite;
mod token;
mod waiting;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use ark_conversation::{
    ConversationId, ConversationKind, ConversationState, IdentityKey, NewEvent, PersonId, Record, Tenant,
};
use jiff::Timestamp;

pub use account::{
    Account, AccountChange, Credentials, NewAccount, PasswordHash, Role, Session, name_fits as account_name_fits,
};
pub use check::{Backup, Check, Restored};
pub use commit::{After, Commit, Committed, Direct, PersonOf};
pub use erase::{AuditRow, Erase, Erased, Replayed, Retention, replay};
pub use error::StoreError;
pub use feed::{Advance, DeliveryCounts, FeedPage, Positioned};
pub use health::{Health, HealthState};
pub use inbox::{Backlog, Inbound, Ingested, Join, NewInbound};
pub use lease::{Attendance, Fence, Lease, Presence, Topology};
pub use note::Note;
pub use outbox::{Delivery, DeliveryState, LAPSED, NewDelivery, Outcome, Outgoing};
pub use person::{Identified, Identity, Merge, MergeOf, NewIdentity};
pub use plan::{NewPlanVersion, PlanChange, PlanChangeKind, PlanVersion};
pub use postgres::{PostgresOptions, PostgresStore};
pub use search::{Found, says};
pub use sqlite::{Options, SqliteStore, restore, verify};
pub use token::ApiToken;

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
    /// Only those that began before this time.
    pub until: Option<Timestamp>,
    /// Only those before this one in the list: [`Page::next`] of the page before.
    pub before: Option<ConversationId>,
    /// Only those of this person, and of the persons that were merged into them.
    pub person: Option<PersonId>,
    /// Only those that an event came to by this channel: the third part of its source (`sip`, an adapter's name).
    pub channel: Option<String>,
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
/// - What is written in one call is in the store as a whole or not at all.
/// - Under a lease that has passed on nothing is written: [`StoreError::Fenced`].
///
/// Numbers L3, L6 and L7 belong to the bus. Every method may be called from any task; none blocks the calling thread.
pub trait Store: Send + Sync + 'static {
    /// Appends events, all or none, in the order given; they may be of several conversations. Answers in the same
    /// order. An event of an epoch before that of its log is written under the log's: an epoch never goes back.
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

    /// Records that say these words, in messages, transcripts and notes, whatever the case of their letters: of a window of
    /// [`limits::SEARCH_ROWS_MAX`] records of the log, from the newest conversation on or from [`Found::next`] of the window before. A
    /// page without any is not the end while there is a next.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for no words, or more than [`limits::SEARCH_CHARS_MAX`]; otherwise as [`Store::append`].
    fn search(&self, tenant: &Tenant, words: &str, before: Option<(ConversationId, u64)>) -> Answer<'_, Found>;

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

    /// Keeps an API token. Of those that were taken back or have ended longer than [`limits::TOKEN_KEPT`] ago nothing stays.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a token that is good has its name; [`StoreError::Refused`] for one that does not fit, and
    /// when [`limits::TOKENS_MAX`] are kept; otherwise as [`Store::append`].
    fn put_token(&self, token: ApiToken) -> Answer<'_, ()>;

    /// Every API token, the oldest first.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn tokens(&self) -> Answer<'_, Vec<ApiToken>>;

    /// Takes a token back, by its id or its name; none: there is no such token, or it was taken back before.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn revoke_token(&self, which: &str, at: Timestamp) -> Answer<'_, Option<ApiToken>>;

    /// Writes down that a token was shown. One that is not there is no error.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn token_used(&self, id: &str, at: Timestamp) -> Answer<'_, ()>;

    /// Keeps a new account.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when its name or its subject is taken, or it was to be the first and there is one;
    /// [`StoreError::Refused`] for one that does not fit, and when [`limits::ACCOUNTS_MAX`] are kept; otherwise as
    /// [`Store::append`].
    fn put_account(&self, new: NewAccount) -> Answer<'_, ()>;

    /// Every account, by name.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn accounts(&self) -> Answer<'_, Vec<Account>>;

    /// One account, with how they prove who they are; none when there is none.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn account(&self, name: &str) -> Answer<'_, Option<(Account, Credentials)>>;

    /// The account that is this subject at the identity provider; none when nobody is.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn account_of_subject(&self, subject: &str) -> Answer<'_, Option<Account>>;

    /// Changes an account, and ends the sessions that the change ends, in one transaction. Answers it as it is now; none when
    /// there is none.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for what does not fit; [`StoreError::Conflict`] when another has the subject; otherwise as
    /// [`Store::append`].
    fn change_account(&self, name: &str, change: AccountChange) -> Answer<'_, Option<Account>>;

    /// Forgets an account and its sessions. Answers whether there was one. What logs say of it stays.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn remove_account(&self, name: &str) -> Answer<'_, bool>;

    /// Keeps a session; those that have ended are forgotten, and of an account with more than
    /// [`limits::SESSIONS_PER_ACCOUNT_MAX`] those that were used longest ago.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is no such account, or it is disabled; [`StoreError::Refused`] for one that does
    /// not fit; otherwise as [`Store::append`].
    fn put_session(&self, session: Session) -> Answer<'_, ()>;

    /// A session by the hash of its secret, with its account; none when there is none. It may have ended by time, and its
    /// account may be disabled: the caller looks.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn session(&self, sha256: &str) -> Answer<'_, Option<(Session, Account)>>;

    /// Prolongs a session that was used. Answers whether it is there.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn renew_session(&self, sha256: &str, used_at: Timestamp, ends_at: Timestamp) -> Answer<'_, bool>;

    /// Ends a session. Answers whether it was there.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn end_session(&self, sha256: &str) -> Answer<'_, bool>;

    /// Writes one transaction: inbox rows done, messages that go past the inbox, events, deliveries, persons.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease has passed on; [`StoreError::GoneOn`] when a log is not where
    /// [`Commit::after`] says; [`StoreError::ByInbox`] when one of [`Commit::direct`] must not go past the inbox; otherwise
    /// as [`Store::append`].
    fn commit(&self, commit: Commit) -> Answer<'_, Committed>;

    /// Puts a message from outside into the inbox, once for each (tenant, source, id), and finds or makes the
    /// conversation that its thread belongs to, in the same transaction. Answered with `Ok`, it is durable.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn ingest(&self, new: NewInbound) -> Answer<'_, Ingested>;

    /// Rows of the inbox that are not applied, the oldest first, of these shards (none given: of all), with a number
    /// above `after`; at most `limit`, never more than [`limits::PAGE_ROWS_MAX`]. Rows that several gateways wrote at
    /// once may appear out of order, so the owner's poll begins at 0 again; a thread's own rows never do.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn inbox(&self, shards: &[u16], after: u64, limit: usize) -> Answer<'_, Vec<Inbound>>;

    /// The conversation that a thread belongs to; none when it was never seen.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn thread(&self, tenant: &Tenant, source: &str) -> Answer<'_, Option<ConversationId>>;

    /// Committed events that are not confirmed yet, the oldest first, of these shards (none given: of all), without the
    /// rows of these numbers (they are under way); as many rows as fit the bounds of a page. A conversation's own rows are
    /// in order, whoever wrote them. Empty for a store that was opened without an outbox.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn outbox(&self, shards: &[u16], without: &[u64], limit: usize) -> Answer<'_, Vec<Outgoing>>;

    /// The bus has confirmed these rows: they are forgotten. Rows that are gone already are no error.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn outbox_done(&self, rows: Vec<u64>) -> Answer<'_, ()>;

    /// Claims deliveries of an adapter for a time: of each order key the oldest that is not over, when its time has
    /// come and nobody else holds it. At most `limit`, never more than [`limits::PAGE_ROWS_MAX`]. A claim that is not
    /// settled in time is claimed again.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn claim_deliveries(&self, adapter: &str, gateway: &str, ttl: Duration, limit: usize) -> Answer<'_, Vec<Delivery>>;

    /// Ends the attempt number `attempt` of a delivery. Answers whether it was still that attempt's.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn settle_delivery(&self, id: u64, attempt: u32, outcome: Outcome) -> Answer<'_, bool>;

    /// Deliveries of an adapter in one state, the oldest first, with a number above `after`; at most `limit`, never
    /// more than [`limits::PAGE_ROWS_MAX`].
    ///
    /// # Errors
    /// As [`Store::append`].
    fn deliveries(
        &self,
        tenant: &Tenant,
        adapter: &str,
        state: DeliveryState,
        after: u64,
        limit: usize,
    ) -> Answer<'_, Vec<Delivery>>;

    /// Takes up again a delivery that is dead or done. Answers whether there was one.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn replay_delivery(&self, tenant: &Tenant, id: u64) -> Answer<'_, bool>;

    /// How many deliveries of an adapter wait, and how many were given up.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn delivery_counts(&self, tenant: &Tenant, adapter: &str) -> Answer<'_, DeliveryCounts>;

    /// Forgets deliveries of an adapter that came into this state (done or dead) longer ago than `age` on the
    /// database's clock. Looks at the oldest [`limits::PAGE_ROWS_MAX`] and answers how many it forgot: call it again
    /// until that is 0.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for deliveries that are not over; otherwise as [`Store::append`].
    fn forget_deliveries(&self, tenant: &Tenant, adapter: &str, state: DeliveryState, age: Duration)
    -> Answer<'_, u64>;

    /// Reads a tenant's whole log after a position (0: from its beginning) in the order of positions. What a page was
    /// once followed by never gets anything between: a reader that goes on from [`FeedPage::next`] sees each record
    /// once. At most `limit` records, never more than [`limits::READ_RECORDS_MAX`] or much more than
    /// [`limits::READ_BYTES_MAX`]: a short page is not the end, an empty one is the end for now.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn feed(&self, tenant: &Tenant, after: u64, limit: usize) -> Answer<'_, FeedPage>;

    /// The position after which [`Store::feed`] gives what is committed from now on.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn feed_end(&self) -> Answer<'_, u64>;

    /// Where a named reader of a tenant's log is; none when it has not begun.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn reader(&self, tenant: &Tenant, name: &str) -> Answer<'_, Option<u64>>;

    /// Moves a named reader on and leaves its deliveries, in one transaction. Answers how many of the deliveries are
    /// new.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the reader is not where [`Advance::from`] says (another gateway moved it), and
    /// nothing was written; otherwise as [`Store::append`].
    fn advance(&self, advance: Advance) -> Answer<'_, usize>;

    /// How much waits.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn backlog(&self) -> Answer<'_, Backlog>;

    /// How many shards there are.
    fn topology(&self) -> Topology;

    /// A note that the gateways of a site share; none: nobody has written it.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn note(&self, tenant: &Tenant, name: &str) -> Answer<'_, Option<Note>>;

    /// Writes a note for whoever knew it: `known` is its version, 0 when there was none. Answers whether that was so; if not,
    /// nothing was written.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for one that does not fit, and when there are [`limits::NOTES_MAX`]; otherwise as
    /// [`Store::append`].
    fn swap_note(&self, tenant: &Tenant, name: &str, known: u64, body: Vec<u8>) -> Answer<'_, bool>;

    /// Changes the number of shards. Allowed when nobody holds a lease and inbox and outbox are empty: drain first.
    /// The store must be opened again afterwards, by every gateway: this one refuses leases and commits with
    /// [`StoreError::Conflict`] from then on.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not the next version or something is in the way; otherwise as
    /// [`Store::append`].
    fn set_topology(&self, topology: Topology) -> Answer<'_, ()>;

    /// Takes the lease of a shard for a time on the database's clock: when it is free, has run out, or is this
    /// gateway's own (a gateway that was started again). Every fence granted is larger than those before it.
    ///
    /// # Errors
    /// [`StoreError::Held`] when another gateway has it; otherwise as [`Store::append`].
    fn claim(&self, shard: u16, gateway: &str, ttl: Duration) -> Answer<'_, Fence>;

    /// Prolongs leases from now on. Answers for each whether it is still held; one that ran out and that nobody else
    /// took is.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn renew(&self, fences: Vec<Fence>, ttl: Duration) -> Answer<'_, Vec<bool>>;

    /// Gives leases back, so that others need not wait for their end. Stale ones are no error.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn release(&self, fences: Vec<Fence>) -> Answer<'_, ()>;

    /// The leases that were ever granted, by shard.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn leases(&self) -> Answer<'_, Vec<Lease>>;

    /// Says that a gateway is here, for a time on the database's clock, and answers every gateway that ever was, by id.
    /// Called again and again: who stops is gone when the time has run out.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when a process at another place is here under the same id; otherwise as [`Store::append`].
    fn attend(&self, attendance: Attendance, ttl: Duration) -> Answer<'_, Vec<Presence>>;

    /// Says that a process goes in good order, so that nobody waits for its time to run out. One that was replaced
    /// changes nothing.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn leave(&self, attendance: Attendance) -> Answer<'_, ()>;

    /// Finds the person of a key, or gives the key to a person. A verified key belongs to one person of a tenant; an
    /// asserted one proves nothing, and many may have it. A key that its own person verifies later is raised.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn identify(&self, new: NewIdentity) -> Answer<'_, Identified>;

    /// The person who has this key as a verified one, as they are now; none when nobody has.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn owner(&self, tenant: &Tenant, key: &IdentityKey) -> Answer<'_, Option<PersonId>>;

    /// A person's keys, those of the persons merged into them included; empty when they are not known.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn identities(&self, tenant: &Tenant, person: PersonId) -> Answer<'_, Vec<Identity>>;

    /// The person that this one is today: themselves, or the one that they were merged into; none when not known.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn person(&self, tenant: &Tenant, person: PersonId) -> Answer<'_, Option<PersonId>>;

    /// Merges one person into another, with its event and an audit row in one transaction. Conversations and keys
    /// stay as they are, so that it can be undone.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when one of them is not known, or they are one already; otherwise as
    /// [`Store::append`].
    fn merge(&self, merge: Merge) -> Answer<'_, Appended>;

    /// Undoes a merge, with its event and an audit row in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is no such merge; otherwise as [`Store::append`].
    fn unmerge(&self, merge: Merge) -> Answer<'_, Appended>;

    /// Replaces bodies by tombstones, folds the conversation's state anew, and writes an audit row, in one
    /// transaction. Numbers, ids, sources and times stay, and so does the hash of the log.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn erase(&self, erase: Erase) -> Answer<'_, Erased>;

    /// Erases conversations that ended before a time, the oldest first, at most [`limits::RETAIN_CONVERSATIONS`] of
    /// them, each in a transaction of its own: called again until it answers none.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn retain(&self, retention: Retention) -> Answer<'_, Erased>;

    /// Forgets a person's keys, with an audit row; their conversations are erased one by one with [`Store::erase`].
    /// Answers how many keys there were.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn forget(&self, tenant: &Tenant, person: PersonId, by: &str, at: Timestamp) -> Answer<'_, u64>;

    /// The audit trail, newest first, of one conversation or of all, before a row; at most `limit`, never more than
    /// [`limits::LIST_MAX`].
    ///
    /// # Errors
    /// As [`Store::append`].
    fn audit(
        &self,
        tenant: &Tenant,
        conversation: Option<ConversationId>,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<'_, Vec<AuditRow>>;

    /// Reads everything once and says whether it keeps the laws: logs without gaps, a row for each conversation.
    /// Takes as long as reading the file.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first breach; otherwise as [`Store::append`].
    fn check(&self) -> Answer<'_, Check>;

    /// Copies the store to a new file while it is in use, and checks the copy.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is a file already; [`StoreError::Refused`] when the database's own program
    /// that makes copies is missing; otherwise as [`Store::check`].
    fn backup(&self, to: &Path) -> Answer<'_, Backup>;

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

/// A conversation's kind as it stands in a row.
pub(crate) fn kind_name(kind: ConversationKind) -> &'static str {
    match kind {
        ConversationKind::Call => "call",
        ConversationKind::Chat => "chat",
        ConversationKind::System => "system",
        ConversationKind::Other => "other",
    }
}
