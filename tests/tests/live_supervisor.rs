//! A caller, an operator and a supervisor: who hears whom, judged by the tone that each of them says.

use std::{
    thread,
    time::{Duration, Instant},
};

use ark_media::tone::level;
use ark_tests::kit::{Ended, Gateway, Phone, SOON, Setup, tone_site};
use serde_json::{Value, json};

/// What each says: caller, operator, supervisor.
const TONES: [f64; 3] = [700.0, 1_500.0, 2_300.0];
/// Tones are said at 8,000.
const HEARD: f64 = 3_000.0;
const NOT_HEARD: f64 = 150.0;

/// A phone that answers when it is called, and says its tone.
fn answers(name: &str, hz: f64) -> (String, thread::JoinHandle<Phone>) {
    let mut phone = Phone::new(name);
    let uri = phone.uri();
    let answering = thread::spawn(move || {
        let invite = phone.wait_to_be_called(SOON * 2);
        phone.say(Some(hz));
        phone.answer(&invite);
        phone
    });
    (uri, answering)
}

/// Waits until the phones hear just this, for half a second: `"011"` hears the second and the third of [`TONES`].
fn wait_until_they_hear(phones: &mut [Phone], wanted: &[&str]) {
    let deadline = Instant::now() + SOON;
    loop {
        for phone in phones.iter_mut() {
            phone.talk_for(Duration::from_millis(250));
        }
        let heard: Vec<String> = phones.iter().map(hears).collect();
        if heard == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{wanted:?} was wanted, and heard was {heard:?}");
    }
}

fn hears(phone: &Phone) -> String {
    let pcm = phone.heard();
    let last = &pcm[pcm.len().saturating_sub(4_000)..];
    let digit = |hz: &f64| match level(last, 8_000, *hz) {
        level if level > HEARD => '1',
        level if level < NOT_HEARD => '0',
        _ => '?',
    };
    TONES.iter().map(digit).collect()
}

fn post(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Value {
    let answer = gateway.ask(method, path, Some(body));
    assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
    if answer.body.is_empty() { Value::Null } else { answer.json() }
}

#[test]
fn a_supervisor_listens_whispers_joins_in_and_takes_over() {
    let (anna_uri, anna) = answers("anna", TONES[1]);
    let (sue_uri, sue) = answers("sue", TONES[2]);
    let gateway = Gateway::start(&Setup { operators: vec![anna_uri], ..tone_site() });
    let mut chen = Phone::new("chen");
    chen.say(Some(TONES[0]));
    chen.call(gateway.sip, "95188");
    chen.wait_to_hear(440.0, SOON);
    chen.press('0');
    chen.wait_to_hear(TONES[1], SOON * 2);
    let mut phones = vec![chen, anna.join().unwrap()];
    wait_until_they_hear(&mut phones, &["010", "100"]);

    let calls = gateway.ask("GET", "/api/v1/calls", None).json();
    let id = calls["calls"][0]["id"].as_str().unwrap().to_owned();
    let supervisors = format!("/api/v1/calls/{id}/supervisors");
    let called = post(&gateway, "POST", &supervisors, &json!({ "to": sue_uri, "mode": "listen" }));
    assert_eq!(called["leg"], 3);
    phones.push(sue.join().unwrap());
    wait_until_they_hear(&mut phones, &["010", "100", "110"]);

    let as_now = |mode: &str| post(&gateway, "PATCH", &format!("{supervisors}/3"), &json!({ "mode": mode }));
    as_now("whisper");
    wait_until_they_hear(&mut phones, &["010", "101", "110"]);
    as_now("barge");
    wait_until_they_hear(&mut phones, &["011", "101", "110"]);
    post(&gateway, "POST", &format!("/api/v1/calls/{id}/legs/2/mute"), &json!({ "muted": true }));
    wait_until_they_hear(&mut phones, &["001", "101", "100"]);
    let legs = &gateway.ask("GET", "/api/v1/calls", None).json()["calls"][0]["legs"];
    let roles: Vec<_> = legs.as_array().unwrap().iter().map(|leg| leg["role"].as_str().unwrap().to_owned()).collect();
    assert_eq!(roles, ["customer", "agent", "supervisor"]);
    assert_eq!(legs[2]["supervises"], "barge");

    as_now("take_over");
    assert_eq!(phones[1].wait_for_the_end(SOON), Ended::TheirBye, "the agent is let go");
    phones.remove(1);
    wait_until_they_hear(&mut phones, &["001", "100"]);
    phones[0].hang_up();
    assert_eq!(phones[1].wait_for_the_end(SOON), Ended::TheirBye);
    gateway.wait_for_ended(1, SOON);
    let timeline = gateway.wait_for_event("call.supervised", SOON);
    assert_eq!(timeline.all("call.supervised", "mode"), ["listen", "whisper", "barge", "take_over"]);
    assert_eq!(timeline.count("call.ended"), 3, "{:?}", timeline.names());
}
