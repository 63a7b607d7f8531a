//! Telephone-events as they arrive (RFC 4733): doubled, reordered, without marker, without end.

use std::time::{Duration, Instant};

use super::{Digit, Payload};

/// What a packet, or the lack of packets, tells about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A key went down. This is when it counts.
    Start(Digit),
    /// The key is still down.
    Held(Digit),
    /// The key was released, or nothing more was heard of it.
    End(Digit, Duration),
}

/// A key without news for this long was released and its end packets were lost.
const LOST_END: Duration = Duration::from_millis(300);
/// Timestamps that go further back than this are a new clock, not a late packet: 2 s.
const LATE_MAX_UNITS: i32 = 16_000;

#[derive(Debug, Clone, Copy)]
struct Current {
    digit: Digit,
    ssrc: u32,
    timestamp: u32,
    duration: u16,
    /// Clock units of the segments before this one (RFC 4733 2.5.1.3: more than 65535 units are split).
    before: u32,
    ended: bool,
    last_heard: Instant,
    /// It went down before a bridge came up.
    for_us: bool,
}

/// Reads the events of a peer; an event is known by its key, its stream and its RTP timestamp.
#[derive(Debug)]
pub struct Receiver {
    clock_hz: u32,
    current: Option<Current>,
    /// Start that waits behind the end that the same packet implied.
    waiting: Option<Event>,
}

impl Receiver {
    /// A receiver of events whose clock runs at `clock_hz` (that of the negotiated telephone-event).
    pub fn new(clock_hz: u32) -> Self {
        Self { clock_hz: clock_hz.max(1), current: None, waiting: None }
    }

    /// Another clock was agreed on; a key that is down is counted in the new one from here on.
    pub fn set_clock(&mut self, clock_hz: u32) {
        self.clock_hz = clock_hz.max(1);
    }

    /// Takes one telephone-event packet of the stream `ssrc`. Gateways that send events in a stream of their own beside
    /// the audio are why events are not forgotten when the audio's stream is another. When this returns an
    /// [`Event::End`] of an earlier key, the start of the new one follows from [`Receiver::waiting`].
    pub fn receive(&mut self, now: Instant, ssrc: u32, timestamp: u32, payload: &[u8]) -> Option<Event> {
        let payload = Payload::parse(payload)?;
        let digit = Digit::from_event(payload.event)?;
        // A stream that changes its SSRC while a key is down goes on with that key.
        let continues = |c: &Current| c.ssrc == ssrc || (c.digit == digit && c.timestamp == timestamp);
        if let Some(current) = self.current.as_mut().filter(|current| continues(current)) {
            let ahead = timestamp.wrapping_sub(current.timestamp) as i32;
            // Phones whose clock stands still while keys are pressed: another key is another event.
            if ahead == 0 && current.digit == digit {
                return Self::same(current, now, payload, self.clock_hz);
            }
            if ahead < 0 && ahead > -LATE_MAX_UNITS {
                return None;
            }
            // The next segment of a key that is held very long.
            if !current.ended
                && current.digit == digit
                && current.duration > 0xF000
                && (0xF000..=0x1_0400).contains(&ahead)
            {
                current.before += ahead as u32;
                current.timestamp = timestamp;
                current.duration = 0;
                return Self::same(current, now, payload, self.clock_hz);
            }
        }
        let lost_end = self.current.take_if(|c| !c.ended).map(|c| Self::end(&c, self.clock_hz));
        let current = Current {
            digit,
            ssrc,
            timestamp,
            duration: payload.duration,
            before: 0,
            ended: payload.end,
            last_heard: now,
            for_us: false,
        };
        self.current = Some(current);
        if lost_end.is_some() {
            self.waiting = Some(Event::Start(digit));
            return lost_end;
        }
        if payload.end {
            self.waiting = Some(Self::end(&current, self.clock_hz));
        }
        Some(Event::Start(digit))
    }

    /// What else the last packet told; ask until there is nothing more.
    pub fn waiting(&mut self) -> Option<Event> {
        let next = self.waiting.take();
        // Old key ended, new key began and ended, all by one packet: the end packets are all that arrived.
        if let (Some(Event::Start(_)), Some(current)) = (next, self.current)
            && current.ended
        {
            self.waiting = Some(Self::end(&current, self.clock_hz));
        }
        next
    }

    /// Ends a key of which nothing was heard for 300 ms.
    pub fn expire(&mut self, now: Instant) -> Option<Event> {
        let current = self.current.as_mut()?;
        if current.ended || now.saturating_duration_since(current.last_heard) < LOST_END {
            return None;
        }
        current.ended = true;
        Some(Self::end(current, self.clock_hz))
    }

    /// A bridge comes up: a key that is down, or whose last packets are still on their way, was pressed for us.
    pub fn keep(&mut self) {
        if let Some(current) = &mut self.current {
            current.for_us = true;
        }
    }

    /// Whether a packet with this timestamp, which was just received, belongs to a key that went down before
    /// [`Receiver::keep`].
    pub fn is_for_us(&self, timestamp: u32) -> bool {
        self.current.is_some_and(|c| c.for_us && timestamp.wrapping_sub(c.timestamp) as i32 <= 0)
    }

    /// Whether a key is down.
    pub fn is_held(&self) -> bool {
        self.current.is_some_and(|c| !c.ended)
    }

    fn same(current: &mut Current, now: Instant, payload: Payload, clock_hz: u32) -> Option<Event> {
        if current.ended {
            return None;
        }
        current.last_heard = now;
        current.duration = current.duration.max(payload.duration);
        if payload.end {
            current.ended = true;
            return Some(Self::end(current, clock_hz));
        }
        Some(Event::Held(current.digit))
    }

    fn end(current: &Current, clock_hz: u32) -> Event {
        let units = u64::from(current.before) + u64::from(current.duration);
        Event::End(current.digit, Duration::from_micros(units * 1_000_000 / u64::from(clock_hz)))
    }
}

/// Whether a packet of a payload type that was never negotiated is a telephone-event all the same: four bytes, a key,
/// the reserved bit clear, on one of the numbers that phones use for it.
pub(crate) fn looks_like_event(payload_type: u8, payload: &[u8]) -> bool {
    matches!(payload_type, 96 | 101) && payload.len() == 4 && payload[0] < 16 && payload[1] & 0x40 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(c: char, end: bool, duration: u16) -> [u8; 4] {
        let event = Digit::from_char(c).unwrap().event();
        Payload { event, end, volume: 10, duration }.to_bytes()
    }

    struct Story {
        receiver: Receiver,
        now: Instant,
        ssrc: u32,
        told: Vec<String>,
    }

    impl Story {
        fn new() -> Self {
            Self { receiver: Receiver::new(8000), now: crate::fuzz::start(), ssrc: 1, told: Vec::new() }
        }
        fn note(&mut self, event: Option<Event>) {
            match event {
                Some(Event::Start(d)) => self.told.push(format!("+{d}")),
                Some(Event::End(d, held)) => self.told.push(format!("-{d}:{}", held.as_millis())),
                Some(Event::Held(_)) | None => {}
            }
        }
        fn hear(&mut self, timestamp: u32, payload: &[u8]) -> &mut Self {
            self.now += Duration::from_millis(20);
            let event = self.receiver.receive(self.now, self.ssrc, timestamp, payload);
            self.note(event);
            while let Some(event) = self.receiver.waiting() {
                self.note(Some(event));
            }
            self
        }
        fn wait(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            let event = self.receiver.expire(self.now);
            self.note(event);
            self
        }
        fn told(&self) -> String {
            self.told.join(" ")
        }
    }

    #[test]
    fn a_key_counts_once_at_its_first_packet_and_ends_once() {
        let mut story = Story::new();
        for duration in [160, 320, 480] {
            story.hear(1000, &packet('5', false, duration));
        }
        assert_eq!(story.told(), "+5");
        for _ in 0..3 {
            story.hear(1000, &packet('5', true, 800));
        }
        story.hear(1000, &packet('5', false, 640)).wait(5000);
        assert_eq!(story.told(), "+5 -5:100");
    }

    #[test]
    fn only_the_last_end_packet_arrives_and_the_key_still_counts() {
        let mut story = Story::new();
        story.hear(1000, &packet('#', true, 800)).hear(1000, &packet('#', true, 800));
        assert_eq!(story.told(), "+# -#:100");
    }

    #[test]
    fn lost_ends_are_made_up_by_the_next_key_or_by_time() {
        let mut story = Story::new();
        story.hear(1000, &packet('1', false, 160)).hear(3000, &packet('1', false, 160));
        assert_eq!(story.told(), "+1 -1:20 +1");
        story.wait(250);
        assert_eq!(story.told(), "+1 -1:20 +1");
        story.wait(60).hear(3000, &packet('1', true, 900));
        assert_eq!(story.told(), "+1 -1:20 +1 -1:20");
        // The ends of one key and everything of the next but its end.
        story.hear(5000, &packet('2', false, 160)).hear(7000, &packet('3', true, 400));
        assert_eq!(story.told(), "+1 -1:20 +1 -1:20 +2 -2:20 +3 -3:50");
    }

    #[test]
    fn late_packets_of_an_old_key_are_ignored() {
        let mut story = Story::new();
        story.hear(1000, &packet('1', false, 160)).hear(1000, &packet('1', true, 400));
        story.hear(2000, &packet('2', false, 160)).hear(1000, &packet('1', true, 400));
        story.hear(2000, &packet('2', true, 400));
        assert_eq!(story.told(), "+1 -1:50 +2 -2:50");
    }

    #[test]
    fn timestamps_may_wrap_and_a_new_clock_is_a_new_key() {
        let mut story = Story::new();
        story.hear(u32::MAX - 10, &packet('1', true, 400)).hear(1000, &packet('1', true, 400));
        assert_eq!(story.told(), "+1 -1:50 +1 -1:50");
        story.hear(0xF000_0000, &packet('4', true, 400));
        assert_eq!(story.told(), "+1 -1:50 +1 -1:50 +4 -4:50");
    }

    #[test]
    fn a_key_held_for_ten_seconds_is_one_key() {
        let mut story = Story::new();
        story.hear(1000, &packet('0', false, 160)).hear(1000, &packet('0', false, 0xFFFF));
        story.hear(1000 + 0xFFFF, &packet('0', false, 160)).hear(1000 + 0xFFFF, &packet('0', true, 14_465));
        assert_eq!(story.told(), "+0 -0:10000");
    }

    #[test]
    fn a_new_stream_is_a_new_clock_and_a_key_that_was_down_ends() {
        let mut story = Story::new();
        story.hear(1000, &packet('1', false, 160));
        story.ssrc = 2;
        story.hear(400, &packet('2', false, 160)).hear(400, &packet('2', true, 320));
        assert_eq!(story.told(), "+1 -1:20 +2 -2:40");
        story.hear(9000, &packet('3', false, 160));
        story.ssrc = 3;
        story.hear(9000, &packet('3', false, 320)).hear(9000, &packet('3', true, 480));
        assert_eq!(story.told(), "+1 -1:20 +2 -2:40 +3 -3:60");
    }

    #[test]
    fn another_key_at_the_same_timestamp_is_another_key() {
        let mut story = Story::new();
        story.hear(0, &packet('1', false, 160)).hear(0, &packet('1', true, 320)).hear(0, &packet('1', true, 320));
        story.hear(0, &packet('2', false, 160)).hear(0, &packet('2', true, 320));
        assert_eq!(story.told(), "+1 -1:40 +2 -2:40");
    }

    #[test]
    fn what_is_no_key_is_ignored() {
        let mut story = Story::new();
        story.hear(1000, &[16, 0, 0, 160]).hear(2000, &[1, 0, 0]).hear(3000, &[]);
        assert_eq!(story.told(), "");
        assert!(looks_like_event(101, &[5, 0x8A, 1, 64]) && looks_like_event(96, &[11, 10, 0, 160]));
        assert!(!looks_like_event(8, &[5, 10, 0, 160]) && !looks_like_event(101, &[5, 10, 0, 160, 0]));
        assert!(!looks_like_event(101, &[99, 10, 0, 160]) && !looks_like_event(101, &[5, 0x4A, 0, 160]));
    }
}
