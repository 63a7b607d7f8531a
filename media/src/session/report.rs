//! RTCP of a leg: reports each five seconds, extended ones (RFC 3611) where the peer wants them, and what the peer's say.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Session, SessionEvent};
use crate::limits::{JITTER_DELAY_MAX, JITTER_DELAY_MIN, RTCP_INTERVAL, TICK};
use crate::quality::{Quality, impairment, mos, rating};
use crate::rtcp::{self, Extended, Report, ReportBlock, Rtcp, SenderInfo, VoipMetrics, XrBlock};

#[derive(Debug)]
pub(super) struct Reporter {
    ssrc: u32,
    cname: String,
    /// Our NTP time runs from here; RFC 3550 4 allows any epoch when there is no wall clock.
    epoch: Instant,
    due: Instant,
    /// State of the intervals' spread.
    spread: u32,
    sent_before: u64,
    /// The stream of the peer's last SR, the middle of its NTP time, and when it came.
    peer_sr: Option<(u32, u32, Instant)>,
    round_trip: Option<Duration>,
    peer_lost: Option<(i32, f32)>,
    /// The peer's last reference time (RFC 3611 4.4): its SSRC, the middle of the time, and when it came.
    peer_reference: Option<(u32, u32, Instant)>,
    peer_voip: Option<VoipMetrics>,
}

/// So many units of 1/65536 s have passed.
fn since(now: Instant, at: Instant) -> u32 {
    (now.saturating_duration_since(at).as_micros() as u64 * 65_536 / 1_000_000) as u32
}

impl Reporter {
    pub(super) fn new(now: Instant, ssrc: u32, cname: String) -> Self {
        let mut reporter = Self {
            ssrc,
            cname,
            epoch: now,
            due: now,
            spread: ssrc | 1,
            sent_before: 0,
            peer_sr: None,
            round_trip: None,
            peer_lost: None,
            peer_reference: None,
            peer_voip: None,
        };
        // RFC 3550 6.2: the first comes after half the time.
        reporter.due = now + reporter.interval() / 2;
        reporter
    }

    /// Between half and one and a half times the mean, so that the reports of many calls do not march in step.
    fn interval(&mut self) -> Duration {
        self.spread ^= self.spread << 13;
        self.spread ^= self.spread >> 17;
        self.spread ^= self.spread << 5;
        RTCP_INTERVAL / 2 + RTCP_INTERVAL * (self.spread % 1024) / 1024
    }

    fn ntp(&self, now: Instant) -> u64 {
        // One second up: an LSR of 0 would mean "none".
        rtcp::ntp(now.saturating_duration_since(self.epoch) + Duration::from_secs(1))
    }

    pub(super) fn measure(&self, quality: &mut Quality) {
        quality.round_trip = self.round_trip;
        quality.peer_lost = self.peer_lost;
        quality.peer_voip = self.peer_voip;
    }
}

impl Session {
    /// Takes a datagram from the RTCP socket.
    pub fn receive_rtcp(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if !self.receive.accepts_rtcp(&self.negotiated, from) {
            self.quality.wrong_source += 1;
            return;
        }
        for packet in rtcp::parse(bytes) {
            match packet {
                Ok(Rtcp::SenderReport { ssrc, info, reports }) => {
                    self.report.peer_sr = Some((ssrc, rtcp::middle(info.ntp), now));
                    reports.for_each(|block| self.peer_report(now, &block));
                }
                Ok(Rtcp::ReceiverReport { reports, .. }) => reports.for_each(|block| self.peer_report(now, &block)),
                Ok(Rtcp::Bye { .. }) => self.note(SessionEvent::PeerLeft),
                Ok(Rtcp::Extended { ssrc, blocks }) => blocks.for_each(|block| self.peer_extended(now, ssrc, block)),
                Ok(Rtcp::SourceDescription { .. } | Rtcp::Other { .. }) => {}
                Err(_) => self.quality.garbage += 1,
            }
        }
    }

    fn peer_report(&mut self, now: Instant, block: &ReportBlock) {
        if block.ssrc != self.report.ssrc {
            return;
        }
        self.report.peer_lost = Some((block.lost, f32::from(block.fraction_lost) / 256.0));
        if let Some(round_trip) = rtcp::round_trip(self.report.ntp(now), block) {
            self.report.round_trip = Some(round_trip);
        }
    }

    fn peer_extended(&mut self, now: Instant, from: u32, block: XrBlock) {
        match block {
            XrBlock::ReferenceTime(middle) => self.report.peer_reference = Some((from, middle, now)),
            XrBlock::Delay { ssrc, last, delay } if ssrc == self.report.ssrc => {
                let round_trip = rtcp::round_trip_of(self.report.ntp(now), last, delay);
                self.report.round_trip = round_trip.or(self.report.round_trip);
            }
            XrBlock::Voip(voip) if voip.ssrc == self.report.ssrc => self.report.peer_voip = Some(voip),
            XrBlock::Delay { .. } | XrBlock::Voip(_) => {}
        }
    }

    /// What we add for a peer that wants extended reports: how it sounds, and both halves of a round trip, so that also
    /// a leg that only receives learns its delay.
    fn extended(&self, now: Instant, about: Option<u32>) -> Option<Extended> {
        if !self.negotiated.rtcp_xr {
            return None;
        }
        let delay = self.report.peer_reference.map(|(ssrc, middle, at)| (ssrc, middle, since(now, at)));
        let voip = about.map(|ssrc| self.voip_metrics(ssrc));
        Some(Extended { voip, reference_time: Some(self.report.ntp(now)), delay })
    }

    fn voip_metrics(&self, ssrc: u32) -> VoipMetrics {
        let quality = self.quality();
        let bursts = self.receive.bursts.bursts(TICK);
        let ms = |duration: Duration| duration.as_millis().min(0xFFFF) as u16;
        let of_256 = |share: f64| (share * 256.0).min(255.0) as u8;
        let buffer = ms((quality.jitter * 2).clamp(JITTER_DELAY_MIN, JITTER_DELAY_MAX));
        let listening = quality.codec.map(impairment).map(|codec| {
            // Without the delay: how it sounds, not how it converses.
            let loss = quality.loss() + quality.discards();
            mos(rating(Duration::ZERO, loss, quality.burst_ratio(), codec))
        });
        let times_10 = |mos: Option<f64>| mos.map(|mos| (mos * 10.0).round() as u8);
        VoipMetrics {
            ssrc,
            loss_rate: of_256(quality.loss()),
            discard_rate: of_256(quality.discards()),
            burst_density: bursts.burst_density,
            gap_density: bursts.gap_density,
            burst_ms: ms(bursts.burst),
            gap_ms: ms(bursts.gap),
            round_trip_ms: quality.round_trip.map_or(0, ms),
            end_system_ms: buffer.saturating_add(ms(self.negotiated.ptime)),
            rating: quality.rating().map(|rating| rating.round() as u8),
            mos_lq: times_10(listening),
            mos_cq: times_10(quality.mos()),
            buffer_ms: [buffer, buffer, ms(JITTER_DELAY_MAX)],
        }
    }

    /// Writes the report that is due, about every five seconds; `None` when none is, or nobody may be sent to.
    /// It goes to [`Session::remote_rtcp`], from the RTP socket when RTCP is multiplexed.
    pub fn rtcp_report(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        if now < self.report.due {
            return None;
        }
        let interval = self.report.interval();
        self.report.due = now + interval;
        self.report_now(now, out, false)
    }

    /// Writes the last report of this leg, with BYE.
    pub fn rtcp_bye(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.report_now(now, out, true)
    }

    fn report_now(&mut self, now: Instant, out: &mut [u8], bye: bool) -> Option<usize> {
        if self.remote_rtcp().ip().is_unspecified() || self.remote_rtcp().port() == 0 {
            return None;
        }
        let (packets, bytes) = self.send.sent();
        let sender = (packets > self.report.sent_before).then(|| SenderInfo {
            ntp: self.report.ntp(now),
            rtp_timestamp: self.send.clock(now, self.negotiated.codec.rtp_clock_hz()),
            packets: packets as u32,
            bytes: bytes as u32,
        });
        self.report.sent_before = packets;
        let peer_sr = self.report.peer_sr;
        let block = self.stream().map(|(ssrc, stream)| {
            // Of the stream that the block is about: a sender report of another one says nothing about it.
            let (last_sr, delay_since_sr) = peer_sr
                .filter(|(reported, ..)| *reported == ssrc)
                .map_or((0, 0), |(_, middle, at)| (middle, since(now, at)));
            ReportBlock {
                ssrc,
                fraction_lost: stream.sequence.fraction_lost(),
                lost: stream.sequence.lost().min(0x7F_FFFF) as i32,
                highest_sequence: stream.sequence.highest(),
                jitter: stream.jitter.clock_units(),
                last_sr,
                delay_since_sr,
            }
        });
        let extended = self.extended(now, block.map(|block| block.ssrc));
        Report { ssrc: self.report.ssrc, sender, block, cname: &self.report.cname, extended, bye }.write(out)
    }
}
