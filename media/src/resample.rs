//! Between the sample rates of telephony, 8, 16 and 48 kHz, frame by frame while a call runs.
//!
//! A finite filter in polyphase form: flat to 3.4 kHz beside 8 kHz and to 7 kHz beside 16 kHz, and more than 60 dB down
//! from where the rest would fold into that. Nothing is allocated once it is made. Files go through
//! [`crate::prompt::Pcm::resampled`], which takes any rate and more time.

use std::f64::consts::PI;
use std::sync::LazyLock;
use std::time::Duration;

/// Taps for each sample of the lower rate: as many as its band leaves room to fall off in (3.4 to 4.6 kHz of 8 kHz, and
/// 7 to 9 of 16 kHz, which is steeper).
const TAPS_8K: usize = 32;
const TAPS_16K: usize = 40;
/// Greatest ratio: 8 to 48 kHz.
const RATIO_MAX: usize = 6;
/// Samples that are worked on at a time: 20 ms at 48 kHz.
const BLOCK: usize = 960;
/// Shape of the filter's window (Kaiser): 70 dB.
const BETA: f64 = 6.76;

static BY_2: LazyLock<Box<[f32]>> = LazyLock::new(|| prototype(2, TAPS_8K));
static BY_3: LazyLock<Box<[f32]>> = LazyLock::new(|| prototype(3, TAPS_16K));
static BY_6: LazyLock<Box<[f32]>> = LazyLock::new(|| prototype(6, TAPS_8K));

/// The low-pass at the higher rate, cut off at half the lower; its gain is 1.
fn prototype(ratio: usize, taps: usize) -> Box<[f32]> {
    let count = taps * ratio;
    let middle = (count as f64 - 1.0) / 2.0;
    let taps = (0..count).map(|at| {
        let from_middle = at as f64 - middle;
        let angle = PI * from_middle / ratio as f64;
        let sinc = if angle == 0.0 { 1.0 } else { angle.sin() / angle };
        let inside = 1.0 - (from_middle / (middle + 0.5)).powi(2);
        sinc * bessel(BETA * inside.max(0.0).sqrt())
    });
    let taps: Vec<f64> = taps.collect();
    let gain: f64 = taps.iter().sum();
    taps.iter().map(|tap| (tap / gain) as f32).collect()
}

/// The modified Bessel function of order zero.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..32 {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum += term;
    }
    sum
}

/// One direction of one stream.
#[derive(Debug, Clone)]
pub struct Resampler {
    from_hz: u32,
    to_hz: u32,
    up: usize,
    down: usize,
    /// For each of the `up` phases the taps that it uses, latest sample last.
    phases: Box<[f32]>,
    /// The samples before the block, and the block.
    line: Box<[f32]>,
    /// Input samples until the next output, when the rate goes down.
    skip: usize,
}

impl Resampler {
    /// Between two of 8000, 16000 and 48000 Hz (the same twice: samples are copied). `None` for other rates.
    pub fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        const RATES: [u32; 3] = [8000, 16_000, 48_000];
        if !RATES.contains(&from_hz) || !RATES.contains(&to_hz) {
            return None;
        }
        let (up, down) = ((to_hz / from_hz).max(1) as usize, (from_hz / to_hz).max(1) as usize);
        let taps: &[f32] = match up.max(down) {
            1 => &[],
            2 => &BY_2,
            3 => &BY_3,
            _ => &BY_6,
        };
        let window = taps.len() / up;
        let mut phases = vec![0.0; taps.len()].into_boxed_slice();
        for (at, tap) in phases.iter_mut().enumerate() {
            let (phase, back) = (at / window, window - 1 - at % window);
            *tap = taps[phase + back * up] * up as f32;
        }
        let line = vec![0.0; window.saturating_sub(1) + BLOCK].into_boxed_slice();
        Some(Self { from_hz, to_hz, up, down, phases, line, skip: 0 })
    }

    /// Samples per second that go in.
    pub fn from_hz(&self) -> u32 {
        self.from_hz
    }

    /// Samples per second that come out.
    pub fn to_hz(&self) -> u32 {
        self.to_hz
    }

    /// How much later a sound comes out than it went in.
    pub fn delay(&self) -> Duration {
        let high = self.from_hz.max(self.to_hz);
        Duration::from_nanos(self.phases.len() as u64 * 500_000_000 / u64::from(high))
    }

    /// Samples that come out at most for so many that go in.
    pub fn most(&self, input: usize) -> usize {
        input * self.up / self.down + 1
    }

    /// Takes `input` and writes what comes of it to `out`; returns the samples written. What does not fit is lost:
    /// [`Resampler::most`] tells how much room is needed.
    pub fn process(&mut self, input: &[i16], out: &mut [i16]) -> usize {
        if self.from_hz == self.to_hz {
            let count = input.len().min(out.len());
            out[..count].copy_from_slice(&input[..count]);
            return count;
        }
        let mut written = 0;
        for block in input.chunks(BLOCK) {
            written += self.block(block, out.get_mut(written..).unwrap_or_default());
        }
        written
    }

    fn block(&mut self, input: &[i16], out: &mut [i16]) -> usize {
        let window = self.phases.len() / self.up;
        let before = window - 1;
        for (place, sample) in self.line[before..].iter_mut().zip(input) {
            *place = f32::from(*sample);
        }
        let mut places = out.iter_mut();
        let mut written = 0;
        let mut at = self.skip;
        while at < input.len() {
            let past = &self.line[at..at + window];
            for phase in self.phases.chunks_exact(window) {
                let Some(place) = places.next() else { break };
                *place = dot(phase, past).round() as i16;
                written += 1;
            }
            at += self.down;
        }
        self.skip = at - input.len();
        self.line.copy_within(input.len()..input.len() + before, 0);
        written
    }

    /// Forgets what went before: the next sample begins another stream.
    pub fn reset(&mut self) {
        self.line.fill(0.0);
        self.skip = 0;
    }
}

/// In eight sums side by side, which the compiler puts into one register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

const _: () = assert!(TAPS_8K.is_multiple_of(8) && TAPS_16K.is_multiple_of(8) && BLOCK.is_multiple_of(RATIO_MAX));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    const PAIRS: [(u32, u32); 6] =
        [(8000, 16_000), (16_000, 8000), (8000, 48_000), (48_000, 8000), (16_000, 48_000), (48_000, 16_000)];

    /// A tone after the change of rate, in frames of 20 ms, without the filter's first moments.
    fn heard(from: u32, to: u32, hz: f64) -> Vec<i16> {
        let pcm = tone::sine(hz, 16_000, from, Duration::from_millis(200));
        let mut resampler = Resampler::new(from, to).unwrap();
        let mut out = Vec::new();
        for frame in pcm.chunks(from as usize / 50) {
            let mut place = vec![0; resampler.most(frame.len())];
            let written = resampler.process(frame, &mut place);
            assert_eq!(written, to as usize / 50, "20 ms stay 20 ms");
            out.extend_from_slice(&place[..written]);
        }
        out.split_off(to as usize / 20)
    }

    fn decibels(level: f64) -> f64 {
        20.0 * (level.max(1e-3) / 16_000.0).log10()
    }

    #[test]
    fn the_voice_band_passes_evenly() {
        for (from, to) in PAIRS {
            let top = if from.min(to) == 8000 { 3400.0 } else { 7000.0 };
            let mut hz = 100.0;
            while hz <= top {
                let level = decibels(tone::level(&heard(from, to, hz), to, hz));
                assert!(level.abs() < 0.1, "{from} to {to}: {hz} Hz passes with {level:.2} dB");
                hz += 550.0;
            }
            let level = decibels(tone::level(&heard(from, to, top), to, top));
            assert!(level.abs() < 0.1, "{from} to {to}: {top} Hz passes with {level:.2} dB");
        }
    }

    #[test]
    fn nothing_folds_into_the_voice_band() {
        for (from, to) in PAIRS.into_iter().filter(|(from, to)| from > to) {
            let half = f64::from(to) / 2.0;
            let first = if to == 8000 { 4600.0 } else { 9000.0 };
            let mut hz = first;
            while hz < f64::from(from) / 2.0 {
                let level = decibels(tone::rms(&heard(from, to, hz)) * 2_f64.sqrt());
                assert!(level < -60.0, "{from} to {to}: {hz} Hz is heard with {level:.1} dB");
                hz += 970.0;
            }
            assert!(first > half);
        }
    }

    #[test]
    fn no_image_is_added_when_the_rate_goes_up() {
        for (from, to) in PAIRS.into_iter().filter(|(from, to)| from < to) {
            let top = if from == 8000 { 3400.0 } else { 7000.0 };
            for hz in [300.0, 1000.0, top] {
                let pcm = heard(from, to, hz);
                for order in 1..=(to / from) / 2 {
                    for image in [f64::from(from * order) - hz, f64::from(from * order) + hz] {
                        if image < f64::from(to) / 2.0 {
                            let level = decibels(tone::level(&pcm, to, image));
                            assert!(level < -60.0, "{from} to {to}: {hz} Hz leaves {level:.1} dB at {image} Hz");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn frames_of_any_length_give_the_same_stream() {
        for (from, to) in PAIRS {
            let pcm = tone::sine(700.0, 9000, from, Duration::from_millis(300));
            let mut whole = vec![0; pcm.len() * 6 + 8];
            let mut resampler = Resampler::new(from, to).unwrap();
            let length = resampler.process(&pcm, &mut whole);
            resampler.reset();
            let mut pieces = Vec::new();
            let (mut at, mut step) = (0, 1);
            while at < pcm.len() {
                let end = (at + step).min(pcm.len());
                let mut place = vec![0; resampler.most(end - at)];
                let written = resampler.process(&pcm[at..end], &mut place);
                pieces.extend_from_slice(&place[..written]);
                (at, step) = (end, step % 700 + 37);
            }
            assert_eq!(pieces, &whole[..length], "{from} to {to}");
        }
    }

    #[test]
    fn its_delay_is_what_it_says() {
        for (from, to) in PAIRS {
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut click = vec![0; from as usize / 10];
            click[0] = 20_000;
            let mut out = vec![0; to as usize / 10];
            resampler.process(&click, &mut out);
            let peak = out.iter().enumerate().max_by_key(|(_, s)| s.unsigned_abs()).unwrap().0;
            let at = Duration::from_secs_f64(peak as f64 / f64::from(to));
            let off = at.abs_diff(resampler.delay());
            assert!(off < Duration::from_micros(150), "{from} to {to}: {at:?}, not {:?}", resampler.delay());
            assert!(resampler.delay() <= Duration::from_millis(2));
        }
    }

    #[test]
    fn other_rates_are_refused_and_the_same_rate_is_a_copy() {
        assert!(Resampler::new(44_100, 8000).is_none() && Resampler::new(8000, 12_000).is_none());
        let mut copy = Resampler::new(16_000, 16_000).unwrap();
        let mut out = [0; 3];
        assert_eq!((copy.process(&[1, 2, 3, 4], &mut out), out), (3, [1, 2, 3]));
        assert_eq!((copy.from_hz(), copy.to_hz(), copy.delay()), (16_000, 16_000, Duration::ZERO));
        let mut short = [0; 5];
        assert_eq!(Resampler::new(8000, 48_000).unwrap().process(&[7; 160], &mut short), 5, "no overrun");
    }
}
