//! DingTalk's stream mode: the frames that real SDKs were sent, and what a bad day does to a connection.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "all of it is test code")]

mod common;

use ark_conversation::channel::*;
use ark_conversation::event::Part;
use common::*;
use serde_json::{Value, json};

const NOW_MS: i64 = 1_763_806_618_000;

fn stream(port: u16) -> (Rig, Vec<Out>) {
    let settings = json!({
        "client_id": "dingappkey",
        "mode": "stream",
        "hosts": ["*.dingtalk.com", format!("http://127.0.0.1:{port}")],
    });
    let mut rig = Rig::new("dingtalk", &settings, &[("client_secret", "secret")], NOW_MS);
    let outs = rig.begin();
    (rig, outs)
}

/// Answers `connections/open`; the socket and its address.
fn open(rig: &mut Rig, outs: &[Out], ticket: &str) -> (SocketId, String) {
    let (asked, _) = call(outs);
    let outs = rig.answer(asked, 200, json!({"endpoint": "wss://wss-open.dingtalk.com/connect", "ticket": ticket}));
    let [Out::OpenSocket { socket, url }] = &outs[..] else { panic!("{outs:?}") };
    (*socket, url.clone())
}

fn up() -> (Rig, SocketId) {
    let (mut rig, outs) = stream(18_471);
    let (socket, _) = open(&mut rig, &outs, "t1");
    assert_eq!(rig.give(In::SocketOpen { socket, asked: None }), [Out::Health(Health::Up)]);
    (rig, socket)
}

fn frame(socket: SocketId, frame: &Value) -> In {
    In::Frame { socket, frame: Frame::Text(frame.to_string()) }
}

fn down(kind: &str, topic: &str, id: &str, data: &Value) -> Value {
    json!({"specVersion": "1.0", "type": kind, "data": data.to_string(),
           "headers": {"topic": topic, "messageId": id, "contentType": "application/json"}})
}

/// The frames that go out, also those that wait for the store.
fn frames(outs: &[Out]) -> Vec<Value> {
    let text = |frame: &Frame| match frame {
        Frame::Text(text) => serde_json::from_str(text).unwrap(),
        Frame::Binary(_) => panic!("bytes"),
    };
    let mut frames = Vec::new();
    for out in outs {
        match out {
            Out::Frame { frame, .. } => frames.push(text(frame)),
            Out::Ingest(ingest) => frames.extend(ingest.durable.iter().map(|ack| match ack {
                Ack::Frame { frame, .. } => text(frame),
                other => panic!("no frame: {other:?}"),
            })),
            _ => {}
        }
    }
    frames
}

/// Plays what the server sent in a recorded session; every frame must be acknowledged as the protocol says, which is more than
/// either SDK did.
fn replay(name: &str, port: u16) {
    let transcript = vectors(name);
    let recorded = transcript.as_array().unwrap();
    let (mut rig, outs) = stream(port);
    let (_, http) = call(&outs);
    let theirs = &recorded[0]["body"];
    for field in ["clientId", "clientSecret", "subscriptions"] {
        assert_eq!(body(http)[field], theirs[field], "{field}");
    }
    assert!(http.url.ends_with(s(&recorded[0], "path")));
    let (socket, url) = open(&mut rig, &outs, "tk/+=1");
    assert!(url.ends_with("?ticket=tk%2F%2B%3D1"), "{url}: a plus must not become a space");
    rig.give(In::SocketOpen { socket, asked: None });
    rig.token("AT1");

    let (mut ids, mut answered) = (Vec::new(), 0);
    for entry in recorded.iter().filter(|entry| entry["kind"] == "s2c") {
        let sent = &entry["frame"];
        let mut outs = rig.give(frame(socket, sent));
        let asked = outs.iter().find_map(|out| match out {
            Out::HttpCall { call, http } if http.url.ends_with("/messageFiles/download") => Some(*call),
            _ => None,
        });
        if let Some(call) = asked {
            let found = rig.answer(call, 200, json!({"downloadUrl": "https://down.dingtalk.com/1"}));
            outs.extend(rig.give(In::Fetched { fetch: fetch(&found).0, answer: Ok(media("image/png")) }));
        }
        let acks = frames(&outs);
        assert_eq!(acks.len(), 1, "one answer to {sent}: {outs:?}");
        let (ack, id) = (&acks[0], s(&sent["headers"], "messageId"));
        assert_eq!((s(&ack["headers"], "messageId"), s(&ack["headers"], "contentType")), (id, "application/json"));
        assert_eq!(ack["code"], if id == "m-cb-unk" { 404 } else { 200 }, "{id}");
        assert!(ack["data"].is_string());
        if sent["headers"]["topic"] == "ping" {
            assert_eq!(ack["data"], sent["data"], "a ping's data comes back");
        }
        answered += 1;
        for out in &outs {
            if let Out::Ingest(ingest) = out {
                ids.push(ingest.events[0].id.clone());
                assert_eq!(status(&ingest.refused[0]), 500);
            }
        }
        if sent["headers"]["topic"] == "disconnect" {
            assert!(call(&outs).1.url.ends_with("/connections/open"), "a new connection is asked for at once");
            assert!(!outs.iter().any(|out| matches!(out, Out::CloseSocket { .. })), "the old one is still open");
        }
    }
    assert_eq!(answered, recorded.iter().filter(|entry| entry["kind"] == "s2c").count());
    assert_eq!(ids, ["dingtalk:msg1==", "dingtalk:msg1==", "dingtalk:msg2=="], "a copy is the same event");
}

#[test]
fn what_the_python_sdk_was_sent_is_answered_whole() {
    replay("dingtalk_stream_transcript_python_0.24.3", 18_471);
}

#[test]
fn what_the_node_sdk_was_sent_is_answered_whole() {
    replay("dingtalk_stream_transcript_node_2.1.5", 18_472);
}

#[test]
fn the_new_socket_is_open_before_the_old_one_is_closed_and_both_are_heard() {
    let (mut rig, old) = up();
    let outs = rig
        .give(frame(old, &down("SYSTEM", "disconnect", "d1", &json!({"reason": "persistent connection is timeout"}))));
    let (new, _) = open(&mut rig, &outs, "t2");
    assert_eq!(rig.give(In::SocketOpen { socket: new, asked: None }), []);
    let message = json!({"conversationId": "c", "conversationType": "1", "msgId": "m1", "senderStaffId": "u", "msgtype": "text",
                         "text": {"content": "a"}});
    let one = ingest(rig.give(frame(old, &down("CALLBACK", "/v1.0/im/bot/messages/get", "f1", &message))));
    let two = ingest(rig.give(frame(new, &down("CALLBACK", "/v1.0/im/bot/messages/get", "f2", &message))));
    assert_eq!(one.events[0].id, two.events[0].id);
    assert!(matches!(one.durable[0], Ack::Frame { socket, .. } if socket == old));
    assert!(matches!(two.durable[0], Ack::Frame { socket, .. } if socket == new));
    assert_eq!(rig.wakes_in(), Some(5));
    assert!(matches!(rig.wake()[..], [Out::CloseSocket { socket, code: 1000, .. }] if socket == old));
    assert_eq!(rig.give(In::SocketClosed { socket: old, why: "closed".into() }), [], "it was to be closed");
    assert_eq!(rig.wakes_in(), Some(115), "the new one is watched");
}

#[test]
fn a_connection_that_cannot_be_had_is_tried_again_ever_slower_and_then_as_at_first() {
    let (mut rig, mut outs) = stream(18_471);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let asked = call(&outs).0;
        rig.answer(asked, 500, json!({}));
        pauses.push(rig.wakes_in().unwrap());
        outs = rig.wake();
    }
    for (pause, least) in pauses.iter().zip([3, 6, 12, 24, 48, 60, 60]) {
        assert!((least..=least * 6 / 5).contains(pause), "{pauses:?}");
    }
    let (socket, _) = open(&mut rig, &outs, "t");
    rig.give(In::SocketOpen { socket, asked: None });
    rig.give(frame(socket, &down("SYSTEM", "CONNECTED", "c", &json!({}))));
    let outs = rig.give(In::SocketClosed { socket, why: "reset".into() });
    assert!(matches!(outs[..], [Out::Health(Health::Down { .. })]));
    assert_eq!(rig.wakes_in(), Some(3), "it had worked: the pause is the first one again");
}

#[test]
fn a_wrong_secret_is_said_and_a_foreign_stream_address_is_not_called() {
    let (mut rig, outs) = stream(18_471);
    let asked = call(&outs).0;
    let outs = rig.answer(asked, 401, json!({"code": "invalidClientSecret"}));
    assert!(matches!(&outs[..], [Out::Health(Health::Broken { why })] if why.contains("client_secret")), "{outs:?}");
    let outs = rig.wake();
    let asked = call(&outs).0;
    let outs = rig.answer(asked, 200, json!({"endpoint": "wss://evil.example/connect", "ticket": "t"}));
    assert!(matches!(&outs[..], [Out::Health(Health::Broken { why })] if why.contains("hosts")), "{outs:?}");
}

#[test]
fn a_silent_socket_is_given_up_and_one_that_does_not_open_too() {
    let (mut rig, socket) = up();
    let begun = rig.now;
    rig.after(60);
    rig.give(frame(socket, &down("SYSTEM", "ping", "p", &json!({"opaque": "x"}))));
    let outs = rig.wake();
    assert_eq!(rig.now.duration_since(begun).as_secs(), 180, "it was heard after a minute");
    assert!(matches!(outs[0], Out::CloseSocket { socket: closed, .. } if closed == socket), "{outs:?}");
    let (second, _) = open(&mut rig, &outs, "t2");
    assert_eq!(rig.wakes_in(), Some(15));
    let outs = rig.wake();
    assert!(matches!(outs[..], [Out::CloseSocket { socket, .. }] if socket == second), "{outs:?}");
    assert!(
        matches!(rig.give(In::SocketOpen { socket: second, asked: None })[..], [Out::CloseSocket { .. }]),
        "too late"
    );
}

#[test]
fn frames_that_cannot_be_read_are_passed_over_and_never_end_it() {
    let (mut rig, socket) = up();
    for text in ["", "{", "[]", "null", "{\"type\":1}", "{\"type\":\"SYSTEM\"}", "\u{0}"] {
        rig.give(In::Frame { socket, frame: Frame::Text(text.to_owned()) });
    }
    rig.give(In::Frame { socket, frame: Frame::Binary(vec![0xff; 100]) });
    assert!(matches!(rig.give(In::Frame { socket, frame: Frame::Binary(vec![b' '; 2 << 20]) })[..], [Out::Note(_)]));
    let outs = rig.give(frame(socket, &down("CALLBACK", "/v1.0/im/bot/messages/get", "f", &json!("no object"))));
    assert_eq!(frames(&outs)[0]["code"], 400);
    rig.token("AT1");
    let sent = call(&rig.send("u:user", vec![Part::text("a")]).1).0;
    assert!(matches!(outcome(&rig.answer(sent, 200, json!({"processQueryKey": "k"}))), Outcome::Sent { .. }));
}
