//! The whole log of a tenant in one order: what feeds, webhooks and analysts read from a position on.

use ark_conversation::{Record, Tenant};

use crate::outbox::NewDelivery;

/// A record with its place in the order of a tenant's whole log.
#[derive(Clone, Debug, PartialEq)]
pub struct Positioned {
    /// Grows from record to record; there are numbers that no record has. Within a conversation it grows with `seq`.
    pub position: u64,
    /// The record.
    pub record: Record,
}

/// What [`crate::Store::feed`] answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedPage {
    /// Records in the order of their positions.
    pub records: Vec<Positioned>,
    /// Where the next page begins: everything up to here has been read, whatever is committed later.
    pub next: u64,
    /// Whether a transaction that is under way holds back what was committed behind it: ask again soon. Never so with
    /// SQLite, whose only writer commits in order.
    pub held: bool,
}

/// A named reader of the log moves on, and leaves deliveries, in one transaction: what it made of the log is made once.
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// Whose log.
    pub tenant: Tenant,
    /// The reader; at most [`crate::limits::DELIVERY_KEY_BYTES_MAX`] bytes.
    pub reader: String,
    /// Where it is now; none: it is not known yet. Anywhere else, and the whole is [`crate::StoreError::Conflict`].
    pub from: Option<u64>,
    /// Where it goes: [`FeedPage::next`].
    pub to: u64,
    /// What it leaves; at most [`crate::limits::COMMIT_ROWS_MAX`].
    pub deliveries: Vec<NewDelivery>,
}

/// How many deliveries an adapter or a webhook has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Those that wait or are under way.
    pub waiting: u64,
    /// Those that were given up.
    pub dead: u64,
}
