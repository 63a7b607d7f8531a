//! Who may come in, and what every answer tells the browser.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, header};

use super::Web;
use super::error::ApiError;

/// The page's cookie.
pub(super) const COOKIE: &str = "ark_session";

/// How a request has shown that it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// A bearer token: no browser sends it by itself.
    Bearer,
    /// The page's cookie: a browser sends it by itself, so that the request's origin must be looked at.
    Cookie,
}

/// Whether and how a request has shown that it may.
pub(super) fn shown(web: &Web, headers: &HeaderMap) -> Option<Shown> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok()?.strip_prefix("Bearer ")?;
        return web.token.is(token.trim()).then_some(Shown::Bearer);
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let session = cookies
        .flat_map(|value| value.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))?;
    web.token.is_session(session).then_some(Shown::Cookie)
}

/// Lets in who may come in.
pub(super) async fn guard(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    match shown(&web, request.headers()) {
        None => ApiError::unauthorized().into_response(),
        Some(Shown::Cookie) if !from_own_page(&web, request.method(), request.headers()) => {
            ApiError::foreign_origin().into_response()
        }
        Some(_) => next.run(request).await,
    }
}

/// What changes state must say that it comes from our page; what reads (the event stream) must not say that it comes from
/// another one. A browser leaves Origin out where it navigates or asks the same site.
fn from_own_page(web: &Web, method: &Method, headers: &HeaderMap) -> bool {
    (!changes_state(method) && !headers.contains_key(header::ORIGIN)) || own_origin(web, headers)
}

fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether the request comes from a page of this gateway: its Origin is the public address, or the host it was sent to.
pub(super) fn own_origin(web: &Web, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()) else { return false };
    if web.public_url.as_ref().is_some_and(|url| url.trim_end_matches('/') == origin) {
        return true;
    }
    let scheme = if web.tls { "https" } else { "http" };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    host.is_some_and(|host| origin == format!("{scheme}://{host}"))
}

/// The cookie that the page gets for a token.
pub(super) fn cookie(web: &Web) -> String {
    let https = web.tls || web.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
    let secure = if https { "; Secure" } else { "" };
    format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000{secure}", web.token.session())
}

/// What every answer tells the browser: no foreign code, no guessing of types, no frames, no address passed on.
pub(super) async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        // The callers' page says its own policy.
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
