//! The switch: every call of the process as one machine.
//!
//! In go messages, media events, commands and the time; out come bytes, log events and requests for HTTP actions. It
//! does no I/O and reads no clock, so that a whole hotline (caller, plan, operator, loss, timers) is an ordinary test.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::event::{EndCause, EndedBy};
use ark_conversation::{CloudEvent, ConversationId, Event, EventId, NewEvent, Tenant};
use ark_dialplans::{Heard, Now};
use ark_media::codec::CodecRef;
use ark_media::sdp::Preference;
use ark_media::tone::Repeated;
use ark_sip::ua::{CallEvent, CallKey, Endpoint, Flow, Output as SipOutput};
use ark_sip::wire::{Message, ParseError};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::limits::{FORGET_AFTER, STEPS_MAX};
use super::queue::{CallerId, QueueView, Queues};
use super::site::Site;
use super::state::{Call, Line, Stage};
use super::view::CallView;
use super::web::ToWeb;
use crate::conversations::PROCESS;
use crate::conversations::shards::OwnShards;
use crate::media::{self, MediaPort, RecordAs};
use crate::speech::Order;
use crate::telemetry::Fault;

/// What the switch is told at its start.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    /// Whose calls they are.
    pub tenant: Tenant,
    /// The gateway's name.
    pub gateway: String,
    /// Which process of it this is, `gateway/process`: written into the first event of each leg, so that others know whose
    /// calls it had should it die.
    pub process: String,
    /// The shards in which this process's conversations begin; none: in any.
    pub shards: Option<Arc<OwnShards>>,
    /// The address in SDP; none: the local address that the peer talks to.
    pub advertise: Option<IpAddr>,
    /// Codecs of calls whose trunk names none of its own, the best first. Empty: all.
    pub codecs: Vec<CodecRef>,
    /// Whose order counts when Ark answers.
    pub codec_order: Preference,
    /// Whether comfort noise is agreed on.
    pub comfort_noise: bool,
    /// What we listen on (UDP): calls out leave by the first of the peer's address family.
    pub udp: Vec<SocketAddr>,
    /// The same for TCP.
    pub tcp: Vec<SocketAddr>,
    /// Folder of recordings; it exists.
    pub recordings: PathBuf,
    /// How calls are recorded.
    pub record_as: RecordAs,
    /// The tone that all hear while a call is recorded whose plan wants it.
    pub consent_tone: Repeated,
    /// Whether nothing of a call is kept before its plan's `consent` state was passed.
    pub require_consent: bool,
    /// Whether those who are recorded are told in words.
    pub announce_recording: bool,
    /// Whoever comes into a call that is recorded hears it, too.
    pub announce_to_joiners: bool,
    /// The user part of our own From in calls out.
    pub number: String,
    /// Whether call events are made for the log; off only in a bench that measures its cost.
    pub log: bool,
    /// Calls that may be up at a time; the next gets 503.
    pub calls_max: usize,
    /// How long somebody whom [`Switch::place`] calls may be rung.
    pub ring_timeout: Duration,
    /// Queues by which no call is read along; none: nobody reads along at all.
    pub unread_queues: Option<Vec<String>>,
}

/// What the switch asks its driver to do.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes.
    Send {
        /// Where and by what.
        flow: Flow,
        /// A whole SIP message.
        bytes: Vec<u8>,
    },
    /// Append to the log.
    Log(Box<NewEvent>),
    /// Say this to browsers' signalling.
    Web(ToWeb),
    /// Say this to who reads along.
    Speech(Order),
    /// Make a link for pictures and come back with [`Switch::link_news`].
    Link(Box<LinkRequest>),
    /// Run a named HTTP action and come back with [`Switch::http_result`].
    Http(Box<HttpRequest>),
}

/// A link that a plan asked for.
#[derive(Debug)]
pub struct LinkRequest {
    /// The call that waits for it.
    pub call: CallerId,
    /// The id of the plan's request.
    pub request: u64,
    /// The call's conversation.
    pub conversation: ConversationId,
    /// The plan.
    pub plan: String,
    /// How it goes out: the first that can be.
    pub ways: Vec<ark_dialplans::LinkWay>,
    /// How long the plan waits for a picture.
    pub timeout: Duration,
}

/// An HTTP action that a plan asked for.
#[derive(Debug)]
pub struct HttpRequest {
    /// The call that waits for it.
    pub call: CallerId,
    /// The id of the plan's request.
    pub request: u64,
    /// What is called, from the plan's `[actions]`.
    pub url: String,
    /// GET or POST.
    pub method: String,
    /// The action's name.
    pub action: String,
    /// What the action may see, sent as JSON.
    pub vars: std::collections::BTreeMap<String, String>,
    /// After this the plan has gone on without it.
    pub timeout: Duration,
}

/// Counters that metrics and tests read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls that came in.
    pub incoming: u64,
    /// Calls placed.
    pub placed: u64,
    /// Legs answered.
    pub answered: u64,
    /// Calls refused, with whatever status.
    pub refused: u64,
    /// Calls that ended.
    pub ended: u64,
    /// Prompts that a plan wanted and that were not there.
    pub prompts_missing: u64,
    /// Callers that were sent toward a person.
    pub persons_sought: u64,
    /// Log events made.
    pub events: u64,
    /// Calls ended because the switch caught a fault in itself.
    pub faults: u64,
}

/// Every call, queue and SIP session of the process.
pub struct Switch<M> {
    pub(super) config: SwitchConfig,
    pub(super) site: Site,
    pub(super) endpoint: Endpoint,
    pub(super) media: M,
    pub(super) calls: HashMap<CallerId, Box<Call>>,
    pub(super) by_line: HashMap<Line, CallerId>,
    pub(super) by_leg: HashMap<media::LegId, CallerId>,
    pub(super) queues: Queues,
    pub(super) queues_changed: bool,
    timers: BTreeSet<(Instant, CallerId)>,
    pub(super) out: VecDeque<Output>,
    next_call: CallerId,
    pub(super) random: ChaCha12Rng,
    pub(super) counters: Counters,
    pub(super) draining: bool,
    pub(super) overloaded: bool,
}

impl<M: MediaPort> Switch<M> {
    /// A switch without calls.
    pub fn new(config: SwitchConfig, site: Site, queues: Queues, endpoint: Endpoint, media: M, seed: [u8; 32]) -> Self {
        Self {
            config,
            site,
            endpoint,
            media,
            calls: HashMap::new(),
            by_line: HashMap::new(),
            by_leg: HashMap::new(),
            queues,
            queues_changed: false,
            timers: BTreeSet::new(),
            out: VecDeque::new(),
            next_call: 1,
            random: ChaCha12Rng::from_seed(seed),
            counters: Counters::default(),
            draining: false,
            overloaded: false,
        }
    }

    /// While overloaded: refuses a new call by its raw bytes, for next to nothing. `false`: it is something else, read it.
    pub fn shed(&mut self, now: Now, flow: Flow, bytes: &[u8]) -> bool {
        let shed = self.endpoint.shed(now.mono, flow, bytes);
        if shed {
            self.settle(now);
        }
        shed
    }

    /// A message came (or bytes that are none).
    pub fn receive(&mut self, now: Now, flow: Flow, message: Result<Message, ParseError>) {
        self.queues.set_clock(now);
        self.endpoint.receive(now.mono, flow, message);
        self.settle(now);
    }

    /// A TCP connection is gone.
    pub fn connection_closed(&mut self, now: Now, connection: u64) {
        self.endpoint.connection_closed(now.mono, connection);
        self.settle(now);
    }

    /// What was sent on this flow did not leave.
    pub fn send_failed(&mut self, now: Now, flow: Flow) {
        self.endpoint.send_failed(now.mono, flow);
        self.settle(now);
    }

    /// Something happened on a media leg.
    pub fn media(&mut self, now: Now, event: media::Event) {
        self.queues.set_clock(now);
        if let Some(id) = self.by_leg.get(&event.leg()).copied() {
            self.with(now, id, |switch, call| switch.on_media(now, call, event));
        }
        self.settle(now);
    }

    /// An HTTP action ended.
    pub fn http_result(&mut self, now: Now, call: CallerId, request: u64, result: super::HttpResult) {
        self.with(now, call, |switch, call| switch.on_http(now, call, request, result));
        self.settle(now);
    }

    /// Something about a link that a plan asked for.
    pub fn link_news(&mut self, now: Now, call: CallerId, request: u64, news: ark_dialplans::LinkNews) {
        self.with(now, call, |_, call| call.heard.push_back(Heard::Link { id: request, news }));
        self.settle(now);
    }

    /// Runs every timer that is due.
    pub fn tick(&mut self, now: Now) {
        self.queues.set_clock(now);
        self.endpoint.tick(now.mono);
        let later = self.timers.split_off(&(now.mono + Duration::from_nanos(1), 0));
        // Each once: a timer that is set anew for now is the next tick's.
        for (_, id) in std::mem::replace(&mut self.timers, later) {
            self.with(now, id, |switch, call| {
                call.timer = None;
                switch.on_deadline(now, call);
            });
        }
        if self.queues.waiting() > 0 {
            self.queues_changed = true;
        }
        self.settle(now);
    }

    /// The next moment at which [`Switch::tick`] has something to do.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let timers = self.timers.first().map(|(at, _)| *at);
        [timers, self.endpoint.deadline(), self.queues.deadline(now)].into_iter().flatten().min()
    }

    /// What is to be done, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// The desk has something to say of callers who wait.
    pub fn look_at_queues(&mut self, now: Now) {
        self.queues.set_clock(now);
        self.queues_changed = true;
        self.settle(now);
    }

    /// Ends a call from outside (API): both legs. `false`: there is no such call.
    pub fn hang_up(&mut self, now: Now, conversation: ConversationId, reason: &str) -> bool {
        let Some(id) = self.calls.values().find(|c| c.conversation == conversation).map(|c| c.id) else { return false };
        self.with(now, id, |switch, call| {
            switch.end_call(now, call, EndedBy::Ark, EndCause::Hangup, None, Some(reason.to_owned()));
        });
        self.settle(now);
        true
    }

    /// New calls get 503 and OPTIONS tells carriers so; calls that are up stay up.
    pub fn drain(&mut self, draining: bool) {
        self.draining = draining;
        self.endpoint.set_draining(draining);
    }

    /// Ends every call (the process goes down).
    pub fn shut_down(&mut self, now: Now) {
        self.drain(true);
        let ids: Vec<CallerId> = self.calls.keys().copied().collect();
        for id in ids {
            self.with(now, id, |switch, call| {
                switch.end_call(
                    now,
                    call,
                    EndedBy::Ark,
                    EndCause::Shutdown,
                    None,
                    Some("the gateway stops".to_owned()),
                );
            });
        }
        self.settle(now);
    }

    /// New calls are not taken while this is so, whatever they come by; calls that are up go on. The endpoint is told by
    /// itself.
    pub fn set_overloaded(&mut self, overloaded: bool) {
        self.overloaded = overloaded;
    }

    /// Whether a call that does not come by SIP is taken now: as the endpoint would take it, its rate included.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let full = self.draining || self.overloaded || self.calls.len() >= self.config.calls_max;
        !full && self.endpoint.admit_other(now)
    }

    /// Replaces the site: calls that are up keep the plan that they began with.
    pub fn set_site(&mut self, site: Site) {
        self.site = site;
    }

    /// The site as it is.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Calls that are not over.
    pub fn calls(&self) -> Vec<CallView> {
        let mut views: Vec<CallView> =
            self.calls.values().filter(|c| c.forget_at.is_none()).map(|c| c.view()).collect();
        views.sort_by_key(|v| v.conversation);
        views
    }

    /// The queues as others see them.
    pub fn queue_views(&self, now: Instant) -> Vec<QueueView> {
        self.queues.views(now)
    }

    /// How many calls are known, those included whose last records are being written.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether no call is known.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Callers that wait in queues.
    pub fn waiting(&self) -> usize {
        self.queues.waiting()
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The SIP endpoint, for its counters and its load settings.
    pub fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    pub(super) fn new_id(&mut self) -> CallerId {
        let id = self.next_call;
        self.next_call += 1;
        id
    }

    pub(super) fn random_u128(&mut self) -> u128 {
        u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64())
    }

    pub(super) fn random_u64(&mut self) -> u64 {
        self.random.next_u64()
    }

    pub(super) fn new_conversation(&mut self, now: Now) -> ConversationId {
        let shards = self.config.shards.clone();
        let mut draw = || ConversationId::new(unix_ms(now), self.random_u128());
        match shards {
            Some(shards) => shards.draw(draw),
            None => draw(),
        }
    }

    /// Puts an event of `call` on its way to the log.
    pub(super) fn log(&mut self, now: Now, call: &Call, event: impl Into<Event>) {
        self.log_of(now, (call.conversation, &call.source), event);
    }

    /// The same of a conversation, in the name of that source.
    pub(super) fn log_of(&mut self, now: Now, (conversation, source): (ConversationId, &str), event: impl Into<Event>) {
        if !self.config.log {
            return;
        }
        self.counters.events += 1;
        let id = EventId::new(unix_ms(now), self.random_u128()).to_string();
        let mut event = CloudEvent::new(id, source.to_owned(), now.wall, event);
        if matches!(event.event, Event::CallRinging(_)) {
            event.extensions.insert(PROCESS.to_owned(), self.config.process.as_str().into());
        }
        self.out.push_back(Output::Log(Box::new(NewEvent {
            tenant: self.config.tenant.clone(),
            conversation,
            epoch: 1,
            at: now.wall,
            event,
        })));
    }

    /// Runs `f` on a call taken out of the table, lets its plan hear what came of it, and puts it back.
    pub(super) fn with(&mut self, now: Now, id: CallerId, f: impl FnOnce(&mut Self, &mut Call)) {
        let Some(mut call) = self.calls.remove(&id) else { return };
        // What may be half done after a panic is this call, and it is ended.
        let done = panic::catch_unwind(AssertUnwindSafe(|| {
            f(self, &mut call);
            self.let_plan_hear(now, &mut call);
        }));
        if done.is_err() {
            self.end_faulty(now, &mut call);
        }
        self.put_back(call);
    }

    /// A fault of ours in one call ends that call and no other.
    fn end_faulty(&mut self, now: Now, call: &mut Call) {
        const WHAT: &str = "a fault of Ark's ended the call; the log has its place";
        self.counters.faults += 1;
        Fault { conversation: call.conversation, what: WHAT }.emit();
        call.run = None;
        call.heard.clear();
        let ended = panic::catch_unwind(AssertUnwindSafe(|| {
            self.end_call(now, call, EndedBy::Ark, EndCause::Failed, None, Some(WHAT.to_owned()));
        }));
        if ended.is_err() || call.forget_at.is_some_and(|at| at <= now.mono) {
            // Not even its end can be done in order: it is forgotten at once.
            self.queues.leave(now.mono, call.id);
            let beside = call.handover.take().and_then(|mut handover| handover.beside.take());
            call.past.extend(call.other.take().into_iter().chain(beside).map(|other| other.leg));
            call.past.extend(call.supervisors.drain(..).map(|supervisor| supervisor.leg));
            call.recordings.clear();
            call.past.iter_mut().chain([&mut call.customer]).for_each(|leg| leg.closed = true);
        }
        call.customer.stage = Stage::Ended;
        call.forget_at.get_or_insert(now.mono + FORGET_AFTER);
    }

    pub(super) fn put_back(&mut self, mut call: Box<Call>) {
        self.fill_silence(&mut call);
        self.settle_listening(&mut call);
        if call.forget_at.is_some() && call.is_complete() {
            self.forget(&call);
            return;
        }
        let deadline = call.deadline();
        if call.timer != deadline {
            if let Some(old) = call.timer {
                self.timers.remove(&(old, call.id));
            }
            if let Some(new) = deadline {
                self.timers.insert((new, call.id));
            }
            call.timer = deadline;
        }
        self.calls.insert(call.id, call);
    }

    fn forget(&mut self, call: &Call) {
        if let Some(timer) = call.timer {
            self.timers.remove(&(timer, call.id));
        }
        for leg in call.legs().chain(&call.past) {
            self.by_leg.remove(&leg.media);
            self.by_line.remove(&leg.line);
        }
        self.counters.ended += 1;
    }

    /// The plan hears what has happened, and what it asks for is done, until both have nothing more to say.
    pub(super) fn let_plan_hear(&mut self, now: Now, call: &mut Call) {
        let mut steps = 0;
        while let Some(heard) = call.heard.pop_front() {
            let Some(run) = call.run.as_mut() else {
                call.heard.clear();
                // Who was called back has no plan that would go on with them.
                if call.calling_back.is_some() && matches!(heard, Heard::PersonLeft { .. }) {
                    let reason = Some("the person hung up".to_owned());
                    self.end_call(now, call, EndedBy::Ark, EndCause::Hangup, None, reason);
                }
                return;
            };
            steps += 1;
            if steps > STEPS_MAX {
                self.counters.faults += 1;
                tracing::error!(conversation = %call.conversation, state = %call.state, "a plan does not come to rest; the call is ended");
                self.end_call(
                    now,
                    call,
                    EndedBy::Ark,
                    EndCause::Failed,
                    None,
                    Some("the plan does not come to rest".to_owned()),
                );
                return;
            }
            let asked = run.step(now, &heard);
            for what in asked {
                self.carry_out(now, call, what);
            }
        }
    }

    /// Hands on what SIP has to say, and offers waiting callers to free operators, until nothing is left.
    pub(super) fn settle(&mut self, now: Now) {
        loop {
            while let Some(output) = self.endpoint.poll() {
                match output {
                    SipOutput::Send { flow, bytes } => self.out.push_back(Output::Send { flow, bytes }),
                    SipOutput::Call { key, event } => self.on_sip(now, key, event),
                }
            }
            if !self.queues_changed {
                return;
            }
            self.queues_changed = false;
            self.serve_queues(now);
        }
    }

    fn on_sip(&mut self, now: Now, key: CallKey, event: CallEvent) {
        if let CallEvent::Incoming(incoming) = event {
            self.incoming(now, key, *incoming);
            return;
        }
        // A leg that was given up may still speak once: nobody listens.
        let Some(id) = self.by_line.get(&Line::Sip(key)).copied() else { return };
        self.with(now, id, |switch, call| {
            if call.is_customer(Line::Sip(key)) {
                switch.on_customer(now, call, event);
            } else if call.supervisors.iter().any(|s| s.leg.line == Line::Sip(key)) {
                switch.on_supervisor(now, call, key, event);
            } else if Self::is_beside(call, Line::Sip(key)) {
                switch.on_beside(now, call, key, event);
            } else {
                switch.on_other(now, call, key, event);
            }
        });
    }

    fn on_deadline(&mut self, now: Now, call: &mut Call) {
        if call.forget_at.is_some_and(|at| at <= now.mono) {
            self.close_for_good(now, call);
            return;
        }
        if call.ring_until.is_some_and(|at| at <= now.mono) {
            let reason = Some("nobody answered for [sip] ring_timeout".to_owned());
            self.end_call(now, call, EndedBy::Ark, EndCause::NoAnswer, None, reason);
            return;
        }
        if call.other.as_ref().is_some_and(|o| o.leg.stage == Stage::Ringing && o.ring_until <= now.mono) {
            self.other_did_not_answer(now, call);
        }
        self.transfer_due(now, call);
        self.supervisors_due(now, call);
        if call.waiting.as_ref().is_some_and(|w| w.next_position <= now.mono) {
            self.tell_position(now, call);
        }
        if call.run.as_ref().and_then(|run| run.deadline()).is_some_and(|at| at <= now.mono) {
            call.heard.push_back(Heard::Clock);
        }
    }
}

pub(super) fn unix_ms(now: Now) -> u64 {
    u64::try_from(now.wall.as_millisecond()).unwrap_or(0)
}

/// Whole milliseconds from `since` to `until`, for events.
pub(super) fn ms(since: Instant, until: Instant) -> u64 {
    u64::try_from(until.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX)
}
