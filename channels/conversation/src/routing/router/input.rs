//! What a router hears and what it says.

use jiff::Timestamp;

use super::super::config::{AgentProfile, Kind, Needs, Presence, QueueConfig};
#[cfg(doc)]
use super::Router;
use crate::id::ConversationId;
#[cfg(doc)]
use crate::limits::{CALLBACKS_MAX, MISSED_MAX};

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody waits in a queue from now on. Who is in a queue already keeps their place there, and with `since` in another one,
    /// too; who was with an agent is back.
    Join {
        /// Who.
        item: ConversationId,
        /// Where.
        queue: String,
        /// What of an agent is needed.
        kind: Kind,
        /// Higher is served earlier: each step is worth the queue's `aging`.
        priority: i32,
        /// Since when they wait. `None`: since now, or since they came when they are known.
        since: Option<Timestamp>,
        /// What an agent must be able to do.
        needs: Needs,
        /// Whom the customer had last: preferred when free.
        last_agent: Option<String>,
        /// The conversation's epoch, given back with offers.
        epoch: u64,
    },
    /// An agent has somebody who waited in no line: taken up again, or rung past it. Nobody else is asked in between.
    Taken {
        /// Who.
        item: ConversationId,
        /// The queue whose handling times and wrapping up count.
        queue: String,
        /// What of an agent is needed.
        kind: Kind,
        /// Since when they were there; none: since now.
        since: Option<Timestamp>,
        /// The conversation's epoch.
        epoch: u64,
        /// The agent.
        agent: String,
    },
    /// They go on waiting in another queue, with their place.
    Moved {
        /// Who.
        item: ConversationId,
        /// Where.
        queue: String,
    },
    /// They are no longer to be served.
    Leave {
        /// Who.
        item: ConversationId,
        /// Why.
        why: EndReason,
    },
    /// They go on by another channel; the place stays.
    Changed {
        /// Who.
        item: ConversationId,
        /// What of an agent is needed now.
        kind: Kind,
    },
    /// They hang up and are to be called when it is their turn; the place stays.
    Callback {
        /// Who.
        item: ConversationId,
        /// How often they were called in vain before this router knew of them.
        tries: u32,
    },
    /// The customer did not take the call that the agent made.
    CallbackMissed {
        /// Who.
        item: ConversationId,
    },
    /// An agent took an offer; the conversation is theirs.
    Accepted {
        /// Which.
        offer: u64,
    },
    /// An agent does not want it.
    Declined {
        /// Which.
        offer: u64,
    },
    /// An agent is done with it.
    Finished {
        /// Who.
        item: ConversationId,
    },
    /// An agent, new or changed. They are gone until their presence is told.
    Agent {
        /// Their name.
        name: String,
        /// What they can do.
        profile: AgentProfile,
    },
    /// An agent comes, pauses or goes.
    Presence {
        /// Their name.
        agent: String,
        /// How they are now.
        presence: Presence,
    },
    /// An agent is done wrapping up before the time.
    WrappedUp {
        /// Their name.
        agent: String,
    },
    /// A queue, new or changed.
    Queue(QueueConfig),
    /// A queue opens or closes: nobody joins a closed one; who waits in it is served.
    Open {
        /// Its name.
        queue: String,
        /// Whether it is open.
        open: bool,
    },
    /// An agent has this one without an offer of ours: they took it unasked, or the router takes over.
    Serving {
        /// Who. They have [`Input::Join`]ed.
        item: ConversationId,
        /// Their agent.
        agent: String,
    },
    /// This one is offered to an agent by somebody else: another router, or the one before. It counts as ours from now on.
    Offered {
        /// Who. They have [`Input::Join`]ed.
        item: ConversationId,
        /// The agent.
        agent: String,
        /// Until when.
        deadline: Timestamp,
    },
    /// Everything is known: decide.
    Begin,
    /// [`Router::deadline`] has come.
    Tick,
}

/// Why somebody waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The customer gave up.
    Abandoned,
    /// The plan, or an agent, took them elsewhere.
    Moved,
    /// The conversation is over.
    Closed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask this agent: [`crate::machine::Input::Offer`] under this epoch.
    Offer {
        /// Its number, counting up.
        offer: u64,
        /// Who waits.
        item: ConversationId,
        /// The queue.
        queue: String,
        /// The agent.
        agent: String,
        /// What of an agent is needed.
        kind: Kind,
        /// Until when; the router takes it back then by itself.
        deadline: Timestamp,
        /// The customer is to be called once the agent has accepted.
        callback: bool,
        /// The conversation's epoch, as it came with the item.
        epoch: u64,
    },
    /// Ask no longer.
    Withdrawn {
        /// Which.
        offer: u64,
        /// Who waits.
        item: ConversationId,
        /// The agent.
        agent: String,
        /// Why.
        why: WithdrawnBy,
    },
    /// An agent vanished from somebody, who is back at their place.
    Returned {
        /// Who.
        item: ConversationId,
        /// The queue.
        queue: String,
        /// The agent.
        agent: String,
    },
    /// Somebody has waited longer than the queue's `overflow_after`, and nobody is being asked for them just now. Once in each queue.
    Overflow {
        /// Who.
        item: ConversationId,
        /// The queue.
        queue: String,
    },
    /// Nobody who works in the queue has what somebody needs: it does not matter any more. Once in each queue.
    Waived {
        /// Who.
        item: ConversationId,
        /// The queue.
        queue: String,
        /// What they needed.
        needs: Needs,
    },
    /// A customer who asked for a callback could not be reached [`CALLBACKS_MAX`] times, and waits no longer.
    Unreached {
        /// Who.
        item: ConversationId,
    },
    /// An agent let [`MISSED_MAX`] offers pass and is away now, until they say otherwise.
    SetAway {
        /// The agent.
        agent: String,
    },
}

/// Why an offer was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithdrawnBy {
    /// Its time was up.
    Deadline,
    /// The item left, or goes on in another way.
    Item,
    /// The agent went.
    Agent,
}

/// Why an input changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such queue.
    #[error("there is no such queue")]
    UnknownQueue,
    /// No such agent.
    #[error("there is no such agent")]
    UnknownAgent,
    /// Nobody of that id waits or is served.
    #[error("nobody of that id waits or is served")]
    UnknownItem,
    /// The queue is closed.
    #[error("the queue is closed")]
    Closed,
    /// A bound is reached: items, agents, queues, skills or classes.
    #[error("there are too many of that kind")]
    Full,
    /// The offer has ended.
    #[error("the offer has ended")]
    OfferEnded,
    /// Not in this state: a callback of somebody who is being served, say.
    #[error("not at this moment")]
    NotNow,
}
