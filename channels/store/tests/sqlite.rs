//! The SQLite store: the laws of every store, and what is SQLite's own.

use ark_conversation::event::{OtherEvent, Role};
use ark_conversation::samples::{new_event, ringing};
use ark_conversation::{ConversationId, Event, LegId, NewEvent, Tenant};
use ark_store::{Options, Restored, SqliteStore, Store, StoreError, contract, limits, restore, verify};
use std::os::unix::fs::PermissionsExt;

fn call(conversation: u128, n: u64) -> NewEvent {
    new_event(ConversationId::new(1, conversation), n, ringing(LegId(1), Role::Customer).into())
}

#[tokio::test]
async fn sqlite_keeps_the_laws_of_a_store() {
    let folder = tempfile::tempdir().unwrap();
    contract::suite(|law| {
        let options = Options { outbox: true, ..Options::new(folder.path().join(format!("{law}.db"))) };
        SqliteStore::open_with(&options).unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_store_opens_again_with_its_id_and_everything_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/of/ark.db");
    let store = SqliteStore::open(&path).unwrap();
    let id = store.store_id().to_owned();
    let first = store.append(vec![call(1, 1), call(1, 2)]).await.unwrap();
    drop(store);

    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.store_id(), id);
    let again = store.append(vec![call(1, 2), call(1, 3)]).await.unwrap();
    assert_eq!((again[0].duplicate, &again[0].record), (true, &first[1].record));
    assert_eq!(again[1].record.seq, 3, "the numbers go on");
}

#[test]
fn a_store_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ark.db");
    let _store = SqliteStore::open(&path).unwrap();
    for name in ["ark.db", "ark.db-wal", "ark.db-shm", "ark.db.lock"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_second_writer_is_told_who_has_the_file_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ark.db");
    let store = SqliteStore::open(&path).unwrap();
    let refused = SqliteStore::open(&path).err().unwrap();
    let text = refused.to_string();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused:?}");
    assert!(text.contains(path.to_str().unwrap()) && text.contains(&std::process::id().to_string()), "{text}");
    drop(store);
    SqliteStore::open(&path).unwrap();
}

#[tokio::test]
async fn a_full_store_says_so_loses_nothing_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ark.db");
    let store = SqliteStore::open_with(&Options { bytes_max: Some(512 * 1024), ..Options::new(&path) }).unwrap();
    let mut acknowledged = 0;
    let full = loop {
        let events: Vec<_> = (0..20).map(|n| call(1, acknowledged + n)).collect();
        match store.append(events).await {
            Ok(appended) => acknowledged += appended.len() as u64,
            Err(error) => break error,
        }
    };
    assert!(matches!(&full, StoreError::Full { path: at } if *at == path), "{full:?}");
    assert!(acknowledged > 100 && full.is_temporary() && full.to_string().contains("free some"));
    assert!(store.health().await.failed_commits > 0);
    assert_eq!(
        store.read(&Tenant::MAIN, ConversationId::new(1, 1), 0, 1_000).await.unwrap().len() as u64,
        acknowledged
    );
    drop(store);

    let store = SqliteStore::open(&path).unwrap();
    assert!(store.health().await.is_ok());
    assert_eq!(
        store.append(vec![call(1, acknowledged)]).await.unwrap()[0].record.seq,
        acknowledged + 1,
        "without a gap"
    );
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ark.db");
    let garbage = "this is a letter, not a database. ".repeat(500);
    std::fs::write(&path, &garbage).unwrap();
    let refused = SqliteStore::open(&path).err().unwrap();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), garbage);

    let path = folder.path().join("other.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("create table recipes (name text)").unwrap();
    let refused = SqliteStore::open(&path).err().unwrap();
    assert!(
        matches!(&refused, StoreError::Corrupt { detail, .. } if detail.contains("another program")),
        "{refused:?}"
    );
}

#[test]
fn a_store_of_a_later_ark_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ark.db");
    drop(SqliteStore::open(&path).unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteStore::open(&path).err().unwrap();
    assert!(matches!(refused, StoreError::TooNew { found: 99, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_row_of_an_older_state_is_folded_again_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ark.db");
    let store = SqliteStore::open(&path).unwrap();
    store.append(vec![call(1, 1)]).await.unwrap();
    let state = store.summary(&Tenant::MAIN, ConversationId::new(1, 1)).await.unwrap();
    drop(store);
    let db = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(db.execute("update conversation set state = '{\"of\":\"old\"}'", []).unwrap(), 1);
    drop(db);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.summary(&Tenant::MAIN, ConversationId::new(1, 1)).await.unwrap(), state);
    assert_eq!(store.append(vec![call(1, 2)]).await.unwrap()[0].record.seq, 2);
}

#[tokio::test]
async fn one_event_that_does_not_fit_its_type_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ark.db");
    let store = SqliteStore::open(&path).unwrap();
    store.append(vec![call(1, 1), call(1, 2)]).await.unwrap();
    drop(store);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("update log set data = '{\"written\":\"otherwise\"}' where seq = 2", []).unwrap();
    drop(db);
    let store = SqliteStore::open(&path).unwrap();
    let log = store.read(&Tenant::MAIN, ConversationId::new(1, 1), 0, 10).await.unwrap();
    assert_eq!(log.len(), 2);
    assert_eq!(log[1].event.type_name(), "ark.call.ringing.v1");
    assert!(matches!(&log[1].event.event, Event::Other(other) if other.data["written"] == "otherwise"));
}

#[tokio::test]
async fn a_page_of_large_events_is_cut_and_joins_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("ark.db")).unwrap();
    let large = |n| {
        let mut new = call(1, n);
        let data = serde_json::json!({ "text": "x".repeat(limits::EVENT_BYTES_MAX - 100) });
        new.event.event = Event::Other(OtherEvent { type_name: "ark.test.large.v1".to_owned(), data });
        new
    };
    let count = limits::READ_BYTES_MAX / limits::EVENT_BYTES_MAX + 8;
    for n in 0..count as u64 {
        store.append(vec![large(n)]).await.unwrap();
    }
    let first = store.read(&Tenant::MAIN, ConversationId::new(1, 1), 0, 1_000).await.unwrap();
    let rest = store.read(&Tenant::MAIN, ConversationId::new(1, 1), first.len() as u64, 1_000).await.unwrap();
    assert!(first.len() < count && first.len() + rest.len() == count, "{} and {}", first.len(), rest.len());
}

#[tokio::test]
async fn a_backup_is_made_in_use_checked_and_brought_back() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("ark.db"), folder.path().join("copy/ark.db"));
    std::fs::create_dir(folder.path().join("copy")).unwrap();
    let store = std::sync::Arc::new(SqliteStore::open(&path).unwrap());
    store.append((0..500).map(|n| call(u128::from(n % 7), n)).collect()).await.unwrap();
    let writer = {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move {
            for n in 500..700 {
                store.append(vec![call(1, n)]).await.unwrap();
            }
        })
    };
    let backup = store.backup(&copy).await.unwrap();
    writer.await.unwrap();
    assert_eq!((backup.check.conversations, &backup.check.store_id[..]), (7, store.store_id()));
    assert!((500..=700).contains(&backup.check.records) && backup.bytes > 100_000, "{backup:?}");
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(store.backup(&copy).await, Err(StoreError::Conflict(_))), "nothing is overwritten");
    assert_eq!(verify(&copy).unwrap(), backup.check);

    assert!(matches!(restore(&copy, &path, Some(".old")), Err(StoreError::Locked { .. })), "a gateway has it open");
    drop(store);
    assert!(matches!(restore(&copy, &path, None), Err(StoreError::Conflict(_))), "there is a store");
    let before = verify(&path).unwrap();
    let restored = restore(&copy, &path, Some(".old")).unwrap();
    let old = folder.path().join("ark.db.old");
    assert_eq!(restored, Restored { check: backup.check.clone(), moved: Some(old.display().to_string()) });
    assert_eq!(verify(&old).unwrap(), before, "the one that was there is whole");
    let taken = restore(&copy, &path, Some(".old")).unwrap_err();
    assert!(taken.to_string().contains("is there already") && verify(&path).is_ok(), "{taken:?}");
    let stray = folder.path().join("ark.db.older-wal");
    std::fs::write(&stray, b"another store's").unwrap();
    let taken = restore(&copy, &path, Some(".older")).unwrap_err();
    assert!(taken.to_string().contains("ark.db.older-wal is there already") && verify(&path).is_ok(), "{taken:?}");
    assert_eq!(std::fs::read(&stray).unwrap(), b"another store's");
    let elsewhere = folder.path().join("new/ark.db");
    assert_eq!(restore(&copy, &elsewhere, None).unwrap(), Restored { check: backup.check.clone(), moved: None });
    let store = SqliteStore::open(&elsewhere).unwrap();
    assert_eq!(store.store_id(), backup.check.store_id);
    assert_eq!(store.check().await.unwrap(), backup.check);
    let appended = store.append(vec![call(0, 0), call(9, 9_000)]).await.unwrap();
    assert!(appended[0].duplicate && appended[1].record.seq == 1);
}

#[tokio::test]
async fn a_store_is_read_beside_the_gateway_that_has_it_and_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ark.db");
    let missing = SqliteStore::open_to_read(&path).err().unwrap();
    assert!(matches!(missing, StoreError::Missing { .. }) && !path.exists(), "{missing:?}");
    let store = SqliteStore::open(&path).unwrap();
    store.append((0..10).map(|n| call(1, n)).collect()).await.unwrap();
    let reader = SqliteStore::open_to_read(&path).unwrap();
    assert_eq!((reader.store_id(), reader.topology()), (store.store_id(), store.topology()));
    store.append(vec![call(1, 10)]).await.unwrap();
    let log = reader.read(&Tenant::MAIN, ConversationId::new(1, 1), 0, 100).await.unwrap();
    assert_eq!(log.len(), 11, "what is committed is seen");
    assert_eq!(reader.check().await.unwrap(), store.check().await.unwrap());
    assert!(matches!(reader.append(vec![call(1, 11)]).await, Err(StoreError::Refused(_))));
    assert!(reader.health().await.is_ok());
    drop(store);
    drop(reader);
    let before = std::fs::read(&path).unwrap();
    let reader = SqliteStore::open_to_read(&path).unwrap();
    assert_eq!(reader.check().await.unwrap().records, 11);
    drop(reader);
    assert_eq!(std::fs::read(&path).unwrap(), before, "nothing is changed by reading");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 1).unwrap();
    let old = SqliteStore::open_to_read(&path).err().unwrap();
    assert!(matches!(&old, StoreError::Conflict(why) if why.contains("ark serve")), "{old:?}");
}

#[tokio::test]
async fn a_backup_with_its_write_ahead_log_beside_it_is_brought_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copied) = (folder.path().join("ark.db"), folder.path().join("copied.db"));
    let store = SqliteStore::open(&path).unwrap();
    store.append((0..10).map(|n| call(1, n)).collect()).await.unwrap();
    // As somebody's own script copies a store that is open: nothing is folded into the file yet.
    for end in ["", "-wal"] {
        let file = |path: &std::path::Path| format!("{}{end}", path.display());
        std::fs::copy(file(&path), file(&copied)).unwrap();
    }
    let restored = restore(&copied, &folder.path().join("new.db"), None).unwrap();
    assert_eq!(restored.check, store.check().await.unwrap());
    assert_eq!(restored.check.records, 10);
}

#[test]
fn a_backup_that_lacks_a_record_is_not_brought_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ark.db");
    let store = SqliteStore::open(&path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.append((0..10).map(|n| call(1, n)).collect())).unwrap();
    drop(store);
    rusqlite::Connection::open(&path).unwrap().execute("delete from log where seq = 4", []).unwrap();
    let refused = restore(&path, &folder.path().join("new.db"), None).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Corrupt { detail, .. } if detail.contains("9 records up to number 10")),
        "{refused:?}"
    );
    assert!(!folder.path().join("new.db").exists());
}
