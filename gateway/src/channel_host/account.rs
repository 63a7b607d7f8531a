//! One account at work: its machine, and the I/O that the machine asks for.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ark_conversation::channel::{
    Ack, Channel, DeliveryId, FetchFailure, FileKind, Health, HttpCall, HttpFailure, HttpReply, HttpRequest, In,
    Ingest, Manifest, Out, Outbound, Outcome, RequestId, SocketId, Token,
};
use ark_conversation::event::Media;
use ark_conversation::{Assurance, CloudEvent, Event, Tenant, ThreadSource};
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::breaker::{self, Breaker};
use super::broker;
use super::files::{Files, bytes_max};
use super::limits::*;
use super::socket::{self, Do};
use super::tokens::{Got, Vault, ahead};
use super::wire::{NoFile, Wire};
use super::{Inlet, Live};
use crate::retry::wait;

/// Something that happened to an account.
pub(super) enum Said {
    /// For the machine as it is.
    Input(In),
    /// A request, and where its answer goes.
    Asked { http: HttpRequest, answer: oneshot::Sender<HttpReply> },
    /// A message to send, and who waits for what comes of it.
    Send { message: Box<Outbound>, settled: oneshot::Sender<Outcome> },
    /// What was to be kept is kept, or not.
    Kept { durable: bool, acks: Vec<Ack>, save: Option<(String, String)> },
    /// A socket is over.
    SocketOver { socket: SocketId, why: String },
    /// What came of asking the site for a token.
    Obtained { name: &'static str, got: Got },
    /// A token is to be fetched anew before it ends, if it is still the one.
    Ahead { name: &'static str, value: String },
}

/// Where an account's inputs go.
#[derive(Clone)]
pub(super) struct Inputs(mpsc::Sender<Said>);

impl Inputs {
    /// Waits for room; an account that is over hears nothing.
    pub(super) async fn say(&self, said: Said) {
        let _ = self.0.send(said).await;
    }

    /// Without waiting; gives it back when there is no room.
    pub(super) fn try_say(&self, said: Said) -> Result<(), Box<Said>> {
        self.0.try_send(said).map_err(|error| match error {
            mpsc::error::TrySendError::Full(said) | mpsc::error::TrySendError::Closed(said) => Box::new(said),
        })
    }
}

/// Who an account is, and what the house allows it.
pub(super) struct Identity {
    pub(super) tenant: Tenant,
    pub(super) adapter: String,
    pub(super) account: String,
    /// The highest assurance that it may assert.
    pub(super) assurance: Assurance,
}

/// Numbers of one account, and how it is.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Events that were kept.
    pub kept: AtomicU64,
    /// Events that were there before.
    pub duplicates: AtomicU64,
    /// Events that the machine made and the house refused.
    pub refused: AtomicU64,
    /// Times that the store could not keep something, and the provider was told to try again.
    pub unkept: AtomicU64,
    /// Messages that the provider took.
    pub sent: AtomicU64,
    /// Messages that it did not take, or of which it is not known.
    pub failed: AtomicU64,
    health: Mutex<Option<Health>>,
}

impl Numbers {
    /// How the account says that it is; none: it has not said.
    pub fn health(&self) -> Option<Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a running account shares with what it spawned.
pub(super) struct Shared {
    pub(super) who: Identity,
    pub(super) wire: Arc<Wire>,
    pub(super) files: Files,
    pub(super) inlet: Arc<dyn Inlet>,
    pub(super) live: Arc<dyn Live>,
    pub(super) numbers: Arc<Numbers>,
    /// What the machine can do, as it said last.
    pub(super) manifest: Mutex<Manifest>,
    /// Where what the machine saved is kept.
    pub(super) saved: PathBuf,
    /// Its part of the broker, when its adapter is there.
    pub(super) road: Option<Arc<broker::Road>>,
    /// Whether its provider is there to be called.
    pub(super) breaker: Breaker,
    /// Where its tokens are shared with the site's other gateways.
    pub(super) vault: Option<Vault>,
}

/// The machine and what is under way for it.
pub(super) struct Account {
    channel: Box<dyn Channel>,
    shared: Arc<Shared>,
    inputs: Inputs,
    said: mpsc::Receiver<Said>,
    asked: HashMap<RequestId, oneshot::Sender<HttpReply>>,
    next_request: RequestId,
    sends: HashMap<DeliveryId, oneshot::Sender<Outcome>>,
    sockets: HashMap<SocketId, mpsc::Sender<Do>>,
    tokens: HashMap<&'static str, Token>,
    /// Tokens that are being fetched, here or elsewhere, and since when this gateway waits.
    refreshing: HashMap<&'static str, Instant>,
    /// Those that are this gateway's to fetch: the version of the note that says so.
    leases: HashMap<&'static str, u64>,
    /// What wakes the account before a token ends.
    ahead: HashMap<&'static str, AbortHandle>,
    saved: BTreeMap<String, String>,
    /// The last that is under way for each thread: what comes behind waits for it.
    threads: HashMap<String, oneshot::Receiver<bool>>,
    /// Threads of which something was turned away since the machine was last given an input: what it asked for behind that is too.
    turned_away: HashSet<String>,
    ingests: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
    wake_at: Option<Timestamp>,
    /// Inputs that the machine is to be given next.
    due: VecDeque<In>,
}

impl Account {
    pub(super) fn new(channel: Box<dyn Channel>, shared: Arc<Shared>) -> (Self, Inputs) {
        let (sender, said) = mpsc::channel(INPUTS);
        let inputs = Inputs(sender);
        let account = Self {
            channel,
            shared,
            inputs: inputs.clone(),
            said,
            asked: HashMap::new(),
            next_request: 1,
            sends: HashMap::new(),
            sockets: HashMap::new(),
            tokens: HashMap::new(),
            refreshing: HashMap::new(),
            leases: HashMap::new(),
            ahead: HashMap::new(),
            saved: BTreeMap::new(),
            threads: HashMap::new(),
            turned_away: HashSet::new(),
            ingests: Arc::new(Semaphore::new(INGEST_MAX)),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            wake_at: None,
            due: VecDeque::new(),
        };
        (account, inputs)
    }

    /// Runs until `stop` is done, then lets what is being kept come to its end.
    pub(super) async fn run(mut self, mut stop: tokio::sync::watch::Receiver<bool>) {
        self.saved = read_saved(&self.shared.saved).await;
        self.feed(In::Begin { saved: self.saved.clone() });
        loop {
            let wait =
                self.wake_at.map(|at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
            tokio::select! {
                said = self.said.recv() => match said {
                    Some(said) => self.take(said).await,
                    None => break,
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    self.wake_at = None;
                    self.feed(In::Tick);
                }
                () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
            }
        }
        self.sockets.clear();
        self.ahead.drain().for_each(|(_, timer)| timer.abort());
        let ingests = Arc::clone(&self.ingests);
        let all = u32::try_from(INGEST_MAX).unwrap_or(u32::MAX);
        drop(tokio::time::timeout(STOP_MAX, ingests.acquire_many(all)).await);
        while let Ok(said) = self.said.try_recv() {
            if let Said::Kept { acks, save, .. } = said {
                self.answer(acks);
                self.save(save).await;
            }
        }
    }

    async fn take(&mut self, said: Said) {
        match said {
            Said::Input(input) => self.feed(input),
            Said::Asked { http, answer } => {
                let request = self.next_request;
                self.next_request += 1;
                self.asked.retain(|_, waiting| !waiting.is_closed());
                self.asked.insert(request, answer);
                self.feed(In::HttpRequest { request, http });
            }
            Said::Send { message, settled } => {
                self.sends.retain(|_, waiting| !waiting.is_closed());
                self.sends.insert(message.delivery, settled);
                self.feed(In::Send(message));
            }
            Said::Kept { durable, acks, save } => {
                if durable {
                    self.save(save).await;
                }
                self.answer(acks);
                self.go_on();
            }
            Said::SocketOver { socket, why } => {
                self.sockets.remove(&socket);
                self.feed(In::SocketClosed { socket, why });
            }
            Said::Obtained { name, got } => self.obtained(name, got),
            Said::Ahead { name, value } => {
                if self.tokens.get(name).is_some_and(|token| token.value == value)
                    && let Some(input) = self.need_token(name, Some(&value))
                {
                    self.feed(input);
                }
            }
        }
    }

    /// Gives the machine an input and does what it says, until it says nothing more.
    fn feed(&mut self, input: In) {
        self.due.push_back(input);
        self.go_on();
    }

    /// Gives the machine all inputs that are due.
    fn go_on(&mut self) {
        while let Some(input) = self.due.pop_front() {
            self.turned_away.clear();
            self.channel.handle(Timestamp::now(), input);
            while let Some(out) = self.channel.poll() {
                if let Some(answer) = self.carry_out(out) {
                    self.due.push_back(answer);
                }
            }
        }
    }

    /// Does what the machine says; what is answered at once is an input again.
    fn carry_out(&mut self, out: Out) -> Option<In> {
        match out {
            Out::HttpReply { request, reply } => self.answer(vec![Ack::Reply { request, reply }]),
            Out::HttpCall { call, http } => self.call(call, *http),
            Out::OpenSocket { socket, url } => return self.open(socket, url),
            Out::Frame { socket, frame } => self.frame(socket, frame),
            Out::CloseSocket { socket, code, reason } => {
                if let Some(todo) = self.sockets.remove(&socket) {
                    let _ = todo.try_send(Do::Close { code, reason });
                }
            }
            Out::Ingest(ingest) => self.ingest(ingest),
            Out::Live(event) => self.shared.live.pass_on(*event),
            Out::Fetch { fetch, from, what, name } => self.fetch(fetch, *from, what, name),
            Out::Keep { fetch, bytes, what, name } => self.keep_file(fetch, bytes, what, name),
            Out::ReplyFile { request, reference } => self.reply_file(request, reference),
            Out::Settle { delivery, outcome } => {
                if let Some(waiting) = self.sends.remove(&delivery) {
                    let _ = waiting.send(outcome);
                }
            }
            Out::NeedToken { name, stale } => return self.need_token(name, stale.as_deref()),
            Out::Token { name, token } => {
                self.share(name, &token);
                return Some(self.token_there(name, token));
            }
            Out::WakeAt(at) => self.wake_at = Some(at),
            Out::Manifest(manifest) => {
                *self.shared.manifest.lock().unwrap_or_else(PoisonError::into_inner) = *manifest;
            }
            Out::Health(health) => self.health(health),
            Out::Note(note) => {
                tracing::warn!(channel = %self.shared.who.account, "{note}");
            }
        }
        None
    }

    fn health(&self, health: Health) {
        let channel = &self.shared.who.account;
        match &health {
            Health::Up => tracing::info!(%channel, "the channel works"),
            Health::Down { why } => tracing::warn!(%channel, %why, "the channel does not work now; it goes on trying"),
            Health::Broken { why } => tracing::error!(%channel, %why, "the channel needs its operator"),
        }
        *self.shared.numbers.health.lock().unwrap_or_else(PoisonError::into_inner) = Some(health);
    }

    fn answer(&mut self, acks: Vec<Ack>) {
        for ack in acks {
            match ack {
                Ack::Reply { request, reply } => {
                    if let Some(waiting) = self.asked.remove(&request) {
                        let _ = waiting.send(reply);
                    }
                }
                Ack::Frame { socket, frame } => self.frame(socket, frame),
                Ack::Tell { mark } => self.due.push_back(In::Told { mark }),
            }
        }
    }

    fn frame(&mut self, socket: SocketId, frame: ark_conversation::channel::Frame) {
        let full = self.sockets.get(&socket).is_some_and(|todo| todo.try_send(Do::Send(frame)).is_err());
        if full {
            // Its end tells the machine.
            self.sockets.remove(&socket);
        }
    }

    fn open(&mut self, socket: SocketId, url: String) -> Option<In> {
        if self.sockets.len() >= SOCKETS_MAX {
            return Some(In::SocketClosed { socket, why: format!("{SOCKETS_MAX} sockets are open already") });
        }
        if url == ark_channels::BROKER_URL {
            let (sender, todo) = mpsc::channel(BROKER_FRAMES);
            self.sockets.insert(socket, sender);
            tokio::spawn(broker::run(self.shared.road.clone(), socket, todo, self.inputs.clone()));
            return None;
        }
        let (sender, todo) = mpsc::channel(FRAMES);
        self.sockets.insert(socket, sender);
        tokio::spawn(socket::run(Arc::clone(&self.shared.wire), socket, url, todo, self.inputs.clone()));
        None
    }

    fn call(&self, call: u64, http: HttpCall) {
        let (shared, inputs, calls) = (Arc::clone(&self.shared), self.inputs.clone(), Arc::clone(&self.calls));
        tokio::spawn(async move {
            let _place = calls.acquire_owned().await;
            let answer = call_provider(&shared, http).await;
            inputs.say(Said::Input(In::HttpResponse { call, answer })).await;
        });
    }

    fn fetch(&self, fetch: u64, from: HttpCall, what: FileKind, name: Option<String>) {
        let (shared, inputs, fetches) = (Arc::clone(&self.shared), self.inputs.clone(), Arc::clone(&self.fetches));
        tokio::spawn(async move {
            let _place = fetches.acquire_owned().await;
            let answer = fetch_file(&shared, from, what, name).await;
            inputs.say(Said::Input(In::Fetched { fetch, answer })).await;
        });
    }

    fn keep_file(&self, fetch: u64, bytes: Vec<u8>, what: FileKind, name: Option<String>) {
        let (shared, inputs) = (Arc::clone(&self.shared), self.inputs.clone());
        tokio::spawn(async move {
            let answer = shared.files.keep(bytes, what, name).await;
            inputs.say(Said::Input(In::Fetched { fetch, answer })).await;
        });
    }

    fn reply_file(&mut self, request: RequestId, reference: String) {
        let Some(waiting) = self.asked.remove(&request) else { return };
        let files = self.shared.files.clone();
        tokio::spawn(async move {
            let file = files.find(&reference).await;
            let bytes = files.read(&reference).await;
            let reply = match (file, bytes) {
                (Some((kept, _)), Ok(body)) => {
                    let headers = vec![
                        ("content-type".to_owned(), kept.mime),
                        ("content-disposition".to_owned(), "attachment".to_owned()),
                    ];
                    HttpReply { status: 200, headers, body }
                }
                _ => HttpReply::text(404, "there is no such file"),
            };
            let _ = waiting.send(reply);
        });
    }

    fn need_token(&mut self, name: &'static str, stale: Option<&str>) -> Option<In> {
        if let Some(token) = self.tokens.get(name)
            && stale.is_none_or(|stale| stale != token.value)
            && token.expires_at.duration_since(Timestamp::now()) > TOKEN_LEFT_MIN
        {
            return Some(In::Token { name, token: token.clone() });
        }
        // One at a time: the others get what it brings. One that does not come is asked for again.
        let now = Instant::now();
        if self.refreshing.get(name).is_some_and(|since| now.duration_since(*since) < TOKEN_LEASE) {
            return None;
        }
        self.refreshing.insert(name, now);
        if self.shared.vault.is_none() {
            return Some(In::RefreshToken { name });
        }
        let (shared, inputs, stale) = (Arc::clone(&self.shared), self.inputs.clone(), stale.map(str::to_owned));
        tokio::spawn(async move {
            if let Some(vault) = &shared.vault {
                let got = vault.obtain(name, stale.as_deref()).await;
                inputs.say(Said::Obtained { name, got }).await;
            }
        });
        None
    }

    fn obtained(&mut self, name: &'static str, got: Got) {
        let input = match got {
            Got::Token(token) => self.token_there(name, token),
            Got::Fetch(lease) => {
                self.leases.insert(name, lease);
                In::RefreshToken { name }
            }
            Got::Alone => In::RefreshToken { name },
        };
        self.feed(input);
    }

    /// Gives the site's other gateways a token that was fetched here.
    fn share(&mut self, name: &'static str, token: &Token) {
        let (shared, lease, token) = (Arc::clone(&self.shared), self.leases.remove(name), token.clone());
        tokio::spawn(async move {
            if let Some(vault) = &shared.vault {
                vault.keep(name, lease, &token).await;
            }
        });
    }

    /// A token that is good from now on; it is looked after before it ends.
    fn token_there(&mut self, name: &'static str, token: Token) -> In {
        self.refreshing.remove(name);
        let timer = ahead(&token, rand::random()).map(|wait| {
            let (inputs, value) = (self.inputs.clone(), token.value.clone());
            let wake = async move {
                tokio::time::sleep(wait).await;
                inputs.say(Said::Ahead { name, value }).await;
            };
            tokio::spawn(wake).abort_handle()
        });
        let before = match timer {
            Some(timer) => self.ahead.insert(name, timer),
            None => self.ahead.remove(name),
        };
        before.inspect(AbortHandle::abort);
        self.tokens.insert(name, token.clone());
        In::Token { name, token }
    }

    /// Keeps events in the order of their threads; threads do not wait for each other.
    fn ingest(&mut self, ingest: Ingest) {
        let Ingest { events, durable, refused, save } = ingest;
        let before = events.len();
        let events: Vec<CloudEvent> = events.into_iter().filter_map(|event| admit(&self.shared, event)).collect();
        self.shared.numbers.refused.fetch_add((before - events.len()) as u64, Ordering::Relaxed);
        let behind = events.iter().any(|event| self.turned_away.contains(&event.source));
        let place = if behind { None } else { Arc::clone(&self.ingests).try_acquire_owned().ok() };
        let Some(place) = place else {
            self.shared.numbers.unkept.fetch_add(1, Ordering::Relaxed);
            self.turned_away.extend(events.into_iter().map(|event| event.source));
            self.answer(refused);
            return;
        };
        let (done, mut ahead) = (self.line_up(&events), Vec::new());
        let senders: Vec<oneshot::Sender<bool>> = done
            .into_iter()
            .map(|(sender, before)| {
                ahead.extend(before);
                sender
            })
            .collect();
        let (shared, inputs) = (Arc::clone(&self.shared), self.inputs.clone());
        tokio::spawn(async move {
            let _place = place;
            // What stands behind a message that could not be kept would be logged before it: it comes again too.
            let mut kept = true;
            for one in ahead {
                kept &= one.await.unwrap_or(false);
            }
            if kept {
                kept = tokio::time::timeout(INGEST_TIMEOUT, keep(&shared, events)).await.unwrap_or(false);
            }
            for sender in senders {
                let _ = sender.send(kept);
            }
            if !kept {
                shared.numbers.unkept.fetch_add(1, Ordering::Relaxed);
            }
            let acks = if kept { durable } else { refused };
            inputs.say(Said::Kept { durable: kept, acks, save }).await;
        });
    }

    /// A place in the line of each thread: whom to tell when it is done, and whom to wait for, when that is under way.
    fn line_up(&mut self, events: &[CloudEvent]) -> Vec<(oneshot::Sender<bool>, Option<oneshot::Receiver<bool>>)> {
        if self.threads.len() > 2 * INGEST_MAX {
            self.threads.retain(|_, last| matches!(last.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        }
        let sources: HashSet<&str> = events.iter().map(|event| event.source.as_str()).collect();
        sources
            .into_iter()
            .map(|source| {
                let (done, last) = oneshot::channel();
                let mut before = self.threads.insert(source.to_owned(), last);
                let over = |one: &mut oneshot::Receiver<bool>| {
                    !matches!(one.try_recv(), Err(oneshot::error::TryRecvError::Empty))
                };
                (done, before.take_if(|one| !over(one)))
            })
            .collect()
    }

    async fn save(&mut self, save: Option<(String, String)>) {
        let Some((name, value)) = save else { return };
        if name.len() + value.len() > SAVED_BYTES_MAX {
            tracing::error!(channel = %self.shared.who.account, %name, "what the channel wants saved is too long");
            return;
        }
        self.saved.insert(name, value);
        if let Err(error) = write_saved(&self.shared.saved, &self.saved).await {
            tracing::warn!(channel = %self.shared.who.account, %error, "the channel's cursor was not saved; after a restart it reads again what it read");
        }
    }
}

/// Calls the provider, unless it is left alone for now.
async fn call_provider(shared: &Shared, http: HttpCall) -> Result<HttpReply, HttpFailure> {
    if let Err(left) = shared.breaker.pass(Instant::now()) {
        let why = format!("its provider failed again and again; it is asked again in {} s", left.as_secs() + 1);
        return Err(HttpFailure::NotSent(why));
    }
    let answer = shared.wire.call(http, &shared.files).await;
    if shared.breaker.told(Instant::now(), breaker::is_well(&answer)) {
        tracing::warn!(channel = %shared.who.account, "the channel's provider failed again and again; it is left alone for a while");
    }
    answer
}

/// Refuses what an account may not say, and lowers what it may not be so sure of.
fn admit(shared: &Shared, mut event: CloudEvent) -> Option<CloudEvent> {
    let who = &shared.who;
    let own = event.source.parse::<ThreadSource>().is_ok_and(|source| {
        source.tenant == who.tenant && source.adapter == who.adapter && source.account == who.account
    });
    if !own || event.check().is_err() {
        tracing::error!(channel = %who.account, kind = event.type_name(), "an event was refused: its source is not this account's, or its id has no good length");
        return None;
    }
    if let Event::Identity(identity) = &mut event.event {
        identity.assurance = identity.assurance.min(who.assurance);
    }
    Some(event)
}

/// Keeps one event as an account's own; whether it was there before.
pub(super) async fn keep_one(shared: &Shared, event: CloudEvent) -> Result<bool, String> {
    let Some(event) = admit(shared, event) else {
        shared.numbers.refused.fetch_add(1, Ordering::Relaxed);
        return Err("the event is not this account's".to_owned());
    };
    let kept = tokio::time::timeout(INGEST_TIMEOUT, shared.inlet.take(&shared.who.tenant, event)).await;
    let kept = kept.unwrap_or_else(|_| Err("the store did not keep it in time".to_owned()));
    let number = match kept {
        Ok(true) => &shared.numbers.duplicates,
        Ok(false) => &shared.numbers.kept,
        Err(_) => &shared.numbers.unkept,
    };
    number.fetch_add(1, Ordering::Relaxed);
    kept
}

/// Passes on what is never kept, when it is the account's own.
pub(super) fn pass_on(shared: &Shared, event: CloudEvent) {
    if let Some(event) = admit(shared, event) {
        shared.live.pass_on(event);
    }
}

/// Keeps events one after the other; false as soon as one cannot be kept.
async fn keep(shared: &Shared, events: Vec<CloudEvent>) -> bool {
    for event in events {
        match shared.inlet.take(&shared.who.tenant, event).await {
            Ok(duplicate) => {
                let number = if duplicate { &shared.numbers.duplicates } else { &shared.numbers.kept };
                number.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::warn!(channel = %shared.who.account, %error, "a message could not be kept; its provider is told to try again");
                return false;
            }
        }
    }
    true
}

/// Fetches a file in a few tries, checks it, and keeps it.
async fn fetch_file(
    shared: &Shared,
    from: HttpCall,
    what: FileKind,
    name: Option<String>,
) -> Result<Media, FetchFailure> {
    let bytes_max = bytes_max(what);
    let mut attempt = 1;
    let bytes = loop {
        let why = match shared.wire.fetch(from.clone(), bytes_max).await {
            Ok(reply) if reply.status == 200 => break reply.body,
            Ok(reply) if reply.status < 500 && reply.status != 429 => {
                return Err(FetchFailure::Away(format!("status {}", reply.status)));
            }
            Ok(reply) => format!("status {}", reply.status),
            Err(NoFile::Forbidden) => return Err(FetchFailure::Forbidden),
            Err(NoFile::TooLong) => return Err(FetchFailure::TooLarge { bytes_max }),
            Err(NoFile::Away(why)) => why,
        };
        if attempt >= FETCH_TRIES {
            return Err(FetchFailure::Away(why));
        }
        tokio::time::sleep(wait(RETRY_FIRST / 2, RETRY_MAX, attempt, rand::random())).await;
        attempt += 1;
    };
    shared.files.keep(bytes, what, name).await
}

async fn read_saved(path: &std::path::Path) -> BTreeMap<String, String> {
    match tokio::fs::read(path).await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "a channel's cursor cannot be read; it begins anew");
            BTreeMap::new()
        }),
        Err(_) => BTreeMap::new(),
    }
}

async fn write_saved(path: &std::path::Path, saved: &BTreeMap<String, String>) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let partial = path.with_extension("part");
    tokio::fs::write(&partial, serde_json::to_vec(saved).expect("it is JSON")).await?;
    tokio::fs::rename(&partial, path).await
}
