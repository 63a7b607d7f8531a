//! OpenAI's `POST /v1/audio/transcriptions`, as many servers speak it: one request for each utterance, a WAV in a form.
//!
//! `verbose_json` with times is asked for; a server that refuses it is asked for `json` from then on.

use serde::Deserialize;

use super::{pcm_bytes, seconds};
use crate::limits::{ANSWER_BYTES_MAX, RATE_HZ};
use crate::types::{EngineError, Language, Recognised, Segment, Utterance};

/// How a server is asked. It remembers what the server refuses.
#[derive(Clone, Debug)]
pub struct OpenAi {
    /// The server's name for its model.
    pub model: String,
    /// It has refused `verbose_json`.
    plain: bool,
}

/// A request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `Content-Type`.
    pub content_type: String,
    /// The form.
    pub body: Vec<u8>,
}

/// What a response comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The answer.
    Done(Result<Recognised, EngineError>),
    /// The server does not know `verbose_json`: ask again.
    Again,
}

#[derive(Deserialize)]
struct Response {
    text: String,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    segments: Option<Vec<Part>>,
    #[serde(default)]
    words: Option<Vec<Word>>,
}

#[derive(Deserialize)]
struct Part {
    start: f64,
    end: f64,
    text: String,
    #[serde(default)]
    avg_logprob: Option<f64>,
}

#[derive(Deserialize)]
struct Word {
    start: f64,
    end: f64,
    word: String,
}

/// The words of an error: `{"error": {"message": ...}}`, else its beginning.
fn reason(status: u16, body: &[u8]) -> String {
    let told = serde_json::from_slice::<serde_json::Value>(body).ok();
    let message = told.as_ref().and_then(|body| body["error"]["message"].as_str().or(body["error"].as_str()));
    let message =
        message.map_or_else(|| String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(), str::to_owned);
    format!("status {status}: {}", message.chars().take(200).collect::<String>())
}

impl OpenAi {
    /// A server's model.
    #[must_use]
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), plain: false }
    }

    /// The body that asks. `boundary` separates the form's parts: random letters and digits, which no part contains.
    #[must_use]
    pub fn request(&self, utterance: &Utterance, boundary: &str) -> Request {
        let mut body = Vec::with_capacity(utterance.samples.len() * 2 + 2_048);
        let mut field = |name: &str, value: &str| {
            let part = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(part.as_bytes());
        };
        field("model", &self.model);
        if let Some(language) = utterance.language {
            field("language", language.as_str());
        }
        if !utterance.words.is_empty() {
            field("prompt", &utterance.words.join(", "));
        }
        field("temperature", "0");
        if self.plain {
            field("response_format", "json");
        } else {
            field("response_format", "verbose_json");
            field("timestamp_granularities[]", "segment");
            field("timestamp_granularities[]", "word");
        }
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"utterance.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&wav(&utterance.samples));
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Request { content_type: format!("multipart/form-data; boundary={boundary}"), body }
    }

    /// Reads a response.
    pub fn answer(&mut self, status: u16, body: &[u8]) -> Outcome {
        match status {
            200..=299 => Outcome::Done(read(body)),
            400 | 422 if !self.plain => {
                self.plain = true;
                Outcome::Again
            }
            408 | 425 | 429 | 500..=599 => Outcome::Done(Err(EngineError::Retry(reason(status, body)))),
            _ => Outcome::Done(Err(EngineError::Broken(reason(status, body)))),
        }
    }
}

fn read(body: &[u8]) -> Result<Recognised, EngineError> {
    if body.len() > ANSWER_BYTES_MAX {
        return Err(EngineError::Garbage(format!("a body of {} bytes", body.len())));
    }
    let response: Response = serde_json::from_slice(body).map_err(|error| EngineError::Garbage(error.to_string()))?;
    let parts = response.segments.unwrap_or_default();
    let sure: Vec<f64> = parts.iter().filter_map(|part| part.avg_logprob).map(f64::exp).collect();
    let confidence = (!sure.is_empty()).then(|| (sure.iter().sum::<f64>() / sure.len() as f64) as f32);
    let words = response.words.unwrap_or_default();
    let segment = |start, end, text, confidence| Segment { start: seconds(start), end: seconds(end), text, confidence };
    let segments: Vec<Segment> = if words.is_empty() {
        let sure = |part: &Part| part.avg_logprob.map(|log| log.exp() as f32);
        parts.into_iter().map(|part| segment(part.start, part.end, part.text.clone(), sure(&part))).collect()
    } else {
        words.into_iter().map(|word| segment(word.start, word.end, word.word, None)).collect()
    };
    let language = response.language.as_deref().and_then(Language::parse);
    Ok(Recognised { text: response.text, segments, confidence, language })
}

/// A WAV file: mono, 16 bits, 16 kHz.
#[must_use]
pub fn wav(samples: &[i16]) -> Vec<u8> {
    let bytes = samples.len() as u32 * 2;
    let mut out = Vec::with_capacity(44 + bytes as usize);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + bytes).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend_from_slice(&RATE_HZ.to_le_bytes());
    out.extend_from_slice(&(RATE_HZ * 2).to_le_bytes());
    out.extend_from_slice(b"\x02\0\x10\0data");
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&pcm_bytes(samples));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utterance() -> Utterance {
        Utterance {
            samples: vec![3; 160].into(),
            language: Some(Language::En),
            words: vec!["Ark".to_owned()].into(),
            partial: false,
        }
    }

    #[test]
    fn the_form_holds_a_wav_and_what_is_asked_for() {
        let request = OpenAi::new("whisper-1").request(&utterance(), "b0");
        let text = String::from_utf8_lossy(&request.body);
        for part in [
            "whisper-1",
            "verbose_json",
            "name=\"language\"\r\n\r\nen\r\n",
            "filename=\"utterance.wav\"",
            "--b0--\r\n",
            "RIFF",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert_eq!(request.content_type, "multipart/form-data; boundary=b0");
        let pcm = ark_media::prompt::decode(wav(&[5; 1_600]), "x.wav").unwrap();
        assert_eq!(pcm.duration().as_millis(), 100);
    }

    #[test]
    fn answers_of_all_kinds_are_read() {
        let mut server = OpenAi::new("m");
        let verbose = br#"{"task":"transcribe","language":"english","duration":1.2,"text":"Talk to an agent.",
            "segments":[{"id":0,"start":0.1,"end":1.1,"text":" Talk to an agent.","avg_logprob":-0.1}]}"#;
        let Outcome::Done(Ok(answer)) = server.answer(200, verbose) else { panic!("no answer") };
        assert_eq!((answer.language, answer.segments.len()), (Some(Language::En), 1));
        assert!(answer.confidence.is_some_and(|sure| (sure - 0.905).abs() < 0.001));
        assert_eq!(server.answer(400, br#"{"error":{"message":"response_format"}}"#), Outcome::Again);
        assert!(String::from_utf8_lossy(&server.request(&utterance(), "b").body).contains("\r\n\r\njson\r\n"));
        assert!(matches!(server.answer(400, b"still"), Outcome::Done(Err(EngineError::Broken(_)))));
        assert!(matches!(server.answer(200, br#"{"text":"hi"}"#), Outcome::Done(Ok(_))));
        assert!(matches!(server.answer(429, b""), Outcome::Done(Err(EngineError::Retry(_)))));
        let Outcome::Done(Err(EngineError::Broken(why))) = server.answer(401, br#"{"error":{"message":"no key"}}"#)
        else {
            panic!()
        };
        assert_eq!(why, "status 401: no key");
        assert!(matches!(server.answer(200, b"<html>"), Outcome::Done(Err(EngineError::Garbage(_)))));
    }
}
