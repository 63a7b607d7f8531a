//! Turns the switch's handle: the sockets, the clock and the queues around it, on one thread of its own.
//!
//! Each turn: wait until something is due; read a bounded number of datagrams, framed messages, media events and commands;
//! run the timers; send, log and start what the switch asks for.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use ark_conversation::event::EndCause;
use ark_conversation::{ConversationId, LegId};
use ark_dialplans::{LinkNews, Now};
use ark_sip::guard::{Guard, Verdict};
use ark_sip::ua::{Endpoint, Flow, Transport};
use ark_sip::wire;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::limits::{COMMAND_QUEUE, MEDIA_EVENTS_PER_TURN, STOP_MAX};
use super::observe::observe;
use super::queue::{CallerId, QueueView, Queues};
use super::site::Site;
use super::switch::{HttpRequest, LinkRequest, Output, Switch, SwitchConfig};
use super::view::CallView;
use super::web::{FromWeb, ToWeb, WebEnd};
use super::{CannotAct, CannotPlace, Counters, HttpResult, TalkAction};
use crate::config::{SipListen, SipTransport};
use crate::conversations::LogSink;
use crate::media::load::{Load, LoadJudge};
use crate::media::{self, EngineHandle, Event as MediaEvent};
use crate::net::limits::{BACKLOG_MAX, DATAGRAM_BYTES_MAX, DATAGRAMS_PER_TURN, INGRESS_QUEUE, OVERLOAD_RETRY_AFTER};
use crate::net::local::LocalAddresses;
use crate::net::tcp::{Connections, FromTcp, NotSent};
use crate::net::udp::UdpPort;
use crate::net::{BindError, tcp};
use crate::speech;

/// Makes the SIP endpoint when it is known what is listened on.
pub type MakeEndpoint = Box<dyn FnOnce(&[SipListen]) -> Endpoint + Send>;

/// What a signalling thread is made of.
pub struct Parts {
    /// Sockets to bind.
    pub listen: Vec<SipListen>,
    /// The switch's own settings; its `udp` and `tcp` are filled from what was bound.
    pub config: SwitchConfig,
    /// Plans, trunks and routes.
    pub site: Site,
    /// Who waits, and who answers.
    pub desk: Arc<crate::desk::Desk>,
    /// The SIP endpoint, made for the bound addresses.
    pub endpoint: MakeEndpoint,
    /// Who may send at all, and how much.
    pub guard: Guard,
    /// The media engine.
    pub media: EngineHandle,
    /// What it says.
    pub media_events: mpsc::Receiver<MediaEvent>,
    /// Where log events go.
    pub log: LogSink,
    /// Where HTTP actions go.
    pub http: mpsc::Sender<HttpRequest>,
    /// Where plans' links go.
    pub links: mpsc::Sender<LinkRequest>,
    /// What reads along; none: nobody does.
    pub speech: Option<speech::Orders>,
    /// What tells browsers what the switch says to them; none: no browser calls or is called.
    pub web: Option<Arc<dyn TellWeb>>,
    /// Seed of tags, branches and ids.
    pub seed: [u8; 32],
}

/// The way to browsers' signalling.
pub trait TellWeb: Send + Sync {
    /// Hands it over without waiting. `false`: nobody is there to hear it.
    fn tell(&self, said: ToWeb) -> bool;
}

/// What others ask of the switch.
enum Command {
    Place { target: String, hotline: String, reply: oneshot::Sender<Result<ConversationId, CannotPlace>> },
    HangUp { conversation: ConversationId, reply: oneshot::Sender<bool> },
    Calls { reply: oneshot::Sender<Vec<CallView>> },
    Act(Box<Act>),
    Board { reply: oneshot::Sender<(Vec<CallView>, Vec<QueueView>)> },
    SetSite(Box<dyn FnOnce(&Site) -> Site + Send>),
    Http { call: CallerId, request: u64, result: HttpResult },
    Link { call: CallerId, request: u64, news: LinkNews },
    Web(FromWeb),
    Queues,
    Heard { leg: media::LegId, heard: speech::Heard },
    Drain,
    Stop { reply: oneshot::Sender<()> },
}

/// Something to be done in a talk.
struct Act {
    conversation: ConversationId,
    action: TalkAction,
    reply: oneshot::Sender<Result<Option<LegId>, CannotAct>>,
}

/// Numbers of the switch as of its last turn, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The switch's counters.
    pub counters: Counters,
    /// Calls that are known.
    pub calls: usize,
    /// Callers that wait in queues.
    pub waiting: usize,
    /// Open TCP connections.
    pub connections: usize,
    /// Datagrams and messages dropped before the parser, by the guard.
    pub guarded: u64,
    /// How the media threads fare.
    pub media_load: Load,
    /// The SIP endpoint's counters.
    pub sip: ark_sip::ua::Stats,
}

/// The switch's thread is gone: the gateway is going down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signalling thread has stopped")]
pub struct Gone;

/// Speaks with the switch from anywhere.
#[derive(Clone)]
pub struct SwitchHandle {
    commands: mpsc::Sender<Command>,
    snapshot: Arc<RwLock<Snapshot>>,
    listening: Arc<[SipListen]>,
}

impl SwitchHandle {
    /// Calls somebody; see [`Switch::place`].
    ///
    /// # Errors
    /// [`CannotPlace`], or [`Gone`] as a full switch.
    pub async fn place(&self, target: String, hotline: String) -> Result<ConversationId, CannotPlace> {
        let gone = |_| CannotPlace::Full(Gone.to_string());
        self.ask(|reply| Command::Place { target, hotline, reply }).await.map_err(gone)?
    }

    /// Ends a call. `false`: there is no such call.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn hang_up(&self, conversation: ConversationId) -> Result<bool, Gone> {
        self.ask(|reply| Command::HangUp { conversation, reply }).await
    }

    /// Does something in a talk; `Some`: the new leg. See [`Switch::act`].
    ///
    /// # Errors
    /// [`CannotAct`], or [`Gone`] as a full switch.
    pub async fn act(&self, conversation: ConversationId, action: TalkAction) -> Result<Option<LegId>, CannotAct> {
        let gone = |_| CannotAct::NoWay(CannotPlace::Full(Gone.to_string()));
        self.ask(|reply| Command::Act(Box::new(Act { conversation, action, reply }))).await.map_err(gone)?
    }

    /// The calls that are up.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn calls(&self) -> Result<Vec<CallView>, Gone> {
        self.ask(|reply| Command::Calls { reply }).await
    }

    /// The calls that are up, and the queues.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn board(&self) -> Result<(Vec<CallView>, Vec<QueueView>), Gone> {
        self.ask(|reply| Command::Board { reply }).await
    }

    /// Replaces the site by what `change` makes of it.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn change_site(&self, change: impl FnOnce(&Site) -> Site + Send + 'static) -> Result<(), Gone> {
        self.commands.send(Command::SetSite(Box::new(change))).await.map_err(|_| Gone)
    }

    /// Hands an HTTP action's end to the call that waits for it.
    pub async fn http_result(&self, call: CallerId, request: u64, result: HttpResult) {
        let _ = self.commands.send(Command::Http { call, request, result }).await;
    }

    /// Tells the call that waits for it what happened to a link.
    pub async fn link_news(&self, call: CallerId, request: u64, news: LinkNews) {
        let _ = self.commands.send(Command::Link { call, request, news }).await;
    }

    /// Says what a browser's signalling has to say.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn web(&self, said: FromWeb) -> Result<(), Gone> {
        self.commands.send(Command::Web(said)).await.map_err(|_| Gone)
    }

    /// The desk has something to say of callers who wait. Never waits: while anybody does, it is looked at twice a second anyhow.
    pub fn look_at_queues(&self) {
        let _ = self.commands.try_send(Command::Queues);
    }

    /// Something was heard on a leg. Never waits: what finds no room is lost, as if the caller had not been understood.
    pub fn heard(&self, leg: media::LegId, heard: speech::Heard) {
        let _ = self.commands.try_send(Command::Heard { leg, heard });
    }

    /// New calls get 503 from now on.
    pub async fn drain(&self) {
        let _ = self.commands.send(Command::Drain).await;
    }

    /// Ends every call and the thread.
    pub async fn stop(&self) {
        let _ = self.ask(|reply| Command::Stop { reply }).await;
    }

    /// Whether the thread has ended, by [`SwitchHandle::stop`] or by a fault.
    pub fn is_gone(&self) -> bool {
        self.commands.is_closed()
    }

    /// The numbers of the last turn.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.read().map(|s| s.clone()).unwrap_or_default()
    }

    /// What is really listened on (port 0 replaced).
    pub fn listening(&self) -> &[SipListen] {
        &self.listening
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}

/// Binds the sockets and starts the signalling thread.
///
/// # Errors
/// [`BindError`] for the first socket that could not be opened; nothing runs then.
pub fn start(parts: Parts) -> Result<SwitchHandle, BindError> {
    let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
    let snapshot = Arc::new(RwLock::new(Snapshot::default()));
    let (bound, told) = std::sync::mpsc::sync_channel(1);
    let shared = Arc::clone(&snapshot);
    let spawned = std::thread::Builder::new().name("ark-signalling".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = bound.send(Err(BindError::new("udp", SocketAddr::from(([0, 0, 0, 0], 0)), error)));
                return;
            }
        };
        runtime.block_on(async move {
            match Driver::new(parts, command_queue, shared) {
                Ok(driver) => {
                    let _ = bound.send(Ok(driver.listening.clone()));
                    driver.run().await;
                }
                Err(error) => {
                    let _ = bound.send(Err(error));
                }
            }
        });
    });
    let no_thread =
        || BindError::new("udp", SocketAddr::from(([0, 0, 0, 0], 0)), std::io::ErrorKind::OutOfMemory.into());
    spawned.map_err(|_| no_thread())?;
    let listening = told.recv().map_err(|_| no_thread())??;
    Ok(SwitchHandle { commands, snapshot, listening: listening.into() })
}

struct Driver {
    switch: Switch<EngineHandle>,
    guard: Guard,
    udp: Vec<UdpPort>,
    tcp_bound: Vec<SocketAddr>,
    connections: Connections,
    from_tcp: mpsc::Receiver<FromTcp>,
    media_events: mpsc::Receiver<MediaEvent>,
    commands: mpsc::Receiver<Command>,
    log: LogSink,
    http: mpsc::Sender<HttpRequest>,
    links: mpsc::Sender<LinkRequest>,
    web: Option<Arc<dyn TellWeb>>,
    speech: Option<speech::Orders>,
    local: LocalAddresses,
    listening: Vec<SipListen>,
    snapshot: Arc<RwLock<Snapshot>>,
    snapshot_at: Instant,
    buffer: Vec<u8>,
    guarded: u64,
    /// Since when a socket has had more than a turn may read.
    behind_since: Option<Instant>,
    overloaded: bool,
    /// What the media threads count, and how they fare.
    engine: EngineHandle,
    media_load: LoadJudge,
    /// What came while nothing else could be looked at.
    woken: Woken,
    stop: Option<oneshot::Sender<()>>,
    /// Since [`Command::Stop`]: when the thread ends at the latest.
    stop_until: Option<Instant>,
}

#[derive(Default)]
struct Woken {
    tcp: VecDeque<FromTcp>,
    media: VecDeque<MediaEvent>,
    commands: VecDeque<Command>,
}

/// How often metrics see the switch.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);

impl Driver {
    fn new(
        parts: Parts,
        commands: mpsc::Receiver<Command>,
        snapshot: Arc<RwLock<Snapshot>>,
    ) -> Result<Self, BindError> {
        let (tcp_sender, from_tcp) = mpsc::channel(INGRESS_QUEUE);
        let mut udp = Vec::new();
        let mut tcp_bound = Vec::new();
        let mut listening = Vec::new();
        for entry in &parts.listen {
            match entry.transport {
                SipTransport::Udp => {
                    let port = UdpPort::bind(entry.address)?;
                    listening.push(SipListen { transport: SipTransport::Udp, address: port.bound });
                    udp.push(port);
                }
                SipTransport::Tcp => {
                    let listener = tcp::bind(entry.address)?;
                    let address = listener.local_addr().unwrap_or(entry.address);
                    listening.push(SipListen { transport: SipTransport::Tcp, address });
                    tcp_bound.push(address);
                    tokio::spawn(tcp::accept(listener, tcp_sender.clone()));
                }
            }
        }
        let endpoint = (parts.endpoint)(&listening);
        let mut config = parts.config;
        config.udp = udp.iter().map(|p| p.bound).collect();
        config.tcp.clone_from(&tcp_bound);
        let engine = parts.media.clone();
        let queues = Queues::of(parts.desk);
        let switch = Switch::new(config, parts.site, queues, endpoint, parts.media, parts.seed);
        Ok(Self {
            switch,
            guard: parts.guard,
            udp,
            tcp_bound,
            connections: Connections::new(tcp_sender),
            from_tcp,
            media_events: parts.media_events,
            commands,
            log: parts.log,
            http: parts.http,
            links: parts.links,
            web: parts.web,
            speech: parts.speech,
            local: LocalAddresses::default(),
            listening,
            snapshot,
            snapshot_at: Instant::now(),
            buffer: vec![0; DATAGRAM_BYTES_MAX],
            guarded: 0,
            behind_since: None,
            overloaded: false,
            engine,
            media_load: LoadJudge::default(),
            woken: Woken::default(),
            stop: None,
            stop_until: None,
        })
    }

    async fn run(mut self) {
        loop {
            self.wait().await;
            self.read_datagrams();
            self.read_connections();
            self.hear_media();
            self.obey_commands();
            self.switch.tick(now());
            self.drain_outputs();
            self.show();
            // Calls that were ended still want their last word in the log: quality and recordings come from media.
            if self.stop_until.is_some_and(|until| self.switch.is_empty() || until <= Instant::now()) {
                if let Some(reply) = self.stop.take() {
                    let _ = reply.send(());
                }
                return;
            }
        }
    }

    /// Until something can be read or is due.
    async fn wait(&mut self) {
        let at = Instant::now();
        let pause = match self.switch.deadline(at) {
            // An expired deadline is not left to the timer: it may say "not yet" when the queues are busy.
            Some(deadline) if deadline <= at => return,
            Some(deadline) => (deadline - at).min(SNAPSHOT_EVERY),
            None => SNAPSHOT_EVERY,
        };
        let udp = readable(&self.udp);
        tokio::select! {
            () = udp => {}
            Some(message) = self.from_tcp.recv() => self.woken.tcp.push_back(message),
            Some(event) = self.media_events.recv() => self.woken.media.push_back(event),
            Some(command) = self.commands.recv() => self.woken.commands.push_back(command),
            () = tokio::time::sleep(pause) => {}
        }
    }

    fn read_datagrams(&mut self) {
        let mut behind = false;
        for index in 0..self.udp.len() {
            let mut read = 0;
            while read < DATAGRAMS_PER_TURN {
                let Some(port) = self.udp.get(index) else { break };
                let Ok((length, remote)) = port.socket.try_recv_from(&mut self.buffer) else { break };
                read += 1;
                let bound = port.bound;
                let at = now();
                if self.guard.admit(at.mono, remote.ip(), length) != Verdict::Admit {
                    self.guarded += 1;
                    continue;
                }
                let local = self.local.toward(bound, remote.ip());
                let flow = Flow { transport: Transport::Udp, local, remote, connection: 0 };
                let bytes = self.buffer.get(..length).unwrap_or_default();
                if self.overloaded && self.switch.shed(at, flow, bytes) {
                    continue;
                }
                let message = wire::parse_datagram(bytes);
                if message.is_err() {
                    self.guard.malformed(at.mono, remote.ip());
                }
                self.switch.receive(at, flow, message);
            }
            behind |= read == DATAGRAMS_PER_TURN;
            self.drain_outputs();
        }
        self.judge_load(behind);
    }

    /// Overload is a backlog that stays: then new calls get a 503 that costs next to nothing, and calls that are up are
    /// served in time. It ends with the first turn that empties the sockets.
    fn judge_load(&mut self, behind: bool) {
        let at = Instant::now();
        let since = if behind { *self.behind_since.get_or_insert(at) } else { at };
        if !behind {
            self.behind_since = None;
        }
        let backlog = at.saturating_duration_since(since) >= BACKLOG_MAX;
        let overloaded = backlog || self.media_load.load().overloaded;
        if overloaded || self.overloaded {
            // Each turn anew: it ends by itself after that time.
            self.switch.endpoint().set_overloaded(at, overloaded.then_some(OVERLOAD_RETRY_AFTER));
        }
        if overloaded != self.overloaded {
            self.overloaded = overloaded;
            self.switch.set_overloaded(overloaded);
            if backlog {
                tracing::warn!("more SIP comes in than can be served: new calls get 503 for now");
            } else if overloaded {
                let Load { busy, late, .. } = self.media_load.load();
                tracing::warn!(
                    busy,
                    late,
                    "the media threads are at their limit: new calls get 503 for now, those that are up go on"
                );
            } else {
                tracing::info!("new calls are taken again");
            }
        }
    }

    fn read_connections(&mut self) {
        for _ in 0..DATAGRAMS_PER_TURN {
            let next = self.woken.tcp.pop_front().or_else(|| self.from_tcp.try_recv().ok());
            let Some(message) = next else { break };
            let at = now();
            match message {
                FromTcp::Opened(stream, remote) => {
                    if self.guard.admit(at.mono, remote.ip(), 0) != Verdict::Admit {
                        self.guarded += 1;
                        continue;
                    }
                    let bound = stream.local_addr().ok().or(self.tcp_bound.first().copied());
                    if let Some(local) = bound {
                        self.connections.opened(stream, local, remote);
                    }
                }
                FromTcp::Message(flow, message) => {
                    if self.guard.admit(at.mono, flow.remote.ip(), 0) != Verdict::Admit {
                        self.guarded += 1;
                        continue;
                    }
                    if message.is_err() {
                        self.guard.malformed(at.mono, flow.remote.ip());
                    }
                    self.switch.receive(at, flow, message);
                }
                FromTcp::Closed(number) => {
                    self.connections.closed(number);
                    self.switch.connection_closed(at, number);
                }
            }
        }
    }

    fn hear_media(&mut self) {
        for _ in 0..MEDIA_EVENTS_PER_TURN {
            let next = self.woken.media.pop_front().or_else(|| self.media_events.try_recv().ok());
            let Some(event) = next else { break };
            self.switch.media(now(), event);
        }
    }

    fn obey_commands(&mut self) {
        for _ in 0..COMMAND_QUEUE {
            let next = self.woken.commands.pop_front().or_else(|| self.commands.try_recv().ok());
            let Some(command) = next else { break };
            let at = now();
            match command {
                Command::Place { target, hotline, reply } => {
                    let _ = reply.send(self.switch.place(at, &target, &hotline));
                }
                Command::HangUp { conversation, reply } => {
                    let _ = reply.send(self.switch.hang_up(at, conversation, "ended by an operator"));
                }
                Command::Act(act) => {
                    let Act { conversation, action, reply } = *act;
                    let _ = reply.send(self.switch.act(at, conversation, action));
                }
                Command::Calls { reply } => {
                    let _ = reply.send(self.switch.calls());
                }
                Command::Board { reply } => {
                    let _ = reply.send((self.switch.calls(), self.switch.queue_views(at.mono)));
                }
                Command::SetSite(change) => {
                    let site = change(self.switch.site());
                    self.switch.set_site(site);
                }
                Command::Http { call, request, result } => self.switch.http_result(at, call, request, result),
                Command::Link { call, request, news } => self.switch.link_news(at, call, request, news),
                Command::Web(said) => self.switch.web(at, said),
                Command::Queues => self.switch.look_at_queues(at),
                Command::Heard { leg, heard } => self.switch.heard(at, leg, &heard),
                Command::Drain => self.switch.drain(true),
                Command::Stop { reply } => {
                    self.switch.shut_down(at);
                    self.stop = Some(reply);
                    self.stop_until.get_or_insert(at.mono + STOP_MAX);
                }
            }
        }
    }

    fn drain_outputs(&mut self) {
        while let Some(output) = self.switch.poll() {
            match output {
                Output::Send { flow, bytes } => self.send(flow, bytes),
                Output::Log(event) => {
                    observe(&event);
                    self.log.push(*event);
                }
                Output::Http(request) => self.run_action(*request),
                Output::Link(request) => self.ask_for_link(*request),
                Output::Web(said) => self.tell_browser(said),
                Output::Speech(order) => {
                    if let Some(speech) = &self.speech {
                        speech.give(order);
                    }
                }
            }
        }
    }

    fn send(&mut self, flow: Flow, bytes: Vec<u8>) {
        match flow.transport {
            Transport::Udp => {
                let exactly = self.udp.iter().find(|p| p.bound == flow.local);
                let nearly = || {
                    let near = |p: &&UdpPort| p.bound.port() == flow.local.port();
                    self.udp.iter().find(|p| near(p) && same_family(p.bound.ip(), flow.remote.ip()))
                };
                let Some(port) = exactly.or_else(nearly).or(self.udp.first()) else { return };
                // A full socket buffer drops the datagram, as the network may: SIP sends it again.
                if let Err(error) = port.socket.try_send_to(&bytes, flow.remote)
                    && error.kind() != std::io::ErrorKind::WouldBlock
                {
                    tracing::debug!(remote = %flow.remote, %error, "a datagram could not be sent");
                    self.switch.send_failed(now(), flow);
                }
            }
            Transport::Tcp => match self.connections.send(flow, bytes) {
                Ok(()) => {}
                Err(NotSent::NoWay) => self.switch.send_failed(now(), flow),
                Err(NotSent::CutOff(number)) => self.switch.connection_closed(now(), number),
            },
        }
    }

    /// A browser that cannot be told is gone, for all that its call is concerned.
    fn tell_browser(&mut self, said: ToWeb) {
        let key = said.key();
        let ends = matches!(said, ToWeb::End(_) | ToWeb::Refuse(..));
        let told = self.web.as_ref().is_some_and(|web| web.tell(said));
        if !told && !ends {
            let end = WebEnd::failed(EndCause::Unreachable, "the browser is not there");
            self.switch.web(now(), FromWeb::Gone(key, end));
        }
    }

    fn run_action(&mut self, request: HttpRequest) {
        if let Err(error) = self.http.try_send(request) {
            let (mpsc::error::TrySendError::Full(request) | mpsc::error::TrySendError::Closed(request)) = error;
            let result = HttpResult {
                action: request.action,
                outcome: ark_conversation::event::HttpOutcome::Unreachable,
                status: None,
                took: Duration::ZERO,
                values: Err("too many actions are under way".to_owned()),
            };
            self.switch.http_result(now(), request.call, request.request, result);
        }
    }

    fn ask_for_link(&mut self, request: LinkRequest) {
        if let Err(error) = self.links.try_send(request) {
            let (mpsc::error::TrySendError::Full(request) | mpsc::error::TrySendError::Closed(request)) = error;
            self.switch.link_news(now(), request.call, request.request, LinkNews::Failed);
        }
    }

    fn show(&mut self) {
        let at = Instant::now();
        if at.saturating_duration_since(self.snapshot_at) < SNAPSHOT_EVERY {
            return;
        }
        self.snapshot_at = at;
        let media_load = self.media_load.judge(at, self.engine.metrics().load_sample());
        let snapshot = Snapshot {
            counters: self.switch.counters().clone(),
            calls: self.switch.len(),
            waiting: self.switch.waiting(),
            connections: self.connections.len(),
            guarded: self.guarded,
            media_load,
            sip: self.switch.endpoint().stats().to_owned(),
        };
        if let Ok(mut shared) = self.snapshot.write() {
            *shared = snapshot;
        }
    }
}

/// Until one of the sockets has a datagram. A site has a handful of them.
async fn readable(ports: &[UdpPort]) {
    std::future::poll_fn(|context| {
        for port in ports {
            if port.socket.poll_recv_ready(context).is_ready() {
                return std::task::Poll::Ready(());
            }
        }
        std::task::Poll::Pending
    })
    .await;
}

fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

/// The two clocks, read together.
fn now() -> Now {
    Now { mono: Instant::now(), wall: Timestamp::now() }
}
