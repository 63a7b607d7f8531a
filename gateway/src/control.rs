//! What the faces (HTTP, page, CLI) ask of the running gateway: one trait, so that they can be tested without one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ark_bus::Bus;
use ark_conversation::event::SupervisionMode;
use ark_conversation::{LegId, NewEvent};
use ark_store::Store;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::call::TalkAction;
use crate::channel_host::ChannelHost;
use crate::companion::Companion;
use crate::conversations::owner::Conversations;
use crate::live::LiveBoard;
use crate::sms::Sms;
use crate::speech::SpeechView;
use crate::telemetry::Sample;
use crate::webhooks::Webhooks;

/// A future that a trait object can return.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A call that is up, as programs and people see it. Numbers are masked unless `[log] numbers = true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallView {
    /// The call's id, which `hangup` takes: its conversation's ULID.
    pub id: String,
    /// The conversation's ULID.
    pub conversation: String,
    /// The gateway that has it.
    #[serde(default)]
    pub gateway: String,
    /// Whether the other side called us or we it.
    pub direction: CallDirection,
    /// How far it is.
    pub state: CallState,
    /// Who called, masked.
    pub from: String,
    /// What was dialled.
    pub to: String,
    /// When it began, RFC 3339, UTC.
    pub started_at: String,
    /// When it was answered, RFC 3339, UTC.
    pub answered_at: Option<String>,
    /// The plan that guides it, `name@version`.
    pub plan: Option<String>,
    /// The plan's state the caller is in.
    pub plan_state: Option<String>,
    /// The other leg's description while two people talk.
    pub bridged_to: Option<String>,
    /// Whether audio is being recorded.
    pub recording: bool,
    /// Its legs, the caller's first.
    pub legs: Vec<CallLeg>,
    /// Its transfer from person to person, now or last.
    #[serde(default)]
    pub transfer: Option<TransferStatus>,
}

/// A transfer of a call from person to person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransferStatus {
    /// How far it is.
    pub state: TransferPhase,
    /// To whom, masked where it is a number.
    pub target: String,
    /// Who transfers.
    pub from: String,
    /// `blind` or `warm`.
    pub mode: String,
    /// How the target's part of it ended, once it has: `answered`, `busy`, `no_answer`, `rejected`, `failed`, `cancelled`, `vanished` ...
    pub why: Option<String>,
    /// Where the customer is when it is over: `target`, `from`, `queue`, `plan` or `gone`.
    pub customer: Option<String>,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferPhase {
    /// The target rings, the customer hears music.
    Ringing,
    /// The agent and the target talk, the customer hears music.
    Consulting,
    /// All three talk.
    ThreeWay,
    /// The agent is called back, the customer hears music.
    Recalling,
    /// It is over.
    Over,
}

/// One leg of a call that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallLeg {
    /// Its number in the conversation.
    pub leg: u32,
    /// `customer`, `agent`, `external` or `supervisor`.
    pub role: String,
    /// The number or address at its end, masked.
    pub who: String,
    /// Whether it was answered.
    pub up: bool,
    /// Whether its voice is kept from the others.
    #[serde(default)]
    pub muted: bool,
    /// What a supervisor does.
    pub supervises: Option<Supervision>,
    /// Where its voice goes to: an address and a port. A browser's is the one that ICE found.
    #[serde(default)]
    pub remote: Option<String>,
}

/// What a supervisor does in a talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Supervision {
    /// Hears both and is heard by nobody
    Listen,
    /// Hears both and is heard by the agent alone
    Whisper,
    /// Talks with both
    Barge,
    /// Talks with the caller in the agent's place, who is let go
    TakeOver,
}

impl From<Supervision> for SupervisionMode {
    fn from(mode: Supervision) -> Self {
        match mode {
            Supervision::Listen => Self::Listen,
            Supervision::Whisper => Self::Whisper,
            Supervision::Barge => Self::Barge,
            Supervision::TakeOver => Self::TakeOver,
        }
    }
}

impl Supervision {
    /// The API's word for the log's.
    #[must_use]
    pub fn of(mode: SupervisionMode) -> Self {
        match mode {
            SupervisionMode::Whisper => Self::Whisper,
            SupervisionMode::Barge => Self::Barge,
            SupervisionMode::TakeOver => Self::TakeOver,
            _ => Self::Listen,
        }
    }
}

/// Who began a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallDirection {
    /// The other side called this gateway.
    In,
    /// This gateway called.
    Out,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// Not answered yet.
    Ringing,
    /// A plan speaks and listens.
    Ivr,
    /// Waiting for a person.
    Queued,
    /// Two people talk.
    Talking,
}

/// Asks the gateway to call somebody and to guide them through a hotline's plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceRequest {
    /// A SIP address (`sip:1001@127.0.0.1:5080`), or a number that a `[[route]]` carries.
    pub to: String,
    /// The hotline whose plan speaks to them, and whose number is shown to them. Left out: the first hotline.
    #[serde(default)]
    pub hotline: Option<String>,
}

/// A call that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Placed {
    /// The call's id.
    pub id: String,
    /// The conversation's ULID.
    pub conversation: String,
}

/// A plan as it is known to the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// The plan's name.
    pub name: String,
    /// The version that new calls begin with; `None` when none could be published yet.
    pub live: Option<u32>,
    /// Every version in the store, the oldest first.
    pub versions: Vec<PlanVersion>,
    /// The hotlines that use it.
    pub hotlines: Vec<String>,
    /// Calls that are up, by the version they began with.
    pub calls: Vec<PinnedCalls>,
    /// Why the configured file is not live, when it is not.
    pub refused: Option<String>,
    /// The version that is live at the other gateways of the store, and why it cannot be here, when it cannot.
    #[serde(default)]
    pub behind: Option<String>,
}

/// How many calls that are up began with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PinnedCalls {
    /// The version.
    pub version: u32,
    /// How many.
    pub calls: u64,
}

/// One published version of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanVersion {
    /// Counts from 1.
    pub version: u32,
    /// When it was published, RFC 3339, UTC.
    pub published_at: String,
    /// SHA-256 of its source, hexadecimal.
    pub digest: String,
}

/// A plan that went live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// The plan's name.
    pub name: String,
    /// The version that new calls begin with from now on.
    pub version: u32,
}

/// One thing that must be well for the gateway to take calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// What: `sip`, `media`, `store`, `bus`, `plan hotline-95188`, `disk` ...
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// How it is, in a sentence.
    pub detail: String,
}

/// Why the gateway did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such call or plan.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done as asked; the sentence says why and what to do. For plans: the diagnostics as `ark dialplan check` prints them.
    #[error("{0}")]
    Refused(String),
    /// Not now: full, draining, the store is away.
    #[error("{0}")]
    Unavailable(String),
}

/// The running gateway, as its faces see it. Every method answers within seconds and never waits for a caller.
pub trait Control: Send + Sync + 'static {
    /// The calls that are up, the oldest first; after those of this gateway those of the others of its site, as they were last heard.
    fn calls(&self) -> Reply<'_, Vec<CallView>>;
    /// Begins a call. The answer comes when the INVITE is on its way, not when somebody answers.
    fn place(&self, request: PlaceRequest) -> Reply<'_, Result<Placed, ControlError>>;
    /// Hangs a call up, whatever state it is in.
    fn hangup<'a>(&'a self, id: &'a str) -> Reply<'a, Result<(), ControlError>>;
    /// Does something in the talk of a call; `Some`: the new leg.
    fn act<'a>(&'a self, id: &'a str, action: TalkAction) -> Reply<'a, Result<Option<LegId>, ControlError>>;
    /// Every plan that a hotline uses.
    fn plans(&self) -> Reply<'_, Vec<PlanView>>;
    /// Checks, tests and prepares a plan and makes it live for new calls. `source`: the plan's text; `None`: read the configured file again.
    fn publish<'a>(&'a self, name: &'a str, source: Option<String>) -> Reply<'a, Result<Published, ControlError>>;
    /// Makes an older version live again. `version`: which; `None`: the one before the live one.
    fn rollback<'a>(&'a self, name: &'a str, version: Option<u32>) -> Reply<'a, Result<Published, ControlError>>;
    /// Whether calls can be taken, item by item.
    fn readiness(&self) -> Reply<'_, Vec<Ready>>;
    /// Values of this moment for `/metrics`, beside the counters of [`crate::telemetry`].
    fn samples(&self) -> Reply<'_, Vec<Sample>>;
    /// The log of record.
    fn store(&self) -> Arc<dyn Store>;
    /// The carrier of committed events.
    fn bus(&self) -> Arc<dyn Bus>;
    /// What is so just now, here and at the other gateways; none when there is nothing that could tell.
    fn live(&self) -> Option<Arc<LiveBoard>> {
        None
    }
    /// The owner of conversations; none when nobody works on them.
    fn conversations(&self) -> Option<Conversations> {
        None
    }
    /// Who may be called back; none when nobody works on conversations.
    fn callbacks(&self) -> Option<crate::callbacks::Callbacks> {
        None
    }
    /// Who is at work and who waits; none when nobody is asked.
    fn desk(&self) -> Option<Arc<crate::desk::Desk>> {
        None
    }
    /// The channels' host; none when there is none.
    fn channels(&self) -> Option<Arc<ChannelHost>> {
        None
    }
    /// Chat in web pages; none when there is none.
    fn webchat(&self) -> Option<Arc<crate::webchat::Hub>> {
        None
    }
    /// Companion links; none when there are none.
    fn companion(&self) -> Option<Arc<Companion>> {
        None
    }
    /// Surveys by link; none when nobody is asked so.
    fn survey(&self) -> Option<Arc<crate::survey::Survey>> {
        None
    }
    /// Short messages; none when none can be sent.
    fn sms(&self) -> Option<Arc<Sms>> {
        None
    }
    /// How reading along fares; none when nobody does.
    fn speech(&self) -> Option<SpeechView> {
        None
    }
    /// Leaves an event for the log; `false`: there is no room, or no log.
    fn log(&self, _event: NewEvent) -> bool {
        false
    }
    /// The webhooks; none when there is nothing that could send them.
    fn webhooks(&self) -> Option<Arc<Webhooks>> {
        None
    }
}
