//! What is read when, within a budget in cores. A machine: work and the time go in, work for the engine's threads comes out.
//!
//! When more is said than can be read in time, partials are shed first ([`Level::Finals`]), then neighbouring utterances are read
//! as one and streams wait longer before they end one ([`Level::Merged`]), then finals are left for after the call
//! ([`Level::Later`]). It goes up at once and down after [`CALM`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::{FINALS_MAX, PARTIALS_MAX, RATE_HZ, WAITING_SAMPLES_MAX};
use crate::stream::{Ticket, Work};
use crate::types::samples_to_time;

/// How long a level stays after it was last needed.
pub const CALM: Duration = Duration::from_secs(3);
/// Silence between two utterances that are read as one.
const SEAM: usize = RATE_HZ as usize / 5;
/// What is known of an engine's pace before it has read anything: computing for each second of voice.
const PACE_FIRST: f64 = 0.3;
/// Weight of the newest measurement.
const PACE_WEIGHT: f64 = 0.2;

/// How much may be spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Cores: 0.5 is half of one.
    pub cores: f64,
    /// A final may wait so long before partials are shed, four times as long before utterances are merged, and eighty times as long
    /// before they are left for later: late is better than not at all.
    pub patience: Duration,
    /// The longest utterance that merging may make.
    pub longest: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { cores: 1.0, patience: Duration::from_millis(250), longest: Duration::from_secs(15) }
    }
}

impl Budget {
    /// Threads that it keeps busy.
    #[must_use]
    pub fn threads(self) -> usize {
        (self.cores.clamp(0.05, 256.0)).ceil() as usize
    }
}

/// How far it is from reading everything at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Partials and finals.
    All,
    /// Finals alone.
    Finals,
    /// Finals of several utterances at a time.
    Merged,
    /// New finals are left for after the call.
    Later,
}

impl Level {
    /// A word for metrics and people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Finals => "finals",
            Self::Merged => "merged",
            Self::Later => "later",
        }
    }
}

/// Something for a thread to read.
#[derive(Clone, Debug)]
pub struct Job {
    /// Of which stream.
    pub stream: u64,
    /// What.
    pub work: Work,
    /// When it was wanted.
    pub since: Instant,
    /// It was merged: its answer is degraded.
    pub degraded: bool,
}

/// What is not read as it was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spared {
    /// A partial is not read.
    Partial {
        /// Of which stream.
        stream: u64,
        /// Which.
        ticket: Ticket,
    },
    /// The second utterance is read with the first.
    Merged {
        /// Of which stream.
        stream: u64,
        /// The utterance that stays.
        first: u32,
        /// The one that is in it now.
        second: u32,
    },
    /// The utterance is left for after the call.
    Later {
        /// Of which stream.
        stream: u64,
        /// Which.
        utterance: u32,
        /// When its voice began and ended, on the call's clock.
        span: (Duration, Duration),
    },
}

/// Counters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Finals read.
    pub finals: u64,
    /// Partials read.
    pub partials: u64,
    /// Partials that were shed.
    pub partials_shed: u64,
    /// Utterances merged into their neighbours.
    pub merged: u64,
    /// Finals left for later.
    pub later: u64,
    /// Voice read, and computing spent on it.
    pub voice: Duration,
    /// See there.
    pub computing: Duration,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Scheduler {
    budget: Budget,
    finals: VecDeque<Job>,
    partials: VecDeque<Job>,
    /// Samples of the finals that wait.
    waiting: usize,
    running: usize,
    /// Computing for each second of voice, lately.
    pace: f64,
    /// Computing that may be spent, and since when it was counted.
    credit: f64,
    counted: Instant,
    level: Level,
    needed: Instant,
    spared: VecDeque<Spared>,
    counters: Counters,
}

impl Scheduler {
    /// Nothing to do yet.
    #[must_use]
    pub fn new(now: Instant, budget: Budget) -> Self {
        Self {
            budget,
            finals: VecDeque::new(),
            partials: VecDeque::new(),
            waiting: 0,
            running: 0,
            pace: PACE_FIRST,
            credit: budget.cores,
            counted: now,
            level: Level::All,
            needed: now,
            spared: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// A stream wants something read.
    pub fn offer(&mut self, now: Instant, stream: u64, work: Work) {
        self.judge(now);
        if work.ticket.partial {
            return self.offer_partial(now, stream, work);
        }
        // A partial of an utterance that has ended is no use to anybody.
        self.drop_partials(|job| job.stream == stream);
        if self.level >= Level::Merged && self.merge(stream, &work) {
            return;
        }
        let samples = work.utterance.samples.len();
        if self.level == Level::Later || self.finals.len() >= FINALS_MAX || self.waiting + samples > WAITING_SAMPLES_MAX
        {
            self.counters.later += 1;
            self.spared.push_back(Spared::Later { stream, utterance: work.ticket.utterance, span: work.span });
            return;
        }
        self.waiting += samples;
        self.finals.push_back(Job { stream, work, since: now, degraded: false });
    }

    fn offer_partial(&mut self, now: Instant, stream: u64, work: Work) {
        self.drop_partials(|job| job.stream == stream);
        if self.level > Level::All || self.partials.len() >= PARTIALS_MAX {
            self.counters.partials_shed += 1;
            return self.spared.push_back(Spared::Partial { stream, ticket: work.ticket });
        }
        self.partials.push_back(Job { stream, work, since: now, degraded: false });
    }

    fn drop_partials(&mut self, dropped: impl Fn(&Job) -> bool) {
        let (spared, counters) = (&mut self.spared, &mut self.counters);
        self.partials.retain(|job| {
            let gone = dropped(job);
            if gone {
                counters.partials_shed += 1;
                spared.push_back(Spared::Partial { stream: job.stream, ticket: job.work.ticket });
            }
            !gone
        });
    }

    /// Reads an utterance with the one before it, if that still waits.
    fn merge(&mut self, stream: u64, work: &Work) -> bool {
        let longest = self.budget.longest;
        let Some(job) = self.finals.iter_mut().rfind(|job| job.stream == stream) else { return false };
        let (first, second) = (&job.work.utterance.samples, &work.utterance.samples);
        if job.work.ticket.utterance > work.ticket.utterance
            || samples_to_time(first.len() + SEAM + second.len()) > longest
        {
            return false;
        }
        let joined: Arc<[i16]> =
            first.iter().copied().chain(std::iter::repeat_n(0, SEAM)).chain(second.iter().copied()).collect();
        self.waiting += joined.len() - first.len();
        job.work.utterance.samples = joined;
        job.work.span.1 = work.span.1;
        job.degraded = true;
        self.counters.merged += 1;
        let (first, second) = (job.work.ticket.utterance, work.ticket.utterance);
        self.spared.push_back(Spared::Merged { stream, first, second });
        true
    }

    /// What a thread that is free should read, if it may.
    pub fn next(&mut self, now: Instant) -> Option<Job> {
        self.refill(now);
        if self.running >= self.budget.threads() || self.credit <= 0.0 {
            return None;
        }
        let job = match self.finals.pop_front() {
            Some(job) => {
                self.waiting -= job.work.utterance.samples.len().min(self.waiting);
                job
            }
            None => self.partials.pop_front()?,
        };
        self.running += 1;
        Some(job)
    }

    /// When [`Scheduler::next`] may give something that it did not give just now, because the budget was spent.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let waits = !self.finals.is_empty() || !self.partials.is_empty();
        let short = -self.credit / self.budget.cores.max(0.05);
        (waits && self.credit <= 0.0).then(|| self.counted + Duration::from_secs_f64(short.clamp(0.001, 60.0)))
    }

    /// A thread has read something: how long the voice was, how long it took, and what it computed meanwhile. On a busy machine a
    /// thread that gives way waits longer than it computes; only what it computed is of the budget.
    pub fn done(&mut self, now: Instant, partial: bool, voice: Duration, (took, computed): (Duration, Duration)) {
        self.refill(now);
        self.running = self.running.saturating_sub(1);
        self.credit -= computed.as_secs_f64();
        let pace = took.as_secs_f64() / voice.as_secs_f64().max(0.5);
        self.pace += PACE_WEIGHT * (pace.min(100.0) - self.pace);
        self.counters.voice += voice;
        self.counters.computing += computed;
        if partial {
            self.counters.partials += 1;
        } else {
            self.counters.finals += 1;
        }
        self.judge(now);
    }

    /// A stream is over: its partials are not wanted any more; its finals are.
    pub fn close(&mut self, stream: u64) {
        self.drop_partials(|job| job.stream == stream);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.counted = self.counted.max(now);
        // What was not spent within a second is gone.
        self.credit = (self.credit + passed * self.budget.cores).min(self.budget.cores);
    }

    /// How long a final that comes now would wait.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let voice = samples_to_time(self.waiting).as_secs_f64();
        let owed = (-self.credit).max(0.0);
        Duration::from_secs_f64(((voice * self.pace + owed) / self.budget.cores.max(0.05)).min(86_400.0))
    }

    fn judge(&mut self, now: Instant) {
        let (wait, patience) = (self.wait(), self.budget.patience);
        let level = match wait {
            wait if wait >= patience * 80 => Level::Later,
            wait if wait >= patience * 4 => Level::Merged,
            wait if wait >= patience => Level::Finals,
            _ => Level::All,
        };
        if level >= self.level {
            (self.level, self.needed) = (level, now);
        } else if now.saturating_duration_since(self.needed) >= CALM {
            // One step at a time.
            self.needed = now;
            self.level = match self.level {
                Level::Later => Level::Merged,
                Level::Merged => Level::Finals,
                Level::Finals | Level::All => Level::All,
            };
        }
        if self.level > Level::All {
            self.drop_partials(|_| true);
        }
    }

    /// Time passes: the level comes down when it is calm.
    pub fn tick(&mut self, now: Instant) {
        self.refill(now);
        self.judge(now);
    }

    /// What was spared, until `None`.
    pub fn spared(&mut self) -> Option<Spared> {
        self.spared.pop_front()
    }

    /// How far it is from reading everything at once.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Finals and partials that wait.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.finals.len(), self.partials.len())
    }

    /// Computing for each second of voice, lately.
    #[must_use]
    pub fn pace(&self) -> f64 {
        self.pace
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Utterance;
    use ark_media::fuzz::start;

    const SECOND: Duration = Duration::from_secs(1);

    fn work(utterance: u32, seconds: u32, partial: bool) -> Work {
        let samples = vec![1_i16; (seconds * RATE_HZ) as usize].into();
        let from = SECOND * utterance * 10;
        Work {
            ticket: Ticket { utterance, number: utterance, partial },
            utterance: Utterance { samples, language: None, words: Arc::new([]), partial },
            span: (from, from + SECOND * seconds),
        }
    }

    fn spared(scheduler: &mut Scheduler) -> Vec<Spared> {
        std::iter::from_fn(|| scheduler.spared()).collect()
    }

    #[test]
    fn finals_go_before_partials_and_a_newer_partial_replaces_the_older() {
        let now = start();
        let mut scheduler = Scheduler::new(now, Budget { patience: SECOND * 60, ..Budget::default() });
        scheduler.offer(now, 1, work(1, 1, true));
        scheduler.offer(now, 1, work(1, 2, true));
        scheduler.offer(now, 2, work(1, 2, false));
        assert_eq!(spared(&mut scheduler).len(), 1);
        assert_eq!(scheduler.next(now).unwrap().stream, 2);
        assert!(scheduler.next(now).is_none(), "one core, one thread");
        scheduler.done(now + SECOND / 10, false, SECOND * 2, (SECOND / 10, SECOND / 10));
        let job = scheduler.next(now + SECOND / 10).unwrap();
        assert_eq!((job.stream, job.work.utterance.samples.len()), (1, 32_000));
    }

    #[test]
    fn under_load_partials_go_first_then_utterances_are_merged_then_finals_are_left() {
        let now = start();
        let mut scheduler = Scheduler::new(now, Budget::default());
        let mut levels = vec![scheduler.level()];
        let mut seen = Vec::new();
        for round in 0_u32..120 {
            scheduler.offer(now, u64::from(round % 10), work(round / 10 + 1, 2, false));
            scheduler.offer(now, 99, work(round + 1, 1, true));
            if levels.last() != Some(&scheduler.level()) {
                levels.push(scheduler.level());
            }
            seen.extend(spared(&mut scheduler));
        }
        assert_eq!(levels, [Level::All, Level::Finals, Level::Merged, Level::Later]);
        let first = |what: fn(&Spared) -> bool| seen.iter().position(what).unwrap();
        let partial = first(|spared| matches!(spared, Spared::Partial { .. }));
        let later = first(|spared| matches!(spared, Spared::Later { .. }));
        assert!(partial < later && seen.iter().any(|spared| matches!(spared, Spared::Merged { .. })), "{seen:?}");
        // Everything is read or said not to be.
        let (mut read, mut at) = (0, now);
        while let Some(job) = scheduler.next(at) {
            at += SECOND / 10;
            scheduler.done(at, false, job.work.utterance.duration(), (SECOND / 10, SECOND / 10));
            read += 1;
        }
        let counters = scheduler.counters();
        assert_eq!(read + counters.merged + counters.later, 120);
        // Calm brings it down, step by step.
        for step in 1..=4 {
            scheduler.tick(at + CALM * step);
        }
        assert_eq!(scheduler.level(), Level::All);
    }

    #[test]
    fn a_budget_below_a_core_is_kept() {
        let mut now = start();
        let began = now;
        let mut scheduler = Scheduler::new(now, Budget { cores: 0.25, patience: SECOND * 1_000, ..Budget::default() });
        let mut spent = Duration::ZERO;
        for utterance in 1..=200 {
            scheduler.offer(now, 1, work(utterance, 1, false));
        }
        while now < began + SECOND * 100 {
            match scheduler.next(now) {
                Some(job) => {
                    now += SECOND / 5;
                    spent += SECOND / 5;
                    scheduler.done(now, false, job.work.utterance.duration(), (SECOND / 5, SECOND / 5));
                }
                None => now = scheduler.deadline().map_or(now + SECOND, |at| at.max(now + SECOND / 1_000)),
            }
        }
        let share = spent.as_secs_f64() / now.duration_since(began).as_secs_f64();
        assert!((0.2..0.27).contains(&share), "{share}");
    }
}
