//! DingTalk in virtual time: redelivered, tampered, old, oversized; refused by the store; a provider that is busy or silent.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "all of it is test code")]

mod common;

use ark_channels::crypto::container::Envelope;
use ark_channels::crypto::dingtalk_robot_sign;
use ark_channels::settings::Secret;
use ark_conversation::channel::*;
use ark_conversation::event::{Action, EditOp, Part};
use ark_conversation::{Assurance, Content, Event};
use common::*;
use serde_json::{Value, json};

const NOW_MS: i64 = 1_763_806_618_000;
const SECRETS: &[(&str, &str)] = &[("client_secret", "secret")];

fn settings(mode: &str) -> Value {
    json!({
        "client_id": "dingappkey",
        "mode": mode,
        "hosts": ["*.dingtalk.com", "http://127.0.0.1:18471", "http://127.0.0.1:18472", "http://127.0.0.1:18473"],
    })
}

fn http() -> Rig {
    let mut rig = Rig::new("dingtalk", &settings("http"), SECRETS, NOW_MS);
    assert_eq!(rig.begin(), [Out::Health(Health::Up)]);
    rig
}

fn robot(id: &str, more: Value) -> Value {
    let mut message = json!({
        "conversationId": "cid==", "conversationType": "1", "msgId": id, "createAt": NOW_MS, "senderId": "$:LWCP:$s",
        "senderStaffId": "user123", "senderNick": "张三", "senderCorpId": "dingcorp", "robotCode": "dingrobot",
        "sessionWebhook": "https://oapi.dingtalk.com/robot/sendBySession?session=s1",
        "sessionWebhookExpiredTime": NOW_MS + 5_400_000, "msgtype": "text", "text": {"content": " 你好 "},
    });
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    message
}

fn signed(body: &Value) -> HttpRequest {
    let time = NOW_MS.to_string();
    post("", "", &[("timestamp", &time), ("sign", &dingtalk_robot_sign(&time, "secret"))], body.to_string())
}

#[test]
fn a_message_is_kept_and_only_then_acknowledged_and_its_copy_is_the_same_event() {
    let mut rig = http();
    let (request, outs) = rig.request(signed(&robot("m1", json!({}))));
    let first = ingest(outs);
    assert_eq!(first.events.len(), 2);
    let event = &first.events[0];
    assert_eq!((event.id.as_str(), event.source.as_str()), ("dingtalk:m1", "/ark/main/dingtalk/shop/u:user123"));
    let said = message(event);
    assert_eq!((words(&said.parts[0]), said.sender.id.reveal()), ("你好", "dingcorp:user123"));
    let Event::Identity(who) = &first.events[1].event else { panic!("no identity") };
    assert_eq!((who.assurance, who.keys[0].value.reveal()), (Assurance::ChannelVerified, "dingcorp:user123"));
    assert!(matches!(&first.durable[..], [Ack::Reply { request: of, reply }] if *of == request && reply.status == 200));
    assert_eq!(status(&first.refused[0]), 503, "the store said no: DingTalk is to come again");

    // The store refused; the copy is all of it once more. Another message says no more who it is.
    let again = ingest(rig.request(signed(&robot("m1", json!({})))).1);
    assert_eq!((again.events.len(), again.events[0].id.as_str()), (2, "dingtalk:m1"));
    assert_eq!(ingest(rig.request(signed(&robot("m2", json!({})))).1).events.len(), 1);
}

#[test]
fn requests_that_are_not_dingtalks_are_refused_each_with_its_reason() {
    let mut rig = http();
    let good = robot("m1", json!({}));
    let time = NOW_MS.to_string();
    let sign = dingtalk_robot_sign(&time, "secret");
    let headers: &[(&str, &str)] = &[("timestamp", &time), ("sign", &sign)];
    assert_eq!(rig.refused(post("", "", &[], good.to_string())), 401, "unsigned");
    let other = dingtalk_robot_sign(&time, "other");
    assert_eq!(rig.refused(post("", "", &[("timestamp", &time), ("sign", &other)], good.to_string())), 401, "tampered");
    assert_eq!(rig.refused(post("", "", headers, "{")), 400, "no JSON");
    assert_eq!(rig.refused(post("", "", headers, "\u{4f60}".as_bytes()[..2].to_vec())), 400, "wrongly encoded");
    assert_eq!(rig.refused(post("", "", headers, vec![b' '; 2 << 20])), 413, "oversized");
    assert_eq!(rig.refused(post("", "", headers, json!({"conversationId": "c"}).to_string())), 400, "no msgId");
    assert_eq!(rig.refused(post("/other", "", headers, "")), 404);
    assert_eq!(rig.refused(HttpRequest { method: Method::Get, ..signed(&good) }), 405);
    rig.after(3_601);
    assert_eq!(rig.refused(signed(&good)), 401, "an hour old: a replay");
}

#[test]
fn a_picture_is_fetched_before_its_message_is_kept_and_later_ones_of_the_thread_wait() {
    let mut rig = http();
    let picture = robot("m1", json!({"msgtype": "picture", "content": {"downloadCode": "d1"}}));
    let (_, outs) = rig.request(signed(&picture));
    assert_eq!(outs, [Out::NeedToken { name: "access_token", stale: None }]);
    assert_eq!(rig.request(signed(&robot("m2", json!({})))).1, [], "behind the picture");
    let other = robot("m3", json!({"senderStaffId": "other"}));
    assert_eq!(ingest(rig.request(signed(&other)).1).events[0].id, "dingtalk:m3", "another thread does not wait");
    assert_eq!(rig.request(signed(&picture)).1, [], "a copy is answered with it and fetches nothing");

    let outs = rig.token("AT1");
    let (asked, http) = call(&outs);
    assert_eq!(http.url, "https://api.dingtalk.com/v1.0/robot/messageFiles/download");
    assert_eq!(body(http), &json!({"robotCode": "dingappkey", "downloadCode": "d1"}));
    assert!(http.headers.contains(&("x-acs-dingtalk-access-token".to_owned(), "AT1".to_owned())));
    let outs = rig.answer(asked, 200, json!({"downloadUrl": "https://down.dingtalk.com/d1"}));
    let (file, from, kind) = fetch(&outs);
    assert_eq!((from.url.as_str(), from.method, kind), ("https://down.dingtalk.com/d1", Method::Get, FileKind::Image));
    let outs = rig.give(In::Fetched { fetch: file, answer: Ok(media("image/png")) });
    let [Out::Ingest(first), Out::Ingest(second)] = &outs[..] else { panic!("{outs:?}") };
    assert!(matches!(message(&first.events[0]).parts[..], [Part::Image { .. }]));
    assert_eq!((first.durable.len(), second.events[0].id.as_str()), (2, "dingtalk:m2"));
}

#[test]
fn a_picture_that_is_late_is_shown_in_words_in_time_and_put_in_its_place_when_it_comes() {
    let mut rig = http();
    rig.token("AT1");
    let picture = robot("m1", json!({"msgtype": "picture", "content": {"downloadCode": "d1"}}));
    let asked = call(&rig.request(signed(&picture)).1).0;
    let outs = rig.answer(asked, 200, json!({"downloadUrl": "https://down.dingtalk.com/d1"}));
    let file = fetch(&outs).0;
    assert_eq!(rig.wakes_in(), Some(4));
    let kept = ingest(rig.wake());
    assert!(words(&message(&kept.events[0]).parts[0]).contains("still being fetched"));
    let Part::Unsupported { native_type, raw_ref, .. } = &message(&kept.events[0]).parts[0] else { panic!() };
    assert_eq!((native_type.as_str(), raw_ref.as_deref()), ("picture", Some("dingtalk:d1")));
    let late = ingest(rig.give(In::Fetched { fetch: file, answer: Ok(media("image/png")) }));
    let Event::Edit(edit) = &late.events[0].event else { panic!("no edit") };
    assert_eq!(
        (edit.op, edit.message.as_str(), late.events[0].id.as_str()),
        (EditOp::Edit, "dingtalk:m1", "dingtalk:m1:file0")
    );
    assert!(matches!(edit.parts[..], [Part::Image { .. }]));
}

#[test]
fn a_file_at_a_foreign_address_is_not_fetched_and_its_message_is_kept() {
    let mut rig = http();
    rig.token("AT1");
    let file = robot("m1", json!({"msgtype": "file", "content": {"downloadCode": "d1", "fileName": "a.pdf"}}));
    let asked = call(&rig.request(signed(&file)).1).0;
    let kept = ingest(rig.answer(asked, 200, json!({"downloadUrl": "https://evil.example/d1"})));
    assert!(words(&message(&kept.events[0]).parts[0]).contains("not allowed"));
    let asked =
        call(&rig.request(signed(&robot("m2", json!({"msgtype": "audio", "content": {"downloadCode": "d2"}})))).1).0;
    assert!(
        matches!(rig.answer(asked, 401, json!({}))[..], [Out::NeedToken { stale: Some(_), .. }]),
        "once more with a new token"
    );
    let asked = call(&rig.token("AT2")).0;
    assert!(words(&message(&ingest(rig.no_answer(asked)).events[0]).parts[0]).contains("could not be fetched"));
    let outs = rig.request(signed(&robot("m3", json!({"msgtype": "audio", "content": {"downloadCode": "d3"}})))).1;
    rig.answer(call(&outs).0, 401, json!({}));
    let outs = rig.token("AT3");
    assert_eq!(
        ingest(rig.answer(call(&outs).0, 401, json!({}))).events[0].id,
        "dingtalk:m3",
        "a second refusal ends it"
    );
}

#[test]
fn what_robots_cannot_read_is_kept_in_words() {
    let mut rig = http();
    let kept = ingest(rig.request(signed(&robot("m1", json!({"msgtype": "interactiveCard", "content": {}})))).1);
    let Part::Unsupported { native_type, .. } = &message(&kept.events[0]).parts[0] else { panic!() };
    assert_eq!(native_type, "interactiveCard");
    let long = "很".repeat(45_000);
    let kept = ingest(rig.request(signed(&robot("m2", json!({"text": {"content": long}})))).1);
    assert_eq!(message(&kept.events[0]).parts.len(), 3);
}

#[test]
fn replies_go_by_the_sessions_webhook_while_it_lives_and_by_the_api_then() {
    let mut rig = http();
    rig.request(signed(&robot("m1", json!({}))));
    let (_, outs) = rig.send("u:user123", vec![Part::text("您好"), Part::text("请稍等")]);
    let (sent, http) = call(&outs);
    assert!(http.url.starts_with("https://oapi.dingtalk.com/robot/sendBySession"));
    assert!(!http.idempotent);
    assert_eq!(
        body(http),
        &json!({"msgtype": "text", "text": {"content": "您好\n请稍等"}}),
        "neighbouring texts are one"
    );
    assert_eq!(outcome(&rig.answer(sent, 200, json!({"errcode": 0}))), Outcome::Sent { native_id: None });
    // 200 with an errcode is no success.
    for (code, expected) in [(-1, retry("busy")), (130_101, retry("rate"))] {
        let sent = call(&rig.send("u:user123", vec![Part::text("a")]).1).0;
        assert_eq!(outcome(&rig.answer(sent, 200, json!({"errcode": code, "errmsg": "x"}))), expected);
    }
    let sent = call(&rig.send("u:user123", vec![Part::text("a")]).1).0;
    assert_eq!(failed_code(outcome(&rig.answer(sent, 200, json!({"errcode": 310_000})))), "dingtalk_310000");

    rig.after(5_380);
    let (_, outs) = rig.send("u:user123", vec![Part::text("您好")]);
    assert_eq!(outs, [Out::NeedToken { name: "access_token", stale: None }]);
    let outs = rig.token("AT1");
    let (sent, http) = call(&outs);
    assert_eq!(http.url, "https://api.dingtalk.com/v1.0/robot/oToMessages/batchSend");
    let expected = json!({
        "robotCode": "dingappkey", "userIds": ["user123"], "msgKey": "sampleText", "msgParam": "{\"content\":\"您好\"}",
    });
    assert_eq!(body(http), &expected);
    let outs = rig.answer(sent, 200, json!({"processQueryKey": "pk"}));
    assert_eq!(outcome(&outs), Outcome::Sent { native_id: Some("pk".to_owned()) });
}

#[test]
fn a_webhook_on_a_foreign_host_is_never_called() {
    let mut rig = http();
    for url in [
        "https://evil.example/robot",
        "https://bucket.aliyuncs.com/robot",
        "https://oapi.dingtalk.com.evil.example/robot",
    ] {
        let evil = robot("m1", json!({"sessionWebhook": url}));
        let outs = rig.request(signed(&evil)).1;
        assert!(outs.iter().any(|out| matches!(out, Out::Note(_))), "{outs:?}");
    }
    rig.token("AT1");
    let (_, outs) = rig.send("u:user123", vec![Part::text("a")]);
    assert!(call(&outs).1.url.starts_with("https://api.dingtalk.com/"));
    let (_, outs) = rig.send("c:cid", vec![Part::text("a")]);
    assert_eq!(failed_code(outcome(&outs)), "window_closed");
}

#[test]
fn every_way_a_try_can_end_has_its_outcome() {
    let mut rig = http();
    rig.token("AT1");
    let mut try_it = |status: u16, answer: Value| {
        let sent = call(&rig.send("g:cid", vec![Part::text("a")]).1).0;
        outcome(&rig.answer(sent, status, answer))
    };
    assert_eq!(try_it(429, json!({})), retry("rate"));
    assert_eq!(try_it(503, json!({})), retry("busy"));
    assert_eq!(try_it(500, json!({})), Outcome::Unknown);
    assert_eq!(try_it(502, json!(null)), Outcome::Unknown);
    assert_eq!(try_it(403, json!({"code": "Forbidden.AccessDenied.QpsLimitForApi"})), retry("rate"));
    assert_eq!(try_it(200, json!({"processQueryKey": "k", "flowControlledStaffIdList": ["a"]})), retry("rate"));
    assert_eq!(failed_code(try_it(200, json!({"processQueryKey": "k", "invalidStaffIdList": ["a"]}))), "unreachable");
    assert_eq!(
        failed_code(try_it(400, json!({"code": "invalidRobotCode", "message": "x"}))),
        "dingtalk_invalidRobotCode"
    );
    assert_eq!(try_it(200, json!({})), Outcome::Unknown);

    let sent = call(&rig.send("g:cid", vec![Part::text("a")]).1).0;
    assert_eq!(outcome(&rig.no_answer(sent)), Outcome::Unknown, "sent and not heard of: never a second try");
    let sent = call(&rig.send("g:cid", vec![Part::text("a")]).1).0;
    let not_sent = Err(HttpFailure::NotSent("no route".to_owned()));
    assert_eq!(outcome(&rig.give(In::HttpResponse { call: sent, answer: not_sent })), retry("busy"));

    let sent = call(&rig.send("g:cid", vec![Part::text("a")]).1).0;
    let outs = rig.answer(sent, 401, json!({"code": "InvalidAuthentication"}));
    assert!(outs.contains(&Out::NeedToken { name: "access_token", stale: Some("AT1".to_owned()) }));
    assert_eq!(outcome(&outs), retry("token"));
    let (_, outs) = rig.send("g:cid", vec![Part::text("a")]);
    assert_eq!(outs, [], "the new token is asked for already");
    assert_eq!(outcome(&rig.wake()), retry("token"), "and does not come");
}

#[test]
fn pictures_and_cards_go_out_and_a_message_half_sent_is_never_begun_again() {
    let mut rig = http();
    rig.token("AT1");
    let (_, outs) = rig.send("g:cid", vec![Part::text("看图"), image()]);
    let (sent, http) = call(&outs);
    assert!(http.url.ends_with("/groupMessages/send"));
    let outs = rig.answer(sent, 200, json!({"processQueryKey": "k1"}));
    let (upload, http) = call(&outs);
    assert_eq!(http.url, "https://oapi.dingtalk.com/media/upload?access_token=AT1&type=image");
    assert!(matches!(&http.body, Body::Multipart(fields) if fields.len() == 2));
    let outs = rig.answer(upload, 200, json!({"errcode": 0, "media_id": "@lADO"}));
    let (sent, http) = call(&outs);
    assert_eq!(s(body(http), "msgParam"), "{\"photoURL\":\"@lADO\"}");
    // The second part meets a full provider: it is tried again in here, since the first has arrived.
    assert_eq!(rig.answer(sent, 429, json!({})), []);
    let outs = rig.wake();
    let sent = call(&outs).0;
    assert_eq!(
        outcome(&rig.answer(sent, 200, json!({"processQueryKey": "k2"}))),
        Outcome::Sent { native_id: Some("k1".into()) }
    );

    let (_, outs) = rig.send("g:cid", vec![Part::text("一"), image()]);
    let outs = rig.answer(call(&outs).0, 200, json!({"processQueryKey": "k1"}));
    let mut outs = rig.answer(call(&outs).0, 503, json!({}));
    for _ in 0..3 {
        assert_eq!(outs, []);
        let again = rig.wake();
        outs = rig.answer(call(&again).0, 503, json!({}));
    }
    assert_eq!(failed_code(outcome(&outs)), "partly_sent");

    let action = |label: &str, url: Option<&str>| Action {
        id: label.into(),
        label: Content::new(label),
        url: url.map(Into::into),
    };
    let card =
        |actions| Part::Card {
            title: Content::new("评价"), body: None, actions, fallback_text: Content::new("评价")
        };
    let (_, outs) = rig.send("g:cid", vec![card(vec![action("好", None), action("查看", Some("https://a.example/"))])]);
    let http = call(&outs).1;
    assert_eq!(s(body(http), "msgKey"), "sampleActionCard2");
    let param: Value = serde_json::from_str(s(body(http), "msgParam")).unwrap();
    assert_eq!(s(&param, "actionURL1"), "dtmd://dingtalkclient/sendMessage?content=%E5%A5%BD");
    assert_eq!(s(&param, "actionURL2"), "https://a.example/");
}

#[test]
fn an_event_subscription_is_checked_and_answered_in_its_own_cipher() {
    let key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    let more = [("client_secret", "secret"), ("event_token", "tokenABC123"), ("event_aes_key", key)];
    let mut settings = settings("http");
    settings["owners"] = json!(["dingappkey123456"]);
    let mut rig = Rig::new("dingtalk", &settings, &more, NOW_MS);
    rig.begin();
    let check = &vectors("dingtalk_callback_aes")["vectors"][1];
    let query =
        |sign: &str| format!("signature={sign}&timestamp={}&nonce={}", s(check, "timeStamp"), s(check, "nonce"));
    let encrypted = json!({"encrypt": s(check, "encrypt")}).to_string();
    let (_, outs) = rig.request(post("/events", &query(s(check, "msg_signature")), &[], encrypted.clone()));
    let [Out::HttpReply { reply, .. }] = &outs[..] else { panic!("{outs:?}") };
    let answer: Value = serde_json::from_slice(&reply.body).unwrap();
    let ours = Envelope::new(Secret::new("tokenABC123"), &Secret::new(key), vec!["dingappkey".to_owned()]).unwrap();
    let opened =
        ours.open(s(&answer, "msg_signature"), s(&answer, "timeStamp"), s(&answer, "nonce"), s(&answer, "encrypt"));
    assert_eq!(opened.unwrap(), b"success");
    assert_eq!(rig.refused(post("/events", &query("00"), &[], encrypted.clone())), 401);
    assert_eq!(rig.refused(post("/events", "", &[], encrypted.clone())), 401);
    rig.after(3_700);
    assert_eq!(rig.refused(post("/events", &query(s(check, "msg_signature")), &[], encrypted)), 401, "old");
}

#[test]
fn a_token_is_fetched_tried_again_and_a_wrong_secret_is_the_operators_to_change() {
    let mut rig = http();
    let outs = rig.give(In::RefreshToken { name: "access_token" });
    let (asked, http) = call(&outs);
    assert_eq!(body(http), &json!({"appKey": "dingappkey", "appSecret": "secret"}));
    assert!(!format!("{outs:?}").contains("\"secret\""), "no secret is printed");
    assert_eq!(rig.give(In::RefreshToken { name: "access_token" }), [], "it is under way");
    assert!(matches!(rig.answer(asked, 500, json!({}))[..], [Out::Health(Health::Down { .. })]));
    assert_eq!(rig.wakes_in(), Some(3));
    let outs = rig.wake();
    let asked = call(&outs).0;
    assert!(matches!(&rig.answer(asked, 400, json!({"code": "invalidClientIdOrSecret"}))[..],
        [Out::Health(Health::Broken { why })] if why.contains("client_secret")));
    let outs = rig.wake();
    let outs = rig.answer(call(&outs).0, 200, json!({"accessToken": "AT", "expireIn": 7200}));
    assert!(
        matches!(&outs[..], [Out::Token { token, .. }, Out::Health(Health::Up)] if token.value == "AT"),
        "{outs:?}"
    );
}
