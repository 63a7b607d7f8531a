//! WeCom customer service (微信客服), `wecom-kf`.
//!
//! The callback to `/hooks/{account}` says only that something happened; messages are pulled with `kf/sync_msg`, page by page
//! from a cursor. A page is gone through once more when any of it could not be kept, and its cursor is saved when all of it is
//! durable. WeCom keeps messages for three days, and each start pulls what came meanwhile: so the callback is answered at once.
//! A thread is `{open_kfid}:{external_userid}`.

mod send;
mod translate;

use std::collections::{BTreeMap, BTreeSet};

use ark_conversation::channel::{
    Ack, CallId, Capabilities, Capability, Channel, Fallback, Health, Hosts, HttpCall, HttpFailure, HttpReply,
    HttpRequest, In, Limits, Manifest, MarkId, Method, Out, RequestId,
};
use ark_conversation::{IdentityKey, KeyKind};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::{Base, customer};
use crate::crypto::container::Envelope;
use crate::fields::Fields;
use crate::inbox::{Acks, Arrived, Inbox, ingest};
use crate::limits::{KF_ACCOUNTS_MAX, KF_PAGE, TOKEN_WAIT};
use crate::outbox::{Outbox, with};
use crate::settings::{Account, Secret, Secrets, SettingsError, base as base_url, filled, read};
use crate::tokens::Tokens;
use crate::wechat::files::Files;
use crate::wechat::{fresh, read_token, unopened};
use crate::wire;
use send::Sender;
use translate::{Item, translate};

/// Where WeCom is, unless the settings say otherwise.
pub(crate) const HOSTS: &[&str] = &["qyapi.weixin.qq.com"];
const SECRETS: &[&str] = &["secret", "token", "aes_key"];

/// Most characters of a text: WeCom takes 2,048 bytes.
const TEXT_CHARS_MAX: usize = 600;
/// How long a file is waited for before its message is kept without it: nobody waits for an answer.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);
/// How long the token of a callback is good for pulling.
const CALLBACK_TOKEN_LIFE: SignedDuration = SignedDuration::from_mins(9);
/// What a cursor is saved under, before the account's id.
const CURSOR: &str = "cursor:";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    corp_id: String,
    /// The customer-service accounts that are pulled at start; others are known from their first callback on.
    #[serde(default)]
    open_kfids: Vec<String>,
    #[serde(default = "api")]
    api: String,
    /// Read by [`crate::hosts`].
    hosts: Option<Vec<String>>,
}

fn api() -> String {
    "https://qyapi.weixin.qq.com".to_owned()
}

/// How far pulling of one account is.
enum Pull {
    Idle,
    Token {
        until: Timestamp,
    },
    Calling {
        call: CallId,
    },
    /// A page is being kept: what is still to be told of it, and whether anything was refused.
    Keeping {
        left: BTreeSet<MarkId>,
        refused: BTreeSet<MarkId>,
        failed: bool,
        cursor: String,
        more: bool,
    },
    Pause {
        until: Timestamp,
    },
}

/// One customer-service account.
struct Line {
    cursor: String,
    callback: Option<(String, Timestamp)>,
    pull: Pull,
    /// Something more happened while it was pulled.
    again: bool,
    attempt: u32,
}

impl Line {
    const fn new(cursor: String) -> Self {
        Self { cursor, callback: None, pull: Pull::Idle, again: false, attempt: 0 }
    }
}

/// An application with its customer-service accounts.
pub(crate) struct WeCom {
    manifest: Manifest,
    base: Base,
    hosts: Hosts,
    corp_id: String,
    secret: Secret,
    envelope: Envelope,
    tokens: Tokens,
    inbox: Inbox,
    outbox: Outbox,
    files: Files,
    sender: Sender,
    lines: BTreeMap<String, Line>,
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
    filled("corp_id", &settings.corp_id)?;
    if settings.open_kfids.len() > KF_ACCOUNTS_MAX {
        let why = format!("at most {KF_ACCOUNTS_MAX} accounts; the others need a `[[channel]]` of their own");
        return Err(SettingsError::Value { key: "open_kfids", why });
    }
    let hosts = settings.hosts.map_or_else(|| Hosts::new(HOSTS.iter().copied()), Hosts::new);
    let api = base_url("api", &settings.api, &hosts)?;
    let envelope = Envelope::new(secrets.need("token")?, &secrets.need("aes_key")?, vec![settings.corp_id.clone()])
        .map_err(|error| SettingsError::bad("aes_key", error))?;
    Ok(Box::new(WeCom {
        manifest: manifest(),
        base: Base::new("wecom-kf", account, seed),
        hosts,
        corp_id: settings.corp_id,
        secret: secrets.need("secret")?,
        envelope,
        tokens: Tokens::default(),
        inbox: Inbox::default(),
        outbox: Outbox::default(),
        files: Files::default(),
        sender: Sender::new(api),
        lines: settings.open_kfids.into_iter().map(|id| (id, Line::new(String::new()))).collect(),
    }))
}

fn manifest() -> Manifest {
    let link = Some(Fallback::Link);
    let file = |megabytes: u64, mimes: &[&str]| Capability {
        max_bytes: Some(megabytes * 1024 * 1024),
        mime: (!mimes.is_empty()).then(|| mimes.iter().map(|mime| (*mime).to_owned()).collect()),
        fallback: link,
        ..Capability::BOTH
    };
    let capabilities = Capabilities {
        text: Some(Capability { max_chars: Some(TEXT_CHARS_MAX as u64), ..Capability::BOTH }),
        image: Some(file(10, &["image/png", "image/jpeg"])),
        voice_note: Some(file(2, &["audio/amr"])),
        video: Some(file(10, &["video/mp4"])),
        file: Some(file(20, &[])),
        card: Some(Capability { fallback: Some(Fallback::Text), ..Capability::BOTH }),
        location: Some(Capability::BOTH),
        recall: Some(Capability::IN),
        ..Capabilities::default()
    };
    let limits = Limits {
        ack_deadline_ms: Some(5_000),
        out_per_s: None,
        reply_window_s: Some(48 * 3_600),
        replies_per_window: Some(5),
    };
    wire::manifest(("wecom-kf", "wecom_kf"), capabilities, &["wecom_external"], limits)
}

impl Channel for WeCom {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn handle(&mut self, now: Timestamp, input: In) {
        match input {
            In::Begin { saved } => self.begin(now, saved),
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
            In::Told { mark } => self.told(now, mark),
            In::Tick => {
                self.base.woken();
                self.tick(now);
            }
            In::Live(_) | In::SocketOpen { .. } | In::Frame { .. } | In::SocketClosed { .. } => {}
        }
        let lines = self.lines.values().filter_map(|line| match line.pull {
            Pull::Token { until } | Pull::Pause { until } => Some(until),
            Pull::Idle | Pull::Calling { .. } | Pull::Keeping { .. } => None,
        });
        let times =
            [lines.min(), self.tokens.deadline(), self.inbox.deadline(), self.outbox.deadline(), self.files.deadline()];
        self.base.wake_at(times);
    }

    fn poll(&mut self) -> Option<Out> {
        self.base.poll()
    }
}

impl WeCom {
    fn begin(&mut self, now: Timestamp, saved: BTreeMap<String, String>) {
        for (name, cursor) in saved {
            let Some(id) = name.strip_prefix(CURSOR) else { continue };
            if self.lines.len() < KF_ACCOUNTS_MAX || self.lines.contains_key(id) {
                self.lines.insert(id.to_owned(), Line::new(cursor));
            }
        }
        self.base.health(Health::Up);
        let ids: Vec<String> = self.lines.keys().cloned().collect();
        for id in ids {
            self.pull(now, &id);
        }
    }

    fn tick(&mut self, now: Timestamp) {
        let http = self.token_call();
        self.tokens.tick(&mut self.base, now, || http);
        self.outbox.tick(with!(self), now);
        self.inbox.tick(&mut self.base, now);
        self.go_on_fetching(now);
        let there = self.tokens.get(now).is_some();
        let due = self.lines.iter().filter(|(_, line)| match line.pull {
            Pull::Token { until } => there || until <= now,
            Pull::Pause { until } => until <= now,
            Pull::Idle | Pull::Calling { .. } | Pull::Keeping { .. } => false,
        });
        let due: Vec<String> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            self.pull(now, &id);
        }
    }

    fn go_on_fetching(&mut self, now: Timestamp) {
        let sender = &self.sender;
        let download = |media: &str, token: &str| sender.download(media, token);
        self.files.go_on(&mut self.base, &mut self.inbox, &mut self.tokens, now, download);
    }

    fn token_call(&self) -> HttpCall {
        let (corp, secret) = (wire::escape(&self.corp_id), wire::escape(self.secret.reveal()));
        let url = format!("{}/cgi-bin/gettoken?corpid={corp}&corpsecret={secret}", self.sender.api);
        wire::again(wire::call(Method::Get, url, ark_conversation::channel::Body::Empty))
    }

    fn asked(&mut self, now: Timestamp, request: RequestId, http: &HttpRequest) {
        let done = match (http.method, http.path.as_str()) {
            (Method::Get, "" | "/") => self.opened(now, http, http.query("echostr")).map(|plain| HttpReply {
                status: 200,
                headers: vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())],
                body: plain,
            }),
            (_, "" | "/") => wire::acceptable(http).and_then(|()| self.callback(now, http)),
            _ => Err(HttpReply::text(404, "WeCom's callbacks come to the account's own path")),
        };
        let (Ok(reply) | Err(reply)) = done;
        self.base.reply(request, reply);
    }

    /// What is in the encrypted text, its signature checked first.
    fn opened(&self, now: Timestamp, http: &HttpRequest, sealed: Option<&str>) -> Result<Vec<u8>, HttpReply> {
        let (Some(signature), Some(time), Some(nonce), Some(sealed)) =
            (http.query("msg_signature"), http.query("timestamp"), http.query("nonce"), sealed)
        else {
            let why = "`msg_signature`, `timestamp`, `nonce` in the query and an encrypted text are expected";
            return Err(wire::refusal(401, why));
        };
        let plain = self.envelope.open(signature, time, nonce, sealed).map_err(unopened)?;
        fresh(now, time)?;
        Ok(plain)
    }

    fn callback(&mut self, now: Timestamp, http: &HttpRequest) -> Result<HttpReply, HttpReply> {
        let unread = |why| wire::refusal(400, &format!("the body cannot be read: {why}"));
        let outer = Fields::read(&http.body).map_err(unread)?;
        let plain = self.opened(now, http, outer.get("Encrypt"))?;
        let fields = Fields::read(&plain).map_err(unread)?;
        let success = HttpReply::text(200, "success");
        if fields.get("Event") != Some("kf_msg_or_event") {
            self.base.note("a callback that is not customer service's came; it is passed over");
            return Ok(success);
        }
        let id = fields.get("OpenKfId").ok_or_else(|| wire::refusal(400, "`OpenKfId` is missing"))?.to_owned();
        if !self.lines.contains_key(&id) {
            if self.lines.len() >= KF_ACCOUNTS_MAX {
                return Err(wire::refusal(503, "more customer-service accounts than one channel has"));
            }
            self.lines.insert(id.clone(), Line::new(String::new()));
        }
        let line = self.lines.get_mut(&id).expect("it was just put there");
        line.callback = fields.get("Token").map(|token| (token.to_owned(), now + CALLBACK_TOKEN_LIFE));
        match line.pull {
            Pull::Idle => self.pull(now, &id),
            _ => line.again = true,
        }
        Ok(success)
    }

    /// Asks for the next page of an account.
    fn pull(&mut self, now: Timestamp, id: &str) {
        let Some(line) = self.lines.get_mut(id) else { return };
        if self.inbox.room() < KF_PAGE as usize {
            line.pull = Pull::Pause { until: now + SignedDuration::from_secs(1) };
            return;
        }
        let Some(token) = self.tokens.get(now).map(str::to_owned) else {
            self.tokens.need(&mut self.base, now);
            line.pull = Pull::Token { until: now + TOKEN_WAIT };
            return;
        };
        let mut body = json!({"cursor": line.cursor, "limit": KF_PAGE, "voice_format": 0, "open_kfid": id});
        // Without it the provider allows few calls.
        if let Some((callback, _)) = line.callback.as_ref().filter(|(_, until)| *until > now) {
            body["token"] = callback.clone().into();
        }
        line.again = false;
        let call = self.base.call(wire::again(wire::post(self.sender.url("kf/sync_msg?", &token), body)));
        line.pull = Pull::Calling { call };
    }

    fn pause(&mut self, now: Timestamp, id: &str) {
        let Some(line) = self.lines.get_mut(id) else { return };
        line.pull = Pull::Pause { until: now + self.base.random.backoff(line.attempt) };
        line.attempt = line.attempt.saturating_add(1);
    }

    fn answered(&mut self, now: Timestamp, call: CallId, answer: Result<HttpReply, HttpFailure>) {
        if self.outbox.is_mine(call) {
            self.outbox.answer(with!(self), now, call, answer);
        } else if self.tokens.is_mine(call) {
            self.tokens
                .answer(&mut self.base, now, answer, |reply| read_token(reply, "`corp_id` and the secret `secret`"));
            self.tick(now);
        } else {
            let mine = |line: &Line| matches!(line.pull, Pull::Calling { call: mine } if mine == call);
            let id = self.lines.iter().find(|(_, line)| mine(line)).map(|(id, _)| id.clone());
            if let Some(id) = id {
                self.page(now, &id, answer);
            }
        }
    }

    /// A page came, or did not.
    fn page(&mut self, now: Timestamp, id: &str, answer: Result<HttpReply, HttpFailure>) {
        let reply = match answer {
            Ok(reply) => reply,
            Err(failure) => {
                self.base.health(Health::Down { why: format!("kf/sync_msg: {failure}; it is tried again") });
                return self.pause(now, id);
            }
        };
        let body = wire::json(&reply).unwrap_or(Value::Null);
        match (reply.status, body["errcode"].as_i64()) {
            (200, Some(0)) => self.keep(now, id, &body),
            (_, Some(40_001 | 40_014 | 41_001 | 42_001)) => {
                if let Some(token) = self.tokens.get(now).map(str::to_owned) {
                    self.tokens.refused(&mut self.base, now, &token);
                }
                self.pull(now, id);
            }
            // The callback's token is over: few calls, but they are answered.
            (_, Some(95_007)) if self.lines.get(id).is_some_and(|line| line.callback.is_some()) => {
                if let Some(line) = self.lines.get_mut(id) {
                    line.callback = None;
                }
                self.pull(now, id);
            }
            (status, code) => {
                let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
                let why = format!("kf/sync_msg answered {status} ({code}); it is tried again");
                self.base.health(Health::Down { why });
                self.pause(now, id);
            }
        }
    }

    fn keep(&mut self, now: Timestamp, id: &str, body: &Value) {
        self.base.health(Health::Up);
        let cursor = body["next_cursor"].as_str().unwrap_or_default().to_owned();
        let more = body["has_more"].as_i64() == Some(1);
        let (mut left, mut refused) = (BTreeSet::new(), BTreeSet::new());
        for item in body["msg_list"].as_array().into_iter().flatten() {
            let (durable, no) = (self.base.next_id(), self.base.next_id());
            let acks =
                Acks { durable: Some(Ack::Tell { mark: durable }), refused: Some(Ack::Tell { mark: no }), save: None };
            if self.item(now, item, acks) {
                left.insert(durable);
                refused.insert(no);
            }
        }
        if let Some(line) = self.lines.get_mut(id) {
            line.pull = Pull::Keeping { left, refused, failed: false, cursor, more };
        }
        self.go_on_fetching(now);
        self.kept(now, id);
    }

    /// One message or event of a page; false: it brought nothing to keep.
    fn item(&mut self, now: Timestamp, item: &Value, acks: Acks) -> bool {
        let (Some(native), Some(open_kfid)) = (item["msgid"].as_str(), kfid(item)) else {
            self.base.note("a message without `msgid` or `open_kfid` came; it cannot be kept");
            return false;
        };
        let user = item["external_userid"].as_str().or_else(|| item["event"]["external_userid"].as_str());
        let Some(user) = user.filter(|user| !user.is_empty()) else {
            self.base.note("an event that says nothing of a customer came");
            return false;
        };
        let (thread, event_id) = (format!("{open_kfid}:{user}"), self.base.event_id(native));
        let at = item["send_time"].as_i64().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(now);
        let key = IdentityKey::new(KeyKind::Other("wecom_external".to_owned()), format!("{}:{user}", self.corp_id));
        if let Some((code, life)) = translate::code(item) {
            self.sender.learn_code(&thread, code, at + life);
        }
        let events = match translate(&mut self.files, &mut self.base, (now, &self.hosts), item, at) {
            Item::Nothing(why) => {
                self.base.note(why);
                return false;
            }
            Item::Message { slots, window } => {
                let Some(acks) = self.inbox.join(&event_id, acks) else { return true };
                let after = self.base.identity(now, (&event_id, &thread), vec![key.clone()]).into_iter().collect();
                let sender = customer(&key, None);
                let native_id = Some(native.to_owned());
                let id = event_id;
                let message = Arrived { id, thread, at, sender, slots, reply_to: None, native_id, window, after };
                self.inbox.take(&mut self.base, now, message, acks, now + PATIENCE);
                return true;
            }
            Item::Thread { state, entry, window } => {
                let thread_event = ark_conversation::event::Thread { thread: thread.clone(), state, entry, window };
                let mut events = vec![self.base.event(event_id.clone(), &thread, at, thread_event)];
                if state == ark_conversation::event::ThreadState::Opened {
                    events.extend(self.base.identity(now, (&event_id, &thread), vec![key.clone()]));
                }
                events
            }
            Item::Failed { msgid, reason } => {
                let receipt = ark_conversation::event::Receipt {
                    thread: thread.clone(),
                    message: self.sender.key_of(&msgid),
                    state: ark_conversation::event::ReceiptState::Failed,
                    native_id: Some(msgid),
                    reason: Some(reason),
                };
                vec![self.base.event(event_id.clone(), &thread, at, receipt)]
            }
            Item::Recalled { msgid } => {
                let edit = ark_conversation::event::Edit {
                    thread: thread.clone(),
                    message: self.base.event_id(&msgid),
                    op: ark_conversation::event::EditOp::Recall,
                    parts: Vec::new(),
                };
                vec![self.base.event(event_id.clone(), &thread, at, edit)]
            }
        };
        let arrived = Arrived::events((event_id, thread), at, customer(&key, None), events);
        self.inbox.take(&mut self.base, now, arrived, acks, now + PATIENCE);
        true
    }

    /// Something of a page is durable, or could not be kept.
    fn told(&mut self, now: Timestamp, mark: MarkId) {
        let mut of = None;
        for (id, line) in &mut self.lines {
            if let Pull::Keeping { left, refused, failed, .. } = &mut line.pull {
                // A message's two marks are neighbours: the durable one comes first.
                let refusal = refused.contains(&mark);
                let durable = if refusal { mark - 1 } else { mark };
                if left.remove(&durable) {
                    if refusal && !*failed {
                        *failed = true;
                        // All of the page comes again: what of it still waits for a file would be kept before what stands ahead
                        // of it.
                        let held = self.inbox.forget(left);
                        left.retain(|mark| !held.contains(mark));
                    }
                    of = Some(id.clone());
                    break;
                }
            }
        }
        if let Some(id) = of {
            self.kept(now, &id);
        }
    }

    /// Goes on when all of a page was told of.
    fn kept(&mut self, now: Timestamp, id: &str) {
        let Some(line) = self.lines.get_mut(id) else { return };
        let Pull::Keeping { left, failed, cursor, more, .. } = &mut line.pull else { return };
        if !left.is_empty() {
            return;
        }
        if *failed {
            return self.pause(now, id);
        }
        let (cursor, more) = (std::mem::take(cursor), *more);
        let moved = !cursor.is_empty() && cursor != line.cursor;
        if moved {
            line.cursor = cursor;
            let save = Some((format!("{CURSOR}{id}"), line.cursor.clone()));
            self.base.push(Out::Ingest(ingest(Vec::new(), vec![Acks { durable: None, refused: None, save }])));
        }
        line.attempt = 0;
        line.pull = Pull::Idle;
        // A page that says there is more and does not move would be asked for for ever.
        if (more && moved) || line.again {
            self.pull(now, id);
        }
    }
}

fn kfid(item: &Value) -> Option<&str> {
    item["open_kfid"].as_str().or_else(|| item["event"]["open_kfid"].as_str()).filter(|id| !id.is_empty())
}
