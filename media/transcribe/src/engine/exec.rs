//! An engine that is a process of the site's own: JSON lines on its standard input and output.
//!
//! A question is one line: `{"id": 7, "partial": false, "language": "zh", "words": ["方舟"], "rate_hz": 16000, "pcm": "<base64 of
//! 16-bit little-endian mono>"}`. The answer is one line with the same id: `{"id": 7, "text": "转人工", "confidence": 0.9, "language":
//! "zh", "segments": [{"start": 0.1, "end": 0.9, "text": "转人工", "confidence": 0.9}]}` (seconds from the first sample; all but `id` and
//! `text` may be left out), or `{"id": 7, "error": "why"}`. One question at a time; what the process writes to its standard
//! error goes to the gateway's log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{pcm_bytes, seconds};
use crate::limits::{ANSWER_BYTES_MAX, RATE_HZ};
use crate::types::{EngineError, Language, Recognised, Segment, Utterance};

#[derive(Serialize)]
struct Question<'a> {
    id: u64,
    partial: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<Language>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    words: &'a [String],
    rate_hz: u32,
    pcm: String,
}

#[derive(Deserialize)]
struct Reply {
    id: u64,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    confidence: Option<f32>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    segments: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    start: f64,
    end: f64,
    text: String,
    #[serde(default)]
    confidence: Option<f32>,
}

/// The line that asks, with its end.
#[must_use]
pub fn question(id: u64, utterance: &Utterance) -> String {
    let question = Question {
        id,
        partial: utterance.partial,
        language: utterance.language,
        words: &utterance.words,
        rate_hz: RATE_HZ,
        pcm: STANDARD.encode(pcm_bytes(&utterance.samples)),
    };
    // Numbers and strings: there is nothing that could fail.
    serde_json::to_string(&question).unwrap_or_default() + "\n"
}

/// Reads a line. `Ok(None)`: it answers an earlier question, which nobody waits for any more.
///
/// # Errors
/// The process's own error ([`EngineError::Retry`]), or [`EngineError::Garbage`].
pub fn answer(id: u64, line: &str) -> Result<Option<Recognised>, EngineError> {
    if line.len() > ANSWER_BYTES_MAX {
        return Err(EngineError::Garbage(format!("a line of {} bytes", line.len())));
    }
    let reply: Reply = serde_json::from_str(line).map_err(|error| EngineError::Garbage(error.to_string()))?;
    if reply.id < id {
        return Ok(None);
    }
    if reply.id > id {
        return Err(EngineError::Garbage(format!("it answers question {}, which was not asked", reply.id)));
    }
    if let Some(error) = reply.error {
        return Err(EngineError::Retry(error.chars().take(200).collect()));
    }
    let Some(text) = reply.text else {
        return Err(EngineError::Garbage("it holds neither `text` nor `error`".to_owned()));
    };
    let segments = reply.segments.into_iter().map(|part| Segment {
        start: seconds(part.start),
        end: seconds(part.end),
        text: part.text,
        confidence: part.confidence,
    });
    let language = reply.language.as_deref().and_then(Language::parse);
    Ok(Some(Recognised { text, segments: segments.collect(), confidence: reply.confidence, language }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_line_and_answers_are_told_apart() {
        let utterance = Utterance {
            samples: vec![1, -1].into(),
            language: Some(Language::Zh),
            words: vec!["方\n舟".to_owned()].into(),
            partial: false,
        };
        let line = question(7, &utterance);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains(r#""pcm":"AQD//w==""#) && line.contains(r#""language":"zh""#), "{line}");
        let answered = answer(7, r#"{"id":7,"text":"转人工","segments":[{"start":0.5,"end":1,"text":"转人工"}]}"#)
            .unwrap()
            .unwrap();
        assert_eq!((answered.text.as_str(), answered.segments.len()), ("转人工", 1));
        assert_eq!(answer(7, r#"{"id":6,"text":"late"}"#), Ok(None));
        assert!(matches!(answer(7, r#"{"id":7,"error":"busy"}"#), Err(EngineError::Retry(_))));
        for garbage in ["", "{}", "[7]", r#"{"id":7}"#, r#"{"id":8,"text":""}"#, r#"{"id":-1,"text":""}"#] {
            assert!(matches!(answer(7, garbage), Err(EngineError::Garbage(_))), "{garbage}");
        }
    }
}
