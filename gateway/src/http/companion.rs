//! `/u/{token}` and `/u`: a caller's page for pictures during a call. It is open to the whole internet, so nothing of it needs the
//! gateway's token, opening it changes nothing, and every answer keeps itself out of caches, frames, referrers and search engines.

use std::sync::Arc;

use ark_conversation::Hash;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::client::{self, Peer};
use super::linked::{self, keep_private};
use super::{Web, auth};
use crate::companion::limits::{PIECE_BYTES_MAX, PIECE_TIMEOUT};
use crate::companion::{Companion, LinkError, Look};

/// The cookie by which a device is known.
const COOKIE: &str = "ark_u";
/// How long a browser keeps it: longer than any link lives.
const COOKIE_SECONDS: u32 = 3_600;
const PAGE: &str = include_str!("assets/u.html");
/// What the page may do: its own script and style, and pictures that it shows before they are sent.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Every path of the page.
pub(super) fn routes() -> axum::Router<Arc<Web>> {
    axum::Router::new()
        .route("/u", get(page))
        .route("/u/code", post(code))
        .route("/u/{token}", get(page))
        .route("/u/{token}/state", get(state))
        .route("/u/{token}/join", post(join))
        .route("/u/l/{link}/state", get(link_state))
        .route("/u/l/{link}/texts", post(text))
        .route("/u/l/{link}/files/{id}", get(length).post(piece))
        .layer(axum::middleware::from_fn(private))
}

/// What every answer says beside what all answers say.
async fn private(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    keep_private(&mut response, POLICY);
    let may = HeaderValue::from_static("camera=(self), geolocation=(), microphone=()");
    response.headers_mut().insert(HeaderName::from_static("permissions-policy"), may);
    response
}

/// An answer that is not a success: `{"error": {"code", "message"}}`, and for a file where to go on.
struct Refusal(LinkError);

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        Self(error)
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = self.0;
        let (status, code) = match &error {
            LinkError::NoConversation(_) | LinkError::Unknown => (StatusCode::NOT_FOUND, "unknown"),
            LinkError::Over => (StatusCode::GONE, "over"),
            LinkError::Taken => (StatusCode::FORBIDDEN, "taken"),
            LinkError::NotBegun => (StatusCode::FORBIDDEN, "not_begun"),
            LinkError::NoCookie => (StatusCode::FORBIDDEN, "no_cookie"),
            LinkError::WrongCode => (StatusCode::FORBIDDEN, "wrong_code"),
            LinkError::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many"),
            LinkError::Flood(_) => (StatusCode::TOO_MANY_REQUESTS, "flood"),
            LinkError::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            LinkError::Offset(_) => (StatusCode::CONFLICT, "offset"),
            LinkError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            LinkError::NoPicture(_) => (StatusCode::UNPROCESSABLE_ENTITY, "no_picture"),
            LinkError::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
            LinkError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        };
        let mut body = linked::refusal(code, &error);
        if let LinkError::Offset(offset) = error {
            body["offset"] = offset.into();
        }
        let wait = if let LinkError::TooMany(wait) = error { Some(wait) } else { None };
        linked::refuse(status, body, wait)
    }
}

fn service(web: &Web) -> Result<Arc<Companion>, LinkError> {
    web.control.companion().ok_or_else(|| LinkError::Unavailable("no links are served here".to_owned()))
}

/// The page. A browser that opens it gets a secret to be known by, and nothing else happens: who looks at a link before its
/// receiver does (a preview, a scanner) takes nothing away.
async fn page(State(web): State<Arc<Web>>, headers: HeaderMap) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response();
    if device(&headers).is_none() {
        let secure = if by_https(&web, &headers) { "; Secure" } else { "" };
        let secret: u128 = rand::random();
        let cookie =
            format!("{COOKIE}={secret:032x}; Path=/u; HttpOnly; SameSite=Strict; Max-Age={COOKIE_SECONDS}{secure}");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
    response
}

/// Whether the browser came by https: to this gateway, or to a proxy of the site under the name that links have.
fn by_https(web: &Web, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    web.tls || own_origins(web).any(|origin| origin.strip_prefix("https://") == Some(host))
}

/// The addresses under which the site says that browsers come.
fn own_origins(web: &Web) -> impl Iterator<Item = String> {
    let base = web.control.companion().map(|companion| companion.origin().to_owned());
    base.into_iter().chain(web.public_url.clone()).map(|url| url.trim_end_matches('/').to_owned())
}

/// The device by its cookie.
fn device(headers: &HeaderMap) -> Option<Hash> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let secret = cookies
        .flat_map(|value| value.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))?;
    let fits = secret.len() == 32 && secret.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| Hash::of(secret.as_bytes()))
}

/// What changes something comes from the page itself. The cookie is strict already; a browser that says another origin is refused.
fn own_page(web: &Web, headers: &HeaderMap) -> Result<(), LinkError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let named = origin.to_str().is_ok_and(|origin| own_origins(web).any(|own| own == origin));
    let foreign = !named && !auth::own_origin(web, headers);
    if foreign { Err(LinkError::Malformed("another site's page may not do this")) } else { Ok(()) }
}

#[derive(Serialize)]
struct Shown {
    link: String,
    yours: bool,
    until: String,
    in_call: bool,
    ids: Vec<String>,
    words: Vec<Word>,
    files_left: usize,
    bytes_max: u64,
}

#[derive(Serialize)]
struct Word {
    seq: u64,
    text: String,
}

fn shown(look: Look) -> Json<Shown> {
    let words = look.words.into_iter().map(|(seq, text)| Word { seq, text });
    Json(Shown {
        // Its name is told to the device that has it.
        link: if look.yours { look.link.to_string() } else { String::new() },
        yours: look.yours,
        until: look.until.to_string(),
        in_call: look.in_call,
        ids: look.ids,
        words: words.collect(),
        files_left: look.files_left,
        bytes_max: crate::channel_host::limits::IMAGE_BYTES_MAX,
    })
}

async fn state(
    State(web): State<Arc<Web>>,
    Path(token): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Json<Shown>, Refusal> {
    let from = client::address(&web.proxies, peer, &headers);
    Ok(shown(service(&web)?.look(&token, device(&headers), from).await?))
}

async fn link_state(
    State(web): State<Arc<Web>>,
    Path(link): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Json<Shown>, Refusal> {
    let from = client::address(&web.proxies, peer, &headers);
    let look = service(&web)?.look_at(parse(&link)?, device(&headers), from).await?;
    // By its name alone a link is nobody's: who knows it and has not taken it learns nothing.
    if look.yours { Ok(shown(look)) } else { Err(LinkError::Unknown.into()) }
}

#[derive(Serialize)]
struct Joined {
    link: String,
}

async fn join(
    State(web): State<Arc<Web>>,
    Path(token): Path<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Json<Joined>, Refusal> {
    own_page(&web, &headers)?;
    let device = device(&headers).ok_or(LinkError::NoCookie)?;
    let link = service(&web)?.join(&token, device, client::address(&web.proxies, peer, &headers)).await?;
    Ok(Json(Joined { link: link.to_string() }))
}

#[derive(Deserialize)]
struct Code {
    code: String,
    number: String,
}

async fn code(
    State(web): State<Arc<Web>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    request: Result<Json<Code>, JsonRejection>,
) -> Result<Json<Joined>, Refusal> {
    own_page(&web, &headers)?;
    let device = device(&headers).ok_or(LinkError::NoCookie)?;
    let Json(Code { code, number }) = request.map_err(|_| LinkError::Malformed("a code and a number are asked for"))?;
    let link =
        service(&web)?.join_by_code(&code, &number, device, client::address(&web.proxies, peer, &headers)).await?;
    Ok(Json(Joined { link: link.to_string() }))
}

#[derive(Deserialize)]
struct Text {
    id: String,
    text: String,
}

async fn text(
    State(web): State<Arc<Web>>,
    Path(link): Path<String>,
    headers: HeaderMap,
    request: Result<Json<Text>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    own_page(&web, &headers)?;
    let Json(Text { id, text }) = request.map_err(|_| LinkError::Malformed("an id and a text are asked for"))?;
    service(&web)?.text(parse(&link)?, device(&headers), &id, &text).await?;
    Ok(StatusCode::CREATED)
}

#[derive(Serialize)]
struct Here {
    /// How much of the file is here.
    offset: u64,
    /// Whether the conversation has it.
    done: bool,
}

async fn length(
    State(web): State<Arc<Web>>,
    Path((link, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Here>, Refusal> {
    let offset = service(&web)?.length(parse(&link)?, device(&headers), &id).await?;
    Ok(Json(Here { offset, done: false }))
}

#[derive(Deserialize)]
struct Piece {
    offset: u64,
    size: u64,
    #[serde(default)]
    name: Option<String>,
}

async fn piece(
    State(web): State<Arc<Web>>,
    Path((link, id)): Path<(String, String)>,
    Query(piece): Query<Piece>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Here>, Refusal> {
    own_page(&web, &headers)?;
    let (service, link, device) = (service(&web)?, parse(&link)?, device(&headers));
    // Before a byte is read: what is not theirs is not listened to.
    service.may_send(link, device).await?;
    let slow = || LinkError::Unavailable("the piece did not come in time".to_owned());
    let read = tokio::time::timeout(PIECE_TIMEOUT, axum::body::to_bytes(body, PIECE_BYTES_MAX)).await;
    let bytes = read.map_err(|_| slow())?.map_err(|_| LinkError::Malformed("a piece has at most 1 MiB"))?;
    let Piece { offset, size, name } = piece;
    let left = service.piece((link, device), &id, (offset, size), name, &bytes).await?;
    Ok(Json(Here { offset: left.unwrap_or(size), done: left.is_none() }))
}

fn parse(link: &str) -> Result<Hash, LinkError> {
    link.parse().map_err(|_| LinkError::Unknown)
}
