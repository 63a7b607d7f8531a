//! Whether a new call may come in, decided before anything is allocated for it.

use super::limits::LINGER_MIN;
use super::{Endpoint, Flow};
use std::collections::VecDeque;
use std::net::IpAddr;
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
        if !self.has_room(now, flow) {
            return retry_after;
        }
        if !self.admission.within_rate(now) {
            self.stats.refused_rate += 1;
            return retry_after;
        }
        None
    }

    /// Whether a call that comes by another road than SIP is taken at the moment, which shares the call rate: takes a token
    /// of it when it is.
    pub fn admit_other(&mut self, now: Instant) -> bool {
        if self.closed(now).is_some() {
            return false;
        }
        let within = self.admission.within_rate(now);
        self.stats.refused_rate += u64::from(!within);
        within
    }

    /// Whether one more server transaction from this source fits. When the tables are full, the source's own oldest
    /// transactions make room that only wait for retransmissions, and have done so for [`LINGER_MIN`].
    pub(crate) fn has_room(&mut self, now: Instant, flow: Flow) -> bool {
        let limits = self.config.limits;
        self.has_room_within(now, flow, limits.transactions, limits.transactions_per_source)
    }

    /// The same for a request of a call that is up: it may end the call, so it gets in where a new call does not.
    pub(crate) fn has_room_in_call(&mut self, now: Instant, flow: Flow) -> bool {
        let limits = self.config.limits;
        let reserve = limits.calls.saturating_mul(2);
        let (all, of_source) = (limits.transactions + reserve, limits.transactions_per_source + reserve);
        self.has_room_within(now, flow, all, of_source)
    }

    fn has_room_within(&mut self, now: Instant, flow: Flow, all: usize, of_source_max: usize) -> bool {
        let source = flow.remote.ip();
        loop {
            let of_source = self.sources.get(&source).map_or(0, |source| source.open);
            let full = self.txs.len() >= all;
            if !full && of_source < of_source_max {
                return true;
            }
            if self.let_go_of_oldest(now, source) {
                continue;
            }
            if full {
                self.stats.refused_transactions_full += 1;
            } else {
                self.stats.refused_source_full += 1;
            }
            return false;
        }
    }

    /// Forgets the source's oldest transaction that lingers long enough. `false`: there is none.
    fn let_go_of_oldest(&mut self, now: Instant, source: IpAddr) -> bool {
        let Some(of_source) = self.sources.get_mut(&source) else { return false };
        let Some((since, id)) = of_source.lingering.front().copied() else { return false };
        if now.saturating_duration_since(since) < LINGER_MIN {
            return false;
        }
        of_source.lingering.pop_front();
        if self.txs.contains_key(&id) {
            self.stats.let_go_early += 1;
            self.forget_transaction(id);
        }
        true
    }

    /// A server transaction has given its final answer: from now on it only absorbs retransmissions.
    pub(crate) fn lingers(&mut self, now: Instant, id: u64, source: IpAddr) {
        let Some(of_source) = self.sources.get_mut(&source) else { return };
        // They end in the order in which they began to linger: what is over stands in front.
        while of_source.lingering.front().is_some_and(|(_, id)| !self.txs.contains_key(id)) {
            of_source.lingering.pop_front();
        }
        of_source.lingering.push_back((now, id));
    }
}

/// What one source holds.
#[derive(Default)]
pub(crate) struct Source {
    /// Its server transactions.
    pub(crate) open: usize,
    /// Those that have answered, and since when, oldest first.
    lingering: VecDeque<(Instant, u64)>,
}

impl Source {
    pub(crate) fn memory_bytes(&self) -> usize {
        self.lingering.capacity() * size_of::<(Instant, u64)>()
    }
}
