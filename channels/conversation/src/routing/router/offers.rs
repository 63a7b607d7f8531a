//! Who is asked, and how an offer ends.

use jiff::{SignedDuration, Timestamp};

use super::super::config::{Kind, Presence};
use super::{Output, Phase, Refused, Router, WithdrawnBy, waited};
use crate::id::ConversationId;
use crate::limits::{ANSWER_AIM, DECLINED_SCAN_MAX, MISSED_MAX, RETRY_AFTER};

impl Router {
    pub(super) fn offer(&mut self, now: Timestamp, id: ConversationId, slot: u32) {
        let Some(item) = self.items.get_mut(&id) else { return };
        self.offered += 1;
        let (offer, queue) = (self.offered, &self.queues[item.queue].config);
        let deadline = now.saturating_add(queue.offer_ttl.max(SignedDuration::from_secs(1))).unwrap_or(now);
        let spot = (item.order, id);
        let agent = &mut self.agents[slot as usize];
        if let Some(kept_for) = item.agent.take() {
            debug_assert_eq!(kept_for, slot, "who is kept for one is offered to nobody else");
        }
        agent.kept.remove(&spot);
        self.classes[item.class as usize].waiting.remove(&spot);
        item.phase = Phase::Offered { offer, deadline };
        item.agent = Some(slot);
        agent.take(now, id, item.kind);
        self.offers.insert(offer, id);
        self.out.push_back(Output::Offer {
            offer,
            item: id,
            queue: queue.name.clone(),
            agent: agent.name.clone(),
            kind: item.kind,
            deadline,
            callback: item.callback.is_some(),
            epoch: item.epoch,
        });
        self.set_timer(now, id);
    }

    /// Ends the offer of an item, if there is one: it waits again, the agent is free again.
    pub(super) fn end_offer(&mut self, now: Timestamp, id: ConversationId, told: Option<WithdrawnBy>) -> Option<u32> {
        let item = self.items.get_mut(&id)?;
        let Phase::Offered { offer, .. } = item.phase else { return None };
        let slot = item.agent.take()?;
        let kind = item.kind;
        self.offers.remove(&offer);
        let agent = &mut self.agents[slot as usize];
        agent.let_go(now, id, kind);
        if let Some(why) = told {
            self.out.push_back(Output::Withdrawn { offer, item: id, agent: agent.name.clone(), why });
        }
        self.restless_agents.insert(slot);
        self.wait_on(now, id);
        Some(slot)
    }

    pub(super) fn offered_item(&self, offer: u64) -> Result<ConversationId, Refused> {
        self.offers.get(&offer).copied().ok_or(Refused::OfferEnded)
    }

    pub(super) fn accepted(&mut self, now: Timestamp, offer: u64) -> Result<(), Refused> {
        let id = self.offered_item(offer)?;
        self.offers.remove(&offer);
        let Some(item) = self.items.get_mut(&id) else { return Err(Refused::UnknownItem) };
        item.phase = Phase::Connected { since: now };
        item.declined.clear();
        item.retry = None;
        let (waited, told) = (waited(item, now), item.told.take());
        let (queue, slot, spot) = (item.queue, item.agent, (item.order, id));
        self.queues[queue].line.remove(&spot);
        // Who was answered at once was told nothing.
        if let Some(told) = told.filter(|_| waited > self.queues[queue].config.offer_ttl) {
            self.queues[queue].answered(told, waited);
        }
        let stats = &mut self.queues[queue].stats;
        stats.answered += 1;
        stats.answered_in_time += u64::from(waited <= ANSWER_AIM);
        if let Some(slot) = slot {
            self.agent(slot).missed = 0;
        }
        self.set_timer(now, id);
        Ok(())
    }

    pub(super) fn declined(&mut self, now: Timestamp, offer: u64) -> Result<(), Refused> {
        let id = self.offered_item(offer)?;
        if let Some(slot) = self.end_offer(now, id, None) {
            self.not_again(now, id, slot);
            if let Some(item) = self.items.get(&id) {
                self.queues[item.queue].stats.declined += 1;
            }
        }
        Ok(())
    }

    /// Nobody answered in time: the next agent is asked, and who lets too many pass is asked no more.
    pub(super) fn expired(&mut self, now: Timestamp, offer: u64) {
        let Ok(id) = self.offered_item(offer) else { return };
        let Some(slot) = self.end_offer(now, id, Some(WithdrawnBy::Deadline)) else { return };
        self.not_again(now, id, slot);
        if let Some(item) = self.items.get(&id) {
            self.queues[item.queue].stats.missed += 1;
        }
        let agent = self.agent(slot);
        agent.missed += 1;
        if agent.missed >= MISSED_MAX && agent.presence == Presence::Ready {
            agent.missed = 0;
            let name = agent.name.clone();
            self.set_presence(now, slot, &Presence::Away("no answer".to_owned()));
            self.out.push_back(Output::SetAway { agent: name });
        }
    }

    /// That agent is not asked for that item again before others, or before a while.
    pub(super) fn not_again(&mut self, now: Timestamp, id: ConversationId, slot: u32) {
        let Some(item) = self.items.get_mut(&id) else { return };
        if !item.declined.contains(&slot) {
            item.declined.push(slot);
        }
        item.retry = Some(now.saturating_add(RETRY_AFTER).unwrap_or(now));
        self.set_timer(now, id);
    }

    /// Offers what can be offered.
    pub(super) fn route(&mut self, now: Timestamp) {
        if self.recovering {
            self.restless_items.clear();
            self.restless_agents.clear();
            return;
        }
        loop {
            if let Some(slot) = self.restless_agents.pop_first() {
                while let Some(id) = self.next_for(slot) {
                    self.offer(now, id, slot);
                }
            } else if let Some(id) = self.restless_items.pop_front() {
                if let Some(slot) = self.agent_for(id) {
                    self.offer(now, id, slot);
                }
            } else {
                return;
            }
        }
    }

    /// Who is next for that agent: somebody who is kept for them, else the first of all that they may serve.
    pub(super) fn next_for(&self, slot: u32) -> Option<ConversationId> {
        let agent = &self.agents[slot as usize];
        let room = [Kind::Call, Kind::Chat].map(|kind| agent.has_room(kind));
        if room == [false, false] {
            return None;
        }
        let fits = |kind: Kind| room[usize::from(kind == Kind::Chat)];
        let kept = agent.kept.iter().find(|(_, id)| self.items.get(id).is_some_and(|item| fits(item.kind)));
        if let Some((_, id)) = kept {
            return Some(*id);
        }
        let heads = agent.classes.iter().map(|id| &self.classes[*id as usize]).filter(|class| fits(class.key.kind));
        let first = heads.filter_map(|class| {
            let mut spots = class.waiting.iter().take(DECLINED_SCAN_MAX);
            spots.find(|(_, id)| self.items.get(id).is_some_and(|item| !item.declined.contains(&slot)))
        });
        first.min().map(|(_, id)| *id)
    }

    /// Who is asked for that item: the agent whom the customer had last, else the one who fits best, else who has had nothing new
    /// for longest.
    pub(super) fn agent_for(&self, id: ConversationId) -> Option<u32> {
        let item = self.items.get(&id)?;
        if item.phase != Phase::Waiting {
            return None;
        }
        let last = item.last_agent.as_deref();
        let class = &self.classes[item.class as usize];
        let free = class
            .agents
            .iter()
            .copied()
            .filter(|slot| self.agents[*slot as usize].has_room(item.kind) && !item.declined.contains(slot));
        free.min_by_key(|slot| {
            let agent = &self.agents[*slot as usize];
            (last != Some(&agent.name), std::cmp::Reverse(agent.profile.fit(&item.needs)), agent.idle_since, *slot)
        })
    }
}
