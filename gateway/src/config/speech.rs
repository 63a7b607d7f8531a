//! `[speech]`: what is said in calls, in words.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Span};

/// `[speech]`: who reads along what is said in calls (docs/speech.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Speech {
    /// Who reads: `"off"`; `"whisper"` in this process, with a `model`; `"funasr"` or `"vosk"`, servers at a `url` (`"ws://10.0.0.9:10095"`);
    /// `"openai"`, any server of `/v1/audio/transcriptions` below a `url` (`"http://10.0.0.9:8000"`); `"exec"`, a `command` of your own.
    pub engine: SpeechEngine,
    /// whisper: a model's name (`"small"`, `ark model list` has them) or a file (`"models/my.bin"`). openai: the server's name of its model.
    pub model: String,
    /// The folder of models, where `ark model get` puts them.
    pub models: PathBuf,
    /// The SHA-256 that the model's file must have; another one is not loaded. Left out: the file is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The server of `funasr`, `vosk` and `openai`.
    pub url: String,
    /// The key that `openai` wants to see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// The process of `exec` and its arguments: JSON lines in, JSON lines out.
    pub command: Vec<String>,
    /// Samples a second that `funasr` and `vosk` want: 8000 or 16000.
    pub rate_hz: u32,
    /// What is spoken where a plan does not say it: `"zh"`, `"en"`, or `"auto"`: the engine finds out, which costs whisper half as much again.
    pub language: SpeechLanguage,
    /// The site's own words, products and names, told to the engine. The demo model wants none.
    pub words: Vec<String>,
    /// Cores that whisper may keep busy, at the lowest priority: 0.5 is half of one. When more is said than can be read, what is shown
    /// meanwhile goes first, then several utterances are read as one, then they are read after the call from its recording.
    pub cores: f64,
    /// Whether what is said is shown while it is said.
    pub partials: bool,
    /// The pause after which an utterance is over.
    pub pause: Span,
    /// Sound before the first voice that the engine gets, too.
    pub pre_roll: Span,
    /// An utterance that is longer is cut where the voice is weakest.
    pub longest: Span,
    /// From this score on sound is voice, 0.05 to 0.95.
    pub threshold: f64,
    /// whisper: always its whole window of 30 s. Five times as dear, and what some fine-tuned models want.
    pub full_window: bool,
    /// An answer that takes longer than this is none.
    pub timeout: Span,
    /// Numbers of cards and identity cards are masked before anybody sees them.
    pub mask_numbers: bool,
    /// The grossest words are masked.
    pub mask_profanity: bool,
    /// More words that are masked.
    pub mask_words: Vec<String>,
}

impl Default for Speech {
    fn default() -> Self {
        Self {
            engine: SpeechEngine::Off,
            model: String::new(),
            models: "data/models".into(),
            sha256: None,
            url: String::new(),
            key: None,
            command: Vec::new(),
            rate_hz: 8_000,
            language: SpeechLanguage::Auto,
            words: Vec::new(),
            cores: 1.0,
            partials: true,
            pause: Span::from_millis(600),
            pre_roll: Span::from_millis(300),
            longest: Span::from_secs(15),
            threshold: 0.5,
            full_window: false,
            timeout: Span::from_secs(10),
            mask_numbers: true,
            mask_profanity: true,
            mask_words: Vec::new(),
        }
    }
}

/// Who reads along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SpeechEngine {
    /// Nobody.
    #[default]
    Off,
    /// whisper.cpp in this process.
    Whisper,
    /// A FunASR server's 2-pass WebSocket.
    Funasr,
    /// A server of OpenAI's interface.
    Openai,
    /// A vosk-server's WebSocket.
    Vosk,
    /// A process of the site's own.
    Exec,
}

impl SpeechEngine {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Whisper => "whisper",
            Self::Funasr => "funasr",
            Self::Openai => "openai",
            Self::Vosk => "vosk",
            Self::Exec => "exec",
        }
    }
}

/// What is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SpeechLanguage {
    /// The engine finds out.
    #[default]
    Auto,
    /// Mandarin.
    Zh,
    /// English.
    En,
}

impl From<SpeechLanguage> for Option<ark_transcribe::Language> {
    fn from(language: SpeechLanguage) -> Self {
        match language {
            SpeechLanguage::Auto => None,
            SpeechLanguage::Zh => Some(ark_transcribe::Language::Zh),
            SpeechLanguage::En => Some(ark_transcribe::Language::En),
        }
    }
}
