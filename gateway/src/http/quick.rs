//! `/api/v1/quick-replies`: what agents write again and again, their own and those of their groups. Kept as notes of the store.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::collections::BTreeSet;
use std::sync::Arc;

use ark_conversation::Tenant;
use ark_store::{Role, Store};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Web;
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::limits::{QUICK_REPLIES_MAX, QUICK_REPLY_CHARS_MAX};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct QuickQuery {
    /// Whose, of a request with a token. Who has signed in leaves it out.
    agent: Option<String>,
}

/// One list of quick replies
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct QuickList {
    /// The group whose they are; none: the agent's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// 0 while nobody has written the list, then one more with each change: to be sent with the next one.
    version: u64,
    /// The replies, in their order.
    replies: Vec<String>,
    /// Whether the caller may change it.
    editable: bool,
}

/// The quick replies of an agent
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuickReplies {
    /// Their own first, then those of each of their groups; of a supervisor: of each group of the site.
    lists: Vec<QuickList>,
}

/// A list as it is to be
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuickChange {
    /// The group whose they are; left out: the agent's own.
    group: Option<String>,
    /// The version that was changed, as it was told.
    version: u64,
    /// All of them, 50 at most, each of 1 to 1,000 characters; as JSON 16 KiB at most.
    replies: Vec<String>,
}

/// What an agent may insert with a click: their own replies, and their groups'
#[utoipa::path(
    get, path = "/api/v1/quick-replies", tag = "desk", params(QuickQuery),
    responses((status = 200, body = QuickReplies), (status = 503, body = ErrorBody))
)]
pub(super) async fn list(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    query: Result<Query<QuickQuery>, QueryRejection>,
) -> Result<Json<QuickReplies>, ApiError> {
    let Query(QuickQuery { agent }) = query?;
    let (store, agent, edits) = (web.control.store(), grant.who(agent.as_deref())?, grant.is(Role::Supervisor));
    let mut lists = vec![read(&*store, Key::Own(&agent), true).await?];
    for group in groups(&web, &*store, &grant, &agent).await? {
        lists.push(read(&*store, Key::Group(&group), edits).await?);
    }
    Ok(Json(QuickReplies { lists }))
}

/// Change one's own quick replies, or as a supervisor those of a group
///
/// The whole list is written. Who changed a version that is there no longer is told so, and reads it again.
#[utoipa::path(
    put, path = "/api/v1/quick-replies", tag = "desk", params(QuickQuery), request_body = QuickChange,
    responses(
        (status = 200, description = "The list as it is now", body = QuickList),
        (status = 400, description = "Too many, too long, or empty", body = ErrorBody),
        (status = 403, description = "A group's list is a supervisor's", body = ErrorBody),
        (status = 404, description = "There is no such group", body = ErrorBody),
        (status = 409, description = "Somebody else has changed it since", body = ErrorBody),
    )
)]
pub(super) async fn put(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    query: Result<Query<QuickQuery>, QueryRejection>,
    change: Result<Json<QuickChange>, JsonRejection>,
) -> Result<Json<QuickList>, ApiError> {
    let (Query(QuickQuery { agent }), Json(change)) = (query?, change?);
    let (store, agent) = (web.control.store(), grant.who(agent.as_deref())?);
    let replies = checked(change.replies)?;
    let key = match &change.group {
        None => Key::Own(&agent),
        Some(_) if !grant.is(Role::Supervisor) => return Err(ApiError::no_role(Role::Supervisor.as_str())),
        Some(group) if groups(&web, &*store, &grant, &agent).await?.contains(group) => Key::Group(group),
        Some(group) => return Err(ApiError::not_found(format!("there is no group `{group}`"))),
    };
    let body = serde_json::to_vec(&replies).unwrap_or_default();
    let swapped = store.swap_note(&Tenant::default(), &key.name(), change.version, body).await;
    let swapped = swapped.map_err(|error| match error {
        ark_store::StoreError::Refused(why) => ApiError::bad_request(why),
        error => error.into(),
    })?;
    if !swapped {
        return Err(ApiError::conflict("somebody else has changed these quick replies: read them again"));
    }
    Ok(Json(read(&*store, key, true).await?))
}

/// Whose a list is.
#[derive(Clone, Copy, Debug)]
enum Key<'a> {
    Own(&'a str),
    Group(&'a str),
}

impl Key<'_> {
    fn name(self) -> String {
        match self {
            Self::Own(agent) => format!("quick/own/{agent}"),
            Self::Group(group) => format!("quick/group/{group}"),
        }
    }
}

async fn read(store: &dyn Store, key: Key<'_>, editable: bool) -> Result<QuickList, ApiError> {
    let group = if let Key::Group(group) = key { Some(group.to_owned()) } else { None };
    let Some(note) = store.note(&Tenant::default(), &key.name()).await? else {
        return Ok(QuickList { group, editable, ..QuickList::default() });
    };
    let replies = serde_json::from_slice(&note.body).unwrap_or_default();
    Ok(QuickList { group, version: note.version, replies, editable })
}

/// The groups whose lists somebody sees: their own; a supervisor, and who came by a token, those of the site.
async fn groups(web: &Web, store: &dyn Store, grant: &Grant, agent: &str) -> Result<BTreeSet<String>, ApiError> {
    if let Some(account) = grant.account().filter(|_| !grant.is(Role::Supervisor)) {
        return Ok(account.groups.iter().cloned().collect());
    }
    if grant.account().is_none() && !grant.is_own() {
        let account = store.account(agent).await?;
        return Ok(account.map(|(account, _)| account.groups.into_iter().collect()).unwrap_or_default());
    }
    let mut all: BTreeSet<String> = web.queues.iter().map(|queue| queue.name.clone()).collect();
    all.extend(store.accounts().await?.into_iter().flat_map(|account| account.groups));
    Ok(all)
}

fn checked(replies: Vec<String>) -> Result<Vec<String>, ApiError> {
    if replies.len() > QUICK_REPLIES_MAX {
        return Err(ApiError::bad_request(format!("{} quick replies, more than {QUICK_REPLIES_MAX}", replies.len())));
    }
    let replies: Vec<String> = replies.into_iter().map(|one| one.trim().to_owned()).collect();
    let fits = |one: &String| (1..=QUICK_REPLY_CHARS_MAX).contains(&one.chars().count());
    if !replies.iter().all(fits) {
        return Err(ApiError::bad_request(format!("a quick reply has 1 to {QUICK_REPLY_CHARS_MAX} characters")));
    }
    Ok(replies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded_and_trimmed() {
        assert_eq!(checked(vec![" 您好 ".to_owned()]).unwrap(), ["您好"]);
        assert!(checked(vec!["x".to_owned(); QUICK_REPLIES_MAX + 1]).is_err());
        for bad in [String::new(), "  ".to_owned(), "x".repeat(QUICK_REPLY_CHARS_MAX + 1)] {
            assert!(checked(vec![bad]).is_err());
        }
        assert_eq!(Key::Own("anna").name(), "quick/own/anna");
    }
}
