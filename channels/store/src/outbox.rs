//! What goes out: committed events to the bus, and messages to adapters.

use std::time::Duration;

use ark_conversation::{ConversationId, Record, Tenant};
use jiff::Timestamp;
use serde_json::Value;

/// Committed events that the relay has not confirmed yet: a stretch of one conversation's log, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The row, for [`crate::Store::outbox_done`].
    pub row: u64,
    /// The conversation's shard.
    pub shard: u16,
    /// The records; at most [`crate::limits::OUTBOX_ROW_EVENTS`].
    pub records: Vec<Record>,
}

/// A message for an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The adapter, or the webhook: who claims it.
    pub adapter: String,
    /// Unique within (tenant, adapter): the same key is delivered once.
    pub key: String,
    /// Deliveries of an adapter with the same order key go out one after the other.
    pub order_key: String,
    /// The conversation that it belongs to: erased with it.
    pub conversation: ConversationId,
    /// What to send.
    pub body: Value,
    /// Not before this time on the database's clock.
    pub not_before: Option<Timestamp>,
}

/// Where a delivery is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It waits to be claimed.
    Waiting,
    /// A gateway has claimed it.
    Claimed,
    /// It was delivered.
    Done,
    /// It was given up: [`crate::Store::replay_delivery`] takes it up again.
    Dead,
}

impl DeliveryState {
    pub(crate) const fn code(self) -> i16 {
        match self {
            Self::Waiting => 0,
            Self::Claimed => 1,
            Self::Done => 2,
            Self::Dead => 3,
        }
    }

    pub(crate) const fn from_code(code: i16) -> Self {
        match code {
            0 => Self::Waiting,
            1 => Self::Claimed,
            2 => Self::Done,
            _ => Self::Dead,
        }
    }
}

/// A delivery as the store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its number.
    pub id: u64,
    /// What was asked for.
    pub what: NewDelivery,
    /// Where it is in its life.
    pub state: DeliveryState,
    /// How often it was claimed. The claim's own token: [`crate::Store::settle_delivery`] with an older one changes
    /// nothing.
    pub attempts: u32,
    /// What the last failed attempt said; [`LAPSED`] when its claim ran out before it said anything.
    pub error: Option<String>,
}

/// [`Delivery::error`] of one whose last claim ran out: whoever had it died, and what came of it is not known.
pub const LAPSED: &str = "its claim ran out, and nobody said what came of it";

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side has it.
    Delivered,
    /// To be tried again after this time; those behind it with the same order key wait.
    Retry {
        /// What went wrong.
        error: String,
        /// How long to wait.
        after: Duration,
    },
    /// Given up; those behind it with the same order key go on.
    GiveUp {
        /// What went wrong.
        error: String,
    },
}
