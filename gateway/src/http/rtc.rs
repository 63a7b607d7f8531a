//! Browsers' calls over HTTP: tokens for pages, the socket of their signalling, WHIP (RFC 9725) for programs that call, and
//! WHEP (draft-ietf-wish-whep) for those that listen to a call.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use std::sync::Arc;
use std::time::Duration;

use ark_store::Role;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::grant::Grant;
use super::sight::Sight;
use super::{Web, auth};
use crate::webrtc::limits::{
    CALL_TOKEN_DEFAULT, CALL_TOKEN_MAX, MESSAGE_BYTES_MAX, NAME_CHARS_MAX, OPERATOR_TOKEN_DEFAULT, OPERATOR_TOKEN_MAX,
};
use crate::webrtc::signal::Candidate;
use crate::webrtc::token::{Into, Purpose};
use crate::webrtc::{Refused, WebRtc, is_operator_name};

/// What a token shall be for: one hotline, one operator, or one call to listen to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    /// The number of the hotline that the page may call.
    hotline: Option<String>,
    /// Who calls, as the site knows them: it stands where a caller's number stands. Pages cannot change it.
    from: Option<String>,
    /// Their name.
    name: Option<String>,
    /// The conversation that the call belongs to, of a customer who chats: its call is on the same timeline. One that is closed
    /// is none.
    conversation: Option<String>,
    /// The operator whom the page answers as; `web:NAME` in a queue's `operators`.
    operator: Option<String>,
    /// The call (its id or conversation, as `GET /api/v1/calls` tells it) that is listened to, by WHEP.
    call: Option<String>,
    /// How long it is good, in seconds. Left out: 120 for a call (at most 3600), 43200 for an operator (at most 86400).
    seconds: Option<u64>,
}

/// A token for a page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenAnswer {
    /// The page's first message over `/rtc` is `{"type": "hello", "token": ...}`; WHIP takes it as `Authorization: Bearer`.
    token: String,
    /// Until when it is good, RFC 3339, UTC. A call that is up goes on.
    until: String,
}

/// A token for a page: to call a hotline, to answer as an operator, or to listen to a call
///
/// A site's server asks for it with the gateway's token and hands it to its page, which never sees the gateway's.
#[utoipa::path(
    post, path = "/api/v1/webrtc/tokens", tag = "calls", request_body = TokenRequest,
    responses(
        (status = 200, description = "The token", body = TokenAnswer),
        (status = 400, description = "Not one of `hotline`, `operator` and `call`, or a value that does not fit", body = super::error::ErrorBody),
        (status = 503, description = "This gateway takes no browsers' calls", body = super::error::ErrorBody),
    )
)]
pub(super) async fn token(
    State(web): State<Arc<Web>>,
    Extension(grant): Extension<Grant>,
    request: Result<Json<TokenRequest>, JsonRejection>,
) -> Result<Json<TokenAnswer>, ApiError> {
    let Json(request) = request?;
    let hub = hub(&web)?;
    let (mut purpose, most, usual) = purpose(&request)?;
    may_ask(&web, &grant, &request).await?;
    if let (Some(id), Purpose::Call { into, .. }) = (&request.conversation, &mut purpose) {
        let id = id.parse().map_err(|_| ApiError::bad_request("`conversation` is no conversation's id"))?;
        let state = web.control.store().summary(&ark_conversation::Tenant::default(), id).await?;
        *into = state.as_ref().and_then(Into::of);
    }
    let time = request.seconds.map_or(usual, Duration::from_secs);
    if time.is_zero() || time > most {
        return Err(ApiError::bad_request(format!("`seconds` must be 1 to {}", most.as_secs())));
    }
    let until = Timestamp::now() + time;
    Ok(Json(TokenAnswer { token: hub.mint(purpose, until), until: until.to_string() }))
}

/// Who has signed in answers as themselves; only supervisors listen to others' calls; a conversation must be in sight.
async fn may_ask(web: &Web, grant: &Grant, request: &TokenRequest) -> Result<(), ApiError> {
    let Some(account) = grant.account() else { return Ok(()) };
    if request.operator.as_ref().is_some_and(|operator| *operator != account.name) {
        let why = format!("you are signed in as `{}`: a token to answer calls is for that name", account.name);
        return Err(ApiError::forbidden(why));
    }
    if request.call.is_some() && !grant.is(Role::Supervisor) {
        return Err(ApiError::no_role(Role::Supervisor.as_str()));
    }
    let id = request.conversation.as_deref().and_then(|id| id.parse().ok());
    if let Some(id) = id
        && !Sight::of(web, grant).sees_id(&*web.control.store(), id).await?
    {
        return Err(ApiError::not_found(format!("there is no conversation {id}")));
    }
    Ok(())
}

fn purpose(request: &TokenRequest) -> Result<(Purpose, Duration, Duration), ApiError> {
    let fits = |text: &str| text.chars().count() <= NAME_CHARS_MAX && !text.chars().any(char::is_control);
    let words = [&request.hotline, &request.from, &request.name];
    if words.into_iter().flatten().any(|text| !fits(text)) {
        return Err(ApiError::bad_request(format!("at most {NAME_CHARS_MAX} characters, none of them a control")));
    }
    match (&request.hotline, &request.operator, &request.call) {
        _ if request.conversation.is_some() && request.hotline.is_none() => {
            Err(ApiError::bad_request("a `conversation` is for a call to a `hotline`"))
        }
        (None, None, Some(call)) if request.from.is_none() && request.name.is_none() => {
            if call.parse::<ark_conversation::ConversationId>().is_err() {
                return Err(ApiError::bad_request("`call` is the id of a call, as GET /api/v1/calls tells it"));
            }
            Ok((Purpose::Listen { call: call.clone() }, CALL_TOKEN_MAX, CALL_TOKEN_DEFAULT))
        }
        (Some(hotline), None, None) => {
            let (hotline, name) = (hotline.clone(), request.name.clone());
            let purpose = Purpose::Call { hotline, from: request.from.clone().unwrap_or_default(), name, into: None };
            Ok((purpose, CALL_TOKEN_MAX, CALL_TOKEN_DEFAULT))
        }
        (None, Some(name), None) if request.from.is_none() && request.name.is_none() => {
            if !is_operator_name(name) {
                let why = "an operator's name is 1 to 64 letters, digits, `-`, `_`, `.` or `@`";
                return Err(ApiError::bad_request(why));
            }
            Ok((Purpose::Operator { name: name.clone() }, OPERATOR_TOKEN_MAX, OPERATOR_TOKEN_DEFAULT))
        }
        _ => Err(ApiError::bad_request("name either a `hotline` (and `from`, `name`), an `operator` or a `call`")),
    }
}

fn hub(web: &Web) -> Result<Arc<WebRtc>, ApiError> {
    web.webrtc.clone().ok_or_else(|| ApiError::unavailable("this gateway takes no browsers' calls"))
}

/// `GET /rtc`: the socket of a page's signalling. Which page it is, its first message says; which site's, its Origin.
pub(super) async fn socket(
    State(web): State<Arc<Web>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let hub = hub(&web)?;
    // A program that is no browser names no origin; it needs a token all the same.
    if headers.contains_key(header::ORIGIN) && !may_call(&web, &hub, &headers) {
        return Err(ApiError::foreign_site());
    }
    let place = hub.place().ok_or_else(|| ApiError::unavailable("too many browsers are here"))?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| hub.serve(socket, None, place)))
}

fn may_call(web: &Web, hub: &WebRtc, headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let chats = |origin| web.control.webchat().is_some_and(|chat| chat.allows(origin));
    auth::own_origin(web, headers) || origin.is_some_and(|origin| hub.allows(origin) || chats(origin))
}

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

fn is(headers: &HeaderMap, kind: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind)
}

/// Which of the two protocols.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// A call to a hotline.
    Whip,
    /// Listening to a call.
    Whep,
}

impl Protocol {
    fn path(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }
}

/// The token of a request, when it is for that hotline or call; of a call that is `up` one that is good no longer will do.
fn bearer(hub: &WebRtc, headers: &HeaderMap, (protocol, target): (Protocol, &str), up: bool) -> Option<Purpose> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.trim();
    let purpose = if up { hub.purpose_ever(value) } else { hub.purpose(value) }?;
    let right = match &purpose {
        Purpose::Call { hotline, .. } => protocol == Protocol::Whip && hotline == target,
        Purpose::Listen { call } => protocol == Protocol::Whep && call == target,
        Purpose::Operator { .. } => false,
    };
    right.then_some(purpose)
}

/// A page of another site reads an answer only when that is said.
fn shared(web: &Web, hub: &WebRtc, headers: &HeaderMap, mut response: Response) -> Response {
    if let Some(origin) = headers.get(header::ORIGIN).filter(|_| may_call(web, hub, headers)) {
        let out = response.headers_mut();
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        out.insert(header::VARY, HeaderValue::from_static("Origin"));
        out.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Location, Accept-Patch"));
        out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, PATCH, DELETE"));
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Content-Type"));
    }
    response
}

/// `POST /whip/{target}`: a call to a hotline, by an offer as `application/sdp`; the answer is the answer.
pub(super) async fn whip(
    State(web): State<Arc<Web>>,
    Path(target): Path<String>,
    headers: HeaderMap,
    sdp: String,
) -> Result<Response, ApiError> {
    create(&web, Protocol::Whip, &target, &headers, &sdp).await
}

/// `POST /whep/{call}`: the mix of a call, for somebody who only listens.
pub(super) async fn whep(
    State(web): State<Arc<Web>>,
    Path(target): Path<String>,
    headers: HeaderMap,
    sdp: String,
) -> Result<Response, ApiError> {
    create(&web, Protocol::Whep, &target, &headers, &sdp).await
}

async fn create(
    web: &Web,
    protocol: Protocol,
    target: &str,
    headers: &HeaderMap,
    sdp: &str,
) -> Result<Response, ApiError> {
    let hub = hub(web)?;
    if headers.contains_key(header::ORIGIN) && !may_call(web, &hub, headers) {
        return Err(ApiError::foreign_site());
    }
    let purpose = bearer(&hub, headers, (protocol, target), false).ok_or_else(ApiError::no_call_token)?;
    if !is(headers, SDP) || sdp.len() > MESSAGE_BYTES_MAX {
        return Err(ApiError::bad_request(format!("the offer must be {SDP}, of at most {MESSAGE_BYTES_MAX} bytes")));
    }
    let place = hub.place().ok_or_else(|| ApiError::unavailable("too many browsers are here"))?;
    let (name, answer) = crate::webrtc::whip(Arc::clone(&hub), purpose, sdp, None, place).await?;
    let location = HeaderValue::from_str(&format!("/{}/{target}/{name}", protocol.path()));
    let location = location.map_err(|error| ApiError::internal(error.to_string()))?;
    let kind = HeaderValue::from_static(SDP);
    let fragment = HeaderValue::from_static(FRAGMENT);
    let head = [
        (header::LOCATION, location),
        (header::CONTENT_TYPE, kind),
        (header::HeaderName::from_static("accept-patch"), fragment),
    ];
    Ok(shared(web, &hub, headers, (StatusCode::CREATED, head, answer).into_response()))
}

/// `OPTIONS /whip/...`: what pages of other sites may do.
pub(super) async fn whip_options(State(web): State<Arc<Web>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let hub = hub(&web)?;
    Ok(shared(&web, &hub, &headers, StatusCode::NO_CONTENT.into_response()))
}

/// `DELETE /whip/{target}/{name}`: the call ends.
pub(super) async fn whip_end(
    State(web): State<Arc<Web>>,
    Path((target, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    end(&web, (Protocol::Whip, &target), &name, &headers)
}

/// `DELETE /whep/{call}/{name}`: the listener goes; the call goes on.
pub(super) async fn whep_end(
    State(web): State<Arc<Web>>,
    Path((target, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    end(&web, (Protocol::Whep, &target), &name, &headers)
}

fn end(web: &Web, of: (Protocol, &str), name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let hub = hub(web)?;
    bearer(&hub, headers, of, true).ok_or_else(ApiError::no_call_token)?;
    if !hub.end_by_name(name) {
        return Err(ApiError::not_found("there is no such call"));
    }
    Ok(shared(web, &hub, headers, StatusCode::OK.into_response()))
}

/// `PATCH /whip/{target}/{name}`: candidates that were found later. ICE restarts are for the socket of `/rtc`.
pub(super) async fn whip_patch(
    State(web): State<Arc<Web>>,
    Path((target, name)): Path<(String, String)>,
    headers: HeaderMap,
    fragment: String,
) -> Result<Response, ApiError> {
    candidates(&web, (Protocol::Whip, &target), &name, &headers, &fragment)
}

/// `PATCH /whep/{call}/{name}`: candidates that were found later.
pub(super) async fn whep_patch(
    State(web): State<Arc<Web>>,
    Path((target, name)): Path<(String, String)>,
    headers: HeaderMap,
    fragment: String,
) -> Result<Response, ApiError> {
    candidates(&web, (Protocol::Whep, &target), &name, &headers, &fragment)
}

fn candidates(
    web: &Web,
    of: (Protocol, &str),
    name: &str,
    headers: &HeaderMap,
    fragment: &str,
) -> Result<Response, ApiError> {
    let hub = hub(web)?;
    bearer(&hub, headers, of, true).ok_or_else(ApiError::no_call_token)?;
    if !is(headers, FRAGMENT) || fragment.len() > MESSAGE_BYTES_MAX {
        return Err(ApiError::bad_request(format!("the body must be {FRAGMENT}")));
    }
    let mut mid = None;
    let mut candidates = Vec::new();
    for line in fragment.lines().map(str::trim_end) {
        if let Some(section) = line.strip_prefix("a=mid:") {
            mid = Some(section.to_owned());
        } else if let Some(candidate) = line.strip_prefix("a=").filter(|line| line.starts_with("candidate:")) {
            let candidate = candidate.to_owned();
            candidates.push(Candidate { candidate, sdp_mid: mid.clone(), sdp_m_line_index: Some(0) });
        }
    }
    if headers.get(header::IF_MATCH).is_some_and(|tag| tag == "*") {
        // RFC 9725 4.3.3: a restart that is not supported.
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into_response());
    }
    if !hub.candidates_by_name(name, candidates) {
        return Err(ApiError::not_found("there is no such call"));
    }
    Ok(shared(web, &hub, headers, StatusCode::NO_CONTENT.into_response()))
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused.status {
            404 => Self::not_found(refused.message),
            503 => Self::unavailable(refused.message),
            _ => Self::bad_request(refused.message),
        }
    }
}
