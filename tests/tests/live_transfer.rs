//! Customers who go from one person to another: who hears whom before, on the way and after, judged by the tone that each of them says.

use std::{
    thread,
    time::{Duration, Instant},
};

use ark_media::tone::level;
use ark_tests::{
    kit::{Browser, Ended, Gateway, Phone, SOON, Setup, conversation_id, tone_site},
    need,
};
use serde_json::{Value, json};

/// What each says: the customer, Anna, Ben.
const TONES: [f64; 3] = [700.0, 1_500.0, 2_300.0];
/// Tones are said at 8,000.
const HEARD: f64 = 3_000.0;
const NOT_HEARD: f64 = 150.0;
/// Nothing of a person and not silence: music.
const MUSIC: &str = "music";

/// A phone that answers when it is called, and says its tone.
fn answers(mut phone: Phone, hz: f64) -> thread::JoinHandle<Phone> {
    thread::spawn(move || {
        let invite = phone.wait_to_be_called(SOON * 3);
        phone.say(Some(hz));
        phone.answer(&invite);
        phone
    })
}

/// Waits until the phones hear just this, for half a second: `"011"` hears the second and the third of [`TONES`].
fn wait_until_they_hear(phones: &mut [&mut Phone], wanted: &[&str]) {
    let deadline = Instant::now() + SOON * 2;
    loop {
        for phone in phones.iter_mut() {
            phone.talk_for(Duration::from_millis(250));
        }
        let heard: Vec<String> = phones.iter().zip(wanted).map(|(phone, wanted)| hears(phone, wanted)).collect();
        if heard == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{wanted:?} was wanted, and heard was {heard:?}");
    }
}

fn hears(phone: &Phone, wanted: &str) -> String {
    let pcm = phone.heard();
    let last = &pcm[pcm.len().saturating_sub(4_000)..];
    let levels = TONES.map(|hz| level(last, 8_000, hz));
    let loud = last.iter().map(|sample| f64::from(sample.unsigned_abs())).sum::<f64>() / last.len().max(1) as f64;
    if wanted == MUSIC && loud > 100.0 && levels.iter().all(|level| *level < HEARD) {
        return MUSIC.to_owned();
    }
    let digit = |level: &f64| match *level {
        level if level > HEARD => '1',
        level if level < NOT_HEARD => '0',
        _ => '?',
    };
    levels.iter().map(digit).collect()
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> Value {
    let answer = gateway.ask("POST", path, Some(body));
    assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
    if answer.body.is_empty() { Value::Null } else { answer.json() }
}

/// Chen calls and talks to Anna.
fn call_anna(gateway: &Gateway) -> (Phone, String) {
    let mut chen = Phone::new("chen");
    chen.say(Some(TONES[0]));
    chen.call(gateway.sip, "95188");
    chen.wait_to_hear(440.0, SOON);
    chen.press('0');
    chen.wait_to_hear(TONES[1], SOON * 2);
    let id = conversation_id(&gateway.conversations()[0]);
    (chen, id)
}

#[test]
fn a_warm_transfer_is_consulted_unheard_talked_over_by_three_and_completed() {
    let (anna, ben) = (Phone::new("anna"), Phone::new("ben"));
    let (anna_uri, ben_uri) = (anna.uri(), ben.uri());
    let anna = answers(anna, TONES[1]);
    let gateway = Gateway::start(&Setup { operators: vec![anna_uri], record: true, ..tone_site() });
    let (mut chen, id) = call_anna(&gateway);
    let mut anna = anna.join().unwrap();
    wait_until_they_hear(&mut [&mut chen, &mut anna], &["010", "100"]);

    let transfer = format!("/api/v1/conversations/{id}/transfer");
    assert_eq!(gateway.ask("GET", &transfer, None).status, 404);
    let ben = answers(ben, TONES[2]);
    let wanted = json!({ "to": { "agent": ben_uri }, "mode": "warm", "by": "anna", "note": "asks for an order" });
    let began = post(&gateway, &transfer, &wanted);
    assert_eq!(began["state"], "ringing");
    let mut ben = ben.join().unwrap();
    wait_until_they_hear(&mut [&mut chen, &mut anna, &mut ben], &[MUSIC, "001", "010"]);
    assert_eq!(gateway.ask("GET", &transfer, None).json()["state"], "consulting");

    post(&gateway, &format!("{transfer}/join"), &json!({}));
    wait_until_they_hear(&mut [&mut chen, &mut anna, &mut ben], &["011", "101", "110"]);
    post(&gateway, &format!("{transfer}/complete"), &json!({}));
    assert_eq!(anna.wait_for_the_end(SOON), Ended::TheirBye, "the agent is let go");
    wait_until_they_hear(&mut [&mut chen, &mut ben], &["001", "100"]);
    let over = gateway.ask("GET", &transfer, None).json();
    assert_eq!((&over["state"], &over["customer"]), (&json!("over"), &json!("target")));

    ben.hang_up();
    assert_eq!(chen.wait_for_the_end(SOON * 2), Ended::TheirBye, "the plan says goodbye");
    gateway.wait_for_ended(1, SOON);
    let timeline = gateway.timeline(&id);
    assert_eq!(timeline.all("transfer.changed", "stage"), ["consulting", "three_way"]);
    assert_eq!(timeline.all("transfer.finished", "outcome"), ["answered"]);
    assert_eq!((timeline.count("call.ended"), timeline.count("summary")), (3, 1), "{:?}", timeline.names());
    let summary = gateway.ask("GET", &format!("/api/v1/conversations/{id}/summary"), None).json();
    let kinds: Vec<&str> =
        summary["lines"].as_array().unwrap().iter().filter_map(|line| line["kind"].as_str()).collect();
    assert!(kinds.contains(&"reason") && kinds.contains(&"ivr") && kinds.contains(&"operation"), "{summary}");
}

#[test]
fn a_blind_transfer_that_is_refused_brings_the_agent_back_with_music_meanwhile() {
    let (anna, mut ben) = (Phone::new("anna"), Phone::new("ben"));
    let (anna_uri, ben_uri) = (anna.uri(), ben.uri());
    let anna = answers(anna, TONES[1]);
    let gateway = Gateway::start(&Setup { operators: vec![anna_uri], ..tone_site() });
    let (mut chen, id) = call_anna(&gateway);
    let mut anna = anna.join().unwrap();
    wait_until_they_hear(&mut [&mut chen, &mut anna], &["010", "100"]);
    let (tell, told) = std::sync::mpsc::sync_channel::<()>(1);
    let refuses = thread::spawn(move || {
        let invite = ben.wait_to_be_called(SOON * 2);
        told.recv_timeout(SOON * 4).expect("the customer hears music");
        ben.refuse(&invite, 486);
    });
    let wanted = json!({ "to": { "agent": ben_uri }, "mode": "blind", "by": "anna" });
    post(&gateway, &format!("/api/v1/conversations/{id}/transfer"), &wanted);
    assert_eq!(anna.wait_for_the_end(SOON), Ended::TheirBye, "she is free at once");
    let anna = answers(anna, TONES[1]);
    wait_until_they_hear(&mut [&mut chen], &[MUSIC]);
    tell.send(()).unwrap();
    refuses.join().unwrap();
    let mut anna = anna.join().unwrap();
    wait_until_they_hear(&mut [&mut chen, &mut anna], &["010", "100"]);
    chen.hang_up();
    assert_eq!(anna.wait_for_the_end(SOON), Ended::TheirBye);
    gateway.wait_for_ended(1, SOON);
    let timeline = gateway.timeline(&id);
    assert_eq!(timeline.all("transfer.changed", "stage"), ["recalling"]);
    assert_eq!(timeline.all("transfer.finished", "outcome"), ["busy"]);
    assert_eq!(timeline.all("transfer.finished", "customer"), ["from"]);
}

#[test]
fn a_customer_is_held_with_music_handed_to_the_queue_and_taken_by_another() {
    let (anna, ben) = (Phone::new("anna"), Phone::new("ben"));
    let operators = vec![anna.uri(), ben.uri()];
    let anna = answers(anna, TONES[1]);
    let gateway = Gateway::start(&Setup { operators, ..tone_site() });
    let (mut chen, id) = call_anna(&gateway);
    let mut anna = anna.join().unwrap();
    wait_until_they_hear(&mut [&mut chen, &mut anna], &["010", "100"]);
    let hold = format!("/api/v1/calls/{id}/hold");
    post(&gateway, &hold, &json!({ "on": true }));
    wait_until_they_hear(&mut [&mut chen], &[MUSIC]);
    post(&gateway, &hold, &json!({ "on": false }));
    wait_until_they_hear(&mut [&mut chen, &mut anna], &["010", "100"]);
    post(&gateway, &format!("/api/v1/calls/{id}/dtmf"), &json!({ "digits": "5#" }));
    chen.wait_for_key('5', SOON);
    chen.wait_for_key('#', SOON);

    let ben = answers(ben, TONES[2]);
    let wanted = json!({ "to": { "queue": "general" }, "mode": "blind", "by": "anna" });
    let began = post(&gateway, &format!("/api/v1/conversations/{id}/transfer"), &wanted);
    assert_eq!(began["state"], "queued");
    assert_eq!(anna.wait_for_the_end(SOON), Ended::TheirBye);
    let mut ben = ben.join().unwrap();
    wait_until_they_hear(&mut [&mut chen, &mut ben], &["001", "100"]);
    chen.hang_up();
    assert_eq!(ben.wait_for_the_end(SOON), Ended::TheirBye);
    gateway.wait_for_ended(1, SOON);
    let timeline = gateway.timeline(&id);
    assert_eq!(timeline.all("queue.left", "outcome"), ["answered", "answered"]);
    assert_eq!(timeline.all("transfer.finished", "customer"), ["queue"]);
}

#[test]
fn a_browser_is_consulted_and_takes_the_customer() {
    need!("live_transfer", "chromium");
    let anna = Phone::new("anna");
    let more = "[webrtc]\nlisten = [\"127.0.0.1\"]\nports = \"30000-31999\"\n".to_owned();
    let operators = vec![anna.uri(), "web:ben".to_owned()];
    let anna = answers(anna, TONES[1]);
    let gateway = Gateway::start(&Setup { operators, more, ..tone_site() });
    let browser = Browser::start(TONES[2]);
    let token = post(&gateway, "/api/v1/webrtc/tokens", &json!({ "operator": "ben" }));
    let token = token["token"].as_str().expect("a token");
    let mut desk = browser.open(&format!("http://{}/call?operator=ben#token={token}", gateway.web));
    desk.wait_for("window.arkCall && arkCall.state === 'ready'", SOON * 2);
    desk.eval("arkCall.audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }");
    let (mut chen, id) = call_anna(&gateway);
    let mut anna = anna.join().unwrap();
    let transfer = format!("/api/v1/conversations/{id}/transfer");
    post(&gateway, &transfer, &json!({ "to": { "agent": "ben" }, "mode": "warm", "by": "anna" }));
    desk.wait_for("arkCall.state === 'ringing'", SOON * 2);
    desk.click("#call");
    anna.wait_to_hear(TONES[2], SOON * 2);
    desk.wait_to_hear(TONES[1], SOON * 2);
    wait_until_they_hear(&mut [&mut chen], &[MUSIC]);
    post(&gateway, &format!("{transfer}/complete"), &json!({}));
    assert_eq!(anna.wait_for_the_end(SOON), Ended::TheirBye);
    chen.wait_to_hear(TONES[2], SOON * 2);
    desk.wait_to_hear(TONES[0], SOON * 2);
    desk.click("#hangup");
    assert_eq!(chen.wait_for_the_end(SOON * 2), Ended::TheirBye);
    gateway.wait_for_ended(1, SOON);
}
