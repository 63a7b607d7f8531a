//! Sounds that need no file: ringback, music, beep and the tone that stands for a missing prompt.

use std::f32::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use ark_media::codec::CodecRef;
use ark_media::prompt::{EncodedPrompt, Pcm};

use super::FRAME;
use super::encoded::{Encoded, encode};

const RATE_HZ: u32 = 8_000;

/// The built-in sounds in every codec of the site.
pub(super) struct Builtin {
    ringback: Encoded,
    music: Encoded,
    beep: Encoded,
    error_tone: Encoded,
}

impl Builtin {
    pub(super) fn new(codecs: &[CodecRef]) -> Self {
        let encode = |pcm: &Pcm| encode(pcm, codecs);
        Self {
            ringback: encode(&ringback()),
            music: encode(&music()),
            beep: encode(&pcm(&tone(1_000.0, 0.35, Duration::from_millis(400)))),
            error_tone: encode(&error_tone()),
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> [&Encoded; 4] {
        [&self.ringback, &self.music, &self.beep, &self.error_tone]
    }

    pub(super) fn ringback(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        found(&self.ringback, codec)
    }

    pub(super) fn music(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        found(&self.music, codec)
    }

    pub(super) fn beep(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        found(&self.beep, codec)
    }

    pub(super) fn error_tone(&self, codec: CodecRef) -> Arc<EncodedPrompt> {
        found(&self.error_tone, codec)
    }
}

fn found(encoded: &Encoded, codec: CodecRef) -> Arc<EncodedPrompt> {
    encoded.of(codec).unwrap_or_else(|| EncodedPrompt::silence(Duration::from_secs(1), codec, FRAME))
}

fn pcm(samples: &[f32]) -> Pcm {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of a sample")]
    let samples = samples.iter().map(|s| (s.clamp(-1.0, 1.0) * 32_767.0) as i16).collect();
    Pcm { samples, rate_hz: RATE_HZ }
}

fn length(duration: Duration) -> usize {
    usize::try_from(duration.as_millis()).unwrap_or(0) * RATE_HZ as usize / 1_000
}

/// A sine with soft edges of 10 ms, so that it does not click.
fn tone(hz: f32, level: f32, duration: Duration) -> Vec<f32> {
    let total = length(duration);
    let edge = length(Duration::from_millis(10)).max(1);
    (0..total)
        .map(|n| {
            let fade = (n.min(total - n) as f32 / edge as f32).min(1.0);
            (TAU * hz * n as f32 / RATE_HZ as f32).sin() * level * fade
        })
        .collect()
}

fn silence(duration: Duration) -> Vec<f32> {
    vec![0.0; length(duration)]
}

/// China's ringback (ITU-T E.180 supplement 2): 450 Hz, 1 s on, 4 s off.
fn ringback() -> Pcm {
    let mut samples = tone(450.0, 0.2, Duration::from_secs(1));
    samples.extend(silence(Duration::from_secs(4)));
    pcm(&samples)
}

/// Three falling tones twice: something is missing here, and the line is alive.
fn error_tone() -> Pcm {
    let mut samples = Vec::new();
    for hz in [900.0, 700.0, 500.0] {
        samples.extend(tone(hz, 0.25, Duration::from_millis(150)));
    }
    samples.extend(silence(Duration::from_millis(250)));
    pcm(&samples)
}

/// A note with its octave, dying away: soft, and within a telephone's band.
fn bell(hz: f32, level: f32, duration: Duration) -> Vec<f32> {
    let total = length(duration);
    (0..total)
        .map(|n| {
            let t = n as f32 / RATE_HZ as f32;
            let rise = (t / 0.01).min(1.0);
            let fall = (-2.2 * t).exp();
            level * rise * fall * ((TAU * hz * t).sin() + 0.35 * (TAU * 2.0 * hz * t).sin())
        })
        .collect()
}

/// Sixteen seconds of a pentatonic figure over a slow bass; repeats without a seam.
fn music() -> Pcm {
    const BEAT: Duration = Duration::from_millis(500);
    // C D E G A of the pentatonic scale; 0 is a rest.
    const MELODY: [f32; 32] = [
        523.3, 0.0, 659.3, 784.0, 880.0, 0.0, 784.0, 659.3, 587.3, 0.0, 659.3, 587.3, 523.3, 0.0, 440.0, 0.0, 440.0,
        0.0, 523.3, 587.3, 659.3, 0.0, 587.3, 523.3, 392.0, 0.0, 440.0, 523.3, 523.3, 0.0, 0.0, 0.0,
    ];
    const BASS: [f32; 8] = [261.6, 220.0, 293.7, 196.0, 220.0, 261.6, 196.0, 261.6];
    let total = length(BEAT) * MELODY.len();
    let mut mix = vec![0.0_f32; total];
    let mut add = |at: usize, note: Vec<f32>| {
        for (n, sample) in note.into_iter().enumerate() {
            // What rings beyond the end rings into the beginning: no seam.
            if let Some(slot) = mix.get_mut((at + n) % total) {
                *slot += sample;
            }
        }
    };
    for (beat, hz) in MELODY.iter().enumerate().filter(|(_, hz)| **hz > 0.0) {
        add(beat * length(BEAT), bell(*hz, 0.14, Duration::from_millis(1_800)));
    }
    for (bar, hz) in BASS.iter().enumerate() {
        add(bar * 4 * length(BEAT), bell(*hz, 0.10, Duration::from_millis(2_500)));
    }
    pcm(&mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn music_is_long_enough_loud_enough_and_never_clipped() {
        let music = music();
        assert_eq!(music.duration(), Duration::from_secs(16));
        let peak = music.samples.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!((4_000..30_000).contains(&peak), "{peak}");
        // No second of it is silence.
        for second in music.samples.chunks(8_000) {
            assert!(second.iter().any(|s| s.unsigned_abs() > 300));
        }
    }

    #[test]
    fn ringback_is_one_second_of_450_hz_and_four_of_silence() {
        let ring = ringback();
        assert_eq!(ring.duration(), Duration::from_secs(5));
        assert!(ring.samples[8_000..].iter().all(|s| *s == 0));
    }
}
