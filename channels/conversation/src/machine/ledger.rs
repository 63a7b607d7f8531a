//! What the machine remembers of messages: enough to tell a duplicate, and what became of what was sent.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::push_bounded;
use crate::digest::Hash;
use crate::event::{Event, MessageOut, MessageRerouted, Receipt, ReceiptState};
use crate::id::LegId;
use crate::limits::{INBOUND_IDS_MAX, OUTBOUND_KEYS_MAX};
use crate::record::Record;
use crate::source;
use crate::state::ConversationState;

/// The first half of a SHA-256 over source and id: two events that share it are the same event.
type Fingerprint = [u8; 16];

/// A fold of the log beside [`ConversationState`]. Both lists are bounded: what is older than they reach is told by the
/// store's own rule of one event for each (tenant, source, id).
#[derive(Debug, Default)]
pub(super) struct Ledger {
    inbound: VecDeque<Fingerprint>,
    outbound: VecDeque<Sent>,
}

/// A message that was sent, and what became of it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) key: Box<str>,
    pub(super) seq: u64,
    pub(super) epoch: u64,
    /// The legs that it was sent by, in order; the last is the one that counts.
    pub(super) legs: Vec<LegId>,
    pub(super) state: Option<ReceiptState>,
}

impl Ledger {
    pub(super) fn has(&self, source: &str, id: &str) -> bool {
        let one = fingerprint(source, id);
        self.inbound.iter().rev().any(|other| *other == one)
    }

    pub(super) fn sent(&self, key: &str) -> Option<&Sent> {
        self.outbound.iter().rev().find(|sent| &*sent.key == key)
    }

    fn sent_mut(&mut self, key: &str) -> Option<&mut Sent> {
        self.outbound.iter_mut().rev().find(|sent| &*sent.key == key)
    }

    pub(super) fn apply(&mut self, record: &Record, state: &ConversationState) {
        let event = &record.event;
        let skeleton = match &event.event {
            Event::Erased(erased) => erased.skeleton(),
            _ => None,
        };
        match skeleton.as_ref().unwrap_or(&event.event) {
            Event::MessageOut(message) => self.send(record, message),
            Event::MessageRerouted(rerouted) => self.reroute(rerouted),
            Event::Receipt(receipt) => {
                let leg = state.leg_of(&event.source);
                self.receive(receipt, leg);
            }
            _ => {}
        }
        // Notes are told apart by their key, as messages are.
        let note =
            matches!(&event.event, Event::Note(_)) || matches!(&event.event, Event::Erased(e) if e.of == "ark.note.v1");
        if note || event.source != source::conversation(&record.tenant, record.conversation) {
            push_bounded(&mut self.inbound, INBOUND_IDS_MAX, fingerprint(&event.source, &event.id));
        }
    }

    fn send(&mut self, record: &Record, message: &MessageOut) {
        let sent = Sent {
            key: record.event.id.as_str().into(),
            seq: record.seq,
            epoch: record.epoch,
            legs: message.leg.into_iter().collect(),
            state: None,
        };
        push_bounded(&mut self.outbound, OUTBOUND_KEYS_MAX, sent);
    }

    fn reroute(&mut self, rerouted: &MessageRerouted) {
        if let Some(sent) = self.sent_mut(&rerouted.message) {
            sent.legs.push(rerouted.leg);
            sent.state = None;
        }
    }

    /// Receipts join: the furthest counts, and nothing takes a delivery back but a recall. A failure of a way that was
    /// given up already is old news.
    fn receive(&mut self, receipt: &Receipt, leg: Option<LegId>) {
        let Some(sent) = self.sent_mut(&receipt.message) else { return };
        let bad = matches!(receipt.state, ReceiptState::Failed | ReceiptState::Expired);
        if bad && leg.is_some() && leg != sent.legs.last().copied() {
            return;
        }
        if rank(Some(receipt.state)) > rank(sent.state) {
            sent.state = Some(receipt.state);
        }
    }

    pub(super) fn hash(&self) -> Hash {
        let mut text = String::new();
        for one in &self.inbound {
            let _ = write!(text, "{one:02x?}"); // writing to a String cannot fail
        }
        for sent in &self.outbound {
            let _ = write!(text, "{sent:?}");
        }
        Hash::of(text.as_bytes())
    }
}

/// How far a message has come: `accepted < sent < failed, expired < delivered < read < recalled`.
fn rank(state: Option<ReceiptState>) -> u8 {
    match state {
        None => 0,
        Some(ReceiptState::Accepted) => 1,
        Some(ReceiptState::Sent) => 2,
        Some(ReceiptState::Failed | ReceiptState::Expired) => 3,
        Some(ReceiptState::Delivered) => 4,
        Some(ReceiptState::Read) => 5,
        Some(ReceiptState::Recalled) => 6,
    }
}

fn fingerprint(source: &str, id: &str) -> Fingerprint {
    let whole = Hash::of(format!("{source}\n{id}").as_bytes()).to_bytes();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}
