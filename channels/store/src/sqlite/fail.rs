//! From SQLite's codes to what an operator can act on.

use std::path::PathBuf;

use rusqlite::{ErrorCode, ffi};

use crate::error::StoreError;

/// Where a store is, for its errors.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The database file.
    pub(super) path: PathBuf,
}

/// The error that an SQLite error is.
pub(super) fn said(error: &rusqlite::Error, place: &Place) -> StoreError {
    let path = place.path.clone();
    let detail = error.to_string();
    let rusqlite::Error::SqliteFailure(code, _) = error else {
        return StoreError::Corrupt { path, detail };
    };
    match code.code {
        // A full disk also shows when the shared-memory file cannot grow.
        _ if code.extended_code == ffi::SQLITE_IOERR_SHMSIZE => StoreError::Full { path },
        ErrorCode::DiskFull => StoreError::Full { path },
        ErrorCode::ReadOnly
        | ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::AuthorizationForStatementDenied => StoreError::ReadOnly { path, detail },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            StoreError::Locked { path, holder: " (an SQLite shell or a backup?)".to_owned() }
        }
        ErrorCode::TooBig => StoreError::Refused(detail),
        ErrorCode::SystemIoFailure
        | ErrorCode::OutOfMemory
        | ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted => StoreError::Io { path, detail },
        _ => StoreError::Corrupt { path, detail },
    }
}

/// The error that a file operation's error is.
pub(super) fn file_said(error: &std::io::Error, path: PathBuf) -> StoreError {
    let detail = error.to_string();
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full { path },
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::ReadOnly { path, detail }
        }
        _ => StoreError::Io { path, detail },
    }
}

/// Whether the error is one job's own, so that the jobs beside it in the transaction may go well without it.
pub(super) fn is_of_one_job(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused(_) | StoreError::Corrupt { .. })
}
