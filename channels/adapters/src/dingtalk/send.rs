//! Messages to DingTalk: by the session's webhook while it lives, by the API otherwise.
//!
//! The webhook needs no token and answers 200 also when it refuses: its `errcode` decides. Pictures and files go by the API
//! where the thread names a person or a group.

use ark_conversation::channel::{Body, FileKind, Hosts, HttpCall, HttpReply, Method, PartSource};
use ark_conversation::event::{Action, Media, Part};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::limits::THREADS_MAX;
use crate::outbox::{Delivery, Plan, Step, Vendor, Verdict, by_status};
use crate::recent::Recent;
use crate::wire;

/// Where a conversation is answered for a while.
struct Session {
    url: String,
    until: Timestamp,
    /// Who wrote last: who is named in a group.
    staff: Option<String>,
}

/// DingTalk's side of sending.
pub(super) struct Sender {
    api: String,
    oapi: String,
    robot_code: String,
    cool_app_code: Option<String>,
    hosts: Hosts,
    sessions: Recent<String, Session>,
}

/// A webhook this near to its end is not used.
const WEBHOOK_MARGIN_S: i64 = 30;

impl Sender {
    pub(super) fn new(
        (api, oapi): (String, String),
        (robot_code, cool_app_code): (String, Option<String>),
        hosts: Hosts,
    ) -> Self {
        Self { api, oapi, robot_code, cool_app_code, hosts, sessions: Recent::new(THREADS_MAX) }
    }

    /// Remembers a session's webhook; false: its address is not one that may be called. It stands in a body that nobody signed, and
    /// what agents write goes there: it must be at `oapi` itself, not only on one of the hosts that files come from.
    pub(super) fn learn(&mut self, thread: &str, url: &str, until: Timestamp, staff: Option<String>) -> bool {
        let at_home = url.strip_prefix(&self.oapi).is_some_and(|rest| rest.starts_with('/'));
        let allowed = at_home && self.hosts.allow(url);
        if allowed {
            self.sessions.insert(thread.to_owned(), Session { url: url.to_owned(), until, staff });
        }
        allowed
    }

    /// A live session's webhook.
    fn session(&self, now: Timestamp, thread: &str) -> Option<&Session> {
        let session = self.sessions.get(thread)?;
        (session.until.as_second() - now.as_second() > WEBHOOK_MARGIN_S).then_some(session)
    }

    /// The call that asks for a file's address.
    pub(super) fn download(&self, code: &str, token: &str) -> HttpCall {
        let body = json!({"robotCode": self.robot_code, "downloadCode": code});
        let url = format!("{}/v1.0/robot/messageFiles/download", self.api);
        with_token(wire::again(wire::post(url, body)), token)
    }

    fn upload(&self, kind: FileKind, media: &Media, token: &str) -> HttpCall {
        let kind = match kind {
            FileKind::Image => "image",
            FileKind::VoiceNote => "voice",
            FileKind::Video => "video",
            FileKind::File => "file",
        };
        let url = format!("{}/media/upload?access_token={}&type={kind}", self.oapi, wire::escape(token));
        let fields = vec![
            ("type".to_owned(), PartSource::Text(kind.to_owned())),
            ("media".to_owned(), PartSource::Media(Box::new(media.clone()))),
        ];
        wire::of_step(Step::Upload, wire::call(Method::Post, url, Body::Multipart(fields)))
    }

    /// By the API: to a person, or to a group.
    fn by_api(&self, thread: &str, (key, param): (&str, Value), token: &str) -> Option<HttpCall> {
        let param = param.to_string();
        let (path, mut body) = match thread.split_once(':')? {
            ("u", staff) => ("oToMessages/batchSend", json!({"userIds": [staff]})),
            ("g", conversation) => ("groupMessages/send", json!({"openConversationId": conversation})),
            _ => return None,
        };
        body["robotCode"] = self.robot_code.clone().into();
        body["msgKey"] = key.into();
        body["msgParam"] = param.into();
        if let (Some(code), true) = (&self.cool_app_code, path.starts_with('g')) {
            body["coolAppCode"] = code.clone().into();
        }
        Some(with_token(wire::post(format!("{}/v1.0/robot/{path}", self.api), body), token))
    }

    fn by_webhook(session: &Session, thread: &str, part: &Part, media: Option<&str>) -> Option<HttpCall> {
        let mut body = match part {
            Part::Text { text } => json!({"msgtype": "text", "text": {"content": text.reveal()}}),
            Part::Card { title, body, actions, .. } => {
                let buttons: Vec<Value> = actions
                    .iter()
                    .map(|action| json!({"title": action.label.reveal(), "actionURL": link(action)}))
                    .collect();
                let text = markdown(title.reveal(), body.as_ref().map(ark_conversation::Content::reveal));
                if buttons.is_empty() {
                    json!({"msgtype": "markdown", "markdown": {"title": title.reveal(), "text": text}})
                } else {
                    let card = json!({"title": title.reveal(), "text": text, "btnOrientation": "0", "btns": buttons});
                    json!({"msgtype": "actionCard", "actionCard": card})
                }
            }
            Part::Image { .. } => {
                let text = format!("![图片]({})", media?);
                json!({"msgtype": "markdown", "markdown": {"title": "图片 Picture", "text": text}})
            }
            _ => return None,
        };
        if let (true, Some(staff)) = (thread.starts_with("g:"), &session.staff) {
            body["at"] = json!({"atUserIds": [staff]});
        }
        Some(wire::post(session.url.clone(), body))
    }
}

fn with_token(mut call: HttpCall, token: &str) -> HttpCall {
    call.headers.push(("x-acs-dingtalk-access-token".to_owned(), token.to_owned()));
    call
}

fn markdown(title: &str, body: Option<&str>) -> String {
    body.map_or_else(|| format!("### {title}"), |body| format!("### {title}\n\n{body}"))
}

/// Where a button leads; one without an address says its label in the customer's name.
fn link(action: &Action) -> String {
    let say = || format!("dtmd://dingtalkclient/sendMessage?content={}", wire::escape(action.label.reveal()));
    action.url.clone().unwrap_or_else(say)
}

/// `msgKey` and `msgParam` of a part.
fn template(part: &Part, media: Option<&str>) -> Option<(&'static str, Value)> {
    let name = |media: &Media| media.name.as_ref().map(|name| name.reveal().to_owned());
    Some(match part {
        Part::Text { text } => ("sampleText", json!({"content": text.reveal()})),
        Part::Image { .. } => ("sampleImageMsg", json!({"photoURL": media?})),
        Part::VoiceNote { media: file, .. } => {
            let duration = file.duration_ms.unwrap_or(1_000).to_string();
            ("sampleAudio", json!({"mediaId": media?, "duration": duration}))
        }
        Part::File { media: file, .. } => {
            let name = name(file).unwrap_or_else(|| format!("file.{}", extension(&file.mime)));
            let kind =
                name.rsplit_once('.').map_or_else(|| extension(&file.mime).to_owned(), |(_, end)| end.to_lowercase());
            ("sampleFile", json!({"mediaId": media?, "fileName": name, "fileType": kind}))
        }
        Part::Card { title, body, actions, .. } => card(title.reveal(), body.as_ref().map(|b| b.reveal()), actions),
        _ => return None,
    })
}

/// DingTalk has a template for each number of buttons from 1 to 5.
fn card(title: &str, body: Option<&str>, actions: &[Action]) -> (&'static str, Value) {
    let text = markdown(title, body);
    match actions {
        [only] => {
            let param =
                json!({"title": title, "text": text, "singleTitle": only.label.reveal(), "singleURL": link(only)});
            ("sampleActionCard", param)
        }
        [_, _, ..] if actions.len() <= 5 => {
            let key = ["sampleActionCard2", "sampleActionCard3", "sampleActionCard4", "sampleActionCard5"];
            let mut param = json!({"title": title, "text": text});
            for (action, number) in actions.iter().zip(1..) {
                param[format!("actionTitle{number}")] = action.label.reveal().into();
                param[format!("actionURL{number}")] = link(action).into();
            }
            (key[actions.len() - 2], param)
        }
        _ => {
            let links: Vec<String> =
                actions.iter().map(|action| format!("[{}]({})", action.label.reveal(), link(action))).collect();
            ("sampleMarkdown", json!({"title": title, "text": format!("{text}\n\n{}", links.join("\n\n"))}))
        }
    }
}

/// MIME types of files that DingTalk shows, and how their names end.
pub(super) const FILES: &[(&str, &str)] = &[
    ("application/pdf", "pdf"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/zip", "zip"),
    ("application/vnd.rar", "rar"),
];

fn extension(mime: &str) -> &'static str {
    FILES.iter().find(|(known, _)| *known == mime).map_or("bin", |(_, end)| end)
}

/// What is uploaded before a part is sent.
fn file(part: &Part) -> Option<(FileKind, &Media)> {
    let kind = match part {
        Part::Image { .. } => FileKind::Image,
        Part::VoiceNote { .. } => FileKind::VoiceNote,
        Part::File { .. } => FileKind::File,
        _ => return None,
    };
    Some((kind, part.media()?))
}

impl Vendor for Sender {
    fn plan(&mut self, now: Timestamp, delivery: &Delivery, token: Option<&str>) -> Plan {
        let (part, thread) = (delivery.piece(), delivery.thread.as_str());
        let session = self.session(now, thread);
        let named = thread.starts_with("u:") || thread.starts_with("g:");
        if !named && session.is_none() {
            let text = "the session's webhook has ended, and DingTalk names nobody to write to";
            return Plan::Fail { code: "window_closed", text };
        }
        if let (Some((kind, media)), None) = (file(part), &delivery.uploaded) {
            return token.map_or(Plan::NeedToken, |token| Plan::Call(Step::Upload, self.upload(kind, media, token)));
        }
        let uploaded = delivery.uploaded.as_deref();
        if let Some(session) = session.filter(|_| !named || uploaded.is_none())
            && let Some(http) = Self::by_webhook(session, thread, part, uploaded)
        {
            return Plan::Call(Step::Send, http);
        }
        let Some(template) = template(part, uploaded).filter(|_| named) else {
            return Plan::Fail { code: "unsupported", text: "DingTalk cannot show a part of this kind" };
        };
        let Some(token) = token else { return Plan::NeedToken };
        match self.by_api(thread, template, token) {
            Some(http) => Plan::Call(Step::Send, http),
            None => Plan::Fail { code: "unreachable", text: "the thread names neither a person nor a group" },
        }
    }

    fn read(&mut self, _: Timestamp, delivery: &mut Delivery, step: Step, reply: &HttpReply) -> Verdict {
        let body = wire::json(reply).unwrap_or(Value::Null);
        if let Some(code) = body["errcode"].as_i64() {
            return by_errcode(self, delivery, step, code, &body);
        }
        if reply.status == 401 {
            return Verdict::Stale;
        }
        if reply.status == 200 {
            let listed = |name: &str| body[name].as_array().is_some_and(|list| !list.is_empty());
            if listed("flowControlledStaffIdList") {
                return Verdict::retry("rate");
            }
            if listed("invalidStaffIdList") {
                return Verdict::failed("unreachable", "DingTalk knows nobody of this staff id");
            }
            return match body["processQueryKey"].as_str() {
                Some(key) => Verdict::Sent { native_id: Some(key.to_owned()) },
                None if step == Step::Send => Verdict::Unknown,
                None => Verdict::retry("busy"),
            };
        }
        let code = body["code"].as_str().unwrap_or_default();
        if code.contains("QpsLimit") || code.contains("Throttling") || code.contains("FlowControl") {
            return Verdict::retry("rate");
        }
        if let Some(verdict) = by_status(step, reply) {
            return verdict;
        }
        if code.eq_ignore_ascii_case("InvalidAuthentication") {
            return Verdict::Stale;
        }
        let code = if code.is_empty() { format!("http_{}", reply.status) } else { format!("dingtalk_{code}") };
        Verdict::failed(code, body["message"].as_str().unwrap_or("DingTalk gave no reason"))
    }
}

/// Answers of the webhook and of `media/upload`: 200 with an `errcode`.
fn by_errcode(sender: &mut Sender, delivery: &Delivery, step: Step, code: i64, body: &Value) -> Verdict {
    let text = body["errmsg"].as_str().unwrap_or_default();
    match code {
        0 if step == Step::Upload => match body["media_id"].as_str() {
            Some(media) => Verdict::Uploaded(media.to_owned()),
            None => Verdict::failed("upload_failed", "DingTalk took the file and gave it no id"),
        },
        0 => Verdict::Sent { native_id: None },
        // The system is busy; too many calls (90018: of this app, 130101: of this robot).
        -1 => Verdict::retry("busy"),
        88 | 90_002 | 90_018 | 130_101 | 410_100 => Verdict::retry("rate"),
        40_001 | 40_014 | 42_001 if step == Step::Upload => Verdict::Stale,
        // The session is over: it goes by the API, once.
        300_001 | 300_005 | 310_001 if delivery.again == 0 => {
            sender.sessions.forget(delivery.thread.as_str());
            Verdict::Again
        }
        _ => Verdict::failed(format!("dingtalk_{code}"), text),
    }
}
