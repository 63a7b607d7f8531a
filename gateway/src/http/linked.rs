//! What the pages behind links (`/u/...`, `/s/...`) have in common: who opens one has nothing but the link.

use std::fmt::Display;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// Says of an answer what all of them say: what the page may do (Content-Security-Policy), and that nobody keeps it or leads others to it.
pub(super) fn keep_private(response: &mut Response, policy: &'static str) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex, nofollow, noarchive"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// What a refusal says: `{"error": {"code", "message"}}`.
pub(super) fn refusal(code: &str, why: &impl Display) -> Value {
    json!({ "error": { "code": code, "message": why.to_string() } })
}

/// The answer with a refusal; `wait`: after which it may be tried again.
pub(super) fn refuse(status: StatusCode, body: Value, wait: Option<Duration>) -> Response {
    let mut response = (status, Json(body)).into_response();
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    response
}
