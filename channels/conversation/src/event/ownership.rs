//! Who owns a conversation, its episodes of service, its threads and those who take part.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::digest::Hash;
use crate::event::{CallMode, Party, Role, data, words};
use crate::id::{LegId, OfferId, SessionId};
use crate::limits::SKILLS_MAX;
use crate::owner::Owner;
use crate::pii::{Content, Pii};
use crate::routing::Needs;

words! {
    /// Who keeps the customer while an offer is open.
    pub enum OfferMode {
        /// The one who offers, until somebody accepts.
        Warm = "warm",
        /// The queue of the way back: the one who offers is free at once.
        Cold = "cold",
    }

    /// Why an offer was not accepted.
    pub enum DeclineReason {
        /// The one asked said no.
        Declined = "declined",
        /// The one asked went away.
        Vanished = "vanished",
    }

    /// Why an offer was taken back.
    pub enum WithdrawReason {
        /// The one who made it changed their mind.
        Withdrawn = "withdrawn",
        /// The owner changed meanwhile.
        OwnerChanged = "owner_changed",
        /// The session closed.
        SessionClosed = "session_closed",
    }

    /// Why a conversation went to a queue.
    pub enum ReleaseReason {
        /// It was handed over.
        Transfer = "transfer",
        /// Its owner went away: a closed desk, a crash.
        Vanished = "vanished",
        /// They waited too long in another one, with their place.
        Overflow = "overflow",
    }

    /// Why an episode of service began.
    pub enum SessionOpenReason {
        /// The customer wrote or called.
        Customer = "customer",
        /// The house did.
        House = "house",
        /// A closed one was taken up again.
        Reopened = "reopened",
    }

    /// Why an episode of service ended.
    pub enum SessionCloseReason {
        /// It is done.
        Resolved = "resolved",
        /// The customer is gone.
        Abandoned = "abandoned",
        /// The last leg ended and the time for wrapping up is over.
        LegsEnded = "legs_ended",
    }

    /// What a leg is.
    pub enum Medium {
        /// A call.
        Call = "call",
        /// A thread of messages.
        Chat = "chat",
        /// A caller's page for pictures and words during a call.
        Companion = "companion",
    }

    /// Why a leg that is no call ended.
    pub enum LegEndReason {
        /// The channel closed the thread.
        Closed = "closed",
        /// It was offered and not taken in time.
        Expired = "expired",
        /// It was offered and refused.
        Refused = "refused",
        /// The customer can no longer be reached by it.
        Blocked = "blocked",
        /// The house ended it.
        House = "house",
        /// It could not be set up.
        Failed = "failed",
    }

    /// What a participant may do.
    pub enum Voice {
        /// Read and hear.
        Listen = "listen",
        /// Also speak to the customer, because the owner asked for it.
        Speak = "speak",
    }

    /// Who takes part in a leg.
    pub enum ParticipantRole {
        /// The one whose conversation it is.
        Customer = "customer",
        /// A person of the house.
        Agent = "agent",
        /// A plan.
        Bot = "bot",
        /// A person of the house who looks after others.
        Supervisor = "supervisor",
    }
}

data! {
    /// What an agent must be able to do to serve a customer.
    #[derive(Default, Eq)]
    pub struct Needed {
        /// The language that the customer speaks: `zh`, `en`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub language: Option<String>,
        /// Skills, with levels from 1 to 5.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub skills: BTreeMap<String, u8>,
    }

    /// Somebody who takes part.
    #[derive(Eq)]
    pub struct Participant {
        /// What they are.
        pub role: ParticipantRole,
        /// Their id: of a customer the channel's, of the house's own a name.
        pub id: Pii,
    }

    /// An episode of service began. The first one opens the conversation.
    pub struct SessionOpened {
        /// The new session.
        pub session: SessionId,
        /// Why.
        pub reason: SessionOpenReason,
        /// Who owns the conversation from here on.
        pub owner: Owner,
        /// When it was a queue: since when the customer waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>", extend("format" = "date-time"))]
        pub waiting_since: Option<Timestamp>,
    }

    /// An episode of service ended. The conversation is over until the next.
    pub struct SessionClosed {
        /// The session.
        pub session: SessionId,
        /// Why.
        pub reason: SessionCloseReason,
        /// Who closed it.
        pub by: Owner,
        /// How it was settled, in the house's own word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub disposition: Option<String>,
        /// What the agent wrote to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub note: Option<Content>,
    }

    /// A leg that is no call yet came to the conversation: a thread, a companion page, or a call that is offered.
    pub struct LegAdded {
        /// The new leg.
        pub leg: LegId,
        /// What it is.
        pub medium: Medium,
        /// Who is there.
        pub role: Role,
        /// The source of its events, see [`crate::source::thread`].
        pub source: String,
        /// The channel's thread.
        pub thread: String,
        /// The adapter.
        pub adapter: String,
        /// The account within the adapter.
        pub account: String,
        /// Who is at the other end, as far as is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub party: Option<Party>,
        /// The leg that it belongs to: of a companion page the call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub predecessor: Option<LegId>,
    }

    /// The place in line of somebody who is to be called back.
    #[derive(Eq)]
    pub struct CallbackPlace {
        /// Which queue.
        pub queue: String,
        /// Since when they wait: from before they hung up.
        #[schemars(with = "String", extend("format" = "date-time"))]
        pub waiting_since: Timestamp,
        /// Higher goes first.
        #[serde(default)]
        pub priority: u8,
        /// How often they were called and did not answer.
        #[serde(default)]
        pub tries: u32,
    }

    /// The customer was offered a call; the other legs stay as they are.
    pub struct LegOffered {
        /// The new leg.
        pub leg: LegId,
        /// How the call would be made.
        pub mode: CallMode,
        /// Until when it can be taken.
        #[schemars(with = "String", extend("format" = "date-time"))]
        pub deadline: Timestamp,
        /// The number, of a callback.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub to: Option<Pii>,
        /// The place in line, of a callback that an agent makes when it comes up. The conversation is open as long as it waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub callback: Option<CallbackPlace>,
    }

    /// A thread fell silent, or the session that it served closed; the next message wakes it.
    pub struct LegIdle {
        /// The leg.
        pub leg: LegId,
    }

    /// Something came by a thread that was silent.
    pub struct LegWoke {
        /// The leg.
        pub leg: LegId,
    }

    /// A leg that is no call ended.
    pub struct LegEnded {
        /// The leg.
        pub leg: LegId,
        /// Why.
        pub reason: LegEndReason,
    }

    /// Somebody takes part from here on.
    pub struct ParticipantJoined {
        /// Who.
        pub participant: Participant,
        /// Where; none: the whole conversation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub leg: Option<LegId>,
        /// What they may do. Leave to speak ends when the owner changes.
        pub voice: Voice,
        /// Who asked them in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub invited_by: Option<Owner>,
    }

    /// Somebody takes part no longer.
    pub struct ParticipantLeft {
        /// Who.
        pub participant: Participant,
        /// Where; none: the whole conversation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub leg: Option<LegId>,
    }

    /// The conversation was offered to somebody. The owner stays until it is accepted; the epoch does too.
    pub struct OwnerOffered {
        /// The offer.
        pub offer: OfferId,
        /// Who owns it meanwhile.
        pub owner: Owner,
        /// To whom: an agent, a plan, or whoever of a queue is first.
        pub to: Owner,
        /// Who keeps the customer meanwhile.
        pub mode: OfferMode,
        /// Who made the offer.
        pub by: Owner,
        /// The epoch to accept with.
        #[schemars(range(min = 1))]
        pub expected_epoch: u64,
        /// Until when.
        #[schemars(with = "String", extend("format" = "date-time"))]
        pub deadline: Timestamp,
        /// `seq` of the summary that goes with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub summary: Option<u64>,
        /// What the one who offers wrote to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub note: Option<Content>,
    }

    /// The owner changed: an offer was accepted, or a waiting customer was taken. The record's epoch is the new one.
    pub struct OwnerAccepted {
        /// The offer; none when somebody took the customer from the queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub offer: Option<OfferId>,
        /// Who owns it now.
        pub owner: Owner,
        /// Who did before.
        pub previous: Owner,
        /// The new owner's view: all records up to this `seq`, then the live feed.
        pub history_to: u64,
        /// `seq` of the summary that goes with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub summary: Option<u64>,
    }

    /// An offer was not accepted; the owner and the epoch stay.
    pub struct OwnerDeclined {
        /// The offer.
        pub offer: OfferId,
        /// Who said no.
        pub by: Owner,
        /// Why.
        pub reason: DeclineReason,
        /// Who owns it, as before.
        pub owner: Owner,
    }

    /// Nobody answered an offer in time; the owner and the epoch stay.
    pub struct OwnerExpired {
        /// The offer.
        pub offer: OfferId,
        /// Who owns it, as before.
        pub owner: Owner,
    }

    /// An offer was taken back.
    pub struct OwnerWithdrawn {
        /// The offer.
        pub offer: OfferId,
        /// Why.
        pub reason: WithdrawReason,
    }

    /// The conversation went to a queue, with its place kept. The record's epoch is the new one.
    pub struct OwnerReleased {
        /// Who owned it before.
        pub previous: Owner,
        /// The queue that owns it now.
        pub queue: String,
        /// Why.
        pub reason: ReleaseReason,
        /// Since when the customer waits: gives the place in line. Older than the release when they waited there before.
        #[schemars(with = "String", extend("format" = "date-time"))]
        pub waiting_since: Timestamp,
        /// Higher goes first.
        #[serde(default)]
        pub priority: u8,
        /// What an agent must be able to do; none: nothing was said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub needs: Option<Needed>,
    }

    /// What has happened so far, for the next one who speaks.
    pub struct Summary {
        /// It speaks of what is at or before this `seq`, and of nothing later.
        pub upto: u64,
        /// The words.
        pub text: Content,
        /// What is still to be done.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub tasks: Vec<Content>,
        /// The messages that matter most, by `seq`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub messages: Vec<u64>,
        /// The files that matter, by reference.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub attachments: Vec<String>,
        /// Who or what made it.
        pub made_by: String,
        /// SHA-256 of the text.
        pub sha256: Hash,
    }

    /// A note of the house's own: no channel ever carries it, and no customer sees it.
    pub struct Note {
        /// Who wrote it.
        pub by: Owner,
        /// The words.
        pub text: Content,
    }
}

impl Needed {
    /// Of that language and of nothing else; an empty one: of nothing.
    #[must_use]
    pub fn of_language(language: &str) -> Self {
        Self { language: Some(language.to_owned()).filter(|language| !language.is_empty()), ..Self::default() }
    }

    /// Whether anybody will do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.language.is_none() && self.skills.is_empty()
    }

    /// What is said here, and of what is not, what the other says.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        self.language = self.language.or_else(|| other.language.clone());
        for (skill, level) in &other.skills {
            self.skills.entry(skill.clone()).or_insert(*level);
        }
        self
    }

    /// Whether it is of a size that a router takes: at most [`SKILLS_MAX`] skills with levels from 1 to 5, names of at most 64 bytes.
    #[must_use]
    pub fn fits(&self) -> bool {
        let name = |name: &String| (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
        let skills = self.skills.iter().all(|(skill, level)| name(skill) && (1..=5).contains(level));
        self.skills.len() <= SKILLS_MAX && skills && self.language.as_ref().is_none_or(name)
    }
}

impl std::fmt::Display for Needed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let skills = self.skills.iter().map(|(skill, level)| match level {
            0 | 1 => skill.clone(),
            level => format!("{skill} {level}"),
        });
        let all: Vec<String> = self.language.iter().cloned().chain(skills).collect();
        f.write_str(&all.join(", "))
    }
}

impl From<&Needed> for Needs {
    fn from(needed: &Needed) -> Self {
        let language = needed.language.as_ref().map(|language| (language.clone(), 1));
        Self { language, skills: needed.skills.clone() }
    }
}

impl From<Needs> for Needed {
    fn from(needs: Needs) -> Self {
        Self { language: needs.language.map(|(language, _)| language), skills: needs.skills }
    }
}
