//! The other side: operators who answer queues, and the named targets of transfers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::event::{
    CallRinging, Direction, EndCause, EndedBy, LegBridged, LegUnbridged, Needed, QueueJoined, QueueLeft, QueueOutcome,
    QueuePosition, QueueRelaxed, Role, TransferFinished, TransferOutcome, TransferStarted,
};
use ark_conversation::{LegId as LegNumber, Owner, Pii, mask_number};
use ark_dialplans::{Failure, Heard, Now};
use ark_media::record::Side;
use ark_media::sdp::Negotiated;
use ark_sip::ua::{CallEvent, CallKey};

use super::customer::{CannotPlace, ended, failed};
use super::limits::POSITION_CHECK;
use super::queue::{Caller, OperatorId, Order};
use super::state::{Call, Ending, Leg, Line, Other, Purpose, Stage, Transferring, Waiting};
use super::switch::{Switch, ms};
use super::transfer::LastPlace;
use super::web::WEB;
use crate::media::{self, Command, MediaPort};

/// A leg that rings, and how it is told in the log.
pub(super) struct Dialled {
    pub(super) leg: Leg,
    pub(super) trunk: String,
    pub(super) call_id: String,
    pub(super) remote: Option<SocketAddr>,
}

impl<M: MediaPort> Switch<M> {
    /// The plan puts the caller in a queue.
    pub(super) fn join_queue(
        &mut self,
        now: Now,
        call: &mut Call,
        request: u64,
        (name, priority): (&Arc<str>, i32),
        needs: Needed,
    ) {
        let leg = call.customer.number;
        call.needs = needs;
        self.introduce(now, call);
        match self.queues.join(now.mono, name, call.id, priority) {
            Ok(place) => {
                call.last_place = Some(LastPlace { queue: Arc::clone(name), since: now.mono, priority });
                call.waiting = Some(Waiting {
                    request,
                    queue: Arc::clone(name),
                    since: now.mono,
                    told: None,
                    next_position: now.mono + POSITION_CHECK,
                });
                let event = QueueJoined {
                    leg,
                    queue: name.to_string(),
                    position: count(place.position),
                    priority: u8::try_from(priority.clamp(0, 255)).unwrap_or(0),
                    needs: call.needed(),
                };
                self.log(now, call, event);
                self.tell_position(now, call);
                self.queues_changed = true;
            }
            Err(why) => {
                tracing::warn!(conversation = %call.conversation, queue = %name, ?why, "a caller cannot wait in this queue");
                let event = QueueLeft {
                    leg,
                    queue: name.to_string(),
                    outcome: QueueOutcome::Failed,
                    waited_ms: 0,
                    answered_by: None,
                };
                self.log(now, call, event);
                call.heard.push_back(Heard::Failed { id: request, failure: Failure::Unavailable });
            }
        }
    }

    /// Says who the caller is, and who knows them: before they wait.
    pub(super) fn introduce(&mut self, now: Now, call: &Call) {
        let caller = Caller {
            conversation: Some(call.conversation),
            entrance: call.dialled.reveal().to_owned(),
            title: mask_number(call.from.reveal()),
            by_web: matches!(call.customer.line, Line::Web(_)),
            needs: call.needs.clone(),
        };
        self.queues.meet(now.mono, call.id, caller);
        if let Some(uri) = &call.prefers {
            self.queues.prefer(call.id, uri);
        }
    }

    /// Tells the plan the caller's place when it has changed.
    pub(super) fn tell_position(&mut self, now: Now, call: &mut Call) {
        let Some(waiting) = call.waiting.as_mut() else { return };
        waiting.next_position = now.mono + POSITION_CHECK;
        let Some(place) = self.queues.place(call.id) else { return };
        if waiting.told == Some(place.position) {
            return;
        }
        waiting.told = Some(place.position);
        let (request, queue) = (waiting.request, waiting.queue.to_string());
        call.heard.push_back(Heard::QueueUpdate {
            id: request,
            position: count(place.position),
            wait: Some(place.wait),
        });
        let wait_ms = u64::try_from(place.wait.as_millis()).ok();
        let event = QueuePosition { leg: call.customer.number, queue, position: count(place.position), wait_ms };
        self.log(now, call, event);
    }

    /// The caller waits no longer; an operator's phone that rings for it stops.
    pub(super) fn leave_queue(&mut self, now: Now, call: &mut Call, outcome: QueueOutcome) {
        let Some(waiting) = call.waiting.take() else { return };
        if call.other.as_ref().is_some_and(|o| o.leg.stage == Stage::Ringing) {
            self.let_other_go(now, call, EndedBy::Ark, EndCause::Cancelled, None);
        }
        self.queues.leave_as(now.mono, call.id, outcome == QueueOutcome::Abandoned);
        self.queues_changed = true;
        self.log_queue_left(now, call, &waiting, outcome, None);
    }

    fn log_queue_left(
        &mut self,
        now: Now,
        call: &Call,
        waiting: &Waiting,
        outcome: QueueOutcome,
        by: Option<LegNumber>,
    ) {
        let event = QueueLeft {
            leg: call.customer.number,
            queue: waiting.queue.to_string(),
            outcome,
            waited_ms: ms(waiting.since, now.mono),
            answered_by: by,
        };
        self.log(now, call, event);
    }

    /// Rings free operators for those who wait.
    pub(super) fn serve_queues(&mut self, now: Now) {
        while let Some(order) = self.queues.next(now.mono) {
            let Some(caller) = order.caller() else {
                if let Order::CallBack(item, operator) = order {
                    self.call_customer_back(now, item, operator);
                }
                continue;
            };
            if !self.calls.contains_key(&caller) {
                self.queues.leave(now.mono, caller);
                continue;
            }
            self.with(now, caller, |switch, call| match order {
                Order::Ring(_, operator) => switch.ring_operator(now, call, operator),
                Order::Stop(_, operator) => switch.stop_ringing(now, call, operator),
                Order::Decline(_, operator) => switch.decline_beside(now, call, operator),
                Order::Overflow(_, to) => switch.waited_too_long(now, call, to.as_deref()),
                Order::Relaxed(_, needs) => switch.relaxed(now, call, needs),
                Order::CallBack(..) => {}
            });
        }
    }

    /// Who waits too long goes the way that the plan has for it, else on to another queue with their place, else waits on.
    fn waited_too_long(&mut self, now: Now, call: &mut Call, to: Option<&str>) {
        let Some(waiting) = call.waiting.as_ref() else { return };
        let (id, from) = (waiting.request, Arc::clone(&waiting.queue));
        if call.run.as_ref().is_some_and(ark_dialplans::Run::takes_overflow) {
            return call.heard.push_back(Heard::Overflow { id });
        }
        let Some((to, place)) = to.and_then(|to| Some((to, self.queues.move_to(now.mono, call.id, to)?))) else {
            return;
        };
        let Some(waiting) = call.waiting.take() else { return };
        self.log_queue_left(now, call, &waiting, QueueOutcome::Overflow, None);
        let queue: Arc<str> = Arc::from(to);
        call.waiting = Some(Waiting { queue: Arc::clone(&queue), told: None, next_position: now.mono, ..waiting });
        let priority = match &mut call.last_place {
            Some(last) if last.queue == from => {
                last.queue = queue;
                last.priority
            }
            _ => 0,
        };
        let event = QueueJoined {
            leg: call.customer.number,
            queue: to.to_owned(),
            position: count(place.position),
            priority: u8::try_from(priority.clamp(0, 255)).unwrap_or(0),
            needs: call.needed(),
        };
        self.log(now, call, event);
        self.tell_position(now, call);
        self.queues_changed = true;
    }

    /// Nobody who works in the queue has what the caller needs.
    fn relaxed(&mut self, now: Now, call: &Call, needs: Needed) {
        let Some(waiting) = call.waiting.as_ref() else { return };
        let (leg, queue) = (call.customer.number, waiting.queue.to_string());
        self.log(now, call, QueueRelaxed { leg, queue, needs, waited_ms: ms(waiting.since, now.mono) });
    }

    /// The router asks that operator no longer.
    fn stop_ringing(&mut self, now: Now, call: &mut Call, operator: OperatorId) {
        let rings = |other: &&Other| other.leg.stage == Stage::Ringing && other.purpose == Purpose::Operator(operator);
        match call.other.as_ref().filter(rings).map(|other| other.ring_until <= now.mono) {
            Some(late) if late || call.rings_for_callback() => self.other_did_not_answer(now, call),
            Some(_) => self.let_other_go(now, call, EndedBy::Ark, EndCause::Cancelled, None),
            None => {}
        }
    }

    pub(super) fn ring_operator(&mut self, now: Now, call: &mut Call, operator: OperatorId) {
        let uri = self.queues.uri(operator).to_owned();
        let Some((request, patience)) =
            call.waiting.as_ref().filter(|_| call.other.is_none()).map(|w| (w.request, self.queues.ring(&w.queue)))
        else {
            self.queues.declined(now.mono, call.id, operator);
            return;
        };
        let purpose = Purpose::Operator(operator);
        if let Err(error) = self.ring(now, call, &uri, purpose, request, patience) {
            tracing::warn!(%uri, %error, "an operator cannot be called");
            self.queues.declined(now.mono, call.id, operator);
        }
    }

    /// The plan transfers the caller to a named target.
    pub(super) fn transfer(
        &mut self,
        now: Now,
        call: &mut Call,
        request: u64,
        name: &Arc<str>,
        to: &str,
        timeout: Duration,
    ) {
        let to = self.site.target(name, to).to_owned();
        let (leg, target, to_log) = (call.customer.number, name.to_string(), Pii::new(&*to));
        let event = TransferStarted { leg, target, to: to_log, from: None, mode: None, by: None, note: None };
        self.log(now, call, event);
        call.transferring = Some(Transferring { target: Arc::clone(name), since: now.mono });
        let purpose = Purpose::Target { name: Arc::clone(name) };
        if let Err(error) = self.ring(now, call, &to, purpose, request, timeout) {
            tracing::warn!(target = %name, %error, "a transfer's target cannot be called");
            self.finish_transfer(now, call, TransferOutcome::Failed, None);
            call.heard.push_back(Heard::Failed { id: request, failure: Failure::Unavailable });
        }
    }

    pub(super) fn ring(
        &mut self,
        now: Now,
        call: &mut Call,
        to: &str,
        purpose: Purpose,
        request: u64,
        patience: Duration,
    ) -> Result<(), CannotPlace> {
        let role = if matches!(purpose, Purpose::Operator(_)) { Role::Agent } else { Role::External };
        let number = LegNumber(call.next_leg);
        let dialled = match to.strip_prefix(WEB) {
            Some(operator) => self.ring_browser(now, call, operator, number)?,
            None => self.ring_phone(now, call, to, number)?,
        };
        let leg = self.rung(now, call, dialled, role, call.from.clone(), to);
        let ring_until = now.mono + patience;
        call.other = Some(Other { leg, to: to.to_owned(), purpose, request, ring_until, bridged: None });
        Ok(())
    }

    /// A leg that was dialled rings: from now on it is the call's, and the log says so.
    pub(super) fn rung(&mut self, now: Now, call: &mut Call, dialled: Dialled, role: Role, from: Pii, to: &str) -> Leg {
        let Dialled { leg, trunk, call_id, remote } = dialled;
        call.next_leg += 1;
        self.by_line.insert(leg.line, call.id);
        self.by_leg.insert(leg.media, call.id);
        let event = CallRinging {
            leg: leg.number,
            role,
            direction: Direction::Outbound,
            from,
            from_display: None,
            to: Pii::new(to),
            trunk,
            call_id,
            owner: Owner::Bot(call.live.plan.name.text.to_string()),
            plan: None,
            plan_version: None,
            transport: None,
            remote: remote.map(|remote| remote.to_string()),
        };
        self.log(now, call, event);
        leg
    }

    pub(super) fn ring_phone(
        &mut self,
        now: Now,
        call: &Call,
        to: &str,
        number: LegNumber,
    ) -> Result<Dialled, CannotPlace> {
        let way = self.site.way(to)?;
        // The best for both legs is one codec: what comes in goes out untouched. Else the bridge changes it.
        let codec = call.customer.agreed.as_ref().map(|a| a.codec);
        let from = call.from.reveal().to_owned();
        let leg = self.dial(now, &way, number, codec, (Some(&from), call.hops.saturating_sub(1)))?;
        let call_id = self.call_id(leg.line);
        Ok(Dialled { leg, trunk: way.trunk, call_id, remote: Some(way.remote) })
    }

    /// What SIP says of the other leg.
    pub(super) fn on_other(&mut self, now: Now, call: &mut Call, key: CallKey, event: CallEvent) {
        if call.other.as_ref().is_none_or(|o| o.leg.line != Line::Sip(key)) {
            return;
        }
        match event {
            CallEvent::Incoming(_) | CallEvent::Progress { .. } | CallEvent::Confirmed { .. } => {}
            CallEvent::Reanswered { .. } => {}
            CallEvent::Answered { sdp } => self.other_answered(now, call, sdp.as_deref()),
            CallEvent::Failed { status, reason, .. } => {
                self.other_failed(now, call, Some(status), failed(status), Some(reason));
            }
            CallEvent::Cancelled => self.other_failed(now, call, Some(487), EndCause::Cancelled, None),
            CallEvent::Reoffer { sdp } => self.reoffer(now, call, true, sdp.as_deref()),
            CallEvent::Info { content_type, body } => self.info(call, true, &content_type, &body),
            CallEvent::Ended { cause } => {
                let (by, cause) = ended(cause);
                self.person_left(now, call, by, cause, None);
            }
        }
    }

    fn other_answered(&mut self, now: Now, call: &mut Call, sdp: Option<&[u8]>) {
        let Some(other) = call.other.as_mut() else { return };
        let Some(negotiator) = other.leg.sdp.as_mut() else { return };
        let agreed = match sdp.map(|answer| negotiator.accept_answer(answer)) {
            Some(Ok(agreed)) => agreed,
            Some(Err(error)) => {
                let reason = format!("the answer cannot be used: {error}");
                return self.other_unusable(now, call, reason);
            }
            None => return self.other_unusable(now, call, "the answer has no SDP".to_owned()),
        };
        self.other_up(now, call, agreed);
    }

    /// The person is there, and hears nobody yet. Gives their media, their leg, and the plan's request.
    pub(super) fn other_answers(
        &mut self,
        now: Now,
        call: &mut Call,
        agreed: Negotiated,
    ) -> Option<(media::LegId, LegNumber, u64)> {
        let other = call.other.as_mut().filter(|other| other.leg.stage == Stage::Ringing)?;
        other.leg.stage = Stage::Up;
        other.leg.answered = Some(now.mono);
        other.leg.agreed = Some(agreed.clone());
        let (media, number, request) = (other.leg.media, other.leg.number, other.request);
        let signalled_from = other.leg.signalled_from;
        let dtmf = self.site.dtmf_of(&other.leg.trunk);
        self.counters.answered += 1;
        self.tell_media(media, Command::Start { negotiated: agreed, signalled_from, dtmf });
        self.log_answered(now, call, true);
        self.record_leg(call, media, Side::Agent);
        Some((media, number, request))
    }

    /// The person is there: the two are bridged.
    pub(super) fn other_up(&mut self, now: Now, call: &mut Call, agreed: Negotiated) {
        if call.rings_for_callback() {
            return self.agent_calls_back(now, call, agreed);
        }
        let codec = agreed.codec;
        let Some((media, number, request)) = self.other_answers(now, call, agreed) else { return };
        if let Some(other) = call.other.as_mut() {
            other.bridged = Some(now.mono);
        }
        self.tell_media(call.customer.media, Command::Bridge { other: media });
        self.end_the_plans_pause(now, call);
        self.tell_who_joins(call, media, codec);
        call.playing = None;
        if let Some(waiting) = call.waiting.take() {
            self.queues.accepted(call.id);
            self.log_queue_left(now, call, &waiting, QueueOutcome::Answered, Some(number));
        }
        if call.transferring.is_some() {
            self.finish_transfer(now, call, TransferOutcome::Answered, Some(200));
        }
        self.log(now, call, LegBridged { leg: call.customer.number, with: number });
        call.heard.push_back(Heard::Answered { id: request });
    }

    fn other_unusable(&mut self, now: Now, call: &mut Call, reason: String) {
        if let Some(other) = &call.other {
            self.hang_up_line(now, other.leg.line);
        }
        self.other_failed(now, call, Some(488), EndCause::NoCodec, Some(reason));
    }

    /// It rang for as long as it may.
    pub(super) fn other_did_not_answer(&mut self, now: Now, call: &mut Call) {
        if let Some(other) = &call.other {
            self.hang_up_line(now, other.leg.line);
        }
        self.other_failed(now, call, None, EndCause::NoAnswer, None);
    }

    /// Nobody came: the caller keeps its place in the queue, or the plan hears why its target did not answer.
    pub(super) fn other_failed(
        &mut self,
        now: Now,
        call: &mut Call,
        status: Option<u16>,
        cause: EndCause,
        reason: Option<String>,
    ) {
        let Some(other) = call.other.take() else { return };
        let Other { mut leg, purpose, request, .. } = other;
        leg.stage = Stage::Ended;
        leg.ending = Some(Ending { by: EndedBy::Remote, cause, sip_status: status, reason, at: now.mono });
        self.tell_media(leg.media, Command::Close);
        call.past.push(leg);
        match purpose {
            Purpose::Operator(_) if call.rings_for_callback() => self.callback_unasked(now, call),
            Purpose::Operator(operator) => {
                self.queues.declined(now.mono, call.id, operator);
                self.queues_changed = true;
            }
            // They were up before they took the agent's place.
            Purpose::Supervisor | Purpose::Agent => {}
            Purpose::Target { .. } => {
                let (outcome, failure) = match cause {
                    EndCause::Busy => (TransferOutcome::Busy, Failure::Busy),
                    EndCause::NoAnswer => (TransferOutcome::NoAnswer, Failure::NoAnswer),
                    EndCause::Rejected => (TransferOutcome::Rejected, Failure::Refused),
                    _ => (TransferOutcome::Failed, Failure::Unavailable),
                };
                self.finish_transfer(now, call, outcome, status);
                call.heard.push_back(Heard::Failed { id: request, failure });
            }
        }
    }

    /// The person is gone after talking: a supervisor who talks with both stays, else the plan says what comes next.
    pub(super) fn person_left(
        &mut self,
        now: Now,
        call: &mut Call,
        by: EndedBy,
        cause: EndCause,
        reason: Option<String>,
    ) {
        if self.transferring_agent_gone(now, call, by, cause, reason.as_deref()) {
            return;
        }
        let Some(request) = call.other.as_ref().map(|o| o.request) else { return };
        self.end_hold(now, call);
        let ending = Ending { by, cause, sip_status: None, reason, at: now.mono };
        if call.is_calling_back() {
            return self.caller_back_left(now, call, ending);
        }
        if self.supervisor_stays(now, call, &ending) {
            return;
        }
        self.other_over(now, call, ending);
        call.heard.push_back(Heard::PersonLeft { id: request });
    }

    /// Ark ends the other leg.
    pub(super) fn let_other_go(
        &mut self,
        now: Now,
        call: &mut Call,
        by: EndedBy,
        cause: EndCause,
        reason: Option<String>,
    ) {
        if let Some(other) = &call.other {
            self.hang_up_line(now, other.leg.line);
        }
        self.other_over(now, call, Ending { by, cause, sip_status: None, reason, at: now.mono });
    }

    pub(super) fn other_over(&mut self, now: Now, call: &mut Call, ending: Ending) {
        self.end_hold(now, call);
        let Some(other) = call.other.take() else { return };
        if other.bridged.is_some() {
            self.tell_media(call.customer.media, Command::Unbridge);
        }
        self.part(now, call, other, ending);
        self.let_supervisors_go(now, call);
    }

    /// The talk with that person is over: the log, the queue and the media engine hear it.
    pub(super) fn part(&mut self, now: Now, call: &mut Call, other: Other, ending: Ending) {
        let Other { mut leg, purpose, bridged, .. } = other;
        let answered = leg.answered;
        leg.stage = Stage::Ended;
        leg.ending = Some(ending);
        if let Some(since) = bridged {
            let event = LegUnbridged { leg: call.customer.number, with: leg.number, bridged_ms: ms(since, now.mono) };
            self.log(now, call, event);
        }
        self.tell_media(leg.media, Command::Close);
        call.hold_play = None;
        call.past.push(leg);
        if let Purpose::Operator(operator) = purpose {
            match answered {
                Some(since) => self.queues.finished(now.mono, operator, now.mono.saturating_duration_since(since)),
                None => self.queues.declined(now.mono, call.id, operator),
            }
            self.queues_changed = true;
        }
    }

    /// The plan gives a transfer up, or the caller has gone.
    pub(super) fn give_up_transfer(&mut self, now: Now, call: &mut Call, outcome: TransferOutcome) {
        if call.transferring.is_none() {
            return;
        }
        if call.other.as_ref().is_some_and(|o| o.leg.stage == Stage::Ringing) {
            self.let_other_go(now, call, EndedBy::Ark, EndCause::Cancelled, None);
        }
        self.finish_transfer(now, call, outcome, None);
    }

    fn finish_transfer(&mut self, now: Now, call: &mut Call, outcome: TransferOutcome, sip_status: Option<u16>) {
        let Some(transfer) = call.transferring.take() else { return };
        let event = TransferFinished {
            leg: call.customer.number,
            target: transfer.target.to_string(),
            outcome,
            sip_status,
            took_ms: ms(transfer.since, now.mono),
            customer: None,
            owner: None,
        };
        self.log(now, call, event);
    }

    /// How many callers wait, and since when the first one does: for metrics.
    pub fn longest_wait(&self, now: Instant) -> Option<Duration> {
        let waits = self.calls.values().filter_map(|c| c.waiting.as_ref());
        waits.map(|w| now.saturating_duration_since(w.since)).max()
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
