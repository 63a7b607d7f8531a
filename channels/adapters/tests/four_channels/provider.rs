//! Four providers, played: how each brings what its customers write, and what it does with what it is sent.

use std::collections::{BTreeMap, BTreeSet};

use ark_channels::crypto::container::Envelope;
use ark_channels::crypto::sorted_sha1;
use ark_channels::crypto::webhook::WebhookSecrets;
use ark_channels::settings::{Account, Secret, Secrets};
use ark_conversation::channel::*;
use ark_conversation::{Tenant, source};
use jiff::Timestamp;
use serde_json::{Value, json};

pub const WEBHOOK: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const WEIXIN: &str = "arktoken";
/// What is allowed after a customer wrote; WeChat's are 5, but here windows are to close.
const REPLIES: u32 = 2;

/// What a provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames on a socket that the gateway opens.
    DingTalk,
    /// Encrypted requests.
    WeChat,
    /// Pages behind a cursor.
    WeCom,
    /// The adapter standard.
    Http,
}

/// What a customer wrote.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its number, in all of the house: the provider's id of it.
    pub n: u64,
    pub thread: usize,
    pub picture: bool,
    /// It was acknowledged.
    pub acked: bool,
}

/// What the provider wants done to the gateway.
pub enum Push {
    Ask(HttpRequest),
    Frame(String),
}

/// One account at a provider.
pub struct Provider {
    pub kind: Kind,
    pub tenant: Tenant,
    pub name: &'static str,
    pub written: Vec<Written>,
    pub down: bool,
    tokens: u64,
    /// Copies of a message's pieces, by what they say.
    pub got: BTreeMap<String, u32>,
    /// What reached customers since the oracle looked last.
    pub news: Vec<String>,
    replies: BTreeMap<usize, u32>,
    known: BTreeSet<String>,
    pub callback: bool,
    envelope: Envelope,
    random: u64,
}

/// What a call came to at its provider.
pub type Said = Result<HttpReply, HttpFailure>;

impl Provider {
    pub fn new(kind: Kind, name: &'static str, tenant: Tenant) -> Self {
        let owner = if kind == Kind::WeCom { "ww1" } else { "wx1" };
        let envelope = Envelope::new(Secret::new(WEIXIN), &Secret::new(AES_KEY), vec![owner.to_owned()]).unwrap();
        Self {
            kind,
            tenant,
            name,
            written: Vec::new(),
            down: false,
            tokens: 1,
            got: BTreeMap::new(),
            news: Vec::new(),
            replies: BTreeMap::new(),
            known: BTreeSet::new(),
            callback: false,
            envelope,
            random: 1,
        }
    }

    pub const fn adapter(&self) -> &'static str {
        match self.kind {
            Kind::DingTalk => "dingtalk",
            Kind::WeChat => "wechat-oa",
            Kind::WeCom => "wecom-kf",
            Kind::Http => "http",
        }
    }

    /// The machine of a gateway for this account.
    pub fn machine(&self, seed: u64) -> Box<dyn Channel> {
        let (settings, secrets): (Value, &[(&str, &str)]) = match self.kind {
            Kind::DingTalk => (json!({"client_id": "ding", "mode": "stream"}), &[("client_secret", "s")]),
            Kind::WeChat => (json!({"app_id": "wx1"}), &[("app_secret", "s"), ("token", WEIXIN), ("aes_key", AES_KEY)]),
            Kind::WeCom => (
                json!({"corp_id": "ww1", "open_kfids": ["wk"]}),
                &[("secret", "s"), ("token", WEIXIN), ("aes_key", AES_KEY)],
            ),
            Kind::Http => (json!({"url": "https://adapter.example"}), &[("secret", WEBHOOK)]),
        };
        let account = Account { tenant: self.tenant.clone(), name: self.name.to_owned() };
        let secrets = secrets.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value)));
        ark_channels::build(self.adapter(), account, &settings, &Secrets::new(secrets), seed).unwrap()
    }

    /// The channel's own name of a customer's thread.
    pub fn thread(&self, customer: usize) -> String {
        match self.kind {
            Kind::DingTalk => format!("u:staff{customer}"),
            Kind::WeChat => format!("o{customer}"),
            Kind::WeCom => format!("wk:wm{customer}"),
            Kind::Http => format!("h{customer}"),
        }
    }

    pub fn source(&self, customer: usize) -> String {
        source::thread(&self.tenant, self.adapter(), self.name, &self.thread(customer))
    }

    fn customer(&self, thread: &str) -> Option<usize> {
        thread.chars().last()?.to_digit(10).map(|digit| digit as usize)
    }

    pub fn write(&mut self, n: u64, thread: usize, picture: bool) {
        self.written.push(Written { n, thread, picture: picture && self.kind != Kind::Http, acked: false });
        self.replies.insert(thread, REPLIES);
        self.callback |= self.kind == Kind::WeCom;
    }

    pub fn acknowledge(&mut self, n: u64) {
        if let Some(one) = self.written.iter_mut().find(|one| one.n == n) {
            one.acked = true;
        }
    }

    /// A message on its way, under this provider's signature.
    pub fn push(&mut self, now: Timestamp, one: &Written) -> Push {
        let (n, second) = (one.n, now.as_second());
        match self.kind {
            Kind::DingTalk => {
                let kind = if one.picture { "picture" } else { "text" };
                let staff = format!("staff{}", one.thread);
                let hook = format!("https://oapi.dingtalk.com/robot/sendBySession?session={}", one.thread);
                let mut body = json!({
                    "conversationId": format!("c{}", one.thread), "conversationType": "1", "msgId": n.to_string(),
                    "createAt": now.as_millisecond(), "senderStaffId": staff, "senderCorpId": "corp", "msgtype": kind,
                    "text": {"content": format!("words {n}")}, "content": {"downloadCode": n.to_string()},
                });
                if n.is_multiple_of(3) {
                    body["sessionWebhook"] = hook.into();
                    body["sessionWebhookExpiredTime"] = (now.as_millisecond() + 60_000).into();
                }
                let headers = json!({"topic": "/v1.0/im/bot/messages/get", "messageId": n.to_string(), "contentType": "application/json"});
                Push::Frame(json!({"type": "CALLBACK", "headers": headers, "data": body.to_string()}).to_string())
            }
            Kind::WeChat => {
                let kind = if one.picture { "image" } else { "text" };
                let mut body = json!({"ToUserName": "gh", "FromUserName": format!("o{}", one.thread), "CreateTime": second,
                                      "MsgType": kind, "MsgId": n, "Content": format!("words {n}"), "MediaId": n.to_string()});
                if one.thread == 0 {
                    body["UnionId"] = "dora".into();
                }
                self.sealed(now, body.to_string().as_bytes())
            }
            Kind::WeCom => {
                let body = json!({"Event": "kf_msg_or_event", "Token": format!("t{second}"), "OpenKfId": "wk"});
                self.sealed(now, body.to_string().as_bytes())
            }
            Kind::Http => {
                let part = json!({"kind": "text", "text": format!("words {n}")});
                let data = json!({"thread": self.thread(one.thread), "native_id": n.to_string(), "parts": [part],
                                  "sender": {"role": "customer", "id": "c"}});
                self.standard(now, &format!("m{n}"), &self.source(one.thread), "ark.message.in.v1", &data)
            }
        }
    }

    /// A request of WeChat or WeCom in safe mode.
    pub fn sealed(&mut self, now: Timestamp, plain: &[u8]) -> Push {
        self.random += 1;
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&self.random.to_be_bytes());
        let (time, encrypted) = (now.as_second().to_string(), self.envelope.seal(salt, plain));
        let sign = self.envelope.sign(&time, "n", &encrypted);
        let query = [
            ("signature", sorted_sha1(&[WEIXIN, &time, "n"])),
            ("timestamp", time),
            ("nonce", "n".to_owned()),
            ("msg_signature", sign),
        ];
        Push::Ask(HttpRequest {
            method: Method::Post,
            path: String::new(),
            query: query.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            headers: Vec::new(),
            body: json!({"ToUserName": "gh", "Encrypt": encrypted}).to_string().into_bytes(),
        })
    }

    /// One event of an adapter.
    pub fn standard(&self, now: Timestamp, id: &str, source: &str, kind: &str, data: &Value) -> Push {
        let event = json!({"specversion": "1.0", "id": id, "source": source, "type": kind, "time": now.to_string(),
                           "datacontenttype": "application/json", "data": data});
        self.signed(now, event.to_string().into_bytes())
    }

    pub fn signed(&self, now: Timestamp, body: Vec<u8>) -> Push {
        let sign = WebhookSecrets::new(&[Secret::new(WEBHOOK)]).unwrap().sign("w1", now, &body);
        let headers = [
            ("webhook-id", "w1".to_owned()),
            ("webhook-timestamp", now.as_second().to_string()),
            ("webhook-signature", sign),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Push::Ask(HttpRequest {
            method: Method::Post,
            path: "/ark/v1/ingest".to_owned(),
            query: Vec::new(),
            headers,
            body,
        })
    }

    /// The token is no longer good: somebody else has fetched another one.
    pub const fn forget_token(&mut self) {
        self.tokens += 1;
    }

    fn token(&self) -> String {
        format!("T{}", self.tokens)
    }

    /// Does what a call asks for.
    pub fn answer(&mut self, http: &HttpCall) -> HttpReply {
        let ok = |body: Value| HttpReply::json(200, &body);
        let body = match &http.body {
            Body::Json(body) => body.clone(),
            _ => Value::Null,
        };
        let url = http.url.as_str();
        let path = url.split('?').next().unwrap_or_default().splitn(4, '/').last().unwrap_or_default().to_owned();
        match path.as_str() {
            "v1.0/gateway/connections/open" => {
                ok(json!({"endpoint": "wss://wss-open.dingtalk.com/connect", "ticket": "t"}))
            }
            "v1.0/oauth2/accessToken" => ok(json!({"accessToken": self.token(), "expireIn": 7_200})),
            "cgi-bin/stable_token" | "cgi-bin/gettoken" => {
                ok(json!({"errcode": 0, "access_token": self.token(), "expires_in": 7_200}))
            }
            ".well-known/ark-adapter" => self.manifest(),
            "ark/v1/events" => self.take_standard(&http.body),
            "robot/sendBySession" => {
                let customer = url.rsplit('=').next().and_then(|text| text.parse().ok()).unwrap_or(0);
                self.take(customer, body["text"]["content"].as_str().unwrap_or_default());
                ok(json!({"errcode": 0, "errmsg": "ok"}))
            }
            _ if !self.knows_token(http) => self.refuse_token(),
            "v1.0/robot/messageFiles/download" => {
                let code = body["downloadCode"].as_str().unwrap_or_default();
                ok(json!({"downloadUrl": format!("https://down.dingtalk.com/{code}")}))
            }
            "v1.0/robot/oToMessages/batchSend" => {
                let staff = body["userIds"][0].as_str().unwrap_or_default();
                let param: Value = serde_json::from_str(body["msgParam"].as_str().unwrap_or_default()).unwrap();
                let customer = self.customer(staff).unwrap_or(0);
                self.take(customer, param["content"].as_str().unwrap_or_default());
                ok(json!({"processQueryKey": "q"}))
            }
            "cgi-bin/message/custom/send" | "cgi-bin/kf/send_msg" => {
                let customer = self.customer(body["touser"].as_str().unwrap_or_default()).unwrap_or(0);
                let left = self.replies.entry(customer).or_default();
                if *left == 0 {
                    let code = if self.kind == Kind::WeChat { 45_047 } else { 95_001 };
                    return ok(json!({"errcode": code, "errmsg": "out of limit"}));
                }
                *left -= 1;
                self.take(customer, body["text"]["content"].as_str().unwrap_or_default());
                ok(json!({"errcode": 0, "errmsg": "ok", "msgid": "x"}))
            }
            "cgi-bin/kf/sync_msg" => ok(self.page(body["cursor"].as_str().unwrap_or_default())),
            other => panic!("nobody here knows {other}"),
        }
    }

    fn knows_token(&self, http: &HttpCall) -> bool {
        let token = self.token();
        http.headers.iter().any(|(name, value)| name == "x-acs-dingtalk-access-token" && *value == token)
            || http.url.contains(&format!("access_token={token}&"))
            || http.url.ends_with(&format!("access_token={token}"))
    }

    fn refuse_token(&self) -> HttpReply {
        match self.kind {
            Kind::DingTalk => HttpReply::json(401, &json!({"code": "InvalidAuthentication"})),
            Kind::WeChat => HttpReply::json(200, &json!({"errcode": 40_001})),
            Kind::WeCom | Kind::Http => HttpReply::json(200, &json!({"errcode": 40_014})),
        }
    }

    /// The numbers of the messages on a page after this cursor.
    pub fn on_page(&self, cursor: &str) -> Vec<&Written> {
        let from: usize = cursor.parse().unwrap_or(0);
        self.written.iter().skip(from).take(3).collect()
    }

    fn page(&self, cursor: &str) -> Value {
        let from: usize = cursor.parse().unwrap_or(0);
        let item = |one: &Written| {
            let kind = if one.picture { "image" } else { "text" };
            json!({"msgid": one.n.to_string(), "open_kfid": "wk", "external_userid": format!("wm{}", one.thread),
                   "send_time": 1_795_516_200, "origin": 3, "msgtype": kind,
                   "text": {"content": format!("words {}", one.n)}, "image": {"media_id": one.n.to_string()}})
        };
        let list: Vec<Value> = self.on_page(cursor).into_iter().map(item).collect();
        let next = from + list.len();
        let more = u8::from(next < self.written.len());
        json!({"errcode": 0, "next_cursor": next.to_string(), "has_more": more, "msg_list": list})
    }

    fn manifest(&self) -> HttpReply {
        let mut manifest = self.machine(1).manifest().clone();
        manifest.id = "shop-adapter".to_owned();
        HttpReply::json(200, &serde_json::to_value(&manifest).unwrap())
    }

    /// An adapter knows copies by their ids.
    fn take_standard(&mut self, body: &Body) -> HttpReply {
        let Body::Bytes { bytes, .. } = body else { panic!("no bytes") };
        let events: Value = serde_json::from_slice(bytes).unwrap();
        let (id, data) = (events[0]["id"].as_str().unwrap().to_owned(), &events[0]["data"]);
        let customer = self.customer(data["thread"].as_str().unwrap_or_default()).unwrap_or(0);
        if self.known.insert(id.clone()) {
            for part in data["parts"].as_array().into_iter().flatten() {
                self.take(customer, part["text"].as_str().unwrap_or_default());
            }
        }
        HttpReply::json(200, &json!({"results": [{"id": id, "status": "accepted"}]}))
    }

    /// It reaches the customer: each line is a piece of a message.
    fn take(&mut self, _: usize, text: &str) {
        for piece in text.lines() {
            let piece: String = piece.split(' ').next().unwrap_or_default().to_owned();
            *self.got.entry(piece.clone()).or_default() += 1;
            self.news.push(piece);
        }
    }
}

/// The bytes of a customer's picture.
pub fn picture(n: u64) -> Vec<u8> {
    format!("picture {n}").into_bytes()
}
