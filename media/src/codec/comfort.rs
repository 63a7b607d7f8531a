//! Comfort noise (RFC 3389): what a silence sounds like, in a few bytes, and a generator that makes it heard.
//!
//! Not a codec of the table: it never carries a conversation, it fills the pauses of one. Its static payload type
//! runs on the 8000 Hz clock, beside G.711, G.722 and G.729.

/// Encoding name in `a=rtpmap`.
pub const NAME: &str = "CN";
/// Static payload type of comfort noise on the 8000 Hz clock (RFC 3551 table 4).
pub const PAYLOAD_TYPE: u8 = 13;
/// RTP clock of the static payload type.
pub const CLOCK_HZ: u32 = 8000;
/// Reflection coefficients that are used; more in a payload are ignored. Ten describe any room.
pub const ORDER_MAX: usize = 10;
/// Bytes of the longest payload that [`Noise::write`] makes.
pub const BYTES_MAX: usize = 1 + ORDER_MAX;

/// The quietest level: nothing is heard.
const LEVEL_LEAST: u8 = 127;
/// Reflection coefficients stay this far inside the unit circle, so that no payload makes the filter ring for ever.
const REFLECTION_MOST: f32 = 0.98;
/// One step of a quantised coefficient (RFC 3389 3.2).
const REFLECTION_STEP: f32 = 258.0 / 32_768.0;
/// Full scale: the level of 0 dBov.
const OVERLOAD: f32 = 32_768.0;

/// The sound of a silence: its level, and the shape of its spectrum as an all-pole filter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Level below overload, dB: 0 is a square wave at full scale, 127 is nothing.
    pub level: u8,
    reflections: [f32; ORDER_MAX],
    order: usize,
}

impl Noise {
    /// White noise at this many dB below overload (127 at most).
    pub fn white(level: u8) -> Self {
        Self { level: level.min(LEVEL_LEAST), reflections: [0.0; ORDER_MAX], order: 0 }
    }

    /// Reads a payload: one byte of level, then any number of coefficients. `None`: it is empty.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (level, coefficients) = payload.split_first()?;
        // The highest bit of the level must be zero, and is ignored (RFC 3389 3.1).
        let mut noise = Self::white(level & 0x7F);
        noise.order = coefficients.len().min(ORDER_MAX);
        for (reflection, byte) in noise.reflections.iter_mut().zip(coefficients) {
            *reflection = bounded((f32::from(*byte) - 127.0) * REFLECTION_STEP);
        }
        Some(noise)
    }

    /// Measures a stretch of background noise: 20 ms at least, at any sample rate.
    pub fn measure(pcm: &[i16]) -> Self {
        let energy: f32 = pcm.iter().map(|s| f32::from(*s) * f32::from(*s)).sum::<f32>() / pcm.len().max(1) as f32;
        let mut noise = Self::white(level_of(energy.sqrt()));
        if pcm.len() > 4 * ORDER_MAX && energy > 1.0 {
            noise.reflections = reflections(pcm);
            noise.order = ORDER_MAX;
        }
        noise
    }

    /// Writes the payload; returns its bytes, 0 if `out` is too small.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let bytes = 1 + self.order;
        let Some(out) = out.get_mut(..bytes) else { return 0 };
        out[0] = self.level;
        for (byte, reflection) in out[1..].iter_mut().zip(&self.reflections) {
            *byte = (reflection / REFLECTION_STEP + 127.0).round() as u8;
        }
        bytes
    }

    /// Root mean square of what it sounds like, in samples.
    pub fn rms(&self) -> f32 {
        if self.level >= LEVEL_LEAST { 0.0 } else { OVERLOAD * 10_f32.powf(-f32::from(self.level) / 20.0) }
    }

    /// The coefficients in use.
    pub fn reflections(&self) -> &[f32] {
        &self.reflections[..self.order]
    }
}

fn bounded(reflection: f32) -> f32 {
    reflection.clamp(-REFLECTION_MOST, REFLECTION_MOST)
}

fn level_of(rms: f32) -> u8 {
    if rms < 0.1 { LEVEL_LEAST } else { (-20.0 * (rms / OVERLOAD).log10()).round().clamp(0.0, 127.0) as u8 }
}

/// Levinson-Durbin over the windowed stretch, with the sign of RFC 3389's peers: noise that is stronger in the lows has
/// a negative first coefficient.
fn reflections(pcm: &[i16]) -> [f32; ORDER_MAX] {
    let mut correlation = [0_f64; ORDER_MAX + 1];
    let turn = std::f64::consts::TAU / (pcm.len() as f64 - 1.0);
    let window = |at: usize| 0.5 - 0.5 * (turn * at as f64).cos();
    for (lag, sum) in correlation.iter_mut().enumerate() {
        *sum = (lag..pcm.len())
            .map(|at| f64::from(pcm[at]) * window(at) * f64::from(pcm[at - lag]) * window(at - lag))
            .sum();
    }
    // A floor under the spectrum keeps the recursion sound for pure tones.
    let mut error = correlation[0] * 1.0001 + 1.0;
    let mut result = [0.0; ORDER_MAX];
    let mut filter = [0_f64; ORDER_MAX + 1];
    for order in 1..=ORDER_MAX {
        let inner: f64 = (1..order).map(|at| filter[at] * correlation[order - at]).sum();
        let reflection = f64::from(bounded((-(correlation[order] + inner) / error) as f32));
        let before = filter;
        for at in 1..order {
            filter[at] = before[at] + reflection * before[order - at];
        }
        filter[order] = reflection;
        error *= 1.0 - reflection * reflection;
        result[order - 1] = reflection as f32;
    }
    result
}

/// Makes comfort noise, frame by frame, without a seam when its [`Noise`] changes.
#[derive(Debug, Clone)]
pub struct Generator {
    noise: Noise,
    /// Amplitude of the excitation now; it follows the wanted one within some milliseconds.
    gain: f32,
    wanted: f32,
    /// Backward residues of the lattice.
    lattice: [f32; ORDER_MAX],
    random: u32,
}

/// How much of the way to a new level is gone with each sample: 90 % within 15 ms at 8 kHz.
const GLIDE: f32 = 0.02;

impl Generator {
    /// A generator of `noise`. `seed` is any number; two generators with the same seed make the same noise.
    pub fn new(noise: Noise, seed: u32) -> Self {
        let mut generator = Self { noise, gain: 0.0, wanted: 0.0, lattice: [0.0; ORDER_MAX], random: seed | 1 };
        generator.set(noise);
        generator.gain = generator.wanted;
        generator
    }

    /// From now on it sounds like this.
    pub fn set(&mut self, noise: Noise) {
        // The filter amplifies by the inverse of its prediction gain, and a uniform excitation of peak 1 has the
        // effective value of 1 / sqrt(3).
        let residue: f32 = noise.reflections().iter().map(|k| 1.0 - k * k).product();
        self.wanted = noise.rms() * residue.sqrt() * 3_f32.sqrt();
        self.noise = noise;
    }

    /// What it sounds like now.
    pub fn noise(&self) -> Noise {
        self.noise
    }

    /// Fills `out`. Nothing is allocated.
    pub fn fill(&mut self, out: &mut [i16]) {
        let order = self.noise.order;
        for sample in out {
            self.gain += (self.wanted - self.gain) * GLIDE;
            // xorshift32
            self.random ^= self.random << 13;
            self.random ^= self.random >> 17;
            self.random ^= self.random << 5;
            let mut forward = (self.random as i32 as f32) / 2_147_483_648.0 * self.gain;
            for stage in (0..order).rev() {
                let k = self.noise.reflections[stage];
                forward -= k * self.lattice[stage];
                if stage + 1 < ORDER_MAX {
                    self.lattice[stage + 1] = self.lattice[stage] + k * forward;
                }
            }
            self.lattice[0] = forward;
            *sample = forward.round() as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    fn heard(noise: Noise, samples: usize) -> Vec<i16> {
        let mut pcm = vec![0; samples];
        Generator::new(noise, 7).fill(&mut pcm);
        pcm
    }

    #[test]
    fn noise_has_the_level_of_its_payload() {
        for level in [20, 40, 55, 70] {
            let noise = Noise::parse(&[level]).unwrap();
            let rms = tone::rms(&heard(noise, 16_000));
            let off = 20.0 * (rms / f64::from(noise.rms())).log10();
            assert!(off.abs() < 0.5, "{level}: {off} dB off");
        }
        assert!(heard(Noise::parse(&[127]).unwrap(), 800).iter().all(|s| *s == 0));
        assert_eq!(Noise::parse(&[]), None);
    }

    #[test]
    fn a_measured_room_comes_back_with_its_level_and_colour() {
        // Low-passed noise: the lows 20 dB above the highs.
        let white = heard(Noise::white(30), 16_000);
        let mut last = 0.0;
        let room: Vec<i16> = white
            .iter()
            .map(|s| {
                last = 0.85 * last + 0.15 * f32::from(*s);
                last as i16
            })
            .collect();
        let measured = Noise::measure(&room[..1600]);
        assert!(measured.reflections()[0] < -0.6, "{measured:?}");
        let mut payload = [0; BYTES_MAX];
        assert_eq!(measured.write(&mut payload), BYTES_MAX);
        assert_eq!(measured.write(&mut [0; 3]), 0);
        let parsed = Noise::parse(&payload).unwrap();
        for (a, b) in parsed.reflections().iter().zip(measured.reflections()) {
            assert!((a - b).abs() < 0.005, "{a} {b}");
        }
        let again = heard(parsed, 16_000);
        let off = 20.0 * (tone::rms(&again) / tone::rms(&room)).log10();
        assert!(off.abs() < 1.5, "{off} dB off");
        let tilt = |pcm: &[i16]| {
            let (lows, highs) = ([200.0, 300.0, 400.0], [3300.0, 3500.0, 3700.0]);
            let power = |hz: [f64; 3]| {
                let bins = hz.iter().flat_map(|hz| (0..20).map(move |n| hz + f64::from(n) * 10.0));
                bins.map(|hz| tone::level(pcm, 8000, hz).powi(2)).sum::<f64>()
            };
            10.0 * (power(lows) / power(highs)).log10()
        };
        assert!((tilt(&again) - tilt(&room)).abs() < 4.0, "{} {}", tilt(&again), tilt(&room));
        assert!(tilt(&white).abs() < 4.0);
    }

    #[test]
    fn no_payload_makes_it_howl() {
        for byte in [0, 1, 126, 127, 128, 254, 255] {
            let payload = [20, byte, 255 - byte, byte, byte, 0, 255, byte, byte, byte, byte, 9, 9, 9];
            let noise = Noise::parse(&payload).unwrap();
            let pcm = heard(noise, 40_000);
            let rms = tone::rms(&pcm[20_000..]);
            assert!(rms < 4.0 * f64::from(noise.rms()), "{byte}: {rms} of {}", noise.rms());
        }
    }

    #[test]
    fn a_change_of_level_glides() {
        let mut generator = Generator::new(Noise::white(60), 1);
        let mut pcm = [0; 400];
        generator.fill(&mut pcm);
        generator.set(Noise::white(20));
        generator.fill(&mut pcm);
        assert!(tone::rms(&pcm[..8]) < tone::rms(&pcm[200..]) / 4.0);
        assert_eq!(generator.noise(), Noise::white(20));
    }

    #[test]
    fn silence_measures_as_silence() {
        assert_eq!(Noise::measure(&[0; 160]), Noise::white(127));
        assert_eq!(Noise::measure(&[]), Noise::white(127));
        assert_eq!(Noise::measure(&[i16::MIN; 3]).level, 0);
        let tone = Noise::measure(&tone::sine(1000.0, 8000, 8000, std::time::Duration::from_millis(40)));
        assert_eq!(tone.level, 15);
        assert!(tone.reflections().iter().all(|k| k.abs() <= REFLECTION_MOST));
    }
}
