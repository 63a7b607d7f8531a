//! DingTalk: a robot of an organisation's own app.
//!
//! Messages come as webhooks (`mode = "http"`, at `/hooks/{account}`) or over a WebSocket that we open (`mode = "stream"`);
//! event subscriptions come to `/hooks/{account}/events`. A message's event is `dingtalk:{msgId}`, whichever way it came and
//! however often. DingTalk says at one place that unacknowledged messages are pushed again and at another that they are not:
//! both are served, by ids that are the same and by never being without a connection.

mod message;
mod send;
mod stream;

use std::collections::BTreeMap;

use ark_conversation::channel::{
    Ack, CallId, Capabilities, Capability, Channel, Fallback, FetchFailure, FetchId, FileKind, Frame, Health, Hosts,
    HttpCall, HttpFailure, HttpReply, HttpRequest, In, Limits, Manifest, Method, Out, RequestId, SocketId,
};
use ark_conversation::{IdentityKey, KeyKind};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::{Base, at_ms, customer};
use crate::crypto::container::{Envelope, OpenError};
use crate::crypto::verify_dingtalk_robot;
use crate::inbox::{Acks, Arrived, Inbox, Missing, Slot, text_slots, unsupported};
use crate::limits::{FETCHES_MAX, REQUEST_BYTES_MAX, TOKEN_WAIT};
use crate::outbox::{Outbox, with};
use crate::settings::{Account, Secret, Secrets, SettingsError, base as base_url, filled, read};
use crate::tokens::{NoToken, Tokens};
use crate::wire;
use message::{Piece, RobotMessage};
use send::{FILES, Sender};
use stream::{BOT_TOPIC, Down, Stream, callback_acks};

/// Where DingTalk is, unless the settings say otherwise.
pub(crate) const HOSTS: &[&str] = &["*.dingtalk.com", "*.aliyuncs.com"];
const SECRETS: &[&str] = &["client_secret", "event_token", "event_aes_key"];

/// Most characters of a text.
const TEXT_CHARS_MAX: usize = 4_000;
/// How long a file is waited for before its message is acknowledged without it: a webhook's caller does not wait longer.
const HTTP_PATIENCE: SignedDuration = SignedDuration::from_secs(4);
/// The same for a stream, whose frames are pushed again after a minute.
const STREAM_PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// How messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Http,
    Stream,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The app's AppKey (client id).
    client_id: String,
    mode: Mode,
    /// The robot's code; none: the client id.
    robot_code: Option<String>,
    /// Corporation and suite ids for which events may be meant, beside the client id.
    #[serde(default)]
    owners: Vec<String>,
    /// Of a robot in a group by way of a cool app.
    cool_app_code: Option<String>,
    #[serde(default = "api")]
    api: String,
    #[serde(default = "oapi")]
    oapi: String,
    /// Read by [`crate::hosts`].
    hosts: Option<Vec<String>>,
}

fn api() -> String {
    "https://api.dingtalk.com".to_owned()
}

fn oapi() -> String {
    "https://oapi.dingtalk.com".to_owned()
}

/// Which of a file's two steps is under way.
enum Download {
    Token { code: String, until: Timestamp },
    Address { call: CallId, code: String },
}

struct Job {
    step: Download,
    /// Tokens that were refused for it.
    refused: u8,
    kind: FileKind,
    name: Option<String>,
}

/// A robot.
pub(crate) struct DingTalk {
    manifest: Manifest,
    base: Base,
    hosts: Hosts,
    api: String,
    client_id: String,
    secret: Secret,
    events: Option<Envelope>,
    tokens: Tokens,
    inbox: Inbox,
    outbox: Outbox,
    sender: Sender,
    stream: Option<Stream>,
    jobs: BTreeMap<FetchId, Job>,
}

/// Builds a robot from its settings.
pub(crate) fn build(
    account: Account,
    settings: &Value,
    secrets: &Secrets,
    seed: u64,
) -> Result<Box<dyn Channel>, SettingsError> {
    secrets.only(SECRETS)?;
    let settings: Settings = read(settings)?;
    filled("client_id", &settings.client_id)?;
    let hosts = settings.hosts.map_or_else(|| Hosts::new(HOSTS.iter().copied()), Hosts::new);
    let (api, oapi) = (base_url("api", &settings.api, &hosts)?, base_url("oapi", &settings.oapi, &hosts)?);
    let secret = secrets.need("client_secret")?;
    let events = match (secrets.get("event_token"), secrets.get("event_aes_key")) {
        (Some(token), Some(key)) => {
            let mut owners = vec![settings.client_id.clone()];
            owners.extend(settings.owners);
            Some(Envelope::new(token, &key, owners).map_err(|error| SettingsError::bad("event_aes_key", error))?)
        }
        (None, None) => None,
        (Some(_), None) => return Err(SettingsError::Secret { name: "event_aes_key" }),
        (None, Some(_)) => return Err(SettingsError::Secret { name: "event_token" }),
    };
    let robot_code = settings.robot_code.unwrap_or_else(|| settings.client_id.clone());
    let stream = (settings.mode == Mode::Stream).then(|| Stream::new(&api, &settings.client_id));
    Ok(Box::new(DingTalk {
        manifest: manifest(settings.mode),
        base: Base::new("dingtalk", account, seed),
        hosts: hosts.clone(),
        api: api.clone(),
        client_id: settings.client_id,
        secret,
        events,
        tokens: Tokens::default(),
        inbox: Inbox::default(),
        outbox: Outbox::default(),
        sender: Sender::new((api, oapi), (robot_code, settings.cool_app_code), hosts),
        stream,
        jobs: BTreeMap::new(),
    }))
}

fn manifest(mode: Mode) -> Manifest {
    let link = Some(Fallback::Link);
    let mimes = |list: &[&str]| Some(list.iter().map(|mime| (*mime).to_owned()).collect());
    let files: Vec<&str> = FILES.iter().map(|(mime, _)| *mime).collect();
    let capabilities = Capabilities {
        text: Some(Capability { max_chars: Some(TEXT_CHARS_MAX as u64), ..Capability::BOTH }),
        image: Some(Capability {
            max_bytes: Some(20 * 1024 * 1024),
            mime: mimes(&["image/png", "image/jpeg", "image/gif", "image/bmp"]),
            fallback: link,
            ..Capability::BOTH
        }),
        voice_note: Some(Capability {
            max_bytes: Some(2 * 1024 * 1024),
            mime: mimes(&["audio/amr", "audio/ogg", "audio/mpeg", "audio/wav"]),
            fallback: link,
            ..Capability::BOTH
        }),
        file: Some(Capability {
            max_bytes: Some(20 * 1024 * 1024),
            mime: mimes(&files),
            fallback: link,
            ..Capability::BOTH
        }),
        video: Some(Capability { fallback: link, ..Capability::IN }),
        card: Some(Capability { fallback: Some(Fallback::Text), ..Capability::OUT }),
        ..Capabilities::default()
    };
    let ack_deadline_ms = Some(if mode == Mode::Http { 5_000 } else { 60_000 });
    let limits = Limits { ack_deadline_ms, out_per_s: Some(20.0), reply_window_s: None, replies_per_window: None };
    wire::manifest(("dingtalk", "dingtalk"), capabilities, &["dingtalk_staff"], limits)
}

impl Channel for DingTalk {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn handle(&mut self, now: Timestamp, input: In) {
        match input {
            In::Begin { .. } => match &mut self.stream {
                Some(stream) => stream.dial(&mut self.base, self.secret.reveal()),
                None => self.base.health(Health::Up),
            },
            In::HttpRequest { request, http } => self.asked(now, request, &http),
            In::HttpResponse { call, answer } => self.answered(now, call, answer),
            In::SocketOpen { socket, .. } => {
                if let Some(stream) = &mut self.stream {
                    stream.opened(&mut self.base, now, socket);
                }
            }
            In::Frame { socket, frame } => self.frame(now, socket, frame),
            In::SocketClosed { socket, why } => {
                if let Some(stream) = &mut self.stream {
                    stream.closed(&mut self.base, now, socket, &why);
                }
            }
            In::Send(out) => self.outbox.send(with!(self), now, *out, TEXT_CHARS_MAX),
            In::Fetched { fetch, answer } => self.inbox.fetched(&mut self.base, now, fetch, answer),
            In::Token { token, .. } => {
                self.tokens.put(token);
                self.tick(now);
            }
            In::RefreshToken { .. } => {
                let http = self.token_call();
                self.tokens.refresh(&mut self.base, http);
            }
            In::Live(_) | In::Told { .. } => {}
            In::Tick => {
                self.base.woken();
                self.tick(now);
            }
        }
        let jobs = self.jobs.values().filter_map(|job| match job.step {
            Download::Token { until, .. } => Some(until),
            Download::Address { .. } => None,
        });
        let stream = self.stream.as_ref().and_then(Stream::deadline);
        let times = [stream, self.tokens.deadline(), self.inbox.deadline(), self.outbox.deadline(), jobs.min()];
        self.base.wake_at(times);
    }

    fn poll(&mut self) -> Option<Out> {
        self.base.poll()
    }
}

impl DingTalk {
    fn tick(&mut self, now: Timestamp) {
        if let Some(stream) = &mut self.stream {
            stream.tick(&mut self.base, now, self.secret.reveal());
        }
        let http = self.token_call();
        self.tokens.tick(&mut self.base, now, || http);
        self.outbox.tick(with!(self), now);
        self.inbox.tick(&mut self.base, now);
        self.go_on_fetching(now);
    }

    fn token_call(&self) -> HttpCall {
        let body = json!({"appKey": self.client_id, "appSecret": self.secret.reveal()});
        wire::again(wire::post(format!("{}/v1.0/oauth2/accessToken", self.api), body))
    }

    fn asked(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) {
        if let Err(reply) = wire::acceptable(http) {
            return self.base.reply(request, reply);
        }
        let done = match http.path.as_str() {
            "" | "/" => self.robot(now, request, http),
            "/events" => self.event(now, request, http),
            _ => Err(HttpReply::text(404, "robots' messages come to the account's own path, events to `/events`")),
        };
        if let Err(reply) = done {
            self.base.reply(request, reply);
        }
    }

    /// A robot's message in HTTP mode.
    fn robot(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) -> Result<(), HttpReply> {
        let (Some(time), Some(sign)) = (http.header("timestamp"), http.header("sign")) else {
            return Err(wire::refusal(401, "the headers `timestamp` and `sign` are missing"));
        };
        if !verify_dingtalk_robot(time, self.secret.reveal(), sign) {
            return Err(wire::refusal(401, "the signature does not match: check the secret `client_secret`"));
        }
        let sent = time.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        if !wire::fresh(now, sent) {
            return Err(wire::refusal(
                401,
                "the signature is more than an hour old: it is a copy, or a clock is wrong",
            ));
        }
        let message: RobotMessage = serde_json::from_slice(&http.body)
            .map_err(|_| wire::refusal(400, "the body is no robot's message in JSON"))?;
        let durable = Ack::Reply { request, reply: HttpReply::json(200, &json!({"msgtype": "empty"})) };
        let refused = Ack::Reply { request, reply: wire::busy() };
        let acks = Acks { durable: Some(durable), refused: Some(refused), save: None };
        self.take(now, &message, acks, HTTP_PATIENCE).map_err(|why| match why {
            NotTaken::Malformed(why) => wire::refusal(400, why),
            NotTaken::Full => wire::busy(),
        })
    }

    /// An event subscription: everything in a container, and so is the answer.
    fn event(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) -> Result<(), HttpReply> {
        let Some(envelope) = &self.events else {
            return Err(wire::refusal(
                404,
                "the secrets `event_token` and `event_aes_key` of this account are not set",
            ));
        };
        let body: Value = serde_json::from_slice(&http.body).unwrap_or(Value::Null);
        let signature = http.query("msg_signature").or_else(|| http.query("signature"));
        let (Some(encrypted), Some(signature), Some(time), Some(nonce)) =
            (body["encrypt"].as_str(), signature, http.query("timestamp"), http.query("nonce"))
        else {
            return Err(wire::refusal(
                401,
                "`signature`, `timestamp`, `nonce` in the query and `encrypt` in the body are expected",
            ));
        };
        let plain = envelope.open(signature, time, nonce, encrypted).map_err(|error| match error {
            OpenError::Signature => wire::refusal(401, "the signature does not match: check the secret `event_token`"),
            OpenError::Owner => wire::refusal(403, "the event is for another app: add its id to `owners`"),
            OpenError::Broken | OpenError::Key => {
                wire::refusal(400, "it does not open: check the secret `event_aes_key`")
            }
        })?;
        let sent = time.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        if !wire::fresh(now, sent) {
            return Err(wire::refusal(401, "the event is more than an hour old: it is a copy, or a clock is wrong"));
        }
        let event: Value = serde_json::from_slice(&plain).map_err(|_| wire::refusal(400, "the event is no JSON"))?;
        let sealed = envelope.seal(self.base.random.sixteen(), b"success");
        let (time, nonce) = (now.as_millisecond().to_string(), format!("{:016x}", self.base.random.next()));
        let answer = json!({
            "msg_signature": envelope.sign(&time, &nonce, &sealed),
            "encrypt": sealed,
            "timeStamp": time,
            "nonce": nonce,
        });
        if event["EventType"].as_str().is_some_and(|kind| !kind.starts_with("check_")) {
            self.base.note("an event of the organisation came; it says nothing of a customer");
        }
        self.base.reply(request, HttpReply::json(200, &answer));
        Ok(())
    }

    fn frame(&mut self, now: Timestamp, socket: SocketId, frame: Frame) {
        let Some(stream) = &mut self.stream else { return };
        stream.heard(now, socket);
        let text = match frame {
            Frame::Text(text) if text.len() <= REQUEST_BYTES_MAX => text,
            Frame::Binary(bytes) if bytes.len() <= REQUEST_BYTES_MAX => String::from_utf8(bytes).unwrap_or_default(),
            _ => return self.base.note("a frame of the stream is too large; it is passed over"),
        };
        let Ok(down) = serde_json::from_str::<Down>(&text) else {
            return self.base.note("a frame of the stream cannot be read; it is passed over");
        };
        match (down.kind.as_str(), down.header("topic")) {
            ("SYSTEM", _) => stream.system(&mut self.base, socket, &down, self.secret.reveal()),
            ("CALLBACK", BOT_TOPIC) => self.callback(now, socket, &down),
            // Of the organisation, not of a customer: known to have come, and nothing to keep.
            ("EVENT", _) => {
                let frame = down.answer(200, "OK", r#"{"status":"SUCCESS"}"#);
                self.base.push(Out::Frame { socket, frame });
            }
            _ => {
                let frame = down.answer(404, "nobody here handles this topic", "{}");
                self.base.push(Out::Frame { socket, frame });
            }
        }
    }

    /// A robot's message in stream mode.
    fn callback(&mut self, now: Timestamp, socket: SocketId, down: &Down) {
        let (durable, refused) = callback_acks(socket, down);
        let Ok(message) = serde_json::from_str::<RobotMessage>(down.data()) else {
            let frame = down.answer(400, "the data is no robot's message in JSON", "{}");
            self.base.note("a robot's message cannot be read; it is refused");
            return self.base.push(Out::Frame { socket, frame });
        };
        let acks = Acks { durable: Some(durable), refused: Some(refused), save: None };
        if let Err(why) = self.take(now, &message, acks, STREAM_PATIENCE) {
            let (code, why) = match why {
                NotTaken::Malformed(why) => (400, why),
                NotTaken::Full => (500, "too much waits, send it again"),
            };
            self.base.push(Out::Frame { socket, frame: down.answer(code, why, "{}") });
        }
    }

    /// A robot's message, however it came.
    fn take(
        &mut self,
        now: Timestamp,
        message: &RobotMessage,
        acks: Acks,
        patience: SignedDuration,
    ) -> Result<(), NotTaken> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let native = filled(&message.msg_id).ok_or(NotTaken::Malformed("`msgId` is missing"))?;
        let thread = message.thread().ok_or(NotTaken::Malformed("`conversationId` is missing"))?;
        let id = self.base.event_id(&native);
        let Some(acks) = self.inbox.join(&id, acks) else { return Ok(()) };
        if self.inbox.is_full() {
            return Err(NotTaken::Full);
        }
        let corp = message.sender_corp_id.as_deref().or(message.chatbot_corp_id.as_deref()).unwrap_or_default();
        let staff = filled(&message.sender_staff_id);
        let key = match &staff {
            Some(staff) => IdentityKey::new(KeyKind::DingTalkStaff, format!("{corp}:{staff}")),
            None => {
                let kind = KeyKind::Other("dingtalk_sender".to_owned());
                IdentityKey::new(kind, filled(&message.sender_id).unwrap_or_else(|| "unknown".to_owned()))
            }
        };
        if let (Some(url), Some(until)) = (&message.session_webhook, message.session_webhook_expired_time)
            && !self.sender.learn(&thread, url, at_ms(Some(until), now), staff.clone())
        {
            self.base.note("a session's webhook is not at `oapi`; replies go by the API");
        }
        let sender = customer(&key, message.sender_nick.as_deref());
        // A group is several people: none of them is the thread's own.
        let keys = if message.is_group() || staff.is_none() { Vec::new() } else { vec![key] };
        let after = self.base.identity(now, (&id, &thread), keys).into_iter().collect();
        let slots = message.pieces().into_iter().flat_map(|piece| self.slot(now, piece)).collect();
        let arrived = Arrived {
            at: at_ms(message.create_at, now),
            reply_to: filled(&message.original_msg_id).map(|id| self.base.event_id(&id)),
            native_id: Some(native),
            window: None,
            sender,
            slots,
            after,
            thread,
            id,
        };
        self.inbox.take(&mut self.base, now, arrived, acks, now + patience);
        self.go_on_fetching(now);
        Ok(())
    }

    fn slot(&mut self, now: Timestamp, piece: Piece) -> Vec<Slot> {
        match piece {
            Piece::Text(text) => text_slots("text", &text),
            Piece::Other(kind) => {
                vec![unsupported(&kind, format!("[暂不支持的消息类型 Not shown here: {kind:.40}]"))]
            }
            Piece::File { kind, code, name, words } => {
                let missing = Missing {
                    kind,
                    native_type: native_type(kind).to_owned(),
                    native_ref: format!("dingtalk:{code}"),
                    words,
                };
                if self.jobs.len() >= FETCHES_MAX {
                    return vec![missing.too_many()];
                }
                let fetch = self.base.next_id();
                let step = Download::Token { code, until: now + TOKEN_WAIT };
                self.jobs.insert(fetch, Job { step, refused: 0, kind, name });
                vec![Slot::Fetch(fetch, missing)]
            }
        }
    }

    /// Asks for the addresses of files as soon as there is a token.
    fn go_on_fetching(&mut self, now: Timestamp) {
        let token = self.tokens.get(now).map(str::to_owned);
        let mut over = Vec::new();
        for (fetch, job) in &mut self.jobs {
            let Download::Token { code, until } = &mut job.step else { continue };
            match &token {
                Some(token) => {
                    let code = std::mem::take(code);
                    let call = self.base.call(self.sender.download(&code, token));
                    job.step = Download::Address { call, code };
                }
                None if *until <= now => over.push(*fetch),
                None => self.tokens.need(&mut self.base, now),
            }
        }
        for fetch in over {
            self.jobs.remove(&fetch);
            let why = FetchFailure::Away("no access token".to_owned());
            self.inbox.fetched(&mut self.base, now, fetch, Err(why));
        }
    }

    fn answered(&mut self, now: Timestamp, call: CallId, answer: Result<HttpReply, HttpFailure>) {
        if self.outbox.is_mine(call) {
            self.outbox.answer(with!(self), now, call, answer);
        } else if self.tokens.is_mine(call) {
            self.tokens.answer(&mut self.base, now, answer, read_token);
            self.tick(now);
        } else if let Some(stream) = self.stream.as_mut().filter(|stream| stream.is_mine(call)) {
            stream.answer(&mut self.base, now, &self.hosts, answer);
        } else {
            self.address(now, call, answer);
        }
    }

    /// Where a file is, or why nobody knows.
    fn address(&mut self, now: Timestamp, call: CallId, answer: Result<HttpReply, HttpFailure>) {
        let mine = |job: &Job| matches!(job.step, Download::Address { call: mine, .. } if mine == call);
        let Some(fetch) = self.jobs.iter().find(|(_, job)| mine(job)).map(|(fetch, _)| *fetch) else { return };
        let Some(job) = self.jobs.remove(&fetch) else { return };
        let Download::Address { code, .. } = job.step else { return };
        let status = answer.as_ref().map_or(0, |reply| reply.status);
        if status == 401 && job.refused == 0 {
            if let Some(token) = self.tokens.get(now).map(str::to_owned) {
                self.tokens.refused(&mut self.base, now, &token);
            }
            let step = Download::Token { code, until: now + TOKEN_WAIT };
            self.jobs.insert(fetch, Job { step, refused: 1, kind: job.kind, name: job.name });
            return;
        }
        let url = answer.ok().and_then(|reply| wire::json(&reply)?["downloadUrl"].as_str().map(str::to_owned));
        let failure = match url {
            Some(url) if self.hosts.allow(&url) => {
                let from = wire::again(wire::call(Method::Get, url, ark_conversation::channel::Body::Empty));
                self.base.push(Out::Fetch { fetch, from: Box::new(from), what: job.kind, name: job.name });
                return;
            }
            Some(_) => FetchFailure::Forbidden,
            None => FetchFailure::Away(format!("messageFiles/download answered {status}")),
        };
        self.inbox.fetched(&mut self.base, now, fetch, Err(failure));
    }
}

/// What DingTalk calls a message with such a file.
const fn native_type(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Image => "picture",
        FileKind::VoiceNote => "audio",
        FileKind::Video => "video",
        FileKind::File => "file",
    }
}

/// Why a message is not taken.
enum NotTaken {
    Malformed(&'static str),
    Full,
}

fn read_token(reply: &HttpReply) -> Result<(String, i64), NoToken> {
    let body = wire::json(reply).unwrap_or(Value::Null);
    match (body["accessToken"].as_str(), body["expireIn"].as_i64()) {
        (Some(token), Some(seconds)) if reply.status == 200 => Ok((token.to_owned(), seconds)),
        _ => {
            let code = body["code"].as_str().unwrap_or("no code");
            let broken = matches!(reply.status, 400 | 401 | 403);
            let advice = if broken { "; check `client_id` and the secret `client_secret`" } else { "" };
            Err(NoToken { why: format!("accessToken answered {} ({code}){advice}", reply.status), broken })
        }
    }
}
