//! F11: a gateway is killed (`kill -9`) at each moment of its work with a backlog before it: inbox, log, outbox, broker.
//!
//! The gateway is this same test binary, started again with one test and its places in the environment. It works the
//! backlog off as a gateway does: a page of the inbox, one commit, the relay carries. The ledger is kept out here: what was
//! acknowledged to the senders, what the log holds, what a reader on another gateway was given.

use std::collections::{HashMap, HashSet};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ark_bus::kit::Rabbit;
use ark_bus::{Answer, Bus, Cursor, Filter, Missed, Outbox, Relay, RelayStats, Seen, Stretch};
use ark_conversation::event::Role;
use ark_conversation::samples::{new_event, ringing};
use ark_conversation::{ConversationId, LegId, NewEvent, Tenant};
use ark_store::failpoint::{self, Point};
use ark_store::{Commit, Join, NewInbound, Options, PostgresOptions, PostgresStore, SqliteStore, Store};

use crate::common::{READY, bus, say};

const STORE: &str = "ARK_TEST_GATEWAY_STORE";
const BUS: &str = "ARK_TEST_GATEWAY_BUS";
const MOMENT: &str = "ARK_TEST_GATEWAY_MOMENT";

/// The moments of the store, and one of the relay: the broker has confirmed, the outbox does not know it yet.
const MOMENTS: [&str; 4] = ["before the write", "before the commit", "before the answer", "before the outbox knows"];
/// How often the moment passes well before it kills.
const PASSES: u32 = 7;
/// Messages that the gateway takes from its inbox at once.
const PAGE: usize = 64;
const CONVERSATIONS: u64 = 50;
/// A gateway that was started again works within this time.
const RECOVERS: Duration = Duration::from_secs(30);

fn conversation(n: u64) -> ConversationId {
    ConversationId::new(1_795_516_200_000, u128::from(n % CONVERSATIONS))
}

fn message(n: u64) -> NewInbound {
    let mut new = new_event(conversation(n), n + 1, ringing(LegId(1), Role::Customer).into());
    new.event.source = format!("/ark/main/web/site/{}", n % CONVERSATIONS);
    NewInbound { tenant: new.tenant, at: new.at, event: new.event, begin: new.conversation, join: Join::Begin }
}

fn open(place: &str) -> Arc<dyn Store> {
    match place.strip_prefix("sqlite:") {
        Some(path) => Arc::new(SqliteStore::open_with(&Options { outbox: true, ..Options::new(path) }).unwrap()),
        None => Arc::new(PostgresStore::open(&PostgresOptions::new(place)).unwrap()),
    }
}

/// Which moment kills this process; none lives to the end.
fn moment() -> Option<usize> {
    std::env::var(MOMENT).ok()?.parse().ok()
}

fn die() -> ! {
    let pid = std::process::id().to_string();
    Command::new("kill").args(["-9", &pid]).status().unwrap();
    loop {
        std::thread::park();
    }
}

fn pass() {
    static PASSED: AtomicU32 = AtomicU32::new(0);
    if PASSED.fetch_add(1, Ordering::SeqCst) == PASSES {
        die();
    }
}

fn hook(point: Point) {
    let points = [Point::BeforeWrite, Point::BeforeCommit, Point::BeforeAnswer];
    if moment().and_then(|moment| points.get(moment)) == Some(&point) {
        pass();
    }
}

/// The whole outbox.
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
        if moment() == Some(3) {
            pass();
        }
        Box::pin(async move { self.0.outbox_done(rows).await.map_err(|error| error.to_string()) })
    }
}

/// The gateway: works the inbox off and ends when nothing waits. Without its environment it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_works_until_it_is_killed() {
    let (Ok(place), Ok(url)) = (std::env::var(STORE), std::env::var(BUS)) else { return };
    let (store, bus) = (open(&place), bus(&url, "gw").await);
    failpoint::set(hook);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (outbox, wake) = (Arc::new(All(Arc::clone(&store))), Arc::<tokio::sync::Notify>::default());
    let relay = Relay { outbox, bus, wake: Arc::clone(&wake), stats: Arc::new(RelayStats::default()) };
    let relaying = tokio::spawn(relay.run(stopped));
    loop {
        let page = store.inbox(&[], 0, PAGE).await.unwrap();
        if page.is_empty() {
            break;
        }
        let applied = page.iter().map(|one| one.row).collect();
        let events = page.into_iter().map(|one| NewEvent {
            tenant: one.tenant,
            conversation: one.conversation,
            epoch: 1,
            at: one.at,
            event: one.event,
        });
        store.commit(Commit { applied, events: events.collect(), ..Commit::default() }).await.unwrap();
        wake.notify_one();
    }
    stop.send_replace(true);
    relaying.await.unwrap();
    assert_eq!(store.backlog().await.unwrap(), ark_store::Backlog::default(), "nothing waits at the end");
}

fn start(place: &str, url: &str, moment: Option<usize>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::the_gateway_works_until_it_is_killed", "--nocapture"]);
    command.env(STORE, place).env(BUS, url).env_remove(MOMENT);
    if let Some(moment) = moment {
        command.env(MOMENT, moment.to_string());
    }
    command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// What a reader on another gateway was given.
#[derive(Default)]
struct Given {
    cursors: HashMap<ConversationId, Cursor>,
    shown: u64,
    duplicates: u64,
    /// Told as missed, or before a hole: it reads the store there.
    missed: u64,
}

impl Given {
    fn take(&mut self, conversation: ConversationId, seq: u64) {
        let cursor = self.cursors.entry(conversation).or_default();
        match cursor.accept(seq) {
            Seen::Next => self.shown += 1,
            Seen::Old => self.duplicates += 1,
            Seen::Gap { after } => {
                self.missed += seq - after - 1;
                self.shown += 1;
                *cursor = Cursor::after(seq);
            }
        }
    }
}

/// Kills a gateway at each of these moments while it works a backlog off; the last one lives to the end.
pub(crate) async fn f11_gateway_killed(rabbit: &Rabbit, place: &str, name: &str, backlog: u64, moments: &[usize]) {
    let began = Instant::now();
    let url = rabbit.url();
    let acknowledged = fill(place, backlog).await;
    let peer = bus(&url, "peer").await;
    let mut feed = peer.subscribe(Filter::default()).await.unwrap();
    let (given, told) = (Arc::new(Mutex::new(Given::default())), Arc::new(Mutex::new(0_u64)));
    let reading = tokio::spawn({
        let (given, told) = (Arc::clone(&given), Arc::clone(&told));
        async move {
            loop {
                match feed.next().await {
                    Ok(record) => given.lock().unwrap().take(record.conversation, record.seq),
                    Err(Missed::Lagged { missed }) => *told.lock().unwrap() += missed,
                    Err(Missed::Closed) => break,
                }
            }
        }
    });
    let (mut recovered, mut killed): (Duration, Option<(Instant, u64)>) = (Duration::ZERO, None);
    for moment in moments.iter().map(|moment| Some(*moment)).chain([None]) {
        let mut gateway = start(place, &url, moment);
        if let Some((killed, committed)) = killed {
            // What the next gateway itself has written, not what was still on its way.
            let works = async || {
                let given = given.lock().unwrap();
                (given.shown + given.missed > committed).then_some(())
            };
            ark_bus::kit::eventually("the next gateway works", READY, works).await;
            recovered = recovered.max(killed.elapsed());
        }
        let ended = tokio::task::block_in_place(|| gateway.wait().unwrap());
        assert_eq!(ended.success(), moment.is_none(), "{:?}", moment.map(|moment| MOMENTS[moment]));
        let dead = Instant::now();
        let waiting = open(place).backlog().await.unwrap().inbox;
        assert!(moment.is_none() || waiting > 0, "it was killed while it worked");
        killed = Some((dead, backlog - waiting));
    }
    let all_given = async || {
        let given = given.lock().unwrap();
        (given.shown + given.missed >= backlog).then_some(())
    };
    ark_bus::kit::eventually("the reader was given everything", READY, all_given).await;
    reading.abort();
    let events = judge(place, &acknowledged, backlog).await;
    let (given, told) = (given.lock().unwrap(), *told.lock().unwrap());
    assert!(given.missed == 0 || told > 0, "a hole that nobody told of: {} records", given.missed);
    assert!(recovered < RECOVERS, "{recovered:?}");
    say(
        &format!("F11 gateway kill -9, {name}"),
        &format!(
            "backlog {backlog}, killed {} times, log {events}, given {}, duplicates {}, read in the store {}, \
             slowest recovery {:.1} s (bound {} s)",
            moments.len(),
            given.shown,
            given.duplicates,
            given.missed,
            recovered.as_secs_f64(),
            RECOVERS.as_secs()
        ),
        began,
    );
}

/// Accepts messages; gives the ids that were acknowledged.
async fn fill(place: &str, backlog: u64) -> HashSet<String> {
    let store = open(place);
    let mut acknowledged = HashSet::new();
    for first in (0..backlog).step_by(500) {
        let new: Vec<NewInbound> = (first..backlog.min(first + 500)).map(message).collect();
        let ids: Vec<String> = new.iter().map(|new| new.event.id.clone()).collect();
        let taken: Vec<_> = new.into_iter().map(|new| store.ingest(new)).collect();
        for (taken, id) in taken.into_iter().zip(ids) {
            assert!(!taken.await.unwrap().duplicate);
            acknowledged.insert(id);
        }
    }
    assert_eq!(store.backlog().await.unwrap().inbox, backlog);
    acknowledged
}

/// The log: gap-free, everything acknowledged in it once and nothing else.
async fn judge(place: &str, acknowledged: &HashSet<String>, backlog: u64) -> u64 {
    let store = open(place);
    let mut found = HashSet::new();
    for n in 0..CONVERSATIONS {
        let mut last = 0;
        loop {
            let page = store.read(&Tenant::MAIN, conversation(n), last, 1_000).await.unwrap();
            if page.is_empty() {
                break;
            }
            for record in page {
                assert_eq!(record.seq, last + 1, "a gap");
                last = record.seq;
                assert!(found.insert(record.event.id.clone()), "{} twice", record.event.id);
            }
        }
    }
    assert_eq!(&found, acknowledged, "what was acknowledged is in the log, and nothing else");
    store.check().await.unwrap();
    assert!(store.ingest(message(backlog - 1)).await.unwrap().duplicate, "it is known for ever");
    found.len() as u64
}
