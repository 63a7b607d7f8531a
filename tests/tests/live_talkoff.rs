//! Minutes of synthesised speech press no key: the talk-off test of the detector of tones, with voices of men and women,
//! English and Mandarin, through G.711 at three levels. Keys spoken over are still heard.

use std::{process::Command, time::Duration};

use ark_media::{
    codec,
    dtmf::{Digit, Event, inband::Detector},
    prompt, tone,
};
use ark_tests::need;

const ENGLISH: &str = "Thank you for calling. Your call may be recorded. Please listen carefully, because our menu has changed. \
    For billing press one. For a broken line press two. To hear the hours of our offices, press three. If you would like to \
    leave a message for one of our colleagues, please say your name, your number, and the reason of your call after the tone. \
    Peter Piper picked a peck of pickled peppers. She sells sea shells by the sea shore. How much wood would a woodchuck \
    chuck, if a woodchuck could chuck wood? Seven hundred and seventy seven, eight hundred and fifty two, nine four one. \
    Ooh, ah, ee, oh, oo. Hmm, well, yes, no, maybe. We were away a year ago. Roar, lion, roar. Many a morning I know you.";
const MANDARIN: &str = "ni3 hao3, huan1 ying2 zhi4 dian4. qing3 an4 yi1, cha2 xun2 zhang4 dan1. qing3 an4 er4, bao4 xiu1. \
    ma1 ma5 qi2 ma3, ma3 man4, ma1 ma5 ma4 ma3. si4 shi4 si4, shi2 shi4 shi2, shi2 si4 shi4 shi2 si4. \
    nin2 de5 dian4 hua4 hao4 ma3 shi4 duo1 shao5? yi1 er4 san1 si4 wu3 liu4 qi1 ba1 jiu3 ling2.";

/// Speech of one voice at 8 kHz.
fn speak(voice: &str, pitch: u32, text: &str) -> Vec<i16> {
    let output = Command::new("espeak-ng")
        .args(["-v", voice, "-p", &pitch.to_string(), "-s", "150", "--stdout", text])
        .output()
        .expect("espeak-ng runs");
    assert!(output.status.success(), "espeak-ng: {}", String::from_utf8_lossy(&output.stderr));
    let pcm = prompt::decode(output.stdout, "speech.wav").expect("espeak-ng writes WAV");
    pcm.resampled(8000).samples
}

fn keys(pcm: &[i16]) -> String {
    let mut detector = Detector::new(8000);
    let mut keys = String::new();
    detector.feed(pcm, |event| {
        if let Event::Start(digit) = event {
            keys.push(digit.as_char());
        }
    });
    keys
}

#[test]
fn speech_presses_no_key_and_hides_none() {
    need!("speech_presses_no_key_and_hides_none", "espeak-ng");
    let pcma = codec::by_name("PCMA", 8000).expect("PCMA is there");
    let (mut seconds, mut pressed) = (0, Vec::new());
    for (voice, text) in [("en-us", ENGLISH), ("en-gb", ENGLISH), ("en-us+f3", ENGLISH), ("cmn-latn-pinyin", MANDARIN)]
    {
        for pitch in [10, 30, 50, 70, 90] {
            let speech = speak(voice, pitch, text);
            seconds += speech.len() / 8000;
            for shift in [0, 1, 3] {
                let quieter: Vec<i16> = speech.iter().map(|sample| sample >> shift).collect();
                let mut payload = vec![0; quieter.len()];
                pcma.encoder().encode(&quieter, &mut payload);
                let heard = keys(&codec::decode_all(pcma, &payload));
                pressed.extend(heard.chars().map(|key| format!("{key} by {voice}, pitch {pitch}, {shift} bits down")));
            }
            // A key over speech 12 dB and more below it.
            let key = tone::dual(Digit::from_char('5').expect("5 is a key"), 9000, 8000, Duration::from_millis(100));
            let mut over: Vec<i16> = speech.iter().skip(8000).take(800).map(|sample| sample >> 3).collect();
            over.iter_mut().zip(key).for_each(|(sample, key)| *sample += key);
            over.extend([0; 800]);
            assert_eq!(keys(&over), "5", "{voice}, pitch {pitch}");
        }
    }
    assert!(seconds > 300, "only {seconds} s of speech");
    assert!(pressed.is_empty(), "in {seconds} s of speech, three times each: {pressed:?}");
}
