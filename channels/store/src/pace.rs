//! How long a group of writes waits for more.

use std::time::{Duration, Instant};

use crate::limits::GATHER_MAX;

/// What the last groups were like. Those who were answered with a group come again in a moment, while the next group, begun
/// at once with the first of them, would make the others wait for two commits. So a group that has fewer jobs than the last
/// two had waits for a part of the time that a commit takes.
#[derive(Default)]
pub(crate) struct Pace {
    jobs: [usize; 2],
    commit: Duration,
}

/// A time that runs out.
#[derive(Clone, Copy)]
pub(crate) struct Patience(Instant);

impl Patience {
    /// What is left of it.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// When it runs out.
    pub(crate) const fn end(self) -> Instant {
        self.0
    }
}

impl Pace {
    /// How long the group that begins now may wait.
    pub(crate) fn patience(&self) -> Patience {
        Patience(Instant::now() + (self.commit / 4).min(GATHER_MAX))
    }

    /// Whether a group of so many jobs waits for no more.
    pub(crate) fn is_enough(&self, jobs: usize) -> bool {
        jobs * 4 >= self.jobs[0].max(self.jobs[1]) * 3
    }

    /// A group of so many jobs took so long.
    pub(crate) fn committed(&mut self, jobs: usize, took: Duration) {
        self.jobs = [jobs, self.jobs[0]];
        self.commit = took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_waits_only_while_it_is_smaller_than_those_before_and_never_long() {
        let mut pace = Pace::default();
        assert!(pace.is_enough(1) && pace.patience().left().is_zero(), "the first waits for nobody");
        pace.committed(1, Duration::from_millis(20));
        assert!(pace.is_enough(1), "one at a time never waits");
        pace.committed(100, Duration::from_secs(20));
        assert!(!pace.is_enough(74) && pace.is_enough(75));
        assert!(pace.patience().left() <= GATHER_MAX && !pace.patience().left().is_zero());
        pace.committed(10, Duration::from_millis(4));
        assert!(!pace.is_enough(10), "of the last two the larger one counts");
        assert!(pace.patience().left() <= Duration::from_millis(1));
        pace.committed(10, Duration::ZERO);
        assert!(pace.is_enough(8) && pace.patience().left().is_zero());
    }
}
