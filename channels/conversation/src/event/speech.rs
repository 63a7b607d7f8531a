//! What was said in a call, in words.

use crate::event::{Role, data, words};
use crate::id::LegId;
use crate::pii::Content;

words! {
    /// What became of reading along.
    pub enum TranscriptTrouble {
        /// The engine did not answer, or not usably.
        Failed = "failed",
        /// There was no room for it while the call was up: it is made from the recording.
        Deferred = "deferred",
    }
}

data! {
    /// What somebody said, as the engine read it: an utterance, from a pause to the next. Times count from the moment at which the
    /// customer's leg was answered.
    pub struct TranscriptFinal {
        /// On whose leg.
        pub leg: LegId,
        /// Who is there.
        pub speaker: Role,
        /// Counts up on each leg; a later one of the same leg and number takes the place of an earlier one.
        pub utterance: u32,
        /// When the voice began.
        pub start_ms: u64,
        /// When it ended.
        pub end_ms: u64,
        /// The words. Numbers of cards and the like are `*`, where the site masks them.
        pub text: Content,
        /// The parts whose times the engine tells.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub segments: Vec<TranscriptSegment>,
        /// How sure the engine is, 0 to 1, where it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub confidence: Option<f64>,
        /// What read it: `whisper:ggml-small`.
        pub engine: String,
        /// `zh` or `en`, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub language: Option<String>,
        /// Something in it was masked.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub masked: bool,
        /// It was made under load: of several utterances at once, or after the call.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub degraded: bool,
        /// The recording in which it can be heard.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub recording: Option<String>,
        /// Where in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub recording_ms: Option<u64>,
    }

    /// A part of an utterance: a word or a sentence.
    pub struct TranscriptSegment {
        /// When it begins.
        pub start_ms: u64,
        /// When it ends.
        pub end_ms: u64,
        /// The words.
        pub text: Content,
        /// 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub confidence: Option<f64>,
    }

    /// A person put right what was read.
    pub struct TranscriptCorrected {
        /// On whose leg.
        pub leg: LegId,
        /// Which utterance.
        pub utterance: u32,
        /// What was said.
        pub text: Content,
        /// Who says so: an agent's name as an owner, `agent:anna`.
        pub by: String,
    }

    /// Something was said that is not in the log.
    pub struct TranscriptMissing {
        /// On whose leg.
        pub leg: LegId,
        /// Which utterance.
        pub utterance: u32,
        /// When the voice began.
        pub start_ms: u64,
        /// When it ended.
        pub end_ms: u64,
        /// What became of it.
        pub trouble: TranscriptTrouble,
        /// In words.
        pub reason: String,
    }
}
