//! How a leg sounded: counters, RFC 3550 loss and jitter, and the mean opinion score of the E-model (ITU-T G.107).

use std::time::Duration;

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
    /// Last round-trip time told by RTCP.
    pub round_trip: Option<Duration>,
    /// Packets of ours that the peer says it lost, and the fraction of its last report (0 to 1).
    pub peer_lost: Option<(i32, f32)>,
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

    /// Mean opinion score, 1 to 4.5, by the E-model for G.711 with a plain concealment (Ie 0, Bpl 4.3 as ITU-T G.113
    /// gives without concealment; loss taken as random). Delay is half the round trip, the packet time and a jitter
    /// buffer of twice the jitter. `None` before anything was received.
    pub fn mos(&self) -> Option<f64> {
        if self.packets_in == 0 {
            return None;
        }
        let one_way = self.round_trip.unwrap_or_default() / 2;
        let delay = one_way + self.jitter * 2 + Duration::from_millis(20);
        let late = self.late as f64 / self.expected.max(1) as f64;
        Some(mos(delay, (self.loss() + late).min(1.0)))
    }
}

/// E-model (G.107 with its default parameters) reduced to mouth-to-ear delay and loss (0 to 1) for G.711.
pub fn mos(delay: Duration, loss: f64) -> f64 {
    const BPL: f64 = 4.3;
    let ms = delay.as_secs_f64() * 1000.0;
    let delay_impairment = 0.024 * ms + if ms > 177.3 { 0.11 * (ms - 177.3) } else { 0.0 };
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let loss_impairment = 95.0 * percent / (percent + BPL);
    let r = (93.2 - delay_impairment - loss_impairment).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7.0e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_line_scores_4_4_and_loss_and_delay_pull_it_down() {
        let clean = mos(Duration::from_millis(20), 0.0);
        assert!((4.35..4.45).contains(&clean), "{clean}");
        let one_percent = mos(Duration::from_millis(20), 0.01);
        let five_percent = mos(Duration::from_millis(20), 0.05);
        let far = mos(Duration::from_millis(400), 0.0);
        assert!(clean > one_percent && one_percent > five_percent && far < 3.6, "{one_percent} {five_percent} {far}");
        assert!((3.0..4.1).contains(&one_percent));
        assert_eq!(mos(Duration::from_secs(60), 1.0), 1.0);
        assert_eq!(Quality::default().mos(), None);
        let silent = Quality { packets_in: 1, expected: 1, ..Quality::default() };
        assert!(silent.mos().unwrap() > 4.3);
    }
}
