//! How a leg sounded: counters, RFC 3550 loss and jitter, bursts of loss as RFC 3611 counts them, and the rating and mean
//! opinion score of the E-model (ITU-T G.107).

use std::time::Duration;

use crate::codec::CodecRef;
use crate::limits::{JITTER_DELAY_MAX, JITTER_DELAY_MIN};
use crate::rtcp::VoipMetrics;

/// The state of one leg, or what a finished leg leaves to the log.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quality {
    /// RTP packets accepted from the peer.
    pub packets_in: u64,
    /// Payload bytes of these.
    pub bytes_in: u64,
    /// RTP packets written for the peer.
    pub packets_out: u64,
    /// Payload bytes of these.
    pub bytes_out: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that should have come.
    pub expected: u64,
    /// Losses in a row count as one of these; `lost` by this is the mean length of a burst.
    pub loss_bursts: u64,
    /// Packets that came behind a later one (and were used).
    pub reordered: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came more than [`LATE`] later than the fastest recent one: a jitter buffer would have missed them.
    pub late: u64,
    /// Packets from an address that is not the peer's: never used, never answered.
    pub wrong_source: u64,
    /// Datagrams that were no RTP, or of a payload type that was not agreed.
    pub garbage: u64,
    /// Interarrival jitter of the received stream (RFC 3550 A.8).
    pub jitter: Duration,
    /// The largest it was.
    pub jitter_max: Duration,
    /// Last round-trip time told by RTCP, by whichever road told it last (report blocks, extended reports).
    pub round_trip: Option<Duration>,
    /// Packets of ours that the peer says it lost, and the fraction of its last report (0 to 1).
    pub peer_lost: Option<(i32, f32)>,
    /// What the peer says about how it hears us (RFC 3611 4.7), last.
    pub peer_voip: Option<VoipMetrics>,
    /// The codec that was received last.
    pub codec: Option<CodecRef>,
    /// Ticks that the driver could not make up for; the timestamp jumped over them.
    pub skipped_ticks: u64,
    /// Events that the driver did not fetch in time. Always 0 unless the driver is at fault.
    pub events_dropped: u64,
}

/// Beyond this a packet counts as late.
pub const LATE: Duration = Duration::from_millis(60);

impl Quality {
    /// Loss of the received stream, 0 to 1.
    pub fn loss(&self) -> f64 {
        if self.expected == 0 { 0.0 } else { self.lost as f64 / self.expected as f64 }
    }

    /// Share of the packets that came too late for a jitter buffer, 0 to 1.
    pub fn discards(&self) -> f64 {
        if self.expected == 0 { 0.0 } else { (self.late as f64 / self.expected as f64).min(1.0) }
    }

    /// From mouth to ear, as far as it can be told from here: half the round trip, a packet, and a jitter buffer of twice
    /// the jitter within its bounds.
    pub fn delay(&self) -> Duration {
        let buffer = (self.jitter * 2).clamp(JITTER_DELAY_MIN, JITTER_DELAY_MAX);
        self.round_trip.unwrap_or_default() / 2 + buffer + Duration::from_millis(20)
    }

    /// Mean length of a burst of loss against that of loss which knows nothing of the packet before (G.107's BurstR): 1
    /// for random loss, more for bursts.
    pub fn burst_ratio(&self) -> f64 {
        if self.loss_bursts == 0 {
            return 1.0;
        }
        let mean = self.lost as f64 / self.loss_bursts as f64;
        (mean * (1.0 - self.loss().min(0.99))).max(1.0)
    }

    /// The rating R of the E-model, 0 to 93.2. `None` before anything was received.
    pub fn rating(&self) -> Option<f64> {
        let impairment = self.codec.map_or(G711, impairment);
        let loss = (self.loss() + self.discards()).min(1.0);
        (self.packets_in > 0).then(|| rating(self.delay(), loss, self.burst_ratio(), impairment))
    }

    /// Mean opinion score (conversational), 1 to 4.5. `None` before anything was received.
    pub fn mos(&self) -> Option<f64> {
        self.rating().map(mos)
    }
}

/// What a codec does to a voice (ITU-T G.113 Appendix I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Equipment impairment Ie without loss: 0 for G.711.
    pub ie: f64,
    /// Robustness against loss Bpl: the higher, the less a lost packet is heard.
    pub bpl: f64,
}

/// G.711 with concealment, as every receiver has one today (G.113 table I.3).
const G711: Impairment = Impairment { ie: 0.0, bpl: 25.1 };

/// The figures of G.113 for a codec. G.722 and Opus have none on the scale of narrow band, on which they are no worse
/// than G.711: they are taken as that.
pub fn impairment(codec: CodecRef) -> Impairment {
    match codec.name() {
        // G.729A, G.113 table I.3.
        "G729" => Impairment { ie: 11.0, bpl: 19.0 },
        _ => G711,
    }
}

/// The rating R of the E-model (G.107) with its default parameters, for a delay from mouth to ear, a share of packets
/// lost or too late (0 to 1), how bursty that is ([`Quality::burst_ratio`]) and a codec. The impairment by delay is the
/// usual fit of two straight lines to G.107's curve (Cole and Rosenbluth 2001): its knee is at 177.3 ms.
pub fn rating(delay: Duration, loss: f64, burst_ratio: f64, impairment: Impairment) -> f64 {
    let Impairment { ie, bpl } = impairment;
    let ms = delay.as_secs_f64() * 1000.0;
    let by_delay = 0.024 * ms + 0.11 * (ms - 177.3).max(0.0);
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    // G.107 7.5.
    let by_loss = ie + (95.0 - ie) * percent / (percent / burst_ratio.max(1.0) + bpl);
    (R_MAX - by_delay - by_loss).clamp(0.0, R_MAX)
}

/// R of a perfect line with all parameters at their defaults (G.107).
const R_MAX: f64 = 93.2;

/// The mean opinion score of a rating (G.107 Annex B), 1 to 4.5.
pub fn mos(rating: f64) -> f64 {
    let r = rating.clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7.0e-6).clamp(1.0, 4.5)
}

/// Received packets between two lost ones that end a burst (RFC 3611 4.7.2).
const GMIN: u32 = 16;

/// Bursts and gaps of loss as RFC 3611 counts them (A.2): a four-state Markov model.
#[derive(Debug, Clone, Copy, Default)]
pub struct BurstMeter {
    received: u32,
    lost: u32,
    c11: u64,
    c13: u64,
    c14: u64,
    c22: u64,
    c23: u64,
    c33: u64,
    bursts: u64,
    losing: bool,
}

/// What a [`BurstMeter`] makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bursts {
    /// Share of packets lost within bursts, of 256.
    pub burst_density: u8,
    /// Share of packets lost between them, of 256.
    pub gap_density: u8,
    /// Mean length of a burst.
    pub burst: Duration,
    /// Mean length of a gap between bursts.
    pub gap: Duration,
}

impl BurstMeter {
    /// The next packet in order came.
    pub fn received(&mut self) {
        self.received = self.received.saturating_add(1);
        self.losing = false;
    }

    /// The next `count` packets in order did not.
    pub fn lost(&mut self, count: u64) {
        self.bursts += u64::from(!self.losing && count > 0);
        self.losing |= count > 0;
        for _ in 0..count.min(LOSS_RUN_MAX) {
            if self.received >= GMIN {
                // The losses before were a burst, or one alone in a gap.
                *(if self.lost == 1 { &mut self.c14 } else { &mut self.c13 }) += 1;
                self.lost = 1;
                self.c11 += u64::from(self.received);
            } else {
                self.lost = self.lost.saturating_add(1);
                if self.received == 0 {
                    self.c33 += 1;
                } else {
                    self.c23 += 1;
                    self.c22 += u64::from(self.received) - 1;
                }
            }
            self.received = 0;
        }
    }

    /// Losses in a row, each counted once.
    pub fn runs(&self) -> u64 {
        self.bursts
    }

    /// The figures so far, for packets of this length.
    pub fn bursts(&self, packet: Duration) -> Bursts {
        let c11 = self.c11 + u64::from(self.received);
        let (c31, c32) = (self.c13, self.c23);
        let total = c11 + self.c14 + self.c13 + self.c22 + self.c23 + c31 + c32 + self.c33;
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let of_256 = |share: f64| (share * 256.0).min(255.0) as u8;
        let p32 = share(c32, c31 + c32 + self.c33);
        let p23 = if self.c22 + self.c23 == 0 { 1.0 } else { 1.0 - share(self.c22, self.c22 + self.c23) };
        let lossy = self.c33 + self.c23 > 0;
        let bursts = self.c13.max(1) as f64;
        let gap = packet.mul_f64((c11 + self.c14 + self.c13) as f64 / bursts);
        let burst = packet.mul_f64(total as f64 / bursts).saturating_sub(gap);
        Bursts {
            burst_density: if lossy { of_256(p23 / (p23 + p32)) } else { 0 },
            gap_density: of_256(share(self.c14, c11 + self.c14)),
            burst: if lossy { burst } else { Duration::ZERO },
            gap,
        }
    }
}

/// Losses in one row that are counted one by one; a longer silence adds nothing to the picture.
const LOSS_RUN_MAX: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const G729A: Impairment = Impairment { ie: 11.0, bpl: 19.0 };

    fn at_once(loss: f64, impairment: Impairment) -> f64 {
        rating(Duration::ZERO, loss, 1.0, impairment)
    }

    #[test]
    fn ratings_become_the_scores_of_g107_table_b1() {
        for (r, want) in
            [(93.2, 4.41), (90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58), (0.0, 1.0)]
        {
            assert!((mos(r) - want).abs() < 0.01, "R {r}: {} instead of {want}", mos(r));
        }
        assert_eq!((mos(-5.0), mos(f64::INFINITY)), (1.0, 4.5));
    }

    #[test]
    fn codecs_and_loss_cost_what_g113_says() {
        assert_eq!(at_once(0.0, G711), 93.2);
        assert!((at_once(0.0, G729A) - 82.2).abs() < 1e-9);
        assert!((mos(at_once(0.0, G729A)) - 4.1).abs() < 0.02);
        // G.113 table I.2: Ie of G.729A with VAD by random loss; and of G.711 with concealment.
        for (percent, ie) in [(0.0, 11.0), (1.0, 15.0), (2.0, 19.0), (3.0, 23.0), (4.0, 26.0), (8.0, 36.0)] {
            let got = 93.2 - at_once(percent / 100.0, G729A);
            assert!((got - ie).abs() < 1.0, "{percent} %: {got} instead of {ie}");
        }
        for (percent, ie) in [(0.0, 0.0), (1.0, 5.0), (2.0, 7.0), (3.0, 10.0), (5.0, 15.0), (7.0, 20.0), (10.0, 25.0)] {
            let got = 93.2 - at_once(percent / 100.0, G711);
            assert!((got - ie).abs() < 2.1, "{percent} %: {got} instead of {ie}");
        }
        assert_eq!(impairment(&crate::codec::Pcma), G711);
    }

    #[test]
    fn delay_hurts_little_up_to_180_ms_and_much_beyond_and_bursts_hurt_more_than_single_losses() {
        let at = |ms| rating(Duration::from_millis(ms), 0.0, 1.0, G711);
        assert!((at(0) - at(150) - 3.6).abs() < 0.01);
        assert!((at(150) - at(400) - 30.5).abs() < 0.2, "{}", at(150) - at(400));
        assert_eq!(rating(Duration::from_secs(60), 1.0, 1.0, G711), 0.0);
        let (single, bursts) = (at_once(0.05, G711), rating(Duration::ZERO, 0.05, 3.0, G711));
        assert!(bursts < single - 1.0, "{bursts} {single}");
    }

    #[test]
    fn a_leg_is_rated_by_what_it_counted() {
        assert_eq!(Quality::default().mos(), None);
        let clean = Quality { packets_in: 1000, expected: 1000, ..Quality::default() };
        assert!((4.37..4.41).contains(&clean.mos().unwrap()), "{:?}", clean.mos());
        let lossy = Quality { lost: 50, loss_bursts: 50, ..clean };
        let bursty = Quality { lost: 50, loss_bursts: 10, ..clean };
        assert!(clean.mos() > lossy.mos() && lossy.mos() > bursty.mos());
        let late = Quality { late: 50, ..clean };
        assert!((late.mos().unwrap() - lossy.mos().unwrap()).abs() < 0.01);
        let far = Quality { round_trip: Some(Duration::from_millis(800)), ..clean };
        assert!(far.mos().unwrap() < 3.4);
    }

    #[test]
    fn bursts_and_gaps_are_told_apart_as_rfc_3611_does() {
        let packet = Duration::from_millis(20);
        let mut meter = BurstMeter::default();
        let feed = |meter: &mut BurstMeter, came: u32| (0..came).for_each(|_| meter.received());
        feed(&mut meter, 1000);
        assert_eq!(meter.bursts(packet), Bursts { gap: packet * 1000, ..Bursts::default() });
        // Single losses, far from each other: gaps with loss.
        for _ in 0..10 {
            meter.lost(1);
            feed(&mut meter, 99);
        }
        let gaps = meter.bursts(packet);
        assert_eq!((gaps.burst_density, gaps.burst), (0, Duration::ZERO));
        assert!((1..=2).contains(&gaps.gap_density), "{gaps:?}");
        // Bursts: 3 lost of 5, each a hundred packets from the next.
        for _ in 0..50 {
            meter.lost(2);
            feed(&mut meter, 2);
            meter.lost(1);
            feed(&mut meter, 95);
        }
        let bursts = meter.bursts(packet);
        assert!((100..=200).contains(&bursts.burst_density), "{bursts:?}");
        assert!((Duration::from_millis(40)..Duration::from_millis(140)).contains(&bursts.burst), "{bursts:?}");
        assert!(bursts.gap > Duration::from_millis(1500), "{bursts:?}");
        assert_eq!(meter.runs(), 10 + 100);
        meter.lost(u64::MAX);
    }
}
