//! Messages by WeCom customer service: `kf/send_msg`, with ids of our own, by which failures are told of.
//!
//! A session has a state: 0 new, 1 bot, 2 waiting for somebody of WeCom's desk, 3 with them, 4 ended. Messages by the API go out
//! in 0 and 1. One that is refused for the state (95018) asks for it, takes a new session on as the bot, and is sent again; a
//! session that WeCom's own desk has is never taken from it.

use ark_conversation::Hash;
use ark_conversation::channel::{Body, HttpCall, HttpReply, Method};
use ark_conversation::event::{Action, Part};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::limits::{KF_KEYS_MAX, THREADS_MAX};
use crate::outbox::{Delivery, Plan, Step, Vendor, Verdict};
use crate::recent::Recent;
use crate::wechat::send::{file, read, upload};
use crate::wire;

/// WeCom's side of sending.
pub(super) struct Sender {
    pub(super) api: String,
    /// Of messages whose key is no id that WeCom takes: the key by the id.
    keys: Recent<String, String>,
    /// Codes that allow one message after an event.
    codes: Recent<String, (String, Timestamp)>,
}

const ASK_STATE: Step = Step::Prepare("state");
const TAKE_ON: Step = Step::Prepare("take on");
/// Longest id that WeCom takes, in bytes.
const MSGID_BYTES_MAX: usize = 32;
/// A code this near to its end is not used.
const CODE_MARGIN_S: i64 = 2;

impl Sender {
    pub(super) fn new(api: String) -> Self {
        Self { api, keys: Recent::new(KF_KEYS_MAX), codes: Recent::new(THREADS_MAX) }
    }

    pub(super) fn url(&self, path: &str, token: &str) -> String {
        format!("{}/cgi-bin/{path}access_token={}", self.api, wire::escape(token))
    }

    pub(super) fn download(&self, media_id: &str, token: &str) -> HttpCall {
        let url = format!("{}&media_id={}", self.url("media/get?", token), wire::escape(media_id));
        wire::again(wire::call(Method::Get, url, Body::Empty))
    }

    pub(super) fn learn_code(&mut self, thread: &str, code: &str, until: Timestamp) {
        self.codes.insert(thread.to_owned(), (code.to_owned(), until));
    }

    /// The message's key of an id that WeCom names.
    pub(super) fn key_of(&self, msgid: &str) -> String {
        self.keys.get(msgid).cloned().unwrap_or_else(|| msgid.to_owned())
    }

    /// The id of a piece: the message's own key where WeCom takes it.
    fn msgid(&mut self, key: &str, piece: usize) -> String {
        let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if piece == 0 && plain && (1..=MSGID_BYTES_MAX).contains(&key.len()) {
            return key.to_owned();
        }
        let mut id = Hash::of(format!("{key}/{piece}").as_bytes()).to_string();
        id.truncate(MSGID_BYTES_MAX);
        self.keys.insert(id.clone(), key.to_owned());
        id
    }

    /// A code that allows this piece, when there is one: only words and menus may use it.
    fn code(&self, now: Timestamp, delivery: &Delivery) -> Option<String> {
        let fits = delivery.again == 0 && matches!(delivery.piece(), Part::Text { .. } | Part::Card { .. });
        let (code, until) = self.codes.get(&delivery.thread).filter(|_| fits)?;
        (until.as_second() - now.as_second() > CODE_MARGIN_S).then(|| code.clone())
    }
}

fn ids(thread: &str) -> Option<(&str, &str)> {
    thread.split_once(':').filter(|(kfid, user)| !kfid.is_empty() && !user.is_empty())
}

fn body(delivery: &Delivery) -> Option<Value> {
    if let Some((kind, _)) = file(delivery.piece()) {
        return Some(json!({"msgtype": kind, kind: {"media_id": delivery.uploaded.as_deref()?}}));
    }
    Some(match delivery.piece() {
        Part::Text { text } => json!({"msgtype": "text", "text": {"content": text.reveal()}}),
        Part::Location { lat, lon, label } => {
            let name = label.as_ref().map_or("位置 Location", |label| label.reveal());
            let place = json!({"name": name, "address": name, "latitude": lat, "longitude": lon});
            json!({"msgtype": "location", "location": place})
        }
        Part::Card { title, body, actions, .. } => {
            let head = match body {
                Some(body) => format!("{}\n{}", title.reveal(), body.reveal()),
                None => title.reveal().to_owned(),
            };
            let list: Vec<Value> = actions.iter().map(button).collect();
            json!({"msgtype": "msgmenu", "msgmenu": {"head_content": head, "list": list}})
        }
        _ => return None,
    })
}

fn button(action: &Action) -> Value {
    let label = action.label.reveal();
    match &action.url {
        Some(url) => json!({"type": "view", "view": {"url": url, "content": label}}),
        None => json!({"type": "click", "click": {"id": action.id, "content": label}}),
    }
}

impl Vendor for Sender {
    fn plan(&mut self, now: Timestamp, delivery: &Delivery, token: Option<&str>) -> Plan {
        let Some((kfid, user)) = ids(&delivery.thread) else {
            return Plan::Fail { code: "unreachable", text: "the thread names no customer of customer service" };
        };
        let Some(token) = token else { return Plan::NeedToken };
        let session = json!({"open_kfid": kfid, "external_userid": user});
        match delivery.again {
            1 => {
                let http = wire::post(self.url("kf/service_state/get?", token), session);
                return Plan::Call(ASK_STATE, wire::of_step(ASK_STATE, http));
            }
            2 => {
                let mut trans = session;
                trans["service_state"] = 1.into();
                let http = wire::post(self.url("kf/service_state/trans?", token), trans);
                return Plan::Call(TAKE_ON, wire::of_step(TAKE_ON, http));
            }
            _ => {}
        }
        if let (Some((kind, media)), None) = (file(delivery.piece()), &delivery.uploaded) {
            return Plan::Call(Step::Upload, upload(self.url(&format!("media/upload?type={kind}&"), token), media));
        }
        let Some(mut body) = body(delivery) else {
            return Plan::Fail { code: "unsupported", text: "WeCom cannot show a part of this kind" };
        };
        body["msgid"] = self.msgid(&delivery.key, delivery.at).into();
        if let Some(code) = self.code(now, delivery) {
            self.codes.forget(&delivery.thread);
            body["code"] = code.into();
            return Plan::Call(Step::Send, wire::post(self.url("kf/send_msg_on_event?", token), body));
        }
        (body["touser"], body["open_kfid"]) = (user.into(), kfid.into());
        Plan::Call(Step::Send, wire::post(self.url("kf/send_msg?", token), body))
    }

    fn read(&mut self, _: Timestamp, delivery: &mut Delivery, step: Step, reply: &HttpReply) -> Verdict {
        let body = wire::json(reply).unwrap_or(Value::Null);
        match (step, body["errcode"].as_i64()) {
            (Step::Send, Some(95_018)) if delivery.again == 0 => Verdict::Again,
            (Step::Send, Some(95_018)) => Verdict::failed("taken_over", "95018: the session's state allows no message"),
            (ASK_STATE, Some(0)) => match body["service_state"].as_i64() {
                Some(0) => Verdict::Again,
                Some(4) => Verdict::failed("window_closed", "the session has ended; the customer is to write first"),
                Some(2 | 3) => Verdict::failed("taken_over", "WeCom's own desk has the session"),
                _ => Verdict::failed("wecom_95018", "the session's state allows no message"),
            },
            _ => read(step, reply),
        }
    }
}
