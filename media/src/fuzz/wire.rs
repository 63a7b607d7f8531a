//! A network in virtual time, by seed: loss, bursts of it, jitter, reordering and doubles.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Random;

/// What a wire does to packets. The default does nothing but take 30 ms.
#[derive(Debug, Clone, Copy)]
pub struct WireConfig {
    /// The fastest way.
    pub delay: Duration,
    /// Packets lost, of 1000.
    pub loss_permille: u64,
    /// Mean packets in a row that are lost together: 1 for loss that knows nothing of the last packet (Gilbert's model).
    pub burst: u64,
    /// Each packet takes up to so much longer.
    pub jitter: Duration,
    /// Packets of 1000 that take 40 ms longer, so that others pass them.
    pub reorder_permille: u64,
    /// Packets of 1000 that come twice.
    pub duplicate_permille: u64,
}

impl Default for WireConfig {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(30),
            loss_permille: 0,
            burst: 1,
            jitter: Duration::ZERO,
            reorder_permille: 0,
            duplicate_permille: 0,
        }
    }
}

/// Packets on their way.
#[derive(Debug)]
pub struct Wire {
    config: WireConfig,
    random: Random,
    /// By arrival, and by number among those of one instant.
    flying: BTreeMap<(Instant, u64), Vec<u8>>,
    sent: u64,
    lost: u64,
    losing: bool,
}

impl Wire {
    /// The same seed does the same to the same packets.
    pub fn new(seed: u64, config: WireConfig) -> Self {
        Self { config, random: Random::new(seed), flying: BTreeMap::new(), sent: 0, lost: 0, losing: false }
    }

    /// From now on it behaves like this.
    pub fn set(&mut self, config: WireConfig) {
        self.config = config;
    }

    /// Packets that were lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn loses(&mut self) -> bool {
        let WireConfig { loss_permille, burst, .. } = self.config;
        if loss_permille == 0 {
            return false;
        }
        let burst = burst.max(1);
        // Gilbert: out of the bad state once in `burst`, into it so often that the share comes out as asked.
        self.losing = if self.losing && burst > 1 {
            !self.random.one_in(burst)
        } else {
            self.random.below(burst * (1000 - loss_permille.min(999))) < loss_permille
        };
        self.losing
    }

    /// A packet is sent.
    pub fn send(&mut self, now: Instant, bytes: &[u8]) {
        self.sent += 1;
        if self.loses() {
            self.lost += 1;
            return;
        }
        let jitter = self.random.below(self.config.jitter.as_micros() as u64 + 1);
        let passed = if self.random.below(1000) < self.config.reorder_permille { 40 } else { 0 };
        let arrives = now + self.config.delay + Duration::from_micros(jitter) + Duration::from_millis(passed);
        self.flying.insert((arrives, self.sent), bytes.to_vec());
        if self.random.below(1000) < self.config.duplicate_permille {
            self.flying.insert((arrives + Duration::from_millis(3), u64::MAX - self.sent), bytes.to_vec());
        }
    }

    /// The next packet that has arrived by `now`, and when it did.
    pub fn poll(&mut self, now: Instant) -> Option<(Instant, Vec<u8>)> {
        let first = self.flying.first_entry()?;
        let at = first.key().0;
        (at <= now).then(|| (at, first.remove()))
    }
}
