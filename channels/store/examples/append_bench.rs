//! How many events a second the stores take, beside a bare group-commit insert of the same rows in the same run: appends
//! alone, and the whole road of a message: inbox, conversation machine, log.
//!
//! The road is run twice: the short one, on which the owner decides before anything is written and one commit does it all, as
//! a gateway does with the conversations that live at it; and the long one, by way of the inbox.
//!
//! The road's yardstick inserts what the road leaves behind: for each message its row of the inbox, its row of the log and
//! its row of the outbox, for each conversation the rows of its beginning, into tables with the same keys and indices, one
//! commit for each 256 messages, in the order in which they come. It looks nothing up, marks nothing as done, folds no
//! state, and keeps no message for an owner to read: what the road does beyond it is the price of the order and of the
//! acknowledgement.
//!
//! What an append to PostgreSQL costs beyond its bare insert is what the bare side does not write: the outbox (24 to 34 us of
//! the server's processor against 15 to 21 for an event).
//!
//! Measured on two cores with nothing else to do (`4 road`, profile fast, two rounds): SQLite's short road 0.98 and 0.82 of the bare
//! insert (27 to 31 thousand messages a second), its writer 21 to 24 us a message where the bare side takes 24; the long one 0.69
//! and 0.65 (28 to 30 us). PostgreSQL's short road 0.68 and 0.53 (14 to 19 thousand), its server 36 and 57 us where the bare side takes
//! 28 and 42; the long one 0.55 and 0.53 (64 and 79 us). So what is left between PostgreSQL's short road and its bare insert is not the
//! server's work alone (1.27 to 1.35 times as much: threads and waiting messages are looked up by their keys): taker, owner, the
//! store's thread and the server share the two cores, where the bare side has one client that waits for one server.
//!
//! `cargo run --release -p ark-store --example append_bench [-- SECONDS [sqlite|postgres] [append|road]]`; PostgreSQL
//! starts a server of its own.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_conversation::event::PromptStarted;
use ark_conversation::machine::{Conversation, Input, Policy};
use ark_conversation::{
    CloudEvent, ConversationId, ConversationState, LegId, NewEvent, Record, Tenant, samples, source,
};
use ark_store::{After, Commit, Direct, Join, NewInbound, Options, SqliteStore, Store, kit};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Events in each append, and appends in flight at once: 512 events wait at any time, in groups as a busy gateway
/// makes them.
const EVENTS: u64 = 16;
const WRITERS: u64 = 32;
/// Conversations that the events are spread over.
const CONVERSATIONS: u64 = 2_000;
/// Messages that wait for their acknowledgement at any time, and messages of one commit of the road's yardstick.
const WINDOW: u64 = 256;
/// Messages of one commit on the short road: what a gateway's owner takes up in one turn.
const TURN: usize = 64;
/// Its commits under way at once.
const COMMITS: usize = 4;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let seconds = asked.first().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    let wants =
        |this: &str, other: &str| asked.iter().any(|word| word == this) || !asked.iter().any(|word| word == other);
    let what = What { append: wants("append", "road"), road: wants("road", "append") };
    let duration = Duration::from_secs_f64(seconds);
    let folder = tempfile::tempdir_in(".").expect("the working directory can be written");
    let bytes = |new: NewEvent| serde_json::to_string(&new.into_record(1)).expect("a record is JSON").len();
    let of_message = serde_json::to_string(&message(1, 1).event).expect("an event is JSON").len();
    say(&format!(
        "events of {} B as JSON, {WRITERS} writers of {EVENTS} events; messages of {of_message} B, {WINDOW} at once; \
         {CONVERSATIONS} conversations",
        bytes(event(1, 1))
    ));
    let server = if wants("postgres", "sqlite") { kit::postgres("PostgreSQL's part of the bench") } else { None };
    for round in 1..=2 {
        if wants("sqlite", "postgres") {
            let path = |what: &str| folder.path().join(format!("{what}{round}.db"));
            let open = |what: &str| -> Arc<dyn Store> {
                let options = Options { outbox: true, ..Options::new(path(what)) };
                Arc::new(SqliteStore::open_with(&options).expect("a new store"))
            };
            let who = format!("round {round}, SQLite");
            let meter = Meter { of: "processor time of this process, us", read: &processors };
            what.append(&who, &meter, || bare(&path("bare"), duration), duration, || open("store"));
            let bare = |when: &str| bare_road(&path(&format!("road-{when}")), duration);
            let wrote = Meter { of: "written by this process, KB", read: &written };
            what.road(&who, &wrote, bare, duration, |road| open(&format!("road-{road}-")));
        }
        if let Some(server) = &server {
            let open = |what: &str| -> Arc<dyn Store> { Arc::new(server.store(&format!("{what}{round}"))) };
            let who = format!("round {round}, PostgreSQL");
            let served = || served(server);
            let meter = Meter { of: "processor time of the server, us", read: &served };
            what.append(&who, &meter, || pg_bare(server, round, duration), duration, || open("store"));
            let bare = |when: &str| pg_bare_road(server, &format!("road_{when}{round}"), duration);
            what.road(&who, &meter, bare, duration, |road| open(&format!("{road}_road")));
        }
    }
}

/// Something that is used up, and how much of it so far.
struct Meter<'a> {
    of: &'static str,
    read: &'a dyn Fn() -> f64,
}

/// Microseconds of a tick, in which the system tells the processor time of processes.
const TICK_US: f64 = 10_000.0;

/// Processor time of this process so far, also of threads that have ended, in microseconds.
fn processors() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // From the third field on; the 14th and 15th are the times of user and system.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() * TICK_US
}

/// What a run came to, for each message.
struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
    /// Of the meter.
    metered: f64,
    /// Processor time of this process's threads, in microseconds.
    threads: Vec<(String, f64)>,
}

impl Measured {
    /// Runs something that answers messages a second, how many there were, and p50 and p99 of the acceptance.
    fn of(meter: &Meter<'_>, run: impl FnOnce() -> (f64, f64, f64, f64)) -> Self {
        let (before, idle) = (processor(), (meter.read)());
        let (rate, messages, p50, p99) = run();
        let metered = ((meter.read)() - idle) / messages;
        let each = |(thread, us): (String, f64)| {
            let us = (us - before.get(&thread).copied().unwrap_or(0.0)) / messages;
            (thread, us)
        };
        let threads = processor().into_iter().map(each).filter(|(_, us)| *us >= 0.5).collect();
        Self { rate, p50, p99, metered, threads }
    }
}

/// Which parts are wanted.
struct What {
    append: bool,
    road: bool,
}

impl What {
    fn append(
        &self,
        who: &str,
        meter: &Meter<'_>,
        bare: impl FnOnce() -> f64,
        duration: Duration,
        open: impl FnOnce() -> Arc<dyn Store>,
    ) {
        if !self.append {
            return;
        }
        let idle = (meter.read)();
        let bare = bare();
        let between = (meter.read)();
        let (rate, group, p50, p99) = store(&open(), duration);
        let seconds = duration.as_secs_f64();
        let (bare_used, used) = ((between - idle) / (bare * seconds), ((meter.read)() - between) / (rate * seconds));
        say(&format!(
            "{who}: append {rate:.0} events/s with outbox (groups of {group:.0}, p50 {p50:.1} ms, p99 {p99:.1} ms), bare \
             group-commit insert {bare:.0} rows/s, ratio {:.2}; {} for each: bare {bare_used:.0}, store {used:.0}",
            rate / bare,
            meter.of
        ));
    }

    fn road(
        &self,
        who: &str,
        meter: &Meter<'_>,
        bare_road: impl Fn(&str) -> f64,
        duration: Duration,
        open: impl Fn(&str) -> Arc<dyn Store>,
    ) {
        if !self.road {
            return;
        }
        let mut bare_before = Measured::of(meter, || {
            let rate = bare_road("first");
            (rate, rate * duration.as_secs_f64(), 0.0, 0.0)
        });
        for (name, long) in [("short", false), ("long", true)] {
            let road = open(name);
            let run = || if long { ingest_to_log(&road, duration) } else { straight_to_log(&road, duration) };
            let used = Measured::of(meter, run);
            let bare_after = Measured::of(meter, || {
                let rate = bare_road(name);
                (rate, rate * duration.as_secs_f64(), 0.0, 0.0)
            });
            let bare = f64::midpoint(bare_before.rate, bare_after.rate);
            say(&format!(
                "{who}: {name} road {:.0} messages/s (accepted p50 {:.1} ms, p99 {:.1} ms), bare insert of the same rows \
                 {bare:.0} messages/s (before {:.0}, after {:.0}), ratio {:.2}",
                used.rate,
                used.p50,
                used.p99,
                bare_before.rate,
                bare_after.rate,
                used.rate / bare
            ));
            let spent =
                used.threads.iter().map(|(thread, us)| format!("{thread} {us:.0}")).collect::<Vec<_>>().join(", ");
            let bare_us: f64 = bare_after.threads.iter().map(|(_, us)| us).sum();
            say(&format!(
                "{who}: processor time of this process, us for each message: bare {bare_us:.0}; on the {name} road {spent}"
            ));
            say(&format!(
                "{who}: {} for each message: bare {:.1}, on the {name} road {:.1}",
                meter.of, bare_after.metered, used.metered
            ));
            bare_before = bare_after;
            let (p50, p99) = opened(&road);
            say(&format!("{who}: opening a conversation (state and last page) p50 {p50:.2} ms, p99 {p99:.2} ms"));
        }
    }
}

#[expect(clippy::print_stdout, reason = "the bench's result")]
fn say(line: &str) {
    println!("{line}");
}

/// About 1 KB of JSON, of a conversation that goes on. Numbers and so ids grow over all writers alike, as time does.
fn event(writer: u64, n: u64) -> NewEvent {
    let conversation = ConversationId::new(1_795_516_200_000, u128::from((writer * 7_919 + n) % CONVERSATIONS));
    let event = PromptStarted {
        leg: LegId(1),
        play: n,
        prompts: vec!["welcome".to_owned(), "menu".to_owned()],
        lang: "zh".to_owned(),
        length_ms: Some(4_200),
        barge_in: true,
        text: Some("欢迎致电客户服务热线。普通话请按一，粤语请按二，人工服务请按零。".repeat(6)),
    };
    samples::new_event(conversation, (n / EVENTS * WRITERS + writer) * EVENTS + n % EVENTS, event.into())
}

/// The events of a group as they come from all writers at once.
fn events(group: u64) -> impl Iterator<Item = NewEvent> {
    (0..WRITERS).flat_map(move |writer| (0..EVENTS).map(move |n| event(writer, group * EVENTS + n)))
}

/// The store as the gateway uses it: events a second, mean group, p50 and p99 of an append in milliseconds.
fn store(store: &Arc<dyn Store>, duration: Duration) -> (f64, f64, f64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let begun = Instant::now();
    let mut waits: Vec<f64> = runtime.block_on(async {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = Arc::clone(store);
                tokio::spawn(async move {
                    let mut waits = Vec::new();
                    let mut n = 0;
                    while begun.elapsed() < duration {
                        let events = (0..EVENTS).map(|i| event(writer, n + i)).collect();
                        let asked = Instant::now();
                        store.append(events).await.expect("an append");
                        waits.push(asked.elapsed().as_secs_f64() * 1e3);
                        n += EVENTS;
                    }
                    waits
                })
            })
            .collect();
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.await.expect("a writer"));
        }
        all
    });
    let seconds = begun.elapsed().as_secs_f64();
    let health = runtime.block_on(store.health());
    let group = health.committed_events as f64 / health.commits as f64;
    (health.committed_events as f64 / seconds, group, percentile(&mut waits, 0.5), percentile(&mut waits, 0.99))
}

fn percentile(waits: &mut [f64], share: f64) -> f64 {
    waits.sort_by(f64::total_cmp);
    waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or(0.0)
}

/// Messages that are accepted while an owner reads the inbox, gives each to its conversation's machine and writes what
/// comes of it to the log: messages a second from end to end, their number, and p50 and p99 of the acceptance in
/// milliseconds.
fn ingest_to_log(store: &Arc<dyn Store>, duration: Duration) -> (f64, f64, f64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let begun = Instant::now();
    let (mut waits, applied) = runtime.block_on(async {
        let woken = Arc::new(Wake::default());
        let writers: Vec<_> = (0..WINDOW)
            .map(|writer| {
                let (store, woken) = (Arc::clone(store), Arc::clone(&woken));
                tokio::spawn(async move {
                    let (mut waits, mut n) = (Vec::new(), 0);
                    while begun.elapsed() < duration {
                        let asked = Instant::now();
                        store.ingest(message(writer, n)).await.expect("ingest");
                        woken.bell.notify_one();
                        waits.push(asked.elapsed().as_secs_f64() * 1e3);
                        n += 1;
                    }
                    waits
                })
            })
            .collect();
        let owner = tokio::spawn(own(Arc::clone(store), Arc::clone(&woken)));
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.await.expect("a writer"));
        }
        woken.over.store(true, Ordering::Relaxed);
        woken.bell.notify_one();
        (all, owner.await.expect("the owner"))
    });
    let rate = applied as f64 / begun.elapsed().as_secs_f64();
    (rate, applied as f64, percentile(&mut waits, 0.5), percentile(&mut waits, 0.99))
}

/// A message that is offered to its conversation's owner, and where the answer goes.
type Offer = (NewInbound, oneshot::Sender<()>);

/// As [`ingest_to_log`], but each message is given to the owner first, and accepted when the one commit is there that knows it
/// and has what came of it in the log.
fn straight_to_log(store: &Arc<dyn Store>, duration: Duration) -> (f64, f64, f64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let begun = Instant::now();
    let (mut waits, applied) = runtime.block_on(async {
        let (offers, offered) = mpsc::channel(WINDOW as usize);
        let writers: Vec<_> = (0..WINDOW)
            .map(|writer| {
                let offers = offers.clone();
                tokio::spawn(async move {
                    let (mut waits, mut n) = (Vec::new(), 0);
                    while begun.elapsed() < duration {
                        let asked = Instant::now();
                        let (reply, answer) = oneshot::channel();
                        offers.send((message(writer, n), reply)).await.expect("the owner is there");
                        answer.await.expect("it is accepted");
                        waits.push(asked.elapsed().as_secs_f64() * 1e3);
                        n += 1;
                    }
                    waits
                })
            })
            .collect();
        drop(offers);
        let owner = tokio::spawn(own_offered(Arc::clone(store), offered));
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.await.expect("a writer"));
        }
        (all, owner.await.expect("the owner"))
    });
    let rate = applied as f64 / begun.elapsed().as_secs_f64();
    (rate, applied as f64, percentile(&mut waits, 0.5), percentile(&mut waits, 0.99))
}

/// The owner of all shards, to whom messages are offered: a turn's messages to their machines and in one commit, a few commits
/// under way at once, one of each conversation.
async fn own_offered(store: Arc<dyn Store>, mut offered: mpsc::Receiver<Offer>) -> u64 {
    let (mut machines, mut applied) = (Machines::new(), 0);
    let (mut waiting, mut busy): (Vec<Offer>, HashSet<ConversationId>) = (Vec::new(), HashSet::new());
    let mut under_way: JoinSet<Vec<ConversationId>> = JoinSet::new();
    let mut over = false;
    loop {
        let mut turn = Vec::new();
        if under_way.len() < COMMITS {
            (waiting, turn) = waiting.drain(..).partition(|(new, _)| busy.contains(&new.begin));
        }
        if turn.is_empty() {
            tokio::select! {
                Some(done) = under_way.join_next() => {
                    for id in done.expect("a commit") {
                        busy.remove(&id);
                    }
                }
                more = offered.recv_many(&mut waiting, WINDOW as usize), if !over => over = more == 0,
                else => return applied,
            }
            continue;
        }
        waiting.extend(turn.split_off(turn.len().min(TURN)));
        applied += turn.len() as u64;
        let (commit, replies) = machines.take(turn);
        let keys: Vec<ConversationId> = commit.after.iter().map(|of| of.conversation).collect();
        busy.extend(&keys);
        let store = Arc::clone(&store);
        under_way.spawn(async move {
            store.commit(commit).await.expect("a commit");
            for reply in replies {
                // Nobody goes away while they wait.
                let _ = reply.send(());
            }
            keys
        });
    }
}

/// The conversations of an owner, all open.
struct Machines {
    policy: Arc<Policy>,
    open: HashMap<ConversationId, Conversation>,
}

impl Machines {
    fn new() -> Self {
        Self { policy: Arc::new(Policy::default()), open: HashMap::new() }
    }

    /// The events that come of a message.
    fn hear(&mut self, tenant: Tenant, id: ConversationId, at: jiff::Timestamp, event: CloudEvent) -> Vec<NewEvent> {
        let policy = &self.policy;
        let machine = self.open.entry(id).or_insert_with(|| Conversation::new(Arc::clone(policy), tenant, id));
        machine.handle(at, Input::Inbound(event)).expect("a message is heard");
        machine.poll().map(|commit| commit.events).unwrap_or_default()
    }

    /// What a turn's messages become.
    fn take(&mut self, turn: Vec<Offer>) -> (Commit, Vec<oneshot::Sender<()>>) {
        let (mut commit, mut replies) = (Commit::default(), Vec::with_capacity(turn.len()));
        let mut seen = HashSet::new();
        for (NewInbound { tenant, at, event, begin: conversation, .. }, reply) in turn {
            let known = self.open.get(&conversation).and_then(Conversation::state).map(|state| state.last_seq);
            if seen.insert(conversation) {
                let seq = known.unwrap_or(0);
                commit.after.push(After { tenant: tenant.clone(), conversation, seq });
            }
            let (source, id) = (event.source.clone(), event.id.clone());
            let begins = known.is_none();
            commit.direct.push(Direct { tenant: tenant.clone(), source, id, at, conversation, begins });
            commit.events.extend(self.hear(tenant, conversation, at, event));
            replies.push(reply);
        }
        (commit, replies)
    }
}

/// What the bus does for an owner: it says that something has come.
#[derive(Default)]
struct Wake {
    bell: tokio::sync::Notify,
    /// Nothing comes any more.
    over: AtomicBool,
}

/// The owner of all shards: pages of the inbox, each message to its machine, what comes of a page in one commit, a few
/// commits under way at once; until the messages are over and the inbox is empty.
async fn own(store: Arc<dyn Store>, woken: Arc<Wake>) -> u64 {
    let mut machines = Machines::new();
    let (mut applied, mut after) = (0, 0);
    let mut under_way: VecDeque<tokio::task::JoinHandle<()>> = VecDeque::new();
    loop {
        let over = woken.over.load(Ordering::Relaxed);
        let page = store.inbox(&[], after, WINDOW as usize).await.expect("the inbox");
        if page.is_empty() {
            if !over {
                woken.bell.notified().await;
                continue;
            }
            while let Some(one) = under_way.pop_front() {
                one.await.expect("a commit");
            }
            // Rows that were written out of order are found from the beginning.
            if std::mem::take(&mut after) == 0 {
                return applied;
            }
            continue;
        }
        after = page.last().map_or(after, |one| one.row);
        applied += page.len() as u64;
        let rows = page.iter().map(|one| one.row).collect();
        let events = page.into_iter().flat_map(|one| machines.hear(one.tenant, one.conversation, one.at, one.event));
        let commit = Commit { applied: rows, events: events.collect(), ..Commit::default() };
        let store = Arc::clone(&store);
        under_way.push_back(tokio::spawn(async move { drop(store.commit(commit).await.expect("a commit")) }));
        if under_way.len() > 4
            && let Some(one) = under_way.pop_front()
        {
            one.await.expect("a commit");
        }
    }
}

/// Whose thread a writer's message is of.
const fn thread(writer: u64, n: u64) -> u64 {
    (writer * 7_919 + n) % CONVERSATIONS
}

/// A message of about 1 KB as JSON, by the thread of its conversation.
fn message(writer: u64, n: u64) -> NewInbound {
    const WORDS: &str =
        "您好，我上周在贵店订的那台净水器已经送到了，可是滤芯好像装不进去，说明书上写的型号和机身上的不一样。";
    let thread = thread(writer, n);
    let begin = ConversationId::new(1_795_516_200_000, u128::from(thread));
    let said = samples::message_in(&thread.to_string(), &WORDS.repeat(4));
    let NewEvent { tenant, at, mut event, .. } = samples::new_event(begin, n * WINDOW + writer, said.into());
    event.source = source::thread(&tenant, "web", "site", &thread.to_string());
    NewInbound { tenant, at, event, begin, join: Join::Begin }
}

/// What opening a conversation costs: its state and its log's last page, in milliseconds (p50, p99).
fn opened(store: &Arc<dyn Store>) -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut waits: Vec<f64> = runtime.block_on(async {
        let mut waits = Vec::new();
        for n in 0..1_000 {
            let id = ConversationId::new(1_795_516_200_000, u128::from(n * 7 % CONVERSATIONS));
            let asked = Instant::now();
            let state = store.summary(&Tenant::MAIN, id).await.expect("a summary");
            let last = state.map_or(0, |state| state.last_seq);
            store.read(&Tenant::MAIN, id, last.saturating_sub(50), 50).await.expect("a page");
            waits.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        waits
    });
    (percentile(&mut waits, 0.5), percentile(&mut waits, 0.99))
}

/// [`bare`] on PostgreSQL: rows of columns in one statement, one transaction for each group, one connection.
fn pg_bare(server: &kit::PostgresServer, round: u32, duration: Duration) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.expect("a connection");
        tokio::spawn(connection);
        let table = format!("bare{round}");
        client
            .batch_execute(&format!(
                "create table {table} (tenant text, conversation bytea, seq bigint, epoch bigint, at_us bigint, type text,
                     source text, id text, subject text, time_us bigint, data text, extensions text,
                     position bigint generated always as identity,
                     primary key (tenant, conversation, seq), unique (tenant, id, source));
                 create unique index on {table} (position)"
            ))
            .await
            .expect("a table");
        let insert = client
            .prepare(&format!(
                "insert into {table} (tenant, conversation, seq, epoch, at_us, type, source, id, time_us, data)
                 select tenant, conversation, seq, 1, at, type, source, id, at, data
                 from unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                     $8::text[]) u (tenant, conversation, seq, at, type, source, id, data)"
            ))
            .await
            .expect("a statement");
        let begun = Instant::now();
        let mut rows = 0_u64;
        while begun.elapsed() < duration {
            let group: Vec<NewEvent> = events(rows / (WRITERS * EVENTS)).collect();
            let data: Vec<String> =
                group.iter().map(|new| serde_json::to_string(&new.event.event).expect("JSON")).collect();
            let tenant: Vec<&str> = group.iter().map(|new| new.tenant.as_str()).collect();
            let conversation: Vec<Vec<u8>> = group.iter().map(|new| new.conversation.to_bytes().to_vec()).collect();
            let seq: Vec<i64> = (0..group.len() as i64).map(|n| rows as i64 + n + 1).collect();
            let at: Vec<i64> = group.iter().map(|new| new.at.as_microsecond()).collect();
            let kind: Vec<&str> = group.iter().map(|new| new.event.type_name()).collect();
            let source: Vec<&str> = group.iter().map(|new| new.event.source.as_str()).collect();
            let id: Vec<&str> = group.iter().map(|new| new.event.id.as_str()).collect();
            client
                .execute(&insert, &[&tenant, &conversation, &seq, &at, &kind, &source, &id, &data])
                .await
                .expect("rows");
            rows += group.len() as u64;
        }
        rows as f64 / begun.elapsed().as_secs_f64()
    })
}

/// The same rows with the same keys in groups of the same size, and nothing else.
fn bare(path: &Path, duration: Duration) -> f64 {
    let db = rusqlite::Connection::open(path).expect("a new file");
    db.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full; pragma wal_autocheckpoint = 4096;
         create table log (row integer primary key, tenant text, conversation blob, seq integer, epoch integer,
             at_us integer,
             type text, source text, id text, subject text, time_us integer, data text, extensions text,
             unique (tenant, conversation, seq), unique (tenant, id, source))",
    )
    .expect("a table");
    let begun = Instant::now();
    let mut rows = 0_u64;
    while begun.elapsed() < duration {
        db.execute_batch("begin immediate").expect("a transaction");
        let mut insert = db
            .prepare_cached("insert into log values (null, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, null, ?9, ?10, null)")
            .expect("a statement");
        for new in events(rows / (WRITERS * EVENTS)) {
            rows += 1;
            let data = serde_json::to_string(&new.event.event).expect("JSON");
            let at = new.at.as_microsecond();
            let (tenant, key) = (new.tenant.as_str(), new.conversation.to_bytes());
            let (kind, source, id) = (new.event.type_name(), &new.event.source, &new.event.id);
            insert.execute(rusqlite::params![tenant, key, rows, 1, at, kind, source, id, at, data]).expect("a row");
        }
        db.execute_batch("commit").expect("a commit");
    }
    rows as f64 / begun.elapsed().as_secs_f64()
}

/// A message and what the road makes of it, as rows: the yardstick writes them and decides nothing.
struct Rows {
    seqs: Vec<i64>,
    /// The events of a conversation's beginning, as JSON, by the message that follows them.
    opening: Vec<(String, String)>,
    state: String,
}

/// One row of the log.
struct Line {
    key: [u8; 16],
    seq: i64,
    at: i64,
    kind: String,
    source: String,
    id: String,
    data: String,
}

/// One group of the yardstick.
#[derive(Default)]
struct Group {
    messages: Vec<(NewInbound, i64)>,
    log: Vec<Line>,
    /// Conversations that begin.
    begun: Vec<([u8; 16], String)>,
}

impl Rows {
    fn new() -> Self {
        let NewInbound { tenant, at, event, begin, .. } = message(1, 1);
        let events = Machines::new().hear(tenant, begin, at, event);
        let json = |new: &NewEvent| serde_json::to_string(&new.event.event).expect("JSON");
        let opening = events.iter().take(events.len() - 1);
        let opening = opening.map(|new| (new.event.type_name().to_owned(), json(new))).collect();
        let records: Vec<Record> = (1..).zip(events).map(|(seq, new)| new.into_record(seq)).collect();
        let mut state = ConversationState::begin(&records[0]);
        for record in &records {
            state.apply(record);
        }
        let state = serde_json::to_string(&state).expect("JSON");
        Self { seqs: vec![0; CONVERSATIONS as usize], opening, state }
    }

    /// The next group, from this message on.
    fn group(&mut self, from: u64) -> Group {
        let mut group = Group::default();
        for n in from..from + WINDOW {
            let new = message(n % WINDOW, n / WINDOW);
            let (key, at) = (new.begin.to_bytes(), new.at.as_microsecond());
            let seq = &mut self.seqs[thread(n % WINDOW, n / WINDOW) as usize];
            if *seq == 0 {
                group.begun.push((key, new.event.source.clone()));
                for (kind, data) in &self.opening {
                    *seq += 1;
                    let (kind, data, id) = (kind.clone(), data.clone(), format!("ark:{seq}"));
                    let source = source::conversation(&new.tenant, new.begin);
                    group.log.push(Line { key, seq: *seq, at, kind, source, id, data });
                }
            }
            *seq += 1;
            group.log.push(Line {
                key,
                seq: *seq,
                at,
                kind: new.event.type_name().to_owned(),
                source: new.event.source.clone(),
                id: new.event.id.clone(),
                data: serde_json::to_string(&new.event.event).expect("JSON"),
            });
            group.messages.push((new, *seq));
        }
        group
    }
}

/// What the road leaves behind, and nothing else; messages a second.
fn bare_road(path: &Path, duration: Duration) -> f64 {
    let db = rusqlite::Connection::open(path).expect("a new file");
    db.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full; pragma wal_autocheckpoint = 4096;
         pragma cache_size = -8192;
         create table log (row integer primary key, tenant text, conversation blob, seq integer, epoch integer,
             at_us integer, type text, source text, id text, subject text, time_us integer, data text, extensions text,
             unique (tenant, conversation, seq), unique (tenant, id, source));
         create table inbox (tenant text, id text, source text, row integer, conversation blob, at_us integer,
             primary key (tenant, id, source)) without rowid;
         create table outbox (row integer primary key autoincrement, shard integer, tenant text, conversation blob,
             first_seq integer, last_seq integer);
         create table thread (row integer primary key, tenant text, source text, conversation blob, person blob,
             unique (tenant, source));
         create table conversation (row integer primary key, tenant text, conversation blob, kind text, ended_us integer,
             state text, person blob, erased_us integer, unique (tenant, conversation));
         create table conversation_channel (tenant text, channel text, conversation blob,
             primary key (tenant, channel, conversation)) without rowid",
    )
    .expect("tables");
    let mut rows = Rows::new();
    let begun = Instant::now();
    let mut messages = 0_u64;
    while begun.elapsed() < duration {
        let group = rows.group(messages);
        bare_group(&db, &group, &rows.state).expect("rows");
        messages += WINDOW;
    }
    messages as f64 / begun.elapsed().as_secs_f64()
}

fn bare_group(db: &rusqlite::Connection, group: &Group, state: &str) -> rusqlite::Result<()> {
    use rusqlite::params;
    db.execute_batch("begin immediate")?;
    for (key, source) in &group.begun {
        db.prepare_cached("insert into thread values (null, 'main', ?1, ?2, null)")?.execute(params![source, key])?;
        db.prepare_cached("insert into conversation values (null, 'main', ?1, 'chat', null, ?2, null, null)")?
            .execute(params![key, state])?;
        db.prepare_cached("insert into conversation_channel values ('main', 'web', ?1)")?.execute(params![key])?;
    }
    let mut insert = db.prepare_cached("insert into inbox values (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (new, seq) in &group.messages {
        let (tenant, key, at) = (new.tenant.as_str(), new.begin.to_bytes(), new.at.as_microsecond());
        insert.execute(params![tenant, new.event.id, new.event.source, seq, key, at])?;
    }
    let mut insert =
        db.prepare_cached("insert into log values (null, 'main', ?1, ?2, 1, ?3, ?4, ?5, ?6, null, ?3, ?7, null)")?;
    for line in &group.log {
        insert.execute(params![line.key, line.seq, line.at, line.kind, line.source, line.id, line.data])?;
    }
    let mut insert = db.prepare_cached("insert into outbox values (null, ?1, ?2, ?3, ?4, ?4)")?;
    for (new, seq) in &group.messages {
        insert.execute(params![seq % 64, new.tenant.as_str(), new.begin.to_bytes(), seq])?;
    }
    db.execute_batch("commit")
}

/// [`bare_road`] on PostgreSQL: statements of columns in one transaction for each group, one connection.
fn pg_bare_road(server: &kit::PostgresServer, name: &str, duration: Duration) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client.batch_execute(&PG_TABLES.replace("bare_", &format!("{name}_"))).await.expect("tables");
        let mut statements = Vec::new();
        for sql in PG_INSERTS {
            statements.push(client.prepare(&sql.replace("bare_", &format!("{name}_"))).await.expect("a statement"));
        }
        let [inbox, log, outbox, begin] = &statements[..] else { unreachable!("there are four") };
        let mut rows = Rows::new();
        let begun = Instant::now();
        let mut messages = 0_u64;
        while begun.elapsed() < duration {
            let group = rows.group(messages);
            let of =
                |text: fn(&NewInbound) -> &str| group.messages.iter().map(|(new, _)| text(new)).collect::<Vec<_>>();
            let tenant = of(|new| new.tenant.as_str());
            let (source, id) = (of(|new| &new.event.source), of(|new| &new.event.id));
            let key: Vec<Vec<u8>> = group.messages.iter().map(|(new, _)| new.begin.to_bytes().to_vec()).collect();
            let at: Vec<i64> = group.messages.iter().map(|(new, _)| new.at.as_microsecond()).collect();
            let seq: Vec<i64> = group.messages.iter().map(|(_, seq)| *seq).collect();
            let shard: Vec<i32> = seq.iter().map(|seq| (*seq % 64) as i32).collect();
            let log_key: Vec<&[u8]> = group.log.iter().map(|line| &line.key[..]).collect();
            let log_seq: Vec<i64> = group.log.iter().map(|line| line.seq).collect();
            let log_at: Vec<i64> = group.log.iter().map(|line| line.at).collect();
            let line = |text: fn(&Line) -> &str| group.log.iter().map(text).collect::<Vec<_>>();
            let (kind, log_source) = (line(|line| &line.kind), line(|line| &line.source));
            let (log_id, data) = (line(|line| &line.id), line(|line| &line.data));
            let begun_key: Vec<&[u8]> = group.begun.iter().map(|(key, _)| &key[..]).collect();
            let begun_source: Vec<&str> = group.begun.iter().map(|(_, source)| &source[..]).collect();
            let inbox_rows: [&(dyn tokio_postgres::types::ToSql + Sync); 6] = [&seq, &tenant, &source, &id, &key, &at];
            let log_rows: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
                [&log_key, &log_seq, &log_at, &kind, &log_source, &log_id, &data];
            let outbox_rows: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&shard, &tenant, &key, &seq];
            let begin_rows: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&begun_key, &begun_source, &rows.state];
            tokio::try_join!(
                biased;
                client.batch_execute("begin"),
                client.execute(inbox, &inbox_rows),
                client.execute(log, &log_rows),
                client.execute(outbox, &outbox_rows),
                async {
                    if begun_key.is_empty() { Ok(0) } else { client.execute(begin, &begin_rows).await }
                },
                client.batch_execute("commit"),
            )
            .expect("rows");
            messages += WINDOW;
        }
        messages as f64 / begun.elapsed().as_secs_f64()
    })
}

const PG_TABLES: &str = "
    create table bare_log (tenant text, conversation bytea, seq bigint, epoch bigint, at_us bigint, type text,
        source text, id text, subject text, time_us bigint, data text, extensions text,
        position bigint generated always as identity,
        primary key (tenant, conversation, seq), unique (tenant, id, source));
    create unique index on bare_log (position);
    create table bare_inbox (tenant text, id text, source text, row bigint, conversation bytea, at_us bigint,
        primary key (tenant, id, source));
    create table bare_outbox (row bigint generated always as identity primary key, shard integer, tenant text,
        conversation bytea, first_seq bigint, last_seq bigint);
    create table bare_thread (tenant text, source text, conversation bytea, person bytea, primary key (tenant, source));
    create table bare_conversation (tenant text, conversation bytea, kind text, ended_us bigint, state text,
        version integer not null default 0, person bytea, erased_us bigint, primary key (tenant, conversation));
    create table bare_conversation_channel (tenant text, channel text, conversation bytea,
        primary key (tenant, channel, conversation))";

const PG_INSERTS: [&str; 4] = [
    "insert into bare_inbox (row, tenant, source, id, conversation, at_us)
     select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[])",
    "insert into bare_log (tenant, conversation, seq, epoch, at_us, type, source, id, time_us, data)
     select 'main', conversation, seq, 1, at, type, source, id, at, data
     from unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])
         u (conversation, seq, at, type, source, id, data)",
    "insert into bare_outbox (shard, tenant, conversation, first_seq, last_seq)
     select shard, tenant, conversation, seq, seq from unnest($1::integer[], $2::text[], $3::bytea[], $4::bigint[])
         u (shard, tenant, conversation, seq)",
    "with begun as (select * from unnest($1::bytea[], $2::text[]) u (conversation, source)),
         threads as (insert into bare_thread select 'main', source, conversation from begun),
         channels as (insert into bare_conversation_channel select 'main', 'web', conversation from begun)
     insert into bare_conversation (tenant, conversation, kind, state) select 'main', conversation, 'chat', $3 from begun",
];

/// Processor time of this process's threads so far, in microseconds, by name; nothing where the system does not tell.
fn processor() -> BTreeMap<String, f64> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        // The first number of schedstat: nanoseconds on a processor.
        let ns: f64 = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0);
        *threads.entry(read("comm").trim().to_owned()).or_default() += ns / 1e3;
    }
    threads
}

/// What this process has written to files so far, in KB; nothing where the system does not tell.
fn written() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let wrote = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    wrote.and_then(|bytes| bytes.parse::<f64>().ok()).unwrap_or(0.0) / 1e3
}

/// Processor time of the server's processes so far, also of those that have ended, in microseconds; nothing where the
/// system does not tell.
fn served(server: &kit::PostgresServer) -> f64 {
    let postmaster = server.pid().map(f64::from);
    let mut ticks = 0.0;
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let Some((pid, rest)) = stat.split_once(" (postgres) ") else { continue };
        // From the third field on: the state, the parent; the times of user and system, and those of ended children.
        let fields: Vec<f64> = rest.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect();
        if pid.parse().ok() == postmaster {
            ticks += fields.iter().skip(11).take(4).sum::<f64>();
        } else if fields.get(1).copied() == postmaster {
            ticks += fields.iter().skip(11).take(2).sum::<f64>();
        }
    }
    ticks * TICK_US
}
