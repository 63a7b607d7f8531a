//! Who may come in, and what every answer tells the browser.

use std::sync::Arc;

use ark_store::Role;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, header};

use super::Web;
use super::error::ApiError;
use super::grant::Grant;
use super::scope::{self, Need, Scope};
use super::{sight, whose};

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

/// How a request has shown that it may, and what it may.
pub(super) struct Pass {
    pub(super) shown: Shown,
    pub(super) grant: Grant,
}

/// What a token opens that a client shows; none: nothing.
///
/// # Errors
/// The store is away, and with it what is known of API tokens.
pub(super) async fn admit(web: &Web, token: &str) -> Result<Option<Grant>, ApiError> {
    if web.token.is(token) {
        return Ok(Some(Grant::OWN));
    }
    web.tokens.grant(web.control.store(), token).await
}

/// Whether, how and for what a request has shown that it may.
///
/// # Errors
/// As [`admit`].
pub(super) async fn pass(web: &Web, headers: &HeaderMap) -> Result<Option<Pass>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        let grant = session(web, headers).await?;
        return Ok(grant.map(|grant| Pass { shown: Shown::Cookie, grant }));
    };
    let Some(token) = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")) else { return Ok(None) };
    let grant = admit(web, token.trim()).await?;
    Ok(grant.map(|grant| Pass { shown: Shown::Bearer, grant }))
}

/// What the page's cookie opens, when a request has it: that of the start link everything, that of who signed in what they may.
async fn session(web: &Web, headers: &HeaderMap) -> Result<Option<Grant>, ApiError> {
    match cookie_of(headers, COOKIE) {
        None => Ok(None),
        Some(session) if web.token.is_session(session) => Ok(Some(Grant::OWN)),
        Some(session) => web.sessions.grant(&web.control.store(), session).await,
    }
}

/// A cookie of a request, by its name.
pub(super) fn cookie_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|cookie| cookie.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Lets in who may come in.
pub(super) async fn guard(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let passed = async {
        let pass = pass(&web, request.headers()).await?;
        let grant = let_in(&web, &request, pass)?;
        match grant {
            Some(grant) => {
                let seen = sight::let_see(&web, &grant, request).await?;
                whose::let_act(&web, &grant, seen).await.map(|request| (request, Some(grant)))
            }
            None => Ok((request, None)),
        }
    };
    match passed.await {
        Ok((mut request, grant)) => {
            if let Some(grant) = grant {
                request.extensions_mut().insert(grant);
            }
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

/// Whether this request may, with what it has shown. None: it has shown nothing, and need not.
fn let_in(web: &Web, request: &Request, pass: Option<Pass>) -> Result<Option<Grant>, ApiError> {
    let path = request.extensions().get::<MatchedPath>().map_or_else(|| request.uri().path(), MatchedPath::as_str);
    let need = scope::need(request.method(), path);
    let Some(Pass { shown, grant }) = pass else {
        return match need {
            // A page of another site must not sign anybody in here either.
            Need::Open if changes_state(request.method()) && says_foreign(web, request.headers()) => {
                Err(ApiError::foreign_origin())
            }
            Need::Open => Ok(None),
            _ => Err(ApiError::unauthorized()),
        };
    };
    if shown == Shown::Cookie && need != Need::Open && !from_own_page(web, request.method(), request.headers()) {
        return Err(ApiError::foreign_origin());
    }
    match need {
        Need::Any => {}
        // A stale cookie is sent by itself when somebody signs in.
        Need::Open if changes_state(request.method()) => {
            let other = if shown == Shown::Cookie { !own_origin(web, request.headers()) } else { false };
            if other {
                return Err(ApiError::foreign_origin());
            }
        }
        Need::Open => {}
        Need::One(scope) if grant.has(scope) => {}
        Need::One(scope) => return Err(ApiError::no_scope(scope.as_str())),
        Need::Role(role) if grant.is(role) => {}
        Need::Role(role) => return Err(ApiError::no_role(role.as_str())),
        Need::Own if grant.is_own() => {}
        Need::Own => return Err(ApiError::not_own_token()),
    }
    if scope::supervises(path) && grant.account().is_some() && !grant.is(Role::Supervisor) {
        return Err(ApiError::no_role(Role::Supervisor.as_str()));
    }
    if scope::asks_for_numbers(request.uri().query()) && !grant.has(Scope::Numbers) {
        return Err(ApiError::no_scope(Scope::Numbers.as_str()));
    }
    Ok(Some(grant))
}

/// Whether a request says that it comes from another site's page. A program says nothing.
fn says_foreign(web: &Web, headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) && !own_origin(web, headers)
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
    session_cookie(web, web.token.session(), 2_592_000)
}

/// The cookie of a session for so many seconds; 0: it is taken away.
pub(super) fn session_cookie(web: &Web, value: &str, seconds: i64) -> String {
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{}", secure(web))
}

/// What a cookie says where the page comes by https.
pub(super) fn secure(web: &Web) -> &'static str {
    let https = web.tls || web.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
    if https { "; Secure" } else { "" }
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
