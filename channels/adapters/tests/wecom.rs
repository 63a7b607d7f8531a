//! WeCom customer service in virtual time: pages and cursors, what could not be kept, states, ids of our own.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "all of it is test code")]

mod common;

use std::collections::BTreeMap;

use ark_conversation::channel::*;
use ark_conversation::event::{Action, EditOp, Part, ReceiptState, ThreadState};
use ark_conversation::{Content, Event};
use common::*;
use serde_json::{Value, json};

const NOW_S: i64 = 1_409_659_589;
const SECRETS: &[(&str, &str)] =
    &[("secret", "s3cret"), ("token", "worktoken"), ("aes_key", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")];
const KF: &str = "wkxxxxxxx";

fn rig() -> Rig {
    let mut rig = Rig::new("wecom-kf", &json!({"corp_id": "ww1234567890abcdef"}), SECRETS, NOW_S * 1_000);
    rig.begin();
    rig.token("AT");
    rig
}

fn query(v: &Value) -> String {
    let query = v["query"].as_object().unwrap();
    query.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect::<Vec<_>>().join("&")
}

/// The callback of the vectors; the call that pulls.
fn called(rig: &mut Rig) -> Vec<Out> {
    let v = &vectors("wecom_kf")["vectors"][1];
    let (_, outs) = rig.request(post("", &query(v), &[], s(v, "body")));
    assert!(outs.iter().any(|out| matches!(out, Out::HttpReply { reply, .. } if reply.status == 200)), "{outs:?}");
    outs
}

fn text(id: &str) -> Value {
    json!({"msgid": id, "open_kfid": KF, "external_userid": "wmUser", "send_time": NOW_S, "origin": 3, "msgtype": "text",
           "text": {"content": "你好"}})
}

fn event(id: &str, more: Value) -> Value {
    let mut event = json!({"open_kfid": KF, "external_userid": "wmUser"});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"msgid": id, "send_time": NOW_S, "origin": 4, "msgtype": "event", "event": event})
}

fn page(list: Value, cursor: &str, more: i64) -> Value {
    json!({"errcode": 0, "next_cursor": cursor, "has_more": more, "msg_list": list})
}

/// The marks of what is to be kept, durable and refused.
fn marks(outs: &[Out]) -> Vec<(MarkId, MarkId)> {
    let ingests = outs.iter().filter_map(|out| if let Out::Ingest(ingest) = out { Some(ingest) } else { None });
    let mark = |acks: &[Ack]| match acks {
        [Ack::Tell { mark }] => *mark,
        other => panic!("no mark: {other:?}"),
    };
    ingests.filter(|ingest| ingest.save.is_none()).map(|one| (mark(&one.durable), mark(&one.refused))).collect()
}

#[test]
fn the_address_is_verified_and_a_callback_pulls_with_its_token() {
    let mut rig = rig();
    let all = vectors("wecom_kf");
    let verify = &all["vectors"][0];
    let (_, outs) = rig.request(HttpRequest { method: Method::Get, ..post("", &query(verify), &[], "") });
    let [Out::HttpReply { reply, .. }] = &outs[..] else { panic!("{outs:?}") };
    assert_eq!((reply.status, reply.body.as_slice()), (200, s(verify, "expected_body").as_bytes()));

    let outs = called(&mut rig);
    let http = call(&outs).1;
    assert_eq!(http.url, "https://qyapi.weixin.qq.com/cgi-bin/kf/sync_msg?access_token=AT");
    assert_eq!(body(http)["token"], "ENCApHxnGDNAVNY4AaSJKj4Tb5mwsEMzxhFmHVGcra996NR");
    assert_eq!((s(body(http), "open_kfid"), s(body(http), "cursor")), (KF, ""));

    let v = &all["vectors"][1];
    assert_eq!(rig.refused(post("", "msg_signature=00&timestamp=1409659589&nonce=1372623149", &[], s(v, "body"))), 401);
    assert_eq!(rig.refused(post("", "", &[], s(v, "body"))), 401);
    assert_eq!(rig.refused(post("", &query(v), &[], "<xml>")), 400);
    assert_eq!(rig.refused(post("", &query(v), &[], vec![b' '; 2 << 20])), 413);
    rig.after(3_601);
    assert_eq!(rig.refused(post("", &query(v), &[], s(v, "body"))), 401, "old");
}

#[test]
fn a_cursor_moves_when_its_page_is_durable_and_never_before() {
    let mut rig = rig();
    let outs = called(&mut rig);
    let pulled = call(&outs).0;
    let outs = rig.answer(pulled, 200, page(json!([text("m1"), text("m2")]), "c1", 1));
    let waiting = marks(&outs);
    assert_eq!(waiting.len(), 2);
    assert!(!outs.iter().any(|out| matches!(out, Out::HttpCall { .. })), "the next page waits");
    assert_eq!(rig.give(In::Told { mark: waiting[0].0 }), []);
    let outs = rig.give(In::Told { mark: waiting[1].0 });
    assert!(
        matches!(&outs[0], Out::Ingest(Ingest { save: Some((name, cursor)), .. }) if name == "cursor:wkxxxxxxx" && cursor == "c1")
    );
    let (second, http) = call(&outs);
    assert_eq!(s(body(http), "cursor"), "c1");

    // The store refuses one: the page is pulled again, from the same place, and its events are the same.
    let outs = rig.answer(second, 200, page(json!([text("m3"), text("m4")]), "c2", 0));
    let waiting = marks(&outs);
    rig.give(In::Told { mark: waiting[0].0 });
    assert_eq!(rig.give(In::Told { mark: waiting[1].1 }), [], "no cursor is saved");
    let outs = rig.wake();
    let (again, http) = call(&outs);
    assert_eq!(s(body(http), "cursor"), "c1");
    let outs = rig.answer(again, 200, page(json!([text("m3"), text("m4")]), "c2", 0));
    for (durable, _) in marks(&outs) {
        let outs = rig.give(In::Told { mark: durable });
        assert!(!outs.iter().any(|out| matches!(out, Out::HttpCall { .. })), "has_more is 0");
    }
}

/// I3 on a page: the second was kept while the first was refused, and the first came after it.
#[test]
fn what_waits_for_a_file_behind_a_refused_message_comes_again_with_it() {
    let mut rig = rig();
    let outs = called(&mut rig);
    let mut picture = text("m2");
    picture["msgtype"] = "image".into();
    picture["image"] = json!({"media_id": "M2"});
    let list = json!([text("m1"), picture]);
    let outs = rig.answer(call(&outs).0, 200, page(list.clone(), "c1", 0));
    let [(_, refused)] = marks(&outs)[..] else { panic!("{outs:?}") };
    let (file, ..) = fetch(&outs);
    assert!(rig.give(In::Told { mark: refused }).is_empty());
    // The file comes: its message is not kept before the one ahead of it.
    assert!(rig.give(In::Fetched { fetch: file, answer: Ok(media("image/png")) }).is_empty());
    let outs = rig.wake();
    let outs = rig.answer(call(&outs).0, 200, page(list, "c1", 0));
    let (file, ..) = fetch(&outs);
    let mut kept = ark_channels::contract::fakes::message_ids(&outs);
    let [(durable, _)] = marks(&outs)[..] else { panic!("{outs:?}") };
    assert!(rig.give(In::Told { mark: durable }).is_empty());
    let outs = rig.give(In::Fetched { fetch: file, answer: Ok(media("image/png")) });
    kept.extend(ark_channels::contract::fakes::message_ids(&outs));
    assert_eq!(kept, ["wecom-kf:m1", "wecom-kf:m2"]);
    let [(durable, _)] = marks(&outs)[..] else { panic!("{outs:?}") };
    let outs = rig.give(In::Told { mark: durable });
    assert!(matches!(&outs[..], [Out::Ingest(Ingest { save: Some(_), .. })]), "{outs:?}");
}

#[test]
fn each_start_pulls_what_came_meanwhile_from_the_saved_cursor() {
    let mut rig = Rig::new("wecom-kf", &json!({"corp_id": "ww1234567890abcdef"}), SECRETS, NOW_S * 1_000);
    let saved = BTreeMap::from([("cursor:wk1".to_owned(), "c9".to_owned())]);
    let outs = rig.give(In::Begin { saved });
    assert!(outs.contains(&Out::NeedToken { name: "access_token", stale: None }));
    let outs = rig.token("AT");
    let (pulled, http) = call(&outs);
    assert_eq!((s(body(http), "open_kfid"), s(body(http), "cursor"), body(http).get("token")), ("wk1", "c9", None));
    // An hour of a provider that is down: it is asked again, ever slower, and nothing is lost.
    let outs = rig.no_answer(pulled);
    assert!(matches!(outs[..], [Out::Health(Health::Down { .. })]));
    let mut tries = 0;
    let begun = rig.now;
    let mut outs = rig.wake();
    while rig.now.duration_since(begun).as_secs() < 3_600 {
        tries += 1;
        rig.token("AT");
        rig.answer(call(&outs).0, 502, json!(null));
        outs = rig.wake();
    }
    assert!((50..=70).contains(&tries), "{tries}");
    let outs = rig.answer(call(&outs).0, 200, page(json!([text("m1")]), "c10", 0));
    assert_eq!(outs[0], Out::Health(Health::Up));
    assert_eq!(marks(&outs).len(), 1);
}

#[test]
fn what_a_page_holds_is_translated_and_a_file_holds_its_page() {
    let mut rig = rig();
    let outs = called(&mut rig);
    let file = json!({"msgid": "f1", "open_kfid": KF, "external_userid": "wmOther", "send_time": NOW_S, "origin": 3,
                      "msgtype": "image", "image": {"media_id": "M1"}});
    let list = json!([
        event("e1", json!({"event_type": "enter_session", "scene": "abc", "welcome_code": "WC"})),
        text("m1"),
        file,
        event("e2", json!({"event_type": "msg_send_fail", "fail_msgid": "01JKEY1", "fail_type": 6})),
        event("e3", json!({"event_type": "user_recall_msg", "recall_msgid": "m0"})),
        event("e4", json!({"event_type": "session_status_change", "change_type": 3, "msg_code": "MC"})),
        event("e5", json!({"event_type": "servicer_status_change"})),
        json!({"msgid": "x1", "open_kfid": KF, "external_userid": "wmUser", "send_time": NOW_S, "origin": 3, "msgtype": "channels"}),
        json!({"msgid": "x2"}),
    ]);
    let outs = rig.answer(call(&outs).0, 200, page(list, "c1", 0));
    let events: Vec<&Event> = outs
        .iter()
        .filter_map(|out| if let Out::Ingest(one) = out { Some(&one.events[0].event) } else { None })
        .collect();
    assert_eq!(events.len(), 6, "{outs:?}");
    assert!(matches!(events[0], Event::Thread(one) if one.state == ThreadState::Opened && one.window.is_some()));
    assert!(matches!(events[1], Event::MessageIn(one) if one.thread == "wkxxxxxxx:wmUser"));
    let Event::Receipt(receipt) = events[2] else { panic!() };
    assert_eq!((receipt.state, receipt.message.as_str()), (ReceiptState::Failed, "01JKEY1"));
    assert_eq!(receipt.reason.as_ref().unwrap().code, "window_closed");
    assert!(matches!(events[3], Event::Edit(one) if one.op == EditOp::Recall && one.message == "wecom-kf:m0"));
    assert!(matches!(events[4], Event::Thread(one) if one.state == ThreadState::Closed));
    assert!(matches!(events[5], Event::MessageIn(one) if matches!(&one.parts[0], Part::Unsupported { .. })));

    for (durable, _) in marks(&outs) {
        assert_eq!(rig.give(In::Told { mark: durable }), [], "the picture's message is not kept yet");
    }
    let fetched = fetch(&outs).0;
    let outs = rig.give(In::Fetched { fetch: fetched, answer: Ok(media("image/jpeg")) });
    let outs = rig.give(In::Told { mark: marks(&outs)[0].0 });
    assert!(matches!(&outs[..], [Out::Ingest(Ingest { save: Some(_), .. })]), "{outs:?}");
}

#[test]
fn a_recall_waits_behind_the_message_that_it_takes_back() {
    let mut rig = rig();
    let outs = called(&mut rig);
    let picture = json!({"msgid": "f1", "open_kfid": KF, "external_userid": "wmUser", "send_time": NOW_S, "origin": 3,
                         "msgtype": "image", "image": {"media_id": "M1"}});
    let recall = event("e1", json!({"event_type": "user_recall_msg", "recall_msgid": "f1"}));
    let outs = rig.answer(call(&outs).0, 200, page(json!([picture, recall]), "c1", 0));
    assert_eq!(marks(&outs), [], "the picture is still on its way");
    let outs = rig.give(In::Fetched { fetch: fetch(&outs).0, answer: Ok(media("image/jpeg")) });
    let types: Vec<&str> = outs
        .iter()
        .filter_map(|out| if let Out::Ingest(one) = out { Some(one.events[0].type_name()) } else { None })
        .collect();
    assert_eq!(types, ["ark.message.in.v1", "ark.edit.v1"]);
}

#[test]
fn answers_have_ids_of_our_own_and_a_state_that_allows_none_is_asked_for() {
    let mut rig = rig();
    let (_, outs) = rig.send("wk1:wmUser", vec![Part::text("您好")]);
    let (sent, http) = call(&outs);
    let expected = json!({
        "touser": "wmUser", "open_kfid": "wk1", "msgid": "01JKEY1", "msgtype": "text", "text": {"content": "您好"},
    });
    assert_eq!(
        (http.url.as_str(), body(http)),
        ("https://qyapi.weixin.qq.com/cgi-bin/kf/send_msg?access_token=AT", &expected)
    );
    let outs = rig.answer(sent, 200, json!({"errcode": 0, "msgid": "01JKEY1"}));
    assert_eq!(outcome(&outs), Outcome::Sent { native_id: Some("01JKEY1".into()) });

    let state = |rig: &mut Rig, state: i64| {
        let sent = call(&rig.send("wk1:wmUser", vec![Part::text("a")]).1).0;
        let outs = rig.answer(sent, 200, json!({"errcode": 95_018}));
        let (asked, http) = call(&outs);
        assert!(http.url.contains("/kf/service_state/get?") && http.idempotent);
        rig.answer(asked, 200, json!({"errcode": 0, "service_state": state}))
    };
    let outs = state(&mut rig, 0);
    let (taken, http) = call(&outs);
    assert_eq!(body(http), &json!({"open_kfid": "wk1", "external_userid": "wmUser", "service_state": 1}));
    let outs = rig.answer(taken, 200, json!({"errcode": 0}));
    let (sent, http) = call(&outs);
    assert!(http.url.contains("/kf/send_msg?"));
    assert!(matches!(outcome(&rig.answer(sent, 200, json!({"errcode": 0, "msgid": "x"}))), Outcome::Sent { .. }));
    assert_eq!(failed_code(outcome(&state(&mut rig, 3))), "taken_over");
    assert_eq!(failed_code(outcome(&state(&mut rig, 4))), "window_closed");

    let sent = call(&rig.send("wk1:wmUser", vec![Part::text("a")]).1).0;
    assert_eq!(failed_code(outcome(&rig.answer(sent, 200, json!({"errcode": 95_001})))), "window_closed");
    let sent = call(&rig.send("wk1:wmUser", vec![Part::text("a")]).1).0;
    assert_eq!(outcome(&rig.no_answer(sent)), Outcome::Unknown);
    assert_eq!(failed_code(outcome(&rig.send("nobody", vec![Part::text("a")]).1)), "unreachable");
}

#[test]
fn a_welcome_uses_its_code_once_and_later_pieces_are_told_by_ids_of_their_own() {
    let mut rig = rig();
    let outs = called(&mut rig);
    let enter = event("e1", json!({"event_type": "enter_session", "welcome_code": "WC"}));
    let outs = rig.answer(call(&outs).0, 200, page(json!([enter]), "c1", 0));
    rig.give(In::Told { mark: marks(&outs)[0].0 });
    let action = Action { id: "1".into(), label: Content::new("退款"), url: None };
    let card =
        Part::Card {
            title: Content::new("您好"), body: None, actions: vec![action], fallback_text: Content::new("x")
        };
    let (_, outs) = rig.send("wkxxxxxxx:wmUser", vec![card, image()]);
    let (sent, http) = call(&outs);
    assert!(http.url.contains("/kf/send_msg_on_event?"));
    assert_eq!((s(body(http), "code"), s(body(http), "msgtype")), ("WC", "msgmenu"));
    let outs = rig.answer(sent, 200, json!({"errcode": 0, "msgid": "01JKEY1"}));
    let outs = rig.answer(call(&outs).0, 200, json!({"errcode": 0, "media_id": "M"}));
    let (sent, http) = call(&outs);
    let msgid = s(body(http), "msgid").to_owned();
    assert!(http.url.contains("/kf/send_msg?") && msgid.len() == 32);
    rig.answer(sent, 200, json!({"errcode": 0, "msgid": msgid}));

    let outs = called(&mut rig);
    let failed = event("e2", json!({"event_type": "msg_send_fail", "fail_msgid": msgid, "fail_type": 10}));
    let outs = rig.answer(call(&outs).0, 200, page(json!([failed]), "c2", 0));
    let Event::Receipt(receipt) = &ingest(outs).events[0].event else { panic!() };
    assert_eq!(receipt.message, "01JKEY1", "the message that it was a piece of");
}
