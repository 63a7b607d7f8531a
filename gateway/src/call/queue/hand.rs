//! What a transfer asks of the queues: who may be rung past the line, and whose call it is then.

use std::time::Instant;

use super::{CallerId, Queues};

impl Queues {
    /// Whether there is a queue of that name.
    pub fn has(&self, queue: &str) -> bool {
        self.desk.with(|core| core.has_queue(queue))
    }

    /// Whether somebody of the desk is rung at that address.
    pub fn rings(&self, uri: &str) -> bool {
        self.desk.with(|core| core.has_agent(&core.agent_at(uri)))
    }

    /// Where the agent is rung whom people call so: by name, by the address of their telephone, or by its user part.
    pub fn called(&self, name: &str) -> Option<String> {
        self.desk.with(|core| core.agent_called(name).map(|agent| core.address_of(&agent)))
    }

    /// The agent who is rung at that address.
    pub fn agent_of(&self, uri: &str) -> String {
        self.desk.with(|core| core.agent_at(uri))
    }

    /// Where the first agent of a queue is rung who could take a call now, but not the one at `not`.
    pub fn free_of(&self, queue: &str, not: &str) -> Option<String> {
        self.desk.with(|core| {
            let not = core.agent_at(not);
            core.free_agent_of(queue, &not).map(|agent| core.address_of(&agent))
        })
    }

    /// A queue that is answered at that address.
    pub fn home_of(&self, uri: &str) -> Option<String> {
        Some(self.desk.with(|core| core.first_queue_of(&core.agent_at(uri)))).filter(|queue| !queue.is_empty())
    }

    /// The talk for which somebody was [`Queues::engage`]d under the number `beside` is `caller`'s own from now on.
    pub fn take_over(&mut self, now: Instant, beside: CallerId, caller: CallerId) {
        let (from, to, at) = (self.conversation(beside), self.conversation(caller), self.wall(now));
        let Some(mut known) = self.known.remove(&beside) else { return };
        let Some(agent) = known.agent.map(|operator| self.agent(operator)) else { return };
        if let Some(before) = self.known.remove(&caller) {
            known.caller = before.caller;
        }
        self.known.insert(caller, known);
        self.desk.with(|core| core.call_moves(at, from, to, &agent));
    }
}
