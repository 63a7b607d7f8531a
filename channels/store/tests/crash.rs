//! Law L2 the hard way: a process that appends is killed, and everything that it was answered is there.
//!
//! The child is this same test binary, started again with one test and a path in its environment.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ark_conversation::event::Role;
use ark_conversation::samples::{new_event, ringing};
use ark_conversation::{ConversationId, LegId, NewEvent, Tenant};
use ark_store::{SqliteStore, Store};

const STORE: &str = "ARK_TEST_CRASH_STORE";
const FIRST: &str = "ARK_TEST_CRASH_FIRST";
const WRITERS: u64 = 8;
const CONVERSATIONS: u64 = 4;

fn event(n: u64) -> NewEvent {
    let conversation = ConversationId::new(1, u128::from(n % CONVERSATIONS));
    new_event(conversation, n, ringing(LegId(1), Role::Customer).into())
}

/// The child: appends until it is killed, and writes `conversation seq id` for each answer. Without its environment
/// it does nothing.
#[test]
fn the_child_appends_until_it_is_killed() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = Arc::new(SqliteStore::open(Path::new(&path)).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(append(Arc::clone(&store), first + writer))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

/// One of the child's writers; bounded, so that a child whose parent died ends as well.
async fn append(store: Arc<SqliteStore>, first: u64) {
    for round in 0..20_000 {
        let n = first + round * 2 * WRITERS;
        let appended = store.append(vec![event(n), event(n + WRITERS)]).await.unwrap();
        let mut out = std::io::stdout().lock();
        for one in &appended {
            // A line that the pipe did not take is no answer: the parent is gone.
            if writeln!(out, "ack {} {} {}", one.record.conversation, one.record.seq, one.record.event.id).is_err() {
                std::process::exit(0);
            }
        }
        out.flush().unwrap();
    }
}

/// Starts the child, lets it acknowledge so many events, kills it, and gives what it acknowledged.
fn killed_after(path: &Path, first: u64, acknowledgements: usize) -> Vec<(ConversationId, u64, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_appends_until_it_is_killed", "--nocapture"])
        .env(STORE, path)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    let mut keep = |line: &str| {
        let mut words = line.split(' ').skip_while(|word| !word.ends_with("ack")).skip(1);
        if let (Some(conversation), Some(seq), Some(id)) = (words.next(), words.next(), words.next())
            && id.len() == 26
        {
            acknowledged.push((conversation.parse().unwrap(), seq.parse().unwrap(), id.to_owned()));
        }
        acknowledged.len()
    };
    while let Some(Ok(line)) = lines.next() {
        if keep(&line) == acknowledgements {
            break;
        }
    }
    child.kill().unwrap();
    // What it had written before it was killed was acknowledged too.
    for line in lines.map_while(Result::ok) {
        keep(&line);
    }
    child.wait().unwrap();
    acknowledged
}

#[tokio::test]
async fn everything_acknowledged_survives_kill_9_without_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ark.db");
    let mut acknowledged: HashMap<(ConversationId, u64), String> = HashMap::new();
    for (round, acknowledgements) in (0..).zip([1, 40, 333, 1_500]) {
        for (conversation, seq, id) in killed_after(&path, round * 10_000_000, acknowledgements) {
            let before = acknowledged.insert((conversation, seq), id);
            assert_eq!(before, None, "a number given twice: {conversation} {seq}");
        }
        let store = SqliteStore::open(&path).unwrap();
        let mut found = 0;
        for n in 0..CONVERSATIONS {
            let conversation = ConversationId::new(1, u128::from(n));
            let mut last = 0;
            loop {
                let page = store.read(&Tenant::MAIN, conversation, last, 1_000).await.unwrap();
                if page.is_empty() {
                    break;
                }
                for record in page {
                    assert_eq!(record.seq, last + 1, "a gap in {conversation} in round {round}");
                    last = record.seq;
                    let known = acknowledged.get(&(conversation, last));
                    assert!(known.is_none_or(|id| *id == record.event.id), "{conversation} {last} is another event");
                    found += usize::from(known.is_some());
                }
            }
            let summary = store.summary(&Tenant::MAIN, conversation).await.unwrap();
            assert_eq!(summary.map_or(0, |state| state.last_seq), last, "the row agrees with the log");
        }
        assert!(acknowledged.len() >= acknowledgements, "the child was answered");
        assert_eq!(found, acknowledged.len(), "everything acknowledged is there after round {round}");
    }
}
