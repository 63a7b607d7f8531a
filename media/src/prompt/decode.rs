//! Files into PCM: symphonia for the container and most codecs, opus-rs for Opus, rubato for the sample rate.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, Resampler as _, SincInterpolationParameters, WindowFunction};
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder};
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::packet::Packet;

use super::EncodedPrompt;
use crate::codec::{CodecRef, opus_packet_samples};
use crate::limits::{PROMPT_BYTES_MAX, PROMPT_CHANNELS_MAX, PROMPT_DURATION_MAX, PROMPT_RATE_HZ};

/// Mono audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcm {
    /// Samples, 16 bits.
    pub samples: Vec<i16>,
    /// Samples per second.
    pub rate_hz: u32,
}

/// Why a file is no prompt. Its text names the file and says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct PromptError {
    /// The name that was given.
    pub file: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Larger than [`PROMPT_BYTES_MAX`].
    #[error("the file has {0} bytes; at most {max} MiB are read", max = PROMPT_BYTES_MAX >> 20)]
    TooLarge(usize),
    /// Longer than [`PROMPT_DURATION_MAX`].
    #[error("the audio is longer than {} minutes", PROMPT_DURATION_MAX.as_secs() / 60)]
    TooLong,
    /// No container that Ark reads.
    #[error("not a sound file that Ark reads (wav, mp3, ogg, flac, m4a, opus): {0}")]
    UnknownFormat(String),
    /// A container without an audio track.
    #[error("there is no audio track in it")]
    NoAudio,
    /// A codec that Ark does not decode.
    #[error("its audio codec is not supported: {0}")]
    UnknownCodec(String),
    /// A sample rate or a number of channels beyond reason.
    #[error("{0} Hz with {1} channels is not supported")]
    Shape(u32, usize),
    /// The container or the audio is damaged, and nothing could be decoded before the damage.
    #[error("the file is damaged: {0}")]
    Damaged(String),
}

/// Decodes a sound file and mixes it down to mono at its own sample rate. `name` is for messages, and its ending is
/// a hint. A file that ends early or has a wrong length in its header (as programs write to a pipe) gives what is there.
pub fn decode(bytes: Vec<u8>, name: &str) -> Result<Pcm, PromptError> {
    let fail = |problem| PromptError { file: name.to_owned(), problem };
    match bytes.len() {
        0 => return Err(fail(Problem::Empty)),
        length if length > PROMPT_BYTES_MAX => return Err(fail(Problem::TooLarge(length))),
        _ => {}
    }
    // A decoder that breaks its own invariant on a damaged file must cost that file and not the gateway.
    catch_unwind(AssertUnwindSafe(|| decode_bytes(bytes, name)))
        .unwrap_or_else(|_| Err(Problem::Damaged("its decoder gave up".to_owned())))
        .map_err(fail)
}

/// Makes the header of a WAV say what is there. Telephone systems write G.711 with the 16-byte `fmt ` chunk of plain
/// PCM where symphonia wants the 18 bytes of the standard, and programs that write to a pipe guess the lengths.
fn mend_wav(bytes: &mut Vec<u8>) {
    if !bytes.starts_with(b"RIFF") || bytes.get(8..12) != Some(b"WAVE".as_slice()) {
        return;
    }
    let g711 = matches!(bytes.get(20..22), Some([6 | 7, 0]));
    if g711 && bytes.get(12..20) == Some(b"fmt \x10\0\0\0".as_slice()) && bytes.len() > 36 {
        bytes[16] = 18;
        bytes.splice(36..36, [0, 0]);
    }
    let riff = (bytes.len() - 8) as u32;
    bytes[4..8].copy_from_slice(&riff.to_le_bytes());
    let mut at = 12;
    while let Some([a, b, c, d]) = bytes.get(at + 4..at + 8).and_then(|l| <[u8; 4]>::try_from(l).ok()) {
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let rest = bytes.len() - at - 8;
        if length > rest {
            bytes[at + 4..at + 8].copy_from_slice(&(rest as u32).to_le_bytes());
            return;
        }
        at += 8 + length + length % 2;
    }
}

fn decode_bytes(mut bytes: Vec<u8>, name: &str) -> Result<Pcm, Problem> {
    mend_wav(&mut bytes);
    let mut hint = Hint::new();
    if let Some((_, extension)) = name.rsplit_once('.') {
        hint.with_extension(extension);
    }
    let source = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(&hint, source, Default::default(), Default::default())
        .map_err(|e| Problem::UnknownFormat(e.to_string()))?;
    let track = format.default_track(TrackType::Audio).ok_or(Problem::NoAudio)?;
    let id = track.id;
    let parameters = track.codec_params.as_ref().and_then(|p| p.audio()).ok_or(Problem::NoAudio)?.clone();
    let mut decoder = Decoder::new(&parameters)?;
    let mut mono = Mono::default();
    let mut damage = None;
    loop {
        let packet = match next_packet(format.as_mut()) {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error) => {
                damage = Some(error.to_string());
                break;
            }
        };
        if packet.track_id != id {
            continue;
        }
        if let Err(problem) = decoder.decode(&packet, &mut mono) {
            match problem {
                // One bad packet is skipped, as players do; the rest of the prompt is heard.
                Problem::Damaged(what) => damage = Some(what),
                other => return Err(other),
            }
        }
        if mono.duration() > PROMPT_DURATION_MAX {
            return Err(Problem::TooLong);
        }
    }
    if mono.samples.is_empty() {
        return Err(Problem::Damaged(damage.unwrap_or_else(|| "it ends before its first sound".to_owned())));
    }
    Ok(Pcm { samples: mono.samples, rate_hz: mono.rate_hz })
}

fn next_packet(format: &mut dyn FormatReader) -> Result<Option<Packet>, Symphonia> {
    match format.next_packet() {
        Err(Symphonia::IoError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        // A chained stream: what comes after is another file.
        Err(Symphonia::ResetRequired) => Ok(None),
        other => other,
    }
}

#[derive(Default)]
struct Mono {
    samples: Vec<i16>,
    rate_hz: u32,
}

impl Mono {
    fn push(&mut self, interleaved: &[f32], channels: usize, rate_hz: u32) -> Result<(), Problem> {
        if !(1..=PROMPT_CHANNELS_MAX).contains(&channels) || !PROMPT_RATE_HZ.contains(&rate_hz) {
            return Err(Problem::Shape(rate_hz, channels));
        }
        if self.rate_hz != 0 && self.rate_hz != rate_hz {
            return Err(Problem::Damaged("its sample rate changes on the way".to_owned()));
        }
        self.rate_hz = rate_hz;
        let scale = 32_768.0 / channels as f32;
        let mixed = interleaved.chunks_exact(channels).map(|frame| to_i16(frame.iter().sum::<f32>() * scale));
        self.samples.extend(mixed);
        Ok(())
    }

    fn duration(&self) -> Duration {
        duration(self.samples.len(), self.rate_hz)
    }
}

fn to_i16(value: f32) -> i16 {
    // `as` saturates, and gives 0 for NaN.
    value.round() as i16
}

fn duration(samples: usize, rate_hz: u32) -> Duration {
    Duration::from_micros(samples as u64 * 1_000_000 / u64::from(rate_hz.max(1)))
}

enum Decoder {
    Symphonia { decoder: Box<dyn AudioDecoder>, interleaved: Vec<f32> },
    Opus { decoder: Box<opus_rs::OpusDecoder>, channels: usize, interleaved: Vec<f32> },
}

/// Taps of the resampling filter, counted at the lower of the two rates.
const FILTER_TAPS: usize = 128;
/// Opus decodes at this rate whatever it was made from.
const OPUS_RATE_HZ: u32 = 48_000;
/// The longest Opus packet is 120 ms.
const OPUS_FRAME_MAX: usize = 5760;

impl Decoder {
    fn new(parameters: &AudioCodecParameters) -> Result<Self, Problem> {
        if parameters.codec == CODEC_ID_OPUS {
            let channels = parameters.channels.as_ref().map_or(1, |c| c.count());
            if channels > 2 {
                return Err(Problem::Shape(OPUS_RATE_HZ, channels));
            }
            let decoder = opus_rs::OpusDecoder::new(OPUS_RATE_HZ as i32, channels)
                .map_err(|e| Problem::UnknownCodec(e.to_owned()))?;
            let interleaved = vec![0.0; OPUS_FRAME_MAX * channels];
            return Ok(Self::Opus { decoder: Box::new(decoder), channels, interleaved });
        }
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &Default::default())
            .map_err(|e| Problem::UnknownCodec(e.to_string()))?;
        Ok(Self::Symphonia { decoder, interleaved: Vec::new() })
    }

    fn decode(&mut self, packet: &Packet, mono: &mut Mono) -> Result<(), Problem> {
        match self {
            Self::Symphonia { decoder, interleaved } => {
                let audio = decoder.decode(packet).map_err(|e| Problem::Damaged(e.to_string()))?;
                interleaved.resize(audio.samples_interleaved(), 0.0);
                audio.copy_to_slice_interleaved(&mut *interleaved);
                let spec = audio.spec();
                mono.push(interleaved, spec.channels().count(), spec.rate())
            }
            Self::Opus { decoder, channels, interleaved } => {
                let length = match opus_packet_samples(&packet.data, OPUS_RATE_HZ as usize) {
                    0 => 960,
                    samples => samples,
                };
                let samples = decoder
                    .decode(&packet.data, length, interleaved)
                    .map_err(|e| Problem::Damaged(e.to_owned()))?
                    .min(OPUS_FRAME_MAX);
                let skip = (packet.trim_start.get() as usize).min(samples);
                let end = samples.saturating_sub(packet.trim_end.get() as usize).max(skip);
                mono.push(&interleaved[skip * *channels..end * *channels], *channels, OPUS_RATE_HZ)
            }
        }
    }
}

impl Pcm {
    /// How long it is.
    pub fn duration(&self) -> Duration {
        duration(self.samples.len(), self.rate_hz)
    }

    /// The same audio at another rate, with what the new rate cannot carry filtered out.
    pub fn resampled(&self, rate_hz: u32) -> Self {
        if rate_hz == self.rate_hz || self.samples.is_empty() {
            return Self { samples: self.samples.clone(), rate_hz };
        }
        let input: Vec<f32> = self.samples.iter().map(|s| f32::from(*s)).collect();
        let ratio = f64::from(rate_hz) / f64::from(self.rate_hz);
        // The filter is as sharp as 128 taps are at the lower of the two rates: with fewer at 96 kHz, what 8 kHz
        // cannot carry would fold back into the voice, and the voice's own highs would fade.
        let taps = FILTER_TAPS * (self.rate_hz / rate_hz.max(1)).max(1) as usize;
        let filter = SincInterpolationParameters::new(taps, WindowFunction::BlackmanHarris2);
        let mut resampler = Async::<f32>::new_sinc(ratio, 1.0, &filter, 1024, 1, FixedAsync::Input)
            .expect("both rates are positive and the parameters are constants");
        let frames = InterleavedSlice::new(&input, 1, input.len()).expect("one channel fits any slice");
        let output = resampler.process_all(&frames, input.len(), None).expect("a whole buffer of one channel");
        Self { samples: output.take_data().into_iter().map(to_i16).collect(), rate_hz }
    }

    /// Encodes it for a codec, at that codec's rate, in frames of `frame` (20 ms, [`crate::limits::TICK`]).
    pub fn encode(&self, codec: CodecRef, frame: Duration) -> Arc<EncodedPrompt> {
        EncodedPrompt::encode(&self.resampled(codec.sample_rate_hz()).samples, codec, frame)
    }
}
