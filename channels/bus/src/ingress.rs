//! The ingress direction: wake-ups, their readers, and what was given up.

use std::fmt;

use ark_conversation::{CloudEvent, ConversationId, Tenant};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Answer, Shard};

/// Tells the owner of a conversation that something waits for it in its inbox.
///
/// It has no `seq`: the owner gives it one when it appends. Duplicates are told by (tenant, source, id).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WakeUp {
    /// Whose data it is.
    pub tenant: Tenant,
    /// Which conversation.
    pub conversation: ConversationId,
    /// Where the event comes from.
    pub source: String,
    /// Its id, unique within (tenant, source).
    pub id: String,
    /// The event, when it is small enough to travel along; else it is in the inbox only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<CloudEvent>,
}

impl WakeUp {
    /// A wake-up that carries its event.
    #[must_use]
    pub fn with_event(tenant: Tenant, conversation: ConversationId, event: CloudEvent) -> Self {
        Self { tenant, conversation, source: event.source.clone(), id: event.id.clone(), event: Some(event) }
    }
}

/// What a reader says of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is committed.
    Ack,
    /// Give it again; after [`crate::limits::DELIVERY_LIMIT`] times it is parked.
    Again,
    /// Park it among the dead letters now.
    Park,
}

/// How a backend takes a verdict.
pub trait Settle: Send {
    /// Takes it; `false`: it came too late, the delivery was given to somebody else meanwhile.
    fn settle(self: Box<Self>, verdict: Verdict) -> Answer<'static, bool>;
}

/// One wake-up in the hands of its reader. It counts against [`crate::limits::PREFETCH`] until it is settled; dropping
/// it unsettled leaves it with this reader until the reader goes.
pub struct Delivery {
    /// What it says.
    pub wake_up: WakeUp,
    /// Its shard.
    pub shard: Shard,
    /// How often it has been given, this time included: from 1.
    pub deliveries: u32,
    settle: Box<dyn Settle>,
}

impl Delivery {
    /// A delivery of a backend.
    #[must_use]
    pub fn new(wake_up: WakeUp, shard: Shard, deliveries: u32, settle: Box<dyn Settle>) -> Self {
        Self { wake_up, shard, deliveries, settle }
    }

    /// To be called after the commit of what it brought. `false`: too late, it will be given again, to this reader
    /// or to another one; (source, id) tells that it is known.
    pub async fn ack(self) -> bool {
        self.settle.settle(Verdict::Ack).await
    }

    /// Gives it back to be given again. What came after it in this shard may come before it: a reader that must keep
    /// a conversation's order keeps the delivery and tries again itself.
    pub async fn again(self) -> bool {
        self.settle.settle(Verdict::Again).await
    }

    /// Parks it among the dead letters.
    pub async fn park(self) -> bool {
        self.settle.settle(Verdict::Park).await
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("wake_up", &self.wake_up).field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// What a bus gives one reader of shards: implemented by each backend.
pub trait IngressFeed: Send {
    /// The next delivery, waiting for it; none: the bus was closed. Cancelling the future loses nothing.
    fn next(&mut self) -> Answer<'_, Option<Delivery>>;
}

/// A reader of shards; dropping it gives what it had not acknowledged to the next one.
pub struct Ingress(Box<dyn IngressFeed>);

impl Ingress {
    /// Wraps a backend's feed.
    #[must_use]
    pub fn new(feed: impl IngressFeed + 'static) -> Self {
        Self(Box::new(feed))
    }

    /// The next delivery, waiting for it; none: the bus was closed. Cancelling the future loses nothing.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.0.next().await
    }
}

/// Which dead letters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that are there now, [`crate::limits::DEAD_SCAN_MAX`] at most.
    All,
    /// Those with this id.
    Id(String),
}

/// A message that was given up and lies where people see it.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// The message's id: an event's id.
    pub id: String,
    /// The queue in which it died.
    pub queue: String,
    /// Why: `delivery_limit` (given too often), `rejected` (parked or unreadable), `expired`, `maxlen`;
    /// of an adapter's message that a gateway could not use, a sentence.
    pub reason: String,
    /// Its conversation, when it said one.
    pub conversation: Option<String>,
    /// When it died, to the second.
    pub at: Option<Timestamp>,
    /// Its size, in bytes.
    pub bytes: usize,
    /// Its body. It may hold what customers wrote: show it only to whom may read their conversations.
    #[serde(skip)]
    pub body: Vec<u8>,
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, queue, reason, at, bytes, .. } = self;
        write!(f, "DeadLetter({id} of {queue}: {reason} at {at:?}, {bytes} bytes)")
    }
}
