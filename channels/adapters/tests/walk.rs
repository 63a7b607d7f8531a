//! Random walks over every channel: whatever comes, in whatever order, nothing panics, each message out is settled once, and a
//! request is answered at most once.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "all of it is test code")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use ark_channels::crypto::{dingtalk_robot_sign, sorted_sha1};
use ark_conversation::channel::*;
use ark_conversation::event::Part;
use common::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW_MS: i64 = 1_763_806_618_000;
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

fn rig(kind: usize) -> Rig {
    let wechat: &[(&str, &str)] = &[("app_secret", "s"), ("token", "t")];
    match kind {
        0 => Rig::new("dingtalk", &json!({"client_id": "a", "mode": "http"}), &[("client_secret", "s")], NOW_MS),
        1 => Rig::new("dingtalk", &json!({"client_id": "a", "mode": "stream"}), &[("client_secret", "s")], NOW_MS),
        2 => Rig::new("wechat-oa", &json!({"app_id": "wx", "mode": "plain"}), wechat, NOW_MS),
        3 => {
            let list = [("secret", "s"), ("token", "t"), ("aes_key", KEY)];
            Rig::new("wecom-kf", &json!({"corp_id": "ww", "open_kfids": ["wk"]}), &list, NOW_MS)
        }
        _ => {
            let keys = vectors("alipay_rsa2");
            let settings = json!({"app_id": "1", "alipay_public_key": s(&keys, "alipay_public_key")});
            Rig::new("alipay", &settings, &[("private_key", s(&keys, "app_private_key_pkcs1"))], NOW_MS)
        }
    }
}

/// A request that its channel takes for its provider's.
fn request(kind: usize, n: u64, junk: &str) -> HttpRequest {
    let file = if n.is_multiple_of(3) { json!({"downloadCode": junk}) } else { Value::Null };
    match kind {
        0 => {
            let time = NOW_MS.to_string();
            let kind = ["text", "picture", "richText", junk][(n % 4) as usize];
            let body = json!({"msgId": format!("m{}", n % 5), "conversationId": "c", "msgtype": kind, "text": {"content": junk},
                              "content": file, "senderStaffId": format!("u{}", n % 2)});
            post("", "", &[("timestamp", &time), ("sign", &dingtalk_robot_sign(&time, "s"))], body.to_string())
        }
        2 => {
            let time = (NOW_MS / 1_000).to_string();
            let kind = ["text", "image", "event", junk][(n % 4) as usize];
            let body = json!({"MsgId": n % 5, "FromUserName": format!("o{}", n % 2), "CreateTime": n, "MsgType": kind,
                              "Content": junk, "MediaId": junk, "Event": "subscribe", "PicUrl": "http://mmbiz.qpic.cn/a"});
            post(
                "",
                &format!("signature={}&timestamp={time}&nonce=n", sorted_sha1(&["t", &time, "n"])),
                &[],
                body.to_string(),
            )
        }
        _ => post("", "a=b", &[("sign", junk)], junk.as_bytes().to_vec()),
    }
}

fn answer_to(http: &HttpCall, n: u64, junk: &str) -> Value {
    let item = json!({"msgid": format!("k{}", n % 5), "open_kfid": "wk", "external_userid": "wm", "origin": 3, "send_time": n,
                      "msgtype": (["text", "image", junk][(n % 3) as usize]), "text": {"content": junk}, "image": {"media_id": "M"}});
    match n % 6 {
        0 => Value::Null,
        1 => json!({"errcode": n % 100_000, "errmsg": junk}),
        2 => json!({"code": junk}),
        _ if http.url.contains("sync_msg") => {
            json!({"errcode": 0, "next_cursor": format!("c{n}"), "has_more": n % 2, "msg_list": [item, junk]})
        }
        _ => json!({"errcode": 0, "media_id": "M", "processQueryKey": "p", "downloadUrl": "https://a.dingtalk.com/1",
                    "endpoint": "wss://a.dingtalk.com", "ticket": junk, "access_token": "T", "expires_in": 100 + n % 9_000,
                    "accessToken": "T", "expireIn": 7_200, "service_state": n % 5}),
    }
}

/// What a host owes its channel.
#[derive(Default)]
struct Owed {
    calls: BTreeMap<CallId, HttpCall>,
    fetches: BTreeSet<FetchId>,
    sockets: BTreeSet<SocketId>,
    marks: Vec<MarkId>,
    sent: BTreeSet<DeliveryId>,
    settled: BTreeSet<DeliveryId>,
    answered: BTreeSet<RequestId>,
    token: bool,
}

impl Owed {
    fn see(&mut self, outs: Vec<Out>, keeps: bool) {
        for out in outs {
            match out {
                Out::HttpCall { call, http } => assert!(self.calls.insert(call, *http).is_none()),
                Out::Fetch { fetch, .. } => drop(self.fetches.insert(fetch)),
                Out::OpenSocket { socket, .. } => assert!(self.sockets.insert(socket)),
                Out::Settle { delivery, .. } => {
                    assert!(
                        self.sent.contains(&delivery) && self.settled.insert(delivery),
                        "settled twice: {delivery}"
                    );
                }
                Out::HttpReply { request, .. } => assert!(self.answered.insert(request), "answered twice"),
                Out::NeedToken { .. } => self.token = true,
                Out::Ingest(ingest) => {
                    for event in &ingest.events {
                        event.check().unwrap();
                    }
                    let acks = if keeps { ingest.durable } else { ingest.refused };
                    for ack in acks {
                        match ack {
                            Ack::Reply { request, .. } => assert!(self.answered.insert(request), "answered twice"),
                            Ack::Tell { mark } => self.marks.push(mark),
                            Ack::Frame { .. } => {}
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn step(rig: &mut Rig, owed: &mut Owed, kind: usize, (what, n, junk): (u8, u64, &str)) {
    let keeps = !n.is_multiple_of(4);
    let outs = match what {
        0 | 1 => rig.request(request(kind, n, junk)).1,
        2 => {
            let thread = ["u:a", "g:b", "c:d", "wk:wm", "o1", ""][(n % 6) as usize];
            let parts = vec![Part::text(if junk.is_empty() { "a" } else { junk }), image(), Part::text("b")];
            owed.sent.insert(rig.next_delivery());
            rig.send(thread, parts).1
        }
        3..=5 => {
            let Some((call, http)) = owed.calls.pop_first() else { return };
            if n.is_multiple_of(9) {
                rig.no_answer(call)
            } else {
                let status = [200, 200, 200, 401, 429, 500, 503][(n % 7) as usize];
                rig.answer(call, status, answer_to(&http, n, junk))
            }
        }
        6 => {
            let Some(fetch) = owed.fetches.pop_first() else { return };
            let away = Err(FetchFailure::Away(junk.to_owned()));
            rig.give(In::Fetched { fetch, answer: if keeps { Ok(media("image/png")) } else { away } })
        }
        7 if owed.token => rig.token(&format!("T{n}")),
        8 => {
            let Some(mark) = owed.marks.pop() else { return };
            rig.give(In::Told { mark })
        }
        9 => {
            let Some(socket) = owed.sockets.first().copied() else { return };
            match n % 3 {
                0 => rig.give(In::SocketOpen { socket, asked: None }),
                1 => {
                    owed.sockets.remove(&socket);
                    rig.give(In::SocketClosed { socket, why: junk.to_owned() })
                }
                _ => {
                    let topic = ["ping", "disconnect", "/v1.0/im/bot/messages/get", junk][(n % 4) as usize];
                    let data = json!({"msgId": n.to_string(), "conversationId": "c", "msgtype": "picture",
                                      "content": {"downloadCode": junk}})
                    .to_string();
                    let kind = ["SYSTEM", "CALLBACK", "EVENT", junk][(n / 4 % 4) as usize];
                    let frame = json!({"type": kind, "headers": {"topic": topic, "messageId": "f"}, "data": data});
                    rig.give(In::Frame { socket, frame: Frame::Text(frame.to_string()) })
                }
            }
        }
        10 => rig.give(In::RefreshToken { name: "access_token" }),
        _ => {
            rig.after(i64::try_from(n % 90).unwrap());
            rig.give(In::Tick)
        }
    };
    owed.see(outs, keeps);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn whatever_comes_each_message_is_settled_once(
        kind in 0_usize..5,
        steps in proptest::collection::vec((0_u8..13, any::<u64>(), "\\PC{0,12}"), 1..120),
    ) {
        let (mut rig, mut owed) = (rig(kind), Owed::default());
        let outs = rig.begin();
        owed.see(outs, true);
        for (what, n, junk) in &steps {
            step(&mut rig, &mut owed, kind, (*what, *n, junk));
        }
        // Time goes on, and every call is answered: nothing may be left hanging.
        for _ in 0..200 {
            rig.after(61);
            let outs = rig.give(In::Tick);
            owed.see(outs, true);
            while let Some((call, _)) = owed.calls.pop_first() {
                let outs = rig.no_answer(call);
                owed.see(outs, true);
            }
            if owed.sent == owed.settled {
                break;
            }
        }
        prop_assert_eq!(&owed.sent, &owed.settled);
    }
}
