//! Calls of browsers: customers on a site's page, operators at the desk.
//!
//! A page speaks JSON over a WebSocket ([`signal`]), or a program WHIP (RFC 9725, `gateway/src/http/rtc.rs`). One task
//! has each of them ([`session`]), agrees on the offer, and stands to the switch as a SIP endpoint does: it says who calls
//! and when audio can flow ([`crate::call::web::FromWeb`]) and hears what becomes of it ([`crate::call::web::ToWeb`]).
//! Packets go between the road ([`peer`]) and the media engine by bounded queues ([`crate::media::Pipe`]); the leg is one
//! of the engine's like any other.

pub(crate) mod browser;
mod gate;
pub mod limits;
mod offer;
mod peer;
mod runtime;
mod servers;
mod session;
pub mod signal;
pub(crate) mod token;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::extract::ws::WebSocket;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use self::limits::{NAME_CHARS_MAX, SOCKETS_MAX};
use self::peer::Ports;
use self::servers::IceServers;
use self::token::{Purpose, Tokens};
use crate::call::driver::{SwitchHandle, TellWeb};
use crate::call::web::{FromWeb, ToWeb, WebKey};
use crate::config::Config;
use crate::telemetry::{Sample, SampleKind};

pub(crate) use self::session::{Refused, whip};

/// Whether that may be an operator's name.
pub fn is_operator_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(plain)
}

/// Every browser that is there, and what they may do.
pub struct WebRtc {
    ports: Ports,
    preferred: Vec<String>,
    servers: IceServers,
    /// Whether pages are to reach Ark through the TURN servers alone.
    relay_only: bool,
    origins: Vec<String>,
    tokens: Tokens,
    show_numbers: bool,
    switch: OnceLock<SwitchHandle>,
    table: Mutex<Table>,
    next: AtomicU64,
    /// Packets of browsers that ended legs did not get.
    dropped: AtomicU64,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Table {
    legs: HashMap<WebKey, mpsc::Sender<Mail>>,
    operators: HashMap<String, (u64, mpsc::Sender<Mail>)>,
    /// Sessions by the word that a page comes back with; WHIP's by the one in their address.
    sessions: HashMap<String, mpsc::Sender<Mail>>,
}

/// What comes for one browser's task from within.
#[derive(Debug)]
enum Mail {
    /// The switch says something.
    Switch(ToWeb),
    /// The same operator signed on elsewhere.
    Replaced,
    /// The page is back.
    Socket(Box<WebSocket>),
    /// The same operator's page is another one; whether it takes a call's sound away from this one.
    Elsewhere(Box<WebSocket>, bool),
    /// WHIP: the resource is deleted.
    Delete,
    /// WHIP: more candidates.
    Candidates(Vec<signal::Candidate>),
}

impl WebRtc {
    /// As the site's file says. `secret` is the gateway's token.
    ///
    /// # Errors
    /// A secret that cannot be read, in a sentence.
    pub fn new(config: &Config, secret: &str) -> Result<Arc<Self>, String> {
        let rtc = &config.webrtc;
        let preferred = if rtc.codecs.is_empty() { vec!["PCMA".into(), "PCMU".into()] } else { rtc.codecs.clone() };
        Ok(Arc::new(Self {
            ports: Ports {
                listen: listen(config),
                range: rtc.ports.range(),
                public: rtc.public_address,
                lite: rtc.lite,
                kept_out: Arc::default(),
            },
            preferred,
            servers: IceServers::new(&rtc.ice_servers)?,
            relay_only: rtc.relay_only,
            origins: rtc.origins.clone(),
            tokens: Tokens::new(secret),
            show_numbers: config.log.numbers,
            switch: OnceLock::new(),
            table: Mutex::default(),
            next: AtomicU64::new(1),
            dropped: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(SOCKETS_MAX)),
        }))
    }

    /// From now on there is a switch that takes calls.
    pub fn attach(&self, switch: SwitchHandle) {
        let _ = self.switch.set(switch);
    }

    /// A token for a page; good until then.
    pub(crate) fn mint(&self, purpose: Purpose, until: Timestamp) -> String {
        self.tokens.mint(purpose, until)
    }

    /// What a token is for, while it is good.
    pub(crate) fn purpose(&self, token: &str) -> Option<Purpose> {
        self.tokens.read(token, Timestamp::now())
    }

    /// What a token was for, though it may be good no longer: for a call that it began, which outlives it.
    pub(crate) fn purpose_ever(&self, token: &str) -> Option<Purpose> {
        self.tokens.read(token, Timestamp::MIN)
    }

    /// Whether pages of that origin may call, beside the gateway's own.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed.trim_end_matches('/') == origin)
    }

    /// Room for one more browser.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Serves a page's socket to its end.
    pub(crate) async fn serve(
        self: Arc<Self>,
        socket: WebSocket,
        remote: Option<SocketAddr>,
        place: OwnedSemaphorePermit,
    ) {
        session::page(self, socket, remote, place).await;
    }

    /// Browsers that are here now, legs among them, and packets that could not be handed to a leg since the start.
    pub fn numbers(&self) -> [u64; 3] {
        let (sessions, legs) = {
            let table = self.table();
            (table.sessions.len() as u64, table.legs.len() as u64)
        };
        [sessions, legs, self.dropped.load(Ordering::Relaxed)]
    }

    /// What the doors of browsers' ports kept out since the start.
    pub fn samples(&self) -> Vec<Sample> {
        let reasons = ["garbage", "stranger", "flood"];
        let sample = |(reason, count): (&str, u64)| Sample {
            name: "ark_webrtc_kept_out_total",
            help: "Datagrams that came to browsers' ports and are no part of a call.",
            kind: SampleKind::Counter,
            label: Some(("reason", reason.to_owned())),
            #[expect(clippy::cast_precision_loss, reason = "Prometheus speaks in doubles")]
            value: count as f64,
        };
        reasons.into_iter().zip(self.ports.kept_out.numbers()).map(sample).collect()
    }

    /// Says something to the switch. While there is none, nobody calls.
    async fn say(&self, said: FromWeb) {
        if let Some(switch) = self.switch.get() {
            let _ = switch.web(said).await;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in there is left half done by a panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Mail for a session that pages or programs name.
    pub(crate) fn end_by_name(&self, name: &str) -> bool {
        self.send_by_name(name, Mail::Delete)
    }

    /// More candidates for a session that programs name.
    pub(crate) fn candidates_by_name(&self, name: &str, candidates: Vec<signal::Candidate>) -> bool {
        self.send_by_name(name, Mail::Candidates(candidates))
    }

    fn send_by_name(&self, name: &str, mail: Mail) -> bool {
        let session = self.table().sessions.get(name).cloned();
        session.is_some_and(|session| session.try_send(mail).is_ok())
    }
}

impl TellWeb for WebRtc {
    fn tell(&self, said: ToWeb) -> bool {
        let key = said.key();
        let mut table = self.table();
        let to = match &said {
            ToWeb::Ring(_, ring) => {
                let Some((_, to)) = table.operators.get(&ring.operator) else { return false };
                let to = to.clone();
                table.legs.insert(key, to.clone());
                to
            }
            ToWeb::End(_) | ToWeb::Refuse(..) => {
                let Some(to) = table.legs.remove(&key) else { return false };
                to
            }
            ToWeb::Accept(..) => {
                let Some(to) = table.legs.get(&key) else { return false };
                to.clone()
            }
        };
        drop(table);
        let told = to.try_send(Mail::Switch(said)).is_ok();
        if !told {
            self.table().legs.remove(&key);
        }
        told
    }
}

/// The addresses that browsers' voice comes to.
fn listen(config: &Config) -> Vec<IpAddr> {
    if !config.webrtc.listen.is_empty() {
        return config.webrtc.listen.clone();
    }
    if !config.rtp.address.is_unspecified() {
        return vec![config.rtp.address];
    }
    // A documentation address: nothing is sent, only the routing table is asked.
    let road = crate::net::local::route(IpAddr::from([192, 0, 2, 1]));
    vec![road.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))]
}
