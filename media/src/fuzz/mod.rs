//! Seeded fuzzers and the tools that they share with the tests. Not for use in calls.

mod audio;
mod codecs;
mod gate;
mod packets;
mod sessions;
mod speech;
mod wire;

use std::time::Instant;

pub use audio::playout;
pub use codecs::{codecs, transcoder};
pub use gate::gate;
pub use packets::{OFFERS, dtmf, rtcp, rtp, sdp};
pub use sessions::{recorder, session};
pub use speech::speech;
pub use wire::{Wire, WireConfig};

/// An instant to begin a story in virtual time with.
#[expect(clippy::disallowed_methods, reason = "the only clock reading: where virtual time begins does not matter")]
pub fn start() -> Instant {
    Instant::now()
}

/// splitmix64: small, seeded, good enough to drive fuzzers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// Any number of 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }
    /// A number below `bound`, 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }
    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    /// So many random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next_u64() as u8).collect()
    }
}
