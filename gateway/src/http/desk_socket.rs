//! `GET /api/v1/desk/socket`: an agent's desk over a WebSocket. While it is open the agent is there.
//!
//! Messages are JSON texts. Who has signed in is known by the cookie; a client with a token says so, and whose desk it is, first. The
//! gateway tells a whole picture first and after each change, five times a second at most: what is between two of them is not kept, so
//! nothing is missed and nothing comes twice.

use std::sync::Arc;

use ark_store::Role;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use http::{HeaderMap, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::Web;
use super::agents::{Wanted, desk};
use super::auth::{admit, own_origin, pass};
use super::error::ApiError;
use super::grant::Grant;
use super::limits::{
    SOCKET_HELLO_MAX, SOCKET_MESSAGE_BYTES_MAX, SOCKET_SILENCE_MAX, SOCKET_SLOW_GOODBYE, STREAM_KEEP_ALIVE,
};
use super::scope::Scope;
use crate::desk::limits::{SNAPSHOT_EVERY, WALLBOARD_EVERY};
use crate::desk::{Desk, DeskView, OpenDesk, Wallboard};

/// What an agent's page says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum FromDesk {
    /// The first message of a client without a session: a token, and whose desk it is.
    Hello {
        /// The token of `data/ark.token`, or an API token with the scope `conversations:write`.
        token: String,
        /// The agent.
        agent: String,
    },
    /// Whether the agent is to be asked from now on.
    Presence {
        /// `ready` or `away`.
        state: Wanted,
        /// Why they are away: `break`, `training`, `meeting`, or a word of the house.
        #[serde(default)]
        reason: Option<String>,
    },
    /// The agent is done wrapping up.
    WrappedUp,
    /// Whether the wallboard is wanted, of a supervisor.
    Wallboard {
        /// From now on.
        on: bool,
    },
    /// Answered with `pong`.
    Ping,
}

/// What the gateway says.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToDesk<'a> {
    /// The desk as it is now.
    Desk {
        /// All of it.
        #[serde(flatten)]
        desk: &'a DeskView,
    },
    /// The wallboard as it is now.
    Wallboard {
        /// All of it.
        #[serde(flatten)]
        wallboard: &'a Wallboard,
    },
    /// The answer to `ping`.
    Pong,
    /// What was said does not fit, and why; the connection ends.
    Error {
        /// For people.
        message: &'a str,
    },
    /// The gateway stops.
    End,
}

/// Opens a desk for who may have one.
pub(super) async fn socket(
    State(web): State<Arc<Web>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    // A browser always says where its page is from; one of another site gets nothing, whatever it knows.
    if headers.contains_key(header::ORIGIN) && !own_origin(&web, &headers) {
        return Err(ApiError::foreign_origin());
    }
    // Only an account's session says whose desk it is.
    let known = pass(&web, &headers).await?.map(|pass| pass.grant).filter(|grant| grant.account().is_some());
    let upgrade = upgrade.map_err(|_| ApiError::bad_request("this is a WebSocket: ask with `Upgrade: websocket`"))?;
    let desk = desk(&web)?;
    let place = if known.is_some() { web.stream_place()? } else { web.stranger_place()? };
    let upgrade = upgrade.max_message_size(SOCKET_MESSAGE_BYTES_MAX).max_frame_size(SOCKET_MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let (closing, patience) = (web.closing(), web.socket_patience);
        let mut client = Client { socket, closing, patience, heard: Instant::now() };
        let over = client.serve(&web, desk, place, known).await.unwrap_or_else(|over| over);
        client.goodbye(over).await;
    }))
}

/// Why a desk's socket ends.
enum Over {
    Gone,
    Silent,
    End,
    Refused(String),
    Unavailable(String),
}

struct Client {
    socket: WebSocket,
    closing: watch::Receiver<bool>,
    patience: Duration,
    heard: Instant,
}

impl Client {
    async fn serve(
        &mut self,
        web: &Arc<Web>,
        desk: Arc<Desk>,
        mut place: tokio::sync::OwnedSemaphorePermit,
        known: Option<Grant>,
    ) -> Result<Over, Over> {
        let (grant, agent) = match known.and_then(|grant| Some((grant.account()?.name.clone(), grant))) {
            Some((agent, grant)) => (grant, agent),
            None => {
                let known = self.hello(web).await?;
                place = web.stream_place().map_err(|error| Over::Unavailable(error.message().to_owned()))?;
                known
            }
        };
        if !desk.is_agent(&agent) {
            // An account that was made a moment ago.
            desk.load_accounts(&*web.control.store()).await;
        }
        let opened = desk.open(&agent).map_err(|error| Over::Refused(error.to_string()))?;
        let (tokens, sessions, store) = (Arc::clone(&web.tokens), Arc::clone(&web.sessions), web.control.store());
        let told = tokio::select! {
            told = self.follow(&desk, &opened, grant.is(Role::Supervisor)) => told,
            () = grant.over(&tokens, &sessions, &*store) => Err(Over::Refused("this session is over: sign in again".to_owned())),
        };
        drop(place);
        told
    }

    async fn hello(&mut self, web: &Web) -> Result<(Grant, String), Over> {
        let stranger = || {
            let why = "sign in, or say {\"type\":\"hello\",\"token\":\"...\",\"agent\":\"anna\"} first";
            Over::Refused(why.to_owned())
        };
        let said = tokio::time::timeout(SOCKET_HELLO_MAX, self.next()).await.map_err(|_| stranger())??;
        let FromDesk::Hello { token, agent } = said else { return Err(stranger()) };
        let grant = admit(web, token.trim()).await.map_err(|error| Over::Unavailable(error.message().to_owned()))?;
        let grant = grant.filter(|grant| grant.has(Scope::ConversationsWrite)).ok_or_else(stranger)?;
        let agent = grant.who(Some(&agent)).map_err(|error| Over::Refused(error.message().to_owned()))?;
        Ok((grant, agent))
    }

    async fn follow(&mut self, desk: &Arc<Desk>, opened: &OpenDesk, supervises: bool) -> Result<Over, Over> {
        let agent = opened.agent();
        let mut changes = desk.changes();
        let mut ping = tokio::time::interval(STREAM_KEEP_ALIVE);
        let (mut look_at, mut told) = (Some(Instant::now()), None);
        let mut wall_at: Option<Instant> = None;
        let mut closing = self.closing.clone();
        loop {
            tokio::select! {
                biased;
                () = ended(&mut closing) => return Err(Over::End),
                message = self.socket.recv() => {
                    if let Some(said) = self.take(message)? {
                        match said {
                            FromDesk::Wallboard { on } if on && !supervises => {
                                return Err(Over::Refused("the wallboard is for supervisors".to_owned()));
                            }
                            FromDesk::Wallboard { on } => wall_at = on.then(Instant::now),
                            said => self.obey(desk, agent, said).await?,
                        }
                    }
                }
                _ = ping.tick() => {
                    if self.heard.elapsed() > SOCKET_SILENCE_MAX {
                        return Err(Over::Silent);
                    }
                    self.send_raw(Message::Ping(Default::default())).await?;
                }
                changed = changes.changed(), if look_at.is_none() => match changed {
                    // What comes until then is in that look.
                    Ok(()) => look_at = Some(Instant::now() + SNAPSHOT_EVERY / 4),
                    Err(_) => return Err(Over::End),
                },
                () = sleep_until(look_at) => {
                    changes.borrow_and_update();
                    look_at = None;
                    let now = desk.view(agent).ok_or_else(|| Over::Refused("this desk is closed: the account serves no more".to_owned()))?;
                    if told.as_ref() != Some(&now) {
                        self.send(&ToDesk::Desk { desk: &now }).await?;
                        // Five a second at most.
                        look_at = Some(Instant::now() + SNAPSHOT_EVERY);
                        told = Some(now);
                    }
                }
                () = sleep_until(wall_at) => {
                    self.send(&ToDesk::Wallboard { wallboard: &desk.wallboard() }).await?;
                    wall_at = Some(Instant::now() + WALLBOARD_EVERY);
                }
            }
        }
    }

    async fn obey(&mut self, desk: &Desk, agent: &str, said: FromDesk) -> Result<(), Over> {
        match said {
            FromDesk::Presence { state, reason } => {
                let done = desk.set_presence(agent, state == Wanted::Ready, reason.as_deref().unwrap_or_default());
                done.map_err(|error| Over::Refused(error.to_string()))
            }
            FromDesk::WrappedUp => {
                desk.wrapped_up(agent);
                Ok(())
            }
            FromDesk::Ping => self.send(&ToDesk::Pong).await,
            FromDesk::Hello { .. } | FromDesk::Wallboard { .. } => {
                Err(Over::Refused("`hello` a second time: a connection is one agent's".to_owned()))
            }
        }
    }

    async fn next(&mut self) -> Result<FromDesk, Over> {
        let mut closing = self.closing.clone();
        loop {
            let message = tokio::select! {
                () = ended(&mut closing) => return Err(Over::End),
                message = self.socket.recv() => message,
            };
            if let Some(said) = self.take(message)? {
                return Ok(said);
            }
        }
    }

    fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<Option<FromDesk>, Over> {
        let Some(Ok(message)) = message else { return Err(Over::Gone) };
        self.heard = Instant::now();
        match message {
            Message::Text(text) => {
                serde_json::from_str(&text).map(Some).map_err(|error| Over::Refused(format!("not understood: {error}")))
            }
            Message::Binary(_) => Err(Over::Refused("messages are JSON texts".to_owned())),
            Message::Ping(_) | Message::Pong(_) => Ok(None),
            Message::Close(_) => Err(Over::Gone),
        }
    }

    async fn send(&mut self, message: &ToDesk<'_>) -> Result<(), Over> {
        let text = serde_json::to_string(message).map_err(|error| Over::Unavailable(error.to_string()))?;
        self.send_raw(Message::Text(text.into())).await
    }

    async fn send_raw(&mut self, message: Message) -> Result<(), Over> {
        match tokio::time::timeout(self.patience, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Over::Gone),
        }
    }

    async fn goodbye(&mut self, over: Over) {
        let (message, code) = match &over {
            Over::Gone => return,
            Over::Silent => (ToDesk::Error { message: "no answer to pings" }, close_code::AWAY),
            Over::End => (ToDesk::End, close_code::AWAY),
            Over::Refused(message) => (ToDesk::Error { message }, close_code::POLICY),
            Over::Unavailable(message) => (ToDesk::Error { message }, close_code::AGAIN),
        };
        let Ok(text) = serde_json::to_string(&message) else { return };
        let goodbye = async {
            self.socket.send(Message::Text(text.into())).await?;
            self.socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await?;
            while let Some(Ok(message)) = self.socket.recv().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
            Ok::<_, axum::Error>(())
        };
        let _ = tokio::time::timeout(SOCKET_SLOW_GOODBYE, goodbye).await;
    }
}

/// Waits until the gateway stops.
async fn ended(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
