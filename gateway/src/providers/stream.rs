//! DingTalk's stream, played: `connections/open` gives an address with a ticket that is good once, messages come as frames over its
//! socket, and what is not acknowledged with 200 was not taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::dingtalk::{KEY, SECRET};
use super::{PATIENCE, Shared};

/// Frames that wait for the gateway's socket.
const FRAMES: usize = 64;
/// How long a gateway may take to open its socket: an interrupted one is opened again after a while.
const CONNECT_MAX: std::time::Duration = std::time::Duration::from_secs(30);

/// A frame's id and text, and whom to tell the code of its answer.
type Push = (String, String, oneshot::Sender<u16>);

/// The gateway's socket, the last that it opened.
#[derive(Default)]
pub(super) struct Sockets {
    tickets: Mutex<Vec<String>>,
    open: watch::Sender<Option<mpsc::Sender<Push>>>,
}

impl Sockets {
    /// Sends one message of a robot, as soon as there is a socket; the code of the answer.
    pub(super) async fn push(&self, data: &str) -> Result<u16, String> {
        let mut open = self.open.subscribe();
        let there = open.wait_for(|socket| socket.as_ref().is_some_and(|socket| !socket.is_closed()));
        let there = tokio::time::timeout(CONNECT_MAX, there).await.map_err(|_| "the gateway has opened no socket")?;
        let socket = there.map_err(|_| "the provider has ended")?.clone().ok_or("there is no socket")?;
        let id = format!("{:032x}", rand::random::<u128>());
        let headers = json!({
            "topic": "/v1.0/im/bot/messages/get", "messageId": id, "contentType": "application/json",
            "time": Timestamp::now().as_millisecond().to_string(), "appId": KEY, "connectionId": "demo",
        });
        let frame = json!({ "specVersion": "1.0", "type": "CALLBACK", "headers": headers, "data": data }).to_string();
        let (answer, answered) = oneshot::channel();
        socket.send((id, frame, answer)).await.map_err(|_| "the socket is closed")?;
        let answered = tokio::time::timeout(PATIENCE, answered).await.map_err(|_| "no answer came")?;
        answered.map_err(|_| "the socket was closed before an answer came".to_owned())
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v1.0/gateway/connections/open", post(open)).route("/connect", get(connect))
}

async fn open(State(shared): State<Arc<Shared>>, Json(asked): Json<Value>) -> (StatusCode, Json<Value>) {
    if asked["clientId"] != KEY || asked["clientSecret"] != SECRET {
        let wrong = json!({ "code": "authFailed", "message": "鉴权失败" });
        return (StatusCode::UNAUTHORIZED, Json(wrong));
    }
    let ticket = format!("{:032x}", rand::random::<u128>());
    let mut tickets = shared.stream.tickets.lock().unwrap_or_else(PoisonError::into_inner);
    tickets.truncate(FRAMES);
    tickets.insert(0, ticket.clone());
    let endpoint = format!("{}/dingtalk-stream/connect", shared.base.replacen("http://", "ws://", 1));
    (StatusCode::OK, Json(json!({ "endpoint": endpoint, "ticket": ticket })))
}

#[derive(Deserialize)]
struct Ticket {
    ticket: String,
}

async fn connect(State(shared): State<Arc<Shared>>, Query(by): Query<Ticket>, upgrade: WebSocketUpgrade) -> Response {
    {
        let mut tickets = shared.stream.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = tickets.iter().position(|ticket| *ticket == by.ticket) else {
            return StatusCode::UNAUTHORIZED.into_response();
        };
        tickets.remove(at);
    }
    upgrade.on_upgrade(move |socket| serve(shared, socket))
}

async fn serve(shared: Arc<Shared>, mut socket: WebSocket) {
    let (sender, mut frames) = mpsc::channel::<Push>(FRAMES);
    shared.stream.open.send_replace(Some(sender));
    let mut waiting: HashMap<String, oneshot::Sender<u16>> = HashMap::new();
    loop {
        tokio::select! {
            push = frames.recv() => {
                // Another socket was opened since: this one is closed by its gateway.
                let Some((id, frame, answer)) = push else { break };
                waiting.retain(|_, one| !one.is_closed());
                waiting.insert(id, answer);
                if socket.send(Message::Text(frame.into())).await.is_err() {
                    break;
                }
            }
            came = socket.recv() => match came {
                Some(Ok(Message::Text(text))) => {
                    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
                    let of = answer["headers"]["messageId"].as_str().and_then(|id| waiting.remove(id));
                    let code = answer["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                    if let (Some(of), Some(code)) = (of, code) {
                        let _ = of.send(code);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
        }
    }
}
