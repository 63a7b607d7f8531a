//! A tone over packets that are encoded already: prompts are, once for all calls, and who hears them while they are recorded is
//! to hear that too.
//!
//! Each packet is decoded, the tone is added, and it is encoded anew; codecs with a memory need every packet for that, also
//! those between two tones.

use crate::codec::{CodecRef, Decoder, Encoder, Tuning};
use crate::limits::{DATAGRAM_BYTES_MAX, PTIME_MAX};
use crate::tone::{Overlay, Repeated};

/// Samples of the longest packet that Ark sends, at the widest rate.
const SAMPLES_MAX: usize = PTIME_MAX.as_millis() as usize * 48;

/// Puts a tone over one leg's packets.
pub struct SoundOver {
    codec: CodecRef,
    tuning: Tuning,
    tone: Repeated,
    overlay: Overlay,
    decoder: Box<dyn Decoder>,
    encoder: Box<dyn Encoder>,
    pcm: Box<[i16]>,
    coded: Box<[u8; DATAGRAM_BYTES_MAX]>,
}

impl std::fmt::Debug for SoundOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SoundOver({} Hz over {})", self.tone.hz, self.codec.name())
    }
}

impl SoundOver {
    /// For packets of this codec, to a peer that wants its encoder set like this. The first tone sounds at once. Allocates
    /// here and nowhere else.
    #[must_use]
    pub fn new(codec: CodecRef, tuning: Tuning, tone: Repeated) -> Self {
        Self {
            codec,
            tuning,
            tone,
            overlay: Overlay::new(tone, codec.sample_rate_hz()),
            decoder: codec.decoder(),
            encoder: codec.encoder_with(tuning),
            pcm: vec![0; SAMPLES_MAX].into_boxed_slice(),
            coded: Box::new([0; DATAGRAM_BYTES_MAX]),
        }
    }

    /// Whether it does just this.
    #[must_use]
    pub fn is_for(&self, codec: CodecRef, tuning: Tuning, tone: Repeated) -> bool {
        (self.codec, self.tuning, self.tone) == (codec, tuning, tone)
    }

    /// Puts the tone over the payload that stands in the first `bytes` of `payload`, which is the next of the stream; how many
    /// bytes there are then. What cannot be decoded, or does not fit back, stays as it is. Not `sounding`: nothing is heard of
    /// the tone, and the next one begins when it sounds again.
    pub fn add(&mut self, payload: &mut [u8], bytes: usize, sounding: bool) -> usize {
        let Some(said) = payload.get(..bytes) else { return bytes };
        let samples = self.decoder.decode(said, &mut self.pcm);
        if samples == 0 {
            return bytes;
        }
        let pcm = &mut self.pcm[..samples];
        self.overlay.add(pcm, sounding);
        let coded = self.encoder.encode(pcm, &mut self.coded[..]);
        match payload.get_mut(..coded).filter(|_| coded > 0) {
            Some(place) => {
                place.copy_from_slice(&self.coded[..coded]);
                coded
            }
            None => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::codec;
    use crate::limits::TICK;
    use crate::tone;

    const TONE: Repeated =
        Repeated { hz: 1400, amplitude: 6000, length: Duration::from_millis(300), every: Duration::from_secs(1) };

    #[test]
    fn a_prompt_and_the_tone_are_heard_in_every_codec_and_the_prompt_alone_while_it_is_silent() {
        for codec in codec::ALL.iter().copied() {
            for sounding in [true, false] {
                let rate = codec.sample_rate_hz();
                let (pcm, mut encoder) = (tone::sine(500.0, 8000, rate, Duration::from_secs(2)), codec.encoder());
                let mut over = SoundOver::new(codec, Tuning::default(), TONE);
                let (mut decoder, mut heard) = (codec.decoder(), Vec::new());
                for frame in pcm.chunks_exact(codec.samples(TICK)) {
                    let mut payload = [0; 600];
                    let said = encoder.encode(frame, &mut payload);
                    let bytes = over.add(&mut payload, said, sounding);
                    let mut pcm = [0; 960];
                    let samples = decoder.decode(&payload[..bytes], &mut pcm);
                    assert_eq!(samples, codec.samples(TICK), "{}", codec.name());
                    heard.extend_from_slice(&pcm[..samples]);
                }
                let part = |from_ms: u64, to_ms: u64| {
                    &heard[codec.samples(Duration::from_millis(from_ms))..codec.samples(Duration::from_millis(to_ms))]
                };
                let (first, between) = (part(60, 260), part(500, 900));
                let name = codec.name();
                let told = tone::level(first, rate, 1400.0);
                if sounding && name != "G729" {
                    assert!((4000.0..8000.0).contains(&told), "{name}: {told}");
                }
                assert!(sounding || told < 400.0, "{name}: {told}");
                assert!(tone::level(between, rate, 1400.0) < 400.0, "{name} between two tones");
                for (what, part) in [("under it", first), ("between", between)] {
                    let level = tone::level(part, rate, 500.0);
                    let least = if name == "G729" { 1500.0 } else { 5000.0 };
                    assert!(level > least, "{name} {what}: {level}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_decoded_stays_as_it_is() {
        let codec = codec::ALL[0];
        let mut over = SoundOver::new(codec, Tuning::default(), TONE);
        assert_eq!(over.add(&mut [], 0, true), 0);
        assert_eq!(over.add(&mut [1; 4], 9, true), 9, "more than there is");
        let mut payload = [0xD5; 160];
        assert_eq!(over.add(&mut payload, 160, true), 160);
        assert!(payload.iter().any(|byte| *byte != 0xD5));
    }
}
