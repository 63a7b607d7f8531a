//! G.729 Annex A at 8 kbit/s, with the silence frames of Annex B taken on receive and never sent.
//!
//! The coder itself is the crate `g729-sys` (pure Rust, no heap). It is a port of bcg729, which is under the GPL 3:
//! whoever ships a binary under other terms builds without the feature `g729`.

use std::time::Duration;

use super::{Codec, Decoder, Encoder, Tuning};

/// G729: 8 kbit/s, 8 kHz, frames of 10 ms in 10 bytes; static payload type 18.
#[derive(Debug)]
pub struct G729;

/// Samples of one frame.
const FRAME_SAMPLES: usize = g729_sys::FRAME_SAMPLES;
/// Bytes of one frame of voice.
const FRAME_BYTES: usize = g729_sys::VOICE_FRAME_BYTES;
/// Bytes of a silence descriptor (Annex B), which may stand at the end of a payload (RFC 3551 4.5.6).
const SILENCE_DESCRIPTOR_BYTES: usize = 2;
/// What the coder makes of a long digital silence. Decoded over and over it stays within 2 of zero.
const SILENCE: [u8; FRAME_BYTES] = [0x78, 0x56, 0xC0, 0xA0, 0, 0xFA, 0xC2, 0, 0x07, 0xD6];

impl Codec for G729 {
    fn name(&self) -> &'static str {
        "G729"
    }
    /// Annex A is the same format; gateways name it too.
    fn is_called(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case("G729") || name.eq_ignore_ascii_case("G729A")
    }
    fn payload_type(&self) -> Option<u8> {
        Some(18)
    }
    fn rtp_clock_hz(&self) -> u32 {
        8000
    }
    fn sample_rate_hz(&self) -> u32 {
        8000
    }
    fn channels(&self) -> u8 {
        1
    }
    fn concatenates(&self) -> bool {
        true
    }
    fn grain_samples(&self) -> usize {
        FRAME_SAMPLES
    }
    fn is_dear(&self) -> bool {
        true
    }
    /// Without it a peer may assume Annex B and send nothing in pauses (RFC 4856 2.1.9: the default is yes).
    fn fmtp(&self) -> Option<&'static str> {
        Some("annexb=no")
    }
    fn silence(&self, duration: Duration, out: &mut [u8]) -> usize {
        let bytes = duration.as_millis() as usize / 10 * FRAME_BYTES;
        let Some(out) = out.get_mut(..bytes) else { return 0 };
        for frame in out.chunks_exact_mut(FRAME_BYTES) {
            frame.copy_from_slice(&SILENCE);
        }
        bytes
    }
    fn encoder_with(&self, _: Tuning) -> Box<dyn Encoder> {
        Box::new(G729Encoder(g729_sys::Encoder::new(false)))
    }
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(G729Decoder(g729_sys::Decoder::new()))
    }
}

struct G729Encoder(g729_sys::Encoder);

impl Encoder for G729Encoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> usize {
        let frames = pcm.as_chunks::<FRAME_SAMPLES>().0;
        let places = out.as_chunks_mut::<FRAME_BYTES>().0;
        for (frame, place) in frames.iter().zip(places.iter_mut()) {
            self.0.encode_into(frame, place);
        }
        frames.len().min(places.len()) * FRAME_BYTES
    }
}

struct G729Decoder(g729_sys::Decoder);

impl G729Decoder {
    /// Runs the decoder for each whole frame of `out`.
    fn fill<'a>(
        &mut self,
        frames: impl Iterator<Item = &'a [u8]>,
        out: &mut [i16],
        decode: impl Fn(&mut g729_sys::Decoder, &[u8]) -> [i16; FRAME_SAMPLES],
    ) -> usize {
        let places = out.as_chunks_mut::<FRAME_SAMPLES>().0;
        let mut count = 0;
        for (place, frame) in places.iter_mut().zip(frames) {
            *place = decode(&mut self.0, frame);
            count += FRAME_SAMPLES;
        }
        count
    }
}

impl Decoder for G729Decoder {
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        // Other lengths are other bit rates (Annexes D and E), or garbage.
        let (voice, rest) = payload.as_chunks::<FRAME_BYTES>();
        if !rest.is_empty() && rest.len() != SILENCE_DESCRIPTOR_BYTES {
            return 0;
        }
        let voice = voice.iter().map(|frame| &frame[..]);
        let frames = voice.chain((!rest.is_empty()).then_some(rest));
        self.fill(frames, out, |decoder, frame| {
            decoder.decode(frame, false, frame.len() == SILENCE_DESCRIPTOR_BYTES, false)
        })
    }

    /// Annex A's concealment; after a silence descriptor it goes on with comfort noise.
    fn conceal(&mut self, out: &mut [i16]) -> usize {
        self.fill(std::iter::repeat(&[][..]), out, |decoder, _| decoder.decode(&[], true, false, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    #[test]
    fn a_silence_descriptor_gives_comfort_noise_and_other_lengths_nothing() {
        let mut pcm = [0; 480];
        let mut decoder = G729.decoder();
        let mut payload = [0; 22];
        let tone = tone::sine(500.0, 8000, 8000, Duration::from_millis(20));
        assert_eq!(G729.encoder().encode(&tone, &mut payload), 20);
        assert_eq!(decoder.decode(&payload, &mut pcm), 240, "two frames of voice and a silence descriptor");
        assert_eq!(decoder.decode(&payload[..2], &mut pcm), 80);
        assert_eq!(decoder.conceal(&mut pcm), 480, "a pause goes on");
        for length in [1, 3, 8, 9, 11, 15, 19] {
            assert_eq!(decoder.decode(&payload[..length], &mut pcm), 0, "{length} bytes");
        }
        assert_eq!(decoder.decode(&payload[..20], &mut pcm[..159]), 80, "only whole frames are written");
    }

    #[test]
    fn a_lost_frame_is_concealed_with_the_tone_before_it() {
        let pcm = tone::sine(500.0, 8000, 8000, Duration::from_millis(400));
        let (mut encoder, mut decoder) = (G729.encoder(), G729.decoder());
        let (mut payload, mut heard) = ([0; 20], [0; 160]);
        for frame in pcm.chunks(160) {
            encoder.encode(frame, &mut payload);
            decoder.decode(&payload, &mut heard);
        }
        assert_eq!(decoder.conceal(&mut heard), 160);
        let level = tone::level(&heard, 8000, 500.0);
        assert!((3000.0..9000.0).contains(&level), "{level}");
    }
}
