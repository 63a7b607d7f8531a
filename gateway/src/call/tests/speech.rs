//! Who is listened to, and what a plan hears.

use std::time::Duration;

use ark_conversation::Event;
use ark_conversation::event::Role;
use ark_media::sdp::Direction;
use ark_transcribe::Language;

use super::hotline::PLAN;
use super::{ANNA, CHEN, Rig};
use crate::speech::{Heard, Order};

/// Begins and ends of listening, in order: who, or nobody.
fn orders(rig: &Rig) -> Vec<Option<Role>> {
    let of = |order: &Order| match order {
        Order::Begin(info) => Some(Some(info.speaker)),
        Order::End { .. } => Some(None),
        _ => None,
    };
    rig.orders.iter().filter_map(of).collect()
}

fn said(text: &str) -> Heard {
    Heard::Said { text: text.to_owned(), confidence: Some(0.95), language: Some(Language::Zh) }
}

#[test]
fn each_leg_is_listened_to_from_its_answer_to_its_end_and_not_while_it_is_held() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.read_along(&[]);
    let key = rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    assert_eq!(orders(&rig), [Some(Role::Customer)], "{}", rig.story());
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    assert_eq!(orders(&rig), [Some(Role::Customer), Some(Role::Agent)], "{}", rig.story());
    rig.reoffer(CHEN, key, Direction::SendOnly);
    rig.run_until("the caller holds", |r| r.logged("leg.held") == 1);
    assert_eq!(orders(&rig)[2..], [None], "{}", rig.story());
    rig.run_for(Duration::from_millis(200));
    rig.reoffer(CHEN, key, Direction::SendRecv);
    rig.run_until("the caller is back", |r| r.logged("leg.resumed") == 1);
    assert_eq!(orders(&rig)[3..], [Some(Role::Customer)], "{}", rig.story());
    rig.hang_up(CHEN, key);
    rig.run_until("all is over", |r| r.switch.is_empty());
    assert_eq!(orders(&rig)[4..], [None, None], "{}", rig.story());
}

#[test]
fn a_queue_that_is_not_read_keeps_its_calls_unread() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.read_along(&["general"]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    assert_eq!(orders(&rig), [Some(Role::Customer), None], "{}", rig.story());
}

#[test]
fn nobody_is_listened_to_where_nobody_reads() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.heard(CHEN, &said("转人工"));
    assert!(rig.orders.is_empty());
}

#[test]
fn a_plan_that_listens_hears_the_caller_and_one_that_does_not_is_left_alone() {
    let waits = |rig: &Rig| rig.events(|e| if let Event::QueueJoined(e) = e { Some(e.queue.clone()) } else { None });
    let mut rig = Rig::new(&format!("{PLAN}\n[speech]\n"), &[ANNA]);
    rig.read_along(&[]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.heard(CHEN, &Heard::Began);
    rig.heard(CHEN, &said("talk to an agent"));
    assert_eq!(waits(&rig), ["general"], "{}", rig.story());
    let mut rig = Rig::new(PLAN, &[]);
    rig.read_along(&[]);
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.heard(CHEN, &Heard::Began);
    rig.heard(CHEN, &said("talk to an agent"));
    assert!(waits(&rig).is_empty(), "{}", rig.story());
}

/// The hotline asks first whether the call may be kept.
fn asking() -> String {
    let asks =
        "[state.may]\ndo = \"consent\"\nmode = \"ask\"\nprompt = \"main\"\nnext = \"main\"\nrefused = \"main\"\n";
    let speech = "[speech]\n";
    format!("{}\n{speech}{asks}", PLAN.replace("entry = \"main\"", "entry = \"may\""))
}

/// Whether what the caller says belongs to the plan alone, at each time that this was told.
fn secrets(rig: &Rig) -> Vec<bool> {
    let of = |order: &Order| match order {
        Order::Begin(info) if info.speaker == Role::Customer => Some(info.ask.secret),
        Order::Ask { ask, .. } => Some(ask.secret),
        _ => None,
    };
    rig.orders.iter().filter_map(of).collect()
}

fn asked(plan: &str) -> Rig {
    let mut rig = Rig::new(plan, &[ANNA]);
    rig.read_along(&[]);
    rig.record_calls_and_say_so();
    rig.call(CHEN);
    rig.run_until("the question plays", |r| r.logged("prompt.started") == 1);
    assert_eq!(rig.logged("recording.started"), 0, "{}", rig.story());
    assert!(secrets(&rig).iter().all(|secret| *secret), "{}", rig.story());
    let conversation = rig.log[0].conversation;
    let how = crate::media::RecordAs::default();
    assert_eq!(rig.switch.start_recording(rig.now, conversation, how), Err(crate::call::CannotAct::NoConsent));
    rig
}

#[test]
fn who_agrees_is_kept_from_then_on() {
    let mut rig = asked(&asking());
    rig.heard(CHEN, &Heard::Began);
    rig.heard(CHEN, &said("yes"));
    let settled = rig.events(|e| if let Event::ConsentSettled(e) = e { Some((e.kept, e.by.is_some())) } else { None });
    assert_eq!(settled, [(true, true)], "{}", rig.story());
    assert_eq!(rig.logged("recording.started"), 1, "{}", rig.story());
    assert_eq!(secrets(&rig).last(), Some(&false), "{}", rig.story());
}

#[test]
fn nothing_is_kept_of_who_refuses_nor_of_the_person_they_talk_to() {
    let mut rig = asked(&asking());
    rig.press(CHEN, '2');
    let settled = rig.events(|e| if let Event::ConsentSettled(e) = e { Some(e.kept) } else { None });
    assert_eq!(settled, [false], "{}", rig.story());
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    rig.run_for(Duration::from_secs(2));
    assert_eq!(rig.logged("recording.started"), 0, "{}", rig.story());
    assert!(secrets(&rig).iter().all(|secret| *secret), "{}", rig.story());
    assert_eq!(orders(&rig), [Some(Role::Customer), None], "nobody is listened to while they talk: {}", rig.story());
}

#[test]
fn where_the_site_wants_it_a_plan_without_a_word_about_it_keeps_nothing() {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.read_along(&[]);
    rig.record_calls_and_say_so();
    rig.switch.config.announce_recording = false;
    rig.switch.config.require_consent = true;
    rig.call(CHEN);
    rig.run_until("the menu plays", |r| r.logged("prompt.started") == 1);
    rig.press(CHEN, '0');
    rig.run_until("they talk", |r| r.logged("leg.bridged") == 1);
    assert_eq!(rig.logged("recording.started"), 0, "{}", rig.story());
    assert!(orders(&rig).is_empty(), "{}", rig.story());
}
