//! `POST /api/v1/erasures`.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_conversation::Tenant;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Web;
use super::api::parse_id;
use super::error::{ApiError, ErrorBody};
use crate::control::ControlError;
use crate::erasure::{self, Erasure, ErasureError, Whose};

/// Whose data is erased: of a conversation or of a person, one of the two
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErasureRequest {
    /// All of this conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conversation: Option<String>,
    /// All conversations of this person and of those merged into them, and their keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) person: Option<String>,
    /// Who erases, for the audit trail.
    pub(crate) by: String,
    /// Of this tenant; left out: `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
}

/// Erase what people said and are reached by, for ever
///
/// The records stay as tombstones; files that they name are removed; the audit trail keeps who did it.
#[utoipa::path(
    post, path = "/api/v1/erasures", tag = "conversations", request_body = ErasureRequest,
    responses(
        (status = 200, body = Erasure),
        (status = 404, description = "There is nothing of the kind", body = ErrorBody),
        (status = 422, description = "A conversation of them is open", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn erase(
    State(web): State<Arc<Web>>,
    request: Result<Json<ErasureRequest>, JsonRejection>,
) -> Result<Json<Erasure>, ApiError> {
    let Json(request) = request?;
    let whose = match (&request.conversation, &request.person) {
        (Some(id), None) => Whose::Conversation(parse_id(id)?),
        (None, Some(person)) => {
            let wrong = || ApiError::bad_request(format!("`{person}` is not a person's id: that is a ULID"));
            Whose::Person(person.parse().map_err(|_| wrong())?)
        }
        _ => return Err(ApiError::bad_request("name a `conversation` or a `person`, one of the two")),
    };
    let tenant = request.tenant.as_deref().map(Tenant::new).transpose();
    let tenant = tenant.map_err(|error| ApiError::bad_request(format!("`tenant`: {error}")))?.unwrap_or_default();
    let store = web.control.store();
    let erased = erasure::erase(&*store, &tenant, &web.files, whose, &request.by).await;
    Ok(Json(erased.map_err(|error| match error {
        ErasureError::Nothing(message) => ControlError::NotFound(message).into(),
        ErasureError::Open(_) => ControlError::Refused(error.to_string()).into(),
        ErasureError::Store(error @ ark_store::StoreError::Refused(_)) => ApiError::bad_request(error.to_string()),
        ErasureError::Store(error) => ApiError::from(error),
    })?))
}
