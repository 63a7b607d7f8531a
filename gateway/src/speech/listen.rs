//! The thread that listens: packets in, finals to the log.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ark_conversation::event::{TranscriptFinal, TranscriptMissing, TranscriptSegment, TranscriptTrouble};
use ark_conversation::{
    CloudEvent, Content, ConversationId, Event, EventId, LegId as LegNumber, Live, LiveTranscript, NewEvent,
};
use ark_transcribe::endpoint::Endpointing;
use ark_transcribe::lane::{Lane, Packet};
use ark_transcribe::limits::{FRAME_SAMPLES, RATE_HZ, WORDS_MAX};
use ark_transcribe::mask::Masks;
use ark_transcribe::schedule::{Budget, Job, Level, Scheduler, Spared};
use ark_transcribe::stream::{Feed, Stream, StreamConfig};
use ark_transcribe::{EngineError, Language, SpeechEvent};
use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::engines::{self, Made, Server};
use super::later::{Later, Left};
use super::limits::{
    ANSWERS, CONNECTIONS_MAX, COUNTED_MAX, FEED, LAST_WORDS_MAX, LEFT_OUT_TOLD, LEGS_MAX, PARTIAL_EVERY,
    RECORDINGS_MAX, STOP_MAX, TICK,
};
use super::socket::{self, FromServer, Talk, ToServer};
use super::status::{Health, Status};
use super::workers::{self, Said};
use super::{Ask, Heard, Hearers, LegInfo, Order, models};
use crate::config::{Speech as Settings, SpeechEngine};
use crate::conversations::LogSink;
use crate::media::{LegId, TapPacket};

/// What the thread is made of.
pub(super) struct Parts {
    pub(super) config: Settings,
    pub(super) packets: Receiver<TapPacket>,
    pub(super) orders: Receiver<Order>,
    pub(super) stopped: Receiver<()>,
    pub(super) status: Arc<Status>,
    pub(super) engine: Made,
    pub(super) log: LogSink,
    pub(super) hearers: Arc<dyn Hearers>,
    pub(super) runtime: tokio::runtime::Handle,
    /// Where it is kept what is left for after calls.
    pub(super) later: std::path::PathBuf,
}

/// A leg that is listened to.
struct Listening {
    info: LegInfo,
    lane: Lane,
    stream: Stream,
    /// When each voice was heard to end: utterance and time.
    ended: Vec<(u32, Instant)>,
    /// The utterance whose first partial was seen, and when the last one was shown.
    shown: (u32, Option<Instant>),
    /// The utterance that goes on is fed here.
    feed: Option<(u32, mpsc::Sender<ToServer>)>,
    /// What is expected.
    ask: Ask,
    /// Utterances that belong to a plan alone.
    secret: Vec<u32>,
    /// It has ended, and waits for its last answers until then.
    closing: Option<Instant>,
}

/// A recording that runs, for the places of utterances in it.
struct Recording {
    name: String,
    began: Instant,
}

struct Listener {
    settings: Settings,
    stream: StreamConfig,
    endpointing: Endpointing,
    /// What is said leaves this machine's own programs.
    outside: bool,
    test_double: bool,
    status: Arc<Status>,
    log: LogSink,
    hearers: Arc<dyn Hearers>,
    runtime: tokio::runtime::Handle,
    legs: HashMap<LegId, Listening>,
    recordings: HashMap<ConversationId, Recording>,
    scheduler: Scheduler,
    level: Level,
    /// Packets that were left out so far, and when some were last: nobody took them in time.
    left_out: (u64, Option<Instant>),
    /// Whether it was said that packets are left out.
    deaf: bool,
    /// Threads that compute; none: a server is fed.
    jobs: Option<Sender<Job>>,
    server: Option<Arc<Server>>,
    said_by_server: Sender<FromServer>,
    connections: usize,
    engine: String,
    later: Later,
    /// The last utterance of legs that are not listened to now.
    counted: VecDeque<((ConversationId, LegNumber), u32)>,
}

/// Listens until it is told to stop.
pub(super) fn run(parts: Parts) {
    let (to_server, from_server) = bounded(ANSWERS);
    let Parts { packets, orders, stopped, .. } = &parts;
    let (packets, orders, stopped) = (packets.clone(), orders.clone(), stopped.clone());
    let Some((mut listener, said)) = Listener::new(parts, to_server) else { return };
    let mut tick = Instant::now() + TICK;
    let mut stop_at: Option<Instant> = None;
    let mut stopped = stopped;
    loop {
        select! {
            recv(packets) -> packet => if let Ok(packet) = packet { listener.packet(&packet) },
            recv(orders) -> order => if let Ok(order) = order { listener.order(order) },
            recv(said) -> said => if let Ok(said) = said { listener.said(said) },
            recv(from_server) -> said => if let Ok(said) = said { listener.server_said(said) },
            recv(stopped) -> _ => {
                stop_at = Some(Instant::now() + STOP_MAX);
                stopped = never();
                listener.end_all();
            }
            default(tick.saturating_duration_since(Instant::now())) => {}
        }
        let now = Instant::now();
        if now >= tick {
            listener.tick(now);
            tick = (tick + TICK).max(now);
        }
        if stop_at.is_some_and(|at| now >= at || listener.is_idle()) {
            listener.later.save(now, true);
            return;
        }
    }
}

/// The settings of `[speech]` for a stream whose engine reads whole utterances.
#[must_use]
pub fn settled(settings: &Settings) -> StreamConfig {
    stream_config(settings, false)
}

fn stream_config(settings: &Settings, fed: bool) -> StreamConfig {
    let mut longest = settings.longest.0;
    if models::is_test_double(settings) {
        // It was trained on no longer ones.
        longest = longest.min(Duration::from_secs(9));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a score")]
    let endpointing = Endpointing {
        pre_roll: settings.pre_roll.0,
        hangover: settings.pause.0,
        longest,
        threshold: settings.threshold as f32,
    }
    .bounded();
    let masks = Masks::new(settings.mask_numbers, settings.mask_profanity, &settings.mask_words);
    let language = settings.language.into();
    let (words, masks) = (engines::words(settings), Arc::new(masks));
    StreamConfig { endpointing, language, words, masks, partials: settings.partials, fed }
}

impl Listener {
    fn new(parts: Parts, said_by_server: Sender<FromServer>) -> Option<(Self, Receiver<Said>)> {
        let Parts { config: settings, status, engine, log, hearers, runtime, later, .. } = parts;
        let fed = matches!(engine, Made::Server(_));
        let stream = stream_config(&settings, fed);
        let budget = Budget { cores: settings.cores, longest: stream.endpointing.longest, ..Budget::default() };
        let (said, answers) = bounded(ANSWERS);
        let (jobs, server, threads) = match engine {
            Made::Server(server) => (None, Some(Arc::new(server)), 0),
            Made::Threads { make, threads } => {
                let threads = threads.unwrap_or_else(|| budget.threads());
                let (sender, receiver) = bounded(threads.max(1) * 2);
                for _ in 0..threads {
                    if let Err(error) = workers::start(Arc::clone(&make), receiver.clone(), said.clone()) {
                        status.set_health(Health::Broken { why: format!("no thread can be started: {error}") });
                        return None;
                    }
                }
                (Some(sender), None, threads)
            }
        };
        // Threads that ask somebody and wait spend none of the budget.
        let waits = threads > budget.threads();
        let budget = if waits { Budget { cores: threads as f64, ..budget } } else { budget };
        if let Some(server) = &server {
            status.set_health(Health::Well);
            tracing::info!(server = %server.url, "what is said will be read by a server");
        }
        let name = server.as_ref().map_or_else(|| settings.engine.as_str().to_owned(), |server| server.name.clone());
        let listener = Self {
            endpointing: stream.endpointing,
            outside: !matches!(settings.engine, SpeechEngine::Whisper | SpeechEngine::Exec),
            test_double: models::is_test_double(&settings),
            stream,
            status,
            log,
            hearers,
            runtime,
            legs: HashMap::new(),
            recordings: HashMap::new(),
            scheduler: Scheduler::new(Instant::now(), budget),
            level: Level::All,
            left_out: (0, None),
            deaf: false,
            jobs,
            server,
            said_by_server,
            connections: 0,
            engine: name,
            later: Later::open(later, Instant::now()),
            counted: VecDeque::new(),
            settings,
        };
        Some((listener, answers))
    }

    fn packet(&mut self, packet: &TapPacket) {
        if let Some(leg) = self.legs.get_mut(&packet.leg).filter(|leg| leg.closing.is_none()) {
            let TapPacket { codec, ssrc, timestamp, .. } = *packet;
            leg.lane.push(packet.at, &Packet { codec, ssrc, timestamp, payload: packet.payload() });
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Begin(info) => self.begin(*info),
            Order::Ask { leg, ask } => self.ask(leg, *ask),
            Order::End { leg } => self.end(leg),
            Order::Recording { conversation, began, name, path, legs } => {
                if self.recordings.len() < RECORDINGS_MAX {
                    self.recordings.insert(conversation, Recording { name: name.clone(), began });
                }
                self.later.recording(conversation, name, path, began, legs);
            }
            Order::Recorded { conversation, name } => {
                self.recordings.remove(&conversation);
                self.later.recorded(conversation, &name);
            }
        }
    }

    fn begin(&mut self, info: LegInfo) {
        let (now, zero, place) = (Instant::now(), info.zero, (info.conversation, info.number));
        // Held and taken up again: what is still being read of it comes all the same, and its utterances count on.
        if let Some(leg) = self.legs.get_mut(&info.leg) {
            leg.lane = Lane::new(zero, now);
            leg.closing = None;
            let (id, ask) = (info.leg, info.ask.clone());
            leg.info = info;
            return self.ask(id, ask);
        }
        if self.legs.len() >= LEGS_MAX {
            return self.status.count(&self.status.orders_lost);
        }
        let Some(mut stream) = Stream::new(self.stream.clone(), RATE_HZ) else { return };
        if let Some((_, last)) = self.counted.iter().find(|(counted, _)| *counted == place) {
            stream.count_on_from(*last);
        }
        let lane = Lane::new(zero, now);
        let (leg, ask) = (info.leg, info.ask.clone());
        let listening = Listening {
            info,
            lane,
            stream,
            ended: Vec::new(),
            shown: (0, None),
            feed: None,
            ask: Ask::default(),
            secret: Vec::new(),
            closing: None,
        };
        self.legs.insert(leg, listening);
        self.ask(leg, ask);
        self.status.legs.store(self.legs.len() as u64, Ordering::Relaxed);
    }

    /// What is expected on a leg from now on.
    fn ask(&mut self, id: LegId, ask: Ask) {
        let endpointing = self.endpointing(&ask);
        let words = self.words(&ask);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.stream.set(endpointing, self.stream.partials);
        leg.stream.set_language(ask.language.or(self.stream.language));
        leg.stream.set_words(words);
        leg.ask = ask;
    }

    /// Where utterances end: as the plan says, else as the site says, and later while there is more than can be read.
    fn endpointing(&self, ask: &Ask) -> Endpointing {
        let mut endpointing = self.endpointing;
        if let Some((pre_roll, hangover, longest)) = ask.endpointing {
            endpointing = Endpointing { pre_roll, hangover, longest: longest.min(endpointing.longest), ..endpointing };
        }
        if self.level >= Level::Merged {
            endpointing.hangover *= 2;
        }
        endpointing.bounded()
    }

    /// The site's words, and what the plan expects to hear.
    fn words(&self, ask: &Ask) -> Arc<[String]> {
        if ask.hints.is_empty() || self.test_double {
            return Arc::clone(&self.stream.words);
        }
        self.stream.words.iter().chain(&ask.hints).take(WORDS_MAX).cloned().collect()
    }

    /// What was still on its way is read; then the leg is forgotten.
    fn end(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let now = Instant::now();
        let mut frame = [0; FRAME_SAMPLES];
        while let Some(at) = leg.lane.rest(now, &mut frame) {
            leg.stream.push(at, &frame);
        }
        leg.stream.finish();
        leg.closing.get_or_insert(now + LAST_WORDS_MAX);
        self.scheduler.close(id.0);
        self.serve(id);
    }

    fn end_all(&mut self) {
        let all: Vec<LegId> = self.legs.keys().copied().collect();
        all.into_iter().for_each(|leg| self.end(leg));
    }

    fn is_idle(&self) -> bool {
        self.legs.values().all(|leg| leg.stream.pending() == 0)
    }

    fn tick(&mut self, now: Instant) {
        let ids: Vec<LegId> = self.legs.keys().copied().collect();
        let mut frame = [0; FRAME_SAMPLES];
        for id in ids {
            let Some(leg) = self.legs.get_mut(&id) else { continue };
            if leg.closing.is_none() {
                while let Some(at) = leg.lane.frame(now, &mut frame) {
                    if self.outside && leg.ask.secret {
                        frame.fill(0);
                    }
                    leg.stream.push(at, &frame);
                }
            }
            self.serve(id);
        }
        self.scheduler.tick(now);
        self.settle_level(now);
        self.spared();
        self.dispatch(now);
        self.forget_closed(now);
        self.status.legs.store(self.legs.len() as u64, Ordering::Relaxed);
        let (finals, partials) = self.scheduler.waiting();
        self.status.set_load(
            self.scheduler.level(),
            self.scheduler.counters(),
            self.scheduler.pace(),
            finals + partials,
        );
        self.read_later(now);
    }

    /// Legs that have ended and have nothing to wait for; where their utterances ended is remembered, as they may be listened to again.
    fn forget_closed(&mut self, now: Instant) {
        let gone = |leg: &Listening| leg.closing.is_some_and(|until| leg.stream.pending() == 0 || now >= until);
        for leg in self.legs.values().filter(|leg| gone(leg) && leg.stream.counted() > 0) {
            let place = (leg.info.conversation, leg.info.number);
            self.counted.retain(|(counted, _)| *counted != place);
            if self.counted.len() >= COUNTED_MAX {
                self.counted.pop_front();
            }
            self.counted.push_back((place, leg.stream.counted()));
        }
        self.legs.retain(|_, leg| !gone(leg));
    }

    /// Streams wait longer before they end an utterance while there is more than can be read.
    fn settle_level(&mut self, now: Instant) {
        let (level, dropped) = (self.scheduler.level(), self.status.packets_dropped());
        if dropped > self.left_out.0 {
            self.left_out = (dropped, Some(now));
        }
        let deaf = self.left_out.1.is_some_and(|last| now.saturating_duration_since(last) < LEFT_OUT_TOLD);
        if (level == self.level && deaf == self.deaf) || self.jobs.is_none() {
            return;
        }
        self.deaf = deaf;
        self.level = level;
        self.stream.partials = self.settings.partials && level == Level::All;
        let asks: Vec<(LegId, Ask)> = self.legs.iter().map(|(id, leg)| (*id, leg.ask.clone())).collect();
        asks.into_iter().for_each(|(id, ask)| self.ask(id, ask));
        let why = match level {
            Level::All if deaf => "more is said than can be heard in time: parts of utterances are left out",
            Level::All => return self.status.set_health(Health::Well),
            Level::Finals => "more is said than can be read in time: partials are left out",
            Level::Merged => "more is said than can be read in time: utterances are read together",
            Level::Later => "more is said than can be read in time: utterances are left for after their calls",
        };
        self.status.set_health(Health::Degraded { why: why.to_owned() });
    }

    /// Hands on what a stream wants and says.
    fn serve(&mut self, id: LegId) {
        let now = Instant::now();
        let Some(leg) = self.legs.get_mut(&id) else { return };
        while let Some(work) = leg.stream.work() {
            self.scheduler.offer(now, id.0, work);
        }
        while let Some(feed) = self.legs.get_mut(&id).and_then(|leg| leg.stream.feed_next()) {
            self.feed(id, feed);
        }
        while let Some(event) = self.legs.get_mut(&id).and_then(|leg| leg.stream.poll()) {
            self.event(id, event, now);
        }
        self.spared();
        self.dispatch(now);
    }

    fn feed(&mut self, id: LegId, feed: Feed) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match feed {
            Feed::Begin { utterance, language } => {
                let Some(server) = &self.server else { return };
                if self.connections >= CONNECTIONS_MAX {
                    let error = EngineError::Retry("too many connections to the server are open".to_owned());
                    return leg.stream.heard(utterance, Err(error));
                }
                self.connections += 1;
                let (sender, receiver) = mpsc::channel(FEED);
                let talk = server.talk(&format!("{}-{}", leg.info.conversation, leg.info.number), language);
                let said = self.said_by_server.clone();
                self.runtime.spawn(socket::run(Arc::clone(server), (id, utterance), talk, receiver, said));
                leg.feed = Some((utterance, sender));
            }
            Feed::Audio { utterance, samples } => {
                if let Some((_, sender)) = leg.feed.as_ref().filter(|(fed, _)| *fed == utterance) {
                    // A server that takes nothing for 20 s has failed; its answer says so.
                    let _ = sender.try_send(ToServer::Audio(samples));
                }
            }
            Feed::Finish { utterance } => {
                if let Some((_, sender)) = leg.feed.take_if(|(fed, _)| *fed == utterance) {
                    // Dropping it says the same.
                    let _ = sender.try_send(ToServer::Finish);
                }
            }
        }
    }

    fn server_said(&mut self, said: FromServer) {
        let FromServer { leg: id, utterance, said } = said;
        if matches!(said, Talk::Done(_)) {
            self.connections = self.connections.saturating_sub(1);
        }
        if let Talk::Done(answer) = &said {
            self.judge(answer.as_ref().err());
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match said {
            Talk::SoFar { text, settled } => leg.stream.heard_so_far(utterance, &text, settled),
            Talk::Done(answer) => leg.stream.heard(utterance, answer),
        }
        self.serve(id);
    }

    fn said(&mut self, said: Said) {
        let now = Instant::now();
        match said {
            Said::Ready(name) => {
                self.engine = name;
                self.status.set_health(Health::Well);
            }
            Said::Cannot(error) => self.judge(Some(&error)),
            Said::Done { job, answer, took } => {
                let partial = job.work.ticket.partial;
                self.scheduler.done(now, partial, job.work.utterance.duration(), took);
                self.judge(answer.as_ref().err());
                let id = LegId(job.stream);
                if let Some(left) = self.later.take(job.stream, job.work.ticket.number) {
                    self.read_left(&left, answer);
                } else if let Some(leg) = self.legs.get_mut(&id) {
                    leg.stream.answer(job.work.ticket, answer, job.degraded);
                    self.serve(id);
                }
                self.dispatch(now);
            }
        }
    }

    /// How the engine is, by its last answer.
    fn judge(&self, error: Option<&EngineError>) {
        match error {
            None if self.level == Level::All => self.status.set_health(Health::Well),
            None => {}
            Some(error) => self.status.set_health(Health::Broken { why: error.to_string() }),
        }
    }

    fn spared(&mut self) {
        while let Some(spared) = self.scheduler.spared() {
            match spared {
                Spared::Partial { stream, ticket } => {
                    if let Some(leg) = self.legs.get_mut(&LegId(stream)) {
                        leg.stream.shed(ticket);
                    }
                }
                Spared::Merged { stream, first, second } => {
                    if let Some(leg) = self.legs.get_mut(&LegId(stream)) {
                        // What is read with something secret is secret.
                        if leg.secret.contains(&second) && !leg.secret.contains(&first) {
                            leg.secret.push(first);
                        }
                        leg.stream.merged(first, second);
                    }
                }
                Spared::Later { stream: Later::STREAM, .. } => self.later.forget_reading(),
                Spared::Later { stream, utterance, .. } => {
                    if let Some(leg) = self.legs.get_mut(&LegId(stream)) {
                        leg.stream.defer(utterance);
                    }
                }
            }
        }
    }

    fn dispatch(&mut self, now: Instant) {
        let Some(jobs) = &self.jobs else { return };
        while let Some(job) = self.scheduler.next(now) {
            // It holds more than the scheduler lets run.
            if jobs.try_send(job).is_err() {
                return;
            }
        }
    }

    fn event(&mut self, id: LegId, event: SpeechEvent, now: Instant) {
        match event {
            SpeechEvent::Started { utterance, .. } => {
                if let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.ask.secret) {
                    leg.secret.retain(|one| one + 32 > utterance);
                    leg.secret.push(utterance);
                }
                self.hearers.switch(id, Heard::Began);
            }
            SpeechEvent::Ended { utterance, .. } => {
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.ended.push((utterance, now));
                }
            }
            SpeechEvent::Partial { utterance, start, text, stable } => self.show(id, utterance, start, &text, stable),
            SpeechEvent::Nothing { utterance } => {
                self.status.count(&self.status.nothing);
                self.over(id, utterance);
                self.hearers.switch(id, Heard::NotUnderstood);
            }
            event @ SpeechEvent::Final { .. } => self.finished(id, event, now),
            SpeechEvent::Failed { utterance, start, end, error } => {
                self.status.count(&self.status.failed);
                self.over(id, utterance);
                if !self.is_secret(id, utterance) {
                    self.missing(id, (utterance, start, end), TranscriptTrouble::Failed, error.to_string());
                }
                self.hearers.switch(id, Heard::NotUnderstood);
            }
            SpeechEvent::Deferred { utterance, start, end } => {
                self.status.count(&self.status.deferred);
                self.over(id, utterance);
                // What belongs to a plan alone is read for it, or not at all.
                if !self.is_secret(id, utterance) {
                    self.deferred(id, utterance, (start, end));
                }
                self.hearers.switch(id, Heard::NotUnderstood);
            }
        }
    }

    fn is_secret(&self, id: LegId, utterance: u32) -> bool {
        self.legs.get(&id).is_some_and(|leg| leg.secret.contains(&utterance))
    }

    /// There was no room for an utterance: it is read from the recording, if there is one.
    fn deferred(&mut self, id: LegId, utterance: u32, (start, end): (Duration, Duration)) {
        let Some(leg) = self.legs.get(&id) else { return };
        let more = "more was said than could be read in time";
        if !self.recordings.contains_key(&leg.info.conversation) {
            let why = format!("{more}, and the call is not recorded");
            return self.missing(id, (utterance, start, end), TranscriptTrouble::Failed, why);
        }
        let language = leg.stream.config().language;
        self.later.leave(Left { info: leg.info.clone(), utterance, start, end, language });
        let why = format!("{more}: it is read from the recording after the call");
        self.missing(id, (utterance, start, end), TranscriptTrouble::Deferred, why);
    }

    /// What was understood so far, to those who look; not more often than they can read.
    fn show(&mut self, id: LegId, utterance: u32, start: Duration, text: &str, stable: usize) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.secret.contains(&utterance) {
            return;
        }
        let now = Instant::now();
        if leg.shown.0 != utterance {
            leg.shown = (utterance, None);
            let since = now.saturating_duration_since(leg.info.zero).saturating_sub(start);
            self.status.partial_latency.observe(since);
        } else if leg.shown.1.is_some_and(|last| now.duration_since(last) < PARTIAL_EVERY) {
            return;
        }
        leg.shown.1 = Some(now);
        self.status.count(&self.status.shown);
        let stable = text.get(..stable).map_or(0, |text| text.chars().count());
        self.live(id, utterance, start, text, stable, false);
    }

    /// Whatever was shown of it goes.
    fn over(&self, id: LegId, utterance: u32) {
        if self.legs.get(&id).is_some_and(|leg| leg.shown.0 == utterance) {
            self.live(id, utterance, Duration::ZERO, "", 0, true);
        }
    }

    fn live(&self, id: LegId, utterance: u32, start: Duration, text: &str, stable: usize, over: bool) {
        let Some(leg) = self.legs.get(&id) else { return };
        self.hearers.live(Live::Transcript(LiveTranscript {
            conversation: leg.info.conversation,
            leg: leg.info.number,
            speaker: leg.info.speaker,
            utterance,
            start_ms: ms(start),
            text: Content::new(text),
            stable: u32::try_from(stable).unwrap_or(0),
            over,
        }));
    }

    fn finished(&mut self, id: LegId, event: SpeechEvent, now: Instant) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let SpeechEvent::Final { utterance, end, raw, confidence, language, .. } = &event else { return };
        let secret = leg.secret.iter().position(|one| one == utterance).map(|at| leg.secret.swap_remove(at)).is_some();
        if let Some(at) = leg.ended.iter().position(|(ended, _)| ended == utterance) {
            let (_, ended) = leg.ended.swap_remove(at);
            self.status.final_latency.observe(now.saturating_duration_since(ended));
            let since = now.saturating_duration_since(leg.info.zero).saturating_sub(*end);
            self.status.voice_latency.observe(since);
        }
        leg.ended.retain(|(_, at)| now.duration_since(*at) < LAST_WORDS_MAX);
        self.status.count(&self.status.finals);
        let heard = Heard::Said { text: raw.clone(), confidence: *confidence, language: *language };
        let info = leg.info.clone();
        let recording =
            self.recordings.get(&info.conversation).map(|recording| (recording.name.clone(), recording.began));
        self.over(id, *utterance);
        if !secret {
            self.write(&info, event, recording, None);
        }
        self.hearers.switch(id, heard);
    }

    /// Puts a final into the log.
    fn write(&self, info: &LegInfo, event: SpeechEvent, recording: Option<(String, Instant)>, id: Option<String>) {
        let SpeechEvent::Final {
            utterance, start, end, text, segments, confidence, language, masked, degraded, ..
        } = event
        else {
            return;
        };
        let recorded = recording.and_then(|(name, began)| {
            let before = began.saturating_duration_since(info.zero);
            Some((name, ms(start.checked_sub(before)?)))
        });
        let segments = segments.into_iter().map(|segment| TranscriptSegment {
            start_ms: ms(segment.start),
            end_ms: ms(segment.end),
            text: Content::new(segment.text),
            confidence: segment.confidence.map(rounded),
        });
        let event = TranscriptFinal {
            leg: info.number,
            speaker: info.speaker,
            utterance,
            start_ms: ms(start),
            end_ms: ms(end),
            text: Content::new(text),
            segments: segments.collect(),
            confidence: confidence.map(rounded),
            engine: self.engine.clone(),
            language: language.map(|language: Language| language.as_str().to_owned()),
            masked,
            degraded,
            recording_ms: recorded.as_ref().map(|(_, at)| *at),
            recording: recorded.map(|(name, _)| name),
        };
        self.push(info, event.into(), id);
    }

    fn missing(
        &self,
        id: LegId,
        (utterance, start, end): (u32, Duration, Duration),
        trouble: TranscriptTrouble,
        reason: String,
    ) {
        let Some(leg) = self.legs.get(&id) else { return };
        let event = TranscriptMissing {
            leg: leg.info.number,
            utterance,
            start_ms: ms(start),
            end_ms: ms(end),
            trouble,
            reason,
        };
        self.push(&leg.info, event.into(), None);
    }

    fn push(&self, info: &LegInfo, event: Event, id: Option<String>) {
        let at = Timestamp::now();
        let unix = u64::try_from(at.as_millisecond()).unwrap_or(0);
        let id = id.unwrap_or_else(|| EventId::new(unix, rand::random()).to_string());
        let event = CloudEvent::new(id, info.source.clone(), at, event);
        // The log's own road counts what it cannot take.
        self.log.push(NewEvent { tenant: info.tenant.clone(), conversation: info.conversation, epoch: 1, at, event });
    }

    /// What was left for after the call is read when there is nothing else to do.
    fn read_later(&mut self, now: Instant) {
        self.later.save(now, false);
        if self.level > Level::Finals || self.scheduler.waiting() != (0, 0) {
            return;
        }
        if let Some(work) = self.later.next(now, &self.stream) {
            self.scheduler.offer(now, Later::STREAM, work);
            self.dispatch(now);
        }
    }

    fn read_left(&self, left: &super::later::Reading, answer: Result<ark_transcribe::Recognised, EngineError>) {
        let Ok(answer) = answer else { return };
        let span = (left.left.start, left.left.end, left.audio_from);
        let event = ark_transcribe::stream::finished(&self.stream, left.left.utterance, span, answer, true);
        // Its own name: read again after a crash, it is in the log once.
        let info = &left.left.info;
        let id = format!("{}-{}-{}-later", info.conversation, info.number, left.left.utterance);
        self.write(info, event, Some((left.recording.name.clone(), left.recording.began)), Some(id));
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Three digits say all that a confidence has to say.
fn rounded(value: f32) -> f64 {
    (f64::from(value) * 1_000.0).round() / 1_000.0
}
