//! `/api/v1/conversations/{id}/messages`, `/claim`, `/resolve`: what people of the house do in a conversation. Each is done by the gateway
//! that owns the conversation, whichever of a site's gateways is asked.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_conversation::event::Part;
use ark_conversation::{Content, ConversationId, LegId, Owner, Record, Tenant};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::{Numbers, parse_id};
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::limits::{MESSAGE_PAGES_MAX, PAGE_DEFAULT, PAGE_MAX};
use super::{Web, mask};
use crate::conversations::owner::{Command, CommandError, Done, Wish};

/// What belongs to the words of a conversation.
const MESSAGE_TYPES: &[&str] =
    &["ark.message.in.v1", "ark.message.out.v1", "ark.message.rerouted.v1", "ark.receipt.v1", "ark.edit.v1"];

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct MessagesQuery {
    /// Only what came after this `seq`; 0: from the beginning.
    #[serde(default)]
    after_seq: u64,
    /// At most so many, never more than 500.
    limit: Option<usize>,
    /// `full` shows people's numbers in full.
    #[serde(default)]
    numbers: Numbers,
}

/// The words of a conversation: messages, what became of them, and changes to them
#[derive(Serialize, ToSchema)]
pub(super) struct Messages {
    /// The records in the order of their `seq`.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Record>,
    /// For `after_seq` of the next page; null when there is nothing more now.
    next: Option<u64>,
}

/// The messages of a conversation, without what else is in its log
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/messages", tag = "conversations",
    params(("id" = String, Path, description = "The conversation's ULID"), MessagesQuery),
    responses((status = 200, body = Messages), (status = 404, body = ErrorBody))
)]
pub(super) async fn messages(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    query: Result<Query<MessagesQuery>, QueryRejection>,
) -> Result<Json<Messages>, ApiError> {
    let Query(query) = query?;
    let (id, tenant, store) = (parse_id(&id)?, Tenant::default(), web.control.store());
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let full = query.numbers.full();
    let (mut messages, mut after, mut more) = (Vec::new(), query.after_seq, true);
    for _ in 0..MESSAGE_PAGES_MAX {
        let page = store.read(&tenant, id, after, PAGE_MAX).await?;
        if page.is_empty() {
            more = false;
            break;
        }
        for record in page {
            if messages.len() == limit {
                break;
            }
            after = record.seq;
            if MESSAGE_TYPES.contains(&record.event.type_name()) {
                messages.push(mask::record(record, full));
            }
        }
        if messages.len() == limit {
            break;
        }
    }
    if after == 0 && store.summary(&tenant, id).await?.is_none() {
        return Err(ApiError::not_found(CommandError::NoConversation(id).to_string()));
    }
    Ok(Json(Messages { messages, next: more.then_some(after) }))
}

/// A message to the customer
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMessage {
    /// Who writes: an agent's name. Left out: who has signed in.
    #[serde(default)]
    by: Option<String>,
    /// The words, 1 to 20,000 characters.
    text: String,
    /// The message's key, 1 to 96 bytes: the same message again has the same key and is sent once. Left out: that of the header
    /// `Idempotency-Key`, or a new one.
    #[serde(default)]
    key: Option<String>,
    /// The epoch in which the writer believes to be: when the conversation changed hands meanwhile, nothing is sent. Left out: whatever
    /// it is; a conversation that waits in a queue, or that a plan has, is claimed with the message.
    #[serde(default)]
    epoch: Option<u64>,
    /// By which leg. Left out: the thread that was active last.
    #[serde(default)]
    leg: Option<u32>,
    /// The id of the message that it answers.
    #[serde(default)]
    reply_to: Option<String>,
}

/// What came of it, once it is in the log
#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    /// The conversation.
    conversation: String,
    /// Who owns it now.
    owner: String,
    /// Ownership now: what the next request may name.
    epoch: u64,
    /// `seq` of the log's last record.
    last_seq: u64,
    /// A message's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Whether a message of this key was taken before: nothing was sent now.
    duplicate: bool,
}

/// Write to the customer
///
/// The answer comes when the message is in the log and on its way to the channel; what becomes of it there is told by receipts.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/messages", tag = "conversations", request_body = NewMessage,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 200, description = "It had been taken before", body = Accepted),
        (status = 201, description = "It is on its way", body = Accepted),
        (status = 404, description = "No such conversation", body = ErrorBody),
        (status = 409, description = "`stale_epoch`, `not_owner` or `closed`", body = ErrorBody),
        (status = 422, description = "It cannot be done as asked", body = ErrorBody),
        (status = 503, description = "Not now; ask again with the same key", body = ErrorBody),
    )
)]
pub(super) async fn send(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    headers: HeaderMap,
    request: Result<Json<NewMessage>, JsonRejection>,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let Json(NewMessage { by, text, key, epoch, leg, reply_to }) = request?;
    let of_header = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let key = key.or(of_header).unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
    let parts = vec![Part::Text { text: Content::new(text) }];
    let wish = Wish::Reply { key: key.clone(), epoch, leg: leg.map(LegId), parts, reply_to };
    let (id, done) = command(&web, &id, &grant.who(by.as_deref())?, wish).await?;
    let status = if done.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(accepted(id, done, Some(key)))))
}

/// Who takes a conversation
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    /// Who: an agent's name. Left out: who has signed in.
    #[serde(default)]
    by: Option<String>,
    /// The epoch in which they believe to be. Left out: whatever it is.
    #[serde(default)]
    epoch: Option<u64>,
}

/// Own a conversation
///
/// Out of a queue, from a plan, by an offer that was made to the agent, or taken up again after its end. Who owns it already goes on.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/claim", tag = "conversations", request_body = Claim,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 200, description = "It is theirs", body = Accepted),
        (status = 404, description = "No such conversation", body = ErrorBody),
        (status = 409, description = "`stale_epoch` or `not_owner`", body = ErrorBody),
        (status = 422, description = "It is offered to somebody else", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn claim(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<Claim>, JsonRejection>,
) -> Result<Json<Accepted>, ApiError> {
    let Json(Claim { by, epoch }) = request?;
    let (id, done) = command(&web, &id, &grant.who(by.as_deref())?, Wish::Claim { epoch }).await?;
    Ok(Json(accepted(id, done, None)))
}

/// How a conversation was settled
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolve {
    /// Who closes it: the agent who owns it. Left out: who has signed in.
    #[serde(default)]
    by: Option<String>,
    /// The epoch in which they believe to be. Left out: whatever it is.
    #[serde(default)]
    epoch: Option<u64>,
    /// How it was settled: a word for statistics.
    #[serde(default)]
    disposition: Option<String>,
    /// What they wrote to it.
    #[serde(default)]
    note: Option<String>,
}

/// Close a conversation
///
/// While a call is up it is refused: end the call first. The customer's next message opens it again.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/resolve", tag = "conversations", request_body = Resolve,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 200, description = "It is closed", body = Accepted),
        (status = 404, description = "No such conversation", body = ErrorBody),
        (status = 409, description = "`stale_epoch`, `not_owner` or `closed`", body = ErrorBody),
        (status = 422, description = "A call is up", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn resolve(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<Resolve>, JsonRejection>,
) -> Result<Json<Accepted>, ApiError> {
    let Json(Resolve { by, epoch, disposition, note }) = request?;
    let wish = Wish::Resolve { epoch, disposition, note: note.map(Content::new) };
    let (id, done) = command(&web, &id, &grant.who(by.as_deref())?, wish).await?;
    Ok(Json(accepted(id, done, None)))
}

pub(super) async fn command(web: &Web, id: &str, by: &str, wish: Wish) -> Result<(ConversationId, Done), ApiError> {
    let id = parse_id(id)?;
    let agent = by.strip_prefix("agent:").unwrap_or(by);
    let by: Owner = format!("agent:{agent}")
        .parse()
        .map_err(|_| ApiError::bad_request("`by` is an agent's name: 1 to 128 bytes, as in \"anna\""))?;
    let owner = web.control.conversations();
    let owner = owner.ok_or_else(|| ApiError::unavailable("no conversation is worked on here"))?;
    let command = Command { tenant: Tenant::default(), conversation: id, by, wish };
    Ok((id, owner.command(command).await?))
}

pub(super) fn accepted(id: ConversationId, done: Done, key: Option<String>) -> Accepted {
    let Done { owner, epoch, last_seq, duplicate, .. } = done;
    Accepted { conversation: id.to_string(), owner: owner.to_string(), epoch, last_seq, key, duplicate }
}
