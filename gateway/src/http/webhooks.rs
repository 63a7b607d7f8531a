//! `/api/v1/webhooks`: how they are, what was given up, and taking it up again.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;

use ark_store::DeliveryState;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Web;
use super::error::{ApiError, ErrorBody};
use super::limits::{PAGE_DEFAULT, PAGE_MAX};
use crate::webhooks::{DeliveryView, TestView, WebhookView, Webhooks};

fn webhooks(web: &Web) -> Result<Arc<Webhooks>, ApiError> {
    web.control.webhooks().ok_or_else(|| ApiError::not_found("this gateway sends no webhooks"))
}

fn no_webhook(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no [[webhook]] `{name}`"))
}

/// The site's webhooks
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookList {
    /// In the order of the site's file.
    webhooks: Vec<WebhookView>,
}

/// The site's webhooks and how they are
#[utoipa::path(
    get, path = "/api/v1/webhooks", tag = "webhooks",
    responses((status = 200, body = WebhookList), (status = 503, body = ErrorBody))
)]
pub(super) async fn list(State(web): State<Arc<Web>>) -> Result<Json<WebhookList>, ApiError> {
    Ok(Json(WebhookList { webhooks: webhooks(&web)?.views().await? }))
}

/// Which deliveries.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum WhichDeliveries {
    /// Those that were given up.
    #[default]
    Dead,
    /// Those that wait for their time.
    Waiting,
    /// Those that are being sent.
    Claimed,
    /// Those that were taken.
    Done,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveriesQuery {
    /// `dead`, `waiting`, `claimed` or `done`.
    #[serde(default)]
    state: WhichDeliveries,
    /// Only those with a number above this: the last of the page before.
    #[serde(default)]
    after: u64,
    /// At most so many, never more than 500.
    limit: Option<usize>,
}

/// Deliveries of a webhook
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryList {
    /// The oldest first.
    deliveries: Vec<DeliveryView>,
}

/// Deliveries of a webhook, the oldest first
#[utoipa::path(
    get, path = "/api/v1/webhooks/{name}/deliveries", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook's name"), DeliveriesQuery),
    responses((status = 200, body = DeliveryList), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn deliveries(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
    query: Result<Query<DeliveriesQuery>, QueryRejection>,
) -> Result<Json<DeliveryList>, ApiError> {
    let Query(query) = query?;
    let webhooks = webhooks(&web)?;
    if !webhooks.knows(&name) {
        return Err(no_webhook(&name));
    }
    let state = match query.state {
        WhichDeliveries::Dead => DeliveryState::Dead,
        WhichDeliveries::Waiting => DeliveryState::Waiting,
        WhichDeliveries::Claimed => DeliveryState::Claimed,
        WhichDeliveries::Done => DeliveryState::Done,
    };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    Ok(Json(DeliveryList { deliveries: webhooks.deliveries(&name, state, query.after, limit).await? }))
}

/// What was taken up again
#[derive(Serialize, ToSchema)]
pub(super) struct Replayed {
    /// The webhook.
    webhook: String,
    /// How many deliveries.
    replayed: usize,
    /// Up to which number: `after` of the next request. None: nothing is left.
    last: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayQuery {
    /// Only those with a number above this: `last` of the answer before.
    #[serde(default)]
    after: u64,
}

/// Send a delivery again that was given up or taken, with the same webhook-id
#[utoipa::path(
    post, path = "/api/v1/webhooks/deliveries/{id}/replay", tag = "webhooks",
    params(("id" = u64, Path, description = "The delivery's number")),
    responses(
        (status = 200, description = "It is on its way", body = Replayed),
        (status = 404, description = "No webhook has such a delivery that is dead or done", body = ErrorBody),
    )
)]
pub(super) async fn replay(State(web): State<Arc<Web>>, Path(id): Path<String>) -> Result<Json<Replayed>, ApiError> {
    let number: u64 = id.parse().map_err(|_| {
        ApiError::bad_request(format!("`{id}` is not a delivery's number: `ark webhook dead` lists them"))
    })?;
    let Some(webhook) = webhooks(&web)?.replay(number).await? else {
        return Err(ApiError::not_found(format!("no webhook has a delivery {id} that is dead or done")));
    };
    Ok(Json(Replayed { webhook, replayed: 1, last: Some(number) }))
}

/// Send everything again that a webhook gave up: the oldest 1,000 at once
#[utoipa::path(
    post, path = "/api/v1/webhooks/{name}/replay", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook's name"), ReplayQuery),
    responses((status = 200, body = Replayed), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn replay_dead(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
    query: Result<Query<ReplayQuery>, QueryRejection>,
) -> Result<Json<Replayed>, ApiError> {
    let Query(query) = query?;
    let webhooks = webhooks(&web)?;
    if !webhooks.knows(&name) {
        return Err(no_webhook(&name));
    }
    let (replayed, last) = webhooks.replay_dead(&name, query.after).await?;
    Ok(Json(Replayed { webhook: name, replayed, last }))
}

/// Send one event of type ark.webhook.test.v1 now, and say what came of it
#[utoipa::path(
    post, path = "/api/v1/webhooks/{name}/test", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook's name")),
    responses((status = 200, body = TestView), (status = 404, body = ErrorBody))
)]
pub(super) async fn test(State(web): State<Arc<Web>>, Path(name): Path<String>) -> Result<Json<TestView>, ApiError> {
    webhooks(&web)?.test(&name).await.map(Json).ok_or_else(|| no_webhook(&name))
}

/// Take up a webhook again that answered 410; what happened meanwhile is sent
#[utoipa::path(
    post, path = "/api/v1/webhooks/{name}/enable", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook's name")),
    responses((status = 204, description = "Done"), (status = 404, body = ErrorBody))
)]
pub(super) async fn enable(State(web): State<Arc<Web>>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    if webhooks(&web)?.enable(&name).await? { Ok(StatusCode::NO_CONTENT) } else { Err(no_webhook(&name)) }
}
