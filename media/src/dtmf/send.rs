//! Telephone-events as Ark sends them (RFC 4733 2.5.1): the marker on the first packet, one update each packet time,
//! three end packets.

use std::time::Duration;

use super::{Digit, Payload};

/// End packets of an event (RFC 4733 2.5.1.4).
const ENDS: u8 = 3;
/// -10 dBm0, what gateways send.
const VOLUME: u8 = 10;

/// One packet to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The four bytes.
    pub payload: [u8; 4],
    /// RTP timestamp: that of the start, for every packet of the event.
    pub timestamp: u32,
    /// Set on the first packet.
    pub marker: bool,
    /// The event is over with this packet.
    pub last: bool,
}

/// One event being sent.
#[derive(Debug, Clone)]
pub struct Sender {
    digit: Digit,
    timestamp: u32,
    units: u32,
    total: u32,
    ends: u8,
    begun: bool,
}

impl Sender {
    /// Begins an event at RTP time `timestamp`. `duration` is held to 40 ms to 8 s: what any receiver recognises,
    /// and what one event can say.
    pub fn new(digit: Digit, duration: Duration, timestamp: u32, clock_hz: u32) -> Self {
        let ms = duration.as_millis().clamp(40, 8000) as u64;
        let total = (ms * u64::from(clock_hz) / 1000).min(0xFFFF) as u32;
        Self { digit, timestamp, units: 0, total, ends: 0, begun: false }
    }

    /// The packet of this tick, `step` clock units after the one before.
    pub fn next(&mut self, step: u32) -> Next {
        self.units = (self.units + step).min(self.total);
        let end = self.units == self.total;
        let marker = !self.begun;
        self.begun = true;
        self.ends += u8::from(end);
        let payload = Payload { event: self.digit.event(), end, volume: VOLUME, duration: self.units as u16 };
        Next { payload: payload.to_bytes(), timestamp: self.timestamp, marker, last: self.ends == ENDS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_one_marker_growing_durations_and_three_ends() {
        let digit = Digit::from_char('9').unwrap();
        let mut sender = Sender::new(digit, Duration::from_millis(100), 5000, 8000);
        let mut packets = Vec::new();
        loop {
            let next = sender.next(160);
            packets.push(next);
            if next.last {
                break;
            }
        }
        let durations: Vec<u16> = packets.iter().map(|p| Payload::parse(&p.payload).unwrap().duration).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
        let ends: Vec<bool> = packets.iter().map(|p| Payload::parse(&p.payload).unwrap().end).collect();
        assert_eq!(ends, [false, false, false, false, true, true, true]);
        assert!(packets[0].marker && packets[1..].iter().all(|p| !p.marker));
        assert!(packets.iter().all(|p| p.timestamp == 5000));
        assert_eq!(Sender::new(digit, Duration::from_secs(60), 0, 8000).total, 64_000);
        assert_eq!(Sender::new(digit, Duration::ZERO, 0, 8000).total, 320);
    }
}
