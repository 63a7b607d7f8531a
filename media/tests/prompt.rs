//! Every kind of sound file becomes the same tone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use ark_media::codec;
use ark_media::limits::{PROMPT_DURATION_MAX, TICK};
use ark_media::prompt::{EncodedPrompt, Pcm, Problem, decode};
use ark_media::tone;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/audio/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn files() -> Vec<String> {
    let folder = format!("{}/tests/audio", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Half a second of 440 Hz at half scale, made by another program in each format, must come out as that.
#[test]
fn the_tone_is_found_after_decoding_each_format() {
    let names = files();
    assert_eq!(names.len(), 16, "{names:?}");
    for name in names {
        let pcm = decode(file(&name), &name).unwrap_or_else(|e| panic!("{e}"));
        let at_8k = pcm.resampled(8000);
        let middle = &at_8k.samples[1000..3000];
        let (hz, level) = tone::dominant(middle, 8000).unwrap_or_else(|| panic!("{name}: no tone"));
        assert!((hz - 440.0).abs() <= 4.0, "{name}: {hz} Hz");
        assert!((13_000.0..19_000.0).contains(&level), "{name}: level {level}");
        // Encoders of mp3 and AAC add a frame or two at either end.
        let ms = at_8k.duration().as_millis();
        assert!((480..=620).contains(&ms), "{name}: {ms} ms");
        // Once for every codec is enough: Opus takes its time.
        for codec in codec::ALL.iter().copied().filter(|c| c.concatenates() || name.ends_with(".flac")) {
            let encoded = pcm.encode(codec, TICK);
            let back = encoded.decoded();
            let (hz, _) = tone::dominant(&back[1000..3000], codec.sample_rate_hz()).unwrap();
            assert!((hz - 440.0).abs() <= 4.0, "{name} in {}: {hz} Hz", codec.name());
        }
    }
}

#[test]
fn a_wrong_ending_changes_nothing() {
    for name in files() {
        let right = decode(file(&name), &name).unwrap();
        for ending in ["wav", "mp3", "ogg", "flac", "m4a", "opus", "txt"] {
            let wrong = decode(file(&name), &format!("prompt.{ending}")).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(wrong == right, "{name} as {ending}");
        }
    }
}

#[test]
fn half_a_file_is_what_is_there_or_an_error_with_its_name() {
    for name in files() {
        let mut half = file(&name);
        half.truncate(half.len() / 2);
        match decode(half, &name) {
            Ok(pcm) => assert!((50..450).contains(&pcm.duration().as_millis()), "{name}: {:?}", pcm.duration()),
            // The index of an m4a stands at its end, and half a second of the others is one page, frame or block.
            Err(error) => {
                assert!(["m4a", "flac", "adpcm", "opus", "ogg"].iter().any(|whole| name.contains(whole)), "{error}");
                assert!(error.to_string().starts_with(&name), "{error}");
            }
        }
    }
}

#[test]
fn what_is_no_prompt_is_refused_with_its_name_and_the_reason() {
    let say = |bytes: &[u8], name: &str| decode(bytes.to_vec(), name).unwrap_err().to_string();
    assert_eq!(say(b"", "empty.wav"), "empty.wav: the file is empty");
    let text = say(b"Dear caller, this is a text file, not a sound file.", "letter.txt");
    assert!(text.starts_with("letter.txt: not a sound file that Ark reads (wav, mp3"), "{text}");
    let mut wav = file("pcm16-16k.wav");
    wav.truncate(40);
    let text = say(&wav, "cut.wav");
    assert!(text.starts_with("cut.wav: "), "{text}");
    // Eleven minutes at 8 kHz, under the short header that telephone systems write.
    let samples = (PROMPT_DURATION_MAX.as_secs() as u32 + 60) * 8000;
    let mut long = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x06\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data".to_vec();
    long.extend(samples.to_le_bytes());
    long[4..8].copy_from_slice(&(samples + 36).to_le_bytes());
    long.resize(44 + samples as usize, 0xD5);
    assert_eq!(decode(long, "long.wav").unwrap_err().problem, Problem::TooLong);
}

#[test]
fn a_wav_that_was_written_to_a_pipe_has_no_true_length_and_is_read_all_the_same() {
    let mut wav = file("pcm16-8k-stereo.wav");
    wav[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let data = wav.windows(4).position(|w| w == b"data").unwrap();
    wav[data + 4..data + 8].copy_from_slice(&0x7FFF_F000_u32.to_le_bytes());
    let pcm = decode(wav, "speech").unwrap();
    assert_eq!(pcm.samples.len(), 4000);
}

#[test]
fn damaged_files_are_errors_or_shorter_prompts_and_never_a_panic_or_a_hang() {
    let mut x = 0x1234_5678_u32;
    let mut random = |bound: usize| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as usize % bound
    };
    for name in files() {
        let good = file(&name);
        for round in 0..40 {
            let mut bad = good.clone();
            if round % 4 == 0 {
                bad.truncate(random(bad.len()));
            }
            for _ in 0..=random(8) {
                let length = bad.len().max(1);
                if let Some(byte) = bad.get_mut(random(length)) {
                    *byte = random(256) as u8;
                }
            }
            if let Ok(pcm) = decode(bad, &name) {
                assert!(pcm.duration() <= PROMPT_DURATION_MAX + Duration::from_secs(1));
            }
        }
    }
}

#[test]
fn resampling_keeps_what_fits_and_removes_what_does_not() {
    let second = Duration::from_secs(1);
    let both: Vec<i16> = tone::sine(1000.0, 8000, 44_100, second)
        .iter()
        .zip(tone::sine(6000.0, 8000, 44_100, second))
        .map(|(a, b)| a + b)
        .collect();
    let out = Pcm { samples: both, rate_hz: 44_100 }.resampled(8000);
    assert!((7990..=8010).contains(&out.samples.len()), "{}", out.samples.len());
    let middle = &out.samples[1000..7000];
    assert!((tone::level(middle, 8000, 1000.0) - 8000.0).abs() < 200.0);
    // 6 kHz would fold down to 2 kHz.
    assert!(tone::level(middle, 8000, 2000.0) < 30.0);
    let up = out.resampled(48_000);
    assert!((tone::level(&up.samples[6000..42_000], 48_000, 1000.0) - 8000.0).abs() < 300.0);
}

/// The level of a tone of half scale after it went from one rate to 8 kHz, and the strongest of what it folds down to.
fn after_resampling(rate_hz: u32, hz: f64) -> (f64, f64) {
    let pcm = Pcm { samples: tone::sine(hz, 16_000, rate_hz, Duration::from_millis(500)), rate_hz };
    let out = pcm.resampled(8000).samples;
    let middle = &out[1000..3000];
    (tone::level(middle, 8000, hz), tone::rms(middle) * std::f64::consts::SQRT_2)
}

#[test]
fn the_telephone_band_passes_evenly_and_nothing_folds_into_it_from_any_rate() {
    let decibels = |level: f64| 20.0 * (level / 16_000.0).log10();
    for rate_hz in [11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000] {
        for hz in [300.0, 1000.0, 2000.0, 3000.0, 3400.0] {
            let passed = decibels(after_resampling(rate_hz, hz).0);
            assert!((-1.0..0.2).contains(&passed), "{hz} Hz at {rate_hz} Hz passes with {passed:.1} dB");
        }
        for hz in [4600.0, 5000.0, 6000.0, 7400.0, 9000.0, 15_000.0, 30_000.0] {
            if hz < f64::from(rate_hz) * 0.49 {
                let folded = decibels(after_resampling(rate_hz, hz).1);
                assert!(folded < -60.0, "{hz} Hz at {rate_hz} Hz folds down with {folded:.1} dB");
            }
        }
    }
}

#[test]
fn an_encoded_prompt_knows_its_frames_and_its_length() {
    let pcma = codec::by_name("PCMA", 8000).unwrap();
    let prompt = EncodedPrompt::encode(&[0; 1000], pcma, TICK);
    assert_eq!((prompt.frame_payload(0), prompt.payload().len()), (None, 1000));
    assert_eq!((prompt.duration(), prompt.frame()), (Duration::from_millis(125), TICK));
    assert_eq!(EncodedPrompt::silence(Duration::from_secs(1), pcma, TICK).payload(), &[0xD5; 8000][..]);
    // Payload is filled up to what the codec can cut, or to a frame.
    for (name, clock, samples, bytes) in
        [("PCMU", 8000, 1000, 1000), ("G722", 8000, 1001, 501), ("G729", 8000, 1001, 130)]
    {
        let codec = codec::by_name(name, clock).unwrap();
        assert_eq!(EncodedPrompt::encode(&vec![0; samples], codec, TICK).payload().len(), bytes, "{name}");
    }
    let opus = codec::by_name("opus", 48_000).unwrap();
    let prompt = EncodedPrompt::encode(&[0; 1000], opus, TICK);
    let frames: Vec<&[u8]> = (0..).map_while(|n| prompt.frame_payload(n)).collect();
    assert_eq!((frames.len(), frames.concat()), (4, prompt.payload().to_vec()));
    assert_eq!(prompt.decoded().len(), 4 * 320);
}
