//! What the bus costs: publish, confirm and consume through ark-bus against a bare lapin loop, in the same run; and the
//! relay, which reads the records out of a store's outbox first and forgets them there afterwards.
//!
//! `cargo run --release -p ark-bus --example carry_bench [-- ROUNDS]`. It starts a broker and a PostgreSQL of its own. Only
//! the ratios within one run mean anything.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench says what it measured, and stops when it cannot")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_bus::topology::TopologyConfig;
use ark_bus::{
    Answer, Bus, Filter, Missed, Outbox, RabbitBus, RabbitConfig, Relay, RelayStats, Shard, Stretch, Subscription,
    WakeUp, kit,
};
use ark_conversation::samples::{ended, new_event};
use ark_conversation::{ConversationId, LegId, NewEvent, Record, Tenant};
use ark_store::{Options, SqliteStore, Store};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};

const EVENTS: u64 = 20_000;
const WINDOW: usize = 256;
const BODY: usize = 1_000;
const READY: Duration = Duration::from_secs(60);

/// Where the yardstick publishes to.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    /// One quorum queue.
    Quorum,
    /// One classic queue.
    Classic,
    /// Where Ark's records go, with their properties: the history stream, and a reading gateway's queue.
    Records,
}

fn record_properties(n: u64) -> BasicProperties {
    let conversation = ConversationId::new(n % 500, 7).to_string();
    let mut headers = FieldTable::default();
    headers.insert("x-ark-conv".into(), AMQPValue::LongString(conversation.as_str().into()));
    headers.insert("x-ark-seq".into(), AMQPValue::LongLongInt((n / 500 + 1) as i64));
    headers.insert("x-ark-epoch".into(), AMQPValue::LongLongInt(1));
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_type("ark.record.v1".into())
        .with_message_id("01J00000000000000000000000".into())
        .with_correlation_id(conversation.as_str().into())
        .with_timestamp(1_795_516_200)
        .with_app_id("a/00000000".into())
        .with_headers(headers)
}

/// The yardstick: one connection publishes with confirms in a window, another consumes and acknowledges.
async fn bare(url: &str, place: Where) -> f64 {
    let connect = async || Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let (publishing, consuming) = (connect().await, connect().await);
    let channel = publishing.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut arguments = FieldTable::default();
    if place == Where::Quorum {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    }
    let name = match place {
        Where::Quorum => "bare.quorum",
        Where::Classic => "bare.classic",
        Where::Records => "bare.records",
    };
    let reader = consuming.create_channel().await.unwrap();
    let options = match place {
        // As a gateway's queue is.
        Where::Records => QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() },
        Where::Quorum | Where::Classic => QueueDeclareOptions::durable(),
    };
    reader.queue_declare(name.into(), options, arguments).await.unwrap();
    if place == Where::Records {
        let bound = reader.queue_bind(
            name.into(),
            ark_bus::topology::EVENTS.into(),
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.unwrap();
    }
    reader.basic_qos(WINDOW as u16, BasicQosOptions { global: false }).await.unwrap();
    let mut deliveries = reader
        .basic_consume(name.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .unwrap();
    let began = Instant::now();
    let consuming = tokio::spawn(async move {
        for _ in 0..EVENTS {
            deliveries.next().await.unwrap().unwrap().acker.ack(BasicAckOptions::default()).await.unwrap();
        }
    });
    let body = vec![b'x'; BODY];
    let mut window = std::collections::VecDeque::new();
    for n in 0..EVENTS {
        if window.len() >= WINDOW {
            let confirm: lapin::PublisherConfirm = window.pop_front().unwrap();
            assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
        }
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key, properties) = match place {
            Where::Records => (ark_bus::topology::EVENTS, "s000.main.ark.call.ended.v1", record_properties(n)),
            Where::Quorum | Where::Classic => ("", name, BasicProperties::default().with_delivery_mode(2)),
        };
        let sent = channel.basic_publish(exchange.into(), key.into(), options, &body, properties).await;
        window.push_back(sent.unwrap());
    }
    for confirm in window {
        assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
    }
    consuming.await.unwrap();
    EVENTS as f64 / began.elapsed().as_secs_f64()
}

/// [`bare`] where a gateway has laid Ark's topology.
async fn bare_records(url: &str) -> f64 {
    let _gateway = bus(url, "a").await;
    bare(url, Where::Records).await
}

async fn bus(url: &str, gateway: &str) -> Arc<RabbitBus> {
    let mut config = RabbitConfig::new(url, gateway, "bench").unwrap();
    config.topology = TopologyConfig { shards: 1, ..TopologyConfig::default() };
    config.window = WINDOW;
    Arc::new(RabbitBus::open(&config, READY).await.unwrap())
}

/// Wake-ups: one quorum queue, as the quorum yardstick.
async fn ingress(url: &str) -> f64 {
    let (a, b) = (bus(url, "a").await, bus(url, "b").await);
    let mut reader = b.ingress(vec![Shard(0)]).unwrap();
    let began = Instant::now();
    let reading = tokio::spawn(async move {
        for _ in 0..EVENTS {
            assert!(reader.next().await.unwrap().ack().await);
        }
    });
    let pad = "x".repeat(BODY - 150);
    let mut last = None;
    for n in 0..EVENTS {
        let (source, id) = (pad.clone(), n.to_string());
        let conversation = ConversationId::new(n % 500, 7);
        last = Some(a.wake(WakeUp { tenant: Tenant::MAIN, conversation, source, id, event: None }).unwrap());
    }
    last.unwrap().await.unwrap();
    reading.await.unwrap();
    EVENTS as f64 / began.elapsed().as_secs_f64()
}

fn event(n: u64) -> NewEvent {
    let mut event = new_event(ConversationId::new(n % 500, 7), n, ended(LegId(1)).into());
    event.event.extensions.insert("pad".to_owned(), "x".repeat(BODY - 500).into());
    event
}

/// Reads until all are seen or told as missed; gives how many were missed.
async fn read_all(mut reader: Subscription) -> u64 {
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < EVENTS {
        match reader.next().await {
            Ok(_) => seen += 1,
            Err(Missed::Lagged { missed: more }) => missed += more,
            Err(Missed::Closed) => break,
        }
    }
    missed
}

/// Committed records: the history stream and the reading gateway's queue, 1 KB each.
async fn log(url: &str) -> f64 {
    let (a, b) = (bus(url, "a").await, bus(url, "b").await);
    let reader = b.subscribe(Filter::default()).await.unwrap();
    let records: Vec<Arc<Record>> = (0..EVENTS).map(|n| Arc::new(event(n).into_record(n / 500 + 1))).collect();
    let began = Instant::now();
    let reading = tokio::spawn(read_all(reader));
    let mut last = None;
    for batch in records.chunks(256) {
        last = Some(a.carry(batch.to_vec()).unwrap());
    }
    last.unwrap().await.unwrap();
    tell_missed(reading.await.unwrap());
    EVENTS as f64 / began.elapsed().as_secs_f64()
}

fn tell_missed(missed: u64) {
    if missed > 0 {
        println!("  ({missed} of {EVENTS} its reader was sent to the store for)");
    }
}

/// A store's outbox, as a gateway that has all shards carries it.
struct All(Arc<dyn Store>);

impl Outbox for All {
    fn page(&self, without: Vec<u64>) -> Answer<'_, Result<Vec<Stretch>, String>> {
        Box::pin(async move {
            let rows = self.0.outbox(&[], &without, 256).await.map_err(|error| error.to_string())?;
            let stretch = |row: ark_store::Outgoing| Stretch {
                row: row.row,
                records: row.records.into_iter().map(Arc::new).collect(),
            };
            Ok(rows.into_iter().map(stretch).collect())
        })
    }

    fn done(&self, rows: Vec<u64>) -> Answer<'_, Result<(), String>> {
        Box::pin(async move { self.0.outbox_done(rows).await.map_err(|error| error.to_string()) })
    }
}

/// The relay with a backlog: as many rows in the outbox as events, until the last is confirmed, delivered and forgotten.
async fn relay(url: &str, store: Arc<dyn Store>) -> f64 {
    let (a, b) = (bus(url, "a").await, bus(url, "b").await);
    let reader = b.subscribe(Filter::default()).await.unwrap();
    for first in (0..EVENTS).step_by(250) {
        store.append((first..first + 250).map(event).collect()).await.unwrap();
    }
    assert_eq!(store.backlog().await.unwrap().outbox, EVENTS, "a row for each");
    let began = Instant::now();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (wake, stats) = (Arc::default(), Arc::new(RelayStats::default()));
    let relay = Relay { outbox: Arc::new(All(Arc::clone(&store))), bus: a.clone(), wake, stats };
    let relaying = tokio::spawn(relay.run(stopped));
    let missed = read_all(reader).await;
    stop.send_replace(true);
    relaying.await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    tell_missed(missed);
    assert_eq!(store.backlog().await.unwrap().outbox, 0, "all of it is forgotten");
    EVENTS as f64 / seconds
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Some(rabbit) = tokio::task::block_in_place(|| kit::rabbit("carry_bench")) else { return };
    let postgres = tokio::task::block_in_place(|| ark_store::kit::postgres("carry_bench with PostgreSQL"));
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    println!(
        "{EVENTS} messages of about {BODY} bytes, window {WINDOW}, persistent, mandatory, confirmed, acknowledged"
    );
    let folder = tempfile::tempdir_in(".").unwrap();
    for round in 1..=rounds {
        let url = rabbit.url();
        let bare_before = bare(&url, Where::Quorum).await;
        let classic = bare(&url, Where::Classic).await;
        let same = bare_records(&rabbit.url()).await;
        let wake_ups = ingress(&rabbit.url()).await;
        let records = log(&rabbit.url()).await;
        let options = Options { outbox: true, ..Options::new(folder.path().join(format!("{round}.db"))) };
        let relayed = relay(&rabbit.url(), Arc::new(SqliteStore::open_with(&options).unwrap())).await;
        let from_postgres = match &postgres {
            Some(server) => {
                let store = tokio::task::block_in_place(|| server.store(&format!("carry{round}")));
                Some(relay(&rabbit.url(), Arc::new(store)).await)
            }
            None => None,
        };
        let quorum = f64::midpoint(bare_before, bare(&rabbit.url(), Where::Quorum).await);
        let of = |rate: f64| format!("{rate:.0}/s (ratio {:.2})", rate / quorum);
        println!("round {round}: bare lapin quorum {quorum:.0}/s (before and after), classic {}", of(classic));
        println!("round {round}: bare lapin to where records go (history stream and a gateway's queue) {}", of(same));
        println!("round {round}: wake-ups {}, records {}", of(wake_ups), of(records));
        let from_postgres = from_postgres.map_or_else(|| "not run".to_owned(), of);
        println!("round {round}: relay from SQLite {}, from PostgreSQL {from_postgres}", of(relayed));
    }
}
