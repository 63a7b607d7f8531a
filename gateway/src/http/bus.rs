//! `/api/v1/bus`: what the gateway's own bus gave up (over a broker it is the same as everybody sees there), and the messages of the
//! inbox that no conversation takes.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_bus::{BusError, Which};
use ark_conversation::Tenant;
use ark_store::limits::PAGE_ROWS_MAX;
use ark_store::{Delivery, DeliveryState, Store, StoreError};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Web;
use super::error::{ApiError, ErrorBody};
use super::limits::{PAGE_DEFAULT, PAGE_MAX};
use crate::conversations::owner::{PARKED, ParkedRow};

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
    /// The queue in which it died; `inbox`: it came in, and no conversation takes it.
    pub(crate) queue: String,
    /// Why: `delivery_limit`, `rejected`, `expired`, `maxlen`; of the inbox: a sentence.
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
    let letters = letters.into_iter().map(|letter| DeadMessage {
        id: letter.id,
        queue: letter.queue,
        reason: letter.reason,
        conversation: letter.conversation,
        at: letter.at.map(|at| at.to_string()),
        bytes: letter.bytes,
    });
    let mut dead = parked(&*web.control.store(), limit).await?;
    dead.extend(letters);
    dead.truncate(limit);
    Ok(Json(DeadMessages { dead }))
}

/// What the ids of the inbox's begin with.
const INBOX: &str = "inbox:";

/// Messages of the inbox that no conversation takes, the oldest first.
pub(crate) async fn parked(store: &dyn Store, limit: usize) -> Result<Vec<DeadMessage>, StoreError> {
    let found = store.deliveries(&Tenant::default(), PARKED, DeliveryState::Dead, 0, limit).await?;
    let message = |one: Delivery| {
        let parked: Option<ParkedRow> = serde_json::from_value(one.what.body.clone()).ok();
        DeadMessage {
            id: format!("{INBOX}{}", one.id),
            queue: "inbox".to_owned(),
            reason: one.error.unwrap_or_default(),
            conversation: Some(one.what.conversation.to_string()),
            at: parked.map(|parked| parked.at.to_string()),
            bytes: one.what.body.to_string().len(),
        }
    };
    Ok(found.into_iter().map(message).collect())
}

/// Lets conversations have another look at what they did not take: one, or all up to a page. Gives how many.
async fn take_up(web: &Web, id: Option<&str>) -> Result<usize, StoreError> {
    let (store, tenant) = (web.control.store(), Tenant::default());
    let ids: Vec<u64> = match id {
        Some(id) => id.strip_prefix(INBOX).and_then(|id| id.parse().ok()).into_iter().collect(),
        None => {
            let found = store.deliveries(&tenant, PARKED, DeliveryState::Dead, 0, PAGE_ROWS_MAX).await?;
            found.into_iter().map(|one| one.id).collect()
        }
    };
    let mut sent = 0;
    for id in ids {
        // Numbers are those of all deliveries: only what is parked here is meant.
        let found = store.deliveries(&tenant, PARKED, DeliveryState::Dead, id.saturating_sub(1), 1).await?;
        if found.first().is_some_and(|one| one.id == id) {
            sent += usize::from(store.replay_delivery(&tenant, id).await?);
        }
    }
    if let Some(conversations) = web.control.conversations().filter(|_| sent > 0) {
        conversations.parked_again();
    }
    Ok(sent)
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
    let taken_up = take_up(&web, request.id.as_deref()).await?;
    if taken_up > 0 && request.id.is_some() {
        return Ok(Json(ReplayedMessages { sent: taken_up }));
    }
    let which = request.id.map_or(Which::All, Which::Id);
    let sent = web.control.bus().replay(which).await.map_err(unavailable)?;
    Ok(Json(ReplayedMessages { sent: sent + taken_up }))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn unavailable(error: BusError) -> ApiError {
    ApiError::unavailable(error.to_string())
}
