//! The bus over RabbitMQ.
//!
//! Two supervised connections: one publishes (a broker under alarm stops reading it), one consumes (and goes on
//! acknowledging meanwhile). Neither recovers by itself inside the client library; `link` opens the next one.

mod adapters;
mod address;
mod compare;
mod connect;
mod ingress;
mod link;
mod live;
mod log;
mod manage;
mod outbox;
mod publisher;
mod stall;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ark_conversation::{LiveEvent, Record};
use jiff::Timestamp;
use lapin::Connection;
use lapin::tcp::OwnedTLSConfig;
use tokio::sync::{mpsc, watch};

use crate::limits::{
    BROKERS_MAX, GATEWAY_COMMANDS, LIVE_BATCH, LIVE_WAITING, MESSAGE_BYTES_MAX, PUBLISH_WINDOW, PUBLISH_WINDOW_MAX,
};
use crate::receipt::Stub;
use crate::topology::{Topology, TopologyConfig, check_name};
use crate::{
    Answer, Bus, BusError, BusHealth, DeadLetter, EmbeddedBus, Filter, Ingress, Overheard, Receipt, Shard,
    Subscription, WakeUp, Which,
};
use connect::Identity;
use ingress::RabbitIngress;
use link::{Counters, Link, LinkState};
use log::{Interest, RabbitFeed, Reader};
use outbox::{OnRefusal, Outbox, Outgoing, What};
use publisher::Publisher;

pub use adapters::{AdapterQueue, Brought, ForAdapter, Inbound};
pub use address::{Broker, Tls};
pub use compare::{Compared, Comparison, Standing};
pub use manage::{Manager, QueueDepth};

/// What a gateway needs to know to use a broker.
#[derive(Clone, Debug)]
pub struct RabbitConfig {
    /// The brokers' addresses: the nodes of one cluster. They are tried in turn.
    pub brokers: Vec<Broker>,
    /// For `amqps://`.
    pub tls: Tls,
    /// This gateway's name.
    pub gateway: String,
    /// The id of this gateway's store: a broker that serves another store is refused.
    pub store_id: String,
    /// Shards, adapters and skills.
    pub topology: TopologyConfig,
    /// Messages that may wait for their confirm, 1 to 1024.
    pub window: usize,
}

impl RabbitConfig {
    /// One broker, everything else as it comes.
    ///
    /// # Errors
    /// [`BusError::Config`] for an address that does not fit.
    pub fn new(url: &str, gateway: &str, store_id: &str) -> Result<Self, BusError> {
        Ok(Self {
            brokers: vec![Broker::parse(url)?],
            tls: Tls::default(),
            gateway: gateway.to_owned(),
            store_id: store_id.to_owned(),
            topology: TopologyConfig::default(),
            window: PUBLISH_WINDOW,
        })
    }

    /// Whether it can be right; nobody is connected to.
    ///
    /// # Errors
    /// [`BusError::Config`] says what does not fit: the number of brokers, the window, the gateway's name.
    pub fn check(&self) -> Result<(), BusError> {
        let refuse = |why: String| Err(BusError::Config(why));
        if self.brokers.is_empty() || self.brokers.len() > BROKERS_MAX {
            return refuse(format!("[bus] names {} brokers; 1 to {BROKERS_MAX} fit", self.brokers.len()));
        }
        if !(1..=PUBLISH_WINDOW_MAX).contains(&self.window) {
            return refuse(format!("[bus] window is 1 to {PUBLISH_WINDOW_MAX}; this one is {}", self.window));
        }
        check_name(&self.gateway).map_err(|error| BusError::Config(error.to_string()))
    }
}

/// What all parts of one bus share.
struct Shared {
    brokers: Vec<Broker>,
    tls: OwnedTLSConfig,
    gateway: String,
    /// Tells this process from others, and from itself before a restart.
    instance: String,
    /// `gateway/instance`: the `app_id` of what this process publishes.
    from: String,
    identity: Identity,
    topology: Topology,
    shards: u16,
    window: usize,
    /// This gateway's own readers.
    local: EmbeddedBus,
    outbox: Outbox,
    interest: Arc<Interest>,
    counters: Counters,
    unconfirmed: AtomicUsize,
    closing: watch::Sender<bool>,
    /// One connection lays the topology at a time.
    laying: tokio::sync::Mutex<()>,
}

impl Shared {
    /// Lays the topology and makes sure that the broker serves this store.
    async fn prepare(&self, broker: &Broker, connection: &Connection) -> Result<(), BusError> {
        let _one_at_a_time = self.laying.lock().await;
        let channel = connect::channel(broker, connection).await?;
        let laid = async {
            connect::declare(broker, &channel, &self.topology).await?;
            connect::identify(broker, &channel, &self.identity).await
        };
        let laid = laid.await;
        let _ = channel.close(200, "bye".into()).await;
        laid
    }
}

/// The bus of several gateways.
///
/// Its own readers get a record as soon as it is handed over; those of other gateways get it from the broker. While the
/// broker is away everything waits in a bounded queue; at its return everybody is told to look into the store once.
pub struct RabbitBus {
    shared: Arc<Shared>,
    publish: Link,
    consume: Link,
    commands: std::sync::Mutex<Option<mpsc::Receiver<Vec<u8>>>>,
    live: mpsc::Sender<Vec<Arc<LiveEvent>>>,
}

impl RabbitBus {
    /// Begins to connect, in the background, and comes back at once; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BusError::Config`]. What brokers say is in [`RabbitBus::ready`] and [`Bus::health`].
    pub fn start(config: &RabbitConfig) -> Result<Self, BusError> {
        config.check()?;
        let topology = Topology::new(&config.topology).map_err(|error| BusError::Config(error.to_string()))?;
        let instance = format!("{:08x}", fastrand::u32(..));
        let identity = Identity {
            store: config.store_id.clone(),
            topology: config.topology.topology,
            shards: config.topology.shards,
        };
        let shared = Arc::new(Shared {
            brokers: config.brokers.clone(),
            tls: config.tls.read()?,
            gateway: config.gateway.clone(),
            from: format!("{}/{instance}", config.gateway),
            instance,
            identity,
            shards: topology.shards,
            topology,
            window: config.window,
            local: EmbeddedBus::with_shards(1),
            outbox: Outbox::default(),
            interest: Arc::default(),
            counters: Counters::default(),
            unconfirmed: AtomicUsize::new(0),
            closing: watch::Sender::new(false),
            laying: tokio::sync::Mutex::new(()),
        });
        let (publish, consume) = (Link::start(&shared, "publisher"), Link::start(&shared, "consumer"));
        let (commands, received) = mpsc::channel(GATEWAY_COMMANDS);
        let (live, said) = mpsc::channel(LIVE_WAITING);
        tokio::spawn(live::speak(Arc::clone(&shared), publish.clone(), said));
        tokio::spawn(live::listen(Arc::clone(&shared), consume.clone()));
        tokio::spawn(Publisher::new(Arc::clone(&shared), publish.clone()).run());
        tokio::spawn(Reader { shared: Arc::clone(&shared), link: consume.clone(), commands }.run());
        Ok(Self { shared, publish, consume, commands: std::sync::Mutex::new(Some(received)), live })
    }

    /// Starts, and waits until a broker was found and serves this store.
    ///
    /// # Errors
    /// As [`RabbitBus::start`] and [`RabbitBus::ready`].
    pub async fn open(config: &RabbitConfig, within: Duration) -> Result<Self, BusError> {
        let bus = Self::start(config)?;
        bus.ready(within).await?;
        Ok(bus)
    }

    /// Waits until both connections stand.
    ///
    /// # Errors
    /// At once what needs a person ([`BusError::WrongPassword`], [`BusError::WrongVhost`], [`BusError::OtherStore`],
    /// [`BusError::OtherTopology`], [`BusError::Tls`] ...); after `within` why there is no broker. The bus goes on
    /// trying all the same.
    pub async fn ready(&self, within: Duration) -> Result<(), BusError> {
        self.connected(within, false).await
    }

    /// As [`RabbitBus::ready`], but comes back after the first attempt of each connection, also when no broker answered:
    /// for whoever goes on without one.
    ///
    /// # Errors
    /// As [`RabbitBus::ready`].
    pub async fn tried(&self, within: Duration) -> Result<(), BusError> {
        self.connected(within, true).await
    }

    async fn connected(&self, within: Duration, once: bool) -> Result<(), BusError> {
        let waiting = async {
            for link in [&self.publish, &self.consume] {
                let mut link = link.clone();
                loop {
                    match link.state() {
                        LinkState::Up(_) => break,
                        LinkState::Away(error) if once || !error.is_temporary() => return Err(error),
                        LinkState::Closed => return Err(BusError::Closed),
                        LinkState::Untried | LinkState::Away(_) => link.changed().await,
                    }
                }
            }
            Ok(())
        };
        match tokio::time::timeout(within, waiting).await {
            Ok(ready) => ready,
            Err(_) => Err(self
                .why_away()
                .unwrap_or_else(|| BusError::Unreachable { detail: format!("no answer within {within:?}") })),
        }
    }

    /// Waits until everything that was handed over is settled, `within` at most, then closes the connections.
    pub async fn close(&self, within: Duration) {
        if tokio::time::timeout(within, publisher::drained(&self.shared)).await.is_err() {
            let messages = self.shared.outbox.count();
            tracing::warn!(messages, "messages could not be carried before the end; their outbox has them");
        }
        self.end();
    }

    fn end(&self) {
        self.shared.closing.send_replace(true);
        self.shared.local.close();
        self.shared.outbox.close();
    }

    /// Sends a command to one gateway, outside the durable road: it may be lost, and is after
    /// [`crate::limits::GATEWAY_COMMAND_TTL`].
    ///
    /// # Errors
    /// As [`Bus::carry`]; in the receipt [`BusError::Unroutable`] when that gateway is not there.
    pub fn tell(&self, gateway: &str, body: Vec<u8>) -> Result<Receipt, BusError> {
        check_name(gateway).map_err(|error| BusError::Config(error.to_string()))?;
        self.hand_over(1, |stub| {
            vec![Outgoing {
                what: What::Command(gateway.to_owned()),
                shard: Shard(0),
                body: Arc::new(body),
                attempts: 0,
                on_refusal: OnRefusal::Drop,
                stub: stub(0),
            }]
        })
    }

    /// The commands to this gateway; once.
    pub fn commands(&self) -> Option<mpsc::Receiver<Vec<u8>>> {
        self.commands.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Why there is no broker, when there is none.
    fn why_away(&self) -> Option<BusError> {
        [&self.publish, &self.consume].into_iter().find_map(Link::why_away)
    }

    fn blocked(&self) -> Option<String> {
        self.publish.live().and_then(|live| live.blocked.borrow().clone())
    }

    /// Why one more message does not fit.
    fn full(&self, waiting: usize) -> BusError {
        match (self.why_away(), self.blocked()) {
            (Some(error), _) => BusError::Away { detail: error.to_string(), waiting },
            (None, Some(reason)) => BusError::Blocked { reason, waiting },
            (None, None) => BusError::Full { waiting },
        }
    }

    fn hand_over(
        &self,
        count: usize,
        messages: impl FnOnce(&mut dyn FnMut(usize) -> Stub) -> Vec<Outgoing>,
    ) -> Result<Receipt, BusError> {
        let (receipt, stubs) = Receipt::of(count);
        let mut stubs = stubs.into_iter();
        let mut next = |_: usize| stubs.next().unwrap_or_else(Receipt::stray);
        let messages = messages(&mut next);
        if let Some(large) = messages.iter().map(|message| message.body.len()).find(|bytes| *bytes > MESSAGE_BYTES_MAX)
        {
            let error = BusError::TooLarge { bytes: large };
            messages.into_iter().for_each(|message| message.stub.failed(error.clone()));
            return Err(error);
        }
        self.shared.outbox.put(messages, |waiting| self.full(waiting))?;
        Ok(receipt)
    }

    fn ask(&self) -> Result<Arc<link::Live>, BusError> {
        self.consume.live().ok_or_else(|| {
            let detail = self.why_away().map_or_else(|| BusError::Closed.to_string(), |error| error.to_string());
            BusError::Away { detail, waiting: self.shared.outbox.count() }
        })
    }
}

impl Drop for RabbitBus {
    fn drop(&mut self) {
        self.end();
    }
}

impl Bus for RabbitBus {
    fn carry(&self, records: Vec<Arc<Record>>) -> Result<Receipt, BusError> {
        self.shared.local.publish_now(&records)?;
        self.hand_over(records.len(), |stub| {
            let message = |(index, record): (usize, &Arc<Record>)| Outgoing {
                what: What::Record(Arc::clone(record)),
                shard: Shard::of(record.conversation, self.shared.shards),
                body: wire::body(&**record),
                attempts: 0,
                on_refusal: OnRefusal::OfferAgain,
                stub: stub(index),
            };
            records.iter().enumerate().map(message).collect()
        })
    }

    fn wake(&self, wake_up: WakeUp) -> Result<Receipt, BusError> {
        let shard = Shard::of(wake_up.conversation, self.shared.shards);
        self.hand_over(1, |stub| {
            vec![Outgoing {
                what: wire::wake_up(&wake_up, Timestamp::now().as_second()),
                shard,
                body: wire::body(&wake_up),
                attempts: 0,
                on_refusal: OnRefusal::Tell(shard),
                stub: stub(0),
            }]
        })
    }

    fn subscribe(&self, filter: Filter) -> Answer<'_, Result<Subscription, BusError>> {
        Box::pin(async move {
            let shard = filter.conversation.map(|conversation| Shard::of(conversation, self.shared.shards));
            let local = self.shared.local.subscribe_now(filter)?;
            let (interested, version) = self.shared.interest.add(shard);
            // Without a broker nothing is routed to anybody; at its return everybody is told of a hole.
            if self.consume.live().is_some() {
                self.shared.interest.wait(shard, version).await;
            }
            Ok(Subscription::new(RabbitFeed { local, _interested: interested }))
        })
    }

    fn ingress(&self, shards: Vec<Shard>) -> Result<Ingress, BusError> {
        if let Some(&shard) = shards.iter().find(|shard| shard.0 >= self.shared.shards) {
            return Err(BusError::NoSuchShard { shard, shards: self.shared.shards });
        }
        if *self.shared.closing.borrow() {
            return Err(BusError::Closed);
        }
        Ok(Ingress::new(RabbitIngress::start(Arc::clone(&self.shared), self.consume.clone(), shards)))
    }

    fn announce(&self, events: Vec<LiveEvent>) {
        let events: Vec<Arc<LiveEvent>> = events.into_iter().map(Arc::new).collect();
        self.shared.local.live().announce(events.iter().cloned());
        for batch in events.chunks(LIVE_BATCH) {
            if self.live.try_send(batch.to_vec()).is_err() {
                self.shared.counters.unheard.fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
        }
    }

    fn overhear(&self) -> Result<Overheard, BusError> {
        self.shared.local.overhear()
    }

    fn shards(&self) -> u16 {
        self.shared.shards
    }

    fn dead(&self, limit: usize) -> Answer<'_, Result<Vec<DeadLetter>, BusError>> {
        Box::pin(async move {
            let live = self.ask()?;
            manage::peek(&live.broker, &live.connection, limit).await
        })
    }

    fn replay(&self, which: Which) -> Answer<'_, Result<usize, BusError>> {
        Box::pin(async move {
            let live = self.ask()?;
            manage::replay(&live.broker, &live.connection, &which).await
        })
    }

    fn health(&self) -> Answer<'_, BusHealth> {
        let (subscribers, published, lagged) = self.shared.local.counters();
        let blocked = self.blocked();
        let waiting = self.shared.outbox.count();
        let failing = if *self.shared.closing.borrow() {
            Some(BusError::Closed)
        } else if let Some(error) = self.why_away() {
            Some(error)
        } else {
            blocked.clone().map(|reason| BusError::Blocked { reason, waiting })
        };
        let counters = &self.shared.counters;
        let health = BusHealth {
            failing: failing.map(|error| error.to_string()),
            blocked,
            subscribers,
            published,
            lagged,
            waiting,
            unconfirmed: publisher::unconfirmed(&self.shared.unconfirmed),
            confirmed: counters.confirmed.load(Ordering::Relaxed),
            republished: counters.republished.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            connects: counters.connects.load(Ordering::Relaxed),
            late_acks: counters.late_acks.load(Ordering::Relaxed),
            unreadable: counters.unreadable.load(Ordering::Relaxed),
            stalls: counters.stalls.load(Ordering::Relaxed),
            announced: self.shared.local.live().announced(),
            unheard: counters.unheard.load(Ordering::Relaxed),
        };
        Box::pin(std::future::ready(health))
    }
}
