//! Supervisors: who listens to a talk, whispers to the agent, joins in, or takes the agent's place.

use ark_conversation::event::{
    CallSupervised, ConsentBy, ConsentOutcome, ConsentSettled, EndCause, EndedBy, LegBridged, LegMuted,
    RecordingPaused, RecordingResumed, Role, SupervisionMode, TransferMode,
};
use ark_conversation::{Content, ConversationId, LegId as LegNumber, Pii};
use ark_dialplans::{ConsentAnswer, ConsentHow, Now, RecordingAct};
use ark_media::record::{Layout, Side};
use ark_media::sdp::Negotiated;
use ark_sip::ua::{CallEvent, CallKey, MAX_FORWARDS};

use super::customer::{CannotPlace, ended, failed};
use super::limits::{KEYS_AT_ONCE, SUPERVISOR_RING, SUPERVISORS_MAX};
use super::other::Dialled;
use super::site::NoWay;
use super::state::{Call, Ending, Keeping, Line, Other, Purpose, Stage, Supervisor};
use super::switch::{Switch, ms};
use super::transfer::{TransferTo, Word};
use super::web::WEB;
use crate::media::{Command, MediaPort, RecordAs, RecordFormat, RecordOf, RoomPart};

/// Why something cannot be done in a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotAct {
    /// No such call.
    #[error("no such call is up: `ark call list` shows those that are")]
    NoCall,
    /// No such leg in it.
    #[error("the call has no such leg that is up: `ark call show` tells its legs")]
    NoLeg,
    /// The caller talks to nobody.
    #[error("nobody talks in this call now: a supervisor can join when the caller talks with a person")]
    NoTalk,
    /// There is nothing to pause.
    #[error("nothing is recorded in this call now")]
    NoRecording,
    /// There is no second recording of a call at the same time.
    #[error("this call is recorded already")]
    Recorded,
    /// Who calls has not agreed, or was not asked yet.
    #[error("the customer has not agreed that this call is recorded")]
    NoConsent,
    /// Nobody is there to be recorded yet, or any more.
    #[error("the call has not been answered: there is nothing to record")]
    NotAnswered,
    /// They are [`SUPERVISORS_MAX`] already.
    #[error("{SUPERVISORS_MAX} supervisors are in this call already")]
    Full,
    /// The caller is on the way to somebody else.
    #[error("the customer is being transferred: complete or cancel that first")]
    TransferUnderWay,
    /// Nothing to join, complete or cancel.
    #[error("the customer is not being transferred")]
    NoTransfer,
    /// Nobody is there yet, or any more, with whom that could be done.
    #[error("not at this moment: nobody is there who could be joined, completed or cancelled")]
    NotNow,
    /// There is no agent in the call.
    #[error("the customer talks with nobody now")]
    NobodyTalks,
    /// Whoever is to take it has another call, is away, or nobody of the queue is free.
    #[error("{0} is not free now: try another one, or transfer to a queue")]
    NotFree(String),
    /// No such queue.
    #[error("there is no [[queue]] `{0}`")]
    NoQueue(String),
    /// No such target.
    #[error("there is no [[target]] `{0}`, and the call's plan has none of that name")]
    NoTarget(String),
    /// The one who transfers is the one to whom.
    #[error("they have the customer already")]
    ToThemselves,
    /// What is to be pressed are no keys.
    #[error("`digits` are 1 to {KEYS_AT_ONCE} keys: 0 to 9, *, #, A to D")]
    BadKeys,
    /// The supervisor cannot be called.
    #[error(transparent)]
    NoWay(#[from] CannotPlace),
}

impl From<NoWay> for CannotAct {
    fn from(error: NoWay) -> Self {
        Self::NoWay(error.into())
    }
}

/// What may be done in a talk from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TalkAction {
    /// [`Switch::supervise`].
    Supervise {
        /// Whom to call.
        to: String,
        /// What they do.
        mode: SupervisionMode,
    },
    /// [`Switch::supervise_as`].
    SuperviseAs {
        /// The supervisor's leg.
        leg: LegNumber,
        /// What they do.
        mode: SupervisionMode,
    },
    /// [`Switch::stop_supervising`].
    StopSupervising {
        /// The supervisor's leg.
        leg: LegNumber,
    },
    /// [`Switch::mute`].
    Mute {
        /// Whose voice.
        leg: LegNumber,
        /// Kept from the others, or let through.
        muted: bool,
    },
    /// [`Switch::start_recording`].
    StartRecording {
        /// As which file; none: as the site says.
        format: Option<RecordFormat>,
        /// What in which channel; none: as the site says.
        layout: Option<Layout>,
    },
    /// [`Switch::stop_recording`].
    StopRecording,
    /// [`Switch::pause_recordings`].
    PauseRecordings {
        /// Paused, or going on.
        paused: bool,
    },
    /// [`Switch::transfer_call`].
    Transfer {
        /// To whom.
        to: TransferTo,
        /// How.
        mode: TransferMode,
        /// What goes with it.
        word: Word,
    },
    /// [`Switch::join_transfer`].
    JoinTransfer,
    /// [`Switch::complete_transfer`].
    CompleteTransfer,
    /// [`Switch::cancel_transfer`].
    CancelTransfer,
    /// [`Switch::hold`].
    Hold {
        /// Music.
        on: bool,
    },
    /// [`Switch::press_keys`].
    Keys {
        /// Which.
        digits: Content,
    },
}

impl<M: MediaPort> Switch<M> {
    /// Does one of the things below. `Some`: the new leg.
    ///
    /// # Errors
    /// [`CannotAct`].
    pub fn act(
        &mut self,
        now: Now,
        conversation: ConversationId,
        action: TalkAction,
    ) -> Result<Option<LegNumber>, CannotAct> {
        match action {
            TalkAction::Supervise { to, mode } => self.supervise(now, conversation, &to, mode).map(Some),
            TalkAction::SuperviseAs { leg, mode } => self.supervise_as(now, conversation, leg, mode).map(|()| None),
            TalkAction::StopSupervising { leg } => self.stop_supervising(now, conversation, leg).map(|()| None),
            TalkAction::Mute { leg, muted } => self.mute(now, conversation, leg, muted).map(|()| None),
            TalkAction::StartRecording { format, layout } => {
                let site = self.config.record_as;
                let how =
                    RecordAs { format: format.unwrap_or(site.format), layout: layout.unwrap_or(site.layout), ..site };
                self.start_recording(now, conversation, how).map(|()| None)
            }
            TalkAction::StopRecording => self.stop_recording(now, conversation).map(|()| None),
            TalkAction::PauseRecordings { paused } => self.pause_recordings(now, conversation, paused).map(|()| None),
            TalkAction::Transfer { to, mode, word } => self.transfer_call(now, conversation, (&to, mode), word),
            TalkAction::JoinTransfer => self.join_transfer(now, conversation).map(|()| None),
            TalkAction::CompleteTransfer => self.complete_transfer(now, conversation).map(|()| None),
            TalkAction::CancelTransfer => self.cancel_transfer(now, conversation).map(|()| None),
            TalkAction::Hold { on } => self.hold(now, conversation, on).map(|()| None),
            TalkAction::Keys { digits } => self.press_keys(now, conversation, digits.reveal()).map(|()| None),
        }
    }

    /// Calls `to` (a number that a route leads to, a `sip:` URI, or `web:` and an operator) and lets them into the talk of this call when they
    /// answer. Gives their leg, by which [`Switch::supervise_as`] changes what they do.
    ///
    /// # Errors
    /// [`CannotAct`].
    pub fn supervise(
        &mut self,
        now: Now,
        conversation: ConversationId,
        to: &str,
        mode: SupervisionMode,
    ) -> Result<LegNumber, CannotAct> {
        self.in_call(now, conversation, |switch, call| {
            switch.can_be_supervised(call)?;
            switch.ring_supervisor(now, call, to, mode)
        })
    }

    /// Whether another supervisor can come into a call.
    pub(super) fn can_be_supervised(&self, call: &Call) -> Result<(), CannotAct> {
        if !call.is_talking() {
            return Err(CannotAct::NoTalk);
        }
        if call.supervisors.len() >= SUPERVISORS_MAX {
            return Err(CannotAct::Full);
        }
        Ok(())
    }

    /// Changes what a supervisor does from now on, also while their phone rings.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`] and [`CannotAct::NoLeg`].
    pub fn supervise_as(
        &mut self,
        now: Now,
        conversation: ConversationId,
        leg: LegNumber,
        mode: SupervisionMode,
    ) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| {
            let at = call.supervisor(leg).ok_or(CannotAct::NoLeg)?;
            let supervisor = &mut call.supervisors[at];
            let changed = supervisor.mode != mode;
            supervisor.mode = mode;
            if changed && supervisor.leg.is_up() && call.handover.is_none() && call.music_since.is_none() {
                switch.let_supervise(now, call, at);
            }
            Ok(())
        })
    }

    /// Lets a supervisor go; the talk goes on.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`] and [`CannotAct::NoLeg`].
    pub fn stop_supervising(
        &mut self,
        now: Now,
        conversation: ConversationId,
        leg: LegNumber,
    ) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| {
            let at = call.supervisor(leg).ok_or(CannotAct::NoLeg)?;
            switch.let_supervisor_go(now, call, at, EndedBy::Ark, EndCause::Hangup);
            Ok(())
        })
    }

    /// Keeps what a leg says from all others, or lets it through again. What it hears does not change.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`] and [`CannotAct::NoLeg`].
    pub fn mute(
        &mut self,
        now: Now,
        conversation: ConversationId,
        leg: LegNumber,
        muted: bool,
    ) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| {
            let known = call.leg_mut(leg).filter(|leg| leg.is_up()).ok_or(CannotAct::NoLeg)?;
            known.muted = muted;
            let media = known.media;
            switch.tell_media(media, Command::Mute { muted });
            switch.log(now, call, LegMuted { leg, muted });
            Ok(())
        })
    }

    /// Records a call from now on.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`], [`CannotAct::NotAnswered`] and [`CannotAct::Recorded`].
    pub fn start_recording(&mut self, now: Now, conversation: ConversationId, how: RecordAs) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| switch.record_from_now(now, call, how))
    }

    fn record_from_now(&mut self, now: Now, call: &mut Call, how: RecordAs) -> Result<(), CannotAct> {
        if !call.customer.is_up() {
            return Err(CannotAct::NotAnswered);
        }
        if call.keeping != Keeping::Yes {
            return Err(CannotAct::NoConsent);
        }
        // A message that the caller leaves is another recording.
        if call.recordings.iter().any(|recording| recording.request.is_none()) {
            return Err(CannotAct::Recorded);
        }
        if self.config.announce_recording {
            self.announce_to_both(call);
        }
        self.record_whole_call(now, call, how);
        Ok(())
    }

    /// Ends the recording of a call; a message that its caller leaves is ended by them.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`] and [`CannotAct::NoRecording`].
    pub fn stop_recording(&mut self, now: Now, conversation: ConversationId) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| switch.record_no_more(call))
    }

    fn record_no_more(&mut self, call: &Call) -> Result<(), CannotAct> {
        if !call.recordings.iter().any(|recording| recording.request.is_none()) {
            return Err(CannotAct::NoRecording);
        }
        self.tell_media(call.customer.media, Command::RecordStop { of: RecordOf::Call });
        Ok(())
    }

    /// Keeps nothing of what is said in this call's recordings until told otherwise (while a card number is read out,
    /// say): their time goes on in silence, so that what is heard later stands where it was said.
    ///
    /// # Errors
    /// [`CannotAct::NoCall`] and [`CannotAct::NoRecording`].
    pub fn pause_recordings(&mut self, now: Now, conversation: ConversationId, paused: bool) -> Result<(), CannotAct> {
        self.in_call(now, conversation, |switch, call| switch.keep_nothing(now, call, paused))
    }

    fn keep_nothing(&mut self, now: Now, call: &mut Call, paused: bool) -> Result<(), CannotAct> {
        if call.recordings.is_empty() {
            return Err(CannotAct::NoRecording);
        }
        self.tell_media(call.customer.media, Command::RecordPause { paused });
        let leg = call.customer.number;
        for at in 0..call.recordings.len() {
            let recording = &mut call.recordings[at];
            let name = recording.name.clone();
            match recording.paused {
                None if paused => {
                    recording.paused = Some(now.mono);
                    let at_ms = Some(ms(recording.began, now.mono));
                    self.log(now, call, RecordingPaused { leg, recording: name, at_ms });
                }
                Some(since) if !paused => {
                    recording.paused = None;
                    let paused_ms = ms(since, now.mono);
                    self.log(now, call, RecordingResumed { leg, recording: name, paused_ms });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The plan says what becomes of the call's recording. What is so already stays so: a plan does not know whether somebody
    /// else has begun or ended it.
    pub(super) fn record_as_planned(&mut self, now: Now, call: &mut Call, act: RecordingAct) {
        let done = match act {
            RecordingAct::Start => self.record_from_now(now, call, self.record_how(call)),
            RecordingAct::Pause => self.keep_nothing(now, call, true),
            RecordingAct::Resume => self.keep_nothing(now, call, false),
            RecordingAct::Stop => self.record_no_more(call),
        };
        // It begins with the caller's consent, unless the plan ends it before.
        if call.keeping == Keeping::NotYet && matches!(act, RecordingAct::Start | RecordingAct::Stop) {
            call.record_call = act == RecordingAct::Start;
        }
        call.pause_is_the_plans = act == RecordingAct::Pause && done.is_ok();
        if let Err(why) = done {
            tracing::debug!(conversation = %call.conversation, act = act.as_str(), %why, "the plan's recording is as it is");
        }
    }

    /// How the plan's calls are recorded: as the site's, and with a tone where the plan wants one.
    pub(super) fn record_how(&self, call: &Call) -> RecordAs {
        let site = self.config.record_as;
        let tone = call.live.plan.consent().is_some_and(|consent| consent.tone);
        RecordAs { tone: site.tone.or(tone.then_some(self.config.consent_tone)), ..site }
    }

    /// The caller was told that the call is kept, or has answered whether it may be.
    pub(super) fn settle_consent(&mut self, now: Now, call: &mut Call, answer: ConsentAnswer, how: Option<ConsentHow>) {
        let outcome = match answer {
            ConsentAnswer::Announced => ConsentOutcome::Announced,
            ConsentAnswer::Given => ConsentOutcome::Agreed,
            ConsentAnswer::Refused => ConsentOutcome::Refused,
            ConsentAnswer::Unanswered => ConsentOutcome::Unanswered,
        };
        let by = how.map(|how| match how {
            ConsentHow::Key => ConsentBy::Key,
            ConsentHow::Speech => ConsentBy::Speech,
        });
        let (leg, state, kept) = (call.customer.number, call.state.to_string(), answer.keeps());
        self.log(now, call, ConsentSettled { leg, state, outcome, by, kept });
        if !kept {
            call.keeping = Keeping::No;
        } else if call.keeping == Keeping::NotYet {
            call.keeping = Keeping::Yes;
            if call.record_call {
                self.record_whole_call(now, call, self.record_how(call));
            }
        }
    }

    /// A person is there: what the plan paused goes on.
    pub(super) fn end_the_plans_pause(&mut self, now: Now, call: &mut Call) {
        if std::mem::take(&mut call.pause_is_the_plans) {
            // Ended meanwhile, it stays ended.
            let _ = self.keep_nothing(now, call, false);
        }
    }

    /// Runs `f` on the call of a conversation.
    pub(super) fn in_call<T>(
        &mut self,
        now: Now,
        conversation: ConversationId,
        f: impl FnOnce(&mut Self, &mut Call) -> Result<T, CannotAct>,
    ) -> Result<T, CannotAct> {
        let found = self.calls.values().find(|c| c.conversation == conversation && c.forget_at.is_none());
        let id = found.map(|c| c.id).ok_or(CannotAct::NoCall)?;
        let mut done = Err(CannotAct::NoCall);
        self.with(now, id, |switch, call| done = f(switch, call));
        self.settle(now);
        done
    }

    fn ring_supervisor(
        &mut self,
        now: Now,
        call: &mut Call,
        to: &str,
        mode: SupervisionMode,
    ) -> Result<LegNumber, CannotAct> {
        let number = LegNumber(call.next_leg);
        let dialled = match to.strip_prefix(WEB) {
            Some(operator) => self.ring_browser(now, call, operator, number)?,
            None => self.ring_supervisors_phone(now, call, to, number)?,
        };
        self.add_supervisor(now, call, dialled, to, mode);
        Ok(number)
    }

    /// A supervisor is called, or comes by themselves: in the talk when they answer.
    pub(super) fn add_supervisor(
        &mut self,
        now: Now,
        call: &mut Call,
        dialled: Dialled,
        to: &str,
        mode: SupervisionMode,
    ) {
        let from = Pii::new(self.config.number.clone());
        let leg = self.rung(now, call, dialled, Role::Supervisor, from, to);
        let ring_until = now.mono + SUPERVISOR_RING;
        let taken = |voice: &u8| call.supervisors.iter().any(|supervisor| supervisor.voice == *voice);
        let voice = (0..u8::MAX).find(|voice| !taken(voice)).unwrap_or_default();
        call.supervisors.push(Supervisor { leg, to: to.to_owned(), mode, voice, ring_until });
    }

    fn ring_supervisors_phone(
        &mut self,
        now: Now,
        call: &Call,
        to: &str,
        number: LegNumber,
    ) -> Result<Dialled, CannotAct> {
        let way = self.site.way_for_operators(to)?;
        let codec = call.customer.agreed.as_ref().map(|agreed| agreed.codec);
        let leg = self.dial(now, &way, number, codec, (None, MAX_FORWARDS))?;
        let call_id = self.call_id(leg.line);
        Ok(Dialled { leg, trunk: way.trunk, call_id, remote: Some(way.remote) })
    }

    /// What SIP says of a supervisor's leg.
    pub(super) fn on_supervisor(&mut self, now: Now, call: &mut Call, key: CallKey, event: CallEvent) {
        let Some(at) = call.supervisors.iter().position(|s| s.leg.line == Line::Sip(key)) else { return };
        match event {
            CallEvent::Incoming(_) | CallEvent::Progress { .. } | CallEvent::Confirmed { .. } => {}
            CallEvent::Reanswered { .. } | CallEvent::Info { .. } => {}
            CallEvent::Answered { sdp } => self.supervisor_answered(now, call, at, sdp.as_deref()),
            CallEvent::Failed { status, .. } => {
                self.supervisor_over(now, call, at, EndedBy::Remote, failed(status));
            }
            CallEvent::Cancelled => self.supervisor_over(now, call, at, EndedBy::Remote, EndCause::Cancelled),
            CallEvent::Reoffer { sdp } => self.reoffer_supervisor(now, call, at, sdp.as_deref()),
            CallEvent::Ended { cause } => {
                let (by, cause) = ended(cause);
                self.supervisor_over(now, call, at, by, cause);
            }
        }
    }

    fn supervisor_answered(&mut self, now: Now, call: &mut Call, at: usize, sdp: Option<&[u8]>) {
        let leg = &mut call.supervisors[at].leg;
        let Some(Ok(agreed)) = leg.sdp.as_mut().zip(sdp).map(|(sdp, answer)| sdp.accept_answer(answer)) else {
            return self.let_supervisor_go(now, call, at, EndedBy::Ark, EndCause::NoCodec);
        };
        self.supervisor_up(now, call, at, agreed);
    }

    /// A supervisor answered, and audio can flow.
    pub(super) fn supervisor_up(&mut self, now: Now, call: &mut Call, at: usize, agreed: Negotiated) {
        let leg = &mut call.supervisors[at].leg;
        leg.stage = Stage::Up;
        leg.answered = Some(now.mono);
        leg.agreed = Some(agreed.clone());
        let (media, signalled_from) = (leg.media, leg.signalled_from);
        self.counters.answered += 1;
        let dtmf = self.site.dtmf_of(&call.supervisors[at].leg.trunk);
        let codec = agreed.codec;
        self.tell_media(media, Command::Start { negotiated: agreed, signalled_from, dtmf });
        let event = super::customer::answered_event(now, &call.supervisors[at].leg);
        if let Some(event) = event {
            self.log(now, call, event);
        }
        if call.is_talking() {
            self.record_leg(call, media, Side::Supervisor(call.supervisors[at].voice));
            self.let_supervise(now, call, at);
            self.tell_who_joins(call, media, codec);
        } else {
            // The talk ended while the phone rang.
            self.let_supervisor_go(now, call, at, EndedBy::Ark, EndCause::Hangup);
        }
    }

    /// Puts a supervisor who is up where their mode says.
    fn let_supervise(&mut self, now: Now, call: &mut Call, at: usize) {
        let Supervisor { leg, mode, .. } = &call.supervisors[at];
        let (number, media, mode) = (leg.number, leg.media, *mode);
        self.log(now, call, CallSupervised { leg: number, mode });
        let part = match mode {
            SupervisionMode::TakeOver => {
                if let Some(agent) = &call.other {
                    self.hang_up_line(now, agent.leg.line);
                }
                let reason = Some("a supervisor took over".to_owned());
                let (by, cause) = (EndedBy::Ark, EndCause::Hangup);
                let ending = Ending { by, cause, sip_status: None, reason, at: now.mono };
                return self.take_over(now, call, at, ending);
            }
            SupervisionMode::Listen => RoomPart::Listens,
            SupervisionMode::Barge => RoomPart::Speaks,
            SupervisionMode::Whisper => match &call.other {
                Some(agent) => RoomPart::Whispers { to: agent.leg.media },
                None => RoomPart::Listens,
            },
        };
        self.tell_media(media, Command::Join { with: call.customer.media, part });
    }

    /// Two talk again, or others: each supervisor hears them as before.
    pub(super) fn supervisors_again(&mut self, now: Now, call: &mut Call) {
        let mut at = 0;
        while at < call.supervisors.len() {
            let there = call.supervisors.len();
            if call.supervisors[at].leg.is_up() {
                self.let_supervise(now, call, at);
            }
            // One who took over meanwhile is no supervisor any more.
            at += usize::from(call.supervisors.len() == there);
        }
    }

    /// The supervisor has the agent's place, whose leg ended so: the plan goes on waiting for the end of the same talk.
    fn take_over(&mut self, now: Now, call: &mut Call, at: usize, ending: Ending) {
        let Some(agent) = call.other.take() else { return };
        let request = agent.request;
        if let Some((media, id)) = call.hold_play.take() {
            self.tell_media(media, Command::StopPlay { id });
        }
        let supervisor = call.supervisors.remove(at);
        // First the supervisor speaks, then the agent goes: the customer is never alone.
        self.tell_media(supervisor.leg.media, Command::Join { with: call.customer.media, part: RoomPart::Speaks });
        self.record_leg(call, supervisor.leg.media, Side::Agent);
        self.part(now, call, agent, ending);
        self.log(now, call, LegBridged { leg: call.customer.number, with: supervisor.leg.number });
        call.other = Some(Other {
            leg: supervisor.leg,
            to: supervisor.to,
            purpose: Purpose::Supervisor,
            request,
            ring_until: now.mono,
            bridged: Some(now.mono),
        });
        // Who whispered to the agent listens, until told otherwise.
        for at in 0..call.supervisors.len() {
            let whispers = call.supervisors[at].mode == SupervisionMode::Whisper;
            if whispers && call.supervisors[at].leg.is_up() {
                self.let_supervise(now, call, at);
            }
        }
    }

    /// The agent is gone, and their leg ended so. A supervisor who talks with both stays with the customer; whether there
    /// was one.
    pub(super) fn supervisor_stays(&mut self, now: Now, call: &mut Call, ending: &Ending) -> bool {
        let Some(at) = call.supervisors.iter().position(Supervisor::talks_with_both) else { return false };
        let mode = SupervisionMode::TakeOver;
        self.log(now, call, CallSupervised { leg: call.supervisors[at].leg.number, mode });
        self.take_over(now, call, at, ending.clone());
        true
    }

    fn reoffer_supervisor(&mut self, now: Now, call: &mut Call, at: usize, sdp: Option<&[u8]>) {
        let leg = &mut call.supervisors[at].leg;
        let (Line::Sip(sip), media, Some(negotiator)) = (leg.line, leg.media, &mut leg.sdp) else { return };
        let Some(offer) = sdp else {
            let body = negotiator.offer(ark_media::sdp::Direction::SendRecv);
            return self.endpoint.answer_reoffer(now.mono, sip, Ok(body));
        };
        match negotiator.answer(offer) {
            Ok((body, agreed)) => {
                leg.agreed = Some(agreed.clone());
                self.endpoint.answer_reoffer(now.mono, sip, Ok(body));
                self.tell_media(media, Command::Update { negotiated: agreed });
            }
            Err(error) => self.endpoint.answer_reoffer(now.mono, sip, Err(error.sip_status())),
        }
    }

    /// A supervisor's phone rang long enough.
    pub(super) fn supervisors_due(&mut self, now: Now, call: &mut Call) {
        let due = |s: &Supervisor| s.leg.stage == Stage::Ringing && s.ring_until <= now.mono;
        while let Some(at) = call.supervisors.iter().position(due) {
            self.let_supervisor_go(now, call, at, EndedBy::Ark, EndCause::NoAnswer);
        }
    }

    /// The talk is over: so is watching it.
    pub(super) fn let_supervisors_go(&mut self, now: Now, call: &mut Call) {
        while !call.supervisors.is_empty() {
            self.let_supervisor_go(now, call, 0, EndedBy::Ark, EndCause::Hangup);
        }
    }

    fn let_supervisor_go(&mut self, now: Now, call: &mut Call, at: usize, by: EndedBy, cause: EndCause) {
        self.hang_up_line(now, call.supervisors[at].leg.line);
        self.supervisor_over(now, call, at, by, cause);
    }

    pub(super) fn supervisor_over(&mut self, now: Now, call: &mut Call, at: usize, by: EndedBy, cause: EndCause) {
        let Supervisor { mut leg, .. } = call.supervisors.remove(at);
        leg.stage = Stage::Ended;
        leg.ending = Some(Ending { by, cause, sip_status: None, reason: None, at: now.mono });
        self.tell_media(leg.media, Command::Close);
        call.past.push(leg);
    }

    /// No audio comes from a supervisor's phone.
    pub(super) fn supervisor_silent(&mut self, now: Now, call: &mut Call, media: crate::media::LegId) {
        if let Some(at) = call.supervisors.iter().position(|s| s.leg.media == media) {
            self.let_supervisor_go(now, call, at, EndedBy::Ark, EndCause::MediaLost);
        }
    }
}
