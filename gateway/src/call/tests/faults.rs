//! A fault of ours ends one call at most.

use std::time::Duration;

use ark_conversation::Event;
use ark_sip::ua::CallEvent;

use super::hotline::PLAN;
use super::{ANNA, BEN, CHEN, Rig};

fn two_calls() -> Rig {
    let mut rig = Rig::new(PLAN, &[ANNA]);
    rig.call(CHEN);
    rig.call(BEN);
    rig.run_until("both menus play", |r| r.logged("prompt.started") == 2);
    rig
}

#[test]
fn a_panic_in_one_call_ends_it_and_leaves_the_other_alone() {
    let mut rig = two_calls();
    let leg = rig.leg_of(BEN);
    rig.media.0.borrow_mut().faults = Some((leg, 1));
    rig.press(BEN, '0');
    rig.run_for(Duration::from_millis(100));
    assert_eq!(rig.switch.counters().faults, 1, "{}", rig.story());
    assert!(rig.phone(BEN).heard(|e| matches!(e, CallEvent::Ended { .. })), "Ben's phone gets a BYE");
    let causes = rig.events(|e| if let Event::CallEnded(e) = e { Some(e.cause.as_str()) } else { None });
    assert_eq!(causes, ["failed"]);
    rig.press(CHEN, '0');
    rig.run_until("Chen talks to Anna", |r| r.logged("leg.bridged") == 1);
    assert!(rig.bridged(CHEN, ANNA));
    assert_eq!(rig.switch.calls().len(), 1);
}

#[test]
fn a_call_that_cannot_even_be_ended_is_forgotten() {
    let mut rig = two_calls();
    let leg = rig.leg_of(BEN);
    rig.media.0.borrow_mut().faults = Some((leg, u32::MAX));
    rig.press(BEN, '0');
    rig.run_for(Duration::from_secs(30));
    assert!(rig.switch.counters().faults < 5, "it does not go round in circles");
    assert_eq!(rig.switch.calls().len(), rig.switch.len());
    rig.press(CHEN, '0');
    rig.run_until("Chen talks to Anna", |r| r.logged("leg.bridged") == 1);
}

#[test]
fn somebody_who_does_not_answer_is_not_rung_for_ever() {
    let mut rig = Rig::new(PLAN, &[]);
    rig.phone(ANNA).answers = false;
    rig.switch.place(rig.now, &format!("sip:anna@{ANNA}"), "95188").unwrap();
    rig.run_until("it is given up", |r| r.switch.is_empty());
    let ended = rig.events(|e| if let Event::CallEnded(e) = e { Some((e.cause.as_str(), e.ringing_ms)) } else { None });
    assert_eq!(ended, [("no_answer", 20_000)]);
    rig.run_for(Duration::from_millis(50));
    assert!(rig.phone(ANNA).heard(|e| matches!(e, CallEvent::Cancelled)), "Anna's phone stops ringing");
}
