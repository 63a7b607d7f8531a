//! baresip, a softphone that people use, calls the hotline: it hears the prompt and presses a key.

use std::{fs, time::Duration, time::Instant};

use ark_tests::{
    kit::{Baresip, Gateway, Phone, SOON, dominant_hz, read_wav, tone, tone_site},
    need,
};

/// baresip hangs up when its microphone's file ends.
const MICROPHONE: Duration = Duration::from_secs(60);

/// Whether that tone fills a fifth of a second somewhere in the samples.
fn hears(pcm: &[i16], rate_hz: u32, hz: f64) -> bool {
    pcm.chunks(rate_hz as usize / 5)
        .any(|part| dominant_hz(part, rate_hz).is_some_and(|found| (found - hz).abs() < 11.0))
}

#[test]
fn baresip_hears_the_prompt_and_presses_a_key() {
    need!("live_baresip", "baresip");
    let gateway = Gateway::start(&tone_site());
    let mut baresip = Baresip::start(&tone(700.0, MICROPHONE));
    baresip.command("dial", &format!("sip:95188@{}", gateway.sip));
    baresip.wait_for_event("CALL_ESTABLISHED", SOON);
    gateway.wait_for_event("prompt.started", SOON);
    // Two seconds of sound are in its file before it presses the key.
    let deadline = Instant::now() + SOON;
    while baresip.heard().and_then(|file| fs::metadata(file).ok()).map_or(0, |file| file.len()) < 2 * 16_000 {
        assert!(Instant::now() < deadline, "baresip hears nothing");
        baresip.process.wait_for_news(Duration::from_millis(50));
    }
    baresip.press('1');
    baresip.wait_for_event("CALL_CLOSED", SOON);
    let timeline = gateway.wait_for_event("call.ended", SOON);
    timeline.assert_order(&[
        "call.ringing",
        "call.answered",
        "prompt.started",
        "dtmf",
        "prompt.finished",
        "call.ended",
    ]);
    assert_eq!(timeline.all("dtmf", "digit"), ["1"]);
    assert_eq!(timeline.all("ivr.entered", "state"), ["welcome", "second", "bye"]);
    let (rate_hz, channels) = read_wav(&baresip.heard().expect("baresip heard something"));
    assert!(hears(&channels[0], rate_hz, 440.0), "the prompt is not in what baresip heard");
    assert!(hears(&channels[0], rate_hz, 1_000.0), "the second prompt is not in what baresip heard");
}

#[test]
fn baresip_answers_as_the_operator_and_both_hear_each_other() {
    need!("live_baresip_operator", "baresip");
    let mut baresip = Baresip::start(&tone(1_500.0, MICROPHONE));
    let mut site = tone_site();
    site.operators = vec![format!("sip:chen@{}", baresip.sip)];
    let gateway = Gateway::start(&site);
    let mut caller = Phone::new("dora");
    caller.say(Some(700.0));
    caller.call(gateway.sip, "95188");
    caller.wait_to_hear(440.0, SOON);
    caller.press('0');
    baresip.wait_for_event("CALL_ESTABLISHED", SOON * 2);
    caller.wait_to_hear(1_500.0, SOON);
    caller.hang_up();
    baresip.wait_for_event("CALL_CLOSED", SOON);
    gateway.wait_for_ended(1, SOON);
    let (rate_hz, channels) = read_wav(&baresip.heard().expect("baresip heard something"));
    assert!(hears(&channels[0], rate_hz, 700.0), "the caller is not in what baresip heard");
}
