//! `/api/v1/conversations/{id}/reveal`: a customer's number in full, and in the log who looked at it.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_conversation::Tenant;
use ark_conversation::event::{AuditWhat, Audited, Direction, NumberRevealed};
use ark_store::Role;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::parse_id;
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use super::scope::Scope;
use super::{Web, audit};
use crate::conversations::Writer;

/// Who looks at a number
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reveal {
    /// Who: an agent's name. Left out: who has signed in; of a token nobody.
    #[serde(default)]
    by: Option<String>,
}

/// A number in full
#[derive(Serialize, ToSchema)]
pub(super) struct Revealed {
    /// The customer's number, or how their channel names them.
    number: String,
}

/// Look at the customer's number in full
///
/// For supervisors, and tokens with the scope `numbers`. It is in the log (`ark.number.revealed.v1`) before it is in the answer.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/reveal", tag = "conversations", request_body = Reveal,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 200, body = Revealed),
        (status = 404, description = "No such conversation, or no customer in it", body = ErrorBody),
        (status = 503, description = "It cannot be written down now", body = ErrorBody),
    )
)]
pub(super) async fn reveal(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<Reveal>, JsonRejection>,
) -> Result<Json<Revealed>, ApiError> {
    let Json(Reveal { by }) = request?;
    if !grant.has(Scope::Numbers) && !grant.is(Role::Supervisor) {
        return Err(match grant.account() {
            Some(_) => ApiError::no_role(Role::Supervisor.as_str()),
            None => ApiError::no_scope(Scope::Numbers.as_str()),
        });
    }
    let by = match (&by, grant.account()) {
        (None, None) => "api".to_owned(),
        _ => format!("agent:{}", grant.who(by.as_deref())?),
    };
    let (id, tenant, store) = (parse_id(&id)?, Tenant::default(), web.control.store());
    let state = store.summary(&tenant, id).await?;
    let state = state.ok_or_else(|| ApiError::not_found(format!("there is no conversation {id}")))?;
    let nobody = || ApiError::not_found(format!("conversation {id} has no customer's number"));
    let leg = state.customer().ok_or_else(nobody)?;
    let number = if leg.direction == Direction::Inbound { &leg.from } else { &leg.to };
    let number = number.reveal().to_owned();
    if number.is_empty() {
        return Err(nobody());
    }
    let writer = Writer { tenant, gateway: web.about.gateway.clone() };
    let seen = Audited {
        by: Some(by.strip_prefix("agent:").unwrap_or("token").to_owned()),
        conversation: Some(id),
        ..audit::of(AuditWhat::NumberRevealed)
    };
    let event = writer.event_of(id, "desk", NumberRevealed { leg: leg.leg, by });
    store.append(vec![event, audit::entry(&web, seen)]).await?;
    Ok(Json(Revealed { number }))
}
