//! The test phone is tested: against itself, before anything is judged by it.

use std::thread;

use ark_tests::kit::{Ended, Phone, SOON};

#[test]
fn two_phones_call_hear_each_other_hold_and_hang_up() {
    let mut called = Phone::new("ben");
    let address = called.address();
    let other = thread::spawn(move || {
        let invite = called.wait_to_be_called(SOON);
        called.say(Some(1_000.0));
        called.answer(&invite);
        called.wait_to_hear(440.0, SOON);
        called.wait_for_the_end(SOON)
    });
    let mut caller = Phone::new("anna");
    caller.say(Some(440.0));
    caller.call(address, "ben");
    caller.wait_to_hear(1_000.0, SOON);
    assert!(caller.reinvite("sendonly").contains("m=audio"));
    assert_eq!(caller.press_by_info('5'), 200);
    caller.press('5');
    caller.hang_up();
    assert_eq!(caller.ended(), Some(Ended::OurBye));
    assert_eq!(other.join().unwrap(), Ended::TheirBye);
}

#[test]
fn a_phone_that_refuses_is_heard_as_refusing() {
    let mut called = Phone::new("ben");
    let address = called.address();
    let other = thread::spawn(move || {
        let invite = called.wait_to_be_called(SOON);
        called.refuse(&invite, 486);
    });
    let mut caller = Phone::new("anna");
    caller.invite(address, "ben", true);
    assert_eq!(caller.wait_for_ringing(SOON), 180);
    assert_eq!(caller.final_status(SOON), 486);
    other.join().unwrap();
}
