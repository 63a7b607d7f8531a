//! Alipay in virtual time: GBK and its signatures, notifications of both versions, answers that are not Alipay's.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "all of it is test code")]

mod common;

use ark_channels::crypto::alipay::{SigningKey, VerifyingKey};
use ark_channels::settings::Secret;
use ark_conversation::channel::*;
use ark_conversation::event::{Action, Part, ThreadState};
use ark_conversation::{Content, Event};
use common::*;
use encoding_rs::GBK;
use serde_json::{Value, json};

const NOW_MS: i64 = 1_763_806_618_000;
const APP: &str = "2021000000000001";
const USER: &str = "2088000000000001";

/// The channel, and the keys of its Alipay.
struct Both {
    rig: Rig,
    keys: Value,
    alipay: SigningKey,
}

fn both(more: Value) -> Both {
    let keys = vectors("alipay_rsa2");
    let mut settings = json!({"app_id": APP, "alipay_public_key": s(&keys, "alipay_public_key")});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut rig = Rig::new("alipay", &settings, &[("private_key", s(&keys, "app_private_key_pkcs1"))], NOW_MS);
    assert_eq!(rig.begin(), [Out::Health(Health::Up)]);
    let alipay = SigningKey::new(&Secret::new(s(&keys, "alipay_private_key_pkcs1"))).unwrap();
    Both { rig, keys, alipay }
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

impl Both {
    /// A form in this charset with Alipay's signature.
    fn form(&self, pairs: &[(&str, &str)], gbk: bool) -> HttpRequest {
        let coded = |text: &str| if gbk { GBK.encode(text).0.into_owned() } else { text.as_bytes().to_vec() };
        let mut sorted = pairs.to_vec();
        sorted.sort_unstable();
        let content: Vec<Vec<u8>> = sorted.iter().map(|(name, value)| coded(&format!("{name}={value}"))).collect();
        let sign = self.alipay.sign(&content.join(&b'&'));
        let mut body: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={}", escape(&coded(value)))).collect();
        body.push(format!("sign={}&sign_type=RSA2", escape(sign.as_bytes())));
        post("", "", &[], body.join("&"))
    }

    fn gateway(&self, xml: &str) -> HttpRequest {
        let service = "alipay.mobile.public.message.notify";
        self.form(&[("service", service), ("charset", "GBK"), ("biz_content", xml)], true)
    }

    fn xml(&self, kind: &str, more: &str) -> HttpRequest {
        let xml = format!(
            "<XML><AppId><![CDATA[{APP}]]></AppId><FromUserId><![CDATA[{USER}]]></FromUserId>\
             <CreateTime><![CDATA[{NOW_MS}]]></CreateTime><MsgType><![CDATA[{kind}]]></MsgType>{more}</XML>"
        );
        self.gateway(&xml)
    }

    fn notify(&self, content: &str) -> HttpRequest {
        let pairs = [
            ("notify_id", "n1"),
            ("utc_timestamp", "1763806618000"),
            ("msg_method", "m"),
            ("app_id", APP),
            ("version", "1.1"),
            ("charset", "UTF-8"),
            ("biz_content", content),
        ];
        self.form(&pairs, false)
    }

    /// An answer of the gateway with Alipay's signature.
    fn answer(&mut self, call: CallId, value: &str) -> Vec<Out> {
        let sign = self.alipay.sign(value.as_bytes());
        let body = format!("{{\"alipay_open_public_message_custom_send_response\":{value},\"sign\":\"{sign}\"}}");
        self.raw(call, 200, &[], &body)
    }

    fn raw(&mut self, call: CallId, status: u16, headers: &[(&str, &str)], body: &str) -> Vec<Out> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let reply = HttpReply { status, headers, body: body.as_bytes().to_vec() };
        self.rig.give(In::HttpResponse { call, answer: Ok(reply) })
    }

    fn sends(&mut self, value: &str) -> Outcome {
        let sent = call(&self.rig.send(USER, vec![Part::text("a")]).1).0;
        outcome(&self.answer(sent, value))
    }
}

#[test]
fn the_gateways_own_vector_in_gbk_is_kept_and_its_acknowledgement_is_signed() {
    let mut both = both(json!({}));
    let gbk = both.keys["life_gateway_gbk"].clone();
    for sign in ["sign_gbk_bytes", "sign_gbk_without_sign_type"] {
        let pairs = gbk["params"].as_object().unwrap();
        let mut body: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(&GBK.encode(value.as_str().unwrap()).0)))
            .collect();
        body.push(format!("sign={}", escape(s(&gbk, sign).as_bytes())));
        let kept = ingest(both.rig.request(post("", "", &[], body.join("&"))).1);
        assert_eq!(
            (kept.events[0].id.as_str(), words(&message(&kept.events[0]).parts[0])),
            ("alipay:151110102758121002", "你好")
        );
        assert_eq!(message(&kept.events[0]).thread, USER);
        assert_eq!(message(&kept.events[0]).sender.display.as_ref().unwrap().reveal(), "a***@b.c");
        let [Ack::Reply { reply, .. }] = &kept.durable[..] else { panic!() };
        let answer = String::from_utf8(reply.body.clone()).unwrap();
        let inner = answer.split("<response>").nth(1).unwrap().split("</response>").next().unwrap();
        let sign = answer.split("<sign>").nth(1).unwrap().split("</sign>").next().unwrap();
        assert!(VerifyingKey::new(s(&both.keys, "app_public_key")).unwrap().verify(inner.as_bytes(), sign));
        assert_eq!(status(&kept.refused[0]), 503);
    }
}

#[test]
fn the_gateway_is_verified_with_our_public_key() {
    let mut both = both(json!({}));
    let pairs = [
        ("service", "alipay.service.check"),
        ("charset", "GBK"),
        ("biz_content", "<XML><EventType>verifygw</EventType></XML>"),
    ];
    let http = both.form(&pairs, true);
    let (_, outs) = both.rig.request(http);
    let [Out::HttpReply { reply, .. }] = &outs[..] else { panic!("{outs:?}") };
    let pem: String = s(&both.keys, "app_public_key").lines().filter(|line| !line.starts_with('-')).collect();
    assert!(
        String::from_utf8_lossy(&reply.body)
            .contains(&format!("<success>true</success><biz_content>{pem}</biz_content>"))
    );
}

#[test]
fn requests_that_are_not_alipays_are_refused_and_old_copies_are_the_same_event() {
    let mut both = both(json!({}));
    let good = both.xml("text", "<Text><Content>a</Content></Text><MsgId>1</MsgId>");
    let mut tampered = good.clone();
    tampered.body = String::from_utf8(tampered.body)
        .unwrap()
        .replace("MsgId", "MsgIe")
        .replace("%31%3C%2F", "%32%3C%2F")
        .into_bytes();
    assert_eq!(both.rig.refused(tampered), 401);
    assert_eq!(both.rig.refused(post("", "", &[], "a=b")), 401, "unsigned");
    assert_eq!(both.rig.refused(post("", "", &[], vec![b' '; 2 << 20])), 413);
    assert_eq!(both.rig.refused(HttpRequest { path: "/x".into(), ..good.clone() }), 404);
    assert_eq!(both.rig.refused(both_form(&both, &[("service", "s"), ("charset", "Shift_JIS")])), 400);
    assert_eq!(both.rig.refused(both_form(&both, &[("service", "other"), ("charset", "GBK")])), 400);
    let other = both.gateway("<XML><AppId>1</AppId><FromUserId>2</FromUserId><MsgType>text</MsgType></XML>");
    assert_eq!(both.rig.refused(other), 403, "of another app");
    let broken = both.gateway("<XML><FromUserId>2");
    assert_eq!(both.rig.refused(broken), 400);
    let bad_id =
        both.gateway("<XML><FromUserId><![CDATA[a]]]]><![CDATA[>b]]></FromUserId><MsgType>text</MsgType></XML>");
    assert_eq!(both.rig.refused(bad_id), 400);
    // Signed over other bytes than the charset that it names has.
    let latin = both.alipay.sign(b"biz_content=\xff\xff&charset=GBK&service=alipay.mobile.public.message.notify");
    let body = format!(
        "biz_content=%FF%FF&charset=GBK&service=alipay.mobile.public.message.notify&sign={}",
        escape(latin.as_bytes())
    );
    assert_eq!(both.rig.refused(post("", "", &[], body)), 400, "wrongly encoded");

    let first = ingest(both.rig.request(good.clone()).1);
    both.rig.after(7_200);
    let copy = ingest(both.rig.request(good).1);
    assert_eq!(first.events[0].id, copy.events[0].id, "all of it is signed: an old copy is a redelivery");
}

fn both_form(both: &Both, pairs: &[(&str, &str)]) -> HttpRequest {
    both.form(pairs, true)
}

#[test]
fn a_life_accounts_types_and_events_are_all_kept() {
    let mut both = both(json!({}));
    let picture = both.xml("image", "<Image><MediaId>M1</MediaId><Format>jpg</Format></Image><MsgId>2</MsgId>");
    let (_, outs) = both.rig.request(picture.clone());
    let (file, from, kind) = fetch(&outs);
    assert_eq!(
        (from.url.as_str(), kind),
        ("https://openfile.alipay.com/chat/multimedia.do?charset=utf-8", FileKind::Image)
    );
    assert!(
        matches!(&from.body, Body::Form(pairs) if pairs.iter().any(|(name, value)| name == "biz_content" && value == "{\"mediaId\":\"M1\"}"))
    );
    assert_eq!(both.rig.request(picture).1, [], "the second try joins the first");
    let kept = ingest(both.rig.give(In::Fetched { fetch: file, answer: Ok(media("image/jpeg")) }));
    assert_eq!(kept.durable.len(), 2);

    let follow = both.xml("event", "<EventType>follow</EventType><ActionParam><![CDATA[{\"scene\":1}]]></ActionParam>");
    let (one, two) = (ingest(both.rig.request(follow.clone()).1), ingest(both.rig.request(follow).1));
    assert_eq!(one.events[0].id, two.events[0].id);
    let Event::Thread(entered) = &one.events[0].event else { panic!() };
    assert_eq!(
        (entered.state, entered.window.as_ref().unwrap().closes_at.as_millisecond()),
        (ThreadState::Opened, NOW_MS + 300_000)
    );
    let click = both.xml("event", "<EventType>click</EventType><ActionParam>HELP</ActionParam>");
    assert!(words(&message(&ingest(both.rig.request(click).1).events[0]).parts[0]).contains("HELP"));
    let odd = both.xml("hologram", "<MsgId>3</MsgId>");
    assert!(matches!(message(&ingest(both.rig.request(odd).1).events[0]).parts[0], Part::Unsupported { .. }));
    let left = both.xml("event", "<EventType>unfollow</EventType>");
    assert!(
        matches!(&ingest(both.rig.request(left).1).events[0].event, Event::Thread(one) if one.state == ThreadState::Closed)
    );
}

#[test]
fn notifications_of_both_versions_are_answered_success_when_they_are_durable() {
    let mut both = both(json!({}));
    let said = format!("{{\"from_user_id\":\"{USER}\",\"msg_type\":\"text\",\"content\":\"中文 &=+%\"}}");
    let http = both.notify(&said);
    let kept = ingest(both.rig.request(http).1);
    assert_eq!((kept.events[0].id.as_str(), words(&message(&kept.events[0]).parts[0])), ("alipay:n1", "中文 &=+%"));
    let body = |ack: &Ack| match ack {
        Ack::Reply { reply, .. } => String::from_utf8(reply.body.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!((body(&kept.durable[0]), body(&kept.refused[0])), ("success".to_owned(), "fail".to_owned()));
    let http = both.notify("{\"audit\":\"passed\"}");
    assert!(
        matches!(&both.rig.request(http).1[..], [Out::Note(_), Out::HttpReply { reply, .. }] if reply.body == b"success")
    );

    let v3 = json!({"notify_id": "n2", "msg_method": "m", "app_id": APP, "biz_content": said}).to_string();
    let sign = both.alipay.sign(format!("1763806618000\nnn\n{v3}\n").as_bytes());
    let headers = |sign: &str| {
        post(
            "",
            "",
            &[("alipay-timestamp", "1763806618000"), ("alipay-nonce", "nn"), ("alipay-signature", sign)],
            v3.clone(),
        )
    };
    assert_eq!(ingest(both.rig.request(headers(&sign)).1).events[0].id, "alipay:n2");
    assert_eq!(both.rig.refused(headers("AAAA")), 401);
}

#[test]
fn answers_go_out_signed_and_only_what_alipay_signed_is_believed() {
    let mut both = both(json!({}));
    let (_, outs) = both.rig.send(USER, vec![Part::text("您好")]);
    let (sent, http) = call(&outs);
    assert_eq!(http.url, "https://openapi.alipay.com/gateway.do?charset=utf-8");
    let Body::Form(form) = &http.body else { panic!() };
    let get = |name: &str| form.iter().find(|(key, _)| key == name).unwrap().1.clone();
    assert_eq!(
        (get("method").as_str(), get("timestamp").as_str()),
        ("alipay.open.public.message.custom.send", "2025-11-22 18:16:58")
    );
    let content: Value = serde_json::from_str(&get("biz_content")).unwrap();
    assert_eq!(content, json!({"to_user_id": USER, "msg_type": "text", "text": {"content": "您好"}, "chat": "1"}));
    let pairs: Vec<(Vec<u8>, Vec<u8>)> =
        form.iter().map(|(k, v)| (k.clone().into_bytes(), v.clone().into_bytes())).collect();
    assert!(VerifyingKey::new(s(&both.keys, "app_public_key")).unwrap().verify_pairs(&pairs));
    let outs = both.answer(sent, "{\"code\":\"10000\",\"msg\":\"Success\",\"msg_id\":\"m1\"}");
    assert_eq!(outcome(&outs), Outcome::Sent { native_id: Some("m1".into()) });

    assert_eq!(
        failed_code(both.sends("{\"code\":\"40004\",\"sub_code\":\"MSG_SD_OVER_TIME\",\"sub_msg\":\"x\"}")),
        "window_closed"
    );
    assert_eq!(both.sends("{\"code\":\"40005\",\"sub_code\":\"isv.app-call-limited\"}"), retry("rate"));
    assert_eq!(both.sends("{\"code\":\"20000\",\"sub_code\":\"isp.unknow-error\"}"), Outcome::Unknown);
    assert_eq!(failed_code(both.sends("{\"code\":\"40004\",\"sub_code\":\"isv.odd\"}")), "alipay_isv.odd");
    let sent = call(&both.rig.send(USER, vec![Part::text("a")]).1).0;
    let forged = "{\"alipay_open_public_message_custom_send_response\":{\"code\":\"10000\"},\"sign\":\"AAAA\"}";
    assert_eq!(
        outcome(&both.raw(sent, 200, &[], forged)),
        Outcome::Unknown,
        "it may have gone out, and this is not Alipay's word"
    );
    let sent = call(&both.rig.send(USER, vec![Part::text("a")]).1).0;
    let refused = "{\"error_response\":{\"code\":\"40002\",\"sub_code\":\"isv.invalid-signature\",\"sub_msg\":\"x\"}}";
    assert_eq!(failed_code(outcome(&both.raw(sent, 200, &[], refused))), "alipay_isv.invalid-signature");
    for (status, expected) in [(429, retry("rate")), (503, retry("busy")), (502, Outcome::Unknown)] {
        let sent = call(&both.rig.send(USER, vec![Part::text("a")]).1).0;
        assert_eq!(outcome(&both.raw(sent, status, &[], "")), expected);
    }
    let sent = call(&both.rig.send(USER, vec![Part::text("a")]).1).0;
    assert_eq!(outcome(&both.rig.no_answer(sent)), Outcome::Unknown);
}

#[test]
fn version_3_signs_its_requests_and_its_answers_are_verified() {
    let mut both = both(json!({"version": "v3", "known_by": "open_id"}));
    let follow = both.xml("event", "<EventType>follow</EventType>");
    both.rig.request(follow);
    let action = Action { id: "1".into(), label: Content::new("看"), url: Some("https://a.example".into()) };
    let card =
        Part::Card { title: Content::new("t"), body: None, actions: vec![action], fallback_text: Content::new("x") };
    let (_, outs) = both.rig.send(USER, vec![card]);
    let (sent, http) = call(&outs);
    assert_eq!(http.url, "https://openapi.alipay.com/v3/alipay/open/public/message/custom/send");
    let Body::Bytes { bytes, .. } = &http.body else { panic!() };
    let content: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(
        (s(&content, "open_id"), s(&content, "msg_type"), s(&content, "event_type")),
        (USER, "image-text", "follow")
    );
    let header = &http.headers.iter().find(|(name, _)| name == "authorization").unwrap().1;
    let (auth, sign) = header.strip_prefix("ALIPAY-SHA256withRSA ").unwrap().split_once(",sign=").unwrap();
    let signed =
        format!("{auth}\nPOST\n/v3/alipay/open/public/message/custom/send\n{}\n", std::str::from_utf8(bytes).unwrap());
    assert!(VerifyingKey::new(s(&both.keys, "app_public_key")).unwrap().verify(signed.as_bytes(), sign));

    let mut reply = |sent: CallId, status: u16, body: &str| {
        let sign = both.alipay.sign(format!("1\nn\n{body}\n").as_bytes());
        let headers = [("alipay-timestamp", "1"), ("alipay-nonce", "n"), ("alipay-signature", sign.as_str())];
        let outs = outcome(&both.raw(sent, status, &headers, body));
        (outs, call(&both.rig.send(USER, vec![Part::text("a")]).1).0)
    };
    let (first, sent) = reply(sent, 200, "{\"msg_id\":\"1\"}");
    assert_eq!(first, Outcome::Sent { native_id: Some("1".into()) });
    let (closed, sent) = reply(sent, 400, "{\"code\":\"MSG_SD_OVER_TIME\",\"message\":\"x\"}");
    assert_eq!(failed_code(closed), "window_closed");
    assert_eq!(outcome(&both.raw(sent, 200, &[], "{\"msg_id\":\"1\"}")), Outcome::Unknown, "unsigned");
}

#[test]
fn any_bytes_are_an_answer_and_never_a_panic() {
    let mut both = both(json!({}));
    for body in [&b""[..], b"&&&", b"sign", b"sign=%", b"%=%&sign=%%%", b"\xff\xfe=\x00&sign=AA"] {
        assert_eq!(both.rig.refused(post("", "", &[], body)), 401);
    }
}
