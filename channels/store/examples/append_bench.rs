//! How many events a second the SQLite store takes, beside a bare group-commit insert of the same rows.
//!
//! `cargo run --release -p ark-store --example append_bench [-- SECONDS]`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::event::{IvrEntered, PromptStarted};
use ark_conversation::samples::new_event;
use ark_conversation::{ConversationId, LegId, NewEvent};
use ark_store::{SqliteStore, Store};

/// Events in each append, and appends in flight at once: 512 events wait at any time, in groups as a busy gateway
/// makes them.
const EVENTS: u64 = 16;
const WRITERS: u64 = 32;
/// Conversations that the events are spread over.
const CONVERSATIONS: u64 = 2_000;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3.0);
    let duration = Duration::from_secs_f64(seconds);
    let folder = tempfile::tempdir_in(".").expect("the working directory can be written");
    let bytes = serde_json::to_string(&event(1, 1).into_record(1)).expect("a record is JSON").len();
    say(&format!("events of {bytes} B as JSON, {WRITERS} writers of {EVENTS} events, {CONVERSATIONS} conversations"));
    for round in 1..=2 {
        let bare = bare(&folder.path().join(format!("bare{round}.db")), duration);
        let (store, group, p50, p99) = store(&folder.path().join(format!("store{round}.db")), duration);
        say(&format!(
            "round {round}: store {store:.0} events/s (groups of {group:.0}, append p50 {p50:.1} ms, p99 {p99:.1} ms), \
             bare group-commit insert {bare:.0} rows/s, ratio {:.2}",
            store / bare
        ));
    }
}

#[expect(clippy::print_stdout, reason = "the bench's result")]
fn say(line: &str) {
    println!("{line}");
}

/// About 500 bytes of JSON, of a conversation that goes on: what most events of a call are.
fn event(writer: u64, n: u64) -> NewEvent {
    let conversation = ConversationId::new(1_795_516_200_000, u128::from((writer * 7_919 + n) % CONVERSATIONS));
    let leg = LegId(1);
    let event = if n.is_multiple_of(2) {
        IvrEntered {
            leg,
            plan: "hotline-95188".to_owned(),
            version: 3,
            state: "main_menu".to_owned(),
            verb: "menu".to_owned(),
            lang: Some("zh".to_owned()),
        }
        .into()
    } else {
        PromptStarted {
            leg,
            play: n,
            prompts: vec!["welcome".to_owned(), "menu".to_owned()],
            lang: "zh".to_owned(),
            length_ms: Some(4_200),
            barge_in: true,
            text: Some("欢迎致电客户服务热线。普通话请按一。".to_owned()),
        }
        .into()
    };
    new_event(conversation, writer << 32 | n, event)
}

/// The store as the gateway uses it: events a second, mean group, p50 and p99 of an append in milliseconds.
fn store(path: &Path, duration: Duration) -> (f64, f64, f64, f64) {
    let store = Arc::new(SqliteStore::open(path).expect("a new store"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let begun = Instant::now();
    let mut waits: Vec<f64> = runtime.block_on(async {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = Arc::clone(&store);
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
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    let group = health.committed_events as f64 / health.commits as f64;
    (health.committed_events as f64 / seconds, group, at(0.5), at(0.99))
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
        for _ in 0..WRITERS * EVENTS {
            rows += 1;
            let new = event(1, rows);
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
