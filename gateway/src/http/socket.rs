//! `GET /api/v1/socket`: the log and what is so just now, over a WebSocket.
//!
//! Messages are JSON texts. A client that can set no header sends the token first; then it subscribes, once. Records come from the
//! store, in the order of the whole log and from the position that the client names: it goes on after a lost connection without gap or
//! double. Live events come between them, without a position. A client that does not read is told so and cut.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ark_bus::{Bus, Filter, Missed, Subscription};
use ark_conversation::LiveEvent;
use ark_store::Store;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use http::{HeaderMap, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::Instant;

use super::Web;
use super::auth::{admit, own_origin, pass};
use super::error::ApiError;
use super::grant::Grant;
use super::history::{self, PlacedRecord};
use super::limits::{
    FEED_EVERY, FEED_POLL, PAGE_MAX, SOCKET_HELLO_MAX, SOCKET_MESSAGE_BYTES_MAX, SOCKET_SILENCE_MAX,
    SOCKET_SLOW_GOODBYE, STREAM_KEEP_ALIVE, TYPES_MAX,
};
use super::scope::Scope;
use super::sight::Eyes;
use crate::live::LiveBoard;

/// What a client says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ClientMessage {
    /// The first message of a client that could not send its token in a header.
    Hello {
        /// The token of `data/ark.token`, or an API token with the scope `conversations:read`.
        token: String,
    },
    /// What it wants to be told from now on; once in a connection.
    Subscribe {
        /// Records after this position: the last that the client has; 0: from the beginning. Left out: from now on.
        #[serde(default)]
        after: Option<u64>,
        /// Only records of these types, or of what is below them: `["ark.call"]`. Left out: of all.
        #[serde(default)]
        types: Vec<String>,
        /// Whether records are wanted at all.
        #[serde(default = "yes")]
        records: bool,
        /// Whether live events are wanted: what is so just now.
        #[serde(default)]
        live: bool,
        /// Whether people's numbers in records are shown in full.
        #[serde(default)]
        full_numbers: bool,
    },
}

impl ClientMessage {
    /// After the subscription there is nothing to say.
    fn one_too_many(&self) -> Over {
        let said = match self {
            Self::Hello { .. } => "hello",
            Self::Subscribe { .. } => "subscribe",
        };
        Over::Refused(format!("`{said}` a second time: a connection has one subscription; open another one"))
    }
}

const fn yes() -> bool {
    true
}

/// What the gateway says.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerMessage<'a> {
    /// The client may subscribe.
    Welcome {
        /// The gateway's id.
        gateway: &'a str,
        /// Ark's version.
        version: &'a str,
    },
    /// A record of the log. Its `position` is where the client goes on later.
    Record {
        /// The record.
        record: &'a PlacedRecord,
    },
    /// What is so just now; it has no position and is kept nowhere.
    Live {
        /// The live event.
        live: &'a LiveEvent,
    },
    /// Everything that was committed before has been told; said once, and again after each `missed`.
    CaughtUp {
        /// Up to here the log was read, also where nothing of it was wanted: the client may go on from here.
        position: u64,
    },
    /// Live events were lost, because the client did not keep up: all that is so now follows anew. Of records nothing is lost.
    Missed,
    /// The client does not read: the connection ends. It goes on later from the last position that it has.
    Slow,
    /// The gateway stops.
    End,
    /// What the client said does not fit, and why; the connection ends.
    Error {
        /// For people.
        message: &'a str,
    },
}

/// Opens a socket for who may have one.
pub(super) async fn socket(
    State(web): State<Arc<Web>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    // A browser always says where its page is from; one of another site gets nothing, whatever it knows.
    if headers.contains_key(header::ORIGIN) && !own_origin(&web, &headers) {
        return Err(ApiError::foreign_origin());
    }
    let known = pass(&web, &headers).await?.map(|pass| pass.grant);
    if known.is_none() && headers.contains_key(header::AUTHORIZATION) {
        return Err(ApiError::unauthorized());
    }
    if known.as_ref().is_some_and(|grant| !grant.has(Scope::ConversationsRead)) {
        return Err(ApiError::no_scope(Scope::ConversationsRead.as_str()));
    }
    let upgrade = upgrade.map_err(|_| ApiError::bad_request("this is a WebSocket: ask with `Upgrade: websocket`"))?;
    // Strangers have few places, for as long as they may stay strangers.
    let place = if known.is_some() { web.stream_place()? } else { web.stranger_place()? };
    let upgrade = upgrade.max_message_size(SOCKET_MESSAGE_BYTES_MAX).max_frame_size(SOCKET_MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let closing = web.closing();
        let patience = web.socket_patience;
        let client = Client { socket, closing, heard: Instant::now(), patience, said: VecDeque::new() };
        // Its end is the answer; there is nobody to tell what ended it.
        let _ = client.serve(web, place, known).await;
    }))
}

/// Why a socket ends.
enum Over {
    /// The client went, or the network.
    Gone,
    /// The client does not read.
    Slow,
    /// It does not answer.
    Silent,
    /// The gateway stops.
    End,
    /// The store or the bus is away, or there is no place.
    Unavailable(String),
    /// What it said does not fit.
    Refused(String),
    /// It has not shown that it may.
    Stranger,
}

struct Client {
    socket: WebSocket,
    closing: watch::Receiver<bool>,
    /// When something came from it last.
    heard: Instant,
    /// How long a message may take to be taken.
    patience: Duration,
    /// What it said that was not looked at yet; one at most, because the second is refused.
    said: VecDeque<ClientMessage>,
}

/// What a client subscribed.
struct Wanted {
    after: u64,
    types: Vec<String>,
    records: bool,
    live: bool,
    full: bool,
}

/// What a client is told from.
struct Sources {
    store: Arc<dyn Store>,
    /// Kept alive as long as somebody listens.
    _bus: Arc<dyn Bus>,
    news: Subscription,
    board: Option<Arc<LiveBoard>>,
    /// What of it the client sees.
    eyes: Eyes,
}

impl Client {
    async fn serve(mut self, web: Arc<Web>, place: OwnedSemaphorePermit, known: Option<Grant>) {
        let told = self.tell(web, place, known).await;
        let Err(over) = told;
        let (message, code) = match &over {
            Over::Gone => return,
            Over::Slow => (ServerMessage::Slow, close_code::AGAIN),
            Over::Silent => (ServerMessage::Error { message: "no answer to pings" }, close_code::AWAY),
            Over::End => (ServerMessage::End, close_code::AWAY),
            Over::Unavailable(message) => (ServerMessage::Error { message }, close_code::AGAIN),
            Over::Refused(message) => (ServerMessage::Error { message }, close_code::POLICY),
            Over::Stranger => {
                let message =
                    "the first message must be {\"type\":\"hello\",\"token\":\"...\"} with the token of data/ark.token";
                (ServerMessage::Error { message }, close_code::POLICY)
            }
        };
        let Ok(text) = serde_json::to_string(&message) else { return };
        let goodbye = async {
            self.socket.send(Message::Text(text.into())).await?;
            let frame = CloseFrame { code, reason: "".into() };
            self.socket.send(Message::Close(Some(frame))).await?;
            // Until the client has closed, too: what was sent is not cut off by our end.
            while let Some(Ok(message)) = self.socket.recv().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
            Ok::<_, axum::Error>(())
        };
        let within = if matches!(over, Over::Slow) { SOCKET_SLOW_GOODBYE } else { self.patience };
        let mut closing = self.closing.clone();
        tokio::select! {
            _ = tokio::time::timeout(within, goodbye) => {}
            // The end of the process waits for nobody who does not read.
            () = async {
                ended(&mut closing).await;
                tokio::time::sleep(super::limits::STOP_MAX).await;
            } => {}
        }
    }

    async fn tell(
        &mut self,
        web: Arc<Web>,
        mut place: OwnedSemaphorePermit,
        known: Option<Grant>,
    ) -> Result<std::convert::Infallible, Over> {
        let grant = match known {
            Some(grant) => grant,
            None => {
                let grant = self.hello(&web).await?;
                place = web.stream_place().map_err(|error| Over::Unavailable(error.message().to_owned()))?;
                grant
            }
        };
        let welcome = ServerMessage::Welcome { gateway: &web.about.gateway, version: &web.about.version };
        self.send(&welcome).await?;
        let ClientMessage::Subscribe { after, types, records, live, full_numbers } = self.next_message().await? else {
            return Err(Over::Refused("say {\"type\":\"subscribe\"} now".to_owned()));
        };
        if types.len() > TYPES_MAX {
            return Err(Over::Refused(format!("`types` names {} types, more than {TYPES_MAX}", types.len())));
        }
        if full_numbers && !grant.has(Scope::Numbers) {
            return Err(Over::Refused(ApiError::no_scope(Scope::Numbers.as_str()).message().to_owned()));
        }
        // The subscription comes before the first look into the store: what is committed meanwhile is in one of them.
        let (store, bus) = (web.control.store(), web.control.bus());
        let away = |error: String| Over::Unavailable(error);
        let news = bus.subscribe(Filter::default()).await.map_err(|error| away(error.to_string()))?;
        let after = match after {
            Some(after) => after,
            None => store.feed_end().await.map_err(|error| away(error.to_string()))?,
        };
        let wanted = Wanted { after, types, records, live, full: full_numbers };
        let eyes = Eyes::of(&web, &grant);
        let sources = Sources { store, _bus: bus, news, board: web.control.live(), eyes };
        // The gateway's end waits for everything that holds it.
        let (tokens, sessions, kept) = (Arc::clone(&web.tokens), Arc::clone(&web.sessions), Arc::clone(&sources.store));
        drop(web);
        let told = tokio::select! {
            told = self.follow(wanted, sources) => told,
            () = grant.over(&tokens, &sessions, &*kept) => Err(Over::Refused("this token or session is no good any more".to_owned())),
        };
        drop(place);
        told
    }

    /// What the first message of a client without a header opens.
    async fn hello(&mut self, web: &Web) -> Result<Grant, Over> {
        let hello = tokio::time::timeout(SOCKET_HELLO_MAX, self.next_message()).await;
        let ClientMessage::Hello { token } = hello.map_err(|_| Over::Stranger)?? else { return Err(Over::Stranger) };
        let grant = admit(web, token.trim()).await.map_err(|error| Over::Unavailable(error.message().to_owned()))?;
        let grant = grant.ok_or(Over::Stranger)?;
        if !grant.has(Scope::ConversationsRead) {
            let why = ApiError::no_scope(Scope::ConversationsRead.as_str());
            return Err(Over::Refused(why.message().to_owned()));
        }
        Ok(grant)
    }

    /// Tells what is wanted, until something ends it.
    async fn follow(&mut self, mut wanted: Wanted, mut sources: Sources) -> Result<std::convert::Infallible, Over> {
        let mut ping = tokio::time::interval(STREAM_KEEP_ALIVE);
        let (mut caught_up, mut looked) = (!wanted.records, Instant::now());
        let mut look_at = looked;
        let board = sources.board.clone().filter(|_| wanted.live);
        let mut lives = self.listen(board.as_deref(), &mut sources.eyes).await?;
        if caught_up {
            self.send(&ServerMessage::CaughtUp { position: wanted.after }).await?;
        }
        let mut closing = self.closing.clone();
        loop {
            tokio::select! {
                biased;
                () = ended(&mut closing) => return Err(Over::End),
                message = self.socket.recv() => {
                    self.take(message)?;
                    if let Some(said) = self.said.pop_front() {
                        return Err(said.one_too_many());
                    }
                }
                _ = ping.tick() => {
                    if self.heard.elapsed() > SOCKET_SILENCE_MAX {
                        return Err(Over::Silent);
                    }
                    self.send_raw(Message::Ping(Default::default())).await?;
                }
                event = next_live(&mut lives) => match event {
                    Ok(event) => self.tell_live(&event, &mut sources.eyes).await?,
                    Err(RecvError::Lagged(_)) => {
                        self.send(&ServerMessage::Missed).await?;
                        lives = self.listen(board.as_deref(), &mut sources.eyes).await?;
                        self.send(&ServerMessage::CaughtUp { position: wanted.after }).await?;
                    }
                    Err(RecvError::Closed) => return Err(Over::End),
                },
                next = sources.news.next(), if wanted.records && look_at > looked + FEED_EVERY => match next {
                    Ok(_) | Err(Missed::Lagged { .. }) => look_at = looked + FEED_EVERY,
                    Err(Missed::Closed) => return Err(Over::End),
                },
                () = tokio::time::sleep_until(look_at), if wanted.records => {
                    // What was told meanwhile is in this look.
                    while sources.news.try_next().is_some_and(|next| next != Err(Missed::Closed)) {}
                    looked = Instant::now();
                    let (more, held) = self.page(&mut wanted, &*sources.store, &mut sources.eyes).await?;
                    look_at = looked + if more { Duration::ZERO } else if held { FEED_EVERY } else { FEED_POLL };
                    if !more && !std::mem::replace(&mut caught_up, true) {
                        self.send(&ServerMessage::CaughtUp { position: wanted.after }).await?;
                    }
                }
            }
        }
    }

    /// Tells the next page of the log; whether there may be more, and whether some of it is still being written.
    async fn page(&mut self, wanted: &mut Wanted, store: &dyn Store, eyes: &mut Eyes) -> Result<(bool, bool), Over> {
        let page = history::page(store, eyes, wanted.after, PAGE_MAX, &wanted.types, wanted.full).await;
        let page = page.map_err(|error| Over::Unavailable(error.to_string()))?;
        for record in &page.records {
            self.send(&ServerMessage::Record { record }).await?;
            if let Some(live) = eyes.kept(record.record.conversation) {
                self.send(&ServerMessage::Live { live: &live }).await?;
            }
        }
        wanted.after = page.next;
        Ok((page.more, page.held))
    }

    /// Tells everything that is so now; what changes from then on is given by the receiver.
    async fn listen(
        &mut self,
        board: Option<&LiveBoard>,
        eyes: &mut Eyes,
    ) -> Result<Option<broadcast::Receiver<Arc<LiveEvent>>>, Over> {
        let Some(board) = board else { return Ok(None) };
        let (now, changes) = board.listen().await;
        for event in now {
            self.tell_live(&event, eyes).await?;
        }
        Ok(Some(changes))
    }

    /// Tells what is so just now, when the client sees it.
    async fn tell_live(&mut self, event: &Arc<LiveEvent>, eyes: &mut Eyes) -> Result<(), Over> {
        if eyes.see_live(event).await.map_err(|error| Over::Unavailable(error.to_string()))? {
            self.send(&ServerMessage::Live { live: event }).await?;
        }
        Ok(())
    }

    /// Waits for the next message of the client.
    async fn next_message(&mut self) -> Result<ClientMessage, Over> {
        let mut closing = self.closing.clone();
        loop {
            if let Some(message) = self.said.pop_front() {
                return Ok(message);
            }
            tokio::select! {
                () = ended(&mut closing) => return Err(Over::End),
                message = self.socket.recv() => self.take(message)?,
            }
        }
    }

    fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Over> {
        let Some(Ok(message)) = message else { return Err(Over::Gone) };
        self.heard = Instant::now();
        match message {
            Message::Text(text) => {
                let said =
                    serde_json::from_str(&text).map_err(|error| Over::Refused(format!("not understood: {error}")))?;
                self.said.push_back(said);
                Ok(())
            }
            Message::Binary(_) => Err(Over::Refused("messages are JSON texts".to_owned())),
            // Answered by the library.
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => Err(Over::Gone),
        }
    }

    async fn send(&mut self, message: &ServerMessage<'_>) -> Result<(), Over> {
        let text = serde_json::to_string(message).map_err(|error| Over::Unavailable(error.to_string()))?;
        self.send_raw(Message::Text(text.into())).await
    }

    async fn send_raw(&mut self, message: Message) -> Result<(), Over> {
        match tokio::time::timeout(self.patience, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over::Gone),
            Err(_) => Err(Over::Slow),
        }
    }
}

/// Waits until the gateway stops.
async fn ended(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn next_live(lives: &mut Option<broadcast::Receiver<Arc<LiveEvent>>>) -> Result<Arc<LiveEvent>, RecvError> {
    match lives {
        Some(lives) => lives.recv().await,
        None => std::future::pending().await,
    }
}
