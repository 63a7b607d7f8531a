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
    the_operator_speaks("PCMA/8000/1");
}

/// The caller speaks PCMA: the bridge changes the codec in both directions.
#[test]
fn an_operator_s_phone_of_another_codec_and_the_caller_hear_each_other() {
    need!("live_baresip_codecs", "baresip");
    for codec in ["PCMU/8000/1", "G722/16000/1", "opus/48000/2"] {
        the_operator_speaks(codec);
    }
}

/// The hotline's prompts and the caller's keys with a phone that speaks nothing but this.
#[test]
fn a_caller_s_phone_hears_prompts_in_its_own_codec() {
    need!("live_baresip_prompts", "baresip");
    for codec in ["G722/16000/1", "opus/48000/2"] {
        let gateway = Gateway::start(&tone_site());
        let mut baresip = Baresip::start_speaking(&tone(700.0, MICROPHONE), codec);
        baresip.command("dial", &format!("sip:95188@{}", gateway.sip));
        baresip.wait_for_event("CALL_ESTABLISHED", SOON);
        let deadline = Instant::now() + SOON;
        while baresip.heard().and_then(|file| fs::metadata(file).ok()).map_or(0, |file| file.len()) < 2 * 48_000 {
            assert!(Instant::now() < deadline, "{codec}: baresip hears nothing");
            baresip.process.wait_for_news(Duration::from_millis(50));
        }
        baresip.press('1');
        baresip.wait_for_event("CALL_CLOSED", SOON);
        assert_eq!(gateway.wait_for_event("call.ended", SOON).all("dtmf", "digit"), ["1"], "{codec}");
        let (rate_hz, channels) = read_wav(&baresip.heard().expect("baresip heard something"));
        assert!(hears(&channels[0], rate_hz, 440.0), "{codec}: the prompt is not in what baresip heard");
        assert!(hears(&channels[0], rate_hz, 1_000.0), "{codec}: the second prompt is not in what baresip heard");
    }
}

fn the_operator_speaks(codec: &str) {
    let mut baresip = Baresip::start_speaking(&tone(1_500.0, MICROPHONE), codec);
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
    // A fifth of a second is to be heard whole at the other side, too, behind its jitter buffers and ours.
    caller.talk_for(Duration::from_secs(1));
    caller.hang_up();
    baresip.wait_for_event("CALL_CLOSED", SOON);
    gateway.wait_for_ended(1, SOON);
    let (rate_hz, channels) = read_wav(&baresip.heard().expect("baresip heard something"));
    assert!(hears(&channels[0], rate_hz, 700.0), "{codec}: the caller is not in what baresip heard");
}
