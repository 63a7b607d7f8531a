//! `/api/v1/persons`: who a customer is, by which keys, and that two of them are one.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_conversation::event::{MergeReason, PersonMerged, PersonUnmerged};
use ark_conversation::{ConversationState, IdentityKey, KeyKind, MergeId, PersonId, Tenant};
use ark_store::{ListFilter, Merge};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::Numbers;
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::limits::PERSON_CONVERSATIONS;
use super::sight::Sight;
use super::{Web, mask};
use crate::conversations::Writer;

/// A person, as they are now
#[derive(Serialize, ToSchema)]
pub(super) struct Person {
    /// Who.
    person: String,
    /// Who was asked for, when they were merged into this person.
    #[serde(skip_serializing_if = "Option::is_none")]
    merged: Option<String>,
    /// What they are known by, in the order in which it came.
    keys: Vec<Key>,
    /// Their newest conversations, of every channel, 50 at most.
    #[schema(value_type = Vec<Object>)]
    conversations: Vec<ConversationState>,
}

/// Something that a person is known by
#[derive(Serialize, ToSchema)]
struct Key {
    /// `phone_e164`, `wechat_openid`, `alipay_user` ...
    kind: String,
    /// Its value; masked unless `numbers=full`.
    value: String,
    /// `asserted`, `channel_verified`, `otp` or `sso`: from the second on it proves who they are.
    assurance: String,
    /// When it was first seen.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The person whom it was given to, when that is one who was merged into this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonQuery {
    /// `full` shows people's numbers in full.
    #[serde(default)]
    numbers: Numbers,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct FindQuery {
    /// The kind of key: `phone_e164`, `wechat_unionid` ...
    kind: String,
    /// Its value, whole: `+8613800001212`.
    value: String,
    /// `full` shows people's numbers in full.
    #[serde(default)]
    numbers: Numbers,
}

/// The person who has a key as a proved one
#[utoipa::path(
    get, path = "/api/v1/persons", tag = "persons", params(FindQuery),
    responses((status = 200, body = Person), (status = 404, description = "Nobody has proved this key", body = ErrorBody))
)]
pub(super) async fn find(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    query: Result<Query<FindQuery>, QueryRejection>,
) -> Result<Json<Person>, ApiError> {
    let Query(query) = query?;
    let kind: KeyKind = query.kind.parse().map_err(|error| ApiError::bad_request(format!("`kind`: {error}")))?;
    let tenant = Tenant::default();
    let person = web.control.store().owner(&tenant, &IdentityKey::new(kind, query.value)).await?;
    let nobody = || ApiError::not_found("nobody has proved this key".to_owned());
    let person = person.ok_or_else(nobody)?;
    let sight = Sight::of(&web, &grant);
    if !sight.sees_person(&*web.control.store(), person).await? {
        return Err(nobody());
    }
    shown(&web, &sight, person, query.numbers.full()).await.map(Json)
}

/// A person: their keys, and their conversations of every channel
#[utoipa::path(
    get, path = "/api/v1/persons/{id}", tag = "persons",
    params(("id" = String, Path, description = "The person's ULID"), PersonQuery),
    responses((status = 200, body = Person), (status = 404, body = ErrorBody))
)]
pub(super) async fn person(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    query: Result<Query<PersonQuery>, QueryRejection>,
) -> Result<Json<Person>, ApiError> {
    let Query(query) = query?;
    shown(&web, &Sight::of(&web, &grant), parse(&id)?, query.numbers.full()).await.map(Json)
}

/// Who turned out to be whom
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MergeRequest {
    /// The person into whom.
    into: String,
    /// Who says so: an agent's name.
    #[serde(default)]
    by: Option<String>,
}

/// Two persons are one
///
/// Their conversations stay as they are; lists of the person who stays show those of both. It can be undone.
#[utoipa::path(
    post, path = "/api/v1/persons/{id}/merge", tag = "persons", request_body = MergeRequest,
    params(("id" = String, Path, description = "Who is merged: their ULID")),
    responses(
        (status = 200, description = "The person as they are now", body = Person),
        (status = 404, description = "There is no such person", body = ErrorBody),
        (status = 422, description = "They are one already", body = ErrorBody),
    )
)]
pub(super) async fn merge(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<MergeRequest>, JsonRejection>,
) -> Result<Json<Person>, ApiError> {
    change(&web, &grant, &id, request?.0, true).await.map(Json)
}

/// Two persons are not one after all
#[utoipa::path(
    post, path = "/api/v1/persons/{id}/unmerge", tag = "persons", request_body = MergeRequest,
    params(("id" = String, Path, description = "Who was merged: their ULID")),
    responses(
        (status = 200, description = "The person of their own again", body = Person),
        (status = 422, description = "They were not merged into that person", body = ErrorBody),
    )
)]
pub(super) async fn unmerge(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<MergeRequest>, JsonRejection>,
) -> Result<Json<Person>, ApiError> {
    change(&web, &grant, &id, request?.0, false).await.map(Json)
}

async fn change(web: &Web, grant: &Grant, id: &str, request: MergeRequest, merges: bool) -> Result<Person, ApiError> {
    let (tenant, store, now) = (Tenant::default(), web.control.store(), Timestamp::now());
    let (from, into, by) = (parse(id)?, parse(&request.into)?, grant.who(request.by.as_deref())?);
    let sight = Sight::of(web, grant);
    for one in [from, into] {
        if store.person(&tenant, one).await?.is_none() || !sight.sees_person(&*store, one).await? {
            return Err(nobody(one));
        }
    }
    let keys = store.identities(&tenant, from).await?.into_iter();
    let keys = keys.filter(|one| one.assurance.is_verified()).map(|one| one.key).collect();
    let merge = MergeId::new(u64::try_from(now.as_millisecond()).unwrap_or(0), rand::random());
    let writer = Writer { tenant: tenant.clone(), gateway: web.about.gateway.clone() };
    let subject = from.to_string();
    let event = if merges {
        let event = PersonMerged { merge, into, from, keys, reason: MergeReason::Person, by: by.clone() };
        writer.system_event(&subject, event)
    } else {
        writer.system_event(&subject, PersonUnmerged { merge, into, from, keys, by: by.clone() })
    };
    let order = Merge { tenant, from, into, by, at: now, event };
    let done = if merges { store.merge(order).await } else { store.unmerge(order).await };
    done.map_err(|error| match error {
        ark_store::StoreError::Conflict(why) => crate::control::ControlError::Refused(why).into(),
        ark_store::StoreError::Refused(why) => ApiError::bad_request(why),
        error => ApiError::from(error),
    })?;
    shown(web, &sight, from, false).await
}

async fn shown(web: &Web, sight: &Sight, asked: PersonId, full: bool) -> Result<Person, ApiError> {
    let (tenant, store) = (Tenant::default(), web.control.store());
    let person = store.person(&tenant, asked).await?.ok_or_else(|| nobody(asked))?;
    let keys = store.identities(&tenant, person).await?.into_iter().map(|one| Key {
        kind: one.key.kind.as_str().to_owned(),
        value: if full { one.key.value.reveal().to_owned() } else { one.key.value.to_string() },
        assurance: one.assurance.as_str().to_owned(),
        at: one.at,
        of: (one.person != person).then(|| one.person.to_string()),
    });
    let keys = keys.collect();
    let filter = ListFilter { person: Some(person), ..ListFilter::default() };
    let page = store.list(&tenant, filter, PERSON_CONVERSATIONS).await?;
    let conversations = page
        .conversations
        .into_iter()
        .filter(|state| sight.sees(state))
        .map(|state| mask::conversation(state, full))
        .collect();
    let merged = (asked != person).then(|| asked.to_string());
    Ok(Person { person: person.to_string(), merged, keys, conversations })
}

fn parse(id: &str) -> Result<PersonId, ApiError> {
    id.parse().map_err(|_| {
        ApiError::bad_request(format!("`{id}` is not a person's id: that is a ULID of 26 letters and digits"))
    })
}

fn nobody(person: PersonId) -> ApiError {
    ApiError::not_found(format!("there is no person {person}"))
}
