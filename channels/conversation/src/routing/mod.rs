//! The queue and routing machine: who waits, who is free, and who is asked next, for calls and chats alike.
//!
//! [`Router`] takes an [`Input`] and the time and leaves [`Output`]s. It knows no clock and does nothing itself: an offer is a
//! proposal that the conversation's machine makes and that an agent accepts there; what came of it is told back.
//!
//! # Order
//!
//! Everybody in a queue ages at the same speed, so priority is worth time: who has priority 2 in a queue whose `aging` is one
//! minute stands where they would stand had they come two minutes earlier. The order of two callers never changes while they
//! wait, nothing needs to be sorted anew as time goes by, and nobody starves: an item is overtaken only by those who come
//! within `(their priority - its own) x aging` after it ([`Router::overtaken_until`]), and what priority is worth is bounded
//! ([`crate::limits::PRIORITY_WORTH_MAX`]).
//!
//! # Who may serve
//!
//! Items of one queue, kind, need and stage are a class; each class knows its agents, each agent its classes. A decision looks
//! at the heads of an agent's classes, or at the agents of an item's class, never at everybody. As an item waits, further groups
//! of agents are asked and levels of skills are relaxed (stages); a language is never relaxed.
//!
//! # What holds always
//!
//! * An item is in one of: waiting, kept for a moment ([`Phase::Kept`]: for the last agent, or until it is called again), offered,
//!   with an agent, or gone; never two offers of one item.
//! * An agent never has more than their capacity, offers counted.
//! * Every offer ends by its deadline. Who declines or lets it pass is not asked again for that item before the others, or
//!   before [`crate::limits::RETRY_AFTER`].
//! * Whoever an agent leaves behind (vanished, browser gone) is back at their place at once.
//! * A place survives a change of channel ([`Input::Changed`]) and waiting without the line ([`Input::Callback`]).
//!
//! # Who owns a queue, when several gateways share one site
//!
//! Agents serve several queues, and what must not be exceeded is the agent's capacity; so queues cannot be spread over gateways one
//! by one: **one router serves all queues of a tenant**. It runs where the lease of one fixed shard is held, that of the hash of
//! `routing:{tenant}`, so that ownership needs nothing new: the store grants it, another gateway has it ten seconds after a
//! death. Others send their inputs there as they send commands for conversations of others' shards (rows of its inbox), and it
//! answers with commands to the conversations.
//!
//! It decides who is asked, and nothing else. Whose a conversation is, its log says: an offer is [`crate::machine::Input::Offer`] under
//! the epoch that came with the item, so that a second router (for the moment in which a lease changes hands) can at worst have its
//! offer refused, and no conversation is offered twice or lost. So the router's state needs no log of its own: everything in it
//! can be asked for. A new owner begins with [`Router::recovering`], is told
//!
//! 1. the queues, from the site's file ([`Input::Queue`], [`Input::Open`]);
//! 2. who is there, by the gateways whose desks they have open ([`Input::Agent`], [`Input::Presence`]);
//! 3. what the conversations' states say: owned by an agent ([`Input::Serving`]), in a queue since when ([`Input::Join`] with its
//!    `since`), offered to whom until when ([`Input::Offered`]);
//!
//! and then [`Input::Begin`]s to decide. What is lost with the old one is the short memory: who declined, the mean handling time
//! (which starts again from the assumed one). Positions, priorities, waiting times and open offers are the same.

mod config;
mod desk;
mod line;
mod router;
pub mod simulation;
#[cfg(test)]
mod tests;

pub use config::{AgentProfile, Capacity, GroupStep, Kind, Needs, Presence, QueueConfig};
pub use line::{Place, round_up};
pub use router::{
    AgentState, AgentView, EndReason, Input, Output, Phase, QueueView, Refused, Router, Stats, WithdrawnBy,
};
