//! Calls that go from one agent to another: whom they may go to, and whose they are then.

use ark_conversation::ConversationId;
use ark_conversation::routing::{EndReason, Input, Kind};
use jiff::Timestamp;

use super::core::{CallItem, Core};

impl Core {
    /// Whether that is a queue of the site.
    pub(crate) fn has_queue(&self, name: &str) -> bool {
        self.configured.contains(name)
    }

    /// Whether an agent is called so.
    pub(crate) fn has_agent(&self, agent: &str) -> bool {
        self.router.profile(agent).is_some()
    }

    /// The agent whom people call so: by name, by the address of their telephone, or by its user part.
    pub(crate) fn agent_called(&self, name: &str) -> Option<String> {
        let at = self.agent_at(name);
        if self.has_agent(&at) {
            return Some(at);
        }
        let user =
            |address: &str| address.strip_prefix("sip:").and_then(|rest| rest.split(['@', ';']).next()) == Some(name);
        let phone_is = |phone: &Option<String>| phone.as_deref().is_some_and(user);
        self.agents.iter().find(|(agent, row)| user(agent) || phone_is(&row.phone)).map(|(agent, _)| agent.clone())
    }

    /// The first agent of a queue who could take a call now, but not this one.
    pub(crate) fn free_agent_of(&self, queue: &str, not: &str) -> Option<String> {
        let mut members = self.router.members(queue).map(|agent| agent.name);
        members.find(|agent| agent != not && self.router.has_room(agent, Kind::Call, None))
    }

    /// The talk that an agent was engaged for is the call's own from now on.
    pub(crate) fn call_moves(&mut self, now: Timestamp, from: ConversationId, to: ConversationId, agent: &str) {
        let Some(item) = self.calls.remove(&from) else { return };
        let CallItem { caller, queue, entrance, title, channel, .. } = item;
        let agent = agent.to_owned();
        let taken = Input::Taken { item: to, queue: queue.clone(), kind: Kind::Call, since: None, epoch: 0, agent };
        // First they have both, so that nobody else is given to them in between.
        if self.router.handle(now, taken).is_ok() {
            self.calls.insert(to, CallItem { caller, queue, since: now, entrance, title, channel, talking: Some(now) });
        }
        self.leave(now, from, EndReason::Moved);
        self.drain(now);
    }
}
