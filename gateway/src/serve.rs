//! `ark serve`: everything put together, and taken apart in order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_bus::Bus;
use ark_conversation::machine::{Policy, Survey as AskAfterChat};
use ark_conversation::{LegId, Tenant};
use ark_media::sdp::Preference;
use ark_sip::auth::Credentials;
use ark_sip::guard::{Acl, Guard, GuardConfig};
use ark_sip::ua;
use ark_store::Store;
use tokio::sync::{mpsc, watch};

use crate::call::driver::{self, MakeEndpoint, Parts, SwitchHandle};
use crate::call::{self, CannotAct, CannotPlace, Route, Site, SwitchConfig, TalkAction, Trunk};
use crate::callbacks::Callbacks;
use crate::channel_host::{self, ChannelHost, HostConfig};
use crate::companion::{self, Companion};
use crate::config::{CodecOrder, Config, SipListen, SipTransport, SpeechEngine};
use crate::control::{CallView, Control, ControlError, PlaceRequest, Placed, PlanView, Published, Ready, Reply};
use crate::conversations::owner::{self, Conversations};
use crate::conversations::shards::OwnShards;
use crate::conversations::site::{self, SiteTasks, SiteView};
use crate::conversations::spool::{SPOOL_BYTES_MAX, Spool};
use crate::conversations::{self, LogSink, LogWriter, Onward, Writer};
use crate::desk::{self, Desk};
use crate::http::token::Token;
use crate::live::{self, CallAction, LiveBoard};
use crate::media::{self, Engine, EngineConfig, EngineHandle};
use crate::open::{Carrier, open_bus, open_store};
use crate::plans::Plans;
use crate::prompts::Preparer;
use crate::sms::Sms;
use crate::speech::{self, Speech};
use crate::survey::Survey;
use crate::telemetry::{Sample, SampleKind};
use crate::webhooks::{self, Webhooks};
use crate::webrtc::WebRtc;
use crate::{actions, http, webchat};

/// Media events that wait for the signalling thread.
const MEDIA_EVENTS: usize = 16_384;
/// Ten years.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// How often it is looked whether every part runs.
const PARTS_EVERY: Duration = Duration::from_millis(500);
/// How long the end of the process waits for the last word to the other gateways.
const LIVE_END_MAX: Duration = Duration::from_secs(1);
/// How often plan files are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// A gateway to which nobody has spoken for so long lets go of the memory that its last calls used: their transactions have
/// lingered their 32 s by then.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(33);

/// Why a gateway does not start: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder or file of the site.
    #[error("{what} {path}: {source}. {advice}")]
    Folder {
        /// What it is for.
        what: &'static str,
        /// Where.
        path: String,
        /// The system's words.
        source: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] ark_store::StoreError),
    /// The store's database does not answer.
    #[error("{place}: the database does not answer ({detail}); start it, or correct [store] url")]
    NoDatabase {
        /// Which, without its password.
        place: String,
        /// What was seen.
        detail: String,
    },
    /// The bus.
    #[error(transparent)]
    Bus(#[from] ark_bus::BusError),
    /// A signalling socket.
    #[error(transparent)]
    Sip(#[from] crate::net::BindError),
    /// The media engine.
    #[error("the media engine cannot start: {0}")]
    Media(String),
    /// The web server.
    #[error("{0}")]
    Web(String),
    /// Browsers' calls cannot be taken as configured.
    #[error("[webrtc] {0}")]
    WebRtc(String),
    /// A webhook that cannot be used.
    #[error("{0}")]
    Webhook(String),
    /// A channel that cannot be used.
    #[error("{0}")]
    Channel(String),
    /// No hotline has a plan that can answer.
    #[error("no hotline can answer:\n{0}")]
    NoPlan(String),
}

/// A gateway that runs.
pub struct Gateway {
    config: Arc<Config>,
    /// The switch.
    pub switch: SwitchHandle,
    /// The log of record.
    pub store: Arc<dyn Store>,
    /// The carrier of committed events.
    pub bus: Arc<dyn Bus>,
    /// The plans.
    pub plans: Arc<Plans>,
    /// Where the pages and the API are.
    pub web: SocketAddr,
    /// The API token.
    pub token: String,
    /// What plans did not go live at start, in words.
    pub refused: Vec<String>,
    web_stop: watch::Sender<bool>,
    web_task: tokio::task::JoinHandle<()>,
    engine: Engine,
    log: LogSink,
    log_writer: LogWriter,
    carrier: Carrier,
    /// Works on the conversations whose shards are here.
    owner: owner::Tasks,
    /// Signs off from the site, then ends the relay.
    site: Option<SiteTasks>,
    watcher: tokio::task::JoinHandle<()>,
    webhook_tasks: webhooks::Running,
    /// The channels', and what settles what the house writes to callers' pages.
    channel_tasks: (channel_host::Tasks, LiveTask),
    /// Says to the other gateways what is so here.
    live_task: LiveTask,
    /// Reads along.
    speech: Option<Speech>,
    /// Follows the log for the router.
    desk: desk::Tasks,
}

impl Gateway {
    /// Starts everything, in the order in which it depends on each other. Nothing stays behind when it fails.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, true).await
    }

    /// As [`Gateway::start`]; without `log` no call events are made, which only a bench of the log's cost wants.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with(config: Config, log_calls: bool) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let (folders, store, carrier, bus) = open_all(&config).await?;
        let (writer, process) = names(&config);
        let (onward, site) = site::join(&config, &store, &carrier, &writer, &process).await?;
        let (log, log_writer) = begin_log(&config, &store, &onward, (&writer, &process), &folders).await?;
        let (conversations, owner, shelf) = start_owner(&config, (&store, &bus), &onward, site.as_ref(), &writer);
        let (engine, media_events, prepared) = start_engine(&config)?;
        let (plans, refused) = load_plans(&config, &store, onward, (&log, writer), &shelf).await?;
        let (token, webrtc) = open_webrtc(&config)?;
        let ((http, http_queue), (links, link_queue)) = plan_queues();
        let desk = desk::of_site(&config).map_err(StartError::Channel)?;
        let switch = driver::start(Parts {
            listen: config.sip.listen.clone(),
            config: switch_config(&config, (&process, site.as_ref()), folders.recordings, log_calls),
            site: sip_site(&config, plans.hotlines()),
            desk: Arc::clone(&desk),
            endpoint: endpoint(&config),
            guard: guard(&config),
            media: engine.handle(),
            media_events,
            log: log.clone(),
            http,
            links,
            speech: prepared.as_ref().map(|speech| speech.orders.clone()),
            web: Some(Arc::clone(&webrtc) as Arc<dyn driver::TellWeb>),
            seed: rand::random(),
        })?;
        attach(&config, &switch, &plans, &webrtc, http_queue);
        let desk_tasks = desk::start(&desk, (&store, &bus), &conversations, &switch);
        let (live, live_task) = start_live(&config, &process, &switch, &bus);
        let speech = start_speech(&config, prepared, &log, (&switch, &live))?;
        let (webhooks, webhook_tasks) = start_webhooks(&config, &store, &bus)?;
        let channels = start_channels(&config, (&store, &carrier), &conversations, (&switch, link_queue), &webrtc)?;
        let control: Arc<dyn Control> = Arc::new(Running {
            desk,
            webchat: channels.webchat,
            survey: Survey::start(&config, &Tenant::default(), &store, &channels.companion),
            companion: channels.companion,
            webhooks,
            channels: channels.host,
            webrtc: Arc::clone(&webrtc),
            config: Arc::clone(&config),
            switch: switch.clone(),
            plans: Arc::clone(&plans),
            store: Arc::clone(&store),
            bus: Arc::clone(&bus),
            log: log.clone(),
            engine: engine.handle(),
            site: site.as_ref().map(SiteTasks::watch),
            live,
            conversations,
            speech: speech.as_ref().map(|speech| Arc::clone(speech.status())),
        });
        let (web, token, web_stop, web_task) = start_web(&config, control, &switch, (token, webrtc)).await?;
        Ok(Self {
            watcher: tokio::spawn(watch(Arc::clone(&plans), switch.clone())),
            config,
            switch,
            store,
            bus,
            plans,
            web,
            token,
            refused,
            web_stop,
            web_task,
            engine,
            log,
            log_writer,
            carrier,
            owner,
            site,
            webhook_tasks,
            channel_tasks: channels.tasks,
            live_task,
            speech,
            desk: desk_tasks,
        })
    }

    /// Where SIP is heard.
    pub fn sip(&self) -> &[SipListen] {
        self.switch.listening()
    }

    /// Waits until a part of the gateway has ended by a fault, and names it: what is left is no gateway, so end the
    /// process and let its supervisor start a new one.
    pub async fn broken(&self) -> &'static str {
        let mut every = tokio::time::interval(PARTS_EVERY);
        loop {
            every.tick().await;
            let parts = [
                ("signalling", self.switch.is_gone()),
                ("media", !self.engine.is_alive()),
                ("the log's writer", self.log.is_gone()),
                ("the owner of conversations", self.owner.is_gone()),
                ("the desk", self.desk.is_gone()),
                ("the web server", self.web_task.is_finished()),
                ("the place among the site's gateways", self.site.as_ref().is_some_and(SiteTasks::is_gone)),
                ("the watch over plan files", self.watcher.is_finished()),
            ];
            if let Some((part, _)) = parts.into_iter().find(|(_, broken)| *broken) {
                return part;
            }
        }
    }

    /// Takes no new calls, lets those that are up go on for `[gateway] drain`, then ends everything in order.
    pub async fn stop(self) {
        self.switch.drain().await;
        let until = Instant::now() + self.config.gateway.drain.0;
        while Instant::now() < until && self.switch.calls().await.is_ok_and(|calls| !calls.is_empty()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.stop_now().await;
    }

    /// Ends everything in order, calls included; what happened is in the log.
    pub async fn stop_now(self) {
        self.watcher.abort();
        let (live_task, live_stop) = self.live_task;
        live_stop.send_replace(true);
        let _ = tokio::time::timeout(LIVE_END_MAX, live_task).await;
        self.switch.stop().await;
        let _ = self.web_stop.send(true);
        // Streams are cut; whoever still reads an answer has this long.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.web_task).await;
        let (channel_tasks, (carrying, carry_stop)) = self.channel_tasks;
        channel_tasks.stop().await;
        carry_stop.send_replace(true);
        let _ = tokio::time::timeout(LIVE_END_MAX, carrying).await;
        drop(self.engine);
        self.desk.end().await;
        if let Some(speech) = self.speech {
            speech.end().await;
        }
        // The writer ends when nobody can push any more.
        drop((self.switch, self.plans, self.log));
        self.log_writer.finish().await;
        self.owner.end().await;
        self.webhook_tasks.stop().await;
        if let Some(site) = self.site {
            site.end().await;
        }
        self.carrier.close().await;
    }
}

/// Who writes, and what tells this process from the same gateway's other ones.
fn names(config: &Config) -> (Writer, String) {
    let writer = Writer { tenant: Tenant::default(), gateway: config.gateway.id.clone() };
    let process = format!("{}/{:08x}", writer.gateway, rand::random::<u32>());
    (writer, process)
}

/// Where the owner of conversations finds plans, once they are there.
type Shelf = Arc<std::sync::OnceLock<Arc<Plans>>>;

/// Makes every plan live that can be; its refusals in words.
async fn load_plans(
    config: &Arc<Config>,
    store: &Arc<dyn Store>,
    onward: Onward,
    (log, writer): (&LogSink, Writer),
    shelf: &Shelf,
) -> Result<(Arc<Plans>, Vec<String>), StartError> {
    let preparer = Preparer::new(config);
    let plans = Plans::new(Arc::clone(config), Arc::clone(store), onward, log.clone(), writer, preparer);
    let refused: Vec<String> = plans.load_all().await.into_iter().map(|(_, refusal)| refusal.to_string()).collect();
    if plans.hotlines().is_empty() && !config.hotline.is_empty() {
        return Err(StartError::NoPlan(refused.join("\n")));
    }
    let plans = Arc::new(plans);
    let _ = shelf.set(Arc::clone(&plans));
    Ok((plans, refused))
}

/// Hands what is heard to the switch and to those who look.
struct Listeners {
    switch: SwitchHandle,
    live: Arc<LiveBoard>,
}

impl speech::Hearers for Listeners {
    fn switch(&self, leg: media::LegId, heard: speech::Heard) {
        self.switch.heard(leg, heard);
    }

    fn live(&self, live: ark_conversation::Live) {
        self.live.tell(live);
    }
}

fn start_speech(
    config: &Config,
    prepared: Option<speech::Prepared>,
    log: &LogSink,
    (switch, live): (&SwitchHandle, &Arc<LiveBoard>),
) -> Result<Option<Speech>, StartError> {
    let Some(prepared) = prepared else { return Ok(None) };
    let hearers = Arc::new(Listeners { switch: switch.clone(), live: Arc::clone(live) });
    let started = Speech::start(config, prepared, log.clone(), hearers);
    started.map(Some).map_err(|error| StartError::Media(format!("no thread can be started to read along: {error}")))
}

/// The engine, what it tells, and what reads along, of which it is to know from the beginning.
fn start_engine(
    config: &Arc<Config>,
) -> Result<(Engine, mpsc::Receiver<media::Event>, Option<speech::Prepared>), StartError> {
    let prepared = speech::prepare(config);
    let tap = prepared.as_ref().map(|speech| speech.tap.clone());
    let (sender, events) = mpsc::channel(MEDIA_EVENTS);
    let config = EngineConfig { tap, ..engine_config(config) };
    let engine = Engine::start(config, sender).map_err(|error| StartError::Media(error.to_string()))?;
    Ok((engine, events, prepared))
}

/// Folders, log and carrier; and before the first prompts are spoken, which takes a while, what cannot work is said at once.
async fn open_all(config: &Arc<Config>) -> Result<(Folders, Arc<dyn Store>, Carrier, Arc<dyn Bus>), StartError> {
    let folders = Folders::make(config)?;
    let store = open_store(config).await?;
    try_ports(config).await?;
    let carrier = open_bus(config, &*store).await?;
    let bus = Arc::clone(&carrier.bus);
    Ok((folders, store, carrier, bus))
}

/// What the site decides for its conversations.
fn policy(config: &Config) -> Policy {
    let survey = config.survey.as_ref().map(|survey| AskAfterChat {
        question: survey.question.clone(),
        answers: survey.answers.clone(),
        thanks: survey.thanks.clone(),
        window: jiff::SignedDuration::try_from(survey.window.0).unwrap_or(jiff::SignedDuration::MAX),
        link: crate::survey::by_link(config),
    });
    Policy { openings: crate::plans::chat::openings(config), survey, ..Policy::default() }
}

fn start_owner(
    config: &Arc<Config>,
    (store, bus): (&Arc<dyn Store>, &Arc<dyn Bus>),
    onward: &Onward,
    site: Option<&SiteTasks>,
    writer: &Writer,
) -> (Conversations, owner::Tasks, Shelf) {
    let shelf = Shelf::default();
    let own = site.map_or_else(|| Arc::new(OwnShards::alone(store.topology())), SiteTasks::own);
    let (conversations, tasks) = owner::start(owner::Setup {
        store: Arc::clone(store),
        bus: Arc::clone(bus),
        onward: onward.clone(),
        own,
        policy: policy(config),
        plans: crate::plans::chat::chat_plans(config, &shelf),
        writer: writer.clone(),
        clock: Arc::new(jiff::Timestamp::now),
    });
    (conversations, tasks, shelf)
}

type LiveTask = (tokio::task::JoinHandle<()>, watch::Sender<bool>);

fn start_live(config: &Config, process: &str, switch: &SwitchHandle, bus: &Arc<dyn Bus>) -> (Arc<LiveBoard>, LiveTask) {
    let (gateway, numbers) = (&config.gateway.id, config.log.numbers);
    let live = LiveBoard::new(gateway, process, numbers, Arc::new(switch.clone()), Arc::clone(bus));
    let (stop, stopped) = watch::channel(false);
    (Arc::clone(&live), (tokio::spawn(live::run(live, stopped)), stop))
}

/// The gateway's token, and browsers' calls, which make theirs from it.
fn open_webrtc(config: &Config) -> Result<(Token, Arc<WebRtc>), StartError> {
    let token = Token::load_or_create(&config.gateway.data).map_err(|e| StartError::Web(e.to_string()))?;
    let webrtc = WebRtc::new(config, token.reveal()).map_err(StartError::WebRtc)?;
    Ok((token, webrtc))
}

/// Tells those who were made before the switch where it is.
fn attach(
    config: &Arc<Config>,
    switch: &SwitchHandle,
    plans: &Plans,
    webrtc: &WebRtc,
    http_queue: mpsc::Receiver<call::HttpRequest>,
) {
    webrtc.attach(switch.clone());
    plans.attach(switch.clone());
    tokio::spawn(actions::run(http_queue, switch.clone(), Arc::clone(config)));
}

/// What plans ask for beside the call, with its bound: HTTP actions, and links.
type PlanQueue<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

fn plan_queues() -> (PlanQueue<call::HttpRequest>, PlanQueue<call::LinkRequest>) {
    (mpsc::channel(actions::QUEUE), mpsc::channel(companion::limits::WATCHES_MAX))
}

/// Where customers write.
struct Channels {
    host: Arc<ChannelHost>,
    webchat: Arc<webchat::Hub>,
    companion: Arc<Companion>,
    tasks: (channel_host::Tasks, LiveTask),
}

/// Every `[[channel]]`, and callers' pages.
fn start_channels(
    config: &Config,
    (store, carrier): (&Arc<dyn Store>, &Carrier),
    conversations: &Conversations,
    (switch, links): (&SwitchHandle, mpsc::Receiver<call::LinkRequest>),
    webrtc: &Arc<WebRtc>,
) -> Result<Channels, StartError> {
    let (tenant, bus) = (&Tenant::default(), &carrier.bus);
    let accounts = channel_host::accounts(config, tenant).map_err(StartError::Channel)?;
    let (ingest, gateway) = (conversations.ingest(), config.gateway.id.clone());
    let typists = channel_host::Typists::start(ingest.clone(), Arc::clone(bus), tenant.clone(), gateway);
    let host = HostConfig {
        tenant: tenant.clone(),
        gateway: config.gateway.id.clone(),
        store: Arc::clone(store),
        bus: Some(Arc::clone(bus)),
        broker: carrier.broker(),
        inlet: Arc::new(channel_host::ToOwner(ingest.clone())),
        live: Arc::new(typists),
        files: channel_host::Files::new(config.files.attachments()),
        saved: config.gateway.data.join("channels"),
    };
    let (host, tasks) = ChannelHost::start(host, accounts);
    let (companion, carrying) = companion_of(config, tenant, (store, bus), conversations, host.files())?;
    tokio::spawn(companion::plans::run(links, switch.clone(), Arc::clone(&companion)));
    let callbacks = callbacks(config, store, conversations);
    let webchat = start_webchat(config, tenant, (store, bus), (&host, webrtc, callbacks))?;
    Ok(Channels { host, webchat, companion, tasks: (tasks, carrying) })
}

/// Callers' pages, with the short messages that carry their links.
fn companion_of(
    config: &Config,
    tenant: &Tenant,
    (store, bus): (&Arc<dyn Store>, &Arc<dyn Bus>),
    conversations: &Conversations,
    files: &channel_host::Files,
) -> Result<(Arc<Companion>, LiveTask), StartError> {
    let own = &config.companion;
    let sms = config.sms.as_ref().map(Sms::new).transpose().map_err(StartError::Channel)?;
    let hook = own.app_hook.as_ref().map(companion::AppHook::build).transpose().map_err(StartError::Channel)?;
    let companion = Companion::new(companion::Setup {
        tenant: tenant.clone(),
        gateway: config.gateway.id.clone(),
        store: Arc::clone(store),
        bus: Arc::clone(bus),
        ingest: conversations.ingest().clone(),
        files: files.clone(),
        parts: Companion::parts_below(config.files.folder()),
        base: own.url.clone().or_else(|| config.web.public_url.clone()),
        hook,
        sms: sms.map(Arc::new),
        sms_text: own.sms_text.clone(),
        clock: Arc::new(jiff::Timestamp::now),
    });
    let (stop, stopped) = watch::channel(false);
    let carrying = tokio::spawn(Arc::clone(&companion).carry(stopped));
    Ok((companion, (carrying, stop)))
}

fn callbacks(config: &Config, store: &Arc<dyn Store>, conversations: &Conversations) -> Callbacks {
    let queues = config.queue.iter().map(|queue| queue.name.clone()).collect();
    Callbacks::new(Arc::clone(store), conversations.clone(), sip_site(config, Vec::new()), queues)
}

/// Chat in web pages.
fn start_webchat(
    config: &Config,
    tenant: &Tenant,
    (store, bus): (&Arc<dyn Store>, &Arc<dyn Bus>),
    (channels, webrtc, callbacks): (&Arc<ChannelHost>, &Arc<WebRtc>, Callbacks),
) -> Result<Arc<webchat::Hub>, StartError> {
    let with = webchat::HubConfig {
        tenant: tenant.clone(),
        store: Arc::clone(store),
        bus: Arc::clone(bus),
        host: Arc::clone(channels),
        webrtc: Arc::clone(webrtc),
        callbacks,
    };
    webchat::Hub::start(config, with).map_err(StartError::Channel)
}

fn start_webhooks(
    config: &Config,
    store: &Arc<dyn Store>,
    bus: &Arc<dyn Bus>,
) -> Result<(Arc<Webhooks>, webhooks::Running), StartError> {
    let bounds = webhooks::Bounds::default();
    webhooks::start(&config.webhook, &config.gateway.id, Arc::clone(store), Arc::clone(bus), &bounds)
        .map_err(StartError::Webhook)
}

/// Looks at the plan files, and at what other gateways made live, for as long as the gateway runs, and lets go of the memory of a
/// burst once it is over.
async fn watch(plans: Arc<Plans>, switch: SwitchHandle) {
    let mut every = tokio::time::interval(WATCH_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut requests, mut last_busy, mut kept) = (0, Instant::now(), false);
    loop {
        every.tick().await;
        plans.look_for_changes().await;
        plans.follow().await;
        let received = switch.snapshot().sip.requests_received;
        if received != requests {
            (requests, last_busy, kept) = (received, Instant::now(), true);
        } else if kept && last_busy.elapsed() >= GIVE_BACK_AFTER {
            kept = false;
            // Some milliseconds without an await: not on a worker. It has no outcome.
            let _ = tokio::task::spawn_blocking(media::sys::give_back_memory).await;
        }
    }
}

/// Takes and gives back each port: a port that another program has is said before any prompt is made, which can take a minute.
async fn try_ports(config: &Config) -> Result<(), StartError> {
    for listen in &config.sip.listen {
        match listen.transport {
            SipTransport::Udp => drop(crate::net::udp::UdpPort::bind(listen.address)?),
            SipTransport::Tcp => drop(crate::net::tcp::bind(listen.address)?),
        }
    }
    bind_web(config.web.listen).await.map(drop)
}

async fn bind_web(listen: SocketAddr) -> Result<tokio::net::TcpListener, StartError> {
    tokio::net::TcpListener::bind(listen).await.map_err(|error| {
        StartError::Web(format!(
            "[web] listen {listen}: {error}. Stop the program that has this port (`ss -lntp`), or change it"
        ))
    })
}

struct Folders {
    recordings: PathBuf,
}

impl Folders {
    fn make(config: &Config) -> Result<Self, StartError> {
        let make = |what: &'static str, path: PathBuf| {
            std::fs::create_dir_all(&path).map(|()| path.clone()).map_err(|source| StartError::Folder {
                what,
                path: path.display().to_string(),
                source,
                advice: "Make it, or give the user that runs Ark the right to",
            })
        };
        make("the data folder", config.gateway.data.clone())?;
        make("the prompt folder", config.files.prompts())?;
        let recordings = make("the recordings folder", config.files.recordings())?;
        let recordings = recordings.canonicalize().unwrap_or(recordings);
        Ok(Self { recordings })
    }
}

/// Starts the log's writer, and puts right in the log what the end of an earlier process left.
async fn begin_log(
    config: &Config,
    store: &Arc<dyn Store>,
    onward: &Onward,
    (writer, process): (&Writer, &str),
    folders: &Folders,
) -> Result<(LogSink, LogWriter), StartError> {
    // What is in the spool comes first: it may hold the end of calls that would count as lost.
    let started = conversations::start(Arc::clone(store), onward.clone(), writer.clone(), open_spool(config)?).await;
    site::close_own_calls(&**store, writer, onward, process, config).await?;
    conversations::mend_recordings(&**store, writer, onward, &folders.recordings).await?;
    Ok(started)
}

fn open_spool(config: &Config) -> Result<Spool, StartError> {
    let folder = config.gateway.data.join("spool");
    Spool::open(&folder, SPOOL_BYTES_MAX).map_err(|source| StartError::Folder {
        what: "the spool of events",
        path: folder.display().to_string(),
        source,
        advice: "Give the user that runs Ark the right to read and write it",
    })
}

/// The address of RTP sockets: "every IPv4 address" means every address where callers may come by IPv6 as well.
fn rtp_address(config: &Config) -> IpAddr {
    let by_ipv6 = config.sip.listen.iter().any(|listen| listen.address.is_ipv6());
    if by_ipv6 && config.rtp.address.is_unspecified() { Ipv6Addr::UNSPECIFIED.into() } else { config.rtp.address }
}

fn engine_config(config: &Config) -> EngineConfig {
    EngineConfig {
        threads: config.media.threads,
        cores: config.media.cores.clone(),
        ip: rtp_address(config),
        ports: config.rtp.ports.first..=config.rtp.ports.last,
        // "0s": never, which a call does not live to see.
        rtp_timeout: if config.rtp.timeout.0.is_zero() { NEVER } else { config.rtp.timeout.0 },
        ..EngineConfig::default()
    }
}

fn switch_config(
    config: &Config,
    (process, site): (&str, Option<&SiteTasks>),
    recordings: PathBuf,
    log: bool,
) -> SwitchConfig {
    SwitchConfig {
        tenant: Tenant::default(),
        gateway: config.gateway.id.clone(),
        process: process.to_owned(),
        shards: site.map(SiteTasks::own),
        advertise: config.sip.advertise,
        codecs: config.media.codecs(),
        codec_order: match config.media.codec_order {
            CodecOrder::Ours => Preference::Ours,
            CodecOrder::Theirs => Preference::Theirs,
        },
        comfort_noise: config.media.comfort_noise,
        udp: Vec::new(),
        tcp: Vec::new(),
        recordings,
        record_as: config.recording.record_as(),
        consent_tone: config.recording.tone(),
        require_consent: config.recording.require_consent,
        announce_recording: config.recording.announces(),
        announce_to_joiners: config.recording.announces_to_joiners(),
        number: config.hotline.first().map_or_else(|| "ark".to_owned(), |h| h.number.clone()),
        log,
        calls_max: config.sip.calls_max,
        ring_timeout: config.sip.ring_timeout.0,
        unread_queues: (config.speech.engine != SpeechEngine::Off)
            .then(|| config.queue.iter().filter(|q| !q.transcribe).map(|q| q.name.clone()).collect()),
    }
}

fn sip_site(config: &Config, hotlines: Vec<(String, call::Hotline)>) -> Site {
    let trunks = config.trunk.iter().map(|t| Trunk {
        name: t.name.clone(),
        peers: t.peers.iter().filter_map(|p| p.to_string().parse().ok()).collect(),
        proxy: proxy(t).map(|(address, _)| address),
        tcp: proxy(t).is_some_and(|(_, tcp)| tcp),
        caller: t.caller.clone(),
        codecs: t.codecs.iter().map(|codec| codec.0).collect(),
        dtmf: t.dtmf.into(),
        credentials: credentials(t),
    });
    let routes =
        config.route.iter().map(|r| Route { prefix: r.prefix.clone(), trunk: r.trunk.clone(), strip: r.strip });
    let targets = config.target.iter().map(|t| (t.name.clone(), t.to.clone())).collect();
    let mut site = Site { trunks: trunks.collect(), routes: routes.collect(), targets, ..Site::default() };
    site.set_hotlines(hotlines);
    site
}

/// Where a trunk's calls go: its proxy, or its only peer.
fn proxy(trunk: &crate::config::Trunk) -> Option<(SocketAddr, bool)> {
    if let Some(proxy) = &trunk.proxy {
        return call::site::address_of(proxy);
    }
    match trunk.peers.as_slice() {
        [peer] if peer.is_host() => Some((SocketAddr::new(peer.address, 5060), false)),
        _ => None,
    }
}

fn credentials(trunk: &crate::config::Trunk) -> Option<Credentials> {
    // That it can be read was checked with the rest of the file.
    let password = trunk.password.as_ref()?.read().ok()?;
    Some(Credentials { username: trunk.username.clone()?, password })
}

fn endpoint(config: &Config) -> MakeEndpoint {
    let user_agent = format!("Ark/{}", env!("CARGO_PKG_VERSION"));
    let advertise = config.sip.advertise;
    let calls = config.sip.calls_max;
    let calls_per_second = config.sip.calls_per_second_max;
    Box::new(move |_| {
        let limits = ua::Limits { calls: calls.saturating_mul(2), ..ua::Limits::default() };
        let config = ua::Config {
            secret: rand::random(),
            user_agent,
            advertise: advertise.map(|ip| match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            }),
            limits,
            calls_per_second_max: (calls_per_second > 0).then_some(calls_per_second),
            ..ua::Config::default()
        };
        ua::Endpoint::new(config, rand::random())
    })
}

fn guard(config: &Config) -> Guard {
    let mut acl = Acl::private();
    // A phone on this machine calls from this machine's address, which need not be a private one.
    for probe in [IpAddr::from([192, 0, 2, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])] {
        if let Some(Ok(own)) = crate::net::local::route(probe).map(|own| own.to_string().parse()) {
            acl.allow(own);
        }
    }
    if !config.trunk.is_empty() {
        // Beside the carriers' own addresses: operators' phones and the self-call are at home.
        for peer in config.trunk.iter().flat_map(|t| &t.peers) {
            if let Ok(block) = peer.to_string().parse() {
                acl.allow(block);
            }
        }
    }
    let messages_per_second = config.sip.messages_per_second_max;
    let guard = GuardConfig {
        acl,
        messages_per_second,
        burst: messages_per_second.saturating_mul(2),
        ..GuardConfig::default()
    };
    Guard::new(guard, rand::random(), Instant::now())
}

/// The page and the API, on `[web] listen`.
async fn start_web(
    config: &Config,
    control: Arc<dyn Control>,
    switch: &SwitchHandle,
    (token, webrtc): (Token, Arc<WebRtc>),
) -> Result<(SocketAddr, String, watch::Sender<bool>, tokio::task::JoinHandle<()>), StartError> {
    let text = token.reveal().to_owned();
    let listen = config.web.listen;
    let listener = bind_web(listen).await?;
    let address = listener.local_addr().unwrap_or(listen);
    let tls = config.web.tls.as_ref().map(http::tls::server).transpose().map_err(StartError::Web)?;
    if let Some(companion) = control.companion() {
        companion.served_at(&format!("http{}://{address}", if tls.is_some() { "s" } else { "" }));
    }
    let about = http::About {
        gateway: config.gateway.id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        call: how_to_call(config, switch.listening()),
    };
    let web = http::Web::new(http::WebConfig {
        webrtc: Some(webrtc),
        control,
        token,
        public_url: config.web.public_url.clone(),
        tls: tls.is_some(),
        files: config.files.folder().to_path_buf(),
        proxies: config.web.proxies.clone(),
        queues: config.queue.clone(),
        assets: config.web.assets.clone(),
        oidc: config.oidc.clone(),
        about,
    });
    let (stop, mut stopped) = watch::channel(false);
    let sockets = Arc::clone(&web);
    let router = http::router(web);
    let task = tokio::spawn(async move {
        let stop = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
            sockets.close_sockets();
        };
        if let Err(error) = http::serve(listener, tls, router, stop).await {
            tracing::error!(%error, "the web server ended");
        }
    });
    Ok((address, text, stop, task))
}

/// SIP addresses that reach the hotlines from another machine: the advertised address, else the one of the default route.
pub fn how_to_call(config: &Config, listening: &[SipListen]) -> Vec<String> {
    let udp = listening.iter().find(|l| l.transport == SipTransport::Udp).or_else(|| listening.first());
    let Some(listen) = udp else { return Vec::new() };
    let ip = match (config.sip.advertise, listen.address.ip()) {
        (Some(ip), _) => ip,
        (None, ip) if !ip.is_unspecified() => ip,
        // A documentation address: nothing is sent, only the routing table is asked.
        (None, IpAddr::V4(_)) => {
            crate::net::local::route(IpAddr::from([192, 0, 2, 1])).unwrap_or(IpAddr::from([127, 0, 0, 1]))
        }
        (None, IpAddr::V6(_)) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    let address = SocketAddr::new(ip, listen.address.port());
    config.hotline.iter().filter(|h| h.number != "*").map(|h| format!("sip:{}@{address}", h.number)).collect()
}

/// The running gateway behind the API.
struct Running {
    desk: Arc<Desk>,
    webchat: Arc<webchat::Hub>,
    config: Arc<Config>,
    switch: SwitchHandle,
    plans: Arc<Plans>,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    log: LogSink,
    engine: EngineHandle,
    site: Option<SiteView>,
    live: Arc<LiveBoard>,
    conversations: Conversations,
    companion: Arc<Companion>,
    survey: Option<Arc<Survey>>,
    webhooks: Arc<Webhooks>,
    channels: Arc<ChannelHost>,
    webrtc: Arc<WebRtc>,
    speech: Option<Arc<speech::Status>>,
}

impl Running {
    async fn sample(&self) -> Vec<Sample> {
        let switch = self.switch.snapshot();
        let media = self.engine.metrics().snapshot();
        let store = self.store.health().await;
        let bus = self.bus.health().await;
        let log = self.log.stats();
        let load = |value: &std::sync::atomic::AtomicU64| value.load(std::sync::atomic::Ordering::Relaxed);
        let site = self.site.as_ref();
        let [browsers, browser_legs, browser_drops] = self.webrtc.numbers();
        let [shards, relayed, retries] = site.map(SiteView::numbers).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "Prometheus speaks in doubles")]
        let sample = |name, help, kind, value: u64| Sample { name, help, kind, label: None, value: value as f64 };
        let (counter, gauge) = (SampleKind::Counter, SampleKind::Gauge);
        let sip = switch.sip;
        let refused = sip.refused_draining
            + sip.refused_overloaded
            + sip.refused_rate
            + sip.refused_calls_full
            + sip.refused_transactions_full
            + sip.refused_source_full;
        let mut samples = vec![
            sample("ark_calls", "Calls that are known now.", gauge, switch.calls as u64),
            sample("ark_callers_waiting", "Callers that wait for a person now.", gauge, switch.waiting as u64),
            sample("ark_sip_connections", "TCP connections that are open now.", gauge, switch.connections as u64),
            sample(
                "ark_sip_guarded_total",
                "Datagrams and messages dropped before the parser.",
                counter,
                switch.guarded,
            ),
            sample("ark_sip_requests_total", "SIP requests received.", counter, sip.requests_received),
            sample("ark_sip_responses_total", "SIP responses received.", counter, sip.responses_received),
            sample("ark_sip_sent_total", "SIP messages sent.", counter, sip.messages_sent),
            sample("ark_sip_retransmissions_total", "SIP messages sent again.", counter, sip.retransmissions_sent),
            sample("ark_sip_malformed_total", "Messages that could not be read.", counter, sip.malformed),
            sample("ark_sip_refused_503_total", "New calls refused for want of room.", counter, refused),
            sample(
                "ark_persons_sought_total",
                "Callers sent toward a person.",
                counter,
                switch.counters.persons_sought,
            ),
            sample("ark_prompts_missing_total", "Prompts that had no audio.", counter, switch.counters.prompts_missing),
            sample("ark_store_events_total", "Events committed to the log.", counter, store.committed_events),
            sample("ark_store_failed_commits_total", "Commits that failed.", counter, store.failed_commits),
            sample("ark_log_retries_total", "Appends that were tried again.", counter, load(&log.retries)),
            sample("ark_log_dropped_total", "Events that the log never got.", counter, load(&log.dropped)),
            sample("ark_log_spool_events", "Events that wait on disk for the store.", gauge, load(&log.spool_events)),
            sample("ark_log_spool_bytes", "Bytes of the spool on disk.", gauge, load(&log.spool_bytes)),
            sample("ark_bus_readers", "Live readers of the bus.", gauge, bus.subscribers as u64),
            sample("ark_bus_waiting", "Messages that wait in this process for the broker.", gauge, bus.waiting as u64),
            sample("ark_bus_confirmed_total", "Messages that the broker confirmed.", counter, bus.confirmed),
            sample("ark_bus_connects_total", "Connections to a broker that were made.", counter, bus.connects),
            sample("ark_webrtc_sessions", "Pages and programs that may call or answer now.", gauge, browsers),
            sample("ark_webrtc_legs", "Browsers' legs that are open now.", gauge, browser_legs),
            sample("ark_webrtc_dropped_total", "Browsers' packets that no leg could take.", counter, browser_drops),
            sample("ark_shards", "Shards whose lease this gateway has.", gauge, shards),
            sample("ark_relay_events_total", "Committed events that the broker confirmed.", counter, relayed),
            sample("ark_relay_retries_total", "Times that the relay tried again.", counter, retries),
        ];
        samples.extend(self.conversations.samples().await);
        samples.extend(media_samples(&media, switch.media_load));
        samples.extend(self.desk.samples());
        samples.extend(self.webrtc.samples());
        samples.extend(self.webhooks.samples().await);
        samples.extend(self.channels.samples());
        samples.extend(self.speech.iter().flat_map(|speech| speech.samples()));
        samples
    }
}

/// What the media engine counts, and how its threads fare.
fn media_samples(media: &media::metrics::Snapshot, load: media::load::Load) -> Vec<Sample> {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus speaks in doubles")]
    let sample = |name, help, kind, value: u64| Sample { name, help, kind, label: None, value: value as f64 };
    let (counter, gauge) = (SampleKind::Counter, SampleKind::Gauge);
    let ratio = |name, help, value: f64| Sample { name, help, kind: gauge, label: None, value };
    vec![
        sample("ark_media_legs", "RTP legs that are open now.", gauge, media.legs),
        sample("ark_rtp_packets_received_total", "RTP packets received.", counter, media.rtp_in),
        sample("ark_rtp_packets_sent_total", "RTP packets sent.", counter, media.rtp_out),
        sample("ark_rtp_resyncs_total", "Times that media had to skip what was too late.", counter, media.resyncs),
        sample(
            "ark_media_overloaded",
            "1 while new calls get 503 since the media threads are at their limit.",
            gauge,
            u64::from(load.overloaded),
        ),
        ratio("ark_media_busy_ratio", "CPU time of the busiest media thread in its share.", load.busy),
        ratio("ark_media_late_ratio", "Frames sent 20 ms late or more, of those of the last second.", load.late),
        sample(
            "ark_recordings_failed_total",
            "Recordings that failed or could not begin.",
            counter,
            media.recordings_failed,
        ),
        sample(
            "ark_record_blocks_dropped_total",
            "Blocks of recordings dropped since the disk was too far behind.",
            counter,
            media.record_blocks_dropped,
        ),
        sample(
            "ark_record_blocks_waiting",
            "Blocks of recordings that wait for the disk.",
            gauge,
            media.record_blocks_waiting,
        ),
    ]
}

impl Control for Running {
    fn calls(&self) -> Reply<'_, Vec<CallView>> {
        Box::pin(async move {
            let views = self.switch.calls().await.unwrap_or_default();
            let here = views.iter().map(|view| (self.config.gateway.id.clone(), self.live.show(view)));
            let all = here.chain(self.live.calls_elsewhere());
            all.map(|(gateway, call)| live::call_view(&gateway, call)).collect()
        })
    }

    fn place(&self, request: PlaceRequest) -> Reply<'_, Result<Placed, ControlError>> {
        Box::pin(async move {
            let first = || self.config.hotline.first().map(|h| h.number.clone());
            let Some(hotline) = request.hotline.or_else(first) else {
                let why = "there is no [[hotline]]: its plan is what the called person hears";
                return Err(ControlError::Refused(why.to_owned()));
            };
            match self.switch.place(request.to, hotline).await {
                Ok(conversation) => Ok(Placed { id: conversation.to_string(), conversation: conversation.to_string() }),
                Err(error @ CannotPlace::Full(_)) => Err(ControlError::Unavailable(error.to_string())),
                Err(error) => Err(ControlError::Refused(error.to_string())),
            }
        })
    }

    fn hangup<'a>(&'a self, id: &'a str) -> Reply<'a, Result<(), ControlError>> {
        Box::pin(async move {
            let not_found = |_| ControlError::NotFound(CannotAct::NoCall.to_string());
            self.live.act(id.parse().map_err(not_found)?, CallAction::Hangup).await.map(|_| ())
        })
    }

    fn act<'a>(&'a self, id: &'a str, action: TalkAction) -> Reply<'a, Result<Option<LegId>, ControlError>> {
        Box::pin(async move {
            let not_found = |_| ControlError::NotFound(CannotAct::NoCall.to_string());
            self.live.act(id.parse().map_err(not_found)?, CallAction::Talk(action)).await
        })
    }

    fn plans(&self) -> Reply<'_, Vec<PlanView>> {
        Box::pin(async move {
            let mut calls: BTreeMap<(String, u32), u64> = BTreeMap::new();
            for call in self.switch.calls().await.unwrap_or_default() {
                *calls.entry((call.plan, call.plan_version)).or_default() += 1;
            }
            self.plans.views(&calls).await.unwrap_or_else(|error| {
                tracing::error!(%error, "the plans cannot be read");
                Vec::new()
            })
        })
    }

    fn publish<'a>(&'a self, name: &'a str, source: Option<String>) -> Reply<'a, Result<Published, ControlError>> {
        Box::pin(async move { Ok(self.plans.publish(name, source, "api").await?) })
    }

    fn rollback<'a>(&'a self, name: &'a str, version: Option<u32>) -> Reply<'a, Result<Published, ControlError>> {
        Box::pin(async move { Ok(self.plans.roll_back(name, version, "api").await?) })
    }

    fn samples(&self) -> Reply<'_, Vec<Sample>> {
        Box::pin(async move { self.sample().await })
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.bus)
    }

    fn live(&self) -> Option<Arc<LiveBoard>> {
        Some(Arc::clone(&self.live))
    }

    fn conversations(&self) -> Option<Conversations> {
        Some(self.conversations.clone())
    }

    fn callbacks(&self) -> Option<Callbacks> {
        Some(callbacks(&self.config, &self.store, &self.conversations))
    }

    fn desk(&self) -> Option<Arc<Desk>> {
        Some(Arc::clone(&self.desk))
    }

    fn channels(&self) -> Option<Arc<ChannelHost>> {
        Some(Arc::clone(&self.channels))
    }

    fn webchat(&self) -> Option<Arc<webchat::Hub>> {
        Some(Arc::clone(&self.webchat))
    }

    fn companion(&self) -> Option<Arc<Companion>> {
        Some(Arc::clone(&self.companion))
    }

    fn survey(&self) -> Option<Arc<Survey>> {
        self.survey.clone()
    }

    fn sms(&self) -> Option<Arc<Sms>> {
        self.companion.sms()
    }

    fn log(&self, event: ark_conversation::NewEvent) -> bool {
        self.log.push(event)
    }

    fn speech(&self) -> Option<speech::SpeechView> {
        self.speech.as_ref().map(|speech| speech.view())
    }

    fn webhooks(&self) -> Option<Arc<Webhooks>> {
        Some(Arc::clone(&self.webhooks))
    }

    fn readiness(&self) -> Reply<'_, Vec<Ready>> {
        Box::pin(async move {
            let ready = |name: &str, ok: bool, detail: String| Ready { name: name.to_owned(), ok, detail };
            let mut items = Vec::new();
            let calls = self.switch.calls().await;
            let listening: Vec<String> =
                self.switch.listening().iter().map(|l| format!("{}:{}", l.transport, l.address)).collect();
            items.push(match calls {
                Ok(calls) => ready("sip", true, format!("{}, {} calls up", listening.join(" "), calls.len())),
                Err(gone) => ready("sip", false, gone.to_string()),
            });
            let media = self.engine.metrics().snapshot();
            let load = self.switch.snapshot().media_load;
            let limit = if load.overloaded { ": at their limit, new calls get 503" } else { "" };
            let threads = self.engine.metrics().legs_by_thread().len();
            let busy = load.busy * 100.0;
            let detail = format!("{} legs on {threads} threads, the busiest at {busy:.0} %{limit}", media.legs);
            items.push(ready("media", true, detail));
            let store = self.store.health().await;
            items.push(ready(
                "store",
                store.is_ok(),
                format!("{:?}, {} events since the start", store.state, store.committed_events),
            ));
            let bus = self.bus.health().await;
            let detail = bus.failing.clone().unwrap_or_else(|| format!("{} readers", bus.subscribers));
            items.push(ready("bus", bus.failing.is_none(), detail));
            if let Some(site) = &self.site {
                items.push(site.ready());
            }
            items.push(self.conversations.ready());
            items.extend(self.channels.readiness());
            items.extend(self.speech.iter().map(|speech| {
                let view = speech.view();
                // Calls go on without it: a gateway whose engine is away is ready.
                ready("speech", true, view.in_words())
            }));
            let dropped = self.log.stats().dropped.load(std::sync::atomic::Ordering::Relaxed);
            items.push(ready("log", true, format!("{dropped} events were lost since the start")));
            for (name, live, complaint) in self.plans.state() {
                let ok = live.is_some();
                let detail = match (live, complaint) {
                    (Some(version), None) => format!("version {version} is live"),
                    (Some(version), Some(why)) => format!("version {version} is live; {why}"),
                    (None, why) => format!("not live: {}", why.unwrap_or_default()),
                };
                items.push(ready(&format!("plan {name}"), ok, detail));
            }
            items
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_sip::wire::parse_datagram;

    fn site(sip: &str) -> Config {
        let config = Config { sip: toml::from_str(sip).unwrap(), ..Config::builtin() };
        assert!(!config.sip.listen.is_empty());
        config
    }

    #[test]
    fn a_caller_is_told_the_socket_that_it_reached() {
        let config = site("listen = [\"udp:10.0.0.1:5060\", \"udp:[2001:db8::1]:5070\"]");
        let mut endpoint = endpoint(&config)(&config.sip.listen);
        let flow = ua::Flow::udp("[2001:db8::1]:5070".parse().unwrap(), "[2001:db8::2]:5060".parse().unwrap());
        let options =
            b"OPTIONS sip:95188@[2001:db8::1]:5070 SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::2];branch=z9hG4bK1\r\n\
            From: <sip:a@ark.test>;tag=a\r\nTo: <sip:95188@ark.test>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
        endpoint.receive(Instant::now(), flow, parse_datagram(options));
        let Some(ua::Output::Send { bytes, .. }) = endpoint.poll() else { panic!("no answer") };
        let answer = String::from_utf8(bytes).unwrap();
        assert!(answer.contains("\r\nContact: <sip:ark@[2001:db8::1]:5070>\r\n"), "{answer}");
    }

    #[test]
    fn rtp_on_every_address_serves_callers_by_ipv6_where_they_may_come() {
        let any = |sip: &str| rtp_address(&site(sip)).to_string();
        assert_eq!(any("listen = [\"udp:0.0.0.0:5060\"]"), "0.0.0.0");
        assert_eq!(any("listen = [\"udp:0.0.0.0:5060\", \"udp:[::1]:5060\"]"), "::");
    }
}
