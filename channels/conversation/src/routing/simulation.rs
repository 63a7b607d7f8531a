//! Days of a contact centre in seconds: what the router's rules come to, by a seed.
//!
//! Arrivals are a Poisson process whose rate rises from 0.6 to 1.25 times what the agents can do and falls again, each day;
//! handling times are lognormal, patience is exponential. A part of the customers has priority, a part writes instead of calling,
//! and agents let some offers pass. [`Report`] says how long people waited, how true the estimate was that they were told on
//! joining, and whether anybody was overtaken later than the rules allow.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::{
    AgentProfile, Capacity, EndReason, GroupStep, Input, Kind, Needs, Output, Phase, Presence, QueueConfig, Router,
    round_up,
};
use crate::id::ConversationId;
use crate::limits::ANSWER_AIM;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The same seed, the same days.
    pub seed: u64,
    /// How many days of ten hours.
    pub days: u32,
    /// How many agents work.
    pub agents: u32,
    /// Mean handling time of a call, in seconds.
    pub handling_s: f64,
    /// Mean patience, in seconds.
    pub patience_s: f64,
    /// Shares of the priorities; the rest has priority 0.
    pub priorities: Vec<(i32, f64)>,
    /// The share that writes instead of calling.
    pub chats: f64,
    /// The share of offers that agents let pass.
    pub missed: f64,
}

impl Default for Simulation {
    fn default() -> Self {
        Self {
            seed: 95_188,
            days: 10,
            agents: 10,
            handling_s: 240.0,
            patience_s: 420.0,
            priorities: vec![(2, 0.10), (5, 0.05)],
            chats: 0.25,
            missed: 0.03,
        }
    }
}

/// What became of the customers of one priority.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waits {
    /// How many came.
    pub came: usize,
    /// How many were answered.
    pub answered: usize,
    /// How many gave up.
    pub abandoned: usize,
    /// Waits of those who were answered, in seconds, ascending.
    pub seconds: Vec<f64>,
}

impl Waits {
    /// The wait that so many percent of those who were answered did not exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> f64 {
        let at = (self.seconds.len().saturating_sub(1) * percent).div_ceil(100);
        self.seconds.get(at).copied().unwrap_or(0.0)
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// By priority.
    pub waits: BTreeMap<i32, Waits>,
    /// Share of all who came that a person answered within [`ANSWER_AIM`].
    pub in_time: f64,
    /// Mean of the distance between the estimate on joining and the wait, in seconds, of those who were queued and answered.
    pub estimate_error_s: f64,
    /// Mean of the estimate less the wait, in seconds.
    pub estimate_bias_s: f64,
    /// Share of them who were answered within what was announced, rounded up.
    pub kept_word: f64,
    /// How many later comers were served before somebody at most.
    pub overtaken_by_max: usize,
    /// How much later one of these came at most, in seconds.
    pub overtaken_later_max_s: f64,
    /// The bound of that by the rules, in seconds.
    pub overtaken_later_bound_s: f64,
    /// Who was neither answered nor gave up: nobody.
    pub lost: usize,
    /// Inputs that the router took.
    pub inputs: usize,
}

const QUEUE: &str = "general";

/// What happens later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Comes,
    GivesUp(u64),
    Answers(u64),
    Ends(u64),
    WorksAgain(u32),
}

/// One customer.
struct Customer {
    priority: i32,
    came: Timestamp,
    estimate: Option<SignedDuration>,
    queued: bool,
    answered: Option<Timestamp>,
    gave_up: bool,
}

struct World<'s> {
    plan: &'s Simulation,
    random: Random,
    router: Router,
    now: Timestamp,
    later: BinaryHeap<Reverse<(Timestamp, u64, Later)>>,
    customers: Vec<Customer>,
    numbered: u64,
    inputs: usize,
    opened: Timestamp,
}

impl Simulation {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Report {
        let opened = Timestamp::UNIX_EPOCH;
        let mut world = World {
            plan: self,
            random: Random(self.seed),
            router: Router::new(),
            now: opened,
            later: BinaryHeap::new(),
            customers: Vec::new(),
            numbered: 0,
            inputs: 0,
            opened,
        };
        world.open();
        world.live();
        world.report()
    }
}

fn id(customer: u64) -> ConversationId {
    ConversationId::new(customer, u128::from(customer))
}

fn number(item: ConversationId) -> u64 {
    u64::try_from(u128::from_be_bytes(item.to_bytes()) & u128::from(u64::MAX)).unwrap_or(0)
}

fn seconds(of: f64) -> SignedDuration {
    SignedDuration::try_from_secs_f64(of.clamp(0.0, 1e6)).unwrap_or(SignedDuration::ZERO)
}

const DAY_S: f64 = 36_000.0;

impl World<'_> {
    fn open(&mut self) {
        let mut config = QueueConfig::new(QUEUE, QUEUE);
        config.handling_assumed = seconds(self.plan.handling_s);
        config.groups.push(GroupStep { group: "others".to_owned(), after: SignedDuration::from_secs(120) });
        self.tell(Input::Queue(config));
        for n in 0..self.plan.agents {
            let capacity = Capacity { calls: 1, chats: 3, chats_beside_call: 0 };
            let profile = AgentProfile { groups: vec![QUEUE.to_owned()], capacity, ..AgentProfile::default() };
            self.tell(Input::Agent { name: format!("agent{n}"), profile });
            self.tell(Input::Presence { agent: format!("agent{n}"), presence: Presence::Ready });
        }
        self.at(SignedDuration::ZERO, Later::Comes);
    }

    fn at(&mut self, after: SignedDuration, what: Later) {
        self.numbered += 1;
        self.later.push(Reverse((self.now.saturating_add(after).unwrap_or(self.now), self.numbered, what)));
    }

    fn tell(&mut self, input: Input) {
        self.inputs += 1;
        // What the router refuses here is what came too late: an answer to an offer that has ended.
        let _ = self.router.handle(self.now, input);
        while let Some(output) = self.router.poll() {
            match output {
                Output::Offer { item, .. } if self.random.share() >= self.plan.missed => {
                    let ring = seconds(2.0 + 4.0 * self.random.share());
                    self.at(ring, Later::Answers(number(item)));
                }
                Output::SetAway { agent } => {
                    let slot = agent.trim_start_matches("agent").parse().unwrap_or(0);
                    self.at(SignedDuration::from_secs(120), Later::WorksAgain(slot));
                }
                _ => {}
            }
        }
    }

    fn live(&mut self) {
        let end = self.opened.saturating_add(seconds(DAY_S * f64::from(self.plan.days))).unwrap_or(self.opened);
        loop {
            let next = self.later.peek().map(|Reverse((at, ..))| *at);
            let due = self.router.deadline().filter(|due| next.is_none_or(|next| *due <= next));
            if let Some(due) = due {
                self.now = self.now.max(due);
                self.tell(Input::Tick);
                continue;
            }
            let Some(Reverse((at, _, what))) = self.later.pop() else { return };
            self.now = at;
            match what {
                Later::Comes if at >= end => {}
                Later::Comes => self.comes(),
                Later::GivesUp(n) => self.gives_up(n),
                Later::Answers(n) => self.answers(n),
                Later::Ends(n) => self.tell(Input::Finished { item: id(n) }),
                Later::WorksAgain(n) => {
                    self.tell(Input::Presence { agent: format!("agent{n}"), presence: Presence::Ready });
                }
            }
        }
    }

    /// How many come in a second, now.
    fn rate(&self) -> f64 {
        let of_day = (self.now.duration_since(self.opened).as_secs_f64() % DAY_S) / DAY_S;
        let load = 0.6 + 0.65 * (std::f64::consts::PI * of_day).sin().powi(2);
        load * f64::from(self.plan.agents) / self.plan.handling_s
    }

    fn comes(&mut self) {
        let gap = self.random.exponential(1.0 / self.rate());
        self.at(seconds(gap), Later::Comes);
        let n = self.customers.len() as u64 + 1;
        let mut draw = self.random.share();
        let mut priority = 0;
        for (step, share) in &self.plan.priorities {
            if draw < *share {
                priority = *step;
                break;
            }
            draw -= share;
        }
        let kind = if self.random.share() < self.plan.chats { Kind::Chat } else { Kind::Call };
        let came = self.now;
        self.customers.push(Customer { priority, came, estimate: None, queued: false, answered: None, gave_up: false });
        self.tell(Input::Join {
            item: id(n),
            queue: QUEUE.to_owned(),
            kind,
            priority,
            since: None,
            needs: Needs::default(),
            last_agent: None,
            epoch: 1,
        });
        let place = self.router.place(id(n));
        let queued = matches!(self.router.phase(id(n)), Some((Phase::Waiting, _)));
        if let Some(customer) = self.customers.last_mut() {
            customer.estimate = place.and_then(|place| place.estimate);
            customer.queued = queued;
        }
        let patience = self.random.exponential(self.plan.patience_s);
        self.at(seconds(patience), Later::GivesUp(n));
    }

    fn customer(&mut self, n: u64) -> Option<&mut Customer> {
        let at = usize::try_from(n).ok()?.checked_sub(1)?;
        self.customers.get_mut(at)
    }

    fn gives_up(&mut self, n: u64) {
        if let Some(customer) = self.customer(n).filter(|customer| customer.answered.is_none()) {
            customer.gave_up = true;
            self.tell(Input::Leave { item: id(n), why: EndReason::Abandoned });
        }
    }

    fn answers(&mut self, n: u64) {
        let Some(offer) = self.router.offer_of(id(n)) else { return };
        self.tell(Input::Accepted { offer });
        let now = self.now;
        if let Some(customer) = self.customer(n) {
            customer.answered = Some(now);
        }
        let handling = self.random.lognormal(self.plan.handling_s, 0.8);
        self.at(seconds(handling), Later::Ends(n));
    }

    fn report(mut self) -> Report {
        let mut report = Report { inputs: self.inputs, ..Report::default() };
        let (mut in_time, mut errors, mut bias, mut kept, mut told) = (0_usize, 0.0, 0.0, 0_usize, 0_usize);
        for customer in &self.customers {
            let waits = report.waits.entry(customer.priority).or_default();
            waits.came += 1;
            match customer.answered {
                Some(answered) => {
                    let wait = answered.duration_since(customer.came);
                    waits.answered += 1;
                    waits.seconds.push(wait.as_secs_f64());
                    in_time += usize::from(wait <= ANSWER_AIM);
                    if let Some(estimate) = customer.estimate.filter(|_| customer.queued) {
                        told += 1;
                        errors += (estimate.as_secs_f64() - wait.as_secs_f64()).abs();
                        bias += estimate.as_secs_f64() - wait.as_secs_f64();
                        kept += usize::from(wait <= round_up(estimate));
                    }
                }
                None if customer.gave_up => waits.abandoned += 1,
                None => report.lost += 1,
            }
        }
        for waits in report.waits.values_mut() {
            waits.seconds.sort_by(f64::total_cmp);
        }
        let (all, told) = (self.customers.len().max(1) as f64, told.max(1) as f64);
        report.in_time = in_time as f64 / all;
        (report.estimate_error_s, report.estimate_bias_s, report.kept_word) =
            (errors / told, bias / told, kept as f64 / told);
        self.overtaking(&mut report);
        report
    }

    /// Who was served before somebody who had come earlier, and how much later they had come.
    fn overtaking(&mut self, report: &mut Report) {
        let lowest = self.customers.iter().map(|c| c.priority).min().unwrap_or(0);
        let highest = self.customers.iter().map(|c| c.priority).max().unwrap_or(0);
        report.overtaken_later_bound_s = f64::from(highest - lowest) * QueueConfig::new("", "").aging.as_secs_f64();
        for (at, customer) in self.customers.iter().enumerate() {
            let Some(answered) = customer.answered.filter(|_| customer.queued) else { continue };
            // Those of other kinds take room that a call could not have; offers that pass cost a ring. Both are left out.
            let later = self.customers[at + 1..].iter().take_while(|other| other.came < answered);
            let before = later.filter(|other| {
                other.queued && other.priority > customer.priority && other.answered.is_some_and(|a| a < answered)
            });
            let mut count = 0;
            for other in before {
                count += 1;
                let gap = other.came.duration_since(customer.came).as_secs_f64();
                report.overtaken_later_max_s = report.overtaken_later_max_s.max(gap);
            }
            report.overtaken_by_max = report.overtaken_by_max.max(count);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "priority    came answered gave up   wait p50    p90    p99    max")?;
        for (priority, waits) in &self.waits {
            writeln!(
                f,
                "{priority:>8} {:>7} {:>8} {:>7} {:>8.0} s {:>4.0} s {:>4.0} s {:>4.0} s",
                waits.came,
                waits.answered,
                waits.abandoned,
                waits.percentile(50),
                waits.percentile(90),
                waits.percentile(99),
                waits.percentile(100)
            )?;
        }
        writeln!(f, "answered within {} s: {:.1} %", ANSWER_AIM.as_secs(), self.in_time * 100.0)?;
        writeln!(
            f,
            "the estimate on joining is off by {:.0} s (bias {:+.0} s); {:.0} % were answered within what was announced, rounded up",
            self.estimate_error_s,
            self.estimate_bias_s,
            self.kept_word * 100.0
        )?;
        writeln!(
            f,
            "somebody was overtaken by {} later comers of higher priority at most, who came {:.0} s later at most (bound {:.0} s)",
            self.overtaken_by_max, self.overtaken_later_max_s, self.overtaken_later_bound_s
        )?;
        write!(f, "lost: {}; {} inputs", self.lost, self.inputs)
    }
}

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to less than 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }

    /// Of that mean, with that spread of the logarithm.
    fn lognormal(&mut self, mean: f64, sigma: f64) -> f64 {
        let (radius, angle) = ((-2.0 * (1.0 - self.share()).ln()).sqrt(), std::f64::consts::TAU * self.share());
        (mean.ln() - sigma * sigma / 2.0 + sigma * radius * angle.cos()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_days_lose_nobody_and_starve_nobody() {
        let report = Simulation { days: 2, ..Simulation::default() }.run();
        assert_eq!(report.lost, 0, "{report}");
        assert!(report.waits.values().all(|waits| waits.answered > 0), "{report}");
        // An offer may pass, and an agent must have room for the kind: what is left is a ring and a little.
        assert!(report.overtaken_later_max_s <= report.overtaken_later_bound_s + 60.0, "{report}");
        assert!(report.waits[&5].percentile(90) < report.waits[&0].percentile(90), "{report}");
        assert_eq!(report, Simulation { days: 2, ..Simulation::default() }.run(), "the same seed, the same days");
    }
}
