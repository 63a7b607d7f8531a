//! What a running plan hears and what it asks for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::lang::Lang;
use crate::speech::{Confidence, Listen};

/// What happened to the call since the last step. Everything that answers an earlier [`Do`] carries its id; an id that
/// is no longer current is ignored, so late and doubled reports are harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A key: `0`-`9`, `*` or `#`. Others (A-D) are ignored.
    Key(char),
    /// A prompt ended, by itself or because a key cut it off.
    PlayFinished {
        /// The id of [`Do::Play`].
        id: u64,
    },
    /// The caller began to speak, while [`Do::Listen`] with this id is the current one. Best told at once: it cuts off the prompt
    /// and stops the clock that measures silence, until [`Heard::Said`] comes. To leave it out does no harm but that.
    SpeechStarted {
        /// The id of [`Do::Listen`].
        id: u64,
    },
    /// The caller said or typed something. It counts as the key of the way that it means; what means nothing costs a strike. What
    /// a recogniser could make nothing of is an empty text: that too must be told, since the plan waits for it.
    Said {
        /// The id of [`Do::Listen`] for speech; what belongs to an earlier one is ignored. `None`: typed in a chat, or otherwise
        /// meant for wherever the caller is now; understood also by plans and states that do not listen.
        id: Option<u64>,
        /// The words, as recognised or typed: punctuation, width and case do not matter.
        text: String,
        /// How sure the recogniser is; [`Confidence::FULL`] for what was typed.
        confidence: Confidence,
    },
    /// [`crate::Run::deadline`] has come.
    Clock,
    /// The caller's place in the queue.
    QueueUpdate {
        /// The id of [`Do::Queue`].
        id: u64,
        /// 1 is next.
        position: u32,
        /// Estimated wait, when there is an estimate.
        wait: Option<Duration>,
    },
    /// A person answered (queue or transfer); they talk now.
    Answered {
        /// The id of [`Do::Queue`] or [`Do::Transfer`].
        id: u64,
    },
    /// The person left after talking; the caller is still there.
    PersonLeft {
        /// The id of [`Do::Queue`] or [`Do::Transfer`].
        id: u64,
    },
    /// Nobody will answer this attempt.
    Failed {
        /// The id of [`Do::Queue`] or [`Do::Transfer`].
        id: u64,
        /// Why.
        failure: Failure,
    },
    /// The recording is complete (after [`Do::StopRecord`], silence or its maximum).
    Recorded {
        /// The id of [`Do::Record`].
        id: u64,
        /// Seconds of audio kept; 0: nothing.
        seconds: u32,
    },
    /// An HTTP action answered: named values, or why it failed.
    HttpResult {
        /// The id of [`Do::Http`].
        id: u64,
        /// Values by name; `Err` holds the reason for the log.
        result: Result<BTreeMap<String, String>, String>,
    },
    /// Something about a link for pictures.
    Link {
        /// The id of [`Do::Link`].
        id: u64,
        /// What.
        news: LinkNews,
    },
    /// The caller hung up, or the call was lost.
    Hangup,
}

/// How a link reaches the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkWay {
    /// The house's app.
    App,
    /// A short message to the caller's number.
    Sms,
    /// A code that is spoken.
    Code,
}

impl LinkWay {
    /// The way of that name in a plan.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::App, Self::Sms, Self::Code].into_iter().find(|way| way.as_str() == name)
    }

    /// Its name in a plan.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Sms => "sms",
            Self::Code => "code",
        }
    }
}

/// What happened to a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkNews {
    /// It is out, by app or short message.
    Sent,
    /// It can be opened by this code of six digits.
    Code(String),
    /// It could not be made, or went out no way.
    Failed,
    /// A device opened it.
    Joined,
    /// A picture came.
    Picture,
}

/// Why nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// Rang, nobody picked up.
    NoAnswer,
    /// Busy.
    Busy,
    /// Declined.
    Refused,
    /// Cannot be reached now: no operator, no trunk, unknown number.
    Unavailable,
}

/// Why the plan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The plan said goodbye.
    Completed,
    /// The person whom the caller talked to hung up and the plan named no further state.
    PersonLeft,
    /// The caller hung up.
    Caller,
    /// The plan is broken in a way `check` would have told. The caller heard an apology.
    Fault,
}

/// Who or what sent the caller to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sought {
    /// The caller pressed the human key.
    Key,
    /// The caller said, or typed, a word for a person.
    Speech,
    /// Too many strikes.
    Strikes,
    /// A state of the plan led to the human target.
    Plan,
}

/// What cost the caller a strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrikeCause {
    /// Nothing was heard.
    Silence,
    /// A key, or words, that mean nothing here.
    NoMatch,
    /// Asked to hear it again.
    Repeat,
}

/// What to play, in order, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A piece of a prompt's text: everything between two variables.
    Text {
        /// The prompt's id.
        prompt: Arc<str>,
        /// Which text piece of the prompt, from 0.
        index: usize,
        /// The language that is spoken.
        lang: Lang,
        /// The text.
        text: Arc<str>,
        /// The recorded file that replaces synthesis, as the plan names it.
        recording: Option<Arc<str>>,
    },
    /// A word of the say-rules, one of [`crate::say::vocabulary`].
    Word {
        /// The language that is spoken.
        lang: Lang,
        /// The word.
        text: Arc<str>,
    },
    /// Silence inside a sentence.
    Pause(Duration),
}

impl Piece {
    /// The key under which prepared audio is found; equal to [`crate::Utterance::key`]. `None` for a pause.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Text { prompt, index, lang, .. } => Some(format!("{lang}/prompt/{prompt}/{index}")),
            Self::Word { lang, text } => Some(format!("{lang}/word/{text}")),
            Self::Pause(_) => None,
        }
    }
}

/// What can be done with the recording of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingAct {
    /// It begins, unless it has.
    Start,
    /// Nothing is kept from now on; its time goes on in silence.
    Pause,
    /// Everything is kept again.
    Resume,
    /// It ends.
    Stop,
}

impl RecordingAct {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Start, Self::Pause, Self::Resume, Self::Stop];

    /// As a plan writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
        }
    }

    /// The one that a plan writes so.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == word)
    }
}

/// What the plan asks of the call. To be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Answer the call. Always the first.
    Answer,
    /// A state was entered; for the log (`ark.ivr.entered`).
    Entered {
        /// The state's name.
        state: Arc<str>,
        /// Its verb.
        verb: &'static str,
    },
    /// Play a prompt; report [`Heard::PlayFinished`] with the id. At most one plays at a time: a new one replaces it.
    Play {
        /// Counts up within the call.
        id: u64,
        /// What to play.
        pieces: Vec<Piece>,
        /// The caller's language (a piece says its own, which differs when a prompt lacks this one).
        lang: Lang,
        /// A key stops it at once, without waiting for the plan. When false, the plan decides which keys stop it.
        barge_in: bool,
    },
    /// Write to the customer: what [`Do::Play`] is in a call, in a chat. It is read at once, so that
    /// [`Heard::PlayFinished`] with the id follows.
    Write {
        /// Counts up within the chat.
        id: u64,
        /// The text.
        text: String,
        /// The prompts that it was made of, by their names; what Ark says by itself is none.
        prompts: Vec<Arc<str>>,
    },
    /// Stop that prompt if it still plays.
    StopPlay {
        /// The id of the [`Do::Play`].
        id: u64,
    },
    /// Listen to what the caller says until [`Do::StopListen`] or another [`Do::Listen`], also while prompts play: report
    /// [`Heard::SpeechStarted`] and, for each utterance, [`Heard::Said`] with its id. Who has no recogniser ignores it: keys are
    /// always enough.
    Listen(Listen),
    /// Listen no longer; what is still being recognised need not be reported.
    StopListen {
        /// The id of the [`Do::Listen`].
        id: u64,
    },
    /// Record the caller after a beep until [`Do::StopRecord`], `max`, or `silence` without voice; then report
    /// [`Heard::Recorded`].
    Record {
        /// Counts up within the call.
        id: u64,
        /// Longest recording.
        max: Duration,
        /// Silence that ends it.
        silence: Duration,
    },
    /// Stop that recording, keep what it has, and report [`Heard::Recorded`].
    StopRecord {
        /// The id of the [`Do::Record`].
        id: u64,
    },
    /// The recording of the call begins, pauses, goes on or ends. What is so already stays so; nothing is reported.
    Recording {
        /// What to do.
        act: RecordingAct,
    },
    /// Put the caller in a queue: music whenever no prompt plays, [`Heard::QueueUpdate`] at once and when it changes.
    Queue {
        /// Counts up within the call.
        id: u64,
        /// The queue's name.
        name: Arc<str>,
        /// Higher is served first.
        priority: i32,
    },
    /// Take the caller out of the queue; nothing is reported.
    LeaveQueue {
        /// The id of the [`Do::Queue`].
        id: u64,
    },
    /// Ring a named target: ringback whenever no prompt plays.
    Transfer {
        /// Counts up within the call.
        id: u64,
        /// The target's name in the plan.
        name: Arc<str>,
        /// A number or SIP URI, from the plan's `[targets]`.
        to: Arc<str>,
        /// How long it may ring.
        timeout: Duration,
    },
    /// Give that transfer up; nothing is reported.
    CancelTransfer {
        /// The id of the [`Do::Transfer`].
        id: u64,
    },
    /// Call a named HTTP action and report [`Heard::HttpResult`].
    Http {
        /// Counts up within the call.
        id: u64,
        /// The action's name in the plan.
        action: Arc<str>,
        /// The values that the action may see.
        vars: BTreeMap<String, String>,
        /// After this the plan goes on without it.
        timeout: Duration,
    },
    /// Make a link for pictures, send it by the first way that can be, and report [`Heard::Link`] for as long as the state lasts.
    Link {
        /// Counts up within the call.
        id: u64,
        /// The ways, the preferred first.
        ways: Vec<LinkWay>,
        /// How long the plan waits for a picture.
        timeout: Duration,
    },
    /// A variable changed; for the log. `lang` among them.
    Set {
        /// The variable.
        name: Arc<str>,
        /// Its value.
        value: String,
    },
    /// The caller entered digits; for the log. A secret value is replaced by stars here.
    Gathered {
        /// The variable.
        name: Arc<str>,
        /// The digits, or as many stars.
        value: String,
    },
    /// The caller is asked how content they were; for the log (`ark.survey.asked`).
    SurveyAsked {
        /// The best score; 1 is the worst.
        scale: u8,
    },
    /// The caller said how content they were; for the log (`ark.survey.answered`).
    SurveyAnswered {
        /// From 1 to `scale`.
        score: u8,
        /// The best score.
        scale: u8,
    },
    /// The caller lost a strike; for the log.
    Strike {
        /// How many in a row, from 1.
        count: u32,
        /// Why.
        cause: StrikeCause,
    },
    /// The caller is on the way to a person; for the log and `ark_human_wait_seconds`.
    PersonSought {
        /// By what.
        by: Sought,
    },
    /// End the call. Always the last; nothing follows.
    Hangup {
        /// Why.
        reason: EndReason,
    },
}
