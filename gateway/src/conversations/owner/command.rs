//! What the house asks of a conversation's owner, and what it answers.

use ark_conversation::event::{Needed, OfferMode, Part, SessionCloseReason};
use ark_conversation::machine::{Conversation, Handled, Input, Refused};
use ark_conversation::{Content, ConversationId, LegId, OfferId, Owner, Tenant};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Something that somebody of the house wants of a conversation. Who they are was authenticated before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The conversation.
    pub conversation: ConversationId,
    /// Who asks.
    pub by: Owner,
    /// What.
    #[serde(flatten)]
    pub wish: Wish,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case")]
pub enum Wish {
    /// Write to the customer.
    Reply {
        /// The author's key: the same message again has the same key, and is sent once.
        key: String,
        /// The epoch in which they believe to be. None: whatever it is; a conversation that waits in a queue, or that a plan has, is
        /// claimed first, in the same commit.
        epoch: Option<u64>,
        /// By which leg; none: the thread that was active last.
        leg: Option<LegId>,
        /// What.
        parts: Vec<Part>,
        /// Which message it answers.
        reply_to: Option<String>,
    },
    /// Own it: out of the queue, from a plan, by an offer that was made to them, or taken up again after its end. Owning it already
    /// is no error.
    Claim {
        /// The epoch in which they believe to be; none: whatever it is.
        epoch: Option<u64>,
    },
    /// Ask an agent, in the name of the queue that owns it: what the router proposes. `by` is the queue.
    Ask {
        /// The agent.
        to: String,
        /// The epoch in which the router believes it to be.
        epoch: u64,
        /// Until when, the same moment for the router and the log.
        deadline: Timestamp,
    },
    /// Take an offer that was made to them.
    Accept {
        /// Which.
        offer: OfferId,
        /// The epoch that it named; none: whatever it is.
        epoch: Option<u64>,
    },
    /// Not take it.
    Decline {
        /// Which.
        offer: OfferId,
    },
    /// The router takes the offer back that it made in the queue's name. One that has ended is no error.
    TakeBack {
        /// To whom it was made.
        to: String,
    },
    /// They waited too long in the queue that asks, and go on in another one with their place; where the plan that waits with them has a way
    /// of its own, it goes that way. None: only the plan's way will do.
    Overflow {
        /// The other queue.
        to: Option<String>,
    },
    /// Nobody who works in the queue that asks has what they need: it no longer matters.
    Relax {
        /// What nobody has.
        needs: Needed,
    },
    /// That agent is gone from their desk: the customer goes back to their place. Asked by the queue or the agent.
    Vanished {
        /// Who.
        who: String,
    },
    /// From hand to hand: offers, the way to a queue, summaries and notes.
    Hand(super::hand::Hand),
    /// Close it.
    Resolve {
        /// The epoch in which they believe to be; none: whatever it is.
        epoch: Option<u64>,
        /// How it was settled.
        disposition: Option<String>,
        /// What they wrote to it.
        note: Option<Content>,
    },
}

/// What came of a command, once it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Who owns the conversation now.
    pub owner: Owner,
    /// Ownership now.
    pub epoch: u64,
    /// `seq` of the log's last record.
    pub last_seq: u64,
    /// Whether a message of this key had been taken before: nothing was sent now.
    pub duplicate: bool,
    /// The offer that is open now.
    #[serde(default)]
    pub offer: Option<OfferId>,
}

/// Why nothing came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", content = "detail", rename_all = "snake_case")]
pub enum CommandError {
    /// The offer has ended, or was made to somebody else.
    #[error("the offer is over: somebody took it, or its time was up")]
    OfferOver,
    /// There is none.
    #[error("there is no conversation {0}")]
    NoConversation(ConversationId),
    /// Ownership has moved on.
    #[error("the conversation changed hands meanwhile: its epoch is {current}, not the one given; read it again")]
    StaleEpoch {
        /// The epoch now.
        current: u64,
    },
    /// Somebody else owns it.
    #[error("the conversation belongs to {owner}: only its owner may do this")]
    NotOwner {
        /// Who.
        owner: Owner,
    },
    /// Nothing is open.
    #[error("the conversation is closed: claim it to take it up again")]
    Closed,
    /// It cannot be done as asked.
    #[error("{0}")]
    Refused(String),
    /// Not now. It may have been done all the same; asked again with the same key, a message is sent once.
    #[error("{0}")]
    Unavailable(String),
}

/// The answer to a command.
pub type Outcome = Result<Done, CommandError>;

/// A command that waits here for its answer.
pub(super) struct Asked {
    pub(super) command: Command,
    pub(super) reply: oneshot::Sender<Outcome>,
    pub(super) tries: u32,
}

/// Lets a machine do what is wanted. On an error the machine may have begun something: it is to be dropped, not polled.
pub(crate) fn carry_out(machine: &mut Conversation, now: Timestamp, command: Command) -> Outcome {
    let Command { conversation, by, wish, .. } = command;
    let there = |machine: &Conversation| machine.state().map(|state| state.epoch);
    let current = there(machine).ok_or(CommandError::NoConversation(conversation))?;
    let given = match &wish {
        Wish::Reply { epoch, .. } | Wish::Claim { epoch } | Wish::Resolve { epoch, .. } => *epoch,
        _ => None,
    };
    let mut duplicate = false;
    match wish {
        Wish::Reply { key, epoch, leg, parts, reply_to } => {
            let say = |machine: &mut Conversation, epoch| {
                let (author, key, parts, reply_to) = (by.clone(), key.clone(), parts.clone(), reply_to.clone());
                machine.handle(now, Input::Outbound { author, epoch, key, leg, parts, reply_to })
            };
            let handled = match say(machine, epoch.unwrap_or(current)) {
                Err(Refused::NotOwner) if epoch.is_none() => {
                    claim(machine, now, &by)?;
                    say(machine, there(machine).unwrap_or(current))
                }
                handled => handled,
            };
            duplicate = handled.map_err(|refused| told(machine, refused))? == Handled::Duplicate;
        }
        Wish::Claim { .. } => {
            if let Some(given) = given.filter(|given| *given != current) {
                let owns = machine.state().is_some_and(|state| state.is_open() && state.owner.as_ref() == Some(&by));
                // Asked again after it was done.
                if !(owns && given + 1 == current) {
                    return Err(CommandError::StaleEpoch { current });
                }
            } else {
                claim(machine, now, &by)?;
            }
        }
        Wish::Ask { .. }
        | Wish::Accept { .. }
        | Wish::Decline { .. }
        | Wish::TakeBack { .. }
        | Wish::Overflow { .. }
        | Wish::Relax { .. }
        | Wish::Vanished { .. } => {
            offers(machine, now, by, wish)?;
        }
        Wish::Hand(hand) => {
            let handled = super::hand::carry_out(machine, now, &by, hand);
            duplicate = handled.map_err(|refused| told(machine, refused))? == Handled::Duplicate;
        }
        Wish::Resolve { epoch, disposition, note } => {
            let expected_epoch = epoch.unwrap_or(current);
            let reason = SessionCloseReason::Resolved;
            let close = Input::Close { by, expected_epoch, reason, disposition, note };
            machine.handle(now, close).map_err(|refused| told(machine, refused))?;
        }
    }
    let state = machine.state().ok_or(CommandError::NoConversation(conversation))?;
    let owner = state.owner.clone().unwrap_or_else(|| Owner::Queue(String::new()));
    let offer = state.offer.as_ref().map(|offer| offer.offer);
    Ok(Done { owner, epoch: state.epoch, last_seq: state.last_seq, duplicate, offer })
}

/// What the router and those whom it asks want.
fn offers(machine: &mut Conversation, now: Timestamp, by: Owner, wish: Wish) -> Result<(), CommandError> {
    let state = machine.state();
    let input = match wish {
        Wish::Ask { to, epoch, deadline } => {
            let (to, ttl) = (Owner::Agent(to), Some(deadline.duration_since(now)));
            Input::Offer { by, expected_epoch: epoch, to, mode: OfferMode::Cold, ttl, note: None }
        }
        Wish::Accept { offer, epoch } => {
            let owns = state.is_some_and(|state| state.is_open() && state.owner.as_ref() == Some(&by));
            // Asked again after it was done.
            if owns {
                return Ok(());
            }
            let current = state.map_or(1, |state| state.epoch);
            Input::Accept { by, offer, expected_epoch: epoch.unwrap_or(current) }
        }
        Wish::Decline { offer } => Input::Decline { by, offer },
        Wish::TakeBack { to } => {
            let open = state.and_then(|state| state.offer.as_ref());
            let own = open.filter(|open| open.by == by && open.to == Owner::Agent(to));
            let Some(offer) = own.map(|open| open.offer) else { return Ok(()) };
            Input::Withdraw { by, offer }
        }
        // The plan went its own way with them.
        Wish::Overflow { .. } if state.is_none_or(|state| state.owner.as_ref() != Some(&by)) => return Ok(()),
        Wish::Overflow { to: Some(queue) } => Input::Overflow { by, queue },
        Wish::Relax { needs } => Input::Relax { by, needs },
        Wish::Vanished { who } => Input::Vanished { who: Owner::Agent(who) },
        _ => return Ok(()),
    };
    machine.handle(now, input).map(drop).map_err(|refused| told(machine, refused))
}

/// Makes somebody the owner, from whatever hands it may be taken out of.
fn claim(machine: &mut Conversation, now: Timestamp, by: &Owner) -> Result<(), CommandError> {
    let Some(state) = machine.state() else { return Ok(()) };
    if !state.is_open() {
        let reopened = machine.handle(now, Input::Reopen { by: by.clone() });
        return reopened.map(drop).map_err(|refused| told(machine, refused));
    }
    let (owner, expected_epoch) = (state.owner.clone(), state.epoch);
    let offer = state.offer.as_ref().filter(|offer| offer.to == *by).map(|offer| offer.offer);
    let (by, input) = (by.clone(), |by, expected_epoch| Input::Take { by, expected_epoch });
    let handled = match (owner, offer) {
        (Some(owner), _) if owner == by => return Ok(()),
        (_, Some(offer)) => machine.handle(now, Input::Accept { by, offer, expected_epoch }),
        // A person goes before a plan: by way of the queue, as when the plan itself gives up.
        (Some(bot @ Owner::Bot(_)), None) => {
            let queue = machine.policy().queue.clone();
            let release = Input::Release { by: bot, expected_epoch, queue, priority: 0, needs: None };
            machine.handle(now, release).and_then(|_| machine.handle(now, input(by, expected_epoch + 1)))
        }
        (Some(owner @ Owner::Agent(_)), None) => return Err(CommandError::NotOwner { owner }),
        (_, None) => machine.handle(now, input(by, expected_epoch)),
    };
    handled.map(drop).map_err(|refused| told(machine, refused))
}

/// A machine's refusal in the words of the one who asked.
fn told(machine: &Conversation, refused: Refused) -> CommandError {
    let state = machine.state();
    match refused {
        Refused::Fenced { current } => CommandError::StaleEpoch { current },
        Refused::Closed => CommandError::Closed,
        Refused::OfferEnded | Refused::NotAsked => CommandError::OfferOver,
        Refused::NotOwner => match state.and_then(|state| state.owner.clone()) {
            Some(owner) => CommandError::NotOwner { owner },
            None => CommandError::Refused(refused.to_string()),
        },
        Refused::Undrained => CommandError::Unavailable(refused.to_string()),
        other => CommandError::Refused(other.to_string()),
    }
}
