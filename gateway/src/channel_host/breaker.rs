//! A circuit breaker: a provider that fails again and again is left alone for a while, then asked by one call.
//!
//! Calls that it holds back were not sent, and their channels know that: nothing becomes a message of unknown outcome for being
//! written into a void, and a provider that comes back is not met by everything at once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ark_conversation::channel::{HttpFailure, HttpReply};

use super::limits::{BREAKER_FAILURES, BREAKER_FIRST, BREAKER_MAX};
use crate::retry::wait;

/// How an account's calls are let through.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Calls that failed one after the other.
    failures: u32,
    /// How often it opened since a call went well.
    opened: u32,
    /// How often it opened since the start.
    total: u64,
    /// Calls that were held back since the start.
    held: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Everything goes through.
    #[default]
    Closed,
    /// Nothing does, until then.
    Open { until: Instant },
    /// One call is under way, since then; what comes of it decides.
    Probing { since: Instant },
}

/// What it looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// How long nothing is asked any more; none: it is closed.
    pub(super) closed_in: Option<Duration>,
    /// Calls that failed one after the other.
    pub(super) failures: u32,
    /// How often it opened since the start.
    pub(super) total: u64,
    /// Calls that were held back since the start.
    pub(super) held: u64,
}

impl Breaker {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call may be made now; else how long none may.
    pub(super) fn pass(&self, now: Instant) -> Result<(), Duration> {
        let mut inner = self.inner();
        let left = match inner.state {
            State::Closed => return Ok(()),
            State::Open { until } => until.saturating_duration_since(now),
            // A probe that nobody tells of any more does not keep it closed for ever.
            State::Probing { since } => (since + BREAKER_MAX * 2).saturating_duration_since(now),
        };
        if left.is_zero() {
            inner.state = State::Probing { since: now };
            return Ok(());
        }
        inner.held += 1;
        Err(match inner.state {
            State::Open { .. } => left,
            State::Probing { .. } | State::Closed => BREAKER_FIRST,
        })
    }

    /// What came of a call that was let through. `true`: it has opened by that.
    pub(super) fn told(&self, now: Instant, well: bool) -> bool {
        let mut inner = self.inner();
        if well {
            (inner.failures, inner.opened, inner.state) = (0, 0, State::Closed);
            return false;
        }
        inner.failures = inner.failures.saturating_add(1);
        let opens = match inner.state {
            State::Closed => inner.failures >= BREAKER_FAILURES,
            State::Probing { .. } => true,
            // One that was under way when it opened.
            State::Open { .. } => false,
        };
        if opens {
            inner.opened = inner.opened.saturating_add(1);
            inner.total += 1;
            let pause = wait(BREAKER_FIRST, BREAKER_MAX, inner.opened, 0.5 + rand::random::<f64>() / 2.0);
            inner.state = State::Open { until: now + pause };
        }
        opens
    }

    pub(super) fn look(&self, now: Instant) -> Look {
        let inner = self.inner();
        let closed_in = match inner.state {
            State::Closed => None,
            State::Open { until } => Some(until.saturating_duration_since(now)),
            State::Probing { .. } => Some(Duration::ZERO),
        };
        Look { closed_in, failures: inner.failures, total: inner.total, held: inner.held }
    }
}

/// Whether the provider was there: a refusal, and one that asks for a slower pace, is an answer too.
pub(super) fn is_well(answer: &Result<HttpReply, HttpFailure>) -> bool {
    answer.as_ref().is_ok_and(|reply| reply.status < 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(breaker: &Breaker, now: Instant, times: u32) -> bool {
        let mut opened = false;
        for _ in 0..times {
            opened = breaker.told(now, false);
        }
        opened
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_one_call_decides_when_its_time_has_come() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        assert!(!fails(&breaker, now, BREAKER_FAILURES - 1));
        breaker.told(now, true);
        assert!(!fails(&breaker, now, BREAKER_FAILURES - 1), "a success between them forgets the others");
        assert_eq!(breaker.pass(now), Ok(()));
        assert!(breaker.told(now, false), "that was one too many");
        let Err(left) = breaker.pass(now) else { panic!("it is open") };
        assert!(left <= BREAKER_FIRST * 2, "{left:?}");
        assert!(!breaker.told(now, false), "one that was under way changes nothing");

        let later = now + left;
        assert_eq!(breaker.pass(later), Ok(()), "the probe");
        assert!(breaker.pass(later).is_err(), "and nobody beside it");
        assert!(breaker.told(later, false), "it failed");
        let look = breaker.look(later);
        assert!(look.closed_in.is_some() && look.total == 2 && look.held == 2, "{look:?}");

        let again = later + BREAKER_MAX * 2;
        assert_eq!(breaker.pass(again), Ok(()));
        assert!(!breaker.told(again, true));
        assert_eq!((breaker.pass(again), breaker.pass(again)), (Ok(()), Ok(())), "all is well");
        assert_eq!(breaker.look(again).closed_in, None);
    }

    #[test]
    fn a_probe_that_nobody_tells_of_is_followed_by_another() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        fails(&breaker, now, BREAKER_FAILURES);
        let probe = now + BREAKER_MAX * 2;
        assert_eq!(breaker.pass(probe), Ok(()));
        assert!(breaker.pass(probe + BREAKER_MAX).is_err());
        assert_eq!(breaker.pass(probe + BREAKER_MAX * 2), Ok(()));
    }

    #[test]
    fn an_answer_is_an_answer_and_silence_is_a_failure() {
        for (status, well) in [(200, true), (401, true), (429, true), (500, false), (503, false)] {
            assert_eq!(is_well(&Ok(HttpReply::text(status, ""))), well, "{status}");
        }
        assert!(!is_well(&Err(HttpFailure::NoAnswer("timeout".to_owned()))));
    }
}
