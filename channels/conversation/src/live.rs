//! Live events: what is so just now, beside the log.
//!
//! They have no `seq`, are kept nowhere and may be lost; the next one of the same subject says all that the one before said. Nothing
//! is decided by one: what must be known is in the log. What one gateway asks of another about a call that is up goes the same way:
//! whoever asked and hears no answer says so to whoever asked them.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

use crate::event::{
    Direction, Needed, Party, RecordingFormat, Role, SupervisionMode, TransferEnd, TransferMode, TransferOutcome,
};
use crate::id::{ConversationId, LegId, Tenant};
use crate::pii::{Content, Pii};

/// Something that is so just now, and who says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiveEvent {
    /// Whose data it is.
    pub tenant: Tenant,
    /// The gateway where it is so.
    pub gateway: String,
    /// When it was seen.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// What: its name in `type`, the rest in `data`.
    #[serde(flatten)]
    pub event: Live,
}

/// What is so just now. A reader ignores types that it does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Live {
    /// A call is up, and how it is.
    #[serde(rename = "ark.live.call.v1")]
    Call(LiveCall),
    /// A call is up no more.
    #[serde(rename = "ark.live.call.over.v1")]
    CallOver(LiveCallOver),
    /// Who waits in a queue, and its operators.
    #[serde(rename = "ark.live.queue.v1")]
    Queue(LiveQueue),
    /// A gateway came, is here, or goes.
    #[serde(rename = "ark.live.gateway.v1")]
    Gateway(LiveGateway),
    /// A call is handed from one person to another, and how far that is.
    #[serde(rename = "ark.live.transfer.v1")]
    Transfer(LiveTransfer),
    /// Somebody types.
    #[serde(rename = "ark.live.typing.v1")]
    Typing(LiveTyping),
    /// Somebody speaks, and this is what was understood so far.
    #[serde(rename = "ark.live.transcript.v1")]
    Transcript(LiveTranscript),
    /// A gateway asks the one that has a call to do something in it.
    #[serde(rename = "ark.live.ask.v1")]
    Ask(LiveAsk),
    /// What came of it.
    #[serde(rename = "ark.live.answer.v1")]
    Answer(LiveAnswer),
}

impl Live {
    /// The name of every type.
    pub const TYPES: [&'static str; 9] = [
        "ark.live.call.v1",
        "ark.live.call.over.v1",
        "ark.live.queue.v1",
        "ark.live.gateway.v1",
        "ark.live.typing.v1",
        "ark.live.transcript.v1",
        "ark.live.ask.v1",
        "ark.live.answer.v1",
        "ark.live.transfer.v1",
    ];

    /// Its name.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Call(_) => Self::TYPES[0],
            Self::CallOver(_) => Self::TYPES[1],
            Self::Queue(_) => Self::TYPES[2],
            Self::Gateway(_) => Self::TYPES[3],
            Self::Typing(_) => Self::TYPES[4],
            Self::Transcript(_) => Self::TYPES[5],
            Self::Ask(_) => Self::TYPES[6],
            Self::Answer(_) => Self::TYPES[7],
            Self::Transfer(_) => Self::TYPES[8],
        }
    }

    /// The schema of each type's `data`, in the order of [`Live::TYPES`].
    #[must_use]
    pub fn data_schemas() -> Vec<(&'static str, Schema)> {
        let [call, over, queue, gateway, typing, transcript, ask, answer, transfer] = Self::TYPES;
        vec![
            (call, schema_for!(LiveCall)),
            (over, schema_for!(LiveCallOver)),
            (queue, schema_for!(LiveQueue)),
            (gateway, schema_for!(LiveGateway)),
            (typing, schema_for!(LiveTyping)),
            (transcript, schema_for!(LiveTranscript)),
            (ask, schema_for!(LiveAsk)),
            (answer, schema_for!(LiveAnswer)),
            (transfer, schema_for!(LiveTransfer)),
        ]
    }
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LiveState {
    /// Not answered yet.
    Ringing,
    /// A plan speaks and listens.
    Ivr,
    /// Waiting for a person.
    Queued,
    /// Two people talk.
    Talking,
}

/// A call that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveCall {
    /// Its conversation.
    pub conversation: ConversationId,
    /// Whether the other side called us or we it.
    pub direction: Direction,
    /// How far it is.
    pub state: LiveState,
    /// Who called, as that gateway shows numbers: masked unless its site says otherwise.
    pub from: String,
    /// What was dialled.
    pub to: String,
    /// When it began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started: Timestamp,
    /// When it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub answered: Option<Timestamp>,
    /// The plan that guides it, `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The plan's state that the caller is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_state: Option<String>,
    /// Whom it talks to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridged_to: Option<String>,
    /// Whether audio is being recorded.
    pub recording: bool,
    /// Its legs that are not over, the customer's first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<LiveLeg>,
    /// Its transfer from person to person, now or last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<LiveTransfer>,
}

/// A leg of a call that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveLeg {
    /// Its number in the conversation.
    pub leg: LegId,
    /// Who is there.
    pub role: Role,
    /// The number or address at its end, as that gateway shows numbers.
    pub who: String,
    /// Whether it was answered.
    pub up: bool,
    /// Whether its voice is kept from the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub muted: bool,
    /// What a supervisor does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervises: Option<SupervisionMode>,
    /// Where its voice goes to: an address and a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LiveTransferState {
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

/// A call that is handed from one person to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveTransfer {
    /// Its conversation.
    pub conversation: ConversationId,
    /// How far it is.
    pub state: LiveTransferState,
    /// To whom: an agent's, a queue's or a target's name, or a number as that gateway shows numbers.
    pub target: String,
    /// Who transfers.
    pub from: String,
    /// Whether the agent speaks with the target first.
    pub mode: TransferMode,
    /// Of one that is called back or over: how the target's part of it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<TransferOutcome>,
    /// Of one that is over: where the customer is then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<TransferEnd>,
}

/// A call that is up no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveCallOver {
    /// Its conversation.
    pub conversation: ConversationId,
}

/// A queue of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveQueue {
    /// Its name.
    pub queue: String,
    /// Callers that wait in it.
    pub waiting: u32,
    /// Since when the one that has waited longest waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub waiting_since: Option<Timestamp>,
    /// Its operators that could be given a caller now.
    pub operators_free: u32,
    /// Its operators whose phone rings, or who talk.
    pub operators_busy: u32,
}

/// A gateway of the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveGateway {
    /// Whether it is here; one that goes says so, one that dies is not heard any more.
    pub here: bool,
    /// This process of it: another one knows nothing of the calls of the one before.
    pub process: String,
    /// Calls that it has.
    pub calls: u32,
    /// Whether it wants to be told everything anew: it has just come, or has missed something.
    #[serde(default)]
    pub asks: bool,
    /// Whether everything of this gateway follows: what was said of it before counts no more.
    #[serde(default)]
    pub anew: bool,
}

/// Somebody types, in a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiveTyping {
    /// In which.
    pub conversation: ConversationId,
    /// On which of its threads: `/ark/{tenant}/{adapter}/{account}/{thread}`.
    pub source: String,
    /// Who.
    pub sender: Party,
    /// Whether they began or stopped.
    pub on: bool,
}

/// What somebody says just now. The log's `ark.transcript.final.v1` of the same leg and utterance takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveTranscript {
    /// In which conversation.
    pub conversation: ConversationId,
    /// On whose leg.
    pub leg: LegId,
    /// Who is there.
    pub speaker: Role,
    /// Which utterance of the leg.
    pub utterance: u32,
    /// When it began, from the moment at which the customer's leg was answered.
    pub start_ms: u64,
    /// What was understood so far; empty: somebody began to speak, or it was nothing.
    pub text: Content,
    /// Characters of it that will stay, as far as can be said.
    pub stable: u32,
    /// Nothing more comes of it: a final does, or it was nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
}

/// A gateway asks another one to do something in a call that is up there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveAsk {
    /// Names this question; the answer repeats it.
    pub ask: String,
    /// The gateway that has the call.
    pub to: String,
    /// The call's conversation.
    pub conversation: ConversationId,
    /// What is to be done.
    pub action: LiveAction,
}

/// What may be done in a call that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum LiveAction {
    /// Hang it up.
    Hangup,
    /// Call a supervisor into the talk.
    Supervise {
        /// Whom to call: a SIP address or a number.
        to: Pii,
        /// What they do.
        mode: SupervisionMode,
    },
    /// Let a supervisor do something else.
    SuperviseAs {
        /// The supervisor's leg.
        leg: LegId,
        /// What they do.
        mode: SupervisionMode,
    },
    /// Let a supervisor go.
    StopSupervising {
        /// The supervisor's leg.
        leg: LegId,
    },
    /// Keep a voice from the others, or let it through.
    Mute {
        /// Whose.
        leg: LegId,
        /// Kept from the others.
        muted: bool,
    },
    /// Record the call from now on.
    StartRecording {
        /// The kind of file; none: as that gateway's site says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<RecordingFormat>,
        /// Whether each leg has a channel of its own, or each side; none: as that gateway's site says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        legs: Option<bool>,
    },
    /// End the recording.
    StopRecording,
    /// Pause the recordings, or let them go on.
    PauseRecordings {
        /// Silence is recorded.
        paused: bool,
    },
    /// Hand the customer to somebody else.
    Transfer {
        /// To whom.
        to: LiveTarget,
        /// How.
        mode: TransferMode,
        /// Who asks for it; none: the gateway's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// A word to the target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Content>,
        /// What has happened so far, for who is asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        summary: Option<Content>,
        /// What an agent must be able to do, of a transfer to a queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        needs: Option<Needed>,
    },
    /// Bring the customer into the talk of the agent and the target.
    JoinTransfer,
    /// Hand the customer over.
    CompleteTransfer,
    /// Take the customer back.
    CancelTransfer,
    /// Let the customer hear music, or talk again.
    Hold {
        /// Music.
        on: bool,
    },
    /// Press keys towards the one to whom the agent talks.
    Keys {
        /// Which: `0` to `9`, `*`, `#`, `A` to `D`.
        digits: Content,
    },
}

/// To whom a call is handed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum LiveTarget {
    /// An agent: a name, `web:` and a name, or the address of their phone.
    Agent(String),
    /// A queue.
    Queue(String),
    /// A number outside.
    Number(Pii),
    /// A named target of the site.
    Target(String),
}

/// What came of a [`LiveAsk`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveAnswer {
    /// Of which.
    pub ask: String,
    /// The gateway that asked.
    pub to: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: LiveOutcome,
}

/// What came of something that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum LiveOutcome {
    /// It was done.
    Done {
        /// The new leg, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leg: Option<LegId>,
    },
    /// There is no such call or leg.
    NotFound {
        /// In words.
        why: String,
    },
    /// It cannot be done as asked.
    Refused {
        /// In words.
        why: String,
    },
    /// Not now.
    Unavailable {
        /// In words.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_and_its_answer_are_read_back() {
        let conversation = ConversationId::new(5, 7);
        let actions = [
            (LiveAction::Hangup, "hangup"),
            (LiveAction::Supervise { to: Pii::new("2001"), mode: SupervisionMode::Whisper }, "supervise"),
            (LiveAction::StartRecording { format: Some(RecordingFormat::Opus), legs: Some(true) }, "start_recording"),
        ];
        for (action, name) in actions {
            let ask = LiveAsk { ask: "gw1/7#1".to_owned(), to: "gw2".to_owned(), conversation, action };
            let json = serde_json::to_value(Live::Ask(ask.clone())).unwrap();
            assert_eq!(json["data"]["action"]["do"], name);
            assert_eq!(serde_json::from_value::<Live>(json).unwrap(), Live::Ask(ask));
        }
        let outcome = LiveOutcome::Refused { why: "nobody talks".to_owned() };
        let answer = LiveAnswer { ask: "gw1/7#1".to_owned(), to: "gw1".to_owned(), outcome };
        let json = serde_json::to_value(Live::Answer(answer.clone())).unwrap();
        assert_eq!((&json["data"]["outcome"], &json["data"]["why"]), (&"refused".into(), &"nobody talks".into()));
        assert_eq!(serde_json::from_value::<Live>(json).unwrap(), Live::Answer(answer));
    }

    #[test]
    fn a_live_event_is_flat_and_read_back_and_a_later_type_is_an_error_of_its_own() {
        let call = LiveCall {
            conversation: ConversationId::new(5, 7),
            direction: Direction::Inbound,
            state: LiveState::Queued,
            from: "+86 138****12".to_owned(),
            to: "95188".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            answered: None,
            plan: Some("hotline@3".to_owned()),
            plan_state: None,
            bridged_to: None,
            recording: false,
            legs: Vec::new(),
            transfer: None,
        };
        let event = LiveEvent {
            tenant: Tenant::MAIN,
            gateway: "gw1".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            event: Live::Call(call),
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!((json["type"].as_str(), json["data"]["state"].as_str()), (Some("ark.live.call.v1"), Some("queued")));
        assert_eq!(serde_json::from_value::<LiveEvent>(json.clone()).unwrap(), event);
        let mut later = json;
        later["type"] = "ark.live.later.v1".into();
        assert!(serde_json::from_value::<LiveEvent>(later).is_err());
        let names: Vec<&str> = Live::data_schemas().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, Live::TYPES);
    }
}
