//! Audio made a little longer or shorter without changing its pitch: one period is repeated or left out, and the seam is
//! faded over. What [`crate::playout`] follows a delay and a sender's clock with.

use crate::limits::AUDIO_RATE_HZ;

/// Shortest stretch that is put in or left out of a voice.
const LAG_MIN_MS: usize = 3;
/// Longest one.
const LAG_MAX_MS: usize = 12;
/// Stretch over which two places are compared, and faded from one to the other.
const SEAM_MS: usize = 6;
/// Rate at which places are compared; more says no more about them.
const COMPARE_HZ: usize = 8000;

/// Samples that must be there for [`lag`] to find the longest period: 18 ms.
pub fn needed(rate_hz: u32) -> usize {
    (LAG_MAX_MS + SEAM_MS) * per_ms(rate_hz)
}

/// Samples of the seam: a stretch of `lag` samples needs as many more behind it.
pub fn seam(rate_hz: u32) -> usize {
    SEAM_MS * per_ms(rate_hz)
}

fn per_ms(rate_hz: u32) -> usize {
    rate_hz.clamp(*AUDIO_RATE_HZ.start(), *AUDIO_RATE_HZ.end()) as usize / 1000
}

/// The lag, in samples, at which the beginning of `pcm` repeats itself best, 3 to 12 ms but `most` samples at most, and
/// how well: 1 exactly, 0 not at all. `None`: too few samples.
pub fn lag(pcm: &[i16], rate_hz: u32, most: usize) -> Option<(usize, f32)> {
    let (per_ms, seam) = (per_ms(rate_hz), seam(rate_hz));
    let most = most.min(LAG_MAX_MS * per_ms).min(pcm.len().checked_sub(seam)?);
    let least = LAG_MIN_MS * per_ms;
    let step = (per_ms * 1000 / COMPARE_HZ).max(1);
    let likeness = |lag: usize| {
        let (mut dot, mut here, mut there) = (0.0_f32, 1.0_f32, 1.0_f32);
        for at in (0..seam).step_by(step) {
            let (a, b) = (f32::from(pcm[at]), f32::from(pcm[at + lag]));
            dot += a * b;
            here += a * a;
            there += b * b;
        }
        dot / (here * there).sqrt()
    };
    let coarse = (least..=most).step_by(step).map(|lag| (lag, likeness(lag))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let near = (coarse.0.saturating_sub(step - 1).max(least)..=(coarse.0 + step - 1).min(most))
        .map(|lag| (lag, likeness(lag)));
    near.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Leaves out `lag` samples at the beginning of `pcm`, faded over the seam: what remains stands at the front. Returns how
/// many remain; all of them when there are fewer than `lag` and a seam.
pub fn shorten(pcm: &mut [i16], rate_hz: u32, lag: usize) -> usize {
    let seam = seam(rate_hz);
    if lag == 0 || pcm.len() < lag + seam {
        return pcm.len();
    }
    for at in 0..seam {
        pcm[at] = fade(pcm[at], pcm[at + lag], at, seam);
    }
    pcm.copy_within(seam + lag.., seam);
    pcm.len() - lag
}

/// Repeats the first `lag` samples of `pcm[..length]`, faded over the seam; `pcm` must have room for `lag` more. Returns
/// the new length; the old one when there are fewer than `lag` and a seam, or no room.
pub fn lengthen(pcm: &mut [i16], length: usize, rate_hz: u32, lag: usize) -> usize {
    let seam = seam(rate_hz);
    if lag == 0 || length < lag + seam || pcm.len() < length + lag {
        return length;
    }
    pcm.copy_within(seam..length, seam + lag);
    for at in 0..seam {
        pcm[lag + at] = fade(pcm[lag + at], pcm[at], at, seam);
    }
    length + lag
}

fn fade(from: i16, to: i16, at: usize, length: usize) -> i16 {
    let share = (at + 1) as f32 / (length + 1) as f32;
    (f32::from(from) + (f32::from(to) - f32::from(from)) * share) as i16
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tone;

    #[test]
    fn a_tone_stretched_either_way_is_the_same_tone_without_a_click() {
        for rate_hz in [8000, 16_000, 48_000] {
            let pcm = tone::sine(210.0, 10_000, rate_hz, Duration::from_millis(40));
            let (found, likeness) = lag(&pcm, rate_hz, usize::MAX).unwrap();
            let periods = found as f64 * 210.0 / f64::from(rate_hz);
            assert!((periods - periods.round()).abs() < 0.03 && likeness > 0.99, "{rate_hz}: {periods} {likeness}");
            let mut shorter = pcm.clone();
            let length = shorten(&mut shorter, rate_hz, found);
            assert_eq!(length, pcm.len() - found);
            let mut longer = pcm.clone();
            longer.resize(pcm.len() + found, 0);
            let grown = lengthen(&mut longer, pcm.len(), rate_hz, found);
            assert_eq!(grown, pcm.len() + found);
            let most = 10_000.0 * 210.0 * std::f64::consts::TAU / f64::from(rate_hz) * 1.2 + 2.0;
            for result in [&shorter[..length], &longer[..grown]] {
                let step = result.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap();
                assert!(f64::from(step) <= most, "{rate_hz}: {step}");
                assert!(tone::level(result, rate_hz, 210.0) > 9500.0);
                assert!((result[0] - pcm[0]).abs() < 20 && result.last() == pcm.last());
            }
        }
    }

    #[test]
    fn what_is_too_short_stays_as_it_is() {
        let mut pcm = [5; 100];
        assert_eq!(shorten(&mut pcm, 8000, 60), 100);
        assert_eq!(lengthen(&mut pcm, 100, 8000, 24), 100, "no room");
        assert_eq!(lag(&pcm[..40], 8000, 100), None);
        assert_eq!(lag(&pcm[..60], 8000, 100), None);
        assert_eq!(needed(8000), 144);
    }
}
