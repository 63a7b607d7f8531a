//! The gateway's side, played: what an adapter brings is read by the machine that reads it in service, and answered as the check
//! at hand wants it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_channels::crypto::webhook::WebhookSecrets;
use ark_channels::settings::{Account, Secret, Secrets};
use ark_conversation::channel::{Ack, Channel, HttpReply, HttpRequest, In, Method, Out};
use ark_conversation::event::Media;
use ark_conversation::{CloudEvent, Event, Hash, Tenant};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use super::limits::{ASKED_BYTES_MAX, ASKED_MAX};

/// How the house answers what is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// As in service.
    Take,
    /// It keeps nothing and says this.
    Away { status: u16, retry_after_s: Option<u64> },
    /// It keeps it, and the answer is lost on the way.
    LoseAnswer,
    /// It refuses the events for good.
    Reject,
}

/// One request of the adapter.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    /// The ids of the events in it.
    pub(super) ids: Vec<String>,
    /// Whether one of them is a customer's message.
    pub(super) message: bool,
    /// `webhook-timestamp`.
    pub(super) signed_at: Option<i64>,
    /// When it was, in seconds since 1970.
    pub(super) came_at: i64,
    /// Whether its signature was good.
    pub(super) signed: bool,
}

/// One event that was kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) at: Instant,
    pub(super) event: CloudEvent,
    /// As it came.
    pub(super) raw: Value,
    /// How often it came.
    pub(super) copies: u32,
}

/// What the house knows.
pub(super) struct Memory {
    machine: Box<dyn Channel>,
    next_request: u64,
    script: Vec<(Manner, u32)>,
    always: Manner,
    pub(super) asked: Vec<Asked>,
    pub(super) kept: Vec<Kept>,
    index: HashMap<(String, String), usize>,
    /// Customers' messages by thread.
    pub(super) counts: HashMap<String, usize>,
    /// What was rejected by itself: the id, the code and the words.
    pub(super) rejected: Vec<String>,
    pub(super) files: BTreeMap<String, (Media, Vec<u8>)>,
}

/// The gateway, as an adapter sees it.
pub(super) struct House {
    memory: Mutex<Memory>,
    news: watch::Sender<u64>,
    secrets: WebhookSecrets,
    pub(super) account: String,
    pub(super) address: SocketAddr,
}

/// What goes back.
enum Answer {
    Reply(HttpReply),
    /// The connection breaks in the middle of it.
    Broken,
}

impl House {
    /// Serves at `listen` until the process ends.
    pub(super) async fn open(listen: SocketAddr, account: &str, secrets: &[String]) -> Result<Arc<Self>, String> {
        let live: Vec<Secret> = secrets.iter().map(|secret| Secret::new(secret.as_str())).collect();
        let webhook = WebhookSecrets::new(&live).map_err(|error| error.to_string())?;
        let named = ["secret", "old_secret"].into_iter().map(str::to_owned).zip(live);
        let account_of = Account { tenant: Tenant::MAIN, name: account.to_owned() };
        let mut machine = ark_channels::build("http", account_of, &json!({}), &Secrets::new(named), 1)
            .map_err(|error| error.to_string())?;
        machine.handle(Timestamp::now(), In::Begin { saved: BTreeMap::new() });
        while machine.poll().is_some() {}
        let listener =
            TcpListener::bind(listen).await.map_err(|error| format!("{listen} cannot be listened on: {error}"))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let memory = Memory {
            machine,
            next_request: 0,
            script: Vec::new(),
            always: Manner::Take,
            asked: Vec::new(),
            kept: Vec::new(),
            index: HashMap::new(),
            counts: HashMap::new(),
            rejected: Vec::new(),
            files: BTreeMap::new(),
        };
        let house = Arc::new(Self {
            memory: Mutex::new(memory),
            news: watch::Sender::new(0),
            secrets: webhook,
            account: account.to_owned(),
            address,
        });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&house));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(house)
    }

    /// Where adapters bring events.
    pub(super) fn hook(&self) -> String {
        format!("http://{}/hooks/{}", self.address, self.account)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next requests with events are answered so, each manner that many times; then as in service.
    pub(super) fn answers(&self, script: &[(Manner, u32)]) {
        let mut memory = self.lock();
        memory.script = script.to_vec();
        memory.always = Manner::Take;
    }

    /// From now on every request with events is answered so.
    pub(super) fn always(&self, manner: Manner) {
        let mut memory = self.lock();
        memory.script.clear();
        memory.always = manner;
    }

    /// Looks at what the house knows.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Memory) -> T) -> T {
        at(&self.lock())
    }

    /// Waits until something is there; none: it did not come in time.
    pub(super) async fn wait<T>(&self, within: Duration, mut look: impl FnMut(&Memory) -> Option<T>) -> Option<T> {
        let until = Instant::now() + within;
        let mut news = self.news.subscribe();
        loop {
            news.borrow_and_update();
            if let Some(found) = look(&self.lock()) {
                return Some(found);
            }
            if tokio::time::timeout_at(until, news.changed()).await.is_err() {
                return look(&self.lock());
            }
        }
    }

    /// A file of the house, for messages to refer to.
    pub(super) fn lend(&self, bytes: Vec<u8>, mime: &str, name: &str) -> Media {
        let media = media_of(&bytes, mime.to_owned(), Some(name.to_owned()));
        self.lock().files.insert(media.reference.clone(), (media.clone(), bytes));
        media
    }

    fn ask(&self, http: HttpRequest) -> Answer {
        let now = Timestamp::now();
        let header = |name: &str| http.header(name).map(str::to_owned);
        let signed = self.secrets.verify(now, header, &http.body).is_ok();
        let ingest = http.path == "/ark/v1/ingest";
        let signed_at = http.header("webhook-timestamp").and_then(|at| at.parse().ok());
        let events = if ingest { events_of(&http.body) } else { Vec::new() };
        let mut memory = self.lock();
        // Receipts pass, so that a script is about the messages that a check has written.
        let message = events.iter().any(|event| event["type"] == "ark.message.in.v1");
        let manner = if message && signed { memory.manner() } else { Manner::Take };
        let answer = match manner {
            Manner::Away { status, retry_after_s } => {
                let reply = HttpReply::json(status, &json!({"error": {"code": "busy", "message": "not kept"}}));
                Answer::Reply(match retry_after_s {
                    Some(seconds) => reply.with("retry-after", seconds.to_string()),
                    None => reply,
                })
            }
            Manner::Reject => {
                let result = |event: &Value| json!({"id": event["id"], "status": "rejected", "code": "parts", "message": "a trial"});
                let results: Vec<Value> = events.iter().map(result).collect();
                Answer::Reply(HttpReply::json(200, &json!({ "results": results })))
            }
            Manner::Take => Answer::Reply(memory.take(now, http, &events)),
            Manner::LoseAnswer => {
                memory.take(now, http, &events);
                Answer::Broken
            }
        };
        if memory.asked.len() < ASKED_MAX {
            let ids = events.iter().map(|event| event["id"].as_str().unwrap_or_default().to_owned()).collect();
            let (at, came_at) = (Instant::now(), now.as_second());
            memory.asked.push(Asked { at, ids, message, signed_at, came_at, signed });
        }
        drop(memory);
        self.news.send_modify(|news| *news += 1);
        answer
    }
}

impl Memory {
    fn manner(&mut self) -> Manner {
        let Some((manner, left)) = self.script.first_mut() else { return self.always };
        let manner = *manner;
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.script.remove(0);
        }
        manner
    }

    /// As in service: the machine says what becomes of it.
    fn take(&mut self, now: Timestamp, http: HttpRequest, events: &[Value]) -> HttpReply {
        self.next_request += 1;
        let mut input = Some(In::HttpRequest { request: self.next_request, http });
        let mut reply = None;
        while let Some(one) = input.take() {
            self.machine.handle(now, one);
            while let Some(out) = self.machine.poll() {
                match out {
                    Out::HttpReply { reply: one, .. } => reply = Some(one),
                    Out::Ingest(ingest) => {
                        for event in ingest.events {
                            self.keep(event, events);
                        }
                        reply = ingest.durable.into_iter().find_map(|ack| match ack {
                            Ack::Reply { reply, .. } => Some(reply),
                            Ack::Frame { .. } | Ack::Tell { .. } => None,
                        });
                    }
                    Out::Keep { fetch, bytes, name, .. } => {
                        let mime = infer::get(&bytes).map_or("application/octet-stream", |kind| kind.mime_type());
                        let media = media_of(&bytes, mime.to_owned(), name);
                        self.files.insert(media.reference.clone(), (media.clone(), bytes));
                        input = Some(In::Fetched { fetch, answer: Ok(media) });
                    }
                    Out::ReplyFile { reference, .. } => {
                        reply = Some(match self.files.get(&reference) {
                            Some((media, bytes)) => HttpReply {
                                status: 200,
                                headers: vec![("content-type".to_owned(), media.mime.clone())],
                                body: bytes.clone(),
                            },
                            None => HttpReply::text(404, "there is no such file"),
                        });
                    }
                    _ => {}
                }
            }
        }
        let reply = reply.unwrap_or_else(|| HttpReply::text(500, "the gateway's machine said nothing"));
        self.note_rejected(&reply);
        reply
    }

    fn note_rejected(&mut self, reply: &HttpReply) {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        for result in body["results"].as_array().into_iter().flatten().filter(|one| one["status"] == "rejected") {
            let text = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
            self.rejected.push(format!("{}: {}: {}", text("id"), text("code"), text("message")));
        }
        if matches!(reply.status, 400..=499) {
            let error = &body["error"];
            self.rejected.push(format!("{} {}: {}", reply.status, error["code"], error["message"]));
        }
    }

    fn keep(&mut self, event: CloudEvent, events: &[Value]) {
        let key = (event.source.clone(), event.id.clone());
        if let Some(known) = self.index.get(&key).and_then(|at| self.kept.get_mut(*at)) {
            known.copies += 1;
            return;
        }
        let raw = events.iter().find(|raw| raw["id"] == event.id.as_str()).cloned().unwrap_or_default();
        self.index.insert(key, self.kept.len());
        if let Event::MessageIn(message) = &event.event {
            *self.counts.entry(message.thread.clone()).or_default() += 1;
        }
        self.kept.push(Kept { at: Instant::now(), event, raw, copies: 1 });
    }
}

fn media_of(bytes: &[u8], mime: String, name: Option<String>) -> Media {
    Media {
        reference: format!("ark-media:{:032x}", rand::random::<u128>()),
        mime,
        size: bytes.len() as u64,
        sha256: Hash::of(bytes),
        name: name.map(ark_conversation::Content::new),
        duration_ms: None,
        width: None,
        height: None,
    }
}

fn events_of(body: &[u8]) -> Vec<Value> {
    match serde_json::from_slice(body) {
        Ok(Value::Array(events)) => events,
        Ok(Value::Null) | Err(_) => Vec::new(),
        Ok(event) => vec![event],
    }
}

async fn serve(Shared(house): Shared<Arc<House>>, request: Request) -> Response {
    let plain = |status: StatusCode, words: &str| {
        let mut response = Response::new(Body::from(words.to_owned()));
        *response.status_mut() = status;
        response
    };
    let (parts, body) = request.into_parts();
    let Some(path) = parts.uri.path().strip_prefix(&format!("/hooks/{}", house.account)) else {
        return plain(StatusCode::NOT_FOUND, "there is no such account here");
    };
    let Ok(body) = axum::body::to_bytes(body, ASKED_BYTES_MAX).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or broke off");
    };
    let method = if parts.method == http::Method::POST { Method::Post } else { Method::Get };
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let headers =
        parts.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect();
    let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let http = HttpRequest { method, path: path.to_owned(), query, headers, body: body.to_vec() };
    match house.ask(http) {
        Answer::Reply(reply) => {
            let mut response = Response::new(Body::from(reply.body));
            *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            for (name, value) in reply.headers {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    response.headers_mut().insert(name, value);
                }
            }
            response
        }
        Answer::Broken => {
            let nothing = tokio_stream::iter([Err::<bytes::Bytes, _>(std::io::Error::other("the answer is lost"))]);
            Response::new(Body::from_stream(nothing))
        }
    }
}
