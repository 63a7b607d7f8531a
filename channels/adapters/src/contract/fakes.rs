//! Providers, played: for each kind of channel how its provider delivers a message, and what it answers when it is sent one.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::missing_panics_doc,
    reason = "what is not as it should be is said by panicking"
)]

use std::collections::BTreeMap;

use ark_conversation::CloudEvent;
use ark_conversation::channel::{Ack, Body, CallId, Frame, HttpReply, HttpRequest, In, Out};
use serde_json::{Value, json};

use super::rig::{Rig, call, post, s};
use crate::crypto::alipay::SigningKey;
use crate::crypto::webhook::WebhookSecrets;
use crate::crypto::{dingtalk_robot_sign, sorted_sha1};
use crate::settings::Secret;
use crate::{FromBroker, Sent, ToBroker};

/// Keys and callbacks that vendors' own libraries made.
fn vectors(name: &str) -> Value {
    let text = match name {
        "alipay_rsa2" => include_str!("../../tests/vectors/alipay_rsa2.json"),
        _ => include_str!("../../tests/vectors/wecom_kf.json"),
    };
    serde_json::from_str(text).unwrap()
}

const NOW_MS: i64 = 1_763_806_618_000;
/// When the callback of WeCom's vectors was signed.
const WECOM_MS: i64 = 1_409_659_589_000;
const WEBHOOK: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

/// Every kind of channel, each with the ways in which its provider delivers.
pub const WAYS: [(&str, &str); 8] = [
    ("http", "http"),
    ("amqp", "broker"),
    ("dingtalk", "http"),
    ("dingtalk", "stream"),
    ("wechat-mp", "http"),
    ("wechat-oa", "http"),
    ("wecom-kf", "pull"),
    ("alipay", "http"),
];

/// What a customer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Words.
    Words,
    /// Something that no part stands for.
    Odd,
    /// A file that has to be fetched.
    Picture,
}

/// One account and its provider.
pub struct Fake {
    /// Which kind of channel.
    pub kind: &'static str,
    /// How its provider delivers.
    pub way: &'static str,
    /// The machine.
    pub rig: Rig,
    socket: u64,
    alipay: Option<SigningKey>,
    /// A pull that it began by itself.
    pull: Option<CallId>,
}

impl Fake {
    /// One that begins with nothing.
    pub fn new(kind: &'static str, way: &'static str) -> Self {
        Self::with(kind, way, BTreeMap::new())
    }

    /// One that begins with what an earlier life saved.
    pub fn with(kind: &'static str, way: &'static str, saved: BTreeMap<String, String>) -> Self {
        let keys = vectors("alipay_rsa2");
        let (settings, list, now): (Value, Vec<(&str, &str)>, i64) = match kind {
            "http" => (json!({"url": "https://adapter.example/ark"}), vec![("secret", WEBHOOK)], NOW_MS),
            "amqp" => (json!({"user": "ark-shop"}), Vec::new(), NOW_MS),
            "dingtalk" => {
                let mode = if way == "stream" { "stream" } else { "http" };
                (json!({"client_id": "dingappkey", "mode": mode}), vec![("client_secret", "secret")], NOW_MS)
            }
            "wecom-kf" => {
                let list = vec![("secret", "s3cret"), ("token", "worktoken"), ("aes_key", AES_KEY)];
                (json!({"corp_id": "ww1234567890abcdef"}), list, WECOM_MS)
            }
            "alipay" => {
                let settings =
                    json!({"app_id": "2021000000000001", "alipay_public_key": s(&keys, "alipay_public_key")});
                (settings, vec![("private_key", s(&keys, "app_private_key_pkcs1"))], NOW_MS)
            }
            _ => (json!({"app_id": "wx1", "mode": "plain"}), vec![("app_secret", "s"), ("token", "arktoken")], NOW_MS),
        };
        let mut rig = Rig::new(kind, &settings, &list, now);
        let outs = rig.give(In::Begin { saved });
        let alipay =
            (kind == "alipay").then(|| SigningKey::new(&Secret::new(s(&keys, "alipay_private_key_pkcs1"))).unwrap());
        let mut fake = Self { kind, way, rig, socket: 0, alipay, pull: None };
        if way == "stream" {
            let outs = fake.rig.answer(
                call(&outs).0,
                200,
                json!({"endpoint": "wss://wss-open.dingtalk.com/connect", "ticket": "t"}),
            );
            let [Out::OpenSocket { socket, .. }] = &outs[..] else { panic!("{outs:?}") };
            fake.socket = *socket;
            fake.rig.give(In::SocketOpen { socket: fake.socket, asked: None });
        }
        if way == "broker" {
            let [Out::OpenSocket { socket, .. }] = &outs[..] else { panic!("{outs:?}") };
            fake.socket = *socket;
            fake.rig.give(In::SocketOpen { socket: fake.socket, asked: None });
        } else if kind != "http" {
            let outs = fake.rig.token("AT");
            fake.pull =
                outs.iter().find_map(|out| if let Out::HttpCall { call, .. } = out { Some(*call) } else { None });
        }
        fake
    }

    /// Whom the house writes to.
    pub fn thread(&self) -> &'static str {
        match self.kind {
            "dingtalk" => "g:cid",
            "wecom-kf" => "wkxxxxxxx:wmUser",
            "alipay" => "2088000000000001",
            "http" | "amqp" => "t1",
            _ => "oABC",
        }
    }

    /// The provider delivers a message; all that comes of it.
    pub fn write(&mut self, id: u64, said: Said) -> Vec<Out> {
        match self.message(id, said) {
            Way::Asks(http) => self.rig.request(http).1,
            Way::Frame(text) => {
                let outs = self.rig.give(In::Frame { socket: self.socket, frame: Frame::Text(text) });
                // What could not be kept is still here, before it.
                let waits = self.kind == "amqp" && outs.is_empty();
                if waits { self.rig.wake() } else { outs }
            }
            Way::Page(item) => {
                let pull = self.pull.take().unwrap_or_else(|| self.called());
                let page = json!({"errcode": 0, "next_cursor": format!("c{id}"), "has_more": 0, "msg_list": [item]});
                self.rig.answer(pull, 200, page)
            }
        }
    }

    /// WeCom calls and says that there is something; the call that pulls it, at once or when its time has come.
    fn called(&mut self) -> CallId {
        let v = &vectors("wecom_kf")["vectors"][1];
        let query = v["query"].as_object().unwrap();
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
        let mut outs = self.rig.request(post("", &query.join("&"), &[], s(v, "body"))).1;
        if !outs.iter().any(|out| matches!(out, Out::HttpCall { .. })) {
            outs = self.rig.wake();
        }
        call(&outs).0
    }

    /// The same message, signed by somebody else.
    pub fn forged(&self, id: u64) -> Option<HttpRequest> {
        let Way::Asks(mut http) = self.message(id, Said::Words) else { return None };
        match self.kind {
            "http" => http.headers.iter_mut().find(|(name, _)| name == "webhook-signature").unwrap().1.insert(3, 'x'),
            "dingtalk" => http.headers.iter_mut().find(|(name, _)| name == "sign").unwrap().1.insert(0, 'x'),
            "alipay" => http.body = String::from_utf8(http.body).unwrap().replace("sign=%", "sign=A%").into_bytes(),
            _ => http.query.iter_mut().find(|(name, _)| name == "signature").unwrap().1.insert(0, '0'),
        }
        Some(http)
    }

    fn message(&self, id: u64, said: Said) -> Way {
        let picture = said == Said::Picture;
        match self.kind {
            "http" => Way::Asks(self.signed("/ark/v1/ingest", &self.standard(id, said).to_string())),
            "amqp" => {
                let brought = FromBroker::Brought { tag: id, body: self.standard(id, said).to_string() };
                Way::Frame(serde_json::to_string(&brought).unwrap())
            }
            "dingtalk" => {
                let kind = match said {
                    Said::Words => "text",
                    Said::Odd => "hologram",
                    Said::Picture => "picture",
                };
                let body = json!({
                    "conversationId": "cid", "conversationType": "2", "msgId": format!("m{id}"), "createAt": NOW_MS, "senderId": "$:x",
                    "senderStaffId": "user123", "senderCorpId": "dingcorp", "robotCode": "dingrobot", "msgtype": kind,
                    "text": {"content": "你好"}, "content": {"downloadCode": "d1"},
                });
                if self.way == "stream" {
                    let headers = json!({"topic": "/v1.0/im/bot/messages/get", "messageId": format!("f{id}"), "contentType": "application/json"});
                    return Way::Frame(
                        json!({"specVersion": "1.0", "type": "CALLBACK", "headers": headers, "data": body.to_string()})
                            .to_string(),
                    );
                }
                let time = NOW_MS.to_string();
                Way::Asks(post(
                    "",
                    "",
                    &[("timestamp", &time), ("sign", &dingtalk_robot_sign(&time, "secret"))],
                    body.to_string(),
                ))
            }
            "wecom-kf" => {
                let kind = ["text", "channels", "image"][said as usize];
                Way::Page(
                    json!({"msgid": format!("m{id}"), "open_kfid": "wkxxxxxxx", "external_userid": "wmUser", "send_time": WECOM_MS / 1_000,
                                 "origin": 3, "msgtype": kind, "text": {"content": "你好"}, "image": {"media_id": "M1"}}),
                )
            }
            "alipay" => {
                let (kind, more) = [
                    ("text", "<Text><Content>你好</Content></Text>"),
                    ("hologram", ""),
                    ("image", "<Image><MediaId>M1</MediaId></Image>"),
                ][said as usize];
                let xml = format!(
                    "<XML><AppId>2021000000000001</AppId><FromUserId>2088000000000001</FromUserId><CreateTime>{NOW_MS}</CreateTime>\
                                   <MsgType>{kind}</MsgType>{more}<MsgId>{id}</MsgId></XML>"
                );
                Way::Asks(self.form(&xml))
            }
            _ => {
                let time = (NOW_MS / 1_000).to_string();
                let query = format!("signature={}&timestamp={time}&nonce=n", sorted_sha1(&["arktoken", &time, "n"]));
                let kind = ["text", "hologram", "image"][said as usize];
                let mut body = json!({"ToUserName": "gh_1", "FromUserName": "oABC", "CreateTime": NOW_MS / 1_000, "MsgType": kind,
                                      "Content": "你好", "MsgId": id});
                if picture {
                    body["MediaId"] = "M1".into();
                }
                Way::Asks(post("", &query, &[], body.to_string()))
            }
        }
    }

    fn standard(&self, id: u64, said: Said) -> Value {
        let part = match said {
            Said::Words => json!({"kind": "text", "text": "你好"}),
            _ => json!({"kind": "unsupported", "native_type": "hologram", "fallback_text": "[hologram]"}),
        };
        json!({"specversion": "1.0", "id": format!("m{id}"), "source": format!("/ark/main/{}/shop/t1", self.kind), "type": "ark.message.in.v1",
               "time": "2025-11-22T10:16:58Z", "datacontenttype": "application/json",
               "data": {"thread": "t1", "sender": {"role": "customer", "id": "c1"}, "parts": [part]}})
    }

    fn signed(&self, path: &str, body: &str) -> HttpRequest {
        let sign = WebhookSecrets::new(&[Secret::new(WEBHOOK)]).unwrap().sign("w1", self.rig.now, body.as_bytes());
        let time = self.rig.now.as_second().to_string();
        post(path, "", &[("webhook-id", "w1"), ("webhook-timestamp", &time), ("webhook-signature", &sign)], body)
    }

    fn form(&self, xml: &str) -> HttpRequest {
        let pairs = [("biz_content", xml), ("charset", "UTF-8"), ("service", "alipay.mobile.public.message.notify")];
        let content: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let sign = self.alipay.as_ref().unwrap().sign(content.join("&").as_bytes());
        let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let mut body: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        body.push(format!("sign={}&sign_type=RSA2", escape(&sign)));
        post("", "", &[], body.join("&"))
    }

    /// Goes on after what it brought was kept, or could not be.
    pub fn kept(&mut self, outs: &[Out], durable: bool) -> Vec<Out> {
        let mut more = Vec::new();
        for out in outs {
            let Out::Ingest(ingest) = out else { continue };
            for ack in if durable { &ingest.durable } else { &ingest.refused } {
                if let Ack::Tell { mark } = ack {
                    more.extend(self.rig.give(In::Told { mark: *mark }));
                }
            }
        }
        more
    }

    /// The message that goes to the provider: by what it is answered, and what it says.
    pub fn sent(&self, outs: &[Out]) -> (u64, String) {
        if self.kind != "amqp" {
            let (call, http) = call(outs);
            let said = match &http.body {
                Body::Json(body) => body.to_string(),
                Body::Bytes { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
                other => format!("{other:?}"),
            };
            return (call, said);
        }
        let frame = outs.iter().find_map(|out| match out {
            Out::Frame { frame: Frame::Text(text), .. } => serde_json::from_str(text).ok(),
            _ => None,
        });
        match frame {
            Some(ToBroker::Send { number, body, .. }) => (number, body),
            other => panic!("nothing is sent: {other:?}"),
        }
    }

    fn broker(&mut self, number: u64, how: Sent) -> Vec<Out> {
        let text = serde_json::to_string(&FromBroker::Sent { number, how }).unwrap();
        self.rig.give(In::Frame { socket: self.socket, frame: Frame::Text(text) })
    }

    /// The provider has too much to do.
    pub fn busy(&mut self, sent: u64) -> Vec<Out> {
        if self.kind == "amqp" {
            return self.broker(sent, Sent::Refused("full".to_owned()));
        }
        let busy = HttpReply::text(429, "").with("retry-after", "7");
        self.rig.give(In::HttpResponse { call: sent, answer: Ok(busy) })
    }

    /// The provider says nothing.
    pub fn silence(&mut self, sent: u64) -> Vec<Out> {
        if self.kind != "amqp" {
            return self.rig.no_answer(sent);
        }
        self.rig.wake()
    }

    /// The provider takes the message.
    pub fn takes(&mut self, sent: CallId) -> Vec<Out> {
        if self.kind == "amqp" {
            return self.broker(sent, Sent::Confirmed);
        }
        let value = "{\"code\":\"10000\",\"msg\":\"Success\",\"msg_id\":\"m1\"}";
        let body = match self.kind {
            "http" => json!({"results": [{"id": "01JKEY1", "status": "accepted"}]}).to_string(),
            "alipay" => {
                let sign = self.alipay.as_ref().unwrap().sign(value.as_bytes());
                format!("{{\"alipay_open_public_message_custom_send_response\":{value},\"sign\":\"{sign}\"}}")
            }
            _ => json!({"errcode": 0, "errmsg": "ok", "msgid": "01JKEY1", "processQueryKey": "pk"}).to_string(),
        };
        self.rig.give(In::HttpResponse {
            call: sent,
            answer: Ok(HttpReply { status: 200, headers: Vec::new(), body: body.into_bytes() }),
        })
    }

    /// The provider refuses it for good.
    pub fn refuses(&mut self, sent: CallId) -> Vec<Out> {
        if self.kind == "amqp" {
            return self.broker(sent, Sent::Never("it is too large".to_owned()));
        }
        let (status, body) = match self.kind {
            "http" => (200, json!({"results": [{"id": "k", "status": "rejected", "code": "blocked"}]}).to_string()),
            "alipay" => {
                let value = "{\"code\":\"40004\",\"sub_code\":\"MSG_SD_OVER_TIME\",\"sub_msg\":\"x\"}";
                let sign = self.alipay.as_ref().unwrap().sign(value.as_bytes());
                (200, format!("{{\"alipay_open_public_message_custom_send_response\":{value},\"sign\":\"{sign}\"}}"))
            }
            "dingtalk" => (400, json!({"code": "invalidRobotCode", "message": "x"}).to_string()),
            "wecom-kf" => (200, json!({"errcode": 95_001}).to_string()),
            _ => (200, json!({"errcode": 45_015, "errmsg": "x"}).to_string()),
        };
        self.rig.give(In::HttpResponse {
            call: sent,
            answer: Ok(HttpReply { status, headers: Vec::new(), body: body.into_bytes() }),
        })
    }
}

enum Way {
    Asks(HttpRequest),
    Frame(String),
    Page(Value),
}

/// The events that are to be kept, in the order in which they are asked for.
pub fn events(outs: &[Out]) -> Vec<CloudEvent> {
    outs.iter().flat_map(|out| if let Out::Ingest(ingest) = out { ingest.events.clone() } else { Vec::new() }).collect()
}

/// The ids of the messages among them.
pub fn message_ids(outs: &[Out]) -> Vec<String> {
    events(outs).into_iter().filter(|event| event.type_name() == "ark.message.in.v1").map(|event| event.id).collect()
}
