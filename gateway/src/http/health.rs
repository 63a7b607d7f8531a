//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use super::{Web, auth};
use crate::telemetry;

/// Alive: the process answers. Restart it when it does not.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready: calls can be taken. 503 when something is not well; who has shown the token also reads what and why.
pub(super) async fn readyz(State(web): State<Arc<Web>>, headers: HeaderMap) -> Response {
    let items = web.control.readiness().await;
    let ready = items.iter().all(|item| item.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = if auth::pass(&web, &headers).await.is_ok_and(|pass| pass.is_some()) {
        json!({ "ready": ready, "items": items })
    } else {
        json!({ "ready": ready })
    };
    (status, Json(body)).into_response()
}

/// Prometheus text.
pub(super) async fn metrics(State(web): State<Arc<Web>>) -> Response {
    let text = telemetry::render(&web.control.samples().await);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
