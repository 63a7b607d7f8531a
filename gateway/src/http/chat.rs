//! `/chat`: the widget, its demo page, and the road of its messages: a WebSocket, or a stream and requests where there is none.
//! docs/webchat.md describes it.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::body::Body;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::client::{self, Peer};
use super::error::ApiError;
use super::{Web, auth};
use crate::channel_host::limits::FILE_BYTES_MAX;
use crate::webchat::limits::{
    FRAME_BYTES_MAX, HELLO_MAX, INBOX_FRAMES, OUTBOX_FRAMES, PING_EVERY, SEND_MAX, SILENCE_MAX, UPLOAD_MAX,
};
use crate::webchat::proto::{Hello, Said, Tell};
use crate::webchat::{Admitted, Caller, Hub, Upload};

const PAGE: &str = include_str!("assets/chat/demo.html");
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// The widget's files: name, type, text.
const FILES: &[(&str, &str, &str)] = &[
    ("ark.js", JAVASCRIPT, include_str!("assets/chat/ark.js")),
    ("ark.css", CSS, include_str!("assets/chat/ark.css")),
    ("demo.js", JAVASCRIPT, include_str!("assets/chat/demo.js")),
    ("demo.css", CSS, include_str!("assets/chat/demo.css")),
];

/// `/chat`: a page that embeds the first channel.
pub(super) async fn demo() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

/// `/chat/demo/channel`: which channel the demo page embeds.
pub(super) async fn demo_channel(State(web): State<Arc<Web>>) -> Response {
    let first = web.control.webchat().and_then(|hub| hub.first().map(str::to_owned));
    Json(serde_json::json!({ "channel": first })).into_response()
}

/// The widget's script, for every site.
pub(super) async fn script(headers: HeaderMap) -> Response {
    file("ark.js", &headers)
}

/// The widget's style, for every site.
pub(super) async fn style(headers: HeaderMap) -> Response {
    file("ark.css", &headers)
}

/// The demo page's script.
pub(super) async fn demo_script(headers: HeaderMap) -> Response {
    file("demo.js", &headers)
}

/// The demo page's style.
pub(super) async fn demo_style(headers: HeaderMap) -> Response {
    file("demo.css", &headers)
}

/// A file of the widget, packed when the browser takes that.
fn file(name: &str, headers: &HeaderMap) -> Response {
    static PACKED: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let Some((at, (_, kind, text))) = FILES.iter().enumerate().find(|(_, (known, ..))| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let packs = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let packs = packs.is_some_and(|value| value.split(',').any(|one| one.trim().starts_with("gzip")));
    let packed = PACKED.get_or_init(|| FILES.iter().map(|(_, _, text)| pack(text)).collect());
    let mut response = match packed.get(at).filter(|packed| packs && !packed.is_empty()) {
        Some(packed) => ([(header::CONTENT_ENCODING, "gzip")], packed.clone()).into_response(),
        None => (*text).into_response(),
    };
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    set.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    set.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    set.insert(CROSS_ORIGIN, HeaderValue::from_static("cross-origin"));
    response
}

const CROSS_ORIGIN: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

fn pack(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let packed = packer.write_all(text.as_bytes()).and_then(|()| packer.finish());
    packed.unwrap_or_default()
}

fn hub(web: &Web) -> Result<Arc<Hub>, ApiError> {
    web.control.webchat().ok_or_else(|| ApiError::not_found("there is no web chat here"))
}

fn caller(web: &Web, peer: Option<Extension<Peer>>, headers: &HeaderMap) -> Caller {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Caller {
        address: client::address(&web.proxies, peer, headers),
        origin: text(header::ORIGIN),
        own: auth::own_origin(web, headers),
    }
}

fn admit(
    web: &Web,
    channel: &str,
    peer: Option<Extension<Peer>>,
    headers: &HeaderMap,
) -> Result<(Arc<Hub>, Admitted), ApiError> {
    let hub = hub(web)?;
    let admitted = hub.admit(channel, &caller(web, peer, headers));
    admitted.map(|admitted| (hub, admitted)).map_err(|(status, message)| ApiError::chat(status, message))
}

/// Lets the page of an admitted origin read an answer.
fn readable(mut response: Response, headers: &HeaderMap) -> Response {
    let set = response.headers_mut();
    if let Some(origin) = headers.get(header::ORIGIN) {
        set.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    set.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// `OPTIONS`: whether a page of another origin may ask (CORS).
pub(super) async fn preflight(
    State(web): State<Arc<Web>>,
    peer: Option<Extension<Peer>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    admit(&web, &channel, peer, &headers)?;
    let mut response = readable(StatusCode::NO_CONTENT.into_response(), &headers);
    let set = response.headers_mut();
    set.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    set.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type, authorization"));
    set.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Ok(response)
}

/// `GET /chat/NAME/config`: how the widget looks and what it offers.
pub(super) async fn config(
    State(web): State<Arc<Web>>,
    peer: Option<Extension<Peer>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (hub, _) = admit(&web, &channel, peer, &headers)?;
    let face = hub.face(&channel).ok_or_else(|| ApiError::not_found("there is no such web chat"))?;
    Ok(readable(Json(face).into_response(), &headers))
}

/// `GET /chat/NAME/socket`: the page's WebSocket.
pub(super) async fn socket(
    State(web): State<Arc<Web>>,
    peer: Option<Extension<Peer>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let (hub, admitted) = admit(&web, &channel, peer, &headers)?;
    let place = hub.place().ok_or_else(|| ApiError::unavailable("too many pages are connected"))?;
    let upgrade = upgrade.map_err(|_| ApiError::bad_request("this is a WebSocket: ask with `Upgrade: websocket`"))?;
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    let closing = web.closing();
    Ok(upgrade.on_upgrade(move |socket| async move {
        pump(socket, hub, admitted, closing).await;
        drop(place);
    }))
}

/// Carries between a socket and its visit.
async fn pump(mut socket: WebSocket, hub: Arc<Hub>, admitted: Admitted, closing: watch::Receiver<bool>) {
    let hello = match timeout(HELLO_MAX, hear(&mut socket)).await {
        Ok(Some(Ok(Said::Hello(hello)))) => hello,
        Ok(None) => return,
        Ok(Some(Err(why))) => return end(socket, "form", why).await,
        Ok(Some(Ok(_))) | Err(_) => return end(socket, "hello", "the first message is `hello`".to_owned()).await,
    };
    let (say, said) = mpsc::channel(INBOX_FRAMES);
    let (out, mut told) = mpsc::channel(OUTBOX_FRAMES);
    tokio::spawn(hub.serve(admitted, hello, said, out, closing));
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            next = told.recv() => {
                let Some(tell) = next else { return end(socket, "", String::new()).await };
                let Ok(text) = serde_json::to_string(&tell) else { continue };
                if !matches!(timeout(SEND_MAX, socket.send(Message::Text(text.into()))).await, Ok(Ok(()))) {
                    return;
                }
            }
            next = socket.recv() => {
                heard = Instant::now();
                match next {
                    Some(Ok(Message::Text(text))) => match serde_json::from_str::<Said>(&text) {
                        Ok(one) => if say.try_send(one).is_err() {
                            return end(socket, "pace", "too much at once: wait for what was sent".to_owned()).await;
                        },
                        Err(error) => return end(socket, "form", error.to_string()).await,
                    },
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Binary(_))) => return end(socket, "form", "messages are JSON texts".to_owned()).await,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                }
            }
            _ = ping.tick() => {
                let sent = timeout(SEND_MAX, socket.send(Message::Ping(Default::default()))).await;
                if heard.elapsed() > SILENCE_MAX || !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        }
    }
}

/// The next message of a page; none: it went.
async fn hear(socket: &mut WebSocket) -> Option<Result<Said, String>> {
    loop {
        match socket.recv().await? {
            Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).map_err(|error| error.to_string())),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Binary(_)) => return Some(Err("messages are JSON texts".to_owned())),
            Ok(Message::Close(_)) | Err(_) => return None,
        }
    }
}

/// Says why, if there is something to say, and closes.
async fn end(mut socket: WebSocket, code: &'static str, message: String) {
    let goodbye = async {
        if !code.is_empty() {
            let tell = Tell::Error { code, again: code == "pace", message };
            let text = serde_json::to_string(&tell).unwrap_or_default();
            socket.send(Message::Text(text.into())).await?;
        }
        let code = if code.is_empty() { close_code::AWAY } else { close_code::POLICY };
        socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await?;
        // Until the page has closed, too: what was sent is not cut off by our end.
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Close(_)) {
                break;
            }
        }
        Ok::<_, axum::Error>(())
    };
    let _ = timeout(SEND_MAX, goodbye).await;
}

/// `POST /chat/NAME/stream`: what a socket would tell, as server-sent events; the body is the `hello`.
pub(super) async fn stream(
    State(web): State<Arc<Web>>,
    peer: Option<Extension<Peer>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (hub, admitted) = admit(&web, &channel, peer, &headers)?;
    let hello: Hello = read(body).await?;
    let place = hub.place().ok_or_else(|| ApiError::unavailable("too many pages are connected"))?;
    let (out, told) = mpsc::channel(OUTBOX_FRAMES);
    let (say, said) = mpsc::channel(1);
    let closing = web.closing();
    drop(web);
    tokio::spawn(async move {
        // Nothing is ever said here; its end would end the visit.
        let _say = say;
        hub.serve(admitted, hello, said, out, closing).await;
        drop(place);
    });
    let events = ReceiverStream::new(told).map(|tell| {
        let text = serde_json::to_string(&tell).unwrap_or_default();
        Ok::<_, Infallible>(Event::default().data(text))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(PING_EVERY)).into_response();
    // A proxy that gathers what it passes on would hold words back.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(readable(response, &headers))
}

/// A message of a page without a socket, and who it is.
#[derive(Deserialize)]
struct Say {
    hello: Hello,
    say: Said,
}

/// `POST /chat/NAME/say`: one message; the answer is what a socket would tell of it.
pub(super) async fn say(
    State(web): State<Arc<Web>>,
    peer: Option<Extension<Peer>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (hub, admitted) = admit(&web, &channel, peer, &headers)?;
    let Say { hello, say } = read(body).await?;
    if matches!(say, Said::Hello(_)) {
        return Err(ApiError::bad_request("`say` is any message but `hello`"));
    }
    let told = hub.say(admitted, hello, say).await;
    Ok(readable(Json(told).into_response(), &headers))
}

/// What stands in the address of a file on its way in.
#[derive(Deserialize)]
pub(super) struct FileQuery {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    visit: String,
}

/// `POST /chat/NAME/files`: a file, which is a message by itself. The token is in `Authorization: Bearer`.
pub(super) async fn upload(
    State(web): State<Arc<Web>>,
    peer: Option<Extension<Peer>>,
    Path(channel): Path<String>,
    Query(FileQuery { id, name, visit }): Query<FileQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (hub, admitted) = admit(&web, &channel, peer, &headers)?;
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = text(header::AUTHORIZATION).strip_prefix("Bearer ").map(|token| token.trim().to_owned());
    let hello = Hello { token, visit, ..Hello::default() };
    let mime = text(header::CONTENT_TYPE).to_owned();
    let refused = |code| Tell::Nack { id: id.clone(), code, again: false, after_ms: None };
    let most = usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX);
    let length: Option<usize> = text(header::CONTENT_LENGTH).parse().ok();
    let (large, slow) = (refused("file"), refused("busy"));
    let bytes = async move {
        if length.is_some_and(|length| length > most) {
            return Err(large);
        }
        let read = timeout(UPLOAD_MAX, axum::body::to_bytes(body, most)).await.map_err(|_| slow)?;
        read.map(|bytes| bytes.to_vec()).map_err(|_| large)
    };
    let told = hub.upload(admitted, hello, Upload { id: id.clone(), name, mime }, bytes).await;
    Ok(readable(Json(told).into_response(), &headers))
}

/// `GET /chat/NAME/files/ID`: a file of a conversation. Its name is the key: 128 random bits, told to those alone who see the message.
pub(super) async fn shown(
    State(web): State<Arc<Web>>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found("there is no such file");
    let (bytes, kept, shows) = hub(&web)?.file(&id).await.ok_or_else(missing)?;
    let mut response = Response::new(Body::from(bytes));
    let set = response.headers_mut();
    let kind = HeaderValue::from_str(&kept.mime).ok().filter(|_| shows);
    set.insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    if !shows {
        set.insert(header::CONTENT_DISPOSITION, super::channels::disposition(kept.name.as_deref(), &id));
    }
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable"));
    set.insert(CROSS_ORIGIN, HeaderValue::from_static("cross-origin"));
    Ok(response)
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let bytes = timeout(HELLO_MAX, axum::body::to_bytes(body, FRAME_BYTES_MAX)).await;
    let bytes = bytes.map_err(|_| ApiError::bad_request("the body did not come in time"))?;
    let bytes = bytes.map_err(|_| ApiError::bad_request(format!("at most {FRAME_BYTES_MAX} bytes are read")))?;
    serde_json::from_slice(&bytes).map_err(|error| ApiError::bad_request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widget_is_small() {
        let size = |name: &str| FILES.iter().find(|file| file.0 == name).map_or(0, |file| pack(file.2).len());
        let (script, style) = (size("ark.js"), size("ark.css"));
        assert!(script + style < 15 * 1_024, "{script} + {style} bytes go over the wire");
    }
}
