//! The conversation machine: one conversation's order, owner and epoch, decided in one place.
//!
//! [`Conversation`] takes an [`Input`] and the time and leaves one [`Commit`]: the events to append to the log and what
//! may happen once they are there ([`Effect`]). It keeps nothing that its log does not say, so any gateway takes it over
//! with [`Conversation::from_log`].
//!
//! ```
//! # use ark_conversation::{machine::*, samples, source, CloudEvent, ConversationId, Owner, Tenant};
//! let policy = std::sync::Arc::new(Policy::default());
//! let mut conversation = Conversation::new(policy, Tenant::MAIN, ConversationId::new(1, 1));
//! let source = source::thread(&Tenant::MAIN, "web", "shop", "visitor-1");
//! let hello = CloudEvent::new("web:1", source, samples::at(0), samples::message_in("visitor-1", "hello"));
//! conversation.handle(samples::at(0), Input::Inbound(hello)).unwrap();
//! let commit = conversation.poll().unwrap();
//! assert_eq!(commit.events.len(), 3); // the session, the leg, the message
//! assert_eq!(conversation.state().unwrap().owner, Some(Owner::Queue("general".to_owned())));
//! ```
//!
//! How it is driven: `handle`, then `poll`, then append the commit (under the fence, after `after_seq`), then carry the
//! effects out and acknowledge the input. When the append does not come out as expected (the fence is old, an event was
//! there already, another writer took the `seq`), the machine is dropped and opened again from the log; the input is
//! given again, which is always safe. [`Conversation::deadline`] says when to call [`Conversation::handle`] with
//! [`Input::Tick`].
//!
//! Invariants, numbered as in ARCHITECTURE.md: I1 an acknowledged message is in the log once; I2 there is always one
//! owner, and one epoch in which to speak; I3 the log keeps each thread's order; I4 nothing of an old epoch is sent;
//! I5 a new owner's view has no gap; I6 a key is sent once; I7 every offer ends by its deadline; I8 a leg's death ends
//! nothing but itself while another lives; I9 a summary speaks of nothing later than itself; I12 a bot is silent while
//! an agent owns, unless the agent asked it in.

mod input;
mod ledger;
mod legs;
mod links;
mod messages;
mod ownership;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

pub use input::{Commit, Delivery, Effect, Handled, Input, Policy, Refused, Ring, Survey, SurveyLink};

use crate::cloud_event::CloudEvent;
use crate::digest::Hash;
use crate::event::{Event, IvrKept};
use crate::id::{ConversationId, Tenant};
use crate::limits::COMMIT_EVENTS_MAX;
use crate::owner::Owner;
use crate::record::{NewEvent, Record};
use crate::source;
use crate::state::ConversationState;
use ledger::Ledger;

/// What the ids of the machine's own events begin with; an author's key may not.
pub const OWN_ID_PREFIX: &str = "ark:";

/// One conversation, alive. Its state is the fold of its log and nothing else.
#[derive(Debug)]
pub struct Conversation {
    policy: Arc<Policy>,
    tenant: Tenant,
    id: ConversationId,
    /// None before the first event.
    state: Option<ConversationState>,
    ledger: Ledger,
    /// Where the plan is that has the chat, or in whose queue it waits; none once a person has it.
    kept: Option<IvrKept>,
    /// The agent who took the customer of a call, until the conversation is theirs.
    handed: Option<Owner>,
    /// What `poll` hands out next.
    pending: Option<Commit>,
    #[cfg(test)]
    fault: Option<tests::Fault>,
    #[cfg(test)]
    held: Option<CloudEvent>,
}

/// Why records are no conversation's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// `seq` is not the one after the last.
    #[error("the log has a gap: seq {expected} is expected, {found} came")]
    Gap {
        /// The one that is missing.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// A record of another conversation or tenant.
    #[error("seq {0} belongs to another conversation")]
    Foreign(u64),
}

/// When [`Input::Tick`] is due at the latest for a conversation in this state, as [`Conversation::deadline`] says it of an open
/// machine: so that whoever takes many over need not open each.
#[must_use]
pub fn deadline(state: &ConversationState, policy: &Policy) -> Option<Timestamp> {
    let offer = state.offer.as_ref().map(|offer| offer.deadline);
    let leg_deadlines = state.legs.iter().filter_map(|leg| leg.deadline);
    offer
        .into_iter()
        .chain(state.wakes.filter(|_| state.is_open()))
        .chain(leg_deadlines)
        .chain(legs::wrap_up_ends(state, policy))
        .min()
}

impl Conversation {
    /// One that has no log yet. Its first input opens it.
    #[must_use]
    pub fn new(policy: Arc<Policy>, tenant: Tenant, id: ConversationId) -> Self {
        Self {
            policy,
            tenant,
            id,
            state: None,
            ledger: Ledger::default(),
            kept: None,
            handed: None,
            pending: None,
            #[cfg(test)]
            fault: None,
            #[cfg(test)]
            held: None,
        }
    }

    /// Takes a conversation over: folds its log from `seq` 1. Offers and timers go on where they were; what is overdue
    /// ends with the next [`Self::handle`].
    ///
    /// # Errors
    /// [`LogError`] when the records are not one conversation's, from 1 and without gaps.
    pub fn from_log<'a>(
        policy: Arc<Policy>,
        tenant: Tenant,
        id: ConversationId,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Self, LogError> {
        let mut machine = Self::new(policy, tenant, id);
        for record in records {
            machine.catch_up(record)?;
        }
        Ok(machine)
    }

    /// Folds one more record in, for reading a long log in pages and for following one that another gateway writes.
    ///
    /// # Errors
    /// [`LogError`], and nothing changed.
    pub fn catch_up(&mut self, record: &Record) -> Result<(), LogError> {
        if record.conversation != self.id || record.tenant != self.tenant {
            return Err(LogError::Foreign(record.seq));
        }
        let expected = self.last_seq() + 1;
        if record.seq != expected {
            return Err(LogError::Gap { expected, found: record.seq });
        }
        self.fold(record);
        Ok(())
    }

    /// The state that lists show; none before the first event.
    #[must_use]
    pub const fn state(&self) -> Option<&ConversationState> {
        self.state.as_ref()
    }

    /// What the house decided for it.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where the plan is that has the chat, or in whose queue it waits; none once a person has it.
    #[must_use]
    pub const fn kept(&self) -> Option<&IvrKept> {
        self.kept.as_ref()
    }

    /// The hash of all that the machine knows. After [`Self::from_log`] with the same records it is the same.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let state = self.state.as_ref().map_or(Hash::of(b""), ConversationState::hash);
        let kept = self.kept.as_ref().map(|kept| Hash::of(kept.run.reveal().as_bytes()).to_string());
        Hash::of(format!("{state} {} {}", self.ledger.hash(), kept.unwrap_or_default()).as_bytes())
    }

    /// Takes an input in, after the timers that are due at `now`.
    ///
    /// The time may not run backwards by much: it is compared with deadlines in the log, so it is the wall clock.
    ///
    /// # Errors
    /// [`Refused`] says why nothing came of the input. What timers did is in [`Self::poll`] all the same.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Result<Handled, Refused> {
        let now = crate::cloud_event::whole_microseconds(now);
        if self.pending.as_ref().is_some_and(|commit| commit.events.len() >= COMMIT_EVENTS_MAX) {
            return Err(Refused::Undrained);
        }
        self.run_timers(now);
        match input {
            Input::Tick => Ok(Handled::Done),
            Input::Inbound(event) => self.inbound(now, event),
            Input::Call(event) => self.call(now, event),
            Input::Outbound { author, epoch, key, leg, parts, reply_to } => {
                self.outbound(now, &author, epoch, key, leg, parts, reply_to)
            }
            Input::Offer { by, expected_epoch, to, mode, ttl, note } => {
                self.offer(now, by, expected_epoch, to, mode, ttl, note)
            }
            Input::Accept { by, offer, expected_epoch } => self.accept(now, by, offer, expected_epoch),
            Input::Take { by, expected_epoch } => self.take(now, by, expected_epoch),
            Input::Decline { by, offer } => self.decline(now, by, offer),
            Input::Withdraw { by, offer } => self.withdraw(now, &by, offer),
            Input::Release { by, expected_epoch, queue, priority, needs } => {
                self.release(now, &by, expected_epoch, (queue, priority, needs))
            }
            Input::Overflow { by, queue } => self.overflow(now, &by, queue),
            Input::Relax { by, needs } => self.relax(now, &by, needs),
            Input::Vanished { who } => self.vanished(now, &who),
            Input::OfferLeg { mode, ttl, to, callback } => self.offer_leg(now, mode, ttl, (to, callback)),
            Input::EndLeg { leg, reason } => self.end_leg(now, leg, reason),
            Input::Join { participant, leg, voice, by } => self.join(now, participant, leg, voice, by),
            Input::Leave { participant, leg } => self.leave(now, participant, leg),
            Input::Summarise(summary) => self.summarise(now, summary),
            Input::Note { by, key, text } => self.note(now, by, &key, text),
            Input::Close { by, expected_epoch, reason, disposition, note } => {
                self.close(now, by, expected_epoch, reason, disposition, note)
            }
            Input::Reopen { by } => self.reopen(now, by),
            Input::Plan { by, expected_epoch, event } => self.plan_did(now, &by, expected_epoch, event),
            Input::Linked(linked) => self.fact(now, linked),
            Input::Merged(merged) => self.fact(now, merged),
            Input::Unmerged(unmerged) => self.fact(now, unmerged),
            Input::Erase { from_seq, to_seq, reason, by } => self.erase(now, from_seq, to_seq, reason, by),
        }
    }

    /// What came of the inputs since the last call: one commit, or nothing.
    pub fn poll(&mut self) -> Option<Commit> {
        self.pending.take()
    }

    /// When [`Input::Tick`] is due at the latest: the first of the open offer's, an offered leg's and the wrap-up's end.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.state.as_ref().and_then(|state| deadline(state, &self.policy))
    }

    /// Closes what has nothing left, after [`Self::catch_up`] with the end of a call that another hand wrote. What comes of it
    /// is in [`Self::poll`].
    pub fn follow_up(&mut self, now: Timestamp) {
        let now = crate::cloud_event::whole_microseconds(now);
        self.run_timers(now);
        self.close_after_last_leg(now);
    }

    fn run_timers(&mut self, now: Timestamp) {
        self.follow_the_call(now);
        // Each turn ends what made it due, so there are no more turns than legs, an offer and a wrap-up.
        while self.deadline().is_some_and(|deadline| deadline <= now) && !self.sabotaged_timer() {
            if !(self.expire_offer(now) || self.expire_leg(now) || self.expire_wrap_up(now)) {
                return;
            }
        }
    }

    fn last_seq(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.last_seq)
    }

    fn epoch(&self) -> u64 {
        self.state.as_ref().map_or(1, |state| state.epoch)
    }

    /// The state of a conversation that has begun.
    fn begun(&self) -> Result<&ConversationState, Refused> {
        self.state.as_ref().ok_or(Refused::Unknown)
    }

    /// The state of one in which somebody may speak.
    fn open(&self) -> Result<&ConversationState, Refused> {
        self.begun().and_then(|state| if state.is_open() { Ok(state) } else { Err(Refused::Closed) })
    }

    fn owner(&self) -> Option<&Owner> {
        self.state.as_ref().and_then(|state| state.owner.as_ref())
    }

    /// Appends an event of the machine's own, under the current epoch.
    fn push(&mut self, now: Timestamp, event: impl Into<Event>) {
        self.push_under(now, self.epoch(), event);
    }

    /// Appends an event of the machine's own, which raises the epoch.
    fn push_raised(&mut self, now: Timestamp, event: impl Into<Event>) {
        let epoch = if self.state.is_some() { self.epoch() + 1 } else { 1 };
        #[cfg(test)]
        let epoch = if self.fault == Some(tests::Fault::KeepEpoch) { self.epoch() } else { epoch };
        self.push_under(now, epoch, event);
    }

    fn push_under(&mut self, now: Timestamp, epoch: u64, event: impl Into<Event>) {
        let id = format!("{OWN_ID_PREFIX}{}", self.last_seq() + 1);
        let event = CloudEvent::new(id, source::conversation(&self.tenant, self.id), now, event);
        self.append(now, epoch, event);
    }

    /// Appends an event in its envelope: folds it at once, and hands it out with the next commit.
    fn append(&mut self, now: Timestamp, epoch: u64, event: CloudEvent) {
        let new = NewEvent { tenant: self.tenant.clone(), conversation: self.id, epoch, at: now, event };
        let seq = self.last_seq() + 1;
        let record = new.into_record(seq);
        self.fold(&record);
        let Record { tenant, conversation, epoch, at, event, .. } = record;
        let commit = self.commit_after(seq - 1);
        commit.events.push(NewEvent { tenant, conversation, epoch, at, event });
    }

    fn effect(&mut self, effect: Effect) {
        let after = self.last_seq();
        self.commit_after(after).effects.push(effect);
    }

    fn commit_after(&mut self, seq: u64) -> &mut Commit {
        self.pending.get_or_insert_with(|| Commit { after_seq: seq, events: Vec::new(), effects: Vec::new() })
    }

    fn fold(&mut self, record: &Record) {
        match &record.event.event {
            Event::TransferFinished(finished) if finished.owner.is_some() => self.handed.clone_from(&finished.owner),
            Event::OwnerAccepted(_) | Event::OwnerReleased(_) | Event::SessionOpened(_) => self.handed = None,
            _ => {}
        }
        match &record.event.event {
            Event::IvrKept(kept) if kept.run.reveal().is_empty() => self.kept = None,
            Event::IvrKept(kept) => self.kept = Some(kept.clone()),
            Event::OwnerAccepted(accepted) if matches!(accepted.owner, Owner::Agent(_)) => self.kept = None,
            Event::SessionOpened(_) | Event::SessionClosed(_) => self.kept = None,
            Event::Erased(erased) if erased.of == "ark.ivr.kept.v1" => self.kept = None,
            _ => {}
        }
        match &mut self.state {
            Some(state) => {
                state.apply(record);
            }
            None => self.state = Some(ConversationState::begin(record)),
        }
        if let Some(state) = &self.state {
            self.ledger.apply(record, state);
        }
    }

    /// Something that others found out, written as it is.
    fn fact(&mut self, now: Timestamp, event: impl Into<Event>) -> Result<Handled, Refused> {
        self.begun()?;
        self.push(now, event);
        Ok(Handled::Done)
    }

    #[cfg(test)]
    fn is_sabotaged(&self, fault: tests::Fault) -> bool {
        self.fault == Some(fault)
    }

    #[cfg(test)]
    fn sabotaged_timer(&self) -> bool {
        self.is_sabotaged(tests::Fault::ForgetTimers)
    }

    #[cfg(not(test))]
    const fn sabotaged_timer(&self) -> bool {
        false
    }
}

/// A bounded list of the latest: the oldest makes room.
fn push_bounded<T>(list: &mut VecDeque<T>, max: usize, item: T) {
    if list.len() >= max {
        list.pop_front();
    }
    list.push_back(item);
}
