//! The whole voice side in virtual time: phones are SIP endpoints of our own, the media engine is a double that plays,
//! bridges and records as the real one does, and nothing sleeps.

mod browsers;
mod callback;
mod faults;
mod hotline;
mod people;
mod queues;
mod speech;
mod supervisors;
mod transfer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::{Event as LogEvent, NewEvent, Tenant};
use ark_dialplans::{Now, Piece, Plan};
use ark_media::codec::CodecRef;
use ark_media::dtmf::Digit;
use ark_media::prompt::EncodedPrompt;
use ark_media::record::{Layout, Side};
use ark_media::sdp::{Direction, Local, Negotiated, Negotiator};
use ark_sip::ua::{CallEvent, CallKey, Config, Endpoint, Flow, MAX_FORWARDS, Outgoing, Output as SipOutput, Party};
use ark_sip::wire;

use super::queue::{QueueConfig, Queues};
use super::site::{Hotline, LivePlan, Site, Sounds};
use super::switch::{Output, Switch, SwitchConfig};
use super::web::{FromWeb, ToWeb};
use crate::media::{
    Command, Event, Full, Leg, LegId, MediaPort, Pipe, PipeEnd, PlayEnd, RecordAs, RecordEnd, RecordOf, Road, RoomPart,
};

pub(super) const ARK: &str = "10.0.0.1:5060";
pub(super) const CHEN: &str = "10.0.0.2:5060";
pub(super) const ANNA: &str = "10.0.0.3:5060";
pub(super) const BEN: &str = "10.0.0.4:5060";

/// Every prompt lasts this long here.
pub(super) const PROMPT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct FakeLeg {
    negotiated: Option<Negotiated>,
    playing: Option<(u64, Instant, bool)>,
    began: Option<Instant>,
    bridged: Option<LegId>,
    recordings: Vec<(RecordOf, std::path::PathBuf, Instant, Option<Duration>)>,
    keys_sent: Vec<Digit>,
    /// Its part in a room; a bridge is one too, in which both speak.
    part: Option<RoomPart>,
    pub(super) muted: bool,
    record_paused: bool,
    recorded_in: Option<(LegId, Side)>,
}

/// The media engine's double.
#[derive(Default)]
pub(super) struct FakeMedia {
    now: Option<Instant>,
    next: u64,
    legs: BTreeMap<LegId, FakeLeg>,
    events: Vec<Event>,
    /// The legs' ends of browsers' packets.
    pipes: Vec<PipeEnd>,
    pub(super) full: bool,
    /// Whoever wants something of this leg finds a fault: the next so many commands panic.
    pub(super) faults: Option<(LegId, u32)>,
    /// The address that RTP is bound to; none: every address.
    pub(super) bound: Option<Ipv4Addr>,
}

impl FakeMedia {
    fn now(&self) -> Instant {
        self.now.expect("the rig sets the time before it does anything")
    }

    fn finish(&mut self, leg: LegId, cause: PlayEnd) {
        let now = self.now();
        let Some(state) = self.legs.get_mut(&leg) else { return };
        if let Some((id, _, _)) = state.playing.take() {
            let heard = state.began.take().map(|at| now - at).unwrap_or_default();
            self.events.push(Event::PlayFinished { leg, id, heard, cause });
        }
    }

    fn end_recording(&mut self, leg: LegId, of: RecordOf, cause: RecordEnd) {
        let now = self.now();
        let Some(state) = self.legs.get_mut(&leg) else { return };
        if let Some(at) = state.recordings.iter().position(|(kind, ..)| *kind == of) {
            let (_, path, began, _) = state.recordings.remove(at);
            self.events.push(Event::Recorded { leg, path, duration: now - began, bytes: 44, cause });
        }
    }

    fn unbridge(&mut self, leg: LegId) {
        if let Some(state) = self.legs.get_mut(&leg) {
            state.part = None;
        }
        let other = self.legs.get_mut(&leg).and_then(|l| l.bridged.take());
        if let Some(other) = other.and_then(|o| self.legs.get_mut(&o)) {
            other.bridged = None;
        }
    }

    fn join(&mut self, leg: LegId, with: LegId, part: RoomPart) {
        let pair = self.legs.get(&with).and_then(|host| host.bridged);
        for speaker in std::iter::once(with).chain(pair) {
            self.legs.get_mut(&speaker).unwrap().part.get_or_insert(RoomPart::Speaks);
        }
        self.legs.get_mut(&leg).unwrap().part = Some(part);
    }

    fn deadline(&self) -> Option<Instant> {
        let plays = self.legs.values().filter_map(|l| l.playing).filter(|(_, _, repeat)| !repeat).map(|(_, at, _)| at);
        let records =
            self.legs.values().flat_map(|l| &l.recordings).filter_map(|(.., at, limit)| limit.map(|l| *at + l));
        plays.chain(records).min()
    }

    fn tick(&mut self) {
        let now = self.now();
        let over: Vec<LegId> = self
            .legs
            .iter()
            .filter(|(_, l)| l.playing.is_some_and(|(_, at, repeat)| !repeat && at <= now))
            .map(|(id, _)| *id)
            .collect();
        for leg in over {
            self.finish(leg, PlayEnd::End);
        }
        let full: Vec<(LegId, RecordOf)> = self
            .legs
            .iter()
            .flat_map(|(id, l)| l.recordings.iter().map(move |recording| (*id, recording)))
            .filter(|(_, (.., at, limit))| limit.is_some_and(|l| *at + l <= now))
            .map(|(id, (of, ..))| (id, *of))
            .collect();
        for (leg, of) in full {
            self.end_recording(leg, of, RecordEnd::Limit);
        }
    }
}

#[derive(Clone, Default)]
pub(super) struct Port(pub(super) Rc<RefCell<FakeMedia>>);

impl MediaPort for Port {
    fn reserve(&self) -> Result<Leg, Full> {
        let mut media = self.0.borrow_mut();
        if media.full {
            return Err(Full::Ports);
        }
        media.next += 1;
        let id = LegId(media.next);
        let port = 20_000 + u16::try_from(media.next).unwrap() * 2;
        media.legs.insert(id, FakeLeg::default());
        let ip = media.bound.unwrap_or(Ipv4Addr::UNSPECIFIED);
        Ok(Leg { id, rtp: (ip, port).into(), rtcp: (ip, port + 1).into() })
    }

    fn reserve_pipe(&self) -> Result<(LegId, Pipe), Full> {
        let mut media = self.0.borrow_mut();
        if media.full {
            return Err(Full::Pipes);
        }
        media.next += 1;
        let id = LegId(media.next);
        media.legs.insert(id, FakeLeg::default());
        let (carrier, end) = crate::media::pipe();
        media.pipes.push(end);
        Ok((id, carrier))
    }

    fn command(&self, leg: LegId, command: Command) -> Result<(), Full> {
        let mut media = self.0.borrow_mut();
        if let Some((faulty, left)) = &mut media.faults
            && *faulty == leg
            && *left > 0
        {
            *left -= 1;
            panic!("a fault that the test made");
        }
        let now = media.now();
        if !media.legs.contains_key(&leg) {
            return Ok(());
        }
        match command {
            Command::Start { negotiated, .. } | Command::Update { negotiated } => {
                media.legs.get_mut(&leg).unwrap().negotiated = Some(negotiated);
            }
            Command::Play { id, items, repeat, .. } => {
                media.finish(leg, PlayEnd::Stopped);
                let length: Duration = items.iter().map(|i| i.duration()).sum();
                let state = media.legs.get_mut(&leg).unwrap();
                state.playing = Some((id, now + length, repeat));
                state.began = Some(now);
            }
            Command::StopPlay { id } => {
                if media.legs[&leg].playing.is_some_and(|(playing, _, _)| playing == id) {
                    media.finish(leg, PlayEnd::Stopped);
                }
            }
            Command::Bridge { other } => {
                media.finish(leg, PlayEnd::Stopped);
                media.finish(other, PlayEnd::Stopped);
                media.unbridge(leg);
                media.unbridge(other);
                media.legs.get_mut(&leg).unwrap().bridged = Some(other);
                media.legs.get_mut(&other).unwrap().bridged = Some(leg);
            }
            Command::Unbridge => media.unbridge(leg),
            Command::Join { with, part } => media.join(leg, with, part),
            Command::Mute { muted } => media.legs.get_mut(&leg).unwrap().muted = muted,
            Command::RecordPause { paused } => media.legs.get_mut(&leg).unwrap().record_paused = paused,
            Command::RecordStart { of, path, limit, .. } => {
                media.end_recording(leg, of, RecordEnd::Stopped);
                media.legs.get_mut(&leg).unwrap().recordings.push((of, path, now, limit));
            }
            // What is said to who reads along tells the same.
            Command::Listen { .. } => {}
            Command::RecordInto { of, side } => media.legs.get_mut(&leg).unwrap().recorded_in = Some((of, side)),
            Command::RecordStop { of } => media.end_recording(leg, of, RecordEnd::Stopped),
            Command::InfoDigit { digit } => {
                media.finish(leg, PlayEnd::Barge(digit));
                media.events.push(Event::Digit { leg, digit, road: Road::Info, at: now });
            }
            Command::SendDtmf { digit, .. } => media.legs.get_mut(&leg).unwrap().keys_sent.push(digit),
            Command::Close => {
                media.finish(leg, PlayEnd::Closed);
                for of in RecordOf::ALL {
                    media.end_recording(leg, of, RecordEnd::Closed);
                }
                media.unbridge(leg);
                media.legs.remove(&leg);
                media.events.push(Event::Closed { leg, quality: ark_media::quality::Quality::default() });
            }
        }
        Ok(())
    }
}

struct Tones;

impl Tones {
    fn of(length: Duration, codec: CodecRef) -> Arc<EncodedPrompt> {
        EncodedPrompt::silence(length, codec, Duration::from_millis(20))
    }
}

impl Sounds for Tones {
    fn piece(&self, piece: &Piece, codec: CodecRef) -> Option<Arc<EncodedPrompt>> {
        let length = match piece {
            Piece::Pause(pause) => *pause,
            Piece::Word { .. } => Duration::from_millis(300),
            Piece::Text { .. } => PROMPT,
        };
        Some(Self::of(length, codec))
    }
    fn ringback(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        Self::of(Duration::from_secs(5), codec)
    }
    fn music(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        Self::of(Duration::from_secs(10), codec)
    }
    fn beep(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        Self::of(Duration::from_millis(400), codec)
    }
    fn error_tone(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        Self::of(Duration::from_millis(400), codec)
    }
}

/// A phone: an endpoint of our own at an address, and what it heard of its calls.
pub(super) struct Phone {
    pub(super) address: SocketAddr,
    endpoint: Endpoint,
    pub(super) events: Vec<(CallKey, CallEvent)>,
    sdp: Negotiator,
    pub(super) agreed: Option<Negotiated>,
    /// What it would answer to the call that rings.
    last_answer: Option<Vec<u8>>,
    /// Answers calls by itself.
    pub(super) answers: bool,
}

impl Phone {
    fn new(address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let secret =
            [u8::try_from(address.port() % 251).unwrap() ^ address.to_string().bytes().fold(0, u8::wrapping_add); 32];
        let config = Config { secret, user_agent: "phone".to_owned(), ..Config::default() };
        let local = Local::new(SocketAddr::new(address.ip(), 40_000), 7);
        Self {
            address,
            endpoint: Endpoint::new(config, 7),
            events: Vec::new(),
            sdp: Negotiator::new(local),
            agreed: None,
            last_answer: None,
            answers: true,
        }
    }

    fn flow(&self) -> Flow {
        Flow::udp(self.address, ARK.parse().unwrap())
    }

    pub(super) fn last_call(&self) -> CallKey {
        self.events.last().expect("the phone has a call").0
    }

    pub(super) fn heard(&self, wanted: impl Fn(&CallEvent) -> bool) -> bool {
        self.events.iter().any(|(_, event)| wanted(event))
    }
}

/// Ark and some phones on a wire without loss.
pub(super) struct Rig {
    pub(super) now: Now,
    pub(super) switch: Switch<Port>,
    pub(super) media: Port,
    pub(super) phones: Vec<Phone>,
    pub(super) log: Vec<NewEvent>,
    web: Vec<ToWeb>,
    wire: Vec<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
    /// What was said to who reads along.
    pub(super) orders: Vec<crate::speech::Order>,
}

const LATENCY: Duration = Duration::from_millis(5);

impl Rig {
    /// A site with one hotline, 95188, on the plan of this text; `operators` answer the queue `general`.
    pub(super) fn new(plan: &str, operators: &[&str]) -> Self {
        let queue = QueueConfig {
            name: "general".to_owned(),
            operators: operators
                .iter()
                .map(|to| if to.starts_with("web:") { (*to).to_owned() } else { format!("sip:op@{to}") })
                .collect(),
            ring: Duration::from_secs(15),
        };
        Self::with(plan, Queues::new(&[queue]))
    }

    /// The same with these queues.
    pub(super) fn with(plan: &str, queues: Queues) -> Self {
        let plan = Plan::parse(plan, "test.toml").unwrap_or_else(|found| panic!("{found:?}"));
        let live = Arc::new(LivePlan { plan: Arc::new(plan), version: 1, sounds: Arc::new(Tones) });
        let mut site = Site::default();
        site.set_hotlines(vec![("95188".to_owned(), Hotline { live, record: false })]);
        let config = SwitchConfig {
            tenant: Tenant::default(),
            gateway: "gw1".to_owned(),
            process: "gw1/1".to_owned(),
            shards: None,
            advertise: None,
            codecs: Vec::new(),
            codec_order: Default::default(),
            comfort_noise: false,
            udp: vec![ARK.parse().unwrap()],
            tcp: Vec::new(),
            recordings: "recordings".into(),
            consent_tone: crate::config::Recording::default().tone(),
            require_consent: false,
            announce_recording: false,
            announce_to_joiners: false,
            record_as: RecordAs { layout: Layout::Legs, ..RecordAs::default() },
            number: "95188".to_owned(),
            log: true,
            calls_max: 100,
            ring_timeout: Duration::from_secs(20),
            unread_queues: None,
        };
        let media = Port::default();
        let endpoint = Endpoint::new(Config { secret: [9; 32], ..Config::default() }, 1);
        let switch = Switch::new(config, site, queues, endpoint, media.clone(), [1; 32]);
        let phones = [CHEN, ANNA, BEN].iter().map(|address| Phone::new(address)).collect();
        let now = Now { mono: start(), wall: "2026-11-24T02:00:00Z".parse().unwrap() };
        media.0.borrow_mut().now = Some(now.mono);
        Self { now, switch, media, phones, log: Vec::new(), web: Vec::new(), wire: Vec::new(), orders: Vec::new() }
    }

    pub(super) fn phone(&mut self, address: &str) -> &mut Phone {
        let address: SocketAddr = address.parse().unwrap();
        self.phones.iter_mut().find(|p| p.address == address).expect("this phone exists")
    }

    /// Calls 95188 from a phone.
    pub(super) fn call(&mut self, from: &str) -> CallKey {
        self.call_to(from, "95188", true)
    }

    pub(super) fn call_to(&mut self, from: &str, number: &str, offer: bool) -> CallKey {
        let sdp = offer.then(|| self.phone(from).sdp.offer(Direction::SendRecv));
        self.call_with(from, number, sdp)
    }

    /// Calls 95188 from a phone that knows no telephone-events.
    pub(super) fn call_without_events(&mut self, from: &str) -> CallKey {
        let offer = String::from_utf8(self.phone(from).sdp.offer(Direction::SendRecv)).unwrap();
        let without: String = offer
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("a=rtpmap:101") && !line.starts_with("a=fmtp:101"))
            .map(|line| if line.starts_with("m=audio") { line.replace(" 101", "") } else { line.to_owned() })
            .collect();
        self.call_with(from, "95188", Some(without.into_bytes()))
    }

    fn call_with(&mut self, from: &str, number: &str, sdp: Option<Vec<u8>>) -> CallKey {
        let now = self.now.mono;
        let phone = self.phone(from);
        let outgoing = Outgoing {
            flow: phone.flow(),
            target: format!("sip:{number}@{ARK}"),
            from: Party { uri: format!("sip:13800138000@{from}"), display: Some("Chen".to_owned()) },
            to: Party { uri: format!("sip:{number}@{ARK}"), display: None },
            sdp,
            credentials: None,
            headers: Vec::new(),
            max_forwards: MAX_FORWARDS,
        };
        let key = phone.endpoint.place(now, outgoing).unwrap();
        self.settle();
        key
    }

    pub(super) fn hang_up(&mut self, phone: &str, key: CallKey) {
        let now = self.now.mono;
        self.phone(phone).endpoint.hangup(now, key, None);
        self.settle();
    }

    /// Hangs up whatever call this phone had last; it may be over, or still ring.
    pub(super) fn hang_up_last(&mut self, phone: &str) {
        if let Some(key) = self.phone(phone).events.last().map(|(key, _)| *key) {
            self.hang_up(phone, key);
        }
    }

    /// Answers a call that rings.
    pub(super) fn answer(&mut self, phone: &str, key: CallKey) {
        let now = self.now.mono;
        let phone = self.phone(phone);
        let body = phone.last_answer.clone().expect("it rings");
        phone.endpoint.answer(now, key, body);
        self.settle();
    }

    /// Whether somebody talks with this phone, or something is played to it.
    pub(super) fn is_cared_for(&self, phone: &str) -> bool {
        let leg = self.leg_of(phone);
        let media = self.media.0.borrow();
        let up = |other: &LegId| media.legs.contains_key(other);
        media.legs.get(&leg).is_some_and(|l| l.playing.is_some() || l.bridged.as_ref().is_some_and(up))
    }

    pub(super) fn reject(&mut self, phone: &str, key: CallKey, status: u16) {
        let now = self.now.mono;
        self.phone(phone).endpoint.reject(now, key, status, "No", &[]);
        self.settle();
    }

    pub(super) fn reoffer(&mut self, phone: &str, key: CallKey, direction: Direction) {
        let now = self.now.mono;
        let phone = self.phone(phone);
        let sdp = phone.sdp.offer(direction);
        phone.endpoint.reoffer(now, key, sdp);
        self.settle();
    }

    /// A key on the leg that talks to this phone.
    pub(super) fn press(&mut self, phone: &str, key: char) {
        let leg = self.leg_of(phone);
        let digit = Digit::from_char(key).unwrap();
        let now = self.now.mono;
        {
            let mut media = self.media.0.borrow_mut();
            media.finish(leg, PlayEnd::Barge(digit));
            media.events.push(Event::Digit { leg, digit, road: Road::Rtp, at: now });
        }
        self.settle();
    }

    /// Something is heard of the caller at this phone.
    pub(super) fn heard(&mut self, phone: &str, heard: &crate::speech::Heard) {
        let (leg, now) = (self.leg_of(phone), self.now);
        self.switch.heard(now, leg, heard);
        self.settle();
    }

    /// Who reads along is there from now on, and reads no call that comes by these queues.
    pub(super) fn read_along(&mut self, unread: &[&str]) {
        self.switch.config.unread_queues = Some(unread.iter().map(|queue| (*queue).to_owned()).collect());
    }

    /// A browser's signalling says something.
    pub(super) fn web(&mut self, said: FromWeb) {
        let now = self.now;
        self.switch.web(now, said);
        self.settle();
    }

    /// What was said to browsers since the last look.
    pub(super) fn told_web(&mut self) -> Vec<ToWeb> {
        std::mem::take(&mut self.web)
    }

    pub(super) fn info(&mut self, phone: &str, key: CallKey, body: &str) {
        let now = self.now.mono;
        let body = body.as_bytes().to_vec();
        self.phone(phone).endpoint.send_info(now, key, "application/dtmf-relay", body);
        self.settle();
    }

    pub(super) fn rtp_stops(&mut self, phone: &str) {
        let leg = self.leg_of(phone);
        self.media.0.borrow_mut().events.push(Event::RtpTimeout { leg });
        self.settle();
    }

    pub(super) fn leg_of(&self, phone: &str) -> LegId {
        let ip = phone.parse::<SocketAddr>().unwrap().ip();
        let media = self.media.0.borrow();
        let legs = media.legs.iter();
        let found = legs
            .filter(|(_, l)| l.negotiated.as_ref().is_some_and(|n| n.remote.ip() == ip))
            .map(|(id, _)| *id)
            .next_back();
        found.expect("a media leg goes to this phone")
    }

    /// The keys that were sent to this phone as telephone-events.
    pub(super) fn keys_sent_to(&self, phone: &str) -> String {
        let leg = self.leg_of(phone);
        self.media.0.borrow().legs[&leg].keys_sent.iter().map(|digit| digit.as_char()).collect()
    }

    /// Whether the two phones' legs are bridged.
    pub(super) fn bridged(&self, a: &str, b: &str) -> bool {
        let (a, b) = (self.leg_of(a), self.leg_of(b));
        self.media.0.borrow().legs.get(&a).is_some_and(|l| l.bridged == Some(b))
    }

    /// What this phone's leg does in a room.
    pub(super) fn part(&self, phone: &str) -> Option<RoomPart> {
        let leg = self.leg_of(phone);
        self.media.0.borrow().legs.get(&leg).and_then(|l| l.part)
    }

    /// Whether this phone is muted, and whether its recording is paused.
    pub(super) fn hushed(&self, phone: &str) -> (bool, bool) {
        let leg = self.leg_of(phone);
        self.media.0.borrow().legs.get(&leg).map_or((false, false), |l| (l.muted, l.record_paused))
    }

    /// The hotline records its calls, and callers are told.
    pub(super) fn record_calls_and_say_so(&mut self) {
        self.switch.config.announce_recording = true;
        for hotline in self.switch.site.hotlines.values_mut() {
            hotline.record = true;
        }
    }

    /// In whose recording this phone's voice is kept, too.
    pub(super) fn recorded_in(&self, phone: &str) -> Option<(LegId, Side)> {
        let leg = self.leg_of(phone);
        self.media.0.borrow().legs.get(&leg).and_then(|l| l.recorded_in)
    }

    /// Whether something is played to this phone.
    pub(super) fn hears(&self, phone: &str) -> bool {
        let leg = self.leg_of(phone);
        self.media.0.borrow().legs.get(&leg).is_some_and(|l| l.playing.is_some())
    }

    pub(super) fn legs(&self) -> usize {
        self.media.0.borrow().legs.len()
    }

    /// Lets time pass.
    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.now.mono + time;
        loop {
            self.settle();
            let next = self.next_event().filter(|at| *at <= until);
            self.go_to(next.unwrap_or(until).max(self.now.mono));
            if next.is_none() {
                self.settle();
                return;
            }
        }
    }

    /// Lets time pass until `done`, at most five minutes.
    pub(super) fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = self.now.mono + Duration::from_secs(300);
        self.settle();
        while !done(self) {
            let next = self.next_event().filter(|at| *at <= until);
            let Some(next) = next else { panic!("never: {what}\n{}", self.story()) };
            self.go_to(next.max(self.now.mono));
            self.settle();
        }
    }

    pub(super) fn logged(&self, name: &str) -> usize {
        self.log.iter().filter(|e| e.event.type_name() == format!("ark.{name}.v1")).count()
    }

    pub(super) fn events<T>(&self, pick: impl Fn(&LogEvent) -> Option<T>) -> Vec<T> {
        self.log.iter().filter_map(|e| pick(&e.event.event)).collect()
    }

    pub(super) fn states(&self) -> Vec<String> {
        self.events(|e| if let LogEvent::IvrEntered(e) = e { Some(e.state.clone()) } else { None })
    }

    /// The log, a line an event: what a failed test prints.
    pub(super) fn story(&self) -> String {
        let line = |e: &NewEvent| format!("{} {}", e.event.type_name(), serde_json::to_string(&e.event.event).unwrap());
        self.log.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn next_event(&self) -> Option<Instant> {
        let wire = self.wire.iter().map(|(at, ..)| *at).min();
        let phones = self.phones.iter().filter_map(|p| p.endpoint.deadline()).min();
        let media = self.media.0.borrow().deadline();
        [wire, phones, media, self.switch.deadline(self.now.mono)].into_iter().flatten().min()
    }

    fn go_to(&mut self, at: Instant) {
        let passed = at - self.now.mono;
        self.now = Now { mono: at, wall: self.now.wall.checked_add(passed).unwrap() };
        self.media.0.borrow_mut().now = Some(at);
        self.media.0.borrow_mut().tick();
        for phone in &mut self.phones {
            if phone.endpoint.deadline().is_some_and(|d| d <= at) {
                phone.endpoint.tick(at);
            }
        }
        self.switch.tick(self.now);
    }

    /// Everything that can happen without time passing.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(output) = self.switch.poll() {
                moved = true;
                match output {
                    Output::Send { flow, bytes } => {
                        self.wire.push((self.now.mono + LATENCY, flow.local, flow.remote, bytes));
                    }
                    Output::Log(event) => self.log.push(*event),
                    Output::Web(said) => self.web.push(said),
                    Output::Speech(order) => self.orders.push(order),
                    Output::Http(_) | Output::Link(_) => {}
                }
            }
            let due: Vec<_> = self.wire.extract_if(.., |(at, ..)| *at <= self.now.mono).collect();
            for (_, from, to, bytes) in due {
                moved = true;
                let message = wire::parse_datagram(&bytes);
                if to == ARK.parse::<SocketAddr>().unwrap() {
                    self.switch.receive(self.now, Flow::udp(to, from), message);
                } else if let Some(phone) = self.phones.iter_mut().find(|p| p.address == to) {
                    phone.endpoint.receive(self.now.mono, Flow::udp(to, from), message);
                }
            }
            let events = std::mem::take(&mut self.media.0.borrow_mut().events);
            for event in events {
                moved = true;
                self.switch.media(self.now, event);
            }
            for phone in &mut self.phones {
                moved |= drain(phone, self.now.mono, &mut self.wire);
            }
            if !moved {
                return;
            }
        }
    }
}

fn drain(phone: &mut Phone, now: Instant, wire: &mut Vec<(Instant, SocketAddr, SocketAddr, Vec<u8>)>) -> bool {
    let mut moved = false;
    while let Some(output) = phone.endpoint.poll() {
        moved = true;
        match output {
            SipOutput::Send { flow, bytes } => wire.push((now + LATENCY, flow.local, flow.remote, bytes)),
            SipOutput::Call { key, event } => {
                match &event {
                    CallEvent::Incoming(incoming) => {
                        phone.endpoint.ring(now, key, 180, None);
                        let (body, agreed) = phone.sdp.answer(incoming.sdp.as_ref().unwrap()).unwrap();
                        phone.agreed = Some(agreed);
                        phone.last_answer = Some(body.clone());
                        if phone.answers {
                            phone.endpoint.answer(now, key, body);
                        }
                    }
                    CallEvent::Answered { sdp: Some(sdp) } => phone.agreed = phone.sdp.accept_answer(sdp).ok(),
                    CallEvent::Reanswered { sdp: Ok(sdp) } => phone.agreed = phone.sdp.accept_answer(sdp).ok(),
                    _ => {}
                }
                phone.events.push((key, event));
            }
        }
    }
    moved
}

fn start() -> Instant {
    Instant::now()
}
