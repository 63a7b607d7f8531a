//! The fold of a conversation's log: what lists and pages show.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Hash;
use crate::event::{
    CallEnded, CallRinging, CallbackPlace, Direction, EndCause, Event, LegAdded, LegOffered, LinkMade, Medium, Needed,
    OfferMode, OwnerOffered, OwnerReleased, Participant, ParticipantJoined, ParticipantRole, Role, SessionOpened,
    Voice,
};
use crate::id::{ConversationId, LegId, OfferId, PersonId, SessionId, Tenant};
use crate::limits::{AGENTS_SEEN_MAX, LEGS_MAX, LINK_AFTER_CALL, PARTICIPANTS_MAX};
use crate::owner::Owner;
use crate::pii::Pii;
use crate::record::Record;
use crate::source;

/// What kind of log it is, told by its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// It began with a call.
    Call,
    /// It began with a message, or with the house writing first.
    Chat,
    /// The system's own log: plans, gaps.
    System,
    /// Anything else that this version does not know.
    Other,
}

/// Where a leg is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegPhase {
    /// Offered to the customer and not taken yet.
    Offered,
    /// Not answered yet.
    Ringing,
    /// Answered; of a thread: awake.
    Active,
    /// Answered and put on hold by the other end.
    Held,
    /// A thread that is silent; the next message wakes it.
    Idle,
    /// Over.
    Ended,
}

/// One leg as the log tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LegState {
    /// Which leg.
    pub leg: LegId,
    /// What it is.
    #[serde(default = "call", skip_serializing_if = "is_call")]
    pub medium: Medium,
    /// The source of a thread's events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Who is there.
    pub role: Role,
    /// Who called whom.
    pub direction: Direction,
    /// The caller; of a thread: the customer.
    pub from: Pii,
    /// The called; of a thread: the house's account.
    pub to: Pii,
    /// Its trunk; of a thread: its adapter.
    pub trunk: String,
    /// Its SIP Call-ID; of a thread: the channel's name of it.
    pub call_id: String,
    /// Where it is in its life.
    pub phase: LegPhase,
    /// The codec, once answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// The place in line of a callback that waits for its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackPlace>,
    /// Until when an offered leg can be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub deadline: Option<Timestamp>,
    /// When it began to ring; of a thread: when it came to the conversation.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub rang: Timestamp,
    /// When it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub answered: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub ended: Option<Timestamp>,
    /// Why it ended; none for a leg that was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EndCause>,
}

impl LegState {
    /// Whether somebody is to be called back by it, and waits for that.
    #[must_use]
    pub fn waits_for_callback(&self) -> bool {
        self.phase == LegPhase::Offered && self.callback.is_some()
    }

    /// Whether no call is up on it: it is a thread, was offered only, or is over.
    fn is_no_call_up(&self) -> bool {
        self.medium != Medium::Call || matches!(self.phase, LegPhase::Ended | LegPhase::Offered)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn call() -> Medium {
    Medium::Call
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_call(medium: &Medium) -> bool {
    *medium == Medium::Call
}

/// The episode of service that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SessionState {
    /// Which.
    pub session: SessionId,
    /// Since when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub opened: Timestamp,
}

/// The offer that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OfferState {
    /// Which.
    pub offer: OfferId,
    /// To whom.
    pub to: Owner,
    /// Who made it.
    pub by: Owner,
    /// Who keeps the customer meanwhile.
    pub mode: OfferMode,
    /// The epoch to accept with.
    pub expected_epoch: u64,
    /// Until when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub deadline: Timestamp,
    /// `seq` of the summary that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<u64>,
}

/// A place in a queue's line. It is kept after somebody took the customer, for the way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlaceState {
    /// Which queue.
    pub queue: String,
    /// Since when: the earlier, the nearer to the head.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// Higher goes first.
    #[serde(default)]
    pub priority: u8,
    /// What an agent must be able to do; none: nothing was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Needed>,
    /// It no longer matters: nobody who worked there had it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relaxed: bool,
}

/// Whether the customer was asked how content they were, and what they said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SurveyState {
    /// The best score.
    pub scale: u8,
    /// Until when a message is taken for an answer; none: it was asked in a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// The hash of the token of the link by which it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Hash>,
    /// What they said, from 1 to `scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u8>,
}

/// Somebody who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ParticipantState {
    /// Who.
    pub participant: Participant,
    /// Where; none: the whole conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leg: Option<LegId>,
    /// What they may do.
    pub voice: Voice,
}

impl ParticipantState {
    /// Whether it is the one who is called so as an owner.
    #[must_use]
    pub fn is(&self, who: &Owner) -> bool {
        let (name, roles): (_, &[ParticipantRole]) = match who {
            Owner::Agent(name) => (name, &[ParticipantRole::Agent, ParticipantRole::Supervisor]),
            Owner::Bot(name) => (name, &[ParticipantRole::Bot]),
            Owner::Queue(_) => return false,
        };
        roles.contains(&self.participant.role) && self.participant.id.reveal() == name
    }
}

/// What a record changed in the fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing but `last_seq` and `last_at`.
    Position,
    /// Something that a list shows.
    Shown,
    /// The record was applied before (its `seq` is not after `last_seq`): nothing changed.
    Old,
}

/// A conversation as its log tells it. Folding the same records gives the same state, whoever folds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConversationState {
    /// Whose data it is.
    pub tenant: Tenant,
    /// Which conversation.
    pub conversation: ConversationId,
    /// What kind of log.
    pub kind: ConversationKind,
    /// When it began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started: Timestamp,
    /// When its last leg ended; none while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub ended: Option<Timestamp>,
    /// Who owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Ownership so far: the highest epoch in the log.
    pub epoch: u64,
    /// The plan of the first leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The plan's version, to which the call keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_version: Option<u32>,
    /// The episode of service that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionState>,
    /// How many there were.
    pub sessions: u32,
    /// The offer that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<OfferState>,
    /// The place in line, now or last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<PlaceState>,
    /// Who takes part beside the owner; at most [`PARTICIPANTS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<ParticipantState>,
    /// Whose conversation it is, as it was linked; the store knows with whom they were merged since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// `seq` of the last summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<u64>,
    /// Whether the customer was asked how content they were. Once per conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survey: Option<SurveyState>,
    /// Notes of the house's own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub notes: u32,
    /// When the plan of its chat goes on though nothing comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub wakes: Option<Timestamp>,
    /// The highest number that a leg ever had.
    pub legs_begun: u32,
    /// The queue in which it waits now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The queue in which it waits, or waited last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_queue: Option<String>,
    /// The agents whose it is or was, who were asked to take it, or who took part; the latest last, at most [`AGENTS_SEEN_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// The two legs that hear each other now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridged: Option<(LegId, LegId)>,
    /// Finished recordings.
    pub recordings: u32,
    /// The legs, in the order in which they began; at most [`LEGS_MAX`].
    pub legs: Vec<LegState>,
    /// `seq` of the last record.
    pub last_seq: u64,
    /// `at` of the last record.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_at: Timestamp,
}

impl ConversationState {
    /// Begins with the first record of a conversation.
    #[must_use]
    pub fn begin(first: &Record) -> Self {
        let kind = match &first.event.event {
            _ if first.conversation == ConversationId::SYSTEM => ConversationKind::System,
            Event::CallRinging(_) => ConversationKind::Call,
            Event::SessionOpened(_) => ConversationKind::Chat,
            Event::Erased(erased) if erased.of == "ark.call.ringing.v1" => ConversationKind::Call,
            Event::Erased(erased) if erased.of == "ark.session.opened.v1" => ConversationKind::Chat,
            _ => ConversationKind::Other,
        };
        let mut state = Self {
            tenant: first.tenant.clone(),
            conversation: first.conversation,
            kind,
            started: first.event.time,
            ended: None,
            owner: None,
            epoch: first.epoch,
            plan: None,
            plan_version: None,
            session: None,
            sessions: 0,
            offer: None,
            place: None,
            participants: Vec::new(),
            person: None,
            summary: None,
            survey: None,
            notes: 0,
            wakes: None,
            legs_begun: 0,
            queue: None,
            last_queue: None,
            agents: Vec::new(),
            bridged: None,
            recordings: 0,
            legs: Vec::new(),
            last_seq: first.seq - 1,
            last_at: first.at,
        };
        state.apply(first);
        state
    }

    /// Folds one record in. Records are given in the order of their `seq`; one that was applied before is told and
    /// skipped.
    ///
    /// # Panics
    /// In debug builds, when the record belongs to another conversation.
    pub fn apply(&mut self, record: &Record) -> Change {
        debug_assert_eq!(record.conversation, self.conversation, "a record of another conversation");
        if record.seq <= self.last_seq {
            return Change::Old;
        }
        self.last_seq = record.seq;
        self.last_at = record.at;
        let raised = record.epoch > self.epoch;
        self.epoch = self.epoch.max(record.epoch);
        let time = record.event.time;
        let shown = match &record.event.event {
            // What the tombstone kept folds as the event itself did.
            Event::Erased(erased) => erased.skeleton().is_some_and(|kept| self.fold(time, raised, &kept)),
            event => self.fold(time, raised, event),
        };
        if shown || raised || record.seq == 1 { Change::Shown } else { Change::Position }
    }

    /// The hash of the state: SHA-256 of its canonical JSON. A replay of the log up to the same `seq` gives the same.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of_json(&serde_json::to_value(self).unwrap_or(serde_json::Value::Null))
    }

    /// Whether any leg is alive, or nothing has ended it yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// The customer's leg: the first one.
    #[must_use]
    pub fn customer(&self) -> Option<&LegState> {
        self.legs.iter().find(|leg| leg.role == Role::Customer)
    }

    /// The leg by which somebody is to be called back, while they wait for that.
    #[must_use]
    pub fn waiting_callback(&self) -> Option<&LegState> {
        self.legs.iter().find(|leg| leg.waits_for_callback())
    }

    /// Whether a call of the customer's is up: it rings, or they talk.
    #[must_use]
    pub fn customer_calls(&self) -> bool {
        self.legs.iter().any(|leg| leg.role == Role::Customer && !leg.is_no_call_up())
    }

    /// A leg by its id.
    #[must_use]
    pub fn leg(&self, leg: LegId) -> Option<&LegState> {
        self.legs.iter().find(|l| l.leg == leg)
    }

    /// Whether anything changed that a list shows.
    fn fold(&mut self, time: Timestamp, raised: bool, event: &Event) -> bool {
        match event {
            Event::CallRinging(ringing) => self.ring(time, raised, ringing),
            Event::CallAnswered(answered) => self.change_leg(answered.leg, |leg| {
                leg.phase = LegPhase::Active;
                leg.answered = Some(time);
                leg.codec = Some(answered.codec.clone());
            }),
            Event::LegHeld(held) => self.change_leg(held.leg, |leg| leg.phase = LegPhase::Held),
            Event::LegResumed(resumed) => self.change_leg(resumed.leg, |leg| leg.phase = LegPhase::Active),
            Event::CallEnded(CallEnded { leg, cause, .. }) => self.end_legs(time, Some(*leg), Some(*cause)),
            Event::CallLost(lost) => self.end_legs(time, lost.leg, None),
            Event::LegBridged(bridged) => {
                self.bridged = Some((bridged.leg, bridged.with));
                true
            }
            Event::LegUnbridged(_) => self.bridged.take().is_some(),
            Event::QueueJoined(joined) => {
                self.queue = Some(joined.queue.clone());
                self.last_queue = Some(joined.queue.clone());
                true
            }
            Event::QueueLeft(_) => self.queue.take().is_some(),
            Event::QueueRelaxed(relaxed) => match self.place.as_mut().filter(|place| place.queue == relaxed.queue) {
                Some(place) => !std::mem::replace(&mut place.relaxed, true),
                None => false,
            },
            Event::RecordingFinished(_) => {
                self.recordings = self.recordings.saturating_add(1);
                true
            }
            Event::LegAdded(added) => self.add_thread(time, added),
            Event::LegOffered(offered) => self.add_offered(time, offered),
            Event::LegIdle(idle) => self.change_leg(idle.leg, |leg| leg.phase = LegPhase::Idle),
            Event::LinkMade(made) => self.add_link(time, made),
            Event::LegWoke(woke) => self.change_leg(woke.leg, |leg| leg.phase = LegPhase::Active),
            Event::LegEnded(ended) => self.end_legs(time, Some(ended.leg), None),
            _ => self.fold_service(time, event),
        }
    }

    /// Sessions, owners, offers, those who take part.
    fn fold_service(&mut self, time: Timestamp, event: &Event) -> bool {
        match event {
            Event::SessionOpened(opened) => self.open_session(time, opened),
            Event::SessionClosed(_) => self.close_session(time),
            Event::OwnerOffered(offered) => {
                self.saw(&offered.to);
                self.offer = Some(open_offer(offered));
            }
            Event::OwnerAccepted(accepted) => {
                if matches!(accepted.owner, Owner::Agent(_)) {
                    self.wakes = None;
                }
                self.own(accepted.owner.clone());
            }
            Event::IvrKept(kept) => self.wakes = kept.wakes,
            Event::OwnerReleased(released) => self.release(released),
            Event::OwnerDeclined(_) | Event::OwnerExpired(_) | Event::OwnerWithdrawn(_) => self.offer = None,
            Event::ParticipantJoined(joined) => self.let_in(joined),
            Event::ParticipantLeft(left) => {
                self.participants.retain(|one| one.participant != left.participant || one.leg != left.leg);
            }
            Event::PersonLinked(linked) => self.person = Some(linked.person),
            Event::Summary(_) => self.summary = Some(self.last_seq),
            Event::SurveyAsked(asked) if self.survey.is_none() => {
                self.survey =
                    Some(SurveyState { scale: asked.scale, until: asked.until, link: asked.link, score: None });
            }
            Event::SurveyAnswered(answered) => match &mut self.survey {
                Some(survey) if survey.score.is_none() => survey.score = Some(answered.score),
                _ => return false,
            },
            Event::Note(_) => self.notes = self.notes.saturating_add(1),
            _ => return false,
        }
        true
    }

    fn open_session(&mut self, time: Timestamp, opened: &SessionOpened) {
        self.session = Some(SessionState { session: opened.session, opened: time });
        self.sessions = self.sessions.saturating_add(1);
        self.ended = None;
        self.place = match &opened.owner {
            Owner::Queue(queue) => {
                let since = opened.waiting_since.unwrap_or(time);
                Some(PlaceState { queue: queue.clone(), since, priority: 0, needs: None, relaxed: false })
            }
            _ => None,
        };
        self.own(opened.owner.clone());
    }

    /// The conversation is over unless a call is still up; its threads fall silent.
    fn close_session(&mut self, time: Timestamp) {
        self.session = None;
        self.offer = None;
        self.wakes = None;
        self.participants.clear();
        for leg in &mut self.legs {
            let link = leg.medium == Medium::Companion && leg.phase != LegPhase::Ended;
            if leg.medium == Medium::Chat && leg.phase == LegPhase::Active {
                leg.phase = LegPhase::Idle;
            } else if link || leg.phase == LegPhase::Offered {
                (leg.phase, leg.ended, leg.deadline) = (LegPhase::Ended, Some(time), None);
            }
        }
        if self.legs.iter().all(LegState::is_no_call_up) {
            self.ended = Some(time);
            self.queue = None;
        }
    }

    /// A new owner. Offers were made by the old one, and whoever it asked in to speak speaks no longer.
    fn own(&mut self, owner: Owner) {
        self.saw(&owner);
        if let Owner::Queue(queue) = &owner {
            self.last_queue = Some(queue.clone());
        }
        self.owner = Some(owner);
        self.offer = None;
        for one in &mut self.participants {
            one.voice = Voice::Listen;
        }
    }

    /// Remembers an agent who has to do with it.
    fn saw(&mut self, who: &Owner) {
        let Owner::Agent(name) = who else { return };
        if self.agents.last() == Some(name) {
            return;
        }
        self.agents.retain(|one| one != name);
        if self.agents.len() == AGENTS_SEEN_MAX {
            self.agents.remove(0);
        }
        self.agents.push(name.clone());
    }

    fn release(&mut self, released: &OwnerReleased) {
        let (queue, since, priority) = (released.queue.clone(), released.waiting_since, released.priority);
        let (needs, relaxed) = (released.needs.clone(), false);
        self.place = Some(PlaceState { queue: queue.clone(), since, priority, needs, relaxed });
        self.own(Owner::Queue(queue));
    }

    fn let_in(&mut self, joined: &ParticipantJoined) {
        let (participant, leg, voice) = (joined.participant.clone(), joined.leg, joined.voice);
        if matches!(participant.role, ParticipantRole::Agent | ParticipantRole::Supervisor) {
            self.saw(&Owner::Agent(participant.id.reveal().to_owned()));
        }
        let there = |one: &&mut ParticipantState| one.participant == participant && one.leg == leg;
        if let Some(one) = self.participants.iter_mut().find(there) {
            one.voice = voice;
        } else if self.participants.len() < PARTICIPANTS_MAX {
            self.participants.push(ParticipantState { participant, leg, voice });
        }
    }

    fn add_thread(&mut self, time: Timestamp, added: &LegAdded) -> bool {
        let deadline = match added.medium {
            Medium::Companion => self.leg(added.leg).and_then(|offered| offered.deadline),
            _ => None,
        };
        self.put_leg(LegState {
            medium: added.medium,
            deadline,
            source: Some(added.source.clone()),
            from: added.party.as_ref().map(|party| party.id.clone()).unwrap_or_default(),
            to: Pii::new(added.account.as_str()),
            trunk: added.adapter.clone(),
            call_id: added.thread.clone(),
            phase: LegPhase::Active,
            answered: Some(time),
            role: added.role,
            ..empty_leg(added.leg, time)
        });
        true
    }

    fn add_offered(&mut self, time: Timestamp, offered: &LegOffered) -> bool {
        self.put_leg(LegState {
            to: offered.to.clone().unwrap_or_default(),
            direction: Direction::Outbound,
            deadline: Some(offered.deadline),
            callback: offered.callback.clone(),
            ..empty_leg(offered.leg, time)
        });
        if let Some(CallbackPlace { queue, .. }) = &offered.callback {
            (self.queue, self.last_queue) = (Some(queue.clone()), Some(queue.clone()));
            self.ended = None;
        }
        true
    }

    /// A page that can be opened: it is offered until a device takes it.
    fn add_link(&mut self, time: Timestamp, made: &LinkMade) -> bool {
        self.put_leg(LegState {
            medium: Medium::Companion,
            source: Some(source::link(&self.tenant, made.link)),
            trunk: source::COMPANION.to_owned(),
            call_id: made.link.to_string(),
            deadline: Some(made.expires),
            ..empty_leg(made.leg, time)
        });
        true
    }

    /// A new leg, or one that was offered and now is what was offered.
    fn put_leg(&mut self, leg: LegState) {
        self.legs_begun = self.legs_begun.max(leg.leg.0);
        let offered = |old: &&mut LegState| old.leg == leg.leg && old.phase == LegPhase::Offered;
        if let Some(old) = self.legs.iter_mut().find(offered) {
            *old = leg;
            return;
        }
        if self.legs.len() == LEGS_MAX {
            // A conversation with so many legs is a loop somewhere; the log has them all.
            let oldest = self.legs.iter().position(|leg| leg.phase == LegPhase::Ended).unwrap_or(0);
            self.legs.remove(oldest);
        }
        if self.legs.is_empty() {
            // Most conversations have one; a first push would make room for four.
            self.legs.reserve_exact(1);
        }
        self.legs.push(leg);
    }

    fn ring(&mut self, time: Timestamp, raised: bool, ringing: &CallRinging) -> bool {
        self.put_leg(LegState {
            leg: ringing.leg,
            medium: Medium::Call,
            source: None,
            callback: None,
            deadline: None,
            role: ringing.role,
            direction: ringing.direction,
            from: ringing.from.clone(),
            to: ringing.to.clone(),
            trunk: ringing.trunk.clone(),
            call_id: ringing.call_id.clone(),
            phase: LegPhase::Ringing,
            codec: None,
            rang: time,
            answered: None,
            ended: None,
            cause: None,
        });
        // A later leg rings under the owner that there is: only a higher epoch brings another.
        if self.owner.is_none() || raised {
            self.own(ringing.owner.clone());
        }
        if self.plan.is_none() {
            self.plan.clone_from(&ringing.plan);
            self.plan_version = ringing.plan_version;
        }
        self.ended = None;
        true
    }

    /// Changes a leg that is alive.
    fn change_leg(&mut self, leg: LegId, change: impl FnOnce(&mut LegState)) -> bool {
        match self.legs.iter_mut().find(|l| l.leg == leg && l.phase != LegPhase::Ended) {
            Some(leg) => {
                change(leg);
                true
            }
            None => false,
        }
    }

    /// Ends one leg, or every one that is alive; the conversation with the last.
    fn end_legs(&mut self, time: Timestamp, leg: Option<LegId>, cause: Option<EndCause>) -> bool {
        let mut changed = false;
        for state in self.legs.iter_mut().filter(|l| l.phase != LegPhase::Ended && leg.is_none_or(|leg| l.leg == leg)) {
            state.phase = LegPhase::Ended;
            state.deadline = None;
            state.ended = Some(time);
            state.cause = cause;
            changed = true;
        }
        if let Some((a, b)) = self.bridged
            && [a, b].iter().any(|id| self.leg(*id).is_none_or(|l| l.phase == LegPhase::Ended))
        {
            self.bridged = None;
            changed = true;
        }
        if changed && self.legs.iter().all(LegState::is_no_call_up) {
            let last = time.saturating_add(LINK_AFTER_CALL).unwrap_or(time);
            for link in self.legs.iter_mut().filter(|leg| leg.medium == Medium::Companion) {
                link.deadline = link.deadline.map(|deadline| deadline.min(last));
            }
        }
        // With a session open there may be something to wrap up: its end is the conversation's.
        let waits = self.waiting_callback().is_some();
        if self.ended.is_none() && self.session.is_none() && !waits && self.legs.iter().all(LegState::is_no_call_up) {
            self.ended = Some(time);
            self.queue = None;
            changed = true;
        }
        changed
    }
}

fn empty_leg(leg: LegId, time: Timestamp) -> LegState {
    LegState {
        leg,
        medium: Medium::Call,
        source: None,
        role: Role::Customer,
        direction: Direction::Inbound,
        from: Pii::default(),
        to: Pii::default(),
        trunk: String::new(),
        call_id: String::new(),
        phase: LegPhase::Offered,
        codec: None,
        callback: None,
        deadline: None,
        rang: time,
        answered: None,
        ended: None,
        cause: None,
    }
}

fn open_offer(offered: &OwnerOffered) -> OfferState {
    OfferState {
        offer: offered.offer,
        to: offered.to.clone(),
        by: offered.by.clone(),
        mode: offered.mode,
        expected_epoch: offered.expected_epoch,
        deadline: offered.deadline,
        summary: offered.summary,
    }
}
