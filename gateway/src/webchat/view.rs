//! A conversation's log as its visitor may see it. What is not named here stays in the house: notes, summaries, transfers, who
//! else takes part, other channels of the same customer.

use std::collections::VecDeque;

use ark_conversation::event::{MessageOut, Part, Party, PartyRole, ReceiptState};
use ark_conversation::{ConversationId, ConversationState, Event, Owner, Record};
use jiff::Timestamp;

use super::limits::OUTS_MAX;
use super::proto::{Author, Button, Item, Phase, Shown, What};
use super::settings::Site;

/// A message of the house, and what its page has said of it.
struct SentOut {
    id: String,
    got: bool,
    read: bool,
}

/// A place in a queue's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) queue: String,
    pub(super) since: Timestamp,
    pub(super) priority: u8,
}

/// What is so in the conversation, for the visitor of one thread.
pub(super) struct View {
    pub(super) conversation: ConversationId,
    /// The last record that was looked at.
    pub(super) seq: u64,
    owner: Option<Owner>,
    open: bool,
    place: Option<Place>,
    outs: VecDeque<SentOut>,
}

impl View {
    pub(super) const fn new(conversation: ConversationId) -> Self {
        Self { conversation, seq: 0, owner: None, open: false, place: None, outs: VecDeque::new() }
    }

    /// As the store sums it up, as if the log had been looked at up to `seq`.
    pub(super) fn of(state: &ConversationState, seq: u64) -> Self {
        let place = state.place.as_ref().map(|place| Place {
            queue: place.queue.clone(),
            since: place.since,
            priority: place.priority,
        });
        Self {
            seq,
            owner: state.owner.clone(),
            open: state.session.is_some(),
            place: place.filter(|_| matches!(state.owner, Some(Owner::Queue(_)))),
            ..Self::new(state.conversation)
        }
    }

    /// Whether an episode of service is open.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// Where the conversation is.
    pub(super) fn phase(&self) -> Phase {
        match &self.owner {
            _ if !self.open => Phase::None,
            Some(Owner::Agent(_)) => Phase::Person,
            Some(Owner::Bot(_)) => Phase::Plan,
            Some(Owner::Queue(_)) | None => Phase::Waiting,
        }
    }

    /// What the one who serves is called.
    pub(super) fn name(&self, site: &Site) -> Option<String> {
        match &self.owner {
            Some(Owner::Agent(agent)) if self.open => site.shown_name(agent).map(str::to_owned),
            _ => None,
        }
    }

    /// The place in line, while the visitor waits.
    pub(super) fn place(&self) -> Option<&Place> {
        self.place.as_ref().filter(|_| self.phase() == Phase::Waiting)
    }

    /// Looks at the next record; what of it the visitor sees.
    pub(super) fn apply(&mut self, record: &Record, site: &Site, source: &str, thread: &str) -> Option<Item> {
        if record.seq <= self.seq {
            return None;
        }
        self.seq = record.seq;
        let what = self.look(record, site, source, thread)?;
        let (conversation, seq, at) = (self.conversation, record.seq, record.event.time.to_string());
        Some(Item { conversation, seq, at, what })
    }

    fn look(&mut self, record: &Record, site: &Site, source: &str, thread: &str) -> Option<What> {
        match &record.event.event {
            Event::MessageIn(message) if record.event.source == source => {
                let parts = shown(&message.parts);
                Some(What::Message { id: record.event.id.clone(), from: Author::You, name: None, parts })
            }
            Event::MessageOut(message) if message.thread == thread => {
                self.remember(&record.event.id);
                Some(out(&record.event.id, message, site))
            }
            Event::Receipt(receipt) if record.event.source == source => {
                if let Some(out) = self.outs.iter_mut().find(|out| out.id == receipt.message) {
                    out.got |= matches!(receipt.state, ReceiptState::Delivered | ReceiptState::Read);
                    out.read |= receipt.state == ReceiptState::Read;
                }
                None
            }
            Event::SessionOpened(opened) => {
                self.open = true;
                let since = opened.waiting_since.unwrap_or(record.event.time);
                self.own(opened.owner.clone(), since, 0);
                None
            }
            Event::SessionClosed(_) => {
                (self.open, self.owner, self.place) = (false, None, None);
                Some(What::Ended)
            }
            Event::OwnerAccepted(accepted) => {
                let before = self.owner.clone();
                self.own(accepted.owner.clone(), record.event.time, 0);
                let Owner::Agent(agent) = &accepted.owner else { return None };
                let joined = before.as_ref() != Some(&accepted.owner);
                joined.then(|| What::Joined { name: site.shown_name(agent).map(str::to_owned) })
            }
            Event::OwnerReleased(released) => {
                self.own(Owner::Queue(released.queue.clone()), released.waiting_since, released.priority);
                None
            }
            _ => None,
        }
    }

    fn own(&mut self, owner: Owner, since: Timestamp, priority: u8) {
        self.place = match &owner {
            Owner::Queue(queue) => Some(Place { queue: queue.clone(), since, priority }),
            Owner::Agent(_) | Owner::Bot(_) => None,
        };
        self.owner = Some(owner);
    }

    fn remember(&mut self, id: &str) {
        if self.outs.len() == OUTS_MAX {
            self.outs.pop_front();
        }
        self.outs.push_back(SentOut { id: id.to_owned(), got: false, read: false });
    }

    /// Notes what a page says of a message of the house; whether that is news, and the message one of this conversation.
    pub(super) fn receive(&mut self, id: &str, read: bool) -> bool {
        let Some(out) = self.outs.iter_mut().find(|out| out.id == id) else { return false };
        let news = if read { !out.read } else { !out.got };
        out.got = true;
        out.read |= read;
        news
    }
}

fn out(id: &str, message: &MessageOut, site: &Site) -> What {
    let Party { role, id: who, .. } = &message.sender;
    let (from, name) = match role {
        PartyRole::Agent => (Author::Agent, site.shown_name(who.reveal()).map(str::to_owned)),
        PartyRole::Bot => (Author::Bot, None),
        PartyRole::System | PartyRole::Customer => (Author::System, None),
    };
    What::Message { id: id.to_owned(), from, name, parts: shown(&message.parts) }
}

fn shown(parts: &[Part]) -> Vec<Shown> {
    let text = |text: &str| Shown::Text { text: text.to_owned() };
    let part = |part: &Part| match part {
        Part::Text { text: words } => text(words.reveal()),
        Part::Image { media, .. } => Shown::Image {
            file: file(&media.reference),
            size: media.width.zip(media.height),
            name: media.name.as_ref().map(|name| name.reveal().to_owned()),
        },
        Part::File { media, .. } | Part::Video { media, .. } | Part::VoiceNote { media, .. } => Shown::File {
            file: file(&media.reference),
            name: media.name.as_ref().map(|name| name.reveal().to_owned()),
            bytes: media.size,
        },
        Part::Card { title, body, actions, .. } => Shown::Card {
            title: title.reveal().to_owned(),
            body: body.as_ref().map(|body| body.reveal().to_owned()),
            actions: actions
                .iter()
                .map(|action| Button {
                    label: action.label.reveal().to_owned(),
                    url: action.url.clone().filter(|url| url.starts_with("https://")),
                })
                .collect(),
        },
        Part::Location { lat, lon, label } => {
            let label = label.as_ref().map(|label| label.reveal().to_owned()).unwrap_or_default();
            text(format!("{label} ({lat:.5}, {lon:.5})").trim())
        }
        Part::Unsupported { fallback_text, .. } => text(fallback_text.reveal()),
    };
    parts.iter().map(part).collect()
}

fn file(reference: &str) -> String {
    reference.strip_prefix("ark-media:").unwrap_or_default().to_owned()
}
