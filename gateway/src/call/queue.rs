//! Queues as the switch sees them: a thin layer over the desk's router ([`crate::desk`]), which has chats in the same lines.
//!
//! The switch numbers its calls and has a steady clock; the router knows conversations and the time of day. Both meet here. Who is
//! rung for whom is the router's to say; what becomes of the ringing is the switch's to tell.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_conversation::event::Needed;
use ark_conversation::routing::Needs;
use ark_conversation::{ConversationId, LegId};
use ark_dialplans::Now;
use jiff::{SignedDuration, Timestamp};

use super::limits::{OPERATOR_RING, WAITING_MAX};
use crate::desk::{CallAct, CallJoin, Callback, CannotJoin, Desk, Left, QueueSetup};

/// A caller, as the switch numbers its calls.
pub type CallerId = u64;
/// An operator: an index that stays valid for the life of the [`Queues`].
pub type OperatorId = usize;

/// What `[[queue]]` says of calls.
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
    /// Nobody serves it at all.
    NoOperators,
    /// It is outside its hours.
    Closed,
    /// [`WAITING_MAX`] callers wait already.
    Full,
}

/// What an agent is told who is rung past the line for a customer whom somebody hands them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Who hands them over: `agent:anna`.
    pub by: String,
    /// A word to them.
    pub note: Option<String>,
    /// What has happened so far.
    pub summary: Option<String>,
    /// How long they are rung.
    pub patience: Duration,
}

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 1 is next.
    pub position: usize,
    /// Expected wait, rounded up as it is announced: position x mean handling time / people (the estimate that rarely breaks its word).
    pub wait: Duration,
}

/// A queue as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Customers that wait in it.
    pub waiting: u32,
    /// Since when the one that has waited longest waits.
    pub waiting_since: Option<Instant>,
    /// Its agents with room for something.
    pub operators_free: u32,
    /// Its agents without.
    pub operators_busy: u32,
}

/// Who a caller is, for those who are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The conversation.
    pub conversation: Option<ConversationId>,
    /// The number that they called.
    pub entrance: String,
    /// Their number, masked.
    pub title: String,
    /// Whether they call from a page.
    pub by_web: bool,
    /// What an agent must be able to do.
    pub needs: Needed,
}

/// One who waits, rings or talks.
#[derive(Debug)]
struct Known {
    caller: Caller,
    waits_in: Option<String>,
    since: Instant,
    prefers: Option<String>,
    /// Who is rung for them, or talks with them.
    agent: Option<OperatorId>,
    talks: bool,
}

/// Every queue of the gateway and everybody who answers calls.
#[derive(Debug)]
pub struct Queues {
    desk: Arc<Desk>,
    /// By the addresses at which they ring.
    operators: Vec<String>,
    known: HashMap<CallerId, Known>,
    /// Who was rung past the line: for whom, and the item that stands for them while somebody else may still have the caller.
    engaged: HashMap<OperatorId, (CallerId, ConversationId)>,
    engagements: u64,
    /// The two clocks at one moment.
    clock: (Instant, Timestamp),
}

impl Queues {
    /// Queues whose operators have no desk: what a site without accounts has, and tests.
    pub fn new(configs: &[QueueConfig]) -> Self {
        let setup = |config: &QueueConfig| {
            let mut setup = QueueSetup::new(&config.name, config.operators.clone());
            setup.config.offer_ttl = signed(config.ring);
            setup
        };
        let now = Timestamp::now();
        let mut queues = Self::of(Desk::new(configs.iter().map(setup).collect(), now, false));
        for address in configs.iter().flat_map(|config| &config.operators) {
            queues.operator(address.clone());
        }
        queues
    }

    /// The queues of a desk.
    pub fn of(desk: Arc<Desk>) -> Self {
        let (known, engaged, clock) = (HashMap::new(), HashMap::new(), (Instant::now(), Timestamp::now()));
        Self { desk, operators: Vec::new(), known, engaged, engagements: 0, clock }
    }

    /// The desk behind them.
    #[cfg(test)]
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// What the two clocks say at one moment. The time of day may be set: it is told often.
    pub fn set_clock(&mut self, now: Now) {
        self.clock = (now.mono, now.wall);
    }

    fn wall(&self, at: Instant) -> Timestamp {
        let (mono, wall) = self.clock;
        let moved = match at.checked_duration_since(mono) {
            Some(later) => wall.checked_add(later),
            None => wall.checked_sub(mono.saturating_duration_since(at)),
        };
        moved.unwrap_or(wall)
    }

    fn mono(&self, at: Timestamp) -> Instant {
        let (mono, wall) = self.clock;
        let ahead = at.duration_since(wall);
        match Duration::try_from(ahead) {
            Ok(later) => mono + later,
            Err(_) => mono.checked_sub(ahead.unsigned_abs()).unwrap_or(mono),
        }
    }

    fn operator(&mut self, address: String) -> OperatorId {
        if let Some(known) = self.operators.iter().position(|one| *one == address) {
            return known;
        }
        self.operators.push(address);
        self.operators.len() - 1
    }

    fn agent(&self, operator: OperatorId) -> String {
        let address = self.uri(operator);
        self.desk.with(|core| core.agent_at(address))
    }

    /// The conversation of a caller; of one who was not introduced, one that is like no other.
    fn conversation(&self, caller: CallerId) -> ConversationId {
        let known = self.known.get(&caller).and_then(|known| known.caller.conversation);
        known.unwrap_or_else(|| ConversationId::new(0, u128::from(caller)))
    }

    /// Says who a caller is, before they [`Queues::join`] or are [`Queues::engage`]d.
    pub fn meet(&mut self, now: Instant, caller: CallerId, who: Caller) {
        let new = || Known {
            caller: Caller::default(),
            waits_in: None,
            since: now,
            prefers: None,
            agent: None,
            talks: false,
        };
        self.known.entry(caller).or_insert_with(new).caller = who;
    }

    /// An operator in a browser signed on, or off. Who signs on is rung at once, whatever was before.
    pub fn set_present(&mut self, now: Instant, uri: &str, present: bool) {
        let now = self.wall(now);
        self.desk.with(|core| {
            let agent = core.agent_at(uri);
            core.set_rtc(now, &agent, present);
        });
    }

    /// The address of an operator.
    pub fn uri(&self, operator: OperatorId) -> &str {
        self.operators.get(operator).map_or("", String::as_str)
    }

    /// How long an operator of `name` is rung.
    pub fn ring(&self, name: &str) -> Duration {
        let ttl = self.desk.with(|core| core.router.config(name).map(|config| config.offer_ttl));
        ttl.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or(OPERATOR_RING)
    }

    /// Every queue as others see it.
    pub fn views(&self, _now: Instant) -> Vec<QueueView> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let view = |queue: crate::desk::CallQueue| QueueView {
            name: queue.name,
            waiting: count(queue.waiting),
            waiting_since: queue.since.map(|since| self.mono(since)),
            operators_free: count(queue.free),
            operators_busy: count(queue.busy),
        };
        self.desk.with(|core| core.call_queues()).into_iter().map(view).collect()
    }

    /// How many callers wait in all queues.
    pub fn waiting(&self) -> usize {
        self.known.values().filter(|known| known.waits_in.is_some()).count()
    }

    /// `caller` waits in `name`, since `since`. Higher priority is served earlier: each step is worth the queue's `aging`.
    ///
    /// # Errors
    /// [`CannotWait`]; the caller waits nowhere then.
    pub fn join(&mut self, since: Instant, name: &str, caller: CallerId, priority: i32) -> Result<Place, CannotWait> {
        if self.known.values().filter(|known| known.waits_in.as_deref() == Some(name)).count() >= WAITING_MAX {
            return Err(CannotWait::Full);
        }
        if !self.known.contains_key(&caller) {
            self.meet(since, caller, Caller::default());
        }
        let (id, join) = (self.conversation(caller), self.join_of(caller, name, since, priority));
        let now = self.wall(since.max(self.clock.0));
        let place = self.desk.with(|core| core.call_joins(now, id, join)).map_err(|why| match why {
            CannotJoin::NoSuchQueue => CannotWait::NoSuchQueue,
            CannotJoin::Nobody => CannotWait::NoOperators,
            CannotJoin::Closed => CannotWait::Closed,
            CannotJoin::Full => CannotWait::Full,
        })?;
        if let Some(known) = self.known.get_mut(&caller) {
            (known.waits_in, known.since, known.talks) = (Some(name.to_owned()), since, false);
        }
        Ok(Self::place_of(place))
    }

    /// `caller`, who waits, goes on in another queue with the place. None: they stay where they are.
    pub fn move_to(&mut self, now: Instant, caller: CallerId, name: &str) -> Option<Place> {
        let (id, at) = (self.conversation(caller), self.wall(now));
        let moved = self.desk.with(|core| core.call_moves(at, id, name).then(|| core.call_place(id)));
        let place = moved??;
        if let Some(known) = self.known.get_mut(&caller) {
            known.waits_in = Some(name.to_owned());
        }
        Some(Self::place_of(place))
    }

    fn join_of(&self, caller: CallerId, queue: &str, since: Instant, priority: i32) -> CallJoin {
        let known = self.known.get(&caller);
        let who = known.map(|known| known.caller.clone()).unwrap_or_default();
        let prefers =
            known.and_then(|known| known.prefers.as_ref()).map(|uri| self.desk.with(|core| core.agent_at(uri)));
        CallJoin {
            caller,
            queue: queue.to_owned(),
            priority,
            since: self.wall(since),
            prefers,
            entrance: who.entrance,
            title: who.title,
            channel: if who.by_web { "web" } else { "sip" }.to_owned(),
            needs: Needs::from(&who.needs),
        }
    }

    fn place_of((place, wait): (ark_conversation::routing::Place, SignedDuration)) -> Place {
        Place { position: place.position, wait: Duration::try_from(wait).unwrap_or_default() }
    }

    /// Whether an operator could be rung now.
    pub fn is_free(&self, _now: Instant, uri: &str) -> bool {
        self.is_free_for(None, uri)
    }

    /// The same for a caller of whom they may have the chat already.
    pub fn is_free_for(&self, conversation: Option<ConversationId>, uri: &str) -> bool {
        self.desk.with(|core| {
            let agent = core.agent_at(uri);
            core.call_could_ring(conversation, &agent)
        })
    }

    /// That operator is rung for `caller`, when they are free: the customer knows them. To be said before [`Queues::join`]; of one who
    /// waits already, they are asked anew.
    pub fn prefer(&mut self, caller: CallerId, uri: &str) {
        let Some(known) = self.known.get_mut(&caller) else { return };
        known.prefers = Some(uri.to_owned());
        if let (Some(queue), since, None) = (known.waits_in.clone(), known.since, known.agent) {
            let (id, join) = (self.conversation(caller), self.join_of(caller, &queue, since, 0));
            let now = self.wall(since.max(self.clock.0));
            let _ = self.desk.with(|core| core.call_joins(now, id, join));
        }
    }

    /// One operator is rung for `caller` past the line, and is busy from now on, until [`Queues::finished`] or [`Queues::declined`].
    /// None: they are not free.
    pub fn engage(&mut self, now: Instant, uri: &str, caller: CallerId) -> Option<OperatorId> {
        self.engage_for(now, uri, caller, Some(Asked::default()))
    }

    /// The same, with what they are told. Without it they are called back, and what they have for wrapping up is not theirs.
    pub fn engage_for(
        &mut self,
        now: Instant,
        uri: &str,
        caller: CallerId,
        asked: Option<Asked>,
    ) -> Option<OperatorId> {
        if !self.known.contains_key(&caller) {
            self.meet(now, caller, Caller::default());
        }
        let (id, join) = (self.conversation(caller), self.join_of(caller, "", now, 0));
        self.engagements += 1;
        let item = ConversationId::new(0, ENGAGED | u128::from(self.engagements));
        let at = self.wall(now);
        let engaged = self.desk.with(|core| {
            let agent = core.agent_at(uri);
            core.call_engages(at, (item, id), (&agent, asked), join)
        });
        let operator = self.operator(uri.to_owned());
        if engaged {
            self.engaged.insert(operator, (caller, item));
        }
        engaged.then_some(operator)
    }

    /// Who was rung past the line has answered.
    pub fn took(&self, operator: OperatorId) {
        if let Some((_, item)) = self.engaged.get(&operator) {
            self.desk.with(|core| core.call_taken(*item));
        }
    }

    /// The queues, with the addresses at which those ring who serve them now.
    pub fn configs(&self) -> Vec<QueueConfig> {
        let all = self.desk.with(|core| core.call_addresses());
        let config = |(name, operators): (String, Vec<String>)| QueueConfig { ring: self.ring(&name), name, operators };
        all.into_iter().map(config).collect()
    }

    /// The agent who rings at that address.
    pub fn agent_of(&self, uri: &str) -> String {
        self.desk.with(|core| core.agent_at(uri))
    }

    /// Where an agent rings: of an account its browser, else its telephone. None: nobody of that name serves.
    pub fn address_of(&self, agent: &str) -> Option<String> {
        self.desk.with(|core| core.agents.contains_key(agent).then(|| core.address_of(agent)))
    }

    /// `caller` waits no longer; an operator whose phone rings for it is free again. Gives that operator.
    pub fn leave(&mut self, now: Instant, caller: CallerId) -> Option<OperatorId> {
        self.leave_as(now, caller, false)
    }

    /// The same, and whether the caller gave up.
    pub fn leave_as(&mut self, now: Instant, caller: CallerId, gave_up: bool) -> Option<OperatorId> {
        let id = self.conversation(caller);
        let known = self.known.remove(&caller)?;
        let (now, how) = (self.wall(now), if gave_up { Left::Abandoned } else { Left::Moved });
        self.desk.with(|core| core.call_leaves(now, id, how));
        known.agent
    }

    /// The place of `caller`, when it waits.
    pub fn place(&self, caller: CallerId) -> Option<Place> {
        self.known.get(&caller).filter(|known| known.waits_in.is_some())?;
        let id = self.conversation(caller);
        self.desk.with(|core| core.call_place(id)).map(Self::place_of)
    }

    /// How long `caller` has waited, when it waits.
    pub fn waited(&self, now: Instant, caller: CallerId) -> Option<Duration> {
        let known = self.known.get(&caller).filter(|known| known.waits_in.is_some())?;
        Some(now.saturating_duration_since(known.since))
    }

    /// What is to be done next: ring an operator for a caller, or stop ringing. Call until it gives `None`.
    pub fn next(&mut self, now: Instant) -> Option<Order> {
        let at = self.wall(now);
        loop {
            let act = self.desk.with(|core| {
                if core.deadline().is_some_and(|due| due <= at) {
                    core.tick(at);
                }
                core.next_call_act()
            })?;
            match act {
                CallAct::Ring { caller, agent } => {
                    // It may have been taken back since.
                    let (id, rung) = (self.conversation(caller), self.known.contains_key(&caller));
                    let address = self.desk.with(|core| core.call_rings(id, &agent).then(|| core.address_of(&agent)));
                    let Some(address) = address.filter(|_| rung) else { continue };
                    let operator = self.operator(address);
                    if let Some(known) = self.known.get_mut(&caller) {
                        known.agent = Some(operator);
                    }
                    return Some(Order::Ring(caller, operator));
                }
                CallAct::CallBack { item, agent } => {
                    let rings =
                        self.desk.with(|core| core.callback_rings(item, &agent).then(|| core.address_of(&agent)));
                    let Some(address) = rings else { continue };
                    return Some(Order::CallBack(item, self.operator(address)));
                }
                CallAct::Decline { caller, agent } => {
                    let engaged = self.engaged.iter().find(|(operator, (of, _))| {
                        *of == caller && self.operators.get(**operator).is_some_and(|uri| self.agent_of(uri) == agent)
                    });
                    if let Some(operator) = engaged.map(|(operator, _)| *operator) {
                        return Some(Order::Decline(caller, operator));
                    }
                }
                CallAct::Overflow { caller, queue, to } => {
                    if self.known.get(&caller).is_some_and(|known| known.waits_in.as_ref() == Some(&queue)) {
                        return Some(Order::Overflow(caller, to));
                    }
                }
                CallAct::Relaxed { caller, queue, needs } => {
                    if self.known.get(&caller).is_some_and(|known| known.waits_in.as_ref() == Some(&queue)) {
                        return Some(Order::Relaxed(caller, needs));
                    }
                }
                CallAct::Stop { caller, agent } => {
                    let rings = self.known.get(&caller).filter(|known| !known.talks).and_then(|known| known.agent);
                    let Some(operator) = rings.filter(|operator| self.agent(*operator) == agent) else { continue };
                    if let Some(known) = self.known.get_mut(&caller) {
                        known.agent = None;
                    }
                    return Some(Order::Stop(caller, operator));
                }
            }
        }
    }

    /// The next offer alone: who is to be rung for whom.
    pub fn offer(&mut self, now: Instant) -> Option<(CallerId, OperatorId)> {
        loop {
            if let Order::Ring(caller, operator) = self.next(now)? {
                return Some((caller, operator));
            }
        }
    }

    /// The operator took the call: the caller waits no longer, the operator is busy until [`Queues::finished`].
    pub fn accepted(&mut self, caller: CallerId) {
        let (id, at) = (self.conversation(caller), self.clock.1);
        let Some(known) = self.known.get_mut(&caller) else { return };
        (known.waits_in, known.talks) = (None, true);
        let Some(operator) = known.agent else { return };
        let agent = self.agent(operator);
        self.desk.with(|core| core.call_accepted(at, id, &agent));
    }

    /// The operator did not take the call (busy, no answer, failure): the caller keeps its place, the next one is asked.
    pub fn declined(&mut self, now: Instant, caller: CallerId, operator: OperatorId) {
        let (id, agent, at) = (self.conversation(caller), self.agent(operator), self.wall(now));
        if let Some((_, item)) = self.engaged.remove(&operator) {
            // Rung past the line: there is no place to keep.
            self.desk.with(|core| core.call_leaves(at, item, Left::Moved));
            return self.forget_idle(caller);
        }
        if let Some(known) = self.known.get_mut(&caller).filter(|known| known.agent == Some(operator)) {
            known.agent = None;
        }
        self.desk.with(|core| core.call_declined(at, id, &agent));
    }

    /// The talk is over: the operator is free, and the queue knows how long it took.
    pub fn finished(&mut self, now: Instant, operator: OperatorId, _talked: Duration) {
        if let Some((caller, item)) = self.engaged.remove(&operator) {
            let (agent, at) = (self.agent(operator), self.wall(now));
            self.desk.with(|core| core.call_finished(at, item, &agent));
            return self.forget_idle(caller);
        }
        let talks = |known: &&mut Known| known.talks && known.agent == Some(operator);
        let Some(caller) = self.known.iter_mut().find(|(_, known)| talks(known)).map(|(caller, _)| *caller) else {
            return;
        };
        let (id, agent, at) = (self.conversation(caller), self.agent(operator), self.wall(now));
        self.known.remove(&caller);
        self.desk.with(|core| core.call_finished(at, id, &agent));
    }

    // ---- callbacks

    /// Who is to be called back in that conversation.
    pub(crate) fn callback(&self, item: ConversationId) -> Option<Callback> {
        self.desk.with(|core| core.callback(item))
    }

    /// The moment of a time of day.
    pub(crate) fn moment(&self, at: Timestamp) -> Instant {
        self.mono(at)
    }

    /// That operator is rung to call them back, in a call of that number.
    pub(crate) fn callback_dialled(
        &mut self,
        now: Instant,
        item: ConversationId,
        caller: CallerId,
        operator: OperatorId,
    ) {
        self.meet(now, caller, Caller { conversation: Some(item), ..Caller::default() });
        if let Some(known) = self.known.get_mut(&caller) {
            known.agent = Some(operator);
        }
        self.desk.with(|core| core.callback_dialled(item, caller));
    }

    /// The customer answered.
    pub(crate) fn callback_reached(&mut self, now: Instant, caller: CallerId) {
        let (id, at) = (self.conversation(caller), self.wall(now));
        self.desk.with(|core| core.callback_reached(at, id));
    }

    /// The customer did not take the call: how often by now, when they are called again. `legs`: the next leg of theirs, and the first
    /// number behind it.
    pub(crate) fn callback_missed(&mut self, now: Instant, caller: CallerId, legs: (LegId, LegId)) -> Option<u32> {
        let (id, at) = (self.conversation(caller), self.wall(now));
        self.known.remove(&caller);
        self.desk.with(|core| core.callback_missed(at, id, legs))
    }

    /// The operator was not there, or left: the customer keeps the place.
    pub(crate) fn callback_back(&mut self, now: Instant, caller: CallerId, operator: OperatorId, legs: (LegId, LegId)) {
        let id = self.conversation(caller);
        self.known.remove(&caller);
        self.callback_back_unrung(now, id, operator, legs);
    }

    /// The same, of one for whom nobody was rung.
    pub(crate) fn callback_back_unrung(
        &mut self,
        now: Instant,
        item: ConversationId,
        operator: OperatorId,
        legs: (LegId, LegId),
    ) {
        let (agent, at) = (self.agent(operator), self.wall(now));
        self.desk.with(|core| core.callback_back(at, item, &agent, legs));
    }

    /// A caller who neither waits nor talks by the line is known no longer.
    fn forget_idle(&mut self, caller: CallerId) {
        if self.known.get(&caller).is_some_and(|known| known.waits_in.is_none() && !known.talks) {
            self.known.remove(&caller);
        }
    }

    /// When something may be due by itself while somebody waits: the next moment at which [`Queues::next`] may give something new.
    pub fn deadline(&self, _now: Instant) -> Option<Instant> {
        if self.waiting() == 0 {
            return None;
        }
        self.desk.with(|core| core.deadline()).map(|at| self.mono(at))
    }
}

/// What stands in the items of those who are rung past the line: no conversation has such an id.
const ENGAGED: u128 = 1 << 79;

/// What the switch is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ring that operator for that caller.
    Ring(CallerId, OperatorId),
    /// Ring them no longer.
    Stop(CallerId, OperatorId),
    /// Ring that operator, and then the customer of that conversation, who is to be called back.
    CallBack(ConversationId, OperatorId),
    /// That operator, who is rung past the line, does not take it.
    Decline(CallerId, OperatorId),
    /// They waited too long: the plan's way, else on to that queue.
    Overflow(CallerId, Option<String>),
    /// Nobody who works there has what they need: it no longer matters.
    Relaxed(CallerId, Needed),
}

impl Order {
    /// For whom; none: a customer who has no call yet.
    pub fn caller(&self) -> Option<CallerId> {
        match self {
            Self::Ring(caller, _)
            | Self::Stop(caller, _)
            | Self::Decline(caller, _)
            | Self::Overflow(caller, _)
            | Self::Relaxed(caller, _) => Some(*caller),
            Self::CallBack(..) => None,
        }
    }
}

fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::limits::OPERATOR_REST;

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
    fn callers_are_served_in_order_and_priority_is_worth_time() {
        let (mut queues, t) = queues();
        assert_eq!(queues.join(t, "general", 1, 0).unwrap().position, 1);
        assert_eq!(queues.join(t, "general", 2, 0).unwrap().position, 2);
        assert_eq!(queues.offer(t), Some((1, ANNA)));
        assert_eq!(queues.offer(t), Some((2, BEN)));
        queues.accepted(1);
        queues.accepted(2);
        assert_eq!(queues.join(t, "general", 3, 0).unwrap().position, 1);
        assert_eq!(queues.join(t, "general", 4, 5).unwrap().position, 1);
        assert_eq!(queues.offer(t), None);
        queues.finished(t, ANNA, Duration::from_secs(60));
        assert_eq!(queues.offer(t), Some((4, ANNA)));
        queues.accepted(4);
        assert_eq!(queues.place(3).unwrap().position, 1);
    }

    #[test]
    fn a_caller_is_given_the_operator_who_knows_them_when_that_one_is_free() {
        let (mut queues, t) = queues();
        let ben = queues.uri(BEN).to_owned();
        assert!(queues.is_free(t, &ben));
        queues.meet(t, 1, Caller::default());
        queues.prefer(1, &ben);
        queues.join(t, "general", 1, 0).unwrap();
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
        let rested = t + OPERATOR_REST + Duration::from_millis(1);
        assert!(queues.deadline(t).unwrap() <= rested);
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
    fn the_estimate_is_position_times_handling_over_operators_rounded_up() {
        let (mut queues, t) = queues();
        for (caller, talk) in [(1, 100), (2, 200)] {
            queues.join(t, "general", caller, 0).unwrap();
            queues.offer(t);
            queues.accepted(caller);
            let later = t + Duration::from_secs(talk);
            let operator = if caller == 1 { ANNA } else { BEN };
            queues.finished(later, operator, later - t);
        }
        let t = t + Duration::from_secs(300);
        for caller in 3..=5 {
            queues.join(t, "general", caller, 0).unwrap();
        }
        let fourth = queues.join(t, "general", 6, 0).unwrap();
        assert_eq!(fourth.position, 4);
        // 4 x 160 s (150 s of talk, 10 s to wrap up) / 2 = 320 s; beyond five minutes it is told in steps of five.
        assert_eq!(fourth.wait, Duration::from_secs(600));
    }

    #[test]
    fn a_queue_is_seen_with_who_waits_and_who_is_free() {
        let (mut queues, t) = queues();
        let later = t + Duration::from_secs(5);
        queues.join(t, "general", 1, 0).unwrap();
        queues.join(later, "general", 2, 9).unwrap();
        assert_eq!((queues.offer(later), queues.offer(later)), (Some((1, ANNA)), Some((2, BEN))));
        queues.accepted(1);
        let view = queues.views(later).remove(0);
        let near = |a: Instant, b: Instant| a.max(b) - a.min(b) < Duration::from_millis(1);
        assert_eq!((view.name.as_str(), view.waiting), ("general", 1));
        assert!(near(view.waiting_since.unwrap(), later), "who talks waits no longer");
        assert_eq!((view.operators_free, view.operators_busy), (0, 2));
        queues.declined(later, 2, BEN);
        let view = queues.views(later).remove(0);
        assert_eq!((view.operators_free, view.operators_busy), (0, 1), "one rests, one talks");
    }

    #[test]
    fn an_operator_who_is_engaged_past_the_line_is_busy_and_then_free() {
        let (mut queues, t) = queues();
        let ben = queues.uri(BEN).to_owned();
        assert_eq!(queues.engage(t, &ben, 1), Some(BEN));
        assert_eq!(queues.engage(t, &ben, 2), None, "busy");
        queues.join(t, "orders", 3, 0).unwrap();
        assert_eq!(queues.offer(t), None);
        queues.finished(t, BEN, Duration::from_secs(9));
        assert_eq!(queues.offer(t), Some((3, BEN)));
    }

    #[test]
    fn a_queue_that_cannot_serve_says_so() {
        let (mut queues, t) = queues();
        assert_eq!(queues.join(t, "nowhere", 1, 0), Err(CannotWait::NoSuchQueue));
        assert_eq!(queues.join(t, "empty", 1, 0), Err(CannotWait::NoOperators));
    }
}
