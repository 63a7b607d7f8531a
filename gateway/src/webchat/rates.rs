//! How often visitors and addresses may do things: token buckets in bounded memory.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::limits::PACES_MAX;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Message,
    Come,
    New,
    File,
    Sign,
    Call,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Buckets by what is counted and of whom. The most recently used are kept in two generations: when the young one is full the
/// old one is forgotten, so that whoever goes on is remembered and a flood of new names costs no memory.
#[derive(Default)]
pub(super) struct Rates {
    young: HashMap<(What, String), Bucket>,
    old: HashMap<(What, String), Bucket>,
}

impl Rates {
    /// Takes one; how long to wait when there is none. `(most, per_s)`: what may be done at once, and what comes back a second.
    pub(super) fn take(
        &mut self,
        now: Instant,
        what: What,
        of: &str,
        (most, per_s): (f64, f64),
    ) -> Result<(), Duration> {
        let key = (what, of.to_owned());
        let known = self.young.get(&key).copied().or_else(|| self.old.remove(&key));
        let mut bucket = known.unwrap_or(Bucket { left: most, at: now });
        bucket.left = (bucket.left + now.saturating_duration_since(bucket.at).as_secs_f64() * per_s).min(most);
        bucket.at = now;
        let answer = if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - bucket.left) / per_s))
        };
        if self.young.len() >= PACES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, bucket);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_up_comes_back_with_time_and_others_are_not_touched() {
        let mut rates = Rates::default();
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(rates.take(now, What::Message, "a", (3.0, 0.5)), Ok(()));
        }
        assert_eq!(rates.take(now, What::Message, "a", (3.0, 0.5)), Err(Duration::from_secs(2)));
        assert_eq!(rates.take(now, What::Message, "b", (3.0, 0.5)), Ok(()));
        assert_eq!(rates.take(now, What::Sign, "a", (3.0, 0.5)), Ok(()));
        let later = now + Duration::from_secs(2);
        assert_eq!(rates.take(later, What::Message, "a", (3.0, 0.5)), Ok(()));
        assert!(rates.take(later, What::Message, "a", (3.0, 0.5)).is_err());
    }

    #[test]
    fn a_flood_of_names_costs_no_memory_and_frees_nobody_who_goes_on() {
        let mut rates = Rates::default();
        let now = Instant::now();
        assert!(rates.take(now, What::Come, "me", (1.0, 0.001)).is_ok());
        for n in 0..3 * PACES_MAX {
            let _ = rates.take(now, What::Come, &n.to_string(), (1.0, 1.0));
            if n % 1_000 == 0 {
                assert!(rates.take(now, What::Come, "me", (1.0, 0.001)).is_err(), "forgotten at {n}");
            }
            assert!(rates.young.len() + rates.old.len() <= PACES_MAX);
        }
    }
}
