//! G.722 at 64 kbit/s (ITU-T G.722, mode 1): 16 kHz voice in two bands, each with its own adaptive differential coder.
//!
//! The block names in the comments are those of the recommendation (clause 6.2). All arithmetic is its 16-bit
//! arithmetic, so that what is encoded here decodes elsewhere to the same samples, and the other way round.

use std::time::Duration;

use super::{Codec, Decoder, Encoder, Tuning};

/// G722: 64 kbit/s, 16 kHz; static payload type 9. Its RTP clock is 8000 Hz by an old mistake that everyone keeps
/// (RFC 3551 4.5.2).
#[derive(Debug)]
pub struct G722;

impl Codec for G722 {
    fn name(&self) -> &'static str {
        "G722"
    }
    fn payload_type(&self) -> Option<u8> {
        Some(9)
    }
    fn rtp_clock_hz(&self) -> u32 {
        8000
    }
    fn sample_rate_hz(&self) -> u32 {
        16_000
    }
    fn channels(&self) -> u8 {
        1
    }
    fn concatenates(&self) -> bool {
        true
    }
    fn grain_samples(&self) -> usize {
        2
    }
    fn silence(&self, duration: Duration, out: &mut [u8]) -> usize {
        super::fill_silence(SILENCE, duration, out)
    }
    fn encoder_with(&self, _: Tuning) -> Box<dyn Encoder> {
        Box::new(G722Encoder::default())
    }
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(G722Decoder::default())
    }
}

/// A difference of zero in both bands: after a few of them any decoder is silent, and stays so.
const SILENCE: u8 = 0xFC;

/// Taps of the filter that splits and joins the bands (table 11: its even taps; the odd ones are these backwards).
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// Both band filters together.
const QMF_TAPS: usize = 2 * QMF.len();

/// Decision levels of the lower band's 60 levels (table 14, Q6).
const LOW_DECISIONS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339,
    1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Logarithmic step of the lower band by its four upper code bits (tables 15 and 16, WL by RL42).
const LOW_LOG_STEP: [i32; 16] = [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// Inverse quantiser of the lower band by four code bits, for the predictor (QM4).
const LOW_INVERSE_4: [i32; 16] =
    [0, -20_456, -12_896, -8968, -6288, -4240, -2584, -1200, 20_456, 12_896, 8968, 6288, 4240, 2584, 1200, 0];
/// Inverse quantiser of the lower band by all six code bits, for the listener (QM6).
const LOW_INVERSE_6: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360,
    -1040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9360, 8576, 7856, 7192, 6576,
    6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// Inverse quantiser of the upper band (QM2).
const HIGH_INVERSE: [i32; 4] = [-7408, -1616, 7408, 1616];
/// Logarithmic step of the upper band by its code (WH by RH2).
const HIGH_LOG_STEP: [i32; 4] = [798, -214, 798, -214];
/// Inverse of the logarithm to base two, a 32nd at a time (ILB).
const INVERSE_LOG: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// To 16 bits.
fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// What makes the one band's adaptation differ from the other's.
struct Shape {
    step_least: i32,
    log_most: i32,
    log_shift: i32,
}

const LOW: Shape = Shape { step_least: 32, log_most: 18_432, log_shift: 8 };
const HIGH: Shape = Shape { step_least: 8, log_most: 22_528, log_shift: 10 };

/// One band's memory: quantiser step and predictor (two poles, six zeros).
#[derive(Debug, Clone)]
struct Band {
    /// The prediction of the next sample (S).
    predicted: i32,
    /// The part of it that the zeros make (SZ).
    from_zeros: i32,
    /// The last two reconstructed samples (RLT).
    reconstructed: [i32; 2],
    /// Signs of the last two partially reconstructed samples (PLT): -1 or 0.
    signs: [i32; 2],
    /// Coefficients of the poles (AL).
    poles: [i32; 2],
    /// Coefficients of the zeros (BL).
    zeros: [i32; 6],
    /// The last six differences (DLT).
    differences: [i32; 6],
    /// Logarithm of the step (NB).
    log: i32,
    /// Step of the quantiser (DET).
    step: i32,
}

impl Band {
    fn new(shape: &Shape) -> Self {
        Self {
            predicted: 0,
            from_zeros: 0,
            reconstructed: [0; 2],
            signs: [0; 2],
            poles: [0; 2],
            zeros: [0; 6],
            differences: [0; 6],
            log: 0,
            step: shape.step_least,
        }
    }

    /// LOGSCL and SCALEL, LOGSCH and SCALEH: the next step.
    fn scale(&mut self, shape: &Shape, log_step: i32) {
        self.log = (((self.log * 127) >> 7) + log_step).clamp(0, shape.log_most);
        let mantissa = INVERSE_LOG[(self.log >> 6) as usize & 31];
        let shift = shape.log_shift - (self.log >> 11);
        let step = if shift < 0 { mantissa << -shift } else { mantissa >> shift };
        self.step = step << 2;
    }

    /// The predictor takes the quantised difference and predicts the next sample.
    fn predict(&mut self, difference: i32) {
        // RECONS, PARREC
        let reconstructed = saturate(self.predicted + difference);
        let sign = saturate(self.from_zeros + difference) >> 15;
        // UPPOL2
        let [a1, a2] = self.poles;
        let bent = saturate(a1 << 2);
        let bent = if sign == self.signs[0] { (-bent).min(32_767) } else { bent };
        let second = if sign == self.signs[1] { 128 } else { -128 };
        let second = (second + (bent >> 7) + ((a2 * 32_512) >> 15)).clamp(-12_288, 12_288);
        // UPPOL1
        let first = if sign == self.signs[0] { 192 } else { -192 };
        let bound = saturate(15_360 - second);
        let first = saturate(first + ((a1 * 32_640) >> 15)).clamp(-bound, bound);
        self.poles = [first, second];
        // UPZERO
        let gain = if difference == 0 { 0 } else { 128 };
        let difference_sign = difference >> 15;
        for (zero, past) in self.zeros.iter_mut().zip(&self.differences) {
            let push = if past >> 15 == difference_sign { gain } else { -gain };
            *zero = saturate(push + ((*zero * 32_640) >> 15));
        }
        // DELAYA
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        self.signs = [sign, self.signs[0]];
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        // FILTEP, FILTEZ, PREDIC
        let [r1, r2] = self.reconstructed.map(|r| saturate(r + r));
        let from_poles = saturate(((first * r1) >> 15) + ((second * r2) >> 15));
        let zeros = self.zeros.iter().zip(&self.differences);
        self.from_zeros = saturate(zeros.map(|(zero, d)| (zero * saturate(d + d)) >> 15).sum());
        self.predicted = saturate(from_poles + self.from_zeros);
    }

    /// Lower band: INVQAL, the adaptation and the predictor.
    fn take_low(&mut self, code: usize) {
        let coarse = code >> 2;
        let difference = (self.step * LOW_INVERSE_4[coarse]) >> 15;
        self.scale(&LOW, LOW_LOG_STEP[coarse]);
        self.predict(difference);
    }

    /// Upper band: INVQAH, the adaptation and the predictor. Returns the difference.
    fn take_high(&mut self, code: usize) -> i32 {
        let difference = (self.step * HIGH_INVERSE[code]) >> 15;
        self.scale(&HIGH, HIGH_LOG_STEP[code]);
        self.predict(difference);
        difference
    }

    /// QUANTL: the code of the next sample of the lower band.
    fn quantise_low(&self, sample: i32) -> usize {
        let error = saturate(sample - self.predicted);
        let size = if error >= 0 { error } else { -(error + 1) };
        let level = LOW_DECISIONS.partition_point(|decision| (decision * self.step) >> 12 <= size);
        // Table 17: 61 down to 32 above zero; below zero 63 and 62, then 31 down to 4.
        match (error >= 0, level) {
            (true, level) => 61 - level,
            (false, level @ 0..2) => 63 - level,
            (false, level) => 33 - level,
        }
    }

    /// QUANTH: the code of the next sample of the upper band.
    fn quantise_high(&self, sample: i32) -> usize {
        let error = saturate(sample - self.predicted);
        let size = if error >= 0 { error } else { -(error + 1) };
        let large = size >= (564 * self.step) >> 12;
        match (error >= 0, large) {
            (true, true) => 2,
            (true, false) => 3,
            (false, true) => 0,
            (false, false) => 1,
        }
    }
}

/// The last samples that the band filter sees, oldest first.
type History = [i32; QMF_TAPS];

/// Both halves of the band filter over the history: even taps, odd taps.
fn split(history: &History) -> (i32, i32) {
    let mut sums = (0, 0);
    for (at, pair) in history.chunks_exact(2).enumerate() {
        sums.0 += pair[0] * QMF[at];
        sums.1 += pair[1] * QMF[QMF.len() - 1 - at];
    }
    sums
}

fn shift_in(history: &mut History, older: i32, newer: i32) {
    history.copy_within(2.., 0);
    history[QMF_TAPS - 2] = older;
    history[QMF_TAPS - 1] = newer;
}

#[derive(Debug)]
struct G722Encoder {
    low: Band,
    high: Band,
    history: History,
}

impl Default for G722Encoder {
    fn default() -> Self {
        Self { low: Band::new(&LOW), high: Band::new(&HIGH), history: [0; QMF_TAPS] }
    }
}

impl Encoder for G722Encoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        for (byte, pair) in out.iter_mut().zip(pcm.chunks_exact(2)) {
            shift_in(&mut self.history, i32::from(pair[0]), i32::from(pair[1]));
            let (even, odd) = split(&self.history);
            // The filter's gain is 4096, two halves are added, and the coder takes 15 bits.
            let low = self.low.quantise_low((even + odd) >> 14);
            let high = self.high.quantise_high((odd - even) >> 14);
            self.low.take_low(low);
            self.high.take_high(high);
            *byte = (high << 6 | low) as u8;
        }
        (pcm.len() / 2).min(out.len())
    }
}

#[derive(Debug)]
struct G722Decoder {
    low: Band,
    high: Band,
    history: History,
}

impl Default for G722Decoder {
    fn default() -> Self {
        Self { low: Band::new(&LOW), high: Band::new(&HIGH), history: [0; QMF_TAPS] }
    }
}

impl Decoder for G722Decoder {
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        for (pair, byte) in out.chunks_exact_mut(2).zip(payload) {
            let (low_code, high_code) = (usize::from(byte & 63), usize::from(byte >> 6));
            // INVQBL, RECONS, LIMIT
            let fine = (self.low.step * LOW_INVERSE_6[low_code]) >> 15;
            let low = (self.low.predicted + fine).clamp(-16_384, 16_383);
            self.low.take_low(low_code);
            let predicted = self.high.predicted;
            let high = (self.high.take_high(high_code) + predicted).clamp(-16_384, 16_383);
            shift_in(&mut self.history, low + high, low - high);
            let (even, odd) = split(&self.history);
            pair[0] = saturate(odd >> 11) as i16;
            pair[1] = saturate(even >> 11) as i16;
        }
        2 * payload.len().min(out.len() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    /// FNV-1a.
    fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
        bytes
            .into_iter()
            .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
    }

    /// These bytes and samples were compared, bit for bit, with those of another implementation.
    #[test]
    fn the_bits_are_those_of_the_recommendation() {
        let mut random = 1_u32;
        let noise = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 16) as i16 / 4
        });
        let mut pcm: Vec<i16> = noise.take(3200).collect();
        pcm.extend(tone::sine(440.0, 20_000, 16_000, Duration::from_millis(200)));
        pcm.extend(tone::sine(6100.0, 12_000, 16_000, Duration::from_millis(200)));
        pcm.extend([0; 3200]);
        let mut payload = vec![0; pcm.len() / 2];
        assert_eq!(G722.encoder().encode(&pcm, &mut payload), payload.len());
        let mut heard = vec![0; pcm.len()];
        assert_eq!(G722.decoder().decode(&payload, &mut heard), heard.len());
        assert_eq!(
            (digest(payload), digest(heard.iter().flat_map(|s| s.to_le_bytes()))),
            (0x8ECA_4E49_702D_D308, 0x2BE4_B9BE_A6D3_2912)
        );
    }

    #[test]
    fn silence_is_reached_from_any_state() {
        let mut decoder = G722.decoder();
        let mut random = 9_u32;
        let garbage: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        })
        .take(1600)
        .collect();
        decoder.decode(&garbage, &mut [0; 3200]);
        decoder.decode(&[SILENCE; 1600], &mut [0; 3200]);
        let mut heard = [1; 320];
        decoder.decode(&[SILENCE; 160], &mut heard);
        // What is left is a constant, which nobody hears, far below anything that is heard.
        assert!(heard.iter().all(|s| *s == heard[0] && s.abs() < 64), "{}", heard[0]);
    }

    #[test]
    fn an_odd_sample_is_left_out() {
        assert_eq!(G722.encoder().encode(&[5; 7], &mut [0; 9]), 3);
        assert_eq!(G722.decoder().decode(&[5; 7], &mut [0; 9]), 8);
    }
}
