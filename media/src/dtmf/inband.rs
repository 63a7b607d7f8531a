//! Keys as tones in the audio (ITU-T Q.23, recognised as Q.24 asks): for peers that send neither telephone-events nor
//! SIP INFO.
//!
//! Windows of 16 ms, one each 8 ms, are held against the eight frequencies. A window is of a key when two of them, one
//! of each group, hold nearly all of its energy, at believable levels, each within its frequency's tolerance and without
//! a second harmonic. Three such windows in a row with steady levels (32 ms: any tone of 40 ms holds them) are a key.
//! Speech passes through a window now and then, and hardly ever through three.

use std::time::Duration;

use super::{Digit, Event};
use crate::limits::AUDIO_RATE_HZ;

/// Low group, then high group (ITU-T Q.23).
const TONES_HZ: [f32; 8] = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];
/// The keys, row by row.
const KEYS: &[u8; 16] = b"123A456B789C*0#D";
/// Length of a window.
const WINDOW: Duration = Duration::from_millis(16);
/// Windows overlap by half.
const HOP: Duration = Duration::from_millis(8);
/// Windows in a row that make a key.
const HITS: u32 = 3;
/// Windows in a row without the key that end it: a gap of 20 ms (a lost packet) is bridged, one of 40 ms is not.
const MISSES: u32 = 5;
/// The peak of a sine of 0 dBm0: 3.14 dB below full scale (ITU-T G.711, A-law).
const PEAK_0_DBM0: f32 = 22_828.0;
/// Quietest tone: -33 dBm0, 3 dB below the range that is promised.
const LEVEL_MIN_DBM0: f32 = -33.0;
/// The high tone may be so much louder than the low one (Q.24: 4 dB; the other tone's skirts add 1.5 dB), in dB.
const TWIST_HIGH_DB: f32 = 5.5;
/// The low tone may be so much louder than the high one (Q.24: 8 dB), in dB.
const TWIST_LOW_DB: f32 = 10.0;
/// A tone is so much louder than every other one of its group, in dB.
const GROUP_DB: f32 = 6.0;
/// Share of a window's energy that the two tones hold: noise of 10 dB below them leaves a little more.
const SHARE_MIN: f32 = 0.82;
/// The second harmonic is so much quieter than its tone, in dB: a voice's is not.
const HARMONIC_DB: f32 = 12.0;
/// A window of 16 ms tells tones apart that are so far from each other.
const HARMONIC_APART_HZ: f32 = 160.0;
/// Tones are taken at their frequency and this far off it on both sides; Q.24 asks for 1.5 %.
const OFF: f32 = 0.013;
/// They are not taken when they are stronger so far off: Q.24 asks to refuse 3.5 %.
const FAR_OFF: f32 = 0.035;
/// Levels of the windows of one key differ by no more than this, in dB.
const STEADY_DB: f32 = 3.5;

/// Finds keys in one stream of PCM. It allocates when it is made and never again.
#[derive(Debug)]
pub struct Detector {
    rate_hz: u32,
    window: Box<[i16]>,
    filled: usize,
    hop: usize,
    factors: [f32; 8],
    /// The key of the last windows, how many there were, and the levels of the first.
    candidate: Option<(Digit, u32, f32, f32)>,
    held: Option<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    digit: Digit,
    /// Windows since the first of the key, and those at the end in which it was not found.
    windows: u32,
    misses: u32,
}

/// What a window of a key holds.
#[derive(Debug, Clone, Copy)]
struct Hit {
    digit: Digit,
    low: f32,
    high: f32,
}

fn ratio(db: f32) -> f32 {
    10_f32.powf(db / 10.0)
}

fn factor(hz: f32, rate_hz: u32) -> f32 {
    2.0 * (std::f32::consts::TAU * hz / rate_hz as f32).cos()
}

impl Detector {
    /// For PCM of this rate, 8000 to 48000; others are taken as the nearest of these.
    pub fn new(rate_hz: u32) -> Self {
        let rate_hz = rate_hz.clamp(*AUDIO_RATE_HZ.start(), *AUDIO_RATE_HZ.end());
        let samples = |time: Duration| (time.as_millis() as u32 * rate_hz / 1000) as usize;
        Self {
            rate_hz,
            window: vec![0; samples(WINDOW)].into_boxed_slice(),
            filled: 0,
            hop: samples(HOP),
            factors: TONES_HZ.map(|hz| factor(hz, rate_hz)),
            candidate: None,
            held: None,
        }
    }

    /// Whether a key is down.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Takes audio in order, in pieces of any length, and tells `event` what happens to keys: [`Event::Start`] when a
    /// key is sure (32 to 48 ms after its beginning), [`Event::Held`] while it goes on, [`Event::End`] when it is over.
    pub fn feed(&mut self, mut pcm: &[i16], mut event: impl FnMut(Event)) {
        while !pcm.is_empty() {
            let (taken, rest) = pcm.split_at(pcm.len().min(self.window.len() - self.filled));
            self.window[self.filled..self.filled + taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            pcm = rest;
            if self.filled == self.window.len() {
                let hit = self.hit();
                self.step(hit, &mut event);
                self.window.copy_within(self.hop.., 0);
                self.filled -= self.hop;
            }
        }
    }

    fn step(&mut self, hit: Option<Hit>, event: &mut impl FnMut(Event)) {
        let steady = |a: f32, b: f32| a < b * ratio(STEADY_DB) && b < a * ratio(STEADY_DB);
        self.candidate = hit.map(|hit| match self.candidate {
            Some((digit, count, low, high)) if digit == hit.digit && steady(low, hit.low) && steady(high, hit.high) => {
                (digit, count + 1, low, high)
            }
            _ => (hit.digit, 1, hit.low, hit.high),
        });
        let sure = self.candidate.filter(|(_, count, ..)| *count >= HITS).map(|(digit, ..)| digit);
        if let Some(held) = &mut self.held {
            held.windows += 1;
            if hit.is_some_and(|hit| hit.digit == held.digit) {
                held.misses = 0;
                event(Event::Held(held.digit));
                return;
            }
            held.misses += 1;
            if held.misses < MISSES && sure.is_none() {
                return;
            }
            let heard = held.windows - held.misses;
            event(Event::End(held.digit, WINDOW + HOP * heard.saturating_sub(1)));
            self.held = None;
        }
        if let Some(digit) = sure {
            event(Event::Start(digit));
            self.held = Some(Held { digit, windows: HITS, misses: 0 });
        }
    }

    /// The key that the window is of.
    fn hit(&self) -> Option<Hit> {
        let energy: f32 = self.window.iter().map(|sample| f32::from(*sample) * f32::from(*sample)).sum();
        let length = self.window.len() as f32;
        // The energy of a window full of one tone of the least level.
        let least = (PEAK_0_DBM0 * ratio(LEVEL_MIN_DBM0).sqrt()).powi(2) * length / 2.0;
        if energy < least {
            return None;
        }
        let powers = powers(&self.window, self.factors);
        let (row, low) = strongest(&powers[..4])?;
        let (column, high) = strongest(&powers[4..])?;
        // A tone's power is (peak * length / 2)^2: half its energy times the length.
        let as_energy = 2.0 / length;
        // What is far from the mark is not worth the closer look: off its frequency a tone loses 2 dB here.
        if low.min(high) * as_energy < least * 0.6 || (low + high) * as_energy < energy * SHARE_MIN * 0.6 {
            return None;
        }
        let (low_hz, high_hz) = (TONES_HZ[row], TONES_HZ[4 + column]);
        let near = [low_hz * (1.0 - OFF), low_hz * (1.0 + OFF), high_hz * (1.0 - OFF), high_hz * (1.0 + OFF)];
        let far =
            [low_hz * (1.0 - FAR_OFF), low_hz * (1.0 + FAR_OFF), high_hz * (1.0 - FAR_OFF), high_hz * (1.0 + FAR_OFF)];
        let harmonics = [2.0 * low_hz, 2.0 * high_hz];
        let near = powers_at(&self.window, near, self.rate_hz);
        let far = powers_at(&self.window, far, self.rate_hz);
        let [low_harmonic, high_harmonic] = powers_at(&self.window, harmonics, self.rate_hz);
        let (low, high) = (low.max(near[0]).max(near[1]), high.max(near[2]).max(near[3]));
        let twist = high < low * ratio(TWIST_HIGH_DB) && low < high * ratio(TWIST_LOW_DB);
        let loud = low.min(high) * as_energy >= least;
        let share = (low + high) * as_energy >= energy * SHARE_MIN;
        // A quarter more: the louder tone's skirt lies under the other one.
        let tuned = far[0].max(far[1]) < low * 1.25 && far[2].max(far[3]) < high * 1.25;
        // Where the high tone itself lies there, nothing can be said.
        let apart = (2.0 * low_hz - high_hz).abs() > HARMONIC_APART_HZ;
        let pure = (!apart || low_harmonic * ratio(HARMONIC_DB) < low) && high_harmonic * ratio(HARMONIC_DB) < high;
        let key = KEYS[row * 4 + column];
        let digit = Digit::from_char(char::from(key))?;
        (loud && twist && share && tuned && pure).then_some(Hit { digit, low, high })
    }
}

/// The strongest of a group, if it stands out.
fn strongest(powers: &[f32]) -> Option<(usize, f32)> {
    let (at, power) = powers.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let alone = powers.iter().enumerate().all(|(other, p)| other == at || *p * ratio(GROUP_DB) < power);
    alone.then_some((at, power))
}

/// Goertzel's recursion for several frequencies at once: the squared magnitudes of their bins.
fn powers<const N: usize>(pcm: &[i16], factors: [f32; N]) -> [f32; N] {
    let (mut before, mut last) = ([0.0_f32; N], [0.0_f32; N]);
    for sample in pcm {
        let sample = f32::from(*sample);
        for lane in 0..N {
            let next = sample + factors[lane] * last[lane] - before[lane];
            before[lane] = last[lane];
            last[lane] = next;
        }
    }
    let mut powers = [0.0; N];
    for lane in 0..N {
        let (a, b) = (last[lane], before[lane]);
        powers[lane] = (a * a + b * b - factors[lane] * a * b).max(0.0);
    }
    powers
}

fn powers_at<const N: usize>(pcm: &[i16], hz: [f32; N], rate_hz: u32) -> [f32; N] {
    powers(pcm, hz.map(|hz| factor(hz, rate_hz)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Random, speech};
    use crate::tone;

    /// A sine of each group with its own level (dBm0), off by so many parts of 1000.
    fn key(digit: char, low_dbm0: f32, high_dbm0: f32, off_permille: f32, rate_hz: u32, ms: u32) -> Vec<f32> {
        let at = KEYS.iter().position(|key| char::from(*key) == digit).unwrap();
        let peak = |dbm0: f32| PEAK_0_DBM0 * 10_f32.powf(dbm0 / 20.0);
        let off = 1.0 + off_permille / 1000.0;
        let turn = |hz: f32| std::f32::consts::TAU * hz * off / rate_hz as f32;
        let (low, high) = (turn(TONES_HZ[at / 4]), turn(TONES_HZ[4 + at % 4]));
        let sample = |n: u32| (low * n as f32).sin() * peak(low_dbm0) + (high * n as f32 + 1.0).sin() * peak(high_dbm0);
        (0..rate_hz * ms / 1000).map(sample).collect()
    }

    fn clipped(wave: &[f32]) -> Vec<i16> {
        wave.iter().map(|sample| sample.clamp(-32_768.0, 32_767.0) as i16).collect()
    }

    fn silence(rate_hz: u32, ms: u32) -> Vec<f32> {
        vec![0.0; (rate_hz * ms / 1000) as usize]
    }

    /// White noise so many dB below a sine of this level.
    fn noise(random: &mut Random, dbm0: f32, wave: &mut [f32]) {
        let rms = PEAK_0_DBM0 * 10_f32.powf(dbm0 / 20.0) / 2_f32.sqrt();
        for sample in wave {
            let sum: f32 = (0..6).map(|_| random.below(20_001) as f32 / 10_000.0 - 1.0).sum();
            *sample += sum * rms / 2_f32.sqrt();
        }
    }

    fn heard(pcm: &[i16], rate_hz: u32) -> String {
        let mut detector = Detector::new(rate_hz);
        let mut keys = String::new();
        // Pieces of odd lengths, as decoders of any packet time give them.
        for piece in pcm.chunks(77) {
            detector.feed(piece, |event| {
                if let Event::Start(digit) = event {
                    keys.push(digit.as_char());
                }
            });
        }
        keys
    }

    #[test]
    fn every_key_of_40_ms_is_heard_at_every_alignment_and_level_with_a_twist_and_off_tune() {
        for rate_hz in [8000, 16_000] {
            for key_char in KEYS.iter().copied().map(char::from) {
                for (low, high) in
                    [(0.0, 0.0), (-10.0, -10.0), (-30.0, -30.0), (-10.0, -6.0), (-10.0, -18.0), (-22.0, -30.0)]
                {
                    for off in [-15.0, 0.0, 15.0] {
                        let lead = 50 + key_char as u32 % 9;
                        let mut wave = silence(rate_hz, lead);
                        wave.extend(key(key_char, low, high, off, rate_hz, 40));
                        wave.extend(silence(rate_hz, 100));
                        let keys = heard(&clipped(&wave), rate_hz);
                        assert_eq!(
                            keys,
                            key_char.to_string(),
                            "{key_char} {low} {high} dBm0, {off} permille, {rate_hz}"
                        );
                    }
                }
            }
        }
        for lead in 0..17 {
            let mut wave = vec![0.0; 400 + lead * 8];
            wave.extend(key('5', -10.0, -10.0, 0.0, 8000, 40));
            wave.extend(silence(8000, 100));
            assert_eq!(heard(&clipped(&wave), 8000), "5", "{lead} ms");
        }
    }

    #[test]
    fn keys_40_ms_long_with_40_ms_between_are_counted_one_by_one() {
        let mut wave = Vec::new();
        let number = "1122334455667788990*#ABCD";
        for digit in number.chars() {
            wave.extend(key(digit, -12.0, -10.0, 0.0, 8000, 40));
            wave.extend(silence(8000, 40));
        }
        assert_eq!(heard(&clipped(&wave), 8000), number);
    }

    #[test]
    fn noise_of_12_db_below_hides_no_key() {
        let mut random = Random::new(1);
        let mut wave = Vec::new();
        let number: String = "1234567890*#".repeat(10);
        for digit in number.chars() {
            wave.extend(key(digit, -12.0, -12.0, 0.0, 8000, 60));
            wave.extend(silence(8000, 60));
        }
        // The two tones together are 3 dB above one.
        noise(&mut random, -12.0 + 3.0 - 12.0, &mut wave);
        assert_eq!(heard(&clipped(&wave), 8000), number);
    }

    #[test]
    fn g711_hides_no_key() {
        for name in ["PCMA", "PCMU", "G722"] {
            let codec = crate::codec::by_name(name, 8000).unwrap();
            let rate_hz = codec.sample_rate_hz();
            let mut wave = Vec::new();
            for digit in "159D*0#".chars() {
                wave.extend(key(digit, -20.0, -18.0, 5.0, rate_hz, 50));
                wave.extend(silence(rate_hz, 50));
            }
            let mut payload = vec![0; wave.len()];
            let bytes = codec.encoder().encode(&clipped(&wave), &mut payload);
            let mut pcm = vec![0; wave.len()];
            let samples = codec.decoder().decode(&payload[..bytes], &mut pcm);
            assert_eq!(heard(&pcm[..samples], rate_hz), "159D*0#", "{}", codec.name());
        }
    }

    #[test]
    fn what_is_no_key_is_not_heard() {
        let two = |a: f64, b: f64, ms: u64| {
            let (a, b) = (
                tone::sine(a, 8000, 8000, Duration::from_millis(ms)),
                tone::sine(b, 8000, 8000, Duration::from_millis(ms)),
            );
            a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<i16>>()
        };
        let lone = tone::sine(770.0, 12_000, 8000, Duration::from_secs(1));
        // Dial tone, ringback and busy of the world, two keys' rows, tones off tune, a fax's call.
        let signals = [
            two(350.0, 440.0, 1000),
            two(440.0, 480.0, 1000),
            two(480.0, 620.0, 1000),
            two(697.0, 770.0, 1000),
            two(1209.0, 1336.0, 1000),
            two(697.0 * 1.04, 1209.0 * 1.04, 1000),
            two(941.0 * 0.96, 1477.0 * 0.96, 1000),
            lone,
            tone::sine(1100.0, 12_000, 8000, Duration::from_secs(1)),
            vec![0; 8000],
        ];
        for (index, signal) in signals.iter().enumerate() {
            assert_eq!(heard(signal, 8000), "", "signal {index}");
        }
        // Too short, too quiet, too much twist.
        for (low, high, ms) in [(-10.0, -10.0, 20), (-38.0, -38.0, 100), (-10.0, -2.0, 100), (-6.0, -18.0, 100)] {
            let mut wave = silence(8000, 50);
            wave.extend(key('5', low, high, 0.0, 8000, ms));
            wave.extend(silence(8000, 100));
            assert_eq!(heard(&clipped(&wave), 8000), "", "{low} {high} dBm0, {ms} ms");
        }
        let mut random = Random::new(2);
        let mut hiss = silence(8000, 60_000);
        noise(&mut random, -10.0, &mut hiss);
        assert_eq!(heard(&clipped(&hiss), 8000), "");
    }

    #[test]
    fn a_key_held_long_is_one_key_and_tells_how_long() {
        let mut wave = silence(8000, 33);
        wave.extend(key('9', -10.0, -10.0, 0.0, 8000, 2000));
        // A lost packet in the middle.
        for sample in &mut wave[8000..8160] {
            *sample = 0.0;
        }
        wave.extend(silence(8000, 100));
        let mut detector = Detector::new(8000);
        let mut told = Vec::new();
        detector.feed(&clipped(&wave), |event| {
            if !matches!(event, Event::Held(_)) {
                told.push(event);
            }
        });
        let digit = Digit::from_char('9').unwrap();
        let [Event::Start(started), Event::End(ended, held)] = told[..] else { panic!("{told:?}") };
        assert!(started == digit && ended == digit && !detector.is_held());
        assert!((Duration::from_millis(1975)..=Duration::from_millis(2025)).contains(&held), "{held:?}");
    }

    #[test]
    fn half_an_hour_of_speech_presses_no_key() {
        for seed in 0..30 {
            let pcm = speech(seed, 8000, 60_000);
            assert!(tone::rms(&pcm) > 500.0, "it is loud enough to be mistaken");
            assert_eq!(heard(&pcm, 8000), "", "seed {seed}");
        }
    }
}
