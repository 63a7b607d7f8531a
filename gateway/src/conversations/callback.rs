//! Callbacks as conversations' logs have them: a leg that was offered, with a place in line.

use ark_conversation::event::{CallMode, CallbackPlace, Direction, LegOffered, Medium, QueueJoined, Role};
use ark_conversation::limits::{CALL_LEGS, CALLBACK_TTL_MAX};
use ark_conversation::{ConversationState, Event, KeyKind, LegId, LegState, PersonId, Pii, Record, Tenant};
use ark_dialplans::limits::CALLBACK_DIGITS_MIN;
use ark_store::{Store, StoreError};
use jiff::Timestamp;

/// A telephone number that is for sure this person's: a verified key of theirs.
///
/// # Errors
/// What the store says.
pub async fn verified_phone(
    store: &dyn Store,
    tenant: &Tenant,
    person: PersonId,
) -> Result<Option<String>, StoreError> {
    let all = store.identities(tenant, person).await?;
    let phone = all.into_iter().find(|one| one.assurance.is_verified() && one.key.kind == KeyKind::Phone);
    Ok(phone.map(|phone| phone.key.value.reveal().to_owned()))
}

/// Whether that is a number that can be dialled at all; a withheld one is none, nor is the name of a device.
#[must_use]
pub fn is_number(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let plain = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')' | '.'));
    plain && digits >= CALLBACK_DIGITS_MIN
}

/// The number of whoever calls, or is called, in this conversation by telephone.
#[must_use]
pub fn number_of(state: &ConversationState) -> Option<String> {
    let calls = state.legs.iter().rev().filter(|leg| leg.role == Role::Customer && leg.medium == Medium::Call);
    calls.map(other_end).find(|number| is_number(number))
}

/// The customer's end of a leg.
fn other_end(leg: &LegState) -> String {
    let number = if leg.direction == Direction::Outbound { &leg.to } else { &leg.from };
    number.reveal().to_owned()
}

/// The number of the hotline that the customer called, or that they were called from; empty: they never called.
#[must_use]
pub fn entrance_of(state: &ConversationState) -> String {
    let called = |leg: &&LegState| {
        leg.role == Role::Customer && leg.medium == Medium::Call && leg.direction == Direction::Inbound
    };
    state.legs.iter().find(called).map(|leg| leg.to.reveal().to_owned()).unwrap_or_default()
}

/// The first number that no leg has, of those that are kept free for the calls of this leg.
#[must_use]
pub fn next_leg(state: &ConversationState, leg: LegId) -> LegId {
    let block = |id: LegId| id.0.saturating_sub(1) / CALL_LEGS;
    let last = state.legs.iter().map(|one| one.leg).filter(|one| block(*one) == block(leg)).max();
    LegId(last.unwrap_or(leg).max(leg).0.saturating_add(1))
}

/// A place in line: the queue, since when somebody waits in it, and their priority.
pub type Place = (String, Timestamp, u8);

/// The place of somebody who waits for a person, or was with one, read on in their log. Who came back to a queue kept the place in it.
#[must_use]
pub fn place_in(before: Option<Place>, records: &[Record]) -> Option<Place> {
    let mut place = before;
    for record in records {
        let (queue, at, priority) = match &record.event.event {
            Event::QueueJoined(QueueJoined { queue, priority, .. }) => (queue, record.event.time, *priority),
            Event::LegOffered(LegOffered { callback: Some(kept), .. }) => {
                (&kept.queue, kept.waiting_since, kept.priority)
            }
            _ => continue,
        };
        let since = place.as_ref().filter(|(before, ..)| before == queue).map(|(_, since, _)| *since);
        place = Some((queue.clone(), since.unwrap_or(at), priority));
    }
    place
}

/// The event that puts somebody in line who was lost with a gateway, as it is written behind the loss.
#[must_use]
pub fn after_loss(state: &ConversationState, (queue, since, priority): Place, now: Timestamp) -> Option<LegOffered> {
    let number = number_of(state)?;
    let deadline = ark_conversation::cloud_event::whole_microseconds(now.saturating_add(CALLBACK_TTL_MAX).ok()?);
    Some(LegOffered {
        leg: state.next_call_leg(),
        mode: CallMode::PstnCallback,
        deadline,
        to: Some(Pii::new(number)),
        callback: Some(CallbackPlace { queue, waiting_since: since, priority, tries: 0 }),
    })
}
