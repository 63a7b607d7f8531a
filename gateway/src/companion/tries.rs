//! How often somebody may be wrong.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{COUNTED_MAX, TRIES_WINDOW};

/// Counts what went wrong, for each who and for all, within [`TRIES_WINDOW`].
#[derive(Debug)]
pub(super) struct Tries<K> {
    each_max: u32,
    total_max: u32,
    counts: Mutex<Counts<K>>,
}

#[derive(Debug)]
struct Counts<K> {
    began: Instant,
    each: HashMap<K, u32>,
    total: u32,
}

impl<K: Hash + Eq> Tries<K> {
    pub(super) fn new(each_max: u32, total_max: u32) -> Self {
        let counts = Counts { began: Instant::now(), each: HashMap::new(), total: 0 };
        Self { each_max, total_max, counts: Mutex::new(counts) }
    }

    /// How long who tries now is to wait; none: they may.
    pub(super) fn wait(&self, who: &K, now: Instant) -> Option<Duration> {
        let counts = self.fresh(now);
        let spent = counts.total >= self.total_max || counts.each.get(who).is_some_and(|count| *count >= self.each_max);
        spent.then(|| (counts.began + TRIES_WINDOW).saturating_duration_since(now))
    }

    /// Somebody was wrong.
    pub(super) fn miss(&self, who: K, now: Instant) {
        let mut counts = self.fresh(now);
        counts.total = counts.total.saturating_add(1);
        // A table that is full is full of strangers: the bound of all holds while it begins anew.
        if counts.each.len() >= COUNTED_MAX && !counts.each.contains_key(&who) {
            counts.each.clear();
        }
        *counts.each.entry(who).or_insert(0) += 1;
    }

    fn fresh(&self, now: Instant) -> std::sync::MutexGuard<'_, Counts<K>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(counts.began) >= TRIES_WINDOW {
            *counts = Counts { began: now, each: HashMap::new(), total: 0 };
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_wrong_too_often_waits_and_so_do_all_when_all_are() {
        let (tries, now) = (Tries::new(2, 5), Instant::now());
        for _ in 0..2 {
            assert_eq!(tries.wait(&"mallory", now), None);
            tries.miss("mallory", now);
        }
        assert!(tries.wait(&"mallory", now).is_some_and(|wait| wait <= TRIES_WINDOW));
        assert_eq!(tries.wait(&"chen", now), None, "others are not held up");
        (0..3).for_each(|_| tries.miss("trent", now));
        assert!(tries.wait(&"chen", now).is_some(), "a flood from many addresses holds up everybody");
        assert_eq!(tries.wait(&"mallory", now + TRIES_WINDOW), None);
    }
}
