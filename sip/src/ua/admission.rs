//! Whether a new call may come in, decided before anything is allocated for it.

use super::{Endpoint, Flow};
use std::time::{Duration, Instant};

pub(crate) struct Admission {
    pub(crate) draining: bool,
    pub(crate) overloaded_until: Option<Instant>,
    /// Calls a second, and the bucket that holds a fifth of them.
    rate: Option<(u32, f64, Option<Instant>)>,
}

impl Admission {
    pub(crate) fn new(calls_per_second_max: Option<u32>) -> Self {
        let rate = calls_per_second_max.map(|rate| (rate, Self::burst(rate), None));
        Self { draining: false, overloaded_until: None, rate }
    }

    fn burst(rate: u32) -> f64 {
        (f64::from(rate) / 5.0).max(1.0)
    }

    /// Takes one call's token.
    fn within_rate(&mut self, now: Instant) -> bool {
        let Some((rate, tokens, last)) = &mut self.rate else { return true };
        let passed = last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        *last = Some(now);
        *tokens = (*tokens + passed.as_secs_f64() * f64::from(*rate)).min(Self::burst(*rate));
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }
}

impl Endpoint {
    /// Whether every new INVITE is refused at the moment, and with which Retry-After.
    pub(crate) fn closed(&mut self, now: Instant) -> Option<Duration> {
        if self.admission.draining {
            self.stats.refused_draining += 1;
            return Some(self.config.retry_after);
        }
        let left = self.admission.overloaded_until?.checked_duration_since(now).filter(|left| !left.is_zero())?;
        self.stats.refused_overloaded += 1;
        Some(left)
    }

    /// Whether a new INVITE from here would be refused, and with which Retry-After. Takes a token of the call rate when
    /// not.
    pub(crate) fn refuses(&mut self, now: Instant, flow: Flow) -> Option<Duration> {
        if let Some(left) = self.closed(now) {
            return Some(left);
        }
        let retry_after = Some(self.config.retry_after);
        if self.calls.len() >= self.config.limits.calls {
            self.stats.refused_calls_full += 1;
            return retry_after;
        }
        if !self.has_room(flow) {
            return retry_after;
        }
        if !self.admission.within_rate(now) {
            self.stats.refused_rate += 1;
            return retry_after;
        }
        None
    }

    /// Whether one more server transaction from this source fits.
    pub(crate) fn has_room(&mut self, flow: Flow) -> bool {
        if self.txs.len() >= self.config.limits.transactions {
            self.stats.refused_transactions_full += 1;
            return false;
        }
        let of_source = self.sources.get(&flow.remote.ip()).copied().unwrap_or(0);
        if of_source >= self.config.limits.transactions_per_source {
            self.stats.refused_source_full += 1;
            return false;
        }
        true
    }
}
