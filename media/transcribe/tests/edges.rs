//! The times of utterances against what synthetic voices say, over a telephone line: each end within 100 ms of the sound.

#![allow(clippy::print_stdout, reason = "what was measured is printed")]

use std::process::Command;
use std::time::Duration;

use ark_media::{codec, prompt};
use ark_transcribe::stream::{Stream, StreamConfig};
use ark_transcribe::{Recognised, SpeechEvent};

/// Weak beginnings (早, "The"), and ends without voice ("late", "thanks", "back").
const SAID: [(&str, &str); 12] = [
    ("cmn-latn-pinyin", "包裹到哪里了。"),
    ("cmn-latn-pinyin", "付款失败了，谢谢。"),
    ("cmn-latn-pinyin", "你们扣了四次款。"),
    ("cmn-latn-pinyin", "早上好，我想退款。"),
    ("cmn-latn-pinyin", "请说慢一点，谢谢你。"),
    ("en-us", "The parcel is late."),
    ("en-us", "We were charged three times."),
    ("en-us", "How do I send a picture?"),
    ("en-us", "My parcel never arrived, thanks."),
    ("en-us", "I want to complain, thanks."),
    ("en-us", "When will my money come back?"),
    ("en-us", "I need my refund."),
];
const OFF_MAX_MS: i64 = 100;

/// A second of silence, the voice, and silence behind it, after A-law; and where the voice is, in milliseconds.
fn over_a_line(voice: &str, text: &str) -> Option<(Vec<i16>, i64, i64)> {
    let spoken = Command::new("espeak-ng").args(["-v", voice, "-s", "150", "--stdout", text]).output().ok()?;
    let pcm = prompt::decode(spoken.stdout, "speech.wav").ok()?.resampled(8_000).samples;
    let loud = |sample: &i16| sample.unsigned_abs() > 700;
    let (begin, end) = (pcm.iter().position(loud)?, pcm.iter().rposition(loud)?);
    let mut line = vec![0; 8_000];
    line.extend(&pcm);
    line.resize((line.len() + 10_400).next_multiple_of(160), 0);
    let alaw = codec::by_static_payload_type(8)?;
    let mut bytes = vec![0; line.len()];
    let coded = alaw.encoder().encode(&line, &mut bytes);
    alaw.decoder().decode(&bytes[..coded], &mut line);
    Some((line, begin as i64 / 8 + 1_000, end as i64 / 8 + 1_000))
}

#[test]
fn utterances_begin_and_end_where_their_sound_does() {
    if Command::new("espeak-ng").arg("--version").output().is_err() {
        assert!(std::env::var("ARK_CI").as_deref() != Ok("1"), "cannot run: espeak-ng is not installed");
        println!("SKIPPED utterances_begin_and_end_where_their_sound_does: espeak-ng is not installed");
        return;
    }
    let config = StreamConfig { partials: false, ..StreamConfig::default() };
    let mut most = 0;
    for (voice, text) in SAID {
        let (line, begin, end) = over_a_line(voice, text).expect("espeak-ng speaks");
        let mut stream = Stream::new(config.clone(), 8_000).expect("8 kHz");
        let (mut first, mut last) = (None, 0);
        for (number, frame) in line.chunks(160).enumerate() {
            stream.push(Duration::from_millis(number as u64 * 20), frame);
            while let Some(work) = stream.work() {
                let read = Recognised { text: text.to_owned(), ..Recognised::default() };
                stream.answer(work.ticket, Ok(read), false);
            }
            while let Some(event) = stream.poll() {
                if let SpeechEvent::Final { start, end, .. } = event {
                    first.get_or_insert(start.as_millis() as i64);
                    last = end.as_millis() as i64;
                }
            }
        }
        let off = [first.expect("a voice is heard") - begin, last - end];
        println!("{text} begins {:+} ms, ends {:+} ms", off[0], off[1]);
        assert!(off.iter().all(|off| off.abs() <= OFF_MAX_MS), "{text}: {off:?} ms");
        most = off.iter().map(|off| off.abs()).chain([most]).max().unwrap_or(0);
    }
    println!("times are off by {most} ms at most");
}
