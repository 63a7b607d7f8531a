//! One writer for each file: a lock file beside the database, held for as long as the store is open.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::sqlite::fail::file_said;

/// The held lock; the system releases it when the process ends, however it ends.
pub(super) struct StoreLock {
    _file: File,
}

/// `{database}.lock`
pub(super) fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Takes the lock of a database file.
pub(super) fn take(database: &Path) -> Result<StoreLock, StoreError> {
    let path = lock_path(database);
    let said = |error: std::io::Error| file_said(&error, path.clone());
    // Not truncated before it is ours: the other process's id stands in it.
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(said)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let holder = if known { format!(" (pid {})", pid.trim()) } else { String::new() };
            return Err(StoreError::Locked { path: database.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(said(error)),
    }
    // Only for the message above: on a full disk the lock holds without it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(StoreLock { _file: file })
}
