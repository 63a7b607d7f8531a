//! What goes into one commit, and what follows once it is there.

use std::collections::BTreeMap;

use ark_conversation::event::{EraseReason, MessageOut};
use ark_conversation::machine::{Delivery, Effect};
use ark_conversation::source::ThreadSource;
use ark_conversation::{ConversationId, Hash, NewEvent, Tenant};
use ark_store::limits::{DELIVERY_BYTES_MAX, DELIVERY_KEY_BYTES_MAX};
use ark_store::{After, Commit, Inbound, MergeOf, NewDelivery, PersonOf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::command::{Asked, Outcome};
use super::direct::Took;
use super::limits::BATCH_EVENTS;
use super::machines::Key;
use super::plans::Asking;
use crate::conversations::shards::Right;

/// The name under which rows of the inbox are parked that no conversation takes.
pub const PARKED: &str = "ark.parked";

/// What follows from a commit for the desk, the router and the plans: never before it is in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The conversation.
    pub conversation: ConversationId,
    /// What. Messages for channels are not among it: they are deliveries in the store.
    pub effect: Effect,
}

/// A row that was parked, as its delivery's body has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParkedRow {
    /// The row that it was.
    pub row: u64,
    /// When it was accepted.
    pub at: Timestamp,
    /// Why no conversation takes it.
    pub reason: String,
    /// The message, as it came: it may be that its data does not fit its type.
    pub event: serde_json::Value,
}

/// An order to erase, to be carried out after its commit.
pub(super) type Erasing = (Key, u64, u64, EraseReason);

/// One commit in the making.
pub(super) struct Batch {
    pub(super) right: Right,
    pub(super) rows: Vec<u64>,
    /// Messages that go past the inbox.
    pub(super) direct: Vec<Took>,
    /// By conversation: after which record it goes on, and the last one that it makes.
    pub(super) spans: BTreeMap<Key, (u64, u64)>,
    pub(super) events: Vec<NewEvent>,
    pub(super) deliveries: Vec<NewDelivery>,
    pub(super) persons: Vec<PersonOf>,
    pub(super) merges: Vec<MergeOf>,
    pub(super) happenings: Vec<Happening>,
    pub(super) erasing: Vec<Erasing>,
    /// Actions that plans ask once it is there.
    pub(super) asks: Vec<Asking>,
    /// Commands of this gateway, and their answers.
    pub(super) asked: Vec<(Asked, Outcome)>,
    /// Parked deliveries that are taken in with it: number and attempt.
    pub(super) taken_up: Vec<(u64, u32)>,
    /// Conversations that were read because a call is over.
    pub(super) calls_over: Vec<Key>,
}

/// Somebody wrote to the conversation since its machine was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfStep;

impl Batch {
    pub(super) fn new(right: Right) -> Self {
        Self {
            right,
            rows: Vec::new(),
            direct: Vec::new(),
            spans: BTreeMap::new(),
            events: Vec::new(),
            deliveries: Vec::new(),
            persons: Vec::new(),
            merges: Vec::new(),
            happenings: Vec::new(),
            erasing: Vec::new(),
            asks: Vec::new(),
            asked: Vec::new(),
            taken_up: Vec::new(),
            calls_over: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.direct.is_empty()
            && self.spans.is_empty()
            && self.deliveries.is_empty()
            && self.asked.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= BATCH_EVENTS || self.deliveries.len() >= BATCH_EVENTS
    }

    /// How many things were given that may be at fault when the store refuses it.
    pub(super) fn causes(&self) -> usize {
        self.rows.len() + self.asked.len() + self.taken_up.len()
    }

    /// Adds what a machine wants appended after `after`.
    pub(super) fn push(&mut self, key: &Key, after: u64, events: Vec<NewEvent>) -> Result<(), OutOfStep> {
        let last = after + events.len() as u64;
        match self.spans.get_mut(key) {
            Some(span) if span.1 == after => span.1 = last,
            Some(_) => return Err(OutOfStep),
            None => _ = self.spans.insert(key.clone(), (after, last)),
        }
        self.events.extend(events);
        Ok(())
    }

    /// Takes a row out of the inbox that no conversation takes. False: it is too large for that.
    pub(super) fn park(&mut self, row: &Inbound, reason: String) -> bool {
        let Ok(event) = serde_json::to_value(&row.event) else { return false };
        let parked = ParkedRow { row: row.row, at: row.at, reason, event };
        let Ok(body) = serde_json::to_value(&parked) else { return false };
        if body.to_string().len() > DELIVERY_BYTES_MAX {
            return false;
        }
        self.rows.push(row.row);
        self.deliveries.push(NewDelivery {
            tenant: row.tenant.clone(),
            adapter: PARKED.to_owned(),
            key: row.row.to_string(),
            order_key: row.row.to_string(),
            conversation: row.conversation,
            body,
            not_before: None,
        });
        true
    }

    /// The commit. What it writes is its own from now on.
    pub(super) fn commit(&mut self) -> Commit {
        let after = self.spans.iter().map(|((tenant, conversation), (seq, _))| After {
            tenant: tenant.clone(),
            conversation: *conversation,
            seq: *seq,
        });
        Commit {
            fence: self.right.fence().cloned(),
            after: after.collect(),
            applied: self.rows.clone(),
            direct: self.direct.iter().map(Took::direct).collect(),
            events: std::mem::take(&mut self.events),
            deliveries: std::mem::take(&mut self.deliveries),
            persons: std::mem::take(&mut self.persons),
            merges: std::mem::take(&mut self.merges),
        }
    }
}

/// A message on its way to a channel, as the adapter's delivery. None: its source names no thread.
pub(super) fn delivery(key: &Key, delivery: &Delivery, logged: &MessageOut, at: Timestamp) -> Option<NewDelivery> {
    let thread: ThreadSource = delivery.source.parse().ok()?;
    let mut event = delivery.event(logged, at);
    event.extensions.insert("arkseq".to_owned(), delivery.seq.into());
    event.extensions.insert("arkattempt".to_owned(), delivery.attempt.into());
    let order_key = if delivery.source.len() <= DELIVERY_KEY_BYTES_MAX {
        delivery.source.clone()
    } else {
        Hash::of(delivery.source.as_bytes()).to_string()
    };
    Some(NewDelivery {
        tenant: key.0.clone(),
        adapter: thread.adapter,
        key: format!("{}/{}/{}", key.1, delivery.attempt, delivery.key),
        order_key,
        conversation: key.1,
        body: serde_json::to_value(&event).ok()?,
        not_before: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_conversation::samples;

    #[test]
    fn a_batch_takes_what_follows_and_nothing_that_was_decided_beside_it() {
        let (key, mut batch) = ((Tenant::MAIN, ConversationId::new(1, 1)), Batch::new(Right::Alone));
        let event = |n| samples::new_event(key.1, n, samples::message_in("t", "hello").into());
        assert!(batch.is_empty());
        assert_eq!(batch.push(&key, 4, vec![event(1), event(2)]), Ok(()));
        assert_eq!(batch.push(&key, 6, vec![event(3)]), Ok(()));
        assert_eq!(batch.push(&key, 4, vec![event(4)]), Err(OutOfStep));
        let commit = batch.commit();
        assert_eq!((commit.after[0].seq, commit.events.len()), (4, 3));
    }
}
