//! How long a message takes from its request to its event: signature, cipher, reading, translation. One thread; medians of
//! rounds, and the slowest round beside them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    missing_docs,
    reason = "a bench prints and stops at the first surprise"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use ark_channels::crypto::container::Envelope;
use ark_channels::crypto::{dingtalk_robot_sign, sorted_sha1};
use ark_channels::settings::{Account, Secret, Secrets};
use ark_conversation::Tenant;
use ark_conversation::channel::{Channel, HttpRequest, In, Method, Out};
use jiff::Timestamp;
use serde_json::{Value, json};

const NOW_S: i64 = 1_763_806_618;
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const ROUNDS: usize = 31;
const MESSAGES: u64 = 1_000;

fn channel(kind: &str, settings: Value, secrets: &[(&str, &str)]) -> Box<dyn Channel> {
    let secrets = Secrets::new(secrets.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))));
    let account = Account { tenant: Tenant::MAIN, name: "shop".to_owned() };
    let mut channel = ark_channels::build(kind, account, &settings, &secrets, 7).unwrap();
    channel.handle(now(), In::Begin { saved: Default::default() });
    while channel.poll().is_some() {}
    channel
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW_S).unwrap()
}

fn post(query: Vec<(String, String)>, headers: Vec<(String, String)>, body: String) -> HttpRequest {
    HttpRequest { method: Method::Post, path: String::new(), query, headers, body: body.into_bytes() }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn dingtalk(n: u64) -> HttpRequest {
    let time = (NOW_S * 1_000).to_string();
    let body = json!({
        "conversationId": "cid6KeBBLoveMJOGXoYKF5x7EeiodoA==", "conversationType": "1", "msgId": format!("msg{n}=="),
        "createAt": NOW_S * 1_000, "senderId": "$:LWCP_v1:$s", "senderStaffId": format!("user{}", n % 100),
        "senderNick": "张三", "senderCorpId": "dingcorp", "robotCode": "dingrobot", "msgtype": "text",
        "sessionWebhook": "https://oapi.dingtalk.com/robot/sendBySession?session=s1",
        "sessionWebhookExpiredTime": NOW_S * 1_000 + 5_400_000, "text": {"content": " 你好，我的订单还没有发货，请帮我看看 "},
    });
    let sign = dingtalk_robot_sign(&time, "secret");
    post(Vec::new(), vec![pair("timestamp", &time), pair("sign", &sign)], body.to_string())
}

fn wechat_safe(envelope: &Envelope, n: u64) -> HttpRequest {
    let time = NOW_S.to_string();
    let xml = format!(
        "<xml><ToUserName><![CDATA[gh_0a1b2c3d]]></ToUserName><FromUserName><![CDATA[oABC{:024}]]></FromUserName>\
         <CreateTime>{NOW_S}</CreateTime><MsgType><![CDATA[text]]></MsgType>\
         <Content><![CDATA[你好，我的订单还没有发货，请帮我看看]]></Content><MsgId>{n}</MsgId></xml>",
        n % 100
    );
    let sealed = envelope.seal([7; 16], xml.as_bytes());
    let query = vec![
        pair("signature", &sorted_sha1(&["arktoken", &time, "n"])),
        pair("timestamp", &time),
        pair("nonce", "n"),
        pair("msg_signature", &envelope.sign(&time, "n", &sealed)),
    ];
    post(
        query,
        Vec::new(),
        format!("<xml><ToUserName><![CDATA[gh]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>"),
    )
}

fn wechat_plain(n: u64) -> HttpRequest {
    let time = NOW_S.to_string();
    let query =
        vec![pair("signature", &sorted_sha1(&["arktoken", &time, "n"])), pair("timestamp", &time), pair("nonce", "n")];
    let body = json!({
        "ToUserName": "gh_0a1b2c3d", "FromUserName": format!("oABC{:024}", n % 100), "CreateTime": NOW_S, "MsgType": "text",
        "Content": "你好，我的订单还没有发货，请帮我看看", "MsgId": n,
    });
    post(query, Vec::new(), body.to_string())
}

/// The median and the slowest round, per message.
fn measure(name: &str, mut channel: Box<dyn Channel>, request: impl Fn(u64) -> HttpRequest) {
    let mut rounds = Vec::new();
    let mut number = 0;
    for _ in 0..ROUNDS {
        let requests: Vec<HttpRequest> = (0..MESSAGES).map(|n| request(number + n)).collect();
        let begun = Instant::now();
        let mut kept = 0;
        for http in requests {
            number += 1;
            channel.handle(now(), In::HttpRequest { request: number, http });
            while let Some(out) = channel.poll() {
                kept += u64::from(matches!(black_box(out), Out::Ingest(_)));
            }
        }
        rounds.push(begun.elapsed() / u32::try_from(MESSAGES).unwrap());
        assert_eq!(kept, MESSAGES, "{name}: a message was not kept");
    }
    rounds.sort_unstable();
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{name:24} {:6.2} us a message (median of {ROUNDS} rounds), slowest {:6.2} us",
        us(rounds[ROUNDS / 2]),
        us(rounds[ROUNDS - 1])
    );
}

fn main() {
    let dingtalk_http = channel("dingtalk", json!({"client_id": "a", "mode": "http"}), &[("client_secret", "secret")]);
    measure("dingtalk, http", dingtalk_http, dingtalk);
    let secrets = [("app_secret", "s"), ("token", "arktoken"), ("aes_key", KEY)];
    let envelope = Envelope::new(Secret::new("arktoken"), &Secret::new(KEY), vec!["wx1".to_owned()]).unwrap();
    let safe = channel("wechat-mp", json!({"app_id": "wx1"}), &secrets);
    measure("wechat, safe mode, XML", safe, |n| wechat_safe(&envelope, n));
    let plain = channel("wechat-mp", json!({"app_id": "wx1", "mode": "plain"}), &secrets);
    measure("wechat, plain, JSON", plain, wechat_plain);
}
