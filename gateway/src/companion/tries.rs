//! How often somebody may be wrong.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{COUNTED_MAX, TRIES_WINDOW};

/// Counts what went wrong, for each who and for all, within [`TRIES_WINDOW`].
#[derive(Debug)]
pub(crate) struct Tries<K> {
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

impl<K: Hash + Eq> Counts<K> {
    fn count(&mut self, who: K) {
        self.total = self.total.saturating_add(1);
        // A table that is full is full of strangers: the bound of all holds while it begins anew.
        if self.each.len() >= COUNTED_MAX && !self.each.contains_key(&who) {
            self.each.clear();
        }
        *self.each.entry(who).or_insert(0) += 1;
    }
}

impl<K: Hash + Eq> Tries<K> {
    pub(crate) fn new(each_max: u32, total_max: u32) -> Self {
        let counts = Counts { began: Instant::now(), each: HashMap::new(), total: 0 };
        Self { each_max, total_max, counts: Mutex::new(counts) }
    }

    /// How long who tries now is to wait; none: they may.
    pub(crate) fn wait(&self, who: &K, now: Instant) -> Option<Duration> {
        self.spent(&self.fresh(now), who, now)
    }

    fn spent(&self, counts: &Counts<K>, who: &K, now: Instant) -> Option<Duration> {
        let spent = counts.total >= self.total_max || counts.each.get(who).is_some_and(|count| *count >= self.each_max);
        spent.then(|| (counts.began + TRIES_WINDOW).saturating_duration_since(now))
    }

    /// Counts a try before it is known whether it is right, so that many at once are no more than one after the other.
    ///
    /// # Errors
    /// How long who tries is to wait.
    pub(crate) fn take(&self, who: &K, now: Instant) -> Result<(), Duration>
    where
        K: Clone,
    {
        let mut counts = self.fresh(now);
        match self.spent(&counts, who, now) {
            Some(wait) => Err(wait),
            None => {
                counts.count(who.clone());
                Ok(())
            }
        }
    }

    /// The try was right, or not made.
    pub(super) fn give_back(&self, who: &K, now: Instant) {
        let mut counts = self.fresh(now);
        counts.total = counts.total.saturating_sub(1);
        if let Some(count) = counts.each.get_mut(who) {
            *count = count.saturating_sub(1);
        }
    }

    /// Somebody was wrong.
    pub(super) fn miss(&self, who: K, now: Instant) {
        self.fresh(now).count(who);
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

    #[test]
    fn tries_under_way_count_and_what_was_right_is_given_back() {
        let (tries, now) = (Tries::new(2, 5), Instant::now());
        assert_eq!((tries.take(&"chen", now), tries.take(&"chen", now)), (Ok(()), Ok(())));
        assert!(tries.take(&"chen", now).is_err_and(|wait| wait <= TRIES_WINDOW), "both are still looked up");
        tries.give_back(&"chen", now);
        assert_eq!(tries.take(&"chen", now), Ok(()));
        (0..3).for_each(|n| assert_eq!(tries.take(&["a", "b", "c"][n], now), Ok(())));
        assert!(tries.take(&"d", now).is_err(), "of all");
        // Of a time that is over nothing is given back.
        tries.give_back(&"chen", now + TRIES_WINDOW);
        assert_eq!(tries.take(&"chen", now + TRIES_WINDOW), Ok(()));
    }
}
