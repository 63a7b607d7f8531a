//! A caller, a queue and the phone of the person who answers: both hear each other, and when one hangs up the other's
//! call ends too. Judged by audio, not by signalling.

use std::{thread, time::Duration};

use ark_tests::kit::{Ended, Gateway, Phone, SOON, Setup, tone_site};

const CALLER: f64 = 700.0;
const OPERATOR: f64 = 1_500.0;
/// Who has heard the other waits so long before hanging up, so that the other has heard, too.
const A_WHILE: Duration = Duration::from_secs(1);

/// Anna answers at her phone, says her tone, hears the caller's, and then does as she is told.
fn anna(hangs_up: bool) -> (String, thread::JoinHandle<Ended>) {
    let mut phone = Phone::new("anna");
    let uri = phone.uri();
    let operator = thread::spawn(move || {
        let invite = phone.wait_to_be_called(SOON * 2);
        phone.say(Some(OPERATOR));
        phone.answer(&invite);
        phone.wait_to_hear(CALLER, SOON);
        if hangs_up {
            phone.talk_for(A_WHILE);
            phone.hang_up();
            return Ended::OurBye;
        }
        phone.wait_for_the_end(SOON)
    });
    (uri, operator)
}

fn site(operators: Vec<String>) -> Setup {
    Setup { operators, ..tone_site() }
}

fn call_a_person(gateway: &Gateway) -> Phone {
    let mut phone = Phone::new("chen");
    phone.say(Some(CALLER));
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.press('0');
    phone.wait_to_hear(OPERATOR, SOON * 2);
    phone.talk_for(A_WHILE);
    phone
}

#[test]
fn caller_and_operator_hear_each_other_and_the_caller_hangs_up() {
    let (uri, operator) = anna(false);
    let gateway = Gateway::start(&site(vec![uri]));
    let mut caller = call_a_person(&gateway);
    caller.hang_up();
    assert_eq!(operator.join().unwrap(), Ended::TheirBye);
    let ended = gateway.wait_for_ended(1, SOON);
    assert_eq!(ended.len(), 1);
    let timeline = gateway.wait_for_event("leg.bridged", SOON);
    timeline.assert_order(&["call.answered", "dtmf", "queue.joined", "call.ringing", "call.answered", "leg.bridged"]);
    assert_eq!(timeline.all("queue.left", "outcome"), ["answered"]);
    assert_eq!(timeline.count("call.ended"), 2, "{:?}", timeline.names());
}

#[test]
fn when_the_operator_hangs_up_the_caller_hears_goodbye_and_the_call_ends() {
    let (uri, operator) = anna(true);
    let gateway = Gateway::start(&site(vec![uri]));
    let mut caller = call_a_person(&gateway);
    assert_eq!(operator.join().unwrap(), Ended::OurBye);
    assert_eq!(caller.wait_for_the_end(SOON), Ended::TheirBye);
    gateway.wait_for_ended(1, SOON);
}

#[test]
fn an_operator_who_is_busy_is_passed_over_for_the_next() {
    let mut busy = Phone::new("ben");
    let busy_uri = busy.uri();
    let refuses = thread::spawn(move || {
        let invite = busy.wait_to_be_called(SOON * 2);
        busy.refuse(&invite, 486);
    });
    let (uri, operator) = anna(false);
    let gateway = Gateway::start(&site(vec![busy_uri, uri]));
    let mut caller = call_a_person(&gateway);
    caller.hang_up();
    refuses.join().unwrap();
    assert_eq!(operator.join().unwrap(), Ended::TheirBye);
}

#[test]
fn a_caller_who_gives_up_while_the_operator_rings_leaves_no_phone_ringing() {
    let mut phone = Phone::new("anna");
    let uri = phone.uri();
    let operator = thread::spawn(move || {
        phone.wait_to_be_called(SOON * 2);
        phone.wait_for_the_end(SOON)
    });
    let gateway = Gateway::start(&site(vec![uri]));
    let mut caller = Phone::new("chen");
    caller.call(gateway.sip, "95188");
    caller.wait_to_hear(440.0, SOON);
    caller.press('0');
    gateway.wait_for_event("queue.joined", SOON);
    caller.talk_for(Duration::from_millis(500));
    caller.hang_up();
    assert_eq!(operator.join().unwrap(), Ended::Refused(487));
    let timeline = gateway.wait_for_event("queue.left", SOON);
    assert_eq!(timeline.all("queue.left", "outcome"), ["abandoned"]);
}
