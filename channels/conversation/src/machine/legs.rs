//! Sessions, legs, those who take part, summaries and erasure.

use jiff::{SignedDuration, Timestamp};

use super::{Conversation, Effect, Handled, Policy, Refused};
use crate::cloud_event::CloudEvent;
use crate::event::{
    CallMode, CallbackPlace, EraseReason, Erasure, Event, LegEndReason, LegEnded, LegOffered, Medium, Note,
    Participant, ParticipantJoined, ParticipantLeft, SessionCloseReason, SessionClosed, SessionOpenReason,
    SessionOpened, Summary, Voice, WithdrawReason,
};
use crate::id::{LegId, SessionId};
use crate::limits::{
    CALLBACK_TTL_MAX, MESSAGE_KEY_BYTES_MAX, NOTE_BYTES_MAX, OFFER_TTL_MAX, PARTICIPANTS_MAX, SUMMARY_REFS_MAX,
};
use crate::owner::Owner;
use crate::pii::{Content, Pii};
use crate::source;
use crate::state::{ConversationKind, ConversationState, LegPhase, LegState};

/// What a note's event id begins with; its key follows.
const NOTE_ID_PREFIX: &str = "note:";

impl Conversation {
    /// Opens a session with a new owner; the first one opens the conversation.
    pub(super) fn open_session(&mut self, now: Timestamp, reason: SessionOpenReason, owner: Owner) {
        let session = SessionId::from_bytes(self.derived_id(now, b"session"));
        let waiting_since = matches!(owner, Owner::Queue(_)).then_some(now);
        self.push_raised(now, SessionOpened { session, reason, owner, waiting_since });
        self.route();
    }

    /// Opens a session for the owner that there is: nothing changes hands.
    pub(super) fn note_session(&mut self, now: Timestamp) {
        let Some(owner) = self.owner().cloned() else { return };
        let session = SessionId::from_bytes(self.derived_id(now, b"session"));
        let waiting_since = matches!(owner, Owner::Queue(_)).then_some(now);
        self.push(now, SessionOpened { session, reason: SessionOpenReason::Customer, owner, waiting_since });
    }

    /// The switch's event. It is a fact: only its place in the log and, of a new leg, the owner are decided here.
    pub(super) fn call(&mut self, now: Timestamp, mut event: CloudEvent) -> Result<Handled, Refused> {
        if event.check().is_err() || event.event.is_live_only() {
            return Err(Refused::Malformed("the event has no id, no source, or is live only"));
        }
        if self.ledger.has(&event.source, &event.id) {
            return Ok(Handled::Duplicate);
        }
        let opens = match (&mut event.event, &self.state) {
            (Event::CallRinging(ringing), Some(state)) if state.is_open() => {
                if let Some(owner) = &state.owner {
                    ringing.owner = owner.clone();
                }
                false
            }
            (Event::CallRinging(_), _) => true,
            (_, None) => return Err(Refused::Unknown),
            _ => false,
        };
        let epoch = if opens && self.state.is_some() { self.epoch() + 1 } else { self.epoch() };
        self.append(now, epoch, event);
        if opens {
            self.note_session(now);
            self.route();
        }
        self.close_after_last_leg(now);
        Ok(Handled::Done)
    }

    /// Without an agent there is nothing to wrap up.
    pub(super) fn close_after_last_leg(&mut self, now: Timestamp) {
        let Some(state) = &self.state else { return };
        let over = state.session.is_some() && !state.legs.is_empty() && self.legs_over(&state.legs);
        if over && !matches!(state.owner, Some(Owner::Agent(_))) {
            self.close_session(now, SessionCloseReason::LegsEnded, None, None);
        }
    }

    #[cfg(not(test))]
    fn legs_over(&self, legs: &[LegState]) -> bool {
        legs.iter().all(|leg| leg.phase == LegPhase::Ended)
    }

    #[cfg(test)]
    fn legs_over(&self, legs: &[LegState]) -> bool {
        let ended = |leg: &LegState| leg.phase == LegPhase::Ended;
        if self.is_sabotaged(super::tests::Fault::EndOnAnyLeg) {
            legs.iter().any(ended)
        } else {
            legs.iter().all(ended)
        }
    }

    pub(super) fn expire_wrap_up(&mut self, now: Timestamp) -> bool {
        let ends = self.state.as_ref().and_then(|state| wrap_up_ends(state, &self.policy));
        let due = ends.is_some_and(|ends| ends <= now);
        if due {
            self.close_session(now, SessionCloseReason::LegsEnded, None, None);
        }
        due
    }

    fn close_session(
        &mut self,
        now: Timestamp,
        reason: SessionCloseReason,
        disposition: Option<String>,
        note: Option<Content>,
    ) {
        self.end_by_withdrawal(now, WithdrawReason::SessionClosed);
        let Some(state) = &self.state else { return };
        if let (Some(session), Some(by)) = (&state.session, state.owner.clone()) {
            let session = session.session;
            self.push(now, SessionClosed { session, reason, by, disposition, note });
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "an input is taken in whole")]
    pub(super) fn close(
        &mut self,
        now: Timestamp,
        by: Owner,
        expected_epoch: u64,
        reason: SessionCloseReason,
        disposition: Option<String>,
        note: Option<Content>,
    ) -> Result<Handled, Refused> {
        let state = self.owned_by(&by, expected_epoch)?;
        let call_up = |leg: &LegState| leg.medium == Medium::Call && leg.phase != LegPhase::Ended;
        if state.legs.iter().any(call_up) {
            return Err(Refused::CallUp);
        }
        if state.session.is_none() {
            return Err(Refused::Closed);
        }
        if reason == SessionCloseReason::Resolved {
            self.ask_whether_content(now);
        }
        self.close_session(now, reason, disposition, note);
        Ok(Handled::Done)
    }

    pub(super) fn reopen(&mut self, now: Timestamp, by: Owner) -> Result<Handled, Refused> {
        if self.begun()?.is_open() {
            return Err(Refused::Open);
        }
        if matches!(by, Owner::Queue(_)) {
            return Err(Refused::NoWay);
        }
        let (history_to, summary) = (self.last_seq(), self.begun()?.summary);
        self.open_session(now, SessionOpenReason::Reopened, by.clone());
        if matches!(by, Owner::Agent(_)) {
            let epoch = self.epoch();
            self.effect(Effect::Grant { to: by, epoch, history_to, summary });
        }
        Ok(Handled::Done)
    }

    pub(super) fn offer_leg(
        &mut self,
        now: Timestamp,
        mode: CallMode,
        ttl: SignedDuration,
        (to, callback): (Option<Pii>, Option<CallbackPlace>),
    ) -> Result<Handled, Refused> {
        // Whose call is over can be called back; a chat that is closed is taken up again first.
        let over_call = callback.is_some() && self.begun()?.kind == ConversationKind::Call;
        let state = if over_call { self.begun()? } else { self.open()? };
        if state.legs.iter().any(|leg| leg.medium == Medium::Call && leg.phase == LegPhase::Offered) {
            return Err(Refused::Full); // one callback at a time: a second press is the same wish
        }
        if callback.is_some() && state.customer_calls() {
            return Err(Refused::CallUp);
        }
        // Behind a callback's leg there is room for those of whoever calls.
        let (leg, most) = match callback {
            Some(_) => (state.next_call_leg(), CALLBACK_TTL_MAX),
            None => (state.next_leg(), OFFER_TTL_MAX),
        };
        let deadline = now.saturating_add(ttl.clamp(SignedDuration::from_secs(1), most)).unwrap_or(now);
        let deadline = crate::cloud_event::whole_microseconds(deadline);
        self.push(now, LegOffered { leg, mode, deadline, to, callback });
        Ok(Handled::Done)
    }

    pub(super) fn expire_leg(&mut self, now: Timestamp) -> bool {
        let due = |leg: &&LegState| leg.deadline.is_some_and(|deadline| deadline <= now);
        let leg = self.state.as_ref().and_then(|state| state.legs.iter().find(due)).map(|leg| leg.leg);
        if let Some(leg) = leg {
            self.push(now, LegEnded { leg, reason: LegEndReason::Expired });
            self.close_after_last_leg(now);
        }
        leg.is_some()
    }

    pub(super) fn end_leg(&mut self, now: Timestamp, leg: LegId, reason: LegEndReason) -> Result<Handled, Refused> {
        let state = self.begun()?;
        let found = state.leg(leg).ok_or(Refused::NoLeg)?;
        if found.phase == LegPhase::Ended {
            return Ok(Handled::Duplicate);
        }
        if found.medium == Medium::Call && found.phase != LegPhase::Offered {
            return Err(Refused::CallUp); // its end is the switch's to tell
        }
        self.push(now, LegEnded { leg, reason });
        self.close_after_last_leg(now);
        Ok(Handled::Done)
    }

    pub(super) fn join(
        &mut self,
        now: Timestamp,
        participant: Participant,
        leg: Option<LegId>,
        voice: Voice,
        by: Option<Owner>,
    ) -> Result<Handled, Refused> {
        let state = self.open()?;
        if voice == Voice::Speak && (by.is_none() || state.owner != by) {
            return Err(Refused::NotOwner);
        }
        if leg.is_some_and(|leg| state.leg(leg).is_none()) {
            return Err(Refused::NoLeg);
        }
        let there = |one: &&crate::state::ParticipantState| one.participant == participant && one.leg == leg;
        match state.participants.iter().find(there) {
            Some(one) if one.voice == voice => return Ok(Handled::Duplicate),
            None if state.participants.len() >= PARTICIPANTS_MAX => return Err(Refused::Full),
            _ => {}
        }
        self.push(now, ParticipantJoined { participant, leg, voice, invited_by: by });
        Ok(Handled::Done)
    }

    pub(super) fn leave(
        &mut self,
        now: Timestamp,
        participant: Participant,
        leg: Option<LegId>,
    ) -> Result<Handled, Refused> {
        let state = self.begun()?;
        if !state.participants.iter().any(|one| one.participant == participant && one.leg == leg) {
            return Ok(Handled::Duplicate);
        }
        self.push(now, ParticipantLeft { participant, leg });
        Ok(Handled::Done)
    }

    /// A summary that speaks of later records, or whose hash is another text's, is refused.
    pub(super) fn summarise(&mut self, now: Timestamp, summary: Summary) -> Result<Handled, Refused> {
        let last_seq = self.begun()?.last_seq;
        let ahead = summary.upto > last_seq || summary.messages.iter().any(|seq| *seq > summary.upto);
        if ahead && !self.skips_summary_check() {
            return Err(Refused::Ahead { last_seq });
        }
        if summary.messages.len() + summary.tasks.len() + summary.attachments.len() > SUMMARY_REFS_MAX {
            return Err(Refused::Full);
        }
        if crate::Hash::of(summary.text.reveal().as_bytes()) != summary.sha256 {
            return Err(Refused::Malformed("the summary's hash is not that of its text"));
        }
        self.push(now, summary);
        Ok(Handled::Done)
    }

    /// A note is the house's own: it is a record and nothing follows from it, so that no channel can carry it.
    pub(super) fn note(&mut self, now: Timestamp, by: Owner, key: &str, text: Content) -> Result<Handled, Refused> {
        let epoch = self.begun()?.epoch;
        if key.is_empty() || key.len() > MESSAGE_KEY_BYTES_MAX {
            return Err(Refused::Malformed("a note's key is 1 to 96 bytes"));
        }
        if text.reveal().trim().is_empty() || text.reveal().len() > NOTE_BYTES_MAX {
            return Err(Refused::Malformed("a note is 1 to 20,000 bytes of text"));
        }
        let (id, source) = (format!("{NOTE_ID_PREFIX}{key}"), source::conversation(&self.tenant, self.id));
        if self.ledger.has(&source, &id) {
            return Ok(Handled::Duplicate);
        }
        self.append(now, epoch, CloudEvent::new(id, source, now, Note { by, text }));
        Ok(Handled::Done)
    }

    #[cfg(not(test))]
    const fn skips_summary_check(&self) -> bool {
        false
    }

    #[cfg(test)]
    fn skips_summary_check(&self) -> bool {
        self.is_sabotaged(super::tests::Fault::UncheckedSummary)
    }

    pub(super) fn erase(
        &mut self,
        now: Timestamp,
        from_seq: u64,
        to_seq: u64,
        reason: EraseReason,
        by: String,
    ) -> Result<Handled, Refused> {
        let last_seq = self.begun()?.last_seq;
        if from_seq == 0 || from_seq > to_seq || to_seq > last_seq {
            return Err(Refused::Ahead { last_seq });
        }
        self.push(now, Erasure { reason, from_seq, to_seq, bodies: None, by });
        self.effect(Effect::Erase { from_seq, to_seq, reason });
        Ok(Handled::Done)
    }
}

/// When the time to wrap up is over: the last leg has ended and an agent owns.
pub(super) fn wrap_up_ends(state: &ConversationState, policy: &Policy) -> Option<Timestamp> {
    let all_over = state.session.is_some() && !state.legs.is_empty();
    if !all_over || state.legs.iter().any(|leg| leg.phase != LegPhase::Ended) {
        return None;
    }
    let opened = state.session.as_ref().map(|session| session.opened);
    let last = state.legs.iter().filter_map(|leg| leg.ended).chain(opened).max()?;
    last.saturating_add(policy.wrap_up).ok()
}
