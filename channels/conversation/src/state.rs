//! The fold of a conversation's log: what lists and pages show.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Hash;
use crate::event::{CallEnded, CallRinging, Direction, EndCause, Event, Role};
use crate::id::{ConversationId, LegId, Tenant};
use crate::limits::LEGS_MAX;
use crate::owner::Owner;
use crate::pii::Pii;
use crate::record::Record;

/// What kind of log it is, told by its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// It began with a call.
    Call,
    /// The system's own log: plans, gaps.
    System,
    /// Anything else that this version does not know.
    Other,
}

/// Where a leg is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegPhase {
    /// Not answered yet.
    Ringing,
    /// Answered.
    Active,
    /// Answered and put on hold by the other end.
    Held,
    /// Over.
    Ended,
}

/// One leg as the log tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LegState {
    /// Which leg.
    pub leg: LegId,
    /// Who is there.
    pub role: Role,
    /// Who called whom.
    pub direction: Direction,
    /// The caller.
    pub from: Pii,
    /// The called.
    pub to: Pii,
    /// Its trunk.
    pub trunk: String,
    /// Its SIP Call-ID.
    pub call_id: String,
    /// Where it is in its life.
    pub phase: LegPhase,
    /// The codec, once answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// When it began to ring.
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
    /// The queue in which it waits now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
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
            queue: None,
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
        let shown = match &record.event.event {
            // What the tombstone kept folds as the event itself did.
            Event::Erased(erased) => erased.skeleton().is_some_and(|kept| self.fold(record.event.time, &kept)),
            event => self.fold(record.event.time, event),
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

    /// A leg by its id.
    #[must_use]
    pub fn leg(&self, leg: LegId) -> Option<&LegState> {
        self.legs.iter().find(|l| l.leg == leg)
    }

    /// Whether anything changed that a list shows.
    fn fold(&mut self, time: Timestamp, event: &Event) -> bool {
        match event {
            Event::CallRinging(ringing) => self.ring(time, ringing),
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
                true
            }
            Event::QueueLeft(_) => self.queue.take().is_some(),
            Event::RecordingFinished(_) => {
                self.recordings = self.recordings.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    fn ring(&mut self, time: Timestamp, ringing: &CallRinging) -> bool {
        if self.legs.len() == LEGS_MAX {
            // A conversation with so many legs is a loop somewhere; the log has them all.
            let oldest = self.legs.iter().position(|leg| leg.phase == LegPhase::Ended).unwrap_or(0);
            self.legs.remove(oldest);
        }
        self.legs.push(LegState {
            leg: ringing.leg,
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
        self.owner = Some(ringing.owner.clone());
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
        if self.ended.is_none() && self.legs.iter().all(|l| l.phase == LegPhase::Ended) {
            self.ended = Some(time);
            self.queue = None;
            changed = true;
        }
        changed
    }
}
