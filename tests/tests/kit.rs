//! The test phone is tested, against itself and against baresip, before anything is judged by it.

use std::{thread, time::Duration};

use ark_tests::{
    kit::{Baresip, Ended, Phone, SOON, dominant_hz, read_wav, tone},
    need,
};

#[test]
fn two_phones_call_hear_each_other_hold_and_hang_up() {
    let mut called = Phone::new("ben");
    let address = called.address();
    let other = thread::spawn(move || {
        let invite = called.wait_to_be_called(SOON);
        called.say(Some(1_000.0));
        called.answer(&invite);
        called.wait_to_hear(440.0, SOON);
        called.wait_for_key('5', SOON);
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

#[test]
fn baresip_calls_our_phone_and_each_hears_the_other_and_the_key() {
    need!("kit_baresip", "baresip");
    let mut called = Phone::new("ben");
    let uri = called.uri();
    let mut baresip = Baresip::start(&tone(1_500.0, Duration::from_secs(2)));
    let other = thread::spawn(move || {
        let invite = called.wait_to_be_called(SOON);
        called.say(Some(700.0));
        called.answer(&invite);
        called.wait_to_hear(1_500.0, SOON);
        called.wait_for_key('5', SOON);
        called.hang_up();
    });
    baresip.command("dial", &uri);
    baresip.wait_for_event("CALL_ESTABLISHED", SOON);
    baresip.press('5');
    baresip.wait_for_event("CALL_CLOSED", SOON);
    other.join().unwrap();
    let (rate_hz, channels) = read_wav(&baresip.heard().expect("baresip heard something"));
    let heard = channels[0].chunks(rate_hz as usize / 5).any(|part| dominant_hz(part, rate_hz) == Some(700.0));
    assert!(heard, "{} samples without 700 Hz", channels[0].len());
}
