//! What the log says of a link.

use std::collections::HashSet;

use ark_conversation::event::{LinkMade, Medium, Part};
use ark_conversation::{ConversationId, ConversationState, Event, Hash, LegPhase, Record};
use jiff::Timestamp;

use super::limits::WORDS_MAX;

/// Something that the house wrote to the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Its place in the log.
    pub(super) seq: u64,
    /// The message's key.
    pub(super) key: String,
    pub(super) text: String,
    /// Whether the log says that the page has shown it.
    pub(super) shown: bool,
}

/// A link as its conversation's log tells it up to `seq`.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) conversation: ConversationId,
    source: String,
    seq: u64,
    pub(super) made: Option<LinkMade>,
    pub(super) device: Option<Hash>,
    /// Ids of what the page sent.
    pub(super) ids: HashSet<String>,
    pub(super) files: usize,
    pub(super) texts: usize,
    pub(super) bytes: u64,
    pub(super) words: Vec<Word>,
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody has taken it.
    Open,
    /// A device has.
    Taken,
    /// Its time is over, or the conversation is.
    Over,
}

impl View {
    pub(super) fn new(conversation: ConversationId, source: String) -> Self {
        Self {
            conversation,
            source,
            seq: 0,
            made: None,
            device: None,
            ids: HashSet::new(),
            files: 0,
            texts: 0,
            bytes: 0,
            words: Vec::new(),
        }
    }

    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    pub(super) fn apply(&mut self, record: &Record) {
        if record.seq <= self.seq {
            return;
        }
        self.seq = record.seq;
        if let Event::MessageOut(message) = &record.event.event {
            let ours = self.made.as_ref().is_some_and(|made| message.leg == Some(made.leg));
            let text: Vec<&str> = message.parts.iter().filter_map(words).collect();
            if ours && !text.is_empty() && self.words.len() < WORDS_MAX {
                let (seq, key, text) = (record.seq, record.event.id.clone(), text.join("\n"));
                self.words.push(Word { seq, key, text, shown: false });
            }
            return;
        }
        if record.event.source != self.source {
            return;
        }
        match &record.event.event {
            Event::LinkMade(made) => self.made = Some(made.clone()),
            Event::LinkJoined(joined) => self.device = Some(joined.device),
            Event::MessageIn(message) => {
                self.ids.insert(record.event.id.clone());
                let media: Vec<_> = message.parts.iter().filter_map(Part::media).collect();
                self.files += media.len();
                self.bytes += media.iter().map(|media| media.size).sum::<u64>();
                self.texts += usize::from(media.is_empty());
            }
            Event::Receipt(receipt) => {
                if let Some(word) = self.words.iter_mut().find(|word| word.key == receipt.message) {
                    word.shown |= receipt.state == ark_conversation::event::ReceiptState::Delivered;
                }
            }
            _ => {}
        }
    }

    /// How it is at a moment, and until when it can be used.
    pub(super) fn standing(&self, state: &ConversationState, now: Timestamp) -> (Standing, Timestamp) {
        let Some(made) = &self.made else { return (Standing::Over, now) };
        let leg = state.legs.iter().find(|leg| leg.leg == made.leg && leg.medium == Medium::Companion);
        let Some(leg) = leg.filter(|leg| leg.phase != LegPhase::Ended) else { return (Standing::Over, now) };
        let until = leg.deadline.unwrap_or(made.expires);
        match (until <= now, self.device) {
            (true, _) => (Standing::Over, until),
            (false, Some(_)) => (Standing::Taken, until),
            (false, None) => (Standing::Open, until),
        }
    }
}

fn words(part: &Part) -> Option<&str> {
    match part {
        Part::Text { text } => Some(text.reveal()),
        Part::Card { fallback_text, .. } => Some(fallback_text.reveal()),
        _ => None,
    }
}
