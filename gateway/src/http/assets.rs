//! The page and its files, which are part of the program.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::error::ApiError;
use super::{Web, auth};

const PAGE: &str = include_str!("assets/index.html");
const CALL: &str = include_str!("assets/call.html");
const LOCKED: &str = include_str!("assets/locked.html");
const FILES: &[(&str, &str, &str)] = &[
    ("app.js", "text/javascript; charset=utf-8", include_str!("assets/app.js")),
    ("theme.js", "text/javascript; charset=utf-8", include_str!("assets/theme.js")),
    ("words.js", "text/javascript; charset=utf-8", include_str!("assets/words.js")),
    ("app.css", "text/css; charset=utf-8", include_str!("assets/app.css")),
    ("call.css", "text/css; charset=utf-8", include_str!("assets/call.css")),
    ("call.js", "text/javascript; charset=utf-8", include_str!("assets/call.js")),
    ("rtc.js", "text/javascript; charset=utf-8", include_str!("assets/rtc.js")),
    ("tokens.css", "text/css; charset=utf-8", include_str!("assets/tokens.css")),
    ("ark.svg", "image/svg+xml", include_str!("assets/ark.svg")),
];

#[derive(Deserialize)]
pub(super) struct PageQuery {
    token: Option<String>,
}

/// `/`: the page. `/?token=...` becomes a cookie and a redirect, so that the token stays in no history and no log of a proxy's referrers.
pub(super) async fn page(
    State(web): State<Arc<Web>>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(token) = query.token {
        if !web.token.is(token.trim()) {
            return Ok(html(StatusCode::UNAUTHORIZED, LOCKED));
        }
        let cookie =
            HeaderValue::from_str(&auth::cookie(&web)).map_err(|error| ApiError::internal(error.to_string()))?;
        let to = HeaderValue::from_static("/");
        return Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, cookie)]).into_response());
    }
    Ok(match auth::shown(&web, &headers) {
        Some(_) => html(StatusCode::OK, PAGE),
        None => html(StatusCode::UNAUTHORIZED, LOCKED),
    })
}

/// `/call`: a telephone in the browser. It holds nothing secret; what it may do, a token says.
pub(super) async fn call() -> Response {
    html(StatusCode::OK, CALL)
}

fn html(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

/// `/assets/{name}`: style and script, which hold nothing secret.
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, ApiError> {
    let (_, kind, text) = FILES
        .iter()
        .find(|(known, _, _)| *known == name)
        .ok_or_else(|| ApiError::not_found(format!("the page has no file `{name}`")))?;
    Ok(([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *text).into_response())
}
