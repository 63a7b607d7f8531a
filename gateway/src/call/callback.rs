//! Calling back: a caller leaves their place in line to a leg that is offered, and hangs up; when the place comes up an agent is rung,
//! and then the customer.
//!
//! The call that is made so is like any other once both talk. Before, its customer's leg has no line: nobody is dialled before the agent
//! is there. Whatever comes in between, the customer keeps the place, or the log says that they could not be reached.

use std::sync::Arc;

use ark_conversation::cloud_event::whole_microseconds;
use ark_conversation::event::{
    CallMode, CallRinging, CallbackPlace, Direction, EndCause, EndedBy, LegBridged, LegEndReason, LegEnded, LegOffered,
    QueueLeft, QueueOutcome, Role,
};
use ark_conversation::limits::CALLBACK_TTL_MAX;
use ark_conversation::{ConversationId, LegId as LegNumber, Owner, Pii, source};
use ark_dialplans::{Heard, Now};
use ark_media::codec::CodecRef;
use ark_media::sdp::Negotiated;
use ark_sip::ua::MAX_FORWARDS;

use super::customer::{CannotPlace, Names};
use super::limits::FORGET_AFTER;
use super::queue::OperatorId;
use super::site::Way;
use super::state::{Call, Ending, Leg, Line, Purpose, Stage};
use super::switch::Switch;
use super::transfer::LastPlace;
use crate::conversations::callback::is_number;
use crate::desk::Callback;
use crate::media::{self, Command, MediaPort};

/// How far a callback is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The agent rings.
    Agent,
    /// The agent is there, the customer rings.
    Customer,
    /// They talk, or have talked.
    Talk,
    /// Nothing came of it.
    Over,
}

/// A customer who is being called back.
pub(super) struct CallingBack {
    of: Callback,
    operator: OperatorId,
    way: Way,
    /// The customer's media, before they are dialled.
    reserved: Option<media::Leg>,
    /// What the agent hears while the customer rings.
    ringback: Option<(media::LegId, u64)>,
    step: Step,
}

impl Call {
    fn callback_step(&self) -> Option<Step> {
        self.calling_back.as_ref().map(|one| one.step)
    }

    /// Whether the agent who is to call the customer back rings.
    pub(super) fn rings_for_callback(&self) -> bool {
        self.callback_step() == Some(Step::Agent)
    }

    /// Whether the agent is there and the customer rings.
    pub(super) fn is_calling_back(&self) -> bool {
        self.callback_step() == Some(Step::Customer)
    }
}

impl<M: MediaPort> Switch<M> {
    // ---- the caller asks

    /// The plan wants the caller to be called back: they leave the line, and their place waits.
    pub(super) fn keep_for_callback(
        &mut self,
        now: Now,
        call: &mut Call,
        request: u64,
        queue: &Arc<str>,
        number: &str,
    ) {
        let taken = call.callback_asked || self.can_be_called(queue, number);
        if taken && !std::mem::replace(&mut call.callback_asked, taken) {
            let same = |place: &&LastPlace| place.queue == *queue;
            let talked = call.past.iter().any(|leg| leg.answered.is_some());
            let place = call.last_place.as_ref().filter(same).filter(|_| !talked).cloned();
            let (since, priority) = place.map_or((now.mono, 0), |place| (place.since, place.priority));
            self.leave_queue(now, call, QueueOutcome::Callback);
            self.stop_own_play(call);
            let waited = now.mono.saturating_duration_since(since);
            let place = CallbackPlace {
                queue: queue.to_string(),
                waiting_since: whole_microseconds(now.wall.checked_sub(waited).unwrap_or(now.wall)),
                priority: u8::try_from(priority.clamp(0, 255)).unwrap_or(0),
                tries: 0,
            };
            let leg = LegNumber(call.next_leg);
            call.next_leg += 1;
            self.offer_callback(now, (call.conversation, &call.source), leg, number, place);
        }
        call.heard.push_back(Heard::Callback { id: request, taken });
    }

    fn can_be_called(&self, queue: &Arc<str>, number: &str) -> bool {
        if self.queues.configs().iter().all(|config| config.name != **queue) {
            tracing::warn!(%queue, "a plan promises callbacks of a queue that is not there");
            return false;
        }
        if !is_number(number) {
            return false;
        }
        let way = self.site.way_for_operators(number);
        if let Err(error) = &way {
            tracing::warn!(%error, "a caller cannot be called back");
        }
        way.is_ok()
    }

    fn offer_callback(
        &mut self,
        now: Now,
        of: (ConversationId, &str),
        leg: LegNumber,
        number: &str,
        place: CallbackPlace,
    ) {
        let deadline = whole_microseconds(now.wall.saturating_add(CALLBACK_TTL_MAX).unwrap_or(now.wall));
        let (mode, to, callback) = (CallMode::PstnCallback, Some(Pii::new(number)), Some(place));
        self.log_of(now, of, LegOffered { leg, mode, deadline, to, callback });
    }

    // ---- the agent is rung

    /// An agent is to call somebody back: they are rung.
    pub(super) fn call_customer_back(&mut self, now: Now, item: ConversationId, operator: OperatorId) {
        let Some(of) = self.queues.callback(item) else { return };
        let Err(error) = self.begin_callback(now, item, operator, of.clone()) else { return };
        tracing::warn!(conversation = %item, %error, "a customer cannot be called back");
        if matches!(error, CannotPlace::Full(_)) {
            return self.queues.callback_back_unrung(now.mono, item, operator, (of.leg, of.next_leg));
        }
        // It will not do later either: the log says so, and the desk reads it there.
        let source = source::call(&self.config.tenant, "callback", item.to_string().as_bytes());
        let waited_ms = u64::try_from(now.wall.duration_since(of.since).as_millis()).unwrap_or(0);
        let (leg, outcome) = (of.leg, QueueOutcome::Failed);
        self.log_of(now, (item, &source), LegEnded { leg, reason: LegEndReason::Failed });
        let left = QueueLeft { leg, queue: of.queue, outcome, waited_ms, answered_by: None };
        self.log_of(now, (item, &source), left);
    }

    fn begin_callback(
        &mut self,
        now: Now,
        item: ConversationId,
        operator: OperatorId,
        of: Callback,
    ) -> Result<(), CannotPlace> {
        let way = self.site.way_for_operators(&of.number)?;
        let hotline = self.site.hotline(&of.entrance).or_else(|| self.site.any_hotline()).cloned();
        let hotline = hotline.ok_or_else(|| CannotPlace::NoHotline(of.entrance.clone()))?;
        if self.draining || self.overloaded || self.calls.len() >= self.config.calls_max {
            return Err(CannotPlace::Full("no more calls are taken".to_owned()));
        }
        let reserved = self.media.reserve().map_err(|error| CannotPlace::Full(error.to_string()))?;
        let line = Line::NotYet(self.new_id());
        let leg =
            Leg { trunk: way.trunk.clone(), ..Leg::new(of.leg, Direction::Outbound, line, reserved.id, now.mono) };
        let name = format!("callback-{item}-{}", of.leg);
        let names = Names {
            from: Pii::new(of.number.as_str()),
            dialled: Pii::new(of.entrance.as_str()),
            source: source::call(&self.config.tenant, &way.trunk, name.as_bytes()),
            trunk: way.trunk.clone(),
        };
        let mut call = self.new_call(now, leg, &hotline, names, MAX_FORWARDS);
        (call.conversation, call.next_leg) = (item, of.next_leg.0);
        let since = self.queues.moment(of.since);
        call.last_place =
            Some(LastPlace { queue: Arc::from(of.queue.as_str()), since, priority: i32::from(of.priority) });
        let (uri, patience) = (self.queues.uri(operator).to_owned(), self.queues.ring(&of.queue));
        self.queues.callback_dialled(now.mono, item, call.id, operator);
        let (step, reserved) = (Step::Agent, Some(reserved));
        call.calling_back = Some(Box::new(CallingBack { of, operator, way, reserved, ringback: None, step }));
        self.counters.placed += 1;
        if let Err(error) = self.ring(now, &mut call, &uri, Purpose::Operator(operator), 0, patience) {
            tracing::warn!(%uri, %error, "an agent cannot be called");
            self.callback_unasked(now, &mut call);
        }
        self.put_back(call);
        Ok(())
    }

    /// The agent did not come: nobody was dialled, and the next one is asked.
    pub(super) fn callback_unasked(&mut self, now: Now, call: &mut Call) {
        self.callback_over(now, call, None);
        call.customer.stage = Stage::Ended;
        self.tell_media(call.customer.media, Command::Close);
        call.forget_at = Some(now.mono + FORGET_AFTER);
    }

    // ---- the customer is called

    /// The agent is there, and hears it ring at the customer's.
    pub(super) fn agent_calls_back(&mut self, now: Now, call: &mut Call, agreed: Negotiated) {
        let codec = agreed.codec;
        let Some((media, ..)) = self.other_answers(now, call, agreed) else { return };
        self.queues.accepted(call.id);
        let (id, items) = (call.own_play(), vec![call.live.sounds.ringback(codec)]);
        self.tell_media(media, Command::Play { id, items, barge_in: false, repeat: true });
        let Some(calling) = call.calling_back.as_mut() else { return };
        (calling.step, calling.ringback) = (Step::Customer, Some((media, id)));
        if let Err(error) = self.dial_customer(now, call, codec) {
            self.end_call(now, call, EndedBy::Ark, EndCause::Unreachable, None, Some(error.to_string()));
        }
    }

    fn dial_customer(&mut self, now: Now, call: &mut Call, codec: CodecRef) -> Result<(), CannotPlace> {
        let full = || CannotPlace::Full("the customer's leg is gone".to_owned());
        let calling = call.calling_back.as_mut().ok_or_else(full)?;
        let (way, number) = (calling.way.clone(), calling.of.number.clone());
        let reserved = calling.reserved.take().ok_or_else(full)?;
        let leg = self.dial_on(now, &way, call.customer.number, reserved, Some(codec), (None, MAX_FORWARDS))?;
        self.by_line.remove(&call.customer.line);
        self.by_line.insert(leg.line, call.id);
        call.customer = leg;
        call.ring_until = Some(now.mono + self.config.ring_timeout);
        let event = CallRinging {
            leg: call.customer.number,
            role: Role::Customer,
            direction: Direction::Outbound,
            from: Pii::new(self.config.number.as_str()),
            from_display: None,
            to: Pii::new(number),
            trunk: way.trunk,
            call_id: self.call_id(call.customer.line),
            owner: Owner::Bot(call.live.plan.name.text.to_string()),
            plan: None,
            plan_version: None,
            transport: None,
            remote: Some(way.remote.to_string()),
        };
        self.log(now, call, event);
        Ok(())
    }

    /// The customer answered, and has heard what they must hear first: both talk.
    pub(super) fn callback_talks(&mut self, now: Now, call: &mut Call) {
        let Some(calling) = call.calling_back.as_mut().filter(|calling| calling.step == Step::Customer) else { return };
        calling.step = Step::Talk;
        let (ringback, queue, since) = (calling.ringback.take(), calling.of.queue.clone(), calling.of.since);
        let Some(other) = call.other.as_mut() else { return };
        other.bridged = Some(now.mono);
        let (media, number) = (other.leg.media, other.leg.number);
        let codec = other.leg.agreed.as_ref().map(|agreed| agreed.codec);
        if let Some((media, id)) = ringback {
            self.tell_media(media, Command::StopPlay { id });
        }
        self.tell_media(call.customer.media, Command::Bridge { other: media });
        if let Some(codec) = codec {
            self.tell_who_joins(call, media, codec);
        }
        self.queues.callback_reached(now.mono, call.id);
        let waited_ms = u64::try_from(now.wall.duration_since(since).as_millis()).unwrap_or(0);
        let (leg, outcome, answered_by) = (call.customer.number, QueueOutcome::Answered, Some(number));
        self.log(now, call, QueueLeft { leg, queue, outcome, waited_ms, answered_by });
        self.log(now, call, LegBridged { leg, with: number });
    }

    /// The agent hung up before the customer answered: the customer keeps the place.
    pub(super) fn caller_back_left(&mut self, now: Now, call: &mut Call, ending: Ending) {
        self.callback_over(now, call, None);
        self.other_over(now, call, ending);
        let reason = "the agent hung up before the customer answered".to_owned();
        self.end_call(now, call, EndedBy::Ark, EndCause::Cancelled, None, Some(reason));
    }

    /// The call ends before the two have talked. `missed`: why, when the customer's side ended it; none: it is no fault of theirs.
    pub(super) fn callback_over(&mut self, now: Now, call: &mut Call, missed: Option<EndCause>) {
        let Some(calling) = call.calling_back.as_mut() else { return };
        let step = calling.step;
        if matches!(step, Step::Talk | Step::Over) {
            return;
        }
        calling.step = Step::Over;
        let (ringback, operator, of) = (calling.ringback.take(), calling.operator, calling.of.clone());
        if let Some((media, id)) = ringback {
            self.tell_media(media, Command::StopPlay { id });
        }
        self.queues_changed = true;
        if step == Step::Agent {
            // Nobody was dialled: the leg is offered as before.
            call.customer.closed = true;
            return self.queues.callback_back(now.mono, call.id, operator, (of.leg, LegNumber(call.next_leg)));
        }
        let leg = LegNumber(call.next_leg);
        call.next_leg += 1;
        let legs = (leg, LegNumber(call.next_leg));
        let again = match missed.filter(|cause| *cause != EndCause::Shutdown) {
            Some(_) => self.queues.callback_missed(now.mono, call.id, legs),
            None => {
                self.queues.callback_back(now.mono, call.id, operator, legs);
                Some(of.tries)
            }
        };
        let (queue, waiting_since, priority) = (of.queue, of.since, of.priority);
        let Some(tries) = again else {
            let waited_ms = u64::try_from(now.wall.duration_since(waiting_since).as_millis()).unwrap_or(0);
            let (leg, outcome) = (call.customer.number, QueueOutcome::Unreached);
            return self.log(now, call, QueueLeft { leg, queue, outcome, waited_ms, answered_by: None });
        };
        let place = CallbackPlace { queue, waiting_since, priority, tries };
        self.offer_callback(now, (call.conversation, &call.source), leg, &of.number, place);
    }
}
