//! The machine: its state, and how inputs change it.

mod input;
mod offers;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::config::{AgentProfile, Kind, Needs, Presence, QueueConfig};
use super::desk::Agent;
use super::line::{Class, ClassKey, Order, Queue, Spot};
pub use input::{EndReason, Input, Output, Refused, WithdrawnBy};
pub use view::{AgentState, AgentView, QueueView, Stats};

use crate::id::ConversationId;
use crate::limits::{
    AGENTS_MAX, CALLBACK_AGAIN, CALLBACKS_MAX, CLASSES_MAX, KEEP_FOR_LAST_MAX, NEEDS_LOOK, QUEUES_MAX, ROUTED_MAX,
    SKILLS_MAX,
};

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// In the line.
    Waiting,
    /// In the line, and not offered to anybody before that time: kept for the last agent, or called again later.
    Kept {
        /// Until when.
        until: Timestamp,
    },
    /// An agent is being asked.
    Offered {
        /// The offer.
        offer: u64,
        /// Its deadline.
        deadline: Timestamp,
    },
    /// With an agent.
    Connected {
        /// Since when.
        since: Timestamp,
    },
}

#[derive(Debug)]
struct Item {
    queue: usize,
    kind: Kind,
    needs: Needs,
    priority: i32,
    since: Timestamp,
    order: Order,
    epoch: u64,
    last_agent: Option<String>,
    phase: Phase,
    /// Whose they are, or who is asked, or for whom they are kept.
    agent: Option<u32>,
    class: u32,
    /// Who declined, or let it pass.
    declined: Vec<u32>,
    /// Calls that the customer did not take, of who asked for one.
    callback: Option<u32>,
    overflowed: bool,
    /// What they need does not matter any more: nobody who works there has it.
    waived: bool,
    /// The estimate on joining.
    told: Option<SignedDuration>,
    /// The moment that the router has noted for it.
    timer: Option<Timestamp>,
    retry: Option<Timestamp>,
}

impl Item {
    /// Whether they wait and nobody is being asked for them.
    fn is_in_line(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Kept { .. })
    }
}

/// What happens by itself, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Item(ConversationId),
    Agent(u32),
}

/// All queues and agents of a tenant.
#[derive(Debug, Default)]
pub struct Router {
    queues: Vec<Queue>,
    queue_names: BTreeMap<String, usize>,
    agents: Vec<Agent>,
    agent_names: BTreeMap<String, u32>,
    items: BTreeMap<ConversationId, Item>,
    classes: Vec<Class>,
    class_ids: BTreeMap<ClassKey, u32>,
    /// Offers that are open.
    offers: BTreeMap<u64, ConversationId>,
    timers: BTreeSet<(Timestamp, Timer)>,
    joined: u64,
    offered: u64,
    recovering: bool,
    restless_items: VecDeque<ConversationId>,
    restless_agents: BTreeSet<u32>,
    out: VecDeque<Output>,
}

impl Router {
    /// One that decides from the first input on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that takes over: it is told what is the case, and decides from [`Input::Begin`] on.
    #[must_use]
    pub fn recovering() -> Self {
        Self { recovering: true, ..Self::default() }
    }

    /// Takes an input in. What is to be done then is left for [`Self::poll`]; what was due before is done first.
    ///
    /// # Errors
    /// [`Refused`], and nothing has changed but what was due.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), Refused> {
        if !self.recovering {
            self.run_timers(now);
        }
        let done = self.take(now, input);
        self.route(now);
        done
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn take(&mut self, now: Timestamp, input: Input) -> Result<(), Refused> {
        match input {
            Input::Join { item, queue, kind, priority, since, needs, last_agent, epoch } => {
                let queue = *self.queue_names.get(&queue).ok_or(Refused::UnknownQueue)?;
                let joining = Joining { item, queue, kind, priority, since, needs, last_agent, epoch };
                self.join(now, joining)
            }
            Input::Taken { item, queue, kind, since, epoch, agent } => {
                let queue = *self.queue_names.get(&queue).ok_or(Refused::UnknownQueue)?;
                self.slot(&agent)?;
                let (needs, last_agent) = (Needs::default(), None);
                let joining = Joining { item, queue, kind, priority: 0, since, needs, last_agent, epoch };
                let open = std::mem::replace(&mut self.queues[queue].open, true);
                let joined = self.join(now, joining);
                self.queues[queue].open = open;
                joined.and_then(|()| self.serving(now, item, &agent))
            }
            Input::Moved { item, queue } => {
                let queue = *self.queue_names.get(&queue).ok_or(Refused::UnknownQueue)?;
                self.moved(now, item, queue)
            }
            Input::Leave { item, why } => self.leave(now, item, why),
            Input::Changed { item, kind } => self.changed(now, item, kind),
            Input::Callback { item, tries } => self.callback(now, item, tries),
            Input::CallbackMissed { item } => self.callback_missed(now, item),
            Input::Accepted { offer } => self.accepted(now, offer),
            Input::Declined { offer } => self.declined(now, offer),
            Input::Finished { item } => self.finished(now, item),
            Input::Agent { name, profile } => self.set_agent(now, &name, profile),
            Input::Presence { agent, presence } => {
                let slot = self.slot(&agent)?;
                self.set_presence(now, slot, &presence);
                Ok(())
            }
            Input::WrappedUp { agent } => {
                let slot = self.slot(&agent)?;
                self.end_wrap_up(slot);
                Ok(())
            }
            Input::Queue(config) => self.set_queue(now, config),
            Input::Open { queue, open } => {
                let at = *self.queue_names.get(&queue).ok_or(Refused::UnknownQueue)?;
                self.queues[at].open = open;
                Ok(())
            }
            Input::Serving { item, agent } => self.serving(now, item, &agent),
            Input::Offered { item, agent, deadline } => self.was_offered(now, item, &agent, deadline),
            Input::Begin => {
                self.recovering = false;
                self.restless_items = self.items.keys().copied().collect();
                for id in self.restless_items.clone() {
                    self.due(now, id);
                }
                self.run_timers(now);
                Ok(())
            }
            Input::Tick => Ok(()),
        }
    }

    fn slot(&self, agent: &str) -> Result<u32, Refused> {
        self.agent_names.get(agent).copied().ok_or(Refused::UnknownAgent)
    }

    fn agent(&mut self, slot: u32) -> &mut Agent {
        &mut self.agents[slot as usize]
    }

    // ---- time ----

    fn run_timers(&mut self, now: Timestamp) {
        while let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Agent(slot) => {
                    self.agent(slot).wrap_up = None;
                    self.restless_agents.insert(slot);
                }
                Timer::Item(id) => {
                    if let Some(item) = self.items.get_mut(&id) {
                        item.timer = None;
                    }
                    self.due(now, id);
                }
            }
        }
        self.route(now);
    }

    /// Something about an item may be due.
    fn due(&mut self, now: Timestamp, id: ConversationId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        if item.retry.is_some_and(|at| at <= now) {
            item.retry = None;
            item.declined.clear();
            self.restless_items.push_back(id);
        }
        match item.phase {
            Phase::Offered { offer, deadline } if deadline <= now => self.expired(now, offer),
            Phase::Kept { until } if until <= now => self.end_keeping(now, id),
            _ => {}
        }
        self.overflow(now, id);
        self.waive(now, id);
        self.place_in_class(now, id);
        self.set_timer(now, id);
    }

    /// What somebody needs that nobody who works there has no longer matters, once they have waited long enough.
    fn waive(&mut self, now: Timestamp, id: ConversationId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        let queue = &mut self.queues[item.queue];
        if !item.is_in_line() || item.waived || item.needs.is_nothing() {
            return;
        }
        let someone = if waited(item, now) < queue.config.any_after {
            // Whoever has it may come to work, or be asked later; nobody waits for what nobody has at all.
            self.agents.iter().any(|agent| queue.could_ever(&agent.profile, &item.needs))
        } else {
            let mut able = self.classes[item.class as usize].agents.iter().map(|slot| &self.agents[*slot as usize]);
            able.any(|agent| agent.works_on(item.kind))
        };
        if someone {
            return;
        }
        item.waived = true;
        queue.stats.waived += 1;
        self.out.push_back(Output::Waived { item: id, queue: queue.config.name.clone(), needs: item.needs.clone() });
    }

    fn overflow(&mut self, now: Timestamp, id: ConversationId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        let queue = &self.queues[item.queue];
        let after = queue.config.overflow_after;
        // Who is being asked for them may answer yet, and who is to be called back is not moved from call to call.
        let waits = item.is_in_line() && item.callback.is_none();
        if waits && !item.overflowed && after.is_some_and(|after| waited(item, now) >= after) {
            item.overflowed = true;
            self.out.push_back(Output::Overflow { item: id, queue: queue.config.name.clone() });
        }
    }

    /// Notes the next moment at which something happens to an item by itself.
    fn set_timer(&mut self, now: Timestamp, id: ConversationId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        let queue = &self.queues[item.queue];
        let waits = !matches!(item.phase, Phase::Connected { .. });
        let after = |after: SignedDuration| item.since.saturating_add(after).unwrap_or(Timestamp::MAX);
        let next_change = queue.changes.iter().map(|(wait, _)| after(*wait)).find(|at| *at > now).filter(|_| waits);
        let in_line = item.is_in_line();
        let overflows = in_line && !item.overflowed && item.callback.is_none();
        let overflow = queue.config.overflow_after.map(after).filter(|_| overflows);
        let needs = in_line && !item.waived && !item.needs.is_nothing();
        let needs = needs.then(|| after(queue.config.any_after)).map(|at| match at > now {
            true => at,
            // It was looked at: again in a while, people come and go.
            false => now.saturating_add(NEEDS_LOOK).unwrap_or(now),
        });
        let phase = match item.phase {
            Phase::Offered { deadline, .. } => Some(deadline),
            Phase::Kept { until } => Some(until),
            Phase::Waiting | Phase::Connected { .. } => None,
        };
        let next = [next_change, overflow, needs, phase, item.retry].into_iter().flatten().min();
        if next == item.timer {
            return;
        }
        if let Some(old) = item.timer.take() {
            self.timers.remove(&(old, Timer::Item(id)));
        }
        item.timer = next;
        if let Some(at) = next {
            self.timers.insert((at, Timer::Item(id)));
        }
    }

    // ---- items ----

    fn join(&mut self, now: Timestamp, joining: Joining) -> Result<(), Refused> {
        if self.is_known(&joining) {
            return Ok(());
        }
        let Joining { item: id, queue, kind, priority, since, needs, last_agent, epoch } = joining;
        let known = self.items.get(&id);
        if needs.skills.len() > SKILLS_MAX || (known.is_none() && self.items.len() >= ROUTED_MAX) {
            return Err(Refused::Full);
        }
        let here = known.is_some_and(|item| item.queue == queue);
        if !self.queues[queue].open && !here && !self.recovering {
            return Err(Refused::Closed);
        }
        let since = since.or(known.filter(|_| here).map(|item| item.since)).unwrap_or(now).min(now);
        let (callback, overflowed) = known.map_or((None, false), |item| (item.callback, here && item.overflowed));
        let waived = known.is_some_and(|item| here && item.waived && item.needs == needs);
        let known = known.map(|item| item.order.number);
        let asked = if waived { Needs::default() } else { needs.clone() };
        let key = ClassKey { queue, kind, needs: asked, stage: self.queues[queue].stage(now.duration_since(since)) };
        let class = self.class(key)?;
        let number = known.unwrap_or_else(|| {
            self.joined += 1;
            self.joined
        });
        if self.items.contains_key(&id) {
            self.remove(now, id, WithdrawnBy::Item);
        }
        let config = &self.queues[queue].config;
        let order = Order::new(config, since, priority, number);
        if !here {
            self.queues[queue].stats.joined += 1;
        }
        self.items.insert(
            id,
            Item {
                queue,
                kind,
                needs,
                priority,
                since,
                order,
                epoch,
                last_agent,
                phase: Phase::Waiting,
                agent: None,
                class,
                declined: Vec::new(),
                callback,
                overflowed,
                waived,
                told: None,
                timer: None,
                retry: None,
            },
        );
        self.queues[queue].line.insert((order, id));
        self.classes[class as usize].waiting.insert((order, id));
        self.keep_for_last(now, id);
        let told = self.place(id).and_then(|place| place.estimate);
        if let Some(item) = self.items.get_mut(&id) {
            item.told = told;
        }
        self.overflow(now, id);
        if !self.recovering {
            self.waive(now, id);
            self.place_in_class(now, id);
        }
        self.set_timer(now, id);
        self.restless_items.push_back(id);
        Ok(())
    }

    /// They wait in another line, as if they had waited there all the time.
    fn moved(&mut self, now: Timestamp, item: ConversationId, queue: usize) -> Result<(), Refused> {
        let found = self.items.get(&item).ok_or(Refused::UnknownItem)?;
        if !found.is_in_line() {
            return Err(Refused::NotNow);
        }
        let (since, needs, last_agent) = (Some(found.since), found.needs.clone(), found.last_agent.clone());
        let (kind, priority, epoch) = (found.kind, found.priority, found.epoch);
        self.join(now, Joining { item, queue, kind, priority, since, needs, last_agent, epoch })
    }

    /// Whether that is what the router knows of somebody who waits: a conversation may say it more than once.
    fn is_known(&self, joining: &Joining) -> bool {
        self.items.get(&joining.item).is_some_and(|item| {
            let waits = !matches!(item.phase, Phase::Connected { .. });
            let (place, since) = (item.queue == joining.queue, joining.since.is_none_or(|since| since == item.since));
            // What no longer matters may be told as nothing: the log says so, too.
            let needs = item.needs == joining.needs || (item.waived && joining.needs.is_nothing());
            let what = item.kind == joining.kind && needs && item.priority == joining.priority;
            waits && place && since && what && item.epoch == joining.epoch && item.last_agent == joining.last_agent
        })
    }

    /// Keeps somebody for the agent whom they had last, when that one is there and busy.
    fn keep_for_last(&mut self, now: Timestamp, id: ConversationId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        let keep = self.queues[item.queue].config.keep_for_last.min(KEEP_FOR_LAST_MAX);
        let Some(slot) = item.last_agent.as_ref().and_then(|name| self.agent_names.get(name)).copied() else { return };
        let agent = &mut self.agents[slot as usize];
        let eligible = self.classes[item.class as usize].agents.contains(&slot);
        if keep <= SignedDuration::ZERO || !agent.works() || !eligible || agent.has_room(item.kind) {
            return;
        }
        let until = now.saturating_add(keep).unwrap_or(now);
        item.phase = Phase::Kept { until };
        item.agent = Some(slot);
        agent.kept.insert((item.order, id));
        self.classes[item.class as usize].waiting.remove(&(item.order, id));
    }

    fn end_keeping(&mut self, now: Timestamp, id: ConversationId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        if let Some(slot) = item.agent.take() {
            self.agents[slot as usize].kept.remove(&(item.order, id));
        }
        self.wait_on(now, id);
    }

    /// They wait in the line, for whoever may serve them.
    fn wait_on(&mut self, now: Timestamp, id: ConversationId) {
        let Some(item) = self.items.get_mut(&id) else { return };
        item.phase = Phase::Waiting;
        item.agent = None;
        self.queues[item.queue].line.insert((item.order, id));
        self.classes[item.class as usize].waiting.insert((item.order, id));
        self.place_in_class(now, id);
        self.set_timer(now, id);
        self.restless_items.push_back(id);
    }

    /// Moves an item to the class of its stage, kind and needs.
    fn place_in_class(&mut self, now: Timestamp, id: ConversationId) {
        let Some(item) = self.items.get(&id) else { return };
        let stage = self.queues[item.queue].stage(waited(item, now));
        let old = &self.classes[item.class as usize].key;
        let needs = if item.waived { Needs::default() } else { item.needs.clone() };
        if old.stage == stage && old.kind == item.kind && old.needs == needs && old.queue == item.queue {
            return;
        }
        let key = ClassKey { queue: item.queue, kind: item.kind, needs, stage };
        // When there are too many classes, it waits on in the one that it has.
        let Ok(class) = self.class(key) else { return };
        let Some(item) = self.items.get_mut(&id) else { return };
        let spot = (item.order, id);
        let old = std::mem::replace(&mut item.class, class);
        if self.classes[old as usize].waiting.remove(&spot) {
            self.classes[class as usize].waiting.insert(spot);
            self.restless_items.push_back(id);
        }
    }

    /// Takes an item out of everything; its offer ends. What is left of it is given back.
    fn remove(&mut self, now: Timestamp, id: ConversationId, why: WithdrawnBy) -> Option<Item> {
        self.end_offer(now, id, Some(why));
        let item = self.items.remove(&id)?;
        let spot = (item.order, id);
        if let Some(at) = item.timer {
            self.timers.remove(&(at, Timer::Item(id)));
        }
        if let Some(slot) = item.agent {
            let agent = &mut self.agents[slot as usize];
            agent.kept.remove(&spot);
            agent.let_go(now, id, item.kind);
            self.restless_agents.insert(slot);
        }
        self.queues[item.queue].line.remove(&spot);
        self.classes[item.class as usize].waiting.remove(&spot);
        Some(item)
    }

    fn leave(&mut self, now: Timestamp, id: ConversationId, why: EndReason) -> Result<(), Refused> {
        let item = self.remove(now, id, WithdrawnBy::Item).ok_or(Refused::UnknownItem)?;
        if !matches!(item.phase, Phase::Connected { .. }) {
            let stats = &mut self.queues[item.queue].stats;
            match why {
                EndReason::Abandoned => stats.abandoned += 1,
                EndReason::Moved | EndReason::Closed => stats.moved += 1,
            }
        }
        Ok(())
    }

    fn changed(&mut self, now: Timestamp, id: ConversationId, kind: Kind) -> Result<(), Refused> {
        let item = self.items.get(&id).ok_or(Refused::UnknownItem)?;
        if item.kind == kind {
            return Ok(());
        }
        if let Phase::Connected { .. } = item.phase {
            // Theirs already, whatever it is now: the same two people go on.
            let (slot, old) = (item.agent, item.kind);
            if let Some(slot) = slot {
                self.agent(slot).let_go(now, id, old);
                self.agent(slot).take(now, id, kind);
                self.restless_agents.insert(slot);
            }
        } else {
            let queue = item.queue;
            let key = ClassKey { kind, ..self.classes[item.class as usize].key.clone() };
            debug_assert_eq!(key.queue, queue);
            self.class(key)?;
            self.end_offer(now, id, Some(WithdrawnBy::Item));
        }
        if let Some(item) = self.items.get_mut(&id) {
            item.kind = kind;
        }
        if !self.items.get(&id).is_some_and(|item| matches!(item.phase, Phase::Kept { .. })) {
            self.place_in_class(now, id);
        }
        self.restless_items.push_back(id);
        Ok(())
    }

    fn callback(&mut self, now: Timestamp, id: ConversationId, tries: u32) -> Result<(), Refused> {
        let item = self.items.get_mut(&id).ok_or(Refused::UnknownItem)?;
        if let Phase::Connected { .. } = item.phase {
            return Err(Refused::NotNow);
        }
        item.callback.get_or_insert(tries);
        self.changed(now, id, Kind::Call)
    }

    fn callback_missed(&mut self, now: Timestamp, id: ConversationId) -> Result<(), Refused> {
        let item = self.items.get_mut(&id).ok_or(Refused::UnknownItem)?;
        let (Phase::Connected { .. }, Some(tries)) = (item.phase, item.callback.as_mut()) else {
            return Err(Refused::NotNow);
        };
        *tries += 1;
        if *tries >= CALLBACKS_MAX {
            self.remove(now, id, WithdrawnBy::Item);
            self.out.push_back(Output::Unreached { item: id });
            return Ok(());
        }
        let slot = item.agent.take();
        let (spot, kind) = ((item.order, id), item.kind);
        item.phase = Phase::Kept { until: now.saturating_add(CALLBACK_AGAIN).unwrap_or(now) };
        self.queues[item.queue].line.insert(spot);
        if let Some(slot) = slot {
            self.agent(slot).let_go(now, id, kind);
            self.restless_agents.insert(slot);
        }
        self.set_timer(now, id);
        Ok(())
    }

    fn finished(&mut self, now: Timestamp, id: ConversationId) -> Result<(), Refused> {
        let item = self.items.get(&id).ok_or(Refused::UnknownItem)?;
        let Phase::Connected { since } = item.phase else { return Err(Refused::NotNow) };
        let (slot, queue, kind) = (item.agent, item.queue, item.kind);
        self.remove(now, id, WithdrawnBy::Item);
        let wrap_up = self.queues[queue].config.wrap_up;
        let took = now.duration_since(since);
        self.queues[queue].handled(if kind == Kind::Call { took.saturating_add(wrap_up) } else { took });
        if let Some(slot) = slot.filter(|_| kind == Kind::Call && wrap_up > SignedDuration::ZERO) {
            self.end_wrap_up(slot);
            let until = now.saturating_add(wrap_up).unwrap_or(now);
            self.agent(slot).wrap_up = Some(until);
            self.timers.insert((until, Timer::Agent(slot)));
        }
        Ok(())
    }

    // ---- agents and queues ----

    fn set_agent(&mut self, now: Timestamp, name: &str, profile: AgentProfile) -> Result<(), Refused> {
        if profile.skills.len() > SKILLS_MAX
            || profile.languages.len() > SKILLS_MAX
            || profile.groups.len() > SKILLS_MAX
        {
            return Err(Refused::Full);
        }
        let slot = match self.agent_names.get(name) {
            Some(slot) => {
                self.agents[*slot as usize].profile = profile;
                *slot
            }
            None => {
                let slot = u32::try_from(self.agents.len()).ok().filter(|slot| (*slot as usize) < AGENTS_MAX);
                let slot = slot.ok_or(Refused::Full)?;
                self.agents.push(Agent::new(now, name, profile));
                self.agent_names.insert(name.to_owned(), slot);
                slot
            }
        };
        self.match_agent(slot);
        self.restless_agents.insert(slot);
        Ok(())
    }

    fn set_presence(&mut self, now: Timestamp, slot: u32, presence: &Presence) {
        let agent = self.agent(slot);
        let was = std::mem::replace(&mut agent.presence, presence.clone());
        if *presence == Presence::Ready {
            agent.missed = 0;
            if was != Presence::Ready {
                agent.idle_since = now;
            }
            self.restless_agents.insert(slot);
            return;
        }
        // Nobody is kept for who is not there, and nobody rings them.
        let kept: Vec<Spot> = agent.kept.iter().copied().collect();
        let has: Vec<ConversationId> = agent.has.iter().copied().collect();
        for (_, id) in kept {
            self.end_keeping(now, id);
        }
        for id in has {
            if self.end_offer(now, id, Some(WithdrawnBy::Agent)).is_some() {
                self.not_again(now, id, slot);
            } else if *presence == Presence::Gone {
                self.returned(now, id, slot);
            }
        }
        if *presence == Presence::Gone {
            self.end_wrap_up(slot);
        }
    }

    /// An agent vanished from somebody: back to their place.
    fn returned(&mut self, now: Timestamp, id: ConversationId, slot: u32) {
        let Some(item) = self.items.get_mut(&id) else { return };
        let (kind, queue) = (item.kind, item.queue);
        item.agent = None;
        let agent = &mut self.agents[slot as usize];
        agent.let_go(now, id, kind);
        let queue = self.queues[queue].config.name.clone();
        self.out.push_back(Output::Returned { item: id, queue, agent: agent.name.clone() });
        self.wait_on(now, id);
    }

    fn end_wrap_up(&mut self, slot: u32) {
        if let Some(until) = self.agent(slot).wrap_up.take() {
            self.timers.remove(&(until, Timer::Agent(slot)));
            self.restless_agents.insert(slot);
        }
    }

    fn set_queue(&mut self, now: Timestamp, config: QueueConfig) -> Result<(), Refused> {
        let Some(at) = self.queue_names.get(&config.name).copied() else {
            if self.queues.len() >= QUEUES_MAX {
                return Err(Refused::Full);
            }
            self.queue_names.insert(config.name.clone(), self.queues.len());
            self.queues.push(Queue::new(config));
            return Ok(());
        };
        // Same places, by the new rules.
        let old = std::mem::replace(&mut self.queues[at], Queue::new(config));
        let line = self.queues[at].go_on_from(old);
        for class in 0..self.classes.len() {
            self.match_class(class);
        }
        for (old, id) in line {
            let Some(item) = self.items.get_mut(&id) else { continue };
            let order = Order::new(&self.queues[at].config, item.since, item.priority, old.number);
            item.order = order;
            self.queues[at].line.insert((order, id));
            if self.classes[item.class as usize].waiting.remove(&(old, id)) {
                self.classes[item.class as usize].waiting.insert((order, id));
            }
            if let Some(slot) = item.agent
                && self.agents[slot as usize].kept.remove(&(old, id))
            {
                self.agents[slot as usize].kept.insert((order, id));
            }
            self.place_in_class(now, id);
            self.set_timer(now, id);
            self.restless_items.push_back(id);
        }
        Ok(())
    }

    // ---- classes ----

    /// The class of that key, made when there is none.
    fn class(&mut self, key: ClassKey) -> Result<u32, Refused> {
        if let Some(known) = self.class_ids.get(&key) {
            return Ok(*known);
        }
        let used: BTreeSet<u32> = match self.classes.len() {
            full if full >= CLASSES_MAX => self.items.values().map(|item| item.class).collect(),
            _ => BTreeSet::new(),
        };
        let at = if self.classes.len() < CLASSES_MAX {
            self.classes.push(Class { key: key.clone(), agents: Vec::new(), waiting: BTreeSet::new() });
            self.classes.len() - 1
        } else {
            // One that nobody is in makes room.
            let free = (0..self.classes.len()).find(|at| u32::try_from(*at).is_ok_and(|at| !used.contains(&at)));
            let at = free.ok_or(Refused::Full)?;
            self.class_ids.remove(&self.classes[at].key);
            self.classes[at].key = key.clone();
            at
        };
        let id = u32::try_from(at).unwrap_or(u32::MAX);
        self.class_ids.insert(key, id);
        self.match_class(at);
        Ok(id)
    }

    /// Finds who may serve a class.
    fn match_class(&mut self, at: usize) {
        let id = u32::try_from(at).unwrap_or(u32::MAX);
        let class = &mut self.classes[at];
        for slot in class.agents.drain(..) {
            self.agents[slot as usize].classes.retain(|known| *known != id);
        }
        for (slot, agent) in (0..).zip(&mut self.agents) {
            if may_serve(&self.queues[class.key.queue], &class.key, agent) {
                class.agents.push(slot);
                agent.classes.push(id);
            }
        }
    }

    /// Finds which classes an agent may serve.
    fn match_agent(&mut self, slot: u32) {
        let agent = &mut self.agents[slot as usize];
        agent.classes.clear();
        for (id, class) in (0..).zip(&mut self.classes) {
            class.agents.retain(|known| *known != slot);
            if may_serve(&self.queues[class.key.queue], &class.key, agent) {
                class.agents.push(slot);
                agent.classes.push(id);
            }
        }
    }

    // ---- what others decided ----

    /// Nobody is asked for it, has it, or is waited for any more.
    fn out_of_hands(&mut self, now: Timestamp, id: ConversationId) -> Result<(), Refused> {
        if !self.items.contains_key(&id) {
            return Err(Refused::UnknownItem);
        }
        self.end_offer(now, id, Some(WithdrawnBy::Item));
        let Some(item) = self.items.get_mut(&id) else { return Err(Refused::UnknownItem) };
        if let Some(slot) = item.agent.take() {
            let (spot, kind) = ((item.order, id), item.kind);
            let agent = &mut self.agents[slot as usize];
            agent.kept.remove(&spot);
            agent.let_go(now, id, kind);
            self.restless_agents.insert(slot);
        }
        Ok(())
    }

    fn serving(&mut self, now: Timestamp, id: ConversationId, agent: &str) -> Result<(), Refused> {
        let slot = self.slot(agent)?;
        self.out_of_hands(now, id)?;
        let item = self.items.get_mut(&id).ok_or(Refused::UnknownItem)?;
        let (spot, kind) = ((item.order, id), item.kind);
        item.phase = Phase::Connected { since: now };
        item.declined.clear();
        item.retry = None;
        item.agent = Some(slot);
        self.queues[item.queue].line.remove(&spot);
        self.classes[item.class as usize].waiting.remove(&spot);
        self.agent(slot).take(now, id, kind);
        self.set_timer(now, id);
        Ok(())
    }

    fn was_offered(
        &mut self,
        now: Timestamp,
        id: ConversationId,
        agent: &str,
        deadline: Timestamp,
    ) -> Result<(), Refused> {
        let slot = self.slot(agent)?;
        self.out_of_hands(now, id)?;
        let item = self.items.get_mut(&id).ok_or(Refused::UnknownItem)?;
        self.offered += 1;
        let (offer, kind) = (self.offered, item.kind);
        self.queues[item.queue].line.insert((item.order, id));
        item.phase = Phase::Offered { offer, deadline };
        item.agent = Some(slot);
        self.classes[item.class as usize].waiting.remove(&(item.order, id));
        self.agent(slot).take(now, id, kind);
        self.offers.insert(offer, id);
        self.set_timer(now, id);
        Ok(())
    }
}

/// What [`Input::Join`] says.
struct Joining {
    item: ConversationId,
    queue: usize,
    kind: Kind,
    priority: i32,
    since: Option<Timestamp>,
    needs: Needs,
    last_agent: Option<String>,
    epoch: u64,
}

fn waited(item: &Item, now: Timestamp) -> SignedDuration {
    now.duration_since(item.since)
}

fn may_serve(queue: &Queue, key: &ClassKey, agent: &Agent) -> bool {
    let asked = queue.groups(key.stage).any(|group| agent.profile.groups.iter().any(|own| own == group));
    asked && agent.profile.meets(&key.needs, queue.is_relaxed(key.stage))
}
