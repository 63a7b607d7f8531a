//! Messages to followers of a life account: `alipay.open.public.message.custom.send`, by gateway version 2 or 3.
//!
//! Requests are signed; answers are believed only with Alipay's signature over their bytes as they came. There are no tokens.

use ark_conversation::Content;
use ark_conversation::channel::{Body, HttpCall, HttpReply, Method};
use ark_conversation::event::Part;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::base::Random;
use crate::crypto::alipay::{Aes, SigningKey, VerifyingKey, authorization_v3};
use crate::limits::THREADS_MAX;
use crate::outbox::{Delivery, Plan, Step, Vendor, Verdict, by_status};
use crate::recent::Recent;
use crate::wire;

const SEND: &str = "alipay.open.public.message.custom.send";
const SEND_V3: &str = "/v3/alipay/open/public/message/custom/send";
const DOWNLOAD: &str = "alipay.mobile.public.multimedia.download";

/// Alipay's side of sending.
pub(super) struct Sender {
    pub(super) app_id: String,
    /// Of version 2: `https://openapi.alipay.com/gateway.do`.
    pub(super) gateway: String,
    /// Of version 3, when it is used.
    pub(super) v3: Option<String>,
    pub(super) files: String,
    pub(super) by_open_id: bool,
    pub(super) ours: SigningKey,
    pub(super) theirs: VerifyingKey,
    pub(super) aes: Option<Aes>,
    pub(super) random: Random,
    pub(super) events: Events,
}

/// What a follower did last that allows an answer, and until when.
pub(super) struct Events(Recent<String, (&'static str, Timestamp)>);

impl Events {
    pub(super) fn new() -> Self {
        Self(Recent::new(THREADS_MAX))
    }

    /// How long an event allows an answer: following and pressing 5 minutes, entering the chat a day.
    pub(super) fn learn(&mut self, thread: &str, event: &str, at: Timestamp) -> Option<Timestamp> {
        let (name, life) = match event {
            "follow" => ("follow", SignedDuration::from_mins(5)),
            "click" => ("click", SignedDuration::from_mins(5)),
            "enter" | "enter_ppchat" => ("enter_ppchat", SignedDuration::from_hours(24)),
            _ => return None,
        };
        self.0.insert(thread.to_owned(), (name, at + life));
        Some(at + life)
    }

    fn get(&self, now: Timestamp, thread: &str) -> Option<&'static str> {
        self.0.get(thread).filter(|(_, until)| *until > now).map(|(name, _)| *name)
    }
}

impl Sender {
    /// A signed request of version 2.
    fn request(&self, now: Timestamp, url: &str, method: &str, content: &str) -> HttpCall {
        // Alipay's clock is China's, which has had no summer time since 1991.
        let time = Offset::constant(8).to_datetime(now).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let sealed = self.aes.as_ref().map(|aes| aes.seal(content.as_bytes()));
        let mut pairs = vec![
            ("app_id", self.app_id.as_str()),
            ("method", method),
            ("format", "JSON"),
            ("charset", "utf-8"),
            ("sign_type", "RSA2"),
            ("timestamp", &time),
            ("version", "1.0"),
            ("biz_content", sealed.as_deref().unwrap_or(content)),
        ];
        if sealed.is_some() {
            pairs.push(("encrypt_type", "AES"));
        }
        let sign = self.ours.sign_pairs(&pairs);
        pairs.push(("sign", &sign));
        let form = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        wire::call(Method::Post, format!("{url}?charset=utf-8"), Body::Form(form))
    }

    /// The call that gives a customer's file.
    pub(super) fn download(&self, now: Timestamp, media_id: &str) -> HttpCall {
        let content = json!({"mediaId": media_id}).to_string();
        wire::again(self.request(now, &self.files, DOWNLOAD, &content))
    }

    fn content(&self, now: Timestamp, delivery: &Delivery) -> Option<Value> {
        let mut content = match delivery.piece() {
            Part::Text { text } => text_content(text.reveal()),
            Part::Card { title, body, actions, fallback_text } => {
                let open = actions.iter().find_map(|action| Some((action.label.reveal(), action.url.as_deref()?)));
                open.map_or_else(
                    || text_content(fallback_text.reveal()),
                    |(label, url)| {
                        let desc = body.as_ref().map_or("", Content::reveal);
                        let article = json!({"title": title.reveal(), "desc": desc, "url": url, "action_name": label});
                        json!({"msg_type": "image-text", "articles": [article]})
                    },
                )
            }
            _ => return None,
        };
        content[if self.by_open_id { "open_id" } else { "to_user_id" }] = delivery.thread.clone().into();
        // 1: shown in the chat; 0: in the account's own list.
        content["chat"] = "1".into();
        if let Some(event) = self.events.get(now, &delivery.thread) {
            content["event_type"] = event.into();
        }
        Some(content)
    }

    /// What an answer of version 2 says, when Alipay signed it.
    fn signed(&self, reply: &HttpReply) -> Option<Value> {
        let value: Value = serde_json::from_str(self.theirs.verify_response(&reply.body)?.get()).ok()?;
        match (&self.aes, value.as_str()) {
            (Some(aes), Some(sealed)) => serde_json::from_slice(&aes.open(sealed)?).ok(),
            _ => Some(value),
        }
    }

    /// The same of version 3.
    fn signed_v3(&self, reply: &HttpReply) -> Option<Value> {
        let header = |name: &str| reply.header(name);
        let (time, nonce) = (header("alipay-timestamp")?, header("alipay-nonce")?);
        let verified = self.theirs.verify_v3(time, nonce, &reply.body, header("alipay-signature")?);
        verified.then(|| wire::json(reply)).flatten()
    }
}

fn text_content(text: &str) -> Value {
    json!({"msg_type": "text", "text": {"content": text}})
}

impl Vendor for Sender {
    fn plan(&mut self, now: Timestamp, delivery: &Delivery, _: Option<&str>) -> Plan {
        let Some(content) = self.content(now, delivery) else {
            return Plan::Fail { code: "unsupported", text: "Alipay cannot show a part of this kind" };
        };
        let content = content.to_string();
        let Some(base) = &self.v3 else {
            return Plan::Call(Step::Send, self.request(now, &self.gateway, SEND, &content));
        };
        let nonce = format!("{:016x}{:016x}", self.random.next(), self.random.next());
        let app = (self.app_id.as_str(), nonce.as_str(), now.as_millisecond());
        let sign = authorization_v3(&self.ours, app, ("POST", SEND_V3, &content));
        let body = Body::Bytes { mime: "application/json".to_owned(), bytes: content.into_bytes() };
        let mut http = wire::call(Method::Post, format!("{base}{SEND_V3}"), body);
        http.headers.push(("authorization".to_owned(), sign));
        Plan::Call(Step::Send, http)
    }

    fn read(&mut self, _: Timestamp, _: &mut Delivery, step: Step, reply: &HttpReply) -> Verdict {
        if let Some(verdict) = by_status(step, reply) {
            return verdict;
        }
        if self.v3.is_none() {
            return self.signed(reply).map_or_else(|| unsigned(&reply.body), |answer| by_code(&answer));
        }
        match (self.signed_v3(reply), reply.status) {
            (Some(answer), 200) => Verdict::Sent { native_id: native(&answer) },
            (Some(answer), _) => {
                let text = answer["message"].as_str().unwrap_or_default();
                by_sub_code(answer["code"].as_str().unwrap_or_default(), text)
            }
            // Refused before there was anybody to sign for: nothing was sent.
            (None, 400..=499) => {
                Verdict::failed(format!("http_{}", reply.status), "Alipay refused the request unsigned")
            }
            (None, _) => Verdict::Unknown,
        }
    }
}

fn native(answer: &Value) -> Option<String> {
    answer["msg_id"].as_str().or_else(|| answer["message_id"].as_str()).map(str::to_owned)
}

/// An answer that Alipay did not sign. It signs none when it could not tell who asked; then nothing was sent. Anything else
/// may be anybody's, and the message may have gone out.
fn unsigned(body: &[u8]) -> Verdict {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let answer = &body["error_response"];
    match answer["sub_code"].as_str() {
        Some(code) => by_sub_code(code, answer["sub_msg"].as_str().unwrap_or_default()),
        None => Verdict::Unknown,
    }
}

fn by_code(answer: &Value) -> Verdict {
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    match (text("code"), text("sub_code")) {
        ("10000", _) => Verdict::Sent { native_id: native(answer) },
        ("40005", _) => Verdict::retry("rate"),
        // The service is away, after it had taken the request or before.
        ("20000", _) => Verdict::Unknown,
        (code, "") => Verdict::failed(format!("alipay_{code}"), text("msg")),
        (_, sub) => by_sub_code(sub, text("sub_msg")),
    }
}

fn by_sub_code(code: &str, text: &str) -> Verdict {
    let plain = code.rsplit('.').next().unwrap_or(code).to_ascii_uppercase().replace('-', "_");
    match plain.as_str() {
        "MSG_SD_OVER_TIME" => Verdict::failed("window_closed", format!("{code} {text}")),
        "APP_CALL_LIMITED" | "CALL_LIMITED" | "ACCESS_LIMITED" => Verdict::retry("rate"),
        "UNKNOW_ERROR" | "UNKNOWN_ERROR" | "SYSTEM_ERROR" => Verdict::Unknown,
        _ if plain.contains("NOT_FOLLOW") || plain.contains("UNFOLLOW") => {
            Verdict::failed("blocked", format!("{code} {text}"))
        }
        _ => Verdict::failed(format!("alipay_{code}"), text),
    }
}
