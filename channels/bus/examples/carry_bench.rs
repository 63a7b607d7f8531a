//! What the bus costs: publish, confirm and consume through ark-bus against a bare lapin loop, in the same run.
//!
//! `cargo run --release -p ark-bus --example carry_bench`. It starts a broker of its own. Only the ratios within one
//! run mean anything.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench says what it measured, and stops when it cannot")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_bus::topology::TopologyConfig;
use ark_bus::{Bus, Filter, Missed, RabbitBus, RabbitConfig, Shard, WakeUp, kit};
use ark_conversation::samples::{ended, new_event};
use ark_conversation::{ConversationId, LegId, Record, Tenant};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};

const EVENTS: u64 = 20_000;
const WINDOW: usize = 256;
const BODY: usize = 1_000;
const READY: Duration = Duration::from_secs(60);

/// The yardstick: one connection publishes with confirms in a window, another consumes and acknowledges.
async fn bare(url: &str, quorum: bool) -> f64 {
    let connect = async || Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let (publishing, consuming) = (connect().await, connect().await);
    let channel = publishing.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut arguments = FieldTable::default();
    if quorum {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    }
    let name = if quorum { "bare.quorum" } else { "bare.classic" };
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
    let reader = consuming.create_channel().await.unwrap();
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
    for _ in 0..EVENTS {
        if window.len() >= WINDOW {
            let confirm: lapin::PublisherConfirm = window.pop_front().unwrap();
            assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
        }
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        window.push_back(channel.basic_publish("".into(), name.into(), options, &body, properties).await.unwrap());
    }
    for confirm in window {
        assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
    }
    consuming.await.unwrap();
    EVENTS as f64 / began.elapsed().as_secs_f64()
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

/// Committed records: the history stream and the reading gateway's queue, 1 KB each.
async fn log(url: &str) -> f64 {
    let (a, b) = (bus(url, "a").await, bus(url, "b").await);
    let mut reader = b.subscribe(Filter::default()).await.unwrap();
    let records: Vec<Arc<Record>> = (0..EVENTS)
        .map(|n| {
            let mut event = new_event(ConversationId::new(n % 500, 7), n / 500 + 1, ended(LegId(1)).into());
            event.event.extensions.insert("pad".to_owned(), "x".repeat(BODY - 500).into());
            Arc::new(event.into_record(n / 500 + 1))
        })
        .collect();
    let began = Instant::now();
    let reading = tokio::spawn(async move {
        let (mut seen, mut missed) = (0, 0);
        while seen + missed < EVENTS {
            match reader.next().await {
                Ok(_) => seen += 1,
                Err(Missed::Lagged { missed: more }) => missed += more,
                Err(Missed::Closed) => break,
            }
        }
        missed
    });
    let mut last = None;
    for batch in records.chunks(256) {
        last = Some(a.carry(batch.to_vec()).unwrap());
    }
    last.unwrap().await.unwrap();
    let missed = reading.await.unwrap();
    println!("  ({missed} of them its reader was sent to the store for)");
    EVENTS as f64 / began.elapsed().as_secs_f64()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Some(rabbit) = tokio::task::block_in_place(|| kit::rabbit("carry_bench")) else { return };
    println!(
        "{EVENTS} messages of about {BODY} bytes, window {WINDOW}, persistent, mandatory, confirmed, acknowledged"
    );
    for round in 1..=3 {
        let (quorum, classic) = (bare(&rabbit.url(), true).await, bare(&rabbit.url(), false).await);
        let (wake_ups, records) = (ingress(&rabbit.url()).await, log(&rabbit.url()).await);
        println!(
            "round {round}: bare lapin quorum {quorum:.0}/s, classic {classic:.0}/s; wake-ups {wake_ups:.0}/s ({:.0} %), \
             records {records:.0}/s ({:.0} %)",
            wake_ups / quorum * 100.0,
            records / quorum * 100.0
        );
    }
}
