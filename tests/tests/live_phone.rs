//! Our own phone calls a gateway of our own: what is heard is judged by its frequency, what is logged by its order.

use std::time::Duration;

use ark_tests::kit::{Ended, Gateway, Phone, SOON, conversation_id, tone_site};

#[test]
fn a_caller_hears_the_prompt_presses_a_key_and_is_led_to_the_end() {
    let mut gateway = Gateway::start(&tone_site());
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.press('1');
    phone.wait_to_hear(1_000.0, SOON);
    assert_eq!(phone.wait_for_the_end(SOON), Ended::TheirBye);
    let timeline = gateway.wait_for_event("call.quality", SOON);
    timeline.assert_order(&["call.ringing", "call.answered", "prompt.started", "dtmf", "prompt.finished"]);
    timeline.assert_order(&["dtmf", "ivr.entered", "prompt.started", "prompt.finished", "call.ended"]);
    assert_eq!(timeline.all("dtmf", "digit"), ["1"]);
    let entered = timeline.all("ivr.entered", "state");
    assert_eq!(entered, ["welcome", "second", "bye"]);
    assert!(gateway.process.is_running());
}

#[test]
fn a_key_stops_the_prompt_within_a_tenth_of_a_second() {
    let gateway = Gateway::start(&tone_site());
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.press('2');
    phone.wait_to_hear(600.0, SOON);
    let went_on = phone.heard_after_key(440.0);
    assert!(went_on < Duration::from_millis(100), "the prompt went on for {went_on:?}");
    phone.hang_up();
    let timeline = gateway.wait_for_event("call.ended", SOON);
    assert_eq!(timeline.first("prompt.finished")["cause"], "barge_in", "{}", timeline.first("prompt.finished"));
}

#[test]
fn an_answer_that_nobody_acknowledges_is_repeated() {
    let gateway = Gateway::start(&tone_site());
    let mut phone = Phone::new("chen");
    phone.invite(gateway.sip, "95188", true);
    assert_eq!(phone.final_status(SOON), 200);
    // Repeated after 0.5, 1 and 2 s: three more within 4 s (RFC 3261 13.3.1.4).
    phone.talk_for(Duration::from_secs(4));
    assert!((3..=5).contains(&phone.answers), "{} answers", phone.answers);
    phone.ack(None);
    phone.wait_to_hear(440.0, SOON);
    phone.hang_up();
}

#[test]
fn a_call_that_is_cancelled_at_once_has_one_outcome_and_is_in_the_log() {
    let gateway = Gateway::start(&tone_site());
    let mut phone = Phone::new("chen");
    phone.invite(gateway.sip, "95188", true);
    phone.cancel();
    let status = phone.final_status(SOON);
    match status {
        487 => {}
        200 => {
            phone.ack(None);
            phone.hang_up();
        }
        other => panic!("the INVITE ended with {other}"),
    }
    gateway.wait_for_ended(1, SOON);
    let timeline = gateway.wait_for_event("call.ended", SOON);
    let cause = if status == 487 { "cancelled" } else { "hangup" };
    assert_eq!(timeline.all("call.ended", "cause"), [cause]);
}

#[test]
fn a_call_on_hold_hears_nothing_and_hears_again_after_it() {
    let gateway = Gateway::start(&tone_site());
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    let held = phone.reinvite("sendonly");
    assert!(held.contains("a=recvonly"), "{held}");
    let before = phone.packets();
    phone.talk_for(Duration::from_millis(600));
    let during = phone.packets() - before;
    assert!(during < 10, "{during} packets came during hold");
    phone.reinvite("sendrecv");
    phone.wait_to_hear(440.0, SOON);
    phone.hang_up();
    gateway.wait_for_event("call.ended", SOON).assert_order(&["leg.held", "leg.resumed", "call.ended"]);
}

#[test]
fn a_number_that_nobody_answers_for_is_refused_and_the_next_call_is_taken() {
    let gateway = Gateway::start(&tone_site());
    let mut phone = Phone::new("chen");
    phone.invite(gateway.sip, "00000", true);
    assert_eq!(phone.final_status(SOON), 404);
    phone.call(gateway.sip, "95188");
    phone.hang_up();
    gateway.wait_until_idle(SOON);
}

#[test]
fn a_call_is_hung_up_through_the_api() {
    let gateway = Gateway::start(&tone_site());
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    let calls = gateway.ask("GET", "/api/v1/calls", None).json();
    let id = calls["calls"][0]["id"].as_str().unwrap_or_else(|| panic!("no call in {calls}")).to_owned();
    let answer = gateway.ask("POST", &format!("/api/v1/calls/{id}/hangup"), None);
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.body);
    assert_eq!(phone.wait_for_the_end(SOON), Ended::TheirBye);
    let ended = gateway.wait_for_ended(1, SOON);
    assert_eq!(gateway.timeline(&conversation_id(&ended[0])).all("call.ended", "by"), ["ark"]);
}

#[test]
fn a_key_by_info_and_as_events_at_once_counts_once_and_other_keys_by_info_count() {
    let gateway = Gateway::start(&tone_site());
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.press('9');
    assert_eq!(phone.press_by_info('9'), 200);
    phone.wait_to_hear(440.0, SOON);
    assert_eq!(phone.press_by_info('1'), 200);
    phone.wait_to_hear(1_000.0, SOON);
    assert_eq!(phone.wait_for_the_end(SOON), Ended::TheirBye);
    let timeline = gateway.wait_for_event("call.quality", SOON);
    assert_eq!(timeline.all("dtmf", "digit"), ["9", "1"]);
}
