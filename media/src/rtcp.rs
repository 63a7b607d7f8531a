//! RTCP (RFC 3550 6): sender and receiver reports, SDES, BYE and extended reports (RFC 3611) in compound packets;
//! round-trip times.

use std::time::Duration;

use crate::limits::{CNAME_BYTES_MAX, RTCP_PACKETS_MAX};

/// What the other side says about a stream that it receives (RFC 3550 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The stream that is reported on.
    pub ssrc: u32,
    /// Loss since its last report, of 256.
    pub fraction_lost: u8,
    /// Packets lost in all (24 bits, signed: duplicates can make it negative).
    pub lost: i32,
    /// Extended highest sequence number received.
    pub highest_sequence: u32,
    /// Interarrival jitter in clock units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, 0 for none.
    pub last_sr: u32,
    /// Time since that report, in 1/65536 s.
    pub delay_since_sr: u32,
}

/// What a sender says about its own stream (RFC 3550 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// 32.32 fixed-point seconds.
    pub ntp: u64,
    /// RTP time of the same instant.
    pub rtp_timestamp: u32,
    /// Packets sent since the stream began.
    pub packets: u32,
    /// Payload bytes sent since the stream began.
    pub bytes: u32,
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rtcp<'a> {
    /// SR: the sender's clock and counters, with up to 31 report blocks.
    SenderReport {
        /// Who reports.
        ssrc: u32,
        /// Its own stream.
        info: SenderInfo,
        /// What it receives.
        reports: Reports<'a>,
    },
    /// RR: report blocks of someone who sends nothing.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it receives.
        reports: Reports<'a>,
    },
    /// SDES, reduced to the first chunk and its CNAME.
    SourceDescription {
        /// Who describes itself.
        ssrc: u32,
        /// Canonical name as it came, if there was one.
        cname: Option<&'a [u8]>,
    },
    /// BYE of one source or several; the first is given.
    Bye {
        /// Who leaves.
        ssrc: u32,
    },
    /// XR (RFC 3611): what goes beyond report blocks.
    Extended {
        /// Who reports.
        ssrc: u32,
        /// Its blocks.
        blocks: XrBlocks<'a>,
    },
    /// APP, feedback: counted by nobody here.
    Other {
        /// The packet type, 192 to 223.
        packet_type: u8,
    },
}

/// The report blocks of one SR or RR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reports<'a>(&'a [u8]);

impl Iterator for Reports<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first_chunk::<24>()?;
        self.0 = rest;
        // 24 bits, sign-extended.
        let lost = i32::from_be_bytes([block[5], block[6], block[7], 0]) >> 8;
        Some(ReportBlock {
            ssrc: word(block, 0),
            fraction_lost: block[4],
            lost,
            highest_sequence: word(block, 8),
            jitter: word(block, 12),
            last_sr: word(block, 16),
            delay_since_sr: word(block, 20),
        })
    }
}

/// What a receiver says about how a voice sounds (RFC 3611 4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VoipMetrics {
    /// The stream that is reported on.
    pub ssrc: u32,
    /// Share lost, of 256, since the beginning.
    pub loss_rate: u8,
    /// Share that came and was not played, of 256.
    pub discard_rate: u8,
    /// Share lost or discarded within bursts, of 256.
    pub burst_density: u8,
    /// The same between bursts.
    pub gap_density: u8,
    /// Mean length of bursts, ms.
    pub burst_ms: u16,
    /// Mean length of gaps, ms.
    pub gap_ms: u16,
    /// Round trip, ms; 0: not known.
    pub round_trip_ms: u16,
    /// Delay within the end system, ms.
    pub end_system_ms: u16,
    /// Rating by the E-model, 0 to 100; `None`: not known.
    pub rating: Option<u8>,
    /// Mean opinion score for listening, times 10.
    pub mos_lq: Option<u8>,
    /// Mean opinion score for conversing, times 10.
    pub mos_cq: Option<u8>,
    /// Delay of the jitter buffer, ms: now, at most now, and at most ever.
    pub buffer_ms: [u16; 3],
}

/// A block of an extended report that Ark reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XrBlock {
    /// RFC 3611 4.4: the middle of the NTP time of the reporter, for whom only receives; the other side answers it.
    ReferenceTime(u32),
    /// RFC 3611 4.5: the answer to such a block: whose it was, its time, and for how long it was kept, in 1/65536 s.
    Delay {
        /// The receiver that asked.
        ssrc: u32,
        /// What it sent.
        last: u32,
        /// Since when, in 1/65536 s.
        delay: u32,
    },
    /// RFC 3611 4.7.
    Voip(VoipMetrics),
}

/// The blocks of one extended report; those that Ark does not know are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XrBlocks<'a> {
    rest: &'a [u8],
    /// Further answers of the block that is being read.
    delays: &'a [u8],
}

impl Iterator for XrBlocks<'_> {
    type Item = XrBlock;

    fn next(&mut self) -> Option<XrBlock> {
        loop {
            if let Some((delay, more)) = self.delays.split_first_chunk::<12>() {
                self.delays = more;
                return Some(XrBlock::Delay { ssrc: word(delay, 0), last: word(delay, 4), delay: word(delay, 8) });
            }
            let (head, after) = self.rest.split_first_chunk::<4>()?;
            let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let Some((body, rest)) = after.split_at_checked(words * 4) else {
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            match (head[0], body.len()) {
                (4, 8) => return Some(XrBlock::ReferenceTime(word(body, 2))),
                (5, _) => self.delays = body,
                (7, 32) => return Some(XrBlock::Voip(voip(body))),
                _ => {}
            }
        }
    }
}

fn voip(body: &[u8]) -> VoipMetrics {
    let byte = |at: usize| body.get(at).copied().unwrap_or_default();
    let half = |at: usize| u16::from_be_bytes([byte(at), byte(at + 1)]);
    // 127 means that it is not known.
    let known = |at: usize| Some(byte(at)).filter(|value| *value != 127);
    VoipMetrics {
        ssrc: word(body, 0),
        loss_rate: byte(4),
        discard_rate: byte(5),
        burst_density: byte(6),
        gap_density: byte(7),
        burst_ms: half(8),
        gap_ms: half(10),
        round_trip_ms: half(12),
        end_system_ms: half(14),
        rating: known(20),
        mos_lq: known(22),
        mos_cq: known(23),
        buffer_ms: [half(26), half(28), half(30)],
    }
}

impl VoipMetrics {
    /// The block with its header. Levels, echo and the external rating are given as not known (127); Gmin is 16, the
    /// concealment enhanced and the buffer adaptive (RFC 3611 4.7.6).
    fn to_bytes(self) -> [u8; 36] {
        let mut out = [0; 36];
        out[..4].copy_from_slice(&[7, 0, 0, 8]);
        out[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
        out[8..12].copy_from_slice(&[self.loss_rate, self.discard_rate, self.burst_density, self.gap_density]);
        let halves = [self.burst_ms, self.gap_ms, self.round_trip_ms, self.end_system_ms];
        for (slot, half) in out[12..20].chunks_exact_mut(2).zip(halves) {
            slot.copy_from_slice(&half.to_be_bytes());
        }
        let or_unknown = |value: Option<u8>| value.unwrap_or(127);
        out[20..24].copy_from_slice(&[127, 127, 127, 16]);
        out[24..28].copy_from_slice(&[or_unknown(self.rating), 127, or_unknown(self.mos_lq), or_unknown(self.mos_cq)]);
        out[28] = 0b1111_0000;
        for (slot, half) in out[30..36].chunks_exact_mut(2).zip(self.buffer_ms) {
            slot.copy_from_slice(&half.to_be_bytes());
        }
        out
    }
}

/// What Ark writes into an extended report.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extended {
    /// How the peer sounds here.
    pub voip: Option<VoipMetrics>,
    /// Our NTP time, for the peer to answer.
    pub reference_time: Option<u64>,
    /// The answer to the peer's: its SSRC, its time, and since when it is here, in 1/65536 s.
    pub delay: Option<(u32, u32, u32)>,
}

/// Why a datagram is no RTCP compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// A packet's length points beyond the datagram, or a packet is too short for its type.
    #[error("an RTCP packet is shorter than it says")]
    Short,
    /// The version bits are not 2, or the packet type is not RTCP's.
    #[error("not RTCP")]
    Version,
    /// More than [`RTCP_PACKETS_MAX`] packets in one datagram.
    #[error("too many RTCP packets in one datagram")]
    TooMany,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// Reads a compound packet, packet by packet. Reduced-size RTCP (RFC 5506) is accepted: no SR or RR needs to come
/// first. After an error nothing more follows.
pub fn parse(datagram: &[u8]) -> Compound<'_> {
    Compound { rest: datagram, packets: 0 }
}

/// The packets of a compound; see [`parse`].
#[derive(Debug, Clone)]
pub struct Compound<'a> {
    rest: &'a [u8],
    packets: usize,
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Rtcp<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        self.packets += 1;
        let result = if self.packets > RTCP_PACKETS_MAX { Err(RtcpError::TooMany) } else { self.one() };
        if result.is_err() {
            self.rest = &[];
        }
        Some(result)
    }
}

impl<'a> Compound<'a> {
    fn one(&mut self) -> Result<Rtcp<'a>, RtcpError> {
        let Some((head, after)) = self.rest.split_first_chunk::<4>() else { return Err(RtcpError::Short) };
        if head[0] >> 6 != 2 || !(192..=223).contains(&head[1]) {
            return Err(RtcpError::Version);
        }
        let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (mut body, rest) = after.split_at_checked(words * 4).ok_or(RtcpError::Short)?;
        self.rest = rest;
        if head[0] & 0x20 != 0 {
            let padding = usize::from(*body.last().ok_or(RtcpError::Short)?);
            let kept = body.len().checked_sub(padding).ok_or(RtcpError::Short)?;
            body = &body[..kept];
        }
        let count = usize::from(head[0] & 31);
        match head[1] {
            200 => {
                let Some((fixed, blocks)) = body.split_first_chunk::<24>() else { return Err(RtcpError::Short) };
                let info = SenderInfo {
                    ntp: (u64::from(word(fixed, 4)) << 32) | u64::from(word(fixed, 8)),
                    rtp_timestamp: word(fixed, 12),
                    packets: word(fixed, 16),
                    bytes: word(fixed, 20),
                };
                let reports = Reports(blocks.get(..count * 24).ok_or(RtcpError::Short)?);
                Ok(Rtcp::SenderReport { ssrc: word(fixed, 0), info, reports })
            }
            201 => {
                let Some((fixed, blocks)) = body.split_first_chunk::<4>() else { return Err(RtcpError::Short) };
                let reports = Reports(blocks.get(..count * 24).ok_or(RtcpError::Short)?);
                Ok(Rtcp::ReceiverReport { ssrc: u32::from_be_bytes(*fixed), reports })
            }
            202 if count > 0 => {
                let Some((fixed, items)) = body.split_first_chunk::<4>() else { return Err(RtcpError::Short) };
                Ok(Rtcp::SourceDescription { ssrc: u32::from_be_bytes(*fixed), cname: cname(items) })
            }
            203 if count > 0 => {
                let Some((fixed, _)) = body.split_first_chunk::<4>() else { return Err(RtcpError::Short) };
                Ok(Rtcp::Bye { ssrc: u32::from_be_bytes(*fixed) })
            }
            207 => {
                let Some((fixed, blocks)) = body.split_first_chunk::<4>() else { return Err(RtcpError::Short) };
                let blocks = XrBlocks { rest: blocks, delays: &[] };
                Ok(Rtcp::Extended { ssrc: u32::from_be_bytes(*fixed), blocks })
            }
            packet_type => Ok(Rtcp::Other { packet_type }),
        }
    }
}

fn cname(mut items: &[u8]) -> Option<&[u8]> {
    while let [kind, length, rest @ ..] = items
        && *kind != 0
    {
        let (text, after) = rest.split_at_checked(usize::from(*length))?;
        if *kind == 1 {
            return Some(text);
        }
        items = after;
    }
    None
}

/// What Ark writes: a report (SR when `sender` is there, else RR), its CNAME, and BYE at the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report<'a> {
    /// Our stream.
    pub ssrc: u32,
    /// Our counters, when we sent since the last report.
    pub sender: Option<SenderInfo>,
    /// What we receive.
    pub block: Option<ReportBlock>,
    /// Who we are; cut at [`CNAME_BYTES_MAX`] bytes.
    pub cname: &'a str,
    /// What we say beyond that, when the peer wants to hear it.
    pub extended: Option<Extended>,
    /// Whether we leave.
    pub bye: bool,
}

impl Report<'_> {
    /// Writes the compound to `out` and returns its length, or `None` when it does not fit (260 bytes always do).
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        let mut put = |bytes: &[u8]| -> Option<()> {
            out.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
            at += bytes.len();
            Some(())
        };
        let head = |count: u8, packet_type: u8, words: usize| {
            let length = (words as u16).to_be_bytes();
            [0x80 | count, packet_type, length[0], length[1]]
        };
        let blocks = u8::from(self.block.is_some());
        let block_words = usize::from(blocks) * 6;
        if let Some(info) = self.sender {
            put(&head(blocks, 200, 6 + block_words))?;
            put(&self.ssrc.to_be_bytes())?;
            put(&info.ntp.to_be_bytes())?;
            put(&info.rtp_timestamp.to_be_bytes())?;
            put(&info.packets.to_be_bytes())?;
            put(&info.bytes.to_be_bytes())?;
        } else {
            put(&head(blocks, 201, 1 + block_words))?;
            put(&self.ssrc.to_be_bytes())?;
        }
        if let Some(block) = self.block {
            let lost = block.lost.clamp(-0x80_0000, 0x7F_FFFF).to_be_bytes();
            put(&block.ssrc.to_be_bytes())?;
            put(&[block.fraction_lost, lost[1], lost[2], lost[3]])?;
            put(&block.highest_sequence.to_be_bytes())?;
            put(&block.jitter.to_be_bytes())?;
            put(&block.last_sr.to_be_bytes())?;
            put(&block.delay_since_sr.to_be_bytes())?;
        }
        let name = self.cname.as_bytes();
        let name = &name[..name.len().min(CNAME_BYTES_MAX)];
        // The item, at least one zero octet, up to the next word (RFC 3550 6.5).
        let padding = 4 - (2 + name.len()) % 4;
        put(&head(1, 202, 1 + (2 + name.len() + padding) / 4))?;
        put(&self.ssrc.to_be_bytes())?;
        put(&[1, name.len() as u8])?;
        put(name)?;
        put(&[0; 4][..padding])?;
        if let Some(extended) = self.extended {
            let Extended { voip, reference_time, delay } = extended;
            let words = 1
                + 9 * usize::from(voip.is_some())
                + 3 * usize::from(reference_time.is_some())
                + 4 * usize::from(delay.is_some());
            put(&head(0, 207, words))?;
            put(&self.ssrc.to_be_bytes())?;
            if let Some(ntp) = reference_time {
                put(&[4, 0, 0, 2])?;
                put(&ntp.to_be_bytes())?;
            }
            if let Some((ssrc, last, since)) = delay {
                put(&[5, 0, 0, 3])?;
                put(&ssrc.to_be_bytes())?;
                put(&last.to_be_bytes())?;
                put(&since.to_be_bytes())?;
            }
            if let Some(voip) = voip {
                put(&voip.to_bytes())?;
            }
        }
        if self.bye {
            put(&head(1, 203, 1))?;
            put(&self.ssrc.to_be_bytes())?;
        }
        Some(at)
    }
}

/// The middle 32 bits of an NTP time: what LSR carries and round-trip times are reckoned in.
pub fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// A time since some epoch as 32.32 fixed point.
pub fn ntp(since_epoch: Duration) -> u64 {
    (since_epoch.as_secs() << 32) | ((u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000)
}

/// Round-trip time from a report block that arrived when our clock read `now` (RFC 3550 6.4.1): A - LSR - DLSR.
/// `None` when the block knows no sender report of ours or its numbers cannot be true.
pub fn round_trip(now: u64, block: &ReportBlock) -> Option<Duration> {
    round_trip_of(now, block.last_sr, block.delay_since_sr)
}

/// The same from the answer to a reference time of ours (RFC 3611 4.5).
pub fn round_trip_of(now: u64, last: u32, delay: u32) -> Option<Duration> {
    if last == 0 {
        return None;
    }
    let round = middle(now).wrapping_sub(last).wrapping_sub(delay);
    // A minute and more is a lie, and a little below zero is two clocks' rounding.
    match round as i32 {
        r if (0..60 << 16).contains(&r) => Some(Duration::from_micros(u64::from(round) * 1_000_000 / 65_536)),
        r if (-655..0).contains(&r) => Some(Duration::ZERO),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 0xA,
        fraction_lost: 12,
        lost: -3,
        highest_sequence: 70_000,
        jitter: 55,
        last_sr: 0x1234_5678,
        delay_since_sr: 65_536,
    };

    #[test]
    fn a_compound_is_read_as_it_was_written() {
        let info = SenderInfo { ntp: 0x0102_0304_0506_0708, rtp_timestamp: 9, packets: 10, bytes: 1600 };
        let report =
            Report { ssrc: 7, sender: Some(info), block: Some(BLOCK), cname: "ark@gw1", bye: true, extended: None };
        let mut out = [0; 200];
        let length = report.write(&mut out).unwrap();
        assert_eq!(length % 4, 0);
        let packets: Vec<_> = parse(&out[..length]).collect::<Result<_, _>>().unwrap();
        let Rtcp::SenderReport { ssrc: 7, info: read, reports } = packets[0] else { panic!("{packets:?}") };
        assert_eq!(read, info);
        assert_eq!(reports.collect::<Vec<_>>(), [BLOCK]);
        assert_eq!(packets[1], Rtcp::SourceDescription { ssrc: 7, cname: Some(b"ark@gw1") });
        assert_eq!(packets[2], Rtcp::Bye { ssrc: 7 });
        for short in 0..length {
            assert!(report.write(&mut vec![0; short]).is_none());
            // Cut anywhere, it is an error or fewer packets, never a panic.
            assert!(parse(&out[..short]).filter(Result::is_ok).count() < 3);
        }
    }

    #[test]
    fn an_extended_report_is_read_as_it_was_written() {
        let voip = VoipMetrics {
            ssrc: 0xA,
            loss_rate: 3,
            discard_rate: 2,
            burst_density: 90,
            gap_density: 1,
            burst_ms: 120,
            gap_ms: 4000,
            round_trip_ms: 55,
            end_system_ms: 40,
            rating: Some(88),
            mos_lq: Some(43),
            mos_cq: None,
            buffer_ms: [40, 60, 120],
        };
        let extended =
            Extended { voip: Some(voip), reference_time: Some(0x0102_0304_0506_0708), delay: Some((0xA, 0xB, 0xC)) };
        let report = Report { ssrc: 7, cname: "a", extended: Some(extended), bye: true, ..Report::default() };
        let mut out = [0; 260];
        let length = report.write(&mut out).unwrap();
        let packets: Vec<_> = parse(&out[..length]).collect::<Result<_, _>>().unwrap();
        let Rtcp::Extended { ssrc: 7, blocks } = packets[2] else { panic!("{packets:?}") };
        let want = [
            XrBlock::ReferenceTime(0x0304_0506),
            XrBlock::Delay { ssrc: 0xA, last: 0xB, delay: 0xC },
            XrBlock::Voip(voip),
        ];
        assert_eq!(blocks.collect::<Vec<_>>(), want);
        assert_eq!(packets[3], Rtcp::Bye { ssrc: 7 });
        // Blocks of other kinds and lengths are passed over; one that lies about its length ends the report.
        let bytes =
            [0x80, 207, 0, 7, 0, 0, 0, 9, 1, 0, 0, 0, 4, 0, 0, 2, 0, 0, 0, 1, 0, 2, 0, 0, 7, 0, 0, 99, 0, 0, 0, 0];
        let Some(Ok(Rtcp::Extended { blocks, .. })) = parse(&bytes).next() else { panic!() };
        assert_eq!(blocks.collect::<Vec<_>>(), [XrBlock::ReferenceTime(0x0001_0002)]);
    }

    #[test]
    fn a_receiver_report_without_blocks_is_read() {
        let mut out = [0; 200];
        for name in ["", "a", "ab", "abc", "abcd"] {
            let length = Report { ssrc: 7, cname: name, ..Report::default() }.write(&mut out).unwrap();
            let packets: Vec<_> = parse(&out[..length]).collect::<Result<_, _>>().unwrap();
            assert!(matches!(packets[0], Rtcp::ReceiverReport { ssrc: 7, reports } if reports.count() == 0));
            assert_eq!(packets[1], Rtcp::SourceDescription { ssrc: 7, cname: Some(name.as_bytes()) });
        }
    }

    #[test]
    fn lies_about_length_and_count_are_errors() {
        let rr = [0x81, 201, 0, 1, 0, 0, 0, 1];
        assert_eq!(parse(&rr).next(), Some(Err(RtcpError::Short)));
        assert_eq!(parse(&[0x80, 201, 0xFF, 0xFF, 1]).next(), Some(Err(RtcpError::Short)));
        assert_eq!(parse(&[0x40, 201, 0, 0]).next(), Some(Err(RtcpError::Version)));
        assert_eq!(parse(&[0x80, 99, 0, 0]).next(), Some(Err(RtcpError::Version)));
        let many: Vec<u8> = [0x80, 204, 0, 0].repeat(RTCP_PACKETS_MAX + 3);
        assert_eq!(parse(&many).last(), Some(Err(RtcpError::TooMany)));
    }

    #[test]
    fn round_trips_come_from_lsr_and_dlsr() {
        // RFC 3550 figure 2: A = b710:8000, LSR = b705:2000, DLSR = 0005:4000 -> 6.125 s.
        let block = ReportBlock { last_sr: 0xB705_2000, delay_since_sr: 0x0005_4000, ..BLOCK };
        let now = 0xB710_8000_u64 << 16;
        assert_eq!(round_trip(now, &block), Some(Duration::from_micros(6_125_000)));
        assert_eq!(round_trip(now, &ReportBlock { last_sr: 0, ..block }), None);
        assert_eq!(round_trip(0, &block), None);
        assert_eq!(ntp(Duration::from_millis(1500)), (1 << 32) | (1 << 31));
    }
}
