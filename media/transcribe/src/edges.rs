//! Where the sound of an utterance begins and ends.
//!
//! The detector of voice hears vowels: it comes some 40 ms late, and leaves before a final consonant that has no voice ("late",
//! "thanks") is over. Loudness tells the rest, where the voice stands out from the line.

/// Samples that are looked at together: 5 ms at 16 kHz.
const STEP: usize = 80;
/// How far the sound may begin before the voice, and end behind it: 160 and 260 ms.
const BEFORE_MAX: usize = 32;
const BEHIND_MAX: usize = 52;
/// Steps that a voice may have too much at its ends: 100 ms.
const INSIDE_MAX: usize = 20;
/// Quiet steps within the sound, 100 and 120 ms: a stop is closed so long before it is released.
const GAP_BEFORE: usize = 20;
const GAP_BEHIND: usize = 24;
/// A sound is 30 dB below the loudest at least, and 9 dB above the quietest.
const BELOW_LOUDEST: f64 = 0.03;
const ABOVE_QUIETEST: f64 = 2.8;
/// The quantisation noise of a G.711 line, and what stands out from it.
const LEAST: f64 = 60.0;

/// The first sample of the sound and the one behind its last, for a voice from `begin` to `end` in `kept`.
pub(crate) fn of_sound(kept: &[i16], begin: usize, end: usize) -> (usize, usize) {
    let levels: Vec<f64> = kept.as_chunks::<STEP>().0.iter().map(|step| rms(step)).collect();
    let (first, behind) = (begin / STEP, (end / STEP).min(levels.len()));
    if first >= behind {
        return (begin, end);
    }
    let loudest = levels[first..behind].iter().copied().fold(0.0, f64::max);
    let quietest = quiet(&levels);
    let enough = (loudest * BELOW_LOUDEST).max(quietest * ABOVE_QUIETEST).max(LEAST);
    // A voice that hardly stands out from its surroundings: the detector knows better.
    if enough * 2.0 > loudest {
        return (begin, end);
    }
    let loud = |step: usize| levels.get(step).is_some_and(|level| *level >= enough);
    let mut from = first;
    for step in (first.saturating_sub(BEFORE_MAX)..first).rev() {
        if from - step > GAP_BEFORE {
            break;
        }
        if loud(step) {
            from = step;
        }
    }
    if from == first {
        from = (first..(first + INSIDE_MAX).min(behind)).find(|step| loud(*step)).unwrap_or(first);
    }
    let mut until = behind;
    for step in behind..(behind + BEHIND_MAX).min(levels.len()) {
        if step - until > GAP_BEHIND {
            break;
        }
        if loud(step) {
            until = step + 1;
        }
    }
    if until == behind {
        let least = behind.saturating_sub(INSIDE_MAX).max(from + 1);
        until = (least..=behind).rev().find(|step| loud(step - 1)).unwrap_or(behind);
    }
    (from * STEP, until * STEP)
}

fn rms(step: &[i16]) -> f64 {
    (step.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / step.len() as f64).sqrt()
}

/// How loud it is where nobody speaks: the tenth part of all steps is quieter.
fn quiet(levels: &[f64]) -> f64 {
    let mut sorted = levels.to_vec();
    let at = sorted.len() / 10;
    *sorted.select_nth_unstable_by(at, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds of sound of that peak: a square wave, so that its RMS is its peak.
    fn sound(parts: &[(usize, i16)]) -> Vec<i16> {
        let wave = |ms: usize, peak: i16| (0..ms * 16).map(move |n| if n / 20 % 2 == 0 { peak } else { -peak });
        parts.iter().flat_map(|(ms, peak)| wave(*ms, *peak)).collect()
    }

    fn found(parts: &[(usize, i16)], begin: usize, end: usize) -> (usize, usize) {
        let (from, until) = of_sound(&sound(parts), begin * 16, end * 16);
        (from / 16, until / 16)
    }

    #[test]
    fn a_quiet_beginning_and_a_final_consonant_belong_to_the_utterance() {
        let said = [(300, 8), (60, 900), (600, 9_000), (70, 8), (100, 800), (600, 8)];
        assert_eq!(found(&said, 350, 970), (300, 1_130));
    }

    #[test]
    fn what_the_detector_has_too_much_is_cut_off() {
        assert_eq!(found(&[(300, 8), (600, 9_000), (600, 8)], 260, 960), (300, 900));
    }

    #[test]
    fn a_knock_far_behind_is_none_of_it_and_noise_changes_nothing() {
        assert_eq!(found(&[(300, 8), (600, 9_000), (200, 8), (20, 9_000), (380, 8)], 300, 900), (300, 900));
        assert_eq!(found(&[(300, 2_000), (600, 4_000), (600, 2_000)], 340, 930), (340, 930));
        assert_eq!(found(&[(200, 8)], 40, 120), (40, 120));
        assert_eq!(of_sound(&[], 40, 120), (40, 120));
    }
}
