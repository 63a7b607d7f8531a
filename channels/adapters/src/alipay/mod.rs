//! Alipay: a life account (生活号), its gateway and its notifications.
//!
//! All comes to `/hooks/{account}`: messages of the life account's gateway (a form in GBK, XML within), notifications of version
//! 2 (a form) and of version 3 (JSON, the signature in the headers). All are signed over their whole bodies, so that an old copy
//! is only one more redelivery: its event has the same id. Alipay tries again what is not answered `success`.
//!
//! What only Ant's partners can reach, and how the fields of Ant's own contact-centre API are called here, is in
//! `docs/channels-china.md`.

mod form;
mod send;

use ark_conversation::channel::{
    Ack, Capabilities, Capability, Channel, Fallback, FileKind, Health, Hosts, HttpReply, HttpRequest, In, Limits,
    Manifest, Out, RequestId,
};
use ark_conversation::event::{Thread, ThreadState, Window};
use ark_conversation::{IdentityKey, KeyKind};
use encoding_rs::{Encoding, GBK, UTF_8};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::base::{Base, Random, at_ms, customer};
use crate::crypto::alipay::{Aes, SigningKey, VerifyingKey};
use crate::fields::Fields;
use crate::inbox::{Acks, Arrived, Inbox, Missing, Slot, text_slots, unsupported};
use crate::outbox::{Outbox, with};
use crate::settings::{Account, Secrets, SettingsError, base as base_url, filled, read};
use crate::tokens::Tokens;
use crate::wire;
use form::form;
use send::{Events, Sender};

/// Where Alipay is, unless the settings say otherwise.
pub(crate) const HOSTS: &[&str] = &["*.alipay.com", "*.alipayobjects.com", "*.alipaydev.com"];
const SECRETS: &[&str] = &["private_key", "aes_key"];

/// Most characters of a text.
const TEXT_CHARS_MAX: usize = 600;
/// How long a file is waited for before its message is answered without it.
const PATIENCE: SignedDuration = SignedDuration::from_millis(3_500);

/// Which interface messages go out by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Version {
    #[default]
    V2,
    V3,
}

/// What followers are known by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KnownBy {
    #[default]
    UserId,
    OpenId,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    app_id: String,
    /// Alipay's public key, as its console shows it. It is no secret.
    alipay_public_key: String,
    #[serde(default)]
    version: Version,
    #[serde(default)]
    known_by: KnownBy,
    #[serde(default = "gateway")]
    gateway: String,
    /// Base of version 3.
    #[serde(default = "api")]
    api: String,
    #[serde(default = "files")]
    files: String,
    /// Read by [`crate::hosts`].
    hosts: Option<Vec<String>>,
}

fn gateway() -> String {
    "https://openapi.alipay.com/gateway.do".to_owned()
}

fn api() -> String {
    "https://openapi.alipay.com".to_owned()
}

fn files() -> String {
    "https://openfile.alipay.com/chat/multimedia.do".to_owned()
}

/// A life account.
pub(crate) struct Alipay {
    manifest: Manifest,
    base: Base,
    inbox: Inbox,
    outbox: Outbox,
    /// Alipay has none; sending asks for a place to keep one.
    tokens: Tokens,
    sender: Sender,
}

/// Builds it from its settings.
pub(crate) fn build(
    account: Account,
    settings: &Value,
    secrets: &Secrets,
    seed: u64,
) -> Result<Box<dyn Channel>, SettingsError> {
    secrets.only(SECRETS)?;
    let settings: Settings = read(settings)?;
    filled("app_id", &settings.app_id)?;
    let hosts = settings.hosts.map_or_else(|| Hosts::new(HOSTS.iter().copied()), Hosts::new);
    let api = base_url("api", &settings.api, &hosts)?;
    let ours =
        SigningKey::new(&secrets.need("private_key")?).map_err(|error| SettingsError::bad("private_key", error))?;
    let theirs = VerifyingKey::new(&settings.alipay_public_key)
        .map_err(|error| SettingsError::Value { key: "alipay_public_key", why: error.to_string() })?;
    let aes = secrets.get("aes_key").map(|key| Aes::new(&key)).transpose();
    let sender = Sender {
        app_id: settings.app_id,
        gateway: base_url("gateway", &settings.gateway, &hosts)?,
        v3: (settings.version == Version::V3).then_some(api),
        files: base_url("files", &settings.files, &hosts)?,
        by_open_id: settings.known_by == KnownBy::OpenId,
        ours,
        theirs,
        aes: aes.map_err(|error| SettingsError::bad("aes_key", error))?,
        random: Random::new(seed),
        events: Events::new(),
    };
    Ok(Box::new(Alipay {
        manifest: manifest(),
        base: Base::new("alipay", account, seed),
        inbox: Inbox::default(),
        outbox: Outbox::default(),
        tokens: Tokens::default(),
        sender,
    }))
}

fn manifest() -> Manifest {
    let by_link = Capability { fallback: Some(Fallback::Link), ..Capability::IN };
    let capabilities = Capabilities {
        text: Some(Capability { max_chars: Some(TEXT_CHARS_MAX as u64), ..Capability::BOTH }),
        image: Some(by_link.clone()),
        voice_note: Some(by_link.clone()),
        file: Some(Capability { inbound: false, ..by_link.clone() }),
        video: Some(Capability { inbound: false, ..by_link }),
        card: Some(Capability { fallback: Some(Fallback::Text), ..Capability::OUT }),
        ..Capabilities::default()
    };
    let limits =
        Limits { ack_deadline_ms: Some(5_000), out_per_s: None, reply_window_s: None, replies_per_window: None };
    wire::manifest(("alipay", "alipay"), capabilities, &["alipay_user"], limits)
}

impl Channel for Alipay {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn handle(&mut self, now: Timestamp, input: In) {
        match input {
            In::Begin { .. } => self.base.health(Health::Up),
            In::HttpRequest { request, http } => self.asked(now, request, &http),
            In::HttpResponse { call, answer } => self.outbox.answer(with!(self), now, call, answer),
            In::Send(out) => self.outbox.send(with!(self), now, *out, TEXT_CHARS_MAX),
            In::Fetched { fetch, answer } => self.inbox.fetched(&mut self.base, now, fetch, answer),
            In::Tick => {
                self.base.woken();
                self.outbox.tick(with!(self), now);
                self.inbox.tick(&mut self.base, now);
            }
            In::Token { .. }
            | In::RefreshToken { .. }
            | In::Told { .. }
            | In::Live(_)
            | In::SocketOpen { .. }
            | In::Frame { .. }
            | In::SocketClosed { .. } => {}
        }
        let times = [self.inbox.deadline(), self.outbox.deadline()];
        self.base.wake_at(times);
    }

    fn poll(&mut self) -> Option<Out> {
        self.base.poll()
    }
}

/// What a customer sent, whichever way it came.
struct Said<'a> {
    native: String,
    thread: &'a str,
    at: Timestamp,
    kind: &'a str,
    text: Option<&'a str>,
    media_id: Option<&'a str>,
    display: Option<String>,
}

impl Alipay {
    fn asked(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) {
        let done = match http.path.as_str() {
            "" | "/" => wire::acceptable(http).and_then(|()| {
                if http.header("alipay-signature").is_some() {
                    self.notified_v3(now, request, http)
                } else {
                    self.posted(now, request, &http.body)
                }
            }),
            _ => Err(HttpReply::text(404, "Alipay's messages come to the account's own path")),
        };
        if let Err(reply) = done {
            self.base.reply(request, reply);
        }
    }

    /// A form: of the life account's gateway, or a notification of version 2.
    fn posted(&mut self, now: Timestamp, request: RequestId, body: &[u8]) -> Result<(), HttpReply> {
        let pairs = form(body);
        if !pairs.iter().any(|(name, _)| name == b"sign") {
            return Err(wire::refusal(401, "`sign` is missing"));
        }
        if !self.sender.theirs.verify_pairs(&pairs) {
            return Err(wire::refusal(401, "the signature does not match: check `alipay_public_key`"));
        }
        let raw = |name: &str| pairs.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice());
        let service = raw("service");
        let charset = match raw("charset") {
            Some(label) => Encoding::for_label(label).filter(|known| *known == GBK || *known == UTF_8),
            None => Some(if service.is_some() { GBK } else { UTF_8 }),
        };
        let charset = charset.ok_or_else(|| wire::refusal(400, "`charset` is neither GBK nor UTF-8"))?;
        let text = |name: &str| {
            let bytes = raw(name).unwrap_or_default();
            let text = charset.decode_without_bom_handling_and_without_replacement(bytes);
            text.ok_or_else(|| wire::refusal(400, &format!("`{name}` is not in the charset that the request names")))
        };
        let content = text("biz_content")?;
        match service {
            Some(b"alipay.service.check") => {
                let key = self.sender.ours.public();
                let inner = format!("<success>true</success><biz_content>{key}</biz_content>");
                let reply = self.envelope(&inner);
                self.base.reply(request, reply);
                Ok(())
            }
            Some(b"alipay.mobile.public.message.notify") => self.gateway(now, request, &content),
            Some(_) => Err(wire::refusal(400, "`service` is none of a life account's gateway")),
            None => {
                self.mine(&text("app_id")?)?;
                let (id, method) = (text("notify_id")?, text("msg_method")?);
                let ms = text("utc_timestamp")?.parse().ok();
                self.notified(now, request, (&id, &method, at_ms(ms, now)), &content)
            }
        }
    }

    /// Whether a request is for this app.
    fn mine(&self, app_id: &str) -> Result<(), HttpReply> {
        let mine = app_id.is_empty() || app_id == self.sender.app_id;
        if mine { Ok(()) } else { Err(wire::refusal(403, "the message is for another app")) }
    }

    /// An answer of the gateway's: XML with our signature. It is ASCII, which is the same in GBK.
    fn envelope(&self, inner: &str) -> HttpReply {
        let sign = self.sender.ours.sign(inner.as_bytes());
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"GBK\"?><alipay><response>{inner}</response><sign>{sign}</sign>\
             <sign_type>RSA2</sign_type></alipay>"
        );
        let kind = ("content-type".to_owned(), "text/xml; charset=GBK".to_owned());
        HttpReply { status: 200, headers: vec![kind], body: body.into_bytes() }
    }

    /// A message or event of the life account.
    fn gateway(&mut self, now: Timestamp, request: RequestId, content: &str) -> Result<(), HttpReply> {
        let unread = |why| wire::refusal(400, &format!("`biz_content` cannot be read: {why}"));
        let fields = Fields::xml(content.trim()).map_err(unread)?;
        self.mine(fields.get("AppId").unwrap_or_default())?;
        let thread = fields.get("FromUserId").or_else(|| fields.get("FromOpenId"));
        let thread = thread.filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        let thread = thread.ok_or_else(|| wire::refusal(400, "`FromUserId` is missing or is no id"))?;
        let kind = fields.get("MsgType").ok_or_else(|| wire::refusal(400, "`MsgType` is missing"))?;
        let created = fields.number("CreateTime");
        let at = at_ms(created, now);
        let ack = format!(
            "<XML><ToUserId><![CDATA[{thread}]]></ToUserId><AppId><![CDATA[{}]]></AppId><CreateTime>{}</CreateTime>\
             <MsgType><![CDATA[ack]]></MsgType></XML>",
            self.sender.app_id,
            now.as_millisecond()
        );
        let acks = Acks {
            durable: Some(Ack::Reply { request, reply: self.envelope(&ack) }),
            refused: Some(Ack::Reply { request, reply: wire::busy() }),
            save: None,
        };
        let event = fields.get("EventType").unwrap_or_default();
        let native = match (fields.get("MsgId"), created) {
            (Some(id), _) => id.to_owned(),
            (None, Some(ms)) => format!("{thread}:{ms}:{event}:{}", fields.get("ActionParam").unwrap_or_default()),
            (None, None) => return Err(wire::refusal(400, "`MsgId` and `CreateTime` are missing")),
        };
        if kind == "event" {
            return self.happened(now, (native, thread, at), (event, fields.get("ActionParam")), acks);
        }
        let display = fields.get("UserInfo").and_then(|info| Fields::json(info).ok());
        let display =
            display.and_then(|info| info.get("user_name").or_else(|| info.get("logon_id")).map(str::to_owned));
        let text = fields.get("Text.Content").or_else(|| fields.get("Content"));
        let media_id = fields.get("Image.MediaId").or_else(|| fields.get("Voice.MediaId"));
        self.say(now, Said { native, thread, at, kind, text, media_id, display }, acks)
    }

    /// The customer came, left, or pressed something.
    fn happened(
        &mut self,
        now: Timestamp,
        (native, thread, at): (String, &str, Timestamp),
        (event, param): (&str, Option<&str>),
        acks: Acks,
    ) -> Result<(), HttpReply> {
        let id = self.base.event_id(&native);
        let closes_at = self.sender.events.learn(thread, event, at);
        // How many answers an event allows is not published for all of them; one is allowed by each.
        let window = closes_at.map(|closes_at| Window { replies_left: 1, closes_at });
        let key = IdentityKey::new(KeyKind::Alipay, thread);
        if event == "click" {
            let words = format!("[点击菜单 Pressed in the menu: {:.200}]", param.unwrap_or("-"));
            let arrived = Arrived {
                after: self.base.identity(now, (&id, thread), vec![key.clone()]).into_iter().collect(),
                sender: customer(&key, None),
                slots: vec![unsupported("event/click", words)],
                thread: thread.to_owned(),
                native_id: Some(native),
                reply_to: None,
                window,
                at,
                id,
            };
            self.inbox.take(&mut self.base, now, arrived, acks, now + PATIENCE);
            return Ok(());
        }
        let state = if event == "unfollow" { ThreadState::Closed } else { ThreadState::Opened };
        let mut entry = Map::new();
        entry.insert("event".to_owned(), event.into());
        if let Some(param) = param {
            entry.insert("scene".to_owned(), param.into());
        }
        let change = Thread { thread: thread.to_owned(), state, entry: Some(entry), window };
        let mut events = vec![self.base.event(id.clone(), thread, at, change)];
        if state == ThreadState::Opened {
            events.extend(self.base.identity(now, (&id, thread), vec![key.clone()]));
        }
        let arrived = Arrived::events((id, thread.to_owned()), at, customer(&key, None), events);
        self.inbox.take(&mut self.base, now, arrived, acks, now + PATIENCE);
        Ok(())
    }

    /// A notification of version 3: JSON, its signature in the headers.
    fn notified_v3(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) -> Result<(), HttpReply> {
        let (Some(time), Some(nonce), Some(signature)) =
            (http.header("alipay-timestamp"), http.header("alipay-nonce"), http.header("alipay-signature"))
        else {
            let why = "the headers `alipay-timestamp`, `alipay-nonce` and `alipay-signature` are expected";
            return Err(wire::refusal(401, why));
        };
        if !self.sender.theirs.verify_v3(time, nonce, &http.body, signature) {
            return Err(wire::refusal(401, "the signature does not match: check `alipay_public_key`"));
        }
        let body: Value = serde_json::from_slice(&http.body).map_err(|_| wire::refusal(400, "the body is no JSON"))?;
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        self.mine(text("app_id"))?;
        let content = match &body["biz_content"] {
            Value::String(content) => content.clone(),
            other => other.to_string(),
        };
        let at = at_ms(time.parse().ok(), now);
        self.notified(now, request, (text("notify_id"), text("msg_method"), at), &content)
    }

    /// A notification. Those that hold a customer's message become one; the others say nothing of a customer.
    fn notified(
        &mut self,
        now: Timestamp,
        request: RequestId,
        (id, method, at): (&str, &str, Timestamp),
        content: &str,
    ) -> Result<(), HttpReply> {
        if id.is_empty() {
            return Err(wire::refusal(400, "`notify_id` is missing"));
        }
        let fields = Fields::json(content).unwrap_or_default();
        let first = |names: &[&str]| names.iter().find_map(|name| fields.get(name));
        let thread = first(&["from_user_id", "from_open_id", "user_id", "open_id"]);
        let kind = first(&["msg_type", "message_type"]);
        let (Some(thread), Some(kind)) = (thread, kind) else {
            self.base.note(format!("a notification {method:.80} came; it says nothing of a customer"));
            self.base.reply(request, HttpReply::text(200, "success"));
            return Ok(());
        };
        let acks = Acks {
            durable: Some(Ack::Reply { request, reply: HttpReply::text(200, "success") }),
            refused: Some(Ack::Reply { request, reply: HttpReply::text(503, "fail") }),
            save: None,
        };
        let text = first(&["text.content", "content", "text"]);
        let media_id = first(&["image.media_id", "media_id"]);
        self.say(now, Said { native: id.to_owned(), thread, at, kind, text, media_id, display: None }, acks)
    }

    /// A customer's message.
    fn say(&mut self, now: Timestamp, said: Said<'_>, acks: Acks) -> Result<(), HttpReply> {
        let Said { native, thread, at, kind, text, media_id, display } = said;
        let id = self.base.event_id(&native);
        let Some(acks) = self.inbox.join(&id, acks) else { return Ok(()) };
        if self.inbox.is_full() {
            return Err(wire::busy());
        }
        let file = match kind {
            "image" => media_id.map(|media| (FileKind::Image, media)),
            "voice" => media_id.map(|media| (FileKind::VoiceNote, media)),
            _ => None,
        };
        let slots = match (kind, file) {
            ("text", _) => text_slots("text", text.unwrap_or_default()),
            (_, Some((what, media))) => {
                let native_ref = format!("alipay:{media}");
                let missing = Missing { kind: what, native_type: kind.to_owned(), native_ref, words: None };
                let fetch = self.base.next_id();
                let from = Box::new(self.sender.download(now, media));
                self.base.push(Out::Fetch { fetch, from, what, name: None });
                vec![Slot::Fetch(fetch, missing)]
            }
            _ => vec![unsupported(kind, format!("[暂不支持的消息类型 Not shown here: {kind:.40}]"))],
        };
        let key = IdentityKey::new(KeyKind::Alipay, thread);
        let arrived = Arrived {
            after: self.base.identity(now, (&id, thread), vec![key.clone()]).into_iter().collect(),
            sender: customer(&key, display.as_deref()),
            thread: thread.to_owned(),
            native_id: Some(native),
            reply_to: None,
            window: None,
            slots,
            at,
            id,
        };
        self.inbox.take(&mut self.base, now, arrived, acks, now + PATIENCE);
        Ok(())
    }
}
