//! The customer's side: a call comes in or is placed, is answered, held, and ends.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ark_conversation::event::{
    CallAnswered, CallEnded, CallQuality, CallRinging, Direction, DtmfHow, EndCause, EndedBy, LegHeld, LegResumed, Role,
};
use ark_conversation::{LegId as LegNumber, Owner, Pii, source};
use ark_dialplans::{Caller, Heard, Now, Run};
use ark_media::codec::CodecRef;
use ark_media::sdp::{Direction as SdpDirection, Local, Negotiated, Negotiator};
use ark_sip::ua::{CallEvent, CallKey, EndCause as SipEnd, Flow, Incoming, MAX_FORWARDS, Outgoing, Party, Transport};

use super::limits::FORGET_AFTER;
use super::site::{Hotline, LOCAL_TRUNK, NoWay, Way};
use super::speech::Listening;
use super::state::{Call, Ending, Keeping, Leg, Line, Stage};
use super::switch::{Switch, ms};
use crate::media::{self, Command, MediaPort};
use crate::telemetry::LegHeard;

/// Why a call cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotPlace {
    /// No way to the target.
    #[error(transparent)]
    NoWay(#[from] NoWay),
    /// No hotline has this number.
    #[error("no [[hotline]] has the number `{0}`: its plan is what the called person would hear")]
    NoHotline(String),
    /// No room: calls, ports, transactions.
    #[error("no room for another call now: {0}")]
    Full(String),
    /// No listening socket of that transport or family.
    #[error("no `[sip] listen` entry can reach {0}")]
    NoSocket(SocketAddr),
}

impl<M: MediaPort> Switch<M> {
    /// A call comes in.
    pub(super) fn incoming(&mut self, now: Now, key: CallKey, incoming: Incoming) {
        self.counters.incoming += 1;
        let dialled = user_part(&incoming.request_uri).to_owned();
        let Some(hotline) = self.site.hotline(&dialled).cloned() else {
            return self.refuse(now, key, 404, "Not Found", &[]);
        };
        if self.draining || self.overloaded || self.calls.len() >= self.config.calls_max {
            return self.refuse(now, key, 503, "Service Unavailable", &[("Retry-After", "10".to_owned())]);
        }
        let reserved = match self.media.reserve() {
            Ok(leg) => leg,
            Err(error) => {
                tracing::warn!(%error, "a call was refused");
                return self.refuse(now, key, 503, "Service Unavailable", &[("Retry-After", "10".to_owned())]);
            }
        };
        let trunk = self.site.trunk_of(incoming.flow.remote.ip()).to_owned();
        let mut sdp = self.negotiator(incoming.flow, reserved, &trunk, None);
        let answer = match &incoming.sdp {
            Some(offer) => match sdp.answer(offer) {
                Ok((body, agreed)) => Some((body, agreed)),
                Err(error) => {
                    tracing::info!(%error, "a call was refused: its offer cannot be used");
                    let _ = self.media.command(reserved.id, Command::Close);
                    return self.refuse(now, key, error.sip_status(), "Not Acceptable Here", &[]);
                }
            },
            None => None,
        };
        let customer = Leg {
            signalled_from: (trunk == LOCAL_TRUNK).then(|| incoming.flow.remote.ip()),
            trunk: trunk.clone(),
            sdp: Some(sdp),
            agreed: answer.as_ref().map(|(_, agreed)| agreed.clone()),
            ..Leg::new(LegNumber(1), Direction::Inbound, Line::Sip(key), reserved.id, now.mono)
        };
        let names = Names {
            from: Pii::new(user_part(&incoming.from)),
            dialled: Pii::new(dialled),
            source: source::call(&self.config.tenant, &trunk, incoming.call_id.as_bytes()),
            trunk,
        };
        let call = self.new_call(now, customer, &hotline, names, incoming.max_forwards);
        self.log_ringing(now, &call, incoming.from_display, &incoming.call_id, Some(by(incoming.flow)));
        let id = call.id;
        self.calls.insert(id, call);
        self.with(now, id, |switch, call| match answer {
            Some((body, agreed)) => {
                // The plan's first wish is always to answer; the answer is ready.
                switch.endpoint.answer(now.mono, key, body);
                switch.start_customer(now, call, agreed);
            }
            None => {
                let offer = call.customer.sdp.as_mut().map(|sdp| sdp.offer(SdpDirection::SendRecv)).unwrap_or_default();
                call.customer.stage = Stage::AwaitingAck;
                switch.endpoint.answer(now.mono, key, offer);
            }
        });
    }

    /// Calls `target` (a number that a route leads to, or a `sip:` URI) and runs the plan of `hotline` with who answers.
    ///
    /// # Errors
    /// [`CannotPlace`], which says what to change.
    pub fn place(
        &mut self,
        now: Now,
        target: &str,
        hotline: &str,
    ) -> Result<ark_conversation::ConversationId, CannotPlace> {
        let line = self.site.hotline(hotline).cloned().ok_or_else(|| CannotPlace::NoHotline(hotline.to_owned()))?;
        let way = self.site.way_for_operators(target)?;
        if self.overloaded {
            return Err(CannotPlace::Full(
                "the media threads are at their limit; try again in some seconds".to_owned(),
            ));
        }
        let leg = self.dial(now, &way, LegNumber(1), None, (None, MAX_FORWARDS))?;
        let call_id = self.call_id(leg.line);
        let names = Names {
            from: Pii::new(self.config.number.clone()),
            dialled: Pii::new(target),
            source: source::call(&self.config.tenant, &way.trunk, call_id.as_bytes()),
            trunk: way.trunk.clone(),
        };
        let mut call = self.new_call(now, leg, &line, names, MAX_FORWARDS);
        call.ring_until = Some(now.mono + self.config.ring_timeout);
        self.counters.placed += 1;
        self.log_ringing(now, &call, None, &call_id, None);
        let conversation = call.conversation;
        self.put_back(call);
        self.settle(now);
        Ok(conversation)
    }

    /// Sends an INVITE with an offer from a new media leg. `first` is the codec to offer first; `from` is the number to
    /// show (none: our own) and the hops that are left.
    pub(super) fn dial(
        &mut self,
        now: Now,
        way: &Way,
        number: LegNumber,
        first: Option<CodecRef>,
        from: (Option<&str>, u8),
    ) -> Result<Leg, CannotPlace> {
        let reserved = self.media.reserve().map_err(|error| CannotPlace::Full(error.to_string()))?;
        self.dial_on(now, way, number, reserved, first, from)
    }

    /// The same from a media leg that is there; when it does not succeed, that is closed.
    pub(super) fn dial_on(
        &mut self,
        now: Now,
        way: &Way,
        number: LegNumber,
        reserved: media::Leg,
        first: Option<CodecRef>,
        from: (Option<&str>, u8),
    ) -> Result<Leg, CannotPlace> {
        let dialled = self.invite(now, way, (number, reserved), first, from);
        if dialled.is_err() {
            let _ = self.media.command(reserved.id, Command::Close);
        }
        dialled
    }

    fn invite(
        &mut self,
        now: Now,
        way: &Way,
        (number, reserved): (LegNumber, media::Leg),
        first: Option<CodecRef>,
        from: (Option<&str>, u8),
    ) -> Result<Leg, CannotPlace> {
        let (from, max_forwards) = from;
        let (transport, bound) =
            if way.tcp { (Transport::Tcp, &self.config.tcp) } else { (Transport::Udp, &self.config.udp) };
        let local = bound.iter().copied().find(|local| local.is_ipv4() == way.remote.is_ipv4());
        let local = local.ok_or(CannotPlace::NoSocket(way.remote))?;
        let local = self.local_toward(local, way.remote);
        let flow = Flow { transport, local, remote: way.remote, connection: 0 };
        let mut sdp = self.negotiator(flow, reserved, &way.trunk, first);
        let offer = sdp.offer(SdpDirection::SendRecv);
        // A carrier takes calls from the number that it gave us only.
        let user = way.caller.as_deref().or(from).unwrap_or(&self.config.number);
        let host = self.advertised(flow).unwrap_or(local.ip());
        let outgoing = Outgoing {
            flow,
            target: way.uri.clone(),
            from: Party { uri: format!("sip:{}@{}", uri_user(user), uri_host(host)), display: None },
            to: Party { uri: way.uri.clone(), display: None },
            sdp: Some(offer),
            credentials: way.credentials.clone(),
            headers: Vec::new(),
            max_forwards,
        };
        match self.endpoint.place(now.mono, outgoing) {
            Ok(sip) => Ok(Leg {
                signalled_from: (way.trunk == LOCAL_TRUNK).then(|| way.remote.ip()),
                trunk: way.trunk.clone(),
                sdp: Some(sdp),
                ..Leg::new(number, Direction::Outbound, Line::Sip(sip), reserved.id, now.mono)
            }),
            Err(error) => Err(CannotPlace::Full(error.to_string())),
        }
    }

    fn local_toward(&self, bound: SocketAddr, peer: SocketAddr) -> SocketAddr {
        crate::net::local::LocalAddresses::default().toward(bound, peer.ip())
    }

    /// The address that is advertised to a peer: of its family, and not to this machine itself.
    fn advertised(&self, flow: Flow) -> Option<IpAddr> {
        let peer = flow.remote.ip().to_canonical();
        self.config.advertise.filter(|ip| !peer.is_loopback() && ip.is_ipv4() == peer.is_ipv4())
    }

    /// Ark's side of a leg to this trunk, `first` being its codec of choice if the trunk speaks it.
    fn negotiator(&mut self, flow: Flow, reserved: media::Leg, trunk: &str, first: Option<CodecRef>) -> Negotiator {
        // Where RTP is bound to one address, that is the one to send to.
        let bound = Some(reserved.rtp.ip()).filter(|ip| !ip.is_unspecified());
        let ip = self.advertised(flow).or(bound).unwrap_or(flow.local.ip());
        let mut local = Local::new(SocketAddr::new(ip, reserved.rtp.port()), self.random_u64() >> 2);
        local.rtcp_port = reserved.rtcp.port();
        let codecs = self.site.codecs_of(trunk).unwrap_or(&self.config.codecs);
        if !codecs.is_empty() {
            local.codecs = codecs.to_vec();
        }
        if let Some(first) = first.filter(|first| local.codecs.contains(first)) {
            local.codecs.retain(|codec| *codec != first);
            local.codecs.insert(0, first);
        }
        local.preference = self.config.codec_order;
        local.comfort_noise = self.config.comfort_noise;
        Negotiator::new(local)
    }

    pub(super) fn call_id(&self, line: Line) -> String {
        match line {
            Line::Sip(key) => self.endpoint.call_id(key).unwrap_or_default(),
            Line::Web(key) => format!("web-{:x}", key.0),
            Line::NotYet(_) => String::new(),
        }
    }

    pub(super) fn new_call(&mut self, now: Now, customer: Leg, hotline: &Hotline, names: Names, hops: u8) -> Box<Call> {
        let id = self.new_id();
        self.by_line.insert(customer.line, id);
        self.by_leg.insert(customer.media, id);
        Box::new(Call {
            id,
            conversation: self.new_conversation(now),
            hops,
            source: names.source,
            trunk: names.trunk,
            from: names.from,
            dialled: names.dialled,
            live: Arc::clone(&hotline.live),
            run: None,
            state: Arc::from(""),
            lang: String::new(),
            customer,
            other: None,
            supervisors: Vec::new(),
            past: Vec::new(),
            next_leg: 2,
            next_own_play: 0,
            playing: None,
            waiting: None,
            transferring: None,
            handover: None,
            last_transfer: None,
            last_place: None,
            needs: Default::default(),
            music_since: None,
            after_beep: None,
            hold_play: None,
            recordings: Vec::new(),
            recordings_made: 0,
            pause_is_the_plans: false,
            record_call: hotline.record,
            keeping: Keeping::default(),
            announcing: None,
            prefers: None,
            calling_back: None,
            callback_asked: false,
            listening: Listening::default(),
            heard: VecDeque::new(),
            ring_until: None,
            forget_at: None,
            timer: None,
        })
    }

    fn refuse(&mut self, now: Now, key: CallKey, status: u16, reason: &str, headers: &[(&str, String)]) {
        self.counters.refused += 1;
        self.endpoint.reject(now.mono, key, status, reason, headers);
    }

    /// What SIP says of the customer's leg.
    pub(super) fn on_customer(&mut self, now: Now, call: &mut Call, event: CallEvent) {
        match event {
            CallEvent::Incoming(_) | CallEvent::Progress { .. } => {}
            CallEvent::Answered { sdp } => self.customer_answered(now, call, sdp.as_deref()),
            CallEvent::Confirmed { sdp } => self.confirmed(now, call, sdp.as_deref()),
            CallEvent::Reoffer { sdp } => self.reoffer(now, call, false, sdp.as_deref()),
            CallEvent::Reanswered { .. } => {}
            CallEvent::Info { content_type, body } => self.info(call, false, &content_type, &body),
            CallEvent::Cancelled => {
                let by = EndedBy::Remote;
                self.customer_gone(now, call, by, EndCause::Cancelled, Some(487), None);
            }
            CallEvent::Failed { status, reason, .. } => {
                self.customer_gone(now, call, EndedBy::Remote, failed(status), Some(status), Some(reason));
            }
            CallEvent::Ended { cause } => {
                let (by, cause) = ended(cause);
                self.customer_gone(now, call, by, cause, None, None);
            }
        }
    }

    fn customer_answered(&mut self, now: Now, call: &mut Call, sdp: Option<&[u8]>) {
        if call.customer.is_over() {
            return;
        }
        let Some(negotiator) = call.customer.sdp.as_mut() else { return };
        match sdp.map(|answer| negotiator.accept_answer(answer)) {
            Some(Ok(agreed)) => self.start_customer(now, call, agreed),
            Some(Err(error)) => {
                let reason = format!("the answer cannot be used: {error}");
                self.end_call(now, call, EndedBy::Ark, EndCause::NoCodec, None, Some(reason));
            }
            None => {
                let reason = "the answer has no SDP".to_owned();
                self.end_call(now, call, EndedBy::Ark, EndCause::NoCodec, None, Some(reason));
            }
        }
    }

    fn confirmed(&mut self, now: Now, call: &mut Call, sdp: Option<&[u8]>) {
        let Some(answer) = sdp else {
            if call.customer.stage == Stage::AwaitingAck {
                let reason = "the ACK of an offerless INVITE has no answer".to_owned();
                self.end_call(now, call, EndedBy::Ark, EndCause::NoCodec, None, Some(reason));
            }
            return;
        };
        let Some(negotiator) = call.customer.sdp.as_mut() else { return };
        match negotiator.accept_answer(answer) {
            Ok(agreed) if call.customer.stage == Stage::AwaitingAck => self.start_customer(now, call, agreed),
            Ok(agreed) => {
                let leg = call.customer.media;
                call.customer.agreed = Some(agreed.clone());
                self.tell_media(leg, Command::Update { negotiated: agreed });
            }
            Err(error) => {
                let reason = format!("the answer in the ACK cannot be used: {error}");
                self.end_call(now, call, EndedBy::Ark, EndCause::NoCodec, None, Some(reason));
            }
        }
    }

    /// Audio flows: the plan begins.
    pub(super) fn start_customer(&mut self, now: Now, call: &mut Call, agreed: Negotiated) {
        call.ring_until = None;
        call.customer.stage = Stage::Up;
        call.customer.answered = Some(now.mono);
        let codec = agreed.codec;
        call.customer.agreed = Some(agreed.clone());
        self.counters.answered += 1;
        let signalled_from = call.customer.signalled_from;
        let dtmf = self.site.dtmf_of(&call.customer.trunk);
        let start = Command::Start { negotiated: agreed, signalled_from, dtmf };
        self.tell_media(call.customer.media, start);
        self.log_answered(now, call, false);
        // A plan's own words stand for the site's.
        if call.record_call && self.config.announce_recording && call.live.plan.consent().is_none() {
            let leg = call.customer.media;
            call.announcing = self.announce_recording(call, leg, codec);
        }
        if call.announcing.is_none() {
            self.begin_plan(now, call);
        }
    }

    /// The caller has heard what they must hear first.
    pub(super) fn begin_plan(&mut self, now: Now, call: &mut Call) {
        let asks = call.live.plan.consent().is_some_and(|consent| consent.asks);
        if asks || self.config.require_consent {
            call.keeping = Keeping::NotYet;
        }
        if call.record_call && call.keeping == Keeping::Yes {
            self.record_whole_call(now, call, self.record_how(call));
        }
        if call.is_calling_back() {
            // No plan asks them anything: an agent waits for them.
            return self.callback_talks(now, call);
        }
        let caller = Caller {
            number: call.from.reveal().to_owned(),
            dialled: call.dialled.reveal().to_owned(),
            ..Caller::default()
        };
        let (run, asked) = Run::start(Arc::clone(&call.live.plan), &caller, now);
        call.run = Some(run);
        for what in asked {
            self.carry_out(now, call, what);
        }
        // Who talks with somebody already is led to them, by the plan's own way to a person.
        if call.prefers.as_ref().is_some_and(|uri| self.queues.is_free_for(Some(call.conversation), uri)) {
            call.heard.push_back(Heard::Key(call.live.plan.rules.human_key));
        }
    }

    /// A re-INVITE: hold, resume, a new address. A bridged leg keeps its codec, since audio is passed through.
    pub(super) fn reoffer(&mut self, now: Now, call: &mut Call, of_other: bool, sdp: Option<&[u8]>) {
        let bridged = call.other.as_ref().is_some_and(|o| o.bridged.is_some()) || call.handover.is_some();
        let leg = if of_other { call.other.as_mut().map(|o| &mut o.leg) } else { Some(&mut call.customer) };
        let Some(leg) = leg else { return };
        let (Line::Sip(sip), Some(negotiator)) = (leg.line, leg.sdp.as_mut()) else { return };
        let Some(offer) = sdp else {
            let body = negotiator.offer(SdpDirection::SendRecv);
            return self.endpoint.answer_reoffer(now.mono, sip, Ok(body));
        };
        let mut next = negotiator.clone();
        let (body, agreed) = match next.answer(offer) {
            Ok(agreed) => agreed,
            Err(error) => return self.endpoint.answer_reoffer(now.mono, sip, Err(error.sip_status())),
        };
        if bridged && leg.agreed.as_ref().is_some_and(|a| a.codec != agreed.codec) {
            return self.endpoint.answer_reoffer(now.mono, sip, Err(488));
        }
        leg.sdp = Some(next);
        self.endpoint.answer_reoffer(now.mono, sip, Ok(body));
        self.agreed_anew(now, call, of_other, agreed);
    }

    /// Both sides agreed on something else than before: hold, resume, another address.
    pub(super) fn agreed_anew(&mut self, now: Now, call: &mut Call, of_other: bool, agreed: Negotiated) {
        let leg = if of_other { call.other.as_mut().map(|o| &mut o.leg) } else { Some(&mut call.customer) };
        let Some(leg) = leg else { return };
        leg.agreed = Some(agreed.clone());
        let was_held = leg.held_since;
        let (number, media) = (leg.number, leg.media);
        leg.held_since = agreed.is_held().then(|| was_held.unwrap_or(now.mono));
        let held = leg.held_since;
        self.tell_media(media, Command::Update { negotiated: agreed });
        match (was_held, held) {
            (None, Some(_)) => {
                self.log(now, call, LegHeld { leg: number });
                self.music_while_held(call, of_other, true);
            }
            (Some(since), None) => {
                self.log(now, call, LegResumed { leg: number, held_ms: ms(since, now.mono) });
                self.music_while_held(call, of_other, false);
            }
            _ => {}
        }
    }

    pub(super) fn info(&mut self, call: &Call, of_other: bool, content_type: &str, body: &[u8]) {
        let Some(press) = ark_media::dtmf::info::parse(content_type, body) else { return };
        self.pressed(call, of_other, press.digit);
    }

    /// The customer's leg ended from outside: the plan hears it, the other leg is let go, the record is closed.
    pub(super) fn customer_gone(
        &mut self,
        now: Now,
        call: &mut Call,
        by: EndedBy,
        cause: EndCause,
        sip_status: Option<u16>,
        reason: Option<String>,
    ) {
        if call.customer.is_over() {
            return;
        }
        self.end_everything(now, call, Ending { by, cause, sip_status, reason, at: now.mono });
    }

    /// Ark ends the call: BYE, CANCEL or a final response to the customer, and all that follows.
    pub(super) fn end_call(
        &mut self,
        now: Now,
        call: &mut Call,
        by: EndedBy,
        cause: EndCause,
        sip_status: Option<u16>,
        reason: Option<String>,
    ) {
        if call.customer.is_over() {
            return;
        }
        self.hang_up_line(now, call.customer.line);
        self.end_everything(now, call, Ending { by, cause, sip_status, reason, at: now.mono });
    }

    fn end_everything(&mut self, now: Now, call: &mut Call, ending: Ending) {
        call.customer.stage = Stage::Ended;
        call.ring_until = None;
        call.heard.clear();
        if let Some(run) = call.run.as_mut() {
            // What the plan would still like to do (leave a queue, stop a prompt) is done below for every plan.
            let _ = run.step(now, &Heard::Hangup);
        }
        self.callback_over(now, call, Some(ending.cause));
        self.customer_left_transfer(now, call);
        self.leave_queue(now, call, ark_conversation::event::QueueOutcome::Abandoned);
        self.give_up_transfer(now, call, ark_conversation::event::TransferOutcome::Abandoned);
        self.let_other_go(now, call, EndedBy::Ark, EndCause::Hangup, None);
        call.customer.ending = Some(ending);
        self.tell_media(call.customer.media, Command::Close);
        call.forget_at = Some(now.mono + FORGET_AFTER);
    }

    /// The media engine said its last word of a leg: its quality and its end go to the log.
    pub(super) fn leg_closed(
        &mut self,
        now: Now,
        call: &mut Call,
        media: media::LegId,
        quality: Option<&ark_media::quality::Quality>,
    ) {
        let other = call.other.as_mut().map(|o| &mut o.leg);
        let found = std::iter::once(&mut call.customer)
            .chain(other)
            .chain(call.handover.iter_mut().filter_map(|one| one.beside.as_mut()).map(|one| &mut one.leg))
            .chain(call.supervisors.iter_mut().map(|supervisor| &mut supervisor.leg))
            .chain(&mut call.past)
            .find(|l| l.media == media && !l.closed);
        let Some(leg) = found else { return };
        leg.closed = true;
        let number = leg.number;
        let codec = leg.agreed.as_ref().map(|a| a.codec.name());
        let ending = leg.ending.clone().unwrap_or(Ending {
            by: EndedBy::Ark,
            cause: EndCause::Failed,
            sip_status: None,
            reason: Some("the media engine closed the leg".to_owned()),
            at: now.mono,
        });
        let (started, answered) = (leg.started, leg.answered);
        let trunk = leg.trunk.clone();
        if let (Some(quality), Some(codec), true) = (quality, codec, answered.is_some()) {
            LegHeard { trunk: &trunk, quality }.emit();
            self.log(now, call, quality_event(number, codec, quality));
        }
        let ringing_until = answered.unwrap_or(ending.at);
        let event = CallEnded {
            leg: number,
            by: ending.by,
            cause: ending.cause,
            sip_status: ending.sip_status,
            reason: ending.reason,
            ringing_ms: ms(started, ringing_until),
            talk_ms: answered.map_or(0, |at| ms(at, ending.at)),
        };
        self.log(now, call, event);
    }

    /// The media engine did not speak in time: the record is closed without it.
    pub(super) fn close_for_good(&mut self, now: Now, call: &mut Call) {
        let beside = call.handover.take().and_then(|mut handover| handover.beside.take());
        call.past.extend(call.other.take().into_iter().chain(beside).map(|other| other.leg));
        call.past.extend(call.supervisors.drain(..).map(|supervisor| supervisor.leg));
        let open: Vec<media::LegId> =
            std::iter::once(&call.customer).chain(&call.past).filter(|l| !l.closed).map(|l| l.media).collect();
        for leg in open {
            self.leg_closed(now, call, leg, None);
        }
        call.recordings.clear();
    }

    pub(super) fn log_ringing(
        &mut self,
        now: Now,
        call: &Call,
        display: Option<String>,
        call_id: &str,
        by: Option<(&str, SocketAddr)>,
    ) {
        let event = CallRinging {
            leg: call.customer.number,
            role: Role::Customer,
            direction: call.customer.direction,
            from: call.from.clone(),
            from_display: display.map(Pii::new),
            to: call.dialled.clone(),
            trunk: call.trunk.clone(),
            call_id: call_id.to_owned(),
            owner: Owner::Bot(call.live.plan.name.text.to_string()),
            plan: Some(call.live.plan.name.text.to_string()),
            plan_version: Some(call.live.version),
            transport: by.map(|(transport, _)| transport.to_owned()),
            remote: by.map(|(_, remote)| remote.to_string()),
        };
        self.log(now, call, event);
    }

    pub(super) fn log_answered(&mut self, now: Now, call: &Call, of_other: bool) {
        let leg = if of_other { call.other.as_ref().map(|o| &o.leg) } else { Some(&call.customer) };
        if let Some(event) = leg.and_then(|leg| answered_event(now, leg)) {
            self.log(now, call, event);
        }
    }

    /// Hands a command to the media engine; when it is too far behind to take one, that is counted there and said here.
    pub(super) fn tell_media(&self, leg: media::LegId, command: Command) {
        if let Err(error) = self.media.command(leg, command) {
            tracing::error!(%leg, %error, "a media command was not taken");
        }
    }
}

/// Who is in a new call, and how it is known outside.
pub(super) struct Names {
    pub(super) from: Pii,
    pub(super) dialled: Pii,
    pub(super) trunk: String,
    /// The source of its events.
    pub(super) source: String,
}

/// That a leg was answered, and with what it speaks.
pub(super) fn answered_event(now: Now, leg: &Leg) -> Option<CallAnswered> {
    let agreed = leg.agreed.as_ref()?;
    Some(CallAnswered {
        leg: leg.number,
        codec: agreed.codec.name().to_owned(),
        dtmf: agreed.receive_dtmf_payload_type.map(|_| DtmfHow::Rfc4733),
        ringing_ms: ms(leg.started, now.mono),
    })
}

/// The log's word for a final response.
pub(super) fn failed(status: u16) -> EndCause {
    match status {
        486 | 600 => EndCause::Busy,
        408 | 480 => EndCause::NoAnswer,
        404 | 410 | 484 | 604 => EndCause::Unreachable,
        487 => EndCause::Cancelled,
        488 | 606 => EndCause::NoCodec,
        503 => EndCause::Overload,
        _ => EndCause::Rejected,
    }
}

/// The log's words for the end of an answered session.
pub(super) fn ended(cause: SipEnd) -> (EndedBy, EndCause) {
    match cause {
        SipEnd::RemoteBye => (EndedBy::Remote, EndCause::Hangup),
        SipEnd::LocalBye => (EndedBy::Ark, EndCause::Hangup),
        SipEnd::NoAck => (EndedBy::Ark, EndCause::NoAck),
        SipEnd::Timeout => (EndedBy::Ark, EndCause::Timeout),
        SipEnd::TransportLost => (EndedBy::Ark, EndCause::TransportLost),
        SipEnd::LocalCancel => (EndedBy::Ark, EndCause::Cancelled),
        SipEnd::Rejected => (EndedBy::Ark, EndCause::Rejected),
        SipEnd::PeerGone => (EndedBy::Remote, EndCause::Failed),
    }
}

/// How a call came, for the log.
fn by(flow: Flow) -> (&'static str, SocketAddr) {
    let transport = match flow.transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    (transport, flow.remote)
}

/// The user part of a sip, sips or tel URI, unescaped as far as it is plain; the host of a URI without one.
fn user_part(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split_once('@').map_or(rest, |(user, _)| user);
    rest.split(';').next().unwrap_or(rest)
}

/// Only what may stand in a URI's user part unescaped; a caller's number never carries more.
fn uri_user(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "+-_.*".contains(*c)).take(64).collect()
}

fn uri_host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn quality_event(leg: LegNumber, codec: &str, quality: &ark_media::quality::Quality) -> CallQuality {
    let us = |d: std::time::Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    CallQuality {
        leg,
        codec: codec.to_owned(),
        received_packets: quality.packets_in,
        sent_packets: quality.packets_out,
        lost_packets: quality.lost,
        loss_ratio: quality.loss(),
        refused_packets: quality.wrong_source + quality.garbage,
        jitter_us: us(quality.jitter),
        jitter_max_us: us(quality.jitter_max),
        rtt_us: quality.round_trip.map(us),
        remote_loss_ratio: quality.peer_lost.map(|(_, ratio)| f64::from(ratio)),
        mos: quality.mos(),
        rating: quality.rating(),
        late_packets: quality.late,
        loss_bursts: quality.loss_bursts,
        delay_us: (quality.packets_in > 0).then(|| us(quality.delay())),
    }
}
