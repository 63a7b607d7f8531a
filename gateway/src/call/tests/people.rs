//! A caller, a queue, and the operators Anna and Ben.

use std::time::Duration;

use ark_conversation::Event;
use ark_media::sdp::Direction;
use ark_sip::ua::{CallEvent, MAX_FORWARDS};

use super::hotline::PLAN;
use super::{ANNA, BEN, CHEN, Rig};
use crate::call::{CannotPlace, Output};

#[test]
fn the_human_key_brings_a_person_and_both_hear_each_other() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    let key = rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    assert!(rig.bridged(CHEN, ANNA));
    let incoming =
        |event: &CallEvent| if let CallEvent::Incoming(call) = event { Some(call.max_forwards) } else { None };
    let hops = rig.phone(ANNA).events.iter().find_map(|(_, event)| incoming(event));
    assert_eq!(hops, Some(MAX_FORWARDS - 1), "a call that goes round in circles ends (RFC 7332)");
    let left = rig.events(|e| if let Event::QueueLeft(e) = e { Some(e.outcome.as_str()) } else { None });
    assert_eq!(left, ["answered"]);
    rig.run_for(Duration::from_secs(30));
    rig.hang_up(CHEN, key);
    rig.run_until("all is over", |r| r.switch.is_empty());
    rig.run_for(Duration::from_millis(50));
    assert!(rig.phone(ANNA).heard(|e| matches!(e, CallEvent::Ended { .. })), "Anna's phone is let go too");
    assert_eq!(rig.logged("call.ended"), 2);
    assert_eq!(rig.legs(), 0);
}

#[test]
fn a_key_by_info_goes_through_the_bridge_unless_the_phone_sends_events_with_its_voice() {
    for (events, passed) in [(false, "7#"), (true, "")] {
        let mut rig = Rig::new(PLAN, &[ANNA]);
        let key = if events { rig.call(CHEN) } else { rig.call_without_events(CHEN) };
        rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
        rig.info(CHEN, key, "Signal=0\r\nDuration=160\r\n");
        rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
        assert_eq!(rig.keys_sent_to(ANNA), "", "the plan's key is the plan's alone");
        for signal in ["7", "#"] {
            rig.info(CHEN, key, &format!("Signal={signal}\r\nDuration=160\r\n"));
            rig.run_for(Duration::from_millis(200));
        }
        assert_eq!(rig.keys_sent_to(ANNA), passed);
    }
}

#[test]
fn when_the_operator_hangs_up_the_plan_goes_on_with_the_caller() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    rig.run_for(Duration::from_secs(5));
    let anna = rig.phone(ANNA).last_call();
    rig.hang_up(ANNA, anna);
    rig.run_until("all is over", |r| r.switch.is_empty());
    assert_eq!(rig.states().last().map(String::as_str), Some("bye"));
    rig.run_for(Duration::from_millis(50));
    assert!(rig.phone(CHEN).heard(|e| matches!(e, CallEvent::Ended { .. })));
}

#[test]
fn an_operator_who_declines_costs_the_caller_nothing_and_the_next_one_rings() {
    let mut rig = Rig::new(PLAN, &[ANNA, BEN]);
    rig.phone(ANNA).answers = false;
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("Anna's phone rings", |r| !r.phones[1].events.is_empty());
    let anna = rig.phone(ANNA).last_call();
    rig.reject(ANNA, anna, 486);
    rig.run_until("Ben talks to Chen", |r| r.logged("leg.bridged") == 1);
    assert!(rig.bridged(CHEN, BEN));
}

#[test]
fn an_operator_who_does_not_answer_is_given_up_and_the_caller_hears_music_meanwhile() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.phone(ANNA).answers = false;
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("Anna's phone rings", |r| !r.phones[1].events.is_empty());
    for _ in 0..100 {
        rig.run_for(Duration::from_millis(100));
        assert!(rig.hears(CHEN), "never silence:\n{}", rig.story());
    }
    rig.run_until("Anna's phone stops", |r| r.phones[1].heard(|e| matches!(e, CallEvent::Cancelled)));
    rig.run_until("the plan's patience ends", |r| r.switch.is_empty());
    let left = rig.events(|e| if let Event::QueueLeft(e) = e { Some(e.outcome.as_str()) } else { None });
    assert_eq!(left.len(), 1);
    assert_eq!(rig.states().last().map(String::as_str), Some("bye"));
}

#[test]
fn a_caller_who_gives_up_while_it_rings_stops_the_ringing() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.phone(ANNA).answers = false;
    let key = rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("Anna's phone rings", |r| !r.phones[1].events.is_empty());
    rig.hang_up(CHEN, key);
    rig.run_until("all is over", |r| r.switch.is_empty());
    rig.run_for(Duration::from_secs(1));
    assert!(rig.phone(ANNA).heard(|e| matches!(e, CallEvent::Cancelled)));
    let left = rig.events(|e| if let Event::QueueLeft(e) = e { Some(e.outcome.as_str()) } else { None });
    assert_eq!(left, ["abandoned"]);
    // Anna is free for the next caller.
    rig.phone(ANNA).answers = true;
    rig.call(CHEN);
    rig.run_until("the menu plays again", |r| r.states().iter().filter(|s| *s == "main").count() == 2);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
}

#[test]
fn while_the_caller_is_on_hold_the_operator_hears_music() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    let key = rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    rig.run_for(Duration::from_secs(1));
    assert!(!rig.hears(ANNA));
    rig.reoffer(CHEN, key, Direction::SendOnly);
    rig.run_until("held", |r| r.logged("leg.held") == 1);
    assert!(rig.hears(ANNA));
    rig.run_for(Duration::from_secs(1));
    rig.reoffer(CHEN, key, Direction::SendRecv);
    rig.run_until("resumed", |r| r.logged("leg.resumed") == 1);
    assert!(!rig.hears(ANNA));
}

#[test]
fn two_callers_wait_in_order_for_one_operator() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.call(CHEN);
    rig.run_until("the first menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    rig.call(BEN);
    rig.run_until("the second menu plays", |r| r.phones[2].heard(|e| matches!(e, CallEvent::Answered { .. })));
    rig.press(BEN, '0');
    rig.run_for(Duration::from_secs(10));
    assert_eq!(rig.logged("leg.bridged"), 1, "Anna takes one call at a time");
    let anna = rig.phone(ANNA).last_call();
    rig.hang_up(ANNA, anna);
    rig.run_until("the second is served", |r| r.logged("leg.bridged") == 2);
    assert!(rig.bridged(BEN, ANNA));
}

#[test]
fn a_call_out_leaves_by_a_socket_of_the_peers_family() {
    let mut rig = Rig::new(PLAN, &[]);
    let target = "sip:1001@[fd00::3]:5060";
    let error = rig.switch.place(rig.now, target, "95188").unwrap_err();
    assert!(matches!(error, CannotPlace::NoSocket(_)), "{error}");
    let ipv6 = "[fd00::1]:5070".parse().unwrap();
    rig.switch.config.udp.push(ipv6);
    rig.switch.place(rig.now, target, "95188").unwrap();
    let mut sent = std::iter::from_fn(|| rig.switch.poll());
    let flow = sent.find_map(|output| if let Output::Send { flow, .. } = output { Some(flow) } else { None });
    assert_eq!(flow.map(|flow| flow.local), Some(ipv6));
}

#[test]
fn audio_is_asked_for_where_rtp_is_bound() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.media.0.borrow_mut().bound = Some([10, 0, 9, 9].into());
    rig.call(CHEN);
    rig.run_for(Duration::from_millis(100));
    let answer = |event: &CallEvent| if let CallEvent::Answered { sdp } = event { sdp.clone() } else { None };
    let sdp = rig.phone(CHEN).events.iter().find_map(|(_, event)| answer(event)).expect("the call is answered");
    let sdp = String::from_utf8(sdp).unwrap();
    assert!(sdp.contains("c=IN IP4 10.0.9.9\r\n"), "{sdp}");
}

#[test]
fn at_the_limit_of_the_media_threads_new_calls_wait_and_those_that_are_up_go_on() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.switch.set_overloaded(true);
    rig.call(BEN);
    rig.run_for(Duration::from_millis(500));
    let refused = |e: &CallEvent| matches!(e, CallEvent::Failed { status: 503, retry_after: Some(after), .. } if after.as_secs() > 0);
    assert!(rig.phone(BEN).heard(refused), "503 with Retry-After");
    assert!(rig.switch.place(rig.now, "sip:op@10.0.0.3:5060", "95188").is_err());
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    rig.switch.set_overloaded(false);
    rig.call(BEN);
    rig.run_until("the next call is taken", |r| r.logged("call.answered") == 3);
}
