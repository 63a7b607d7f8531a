//! `ark serve`: everything put together, and taken apart in order.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_bus::{Bus, EmbeddedBus};
use ark_conversation::{ConversationId, Tenant, mask_number};
use ark_sip::guard::{Acl, Guard, GuardConfig};
use ark_sip::ua;
use ark_store::{SqliteStore, Store};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::call::driver::{self, Parts, SwitchHandle};
use crate::call::queue::QueueConfig;
use crate::call::{self, CannotPlace, Route, Site, SwitchConfig, Trunk};
use crate::config::{Config, SipListen, SipTransport};
use crate::control::{
    CallDirection, CallState, CallView, Control, ControlError, PlaceRequest, Placed, PlanView, Published, Ready, Reply,
};
use crate::conversations::{self, LogSink, LogWriter, Writer};
use crate::media::{Engine, EngineConfig};
use crate::plans::{Plans, Refusal};
use crate::prompts::Preparer;
use crate::{actions, http};

/// Media events that wait for the signalling thread.
const MEDIA_EVENTS: usize = 16_384;
/// How often plan files are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);

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
    /// A signalling socket.
    #[error(transparent)]
    Sip(#[from] crate::net::BindError),
    /// The media engine.
    #[error("the media engine cannot start: {0}")]
    Media(String),
    /// The web server.
    #[error("{0}")]
    Web(String),
    /// No hotline has a plan that can answer.
    #[error("no hotline can answer:\n{0}")]
    NoPlan(String),
    /// What the configuration names is not part of this release.
    #[error("{0}")]
    NotYet(String),
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
    http: http::Server,
    engine: Engine,
    log: LogSink,
    log_writer: LogWriter,
    watcher: tokio::task::JoinHandle<()>,
}

impl Gateway {
    /// Starts everything, in the order in which it depends on each other. Nothing stays behind when it fails.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let tenant = Tenant::default();
        let folders = Folders::make(&config)?;
        let store = open_store(&config).await?;
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
        let writer = Writer { tenant: tenant.clone(), gateway: config.gateway.id.clone() };
        let lost = conversations::close_lost_calls(&*store, &writer).await?;
        if lost > 0 {
            tracing::warn!(lost, "calls that were up when the gateway stopped last are closed in the log");
        }
        let (log, log_writer) = conversations::start(Arc::clone(&store), Arc::clone(&bus), writer.clone());
        let (media_sender, media_events) = mpsc::channel(MEDIA_EVENTS);
        let engine = Engine::start(engine_config(&config), media_sender).map_err(|e| StartError::Media(e.to_string()))?;
        let preparer = Preparer::new(&config);
        let plans = Arc::new(Plans::new(Arc::clone(&config), Arc::clone(&store), log.clone(), writer, preparer));
        let refused = plans.load_all().await;
        let refused: Vec<String> = refused.into_iter().map(|(_, refusal)| words(&refusal)).collect();
        let hotlines = plans.hotlines();
        if hotlines.is_empty() && !config.hotline.is_empty() {
            return Err(StartError::NoPlan(refused.join("\n")));
        }
        let (http_sender, http_queue) = mpsc::channel(actions::QUEUE);
        let parts = Parts {
            listen: config.sip.listen.clone(),
            config: switch_config(&config, &tenant, folders.recordings),
            site: site(&config, hotlines),
            queues: queues(&config),
            endpoint: endpoint(&config),
            guard: guard(&config),
            media: engine.handle(),
            media_events,
            log: log.clone(),
            http: http_sender,
            seed: rand::random(),
        };
        let switch = driver::start(parts)?;
        plans.attach(switch.clone());
        tokio::spawn(actions::run(http_queue, switch.clone(), Arc::clone(&config)));
        let control: Arc<dyn Control> = Arc::new(Running {
            config: Arc::clone(&config),
            switch: switch.clone(),
            plans: Arc::clone(&plans),
            store: Arc::clone(&store),
            bus: Arc::clone(&bus),
            log: log.clone(),
            engine: engine.metrics(),
        });
        let http = http::start(&config, control, Arc::clone(&store), Arc::clone(&bus)).await.map_err(|e| StartError::Web(e.to_string()))?;
        let watched = Arc::clone(&plans);
        let watcher = tokio::spawn(async move {
            let mut every = tokio::time::interval(WATCH_EVERY);
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                watched.look_for_changes().await;
            }
        });
        let (web, token) = (http.address(), http.token().to_owned());
        Ok(Self { config, switch, store, bus, plans, web, token, refused, http, engine, log, log_writer, watcher })
    }

    /// Where SIP is heard.
    pub fn sip(&self) -> &[SipListen] {
        self.switch.listening()
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
        let Self { switch, plans, http, engine, log, log_writer, watcher, .. } = self;
        watcher.abort();
        switch.stop().await;
        http.stop().await;
        engine.stop();
        drop((switch, plans, log));
        log_writer.finish().await;
    }
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

async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    let Some(path) = config.store.sqlite_path() else {
        return Err(StartError::NotYet(format!("[store] url = \"{}\": this release keeps its log in SQLite; write \"sqlite:data/ark.db\"", config.store.url)));
    };
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|source| StartError::Folder {
            what: "the store's folder",
            path: folder.display().to_string(),
            source,
            advice: "Make it, or change [store] url",
        })?;
    }
    let store = SqliteStore::open(path).await?;
    Ok(Arc::new(store))
}

fn engine_config(config: &Config) -> EngineConfig {
    EngineConfig {
        threads: config.media.threads,
        cores: config.media.cores.clone(),
        ip: config.rtp.address,
        ports: config.rtp.ports.first..=config.rtp.ports.last,
        rtp_timeout: config.rtp.timeout.0,
        ..EngineConfig::default()
    }
}

fn switch_config(config: &Config, tenant: &Tenant, recordings: PathBuf) -> SwitchConfig {
    SwitchConfig {
        tenant: tenant.clone(),
        gateway: config.gateway.id.clone(),
        advertise: config.sip.advertise,
        udp: None,
        tcp: None,
        recordings,
        number: config.hotline.first().map_or_else(|| "ark".to_owned(), |h| h.number.clone()),
        log: true,
        calls_max: config.sip.calls_max,
    }
}

fn site(config: &Config, hotlines: Vec<(String, call::Hotline)>) -> Site {
    let trunks = config.trunk.iter().map(|t| Trunk {
        name: t.name.clone(),
        peers: t.peers.iter().map(|p| p.net()).collect(),
        proxy: t.proxy_address(),
    });
    let routes = config.route.iter().map(|r| Route { prefix: r.prefix.clone(), trunk: r.trunk.clone(), strip: r.strip });
    let mut site = Site { trunks: trunks.collect(), routes: routes.collect(), ..Site::default() };
    site.set_hotlines(hotlines);
    site
}

fn queues(config: &Config) -> Vec<QueueConfig> {
    config.queue.iter().map(|q| QueueConfig { name: q.name.clone(), operators: q.operators.clone(), ring: q.ring.0 }).collect()
}

fn endpoint(config: &Config) -> Box<dyn FnOnce(&[SipListen]) -> ua::Endpoint + Send> {
    let user_agent = format!("Ark/{}", env!("CARGO_PKG_VERSION"));
    let advertise = config.sip.advertise;
    let calls = config.sip.calls_max;
    Box::new(move |listening| {
        let port = |wanted| listening.iter().find(|l| l.transport == wanted).map(|l| l.address.port());
        let limits = ua::Limits { calls: calls.saturating_mul(2), ..ua::Limits::default() };
        let config = ua::Config {
            secret: rand::random(),
            user_agent,
            advertise: advertise.map(|ip| match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            }),
            udp_port: port(SipTransport::Udp),
            tcp_port: port(SipTransport::Tcp),
            limits,
            ..ua::Config::default()
        };
        ua::Endpoint::new(config, rand::random())
    })
}

fn guard(config: &Config) -> Guard {
    let mut acl = Acl::private();
    if !config.trunk.is_empty() {
        acl = Acl::peers(config.trunk.iter().flat_map(|t| t.peers.iter().map(|p| p.cidr())));
        // Operators' phones and the self-call are at home.
        for block in Acl::home() {
            acl.allow(block);
        }
    }
    let guard = GuardConfig { acl, messages_per_second: config.sip.messages_per_second_max, ..GuardConfig::default() };
    Guard::new(guard, rand::random(), Instant::now())
}

fn words(refusal: &Refusal) -> String {
    refusal.to_string()
}

/// The running gateway behind the API.
struct Running {
    config: Arc<Config>,
    switch: SwitchHandle,
    plans: Arc<Plans>,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    log: LogSink,
    engine: Arc<crate::media::Metrics>,
}

impl Running {
    fn show(&self, view: &call::CallView) -> CallView {
        let number = |text: &str| if self.config.log.numbers { text.to_owned() } else { mask_number(text) };
        let at = |when: Instant| wall(when).to_string();
        CallView {
            id: view.conversation.to_string(),
            conversation: view.conversation.to_string(),
            direction: match view.direction {
                ark_conversation::event::Direction::Inbound => CallDirection::In,
                ark_conversation::event::Direction::Outbound => CallDirection::Out,
            },
            state: match view.doing {
                "ringing" => CallState::Ringing,
                "waiting" => CallState::Queued,
                "talking" => CallState::Talking,
                _ => CallState::Ivr,
            },
            from: number(&view.from),
            to: view.to.clone(),
            started_at: at(view.started),
            answered_at: view.answered.map(at),
            plan: Some(format!("{}@{}", view.plan, view.plan_version)),
            plan_state: (!view.state.is_empty()).then(|| view.state.clone()),
            bridged_to: view.with.clone(),
            recording: view.recording,
        }
    }
}

/// The wall-clock time of a moment in the past.
fn wall(when: Instant) -> Timestamp {
    let ago = when.elapsed();
    Timestamp::now().checked_sub(ago).unwrap_or_else(|_| Timestamp::now())
}

impl Control for Running {
    fn calls(&self) -> Reply<'_, Vec<CallView>> {
        Box::pin(async move {
            let views = self.switch.calls().await.unwrap_or_default();
            views.iter().map(|view| self.show(view)).collect()
        })
    }

    fn place(&self, request: PlaceRequest) -> Reply<'_, Result<Placed, ControlError>> {
        Box::pin(async move {
            let hotline = match request.hotline.or_else(|| self.config.hotline.first().map(|h| h.number.clone())) {
                Some(hotline) => hotline,
                None => return Err(ControlError::Refused("there is no [[hotline]]: its plan is what the called person hears".to_owned())),
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
            let not_found = || ControlError::NotFound(format!("no call {id} is up: `ark call list` shows those that are"));
            let conversation: ConversationId = id.parse().map_err(|_| not_found())?;
            match self.switch.hang_up(conversation).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(not_found()),
                Err(gone) => Err(ControlError::Unavailable(gone.to_string())),
            }
        })
    }

    fn plans(&self) -> Reply<'_, Vec<PlanView>> {
        Box::pin(async move {
            let mut calls: BTreeMap<(String, u64), u64> = BTreeMap::new();
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

    fn rollback<'a>(&'a self, name: &'a str, version: Option<u64>) -> Reply<'a, Result<Published, ControlError>> {
        Box::pin(async move { Ok(self.plans.roll_back(name, version, "api").await?) })
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
            let free = self.engine.free_ports();
            items.push(ready("media", free > 0, format!("{free} RTP port pairs are free")));
            let store = self.store.health().await;
            items.push(ready("store", store.is_well(), store.to_string()));
            let bus = self.bus.health().await;
            let detail = bus.failing.clone().unwrap_or_else(|| format!("{} readers", bus.subscribers));
            items.push(ready("bus", bus.failing.is_none(), detail));
            let dropped = self.log.stats().dropped.load(std::sync::atomic::Ordering::Relaxed);
            items.push(ready("log", true, format!("{dropped} events were lost since the start")));
            for (name, live, refused) in self.plans.state() {
                let ok = live.is_some();
                let detail = match (live, refused) {
                    (Some(version), None) => format!("version {version} is live"),
                    (Some(version), Some(why)) => format!("version {version} is live; the file is not: {why}"),
                    (None, why) => format!("not live: {}", why.unwrap_or_default()),
                };
                items.push(ready(&format!("plan {name}"), ok, detail));
            }
            items
        })
    }
}
