//! `/api/v1/desk`, `/offers`, `/agents`, `/queues`, `/wallboard`: who is at work, who waits, and what an agent is asked to take.
//!
//! Who has signed in is the agent; a token says whose desk it means (`?agent=anna`).

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Web;
use super::error::{ApiError, ErrorBody};
use super::grant::Grant;
use crate::desk::{AgentCard, Desk, DeskError, DeskView, QueueShort, Wallboard};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentQuery {
    /// Whose desk, of a request with a token. Who has signed in leaves it out.
    agent: Option<String>,
}

impl From<DeskError> for ApiError {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::NoAgent => Self::not_found(error.to_string()),
            DeskError::OfferOver => crate::conversations::owner::CommandError::OfferOver.into(),
            DeskError::Command(error) => error.into(),
        }
    }
}

/// The desk of the gateway.
pub(super) fn desk(web: &Web) -> Result<Arc<Desk>, ApiError> {
    web.control.desk().ok_or_else(|| ApiError::unavailable("nobody is asked here"))
}

/// The desk, and the agent whose request it is.
fn desk_of(
    web: &Web,
    grant: &Grant,
    query: Result<Query<AgentQuery>, QueryRejection>,
) -> Result<(Arc<Desk>, String), ApiError> {
    let Query(AgentQuery { agent }) = query?;
    let agent = grant.who(agent.as_deref())?;
    Ok((desk(web)?, agent))
}

/// An agent's desk: what they have, what they are asked to take, and who waits
///
/// The same as the desk's socket tells with every change (docs/desk.md).
#[utoipa::path(
    get, path = "/api/v1/desk", tag = "desk", params(AgentQuery),
    responses((status = 200, body = DeskView), (status = 404, description = "Nobody of that name serves", body = ErrorBody))
)]
pub(super) async fn view(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    query: Result<Query<AgentQuery>, QueryRejection>,
) -> Result<Json<DeskView>, ApiError> {
    let (desk, agent) = desk_of(&web, &grant, query)?;
    Ok(Json(desk.view(&agent).ok_or(DeskError::NoAgent)?))
}

/// Whether an agent is to be asked
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wanted {
    /// There, and willing.
    Ready,
    /// There, and not to be asked.
    Away,
}

/// An agent's presence
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPresence {
    /// `ready` or `away`.
    state: Wanted,
    /// Why they are away: `break`, `training`, `meeting`, or a word of the house.
    #[serde(default)]
    reason: Option<String>,
}

/// Say whether an agent is to be asked
///
/// It counts while a desk of theirs is open (the socket), and 15 s longer.
#[utoipa::path(
    put, path = "/api/v1/desk/presence", tag = "desk", params(AgentQuery), request_body = NewPresence,
    responses((status = 204, description = "Done"), (status = 404, description = "Nobody of that name serves", body = ErrorBody))
)]
pub(super) async fn presence(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    query: Result<Query<AgentQuery>, QueryRejection>,
    request: Result<Json<NewPresence>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let (desk, agent) = desk_of(&web, &grant, query)?;
    let Json(NewPresence { state, reason }) = request?;
    desk.set_presence(&agent, state == Wanted::Ready, reason.as_deref().unwrap_or_default())?;
    Ok(StatusCode::NO_CONTENT)
}

/// What an agent has taken
#[derive(Serialize, ToSchema)]
pub(super) struct Taken {
    /// The conversation.
    conversation: String,
    /// Who owns it now.
    owner: String,
    /// Ownership now: what the next request may name.
    epoch: u64,
    /// `seq` of the log's last record.
    last_seq: u64,
}

/// Take what one is asked to take
///
/// A chat is theirs with the answer. A call rings their telephone or browser and is taken there; here it is said that it still rings.
#[utoipa::path(
    post, path = "/api/v1/offers/{offer}/accept", tag = "desk",
    params(("offer" = String, Path, description = "The offer's name, of the desk"), AgentQuery),
    responses(
        (status = 200, description = "It is theirs", body = Taken),
        (status = 409, description = "`offer_over` or `stale_epoch`", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn accept(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(offer): Path<String>,
    query: Result<Query<AgentQuery>, QueryRejection>,
) -> Result<Json<Taken>, ApiError> {
    let (desk, agent) = desk_of(&web, &grant, query)?;
    let (conversation, done) = desk.accept(&agent, &offer).await?;
    Ok(Json(Taken {
        conversation: conversation.to_string(),
        owner: done.owner.to_string(),
        epoch: done.epoch,
        last_seq: done.last_seq,
    }))
}

/// Why an agent does not take it
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Decline {
    /// A word of the house.
    #[serde(default)]
    reason: Option<String>,
}

/// Not take it: the next agent is asked, and the customer keeps their place
#[utoipa::path(
    post, path = "/api/v1/offers/{offer}/decline", tag = "desk", request_body = Option<Decline>,
    params(("offer" = String, Path, description = "The offer's name, of the desk"), AgentQuery),
    responses(
        (status = 204, description = "Done"),
        (status = 409, description = "`offer_over`", body = ErrorBody),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(super) async fn decline(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    Path(offer): Path<String>,
    query: Result<Query<AgentQuery>, QueryRejection>,
    request: Option<Json<Decline>>,
) -> Result<StatusCode, ApiError> {
    let (desk, agent) = desk_of(&web, &grant, query)?;
    let reason = request.and_then(|Json(Decline { reason })| reason);
    tracing::debug!(agent, offer, reason, "an agent does not take it");
    desk.decline(&agent, &offer).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Everybody who serves, and what they have room for
#[utoipa::path(get, path = "/api/v1/agents", tag = "desk", responses((status = 200, body = Vec<AgentCard>)))]
pub(super) async fn agents(State(web): State<Arc<Web>>) -> Result<Json<Vec<AgentCard>>, ApiError> {
    Ok(Json(desk(&web)?.agents()))
}

/// Every queue in short
#[utoipa::path(get, path = "/api/v1/queues", tag = "desk", responses((status = 200, body = Vec<QueueShort>)))]
pub(super) async fn queues(State(web): State<Arc<Web>>) -> Result<Json<Vec<QueueShort>>, ApiError> {
    Ok(Json(desk(&web)?.queues()))
}

/// The site at a glance: who waits and for how long, how soon people answer, what agents do
#[utoipa::path(get, path = "/api/v1/wallboard", tag = "desk", responses((status = 200, body = Wallboard)))]
pub(super) async fn wallboard(State(web): State<Arc<Web>>) -> Result<Json<Wallboard>, ApiError> {
    Ok(Json(desk(&web)?.wallboard()))
}
