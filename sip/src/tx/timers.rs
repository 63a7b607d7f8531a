//! One queue of deadlines for everything that waits: a heap whose stale entries are forgotten lazily, but never pile
//! up.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Instant;

/// Below this many entries stale ones are not worth looking for.
const COMPACT_FROM: usize = 64;

struct Entry<K> {
    at: Instant,
    key: K,
}

impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl<K> Eq for Entry<K> {}
impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

/// Deadlines of owners named by `K`. An owner has one entry that counts (it remembers its time); every other entry with
/// its name is stale. Whoever asks supplies `counts(key, at)`, which says whether an entry is the one that counts.
pub struct TimerQueue<K> {
    heap: BinaryHeap<Reverse<Entry<K>>>,
}

impl<K> Default for TimerQueue<K> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new() }
    }
}

impl<K: Copy> TimerQueue<K> {
    /// Adds an entry. `owners` is how many owners exist: when there are more than twice as many entries, the stale ones
    /// are thrown out, so that the queue never holds more than `2 * owners + 64`.
    pub fn push(&mut self, at: Instant, key: K, owners: usize, counts: impl FnMut(K, Instant) -> bool) {
        if self.heap.len() >= COMPACT_FROM + 2 * owners {
            self.compact(counts);
        }
        self.heap.push(Reverse(Entry { at, key }));
    }

    /// Throws out every stale entry and gives memory back.
    pub fn compact(&mut self, mut counts: impl FnMut(K, Instant) -> bool) {
        self.heap.retain(|Reverse(entry)| counts(entry.key, entry.at));
        self.heap.shrink_to(self.heap.len() * 2);
    }

    /// Removes stale entries from the front, so that [`Self::next`] tells the truth.
    pub fn prune(&mut self, mut counts: impl FnMut(K, Instant) -> bool) {
        while let Some(Reverse(entry)) = self.heap.peek() {
            if counts(entry.key, entry.at) {
                return;
            }
            self.heap.pop();
        }
    }

    /// The earliest deadline (a stale one at worst, unless [`Self::prune`] ran just before).
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes the earliest entry if its time has come; it may be stale.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        self.heap.peek().filter(|Reverse(entry)| entry.at <= now)?;
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.key))
    }

    /// How many entries there are, stale ones included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Bytes reserved.
    pub fn memory_bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Reverse<Entry<K>>>()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn stale_entries_never_outgrow_twice_the_owners() {
        let start = Instant::now();
        let mut queue = TimerQueue::default();
        let mut counted = vec![start; 10];
        for round in 0..100_000_u32 {
            let owner = (round % 10) as usize;
            // Always earlier than before, so that each push makes the previous entry stale.
            counted[owner] = start + Duration::from_secs(200_000) - Duration::from_secs(u64::from(round));
            let view = counted.clone();
            queue.push(counted[owner], owner, 10, |key: usize, at| view[key] == at);
            assert!(queue.len() <= 2 * 10 + COMPACT_FROM + 1);
        }
        queue.compact(|key, at| counted[key] == at);
        assert_eq!(queue.len(), 10);
        assert!(queue.memory_bytes() <= 64 * size_of::<Entry<usize>>());
    }
}
