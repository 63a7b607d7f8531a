//! Loss concealment for PCM at any rate, after the description of ITU-T G.711 Appendix I, without its delay: the last
//! pitch periods are repeated (one at first, more as the loss goes on, so that it does not beep), join what was heard
//! without a step, fade out over 60 ms, and blend into the audio that comes after the loss.

use crate::limits::AUDIO_RATE_HZ;

/// Shortest pitch period: 200 Hz (Appendix I: 40 samples at 8 kHz).
const PITCH_MIN_MS: f32 = 5.0;
/// Longest pitch period: 66 Hz (Appendix I: 120 samples at 8 kHz).
const PITCH_MAX_MS: f32 = 15.0;
/// Stretch over which periods are compared (Appendix I: 160 samples at 8 kHz).
const COMPARED_MS: f32 = 20.0;
/// What is remembered: three of the longest periods and a quarter of one to blend (Appendix I: 390 samples at 8 kHz).
const HISTORY_MS: f32 = 48.75;
/// For so long a loss is made up at full level, with one period.
const FULL_MS: f32 = 10.0;
/// When nothing of it is heard any more.
const FADED_MS: f32 = 60.0;
/// Longest blend into the audio after a loss.
const BLEND_MAX_MS: f32 = 10.0;
/// Rate at which periods are searched coarsely.
const COARSE_HZ: u32 = 4000;
/// Most coarse samples: [`HISTORY_MS`] of them.
const COARSE_MAX: usize = 200;
/// Periods in a loss that goes on.
const PERIODS_MAX: usize = 3;

/// A walk over the last `periods` periods of the history, round and round.
#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    periods: usize,
    at: usize,
}

/// Makes up for losses in one stream of PCM.
#[derive(Debug)]
pub struct Concealer {
    rate_hz: u32,
    history: Box<[i16]>,
    /// The history as it was when the loss began.
    frozen: Box<[i16]>,
    /// Samples of history that are real.
    known: usize,
    /// Samples made up since the loss began; 0: no loss.
    made: usize,
    period: usize,
    walk: Walk,
    /// The walk before, and samples of the cross-fade from it still to come.
    from: Walk,
    fading: usize,
    /// What keeps the first sample from being a step; it dies away over a quarter of a period.
    step: f32,
}

impl Concealer {
    /// For PCM of this rate (8000 to 48000; others are taken as the nearest of these).
    pub fn new(rate_hz: u32) -> Self {
        let rate_hz = rate_hz.clamp(*AUDIO_RATE_HZ.start(), *AUDIO_RATE_HZ.end());
        let length = samples(HISTORY_MS, rate_hz);
        Self {
            rate_hz,
            history: vec![0; length].into_boxed_slice(),
            frozen: vec![0; length].into_boxed_slice(),
            known: 0,
            made: 0,
            period: 0,
            walk: Walk::default(),
            from: Walk::default(),
            fading: 0,
            step: 0.0,
        }
    }

    /// Whether the last samples were made up.
    pub fn is_concealing(&self) -> bool {
        self.made > 0
    }

    /// Whether a loss goes on for so long that nothing of it is heard.
    pub fn has_faded(&self) -> bool {
        self.made >= samples(FADED_MS, self.rate_hz)
    }

    /// Forgets the stream: what comes next has nothing to do with it.
    pub fn reset(&mut self) {
        self.known = 0;
        self.made = 0;
        self.history.fill(0);
    }

    /// Audio that was heard, in order. Behind a loss its beginning is blended with what was made up.
    pub fn heard(&mut self, pcm: &mut [i16]) {
        if self.made > 0 && !pcm.is_empty() {
            self.blend(pcm);
            self.made = 0;
        }
        self.remember(pcm);
    }

    /// What another machine made (a codec that conceals by itself, comfort noise); it is remembered as if heard, and what
    /// follows is not blended.
    pub fn observe(&mut self, pcm: &[i16]) {
        self.made = 0;
        self.remember(pcm);
    }

    /// Fades what was heard last into `pcm`, the beginning of a pause.
    pub fn tail(&mut self, pcm: &mut [i16]) {
        if self.made == 0 {
            self.begin();
        }
        let length = pcm.len();
        for (at, sample) in pcm.iter_mut().enumerate() {
            let share = 1.0 - (at + 1) as f32 / (length + 1) as f32;
            let value = f32::from(*sample) + f32::from(self.next()) * share;
            *sample = value.clamp(-32_768.0, 32_767.0) as i16;
        }
    }

    fn remember(&mut self, pcm: &[i16]) {
        let length = self.history.len();
        let kept = length.saturating_sub(pcm.len());
        self.history.copy_within(length - kept.., 0);
        let newest = &pcm[pcm.len().saturating_sub(length)..];
        self.history[length - newest.len()..].copy_from_slice(newest);
        self.known = (self.known + pcm.len()).min(length);
    }

    /// Fills `out` with what may have been there. Silence when nothing was heard before, and 60 ms into a loss.
    pub fn conceal(&mut self, out: &mut [i16]) {
        if self.made == 0 {
            self.begin();
        }
        for sample in out.iter_mut() {
            *sample = self.next();
        }
        self.remember(out);
    }

    fn begin(&mut self) {
        self.frozen.copy_from_slice(&self.history);
        self.period = self.pitch();
        self.walk = Walk { periods: 1, at: 0 };
        self.fading = 0;
        let end = self.frozen.len();
        self.step = f32::from(self.frozen[end - 1]) - f32::from(self.frozen[end - self.period - 1]);
    }

    fn quarter(&self) -> usize {
        self.period / 4
    }

    /// One sample of a walk: its last quarter period runs over into what stood before its first.
    fn sample(&self, walk: Walk) -> f32 {
        let (length, quarter) = (walk.periods * self.period, self.quarter());
        let from = self.frozen.len() - length;
        let here = f32::from(self.frozen[from + walk.at]);
        match (walk.at + quarter).checked_sub(length) {
            None => here,
            Some(into) => {
                let share = (into + 1) as f32 / (quarter + 1) as f32;
                let before = f32::from(self.frozen[from + walk.at - length]);
                here + (before - here) * share
            }
        }
    }

    fn next(&mut self) -> i16 {
        let made = self.made;
        self.made += 1;
        let full = samples(FULL_MS, self.rate_hz);
        if made >= samples(FADED_MS, self.rate_hz) || self.known == 0 {
            return 0;
        }
        if made > 0 && made.is_multiple_of(full) && self.walk.periods < PERIODS_MAX {
            self.from = self.walk;
            self.fading = self.quarter();
            // The same place within a period, in the oldest of them.
            self.walk = Walk { periods: self.walk.periods + 1, at: self.walk.at % self.period };
        }
        let mut value = self.sample(self.walk);
        self.walk.at = (self.walk.at + 1) % (self.walk.periods * self.period);
        let quarter = self.quarter();
        if self.fading > 0 {
            let share = self.fading as f32 / (quarter + 1) as f32;
            value += (self.sample(self.from) - value) * share;
            self.from.at = (self.from.at + 1) % (self.from.periods * self.period);
            self.fading -= 1;
        }
        if made < quarter {
            value += self.step * (1.0 - (made + 1) as f32 / (quarter + 1) as f32);
        }
        let faded = samples(FADED_MS, self.rate_hz);
        let gain = if made < full { 1.0 } else { (faded - made) as f32 / (faded - full) as f32 };
        (value * gain) as i16
    }

    /// Blends what would have been made up next into the beginning of `pcm`: a quarter period, and 4 ms more for each
    /// 10 ms of loss, 10 ms at most (Appendix I.2.7).
    fn blend(&mut self, pcm: &mut [i16]) {
        let longer = self.made * 4 / 10;
        let length = (self.quarter() + longer).min(samples(BLEND_MAX_MS, self.rate_hz)).min(pcm.len());
        for (at, sample) in pcm.iter_mut().take(length).enumerate() {
            let share = (at + 1) as f32 / (length + 1) as f32;
            *sample = (f32::from(*sample) * share + f32::from(self.next()) * (1.0 - share)) as i16;
        }
    }

    /// The lag at which the last 20 ms are most like what was before: searched coarsely on a thinned-out history, then
    /// sample by sample around the best.
    fn pitch(&self) -> usize {
        let thin = (self.rate_hz / COARSE_HZ).max(1) as usize;
        let mut coarse = [0.0_f32; COARSE_MAX];
        let count = (self.frozen.len() / thin).min(COARSE_MAX);
        // From the end, so that the newest samples are all there.
        let from = self.frozen.len() - count * thin;
        for (value, group) in coarse.iter_mut().zip(self.frozen[from..].chunks_exact(thin)) {
            *value = group.iter().map(|sample| f32::from(*sample)).sum::<f32>() / thin as f32;
        }
        let coarse_hz = self.rate_hz / thin as u32;
        let compared = samples(COMPARED_MS, coarse_hz);
        let lags = samples(PITCH_MIN_MS, coarse_hz)..=samples(PITCH_MAX_MS, coarse_hz);
        let near = best_lag(&coarse[..count], compared, lags) * thin;
        let (least, most) = (samples(PITCH_MIN_MS, self.rate_hz), samples(PITCH_MAX_MS, self.rate_hz));
        let lags = near.saturating_sub(thin).max(least)..=(near + thin).min(most);
        best_lag_i16(&self.frozen, samples(COMPARED_MS, self.rate_hz), lags)
    }
}

fn samples(ms: f32, rate_hz: u32) -> usize {
    (ms * rate_hz as f32 / 1000.0) as usize
}

/// The lag with the highest normalised correlation of the last `compared` values with those `lag` before.
fn best_lag(values: &[f32], compared: usize, lags: std::ops::RangeInclusive<usize>) -> usize {
    best(lags, |lag| {
        let end = values.len();
        let newest = &values[end - compared..];
        let before = &values[end - compared - lag..end - lag];
        newest.iter().zip(before).fold((0.0, 0.0), |(dot, energy), (a, b)| (dot + a * b, energy + b * b))
    })
}

fn best_lag_i16(values: &[i16], compared: usize, lags: std::ops::RangeInclusive<usize>) -> usize {
    best(lags, |lag| {
        let end = values.len();
        let newest = &values[end - compared..];
        let before = &values[end - compared - lag..end - lag];
        newest.iter().zip(before).fold((0.0, 0.0), |(dot, energy), (a, b)| {
            let (a, b) = (f32::from(*a), f32::from(*b));
            (dot + a * b, energy + b * b)
        })
    })
}

fn best(lags: std::ops::RangeInclusive<usize>, correlate: impl Fn(usize) -> (f32, f32)) -> usize {
    let first = *lags.start();
    let mut found = (first, f32::MIN);
    for lag in lags {
        let (dot, energy) = correlate(lag);
        let likeness = dot / energy.max(1.0).sqrt();
        if likeness > found.1 {
            found = (lag, likeness);
        }
    }
    found.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tone;

    const RATES: [u32; 4] = [8000, 16_000, 32_000, 48_000];

    /// A voice of this pitch: many harmonics, slowly swelling.
    fn voice(pitch_hz: f64, rate_hz: u32, ms: u64) -> Vec<i16> {
        let harmonics = 12;
        (0..rate_hz as u64 * ms / 1000)
            .map(|i| {
                let t = i as f64 / f64::from(rate_hz);
                let sum: f64 =
                    (1..=harmonics).map(|h| (t * pitch_hz * std::f64::consts::TAU * h as f64).sin() / h as f64).sum();
                (sum * 6000.0 * (0.8 + 0.2 * (t * 9.0).sin())) as i16
            })
            .collect()
    }

    #[test]
    fn a_lost_frame_of_a_voice_sounds_like_the_voice_at_every_rate() {
        for rate_hz in RATES {
            for pitch_hz in [80.0, 110.0, 147.0, 190.0] {
                let mut pcm = voice(pitch_hz, rate_hz, 400);
                let truth = pcm.clone();
                let frame = rate_hz as usize / 50;
                let mut concealer = Concealer::new(rate_hz);
                for (index, frame) in pcm.chunks_exact_mut(frame).enumerate() {
                    if index == 10 {
                        concealer.conceal(frame);
                    } else {
                        concealer.heard(frame);
                    }
                }
                let error = |range: std::ops::Range<usize>| {
                    let noise: f64 =
                        range.clone().map(|i| f64::from(i32::from(pcm[i]) - i32::from(truth[i])).powi(2)).sum();
                    let signal: f64 = range.map(|i| f64::from(truth[i]).powi(2)).sum();
                    10.0 * (signal / noise.max(1.0)).log10()
                };
                let lost = 10 * frame..10 * frame + frame / 2;
                assert!(error(lost) > 8.0, "{rate_hz} Hz, pitch {pitch_hz}: {}", error(10 * frame..11 * frame));
                assert_eq!(pcm[12 * frame..], truth[12 * frame..], "later audio is untouched");
            }
        }
    }

    #[test]
    fn nothing_clicks_where_a_loss_begins_and_ends() {
        for rate_hz in RATES {
            let mut pcm = tone::sine(233.0, 12_000, rate_hz, Duration::from_millis(400));
            let frame = rate_hz as usize / 50;
            let mut concealer = Concealer::new(rate_hz);
            for (index, frame) in pcm.chunks_exact_mut(frame).enumerate() {
                if matches!(index, 8..11 | 14) { concealer.conceal(frame) } else { concealer.heard(frame) }
            }
            // A sine moves by its angular speed at most; a tenth more for blends of two phases.
            let most = 12_000.0 * 233.0 * std::f64::consts::TAU / f64::from(rate_hz);
            let worst = pcm.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap();
            assert!(f64::from(worst) < most * 1.5 + 2.0, "{rate_hz} Hz: a step of {worst}, a sine has {most:.0}");
        }
    }

    #[test]
    fn a_long_loss_fades_out_in_60_ms_and_a_tone_keeps_its_pitch_until_then() {
        let mut concealer = Concealer::new(8000);
        let mut pcm = tone::sine(100.0, 10_000, 8000, Duration::from_millis(100));
        concealer.heard(&mut pcm);
        let mut out = [0; 800];
        out.chunks_exact_mut(160).for_each(|frame| concealer.conceal(frame));
        assert!(tone::level(&out[..80], 8000, 100.0) > 9000.0);
        let levels: Vec<f64> = out.chunks_exact(80).map(tone::rms).collect();
        assert!(levels[..6].windows(2).skip(1).all(|pair| pair[1] < pair[0]), "{levels:?}");
        assert!(out[480..].iter().all(|sample| *sample == 0), "60 ms later it is silent");
        assert!(concealer.has_faded());
    }

    #[test]
    fn before_anything_was_heard_there_is_silence() {
        let mut concealer = Concealer::new(16_000);
        let mut out = [99; 320];
        concealer.conceal(&mut out);
        assert_eq!(out, [0; 320]);
        let mut loud = [i16::MIN; 320];
        concealer.heard(&mut loud);
        for _ in 0..9 {
            concealer.conceal(&mut out);
        }
        concealer.reset();
        concealer.conceal(&mut out);
        assert_eq!(out, [0; 320]);
        assert!(Concealer::new(1).rate_hz == 8000 && Concealer::new(u32::MAX).rate_hz == 48_000);
    }
}
