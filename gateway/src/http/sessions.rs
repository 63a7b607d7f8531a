//! Sessions: what the cookie of somebody who has signed in is looked up by.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ark_store::{Account, Session, Store};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::ApiError;
use super::grant::Grant;
use super::token::hex;
use crate::accounts::limits::{
    SESSION_FRESH, SESSION_IDLE_MAX, SESSION_LIFE_MAX, SESSION_STALE_MAX, SESSION_USED_EVERY, SESSIONS_KNOWN_MAX,
};

/// Letters and digits of a session's secret: 256 bits.
const SECRET_CHARS: usize = 64;

/// What the store said of a session, and when.
struct Known {
    session: Session,
    account: Account,
    read: Instant,
}

/// The sessions that were looked up lately.
pub(super) struct Sessions {
    known: Mutex<HashMap<String, Known>>,
    /// Counts what may have ended a session here.
    changes: watch::Sender<u64>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { known: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Sessions {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a presented cookie opens; none: it is no session's, or no good any more.
    ///
    /// # Errors
    /// The store has been away for so long that nothing is known.
    pub(super) async fn grant(&self, store: &Arc<dyn Store>, cookie: &str) -> Result<Option<Grant>, ApiError> {
        if cookie.len() != SECRET_CHARS || !cookie.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        // By its hash it is found in time that says nothing of the secret.
        let sha256 = hash(cookie);
        let Some((session, account)) = self.find(&**store, &sha256).await? else { return Ok(None) };
        let now = Timestamp::now();
        if !is_good(&session, &account, now) {
            return Ok(None);
        }
        self.write_down(store, &session, now);
        Ok(Some(Grant::of_account(account, sha256)))
    }

    async fn find(&self, store: &dyn Store, sha256: &str) -> Result<Option<(Session, Account)>, ApiError> {
        let of = |known: &Known| (known.session.clone(), known.account.clone());
        if let Some(known) = self.known().get(sha256).filter(|known| known.read.elapsed() < SESSION_FRESH) {
            return Ok(Some(of(known)));
        }
        let before = *self.changes.borrow();
        match store.session(sha256).await {
            Ok(Some((session, account))) => {
                let mut known = self.known();
                // What was read before a change is not kept.
                if *self.changes.borrow() != before {
                    return Ok(Some((session, account)));
                }
                if known.len() >= SESSIONS_KNOWN_MAX && !known.contains_key(sha256) {
                    known.clear();
                }
                let one = Known { session: session.clone(), account: account.clone(), read: Instant::now() };
                known.insert(sha256.to_owned(), one);
                Ok(Some((session, account)))
            }
            Ok(None) => {
                self.known().remove(sha256);
                Ok(None)
            }
            Err(error) => match self.known().get(sha256).filter(|known| known.read.elapsed() < SESSION_STALE_MAX) {
                Some(known) => Ok(Some(of(known))),
                None => Err(ApiError::unavailable(format!("who has signed in cannot be looked up: {error}"))),
            },
        }
    }

    /// Something has changed that may have ended a session, or what it opens: everybody is looked up anew.
    pub(super) fn changed(&self) {
        let mut known = self.known();
        known.clear();
        self.changes.send_modify(|count| *count += 1);
    }

    /// Comes back when a session opens nothing any more, or something else.
    pub(super) async fn over(&self, store: &dyn Store, account: &Account, sha256: &str) {
        let mut changes = self.changes.subscribe();
        loop {
            // A store that is away ends nothing.
            if let Ok(found) = self.find(store, sha256).await {
                let same = |(session, now): (Session, Account)| {
                    is_good(&session, &now, Timestamp::now())
                        && (&now.roles, &now.groups, &now.phone) == (&account.roles, &account.groups, &account.phone)
                };
                if !found.is_some_and(same) {
                    return;
                }
            }
            let _ = tokio::time::timeout(SESSION_FRESH, changes.changed()).await;
        }
    }

    fn write_down(&self, store: &Arc<dyn Store>, session: &Session, now: Timestamp) {
        if now.duration_since(session.used_at) < SESSION_USED_EVERY {
            return;
        }
        let (sha256, ends_at) = (session.sha256.clone(), now + SESSION_IDLE_MAX);
        if let Some(known) = self.known().get_mut(&sha256) {
            (known.session.used_at, known.session.ends_at) = (now, ends_at);
        }
        let store = Arc::clone(store);
        tokio::spawn(async move {
            if let Err(error) = store.renew_session(&sha256, now, ends_at).await {
                tracing::debug!(%error, "that a session was used is not written down now");
            }
        });
    }
}

fn is_good(session: &Session, account: &Account, now: Timestamp) -> bool {
    !account.disabled && now < session.ends_at && now.duration_since(session.made_at) < SESSION_LIFE_MAX
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

/// A new session of an account, and the secret that its cookie holds.
///
/// # Errors
/// The machine gave no random bytes.
pub(super) fn new(account: &str, now: Timestamp) -> Result<(Session, String), ApiError> {
    let secret = secret()?;
    let session = Session {
        sha256: hash(&secret),
        account: account.to_owned(),
        made_at: now,
        used_at: now,
        ends_at: now + SESSION_IDLE_MAX,
    };
    Ok((session, secret))
}

/// 256 random bits, hexadecimal.
///
/// # Errors
/// The machine gave none.
pub(super) fn secret() -> Result<String, ApiError> {
    let mut bytes = [0_u8; SECRET_CHARS / 2];
    let no_luck = |error: getrandom::Error| ApiError::internal(format!("the system gave no random bytes: {error}"));
    getrandom::fill(&mut bytes).map_err(no_luck)?;
    Ok(hex(&bytes))
}
