//! What is said to engines and what they answer.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::limits::{RATE_HZ, SEGMENTS_MAX, TEXT_CHARS_MAX};

/// A language that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Mandarin.
    Zh,
    /// English.
    En,
}

impl Language {
    /// ISO 639-1: what whisper, OpenAI's interface and plans call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zh => "zh",
            Self::En => "en",
        }
    }

    /// Reads `zh`, `zh-CN`, `cmn`, `en`, `en-GB`; `None` for others.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let base = text.split(['-', '_']).next().unwrap_or(text);
        match base.to_ascii_lowercase().as_str() {
            "zh" | "cmn" | "chinese" | "mandarin" => Some(Self::Zh),
            "en" | "english" => Some(Self::En),
            _ => None,
        }
    }
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One utterance, as an engine is given it.
#[derive(Clone, Debug)]
pub struct Utterance {
    /// Mono, 16 bits, at [`RATE_HZ`].
    pub samples: Arc<[i16]>,
    /// What is spoken; none: the engine finds out, if it can.
    pub language: Option<Language>,
    /// The site's own words: products, names.
    pub words: Arc<[String]>,
    /// Somebody still speaks: more of it will come, and this is asked for to show it meanwhile.
    pub partial: bool,
}

impl Utterance {
    /// How long it is.
    #[must_use]
    pub fn duration(&self) -> Duration {
        samples_to_time(self.samples.len())
    }
}

/// How long so many samples are.
#[must_use]
pub(crate) fn samples_to_time(samples: usize) -> Duration {
    Duration::from_micros(samples as u64 * 1_000_000 / u64::from(RATE_HZ))
}

/// So many samples are that long.
#[must_use]
pub(crate) fn time_to_samples(time: Duration) -> usize {
    (time.as_micros() as u64 * u64::from(RATE_HZ) / 1_000_000) as usize
}

/// A part of an utterance: a word or a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// When it begins: after the utterance's first sample in [`Recognised`], on the call's clock in [`SpeechEvent`].
    pub start: Duration,
    /// When it ends.
    pub end: Duration,
    /// What was said.
    pub text: String,
    /// 0 to 1, where the engine says it.
    pub confidence: Option<f32>,
}

/// What an engine read in an utterance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recognised {
    /// All of it; empty: nothing that is speech.
    pub text: String,
    /// Its parts, where the engine tells when they were said.
    pub segments: Vec<Segment>,
    /// 0 to 1, where the engine says it.
    pub confidence: Option<f32>,
    /// What was spoken, where the engine found out.
    pub language: Option<Language>,
}

impl Recognised {
    /// Brings an answer within bounds: what an engine says is nobody's word. Blanks at the ends go, control characters become
    /// blanks, numbers that are none are dropped, times lie within `within` and in order.
    #[must_use]
    pub fn sane(mut self, within: Duration) -> Self {
        self.text = clean(&self.text);
        self.confidence = self.confidence.and_then(probability);
        self.segments.truncate(SEGMENTS_MAX);
        let mut from = Duration::ZERO;
        for segment in &mut self.segments {
            segment.text = clean(&segment.text);
            segment.confidence = segment.confidence.and_then(probability);
            segment.start = segment.start.clamp(from, within.max(from));
            segment.end = segment.end.clamp(segment.start, within.max(segment.start));
            from = segment.start;
        }
        self.segments.retain(|segment| !segment.text.is_empty());
        self
    }
}

fn probability(value: f32) -> Option<f32> {
    value.is_finite().then(|| value.clamp(0.0, 1.0))
}

fn clean(text: &str) -> String {
    let shown = |c: char| if c.is_control() || c == '\u{FFFD}' { ' ' } else { c };
    let text: String = text.chars().map(shown).take(TEXT_CHARS_MAX).collect();
    text.trim().to_owned()
}

/// Why an engine did not answer, by what can be done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    /// Not now; the same again may work.
    #[error("{0}")]
    Retry(String),
    /// It will not work until somebody changes something: no model, a corrupt file, a wrong key.
    #[error("{0}")]
    Broken(String),
    /// What it answered is nothing that its protocol knows.
    #[error("the engine's answer cannot be read: {0}")]
    Garbage(String),
    /// Its time is up.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

impl EngineError {
    /// Whether asking again makes sense.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Retry(_) | Self::Late(_))
    }
}

/// What becomes known of a stream. Times are on the call's clock; `utterance` counts up from 1 on each stream.
#[derive(Clone, Debug, PartialEq)]
pub enum SpeechEvent {
    /// Somebody begins to speak.
    Started {
        /// Which utterance.
        utterance: u32,
        /// When the voice began.
        at: Duration,
    },
    /// They have stopped.
    Ended {
        /// Which utterance.
        utterance: u32,
        /// When the voice ended.
        at: Duration,
    },
    /// What has been said so far.
    Partial {
        /// Which utterance.
        utterance: u32,
        /// When it began.
        start: Duration,
        /// So far.
        text: String,
        /// Bytes of `text` that will not change any more, as far as can be said.
        stable: usize,
    },
    /// What was said. The last of its utterance.
    Final {
        /// Which utterance.
        utterance: u32,
        /// When the voice began.
        start: Duration,
        /// When it ended.
        end: Duration,
        /// All of it, masked.
        text: String,
        /// Before it was masked: for a plan that asked, and never kept or shown.
        raw: String,
        /// Its parts.
        segments: Vec<Segment>,
        /// 0 to 1.
        confidence: Option<f32>,
        /// What was spoken.
        language: Option<Language>,
        /// Something in it was masked.
        masked: bool,
        /// It was made under load: of merged utterances, or after the call.
        degraded: bool,
    },
    /// The utterance is over and nothing can be said of it: it was no speech.
    Nothing {
        /// Which utterance.
        utterance: u32,
    },
    /// The engine did not answer. The last of its utterance.
    Failed {
        /// Which utterance.
        utterance: u32,
        /// When the voice began.
        start: Duration,
        /// When it ended.
        end: Duration,
        /// Why.
        error: EngineError,
    },
    /// There was no room for it: it is made later, from the recording.
    Deferred {
        /// Which utterance.
        utterance: u32,
        /// When the voice began.
        start: Duration,
        /// When it ended.
        end: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_brought_within_bounds() {
        let part = |start, end, text: &str| Segment {
            start: Duration::from_millis(start),
            end: Duration::from_millis(end),
            text: text.to_owned(),
            confidence: Some(f32::NAN),
        };
        let answer = Recognised {
            text: format!("  a\u{7}b{} ", "长".repeat(TEXT_CHARS_MAX)),
            segments: vec![part(500, 100, "one"), part(100, 90_000, "two"), part(0, 0, " ")],
            confidence: Some(7.0),
            language: None,
        };
        let sane = answer.sane(Duration::from_secs(2));
        assert!(sane.text.starts_with("a b长") && sane.text.chars().count() <= TEXT_CHARS_MAX);
        assert_eq!(sane.confidence, Some(1.0));
        assert_eq!(sane.segments.len(), 2);
        assert_eq!(
            (sane.segments[0].start, sane.segments[0].end),
            (Duration::from_millis(500), Duration::from_millis(500))
        );
        assert_eq!(
            (sane.segments[1].start, sane.segments[1].end),
            (Duration::from_millis(500), Duration::from_secs(2))
        );
        assert_eq!(sane.segments[0].confidence, None);
    }

    #[test]
    fn languages_are_read_as_plans_and_engines_write_them() {
        for (text, language) in
            [("zh", Language::Zh), ("zh-CN", Language::Zh), ("EN_us", Language::En), ("chinese", Language::Zh)]
        {
            assert_eq!(Language::parse(text), Some(language));
        }
        assert_eq!(Language::parse("fr"), None);
    }
}
