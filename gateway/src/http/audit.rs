//! `/api/v1/audit`: what was done to accounts, who tried to sign in and was wrong, who looked at a number; for operators.
//!
//! It is in the system's log (`ark.audit.v1`), in the store with everything else. Of a name that no account has nothing is kept: people type
//! their password where the name belongs.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ark_conversation::event::{AuditWhat, Audited};
use ark_conversation::{ConversationId, Event, NewEvent, Pii, Tenant};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Web;
use super::error::{ApiError, ErrorBody};
use super::limits::{AUDIT_PAGES_MAX, AUDIT_WRONG_PER_MINUTE, PAGE_DEFAULT, PAGE_MAX};
use crate::conversations::Writer;

/// How many wrong tries were written down of late: strangers do not fill the store.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<(Instant, u32)>>);

impl Pace {
    /// Whether one more is written down now.
    fn may(&self, now: Instant) -> bool {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) =
            pace.filter(|(since, _)| now.duration_since(*since) < Duration::from_secs(60)).unwrap_or((now, 0));
        *pace = Some((since, count.saturating_add(1)));
        count < AUDIT_WRONG_PER_MINUTE
    }
}

/// An entry that nobody did, of nobody.
pub(super) fn of(what: AuditWhat) -> Audited {
    Audited { what, by: None, account: None, detail: None, address: None, conversation: None }
}

/// An entry as it is appended to the log.
pub(super) fn entry(web: &Web, audited: Audited) -> NewEvent {
    let writer = Writer { tenant: Tenant::default(), gateway: web.about.gateway.clone() };
    writer.system_event("audit", audited)
}

/// Writes an entry down. What was done is done, whether or not it can be written down: the program's log has it, too.
pub(super) async fn write(web: &Web, audited: Audited) {
    let wrong = matches!(audited.what, AuditWhat::SignInFailed | AuditWhat::SignInBlocked);
    if wrong && !web.audit_pace.may(Instant::now()) {
        return;
    }
    let what = audited.what;
    if let Err(error) = web.control.store().append(vec![entry(web, audited)]).await {
        tracing::warn!(%what, %error, "an entry of the audit is missing: the store does not take it");
    }
}

/// A wrong try to sign in, or one too many.
pub(super) async fn wrong_try(web: &Web, what: AuditWhat, account: Option<&str>, address: std::net::IpAddr) {
    let address = Some(Pii::new(address.to_string()));
    write(web, Audited { account: account.map(str::to_owned), address, ..of(what) }).await;
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Only entries before this `seq`: `next` of the page before. Left out: the newest.
    before: Option<u64>,
    /// At most so many, never more than 500.
    limit: Option<usize>,
}

/// One entry
#[derive(Serialize, ToSchema)]
pub(super) struct AuditEntry {
    /// Its place in the system's log.
    seq: u64,
    /// When, RFC 3339, UTC.
    at: String,
    /// `account_made`, `account_changed`, `account_removed`, `password_set`, `sign_in_failed`, `sign_in_blocked` or `number_revealed`.
    what: &'static str,
    /// Who did it: an account's name, or `token`; null: nobody had signed in.
    by: Option<String>,
    /// The account that it is about; null: no account has the name.
    account: Option<String>,
    /// What is otherwise.
    detail: Option<String>,
    /// The network address from which it was tried.
    address: Option<String>,
    /// The conversation that it is about.
    conversation: Option<String>,
}

/// A page of the audit, the newest first
#[derive(Serialize, ToSchema)]
pub(super) struct Audit {
    /// The entries.
    entries: Vec<AuditEntry>,
    /// For `before` of the next page; null: there is nothing older.
    next: Option<u64>,
}

/// What was done to accounts, who signed in wrongly, who looked at a number; for operators
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "accounts", params(AuditQuery),
    responses((status = 200, body = Audit), (status = 503, description = "Not now", body = ErrorBody))
)]
pub(super) async fn list(
    State(web): State<Arc<Web>>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Audit>, ApiError> {
    let Query(AuditQuery { before, limit }) = query?;
    let limit = limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let (store, tenant) = (web.control.store(), Tenant::default());
    let last = store.summary(&tenant, ConversationId::SYSTEM).await?.map_or(0, |state| state.last_seq);
    let mut before = before.unwrap_or(u64::MAX).min(last.saturating_add(1));
    let mut entries = Vec::new();
    for _ in 0..AUDIT_PAGES_MAX {
        let after = before.saturating_sub(PAGE_MAX as u64 + 1);
        let records = store.read(&tenant, ConversationId::SYSTEM, after, PAGE_MAX).await?;
        for record in records.into_iter().rev().filter(|record| record.seq < before).collect::<Vec<_>>() {
            if entries.len() == limit {
                return Ok(Json(Audit { entries, next: Some(record.seq + 1) }));
            }
            before = record.seq;
            let at = record.event.time.to_string();
            if let Event::Audited(audited) = record.event.event {
                let Audited { what, by, account, detail, address, conversation } = audited;
                let (address, conversation) =
                    (address.map(|address| address.reveal().to_owned()), conversation.map(|id| id.to_string()));
                let (seq, what) = (record.seq, what.as_str());
                entries.push(AuditEntry { seq, at, what, by, account, detail, address, conversation });
            }
        }
        before = before.min(after + 1);
        if after == 0 {
            return Ok(Json(Audit { entries, next: None }));
        }
    }
    Ok(Json(Audit { entries, next: Some(before) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_do_not_fill_the_store() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert!((0..AUDIT_WRONG_PER_MINUTE).all(|_| pace.may(now)));
        assert!(!pace.may(now + Duration::from_secs(59)));
        assert!(pace.may(now + Duration::from_secs(60)), "a minute later they count again");
    }
}
