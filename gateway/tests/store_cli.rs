//! `ark store` and `ark conversation export|replay`, as they are typed, on a real store: beside a process that has it open, and
//! without one.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ark_conversation::event::{CallAnswered, RecordingCause, RecordingFinished, Role};
use ark_conversation::samples::{ended, new_event, ringing};
use ark_conversation::{ConversationId, LegId, NewEvent, Tenant};
use ark_store::{SqliteStore, Store};
use serde_json::Value;

/// The caller of every sample.
const NUMBER: &str = "13800001212";
const L1: LegId = LegId(1);

/// An empty site of this test's own.
fn site(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("store_cli").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn ark(site: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ark"));
    command.args(arguments).current_dir(site).env_remove("ARK_LOG").output().unwrap()
}

/// Runs it, and expects this exit code; what it printed on both.
fn expect(code: i32, site: &Path, arguments: &[&str]) -> String {
    let output = ark(site, arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "ark {arguments:?}:\n{said}");
    said
}

fn json(code: i32, site: &Path, arguments: &[&str]) -> Value {
    let output = ark(site, arguments);
    assert_eq!(output.status.code(), Some(code), "ark {arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn id(n: u64) -> ConversationId {
    ConversationId::new(n, u128::from(n))
}

/// A whole call.
fn call(n: u64) -> Vec<NewEvent> {
    let answered = CallAnswered { leg: L1, codec: "PCMA".to_owned(), dtmf: None, ringing_ms: 10 };
    let recorded = RecordingFinished {
        leg: L1,
        recording: format!("r{n}"),
        reference: format!("recordings/r{n}.wav"),
        duration_ms: 1_000,
        bytes: 4,
        sha256: None,
        cause: RecordingCause::Hangup,
        format: None,
        channels: Vec::new(),
    };
    let events = vec![ringing(L1, Role::Customer).into(), answered.into(), recorded.into(), ended(L1).into()];
    (1..).zip(events).map(|(at, event)| new_event(id(n), at, event)).collect()
}

fn open(site: &Path) -> SqliteStore {
    SqliteStore::open(site.join("data/ark.db")).unwrap()
}

async fn filled(site: &Path, calls: u64) -> SqliteStore {
    let store = open(site);
    for n in 1..=calls {
        store.append(call(n)).await.unwrap();
    }
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_store_in_use_is_brought_back() {
    let site = site("backup");
    let missing = expect(2, &site, &["store", "check"]);
    assert!(missing.contains("data/ark.db: there is no store here; `ark serve` makes one"), "{missing}");
    assert!(!site.join("data").exists(), "looking makes nothing");
    let store = Arc::new(filled(&site, 10).await);
    let said = expect(0, &site, &["store", "check"]);
    for part in ["data/ark.db", store.store_id(), "10 conversations, 40 records", "inbox 0, outbox 0", "nobody holds"] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    store.claim(3, "gw1", std::time::Duration::from_secs(600)).await.unwrap();
    let said = expect(0, &site, &["store", "check"]);
    assert!(said.contains("gw1 holds 1, the first for 59"), "{said}");

    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut n = 100;
            while !stop.load(Ordering::Relaxed) {
                store.append(call(n)).await.unwrap();
                n += 1;
            }
            n - 100
        })
    };
    let told = tokio::task::block_in_place(|| json(0, &site, &["store", "backup", "copy.db", "--json"]));
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    let records = told["records"].as_u64().unwrap();
    assert!(written > 0 && (40..=40 + written * 4).contains(&records) && records % 4 == 0, "{told} of {written}");
    assert_eq!(std::fs::metadata(site.join("copy.db")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = expect(1, &site, &["store", "backup", "copy.db"]);
    assert!(again.contains("copy.db: there is a file already; name another"), "{again}");
    assert_eq!(json(0, &site, &["store", "check", "copy.db", "--json"])["records"], records);

    let used = expect(1, &site, &["store", "restore", "copy.db", "--replace"]);
    assert!(used.contains(&format!("in use by another process (pid {})", std::process::id())), "{used}");
    drop(store);
    let there = expect(1, &site, &["store", "restore", "copy.db"]);
    assert!(there.contains("there is a store already") && there.contains("help: --replace"), "{there}");
    let back = json(0, &site, &["store", "restore", "copy.db", "--replace", "--json"]);
    assert_eq!(back["records"], records);
    let moved = back["moved"].as_str().unwrap();
    let before = json(0, &site, &["store", "check", moved, "--json"]);
    assert_eq!(before["records"], 40 + written * 4, "the one that was there is whole");
    let store = open(&site);
    assert!(store.append(call(1)).await.unwrap()[0].duplicate, "it goes on from there");
}

#[tokio::test]
async fn a_damaged_store_is_found_and_not_brought_back() {
    let site = site("damaged");
    drop(filled(&site, 2).await);
    let path = site.join("data/ark.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("delete from log where seq = 2", []).unwrap();
    drop(db);
    let said = expect(1, &site, &["store", "check"]);
    assert!(said.contains("has 3 records up to number 4") && said.contains("restore a backup"), "{said}");
    assert_eq!(json(1, &site, &["store", "check", "--json"])["ok"], false);
    std::fs::copy(&path, site.join("bad.db")).unwrap();
    std::fs::remove_dir_all(site.join("data")).unwrap();
    let said = expect(1, &site, &["store", "restore", "bad.db"]);
    assert!(said.contains("bad.db: damaged") && !path.exists(), "{said}");
    expect(2, &site, &["store", "restore", "nowhere.db"]);
    std::fs::write(site.join("text.db"), "just a text, long enough to be looked at as a database file".repeat(20))
        .unwrap();
    let said = expect(1, &site, &["store", "check", "text.db"]);
    assert!(said.contains("not a store of Ark's"), "{said}");
}

#[tokio::test]
async fn an_export_folds_to_the_live_state() {
    let site = site("export");
    let store = filled(&site, 3).await;
    let said = expect(0, &site, &["conversation", "export", "--all", "--out", "all.jsonl"]);
    assert!(said.contains("all.jsonl: 3 conversations, 12 records"), "{said}");
    assert_eq!(std::fs::metadata(site.join("all.jsonl")).unwrap().permissions().mode() & 0o777, 0o600);
    expect(1, &site, &["conversation", "export", "--all", "--out", "all.jsonl"]);
    // A half-written file may be another's: it is neither written into nor removed.
    std::fs::write(site.join("b.jsonl.part"), "mine").unwrap();
    let said = expect(1, &site, &["conversation", "export", "--all", "--out", "b.jsonl"]);
    assert!(said.contains("b.jsonl.part: another export writes here"), "{said}");
    assert_eq!(std::fs::read_to_string(site.join("b.jsonl.part")).unwrap(), "mine");
    let text = std::fs::read_to_string(site.join("all.jsonl")).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["seq"], &first["event"]["specversion"]), (&1.into(), &"1.0".into()));

    let two = id(2).to_string();
    let live = json(0, &site, &["conversation", "replay", &two, "--json"]);
    assert_eq!((&live[0]["agrees"], &live[0]["records"]), (&true.into(), &4.into()));
    assert_eq!(live[0]["state_sha256"], store.summary(&Tenant::MAIN, id(2)).await.unwrap().unwrap().hash().to_string());
    assert!(!live.to_string().contains(NUMBER), "numbers are masked");
    let end = &two[20..];
    assert!(expect(0, &site, &["conversation", "replay", end]).contains("the same"));
    // Offline: in a folder where no site is.
    let elsewhere = site.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let folded = json(0, &elsewhere, &["conversation", "replay", "../all.jsonl", "--json"]);
    let same = folded.as_array().unwrap().iter().find(|one| one["conversation"] == two).unwrap();
    assert_eq!((&same["state_sha256"], &same["log_sha256"]), (&live[0]["state_sha256"], &live[0]["log_sha256"]));

    let redacted = expect(0, &site, &["conversation", "export", &two, "--redact"]);
    assert_eq!(redacted.lines().count(), 4);
    for personal in [NUMBER, "r2.wav", "pc33.example.net"] {
        assert!(!redacted.contains(personal) && text.contains(personal), "{personal} in {redacted}");
    }
    std::fs::write(site.join("redacted.jsonl"), redacted).unwrap();
    assert!(expect(0, &site, &["conversation", "replay", "redacted.jsonl"]).contains("records  4"));
    expect(1, &site, &["conversation", "export", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]);
    expect(2, &site, &["conversation", "replay", "./nowhere.jsonl"]);
}

#[tokio::test]
async fn a_state_that_the_log_does_not_tell_is_found() {
    let site = site("differs");
    drop(filled(&site, 3).await);
    assert!(expect(0, &site, &["conversation", "replay", "--all"]).contains("12 records replayed, 0 differ"));
    let db = rusqlite::Connection::open(site.join("data/ark.db")).unwrap();
    let changed = "update conversation set state = replace(state, '95188', '95189') where conversation = ?1";
    assert_eq!(db.execute(changed, [id(2).to_bytes()]).unwrap(), 1);
    drop(db);
    let two = id(2).to_string();
    assert!(expect(1, &site, &["conversation", "replay", &two]).contains("DIFFERS"));
    assert_eq!(json(1, &site, &["conversation", "replay", "--all", "--json"])["differ"][0], two);
}

#[tokio::test]
async fn what_is_erased_is_gone_with_its_file_and_the_audit_trail_says_who() {
    let site = site("erase");
    drop(filled(&site, 2).await);
    let recordings = site.join("data/files/recordings");
    std::fs::create_dir_all(&recordings).unwrap();
    for n in 1..=2 {
        std::fs::write(recordings.join(format!("r{n}.wav")), "RIFF").unwrap();
    }
    let one = id(1).to_string();
    let hash = |site: &Path| json(0, site, &["conversation", "replay", &one, "--json"])[0]["log_sha256"].clone();
    let before = hash(&site);
    let told = expect(1, &site, &["store", "erase", "--conversation", &one, "--by", "anna"]);
    assert!(told.contains("nothing was erased; --yes would erase of 1 conversations with 4 records"), "{told}");
    assert!(recordings.join("r1.wav").exists());
    let told = expect(0, &site, &["store", "erase", "--conversation", &one, "--by", "anna", "--yes"]);
    assert!(told.contains("records of 1 conversations, 1 files, 0 keys"), "{told}");
    assert!(!recordings.join("r1.wav").exists() && recordings.join("r2.wav").exists());
    assert_eq!(hash(&site), before, "the log's hash outlives it");
    assert!(!expect(0, &site, &["conversation", "export", &one]).contains(NUMBER));
    assert!(expect(0, &site, &["conversation", "export", &id(2).to_string()]).contains(NUMBER));
    let store = open(&site);
    let audit = store.audit(&Tenant::MAIN, None, None, 10).await.unwrap();
    assert_eq!((audit.len(), audit[0].by.as_str(), audit[0].action.as_str()), (1, "anna", "erase"));
    // Somebody has the store: the gateway is asked, and none runs here.
    let used = expect(2, &site, &["store", "erase", "--conversation", &one, "--by", "anna", "--yes"]);
    assert!(used.contains("ark.token: the gateway's token cannot be read"), "{used}");
    expect(2, &site, &["store", "erase", "--by", "anna", "--yes"]);
}

/// The site's file for a database.
fn of_database(site: &Path, url: &str) {
    std::fs::write(site.join("ark.toml"), format!("[store]\nurl = \"{url}\"\n")).unwrap();
}

#[tokio::test]
async fn the_same_with_a_database() {
    let Some(server) = ark_store::kit::postgres("the_same_with_a_database") else { return };
    let site = site("database");
    of_database(&site, &server.url());
    let missing = expect(2, &site, &["store", "check"]);
    assert!(missing.contains("there is no store here"), "{missing}");
    let store = server.store("ark");
    for n in 1..=3 {
        store.append(call(n)).await.unwrap();
    }
    let told = expect(0, &site, &["store", "check"]);
    assert!(told.contains("3 conversations, 12 records") && told.contains("outbox 3"), "{told}");
    let copy = json(0, &site, &["store", "backup", "ark.dump", "--json"]);
    assert_eq!((&copy["records"], copy["bytes"].as_u64().unwrap() > 1_000), (&12.into(), true));
    assert!(expect(0, &site, &["conversation", "replay", "--all"]).contains("12 records replayed, 0 differ"));
    store.append(call(4)).await.unwrap();
    let used = expect(1, &site, &["store", "restore", "ark.dump", "--replace"]);
    assert!(used.contains("in use by gateways") && used.contains("stop them first"), "{used}");
    drop(store);
    assert!(expect(1, &site, &["store", "restore", "ark.dump"]).contains("help: --replace"));
    let back = json(0, &site, &["store", "restore", "ark.dump", "--replace", "--json"]);
    assert_eq!(back["records"], 12);
    assert!(back["moved"].as_str().unwrap().starts_with("schema ark_before_"), "{back}");
    assert_eq!(json(0, &site, &["store", "check", "--json"])["records"], 12);
    let one = id(1).to_string();
    expect(0, &site, &["store", "erase", "--conversation", &one, "--by", "anna", "--yes"]);
    assert!(!expect(0, &site, &["conversation", "export", &one]).contains(NUMBER));

    // Another database: an empty one takes it as it is.
    server.sql("create database second").unwrap();
    of_database(&site, &server.url().replace("/postgres", "/second"));
    assert_eq!(json(0, &site, &["store", "restore", "ark.dump", "--json"])["moved"], Value::Null);
    assert_eq!(json(0, &site, &["store", "check", "--json"])["conversations"], 3);
    of_database(&site, "postgres://ark:hidden@127.0.0.1:1/ark");
    let away = expect(2, &site, &["store", "check"]);
    assert!(away.contains("away") && !away.contains("hidden"), "{away}");
}
