//! Tones: what a peer says is a frequency, what another hears is measured.

use std::{f64::consts::TAU, fs, path::Path, time::Duration};

/// Samples a second of everything here.
pub const RATE_HZ: u32 = 8_000;

/// A sine of that length at a quarter of full scale.
pub fn tone(hz: f64, length: Duration) -> Vec<i16> {
    let samples = (length.as_secs_f64() * f64::from(RATE_HZ)) as usize;
    (0..samples).map(|n| (8_000.0 * (TAU * hz * n as f64 / f64::from(RATE_HZ)).sin()) as i16).collect()
}

/// The frequency that carries the sound, to 10 Hz; None for silence, noise, or two tones of like strength.
pub fn dominant_hz(pcm: &[i16], rate_hz: u32) -> Option<f64> {
    const QUIET: f64 = 200.0;
    let energy = pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
    if pcm.is_empty() || (energy / pcm.len() as f64).sqrt() < QUIET {
        return None;
    }
    let best = (10..=(rate_hz / 2 / 10).min(380))
        .map(|tens| f64::from(tens) * 10.0)
        .map(|hz| (hz, power(pcm, rate_hz, hz)))
        .max_by(|left, right| left.1.total_cmp(&right.1))?;
    // A pure tone carries all of the energy; 0.6 leaves room for G.711's noise and a cut at either end.
    (best.1 > 0.6 * energy).then_some(best.0)
}

/// Energy at one frequency (Goertzel), on the scale of the sum of squares.
fn power(pcm: &[i16], rate_hz: u32, hz: f64) -> f64 {
    let step = 2.0 * (TAU * hz / f64::from(rate_hz)).cos();
    let (mut before, mut last) = (0.0, 0.0);
    for sample in pcm {
        (before, last) = (last, f64::from(*sample) + step * last - before);
    }
    (last * last + before * before - step * last * before) * 2.0 / pcm.len() as f64
}

/// Writes one channel of 16 bit PCM.
///
/// # Panics
/// When the file cannot be written.
pub fn write_wav(path: &Path, pcm: &[i16]) {
    let bytes = pcm.len() as u32 * 2;
    let mut file = Vec::with_capacity(44 + bytes as usize);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + bytes).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16_u32.to_le_bytes());
    file.extend_from_slice(&1_u16.to_le_bytes());
    file.extend_from_slice(&1_u16.to_le_bytes());
    file.extend_from_slice(&RATE_HZ.to_le_bytes());
    file.extend_from_slice(&(RATE_HZ * 2).to_le_bytes());
    file.extend_from_slice(&2_u16.to_le_bytes());
    file.extend_from_slice(&16_u16.to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&bytes.to_le_bytes());
    for sample in pcm {
        file.extend_from_slice(&sample.to_le_bytes());
    }
    fs::write(path, file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Reads 16 bit PCM: the rate and each channel's samples. Trusts the header's lengths as any player would, except that
/// a length beyond the end of the file means "to the end".
///
/// # Panics
/// When it is not such a file.
pub fn read_wav(path: &Path) -> (u32, Vec<Vec<i16>>) {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(bytes.len() >= 12 && &bytes[..4] == b"RIFF" && &bytes[8..12] == b"WAVE", "{} is no WAV", path.display());
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (mut at, mut channels, mut rate_hz) = (12, 0, 0);
    while at + 8 <= bytes.len() {
        let (name, length) = (&bytes[at..at + 4], number(at + 4) as usize);
        let body = at + 8;
        let end = (body + length).min(bytes.len());
        match name {
            b"fmt " => {
                channels = usize::from(u16::from_le_bytes([bytes[body + 2], bytes[body + 3]]));
                rate_hz = number(body + 4);
                assert_eq!(u16::from_le_bytes([bytes[body + 14], bytes[body + 15]]), 16, "{}: bits", path.display());
            }
            b"data" => {
                assert!(channels > 0, "{}: data before fmt", path.display());
                let samples: Vec<i16> =
                    bytes[body..end].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
                let one = |channel| samples.iter().skip(channel).step_by(channels).copied().collect();
                return (rate_hz, (0..channels).map(one).collect());
            }
            _ => {}
        }
        at = body + length + (length & 1);
    }
    panic!("{}: no data", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_heard_as_itself_and_silence_as_nothing() {
        for hz in [440.0, 700.0, 1_000.0, 2_300.0] {
            assert_eq!(dominant_hz(&tone(hz, Duration::from_millis(300)), RATE_HZ), Some(hz));
        }
        assert_eq!(dominant_hz(&[0; 1_600], RATE_HZ), None);
        let both: Vec<i16> = tone(440.0, Duration::from_millis(300))
            .iter()
            .zip(tone(1_000.0, Duration::from_millis(300)))
            .map(|(one, other)| one / 2 + other / 2)
            .collect();
        assert_eq!(dominant_hz(&both, RATE_HZ), None);
    }

    #[test]
    fn a_wav_that_was_written_reads_back() {
        let folder = crate::kit::TempDir::new("wav");
        let path = folder.path().join("tone.wav");
        let pcm = tone(440.0, Duration::from_millis(100));
        write_wav(&path, &pcm);
        assert_eq!(read_wav(&path), (RATE_HZ, vec![pcm]));
    }
}
