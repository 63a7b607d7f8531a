//! Prompts: encoded once for each codec, then shared by every call that plays them.

mod decode;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::CodecRef;

pub use decode::{Pcm, Problem, PromptError, decode};

/// A prompt as payload, ready to be copied into packets. Shared: playing it takes nothing but reading.
#[derive(Clone)]
pub struct EncodedPrompt {
    codec: CodecRef,
    frame: Duration,
    /// Where each frame ends in `payload`; empty for codecs whose payload may be cut anywhere.
    ends: Box<[u32]>,
    payload: Box<[u8]>,
    duration: Duration,
}

impl fmt::Debug for EncodedPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedPrompt({} {:?}, {} bytes)", self.codec.name(), self.duration, self.payload.len())
    }
}

impl EncodedPrompt {
    /// Encodes mono PCM at the codec's own sample rate in frames of `frame`. The last frame is filled with silence: to
    /// the codec's grain where payload may be cut ([`crate::codec::Codec::concatenates`]), else to a whole frame.
    pub fn encode(pcm: &[i16], codec: CodecRef, frame: Duration) -> Arc<Self> {
        let samples = codec.samples(frame).max(1);
        let grain = if codec.concatenates() { codec.grain_samples() } else { samples };
        let mut encoder = codec.encoder();
        let mut out = vec![0; samples * 2 + 64];
        let mut payload = Vec::new();
        let mut ends = Vec::new();
        let mut padded = vec![0; samples];
        for chunk in pcm.chunks(samples) {
            let length = chunk.len().next_multiple_of(grain).min(samples);
            let input = if chunk.len() < length {
                padded.fill(0);
                padded[..chunk.len()].copy_from_slice(chunk);
                &padded[..length]
            } else {
                chunk
            };
            let bytes = encoder.encode(input, &mut out);
            payload.extend_from_slice(&out[..bytes]);
            if !codec.concatenates() {
                ends.push(payload.len() as u32);
            }
        }
        let duration = Duration::from_micros(pcm.len() as u64 * 1_000_000 / u64::from(codec.sample_rate_hz()));
        Arc::new(Self { codec, frame, ends: ends.into(), payload: payload.into(), duration })
    }

    /// Silence of this length (a pause between two pieces). Nothing is encoded: it costs a copy.
    pub fn silence(duration: Duration, codec: CodecRef, frame: Duration) -> Arc<Self> {
        let frames = duration.as_micros().div_ceil(frame.as_micros().max(1)) as usize;
        let mut one = vec![0; codec.samples(frame) * 2 + 64];
        let bytes = codec.silence(frame, &mut one);
        let mut payload = one[..bytes].repeat(frames);
        let mut ends = Vec::new();
        if codec.concatenates() {
            // Silence of such codecs is the same everywhere: as long as was asked for, to a whole grain.
            let samples = codec.samples(duration).next_multiple_of(codec.grain_samples());
            payload.truncate(bytes * samples / codec.samples(frame).max(1));
        } else {
            ends.extend((1..=frames).map(|number| (number * bytes) as u32));
        }
        Arc::new(Self { codec, frame, ends: ends.into(), payload: payload.into(), duration })
    }

    /// The codec.
    pub fn codec(&self) -> CodecRef {
        self.codec
    }
    /// Audio in one frame.
    pub fn frame(&self) -> Duration {
        self.frame
    }
    /// All frames, one after the other.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
    /// The frame with this number, for codecs whose payload cannot be cut anywhere; `None` behind the last one.
    pub fn frame_payload(&self, number: usize) -> Option<&[u8]> {
        let end = *self.ends.get(number)? as usize;
        let begin = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.payload.get(begin..end)
    }
    /// What a listener hears, at the codec's own rate; for tests and tools.
    pub fn decoded(&self) -> Vec<i16> {
        let mut decoder = self.codec.decoder();
        let samples = self.codec.samples(self.frame).max(1);
        let mut pcm = vec![0; self.codec.samples(self.duration) + samples];
        let mut at = 0;
        if self.codec.concatenates() {
            at = decoder.decode(&self.payload, &mut pcm);
        }
        for number in 0..self.ends.len() {
            at += decoder.decode(self.frame_payload(number).unwrap_or_default(), &mut pcm[at..]);
        }
        pcm.truncate(at);
        pcm
    }
    /// How long it plays.
    pub fn duration(&self) -> Duration {
        self.duration
    }
}
