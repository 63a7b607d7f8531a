//! What customers need of an agent, and what becomes of who waits too long.

use ark_conversation::ConversationId;
use ark_conversation::event::Needed;
use ark_conversation::routing::{Input, Kind, Needs};
use jiff::Timestamp;

use super::core::{Act, CallAct, Chat, Core};

impl Core {
    /// What somebody needs who writes: as it was said when they were put in line, else the language of their page or channel.
    pub(super) fn needs_of(&self, chat: &Chat) -> Needs {
        let place = chat.state.place.as_ref();
        if place.is_some_and(|place| place.relaxed) {
            return Needs::default();
        }
        let said = place.and_then(|place| place.needs.clone()).unwrap_or_default();
        let language = chat.tail.language.as_ref().or_else(|| self.languages.get(&chat.entrance));
        Needs::from(&said.or(&Needed::of_language(language.map_or("", String::as_str))))
    }

    /// Somebody has waited longer than their queue's `overflow_after`: the plan decides, else they go on where the queue says.
    pub(super) fn overflows(&mut self, item: ConversationId, queue: String) {
        let kind = if self.calls.contains_key(&item) { Kind::Call } else { Kind::Chat };
        let to = self.overflow.get(&queue).filter(|to| self.takes_in(to, kind)).cloned();
        tracing::info!(conversation = %item, queue, to, "waits longer than the queue's overflow_after");
        if let Some(call) = self.calls.get(&item) {
            self.call_acts.push_back(CallAct::Overflow { caller: call.caller, queue, to });
        } else if self.chats.contains_key(&item) {
            self.acts.push_back((item, Act::Overflow { queue, to }));
        }
    }

    /// Nobody who works there has what somebody needs: it no longer matters, and the log says so.
    pub(super) fn waived(&mut self, item: ConversationId, queue: String, needs: Needs) {
        let needs = Needed::from(needs);
        tracing::info!(conversation = %item, queue, %needs, "nobody who works in the queue has what a customer needs");
        if let Some(call) = self.calls.get(&item) {
            self.call_acts.push_back(CallAct::Relaxed { caller: call.caller, queue, needs });
        } else if self.chats.contains_key(&item) {
            self.acts.push_back((item, Act::Relax { queue, needs }));
        }
    }

    /// Whether somebody would be better off there than where they wait: it is open, and has people.
    fn takes_in(&self, queue: &str, kind: Kind) -> bool {
        let people = kind == Kind::Chat || self.router.members(queue).next().is_some();
        self.router.is_open(queue) == Some(true) && people
    }

    /// A caller goes on waiting in another queue, with the place. False: they do not wait, or are being rung for just now.
    pub(crate) fn call_moves(&mut self, now: Timestamp, id: ConversationId, queue: &str) -> bool {
        let there = self.configured.contains(queue) && self.takes_in(queue, Kind::Call);
        if !there || !self.calls.contains_key(&id) {
            return false;
        }
        let input = Input::Moved { item: id, queue: queue.to_owned() };
        if let Err(refused) = self.router.handle(now, input) {
            tracing::debug!(conversation = %id, %refused, "a caller stays in their queue");
            return false;
        }
        if let Some(call) = self.calls.get_mut(&id) {
            queue.clone_into(&mut call.queue);
        }
        self.counts.joined(now, queue);
        self.version += 1;
        self.drain(now);
        true
    }
}
