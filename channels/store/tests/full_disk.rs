//! A disk that is really full: a small tmpfs in a mount namespace of its own, which goes with the process that made it.

use std::path::Path;
use std::process::Command;

use ark_conversation::event::Role;
use ark_conversation::samples::{new_event, ringing};
use ark_conversation::{ConversationId, LegId, NewEvent, Tenant};
use ark_store::{SqliteStore, Store, StoreError, kit};

const DISK: &str = "ARK_TEST_FULL_DISK";
const PG_DISK: &str = "ARK_TEST_FULL_DISK_PG";

fn call(n: u64) -> NewEvent {
    new_event(ConversationId::new(1, 1), n, ringing(LegId(1), Role::Customer).into())
}

/// Runs on the small disk. Without its environment it does nothing.
#[tokio::test]
async fn on_the_small_disk_the_store_says_full_and_goes_on_when_there_is_room() {
    let Some(disk) = std::env::var_os(DISK) else { return };
    let disk = Path::new(&disk);
    let store = SqliteStore::open(disk.join("ark.db")).unwrap();
    store.append(vec![call(0)]).await.unwrap();
    // Somebody else fills the disk up.
    let filler = disk.join("filler");
    let filled = std::fs::write(&filler, vec![0; 16 * 1024 * 1024]);
    assert!(filled.is_err(), "the disk is smaller than what was written");

    let mut acknowledged = 1;
    let error = loop {
        match store.append(vec![call(acknowledged)]).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100_000, "the disk never became full");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(!store.health().await.is_ok(), "an idle store that cannot write is not ready");
    let log = store.read(&Tenant::MAIN, ConversationId::new(1, 1), 0, 1_000).await.unwrap();
    assert_eq!(log.len() as u64, acknowledged.min(1_000), "what was acknowledged can be read on the full disk");

    std::fs::remove_file(filler).unwrap();
    assert!(store.health().await.is_ok(), "found well without anybody appending");
    let appended = store.append(vec![call(acknowledged)]).await.unwrap();
    assert_eq!(appended[0].record.seq, acknowledged + 1, "without a gap");
}

#[test]
fn a_really_full_disk_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().to_str().unwrap();
    let inner = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=4m tmpfs \"$1\" || exit 77
        exec \"$2\" --exact on_the_small_disk_the_store_says_full_and_goes_on_when_there_is_room";
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", disk])
        .arg(inner)
        .env(DISK, disk)
        .output();
    let why_not = match run {
        Ok(done) if done.status.success() => {
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        Ok(done) => {
            let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
            let no_namespace = done.status.code() == Some(77) || said.contains("unshare");
            assert!(no_namespace, "{said}");
            said
        }
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("ARK_CI").is_none(), "no mount namespace here: {why_not}");
    let why_not = why_not.trim().replace('\n', "; ");
    let skipped = format!("SKIPPED a_really_full_disk: no mount namespace here: {why_not}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), skipped.as_bytes());
}

/// PostgreSQL on a disk that fills up: typed, nothing acknowledged lost, and it goes on when there is room.
#[tokio::test]
async fn on_the_small_disk_postgres_says_so_and_goes_on_when_there_is_room() {
    let Some(disk) = std::env::var_os(PG_DISK) else { return };
    let disk = Path::new(&disk);
    let server = kit::PostgresServer::start_in(&disk.join("pg")).unwrap();
    let store = server.store("ark");
    store.append(vec![call(0)]).await.unwrap();
    // Somebody else fills the disk up.
    let filler = disk.join("filler");
    let filled = std::fs::write(&filler, vec![0; 512 * 1024 * 1024]);
    assert!(filled.is_err(), "the disk is smaller than what was written");
    // Room for some thousand events, so that much is acknowledged before it is full.
    let file = std::fs::OpenOptions::new().write(true).open(&filler).unwrap();
    file.set_len(file.metadata().unwrap().len() - 4 * 1024 * 1024).unwrap();
    drop(file);
    let mut acknowledged = 1;
    let error = loop {
        match store.append((0..100).map(|n| call(acknowledged + n)).collect()).await {
            Ok(_) => acknowledged += 100,
            Err(error) => break error,
        }
        assert!(acknowledged < 1_000_000, "the disk never became full");
    };
    // A table that cannot grow is an error of the statement; a log that cannot grow ends the whole server.
    assert!(matches!(error, StoreError::Full { .. } | StoreError::Away { .. }), "{error:?}");
    assert!(error.is_temporary());
    println!("{acknowledged} acknowledged, then: {error}");
    std::fs::remove_file(filler).unwrap();
    if server.sql("select 1").is_err() {
        let _ = server.down();
        server.up().unwrap();
    }
    let begun = std::time::Instant::now();
    let appended = loop {
        match store.append(vec![call(acknowledged)]).await {
            Ok(appended) => break appended,
            Err(error) => {
                assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{error}");
                tokio::task::yield_now().await;
            }
        }
    };
    // The append that failed may be there after all; what was acknowledged must be.
    assert!(appended[0].record.seq > acknowledged, "{} after {acknowledged}", appended[0].record.seq);
    assert!(store.check().await.unwrap().records > acknowledged);
}

#[test]
fn a_full_disk_under_postgres_loses_nothing_that_was_acknowledged() {
    let name = "a_full_disk_under_postgres_loses_nothing_that_was_acknowledged";
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let disk = folder.path().to_str().unwrap();
    // A mount namespace alone: in a user namespace PostgreSQL would not find its user.
    let script = "mount -t tmpfs -o size=120m,mode=0777 tmpfs \"$1\" || exit 77
        exec \"$2\" --exact on_the_small_disk_postgres_says_so_and_goes_on_when_there_is_room --nocapture";
    let run = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", disk])
        .arg(std::env::current_exe().unwrap())
        .env(PG_DISK, disk)
        .output();
    match run {
        Ok(done) if done.status.success() => print!("{}", String::from_utf8_lossy(&done.stdout)),
        Ok(done) => {
            let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
            let cannot = done.status.code() == Some(77) || said.contains("unshare") || said.contains("not installed");
            assert!(cannot, "{said}");
            kit::skip(name, &said);
        }
        Err(error) => kit::skip(name, &error.to_string()),
    }
}
