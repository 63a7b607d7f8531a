//! Messages to WeChat users: `message/custom/send`, after `media/upload` for files.

use ark_conversation::Content;
use ark_conversation::channel::{Body, HttpCall, HttpReply, Method, PartSource};
use ark_conversation::event::{Action, Media, Part};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Flavour;
use crate::outbox::{Delivery, Plan, Step, Vendor, Verdict, by_status};
use crate::wire;

/// WeChat's side of sending.
pub(super) struct Sender {
    pub(super) api: String,
    pub(super) flavour: Flavour,
}

impl Sender {
    pub(super) fn url(&self, path: &str, token: &str) -> String {
        format!("{}/cgi-bin/{path}access_token={}", self.api, wire::escape(token))
    }

    /// What tells the customer that somebody is typing.
    pub(super) fn typing(&self, thread: &str, on: bool, token: &str) -> HttpCall {
        let command = if on { "Typing" } else { "CancelTyping" };
        wire::post(self.url("message/custom/typing?", token), json!({"touser": thread, "command": command}))
    }

    /// The call that gives a customer's file.
    pub(super) fn download(&self, media_id: &str, token: &str) -> HttpCall {
        let url = format!("{}&media_id={}", self.url("media/get?", token), wire::escape(media_id));
        wire::again(wire::call(Method::Get, url, Body::Empty))
    }

    fn body(&self, delivery: &Delivery) -> Option<Value> {
        let media = || delivery.uploaded.as_deref();
        let mut body = match delivery.piece() {
            Part::Text { text } => text_body(text.reveal()),
            Part::Image { .. } => json!({"msgtype": "image", "image": {"media_id": media()?}}),
            Part::VoiceNote { .. } => json!({"msgtype": "voice", "voice": {"media_id": media()?}}),
            Part::Card { title, body, actions, fallback_text } => {
                card(self.flavour, title, body.as_ref(), actions).unwrap_or_else(|| text_body(fallback_text.reveal()))
            }
            _ => return None,
        };
        body["touser"] = delivery.thread.clone().into();
        Some(body)
    }
}

fn text_body(text: &str) -> Value {
    json!({"msgtype": "text", "text": {"content": text}})
}

/// One button that leads somewhere is a link; buttons that lead nowhere are a menu, which only official accounts have.
fn card(flavour: Flavour, title: &Content, body: Option<&Content>, actions: &[Action]) -> Option<Value> {
    let (title, text) = (title.reveal(), body.map_or("", Content::reveal));
    match (flavour, actions) {
        (Flavour::MiniProgram, [Action { url: Some(url), .. }]) => {
            let link = json!({"title": title, "description": text, "url": url, "thumb_url": ""});
            Some(json!({"msgtype": "link", "link": link}))
        }
        (Flavour::OfficialAccount, [Action { url: Some(url), .. }]) => {
            let article = json!({"title": title, "description": text, "url": url, "picurl": ""});
            Some(json!({"msgtype": "news", "news": {"articles": [article]}}))
        }
        (Flavour::OfficialAccount, [_, ..]) if actions.iter().all(|action| action.url.is_none()) => {
            let list: Vec<Value> =
                actions.iter().map(|action| json!({"id": action.id, "content": action.label.reveal()})).collect();
            let head = if text.is_empty() { title.to_owned() } else { format!("{title}\n{text}") };
            Some(json!({"msgtype": "msgmenu", "msgmenu": {"head_content": head, "list": list, "tail_content": ""}}))
        }
        _ => None,
    }
}

/// What is uploaded before a part is sent, and as what.
pub(crate) fn file(part: &Part) -> Option<(&'static str, &Media)> {
    match part {
        Part::Image { media, .. } => Some(("image", media)),
        Part::VoiceNote { media, .. } => Some(("voice", media)),
        Part::Video { media, .. } => Some(("video", media)),
        Part::File { media, .. } => Some(("file", media)),
        _ => None,
    }
}

/// The call that brings a file.
pub(crate) fn upload(url: String, media: &Media) -> HttpCall {
    let fields = vec![("media".to_owned(), PartSource::Media(Box::new(media.clone())))];
    wire::of_step(Step::Upload, wire::call(Method::Post, url, Body::Multipart(fields)))
}

impl Vendor for Sender {
    fn plan(&mut self, _: Timestamp, delivery: &Delivery, token: Option<&str>) -> Plan {
        let Some(token) = token else { return Plan::NeedToken };
        if let (Some((kind, media)), None) = (file(delivery.piece()), &delivery.uploaded) {
            return Plan::Call(Step::Upload, upload(self.url(&format!("media/upload?type={kind}&"), token), media));
        }
        match self.body(delivery) {
            Some(body) => Plan::Call(Step::Send, wire::post(self.url("message/custom/send?", token), body)),
            None => Plan::Fail { code: "unsupported", text: "WeChat cannot show a part of this kind" },
        }
    }

    fn read(&mut self, _: Timestamp, _: &mut Delivery, step: Step, reply: &HttpReply) -> Verdict {
        read(step, reply)
    }
}

/// What an answer of WeChat or WeCom means: 200 with an `errcode`, which is missing where a file was taken.
pub(crate) fn read(step: Step, reply: &HttpReply) -> Verdict {
    if let Some(verdict) = by_status(step, reply) {
        return verdict;
    }
    let body = wire::json(reply).unwrap_or(Value::Null);
    let text = body["errmsg"].as_str().unwrap_or_default();
    match (body["errcode"].as_i64(), step) {
        (None | Some(0), Step::Upload) => match body["media_id"].as_str() {
            Some(media) => Verdict::Uploaded(media.to_owned()),
            None => Verdict::retry("busy"),
        },
        (Some(0), Step::Prepare(_)) => Verdict::Again,
        (Some(0), Step::Send) => {
            let native =
                body["msgid"].as_str().map(str::to_owned).or_else(|| body["msgid"].as_u64().map(|id| id.to_string()));
            Verdict::Sent { native_id: native }
        }
        (None, Step::Send) if reply.status == 200 => Verdict::Unknown,
        (None, _) => Verdict::failed(format!("http_{}", reply.status), "no error code came"),
        (Some(code), _) => by_errcode(code, text),
    }
}

fn by_errcode(code: i64, text: &str) -> Verdict {
    match code {
        -1 => Verdict::retry("busy"),
        // Too often: in the day, in the minute, at the same time.
        45_009 | 45_011 | 45_033 => Verdict::retry("rate"),
        40_001 | 40_014 | 41_001 | 42_001 => Verdict::Stale,
        // Too late, too many; the same of WeCom.
        45_015 | 45_047 | 95_001 | 95_002 | 95_013 => Verdict::failed("window_closed", format!("{code} {text}")),
        // Does not follow; took the right away; may receive nothing.
        43_004 | 48_002 | 50_002 => Verdict::failed("blocked", format!("{code} {text}")),
        40_003 | 40_096 => Verdict::failed("unreachable", format!("{code} {text}")),
        _ => Verdict::failed(format!("wechat_{code}"), text),
    }
}
