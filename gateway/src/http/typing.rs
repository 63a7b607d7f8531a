//! `/api/v1/conversations/{id}/typing`: an agent types; the customer's page shows it.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_conversation::event::{Medium, Party, PartyRole};
use ark_conversation::{LegPhase, LegState, Live, LiveEvent, LiveTyping, Owner, Pii, Tenant};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Web;
use super::api::parse_id;
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;

/// Who types
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentTypes {
    /// Who: the agent who owns the conversation.
    #[serde(default)]
    by: Option<String>,
    /// Whether they began or stopped. Said again every few seconds while it goes on: a word of it is good for eight.
    on: bool,
}

/// Show the customer that an agent types
///
/// On channels that can show it (the web chat). It is kept nowhere.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/typing", tag = "conversations", request_body = AgentTypes,
    params(("id" = String, Path, description = "The conversation's ULID")),
    responses(
        (status = 204, description = "It is told"),
        (status = 404, description = "No such conversation, or no thread to show it on", body = ErrorBody),
        (status = 422, description = "The agent does not own it", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn typing(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(id): Path<String>,
    request: Result<Json<AgentTypes>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(AgentTypes { by, on }) = request?;
    let (id, tenant) = (parse_id(&id)?, Tenant::default());
    let state = web.control.store().summary(&tenant, id).await?;
    let state = state.ok_or_else(|| ApiError::not_found(format!("there is no conversation {id}")))?;
    let agent = grant.who(by.as_deref())?;
    if state.owner != Some(Owner::Agent(agent.clone())) {
        return Err(crate::control::ControlError::Refused(
            "only its owner types in a conversation: claim it".to_owned(),
        )
        .into());
    }
    let chat = |leg: &&LegState| leg.medium == Medium::Chat && leg.phase != LegPhase::Ended;
    let source = state.legs.iter().rev().find(chat).and_then(|leg| leg.source.clone());
    let source = source.ok_or_else(|| ApiError::not_found("the conversation has no thread to show it on"))?;
    let sender = Party { role: PartyRole::Agent, id: Pii::new(agent), kind: None, display: None };
    let typing = LiveTyping { conversation: id, source, sender, on };
    let (gateway, at) = (web.about.gateway.clone(), Timestamp::now());
    web.control.bus().announce(vec![LiveEvent { tenant, gateway, at, event: Live::Typing(typing) }]);
    Ok(StatusCode::NO_CONTENT)
}
