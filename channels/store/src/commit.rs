//! What is written in one transaction.

use ark_conversation::{ConversationId, NewEvent, PersonId, Tenant};
use jiff::Timestamp;

use crate::Appended;
use crate::lease::Fence;
use crate::outbox::NewDelivery;
use crate::person::MergeOf;

/// One transaction of a conversation's owner: what it read from the inbox, what it made of it, and what goes out.
/// All of it is written, or none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// The lease under which it is written: every conversation in it must be of its shard, and the lease must not
    /// have passed on. None: written without a lease (the system's log, a gateway that is alone).
    pub fence: Option<Fence>,
    /// How far the logs are that it was decided by: when one has gone on, nothing is written ([`crate::StoreError::GoneOn`]).
    /// None of a conversation: it is written whatever is there.
    pub after: Vec<After>,
    /// Rows of the inbox that are done with this: [`crate::Inbound::row`]. One that is done already is no error.
    pub applied: Vec<u64>,
    /// Messages that go past the inbox, straight into the log: their events are among `events`. Not in one commit with `applied`.
    pub direct: Vec<Direct>,
    /// Events for the log, in order.
    pub events: Vec<NewEvent>,
    /// Messages for adapters.
    pub deliveries: Vec<NewDelivery>,
    /// Whose conversations they are, for [`crate::ListFilter::person`].
    pub persons: Vec<PersonOf>,
    /// Persons who turned out to be one. Those who are one already are passed over.
    pub merges: Vec<MergeOf>,
}

impl From<Vec<NewEvent>> for Commit {
    fn from(events: Vec<NewEvent>) -> Self {
        Self { events, ..Self::default() }
    }
}

/// A message that its conversation's owner takes straight into the log: it is known as if it had been through the inbox, and has
/// never waited there.
///
/// It is written only if it is what [`crate::Store::ingest`] and the owner behind it would have come to, which is looked at in
/// the same transaction: the message is new, its thread belongs to the conversation, that has not ended, and nobody's message
/// waits for it in the inbox (it would be overtaken). Else all of the commit is refused with
/// [`crate::StoreError::ByInbox`], and the message goes by the inbox. When the commit is answered, it may be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The thread: the message's `source`.
    pub source: String,
    /// The message's id.
    pub id: String,
    /// When Ark accepted it; cut to whole microseconds.
    pub at: Timestamp,
    /// The conversation; [`Commit::after`] names it.
    pub conversation: ConversationId,
    /// Whether the thread is new and begins the conversation, which has no log yet. Else the thread is the conversation's.
    pub begins: bool,
}

/// How far a conversation's log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The conversation.
    pub conversation: ConversationId,
    /// `seq` of its last record; 0: it has none.
    pub seq: u64,
}

/// Whose conversation it is. The conversation must be in the log, or begin in the same commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonOf {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The conversation.
    pub conversation: ConversationId,
    /// The person.
    pub person: PersonId,
}

/// What a [`Commit`] became.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Committed {
    /// For each event, in order.
    pub appended: Vec<Appended>,
    /// How many of the deliveries are new; the others have the (tenant, adapter, key) of one that was there.
    pub deliveries: usize,
    /// For each of [`Commit::direct`] its number in the inbox, as in [`crate::Ingested::row`].
    pub direct: Vec<u64>,
}
