//! Messages in, messages out, what became of them, and another way when one is barred.

use jiff::Timestamp;

use super::{Conversation, Delivery, Effect, Handled, OWN_ID_PREFIX, Refused};
use crate::cloud_event::CloudEvent;
use crate::event::{
    CallOp, Event, LegAdded, LegEndReason, LegIdle, LegWoke, Medium, MessageOut, MessageRerouted, Part, Party,
    PartyRole, Receipt, ReceiptState, Role, SessionOpenReason, ThreadState, Voice,
};
use crate::id::LegId;
use crate::limits::{
    ATTEMPTS_MAX, CALL_LEGS, CARD_ACTIONS_MAX, LEGS_MAX, MESSAGE_KEY_BYTES_MAX, PARTS_MAX, TEXT_CHARS_MAX,
};
use crate::owner::Owner;
use crate::pii::Pii;
use crate::source::{self, ThreadSource};
use crate::state::{ConversationState, LegPhase, LegState};

/// Failures after which another leg may be tried: the channel says that the customer did not and will not get it.
/// `outcome_unknown` is none of them.
const BARRED: &[&str] = &["window_closed", "window_exhausted", "blocked", "expired", "unreachable"];

impl Conversation {
    /// An adapter's event. A message opens the session and the leg that it needs, in the same commit.
    pub(super) fn inbound(&mut self, now: Timestamp, event: CloudEvent) -> Result<Handled, Refused> {
        #[cfg(test)]
        let Some(event) = self.sabotage(now, event) else { return Ok(Handled::Done) };
        self.take_in(now, event)
    }

    fn take_in(&mut self, now: Timestamp, mut event: CloudEvent) -> Result<Handled, Refused> {
        let thread = self.check_inbound(&event)?;
        if self.ledger.has(&event.source, &event.id) && !self.skips_dedupe() {
            return Ok(Handled::Duplicate);
        }
        // A call that is offered before anything was said: its thread is pointed here, where the call will come, and is all there is.
        if self.state.is_none() && matches!(&event.event, Event::AdapterCall(call) if call.op == CallOp::Offer) {
            return Ok(Handled::Duplicate);
        }
        if thread.adapter == source::COMPANION {
            self.take_link(now, &mut event)?;
        }
        if let Some(score) = self.answer_to_survey(now, &event) {
            self.take_answer(now, event, score);
            return Ok(Handled::Done);
        }
        let receipt = match &mut event.event {
            Event::MessageIn(message) => {
                self.open_for_customer(now, &thread);
                self.wake(now, &event.source, &thread, Some(&message.sender));
                None
            }
            Event::Thread(change) if change.state == ThreadState::Opened => {
                if self.awaits_score(now, &event.source).is_some() {
                    self.append(now, self.epoch(), event);
                    return Ok(Handled::Done);
                }
                self.open_for_customer(now, &thread);
                self.wake(now, &event.source, &thread, None);
                None
            }
            Event::Identity(identity) => {
                if self.state.is_none() {
                    self.open_for_customer(now, &thread);
                }
                let link_token = identity.link_token.take();
                let (keys, assurance) = (identity.keys.clone(), identity.assurance);
                self.effect(Effect::Identify { keys, assurance, link_token });
                None
            }
            Event::Receipt(receipt) => Some(receipt.clone()),
            _ => None,
        };
        self.begun()?;
        let (source, end) = (event.source.clone(), thread_end(&event.event));
        self.append(now, self.epoch(), event);
        if let Some(receipt) = receipt {
            self.reroute(now, &receipt, &source);
        }
        if let Some(leg) = self.live_leg(&source) {
            match end {
                Some(ThreadState::Closed) => {
                    let _ = self.end_leg(now, leg, LegEndReason::Closed);
                }
                Some(ThreadState::Idle) => self.push(now, LegIdle { leg }),
                _ => {}
            }
        }
        Ok(Handled::Done)
    }

    fn check_inbound(&self, event: &CloudEvent) -> Result<ThreadSource, Refused> {
        if event.check().is_err() {
            return Err(Refused::Malformed("the event has no id or no source, or they are too long"));
        }
        let thread: ThreadSource =
            event.source.parse().map_err(|_| Refused::Malformed("the event's source names no thread"))?;
        if thread.tenant != self.tenant {
            return Err(Refused::Malformed("the event's source names another tenant"));
        }
        match &event.event {
            Event::MessageIn(message) => check_parts(&message.parts)?,
            Event::Edit(edit) if !edit.parts.is_empty() => check_parts(&edit.parts)?,
            Event::Receipt(_) | Event::Edit(_) if self.state.is_none() => return Err(Refused::Unknown),
            Event::AdapterCall(call) if self.state.is_none() && call.op != CallOp::Offer => {
                return Err(Refused::Unknown);
            }
            Event::Thread(change) if self.state.is_none() && change.state != ThreadState::Opened => {
                return Err(Refused::Unknown);
            }
            Event::Receipt(_) | Event::Edit(_) | Event::Thread(_) | Event::Identity(_) | Event::AdapterCall(_) => {}
            Event::LinkMade(_) | Event::LinkCode(_) | Event::LinkSent(_) | Event::LinkJoined(_)
                if thread.adapter == source::COMPANION => {}
            _ => return Err(Refused::Malformed("an adapter cannot send events of this type")),
        }
        Ok(thread)
    }

    fn open_for_customer(&mut self, now: Timestamp, thread: &ThreadSource) {
        match &self.state {
            Some(state) if state.is_open() && state.session.is_some() => {}
            // A call that was written without sessions: its owner serves the thread too.
            Some(state) if state.is_open() => self.note_session(now),
            _ => self.open_session(now, SessionOpenReason::Customer, self.policy.opening_of(thread).clone()),
        }
    }

    /// The thread's leg, awake.
    fn wake(&mut self, now: Timestamp, source: &str, thread: &ThreadSource, party: Option<&Party>) {
        let Some(state) = &self.state else { return };
        match state.legs.iter().rev().find(|leg| leg.source.as_deref() == Some(source)) {
            Some(leg) if leg.phase == LegPhase::Idle => {
                let leg = leg.leg;
                self.push(now, LegWoke { leg });
            }
            Some(leg) if leg.phase != LegPhase::Ended => {}
            // A link that is over stays so; what its page sent at the last moment is in the log all the same.
            Some(leg) if leg.medium == Medium::Companion => {}
            _ => {
                let added = LegAdded {
                    leg: state.next_leg(),
                    medium: Medium::Chat,
                    role: Role::Customer,
                    source: source.to_owned(),
                    thread: thread.thread.clone(),
                    adapter: thread.adapter.clone(),
                    account: thread.account.clone(),
                    party: party.cloned(),
                    predecessor: None,
                };
                self.push(now, added);
            }
        }
    }

    fn live_leg(&self, source: &str) -> Option<LegId> {
        let state = self.state.as_ref()?;
        let leg = state.legs.iter().rev().find(|leg| leg.source.as_deref() == Some(source))?;
        (leg.phase != LegPhase::Ended).then_some(leg.leg)
    }

    /// Somebody of the house writes. The epoch and the author are checked here and nowhere else.
    #[expect(clippy::too_many_arguments, reason = "the fields of Input::Outbound")]
    pub(super) fn outbound(
        &mut self,
        now: Timestamp,
        author: &Owner,
        epoch: u64,
        key: String,
        leg: Option<LegId>,
        parts: Vec<Part>,
        reply_to: Option<String>,
    ) -> Result<Handled, Refused> {
        if key.is_empty() || key.len() > MESSAGE_KEY_BYTES_MAX || key.starts_with(OWN_ID_PREFIX) {
            return Err(Refused::Malformed("a message's key has 1 to 96 bytes and does not begin with ark:"));
        }
        check_parts(&parts)?;
        if self.ledger.sent(&key).is_some() && !self.skips_dedupe() {
            return Ok(Handled::Duplicate);
        }
        let state = self.open()?;
        if epoch != state.epoch && !self.skips_epoch() {
            return Err(Refused::Fenced { current: state.epoch });
        }
        if !self.may_speak(state, author) {
            return Err(Refused::NotOwner);
        }
        let leg = match leg {
            Some(leg) => state.leg(leg).filter(|leg| can_carry(leg)),
            None => best_leg(state),
        };
        let leg = leg.ok_or(Refused::NoLeg)?;
        let (leg, source, thread) = (leg.leg, leg.source.clone().unwrap_or_default(), leg.call_id.clone());
        let sender = party(author);
        let conversation = self.id;
        let message =
            MessageOut { thread: thread.clone(), conversation, epoch, sender, parts, reply_to, leg: Some(leg) };
        let own = source::conversation(&self.tenant, self.id);
        self.append(now, self.epoch(), CloudEvent::new(key.clone(), own, now, message));
        let seq = self.last_seq();
        self.effect(Effect::Deliver(Delivery { leg, source, key, attempt: 1, seq, epoch, thread }));
        Ok(Handled::Done)
    }

    /// The owner, and whoever the owner of this epoch asked in to speak.
    fn may_speak(&self, state: &ConversationState, author: &Owner) -> bool {
        state.owner.as_ref() == Some(author)
            || state.participants.iter().any(|one| one.voice == Voice::Speak && one.is(author))
            || self.lets_bots_speak(state, author)
    }

    #[cfg(not(test))]
    const fn lets_bots_speak(&self, _: &ConversationState, _: &Owner) -> bool {
        false
    }

    #[cfg(test)]
    fn lets_bots_speak(&self, state: &ConversationState, author: &Owner) -> bool {
        self.is_sabotaged(super::tests::Fault::TalkativeBot)
            && matches!((author, &state.owner), (Owner::Bot(_), Some(Owner::Agent(_))))
    }

    #[cfg(not(test))]
    const fn skips_dedupe(&self) -> bool {
        false
    }

    #[cfg(test)]
    fn skips_dedupe(&self) -> bool {
        self.is_sabotaged(super::tests::Fault::SkipDedupe)
    }

    #[cfg(not(test))]
    fn is_barred(&self, code: &str) -> bool {
        BARRED.contains(&code)
    }

    #[cfg(test)]
    fn is_barred(&self, code: &str) -> bool {
        BARRED.contains(&code) || self.is_sabotaged(super::tests::Fault::RerouteBlindly)
    }

    /// What the broken variants do to a message on its way in; none: it goes no further now.
    #[cfg(test)]
    fn sabotage(&mut self, now: Timestamp, mut event: CloudEvent) -> Option<CloudEvent> {
        use super::tests::Fault;
        let seq = self.last_seq();
        let Event::MessageIn(message) = &mut event.event else { return Some(event) };
        match self.fault {
            Some(Fault::LoseInbound) if seq % 7 == 3 => None,
            Some(Fault::AlterMedia) => {
                for part in &mut message.parts {
                    if let Part::Image { media, .. } = part {
                        media.size += 1;
                    }
                }
                Some(event)
            }
            Some(Fault::SwapInbound) => match self.held.take() {
                Some(held) if held.source == event.source && held.id != event.id => {
                    let _ = self.take_in(now, event);
                    Some(held)
                }
                None if seq > 5 => {
                    self.held = Some(event);
                    None
                }
                held => {
                    self.held = held;
                    Some(event)
                }
            },
            _ => Some(event),
        }
    }

    /// A message that the customer did not and will not get goes by the next leg, under the same key. Not one whose
    /// outcome is unknown, not one that was delivered, and not one of an earlier owner: the new one decides.
    fn reroute(&mut self, now: Timestamp, receipt: &Receipt, source: &str) {
        let Some(state) = &self.state else { return };
        let Some(sent) = self.ledger.sent(&receipt.message) else { return };
        let code = match (&receipt.state, &receipt.reason) {
            (ReceiptState::Failed, Some(reason)) if self.is_barred(&reason.code) => reason.code.clone(),
            (ReceiptState::Expired, _) => "expired".to_owned(),
            _ => return,
        };
        let failed = matches!(sent.state, Some(ReceiptState::Failed | ReceiptState::Expired));
        let current = state.leg_of(source).is_some_and(|leg| sent.legs.last() == Some(&leg));
        if !(failed && current && sent.epoch == state.epoch && state.is_open()) || sent.legs.len() >= ATTEMPTS_MAX {
            return;
        }
        let candidates = state.legs.iter().filter(|leg| can_carry(leg) && !sent.legs.contains(&leg.leg));
        let preference = |leg: &&LegState| {
            self.policy.fallback.iter().position(|adapter| *adapter == leg.trunk).unwrap_or(usize::MAX)
        };
        let Some(next) = candidates.min_by_key(preference) else { return };
        let Some(from) = sent.legs.last().copied() else { return };
        let attempt = u32::try_from(sent.legs.len() + 1).unwrap_or(u32::MAX);
        let delivery = Delivery {
            leg: next.leg,
            source: next.source.clone().unwrap_or_default(),
            key: receipt.message.clone(),
            attempt,
            seq: sent.seq,
            epoch: state.epoch,
            thread: next.call_id.clone(),
        };
        let (message, leg, thread) = (receipt.message.clone(), next.leg, next.call_id.clone());
        self.push(now, MessageRerouted { message, from, leg, thread, attempt, code });
        self.effect(Effect::Deliver(delivery));
    }
}

impl ConversationState {
    /// The number of the next leg that is no call: numbers are never used again. The switch numbers the legs of its calls itself, on
    /// from the customer's; beside a call others keep out of its way.
    #[must_use]
    pub fn next_leg(&self) -> LegId {
        let up =
            |leg: &LegState| leg.medium == Medium::Call && !matches!(leg.phase, LegPhase::Offered | LegPhase::Ended);
        if self.legs.iter().any(up) { self.next_call_leg() } else { LegId(self.legs_begun.saturating_add(1)) }
    }

    /// The number of the customer's leg of a call that comes into this conversation: behind it there is room for
    /// [`CALL_LEGS`] legs of the call.
    #[must_use]
    pub fn next_call_leg(&self) -> LegId {
        LegId((self.legs_begun / CALL_LEGS + 1).saturating_mul(CALL_LEGS).saturating_add(1))
    }

    /// The latest leg whose events come from `source`.
    #[must_use]
    pub fn leg_of(&self, source: &str) -> Option<LegId> {
        self.legs.iter().rev().find(|leg| leg.source.as_deref() == Some(source)).map(|leg| leg.leg)
    }
}

const _: () = assert!(ATTEMPTS_MAX <= LEGS_MAX);

/// A customer's thread that is not over.
fn can_carry(leg: &LegState) -> bool {
    let chat = matches!(leg.medium, Medium::Chat | Medium::Companion) && leg.role == Role::Customer;
    chat && !matches!(leg.phase, LegPhase::Ended | LegPhase::Offered)
}

/// The thread that is awake, the latest first; then one that is silent.
pub(super) fn best_leg(state: &ConversationState) -> Option<&LegState> {
    state.legs.iter().filter(|leg| can_carry(leg)).max_by_key(|leg| (leg.phase == LegPhase::Active, leg.leg))
}

fn thread_end(event: &Event) -> Option<ThreadState> {
    match event {
        Event::Thread(change) => Some(change.state),
        _ => None,
    }
}

fn party(author: &Owner) -> Party {
    let (role, name) = match author {
        Owner::Agent(name) => (PartyRole::Agent, name),
        Owner::Bot(name) => (PartyRole::Bot, name),
        Owner::Queue(name) => (PartyRole::System, name),
    };
    Party { role, id: Pii::new(name.as_str()), kind: None, display: None }
}

/// The bounds of the adapter standard that a type cannot hold.
fn check_parts(parts: &[Part]) -> Result<(), Refused> {
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return Err(Refused::Malformed("a message has 1 to 16 parts"));
    }
    for part in parts {
        match part {
            Part::Text { text } if text.reveal().is_empty() => {
                return Err(Refused::Malformed("a part of text has at least one character"));
            }
            Part::Text { text }
                if text.reveal().len() > TEXT_CHARS_MAX && text.reveal().chars().count() > TEXT_CHARS_MAX =>
            {
                return Err(Refused::Malformed("a part of text has at most 20,000 characters"));
            }
            Part::Card { actions, .. } if actions.len() > CARD_ACTIONS_MAX => {
                return Err(Refused::Malformed("a card has at most 8 buttons"));
            }
            Part::Card { fallback_text, .. } | Part::Unsupported { fallback_text, .. }
                if fallback_text.reveal().is_empty() =>
            {
                return Err(Refused::Malformed("a card or an unsupported part needs words to fall back to"));
            }
            _ => {}
        }
        if part.media().is_some_and(|media| !is_media_ref(&media.reference)) {
            return Err(Refused::Malformed("a file is referred to by ark-media: and its name, never by a web address"));
        }
    }
    Ok(())
}

/// `ark-media:` and at least 8 characters of `0-9 A-Z a-z _ -`, as the schema says.
fn is_media_ref(reference: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    reference.strip_prefix("ark-media:").is_some_and(|name| name.len() >= 8 && name.bytes().all(plain))
}
