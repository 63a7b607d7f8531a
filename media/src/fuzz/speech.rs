//! Something like speech, by seed: syllables of voiced sound with moving pitch and formants, hisses and pauses. It says
//! nothing, but to a detector of tones, a concealment or a jitter buffer it is as hard as speech.

use std::f32::consts::TAU;

use super::Random;

/// A resonance of two poles.
#[derive(Clone, Copy, Default)]
struct Formant {
    before: f32,
    last: f32,
}

impl Formant {
    fn pass(&mut self, input: f32, hz: f32, width_hz: f32, rate_hz: f32) -> f32 {
        let radius = (-std::f32::consts::PI * width_hz / rate_hz).exp();
        let turn = 2.0 * radius * (TAU * hz / rate_hz).cos();
        let output = (1.0 - radius) * input + turn * self.last - radius * radius * self.before;
        self.before = self.last;
        self.last = output;
        output
    }
}

/// Formants of some vowels, Hz: `a`, `e`, `i`, `o`, `u`, a nasal and a schwa, of a man; others are scaled.
const VOWELS: [[f32; 3]; 7] = [
    [730.0, 1090.0, 2440.0],
    [530.0, 1840.0, 2480.0],
    [270.0, 2290.0, 3010.0],
    [570.0, 840.0, 2410.0],
    [300.0, 870.0, 2240.0],
    [250.0, 1200.0, 2100.0],
    [500.0, 1500.0, 2500.0],
];

/// So many milliseconds of it, mono, with an effective value of about -22 dBov while it speaks.
pub fn speech(seed: u64, rate_hz: u32, ms: u64) -> Vec<i16> {
    let mut random = Random::new(seed);
    let rate = rate_hz as f32;
    let wanted = (u64::from(rate_hz) * ms / 1000) as usize;
    let mut pcm = Vec::with_capacity(wanted + rate_hz as usize);
    // One speaker: the pitch of a man, a woman or a child, and a throat that goes with it.
    let speaker = random.below(1000) as f32 / 1000.0;
    let (pitch, size) = (85.0 + 170.0 * speaker, 1.0 + 0.22 * speaker);
    let mut formants = [Formant::default(); 3];
    let mut phase = 0.0_f32;
    while pcm.len() < wanted {
        let unit = |random: &mut Random| random.below(10_000) as f32 / 10_000.0;
        let length = (rate * (0.06 + 0.22 * unit(&mut random))) as usize;
        let (from, to) = (VOWELS[random.below(7) as usize], VOWELS[random.below(7) as usize]);
        let (begin, end) = (pitch * (0.8 + 0.5 * unit(&mut random)), pitch * (0.8 + 0.5 * unit(&mut random)));
        let (voiced, hiss) = match random.below(10) {
            0 | 1 => (0.0, 0.6),
            2 => (0.6, 0.3),
            _ => (1.0, 0.02),
        };
        let loud = 0.4 + 0.6 * unit(&mut random);
        for at in 0..length {
            let share = at as f32 / length as f32;
            let envelope = (share * std::f32::consts::PI).sin().powf(0.5) * loud;
            phase += (begin + (end - begin) * share) / rate;
            let pulse = if phase >= 1.0 {
                phase -= 1.0;
                rate / 130.0
            } else {
                0.0
            };
            let noise = unit(&mut random) * 2.0 - 1.0;
            let mut value = pulse * voiced + noise * hiss * 2.0;
            for (index, formant) in formants.iter_mut().enumerate() {
                let hz = (from[index] + (to[index] - from[index]) * share) * size;
                value += formant.pass(value, hz, 60.0 + 40.0 * index as f32, rate) * 3.0;
            }
            pcm.push((value * envelope * 900.0).clamp(-30_000.0, 30_000.0) as i16);
        }
        if random.one_in(4) {
            pcm.resize(pcm.len() + (rate * (0.05 + 0.5 * unit(&mut random))) as usize, 0);
        }
    }
    pcm.truncate(wanted);
    pcm
}
