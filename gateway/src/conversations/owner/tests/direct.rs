//! The short road beside the long one, and both over crashes.
//!
//! The child of the crashes is this same test binary, started again with one test and a place in its environment.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command as Program, Stdio};
use std::sync::atomic::AtomicU32;

use ark_store::{PostgresOptions, PostgresStore};

use super::super::direct::ShortRoad;
use super::super::failpoint::{self, Point};
use super::*;

fn value(rig: &Rig, of: fn(&ShortRoad) -> &AtomicU64) -> u64 {
    of(&rig.conversations.ingest.short).load(Ordering::Relaxed)
}

fn passed(rig: &Rig) -> u64 {
    value(rig, |short| &short.passed)
}

fn new(thread: &str, n: u64, begin: u128) -> NewInbound {
    let begin = ConversationId::new(1, begin);
    NewInbound { tenant: MAIN, at: at(0), event: message(thread, n), begin, join: Join::Begin }
}

/// By the inbox, also where its conversation lives here.
async fn long(rig: &Rig, new: NewInbound) -> ark_store::Ingested {
    rig.conversations.ingest().put(new).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_conversation_lives_here_never_waits() {
    let folder = Folder::new("never");
    let rig = Rig::alone(&folder.store());
    // At its start the owner looks whether an earlier one has left something.
    rig.says("first", 0).await;
    rig.until_inbox_is_empty().await;
    until("the owner has seen it", || async {
        let before = passed(&rig);
        rig.says("first", 1 + value(&rig, |short| &short.turned_away) + before).await;
        passed(&rig) > before
    })
    .await;
    let before = passed(&rig);
    let mut ids = BTreeMap::new();
    for n in 0..20 {
        for (at, thread) in [(0, "t1"), (1, "t2")] {
            let new = new(thread, n, u128::from(n) * 2 + at);
            let taken = rig.conversations.ingest().take(new).await.unwrap();
            assert!(taken.row > 0 && !taken.duplicate && taken.joined == (n == 0), "{taken:?}");
            assert_eq!(*ids.entry(thread).or_insert(taken.conversation), taken.conversation);
            assert_eq!(rig.store.backlog().await.unwrap().inbox, 0, "it does not wait");
            assert_eq!(rig.state(taken.conversation).await.last_seq, n + 3, "acknowledged, it is in the log");
        }
    }
    assert_eq!(passed(&rig) - before, 40);
    let again = rig.conversations.ingest().take(new("t1", 3, 99)).await.unwrap();
    assert!(again.duplicate && again.conversation == ids["t1"], "{again:?}");
    for id in ids.values() {
        whole(&log(&*rig.store, *id).await, 20);
    }
    // A thread that many begin at once has one conversation; each message comes three times.
    let mut takers = JoinSet::new();
    for n in 0..60 {
        let ingest = rig.conversations.ingest().clone();
        takers.spawn(async move { ingest.take(new("t3", n / 3, 1_000 + u128::from(n))).await.unwrap() });
    }
    let taken = takers.join_all().await;
    assert!(taken.iter().all(|one| one.conversation == taken[0].conversation), "one conversation");
    assert_eq!(taken.iter().filter(|one| !one.duplicate).count(), 20);
    assert_eq!(taken.iter().filter(|one| one.joined).count(), 1);
    rig.until_inbox_is_empty().await;
    let messages = log(&*rig.store, taken[0].conversation).await;
    assert_eq!(names(&messages).iter().filter(|name| **name == "message.in").count(), 20);
    rig.tasks.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_conversation_that_is_over_begins_another() {
    let folder = Folder::new("over");
    let rig = Rig::alone(&folder.store());
    let first = rig.says("t1", 0).await;
    rig.take(closed("t1"), Join::Begin).await;
    rig.until_inbox_is_empty().await;
    until("it is over", || async { rig.state(first).await.ended.is_some() }).await;
    let second = rig.says("t1", 1).await;
    assert_ne!(first, second);
    assert_eq!(rig.says("t1", 2).await, second);
    rig.until_inbox_is_empty().await;
    assert_eq!(names(&log(&*rig.store, second).await).len(), 4);
    rig.tasks.end().await;
}

/// What a log says, without the ids that its owner drew.
fn said(log: &[Record]) -> Vec<(u64, u64, String, String)> {
    let own = |record: &Record| record.event.source == source::conversation(&MAIN, record.conversation);
    let id = |record: &Record| if own(record) { String::new() } else { record.event.id.clone() };
    log.iter().map(|one| (one.seq, one.epoch, id(one), one.event.type_name().to_owned())).collect()
}

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// One gateway with all leases, over one store; another one takes leases and messages now and then.
async fn site(store: &Arc<dyn Store>, bus: &Arc<dyn Bus>) -> Rig {
    let own = Arc::new(OwnShards::new(store.topology()));
    lease(store, "gw1", &own, 0..store.topology().shards).await;
    Rig::of(store, bus, own, "gw1")
}

/// A thread ends, and its conversation with it.
async fn end(rig: &Rig, thread: &str, step: u128) {
    rig.until_inbox_is_empty().await;
    let id = rig.store.thread(&MAIN, &thread_source(thread)).await.unwrap().unwrap();
    let mut last = new(thread, 0, step);
    last.event = CloudEvent { id: format!("end{step}"), ..closed(thread) };
    rig.conversations.ingest().take(last).await.unwrap();
    until("it is over", || async { rig.state(id).await.ended.is_some() }).await;
}

/// Another gateway has had all shards for a moment, and nobody told this one.
async fn lose_all(rig: &Rig) {
    for shard in 0..rig.own.topology().shards {
        let Some(Right::Lease(fence)) = rig.own.right(shard) else { continue };
        rig.store.release(vec![fence]).await.unwrap();
        let others = rig.store.claim(shard, "gw2", MINUTE).await.unwrap();
        rig.store.release(vec![others]).await.unwrap();
    }
}

/// Messages, copies, another gateway's messages, ends, calls' events, lost leases and crashes: the logs are the same, whether
/// messages go straight to them or by the inbox.
async fn both_roads_lead_to_the_same_log(stores: [Arc<dyn Store>; 2], seed: u64) {
    let mut random = Random(seed);
    let bus = || Arc::new(EmbeddedBus::new()) as Arc<dyn Bus>;
    let mut rigs = [site(&stores[0], &bus()).await, site(&stores[1], &bus()).await];
    let mut given: BTreeMap<u64, u64> = BTreeMap::new();
    let mut straight = 0;
    for step in 0..400_u128 {
        let (thread, dice) = (random.below(6), random.below(100));
        let name = format!("t{thread}");
        let next = given.entry(thread).or_default();
        match dice {
            // A copy of an earlier one, and the next one by another gateway.
            0..15 if *next > 0 => {
                let n = random.below(*next);
                for rig in &rigs {
                    let again = new(&name, n, step);
                    assert!(
                        rig.conversations.ingest().take(again).await.unwrap().duplicate,
                        "seed {seed}, step {step}"
                    );
                }
            }
            15..30 => {
                for rig in &rigs {
                    rig.store.ingest(new(&name, *next, step)).await.unwrap();
                }
                *next += 1;
            }
            30..32 => {
                for rig in &rigs {
                    rig.until_inbox_is_empty().await;
                    let Some(id) = rig.store.thread(&MAIN, &thread_source(&name)).await.unwrap() else { continue };
                    append(rig, id, u64::try_from(step).unwrap(), samples::story().remove(1)).await;
                }
            }
            32..34 if *next > 0 => {
                for rig in &rigs {
                    end(rig, &name, step).await;
                }
            }
            // Another gateway has a few shards for a moment; this one hears of it only when it cannot write.
            34..36 => {
                for rig in &rigs {
                    lose_all(rig).await;
                    rig.conversations.ingest().take(new(&name, *next, step)).await.unwrap();
                    lease(&rig.store, "gw1", &rig.own, 0..rig.own.topology().shards).await;
                }
                *next += 1;
            }
            // A crash: what is under way is left as it is.
            36..38 => {
                straight += passed(&rigs[1]);
                for (rig, store) in rigs.iter_mut().zip(&stores) {
                    rig.tasks.owner.abort();
                    *rig = site(store, &bus()).await;
                }
            }
            _ => {
                for (at, rig) in rigs.iter().enumerate() {
                    let new = new(&name, *next, step);
                    let taken = if at == 0 {
                        long(rig, new).await
                    } else {
                        rig.conversations.ingest().take(new).await.unwrap()
                    };
                    assert!(!taken.duplicate, "seed {seed}, step {step}");
                }
                *next += 1;
            }
        }
    }
    straight += passed(&rigs[1]);
    assert!(straight > 60, "seed {seed}: only {straight} went straight to their log");
    for rig in rigs {
        rig.until_inbox_is_empty().await;
        rig.tasks.end().await;
    }
    let messages = same_logs(&stores, seed).await;
    assert_eq!(messages, given.values().sum::<u64>(), "seed {seed}: each once");
    println!("seed {seed}: {messages} messages, {straight} straight to their log");
}

/// Compares the logs of both; how many messages are in them.
async fn same_logs(stores: &[Arc<dyn Store>; 2], seed: u64) -> u64 {
    let all = async |store: &Arc<dyn Store>| {
        let page = store.list(&MAIN, ListFilter::default(), 1_000).await.unwrap();
        page.conversations.into_iter().map(|state| state.conversation).collect::<Vec<_>>()
    };
    let ids = all(&stores[0]).await;
    assert_eq!(ids, all(&stores[1]).await, "seed {seed}: the same conversations");
    let mut messages = 0;
    for id in ids {
        let (long, short) = (log(&*stores[0], id).await, log(&*stores[1], id).await);
        assert_eq!(said(&long), said(&short), "seed {seed}: the log of {id}");
        messages += names(&long).iter().filter(|name| **name == "message.in").count() as u64;
    }
    for store in stores {
        store.check().await.unwrap();
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn both_roads_lead_to_the_same_log_on_sqlite() {
    for seed in 1..=3 {
        let (a, b) = (Folder::new(&format!("long{seed}")), Folder::new(&format!("short{seed}")));
        both_roads_lead_to_the_same_log([a.store(), b.store()], seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_roads_lead_to_the_same_log_on_postgresql() {
    let Some(server) = kit::postgres("both_roads_lead_to_the_same_log_on_postgresql") else { return };
    both_roads_lead_to_the_same_log([Arc::new(server.store("long")), Arc::new(server.store("short"))], 4).await;
}

const PLACE: &str = "ARK_TEST_OWNER_PLACE";
const POINT: &str = "ARK_TEST_OWNER_POINT";
const ROAD: &str = "ARK_TEST_OWNER_ROAD";
/// Times that a point is passed before it kills.
const TIMES: u32 = 9;
const THREADS: u64 = 3;
const POINTS: [(Point, &str); 5] = [
    (Point::Taken, "long"),
    (Point::Decided, "long"),
    (Point::Committed, "long"),
    (Point::Decided, "short"),
    (Point::Committed, "short"),
];

fn open(place: &str) -> Arc<dyn Store> {
    match place.strip_prefix("sqlite:") {
        Some(path) => Arc::new(SqliteStore::open_with(&Options::new(path)).unwrap()),
        None => Arc::new(PostgresStore::open(&PostgresOptions::new(place)).unwrap()),
    }
}

/// Ends this process as a crash would, when it is the point's turn.
fn hook(point: Point) {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let wanted: usize = std::env::var(POINT).unwrap().parse().unwrap();
    if point == POINTS[wanted].0 && TURN.fetch_add(1, Ordering::SeqCst) == TIMES {
        let pid = std::process::id().to_string();
        Program::new("kill").args(["-9", &pid]).status().unwrap();
        loop {
            std::thread::park();
        }
    }
}

/// The child: takes messages of a few threads, each thread's one behind the other, until it is killed. Without its environment it does
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_child_takes_until_its_failpoint() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let short = std::env::var(ROAD).unwrap() == "short";
    let rig = Rig::alone(&open(&place));
    // The owner is at work before the points count: what comes at once goes by the inbox.
    rig.says("early", 0).await;
    rig.until_inbox_is_empty().await;
    until("it goes straight", || async {
        rig.says("early", 1 + value(&rig, |short| &short.turned_away)).await;
        passed(&rig) > 0
    })
    .await;
    failpoint::set(hook);
    let mut takers = JoinSet::new();
    let rig = Arc::new(rig);
    for thread in 0..THREADS {
        let rig = Arc::clone(&rig);
        takers.spawn(async move {
            for n in 0..10_000 {
                let new = new(&format!("t{thread}"), n, u128::from(n * THREADS + thread));
                let taken = if short { rig.conversations.ingest().take(new).await } else { Ok(long(&rig, new).await) };
                assert!(!taken.unwrap().duplicate);
                let mut out = std::io::stdout().lock();
                if writeln!(out, "ack {thread} {n}").and_then(|()| out.flush()).is_err() {
                    std::process::exit(0);
                }
            }
        });
    }
    takers.join_all().await;
}

/// Runs the child to its death; how many messages of each thread were acknowledged.
fn killed_at(place: &str, point: usize) -> Vec<u64> {
    let mut child = Program::new(std::env::current_exe().unwrap())
        .args(["--exact", "conversations::owner::tests::direct::the_child_takes_until_its_failpoint", "--nocapture"])
        .env(PLACE, place)
        .env(POINT, point.to_string())
        .env(ROAD, POINTS[point].1)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged = vec![0; usize::try_from(THREADS).unwrap()];
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').skip_while(|word| !word.ends_with("ack")).collect();
        if let [_, thread, n] = words[..] {
            let (thread, n): (usize, u64) = (thread.parse().unwrap(), n.parse().unwrap());
            acknowledged[thread] = n + 1;
        }
    }
    assert!(!child.wait().unwrap().success(), "the child lived through {:?}", POINTS[point]);
    acknowledged
}

async fn every_point(place: impl Fn(usize) -> String) {
    for (point, name) in POINTS.iter().enumerate() {
        let place = place(point);
        let acknowledged = killed_at(&place, point);
        assert!(acknowledged.iter().sum::<u64>() > 2, "{name:?}: the child was answered: {acknowledged:?}");
        let store = open(&place);
        let rig = Rig::alone(&store);
        let (mut known, mut ids) = (0, Vec::new());
        for (thread, acknowledged) in (0..THREADS).zip(&acknowledged) {
            // Whoever was not answered gives it again, and goes on.
            for n in 0..acknowledged + 3 {
                let new = new(&format!("t{thread}"), n, u128::from(n * THREADS + thread));
                let taken = rig.conversations.ingest().take(new).await.unwrap();
                assert!(
                    taken.duplicate || n >= *acknowledged,
                    "{name:?}: message {n} of thread {thread} was forgotten"
                );
                known += u64::from(taken.duplicate && n >= *acknowledged);
                ids.push((taken.conversation, acknowledged + 3));
            }
        }
        rig.until_inbox_is_empty().await;
        for (id, messages) in ids {
            whole(&log(&*store, id).await, messages);
        }
        println!("{name:?}: {acknowledged:?} were answered, {known} were there without an answer");
        rig.tasks.end().await;
        store.check().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_has_each_message_once_whenever_its_gateway_is_killed() {
    let folder = Folder::new("killed");
    every_point(|point| format!("sqlite:{}", folder.0.join(format!("{point}.db")).display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_has_each_message_once_whenever_its_gateway_is_killed() {
    let Some(server) = kit::postgres("postgresql_has_each_message_once_whenever_its_gateway_is_killed") else { return };
    every_point(|point| {
        server.sql(&format!("create database at{point}")).unwrap();
        server.url().replace("/postgres", &format!("/at{point}"))
    })
    .await;
}
