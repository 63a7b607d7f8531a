//! Whose packets count. The trap is RTP bleed: whoever may be learned can be anyone, so learning is rare and short.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::limits::LEARN_PACKETS;
use crate::rtp::Header;

/// Which senders a session believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourcePolicy {
    /// The address of the SDP and nobody else: right for every peer with a public address.
    Strict,
    /// For peers that may stand behind a NAT, whose SDP then names an address that nothing comes from: when that
    /// address is another than `host`, lock within `window` of the agreement to the first source of [`LEARN_PACKETS`]
    /// packets in sequence from `host`, and from nowhere else. A packet from the SDP's own address always wins, during
    /// the window even over a source that was learned. After that nothing changes the lock but a new agreement with
    /// another address. While `host` and the SDP agree this is [`SourcePolicy::Strict`].
    LearnOnce {
        /// Where the peer's signalling comes from: its NAT, if there is one.
        host: IpAddr,
        /// How long after an agreement a source may be learned.
        window: Duration,
    },
}

/// What a packet's source means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    /// Accepted, and from now on nobody else is.
    Learned,
    Wrong,
}

/// Sources that are watched at once while learning; a flood of forged ones cannot push a true one out by restarting it.
const CANDIDATES: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Candidate {
    from: SocketAddr,
    ssrc: u32,
    next: u16,
    count: u32,
}

#[derive(Debug)]
pub(super) struct SourceLock {
    policy: SourcePolicy,
    /// From where a source may be learned, and until when.
    learn: Option<(IpAddr, Instant)>,
    expected: SocketAddr,
    locked: Option<SocketAddr>,
    candidates: [Option<Candidate>; CANDIDATES],
}

impl SourceLock {
    pub(super) fn new(now: Instant, policy: SourcePolicy, expected: SocketAddr) -> Self {
        let mut lock = Self { policy, learn: None, expected, locked: None, candidates: [None; CANDIDATES] };
        lock.open(now, expected);
        lock
    }

    /// A new agreement. The lock opens again only when the address is another, and not for an unspecified one (hold).
    pub(super) fn expect(&mut self, now: Instant, expected: SocketAddr) {
        if expected != self.expected && !expected.ip().is_unspecified() {
            self.open(now, expected);
        }
    }

    fn open(&mut self, now: Instant, expected: SocketAddr) {
        self.expected = expected;
        self.locked = None;
        self.candidates = [None; CANDIDATES];
        self.learn = match self.policy {
            SourcePolicy::LearnOnce { host, window } if host.to_canonical() != expected.ip().to_canonical() => {
                Some((host.to_canonical(), now + window))
            }
            SourcePolicy::Strict | SourcePolicy::LearnOnce { .. } => None,
        };
    }

    /// The one that is believed: learned, or told by the SDP.
    pub(super) fn address(&self) -> SocketAddr {
        self.locked.unwrap_or(self.expected)
    }

    pub(super) fn check(&mut self, now: Instant, from: SocketAddr, header: &Header) -> Verdict {
        let learn = self.learn.filter(|(_, until)| now < *until).map(|(host, _)| host);
        if from == self.expected {
            return match self.locked {
                Some(locked) if locked != from && learn.is_none() => Verdict::Wrong,
                _ => {
                    self.locked = Some(from);
                    Verdict::Accept
                }
            };
        }
        match self.locked {
            Some(locked) if locked == from => Verdict::Accept,
            None if learn == Some(from.ip()) => self.learn(from, header),
            _ => Verdict::Wrong,
        }
    }

    fn learn(&mut self, from: SocketAddr, header: &Header) -> Verdict {
        let fresh = Candidate { from, ssrc: header.ssrc, next: header.sequence.wrapping_add(1), count: 1 };
        let known = self.candidates.iter_mut().flatten().find(|c| c.from == from);
        if let Some(candidate) = known {
            if candidate.ssrc == header.ssrc && candidate.next == header.sequence {
                candidate.count += 1;
                candidate.next = header.sequence.wrapping_add(1);
                if candidate.count >= LEARN_PACKETS {
                    self.locked = Some(from);
                    return Verdict::Learned;
                }
            } else {
                *candidate = fresh;
            }
        } else if let Some(slot) = self.candidates.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(fresh);
        }
        Verdict::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u16, ssrc: u32) -> Header {
        Header { marker: false, payload_type: 8, sequence, timestamp: 0, ssrc }
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// The address in the SDP of a phone behind the NAT `192.0.2.1`.
    fn private(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 9], port))
    }

    fn learn_once() -> SourcePolicy {
        SourcePolicy::LearnOnce { host: at(0).ip(), window: Duration::from_secs(5) }
    }

    #[test]
    fn a_strict_lock_never_learns() {
        let now = crate::fuzz::start();
        let mut lock = SourceLock::new(now, SourcePolicy::Strict, at(4000));
        for sequence in 0..50 {
            assert_eq!(lock.check(now, at(5000), &header(sequence, 1)), Verdict::Wrong);
        }
        assert_eq!(lock.check(now, at(4000), &header(9, 2)), Verdict::Accept);
        assert_eq!(lock.address(), at(4000));
    }

    #[test]
    fn a_learning_lock_takes_the_first_stream_in_sequence_and_then_nobody_else() {
        let now = crate::fuzz::start();
        let mut lock = SourceLock::new(now, learn_once(), private(4000));
        // Forged packets from everywhere, out of sequence, fill the watch list but lock nothing.
        for i in 0..3_u16 {
            assert_eq!(lock.check(now, at(6000 + i), &header(i * 77, 9)), Verdict::Wrong);
        }
        assert_eq!(lock.check(now, at(5000), &header(10, 1)), Verdict::Wrong);
        for i in 0..30_u16 {
            assert_eq!(lock.check(now, at(7000 + i), &header(i, 9)), Verdict::Wrong);
        }
        assert_eq!(lock.check(now, at(5000), &header(11, 1)), Verdict::Wrong);
        assert_eq!(lock.check(now, at(5000), &header(12, 1)), Verdict::Learned);
        for sequence in 0..9 {
            assert_eq!(lock.check(now, at(6001), &header(sequence, 9)), Verdict::Wrong);
        }
        assert_eq!(lock.check(now, at(5000), &header(500, 3)), Verdict::Accept);
        // The SDP's own address still wins inside the window, for good.
        assert_eq!(lock.check(now, private(4000), &header(1, 4)), Verdict::Accept);
        assert_eq!(lock.check(now, at(5000), &header(501, 3)), Verdict::Wrong);
        assert_eq!(lock.address(), private(4000));
    }

    #[test]
    fn after_the_window_nothing_is_learned_and_a_learned_lock_stays() {
        let now = crate::fuzz::start();
        let later = now + Duration::from_secs(6);
        let mut lock = SourceLock::new(now, learn_once(), private(4000));
        for sequence in 0..9 {
            assert_eq!(lock.check(later, at(5000), &header(sequence, 1)), Verdict::Wrong);
        }
        for sequence in 0..3 {
            lock.check(now, at(5000), &header(sequence, 1));
        }
        assert_eq!(lock.address(), at(5000));
        assert_eq!(lock.check(later, private(4000), &header(9, 1)), Verdict::Wrong);
        // A re-INVITE with the same address changes nothing; hold neither; another address opens it again.
        lock.expect(later, private(4000));
        lock.expect(later, SocketAddr::from(([0, 0, 0, 0], 4000)));
        assert_eq!(lock.address(), at(5000));
        lock.expect(later, private(4444));
        assert_eq!(lock.address(), private(4444));
        assert_eq!(lock.check(later, at(5000), &header(10, 1)), Verdict::Wrong);
    }

    #[test]
    fn nobody_is_learned_but_from_the_host_that_signals_and_only_when_the_sdp_names_another() {
        let now = crate::fuzz::start();
        let mut behind_nat = SourceLock::new(now, learn_once(), private(4000));
        let attacker = SocketAddr::from(([198, 51, 100, 66], 4000));
        let mut no_nat = SourceLock::new(now, learn_once(), at(4000));
        for sequence in 0..50 {
            assert_eq!(behind_nat.check(now, attacker, &header(sequence, 1)), Verdict::Wrong);
            assert_eq!(no_nat.check(now, attacker, &header(sequence, 1)), Verdict::Wrong);
            assert_eq!(no_nat.check(now, at(5000), &header(sequence, 1)), Verdict::Wrong, "the SDP can be believed");
        }
        assert_eq!((behind_nat.address(), no_nat.address()), (private(4000), at(4000)));
        let mapped = SocketAddr::new("::ffff:192.0.2.1".parse().unwrap(), 0).ip();
        let policy = SourcePolicy::LearnOnce { host: mapped, window: Duration::from_secs(5) };
        let mut mapped = SourceLock::new(now, policy, private(4000));
        let verdicts = [0, 1, 2].map(|sequence| mapped.check(now, at(5000), &header(sequence, 1)));
        assert_eq!(verdicts, [Verdict::Wrong, Verdict::Wrong, Verdict::Learned]);
    }
}
