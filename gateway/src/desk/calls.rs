//! Calls in the same line as chats: what the switch tells the router, and what it hears.

use ark_conversation::ConversationId;
use ark_conversation::routing::{AgentState, EndReason, Input, Kind, Needs, Phase, Place, Refused, round_up};
use jiff::{SignedDuration, Timestamp};

use super::core::{Asking, CallAct, CallItem, Core};
use crate::call::queue::Asked;

/// A caller who is to wait.
#[derive(Clone, Debug)]
pub(crate) struct CallJoin {
    /// The switch's number of the call.
    pub(crate) caller: u64,
    /// Where.
    pub(crate) queue: String,
    /// Higher is served earlier.
    pub(crate) priority: i32,
    /// Since when.
    pub(crate) since: Timestamp,
    /// The agent who knows them.
    pub(crate) prefers: Option<String>,
    /// By which number they came.
    pub(crate) entrance: String,
    /// Their number, masked.
    pub(crate) title: String,
    /// `sip` or `web`.
    pub(crate) channel: String,
    /// What an agent must be able to do.
    pub(crate) needs: Needs,
}

/// Why a caller cannot wait there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CannotJoin {
    /// No queue has this name.
    NoSuchQueue,
    /// Nobody serves it at all.
    Nobody,
    /// It is closed.
    Closed,
    /// There is no more room.
    Full,
}

/// How a caller's waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// They gave up.
    Abandoned,
    /// The plan took them elsewhere.
    Moved,
}

/// A queue as the live board shows it.
#[derive(Clone, Debug)]
pub(crate) struct CallQueue {
    pub(crate) name: String,
    pub(crate) waiting: usize,
    pub(crate) since: Option<Timestamp>,
    pub(crate) free: usize,
    pub(crate) busy: usize,
}

impl Core {
    pub(crate) fn call_joins(
        &mut self,
        now: Timestamp,
        id: ConversationId,
        join: CallJoin,
    ) -> Result<(Place, SignedDuration), CannotJoin> {
        if !self.configured.contains(&join.queue) {
            return Err(CannotJoin::NoSuchQueue);
        }
        if self.router.members(&join.queue).next().is_none() {
            return Err(CannotJoin::Nobody);
        }
        self.look_at_hours(now);
        let CallJoin { caller, queue, priority, since, prefers, entrance, title, channel, needs } = join;
        let conversation = id;
        let call = CallItem {
            caller,
            conversation,
            queue: queue.clone(),
            since,
            entrance,
            title,
            channel,
            talking: None,
            callback: None,
            asked: None,
        };
        let before = self.calls.insert(id, call);
        let input = Input::Join {
            item: id,
            queue: queue.clone(),
            kind: Kind::Call,
            priority,
            since: Some(since),
            needs,
            last_agent: prefers,
            epoch: 0,
        };
        if let Err(refused) = self.router.handle(now, input) {
            self.calls.remove(&id);
            return Err(match refused {
                Refused::UnknownQueue => CannotJoin::NoSuchQueue,
                Refused::Closed => CannotJoin::Closed,
                _ => CannotJoin::Full,
            });
        }
        if before.is_none_or(|before| before.queue != queue) {
            self.counts.joined(now, &queue);
        }
        // One that was offered at once is first.
        let place = self.call_place(id);
        self.version += 1;
        self.drain(now);
        place.ok_or(CannotJoin::Full)
    }

    /// The place of a caller, and the wait that it means, rounded up.
    pub(crate) fn call_place(&self, id: ConversationId) -> Option<(Place, SignedDuration)> {
        let (place, call) = (self.router.place(id)?, self.calls.get(&id)?);
        let wait = place.estimate.unwrap_or_else(|| {
            // Nobody is there: what it would be if all were.
            let hands = i32::try_from(self.router.members(&call.queue).count()).unwrap_or(1).max(1);
            let mean = self.router.handling(&call.queue).unwrap_or_default();
            mean.saturating_mul(i32::try_from(place.position).unwrap_or(i32::MAX)) / hands
        });
        Some((place, round_up(wait)))
    }

    /// Who waits, and who would answer.
    pub(crate) fn call_leaves(&mut self, now: Timestamp, id: ConversationId, how: Left) -> Option<String> {
        let call = self.calls.remove(&id)?;
        let rung = self.offers.remove(&id).map(|offer| offer.agent);
        if how == Left::Abandoned && call.talking.is_none() {
            self.counts.abandoned(now, &call.queue, &call.entrance);
        }
        let why = if how == Left::Abandoned { EndReason::Abandoned } else { EndReason::Moved };
        self.leave(now, id, why);
        self.chat_again(now, id);
        self.version += 1;
        self.drain(now);
        rung
    }

    /// The agent answered.
    pub(crate) fn call_accepted(&mut self, now: Timestamp, id: ConversationId, agent: &str) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (queue, entrance, since) = (call.queue.clone(), call.entrance.clone(), call.since);
        // Who is called back is answered when they answer.
        if call.callback.is_none() && call.talking.replace(now).is_none() {
            self.counts.answered(now, &queue, &entrance, now.duration_since(since));
        }
        let has = matches!(self.router.phase(id), Some((Phase::Connected { .. }, Some(has))) if has == agent);
        let offer = self.offers.remove(&id).filter(|offer| offer.agent == agent);
        let accepted =
            offer.is_some_and(|offer| self.router.handle(now, Input::Accepted { offer: offer.number }).is_ok());
        if !accepted && !has {
            let _ = self.router.handle(now, Input::Serving { item: id, agent: agent.to_owned() });
        }
        self.version += 1;
        self.drain(now);
    }

    /// The agent did not take it: the caller keeps their place.
    pub(crate) fn call_declined(&mut self, now: Timestamp, id: ConversationId, agent: &str) {
        let open = self.offers.get(&id).filter(|offer| offer.agent == agent).cloned();
        if let Some(offer) = open {
            self.offers.remove(&id);
            let input = if offer.deadline <= now { Input::Tick } else { Input::Declined { offer: offer.number } };
            // A telephone that rests is not asked for the next one in the same breath.
            self.rests(now, agent);
            let _ = self.router.handle(now, input);
        } else {
            self.rests(now, agent);
        }
        self.version += 1;
        self.drain(now);
    }

    /// The talk is over.
    pub(crate) fn call_finished(&mut self, now: Timestamp, id: ConversationId, agent: &str) {
        if self.calls.remove(&id).is_none() {
            return;
        }
        let _ = self.router.handle(now, Input::Finished { item: id });
        if !self.agents.get(agent).is_some_and(|row| row.at_desk()) {
            // Who has no desk cannot say that they are done.
            let _ = self.router.handle(now, Input::WrappedUp { agent: agent.to_owned() });
        }
        self.leave(now, id, EndReason::Closed);
        self.chat_again(now, id);
        self.version += 1;
        self.drain(now);
    }

    /// One agent is rung for a caller past the line, as an item of its own: whoever has the caller keeps them until they are done.
    /// False: they are not free, or nobody serves by that name.
    pub(crate) fn call_engages(
        &mut self,
        now: Timestamp,
        (item, conversation): (ConversationId, ConversationId),
        (agent, asked): (&str, Option<Asked>),
        join: CallJoin,
    ) -> bool {
        // Who is called back is called back while they wrap up, too.
        let free = match asked {
            Some(_) => self.router.has_room(agent, Kind::Call, Some(conversation)),
            None => self.router.has_room_but_wraps_up(agent, Kind::Call, Some(conversation)),
        };
        if !free {
            return false;
        }
        let CallJoin { caller, queue, since, entrance, title, channel, .. } = join;
        let queue = if self.router.config(&queue).is_some() { queue } else { self.first_queue_of(agent) };
        let (since, agent, kind, of) = (Some(since), agent.to_owned(), Kind::Call, queue.clone());
        let taken = Input::Taken { item, queue: of, kind, since, epoch: 0, agent: agent.clone() };
        if self.router.handle(now, taken).is_err() {
            return false;
        }
        if asked.is_none() {
            let _ = self.router.handle(now, Input::WrappedUp { agent });
        }
        let (since, talking) = (now, Some(now));
        let asked = asked.filter(|asked| !asked.by.is_empty()).map(|what| {
            let deadline = now.saturating_add(what.patience).unwrap_or(now);
            Asking { what, deadline }
        });
        let call =
            CallItem { caller, conversation, queue, since, entrance, title, channel, talking, callback: None, asked };
        self.calls.insert(item, call);
        self.version += 1;
        self.drain(now);
        true
    }

    /// Who was rung past the line has answered.
    pub(crate) fn call_taken(&mut self, item: ConversationId) {
        if self.calls.get_mut(&item).is_some_and(|call| call.asked.take().is_some()) {
            self.version += 1;
        }
    }

    /// Each queue of the site, with where those ring who serve it.
    pub(crate) fn call_addresses(&self) -> Vec<(String, Vec<String>)> {
        let addresses = |queue: &String| self.router.members(queue).map(|view| self.address_of(&view.name)).collect();
        self.configured.iter().map(|queue| (queue.clone(), addresses(queue))).collect()
    }

    fn first_queue_of(&self, agent: &str) -> String {
        let groups = self.router.profile(agent).map(|profile| profile.groups.clone()).unwrap_or_default();
        groups.into_iter().find(|group| self.router.config(group).is_some()).unwrap_or_default()
    }

    /// A call in a chat is over: its log says whose the chat is.
    pub(super) fn chat_again(&mut self, now: Timestamp, id: ConversationId) {
        if self.chats.contains_key(&id) {
            self.route_chat(now, id);
        }
    }

    /// Whether an agent could be rung now for that caller.
    pub(crate) fn call_could_ring(&self, id: Option<ConversationId>, agent: &str) -> bool {
        self.router.has_room(agent, Kind::Call, id)
    }

    pub(crate) fn next_call_act(&mut self) -> Option<CallAct> {
        self.call_acts.pop_front()
    }

    /// Whether that caller's offer to that agent is still open.
    pub(crate) fn call_rings(&self, id: ConversationId, agent: &str) -> bool {
        let phase = self.router.phase(id);
        matches!(phase, Some((Phase::Offered { .. }, Some(asked))) if asked == agent)
    }

    pub(crate) fn call_queues(&self) -> Vec<CallQueue> {
        let queues = self.router.queues().into_iter().filter(|queue| self.configured.contains(&queue.name));
        queues
            .map(|queue| {
                let members: Vec<AgentState> = self.router.members(&queue.name).map(|one| one.state).collect();
                let count = |is: fn(&AgentState) -> bool| members.iter().filter(|state| is(state)).count();
                CallQueue {
                    waiting: queue.waiting,
                    since: queue.waiting_since,
                    free: count(|state| *state == AgentState::Ready),
                    busy: count(|state| *state == AgentState::Busy),
                    name: queue.name,
                }
            })
            .collect()
    }
}
