//! What the machine takes and gives.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::cloud_event::CloudEvent;
use crate::digest::Hash;
use crate::event::{
    CallMode, CallbackPlace, EraseReason, Event, LegEndReason, MessageOut, Needed, OfferMode, Part, Participant,
    PersonLinked, PersonMerged, PersonUnmerged, SessionCloseReason, Summary, Voice,
};
use crate::id::{ConversationId, LegId, OfferId};
use crate::identity::{Assurance, IdentityKey};
use crate::owner::Owner;
use crate::pii::{Content, Pii};
use crate::record::NewEvent;
use crate::source::ThreadSource;

/// What a house decides for all its conversations.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Who owns a conversation that a customer opens by writing: a queue or a plan.
    pub opening: Owner,
    /// The same for single accounts of channels, by adapter and account.
    pub openings: BTreeMap<(String, String), Owner>,
    /// Where a customer goes whose agent vanished and who waited in no queue before.
    pub queue: String,
    /// How long an offer is open when nobody says so. At most [`crate::limits::OFFER_TTL_MAX`].
    pub offer_ttl: SignedDuration,
    /// How long an agent has after the last leg's end, before the session closes by itself.
    pub wrap_up: SignedDuration,
    /// The adapters by which a message that failed is tried next, best first; others come after them.
    pub fallback: Vec<String>,
    /// What customers who wrote are asked when an agent has settled their conversation. None: nothing.
    pub survey: Option<Survey>,
}

/// How customers are asked by message whether they were content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The question.
    pub question: String,
    /// The answers from the worst to the best, 2 to [`crate::limits::CARD_ACTIONS_MAX`].
    pub answers: Vec<String>,
    /// What is said to who answered; empty: nothing.
    pub thanks: String,
    /// For how long a message is taken for an answer.
    pub window: SignedDuration,
    /// Where customers of channels without buttons are asked. None: by numbers.
    pub link: Option<SurveyLink>,
}

/// A page that asks, for channels without buttons.
#[derive(Clone, PartialEq, Eq)]
pub struct SurveyLink {
    /// What its addresses begin with: `https://ark.example/s/`.
    pub address: String,
    /// What tokens are made of, with the conversation. Nobody else knows it; no link that is out needs it any more.
    pub secret: [u8; 16],
    /// The accounts without buttons, by adapter and name.
    pub accounts: BTreeSet<(String, String)>,
}

impl std::fmt::Debug for SurveyLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SurveyLink")
            .field("address", &self.address)
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}

impl SurveyLink {
    /// The secret part of a conversation's token: 26 letters, 128 bits.
    pub(super) fn token(&self, conversation: ConversationId) -> String {
        const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let hash = Hash::of(&[&self.secret[..], &conversation.to_bytes()].concat());
        let mut bits = hash.bytes().iter().take(16).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let mut token = String::with_capacity(26);
        for _ in 0..26 {
            token.push(char::from(LETTERS[(bits & 31) as usize]));
            bits >>= 5;
        }
        token
    }
}

impl Default for Policy {
    /// `queue:general` opens and catches; offers of 30 s; 5 minutes to wrap up.
    fn default() -> Self {
        Self {
            opening: Owner::Queue("general".to_owned()),
            openings: BTreeMap::new(),
            queue: "general".to_owned(),
            offer_ttl: SignedDuration::from_secs(30),
            wrap_up: SignedDuration::from_secs(300),
            fallback: Vec::new(),
            survey: None,
        }
    }
}

impl Policy {
    /// Who owns a conversation that a customer opens by writing on this thread.
    #[must_use]
    pub fn opening_of(&self, thread: &ThreadSource) -> &Owner {
        self.openings.get(&(thread.adapter.clone(), thread.account.clone())).unwrap_or(&self.opening)
    }
}

/// What can happen to a conversation. `by`, `who` and `author` were authenticated by the caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Nothing but the time: [`super::Conversation::deadline`] has come.
    Tick,
    /// An adapter's event on one of the conversation's threads, as it came.
    Inbound(CloudEvent),
    /// The switch's event on one of the conversation's calls, as it came.
    Call(CloudEvent),
    /// Somebody of the house writes to the customer.
    Outbound {
        /// Who.
        author: Owner,
        /// The epoch in which they believe to be.
        epoch: u64,
        /// Their key, 1 to 96 bytes: the same message again has the same key.
        key: String,
        /// By which leg; none: the thread that was active last.
        leg: Option<LegId>,
        /// What.
        parts: Vec<Part>,
        /// Which message it answers.
        reply_to: Option<String>,
    },
    /// The owner offers the conversation to somebody.
    Offer {
        /// Who offers: the owner, or the router in a queue's name.
        by: Owner,
        /// The epoch in which they believe to be.
        expected_epoch: u64,
        /// To whom.
        to: Owner,
        /// Who keeps the customer meanwhile.
        mode: OfferMode,
        /// For how long; none: as the policy says.
        ttl: Option<SignedDuration>,
        /// A word to the one who is asked.
        note: Option<Content>,
    },
    /// Somebody accepts an offer: compare-and-swap on the epoch.
    Accept {
        /// Who. Of an offer to a queue, an agent of that queue; that they belong to it is the caller's knowledge.
        by: Owner,
        /// Which offer.
        offer: OfferId,
        /// The epoch that the offer named.
        expected_epoch: u64,
    },
    /// An agent takes the customer from the queue unasked; or the plan that waits there with them takes them back.
    Take {
        /// Who.
        by: Owner,
        /// The epoch in which they believe to be.
        expected_epoch: u64,
    },
    /// Somebody declines an offer.
    Decline {
        /// Who.
        by: Owner,
        /// Which offer.
        offer: OfferId,
    },
    /// The one who offered takes it back.
    Withdraw {
        /// Who.
        by: Owner,
        /// Which offer.
        offer: OfferId,
    },
    /// The owner hands the customer to a queue.
    Release {
        /// Who.
        by: Owner,
        /// The epoch in which they believe to be.
        expected_epoch: u64,
        /// Which queue.
        queue: String,
        /// Higher goes first.
        priority: u8,
        /// What an agent must be able to do; none: as it was said before in that queue.
        needs: Option<Needed>,
    },
    /// They waited too long in the queue that owns the conversation, and go on in another one with their place.
    Overflow {
        /// The queue that owns it.
        by: Owner,
        /// The other one.
        queue: String,
    },
    /// Nobody who works in the queue that owns it has what they need: it no longer matters. Said once in each queue.
    Relax {
        /// The queue that owns it.
        by: Owner,
        /// What nobody has.
        needs: Needed,
    },
    /// An agent or a plan is gone: their desk closed, their gateway died.
    Vanished {
        /// Who.
        who: Owner,
    },
    /// The customer is offered a call beside the legs that are there.
    OfferLeg {
        /// How it would be made.
        mode: CallMode,
        /// For how long it can be taken.
        ttl: SignedDuration,
        /// The number of a callback.
        to: Option<Pii>,
        /// The place in line of a callback.
        callback: Option<CallbackPlace>,
    },
    /// A leg that is no call is over.
    EndLeg {
        /// Which.
        leg: LegId,
        /// Why.
        reason: LegEndReason,
    },
    /// Somebody takes part.
    Join {
        /// Who.
        participant: Participant,
        /// Where; none: the whole conversation.
        leg: Option<LegId>,
        /// What they may do. [`Voice::Speak`] is the owner's to give.
        voice: Voice,
        /// Who asked them in.
        by: Option<Owner>,
    },
    /// Somebody takes part no longer.
    Leave {
        /// Who.
        participant: Participant,
        /// Where.
        leg: Option<LegId>,
    },
    /// A summary was made.
    Summarise(Summary),
    /// Somebody of the house writes a note, which no customer sees.
    Note {
        /// Who.
        by: Owner,
        /// Their key, 1 to 96 bytes: the same note again has the same key.
        key: String,
        /// The words.
        text: Content,
    },
    /// The owner closes the session.
    Close {
        /// Who.
        by: Owner,
        /// The epoch in which they believe to be.
        expected_epoch: u64,
        /// Why.
        reason: SessionCloseReason,
        /// How it was settled.
        disposition: Option<String>,
        /// What they wrote to it.
        note: Option<Content>,
    },
    /// Somebody of the house takes a closed conversation up again and owns it.
    Reopen {
        /// Who.
        by: Owner,
    },
    /// What the plan of a chat did: a state that it entered, a variable, where it is.
    Plan {
        /// The plan, which owns the conversation or waits with it in a queue.
        by: Owner,
        /// The epoch in which it believes to be.
        expected_epoch: u64,
        /// What.
        event: Event,
    },
    /// The store found whose conversation it is.
    Linked(PersonLinked),
    /// The store merged its person with another.
    Merged(PersonMerged),
    /// The store undid a merge.
    Unmerged(PersonUnmerged),
    /// Bodies are to be erased.
    Erase {
        /// The first `seq`.
        from_seq: u64,
        /// The last `seq`.
        to_seq: u64,
        /// Why.
        reason: EraseReason,
        /// Who asks: `ark`, a user's name.
        by: String,
    },
}

/// What came of an input that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It was taken in; nothing may follow from it.
    Done,
    /// It had been taken in before; acknowledge it again.
    Duplicate,
}

/// Why nothing came of an input. The caller tells the one who asked; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The conversation has no first event yet.
    #[error("there is no such conversation")]
    Unknown,
    /// No session is open: a reopen or the customer's next message opens one.
    #[error("the conversation is closed: reopen it first")]
    Closed,
    /// It is open already.
    #[error("the conversation is open already")]
    Open,
    /// Ownership has moved on: read the conversation again.
    #[error("the conversation changed hands meanwhile: its epoch is {current}")]
    Fenced {
        /// The epoch now.
        current: u64,
    },
    /// The one who asks neither owns it nor was asked in.
    #[error("only the owner of the conversation may do this")]
    NotOwner,
    /// It is offered to somebody already.
    #[error("the conversation is offered to somebody already: wait or withdraw offer {0}")]
    Offered(OfferId),
    /// The offer has ended, or never was.
    #[error("the offer has ended")]
    OfferEnded,
    /// The offer was made to somebody else.
    #[error("the offer was made to somebody else")]
    NotAsked,
    /// It makes no sense to offer it to the one who owns it, or to take what no queue owns.
    #[error("the conversation cannot go there")]
    NoWay,
    /// No live leg can carry it.
    #[error("the customer cannot be reached by that leg now")]
    NoLeg,
    /// Calls are up: end them first.
    #[error("a call is up: end it first")]
    CallUp,
    /// A table is full.
    #[error("there are too many of these in the conversation already")]
    Full,
    /// A summary speaks of what is not in the log yet.
    #[error("the summary speaks of records that are not there: the last is {last_seq}")]
    Ahead {
        /// The last record.
        last_seq: u64,
    },
    /// The input itself is wrong.
    #[error("{0}")]
    Malformed(&'static str),
    /// Commits were not fetched with `poll`.
    #[error("earlier commits must be fetched first")]
    Undrained,
}

/// What to append in one transaction, and what follows once it is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The events become the records after this `seq`; anything else means that the machine is out of date.
    pub after_seq: u64,
    /// The events, in order. May be empty when there are only effects.
    pub events: Vec<NewEvent>,
    /// What follows, in order. [`Effect::Deliver`] is a row of the outbox, written in the same transaction.
    pub effects: Vec<Effect>,
}

/// What follows from a commit. Nothing of it happens before the commit is in the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a message to a channel.
    Deliver(Delivery),
    /// Ask somebody whether they take the conversation.
    Ring(Ring),
    /// An offer ended: stop asking.
    StopRinging {
        /// Which offer.
        offer: OfferId,
        /// Whom it was made to.
        to: Owner,
    },
    /// Somebody owns the conversation now: show them all records up to `history_to`, then the live feed.
    Grant {
        /// Who.
        to: Owner,
        /// The epoch in which they speak.
        epoch: u64,
        /// The last record of the history.
        history_to: u64,
        /// `seq` of the summary that goes with it.
        summary: Option<u64>,
    },
    /// A queue owns the conversation: find somebody.
    Route {
        /// Which queue.
        queue: String,
        /// Its place in line.
        waiting_since: Timestamp,
        /// Higher goes first.
        priority: u8,
        /// The epoch to offer with.
        epoch: u64,
    },
    /// A plan owns the conversation: let it speak.
    Run {
        /// Which plan.
        plan: String,
        /// The epoch in which it speaks.
        epoch: u64,
    },
    /// Find the person of these keys and answer with [`Input::Linked`], in the store's transaction.
    Identify {
        /// The keys.
        keys: Vec<IdentityKey>,
        /// How sure the channel is.
        assurance: Assurance,
        /// The token of a companion link that this person opened: a secret, kept nowhere. With verified keys, the link's
        /// conversation becomes theirs.
        link_token: Option<Content>,
    },
    /// Replace bodies by tombstones ([`crate::Record::erase`]); then drop this machine and open it from the log.
    Erase {
        /// The first `seq`.
        from_seq: u64,
        /// The last `seq`.
        to_seq: u64,
        /// Why.
        reason: EraseReason,
    },
}

/// An offer, as it is shown to the one who is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ring {
    /// Which.
    pub offer: OfferId,
    /// Whom it is made to.
    pub to: Owner,
    /// The epoch to accept with.
    pub expected_epoch: u64,
    /// Until when.
    pub deadline: Timestamp,
    /// `seq` of the summary that goes with it.
    pub summary: Option<u64>,
}

/// A message on its way to a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The leg.
    pub leg: LegId,
    /// The source of the leg's thread: what the adapter knows it by.
    pub source: String,
    /// The author's key: what the channel's copies are told by.
    pub key: String,
    /// 1 for the first way, 2 for the second, and so on.
    pub attempt: u32,
    /// `seq` of the `ark.message.out.v1` with the words.
    pub seq: u64,
    /// The epoch under which it is sent.
    pub epoch: u64,
    /// The leg's thread.
    pub thread: String,
}

impl Delivery {
    /// The event that the adapter gets: the logged message on this delivery's thread.
    #[must_use]
    pub fn event(&self, logged: &MessageOut, time: Timestamp) -> CloudEvent {
        let message = MessageOut { thread: self.thread.clone(), leg: None, ..logged.clone() };
        CloudEvent::new(self.key.clone(), self.source.clone(), time, Event::MessageOut(message))
    }
}
