//! What a plan does with a caller.

use jiff::Timestamp;

use crate::event::{DtmfHow, data, words};
use crate::id::LegId;
use crate::pii::Content;

words! {
    /// Why a prompt stopped.
    pub enum PromptCause {
        /// It was heard to its end.
        End = "end",
        /// The caller pressed a key.
        BargeIn = "barge_in",
        /// The plan stopped it.
        Stopped = "stopped",
        /// The leg ended.
        Hangup = "hangup",
        /// It could not be played.
        Failed = "failed",
    }

    /// What the caller did not do.
    pub enum StrikeKind {
        /// Nothing was pressed in time.
        Silence = "silence",
        /// Something was pressed that means nothing here.
        Invalid = "invalid",
    }

    /// How a gather ended.
    pub enum GatherOutcome {
        /// As many digits as asked for, or the finishing key.
        Complete = "complete",
        /// Too few digits in time.
        Timeout = "timeout",
        /// The digits do not fit what was asked for.
        Invalid = "invalid",
        /// The caller asked for a person instead.
        Human = "human",
        /// The leg ended.
        Hangup = "hangup",
    }

    /// How a named HTTP action ended.
    pub enum HttpOutcome {
        /// It answered, and the answer could be used.
        Ok = "ok",
        /// It did not answer in time.
        Timeout = "timeout",
        /// It answered with a status that is no success.
        Status = "status",
        /// It answered with something that could not be used.
        Unusable = "unusable",
        /// It could not be reached.
        Unreachable = "unreachable",
    }
}

data! {
    /// A call entered a state of its plan.
    pub struct IvrEntered {
        /// The leg.
        pub leg: LegId,
        /// The plan's name.
        pub plan: String,
        /// The plan's version.
        pub version: u32,
        /// The state.
        pub state: String,
        /// The state's verb: `menu`, `say`, `gather` ...
        pub verb: String,
        /// The caller's language at this time: `zh`, `en`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub lang: Option<String>,
    }

    /// Where a plan is in a chat: all that it needs to go on, at whichever gateway. The last one counts.
    pub struct IvrKept {
        /// The leg.
        pub leg: LegId,
        /// The plan's name.
        pub plan: String,
        /// The version with which it goes on.
        pub version: u32,
        /// What it needs, in its own words; empty: it is over.
        pub run: Content,
        /// When it goes on though nothing comes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>", extend("format" = "date-time"))]
        pub wakes: Option<Timestamp>,
    }

    /// A caller was silent or pressed what means nothing; three strikes lead to a person.
    pub struct IvrStrike {
        /// The leg.
        pub leg: LegId,
        /// The state.
        pub state: String,
        /// What happened.
        pub kind: StrikeKind,
        /// How many there are now.
        pub strikes: u32,
    }

    /// A plan's variable was set.
    pub struct IvrSet {
        /// The leg.
        pub leg: LegId,
        /// The variable.
        pub var: String,
        /// Its value; none when it is masked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub value: Option<String>,
        /// Whether the value is withheld because the plan calls it sensitive.
        #[serde(default)]
        pub masked: bool,
    }

    /// A key was pressed.
    pub struct Dtmf {
        /// The leg.
        pub leg: LegId,
        /// `0` to `9`, `*`, `#`, `A` to `D`; none when it is masked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub digit: Option<char>,
        /// Whether the digit is withheld because it belongs to a sensitive gather.
        #[serde(default)]
        pub masked: bool,
        /// How it came.
        pub how: DtmfHow,
        /// For how long it was pressed, in milliseconds, where the sender says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub duration_ms: Option<u32>,
    }

    /// Ark began to speak.
    pub struct PromptStarted {
        /// The leg.
        pub leg: LegId,
        /// Number of this playing within the leg: the same in started and finished.
        pub play: u64,
        /// The ids of the plan's prompts, in order.
        pub prompts: Vec<String>,
        /// Their language.
        pub lang: String,
        /// The whole length in milliseconds, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub length_ms: Option<u64>,
        /// Whether a key stops it.
        #[serde(default)]
        pub barge_in: bool,
        /// What was said; left out when it holds something sensitive.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub text: Option<String>,
    }

    /// Ark stopped speaking.
    pub struct PromptFinished {
        /// The leg.
        pub leg: LegId,
        /// Number of the playing.
        pub play: u64,
        /// How much of it was sent, in milliseconds.
        pub heard_ms: u64,
        /// Why it stopped.
        pub cause: PromptCause,
    }

    /// A gather (digits asked of the caller) ended.
    pub struct GatherFinished {
        /// The leg.
        pub leg: LegId,
        /// The state.
        pub state: String,
        /// The variable that it fills.
        pub var: String,
        /// How it ended.
        pub outcome: GatherOutcome,
        /// How many digits there are.
        pub digits: u32,
        /// The digits; none when they are masked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub value: Option<String>,
        /// Whether the value is withheld.
        #[serde(default)]
        pub masked: bool,
    }

    /// A named HTTP action ended.
    pub struct HttpFinished {
        /// The leg.
        pub leg: LegId,
        /// The action's name.
        pub action: String,
        /// How it ended.
        pub outcome: HttpOutcome,
        /// The HTTP status, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub status: Option<u16>,
        /// How long it took, in milliseconds.
        pub took_ms: u64,
    }
}
