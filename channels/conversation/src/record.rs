//! The log record.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cloud_event::CloudEvent;
use crate::id::{ConversationId, Tenant};

/// One line of a conversation's log, as it was committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The conversation.
    pub conversation: ConversationId,
    /// 1, 2, 3 ... within the conversation, without gaps; given by the store's single writer.
    #[schemars(range(min = 1))]
    pub seq: u64,
    /// Ownership of the conversation when it was written, from 1.
    #[schemars(range(min = 1))]
    pub epoch: u64,
    /// When Ark accepted it, in whole microseconds.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The event in its envelope.
    pub event: CloudEvent,
}

/// An event on its way into the log: a [`Record`] that has no `seq` yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The conversation.
    pub conversation: ConversationId,
    /// Ownership under which it is written, from 1.
    pub epoch: u64,
    /// When Ark accepted it; the store cuts it to whole microseconds.
    pub at: Timestamp,
    /// The event in its envelope.
    pub event: CloudEvent,
}

impl NewEvent {
    /// The record that it becomes as number `seq` of its conversation.
    #[must_use]
    pub fn into_record(self, seq: u64) -> Record {
        let Self { tenant, conversation, epoch, at, event } = self;
        Record { tenant, conversation, seq, epoch, at: crate::cloud_event::whole_microseconds(at), event }
    }
}
