//! How long a message takes from its acceptance to whoever reads the conversation, at 1,000 a second, over the whole road
//! and for all pairs of store and bus: inbox, wake-up, owner, log, outbox, relay, another gateway's reader.
//!
//! `cargo run --release -p ark-bus --example delivery_bench [-- SECONDS [PER_SECOND]]`. It starts a broker and a PostgreSQL
//! of its own; what is missing is left out. On a machine that does other things p99 is mostly theirs: `floor` says how late
//! a task is here that only sleeps.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench says what it measured, and stops when it cannot")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ark_bus::topology::TopologyConfig;
use ark_bus::{
    Answer, Bus, EmbeddedBus, Filter, Outbox, RabbitBus, RabbitConfig, Relay, RelayStats, Shard, Stretch, WakeUp, kit,
};
use ark_conversation::event::Role;
use ark_conversation::samples::{new_event, ringing};
use ark_conversation::{ConversationId, LegId, NewEvent, Tenant};
use ark_store::{Commit, Join, NewInbound, Options, SqliteStore, Store};
use tokio::sync::{Notify, watch};

const READY: Duration = Duration::from_secs(60);
const CONVERSATIONS: u64 = 500;
const PAGE: usize = 256;

/// A store's outbox, as a gateway that has all shards carries it.
struct All(Arc<dyn Store>);

impl Outbox for All {
    fn page(&self, without: Vec<u64>) -> Answer<'_, Result<Vec<Stretch>, String>> {
        Box::pin(async move {
            let rows = self.0.outbox(&[], &without, PAGE).await.map_err(|error| error.to_string())?;
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

/// A pair of store and bus: `near` is the gateway that works, `far` the one that reads.
struct Pair {
    name: &'static str,
    store: Arc<dyn Store>,
    near: Arc<dyn Bus>,
    far: Arc<dyn Bus>,
    /// Whether the store's outbox is relayed; else what is committed is published at once.
    relayed: bool,
}

fn message(n: u64) -> NewInbound {
    let conversation = ConversationId::new(1_795_516_200_000, u128::from(n % CONVERSATIONS));
    let mut new = new_event(conversation, n + 1, ringing(LegId(1), Role::Customer).into());
    new.event.source = format!("/ark/main/web/site/{}", n % CONVERSATIONS);
    NewInbound { tenant: new.tenant, at: new.at, event: new.event, begin: conversation, join: Join::Begin }
}

/// The owner: woken, it reads its inbox, writes the log, and hands on what is committed. Its inbox is the truth, a wake-up
/// only says when to look.
async fn own(pair: Arc<Pair>, wake: Arc<Notify>) {
    let mut ingress = pair.near.ingress((0..pair.near.shards()).map(Shard).collect()).unwrap();
    let woken = Arc::new(Notify::new());
    let waking = {
        let woken = Arc::clone(&woken);
        async move {
            while let Some(one) = ingress.next().await {
                woken.notify_one();
                one.ack().await;
            }
        }
    };
    let working = async {
        loop {
            woken.notified().await;
            while work(&pair, &wake).await {}
        }
    };
    tokio::join!(waking, working);
}

/// One page of the inbox; false when it was empty.
async fn work(pair: &Pair, wake: &Notify) -> bool {
    let page = pair.store.inbox(&[], 0, PAGE).await.unwrap();
    if page.is_empty() {
        return false;
    }
    let applied = page.iter().map(|one| one.row).collect();
    let events = page.into_iter().map(|one| NewEvent {
        tenant: one.tenant,
        conversation: one.conversation,
        epoch: 1,
        at: one.at,
        event: one.event,
    });
    let commit = Commit { applied, events: events.collect(), ..Commit::default() };
    let done = pair.store.commit(commit).await.unwrap();
    if pair.relayed {
        wake.notify_one();
    } else {
        let records = done.appended.into_iter().map(|one| Arc::new(one.record)).collect();
        pair.near.publish(records).await.unwrap();
    }
    true
}

type Times = Arc<Mutex<HashMap<String, (Instant, Option<Instant>)>>>;

/// Accepts so many a second; each message's acceptance is written down when the store has answered.
async fn accept(pair: Arc<Pair>, times: Times, messages: u64, per_second: u64) -> Vec<f64> {
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 / per_second));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut accepting = Vec::new();
    for n in 0..messages {
        pace.tick().await;
        let (pair, times) = (Arc::clone(&pair), Arc::clone(&times));
        accepting.push(tokio::spawn(async move {
            let new = message(n);
            let (id, source) = (new.event.id.clone(), new.event.source.clone());
            let asked = Instant::now();
            let taken = pair.store.ingest(new).await.unwrap();
            let accepted = Instant::now();
            times.lock().unwrap().entry(id.clone()).or_insert((accepted, None)).0 = accepted;
            let conversation = taken.conversation;
            let receipt = pair.near.wake(WakeUp { tenant: Tenant::MAIN, conversation, source, id, event: None });
            drop(receipt.unwrap());
            (accepted - asked).as_secs_f64() * 1e3
        }));
    }
    let mut waits = Vec::new();
    for one in accepting {
        waits.push(one.await.unwrap());
    }
    waits
}

async fn measure(pair: Pair, seconds: u64, per_second: u64) -> String {
    let messages = seconds * per_second;
    let pair = Arc::new(pair);
    let times: Times = Arc::default();
    let mut feed = pair.far.subscribe(Filter::default()).await.unwrap();
    let wake = Arc::new(Notify::new());
    let owning = tokio::spawn(own(Arc::clone(&pair), Arc::clone(&wake)));
    let (stop, stopped) = watch::channel(false);
    let relaying = pair.relayed.then(|| {
        let (outbox, bus) = (Arc::new(All(Arc::clone(&pair.store))), Arc::clone(&pair.near));
        tokio::spawn(Relay { outbox, bus, wake, stats: Arc::new(RelayStats::default()) }.run(stopped))
    });
    let reading = tokio::spawn({
        let times = Arc::clone(&times);
        async move {
            let mut seen = 0;
            while seen < messages {
                match feed.next().await {
                    Ok(record) => {
                        let now = Instant::now();
                        // It may be here before its sender's task has gone on.
                        let mut times = times.lock().unwrap();
                        let entry = times.entry(record.event.id.clone()).or_insert((now, None));
                        seen += u64::from(entry.1.is_none());
                        entry.1.get_or_insert(now);
                    }
                    Err(ark_bus::Missed::Lagged { .. }) => {}
                    Err(ark_bus::Missed::Closed) => break,
                }
            }
        }
    });
    let mut accepted = accept(Arc::clone(&pair), Arc::clone(&times), messages, per_second).await;
    let complete = tokio::time::timeout(Duration::from_secs(20), reading).await.is_ok();
    stop.send_replace(true);
    owning.abort();
    if let Some(relaying) = relaying {
        let _ = tokio::time::timeout(Duration::from_secs(5), relaying).await;
    }
    let times = times.lock().unwrap();
    let wait = |(accepted, given): &(Instant, Option<Instant>)| Some((*given)?.saturating_duration_since(*accepted));
    let mut delivered: Vec<f64> = times.values().filter_map(wait).map(|wait| wait.as_secs_f64() * 1e3).collect();
    let given = delivered.len();
    let missed = if complete { String::new() } else { format!("; {given} of {messages} given") };
    format!("{:<22} | {} | {}{missed}", pair.name, row(&mut accepted), row(&mut delivered))
}

/// p50, p99 and the largest, in milliseconds.
fn row(waits: &mut [f64]) -> String {
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    format!("{:>8.1} {:>8.1} {:>8.1}", at(0.5), at(0.99), waits.last().copied().unwrap_or(f64::NAN))
}

/// How late a task wakes that only sleeps for a millisecond.
async fn floor(seconds: u64) -> String {
    let mut late = Vec::new();
    for _ in 0..seconds * 500 {
        let asked = Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        late.push((asked.elapsed().as_secs_f64() * 1e3 - 1.0).max(0.0));
    }
    row(&mut late)
}

async fn rabbit_pair(rabbit: &kit::Rabbit, name: &'static str, store: Arc<dyn Store>) -> Pair {
    let url = rabbit.url();
    let open = async |gateway: &str| {
        let mut config = RabbitConfig::new(&url, gateway, "bench").unwrap();
        config.topology = TopologyConfig { shards: 4, ..TopologyConfig::default() };
        Arc::new(RabbitBus::open(&config, READY).await.unwrap())
    };
    let (near, far) = (open("near").await, open("far").await);
    Pair { name, store, near, far, relayed: true }
}

fn embedded_pair(name: &'static str, store: Arc<dyn Store>) -> Pair {
    let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new());
    Pair { name, store, near: Arc::clone(&bus), far: bus, relayed: false }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let number = |at: usize, or: u64| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(or);
    let (seconds, per_second) = (number(1, 10), number(2, 1_000));
    let folder = tempfile::tempdir_in(".").unwrap();
    let sqlite = |name: &str, outbox| -> Arc<dyn Store> {
        let options = Options { outbox, ..Options::new(folder.path().join(name)) };
        Arc::new(SqliteStore::open_with(&options).unwrap())
    };
    let postgres = tokio::task::block_in_place(|| ark_store::kit::postgres("delivery_bench with PostgreSQL"));
    let pg_store = |name: &str| -> Option<Arc<dyn Store>> {
        let server = postgres.as_ref()?;
        Some(Arc::new(tokio::task::block_in_place(|| server.store(name))))
    };
    let rabbit = tokio::task::block_in_place(|| kit::rabbit("delivery_bench with RabbitMQ"));
    println!("{per_second} messages a second for {seconds} s, {CONVERSATIONS} conversations; milliseconds");
    println!("{:<22} | accepted: p50   p99      max | accepted to delivered: p50 p99 max", "store and bus");
    println!("{:<22} | {} |", "floor: sleep(1 ms)", floor(3).await);
    println!("{}", measure(embedded_pair("SQLite, embedded", sqlite("a.db", false)), seconds, per_second).await);
    if let Some(rabbit) = rabbit {
        let pair = rabbit_pair(rabbit, "SQLite, RabbitMQ", sqlite("b.db", true)).await;
        println!("{}", measure(pair, seconds, per_second).await);
    }
    if let Some(store) = pg_store("embedded") {
        println!("{}", measure(embedded_pair("PostgreSQL, embedded", store), seconds, per_second).await);
    }
    if let (Some(store), Some(rabbit)) = (pg_store("rabbit"), rabbit) {
        let pair = rabbit_pair(rabbit, "PostgreSQL, RabbitMQ", store).await;
        println!("{}", measure(pair, seconds, per_second).await);
    }
    println!("{:<22} | {} |", "floor: sleep(1 ms)", floor(3).await);
}
