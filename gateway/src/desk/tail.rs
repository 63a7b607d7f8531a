//! What the end of a conversation's log says that its fold does not: the last message, whom the customer had, what was written to an offer.

use ark_conversation::event::{Event, Part, PartyRole};
use ark_conversation::{OfferId, Owner, Record, mask_number};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use utoipa::ToSchema;

use super::limits::LAST_CHARS_MAX;

/// The last message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, JsonSchema)]
#[schema(as = DeskLast)]
#[schemars(rename = "DeskLast")]
pub struct Last {
    /// Its `seq`.
    pub seq: u64,
    /// When, RFC 3339, UTC.
    pub at: String,
    /// `customer`, `agent`, `bot` or `ark`.
    pub from: &'static str,
    /// Its first words; of a picture or a file what it is.
    pub text: String,
}

/// The types that a [`Tail`] reads.
pub(super) const TYPES: &[&str] = &[
    "ark.thread.v1",
    "ark.message.in.v1",
    "ark.message.out.v1",
    "ark.owner.accepted.v1",
    "ark.owner.offered.v1",
    "ark.summary.v1",
    "ark.session.closed.v1",
];

/// The end of one log. Records may come twice; older ones change nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    pub(super) seq: u64,
    pub(super) last: Option<Last>,
    pub(super) display: Option<String>,
    /// The language of the customer's page: `zh`.
    pub(super) language: Option<String>,
    /// The agent who had it last.
    pub(super) last_agent: Option<String>,
    pub(super) note: Option<(OfferId, String)>,
    pub(super) summary: Option<(u64, String)>,
    /// Whether the customer went by themselves, when the session closed.
    pub(super) gave_up: bool,
}

impl Tail {
    /// Reads one more record.
    pub(super) fn read(&mut self, record: &Record) {
        if record.seq <= self.seq {
            return;
        }
        self.seq = record.seq;
        let at = record.event.time;
        match &record.event.event {
            Event::Thread(thread) => {
                let said = thread.entry.as_ref().and_then(|entry| entry.get("language")?.as_str());
                self.language = said.and_then(language).or(self.language.take());
            }
            Event::MessageIn(message) => {
                self.last = Some(last(record.seq, at, "customer", &message.parts));
                let display = message.sender.display.as_ref().map(|name| name.reveal().trim().to_owned());
                self.display = display.filter(|name| !name.is_empty()).map(shown).or(self.display.take());
            }
            Event::MessageOut(message) => {
                let from = match message.sender.role {
                    PartyRole::Agent => "agent",
                    PartyRole::Bot => "bot",
                    PartyRole::Customer => "customer",
                    _ => "ark",
                };
                self.last = Some(last(record.seq, at, from, &message.parts));
            }
            Event::OwnerAccepted(accepted) => {
                if let Owner::Agent(agent) = &accepted.owner {
                    self.last_agent = Some(agent.clone());
                }
            }
            Event::OwnerOffered(offered) => {
                self.note = offered.note.as_ref().map(|note| (offered.offer, note.reveal().to_owned()));
            }
            Event::Summary(summary) => self.summary = Some((record.seq, summary.text.reveal().to_owned())),
            Event::SessionClosed(closed) => {
                use ark_conversation::event::SessionCloseReason::Resolved;
                self.gave_up = closed.reason != Resolved;
            }
            _ => {}
        }
    }
}

/// `zh` of `zh-CN`; none of what is no language.
fn language(said: &str) -> Option<String> {
    let word = said.split(['-', '_']).next().unwrap_or_default().to_lowercase();
    ((2..=3).contains(&word.len()) && word.chars().all(|c| c.is_ascii_lowercase())).then_some(word)
}

/// A name as it is shown: one that is a number is masked.
fn shown(name: String) -> String {
    if name.chars().any(char::is_alphabetic) { name } else { mask_number(&name) }
}

fn last(seq: u64, at: Timestamp, from: &'static str, parts: &[Part]) -> Last {
    let words = parts.iter().find_map(|part| match part {
        Part::Text { text } => Some(text.reveal().to_owned()),
        Part::Card { title, .. } => Some(title.reveal().to_owned()),
        _ => None,
    });
    let text = words.unwrap_or_else(|| {
        match parts.first() {
            Some(Part::Image { .. }) => "[image]",
            Some(Part::VoiceNote { .. }) => "[voice]",
            Some(Part::Video { .. }) => "[video]",
            Some(Part::File { .. }) => "[file]",
            Some(Part::Location { .. }) => "[place]",
            _ => "[message]",
        }
        .to_owned()
    });
    Last { seq, at: at.to_string(), from, text: text.chars().take(LAST_CHARS_MAX).collect() }
}
