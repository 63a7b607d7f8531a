//! What is counted: by queue for the wallboard, by entrance for the share of customers whom a person answered within 30 s.

use std::collections::{BTreeMap, VecDeque};

use ark_conversation::limits::ANSWER_AIM;
use jiff::{SignedDuration, Timestamp};

use super::limits::{ENTRANCES_MAX, MINUTES};
use crate::telemetry::CustomerAnswered;

/// The entrance of whatever comes by more entrances than are counted.
const OTHER: &str = "other";

/// One minute of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Minute {
    /// Minutes since 1970.
    pub(super) minute: i64,
    pub(super) joined: u32,
    pub(super) answered: u32,
    pub(super) abandoned: u32,
}

/// A queue since the gateway's start.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueCount {
    pub(super) joined: u64,
    pub(super) answered: u64,
    pub(super) answered_30s: u64,
    pub(super) abandoned: u64,
    line: VecDeque<Minute>,
}

impl QueueCount {
    fn minute(&mut self, now: Timestamp) -> &mut Minute {
        let minute = now.as_second().div_euclid(60);
        if self.line.back().is_none_or(|last| last.minute < minute) {
            if self.line.len() >= MINUTES {
                self.line.pop_front();
            }
            self.line.push_back(Minute { minute, ..Minute::default() });
        }
        self.line.back_mut().expect("one was pushed")
    }

    /// The last minutes up to now, the oldest first; those in which nothing happened are zeros.
    pub(super) fn last(&self, now: Timestamp) -> Vec<Minute> {
        let this = now.as_second().div_euclid(60);
        let of = |minute| self.line.iter().find(|one| one.minute == minute).copied();
        let first = this - i64::try_from(MINUTES).unwrap_or(60) + 1;
        (first..=this).map(|minute| of(minute).unwrap_or(Minute { minute, ..Minute::default() })).collect()
    }
}

/// An entrance since the gateway's start: a hotline's number, or a channel's account.
#[derive(Clone, Debug, Default)]
pub(super) struct Entrance {
    pub(super) answered: u64,
    pub(super) answered_30s: u64,
    pub(super) abandoned: u64,
}

/// All counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) queues: BTreeMap<String, QueueCount>,
    pub(super) entrances: BTreeMap<String, Entrance>,
}

impl Counts {
    fn queue(&mut self, name: &str) -> &mut QueueCount {
        if !self.queues.contains_key(name) {
            self.queues.insert(name.to_owned(), QueueCount::default());
        }
        self.queues.get_mut(name).expect("it was put there")
    }

    /// The name under which an entrance is counted.
    fn counted<'a>(&self, name: &'a str) -> &'a str {
        let known = self.entrances.contains_key(name) || self.entrances.len() < ENTRANCES_MAX;
        if known { name } else { OTHER }
    }

    fn entrance(&mut self, name: &str) -> &mut Entrance {
        let name = self.counted(name);
        self.entrances.entry(name.to_owned()).or_default()
    }

    /// Somebody waits from now on.
    pub(super) fn joined(&mut self, now: Timestamp, queue: &str) {
        let queue = self.queue(queue);
        queue.joined += 1;
        queue.minute(now).joined += 1;
    }

    /// A person answered.
    pub(super) fn answered(&mut self, now: Timestamp, queue: &str, entrance: &str, waited: SignedDuration) {
        let in_time = waited <= ANSWER_AIM;
        let count = self.queue(queue);
        count.answered += 1;
        count.answered_30s += u64::from(in_time);
        count.minute(now).answered += 1;
        let waited = waited.unsigned_abs();
        CustomerAnswered { entrance: self.counted(entrance), queue, waited }.emit();
        let count = self.entrance(entrance);
        count.answered += 1;
        count.answered_30s += u64::from(in_time);
    }

    /// Somebody gave up.
    pub(super) fn abandoned(&mut self, now: Timestamp, queue: &str, entrance: &str) {
        let count = self.queue(queue);
        count.abandoned += 1;
        count.minute(now).abandoned += 1;
        self.entrance(entrance).abandoned += 1;
    }

    /// Of those whom a person answered or who gave up: how many of a hundred were answered within 30 s. None: nobody came.
    pub(super) fn in_time_percent(&self) -> Option<f64> {
        let sum = |of: fn(&Entrance) -> u64| self.entrances.values().map(of).sum::<u64>();
        percent(sum(|one| one.answered_30s), sum(|one| one.answered + one.abandoned))
    }
}

/// A share in per cent, with one decimal.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(super) fn percent(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| (part as f64 * 1_000.0 / of as f64).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_share_within_thirty_seconds_counts_who_gave_up() {
        let mut counts = Counts::default();
        assert_eq!(counts.in_time_percent(), None);
        for (wait, gave_up) in [(3, false), (31, false), (30, false), (0, true)] {
            counts.joined(at(0), "orders");
            if gave_up {
                counts.abandoned(at(60), "orders", "95188");
            } else {
                counts.answered(at(wait), "orders", "95188", SignedDuration::from_secs(wait));
            }
        }
        assert_eq!(counts.in_time_percent(), Some(50.0));
        let entrance = &counts.entrances["95188"];
        assert_eq!((entrance.answered, entrance.answered_30s, entrance.abandoned), (3, 2, 1));
        let line = counts.queues["orders"].last(at(61));
        assert_eq!(line.len(), MINUTES);
        let of = |at: usize| (line[at].joined, line[at].answered, line[at].abandoned);
        assert_eq!((of(MINUTES - 2), of(MINUTES - 1)), ((4, 3, 0), (0, 0, 1)));
    }

    #[test]
    fn entrances_that_nobody_configured_do_not_grow_without_end() {
        let mut counts = Counts::default();
        for n in 0..ENTRANCES_MAX + 50 {
            counts.abandoned(at(0), "orders", &format!("number-{n}"));
        }
        assert_eq!(counts.entrances.len(), ENTRANCES_MAX + 1);
        assert_eq!(counts.entrances[OTHER].abandoned, 50);
    }
}
