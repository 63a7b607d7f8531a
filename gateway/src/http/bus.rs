//! `/api/v1/bus`: what the gateway's own bus gave up. Over a broker it is the same as everybody sees there.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_bus::{BusError, Which};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Web;
use super::error::{ApiError, ErrorBody};
use super::limits::{PAGE_DEFAULT, PAGE_MAX};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadQuery {
    /// At most so many, never more than 500.
    limit: Option<usize>,
}

/// A message that was given up
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeadMessage {
    /// Its id, which `replay` takes.
    pub(crate) id: String,
    /// The queue in which it died.
    pub(crate) queue: String,
    /// Why: `delivery_limit`, `rejected`, `expired`, `maxlen`.
    pub(crate) reason: String,
    /// Its conversation, when it said one.
    pub(crate) conversation: Option<String>,
    /// When it died, RFC 3339, UTC.
    pub(crate) at: Option<String>,
    /// Its size.
    pub(crate) bytes: usize,
}

/// What was given up, the oldest first
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeadMessages {
    /// The oldest first.
    pub(crate) dead: Vec<DeadMessage>,
}

/// The messages that the bus gave up, the oldest first
#[utoipa::path(
    get, path = "/api/v1/bus/dead", tag = "bus", params(DeadQuery),
    responses((status = 200, body = DeadMessages), (status = 503, body = ErrorBody))
)]
pub(super) async fn dead(
    State(web): State<Arc<Web>>,
    query: Result<Query<DeadQuery>, QueryRejection>,
) -> Result<Json<DeadMessages>, ApiError> {
    let Query(query) = query?;
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let letters = web.control.bus().dead(limit).await.map_err(unavailable)?;
    let dead = letters.into_iter().map(|letter| DeadMessage {
        id: letter.id,
        queue: letter.queue,
        reason: letter.reason,
        conversation: letter.conversation,
        at: letter.at.map(|at| at.to_string()),
        bytes: letter.bytes,
    });
    Ok(Json(DeadMessages { dead: dead.collect() }))
}

/// Which messages are sent back to where they died
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayMessages {
    /// Those with this id; left out: all that are there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
}

/// How many were sent back
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReplayedMessages {
    /// How many.
    pub(crate) sent: usize,
}

/// Send given-up messages back to where they died
#[utoipa::path(
    post, path = "/api/v1/bus/replay", tag = "bus", request_body = ReplayMessages,
    responses((status = 200, body = ReplayedMessages), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn replay(
    State(web): State<Arc<Web>>,
    request: Result<Json<ReplayMessages>, JsonRejection>,
) -> Result<Json<ReplayedMessages>, ApiError> {
    let Json(request) = request?;
    let which = request.id.map_or(Which::All, Which::Id);
    let sent = web.control.bus().replay(which).await.map_err(unavailable)?;
    Ok(Json(ReplayedMessages { sent }))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn unavailable(error: BusError) -> ApiError {
    ApiError::unavailable(error.to_string())
}
