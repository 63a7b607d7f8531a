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
    frame_bytes: usize,
    payload: Box<[u8]>,
    duration: Duration,
}

impl fmt::Debug for EncodedPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedPrompt({} {:?}, {} bytes)", self.codec.name(), self.duration, self.payload.len())
    }
}

impl EncodedPrompt {
    /// Encodes mono PCM at the codec's own sample rate in frames of `frame`. The last frame is filled with silence
    /// only for codecs whose frames cannot be cut ([`crate::codec::Codec::concatenates`]).
    pub fn encode(pcm: &[i16], codec: CodecRef, frame: Duration) -> Arc<Self> {
        let samples = codec.samples(frame).max(1);
        let mut encoder = codec.encoder();
        let mut out = vec![0; samples * 2 + 64];
        let mut payload = Vec::with_capacity(pcm.len());
        let mut frame_bytes = 0;
        let mut padded = vec![0; samples];
        for chunk in pcm.chunks(samples) {
            let input = if chunk.len() < samples && !codec.concatenates() {
                padded.fill(0);
                padded[..chunk.len()].copy_from_slice(chunk);
                &padded
            } else {
                chunk
            };
            let bytes = encoder.encode(input, &mut out);
            frame_bytes = frame_bytes.max(bytes);
            payload.extend_from_slice(&out[..bytes]);
        }
        let duration = Duration::from_micros(pcm.len() as u64 * 1_000_000 / u64::from(codec.sample_rate_hz()));
        Arc::new(Self { codec, frame, frame_bytes, payload: payload.into_boxed_slice(), duration })
    }

    /// Silence of this length (a pause between two pieces).
    pub fn silence(duration: Duration, codec: CodecRef, frame: Duration) -> Arc<Self> {
        Self::encode(&vec![0; codec.samples(duration)], codec, frame)
    }

    /// The codec.
    pub fn codec(&self) -> CodecRef {
        self.codec
    }
    /// Audio in one frame.
    pub fn frame(&self) -> Duration {
        self.frame
    }
    /// Bytes of one frame.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }
    /// All frames, one after the other.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
    /// How long it plays.
    pub fn duration(&self) -> Duration {
        self.duration
    }
}
