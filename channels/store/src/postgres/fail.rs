//! From what PostgreSQL says to what an operator can act on.

use std::path::PathBuf;

use tokio_postgres::error::SqlState;

use crate::error::StoreError;

/// What went wrong within a job.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database, or the road to it.
    Db(tokio_postgres::Error),
    /// Something of our own.
    Said(StoreError),
    /// A row does not hold what it should.
    Unreadable(String),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Db(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Said(error)
    }
}

impl Fault {
    /// A row that does not hold what it should.
    pub(super) fn unreadable(error: impl std::fmt::Display) -> Self {
        Self::Unreadable(error.to_string())
    }

    /// Another transaction was in the way; the same one may go well now.
    pub(super) fn is_collision(&self) -> bool {
        let Self::Db(error) = self else { return false };
        error.code().is_some_and(|code| {
            *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
        }) || self.is_double()
    }

    /// Whether a row with the same key is there: somebody was quicker.
    pub(super) fn is_double(&self) -> bool {
        matches!(self, Self::Db(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION))
    }

    /// What it is to the caller.
    pub(super) fn said(&self, place: &str) -> StoreError {
        match self {
            Self::Said(error) => error.clone(),
            Self::Unreadable(detail) => StoreError::Corrupt { path: PathBuf::from(place), detail: detail.clone() },
            Self::Db(error) => db_said(error, place),
        }
    }
}

fn db_said(error: &tokio_postgres::Error, place: &str) -> StoreError {
    let (path, place) = (PathBuf::from(place), place.to_owned());
    let Some(db) = error.as_db_error() else {
        // Without a code: the connection, TLS, or what we asked cannot be written.
        let detail = chain(error);
        if is_untrusted(error) {
            let detail = format!(
                "its certificate is not trusted ({detail}); [store] ca_file names the authority that signed it"
            );
            return StoreError::Denied { place, detail };
        }
        if error.is_closed() || has_io(error) {
            return StoreError::Away { place, detail };
        }
        return StoreError::Denied { place, detail };
    };
    let detail = db.message().to_owned();
    match db.code().code() {
        "53100" => StoreError::Full { path },
        "25006" => StoreError::ReadOnly { path, detail },
        "55P03" | "55006" => StoreError::Busy { waiting: 0 },
        // A state's body that is no text, a number too large: this one can never be stored.
        code if code.starts_with("22") || code.starts_with("23") || code.starts_with("54") => {
            StoreError::Refused(detail)
        }
        // No such database, no such role, a wrong password, no right: somebody must correct it.
        code if code.starts_with("28") || matches!(code, "3D000" | "42501" | "3F000") => {
            StoreError::Denied { place, detail }
        }
        code if code.starts_with("XX") || code.starts_with("42") || code.starts_with("26") => {
            StoreError::Corrupt { path, detail }
        }
        "58030" => StoreError::Io { path, detail },
        // 08 connection, 53 resources, 57 operator intervention (shutdown, recovery, a timeout), 40 rolled back, ...
        _ => StoreError::Away { place, detail },
    }
}

/// Whether the server's certificate was looked at and found wanting: no other try will do.
fn is_untrusted(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let tls = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = tls.and_then(|inner| inner.downcast_ref::<rustls::Error>()).or_else(|| error.downcast_ref());
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn has_io(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    // A timeout while connecting has no source.
    error.to_string().contains("connecting") || error.to_string().contains("timed out")
}

fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Whether the error is one job's own, so that the jobs beside it in the transaction may go well without it.
pub(super) fn is_of_one_job(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused(_) | StoreError::Corrupt { .. })
}
