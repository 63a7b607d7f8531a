//! What others see of a router.

use jiff::{SignedDuration, Timestamp};

use super::super::config::{AgentProfile, Kind, Presence, QueueConfig};
use super::super::desk::Agent;
use super::super::line::{Class, Place, Queue, worth};
use super::{Item, Phase, Router};
use crate::id::ConversationId;
#[cfg(doc)]
use crate::limits::ANSWER_AIM;

/// Counts of a queue since the router began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Came.
    pub joined: u64,
    /// Were answered by a person.
    pub answered: u64,
    /// Of these, within [`ANSWER_AIM`] of coming.
    pub answered_in_time: u64,
    /// Gave up.
    pub abandoned: u64,
    /// Were taken elsewhere.
    pub moved: u64,
    /// Needed something that nobody who worked there had, and were given to whoever was free.
    pub waived: u64,
    /// Offers that passed without an answer.
    pub missed: u64,
    /// Offers that were declined.
    pub declined: u64,
}

/// A queue as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Whether it is open.
    pub open: bool,
    /// Who waits, offered or not, the next first.
    pub waiting: usize,
    /// Since when the one waits who has waited longest.
    pub waiting_since: Option<Timestamp>,
    /// Counts.
    pub stats: Stats,
}

/// What an agent does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// There, with room for something.
    Ready,
    /// There, without room.
    Busy,
    /// Wrapping up until then.
    WrapUp(Timestamp),
    /// There, not to be asked, and why.
    Away(String),
    /// Not there.
    Gone,
}

/// An agent as others see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentView {
    /// Their name.
    pub name: String,
    /// What they do.
    pub state: AgentState,
    /// Calls, offers counted.
    pub calls: u32,
    /// Chats, offers counted.
    pub chats: u32,
}

impl Router {
    /// What becomes of an item, and its agent: with whom they are, who is asked, or for whom they are kept.
    #[must_use]
    pub fn phase(&self, item: ConversationId) -> Option<(Phase, Option<&str>)> {
        let found = self.items.get(&item)?;
        Some((found.phase, found.agent.map(|slot| self.agents[slot as usize].name.as_str())))
    }

    /// The open offer of an item.
    #[must_use]
    pub fn offer_of(&self, item: ConversationId) -> Option<u64> {
        match self.items.get(&item)?.phase {
            Phase::Offered { offer, .. } => Some(offer),
            _ => None,
        }
    }

    /// The place of an item that waits. Costs the number of those before it.
    #[must_use]
    pub fn place(&self, item: ConversationId) -> Option<Place> {
        let found = self.items.get(&item).filter(|item| !matches!(item.phase, Phase::Connected { .. }))?;
        let queue = &self.queues[found.queue];
        let position = queue.line.range(..=(found.order, item)).count();
        Some(Place { position, since: found.since, estimate: self.estimate(found, position) })
    }

    /// Position times handling time by those who work there. An agent of several queues with people in them counts in each for a
    /// part, one who takes several chats at once for as many. What was told too low lately is told higher.
    pub(super) fn estimate(&self, item: &Item, position: usize) -> Option<SignedDuration> {
        let queue = &self.queues[item.queue];
        let class = &self.classes[item.class as usize];
        // For whom each queue was counted last.
        let mut counted = vec![u32::MAX; self.queues.len()];
        let shares =
            class.agents.iter().map(|slot| (*slot, &self.agents[*slot as usize])).filter(|(_, agent)| agent.works());
        let hands: f64 = shares
            .map(|(slot, agent)| {
                let mut queues = 1_u32;
                for class in &agent.classes {
                    let at = self.classes[*class as usize].key.queue;
                    if at != item.queue && counted[at] != slot && !self.queues[at].line.is_empty() {
                        queues += 1;
                    }
                    counted[at] = slot;
                }
                let at_once = match item.kind {
                    Kind::Call => agent.profile.capacity.calls,
                    Kind::Chat => agent.profile.capacity.chats,
                };
                f64::from(at_once) / f64::from(queues)
            })
            .sum();
        if hands <= 0.0 {
            return None;
        }
        let seconds = queue.handling().as_secs_f64() * queue.correction() * position as f64 / hands;
        SignedDuration::try_from_secs_f64(seconds.min(86_400.0)).ok()
    }

    /// Nobody who joins this item's queue later than this is served before it, whatever their priority up to `highest`.
    #[must_use]
    pub fn overtaken_until(&self, item: ConversationId, highest: i32) -> Option<Timestamp> {
        let found = self.items.get(&item)?;
        let config = &self.queues[found.queue].config;
        let ahead = worth(config, highest).checked_sub(worth(config, found.priority))?;
        found.since.checked_add(ahead.max(SignedDuration::ZERO)).ok()
    }

    /// Every queue.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueView> {
        self.queues.iter().map(|queue| self.view_of_queue(queue)).collect()
    }

    /// One queue.
    #[must_use]
    pub fn queue(&self, name: &str) -> Option<QueueView> {
        self.queue_names.get(name).map(|at| self.view_of_queue(&self.queues[*at]))
    }

    fn view_of_queue(&self, queue: &Queue) -> QueueView {
        let since = queue.line.iter().filter_map(|(_, id)| self.items.get(id)).map(|item| item.since).min();
        QueueView {
            name: queue.config.name.clone(),
            open: queue.open,
            waiting: queue.line.len(),
            waiting_since: since,
            stats: queue.stats,
        }
    }

    /// How many wait in that queue for something that nobody has who works there.
    #[must_use]
    pub fn unmet(&self, queue: &str) -> usize {
        let Some(at) = self.queue_names.get(queue).copied() else { return 0 };
        let unmet = |class: &&Class| {
            let mut able = class.agents.iter().map(|slot| &self.agents[*slot as usize]);
            class.key.queue == at && !class.key.needs.is_nothing() && !able.any(|agent| agent.works_on(class.key.kind))
        };
        self.classes.iter().filter(unmet).map(|class| class.waiting.len()).sum()
    }

    /// Whether a queue is open; none: there is none of that name.
    #[must_use]
    pub fn is_open(&self, queue: &str) -> Option<bool> {
        self.queue_names.get(queue).map(|at| self.queues[*at].open)
    }

    /// The names of all queues.
    pub fn queue_names(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().map(|queue| queue.config.name.as_str())
    }

    /// One agent.
    #[must_use]
    pub fn agent_view(&self, name: &str) -> Option<AgentView> {
        self.agent_names.get(name).map(|slot| view_of(&self.agents[*slot as usize]))
    }

    /// Every agent.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentView> {
        self.agents.iter().map(view_of).collect()
    }

    /// Everybody who waits in a queue, offered or not, the next first.
    pub fn line(&self, queue: &str) -> impl Iterator<Item = ConversationId> {
        let queue = self.queue_names.get(queue).map(|at| &self.queues[*at]);
        queue.into_iter().flat_map(|queue| queue.line.iter().map(|(_, id)| *id))
    }

    /// Whether an agent has room for one more of that kind, those of `without` not counted.
    #[must_use]
    pub fn has_room(&self, agent: &str, kind: Kind, without: Option<ConversationId>) -> bool {
        let Some(slot) = self.agent_names.get(agent) else { return false };
        let agent = &self.agents[*slot as usize];
        let own = without.and_then(|id| self.items.get(&id)).filter(|item| item.agent == Some(*slot));
        agent.has_room_beside(kind, own.map(|item| item.kind))
    }

    /// The same of an agent who may be wrapping up.
    #[must_use]
    pub fn has_room_but_wraps_up(&self, agent: &str, kind: Kind, without: Option<ConversationId>) -> bool {
        let Some(slot) = self.agent_names.get(agent) else { return false };
        let agent = &self.agents[*slot as usize];
        let own = without.and_then(|id| self.items.get(&id)).filter(|item| item.agent == Some(*slot));
        agent.has_room_but_wraps_up(kind, own.map(|item| item.kind))
    }

    /// What an agent has, and what is offered to them.
    pub fn of_agent(&self, agent: &str) -> impl Iterator<Item = ConversationId> {
        let slot = self.agent_names.get(agent);
        slot.into_iter().flat_map(|slot| self.agents[*slot as usize].has.iter().copied())
    }

    /// Agents who may serve that queue from the beginning, by their groups.
    pub fn members<'a>(&'a self, queue: &str) -> impl Iterator<Item = AgentView> + 'a {
        let groups = self.queue_names.get(queue).map(|at| &self.queues[*at].config.groups);
        let is_member = move |agent: &&Agent| {
            groups.is_some_and(|all| all.iter().any(|step| agent.profile.groups.contains(&step.group)))
        };
        self.agents.iter().filter(is_member).map(view_of)
    }

    /// The mean handling time of a queue by the assumed one or the last.
    #[must_use]
    pub fn handling(&self, queue: &str) -> Option<SignedDuration> {
        self.queue_names.get(queue).map(|at| self.queues[*at].handling())
    }

    /// The configuration of a queue.
    #[must_use]
    pub fn config(&self, queue: &str) -> Option<&QueueConfig> {
        self.queue_names.get(queue).map(|at| &self.queues[*at].config)
    }

    /// What an agent can do.
    #[must_use]
    pub fn profile(&self, agent: &str) -> Option<&AgentProfile> {
        self.agent_names.get(agent).map(|slot| &self.agents[*slot as usize].profile)
    }

    /// Since when an item waits, or waited until it was answered.
    #[must_use]
    pub fn since(&self, item: ConversationId) -> Option<Timestamp> {
        self.items.get(&item).map(|item| item.since)
    }

    /// The number in the order of coming, which decides between two who came at the same time.
    #[must_use]
    pub fn number(&self, item: ConversationId) -> Option<u64> {
        self.items.get(&item).map(|item| item.order.number)
    }

    /// How many are waiting, offered or with agents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What must hold after every input, in words; for tests.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        for (id, item) in &self.items {
            let spot = (item.order, *id);
            let (in_line, in_class) = (
                self.queues[item.queue].line.contains(&spot),
                self.classes[item.class as usize].waiting.contains(&spot),
            );
            let agent = item.agent.map(|slot| &self.agents[slot as usize]);
            let has = agent.is_some_and(|agent| agent.has.contains(id));
            let right = match item.phase {
                Phase::Waiting => in_line && in_class && agent.is_none(),
                Phase::Kept { .. } => in_line && !in_class && !has && item.timer.is_some(),
                Phase::Offered { offer, .. } => {
                    in_line && !in_class && has && item.timer.is_some() && self.offers.get(&offer) == Some(id)
                }
                Phase::Connected { .. } => !in_line && !in_class && has,
            };
            if !right {
                return Err(format!("{id}: {:?}, line {in_line}, class {in_class}, agent has it {has}", item.phase));
            }
        }
        let held: usize = self.agents.iter().map(|agent| agent.has.len()).sum();
        let theirs = self.items.values().filter(|i| matches!(i.phase, Phase::Offered { .. } | Phase::Connected { .. }));
        let (theirs, lines) = (theirs.count(), self.queues.iter().map(|queue| queue.line.len()).sum::<usize>());
        let waits = self.items.values().filter(|item| !matches!(item.phase, Phase::Connected { .. })).count();
        if held != theirs || lines != waits {
            return Err(format!("agents have {held} of {theirs}, lines have {lines} of {waits}"));
        }
        // Whoever could be served is being served.
        let idle = |id: &ConversationId| self.agent_for(*id).is_some();
        match self.items.keys().find(|id| !self.recovering && idle(id)) {
            Some(id) => Err(format!("{id} waits although an agent is free")),
            None => Ok(()),
        }
    }

    /// Whether that agent has no more than their capacity.
    #[doc(hidden)]
    #[must_use]
    pub fn is_within_capacity(&self, agent: &str) -> bool {
        self.agent_names.get(agent).is_none_or(|slot| self.agents[*slot as usize].is_within_capacity())
    }
}

fn view_of(agent: &Agent) -> AgentView {
    let state = match (&agent.presence, agent.wrap_up) {
        (Presence::Gone, _) => AgentState::Gone,
        (Presence::Away(why), _) => AgentState::Away(why.clone()),
        (Presence::Ready, Some(until)) => AgentState::WrapUp(until),
        (Presence::Ready, None) if agent.has_room(Kind::Call) || agent.has_room(Kind::Chat) => AgentState::Ready,
        (Presence::Ready, None) => AgentState::Busy,
    };
    AgentView { name: agent.name.clone(), state, calls: agent.calls(), chats: agent.chats() }
}
