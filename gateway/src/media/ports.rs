//! Which RTP port pairs are free, in use, or resting. Pure: the time is an argument, nothing is bound here.

use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use super::limits::PAIRS_MAX;

/// The pairs (even, odd) of a port range.
#[derive(Debug)]
pub(crate) struct PortPool {
    first: u16,
    free: Vec<u16>,
    resting: VecDeque<(Instant, u16)>,
    quarantine: Duration,
    random: u64,
}

impl PortPool {
    /// All whole pairs within `ports`; their order of use comes from `seed`.
    pub(crate) fn new(ports: RangeInclusive<u16>, quarantine: Duration, seed: u64) -> Self {
        let first = ports.start().saturating_add(ports.start() & 1);
        let count = (u32::from(*ports.end()) + 1).saturating_sub(u32::from(first)) / 2;
        let count = u16::try_from(count).unwrap_or(u16::MAX).min(u16::try_from(PAIRS_MAX).unwrap_or(u16::MAX));
        Self { first, free: (0..count).collect(), resting: VecDeque::new(), quarantine, random: seed }
    }

    /// How many pairs there are when none is used.
    pub(crate) fn capacity(ports: RangeInclusive<u16>) -> usize {
        Self::new(ports, Duration::ZERO, 0).free.len()
    }

    /// A random free pair, by index; `None` when all are used or resting.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u16> {
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            self.free.extend(self.resting.pop_front().map(|(_, index)| index));
        }
        if self.free.is_empty() {
            return None;
        }
        let choice = self.next_random() as usize % self.free.len();
        Some(self.free.swap_remove(choice))
    }

    /// The pair is used no longer since `ended`; it rests for the quarantine.
    pub(crate) fn give_back(&mut self, index: u16, ended: Instant) {
        self.resting.push_back((ended + self.quarantine, index));
    }

    /// The RTP port of a pair; RTCP is one higher.
    pub(crate) fn port(&self, index: u16) -> u16 {
        self.first + 2 * index
    }

    /// How many can be taken, at most (resting ones not counted).
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// splitmix64: ports must not be guessable by counting, nothing more.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports_taken(pool: &mut PortPool, now: Instant) -> Vec<u16> {
        std::iter::from_fn(|| pool.take(now).map(|index| pool.port(index))).collect()
    }

    #[test]
    fn every_pair_is_even_whole_and_given_once() {
        for (range, expected) in
            [(20_001..=20_009, vec![20_002, 20_004, 20_006, 20_008]), (20_000..=20_002, vec![20_000])]
        {
            let mut pool = PortPool::new(range, Duration::ZERO, 7);
            let mut taken = ports_taken(&mut pool, Instant::now());
            taken.sort_unstable();
            assert_eq!(taken, expected);
        }
        assert_eq!(PortPool::capacity(0..=u16::MAX), PAIRS_MAX);
        assert_eq!(PortPool::capacity(65_535..=65_535), 0);
    }

    #[test]
    fn the_order_is_not_the_counting_order() {
        let taken = ports_taken(&mut PortPool::new(20_000..=29_999, Duration::ZERO, 1), Instant::now());
        assert_eq!(taken.len(), 5_000);
        let steps = taken.windows(2).filter(|pair| pair[1] == pair[0].wrapping_add(2)).count();
        assert!(steps < 20, "{steps} pairs follow one another");
    }

    #[test]
    fn a_pair_rests_before_it_is_used_again() {
        let start = Instant::now();
        let mut pool = PortPool::new(30_000..=30_001, Duration::from_secs(5), 3);
        let index = pool.take(start).unwrap();
        pool.give_back(index, start);
        assert_eq!(pool.take(start + Duration::from_millis(4_999)), None);
        assert_eq!(pool.take(start + Duration::from_secs(5)), Some(index));
        assert_eq!(pool.free(), 0);
    }
}
