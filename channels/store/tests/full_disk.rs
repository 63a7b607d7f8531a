//! A disk that is really full: a small tmpfs in a mount namespace of its own, which goes with the process that made it.

use std::path::Path;
use std::process::Command;

use ark_conversation::event::Role;
use ark_conversation::samples::{new_event, ringing};
use ark_conversation::{ConversationId, LegId, NewEvent, Tenant};
use ark_store::{SqliteStore, Store, StoreError};

const DISK: &str = "ARK_TEST_FULL_DISK";

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
