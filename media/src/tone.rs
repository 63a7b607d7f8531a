//! Tones: made and found, for tests, the self-call and the benches.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::dtmf::Digit;

/// A sine of `hz` with this peak amplitude (32767 is full scale), mono at `rate_hz`.
pub fn sine(hz: f64, amplitude: i16, rate_hz: u32, duration: Duration) -> Vec<i16> {
    sum(&[hz], amplitude, rate_hz, duration)
}

/// The two tones of a key (ITU-T Q.23), each with this amplitude.
pub fn dual(digit: Digit, amplitude: i16, rate_hz: u32, duration: Duration) -> Vec<i16> {
    const LOW: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
    const HIGH: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
    const ROWS: &[u8; 16] = b"123A456B789C*0#D";
    let at = ROWS.iter().position(|c| char::from(*c) == digit.as_char()).unwrap_or(0);
    sum(&[LOW[at / 4], HIGH[at % 4]], amplitude, rate_hz, duration)
}

fn sum(tones: &[f64], amplitude: i16, rate_hz: u32, duration: Duration) -> Vec<i16> {
    let samples = (duration.as_micros() as u64 * u64::from(rate_hz) / 1_000_000) as usize;
    (0..samples)
        .map(|i| {
            let at = i as f64 * TAU / f64::from(rate_hz);
            let value: f64 = tones.iter().map(|hz| (hz * at).sin() * f64::from(amplitude)).sum();
            value.round().clamp(-32_768.0, 32_767.0) as i16
        })
        .collect()
}

/// A tone that sounds again and again for as long as something lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repeated {
    /// Frequency.
    pub hz: u32,
    /// Peak amplitude.
    pub amplitude: i16,
    /// How long it sounds.
    pub length: Duration,
    /// From the beginning of one to that of the next.
    pub every: Duration,
}

/// Adds a [`Repeated`] tone to a stream of samples; the first one sounds at once.
#[derive(Debug, Clone)]
pub struct Overlay {
    tone: Repeated,
    rate_hz: u32,
    /// Samples since the last one began.
    at: u64,
}

/// Edges of a tone that is added, so that it does not click.
const EDGE: Duration = Duration::from_millis(5);

impl Overlay {
    /// For a stream of this rate.
    pub fn new(tone: Repeated, rate_hz: u32) -> Self {
        Self { tone, rate_hz, at: 0 }
    }

    /// Whether it adds just this.
    pub fn is_for(&self, tone: Repeated, rate_hz: u32) -> bool {
        (self.tone, self.rate_hz) == (tone, rate_hz)
    }

    /// The next stretch of the stream. Not `sounding`: nothing is added, and the next tone sounds when it is again.
    pub fn add(&mut self, pcm: &mut [i16], sounding: bool) {
        let samples = |time: Duration| time.as_micros() as u64 * u64::from(self.rate_hz) / 1_000_000;
        let (length, every) = (samples(self.tone.length), samples(self.tone.every).max(1));
        if !sounding {
            self.at = 0;
            return;
        }
        let count = pcm.len() as u64;
        if self.at >= length && self.at + count <= every {
            self.at += count;
            return;
        }
        let edge = samples(EDGE).max(1);
        for sample in pcm {
            self.at %= every;
            if self.at < length {
                let angle = self.at as f64 * TAU * f64::from(self.tone.hz) / f64::from(self.rate_hz);
                let fade = (self.at.min(length - self.at) as f64 / edge as f64).min(1.0);
                *sample = sample.saturating_add((angle.sin() * f64::from(self.tone.amplitude) * fade) as i16);
            }
            self.at += 1;
        }
    }
}

/// Peak amplitude of the part of `pcm` that is a sine of `hz` (Goertzel): about 16384 for a half-scale tone, near 0
/// when the tone is not there. At least a few periods are needed.
pub fn level(pcm: &[i16], rate_hz: u32, hz: f64) -> f64 {
    if pcm.is_empty() {
        return 0.0;
    }
    let omega = TAU * hz / f64::from(rate_hz);
    let factor = 2.0 * omega.cos();
    let (mut before, mut last) = (0.0, 0.0);
    for sample in pcm {
        let next = f64::from(*sample) + factor * last - before;
        before = last;
        last = next;
    }
    let power = last * last + before * before - factor * last * before;
    2.0 * power.max(0.0).sqrt() / pcm.len() as f64
}

/// Root mean square of `pcm`; a sine's is its amplitude over the square root of two.
pub fn rms(pcm: &[i16]) -> f64 {
    let energy: f64 = pcm.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    (energy / pcm.len().max(1) as f64).sqrt()
}

/// The strongest tone between 50 Hz and a little under half the rate, to 1 Hz, and its level; `None` when nothing
/// stands out (silence, noise): less than a quarter of the energy is in one tone.
pub fn dominant(pcm: &[i16], rate_hz: u32) -> Option<(f64, f64)> {
    let pcm = &pcm[..pcm.len().min(rate_hz as usize)];
    if pcm.len() < rate_hz as usize / 50 {
        return None;
    }
    let top = f64::from(rate_hz) * 0.49;
    // A bin is rate / length wide: steps of half a bin cannot miss a peak.
    let coarse = (f64::from(rate_hz) / pcm.len() as f64 / 2.0).max(1.0);
    let steps = ((top - 50.0) / coarse) as usize;
    let best = |from: f64, step: f64, count: usize| {
        (0..=count)
            .map(|i| from + i as f64 * step)
            .map(|hz| (hz, level(pcm, rate_hz, hz)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let (near, _) = best(50.0, coarse, steps)?;
    let (hz, level) = best((near - coarse).max(1.0), 1.0, (2.0 * coarse) as usize)?;
    let energy = rms(pcm);
    (energy > 10.0 && level * level / 2.0 > energy * energy / 4.0).then_some((hz, level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_with_its_level() {
        let pcm = sine(440.0, 10_000, 8000, Duration::from_millis(500));
        assert_eq!(pcm.len(), 4000);
        let (hz, level) = dominant(&pcm, 8000).unwrap();
        assert!((hz - 440.0).abs() <= 1.0 && (level - 10_000.0).abs() < 200.0, "{hz} {level}");
        assert!(super::level(&pcm, 8000, 1000.0) < 100.0);
        assert!((rms(&pcm) - 7071.0).abs() < 20.0);
    }

    #[test]
    fn a_repeated_tone_is_added_at_its_times_in_pieces_of_any_length() {
        let tone =
            Repeated { hz: 1400, amplitude: 3000, length: Duration::from_millis(200), every: Duration::from_secs(2) };
        let voice = sine(500.0, 6000, 8000, Duration::from_secs(5));
        for piece in [1, 80, 160, 333, 8000] {
            let mut overlay = Overlay::new(tone, 8000);
            assert!(overlay.is_for(tone, 8000) && !overlay.is_for(tone, 16_000));
            let mut pcm = voice.clone();
            // Paused in the third second.
            for (at, part) in pcm.chunks_mut(piece).enumerate() {
                overlay.add(part, !(16_000..24_000).contains(&(at * piece)));
            }
            let heard: Vec<bool> = pcm.chunks(1600).map(|part| level(part, 8000, 1400.0) > 1500.0).collect();
            let at: Vec<usize> = (0..heard.len()).filter(|at| heard[*at]).collect();
            // At once, and again at once after the pause; a piece may be as long as a second.
            assert!(at[0] == 0 && at.iter().all(|at| *at == 0 || *at == 15 || *at == 16), "{piece}: {at:?}");
            assert!(at.len() >= 2, "{piece}: {at:?}");
            assert!(level(&pcm, 8000, 500.0) > 5900.0);
        }
    }

    #[test]
    fn silence_and_noise_have_no_tone() {
        assert_eq!(dominant(&[0; 4000], 8000), None);
        let mut x = 1_u32;
        let noise: Vec<i16> = (0..4000)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 18) as i16
            })
            .map(|s| s - 8192)
            .collect();
        assert_eq!(dominant(&noise, 8000), None);
        assert_eq!(dominant(&[], 8000), None);
    }

    #[test]
    fn a_key_has_its_two_tones() {
        let pcm = dual(Digit::from_char('5').unwrap(), 8000, 8000, Duration::from_millis(100));
        for hz in [770.0, 1336.0] {
            assert!(level(&pcm, 8000, hz) > 7500.0);
        }
        assert!(level(&pcm, 8000, 941.0) < 800.0 && level(&pcm, 8000, 1477.0) < 800.0);
    }
}
