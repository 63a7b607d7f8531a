//! What can happen: every event type of the log with its data.
//!
//! A type's name is `ark.` + what + `.v1`. Within v1 fields are only added, and readers ignore those that they do not
//! know.

mod call;
mod companion;
mod ivr;
mod message;
mod ownership;
mod people;
mod speech;
mod survey;
mod system;

pub use call::*;
pub use companion::*;
pub use ivr::*;
pub use message::*;
pub use ownership::*;
pub use people::*;
pub use speech::*;
pub use survey::*;
pub use system::*;

use serde::{Deserialize, Serialize};

use crate::id::LegId;

/// Why an event's data could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the data of {type_name} does not fit its schema: {cause}")]
pub struct EventError {
    /// The event's type.
    pub type_name: String,
    /// What did not fit.
    #[source]
    pub cause: serde_json::Error,
}

/// An event of a type that this version does not know, kept as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherEvent {
    /// The CloudEvents `type`.
    pub type_name: String,
    /// The CloudEvents `data`.
    pub data: serde_json::Value,
}

macro_rules! events {
    ($($variant:ident = $name:literal,)*) => {
        /// Everything that the log can hold. The data's fields are documented at each struct; `schemas/` holds their
        /// JSON Schemas.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Event {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant($variant),
            )*
            /// A type that this version does not know: read, carried and shown, never lost.
            Other(OtherEvent),
        }

        impl Event {
            /// The names of all known types.
            pub const TYPES: &[&str] = &[$($name),*];

            /// The CloudEvents `type`.
            #[must_use]
            pub fn type_name(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $name,)*
                    Self::Other(other) => &other.type_name,
                }
            }

            /// Reads the data of an event of type `type_name` from JSON text. An unknown type becomes [`Event::Other`].
            ///
            /// # Errors
            /// [`EventError`] when the data does not fit the type, or is no JSON.
            pub fn from_json(type_name: &str, data: &str) -> Result<Self, EventError> {
                let failed = |cause| EventError { type_name: type_name.to_owned(), cause };
                match type_name {
                    $($name => serde_json::from_str(data).map(Self::$variant).map_err(failed),)*
                    _ => {
                        let data = serde_json::from_str(data).map_err(failed)?;
                        Ok(Self::Other(OtherEvent { type_name: type_name.to_owned(), data }))
                    }
                }
            }

            /// [`Event::from_json`] for data that was parsed already.
            ///
            /// # Errors
            /// [`EventError`] when the data does not fit the type.
            pub fn from_value(type_name: &str, data: serde_json::Value) -> Result<Self, EventError> {
                let failed = |cause| EventError { type_name: type_name.to_owned(), cause };
                match type_name {
                    $($name => serde_json::from_value(data).map(Self::$variant).map_err(failed),)*
                    _ => Ok(Self::Other(OtherEvent { type_name: type_name.to_owned(), data })),
                }
            }

            /// [`Event::from_json`] for data that is about to be read.
            pub(crate) fn read<'de, D: serde::Deserializer<'de>>(type_name: &str, data: D) -> Result<Self, D::Error> {
                let failed = |cause: D::Error| {
                    serde::de::Error::custom(format_args!("the data of {type_name} does not fit its schema: {cause}"))
                };
                match type_name {
                    $($name => $variant::deserialize(data).map(Self::$variant).map_err(failed),)*
                    _ => {
                        let data = serde_json::Value::deserialize(data)?;
                        Ok(Self::Other(OtherEvent { type_name: type_name.to_owned(), data }))
                    }
                }
            }

            /// The JSON Schema of each type's data, by type name.
            pub(crate) fn data_schemas() -> Vec<(&'static str, schemars::Schema)> {
                vec![$(($name, schemars::schema_for!($variant)),)*]
            }
        }

        impl Serialize for Event {
            /// Writes the data alone: the type's name stands beside it in the [`crate::CloudEvent`].
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(data) => data.serialize(serializer),)*
                    Self::Other(other) => other.data.serialize(serializer),
                }
            }
        }

        $(
            impl From<$variant> for Event {
                fn from(data: $variant) -> Self {
                    Self::$variant(data)
                }
            }
        )*
    };
}

events! {
    CallRinging = "ark.call.ringing.v1",
    CallAnswered = "ark.call.answered.v1",
    CallEnded = "ark.call.ended.v1",
    CallLost = "ark.call.lost.v1",
    CallQuality = "ark.call.quality.v1",
    LegBridged = "ark.leg.bridged.v1",
    LegUnbridged = "ark.leg.unbridged.v1",
    LegHeld = "ark.leg.held.v1",
    LegResumed = "ark.leg.resumed.v1",
    LegMuted = "ark.leg.muted.v1",
    CallSupervised = "ark.call.supervised.v1",
    IvrEntered = "ark.ivr.entered.v1",
    IvrStrike = "ark.ivr.strike.v1",
    IvrSet = "ark.ivr.set.v1",
    IvrKept = "ark.ivr.kept.v1",
    Dtmf = "ark.dtmf.v1",
    PromptStarted = "ark.prompt.started.v1",
    PromptFinished = "ark.prompt.finished.v1",
    GatherFinished = "ark.gather.finished.v1",
    RecordingStarted = "ark.recording.started.v1",
    RecordingPaused = "ark.recording.paused.v1",
    RecordingResumed = "ark.recording.resumed.v1",
    RecordingFinished = "ark.recording.finished.v1",
    RecordingFailed = "ark.recording.failed.v1",
    TranscriptFinal = "ark.transcript.final.v1",
    TranscriptCorrected = "ark.transcript.corrected.v1",
    TranscriptMissing = "ark.transcript.missing.v1",
    QueueJoined = "ark.queue.joined.v1",
    QueuePosition = "ark.queue.position.v1",
    QueueLeft = "ark.queue.left.v1",
    TransferStarted = "ark.transfer.started.v1",
    TransferChanged = "ark.transfer.changed.v1",
    TransferFinished = "ark.transfer.finished.v1",
    HttpFinished = "ark.http.finished.v1",
    MessageIn = "ark.message.in.v1",
    MessageOut = "ark.message.out.v1",
    MessageRerouted = "ark.message.rerouted.v1",
    Receipt = "ark.receipt.v1",
    Typing = "ark.typing.v1",
    Edit = "ark.edit.v1",
    Thread = "ark.thread.v1",
    Identity = "ark.identity.v1",
    AdapterCall = "ark.call.v1",
    SessionOpened = "ark.session.opened.v1",
    SessionClosed = "ark.session.closed.v1",
    LegAdded = "ark.leg.added.v1",
    LegOffered = "ark.leg.offered.v1",
    LegIdle = "ark.leg.idle.v1",
    LegWoke = "ark.leg.woke.v1",
    LegEnded = "ark.leg.ended.v1",
    LinkMade = "ark.link.made.v1",
    LinkCode = "ark.link.code.v1",
    LinkSent = "ark.link.sent.v1",
    LinkJoined = "ark.link.joined.v1",
    ParticipantJoined = "ark.participant.joined.v1",
    ParticipantLeft = "ark.participant.left.v1",
    OwnerOffered = "ark.owner.offered.v1",
    OwnerAccepted = "ark.owner.accepted.v1",
    OwnerDeclined = "ark.owner.declined.v1",
    OwnerExpired = "ark.owner.expired.v1",
    OwnerWithdrawn = "ark.owner.withdrawn.v1",
    OwnerReleased = "ark.owner.released.v1",
    Summary = "ark.summary.v1",
    SurveyAsked = "ark.survey.asked.v1",
    SurveyAnswered = "ark.survey.answered.v1",
    Note = "ark.note.v1",
    NumberRevealed = "ark.number.revealed.v1",
    PersonLinked = "ark.person.linked.v1",
    PersonMerged = "ark.person.merged.v1",
    PersonUnmerged = "ark.person.unmerged.v1",
    Erased = "ark.erased.v1",
    Erasure = "ark.erasure.v1",
    PlanPublished = "ark.plan.published.v1",
    PlanRolledBack = "ark.plan.rolled_back.v1",
    PlanRefused = "ark.plan.refused.v1",
    LogGap = "ark.log.gap.v1",
}

impl Event {
    /// Whether it is live only: shown to those who look, never written to a log.
    #[must_use]
    pub fn is_live_only(&self) -> bool {
        matches!(self, Self::Typing(_))
    }

    /// Whether it is about something that was there before it, so that it begins no conversation and opens none: a receipt, an edit, what
    /// became of a channel's call, the end of a thread.
    #[must_use]
    pub fn follows(&self) -> bool {
        match self {
            Self::Receipt(_) | Self::Edit(_) => true,
            Self::AdapterCall(call) => call.op != CallOp::Offer,
            Self::Thread(change) => change.state != ThreadState::Opened,
            _ => false,
        }
    }

    /// The leg that it names, where it names one. Messages name their thread: the leg is the one with that source.
    #[must_use]
    pub fn leg(&self) -> Option<LegId> {
        match self {
            Self::CallRinging(e) => Some(e.leg),
            Self::CallAnswered(e) => Some(e.leg),
            Self::CallEnded(e) => Some(e.leg),
            Self::CallLost(e) => e.leg,
            Self::CallQuality(e) => Some(e.leg),
            Self::LegBridged(e) => Some(e.leg),
            Self::LegUnbridged(e) => Some(e.leg),
            Self::LegHeld(e) => Some(e.leg),
            Self::LegResumed(e) => Some(e.leg),
            Self::IvrEntered(e) => Some(e.leg),
            Self::IvrStrike(e) => Some(e.leg),
            Self::IvrSet(e) => Some(e.leg),
            Self::IvrKept(e) => Some(e.leg),
            Self::Dtmf(e) => Some(e.leg),
            Self::PromptStarted(e) => Some(e.leg),
            Self::PromptFinished(e) => Some(e.leg),
            Self::GatherFinished(e) => Some(e.leg),
            Self::RecordingStarted(e) => Some(e.leg),
            Self::RecordingPaused(e) => Some(e.leg),
            Self::RecordingResumed(e) => Some(e.leg),
            Self::CallSupervised(e) => Some(e.leg),
            Self::LegMuted(e) => Some(e.leg),
            Self::RecordingFinished(e) => Some(e.leg),
            Self::RecordingFailed(e) => Some(e.leg),
            Self::TranscriptFinal(e) => Some(e.leg),
            Self::TranscriptCorrected(e) => Some(e.leg),
            Self::TranscriptMissing(e) => Some(e.leg),
            Self::QueueJoined(e) => Some(e.leg),
            Self::QueuePosition(e) => Some(e.leg),
            Self::QueueLeft(e) => Some(e.leg),
            Self::TransferStarted(e) => Some(e.leg),
            Self::TransferChanged(e) => Some(e.leg),
            Self::TransferFinished(e) => Some(e.leg),
            Self::HttpFinished(e) => Some(e.leg),
            Self::MessageRerouted(e) => Some(e.leg),
            Self::AdapterCall(e) => e.leg,
            Self::LegAdded(e) => Some(e.leg),
            Self::LegOffered(e) => Some(e.leg),
            Self::LegIdle(e) => Some(e.leg),
            Self::LegWoke(e) => Some(e.leg),
            Self::LegEnded(e) => Some(e.leg),
            Self::LinkMade(e) => Some(e.leg),
            Self::LinkJoined(e) => Some(e.leg),
            Self::SurveyAsked(e) => Some(e.leg),
            Self::SurveyAnswered(e) => Some(e.leg),
            Self::NumberRevealed(e) => Some(e.leg),
            Self::ParticipantJoined(e) => e.leg,
            Self::ParticipantLeft(e) => e.leg,
            Self::MessageIn(_)
            | Self::LinkCode(_)
            | Self::LinkSent(_)
            | Self::MessageOut(_)
            | Self::Receipt(_)
            | Self::Typing(_)
            | Self::Edit(_)
            | Self::Thread(_)
            | Self::Identity(_)
            | Self::SessionOpened(_)
            | Self::SessionClosed(_)
            | Self::OwnerOffered(_)
            | Self::OwnerAccepted(_)
            | Self::OwnerDeclined(_)
            | Self::OwnerExpired(_)
            | Self::OwnerWithdrawn(_)
            | Self::OwnerReleased(_)
            | Self::Summary(_)
            | Self::Note(_)
            | Self::PersonLinked(_)
            | Self::PersonMerged(_)
            | Self::PersonUnmerged(_)
            | Self::Erased(_)
            | Self::Erasure(_)
            | Self::PlanPublished(_)
            | Self::PlanRolledBack(_)
            | Self::PlanRefused(_)
            | Self::LogGap(_)
            | Self::Other(_) => None,
        }
    }
}

/// Derives what every event's data has; optional fields that are not known are left out of the JSON.
macro_rules! data {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $ty:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
            pub struct $name {
                $($(#[$field_meta])* pub $field: $ty,)*
            }
        )*
    };
}
pub(crate) use data;

/// Derives what every closed list of words has; they are written in snake_case.
macro_rules! words {
    ($($(#[$meta:meta])* pub enum $name:ident { $($(#[$word_meta:meta])* $word:ident = $text:literal,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
            pub enum $name {
                $($(#[$word_meta])* #[serde(rename = $text)] $word,)*
            }

            impl $name {
                /// The word as it stands in JSON.
                #[must_use]
                pub const fn as_str(self) -> &'static str {
                    match self { $(Self::$word => $text,)* }
                }
            }

            impl std::fmt::Display for $name {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.pad(self.as_str())
                }
            }
        )*
    };
}
pub(crate) use words;
