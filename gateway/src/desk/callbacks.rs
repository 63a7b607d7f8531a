//! Customers who have hung up and are called when their turn comes: they stand in the same line, and an agent who accepts calls them.
//!
//! That somebody waits so is in their conversation's log (a leg that is offered, with its place), and is read there: by the gateway that
//! has the conversation's shard, so that one gateway calls. Who is called how often, and when again, is the router's to say.

use ark_conversation::routing::{EndReason, Input, Kind, Needs, Phase};
use ark_conversation::state::{ConversationState, LegPhase};
use ark_conversation::{ConversationId, LegId, mask_number};
use jiff::Timestamp;

use super::core::{CallAct, CallItem, Core};
use super::limits::CALLBACKS_AWAITED_MAX;
use crate::conversations::callback;

/// A callback that waits, or is being made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Callback {
    /// The number.
    pub(crate) number: String,
    /// The hotline that the customer called; empty: none.
    pub(crate) entrance: String,
    /// Where they wait.
    pub(crate) queue: String,
    /// Since when.
    pub(crate) since: Timestamp,
    /// Higher is served earlier.
    pub(crate) priority: u8,
    /// How often they were called and did not answer.
    pub(crate) tries: u32,
    /// The leg by which they will be called.
    pub(crate) leg: LegId,
    /// The first number behind it that no leg has.
    pub(crate) next_leg: LegId,
    /// Somebody is calling them, or talks with them.
    pub(crate) dialled: bool,
}

impl Core {
    /// What a conversation's log says of a callback. `ours`: this gateway makes it.
    pub(crate) fn callback_seen(&mut self, now: Timestamp, state: &ConversationState, ours: bool) {
        let id = state.conversation;
        let known = self.calls.get(&id).is_some_and(|call| call.callback.is_some());
        let Some(leg) = state.waiting_callback().filter(|_| ours) else {
            self.awaited.remove(&id);
            if known {
                self.callback_over(now, state, ours);
            }
            return;
        };
        let Some(place) = &leg.callback else { return };
        if state.customer_calls() {
            // They are still on the line: it is looked at again when they have hung up.
            if self.awaited.len() < CALLBACKS_AWAITED_MAX {
                self.awaited.insert(id);
            }
            return;
        }
        self.awaited.remove(&id);
        let callback = Callback {
            number: leg.to.reveal().to_owned(),
            entrance: callback::entrance_of(state),
            queue: place.queue.clone(),
            since: place.waiting_since,
            priority: place.priority,
            tries: place.tries,
            leg: leg.leg,
            next_leg: callback::next_leg(state, leg.leg),
            dialled: false,
        };
        match self.calls.get_mut(&id) {
            Some(CallItem { callback: Some(known), .. }) if known.dialled => {}
            Some(CallItem { callback: Some(known), .. }) => {
                let next_leg = known.next_leg.max(callback.next_leg);
                *known = Callback { next_leg, ..callback };
            }
            // A call of theirs waits, or talks: afterwards the log is looked at again.
            Some(_) => {}
            None => self.callback_joins(now, id, callback, state),
        }
    }

    fn callback_joins(&mut self, now: Timestamp, id: ConversationId, callback: Callback, state: &ConversationState) {
        let (queue, since, tries) = (callback.queue.clone(), callback.since, callback.tries);
        self.know_queue(now, &queue);
        let mut entrance = callback.entrance.clone();
        if let Some(chat) = self.chats.get_mut(&id) {
            // It is counted as the call that it will be.
            (chat.counted, chat.parked) = (None, false);
            if entrance.is_empty() {
                entrance.clone_from(&chat.entrance);
            }
        }
        let (title, priority) = (mask_number(&callback.number), i32::from(callback.priority));
        let item = CallItem {
            caller: 0,
            conversation: id,
            queue: queue.clone(),
            since,
            entrance,
            title,
            channel: "sip".to_owned(),
            talking: None,
            callback: Some(callback),
            asked: None,
        };
        self.calls.insert(id, item);
        self.offers.remove(&id);
        let last_agent = state.agents.last().cloned();
        let (needs, epoch) = (Needs::default(), 0);
        let (item, kind, since) = (id, Kind::Call, Some(since));
        let join = Input::Join { item, queue: queue.clone(), kind, priority, since, needs, last_agent, epoch };
        // The place was theirs while it was open.
        let open = self.router.is_open(&queue).unwrap_or(true);
        self.tell(now, Input::Open { queue: queue.clone(), open: true });
        let joined = self.tell(now, join) && self.tell(now, Input::Callback { item, tries });
        self.tell(now, Input::Open { queue, open });
        if !joined {
            // There is no room: the next look over tries it again.
            self.calls.remove(&id);
        }
        self.version += 1;
        self.drain(now);
    }

    /// The log has no callback that waits any more.
    fn callback_over(&mut self, now: Timestamp, state: &ConversationState, ours: bool) {
        let id = state.conversation;
        let Some(callback) = self.calls.get(&id).and_then(|call| call.callback.as_ref()) else { return };
        // A leg that the log does not know yet is on its way into it.
        let ended = state.leg(callback.leg).is_some_and(|leg| leg.phase == LegPhase::Ended);
        if callback.dialled || (ours && !ended) {
            return;
        }
        self.calls.remove(&id);
        self.leave(now, id, EndReason::Moved);
        self.chat_again(now, id);
        self.version += 1;
        self.drain(now);
    }

    /// Whether the end of a call of theirs is waited for.
    pub(super) fn awaits_the_end(&self, id: ConversationId) -> bool {
        self.awaited.contains(&id)
    }

    /// The callback of a conversation, for whoever makes it.
    pub(crate) fn callback(&self, id: ConversationId) -> Option<Callback> {
        self.calls.get(&id)?.callback.clone()
    }

    /// The agent takes it from their desk: they are rung, and then the customer is. False: the offer is over.
    pub(super) fn callback_taken(&mut self, now: Timestamp, id: ConversationId, agent: &str) -> bool {
        let Some(offer) = self.offers.get(&id).filter(|offer| offer.agent == agent).map(|offer| offer.number) else {
            return false;
        };
        self.offers.remove(&id);
        if !self.tell(now, Input::Accepted { offer }) {
            return false;
        }
        self.call_acts.push_back(CallAct::CallBack { item: id, agent: agent.to_owned() });
        self.version += 1;
        self.drain(now);
        true
    }

    /// Whether that agent is to be rung for it: their telephone is asked, or they have said yes at their desk.
    pub(crate) fn callback_rings(&self, id: ConversationId, agent: &str) -> bool {
        let with = matches!(self.router.phase(id), Some((Phase::Offered { .. } | Phase::Connected { .. }, Some(asked))) if asked == agent);
        with && self.calls.get(&id).and_then(|call| call.callback.as_ref()).is_some_and(|callback| !callback.dialled)
    }

    /// The switch makes it, under that number of its own.
    pub(crate) fn callback_dialled(&mut self, id: ConversationId, caller: u64) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.caller = caller;
            if let Some(callback) = &mut call.callback {
                callback.dialled = true;
            }
        }
    }

    /// The customer answered.
    pub(crate) fn callback_reached(&mut self, now: Timestamp, id: ConversationId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (queue, entrance, since) = (call.queue.clone(), call.entrance.clone(), call.since);
        if call.talking.replace(now).is_none() {
            self.counts.answered(now, &queue, &entrance, now.duration_since(since));
            self.version += 1;
        }
    }

    /// Nothing came of it: the agent was not there, or left before the customer answered. The customer keeps the place; the next leg
    /// has that number.
    pub(crate) fn callback_back(
        &mut self,
        now: Timestamp,
        id: ConversationId,
        agent: &str,
        (leg, next): (LegId, LegId),
    ) {
        let Some(callback) = self.end_dialling(id, leg, next) else { return };
        match self.offers.get(&id).filter(|offer| offer.agent == agent).cloned() {
            Some(offer) => {
                self.offers.remove(&id);
                let input = if offer.deadline <= now { Input::Tick } else { Input::Declined { offer: offer.number } };
                self.rests(now, agent);
                self.tell(now, input);
            }
            // They had said yes: it is as if they had vanished from the customer.
            None if matches!(self.router.phase(id), Some((Phase::Connected { .. }, _))) => {
                self.rests(now, agent);
                let (queue, since, priority) = (callback.queue, Some(callback.since), i32::from(callback.priority));
                let (item, kind, needs, epoch) = (id, Kind::Call, Needs::default(), 0);
                let open = self.router.is_open(&queue).unwrap_or(true);
                self.tell(now, Input::Open { queue: queue.clone(), open: true });
                let of = queue.clone();
                self.tell(now, Input::Join { item, queue: of, kind, priority, since, needs, last_agent: None, epoch });
                self.tell(now, Input::Open { queue, open });
            }
            None => self.rests(now, agent),
        }
        self.version += 1;
        self.drain(now);
    }

    /// The customer did not take the call. Gives how often they did not so far, when they are called again; none: they are not.
    pub(crate) fn callback_missed(
        &mut self,
        now: Timestamp,
        id: ConversationId,
        (leg, next): (LegId, LegId),
    ) -> Option<u32> {
        self.end_dialling(id, leg, next)?;
        self.tell(now, Input::CallbackMissed { item: id });
        let again = self.router.phase(id).is_some();
        let tries = self.calls.get_mut(&id).and_then(|call| call.callback.as_mut()).map(|callback| {
            callback.tries += 1;
            callback.tries
        });
        self.version += 1;
        self.drain(now);
        if !again {
            self.calls.remove(&id);
            self.chat_again(now, id);
            self.drain(now);
        }
        tries.filter(|_| again)
    }

    fn end_dialling(&mut self, id: ConversationId, leg: LegId, next_leg: LegId) -> Option<Callback> {
        let call = self.calls.get_mut(&id)?;
        (call.caller, call.talking) = (0, None);
        let callback = call.callback.as_mut()?;
        (callback.dialled, callback.leg) = (false, leg);
        callback.next_leg = callback.next_leg.max(next_leg);
        Some(callback.clone())
    }
}
