//! The conversation standard: log records, events, identifiers and ownership.
//!
//! Everything that happens to a customer is one **conversation**: a log of [`Record`]s, numbered 1, 2, 3... without
//! gaps. A record carries a [`CloudEvent`] whose data is a typed [`Event`]; [`ConversationState`] is the fold of the
//! log that lists and pages show. `STANDARD.md` beside this crate says the same for integrators, `schemas/` holds a
//! JSON Schema for each type.
//!
//! Invariant: this crate knows no clock, no randomness, no socket and no telephone. Identifiers are made of a time
//! and random bits that are passed in; times are arguments.

pub mod channel;
pub mod cloud_event;
pub mod digest;
pub mod erase;
pub mod event;
pub mod failure;
pub mod id;
pub mod identity;
#[doc(hidden)]
pub mod laws;
pub mod limits;
pub mod live;
pub mod machine;
pub mod owner;
pub mod person;
pub mod pii;
pub mod record;
pub mod redact;
pub mod routing;
#[doc(hidden)]
pub mod samples;
pub mod schema;
pub mod source;
pub mod state;
pub mod summary;
pub mod transfer;

pub use cloud_event::CloudEvent;
pub use digest::{Hash, LogHash};
pub use event::{Event, EventError};
pub use id::{ConversationId, EventId, IdError, LegId, MergeId, OfferId, PersonId, SessionId, Tenant};
pub use identity::{Assurance, IdentityKey, KeyKind};
pub use live::{
    Live, LiveAction, LiveAnswer, LiveAsk, LiveCall, LiveCallOver, LiveEvent, LiveGateway, LiveLeg, LiveOutcome,
    LiveQueue, LiveState, LiveTarget, LiveTranscript, LiveTransfer, LiveTransferState, LiveTyping,
};
pub use owner::Owner;
pub use pii::{Content, Pii, mask_number, normalise_number};
pub use record::{NewEvent, Record};
pub use redact::Redaction;
pub use source::ThreadSource;
pub use state::{
    Change, ConversationKind, ConversationState, LegPhase, LegState, OfferState, ParticipantState, PlaceState,
    SessionState,
};
