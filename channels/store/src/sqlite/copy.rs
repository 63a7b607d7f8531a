//! Copies of a store, and whether one keeps its laws.

use std::path::Path;
use std::time::Duration;

use ark_conversation::ConversationId;
use rusqlite::backup::{Backup as Copy, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::check::{Backup, Check, Restored, remove, settle, suffixed};
use crate::error::StoreError;
use crate::sqlite::fail::{self, Place};
use crate::sqlite::{flags, lock, schema};

/// Pages that are copied before the writer may go on.
const COPY_PAGES: i32 = 1_024;

/// Reads everything once: SQLite's own check, logs without gaps, a row for each conversation.
pub(super) fn check(db: &Connection, place: &Place) -> Result<Check, StoreError> {
    let said = |error: rusqlite::Error| fail::said(&error, place);
    let breach = |detail: String| StoreError::Corrupt { path: place.path.clone(), detail };
    // One look at one moment: the writer goes on meanwhile.
    let db = db.unchecked_transaction().map_err(said)?;
    let found: String = db.query_row("pragma integrity_check(1)", [], |row| row.get(0)).map_err(said)?;
    if found != "ok" {
        return Err(breach(found));
    }
    let foreign: i64 =
        db.query_row("select count(*) from pragma_foreign_key_check", [], |row| row.get(0)).map_err(said)?;
    if foreign > 0 {
        return Err(breach(format!("{foreign} rows point to rows that are not there")));
    }
    let layout: i64 = db.query_row("pragma user_version", [], |row| row.get(0)).map_err(said)?;
    if layout > schema::LAYOUT {
        return Err(StoreError::TooNew { path: place.path.clone(), found: layout, known: schema::LAYOUT });
    }
    let gap: Option<(String, [u8; 16], u64, u64)> = db
        .query_row(
            "select tenant, conversation, count(*), max(seq) from log group by tenant, conversation
             having count(*) <> max(seq) or min(seq) <> 1 limit 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .optional()
        .map_err(said)?;
    if let Some((tenant, conversation, count, last)) = gap {
        let conversation = ConversationId::from_bytes(conversation);
        return Err(breach(format!("conversation {conversation} of {tenant} has {count} records up to number {last}")));
    }
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, u64>(0)).map_err(said);
    let logs = count("select count(*) from (select distinct tenant, conversation from log)")?;
    let conversations = count("select count(*) from conversation")?;
    if logs != conversations {
        return Err(breach(format!("{logs} logs but {conversations} conversations")));
    }
    let records = count("select count(*) from log")?;
    let store_id = db.query_row("select value from meta where key = 'store_id'", [], |row| row.get(0)).map_err(said)?;
    Ok(Check { store_id, layout, conversations, records })
}

/// Checks a file that no store has open: a backup.
///
/// # Errors
/// [`StoreError::Corrupt`] with the first breach, or what the disk said.
pub fn verify(path: &Path) -> Result<Check, StoreError> {
    let place = Place { path: path.to_owned() };
    check(&to_read(&place)?, &place)
}

fn to_read(place: &Place) -> Result<Connection, StoreError> {
    let opened = Connection::open_with_flags(&place.path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY));
    opened.map_err(|error| fail::said(&error, place))
}

/// Copies the store that `db` reads to a new file, whole at one moment, and checks the copy.
pub(super) fn backup(db: &Connection, place: &Place, to: &Path) -> Result<Backup, StoreError> {
    let file_said = |error: std::io::Error| fail::file_said(&error, to.to_owned());
    if to.exists() {
        return Err(StoreError::Conflict(format!("{}: there is a file already; name another", to.display())));
    }
    let half = suffixed(to, ".part");
    // A half copy of a backup that was cut short.
    remove(&half).map_err(file_said)?;
    let copied = copy(db, place, &half).and_then(|()| verify(&half));
    let check = match copied {
        Ok(check) => check,
        Err(error) => {
            let _ = remove(&half);
            return Err(error);
        }
    };
    let bytes = settle(&half, to).map_err(file_said)?;
    Ok(Backup { path: to.to_owned(), bytes, check })
}

fn copy(db: &Connection, place: &Place, to: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let there = Place { path: to.to_owned() };
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    drop(file.map_err(|error| fail::file_said(&error, to.to_owned()))?);
    let mut target = Connection::open_with_flags(to, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))
        .map_err(|error| fail::said(&error, &there))?;
    // A reader that stays in one transaction: what is committed meanwhile does not begin the copy anew.
    let source = db.unchecked_transaction().map_err(|error| fail::said(&error, place))?;
    source.query_row("select 1 from meta limit 1", [], |_| Ok(())).map_err(|error| fail::said(&error, place))?;
    {
        let copy = Copy::new(&source, &mut target).map_err(|error| fail::said(&error, &there))?;
        loop {
            match copy.step(COPY_PAGES).map_err(|error| fail::said(&error, &there))? {
                StepResult::Done => break,
                StepResult::More => {}
                // Somebody folds the write-ahead log: SQLite's own wait is over soon.
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
    // The copy is one file: no write-ahead log beside it that could be forgotten.
    target.query_row("pragma journal_mode = delete", [], |_| Ok(())).map_err(|error| fail::said(&error, &there))
}

/// Puts a checked backup where a store is opened. `aside`: a store that is there gets this at the end of its name,
/// and stays beside it; none: a store that is there is left alone.
///
/// # Errors
/// [`StoreError::Conflict`] when there is a file and no `aside`; [`StoreError::Locked`] when a gateway has it open;
/// [`StoreError::Corrupt`] when the backup does not keep the laws; or what the disk said. Nothing has changed then.
pub fn restore(from: &Path, to: &Path, aside: Option<&str>) -> Result<Restored, StoreError> {
    let file_said = |error: std::io::Error| fail::file_said(&error, to.to_owned());
    if !from.exists() {
        return Err(StoreError::Io { path: from.to_owned(), detail: "there is no such file".to_owned() });
    }
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(file_said)?;
    }
    let _lock = lock::take(to)?;
    let there = to.exists() || suffixed(to, "-wal").exists();
    if there && aside.is_none() {
        return Err(StoreError::Conflict(format!("{}: there is a store already", to.display())));
    }
    let place = Place { path: from.to_owned() };
    let db = to_read(&place)?;
    check(&db, &place)?;
    let half = suffixed(to, ".part");
    remove(&half).map_err(file_said)?;
    // By SQLite and not file by file: a backup that somebody made may have its last records in a log beside it.
    let done = copy(&db, &place, &half).and_then(|()| {
        let check = verify(&half)?;
        let moved = aside.filter(|_| there).map(|aside| suffixed(to, aside));
        put(&half, to, moved.as_deref()).map_err(file_said)?;
        Ok(Restored { check, moved: moved.map(|moved| moved.display().to_string()) })
    });
    if done.is_err() {
        let _ = remove(&half);
    }
    done
}

/// Gives a finished copy a store's name, when the store that is there has got another.
fn put(half: &Path, to: &Path, moved: Option<&Path>) -> std::io::Result<()> {
    if let Some(moved) = moved {
        move_store(to, moved)?;
    }
    let settled = settle(half, to);
    if settled.is_err()
        && let Some(moved) = moved
    {
        move_store(moved, to)?;
    }
    settled.map(drop)
}

/// Gives a database and what SQLite keeps beside it another name: all of it, or nothing.
fn move_store(from: &Path, to: &Path) -> std::io::Result<()> {
    // The write-ahead log first: a database whose log is missing would look whole and lack its last records.
    let parts = ["-wal", "-shm", ""].map(|end| (suffixed(from, end), suffixed(to, end)));
    if let Some((_, there)) = parts.iter().find(|(_, there)| there.exists()) {
        let told = format!("{} is there already", there.display());
        return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, told));
    }
    for (at, (from, to)) in parts.iter().enumerate() {
        match std::fs::rename(from, to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                for (back, moved) in &parts[..at] {
                    let _ = std::fs::rename(moved, back);
                }
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}
