//! Sound files, read to the end: `ark transcribe`, and recordings of calls.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use ark_media::prompt;
use ark_media::resample::Resampler;
use ark_transcribe::engine::Engine;
use ark_transcribe::limits::{FRAME_SAMPLES, RATE_HZ};
use ark_transcribe::stream::{Stream, StreamConfig};
use ark_transcribe::{EngineError, Language, SpeechEvent};

use super::limits::FILE_BYTES_MAX;

/// A WAV of 16 bits at 8, 16 or 48 kHz, as Ark records.
#[derive(Debug)]
pub struct Recorded {
    file: File,
    channels: usize,
    rate_hz: u32,
    /// Where the audio lies.
    begin: u64,
    /// Instants: samples of each channel.
    instants: u64,
}

impl Recorded {
    /// Reads the header.
    ///
    /// # Errors
    /// It is no such WAV, or cannot be read: a sentence.
    pub fn open(path: &Path) -> Result<Self, String> {
        let unreadable = |error: std::io::Error| error.to_string();
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut head = [0; 12];
        file.read_exact(&mut head).map_err(|_| "it is too short for a WAV".to_owned())?;
        if &head[..4] != b"RIFF" || &head[8..] != b"WAVE" {
            return Err("it is no WAV".to_owned());
        }
        let (mut shape, mut at) = (None, 12);
        loop {
            let mut chunk = [0; 8];
            file.seek(SeekFrom::Start(at))
                .and_then(|_| file.read_exact(&mut chunk))
                .map_err(|_| "it has no audio".to_owned())?;
            let size = u64::from(u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]));
            match &chunk[..4] {
                b"fmt " => shape = Some(format_of(&mut file)?),
                b"data" => {
                    let (channels, rate_hz) = shape.ok_or("its audio comes before its format")?;
                    let begin = at + 8;
                    // A file that is still written, or was cut off, has what it has.
                    let bytes = size.min(length.saturating_sub(begin));
                    let instants = bytes / (channels as u64 * 2);
                    return Ok(Self { file, channels, rate_hz, begin, instants });
                }
                _ => {}
            }
            at += 8 + size + (size & 1);
        }
    }

    /// How many channels it has.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// How long it is.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.instants * 1_000_000 / u64::from(self.rate_hz))
    }

    /// A part of one channel, at [`RATE_HZ`]. What lies outside of the file is left out.
    ///
    /// # Errors
    /// It has no such channel, or cannot be read.
    pub fn cut(&mut self, channel: usize, from: Duration, until: Duration) -> Result<Vec<i16>, String> {
        if channel >= self.channels {
            return Err(format!("it has {} channels, and not number {}", self.channels, channel + 1));
        }
        let at = |time: Duration| (time.as_micros() as u64 * u64::from(self.rate_hz) / 1_000_000).min(self.instants);
        let (from, until) = (at(from), at(until));
        let mut bytes = vec![0; (until.saturating_sub(from) as usize) * self.channels * 2];
        let begin = self.begin + from * self.channels as u64 * 2;
        self.file
            .seek(SeekFrom::Start(begin))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|error| error.to_string())?;
        let of_channel = bytes
            .chunks_exact(self.channels * 2)
            .map(|all| i16::from_le_bytes([all[channel * 2], all[channel * 2 + 1]]));
        let samples: Vec<i16> = of_channel.collect();
        let mut resampler =
            Resampler::new(self.rate_hz, RATE_HZ).ok_or("its sample rate is none of 8, 16 and 48 kHz")?;
        let mut out = vec![0; resampler.most(samples.len())];
        let count = resampler.process(&samples, &mut out);
        out.truncate(count);
        Ok(out)
    }
}

/// Channels and sample rate of a WAV of 16 bits.
fn format_of(file: &mut File) -> Result<(usize, u32), String> {
    let mut format = [0; 16];
    file.read_exact(&mut format).map_err(|_| "its format is cut off".to_owned())?;
    let number = |at: usize| u16::from_le_bytes([format[at], format[at + 1]]);
    let rate_hz = u32::from_le_bytes([format[4], format[5], format[6], format[7]]);
    let channels = usize::from(number(2));
    let fits =
        number(0) == 1 && number(14) == 16 && (1..=8).contains(&channels) && [8_000, 16_000, 48_000].contains(&rate_hz);
    if fits { Ok((channels, rate_hz)) } else { Err("it is no WAV of 16 bits at 8, 16 or 48 kHz".to_owned()) }
}

/// Every channel of a sound file at [`RATE_HZ`]; of others than WAV of 16 bits one, mixed.
///
/// # Errors
/// It cannot be read, or is no sound: a sentence.
pub fn channels(path: &Path) -> Result<Vec<Vec<i16>>, String> {
    let length = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{}: {length} bytes are more than are read", path.display()));
    }
    if let Ok(mut file) = Recorded::open(path) {
        let until = file.duration() + Duration::from_secs(1);
        let each = (0..file.channels()).map(|channel| file.cut(channel, Duration::ZERO, until));
        return each.collect::<Result<_, _>>().map_err(|why| format!("{}: {why}", path.display()));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let pcm = prompt::decode(bytes, &path.display().to_string()).map_err(|error| error.to_string())?;
    Ok(vec![pcm.resampled(RATE_HZ).samples])
}

/// An utterance of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// In which channel, from 0.
    pub channel: usize,
    /// Which utterance of it, from 1.
    pub utterance: u32,
    /// When it begins.
    pub start: Duration,
    /// When it ends.
    pub end: Duration,
    /// The words, masked.
    pub text: String,
    /// 0 to 1.
    pub confidence: Option<f32>,
    /// What was spoken.
    pub language: Option<Language>,
    /// Something was masked.
    pub masked: bool,
}

/// Reads one channel. `progress` hears how far it is.
///
/// # Errors
/// The engine cannot read; what cannot be read of it once is left out.
pub fn read(
    samples: &[i16],
    channel: usize,
    config: &StreamConfig,
    engine: &mut dyn Engine,
    mut progress: impl FnMut(Duration),
) -> Result<Vec<Said>, EngineError> {
    let config = StreamConfig { partials: false, fed: false, ..config.clone() };
    let Some(mut stream) = Stream::new(config, RATE_HZ) else { return Ok(Vec::new()) };
    let mut said = Vec::new();
    let mut at = Duration::ZERO;
    for frame in samples.chunks(FRAME_SAMPLES) {
        stream.push(at, frame);
        at += Duration::from_millis(20);
        ask(&mut stream, channel, engine, &mut said)?;
        progress(at);
    }
    stream.finish();
    ask(&mut stream, channel, engine, &mut said)?;
    Ok(said)
}

fn ask(stream: &mut Stream, channel: usize, engine: &mut dyn Engine, said: &mut Vec<Said>) -> Result<(), EngineError> {
    while let Some(work) = stream.work() {
        match engine.recognise(&work.utterance) {
            Err(error @ EngineError::Broken(_)) => return Err(error),
            answer => stream.answer(work.ticket, answer, false),
        }
    }
    while let Some(event) = stream.poll() {
        if let SpeechEvent::Final { utterance, start, end, text, confidence, language, masked, .. } = event {
            said.push(Said { channel, utterance, start, end, text, confidence, language, masked });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_transcribe::engine::scripted::Scripted;

    fn wav(folder: &Path, channels: u16, instants: u32) -> std::path::PathBuf {
        let mut bytes = ark_media::record::header(channels, u64::from(instants) * u64::from(channels) * 2).to_vec();
        let voice = ark_media::fuzz::speech(3, 8_000, u64::from(instants) / 8);
        for (instant, said) in voice.iter().enumerate().take(instants as usize) {
            for channel in 0..channels {
                let sample = if channel == 1 && (8_000..24_000).contains(&instant) { *said } else { 0 };
                bytes.extend_from_slice(&sample.to_le_bytes());
            }
        }
        let path = folder.join(format!("{channels}.wav"));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn each_channel_of_a_recording_is_read_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = wav(folder.path(), 2, 40_000);
        let mut file = Recorded::open(&path).unwrap();
        assert_eq!((file.channels(), file.duration()), (2, Duration::from_secs(5)));
        assert_eq!(file.cut(1, Duration::from_secs(4), Duration::from_secs(9)).unwrap().len(), 16_000);
        assert!(file.cut(2, Duration::ZERO, Duration::from_secs(1)).is_err());
        let all = channels(&path).unwrap();
        let mut engine = Scripted::texts(&["你好", "在吗", "再见"]);
        let config = StreamConfig::default();
        assert!(read(&all[0], 0, &config, &mut engine, |_| {}).unwrap().is_empty());
        let said = read(&all[1], 1, &config, &mut engine, |_| {}).unwrap();
        assert!(
            !said.is_empty() && said[0].start.abs_diff(Duration::from_secs(1)) < Duration::from_millis(250),
            "{said:?}"
        );
    }

    #[test]
    fn what_is_no_sound_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.wav");
        for bytes in [
            &b""[..],
            b"RIFF",
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0",
            b"not a sound at all, but long enough to be looked at",
        ] {
            std::fs::write(&path, bytes).unwrap();
            let why = channels(&path).unwrap_err();
            assert!(why.contains("x.wav"), "{why}");
        }
    }
}
