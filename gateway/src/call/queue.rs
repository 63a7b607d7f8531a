//! Who waits, who is free, and who is next: the queues until the agents' desk comes.
//!
//! Pure: `now` is an argument, callers and operators are numbers. Callers wait by priority, then by arrival. An operator
//! is one phone (a SIP URI) that takes one call at a time, whichever queues name it; among the free ones the longest idle
//! is tried first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::limits::{HANDLED_KEPT, HANDLING_ASSUMED, OPERATOR_REST, OPERATOR_RING, WAITING_MAX};

/// A caller, as the switch numbers its calls.
pub type CallerId = u64;
/// An operator: an index that stays valid for the life of the [`Queues`].
pub type OperatorId = usize;

/// What `[[queue]]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The name that plans use.
    pub name: String,
    /// SIP URIs of the phones that answer it.
    pub operators: Vec<String>,
    /// How long one operator is rung before the next.
    pub ring: Duration,
}

/// Why a caller cannot wait in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotWait {
    /// No `[[queue]]` has this name.
    NoSuchQueue,
    /// The queue has no operators at all.
    NoOperators,
    /// [`WAITING_MAX`] callers wait already.
    Full,
}

#[derive(Debug)]
struct Operator {
    uri: String,
    /// The caller that it serves or that rings it.
    serves: Option<CallerId>,
    idle_since: Option<Instant>,
    rests_until: Option<Instant>,
    /// Whether it can be rung at all: a telephone always, a browser while it is signed on.
    present: bool,
}

impl Operator {
    fn is_free(&self, now: Instant) -> bool {
        self.present && self.serves.is_none() && self.rests_until.is_none_or(|until| until <= now)
    }
}

#[derive(Debug)]
struct Waiting {
    caller: CallerId,
    priority: i32,
    since: Instant,
    /// An operator's phone is ringing for this caller.
    offered: Option<OperatorId>,
    /// Who is rung for this caller when they are free.
    prefers: Option<OperatorId>,
}

#[derive(Debug)]
struct Queue {
    name: String,
    operators: Vec<OperatorId>,
    ring: Duration,
    /// In the order of service.
    waiting: Vec<Waiting>,
    handled: VecDeque<Duration>,
}

/// Every queue of the gateway and every operator's phone.
#[derive(Debug, Default)]
pub struct Queues {
    queues: Vec<Queue>,
    operators: Vec<Operator>,
}

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 1 is next.
    pub position: usize,
    /// Expected wait: position x mean handling time / operators (the estimate that rarely breaks its word).
    pub wait: Duration,
}

/// A queue as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Callers that wait in it.
    pub waiting: u32,
    /// Since when the one that has waited longest waits.
    pub waiting_since: Option<Instant>,
    /// Its operators that could be rung now.
    pub operators_free: u32,
    /// Its operators whose phone rings, or who talk.
    pub operators_busy: u32,
}

impl Queues {
    /// The queues of a configuration.
    pub fn new(configs: &[QueueConfig]) -> Self {
        let mut queues = Self::default();
        for config in configs {
            let operators = config.operators.iter().map(|uri| queues.operator(uri)).collect();
            queues.queues.push(Queue {
                name: config.name.clone(),
                operators,
                ring: config.ring,
                waiting: Vec::new(),
                handled: VecDeque::new(),
            });
        }
        queues
    }

    fn operator(&mut self, uri: &str) -> OperatorId {
        if let Some(known) = self.operators.iter().position(|o| o.uri == uri) {
            return known;
        }
        let present = !uri.starts_with(super::web::WEB);
        self.operators.push(Operator {
            uri: uri.to_owned(),
            serves: None,
            idle_since: None,
            rests_until: None,
            present,
        });
        self.operators.len() - 1
    }

    /// An operator in a browser signed on, or off. Who signs on is rung at once, whatever was before.
    pub fn set_present(&mut self, uri: &str, present: bool) {
        for operator in self.operators.iter_mut().filter(|operator| operator.uri == uri) {
            operator.present = present;
            operator.rests_until = None;
        }
    }

    /// The SIP URI of an operator.
    pub fn uri(&self, operator: OperatorId) -> &str {
        self.operators.get(operator).map_or("", |o| &o.uri)
    }

    /// How long an operator of `name` is rung.
    pub fn ring(&self, name: &str) -> Duration {
        self.queues.iter().find(|q| q.name == name).map_or(OPERATOR_RING, |q| q.ring)
    }

    /// Names of the queues.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().map(|q| q.name.as_str())
    }

    /// Every queue as others see it.
    pub fn views(&self, now: Instant) -> Vec<QueueView> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let view = |queue: &Queue| {
            let operators = || queue.operators.iter().filter_map(|id| self.operators.get(*id));
            let rests = |operator: &Operator| operator.rests_until.is_some_and(|until| until > now);
            QueueView {
                name: queue.name.clone(),
                waiting: count(queue.waiting.len()),
                waiting_since: queue.waiting.iter().map(|waiting| waiting.since).min(),
                operators_free: count(operators().filter(|o| o.serves.is_none() && !rests(o)).count()),
                operators_busy: count(operators().filter(|o| o.serves.is_some()).count()),
            }
        };
        self.queues.iter().map(view).collect()
    }

    /// How many wait in all queues.
    pub fn waiting(&self) -> usize {
        self.queues.iter().map(|q| q.waiting.len()).sum()
    }

    /// `caller` waits in `name` from now on, after those of the same or a higher priority (a higher number is served first).
    ///
    /// # Errors
    /// [`CannotWait`]; the caller waits nowhere then.
    pub fn join(&mut self, now: Instant, name: &str, caller: CallerId, priority: i32) -> Result<Place, CannotWait> {
        let queue = self.queues.iter_mut().find(|q| q.name == name).ok_or(CannotWait::NoSuchQueue)?;
        if queue.operators.is_empty() {
            return Err(CannotWait::NoOperators);
        }
        if queue.waiting.len() >= WAITING_MAX {
            return Err(CannotWait::Full);
        }
        let at = queue.waiting.iter().position(|w| w.priority < priority).unwrap_or(queue.waiting.len());
        queue.waiting.insert(at, Waiting { caller, priority, since: now, offered: None, prefers: None });
        Ok(queue.place(at))
    }

    /// Whether an operator could be rung now.
    pub fn is_free(&self, now: Instant, uri: &str) -> bool {
        self.operators.iter().any(|operator| operator.uri == uri && operator.is_free(now))
    }

    /// That operator is rung for `caller`, when they are free: the customer knows them.
    pub fn prefer(&mut self, caller: CallerId, uri: &str) {
        let operator = self.operators.iter().position(|operator| operator.uri == uri);
        for waiting in self.queues.iter_mut().flat_map(|queue| &mut queue.waiting) {
            if waiting.caller == caller {
                waiting.prefers = operator;
            }
        }
    }

    /// `caller` waits no longer; an operator whose phone rings for it is free again. Gives that operator.
    pub fn leave(&mut self, now: Instant, caller: CallerId) -> Option<OperatorId> {
        for queue in &mut self.queues {
            queue.waiting.retain(|w| w.caller != caller);
        }
        let operator = self.operators.iter().position(|o| o.serves == Some(caller))?;
        self.release(now, operator);
        Some(operator)
    }

    /// The place of `caller`, when it waits.
    pub fn place(&self, caller: CallerId) -> Option<Place> {
        self.queues.iter().find_map(|q| q.waiting.iter().position(|w| w.caller == caller).map(|at| q.place(at)))
    }

    /// How long `caller` has waited, when it waits.
    pub fn waited(&self, now: Instant, caller: CallerId) -> Option<Duration> {
        let waiting = self.queues.iter().flat_map(|q| &q.waiting).find(|w| w.caller == caller)?;
        Some(now.saturating_duration_since(waiting.since))
    }

    /// The next offer: the first caller without one, and the operator to ring for it. Call until it gives `None`.
    pub fn offer(&mut self, now: Instant) -> Option<(CallerId, OperatorId)> {
        for queue in &mut self.queues {
            let Some(waiting) = queue.waiting.iter_mut().find(|w| w.offered.is_none()) else { continue };
            let is_free = |id: &OperatorId| self.operators.get(*id).is_some_and(|operator| operator.is_free(now));
            let free = queue.operators.iter().copied().filter(is_free);
            let rank = |id: &OperatorId| {
                (Some(*id) != waiting.prefers, self.operators.get(*id).and_then(|operator| operator.idle_since))
            };
            let Some(id) = free.min_by_key(rank) else { continue };
            waiting.offered = Some(id);
            if let Some(operator) = self.operators.get_mut(id) {
                operator.serves = Some(waiting.caller);
            }
            return Some((waiting.caller, id));
        }
        None
    }

    /// The operator took the call: the caller waits no longer, the operator is busy until [`Queues::finished`].
    pub fn accepted(&mut self, caller: CallerId) {
        for queue in &mut self.queues {
            queue.waiting.retain(|w| w.caller != caller);
        }
    }

    /// The operator did not take the call (busy, no answer, failure): it rests a little, the caller keeps its place.
    pub fn declined(&mut self, now: Instant, caller: CallerId, operator: OperatorId) {
        for waiting in self.queues.iter_mut().flat_map(|q| &mut q.waiting) {
            if waiting.caller == caller {
                waiting.offered = None;
            }
        }
        self.release(now, operator);
        if let Some(operator) = self.operators.get_mut(operator) {
            operator.rests_until = Some(now + OPERATOR_REST);
        }
    }

    /// The talk is over: the operator is free, and the queue knows how long it took.
    pub fn finished(&mut self, now: Instant, operator: OperatorId, talked: Duration) {
        self.release(now, operator);
        for queue in self.queues.iter_mut().filter(|q| q.operators.contains(&operator)) {
            if queue.handled.len() == HANDLED_KEPT {
                queue.handled.pop_front();
            }
            queue.handled.push_back(talked);
        }
    }

    fn release(&mut self, now: Instant, operator: OperatorId) {
        if let Some(operator) = self.operators.get_mut(operator) {
            operator.serves = None;
            operator.idle_since = Some(now);
        }
    }

    /// When an operator who rests is asked again: the next moment at which [`Queues::offer`] may give something new.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.queues.iter().all(|q| q.waiting.iter().all(|w| w.offered.is_some())) {
            return None;
        }
        self.operators
            .iter()
            .filter(|o| o.present && o.serves.is_none())
            .filter_map(|o| o.rests_until)
            .filter(|at| *at > now)
            .min()
    }
}

impl Queue {
    fn place(&self, at: usize) -> Place {
        let handled = u32::try_from(self.handled.len()).unwrap_or(1);
        let mean = if handled == 0 { HANDLING_ASSUMED } else { self.handled.iter().sum::<Duration>() / handled };
        let position = at + 1;
        let operators = u32::try_from(self.operators.len().max(1)).unwrap_or(1);
        let wait = mean.saturating_mul(u32::try_from(position).unwrap_or(u32::MAX)) / operators;
        Place { position, wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: OperatorId = 0;
    const BEN: OperatorId = 1;

    fn queues() -> (Queues, Instant) {
        let general = QueueConfig {
            name: "general".to_owned(),
            operators: vec!["sip:anna@127.0.0.1".to_owned(), "sip:ben@127.0.0.1".to_owned()],
            ring: OPERATOR_RING,
        };
        let orders = QueueConfig {
            name: "orders".to_owned(),
            operators: vec!["sip:ben@127.0.0.1".to_owned()],
            ring: OPERATOR_RING,
        };
        let empty = QueueConfig { name: "empty".to_owned(), operators: Vec::new(), ring: OPERATOR_RING };
        (Queues::new(&[general, orders, empty]), now())
    }

    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn callers_are_served_in_order_and_a_higher_priority_first() {
        let (mut queues, t) = queues();
        assert_eq!(queues.join(t, "general", 1, 0).unwrap().position, 1);
        assert_eq!(queues.join(t, "general", 2, 0).unwrap().position, 2);
        assert_eq!(queues.join(t, "general", 3, 5).unwrap().position, 1);
        assert_eq!(queues.offer(t), Some((3, ANNA)));
        assert_eq!(queues.offer(t), Some((1, BEN)));
        assert_eq!(queues.offer(t), None);
        queues.accepted(3);
        assert_eq!(queues.place(2).unwrap().position, 2);
    }

    #[test]
    fn a_caller_is_given_the_operator_who_knows_them_when_that_one_is_free() {
        let (mut queues, t) = queues();
        let ben = queues.uri(BEN).to_owned();
        queues.join(t, "general", 1, 0).unwrap();
        queues.prefer(1, &ben);
        assert!(queues.is_free(t, &ben));
        assert_eq!(queues.offer(t), Some((1, BEN)));
        assert!(!queues.is_free(t, &ben) && !queues.is_free(t, "sip:nobody@example"));
        queues.join(t, "general", 2, 0).unwrap();
        queues.prefer(2, &ben);
        assert_eq!(queues.offer(t), Some((2, ANNA)), "nobody waits for one who talks");
    }

    #[test]
    fn an_operator_in_two_queues_takes_one_call_at_a_time() {
        let (mut queues, t) = queues();
        queues.join(t, "orders", 1, 0).unwrap();
        assert_eq!(queues.offer(t), Some((1, BEN)));
        queues.join(t, "general", 2, 0).unwrap();
        queues.join(t, "general", 3, 0).unwrap();
        assert_eq!(queues.offer(t), Some((2, ANNA)));
        assert_eq!(queues.offer(t), None);
        queues.accepted(1);
        queues.finished(t, BEN, Duration::from_secs(60));
        assert_eq!(queues.offer(t), Some((3, BEN)));
    }

    #[test]
    fn a_caller_whose_operator_declines_keeps_the_place_and_the_operator_rests() {
        let (mut queues, t) = queues();
        queues.join(t, "orders", 1, 0).unwrap();
        queues.join(t, "orders", 2, 0).unwrap();
        assert_eq!(queues.offer(t), Some((1, BEN)));
        queues.declined(t, 1, BEN);
        assert_eq!(queues.place(1).unwrap().position, 1);
        assert_eq!(queues.offer(t), None);
        let rested = queues.deadline(t).unwrap();
        assert_eq!(rested, t + OPERATOR_REST);
        assert_eq!(queues.offer(rested), Some((1, BEN)));
    }

    #[test]
    fn who_hangs_up_while_it_rings_frees_the_operator() {
        let (mut queues, t) = queues();
        queues.join(t, "orders", 1, 0).unwrap();
        queues.offer(t);
        assert_eq!(queues.leave(t, 1), Some(BEN));
        assert_eq!(queues.waiting(), 0);
        queues.join(t, "orders", 2, 0).unwrap();
        assert_eq!(queues.offer(t), Some((2, BEN)));
    }

    #[test]
    fn the_estimate_is_position_times_handling_over_operators() {
        let (mut queues, t) = queues();
        queues.finished(t, ANNA, Duration::from_secs(100));
        queues.finished(t, BEN, Duration::from_secs(200));
        queues.join(t, "general", 1, 0).unwrap();
        let second = queues.join(t, "general", 2, 0).unwrap();
        assert_eq!(second, Place { position: 2, wait: Duration::from_secs(150) });
    }

    #[test]
    fn a_queue_is_seen_with_who_waits_and_who_is_free() {
        let (mut queues, t) = queues();
        let later = t + Duration::from_secs(5);
        queues.join(t, "general", 1, 0).unwrap();
        queues.join(later, "general", 2, 9).unwrap();
        queues.offer(later);
        let view = queues.views(later).remove(0);
        assert_eq!((view.name.as_str(), view.waiting, view.waiting_since), ("general", 2, Some(t)));
        assert_eq!((view.operators_free, view.operators_busy), (1, 1));
        queues.declined(later, 2, ANNA);
        let view = queues.views(later).remove(0);
        assert_eq!((view.operators_free, view.operators_busy), (1, 0), "one rests, one is free");
    }

    #[test]
    fn a_queue_that_cannot_serve_says_so() {
        let (mut queues, t) = queues();
        assert_eq!(queues.join(t, "nowhere", 1, 0), Err(CannotWait::NoSuchQueue));
        assert_eq!(queues.join(t, "empty", 1, 0), Err(CannotWait::NoOperators));
    }
}
