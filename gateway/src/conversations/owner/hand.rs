//! From hand to hand, for conversations in which nobody calls: offers, the way to a queue, summaries and notes.

use ark_conversation::event::{CallMode, CallbackPlace, LegEndReason, Needed, OfferMode, Summary};
use ark_conversation::limits::CALLBACK_TTL_MAX;
use ark_conversation::machine::{Conversation, Handled, Input, Refused};
use ark_conversation::{Content, Hash, OfferId, Owner, Pii};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What is wanted, of those things.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "hand", rename_all = "snake_case")]
pub enum Hand {
    /// The owner offers it to somebody.
    Offer {
        /// The epoch in which they believe to be; none: whatever it is.
        epoch: Option<u64>,
        /// To whom.
        to: Owner,
        /// Who keeps the customer meanwhile.
        mode: OfferMode,
        /// For how many seconds; none: as the house says.
        ttl_s: Option<u32>,
        /// A word to them.
        note: Option<Content>,
        /// What goes with it: a summary up to that `seq`.
        summary: Option<(u64, Content)>,
    },
    /// The one who made an offer takes it back.
    Withdraw {
        /// Which; none: the one that is open.
        offer: Option<OfferId>,
    },
    /// The owner hands the customer to a queue; the place that they had in it is kept.
    Release {
        /// The epoch in which they believe to be; none: whatever it is.
        epoch: Option<u64>,
        /// Which queue.
        queue: String,
        /// Higher goes first.
        priority: u8,
        /// What an agent must be able to do; none: as before.
        #[serde(default)]
        needs: Option<Needed>,
        /// What goes with it: a summary up to that `seq`.
        summary: Option<(u64, Content)>,
        /// A word to whoever takes it: a note.
        note: Option<Content>,
    },
    /// A summary was made, or written anew.
    Summarise {
        /// It speaks of nothing later than this `seq`.
        upto: u64,
        /// The words.
        text: Content,
    },
    /// The customer waits for a call, with the place that they have in that queue, or one at its end.
    CallBack {
        /// Which queue.
        queue: String,
        /// The number.
        to: Pii,
        /// Since when they wait, where that is known better than by the conversation's place.
        since: Option<Timestamp>,
    },
    /// They wait for it no longer.
    CancelCallback,
    /// A note of the house's own.
    Note {
        /// Its key: the same note again has the same key, and is kept once.
        key: String,
        /// The words.
        text: Content,
    },
}

/// Lets a machine do it.
pub(super) fn carry_out(
    machine: &mut Conversation,
    now: Timestamp,
    by: &Owner,
    hand: Hand,
) -> Result<Handled, Refused> {
    let current = machine.state().map_or(1, |state| state.epoch);
    match hand {
        Hand::Offer { epoch, to, mode, ttl_s, note, summary } => {
            let expected_epoch = epoch.unwrap_or(current);
            // Asked again after it was done: the offer that is open is the one.
            let open = machine.state().and_then(|state| state.offer.as_ref());
            if open.is_some_and(|open| open.by == *by && open.to == to && open.mode == mode) {
                return Ok(Handled::Duplicate);
            }
            summarise(machine, now, by, summary)?;
            let ttl = ttl_s.map(|seconds| SignedDuration::from_secs(i64::from(seconds)));
            machine.handle(now, Input::Offer { by: by.clone(), expected_epoch, to, mode, ttl, note })
        }
        Hand::Withdraw { offer } => {
            let open = machine.state().and_then(|state| state.offer.as_ref()).map(|open| open.offer);
            let offer = offer.or(open).ok_or(Refused::OfferEnded)?;
            machine.handle(now, Input::Withdraw { by: by.clone(), offer })
        }
        Hand::Release { epoch, queue, priority, needs, summary, note } => {
            let expected_epoch = epoch.unwrap_or(current);
            summarise(machine, now, by, summary)?;
            if let Some(text) = note {
                let seq = machine.state().map_or(0, |state| state.last_seq);
                machine.handle(now, Input::Note { by: by.clone(), key: format!("release-{seq}"), text })?;
            }
            machine.handle(now, Input::Release { by: by.clone(), expected_epoch, queue, priority, needs })
        }
        Hand::Summarise { upto, text } => {
            summarise(machine, now, by, Some((upto, text)))?;
            Ok(Handled::Done)
        }
        Hand::CallBack { queue, to, since } => {
            let state = machine.state();
            if state.is_some_and(|state| state.waiting_callback().is_some()) {
                return Ok(Handled::Duplicate);
            }
            let place = state.and_then(|state| state.place.clone()).filter(|place| place.queue == queue);
            let (at, priority) = place.map_or((now, 0), |place| (place.since, place.priority));
            let callback = Some(CallbackPlace {
                queue,
                waiting_since: since.map_or(at, |since| since.min(at)),
                priority,
                tries: 0,
            });
            let (mode, ttl) = (CallMode::PstnCallback, CALLBACK_TTL_MAX);
            machine.handle(now, Input::OfferLeg { mode, ttl, to: Some(to), callback })
        }
        Hand::CancelCallback => {
            let leg = machine.state().and_then(|state| state.waiting_callback()).map(|leg| leg.leg);
            let leg = leg.ok_or(Refused::NoLeg)?;
            machine.handle(now, Input::EndLeg { leg, reason: LegEndReason::House })
        }
        Hand::Note { key, text } => machine.handle(now, Input::Note { by: by.clone(), key, text }),
    }
}

fn summarise(
    machine: &mut Conversation,
    now: Timestamp,
    by: &Owner,
    summary: Option<(u64, Content)>,
) -> Result<(), Refused> {
    let Some((upto, text)) = summary else { return Ok(()) };
    let sha256 = Hash::of(text.reveal().as_bytes());
    let (tasks, messages, attachments) = (Vec::new(), Vec::new(), Vec::new());
    let summary = Summary { upto, text, tasks, messages, attachments, made_by: by.to_string(), sha256 };
    machine.handle(now, Input::Summarise(summary)).map(drop)
}
