//! WeChat: the customer service of a mini-program (`wechat-mp`) and of an official account (`wechat-oa`).
//!
//! Pushes come to `/hooks/{account}`, in XML or JSON, in plain, compatible or safe mode. WeChat tries a push again two or three
//! times, 5 seconds apart, and shows the customer an error when the answer is anything but `success` or nothing: `success` goes
//! out when the message is durable, and while nothing can be kept there is no 200. In compatible mode a push carries the message
//! twice; only the encrypted one is looked at.
//!
//! `transfer_customer_service`, which hands customers to WeChat's own desk, is not used: after it two desks would own one
//! conversation.

pub(crate) mod files;
mod inbound;
pub(crate) mod send;

use ark_conversation::channel::{
    Ack, CallId, Capabilities, Capability, Channel, Fallback, Health, Hosts, HttpCall, HttpFailure, HttpReply,
    HttpRequest, In, Limits, Manifest, Method, Out, RequestId,
};
use ark_conversation::event::Thread;
use ark_conversation::{CloudEvent, Event, IdentityKey, KeyKind};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::{Base, customer};
use crate::crypto::container::{Envelope, OpenError};
use crate::crypto::verify_sorted_sha1;
use crate::fields::Fields;
use crate::inbox::{Acks, Arrived, Inbox, Slot};
use crate::outbox::{Outbox, with};
use crate::settings::{Account, Secret, Secrets, SettingsError, base as base_url, filled, read};
use crate::tokens::{NoToken, Tokens};
use crate::wire;
use files::{Files, Named};
use inbound::{Push, Written, translate};
use send::Sender;

/// Where WeChat and its pictures are, unless the settings say otherwise.
pub(crate) const HOSTS: &[&str] = &["api.weixin.qq.com", "*.qpic.cn", "*.qlogo.cn", "mp.weixin.qq.com"];
const SECRETS: &[&str] = &["app_secret", "token", "aes_key"];

/// Most characters of a text: WeChat takes 2,048 bytes.
const TEXT_CHARS_MAX: usize = 600;
/// How long a file is waited for before its message is answered without it: WeChat hangs up after 5 s.
const PATIENCE: SignedDuration = SignedDuration::from_millis(3_500);

/// Whose customer service it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    MiniProgram,
    OfficialAccount,
}

impl Flavour {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::MiniProgram => ("wechat-mp", "wechat_mp"),
            Self::OfficialAccount => ("wechat-oa", "wechat_oa"),
        }
    }
}

/// How pushes come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Plain,
    Compat,
    #[default]
    Safe,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    app_id: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default = "api")]
    api: String,
    /// Read by [`crate::hosts`].
    hosts: Option<Vec<String>>,
    /// `cgi-bin/stable_token`, which does not end the token that others have; `false`: `cgi-bin/token`.
    #[serde(default = "yes")]
    stable_token: bool,
}

fn api() -> String {
    "https://api.weixin.qq.com".to_owned()
}

const fn yes() -> bool {
    true
}

/// An account.
pub(crate) struct WeChat {
    manifest: Manifest,
    base: Base,
    hosts: Hosts,
    app_id: String,
    stable_token: bool,
    secret: Secret,
    token: Secret,
    envelope: Option<Envelope>,
    mode: Mode,
    tokens: Tokens,
    inbox: Inbox,
    outbox: Outbox,
    files: Files,
    sender: Sender,
}

/// Builds a mini-program's customer service.
pub(crate) fn mini_program(
    account: Account,
    settings: &Value,
    secrets: &Secrets,
    seed: u64,
) -> Result<Box<dyn Channel>, SettingsError> {
    build(Flavour::MiniProgram, account, settings, secrets, seed)
}

/// Builds an official account's.
pub(crate) fn official_account(
    account: Account,
    settings: &Value,
    secrets: &Secrets,
    seed: u64,
) -> Result<Box<dyn Channel>, SettingsError> {
    build(Flavour::OfficialAccount, account, settings, secrets, seed)
}

fn build(
    flavour: Flavour,
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
    let token = secrets.need("token")?;
    let envelope = match (settings.mode, secrets.get("aes_key")) {
        (Mode::Plain, None) => None,
        (_, None) => return Err(SettingsError::Secret { name: "aes_key" }),
        (_, Some(key)) => {
            let envelope = Envelope::new(token.clone(), &key, vec![settings.app_id.clone()]);
            Some(envelope.map_err(|error| SettingsError::bad("aes_key", error))?)
        }
    };
    Ok(Box::new(WeChat {
        manifest: manifest(flavour),
        base: Base::new(flavour.names().0, account, seed),
        hosts,
        app_id: settings.app_id,
        stable_token: settings.stable_token,
        secret: secrets.need("app_secret")?,
        token,
        envelope,
        mode: settings.mode,
        tokens: Tokens::default(),
        inbox: Inbox::default(),
        outbox: Outbox::default(),
        files: Files::default(),
        sender: Sender { api, flavour },
    }))
}

fn manifest(flavour: Flavour) -> Manifest {
    let link = Some(Fallback::Link);
    let mimes = |list: &[&str]| Some(list.iter().map(|mime| (*mime).to_owned()).collect());
    let official = flavour == Flavour::OfficialAccount;
    let card = Capability { fallback: Some(Fallback::Text), ..Capability::BOTH };
    let voice = Capability {
        outbound: official,
        max_bytes: Some(2 * 1024 * 1024),
        mime: mimes(&["audio/amr", "audio/mpeg"]),
        fallback: link,
        ..Capability::BOTH
    };
    let capabilities = Capabilities {
        text: Some(Capability { max_chars: Some(TEXT_CHARS_MAX as u64), ..Capability::BOTH }),
        image: Some(Capability {
            max_bytes: Some(10 * 1024 * 1024),
            mime: mimes(&["image/png", "image/jpeg", "image/gif", "image/bmp"]),
            fallback: link,
            ..Capability::BOTH
        }),
        voice_note: Some(voice),
        video: Some(Capability { fallback: link, ..Capability::IN }),
        file: Some(Capability { inbound: false, outbound: false, fallback: link, ..Capability::BOTH }),
        card: Some(card),
        location: Some(Capability::IN),
        typing: Some(Capability::OUT),
        ..Capabilities::default()
    };
    let limits = Limits {
        ack_deadline_ms: Some(5_000),
        out_per_s: None,
        reply_window_s: Some(48 * 3_600),
        replies_per_window: Some(5),
    };
    wire::manifest(flavour.names(), capabilities, &["wechat_openid", "wechat_unionid"], limits)
}

impl Channel for WeChat {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn handle(&mut self, now: Timestamp, input: In) {
        match input {
            In::Begin { .. } => self.base.health(Health::Up),
            In::HttpRequest { request, http } => self.asked(now, request, &http),
            In::HttpResponse { call, answer } => self.answered(now, call, answer),
            In::Send(out) => self.outbox.send(with!(self), now, *out, TEXT_CHARS_MAX),
            In::Fetched { fetch, answer } => {
                self.files.fetched(&mut self.base, &mut self.inbox, now, fetch, answer);
                self.go_on_fetching(now);
            }
            In::Token { token, .. } => {
                self.tokens.put(token);
                self.tick(now);
            }
            In::RefreshToken { .. } => {
                let http = self.token_call();
                self.tokens.refresh(&mut self.base, http);
            }
            In::Live(event) => self.live(now, &event),
            In::Tick => {
                self.base.woken();
                self.tick(now);
            }
            In::Told { .. } | In::SocketOpen { .. } | In::Frame { .. } | In::SocketClosed { .. } => {}
        }
        let times = [self.tokens.deadline(), self.inbox.deadline(), self.outbox.deadline(), self.files.deadline()];
        self.base.wake_at(times);
    }

    fn poll(&mut self) -> Option<Out> {
        self.base.poll()
    }
}

impl WeChat {
    fn tick(&mut self, now: Timestamp) {
        let http = self.token_call();
        self.tokens.tick(&mut self.base, now, || http);
        self.outbox.tick(with!(self), now);
        self.inbox.tick(&mut self.base, now);
        self.go_on_fetching(now);
    }

    fn go_on_fetching(&mut self, now: Timestamp) {
        let sender = &self.sender;
        let download = |media: &str, token: &str| sender.download(media, token);
        self.files.go_on(&mut self.base, &mut self.inbox, &mut self.tokens, now, download);
    }

    fn token_call(&self) -> HttpCall {
        let (api, id, secret) = (&self.sender.api, &self.app_id, self.secret.reveal());
        wire::again(if self.stable_token {
            let body = json!({"grant_type": "client_credential", "appid": id, "secret": secret});
            wire::post(format!("{api}/cgi-bin/stable_token"), body)
        } else {
            let (id, secret) = (wire::escape(id), wire::escape(secret));
            let url = format!("{api}/cgi-bin/token?grant_type=client_credential&appid={id}&secret={secret}");
            wire::call(Method::Get, url, ark_conversation::channel::Body::Empty)
        })
    }

    /// Somebody of the house is typing: told when there is a token at hand, and not worth one.
    fn live(&mut self, now: Timestamp, event: &CloudEvent) {
        let Event::Typing(typing) = &event.event else { return };
        if let Some(token) = self.tokens.get(now) {
            let http = self.sender.typing(&typing.thread, typing.on, token);
            self.base.call(http);
        }
    }

    fn answered(&mut self, now: Timestamp, call: CallId, answer: Result<HttpReply, HttpFailure>) {
        if self.outbox.is_mine(call) {
            self.outbox.answer(with!(self), now, call, answer);
        } else if self.tokens.is_mine(call) {
            self.tokens
                .answer(&mut self.base, now, answer, |reply| read_token(reply, "`app_id` and the secret `app_secret`"));
            self.tick(now);
        }
    }

    fn asked(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) {
        let done = match (http.method, http.path.as_str()) {
            (Method::Get, "" | "/") => self.verify(now, http).map(|reply| self.base.reply(request, reply)),
            (_, "" | "/") => wire::acceptable(http).and_then(|()| self.push(now, request, http)),
            _ => Err(HttpReply::text(404, "WeChat's messages come to the account's own path")),
        };
        if let Err(reply) = done {
            self.base.reply(request, reply);
        }
    }

    /// The signature that every request has, and its time.
    fn signed<'a>(&self, now: Timestamp, http: &'a HttpRequest) -> Result<(&'a str, &'a str), HttpReply> {
        let (Some(signature), Some(time), Some(nonce)) =
            (http.query("signature"), http.query("timestamp"), http.query("nonce"))
        else {
            return Err(wire::refusal(401, "`signature`, `timestamp` and `nonce` are expected in the query"));
        };
        if !verify_sorted_sha1(signature, &[self.token.reveal(), time, nonce]) {
            return Err(wire::refusal(401, "the signature does not match: check the secret `token`"));
        }
        fresh(now, time)?;
        Ok((time, nonce))
    }

    /// WeChat checks that the address is ours.
    fn verify(&self, now: Timestamp, http: &HttpRequest) -> Result<HttpReply, HttpReply> {
        self.signed(now, http)?;
        let echo = http.query("echostr").ok_or_else(|| wire::refusal(400, "`echostr` is missing"))?;
        Ok(HttpReply::text(200, echo))
    }

    fn push(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) -> Result<(), HttpReply> {
        let (time, nonce) = self.signed(now, http)?;
        let unread = |why: crate::fields::FieldsError| wire::refusal(400, &format!("the body cannot be read: {why}"));
        let outer = Fields::read(&http.body).map_err(unread)?;
        let fields = match (&self.envelope, outer.get("Encrypt"), self.mode) {
            (Some(envelope), Some(encrypted), _) => {
                let signature = http.query("msg_signature").unwrap_or_default();
                let plain = envelope.open(signature, time, nonce, encrypted).map_err(unopened)?;
                Fields::read(&plain).map_err(unread)?
            }
            (_, _, Mode::Plain) => outer,
            _ => return Err(wire::refusal(403, "an encrypted message is expected: `mode` is not `plain`")),
        };
        let success = |body: &str| HttpReply::text(200, body);
        let acks = Acks {
            durable: Some(Ack::Reply { request, reply: success("success") }),
            refused: Some(Ack::Reply { request, reply: wire::busy() }),
            save: None,
        };
        match self.take(now, &fields, acks)? {
            None => Ok(()),
            Some(why) => {
                self.base.note(why);
                self.base.reply(request, success("success"));
                Ok(())
            }
        }
    }

    /// A push that is WeChat's; words: it brought nothing to keep.
    fn take(&mut self, now: Timestamp, fields: &Fields, acks: Acks) -> Result<Option<String>, HttpReply> {
        let missing = |name: &str| wire::refusal(400, &format!("`{name}` is missing"));
        let thread = fields.get("FromUserName").ok_or_else(|| missing("FromUserName"))?.to_owned();
        let created: i64 = fields.number("CreateTime").ok_or_else(|| missing("CreateTime"))?;
        let at = Timestamp::from_second(created).unwrap_or(now);
        let kind = fields.get("MsgType").ok_or_else(|| missing("MsgType"))?;
        let native = match fields.number::<u64>("MsgId") {
            Some(id) => id.to_string(),
            // Events have no id: who and when, as WeChat says, and which, as one second holds several.
            None if kind == "event" => {
                let (event, key) = (fields.get("Event").unwrap_or("-"), fields.get("EventKey").unwrap_or_default());
                format!("{thread}:{created}:{event}:{key}")
            }
            None => return Err(wire::refusal(400, "`MsgId` is not a whole number of 64 bits")),
        };
        let id = self.base.event_id(&native);
        let Some(acks) = self.inbox.join(&id, acks) else { return Ok(None) };
        if self.inbox.is_full() {
            return Err(wire::busy());
        }
        let key = IdentityKey::wechat_openid(&self.app_id, &thread);
        let mut keys = vec![key.clone()];
        keys.extend(fields.get("UnionId").map(|id| IdentityKey::new(KeyKind::WeChatUnionid, id)));
        match translate(fields, at) {
            Push::Notice => {
                let event = fields.get("Event").unwrap_or("-");
                Ok(Some(format!("a notice of kind '{event:.40}' came; it says nothing of a customer")))
            }
            Push::Thread { state, entry, window } => {
                let entry = Some(entry).filter(|entry| !entry.is_empty());
                let change = Thread { thread: thread.clone(), state, entry, window };
                let mut events = vec![self.base.event(id.clone(), &thread, at, change)];
                if state == ark_conversation::event::ThreadState::Opened {
                    events.extend(self.base.identity(now, (&id, &thread), keys));
                }
                let arrived = Arrived::events((id, thread), at, customer(&key, None), events);
                self.inbox.take(&mut self.base, now, arrived, acks, now + PATIENCE);
                Ok(None)
            }
            Push::Message { content, window } => {
                let slots = self.slots(now, content, kind);
                let after = self.base.identity(now, (&id, &thread), keys).into_iter().collect();
                let sender = customer(&key, None);
                let native_id = Some(native);
                let window = Some(window);
                let message = Arrived { id, thread, at, sender, slots, reply_to: None, native_id, window, after };
                self.inbox.take(&mut self.base, now, message, acks, now + PATIENCE);
                self.go_on_fetching(now);
                Ok(None)
            }
        }
    }

    fn slots(&mut self, now: Timestamp, content: Written, kind: &str) -> Vec<Slot> {
        match content {
            Written::Slots(slots) => slots,
            Written::File { kind: file, media_id, url, words } => {
                let named = Named { kind: file, media_id, url, name: None, words };
                vec![self.files.slot(&mut self.base, now, &self.hosts, named, kind)]
            }
        }
    }
}

/// Refuses what was signed long ago.
pub(crate) fn fresh(now: Timestamp, time: &str) -> Result<(), HttpReply> {
    let sent = time.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    if wire::fresh(now, sent) {
        return Ok(());
    }
    Err(wire::refusal(401, "the request is more than an hour old: it is a copy, or a clock is wrong"))
}

/// The answer to a message that does not open.
pub(crate) fn unopened(error: OpenError) -> HttpReply {
    match error {
        OpenError::Signature => wire::refusal(401, "`msg_signature` does not match: the message was changed"),
        OpenError::Owner => wire::refusal(403, "the message is for another app"),
        OpenError::Broken | OpenError::Key => wire::refusal(400, "it does not open: check the secret `aes_key`"),
    }
}

/// A token of WeChat or WeCom.
pub(crate) fn read_token(reply: &HttpReply, check: &str) -> Result<(String, i64), NoToken> {
    let body = wire::json(reply).unwrap_or(Value::Null);
    if let (200, Some(token), Some(seconds)) =
        (reply.status, body["access_token"].as_str(), body["expires_in"].as_i64())
    {
        return Ok((token.to_owned(), seconds));
    }
    let code = body["errcode"].as_i64().unwrap_or(-1);
    // The app, its secret, or the address of the gateway is not the one that the console knows.
    let broken = matches!(code, 40_001 | 40_013 | 40_125 | 40_164 | 40_243 | 50_004 | 50_007 | 61_004 | 60_020);
    let advice = match code {
        40_164 | 61_004 | 60_020 => "; add the gateway's address to the console's IP list".to_owned(),
        _ if broken => format!("; check {check}"),
        _ => String::new(),
    };
    Err(NoToken { why: format!("the token's call answered {} ({code}){advice}", reply.status), broken })
}
