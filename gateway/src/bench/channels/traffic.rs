//! Customers of four channels: what their providers, or their pages, ask of the gateway.

use ark_channels::crypto::webhook::WebhookSecrets;
use ark_channels::crypto::{dingtalk_robot_sign, sorted_sha1};
use ark_channels::settings::Secret;
use ark_conversation::channel::{HttpRequest, Method};
use jiff::Timestamp;
use serde_json::json;

/// Of the adapter that speaks the standard.
const ADAPTER_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const DINGTALK_SECRET: &str = "dingtalk-secret";
const WECHAT_TOKEN: &str = "wechat-token";

/// What a site's file says of them; `{folder}` is the site's folder.
pub(super) const SITE: &str = "[[channel]]\nname = \"adapter\"\nkind = \"http\"\nqueue = \"general\"\n\
     secrets = { secret = { file = \"{folder}/adapter\" } }\n\
     [[channel]]\nname = \"ding\"\nkind = \"dingtalk\"\nqueue = \"general\"\n\
     secrets = { client_secret = { file = \"{folder}/ding\" } }\nsettings = { client_id = \"bench\", mode = \"http\" }\n\
     [[channel]]\nname = \"wechat\"\nkind = \"wechat-oa\"\nqueue = \"general\"\n\
     secrets = { app_secret = { file = \"{folder}/ding\" }, token = { file = \"{folder}/wechat\" } }\n\
     settings = { app_id = \"wx\", mode = \"plain\" }\n\
     [[channel]]\nname = \"web\"\nkind = \"web\"\nqueue = \"general\"\n";

/// Names in [`SITE`] and what stands in the files.
pub(super) const SECRETS: &[(&str, &str)] =
    &[("adapter", ADAPTER_SECRET), ("ding", DINGTALK_SECRET), ("wechat", WECHAT_TOKEN)];

/// A channel of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Adapter,
    DingTalk,
    WeChat,
    Web,
}

impl Channel {
    pub(super) const ALL: [Self; 4] = [Self::Adapter, Self::DingTalk, Self::WeChat, Self::Web];

    /// Its kind, as a site's file names it.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Adapter => "http",
            Self::DingTalk => "dingtalk",
            Self::WeChat => "wechat-oa",
            Self::Web => "web",
        }
    }

    /// Where its requests go.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Adapter => "/hooks/adapter/ark/v1/ingest",
            Self::DingTalk => "/hooks/ding",
            Self::WeChat => "/hooks/wechat",
            Self::Web => "/chat/web/say",
        }
    }
}

/// The `n`th message of the run, written by a customer of a channel. `token` is the page's own, of a visitor who has one.
pub(super) fn message(channel: Channel, n: u64, customer: u64, token: Option<&str>) -> HttpRequest {
    let now = Timestamp::now();
    let words = format!("bench {n} . 你好，我的订单还没有到，可以帮我查一下吗？");
    match channel {
        Channel::Adapter => adapter(now, n, customer, &words),
        Channel::DingTalk => {
            let time = now.as_millisecond().to_string();
            let body = json!({
                "conversationId": format!("cid{customer}"), "conversationType": "1", "msgId": format!("m{n}"),
                "createAt": now.as_millisecond(), "senderId": format!("s{customer}"), "senderStaffId": format!("u{customer}"),
                "senderNick": "张三", "senderCorpId": "corp", "robotCode": "bench", "msgtype": "text",
                "sessionWebhook": "https://oapi.dingtalk.com/robot/sendBySession?session=s1",
                "sessionWebhookExpiredTime": now.as_millisecond() + 5_400_000, "text": {"content": words},
            });
            let sign = dingtalk_robot_sign(&time, DINGTALK_SECRET);
            request("", &[], &[("timestamp", time), ("sign", sign)], &body)
        }
        Channel::WeChat => {
            let (time, nonce) = (now.as_second().to_string(), n.to_string());
            let signature = sorted_sha1(&[WECHAT_TOKEN, &time, &nonce]);
            let query = [("signature", signature), ("timestamp", time), ("nonce", nonce)];
            let body = json!({"ToUserName": "gh", "FromUserName": format!("o{customer}"), "CreateTime": now.as_second(),
                              "MsgType": "text", "Content": words, "MsgId": n});
            request("", &query, &[], &body)
        }
        Channel::Web => {
            let hello = json!({"token": token, "visit": format!("v{customer}")});
            let body = json!({"hello": hello, "say": {"type": "send", "id": format!("m{n}"), "text": words}});
            request("", &[], &[("x-forwarded-for", visitor(customer))], &body)
        }
    }
}

/// Where a visitor's browser is, as a proxy on this machine tells it: each has an address of their own.
pub(super) fn visitor(customer: u64) -> String {
    format!("10.{}.{}.{}", customer >> 16 & 255, customer >> 8 & 255, customer & 255)
}

fn adapter(now: Timestamp, n: u64, customer: u64, words: &str) -> HttpRequest {
    let (id, thread) = (format!("m{n}"), format!("t{customer}"));
    let body = json!({
        "specversion": "1.0", "type": "ark.message.in.v1", "id": id, "source": format!("/ark/main/http/adapter/{thread}"),
        "time": now.to_string(), "datacontenttype": "application/json",
        "data": {"thread": thread, "sender": {"role": "customer", "id": thread}, "parts": [{"kind": "text", "text": words}]},
    });
    let secrets = WebhookSecrets::new(&[Secret::new(ADAPTER_SECRET)]).expect("it is a secret of the standard's form");
    let signature = secrets.sign(&id, now, body.to_string().as_bytes());
    let headers = [
        ("content-type", "application/cloudevents+json".to_owned()),
        ("webhook-id", id),
        ("webhook-timestamp", now.as_second().to_string()),
        ("webhook-signature", signature),
    ];
    request("/ark/v1/ingest", &[], &headers, &body)
}

/// `path`: below the account's own.
fn request(path: &str, query: &[(&str, String)], headers: &[(&str, String)], body: &serde_json::Value) -> HttpRequest {
    let owned =
        |pairs: &[(&str, String)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    HttpRequest {
        method: Method::Post,
        path: path.to_owned(),
        query: owned(query),
        headers: owned(headers),
        body: body.to_string().into_bytes(),
    }
}

/// The number in a message of [`message`], wherever it stands in a text.
pub(super) fn number(text: &str) -> Option<u64> {
    let after = &text[text.find("bench ")? + "bench ".len()..];
    after[..after.find(' ')?].parse().ok()
}
