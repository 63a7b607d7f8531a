//! A supervised connection: there is always one, or a reason why not, and each has a number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use lapin::{Connection, Event};
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::address::Broker;
use super::connect;
use crate::BusError;
use crate::limits::{RECONNECT_PAUSE_MAX, RECONNECT_PAUSE_MIN};

/// How often a connection is looked at that says nothing.
const LOOK: Duration = Duration::from_secs(1);
/// How long a dead connection may take to close before it is left behind.
const CLOSE: Duration = Duration::from_secs(2);
/// Reports of a dead connection that may wait.
const REPORTS: usize = 16;

/// A connection that stands.
pub(super) struct Live {
    /// Counts up with each connection of this link.
    pub(super) generation: u64,
    pub(super) connection: Connection,
    pub(super) broker: Broker,
    /// Why the broker takes nothing now.
    pub(super) blocked: watch::Sender<Option<String>>,
}

/// How a link is.
#[derive(Clone)]
pub(super) enum LinkState {
    /// The first attempt is under way.
    Untried,
    Up(Arc<Live>),
    Away(BusError),
    Closed,
}

/// The end of a link in whose hands it is; clones see the same connection.
#[derive(Clone)]
pub(super) struct Link {
    state: watch::Receiver<LinkState>,
    dead: mpsc::Sender<u64>,
}

impl Link {
    /// Begins to connect and goes on for as long as the bus is open.
    pub(super) fn start(shared: &Arc<Shared>, role: &'static str) -> Self {
        let (sender, state) = watch::channel(LinkState::Untried);
        let (dead, reports) = mpsc::channel(REPORTS);
        let keeper = Keeper { shared: Arc::clone(shared), role, state: sender, generation: 0, next: 0 };
        tokio::spawn(keeper.run(reports));
        Self { state, dead }
    }

    pub(super) fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    pub(super) fn live(&self) -> Option<Arc<Live>> {
        match &*self.state.borrow() {
            LinkState::Up(live) => Some(Arc::clone(live)),
            _ => None,
        }
    }

    /// Why there is no connection, when there is none.
    pub(super) fn why_away(&self) -> Option<BusError> {
        match &*self.state.borrow() {
            LinkState::Untried => Some(BusError::Unreachable { detail: "not tried yet".to_owned() }),
            LinkState::Away(error) => Some(error.clone()),
            LinkState::Up(_) | LinkState::Closed => None,
        }
    }

    /// Waits for a connection; none: the bus was closed.
    pub(super) async fn up(&mut self) -> Option<Arc<Live>> {
        let over = |state: &LinkState| matches!(state, LinkState::Up(_) | LinkState::Closed);
        let state = self.state.wait_for(over).await.ok()?.clone();
        match state {
            LinkState::Up(live) => Some(live),
            _ => None,
        }
    }

    /// Waits until this connection is no more the link's.
    pub(super) async fn gone(&mut self, generation: u64) {
        let stands = |state: &LinkState| matches!(state, LinkState::Up(live) if live.generation == generation);
        let _ = self.state.wait_for(|state| !stands(state)).await;
    }

    /// Waits for another state than the one seen last.
    pub(super) async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Says that a connection does not answer: it is ended and another one opened.
    pub(super) fn report_dead(&self, generation: u64) {
        // With that many reports waiting, one more says nothing new.
        let _ = self.dead.try_send(generation);
    }
}

/// The task behind a link.
struct Keeper {
    shared: Arc<Shared>,
    role: &'static str,
    state: watch::Sender<LinkState>,
    generation: u64,
    /// Which address is tried first: the one that worked last.
    next: usize,
}

impl Keeper {
    async fn run(mut self, mut reports: mpsc::Receiver<u64>) {
        let mut closing = self.shared.closing.subscribe();
        let mut pause = RECONNECT_PAUSE_MIN;
        loop {
            let connected = tokio::select! {
                connected = self.connect_any() => connected,
                () = told(&mut closing) => break,
            };
            let why = match connected {
                Ok(live) => {
                    pause = RECONNECT_PAUSE_MIN;
                    let events = live.connection.events_listener();
                    tracing::info!(broker = %live.broker, role = self.role, generation = live.generation, "connected");
                    self.state.send_replace(LinkState::Up(Arc::clone(&live)));
                    let why = tokio::select! {
                        why = watch_over(&live, events, &mut reports) => why,
                        () = told(&mut closing) => { close(live).await; break }
                    };
                    tracing::warn!(role = self.role, %why, "the connection is gone");
                    tokio::spawn(close(live));
                    why
                }
                Err(why) => why,
            };
            self.tell_away(why);
            let rest = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = told(&mut closing) => break,
            }
            pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
        }
        self.state.send_replace(LinkState::Closed);
    }

    fn tell_away(&self, why: BusError) {
        let news = !matches!(&*self.state.borrow(), LinkState::Away(known) if *known == why);
        if news {
            tracing::warn!(role = self.role, %why, "no broker");
            self.state.send_replace(LinkState::Away(why));
        }
    }

    /// Tries every address once. What needs a person is told before what may pass.
    async fn connect_any(&mut self) -> Result<Arc<Live>, BusError> {
        let mut failures = Vec::new();
        for step in 0..self.shared.brokers.len() {
            let index = (self.next + step) % self.shared.brokers.len();
            let broker = self.shared.brokers[index].clone();
            match self.connect_one(&broker).await {
                Ok(live) => {
                    self.next = index;
                    return Ok(live);
                }
                Err(failure) => failures.push(failure),
            }
        }
        self.next = (self.next + 1) % self.shared.brokers.len();
        Err(worst(failures))
    }

    async fn connect_one(&mut self, broker: &Broker) -> Result<Arc<Live>, BusError> {
        let name = format!("ark {} {}", self.shared.gateway, self.role);
        let connection = connect::open(broker, &self.shared.tls, &name).await?;
        self.shared.prepare(broker, &connection).await?;
        self.generation += 1;
        self.shared.counters.connects.fetch_add(1, Ordering::Relaxed);
        let blocked = watch::Sender::new(None);
        Ok(Arc::new(Live { generation: self.generation, connection, broker: broker.clone(), blocked }))
    }
}

/// Of what several addresses said, what a person should read.
pub(super) fn worst(mut failures: Vec<BusError>) -> BusError {
    if let Some(index) = failures.iter().position(|failure| !failure.is_temporary()) {
        return failures.swap_remove(index);
    }
    let details = failures.into_iter().map(|failure| match failure {
        BusError::Unreachable { detail } => detail,
        other => other.to_string(),
    });
    BusError::Unreachable { detail: details.collect::<Vec<_>>().join("; ") }
}

/// Follows what the connection says of itself, until it is dead.
async fn watch_over(live: &Live, events: impl Stream<Item = Event>, reports: &mut mpsc::Receiver<u64>) -> BusError {
    let mut events = std::pin::pin!(events);
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    tracing::error!(%reason, broker = %live.broker, "the broker takes nothing: events wait here");
                    live.blocked.send_replace(Some(reason));
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::warn!(broker = %live.broker, "the broker takes messages again");
                    live.blocked.send_replace(None);
                }
                Some(Event::Error(error)) if !live.connection.status().connected() => {
                    return connect::explain(&error, &live.broker);
                }
                Some(_) => {}
                None => return gone(live),
            },
            report = reports.recv() => {
                if report == Some(live.generation) {
                    return BusError::Unreachable { detail: format!("{}: it does not answer", live.broker.address()) };
                }
            }
            _ = look.tick() => {
                if !live.connection.status().connected() {
                    return gone(live);
                }
            }
        }
    }
}

fn gone(live: &Live) -> BusError {
    BusError::Unreachable { detail: format!("{}: the connection ended", live.broker.address()) }
}

/// Waits until the bus is to be closed.
async fn told(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn close(live: Arc<Live>) {
    if live.connection.status().connected() {
        let _ = tokio::time::timeout(CLOSE, live.connection.close(200, "bye".into())).await;
    }
}

/// Counters that all parts of a bus share.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) confirmed: AtomicU64,
    pub(super) republished: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) late_acks: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) stalls: AtomicU64,
    pub(super) unheard: AtomicU64,
}
