//! The order of a queue, its classes, and what is said of a place.

use std::collections::{BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::config::{AgentProfile, Kind, Needs, QueueConfig};
use super::router::Stats;
use crate::id::ConversationId;
use crate::limits::{HANDLED_KEPT, PRIORITY_WORTH_MAX};

/// Where an item stands: the time at which somebody without priority would have come to stand there, then who waits longer, then
/// who was told first. The last decides between two of the same instant only, so that a router that takes over, which is told of
/// everybody in the order of their waiting times, comes to the same line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) as_if_since: Timestamp,
    pub(super) since: Timestamp,
    pub(super) number: u64,
}

impl Order {
    pub(super) fn new(queue: &QueueConfig, since: Timestamp, priority: i32, number: u64) -> Self {
        let as_if_since = since.saturating_sub(worth(queue, priority)).unwrap_or(Timestamp::MIN);
        Self { as_if_since, since, number }
    }
}

/// What a priority is worth in that queue.
pub(super) fn worth(queue: &QueueConfig, priority: i32) -> SignedDuration {
    let worth = queue.aging.saturating_mul(priority);
    worth.clamp(-PRIORITY_WORTH_MAX, PRIORITY_WORTH_MAX)
}

/// Somebody in a line.
pub(super) type Spot = (Order, ConversationId);

/// What all items of a class have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassKey {
    pub(super) queue: usize,
    pub(super) kind: Kind,
    pub(super) needs: Needs,
    /// How many of the queue's changes have come into force.
    pub(super) stage: usize,
}

/// Those who may be served by the same agents.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) key: ClassKey,
    /// Agents that may serve them, by their slots.
    pub(super) agents: Vec<u32>,
    pub(super) waiting: BTreeSet<Spot>,
}

/// What changes for an item as it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// This group of the queue's list is asked, too.
    Group(usize),
    /// Levels of skills no longer matter.
    Relax,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) config: QueueConfig,
    pub(super) open: bool,
    /// When what changes, the first first.
    pub(super) changes: Vec<(SignedDuration, Change)>,
    /// Everybody who is not with an agent, offered or not: who stands before whom.
    pub(super) line: BTreeSet<Spot>,
    handled: VecDeque<SignedDuration>,
    /// What was told on joining and how long it took, of the last who were answered, in seconds.
    told: VecDeque<(f64, f64)>,
    pub(super) stats: Stats,
}

impl Queue {
    pub(super) fn new(config: QueueConfig) -> Self {
        let mut changes: Vec<(SignedDuration, Change)> = Vec::new();
        changes.extend(config.groups.iter().enumerate().map(|(at, step)| (step.after, Change::Group(at))));
        changes.extend(config.relax_after.map(|after| (after, Change::Relax)));
        changes.sort();
        let (line, handled, told) = (BTreeSet::new(), VecDeque::new(), VecDeque::new());
        Self { config, open: true, changes, line, handled, told, stats: Stats::default() }
    }

    /// Takes over what a queue of the old configuration knew; gives those who wait in it.
    pub(super) fn go_on_from(&mut self, old: Self) -> BTreeSet<Spot> {
        (self.open, self.handled, self.told, self.stats) = (old.open, old.handled, old.told, old.stats);
        old.line
    }

    /// How many changes are in force for who has waited that long.
    pub(super) fn stage(&self, waited: SignedDuration) -> usize {
        self.changes.iter().take_while(|(after, _)| *after <= waited).count()
    }

    /// Whether levels are relaxed in that stage.
    pub(super) fn is_relaxed(&self, stage: usize) -> bool {
        self.changes.iter().take(stage).any(|(_, change)| *change == Change::Relax)
    }

    /// The groups that are asked in that stage.
    pub(super) fn groups(&self, stage: usize) -> impl Iterator<Item = &str> {
        self.changes.iter().take(stage).filter_map(|(_, change)| match change {
            Change::Group(at) => self.config.groups.get(*at).map(|step| step.group.as_str()),
            Change::Relax => None,
        })
    }

    /// Whether an agent could ever serve here who needs that, at work or not.
    pub(super) fn could_ever(&self, agent: &AgentProfile, needs: &Needs) -> bool {
        let asked = self.config.groups.iter().any(|step| agent.groups.contains(&step.group));
        asked && agent.meets(needs, self.config.relax_after.is_some())
    }

    pub(super) fn handled(&mut self, took: SignedDuration) {
        if self.handled.len() >= HANDLED_KEPT {
            self.handled.pop_front();
        }
        self.handled.push_back(took);
    }

    /// Somebody was answered who was told an estimate, already corrected, on joining.
    pub(super) fn answered(&mut self, told: SignedDuration, waited: SignedDuration) {
        if self.told.len() >= HANDLED_KEPT {
            self.told.pop_front();
        }
        self.told.push_back((told.as_secs_f64() / self.correction(), waited.as_secs_f64()));
    }

    /// By how much the rule of thumb was too low lately: who has priority comes later and is served earlier, who chats cannot take
    /// a call. Never less than 1: it had better keep its word.
    pub(super) fn correction(&self) -> f64 {
        let (told, waited) = self.told.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if self.told.len() < HANDLED_KEPT / 5 || told <= 0.0 { 1.0 } else { (waited / told).clamp(1.0, 3.0) }
    }

    /// The mean of the last ones, or what is assumed.
    pub(super) fn handling(&self) -> SignedDuration {
        let sum = self.handled.iter().fold(SignedDuration::ZERO, |sum, took| sum.saturating_add(*took));
        match i32::try_from(self.handled.len()) {
            Ok(count) if count > 0 => sum / count,
            _ => self.config.handling_assumed,
        }
    }
}

/// A place in a queue, as it may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 1 is next.
    pub position: usize,
    /// When they came.
    pub since: Timestamp,
    /// Position times mean handling time by the agents who may serve it: the estimate that rarely breaks its word. `None`: nobody
    /// is there who could. To be told through [`round_up`].
    pub estimate: Option<SignedDuration>,
}

/// An estimate as it is announced: to whole minutes up to five, then to five minutes, always up.
#[must_use]
pub fn round_up(estimate: SignedDuration) -> SignedDuration {
    let seconds = estimate.as_secs().max(0) + i64::from(estimate.subsec_nanos() > 0);
    let step = if seconds <= 300 { 60 } else { 300 };
    SignedDuration::from_secs((seconds.max(1) + step - 1) / step * step)
}
