//! RTP packets (RFC 3550 5) and the counting of a received stream (RFC 3550 A.1, A.3, A.8).

use std::time::{Duration, Instant};

use crate::limits::RTP_HEADER_BYTES;

/// The header fields Ark reads and writes. CSRCs and extensions are skipped when reading and never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// First packet of a talkspurt, or of a telephone-event.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Goes up by one for each packet, modulo 2^16.
    pub sequence: u16,
    /// Sampling instant of the first sample, in clock units of the codec.
    pub timestamp: u32,
    /// The stream.
    pub ssrc: u32,
}

/// A received packet: its header and where its payload lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed header.
    pub header: Header,
    /// Payload without CSRCs, extension and padding. May be empty.
    pub payload: &'a [u8],
}

/// Why a datagram is no RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Shorter than the header, its CSRCs or its extension say.
    #[error("the packet ends inside its header")]
    Short,
    /// The version bits are not 2: STUN, DTLS, garbage.
    #[error("the version is not 2")]
    Version,
    /// The padding count is zero or larger than what is left.
    #[error("the padding is longer than the payload")]
    Padding,
}

impl<'a> Packet<'a> {
    /// Reads one RTP packet (RFC 3550 5.1): CSRCs, header extension and padding are checked and left out.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let Some((fixed, mut rest)) = bytes.split_first_chunk::<RTP_HEADER_BYTES>() else {
            return Err(RtpError::Short);
        };
        if fixed[0] >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let csrc_bytes = usize::from(fixed[0] & 15) * 4;
        rest = rest.get(csrc_bytes..).ok_or(RtpError::Short)?;
        if fixed[0] & 0x10 != 0 {
            let Some((extension, after)) = rest.split_first_chunk::<4>() else { return Err(RtpError::Short) };
            let words = usize::from(u16::from_be_bytes([extension[2], extension[3]]));
            rest = after.get(words * 4..).ok_or(RtpError::Short)?;
        }
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*rest.last().ok_or(RtpError::Padding)?);
            if padding == 0 || padding > rest.len() {
                return Err(RtpError::Padding);
            }
            rest = &rest[..rest.len() - padding];
        }
        let header = Header {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7F,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        };
        Ok(Self { header, payload: rest })
    }
}

impl Header {
    /// The twelve bytes of this header, without CSRCs, extension or padding.
    pub fn to_bytes(self) -> [u8; RTP_HEADER_BYTES] {
        let mut bytes = [0; RTP_HEADER_BYTES];
        bytes[0] = 0x80;
        bytes[1] = (u8::from(self.marker) << 7) | (self.payload_type & 0x7F);
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }

    /// Writes header and payload to `out` and returns the length, or `None` when they do not fit.
    pub fn write(self, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        let length = RTP_HEADER_BYTES + payload.len();
        let out = out.get_mut(..length)?;
        out[..RTP_HEADER_BYTES].copy_from_slice(&self.to_bytes());
        out[RTP_HEADER_BYTES..].copy_from_slice(payload);
        Some(length)
    }
}

/// Whether a datagram on a shared port is RTCP (RFC 5761 4: packet types 192 to 223).
pub fn is_rtcp(bytes: &[u8]) -> bool {
    bytes.len() >= 4 && bytes[0] >> 6 == 2 && (192..=223).contains(&bytes[1])
}

/// What a sequence number means for the stream so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequence {
    /// The next one, or ahead with a gap.
    New {
        /// The extended sequence number.
        extended: u64,
        /// Packets that were passed over, and may still come.
        missed: u64,
    },
    /// Behind the highest, first seen; the extended sequence number.
    Reordered(u64),
    /// Seen before, or too old to tell.
    Duplicate,
    /// A jump too wide to believe. If its successor comes next the sender has restarted.
    Suspect,
    /// The sender restarted its numbers: counting began anew with this packet.
    Restarted(u64),
}

/// Sequence numbers of one stream extended to 64 bits, with loss and duplicates counted (RFC 3550 A.1).
#[derive(Debug, Clone)]
pub struct SeqExtender {
    highest: u64,
    /// Where counting began, for the expected number of packets.
    base: u64,
    received: u64,
    /// Packets counted before a restart of the numbers.
    expected_before: u64,
    received_before: u64,
    /// Bit n is set when `highest - n` was received.
    window: u128,
    /// The number that would confirm a restart.
    restart: Option<u16>,
    /// In-sequence packets still missing before the stream is believed.
    probation: u32,
    reordered: u64,
    duplicates: u64,
    expected_prior: u64,
    received_prior: u64,
}

/// Gap that is still the same stream (RFC 3550 A.1 MAX_DROPOUT: one minute at 50 packets a second).
const DROPOUT_MAX: u16 = 3000;
/// How far behind a packet may come (RFC 3550 A.1 MAX_MISORDER).
const MISORDER_MAX: u16 = 100;
/// Packets in sequence before a stream is believed (RFC 3550 A.1 MIN_SEQUENTIAL).
const MIN_SEQUENTIAL: u32 = 2;

impl SeqExtender {
    /// Starts counting with the first packet of a stream.
    pub fn new(first: u16) -> Self {
        // One cycle up, so that a packet before the first one still has a number.
        let highest = (1 << 16) + u64::from(first);
        Self {
            highest,
            base: highest,
            received: 1,
            expected_before: 0,
            received_before: 0,
            window: 1,
            restart: None,
            probation: MIN_SEQUENTIAL - 1,
            reordered: 0,
            duplicates: 0,
            expected_prior: 0,
            received_prior: 0,
        }
    }

    /// Counts the next packet.
    pub fn update(&mut self, sequence: u16) -> Sequence {
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead == 0 {
            self.duplicates += 1;
            return Sequence::Duplicate;
        }
        if ahead < DROPOUT_MAX {
            if ahead == 1 {
                self.probation = self.probation.saturating_sub(1);
            } else if self.probation > 0 {
                self.probation = MIN_SEQUENTIAL - 1;
            }
            self.restart = None;
            self.highest += u64::from(ahead);
            self.window = self.window.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.received += 1;
            return Sequence::New { extended: self.highest, missed: u64::from(ahead) - 1 };
        }
        let behind = sequence.wrapping_neg().wrapping_add(self.highest as u16);
        if behind <= MISORDER_MAX {
            let bit = 1_u128 << behind;
            if self.window & bit != 0 {
                self.duplicates += 1;
                return Sequence::Duplicate;
            }
            self.window |= bit;
            self.received += 1;
            self.reordered += 1;
            let extended = self.highest - u64::from(behind);
            self.base = self.base.min(extended);
            return Sequence::Reordered(extended);
        }
        if self.restart == Some(sequence) {
            self.begin_again(sequence);
            return Sequence::Restarted(self.highest);
        }
        self.restart = Some(sequence.wrapping_add(1));
        Sequence::Suspect
    }

    fn begin_again(&mut self, sequence: u16) {
        self.expected_before += self.highest - self.base + 1;
        self.received_before += self.received;
        // The next multiple of 2^16, so that extended numbers never run backwards.
        let cycles = (self.highest >> 16) + 1;
        self.highest = (cycles << 16) | u64::from(sequence);
        self.base = self.highest;
        self.received = 1;
        self.window = 1;
        self.restart = None;
        self.probation = 0;
    }

    /// Whether enough packets came in sequence to believe that this is a stream.
    pub fn is_valid(&self) -> bool {
        self.probation == 0
    }
    /// The highest extended sequence number, as RTCP reports it (32 bits of it).
    pub fn highest(&self) -> u32 {
        (self.highest - (1 << 16)) as u32
    }
    /// Packets that should have come.
    pub fn expected(&self) -> u64 {
        self.expected_before + self.highest - self.base + 1
    }
    /// Packets that came, without duplicates.
    pub fn received(&self) -> u64 {
        self.received_before + self.received
    }
    /// Packets that never came so far.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received())
    }
    /// Packets that came behind a later one.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }
    /// Packets that came twice.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Loss since the last call as a fraction of 256 (RFC 3550 A.3), for a report block.
    pub fn fraction_lost(&mut self) -> u8 {
        let expected = self.expected() - self.expected_prior;
        let received = self.received().saturating_sub(self.received_prior);
        self.expected_prior = self.expected();
        self.received_prior = self.received();
        match expected.checked_sub(received) {
            Some(lost) if expected > 0 => ((lost << 8) / expected).min(255) as u8,
            _ => 0,
        }
    }
}

/// Interarrival jitter (RFC 3550 A.8) and how late packets come against the fastest seen.
#[derive(Debug, Clone, Default)]
pub struct Jitter {
    last: Option<(Instant, u32)>,
    /// Jitter in clock units, times 16.
    scaled: u64,
    /// Transit of the last packet against the fastest one, in clock units.
    delay: i64,
    packets: u32,
}

impl Jitter {
    /// Counts a packet that arrived `now` with this timestamp. Returns how much later it came than the best recent
    /// one, which is what a jitter buffer would have to hold back.
    pub fn update(&mut self, now: Instant, timestamp: u32, clock_hz: u32) -> Duration {
        if let Some((then, before)) = self.last {
            let elapsed = now.saturating_duration_since(then).as_micros() as i64 * i64::from(clock_hz) / 1_000_000;
            let sent = i64::from(timestamp.wrapping_sub(before) as i32);
            let difference = elapsed - sent;
            // A jump of more than a second is a new clock of the sender, not the network's jitter.
            if difference.abs() > i64::from(clock_hz) {
                self.restart();
            } else {
                self.scaled = (self.scaled + difference.unsigned_abs()).saturating_sub((self.scaled + 8) >> 4);
                // The floor rises slowly, or a sender whose clock is slower than ours would look ever later.
                self.packets = self.packets.wrapping_add(1);
                let leak = i64::from(self.packets.is_multiple_of(50));
                self.delay = (self.delay + difference - leak).max(0);
            }
        }
        self.last = Some((now, timestamp));
        Duration::from_micros(self.delay as u64 * 1_000_000 / u64::from(clock_hz))
    }

    /// Forgets the last packet: the sender changed its clock.
    pub fn restart(&mut self) {
        self.last = None;
        self.delay = 0;
    }

    /// The jitter in clock units, as RTCP reports it.
    pub fn clock_units(&self) -> u32 {
        (self.scaled >> 4).min(u64::from(u32::MAX)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(extended: u64, missed: u64) -> Sequence {
        Sequence::New { extended, missed }
    }

    #[test]
    fn csrcs_extension_and_padding_are_left_out() {
        let mut bytes = vec![0x80 | 0x20 | 0x10 | 2, 0x80 | 8, 0, 7, 0, 0, 0, 160, 1, 2, 3, 4];
        bytes.extend([0; 8]);
        bytes.extend([0xBE, 0xDE, 0, 1, 9, 9, 9, 9]);
        bytes.extend(b"audio");
        bytes.extend([0, 0, 3]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload, b"audio");
        let header = Header { marker: true, payload_type: 8, sequence: 7, timestamp: 160, ssrc: 0x01020304 };
        assert_eq!(packet.header, header);
        let mut out = [0; 64];
        let length = header.write(b"audio", &mut out).unwrap();
        assert_eq!(Packet::parse(&out[..length]).unwrap(), packet);
        assert_eq!(header.write(&[0; 60], &mut out), None);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let good = Header { marker: false, payload_type: 0, sequence: 0, timestamp: 0, ssrc: 0 }.to_bytes();
        for length in 0..12 {
            assert_eq!(Packet::parse(&good[..length]), Err(RtpError::Short));
        }
        let first = |byte: u8, tail: &[u8]| {
            let mut bytes = good.to_vec();
            bytes[0] = byte;
            bytes.extend(tail);
            Packet::parse(&bytes).map(|p| p.payload.len())
        };
        assert_eq!(first(0x40, &[]), Err(RtpError::Version));
        assert_eq!(first(0x81, &[1, 2, 3]), Err(RtpError::Short));
        assert_eq!(first(0x90, &[0, 0, 0]), Err(RtpError::Short));
        assert_eq!(first(0x90, &[0, 0, 0xFF, 0xFF, 1]), Err(RtpError::Short));
        assert_eq!(first(0xA0, &[]), Err(RtpError::Padding));
        assert_eq!(first(0xA0, &[1, 0]), Err(RtpError::Padding));
        assert_eq!(first(0xA0, &[1, 3]), Err(RtpError::Padding));
        assert_eq!(first(0xA0, &[1, 2]), Ok(0));
    }

    #[test]
    fn sequence_numbers_extend_over_the_wrap_and_count_loss_once() {
        let mut stream = SeqExtender::new(65_533);
        assert!(!stream.is_valid());
        assert_eq!(stream.update(65_534), new((1 << 16) + 65_534, 0));
        assert!(stream.is_valid());
        assert_eq!(stream.update(0), new(2 << 16, 1));
        assert_eq!(stream.lost(), 1);
        assert_eq!(stream.update(65_535), Sequence::Reordered((1 << 16) + 65_535));
        assert_eq!(stream.update(65_535), Sequence::Duplicate);
        assert_eq!((stream.lost(), stream.reordered(), stream.duplicates()), (0, 1, 1));
        assert_eq!(stream.update(3), new((2 << 16) + 3, 2));
        assert_eq!(stream.fraction_lost(), (2 * 256 / 7) as u8);
        assert_eq!(stream.fraction_lost(), 0);
    }

    #[test]
    fn a_wild_number_is_dropped_and_its_successor_restarts_the_stream() {
        let mut stream = SeqExtender::new(10);
        stream.update(11);
        assert_eq!(stream.update(30_000), Sequence::Suspect);
        assert_eq!(stream.update(12), new((1 << 16) + 12, 0));
        assert_eq!(stream.update(30_000), Sequence::Suspect);
        assert_eq!(stream.update(30_001), Sequence::Restarted((2 << 16) + 30_001));
        assert_eq!(stream.update(30_002), new((2 << 16) + 30_002, 0));
        assert_eq!((stream.expected(), stream.received(), stream.lost()), (5, 5, 0));
    }

    #[test]
    fn jitter_follows_the_formula_of_rfc_3550() {
        let start = crate::fuzz::start();
        let mut jitter = Jitter::default();
        for i in 0..400_u32 {
            let late = if i % 2 == 0 { 0 } else { 10 };
            let at = start + Duration::from_millis(u64::from(i) * 20 + late);
            let held = jitter.update(at, i.wrapping_mul(160), 8000);
            assert!(held <= Duration::from_millis(10));
        }
        // |D| is 10 ms = 80 units for every packet, and the estimate converges to it.
        assert!((76..=82).contains(&jitter.clock_units()), "{}", jitter.clock_units());
    }
}
