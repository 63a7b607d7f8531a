//! Agents as the router sees them.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::config::{AgentProfile, Kind, Presence};
use super::line::Spot;
use crate::id::ConversationId;

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) name: String,
    pub(super) profile: AgentProfile,
    pub(super) presence: Presence,
    /// Wrapping up until then.
    pub(super) wrap_up: Option<Timestamp>,
    /// Offers in a row that they let pass.
    pub(super) missed: u32,
    /// Since when they have had nothing new.
    pub(super) idle_since: Timestamp,
    /// What they have and what is offered to them.
    pub(super) has: BTreeSet<ConversationId>,
    calls: u32,
    chats: u32,
    /// Classes that they may serve.
    pub(super) classes: Vec<u32>,
    /// Who is kept for them.
    pub(super) kept: BTreeSet<Spot>,
}

impl Agent {
    pub(super) fn new(now: Timestamp, name: &str, profile: AgentProfile) -> Self {
        Self {
            name: name.to_owned(),
            profile,
            presence: Presence::Gone,
            wrap_up: None,
            missed: 0,
            idle_since: now,
            has: BTreeSet::new(),
            calls: 0,
            chats: 0,
            classes: Vec::new(),
            kept: BTreeSet::new(),
        }
    }

    /// Whether one more of that kind may be offered.
    pub(super) fn has_room(&self, kind: Kind) -> bool {
        self.has_room_beside(kind, None)
    }

    /// The same, with one item of theirs not counted.
    pub(super) fn has_room_beside(&self, kind: Kind, without: Option<Kind>) -> bool {
        self.wrap_up.is_none() && self.has_room_but_wraps_up(kind, without)
    }

    /// The same of who may be wrapping up.
    pub(super) fn has_room_but_wraps_up(&self, kind: Kind, without: Option<Kind>) -> bool {
        if self.presence != Presence::Ready {
            return false;
        }
        let capacity = self.profile.capacity;
        let calls = self.calls - u32::from(without == Some(Kind::Call));
        let chats = self.chats - u32::from(without == Some(Kind::Chat));
        match kind {
            Kind::Call => calls < capacity.calls && chats <= capacity.chats_beside_call,
            Kind::Chat if calls > 0 => chats < capacity.chats_beside_call,
            Kind::Chat => chats < capacity.chats,
        }
    }

    /// Whether they have no more than they may, whatever their presence.
    pub(super) fn is_within_capacity(&self) -> bool {
        let capacity = self.profile.capacity;
        let chats = if self.calls > 0 { capacity.chats_beside_call } else { capacity.chats };
        self.calls <= capacity.calls && self.chats <= chats
    }

    pub(super) fn take(&mut self, now: Timestamp, item: ConversationId, kind: Kind) {
        if self.has.insert(item) {
            *self.count(kind) += 1;
            self.idle_since = now;
        }
    }

    pub(super) fn let_go(&mut self, now: Timestamp, item: ConversationId, kind: Kind) {
        if self.has.remove(&item) {
            let count = self.count(kind);
            *count = count.saturating_sub(1);
            self.idle_since = now;
        }
    }

    fn count(&mut self, kind: Kind) -> &mut u32 {
        match kind {
            Kind::Call => &mut self.calls,
            Kind::Chat => &mut self.chats,
        }
    }

    pub(super) fn calls(&self) -> u32 {
        self.calls
    }

    pub(super) fn chats(&self) -> u32 {
        self.chats
    }

    /// Whether they work and take that kind at all, now or when they have room.
    pub(super) fn works_on(&self, kind: Kind) -> bool {
        let capacity = self.profile.capacity;
        let takes = match kind {
            Kind::Call => capacity.calls,
            Kind::Chat => capacity.chats.max(capacity.chats_beside_call),
        };
        self.works() && takes > 0
    }

    /// Whether they work at all: what an estimate counts.
    pub(super) fn works(&self) -> bool {
        self.presence == Presence::Ready
    }
}
