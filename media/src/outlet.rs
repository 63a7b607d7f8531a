//! From sound to packets: PCM that a mixer (or any other source) makes, in a leg's codec and packet time, with numbers
//! and timestamps of a stream of its own, for [`crate::session::Session::forward`].

use std::time::Duration;

use crate::codec::{CodecRef, Encoder, Tuning};
use crate::limits::{PTIME_MAX, TICK};
use crate::resample::Resampler;

/// Samples that wait for a packet at most: those of the longest packet but one tick, and a tick, at 16 kHz.
const WAITING_MAX: usize = (PTIME_MAX.as_millis() + TICK.as_millis()) as usize * 16;

/// A packet of the stream; its payload stands in the buffer that was given to [`Outlet::pull`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    /// Bytes of payload.
    pub bytes: usize,
    /// It begins the stream.
    pub marker: bool,
    /// In the codec's RTP clock.
    pub timestamp: u32,
    /// Counts the packets.
    pub sequence: u64,
}

/// One stream of packets.
pub struct Outlet {
    codec: CodecRef,
    tuning: Tuning,
    ptime: Duration,
    resampler: Resampler,
    encoder: Box<dyn Encoder>,
    waiting: Box<[i16; WAITING_MAX]>,
    filled: usize,
    timestamp: u32,
    sequence: u64,
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outlet({}, {:?})", self.codec.name(), self.ptime)
    }
}

impl Outlet {
    /// For frames of PCM at `rate_hz`, to packets of `ptime` (10 to 60 ms) in this codec. Allocates here and nowhere else.
    /// `None`: a rate that is not one of telephony (8000, 16000, 48000 Hz).
    #[must_use]
    pub fn new(rate_hz: u32, codec: CodecRef, tuning: Tuning, ptime: Duration) -> Option<Self> {
        Some(Self {
            codec,
            tuning,
            ptime: ptime.min(PTIME_MAX),
            resampler: Resampler::new(rate_hz, codec.sample_rate_hz())?,
            encoder: codec.encoder_with(tuning),
            waiting: Box::new([0; WAITING_MAX]),
            filled: 0,
            timestamp: 0,
            sequence: 0,
        })
    }

    /// Whether it does just this.
    #[must_use]
    pub fn is_for(&self, rate_hz: u32, codec: CodecRef, tuning: Tuning, ptime: Duration) -> bool {
        (self.resampler.from_hz(), self.codec, self.tuning, self.ptime)
            == (rate_hz, codec, tuning, ptime.min(PTIME_MAX))
    }

    /// Timestamp of the next packet.
    #[must_use]
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Takes a frame of at most 20 ms. Take what comes of it with [`Outlet::pull`] until that gives `None`, before the next.
    pub fn push(&mut self, pcm: &[i16]) {
        self.filled += self.resampler.process(pcm, &mut self.waiting[self.filled..]);
    }

    /// The next whole packet, its payload written to `out`.
    pub fn pull(&mut self, out: &mut [u8]) -> Option<Spoken> {
        let frame = self.codec.samples(self.ptime).max(1);
        if self.filled < frame {
            return None;
        }
        let bytes = self.encoder.encode(&self.waiting[..frame], out);
        self.waiting.copy_within(frame..self.filled, 0);
        self.filled -= frame;
        let spoken = Spoken { bytes, marker: self.sequence == 0, timestamp: self.timestamp, sequence: self.sequence };
        self.timestamp = self.timestamp.wrapping_add(self.codec.clock_units(self.ptime));
        self.sequence += 1;
        Some(spoken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::tone;

    #[test]
    fn a_tone_comes_out_of_every_codec_in_packets_of_its_own_time() {
        for codec in codec::ALL.iter().copied() {
            for (rate_hz, ptime_ms) in [(8000_u32, 20_u64), (16_000, 20), (16_000, 30), (8000, 60), (16_000, 10)] {
                let ptime = Duration::from_millis(ptime_ms);
                if codec.name() == "opus" && ptime_ms == 30 {
                    // RFC 6716 2.1.4 knows no frame of 30 ms.
                    continue;
                }
                let mut outlet = Outlet::new(rate_hz, codec, Tuning::default(), ptime).expect("a rate of telephony");
                assert!(outlet.is_for(rate_hz, codec, Tuning::default(), ptime));
                let mut decoder = codec.decoder();
                let pcm = tone::sine(600.0, 8000, rate_hz, Duration::from_secs(1));
                let (mut heard, mut payload, mut back) = (Vec::new(), [0; 1500], [0; 5760]);
                let mut last: Option<Spoken> = None;
                for frame in pcm.chunks_exact(rate_hz as usize / 50) {
                    outlet.push(frame);
                    while let Some(spoken) = outlet.pull(&mut payload) {
                        let samples = decoder.decode(&payload[..spoken.bytes], &mut back);
                        assert_eq!(samples, codec.samples(ptime), "{} {ptime_ms}", codec.name());
                        heard.extend_from_slice(&back[..samples]);
                        if let Some(last) = last {
                            assert_eq!(spoken.sequence, last.sequence + 1);
                            assert_eq!(spoken.timestamp, last.timestamp.wrapping_add(codec.clock_units(ptime)));
                        }
                        assert_eq!(spoken.marker, last.is_none());
                        last = Some(spoken);
                    }
                }
                let rate = codec.sample_rate_hz();
                let level = tone::level(&heard[heard.len() / 2..], rate, 600.0);
                assert!((5600.0..11_000.0).contains(&level), "{} {rate_hz} {ptime_ms}: {level}", codec.name());
            }
        }
        let pcma = codec::ALL[0];
        assert!(Outlet::new(11_025, pcma, Tuning::default(), TICK).is_none());
    }
}
