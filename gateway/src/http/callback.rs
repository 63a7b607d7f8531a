//! `/api/v1/conversations/{id}/callback`: a customer is called when their turn comes.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_conversation::{Owner, mask_number};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Web;
use super::api::parse_id;
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use crate::callbacks::{Callbacks, CannotCallBack};

/// A wish for a callback
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCallback {
    /// Who asks: an agent's name. Left out: who has signed in.
    #[serde(default)]
    by: Option<String>,
    /// Whose agents call. Left out: where the customer waits, or waited last.
    #[serde(default)]
    queue: Option<String>,
}

/// A customer who waits for a call
#[derive(Serialize, ToSchema)]
pub(super) struct WaitsForCall {
    /// The conversation.
    conversation: String,
    /// The number that will be called, masked.
    number: String,
    /// In which queue they wait.
    queue: String,
    /// Since when, RFC 3339, UTC.
    waiting_since: String,
    /// Whether they waited for it already: one call is enough.
    duplicate: bool,
}

/// Put a customer in line for a call
///
/// When their turn comes an agent is asked, as for any call; who accepts is rung, and then the customer is, at the number by which they
/// called, or at a verified phone of theirs. A place in line that they have is kept. Busy, or not answered: again after five minutes,
/// three times in all. The log says so, and so does the desk.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/callback", tag = "conversations", request_body = NewCallback,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 200, description = "They waited for it already", body = WaitsForCall),
        (status = 202, description = "They wait for it now", body = WaitsForCall),
        (status = 404, description = "No such conversation", body = ErrorBody),
        (status = 409, description = "`closed`: a chat that is closed is claimed first", body = ErrorBody),
        (status = 422, description = "No number is known for sure, none that can be called, a call is up, or no such queue", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn ask(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<NewCallback>, JsonRejection>,
) -> Result<(StatusCode, Json<WaitsForCall>), ApiError> {
    let Json(NewCallback { by, queue }) = request?;
    let (id, by) = (parse_id(&id)?, owner(&grant.who(by.as_deref())?)?);
    let asked = callbacks(&web)?.ask(id, by, (None, queue)).await?;
    let answer = WaitsForCall {
        conversation: id.to_string(),
        number: mask_number(&asked.number),
        queue: asked.queue,
        waiting_since: asked.since.to_string(),
        duplicate: asked.duplicate,
    };
    Ok((if asked.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(answer)))
}

/// Who takes the callback back
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoCallback {
    /// Who: an agent's name. Left out: who has signed in.
    #[serde(default)]
    by: Option<String>,
}

/// Take a customer out of the line for a call
#[utoipa::path(
    delete, path = "/api/v1/conversations/{id}/callback", tag = "conversations", request_body = NoCallback,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 204, description = "They wait for it no longer"),
        (status = 404, description = "No such conversation", body = ErrorBody),
        (status = 422, description = "They do not wait for one", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn cancel(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<NoCallback>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(NoCallback { by }) = request?;
    callbacks(&web)?.cancel(parse_id(&id)?, owner(&grant.who(by.as_deref())?)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn callbacks(web: &Web) -> Result<Callbacks, ApiError> {
    web.control.callbacks().ok_or_else(|| ApiError::unavailable("no conversation is worked on here"))
}

fn owner(agent: &str) -> Result<Owner, ApiError> {
    let bad = |_| ApiError::bad_request("`by` is an agent's name: 1 to 128 bytes, as in \"anna\"");
    format!("agent:{agent}").parse().map_err(bad)
}

impl From<CannotCallBack> for ApiError {
    fn from(error: CannotCallBack) -> Self {
        match error {
            CannotCallBack::NoConversation(_) => Self::not_found(error.to_string()),
            CannotCallBack::Command(error) => error.into(),
            CannotCallBack::Store(why) => Self::unavailable(why),
            _ => Self::refused(error.to_string()),
        }
    }
}
