//! WeChat in virtual time: every mode, every type, windows, copies; refused by the store; a provider on a bad day.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "all of it is test code")]

mod common;

use ark_channels::crypto::container::Envelope;
use ark_channels::crypto::sorted_sha1;
use ark_channels::settings::Secret;
use ark_conversation::channel::*;
use ark_conversation::event::{Action, Part, Party, PartyRole, Thread, ThreadState, Typing};
use ark_conversation::{CloudEvent, Content, Event, Pii};
use common::*;
use serde_json::{Value, json};

const NOW_S: i64 = 1_763_806_618;
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const APP: &str = "wxb11529c136998cb6";
const SECRETS: &[(&str, &str)] = &[("app_secret", "s3cret"), ("token", "arktoken"), ("aes_key", KEY)];
const OPENID: &str = "oABCDopenid0000000000000001";

fn rig(kind: &str, mode: &str) -> Rig {
    let mut rig = Rig::new(kind, &json!({"app_id": APP, "mode": mode}), SECRETS, NOW_S * 1_000);
    assert_eq!(rig.begin(), [Out::Health(Health::Up)]);
    rig
}

fn query() -> String {
    let time = NOW_S.to_string();
    format!("signature={}&timestamp={time}&nonce=n", sorted_sha1(&["arktoken", &time, "n"]))
}

fn plain(fields: &Value) -> HttpRequest {
    let mut body = json!({"ToUserName": "gh_1", "FromUserName": OPENID, "CreateTime": NOW_S});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    post("", &query(), &[], body.to_string())
}

fn text(id: u64) -> HttpRequest {
    plain(&json!({"MsgType": "text", "Content": "你好", "MsgId": id}))
}

fn thread(event: &CloudEvent) -> &Thread {
    match &event.event {
        Event::Thread(thread) => thread,
        other => panic!("no thread: {}", other.type_name()),
    }
}

#[test]
fn the_address_is_verified_as_the_sdk_expects() {
    for v in vectors("wechat_url_verify")["vectors"].as_array().unwrap() {
        let seconds: i64 = s(v, "timestamp").parse().unwrap();
        let secrets = [("app_secret", "s"), ("token", s(v, "token"))];
        let mut rig = Rig::new("wechat-mp", &json!({"app_id": APP, "mode": "plain"}), &secrets, seconds * 1_000);
        let query = |sign: &str| {
            format!(
                "signature={sign}&timestamp={}&nonce={}&echostr={}",
                s(v, "timestamp"),
                s(v, "nonce"),
                s(v, "echostr")
            )
        };
        let get = |query: &str| HttpRequest { method: Method::Get, ..post("", query, &[], "") };
        let (_, outs) = rig.request(get(&query(s(v, "signature"))));
        let [Out::HttpReply { reply, .. }] = &outs[..] else { panic!("{outs:?}") };
        assert_eq!((reply.status, reply.body.as_slice()), (200, s(v, "expected_body").as_bytes()));
        assert_eq!(rig.refused(get(&query("00"))), 401);
        assert_eq!(rig.refused(get("")), 401);
        rig.after(3_601);
        assert_eq!(rig.refused(get(&query(s(v, "signature")))), 401, "old");
    }
}

#[test]
fn safe_mode_is_opened_in_xml_and_json_and_only_what_is_encrypted_counts() {
    let all = vectors("wechat_safe_mode");
    for v in &all["vectors"].as_array().unwrap()[..3] {
        for body in ["inbound_body_xml", "inbound_body_json"] {
            let mut rig = rig("wechat-mp", "safe");
            let (request, outs) = rig.request(post("", s(v, "inbound_query"), &[], s(v, body)));
            if v["name"] == "json_image" {
                // The vector's picture is on this machine, which is no host of WeChat: it comes by its media id.
                assert!(matches!(outs[..], [Out::NeedToken { .. }]), "{outs:?}");
                let outs = rig.token("AT");
                let (_, from, kind) = fetch(&outs);
                assert_eq!(kind, FileKind::Image);
                assert!(
                    from.url
                        .starts_with("https://api.weixin.qq.com/cgi-bin/media/get?access_token=AT&media_id=media_id_1")
                );
                continue;
            }
            let kept = ingest(outs);
            assert_eq!(kept.events[0].id, "wechat-mp:1234567890123456");
            let said = message(&kept.events[0]);
            assert_eq!((words(&said.parts[0]), said.thread.as_str()), ("你好，转人工", OPENID));
            let window = said.window.clone().unwrap();
            assert_eq!((window.replies_left, window.closes_at.as_second()), (5, 1_482_048_670 + 48 * 3_600));
            let [Ack::Reply { request: of, reply }] = &kept.durable[..] else { panic!() };
            assert_eq!((*of, reply.status, reply.body.as_slice()), (request, 200, b"success".as_slice()));
            assert_eq!(status(&kept.refused[0]), 503);
        }
    }
    // Compatible mode: what stands beside the encrypted message may be anybody's.
    let v = &all["vectors"][1];
    let mut both: Value = serde_json::from_str(s(v, "inbound_body_json")).unwrap();
    both["Content"] = "attack".into();
    both["FromUserName"] = "oMallory".into();
    let mut compat = rig("wechat-mp", "compat");
    let kept = ingest(compat.request(post("", s(v, "inbound_query"), &[], both.to_string())).1);
    assert_eq!(
        (words(&message(&kept.events[0]).parts[0]), message(&kept.events[0]).thread.as_str()),
        ("你好，转人工", OPENID)
    );
    for mode in ["safe", "compat"] {
        assert_eq!(rig("wechat-mp", mode).refused(text(1)), 403, "not encrypted");
    }
}

#[test]
fn tampered_containers_are_refused_each_with_its_reason() {
    let all = vectors("wechat_safe_mode");
    let first = &all["vectors"][0];
    for (negative, expected) in all["negative"].as_array().unwrap().iter().zip([401, 403, 400, 401]) {
        let changed =
            |name: &str| negative["changed"].get(name).and_then(Value::as_str).unwrap_or_else(|| s(first, name));
        let settings = json!({"app_id": changed("appid"), "mode": "safe"});
        let mut rig = Rig::new("wechat-mp", &settings, SECRETS, NOW_S * 1_000);
        let query = format!(
            "signature={}&timestamp={}&nonce=nonce42&msg_signature={}",
            s(first, "url_signature"),
            changed("timestamp"),
            changed("msg_signature"),
        );
        let body = json!({"Encrypt": changed("Encrypt")}).to_string();
        assert_eq!(rig.refused(post("", &query, &[], body)), expected, "{}", s(negative, "label"));
    }
}

#[test]
fn requests_that_are_not_wechats_are_refused() {
    let mut rig = rig("wechat-mp", "plain");
    assert_eq!(rig.refused(post("", "", &[], "{}")), 401, "unsigned");
    assert_eq!(rig.refused(post("", &query(), &[], vec![b' '; 2 << 20])), 413, "oversized");
    assert_eq!(rig.refused(post("", &query(), &[], "<xml><A>")), 400);
    assert_eq!(rig.refused(post("", &query(), &[], b"<xml><Content>\xc4\xe3</Content></xml>".to_vec())), 400, "in GBK");
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><xml><MsgType>&a;</MsgType></xml>";
    assert_eq!(rig.refused(post("", &query(), &[], bomb)), 400);
    assert_eq!(rig.refused(plain(&json!({"MsgType": "text", "Content": "a", "MsgId": 1.5}))), 400);
    assert_eq!(rig.refused(plain(&json!({"Content": "a", "MsgId": 1}))), 400);
    assert_eq!(rig.refused(HttpRequest { path: "/x".into(), ..text(1) }), 404);
    assert_eq!(rig.refused(HttpRequest { method: Method::Put, ..text(1) }), 405);
    rig.after(3_601);
    assert_eq!(rig.refused(text(1)), 401, "a replay");
}

#[test]
fn copies_are_the_same_event_and_a_large_id_stays_whole() {
    let mut rig = rig("wechat-mp", "plain");
    let largest = ingest(rig.request(text(u64::MAX)).1);
    assert_eq!(largest.events[0].id, "wechat-mp:18446744073709551615");
    assert_eq!(largest.events.len(), 2, "and who it is");
    let copy = ingest(rig.request(text(u64::MAX)).1);
    assert_eq!(copy.events, largest.events);
    let enter = json!({"MsgType": "event", "Event": "user_enter_tempsession", "SessionFrom": "商品页"});
    let (first, second) = (ingest(rig.request(plain(&enter)).1), ingest(rig.request(plain(&enter)).1));
    assert_eq!(first.events, second.events);
    let entered = thread(&first.events[0]);
    assert_eq!(entered.state, ThreadState::Opened);
    assert_eq!(entered.entry.as_ref().unwrap()["session_from"], "商品页");
    let window = entered.window.clone().unwrap();
    assert_eq!((window.replies_left, window.closes_at.as_second()), (2, NOW_S + 60));
}

#[test]
fn an_official_accounts_types_and_events_are_all_kept() {
    let mut rig = rig("wechat-oa", "plain");
    let mut part = |fields: Value| message(&ingest(rig.request(plain(&fields)).1).events[0]).parts[0].clone();
    let place = part(
        json!({"MsgType": "location", "Location_X": "23.13", "Location_Y": "113.35", "Label": "广州", "MsgId": 1}),
    );
    assert!(matches!(place, Part::Location { lat, lon, .. } if lat == 23.13 && lon == 113.35));
    let link =
        part(json!({"MsgType": "link", "Title": "t", "Description": "d", "Url": "https://a.example", "MsgId": 2}));
    assert!(matches!(&link, Part::Card { actions, .. } if actions.len() == 1));
    let odd = part(json!({"MsgType": "hologram", "MsgId": 3}));
    assert!(matches!(&odd, Part::Unsupported { native_type, .. } if native_type == "hologram"));
    let press = plain(&json!({"MsgType": "event", "Event": "CLICK", "EventKey": "HELP"}));
    let kept = ingest(rig.request(press).1);
    let said = message(&kept.events[0]);
    assert!(words(&said.parts[0]).contains("HELP"));
    assert_eq!(said.window.as_ref().unwrap().replies_left, 3);
    let left = ingest(rig.request(plain(&json!({"MsgType": "event", "Event": "unsubscribe"}))).1);
    assert_eq!(thread(&left.events[0]).state, ThreadState::Closed);
    let (_, outs) = rig.request(plain(&json!({"MsgType": "event", "Event": "TEMPLATESENDJOBFINISH"})));
    assert!(matches!(&outs[..], [Out::Note(_), Out::HttpReply { reply, .. }] if reply.status == 200));

    rig.token("AT");
    let (_, outs) =
        rig.request(plain(&json!({"MsgType": "voice", "MediaId": "m1", "Recognition": "退款", "MsgId": 4})));
    let (file, _, kind) = fetch(&outs);
    assert_eq!(kind, FileKind::VoiceNote);
    let kept = ingest(rig.give(In::Fetched { fetch: file, answer: Ok(media("audio/amr")) }));
    assert!(
        matches!(&message(&kept.events[0]).parts[0], Part::VoiceNote { fallback_text: Some(words), .. } if words.reveal() == "退款")
    );
}

#[test]
fn a_picture_is_fetched_from_its_address_then_by_its_id_and_is_answered_in_time_all_the_same() {
    let mut rig = rig("wechat-mp", "plain");
    let picture = plain(&json!({"MsgType": "image", "PicUrl": "http://mmbiz.qpic.cn/a", "MediaId": "m1", "MsgId": 1}));
    let (_, outs) = rig.request(picture.clone());
    let (file, from, _) = fetch(&outs);
    assert_eq!(from.url, "https://mmbiz.qpic.cn/a");
    assert_eq!(rig.request(picture).1, [], "WeChat's second try joins the first");
    let outs = rig.give(In::Fetched { fetch: file, answer: Err(FetchFailure::Away("404".into())) });
    assert_eq!(outs, [Out::NeedToken { name: "access_token", stale: None }]);
    let outs = rig.token("AT");
    assert!(fetch(&outs).1.url.contains("/media/get?"));
    assert_eq!(rig.wakes_in(), Some(3), "WeChat hangs up after five");
    let kept = ingest(rig.wake());
    assert_eq!(kept.durable.len(), 2);
    assert!(words(&message(&kept.events[0]).parts[0]).contains("still being fetched"));
    let late = ingest(rig.give(In::Fetched { fetch: file, answer: Ok(media("image/jpeg")) }));
    assert!(matches!(&late.events[0].event, Event::Edit(edit) if edit.message == "wechat-mp:1"));
}

#[test]
fn answers_go_out_and_every_error_code_has_its_outcome() {
    let mut rig = rig("wechat-mp", "safe");
    let (_, outs) = rig.send(OPENID, vec![Part::text("您好")]);
    assert_eq!(outs, [Out::NeedToken { name: "access_token", stale: None }]);
    let outs = rig.token("AT");
    let (sent, http) = call(&outs);
    assert_eq!(http.url, "https://api.weixin.qq.com/cgi-bin/message/custom/send?access_token=AT");
    assert_eq!(body(http), &json!({"touser": OPENID, "msgtype": "text", "text": {"content": "您好"}}));
    assert_eq!(outcome(&rig.answer(sent, 200, json!({"errcode": 0}))), Outcome::Sent { native_id: None });

    let mut code = |errcode: i64| {
        let sent = call(&rig.send(OPENID, vec![Part::text("a")]).1).0;
        outcome(&rig.answer(sent, 200, json!({"errcode": errcode, "errmsg": "x"})))
    };
    for closed in [45_015, 45_047] {
        assert_eq!(failed_code(code(closed)), "window_closed");
    }
    for busy in [45_009, 45_011] {
        assert_eq!(code(busy), retry("rate"));
    }
    assert_eq!(code(-1), retry("busy"));
    assert_eq!(failed_code(code(43_004)), "blocked");
    assert_eq!(failed_code(code(40_003)), "unreachable");
    assert_eq!(failed_code(code(47_003)), "wechat_47003");
    for (status, expected) in [(429, retry("rate")), (503, retry("busy")), (500, Outcome::Unknown)] {
        let sent = call(&rig.send(OPENID, vec![Part::text("a")]).1).0;
        assert_eq!(outcome(&rig.answer(sent, status, Value::Null)), expected);
    }
    let sent = call(&rig.send(OPENID, vec![Part::text("a")]).1).0;
    assert_eq!(outcome(&rig.no_answer(sent)), Outcome::Unknown);
    for stale in [40_001, 42_001] {
        rig.token("AT");
        let sent = call(&rig.send(OPENID, vec![Part::text("a")]).1).0;
        let outs = rig.answer(sent, 200, json!({"errcode": stale}));
        assert!(outs.contains(&Out::NeedToken { name: "access_token", stale: Some("AT".into()) }));
        assert_eq!(outcome(&outs), retry("token"));
    }
}

#[test]
fn pictures_links_menus_and_typing_go_out() {
    let mut mini = rig("wechat-mp", "safe");
    mini.token("AT");
    let (_, outs) = mini.send(OPENID, vec![image()]);
    let (upload, http) = call(&outs);
    assert_eq!(http.url, "https://api.weixin.qq.com/cgi-bin/media/upload?type=image&access_token=AT");
    let outs = mini.answer(upload, 200, json!({"type": "image", "media_id": "M"}));
    assert_eq!(body(call(&outs).1), &json!({"touser": OPENID, "msgtype": "image", "image": {"media_id": "M"}}));
    let upload = call(&mini.send(OPENID, vec![image()]).1).0;
    assert_eq!(outcome(&mini.no_answer(upload)), retry("busy"), "an upload twice does no harm");

    let action = |url: Option<&str>| Action { id: "1".into(), label: Content::new("看"), url: url.map(Into::into) };
    let card =
        |actions| Part::Card { title: Content::new("t"), body: None, actions, fallback_text: Content::new("words") };
    let sent = |outs: Vec<Out>| s(body(call(&outs).1), "msgtype").to_owned();
    assert_eq!(sent(mini.send(OPENID, vec![card(vec![action(Some("https://a.example"))])]).1), "link");
    assert_eq!(sent(mini.send(OPENID, vec![card(vec![action(None), action(None)])]).1), "text");
    let mut official = rig("wechat-oa", "safe");
    official.token("AT");
    assert_eq!(sent(official.send(OPENID, vec![card(vec![action(None), action(None)])]).1), "msgmenu");
    assert_eq!(sent(official.send(OPENID, vec![card(vec![action(Some("https://a.example"))])]).1), "news");

    let sender = Party { role: PartyRole::Agent, id: Pii::new("anna"), kind: None, display: None };
    let typing = Typing { thread: OPENID.to_owned(), sender, on: true };
    let live = CloudEvent::new("t", "/ark/main/x", mini.now, typing);
    let outs = mini.give(In::Live(Box::new(live)));
    assert_eq!(body(call(&outs).1), &json!({"touser": OPENID, "command": "Typing"}));
}

#[test]
fn a_message_in_safe_mode_with_any_bytes_inside_is_an_answer_and_never_a_panic() {
    let envelope = Envelope::new(Secret::new("arktoken"), &Secret::new(KEY), vec![APP.to_owned()]).unwrap();
    let mut rig = rig("wechat-mp", "safe");
    let time = NOW_S.to_string();
    for inside in [&b""[..], b"<", b"{", b"\xff\xfe", b"<xml></xml>", b"null", b"<xml><MsgType>event</MsgType></xml>"] {
        let sealed = envelope.seal([7; 16], inside);
        let query = format!("{}&msg_signature={}", query(), envelope.sign(&time, "n", &sealed));
        assert_eq!(rig.refused(post("", &query, &[], json!({"Encrypt": sealed}).to_string())), 400);
    }
}
