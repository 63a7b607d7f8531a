//! Packets of one length into packets of another, in the same codec and without decoding: for a bridge whose two sides
//! agreed on different packet times. For codecs whose payload may be cut ([`Codec::concatenates`]).
//!
//! [`Codec::concatenates`]: crate::codec::Codec::concatenates

use std::time::Duration;

use crate::codec::CodecRef;
use crate::limits::{DATAGRAM_BYTES_MAX, PTIME_MAX};
use crate::session::Media;
use crate::transcode::{Coded, NUMBERS_APART};

/// Bytes that wait at most: the largest payload, and what did not fill a packet before it.
const WAITING_MAX: usize = DATAGRAM_BYTES_MAX + PTIME_MAX.as_millis() as usize * 8;
/// How payload is measured.
const PIECE: Duration = Duration::from_millis(10);
/// More packets missing than these are a pause.
const LOST_MAX: u32 = 50;

/// One direction of a bridge.
pub struct Repacker {
    codec: CodecRef,
    ptime: Duration,
    /// Bytes in [`PIECE`].
    piece_bytes: usize,
    waiting: Box<[u8; WAITING_MAX]>,
    filled: usize,
    /// Timestamp of the first byte that waits.
    timestamp: u32,
    /// The incoming stream, and the timestamp after its last byte.
    heard: Option<(u32, u32)>,
    sequence: u64,
    marker: bool,
}

impl std::fmt::Debug for Repacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repacker({} {:?}, {} bytes wait)", self.codec.name(), self.ptime, self.filled)
    }
}

impl Repacker {
    /// Into packets of `ptime`, a multiple of 10 ms. `None`: the codec's payload cannot be cut. Allocates here and nowhere
    /// else.
    pub fn new(codec: CodecRef, ptime: Duration) -> Option<Self> {
        let mut silence = [0; 160];
        let piece_bytes = codec.silence(PIECE, &mut silence);
        (codec.concatenates() && piece_bytes > 0).then(|| Self {
            codec,
            ptime: ptime.min(PTIME_MAX),
            piece_bytes,
            waiting: Box::new([0; WAITING_MAX]),
            filled: 0,
            timestamp: 0,
            heard: None,
            sequence: 0,
            marker: true,
        })
    }

    /// Goes on after another one of the same bridge, with numbers that nobody takes for those of the old one.
    #[must_use]
    pub fn after(mut self, old: &Self) -> Self {
        self.sequence = old.sequence + NUMBERS_APART;
        self
    }

    /// Whether it does just this.
    pub fn is_for(&self, codec: CodecRef, ptime: Duration) -> bool {
        (self.codec, self.ptime) == (codec, ptime.min(PTIME_MAX))
    }

    /// Takes an audio packet, and gives the packets that are whole with it to `send`. What is lost stays lost, by its
    /// numbers; what comes late is dropped.
    pub fn push(&mut self, media: &Media<'_>, mut send: impl FnMut(&[u8], Coded)) {
        let known = self.heard.filter(|(ssrc, _)| *ssrc == media.ssrc);
        let gap = known.map_or(0, |(_, next)| media.timestamp.wrapping_sub(next) as i32);
        let step = self.codec.clock_units(self.ptime).max(1);
        if gap < 0 && gap.unsigned_abs() < step * LOST_MAX {
            // Its place has been sent, or taken for lost.
            return;
        }
        if known.is_none() || gap != 0 {
            // What waits goes out as short as it is: it does not belong to this.
            if self.filled > 0 {
                self.send(self.filled, &mut send);
            }
            let lost = u32::try_from(gap).unwrap_or(u32::MAX).div_ceil(step);
            if known.is_none() || lost > LOST_MAX {
                self.marker = true;
            } else if !media.marker {
                self.sequence += u64::from(lost);
            }
            self.timestamp = media.timestamp;
        }
        self.marker |= media.marker;
        let size = media.payload.len().min(WAITING_MAX - self.filled);
        self.waiting[self.filled..self.filled + size].copy_from_slice(&media.payload[..size]);
        self.filled += size;
        self.heard = Some((media.ssrc, media.timestamp.wrapping_add(self.units(size))));
        let packet = (self.ptime.as_millis() / PIECE.as_millis()).max(1) as usize * self.piece_bytes;
        while self.filled >= packet {
            self.send(packet, &mut send);
        }
        // A frame that is shorter than the others (a silence descriptor) ends its packet (RFC 3551 4.5.6).
        let grain = (self.piece_bytes * self.codec.grain_samples() / self.codec.samples(PIECE).max(1)).max(1);
        if !size.is_multiple_of(grain) && self.filled > 0 {
            self.send(self.filled, &mut send);
        }
    }

    /// Number of a telephone-event's packet that came between the audio; its timestamp is that of its own stream, which
    /// is ours too.
    pub fn place_event(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }

    fn send(&mut self, bytes: usize, send: &mut impl FnMut(&[u8], Coded)) {
        let coded = Coded { bytes, marker: self.marker, timestamp: self.timestamp, sequence: self.sequence };
        send(&self.waiting[..bytes], coded);
        self.marker = false;
        self.sequence += 1;
        self.timestamp = self.timestamp.wrapping_add(self.units(bytes));
        self.waiting.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }

    /// Clock units of so much payload.
    fn units(&self, bytes: usize) -> u32 {
        (bytes * self.codec.clock_units(PIECE) as usize / self.piece_bytes) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::session::Kind;
    use crate::tone;

    fn media(codec: CodecRef, payload: &[u8], sequence: u64, timestamp: u32) -> Media<'_> {
        Media {
            kind: Kind::Audio,
            codec,
            payload,
            marker: false,
            timestamp,
            event_clock_hz: codec.rtp_clock_hz(),
            sequence,
            ssrc: 5,
            for_us: false,
        }
    }

    #[test]
    fn every_packet_time_becomes_every_other_and_the_sound_is_the_same_to_the_bit() {
        let cuttable: Vec<CodecRef> = codec::ALL.iter().copied().filter(|codec| codec.concatenates()).collect();
        assert!(cuttable.len() >= 3);
        for codec in cuttable {
            for (from, to) in [(10, 60), (60, 10), (20, 30), (30, 20), (50, 40), (20, 20), (30, 50)] {
                let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
                let pcm = tone::sine(700.0, 8000, codec.sample_rate_hz(), Duration::from_millis(3000));
                let mut encoder = codec.encoder();
                let mut repacker = Repacker::new(codec, to).unwrap();
                let (mut whole, mut heard, mut last) = (Vec::new(), Vec::new(), None::<Coded>);
                for (n, frame) in pcm.chunks(codec.samples(from)).enumerate() {
                    let mut out = [0; 800];
                    let bytes = encoder.encode(frame, &mut out);
                    whole.extend_from_slice(&out[..bytes]);
                    let timestamp = (u32::MAX - 2000).wrapping_add(n as u32 * codec.clock_units(from));
                    repacker.push(&media(codec, &out[..bytes], n as u64, timestamp), |payload, coded| {
                        heard.extend_from_slice(payload);
                        assert_eq!(payload.len(), codec.silence(to, &mut [0; 800]), "{}", codec.name());
                        assert_eq!(coded.marker, last.is_none());
                        if let Some(last) = last {
                            assert_eq!(coded.sequence, last.sequence + 1);
                            assert_eq!(coded.timestamp.wrapping_sub(last.timestamp), codec.clock_units(to));
                        }
                        last = Some(coded);
                    });
                }
                assert!(whole.len() - heard.len() < codec.silence(to, &mut [0; 800]));
                assert_eq!(heard, whole[..heard.len()], "{} {from:?} {to:?}", codec.name());
            }
        }
        assert!(Repacker::new(codec::by_name("opus", 48_000).unwrap(), PTIME_MAX).is_none());
    }

    #[test]
    fn a_loss_stays_a_loss_of_the_same_place_and_late_packets_are_dropped() {
        let codec = codec::by_name("PCMU", 8000).unwrap();
        let mut repacker = Repacker::new(codec, Duration::from_millis(30)).unwrap();
        let mut sent: Vec<(u64, u32, usize)> = Vec::new();
        let mut push = |repacker: &mut Repacker, n: u32| {
            let payload = [n as u8; 160];
            repacker.push(&media(codec, &payload, u64::from(n), n * 160), |payload, coded| {
                // Each byte is where its own packet's time is.
                for (at, byte) in payload.iter().enumerate() {
                    assert_eq!(u32::from(*byte), (coded.timestamp + at as u32) / 160);
                }
                sent.push((coded.sequence, coded.timestamp, payload.len()));
            });
        };
        for n in [0, 1, 2, 5, 4, 5, 6, 7, 8] {
            push(&mut repacker, n);
        }
        // 60 ms whole, then two lost packets of 20 ms (two of 30 ms, rounded up).
        assert_eq!(sent, [(0, 0, 240), (1, 240, 240), (4, 800, 240), (5, 1040, 240)]);
    }

    #[test]
    fn a_silence_descriptor_ends_its_packet() {
        let Some(codec) = codec::by_name("G729", 8000) else { return };
        let mut repacker = Repacker::new(codec, Duration::from_millis(40)).unwrap();
        let mut sent = Vec::new();
        let mut push = |bytes: usize, timestamp: u32| {
            repacker.push(&media(codec, &[1; 32][..bytes], 0, timestamp), |payload, coded| {
                sent.push((payload.len(), coded.timestamp));
            });
        };
        push(20, 0);
        push(12, 160);
        assert_eq!(sent, [(32, 0)]);
    }
}
