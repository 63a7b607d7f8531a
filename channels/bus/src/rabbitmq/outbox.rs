//! Messages that wait for the broker: a bounded queue that never makes its caller wait.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ark_conversation::Record;
use tokio::sync::Notify;

use super::adapters::{ForAdapter, Parked};
use crate::limits::{PUBLISH_QUEUE_BYTES, PUBLISH_QUEUE_MESSAGES};
use crate::receipt::Stub;
use crate::{BusError, Shard};

/// What to do when the broker refuses a message for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnRefusal {
    /// Offer it again, it and what follows in its shard.
    OfferAgain,
    /// Say so in the receipt: the shard does not keep up.
    Tell(Shard),
    /// A command to a gateway that is not there, or does not read.
    Drop,
    /// Say so in the receipt: whoever handed it over tries again by itself.
    Say,
}

/// What a message says: address and properties are made of it each time that it is sent, so that none are kept or copied.
pub(super) enum What {
    /// A committed record.
    Record(Arc<Record>),
    /// Something waits in an inbox: the conversation, and source and id of what waits.
    WakeUp {
        /// The conversation as text.
        conversation: String,
        /// Source and id, joined by `#`.
        idem: String,
        /// The id alone.
        id: String,
        /// When it was handed over, in Unix seconds.
        unix_s: i64,
    },
    /// A command to this gateway.
    Command(String),
    /// An event for an adapter.
    ForAdapter(Box<ForAdapter>),
    /// What an adapter brought and nobody can use.
    Parked(Box<Parked>),
}

/// One message on its way to the broker.
pub(super) struct Outgoing {
    pub(super) what: What,
    pub(super) shard: Shard,
    /// Shared with the client library while it is being sent.
    pub(super) body: Arc<Vec<u8>>,
    pub(super) attempts: u32,
    pub(super) on_refusal: OnRefusal,
    pub(super) stub: Stub,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Outgoing>,
    /// Of all messages that are not settled, those in the window included.
    count: usize,
    bytes: usize,
    closed: bool,
}

/// The queue before the broker.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    /// Something was put in, or it was closed.
    pub(super) news: Notify,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all of them or none. `full` says why there is no room, from how many wait.
    pub(super) fn put(&self, messages: Vec<Outgoing>, full: impl FnOnce(usize) -> BusError) -> Result<(), BusError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(BusError::Closed);
        }
        let bytes: usize = messages.iter().map(|message| message.body.len()).sum();
        if waiting.count + messages.len() > PUBLISH_QUEUE_MESSAGES || waiting.bytes + bytes > PUBLISH_QUEUE_BYTES {
            let error = full(waiting.count);
            // The receipts are told by the error.
            messages.into_iter().for_each(|message| message.stub.failed(error.clone()));
            return Err(error);
        }
        waiting.count += messages.len();
        waiting.bytes += bytes;
        waiting.messages.extend(messages);
        drop(waiting);
        self.news.notify_one();
        Ok(())
    }

    /// Takes the oldest ones, so many at most.
    pub(super) fn take(&self, at_most: usize, into: &mut Vec<Outgoing>) {
        let mut waiting = self.lock();
        let count = at_most.min(waiting.messages.len());
        into.extend(waiting.messages.drain(..count));
    }

    /// Puts messages back to be sent first, in this order.
    pub(super) fn put_back(&self, messages: impl DoubleEndedIterator<Item = Outgoing>) {
        let mut waiting = self.lock();
        for message in messages.rev() {
            waiting.messages.push_front(message);
        }
    }

    /// So many messages with so many bytes are no more this queue's.
    pub(super) fn settled(&self, messages: usize, bytes: usize) {
        let mut waiting = self.lock();
        waiting.count -= messages;
        waiting.bytes -= bytes;
    }

    /// Messages that are not settled.
    pub(super) fn count(&self) -> usize {
        self.lock().count
    }

    /// Nothing more is taken; what waits is given up.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let left = std::mem::take(&mut waiting.messages);
        waiting.count -= left.len();
        drop(waiting);
        left.into_iter().for_each(|message| message.stub.failed(BusError::Closed));
        self.news.notify_one();
    }
}
