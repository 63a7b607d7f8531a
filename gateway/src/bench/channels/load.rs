//! Messages at a pace, or as many as are taken, over connections that stay open; and an agent who sees them come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ark_conversation::channel::HttpRequest;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::traffic::{self, Channel};
use crate::bench::kit::{BenchError, Histogram};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// A connection that is free so soon after a message was due sends it in time: the clock of the runtime has milliseconds.
const IN_TIME: Duration = Duration::from_millis(2);
/// Messages of one visitor: below the pace that the web chat allows one.
pub(super) const MESSAGES_OF_VISITOR: u64 = 15;
/// Widths of the bins of the answers' and the agent's histograms, microseconds.
pub(super) const STEP_US: u64 = 250;

pub(super) fn failed(why: impl Into<String>) -> BenchError {
    BenchError::Failed(why.into())
}

/// When each message of the run was sent, and which are asked for next.
pub(super) struct Run {
    pub(super) began: Instant,
    /// Between two messages; nothing: as many as are taken.
    every: Option<Duration>,
    /// Number of its first message: no number comes twice in the life of a gateway.
    first: u64,
    next: AtomicU64,
    until: Instant,
    /// Microseconds since the beginning, by the message's number; 0: not yet.
    sent_us: Vec<AtomicU64>,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Tokens of the web chat's visitors.
    tokens: Vec<std::sync::OnceLock<String>>,
}

impl Run {
    /// At most `most` messages from number `first` on, one each `every`, for so long.
    pub(super) fn new(first: u64, most: u64, every: Option<Duration>, time: Duration) -> Self {
        let began = Instant::now();
        let visitors = most / MESSAGES_OF_VISITOR / Channel::ALL.len() as u64 + 1;
        Self {
            began,
            every,
            first,
            next: AtomicU64::new(0),
            until: began + time,
            sent_us: (0..most).map(|_| AtomicU64::new(0)).collect(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            tokens: (0..visitors).map(|_| std::sync::OnceLock::new()).collect(),
        }
    }

    fn us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

async fn connect(web: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(web).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends one after the other until the run is over. How long each took that was accepted.
pub(super) async fn connection(run: Arc<Run>, web: SocketAddr) -> Result<Histogram, BenchError> {
    let mut sender = connect(web).await.map_err(failed)?;
    let mut took = Histogram::new(STEP_US);
    loop {
        let n = run.next.fetch_add(1, Relaxed);
        let Some(slot) = usize::try_from(n).ok().and_then(|n| run.sent_us.get(n)) else { return Ok(took) };
        let due = run.every.map(|every| run.began + every.mul_f64(n as f64));
        if due.unwrap_or_else(Instant::now) >= run.until {
            return Ok(took);
        }
        if let Some(due) = due {
            sleep_until(due).await;
        }
        let now = Instant::now();
        let from = due.filter(|due| now.duration_since(*due) > IN_TIME).unwrap_or(now);
        slot.store(run.us(), Relaxed);
        let channels = Channel::ALL.len() as u64;
        let channel = Channel::ALL[(n % channels) as usize];
        // A visitor writes their messages in turn with all others.
        let visitor = n / channels % run.tokens.len() as u64;
        let token = run.tokens.get(visitor as usize);
        let known = token.and_then(|token| token.get()).map(String::as_str);
        let message = traffic::message(channel, run.first + n, visitor, known);
        let (taken, body) = exchange(&mut sender, web, channel, message).await?;
        if !taken {
            run.refused.fetch_add(1, Relaxed);
            continue;
        }
        took.record_us(u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX));
        run.accepted.fetch_add(1, Relaxed);
        if channel == Channel::Web
            && known.is_none()
            && let (Some(token), Some(told)) = (token, token_of(&body))
        {
            let _ = token.set(told);
        }
    }
}

/// Whether it was taken, and what was said.
async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    web: SocketAddr,
    channel: Channel,
    message: HttpRequest,
) -> Result<(bool, Bytes), BenchError> {
    let mut path = channel.path().to_owned();
    for (at, (name, value)) in message.query.iter().enumerate() {
        path += &format!("{}{name}={value}", if at == 0 { "?" } else { "&" });
    }
    let mut request = Request::post(path).header(header::HOST, web.to_string());
    if !message.headers.iter().any(|(name, _)| name == "content-type") {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    for (name, value) in &message.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(message.body))).map_err(|error| failed(error.to_string()))?;
    let asking = async {
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
    };
    let answer = timeout(PATIENCE, asking).await.map_err(|_| failed("the gateway does not answer"))?;
    let (status, body) = answer.map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&body);
    let said = channel != Channel::Web || text.contains("\"ack\"");
    let taken = status.is_success() && said;
    if !taken {
        tracing::debug!(kind = channel.kind(), %status, %text, "refused");
    }
    Ok((taken, body))
}

/// The token that a page is given with its first message.
fn token_of(body: &[u8]) -> Option<String> {
    let told: Vec<serde_json::Value> = serde_json::from_slice(body).ok()?;
    told.iter().find_map(|tell| tell["token"].as_str()).map(str::to_owned)
}

/// A visitor's token, got with a message of its own.
pub(super) async fn visitor(web: SocketAddr) -> Result<String, BenchError> {
    let mut sender = connect(web).await.map_err(failed)?;
    let hello = traffic::message(Channel::Web, 0, 0xff_ffff, None);
    let (taken, body) = exchange(&mut sender, web, Channel::Web, hello).await?;
    let token = token_of(&body).filter(|_| taken);
    token.ok_or_else(|| failed(format!("a visitor was not let in: {}", String::from_utf8_lossy(&body))))
}

/// An agent's socket, subscribed to what customers write from now on.
pub(super) async fn agent(web: SocketAddr, token: &str) -> Result<WebSocketStream<TcpStream>, BenchError> {
    let opening = async {
        let stream = TcpStream::connect(web).await.map_err(|error| error.to_string())?;
        let mut request =
            format!("ws://{web}/api/v1/socket").into_client_request().map_err(|error| error.to_string())?;
        let bearer = format!("Bearer {token}").parse().map_err(|_| "the token is no header".to_owned())?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let (mut socket, _) = client_async(request, stream).await.map_err(|error| error.to_string())?;
        let subscribe = serde_json::json!({"type": "subscribe", "types": ["ark.message.in"]});
        socket.send(Message::text(subscribe.to_string())).await.map_err(|error| error.to_string())?;
        while let Some(Ok(message)) = socket.next().await {
            if message.to_text().is_ok_and(|text| text.contains("\"caught_up\"")) {
                return Ok(socket);
            }
        }
        Err("the agent's socket ended".to_owned())
    };
    timeout(PATIENCE, opening).await.map_err(|_| failed("the agent's socket does not open"))?.map_err(failed)
}

/// What an agent saw: how long after its sending each message was there, how many twice, and how many at all.
pub(super) struct Watched {
    pub(super) after: Histogram,
    pub(super) seen: u64,
    pub(super) twice: u64,
}

/// Watches until all that were accepted are there, for [`PATIENCE`] after the end at most.
pub(super) async fn watch(
    mut socket: WebSocketStream<TcpStream>,
    run: Arc<Run>,
    mut over: watch::Receiver<bool>,
) -> Watched {
    let mut watched = Watched { after: Histogram::new(STEP_US), seen: 0, twice: 0 };
    let mut known = vec![false; run.sent_us.len()];
    let mut give_up: Option<Instant> = None;
    loop {
        if *over.borrow() && watched.seen >= run.accepted.load(Relaxed) {
            return watched;
        }
        let next = tokio::select! {
            next = socket.next() => next,
            Ok(()) = over.changed() => {
                give_up = Some(Instant::now() + PATIENCE);
                continue;
            }
            () = async { if let Some(at) = give_up { sleep_until(at).await } else { std::future::pending().await } } => return watched,
        };
        let Some(Ok(message)) = next else { return watched };
        let Some(n) = message
            .to_text()
            .ok()
            .and_then(traffic::number)
            .and_then(|n| usize::try_from(n.checked_sub(run.first)?).ok())
        else {
            continue;
        };
        let (Some(sent), Some(known)) = (run.sent_us.get(n), known.get_mut(n)) else { continue };
        if std::mem::replace(known, true) {
            watched.twice += 1;
            continue;
        }
        watched.seen += 1;
        watched.after.record_us(run.us().saturating_sub(sent.load(Relaxed)));
    }
}
