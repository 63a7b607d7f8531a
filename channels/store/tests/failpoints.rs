//! A process is killed (`kill -9`) at each moment of a write, on both backends: what it was answered is there, what it
//! was not answered is there or not and may be given again, and no log has a gap.
//!
//! The child is this same test binary, started again with one test and a place in its environment.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ark_conversation::event::Role;
use ark_conversation::samples::{new_event, ringing};
use ark_conversation::{ConversationId, LegId, NewEvent, Tenant};
use ark_store::failpoint::{self, Point};
use ark_store::{
    After, Commit, Direct, Join, NewInbound, Options, PostgresOptions, PostgresStore, SqliteStore, Store, kit,
};

const PLACE: &str = "ARK_TEST_FAILPOINT_PLACE";
const POINT: &str = "ARK_TEST_FAILPOINT";
/// Set: messages go past the inbox.
const STRAIGHT: &str = "ARK_TEST_FAILPOINT_STRAIGHT";
/// Writes that go well before the one that kills.
const WRITES: u32 = 9;

const POINTS: [Point; 3] = [Point::BeforeWrite, Point::BeforeCommit, Point::BeforeAnswer];

fn id() -> ConversationId {
    ConversationId::new(1, 1)
}

fn event(n: u64) -> NewEvent {
    new_event(id(), n, ringing(LegId(1), Role::Customer).into())
}

fn message(n: u64) -> NewInbound {
    let mut new = event(n);
    new.event.source = "/ark/main/web/site/t1".to_owned();
    NewInbound { tenant: new.tenant, at: new.at, event: new.event, begin: id(), join: Join::Begin }
}

/// The same message past the inbox, with its two events.
fn straight(n: u64) -> Commit {
    let NewInbound { tenant, at, event, .. } = message(n);
    let after = vec![After { tenant: tenant.clone(), conversation: id(), seq: n * 2 }];
    let (source, id_, begins) = (event.source, event.id, n == 0);
    let direct = vec![Direct { tenant, source, id: id_, at, conversation: id(), begins }];
    Commit { after, direct, events: vec![event_of(n, 0), event_of(n, 1)], ..Commit::default() }
}

fn event_of(n: u64, which: u64) -> NewEvent {
    event(10_000 + n * 2 + which)
}

fn open(place: &str) -> Arc<dyn Store> {
    match place.strip_prefix("sqlite:") {
        Some(path) => Arc::new(SqliteStore::open_with(&Options { outbox: true, ..Options::new(path) }).unwrap()),
        None => Arc::new(PostgresStore::open(&PostgresOptions::new(place)).unwrap()),
    }
}

/// Ends this process as a crash would, when it is the point's turn.
fn hook(point: Point) {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let wanted: usize = std::env::var(POINT).unwrap().parse().unwrap();
    if point == POINTS[wanted] && TURN.fetch_add(1, Ordering::SeqCst) == WRITES {
        let pid = std::process::id().to_string();
        Command::new("kill").args(["-9", &pid]).status().unwrap();
        loop {
            std::thread::park();
        }
    }
}

/// The child: takes a message, applies it with two events, and so on, until it is killed. Without its environment it
/// does nothing.
#[tokio::test]
async fn the_child_writes_until_its_failpoint() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let store = open(&place);
    failpoint::set(hook);
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    };
    if std::env::var(STRAIGHT).is_ok() {
        for n in 0..1_000_u64 {
            store.commit(straight(n)).await.unwrap();
            say(format!("ack inbox 0 {n}"));
            say(format!("ack log {} {n}", n * 2 + 2));
        }
    }
    for n in 0..1_000_u64 {
        let row = store.ingest(message(n)).await.unwrap().row;
        say(format!("ack inbox {row} {n}"));
        let events = vec![event_of(n, 0), event_of(n, 1)];
        let done = store.commit(Commit { applied: vec![row], events, ..Commit::default() }).await.unwrap();
        say(format!("ack log {} {n}", done.appended[1].record.seq));
    }
}

/// Runs the child to its death; the messages and the commits that were acknowledged.
fn killed_at(place: &str, point: usize, straight: bool) -> (Vec<u64>, Vec<(u64, u64)>) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    if straight {
        child.env(STRAIGHT, "1");
    }
    let mut child = child
        .args(["--exact", "the_child_writes_until_its_failpoint", "--nocapture"])
        .env(PLACE, place)
        .env(POINT, point.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut inbox, mut log) = (Vec::new(), Vec::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').skip_while(|word| !word.ends_with("ack")).collect();
        match words[..] {
            [_, "inbox", _, n] => inbox.push(n.parse().unwrap()),
            [_, "log", seq, n] => log.push((seq.parse().unwrap(), n.parse().unwrap())),
            _ => {}
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "the child lived through {:?}", POINTS[point]);
    (inbox, log)
}

async fn every_point(place: impl Fn(&str) -> String) {
    for straight in [false, true] {
        for (point, name) in POINTS.iter().enumerate() {
            at_point(&place(&format!("{point}{straight}")), point, name, straight).await;
        }
    }
}

async fn at_point(place: &str, point: usize, name: &Point, straight: bool) {
    let (inbox, log) = killed_at(place, point, straight);
    assert!(!inbox.is_empty() && !log.is_empty(), "{name:?}: the child was answered");
    let store = open(place);
    let records = store.read(&Tenant::MAIN, id(), 0, 1_000).await.unwrap();
    assert!((1..).zip(&records).all(|(seq, record)| record.seq == seq), "{name:?}: a gap");
    assert!(records.len().is_multiple_of(2), "{name:?}: half a commit");
    for (seq, n) in &log {
        let record = &records[usize::try_from(*seq).unwrap() - 1];
        assert_eq!(record.event.id, event(10_001 + n * 2).event.id, "{name:?}: what was acknowledged is there");
    }
    let waiting = store.inbox(&[], 0, 100).await.unwrap();
    let applied = records.len() as u64 / 2;
    for n in &inbox {
        let waits = waiting.iter().any(|one| one.event.id == message(*n).event.id);
        assert_eq!(waits, *n >= applied, "{name:?}: message {n} is applied with its events, or waits");
    }
    let sent: usize = store.outbox(&[], &[], 1_000).await.unwrap().iter().map(|row| row.records.len()).sum();
    assert_eq!(sent, records.len(), "{name:?}: the outbox has what the log has");
    let last = inbox.last().unwrap() + 1;
    for n in 0..=last {
        let again = store.ingest(message(n)).await.unwrap();
        assert!(again.duplicate || n == last, "{name:?}: message {n} was forgotten");
    }
    store.check().await.unwrap();
}

#[tokio::test]
async fn sqlite_loses_nothing_at_any_failpoint() {
    let folder = tempfile::tempdir().unwrap();
    every_point(|point| format!("sqlite:{}", folder.path().join(format!("{point}.db")).display())).await;
}

#[tokio::test]
async fn postgres_loses_nothing_at_any_failpoint() {
    let Some(server) = kit::postgres("postgres_loses_nothing_at_any_failpoint") else { return };
    every_point(|point| {
        server.sql(&format!("create database at{point}")).unwrap();
        server.url().replace("/postgres", &format!("/at{point}"))
    })
    .await;
}
