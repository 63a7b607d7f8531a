//! Who owns the conversation, and how that changes: offer and accept, fenced by the epoch.

use jiff::{SignedDuration, Timestamp};

use super::{Conversation, Effect, Handled, Refused, Ring};
use crate::digest::Hash;
use crate::event::{
    DeclineReason, Event, Needed, OfferMode, OwnerAccepted, OwnerDeclined, OwnerExpired, OwnerOffered, OwnerReleased,
    OwnerWithdrawn, ParticipantLeft, QueueRelaxed, ReleaseReason, WithdrawReason,
};
use crate::id::OfferId;
use crate::limits::OFFER_TTL_MAX;
use crate::owner::Owner;
use crate::pii::Content;
use crate::state::{ConversationState, LegPhase, OfferState};

impl Conversation {
    /// The owner offers. Warm: they keep the customer. Cold: the queue has them at once, in the same commit, so there is
    /// no moment in which nobody does. A cold offer to a queue is a release.
    #[expect(clippy::too_many_arguments, reason = "the fields of Input::Offer")]
    pub(super) fn offer(
        &mut self,
        now: Timestamp,
        by: Owner,
        expected_epoch: u64,
        to: Owner,
        mode: OfferMode,
        ttl: Option<SignedDuration>,
        note: Option<Content>,
    ) -> Result<Handled, Refused> {
        let state = self.owned_by(&by, expected_epoch)?;
        if let Some(offer) = &state.offer {
            return Err(Refused::Offered(offer.offer));
        }
        if to == by {
            return Err(Refused::NoWay);
        }
        if mode == OfferMode::Cold {
            if let Owner::Queue(queue) = to {
                return self.release(now, &by, expected_epoch, (queue, 0, None));
            }
            if !matches!(by, Owner::Queue(_)) {
                self.hand_to_queue(now, None, ReleaseReason::Transfer);
            }
        }
        let ttl = ttl.unwrap_or(self.policy.offer_ttl).clamp(SignedDuration::from_secs(1), OFFER_TTL_MAX);
        self.put_offer(now, by, to, mode, now.saturating_add(ttl).unwrap_or(now), note);
        Ok(Handled::Done)
    }

    fn put_offer(
        &mut self,
        now: Timestamp,
        by: Owner,
        to: Owner,
        mode: OfferMode,
        deadline: Timestamp,
        note: Option<Content>,
    ) {
        let Some(owner) = self.owner().cloned() else { return };
        let (offer, expected_epoch) = (OfferId::from_bytes(self.derived_id(now, b"offer")), self.epoch());
        let deadline = crate::cloud_event::whole_microseconds(deadline);
        let summary = self.state.as_ref().and_then(|state| state.summary);
        let to_ring = to.clone();
        self.push(now, OwnerOffered { offer, owner, to, mode, by, expected_epoch, deadline, summary, note });
        self.effect(Effect::Ring(Ring { offer, to: to_ring, expected_epoch, deadline, summary }));
    }

    /// Compare-and-swap. What is late, stale or not meant for the one who accepts changes nothing.
    pub(super) fn accept(
        &mut self,
        now: Timestamp,
        by: Owner,
        offer: OfferId,
        expected_epoch: u64,
    ) -> Result<Handled, Refused> {
        let state = self.open()?;
        let open = state.offer.as_ref().filter(|open| open.offer == offer).ok_or(Refused::OfferEnded)?;
        if (expected_epoch != state.epoch || open.expected_epoch != state.epoch) && !self.skips_epoch() {
            return Err(Refused::Fenced { current: state.epoch });
        }
        if !asked(open, &by) {
            return Err(Refused::NotAsked);
        }
        if state.owner.as_ref() == Some(&by) {
            return Err(Refused::NoWay);
        }
        self.grant(now, by, Some(offer));
        Ok(Handled::Done)
    }

    /// An agent picks a waiting customer.
    pub(super) fn take(&mut self, now: Timestamp, by: Owner, expected_epoch: u64) -> Result<Handled, Refused> {
        let state = self.open()?;
        if expected_epoch != state.epoch {
            return Err(Refused::Fenced { current: state.epoch });
        }
        if let Some(offer) = &state.offer {
            return Err(Refused::Offered(offer.offer));
        }
        let waits = |plan: &String| self.kept.as_ref().is_some_and(|kept| kept.plan == *plan);
        let may = match (&by, &state.owner) {
            (Owner::Agent(_), Some(Owner::Queue(_))) => true,
            (Owner::Bot(plan), Some(Owner::Queue(_))) => waits(plan),
            _ => false,
        };
        if !may {
            return Err(Refused::NoWay);
        }
        self.grant(now, by, None);
        Ok(Handled::Done)
    }

    /// What a plan did is a fact; it does nothing in a conversation that is a person's.
    pub(super) fn plan_did(
        &mut self,
        now: Timestamp,
        by: &Owner,
        expected_epoch: u64,
        event: Event,
    ) -> Result<Handled, Refused> {
        let state = self.open()?;
        if expected_epoch != state.epoch {
            return Err(Refused::Fenced { current: state.epoch });
        }
        let fits = matches!(
            event,
            Event::IvrEntered(_)
                | Event::IvrStrike(_)
                | Event::IvrSet(_)
                | Event::IvrKept(_)
                | Event::GatherFinished(_)
                | Event::HttpFinished(_)
                | Event::SurveyAsked(_)
                | Event::SurveyAnswered(_)
        );
        if !fits {
            return Err(Refused::Malformed("this is nothing that a plan does"));
        }
        let waits = matches!(state.owner, Some(Owner::Queue(_))) && self.kept.is_some();
        if state.owner.as_ref() != Some(by) && !waits {
            return Err(Refused::NotOwner);
        }
        self.push(now, event);
        Ok(Handled::Done)
    }

    /// The customer of a chat was handed to somebody in its call: the chat is theirs, too.
    pub(super) fn follow_the_call(&mut self, now: Timestamp) {
        let Some(to) = self.handed.take() else { return };
        let Some(state) = self.state.as_ref().filter(|state| state.is_open() && state.session.is_some()) else {
            return;
        };
        if matches!(state.owner, Some(Owner::Agent(_))) && state.owner.as_ref() != Some(&to) {
            self.end_by_withdrawal(now, WithdrawReason::OwnerChanged);
            self.grant(now, to, None);
        }
    }

    fn grant(&mut self, now: Timestamp, owner: Owner, offer: Option<OfferId>) {
        let Some(state) = &self.state else { return };
        let Some(previous) = state.owner.clone() else { return };
        let (summary, history_to) = (state.summary, self.history_to(state));
        let to = owner.clone();
        self.push_raised(now, OwnerAccepted { offer, owner, previous, history_to, summary });
        let epoch = self.epoch();
        match &to {
            Owner::Bot(plan) => self.effect(Effect::Run { plan: plan.clone(), epoch }),
            _ => self.effect(Effect::Grant { to, epoch, history_to, summary }),
        }
    }

    #[cfg(not(test))]
    const fn history_to(&self, state: &ConversationState) -> u64 {
        state.last_seq
    }

    #[cfg(test)]
    fn history_to(&self, state: &ConversationState) -> u64 {
        if self.is_sabotaged(super::tests::Fault::ShortHistory) { state.last_seq / 2 } else { state.last_seq }
    }

    #[cfg(not(test))]
    pub(super) const fn skips_epoch(&self) -> bool {
        false
    }

    #[cfg(test)]
    pub(super) fn skips_epoch(&self) -> bool {
        self.is_sabotaged(super::tests::Fault::SkipEpoch)
    }

    pub(super) fn decline(&mut self, now: Timestamp, by: Owner, offer: OfferId) -> Result<Handled, Refused> {
        let state = self.begun()?;
        let open = state.offer.as_ref().filter(|open| open.offer == offer).ok_or(Refused::OfferEnded)?;
        if open.to != by {
            // One of a queue's agents says no: the others are still asked.
            return if asked(open, &by) { Ok(Handled::Done) } else { Err(Refused::NotAsked) };
        }
        self.end_by_no(now, by, DeclineReason::Declined);
        Ok(Handled::Done)
    }

    fn end_by_no(&mut self, now: Timestamp, by: Owner, reason: DeclineReason) {
        let (Some(open), Some(owner)) = (self.open_offer(), self.owner().cloned()) else { return };
        self.push(now, OwnerDeclined { offer: open.offer, by, reason, owner });
        self.stop_ringing(open);
        self.route();
    }

    pub(super) fn withdraw(&mut self, now: Timestamp, by: &Owner, offer: OfferId) -> Result<Handled, Refused> {
        let state = self.begun()?;
        let open = state.offer.as_ref().filter(|open| open.offer == offer).ok_or(Refused::OfferEnded)?;
        if open.by != *by && state.owner.as_ref() != Some(by) {
            return Err(Refused::NotOwner);
        }
        self.end_by_withdrawal(now, WithdrawReason::Withdrawn);
        self.route();
        Ok(Handled::Done)
    }

    /// Takes the open offer back, if there is one.
    pub(super) fn end_by_withdrawal(&mut self, now: Timestamp, reason: WithdrawReason) {
        if let Some(open) = self.open_offer() {
            self.push(now, OwnerWithdrawn { offer: open.offer, reason });
            self.stop_ringing(open);
        }
    }

    /// Whether the offer's time was up.
    pub(super) fn expire_offer(&mut self, now: Timestamp) -> bool {
        let Some(open) = self.open_offer().filter(|open| open.deadline <= now) else { return false };
        let Some(owner) = self.owner().cloned() else { return false };
        self.push(now, OwnerExpired { offer: open.offer, owner });
        self.stop_ringing(open);
        self.route();
        true
    }

    pub(super) fn release(
        &mut self,
        now: Timestamp,
        by: &Owner,
        expected_epoch: u64,
        (queue, priority, needs): (String, u8, Option<Needed>),
    ) -> Result<Handled, Refused> {
        if needs.as_ref().is_some_and(|needs| !needs.fits()) {
            return Err(Refused::Malformed("too many skills, or a level that is not from 1 to 5"));
        }
        let state = self.owned_by(by, expected_epoch)?;
        if matches!(by, Owner::Queue(own) if *own == queue) || queue.is_empty() {
            return Err(Refused::NoWay);
        }
        // Another queue is another line: the place there begins now, unless they waited in it before.
        let same = state.place.as_ref().filter(|place| place.queue == queue);
        let since = same.map_or(now, |place| place.since);
        let needs = needs.or_else(|| same.and_then(|place| place.needs.clone()));
        self.end_by_withdrawal(now, WithdrawReason::OwnerChanged);
        self.hand_to_queue(now, Some(Place { queue, since, priority, needs }), ReleaseReason::Transfer);
        self.route();
        Ok(Handled::Done)
    }

    /// They go on waiting in another line, as if they had waited there all the time.
    pub(super) fn overflow(&mut self, now: Timestamp, by: &Owner, queue: String) -> Result<Handled, Refused> {
        let state = self.open()?;
        if state.owner.as_ref() != Some(by) {
            return Err(Refused::NotOwner);
        }
        let (Owner::Queue(own), Some(place)) = (by, &state.place) else { return Err(Refused::NoWay) };
        if *own == queue || queue.is_empty() {
            return Err(Refused::NoWay);
        }
        if let Some(offer) = &state.offer {
            return Err(Refused::Offered(offer.offer));
        }
        let place = Place { queue, since: place.since, priority: place.priority, needs: place.needs.clone() };
        self.hand_to_queue(now, Some(place), ReleaseReason::Overflow);
        self.route();
        Ok(Handled::Done)
    }

    /// What they need no longer matters in the queue where they wait.
    pub(super) fn relax(&mut self, now: Timestamp, by: &Owner, needs: Needed) -> Result<Handled, Refused> {
        let state = self.open()?;
        if state.owner.as_ref() != Some(by) {
            return Err(Refused::NotOwner);
        }
        let (Owner::Queue(queue), Some(place)) = (by, &state.place) else { return Err(Refused::NoWay) };
        if place.relaxed {
            return Ok(Handled::Duplicate);
        }
        let waited_ms = u64::try_from(now.duration_since(place.since).as_millis()).unwrap_or(0);
        let legs = state.legs.iter().filter(|leg| leg.phase != LegPhase::Ended);
        let leg = legs.map(|leg| leg.leg).next_back().ok_or(Refused::NoLeg)?;
        let queue = queue.clone();
        self.push(now, QueueRelaxed { leg, queue, needs, waited_ms });
        Ok(Handled::Done)
    }

    /// Gives the customer to a queue: the one named, or the one in which they waited, with the place that they had, or
    /// the house's.
    fn hand_to_queue(&mut self, now: Timestamp, place: Option<Place>, reason: ReleaseReason) {
        let Some(state) = &self.state else { return };
        let Some(previous) = state.owner.clone() else { return };
        let place = place.unwrap_or_else(|| match &state.place {
            Some(place) => {
                let (queue, needs) = (place.queue.clone(), place.needs.clone());
                Place { queue, since: place.since, priority: place.priority, needs }
            }
            None => Place { queue: self.policy.queue.clone(), since: now, priority: 0, needs: None },
        });
        let Place { queue, since: waiting_since, priority, needs } = place;
        self.push_raised(now, OwnerReleased { previous, queue, reason, waiting_since, priority, needs });
    }

    /// Somebody is gone. The owner: the customer goes back to the queue with their place kept, and one who was being
    /// asked is asked on. The one asked: that is a no. Whoever took part: they left.
    pub(super) fn vanished(&mut self, now: Timestamp, who: &Owner) -> Result<Handled, Refused> {
        let state = self.begun()?;
        let gone: Vec<_> = state.participants.iter().filter(|one| one.is(who)).cloned().collect();
        for one in gone {
            self.push(now, ParticipantLeft { participant: one.participant, leg: one.leg });
        }
        let Some(state) = self.state.as_ref().filter(|state| state.is_open()) else { return Ok(Handled::Done) };
        if state.owner.as_ref() == Some(who) && !matches!(who, Owner::Queue(_)) {
            let open = self.open_offer();
            self.end_by_withdrawal(now, WithdrawReason::OwnerChanged);
            self.hand_to_queue(now, None, ReleaseReason::Vanished);
            match (open, self.owner().cloned()) {
                (Some(open), Some(queue)) if open.to != queue => {
                    self.put_offer(now, queue, open.to, OfferMode::Cold, open.deadline, None);
                }
                _ => self.route(),
            }
        } else if state.offer.as_ref().is_some_and(|open| open.to == *who) {
            self.end_by_no(now, who.clone(), DeclineReason::Vanished);
        }
        Ok(Handled::Done)
    }

    /// Tells the router, or the plan, that it is their turn.
    pub(super) fn route(&mut self) {
        let Some(state) = &self.state else { return };
        let epoch = state.epoch;
        let effect = match (&state.owner, &state.place) {
            (Some(Owner::Queue(queue)), Some(place)) => {
                Effect::Route { queue: queue.clone(), waiting_since: place.since, priority: place.priority, epoch }
            }
            (Some(Owner::Bot(plan)), _) => Effect::Run { plan: plan.clone(), epoch },
            _ => return,
        };
        self.effect(effect);
    }

    fn stop_ringing(&mut self, open: OfferState) {
        self.effect(Effect::StopRinging { offer: open.offer, to: open.to });
    }

    fn open_offer(&self) -> Option<OfferState> {
        self.state.as_ref().and_then(|state| state.offer.clone())
    }

    /// The state, when `by` owns an open conversation in this epoch.
    pub(super) fn owned_by(&self, by: &Owner, epoch: u64) -> Result<&ConversationState, Refused> {
        let state = self.open()?;
        if epoch != state.epoch && !self.skips_epoch() {
            return Err(Refused::Fenced { current: state.epoch });
        }
        if state.owner.as_ref() != Some(by) {
            return Err(Refused::NotOwner);
        }
        Ok(state)
    }

    /// An id that is a function of the conversation and the next `seq`: one that is decided again after a crash is the
    /// same.
    pub(super) fn derived_id(&self, now: Timestamp, what: &[u8]) -> [u8; 16] {
        let seed = [&self.id.to_bytes()[..], &(self.last_seq() + 1).to_be_bytes(), what].concat();
        let hash = Hash::of(&seed).to_bytes();
        let random = hash.iter().take(10).fold(0_u128, |value, byte| value << 8 | u128::from(*byte));
        OfferId::new(u64::try_from(now.as_millisecond()).unwrap_or(0), random).to_bytes()
    }
}

/// A place in a line that somebody is given.
struct Place {
    queue: String,
    since: Timestamp,
    priority: u8,
    needs: Option<Needed>,
}

/// Whether an offer was made to `by`: by name, or to a queue whose agent they are.
fn asked(offer: &OfferState, by: &Owner) -> bool {
    offer.to == *by || matches!((&offer.to, by), (Owner::Queue(_), Owner::Agent(_)))
}
