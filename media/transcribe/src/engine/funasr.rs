//! FunASR's 2-pass WebSocket protocol (modelscope/FunASR, `runtime/docs/websocket_protocol.md`): the server reads along
//! (`2pass-online`) and reads once more when a sentence ends (`2pass-offline`).
//!
//! One utterance is one connection: some servers close it when the voice has ended, others would go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Chunks, Dialogue, Frame, millis, without_blanks};
use crate::limits::{ANSWER_BYTES_MAX, TEXT_CHARS_MAX};
use crate::types::{EngineError, Language, Recognised, Segment};

/// How the server is asked.
#[derive(Clone, Debug)]
pub struct FunAsr {
    /// 8000 or 16000: what its models want.
    pub rate_hz: u32,
    /// The site's own words, with equal weight.
    pub words: Arc<[String]>,
    /// Numbers as figures (`itn`).
    pub figures: bool,
}

impl Default for FunAsr {
    fn default() -> Self {
        Self { rate_hz: 8_000, words: Arc::new([]), figures: true }
    }
}

/// The weight of each of the site's words (the document's example has 20 and 30).
const WORD_WEIGHT: u32 = 20;
/// When all that was heard had been read anew before the voice ended, the server may say nothing more: so long is waited.
const SETTLED_WAIT: Duration = Duration::from_millis(600);

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    is_final: Option<bool>,
    #[serde(default)]
    is_end: Option<bool>,
    #[serde(default)]
    stamp_sents: Option<Value>,
}

/// The talk about one utterance.
pub struct Talk {
    out: VecDeque<Frame>,
    sound: Chunks,
    /// What was read anew, and what was read along since.
    settled: String,
    along: String,
    segments: Vec<Segment>,
    language: Option<Language>,
    finished: bool,
    done: bool,
    answers: VecDeque<Answer>,
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Talk").field("finished", &self.finished).field("done", &self.done).finish_non_exhaustive()
    }
}

impl FunAsr {
    /// Begins to talk about an utterance; `name` tells it apart in the server's log.
    #[must_use]
    pub fn talk(&self, name: &str, language: Option<Language>) -> Talk {
        let mut first = json!({
            "mode": "2pass",
            "wav_name": name,
            "is_speaking": true,
            "wav_format": "pcm",
            "audio_fs": self.rate_hz,
            "chunk_size": [5, 10, 5],
            "itn": self.figures,
        });
        if !self.words.is_empty() {
            let words: serde_json::Map<String, Value> =
                self.words.iter().map(|word| (word.clone(), WORD_WEIGHT.into())).collect();
            // A string that holds JSON: so the protocol has it.
            first["hotwords"] = Value::String(Value::Object(words).to_string());
        }
        Talk {
            out: VecDeque::from([Frame::Text(first.to_string())]),
            sound: Chunks::new(self.rate_hz),
            settled: String::new(),
            along: String::new(),
            segments: Vec::new(),
            language,
            finished: false,
            done: false,
            answers: VecDeque::new(),
        }
    }
}

impl Talk {
    fn send_audio(&mut self, at_the_end: bool) {
        while let Some(bytes) = self.sound.next(at_the_end) {
            self.out.push_back(Frame::Binary(bytes));
        }
    }

    fn end(&mut self, answer: Result<Recognised, EngineError>) {
        if !self.done {
            self.done = true;
            self.answers.push_back(Answer::Done(answer));
        }
    }

    /// All that is known is the answer.
    fn settle(&mut self) {
        let text = without_blanks(&format!("{}{}", self.settled, self.along));
        let segments = std::mem::take(&mut self.segments);
        self.end(Ok(Recognised { text, segments, confidence: None, language: self.language }));
    }

    fn understood(&mut self, message: &Message) {
        let text = message.text.as_deref().unwrap_or_default();
        let again = matches!(message.mode.as_deref(), Some("2pass-offline" | "offline"));
        if again {
            self.settled.push_str(text);
            self.along.clear();
            self.segments.extend(message.stamp_sents.as_ref().map(sentences).unwrap_or_default());
        } else {
            self.along.push_str(text);
        }
        let length = self.settled.len() + self.along.len();
        if length > TEXT_CHARS_MAX * 4 {
            return self.end(Err(EngineError::Garbage(format!("a text of {length} bytes"))));
        }
        if self.finished && (again || message.is_end == Some(true)) {
            return self.settle();
        }
        // What is there so far may be the last thing that a server says of a short utterance.
        if message.is_final == Some(true) && message.is_end == Some(true) {
            return self.settle();
        }
        if !text.is_empty() {
            let settled = without_blanks(&self.settled).len();
            let text = without_blanks(&format!("{}{}", self.settled, self.along));
            self.answers.push_back(Answer::SoFar { settled: settled.min(text.len()), text });
        }
    }
}

/// `stamp_sents`: an array, or a string that holds one.
fn sentences(stamps: &Value) -> Vec<Segment> {
    let parsed: Value;
    let list = match stamps {
        Value::String(text) => {
            parsed = serde_json::from_str(text).unwrap_or_default();
            &parsed
        }
        other => other,
    };
    let sentence = |one: &Value| {
        let text = format!("{}{}", one["text_seg"].as_str()?, one["punc"].as_str().unwrap_or_default());
        let (start, end) = (millis(one["start"].as_f64()?), millis(one["end"].as_f64()?));
        Some(Segment { start, end, text: without_blanks(&text), confidence: None })
    };
    list.as_array().into_iter().flatten().filter_map(sentence).collect()
}

impl Dialogue for Talk {
    fn audio(&mut self, samples: &[i16]) {
        if !self.finished && !self.done {
            self.sound.push(samples);
            self.send_audio(false);
        }
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.send_audio(true);
            self.out.push_back(Frame::Text(json!({ "is_speaking": false }).to_string()));
        }
    }

    fn transmit(&mut self) -> Option<Frame> {
        self.out.pop_front()
    }

    fn receive(&mut self, frame: &Frame) {
        if self.done {
            return;
        }
        let Frame::Text(text) = frame else {
            return self.end(Err(EngineError::Garbage("a binary message".to_owned())));
        };
        if text.len() > ANSWER_BYTES_MAX {
            return self.end(Err(EngineError::Garbage(format!("a message of {} bytes", text.len()))));
        }
        match serde_json::from_str::<Message>(text) {
            Ok(message) => self.understood(&message),
            Err(error) => self.end(Err(EngineError::Garbage(error.to_string()))),
        }
    }

    fn closed(&mut self) {
        if self.finished && !self.settled.is_empty() {
            self.settle();
        } else {
            self.end(Err(EngineError::Retry("the connection was closed before the answer".to_owned())));
        }
    }

    fn waited(&mut self, since_finish: Duration, limit: Duration) {
        if self.finished && self.along.is_empty() && !self.settled.is_empty() && since_finish >= SETTLED_WAIT {
            self.settle();
        } else if since_finish >= limit {
            self.end(Err(EngineError::Late(limit)));
        }
    }

    fn poll(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: Option<Frame>) -> Value {
        match frame {
            Some(Frame::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn said(talk: &mut Talk, message: &Value) {
        talk.receive(&Frame::Text(message.to_string()));
    }

    #[test]
    fn an_utterance_in_two_passes() {
        let words: Arc<[String]> = vec!["方舟".to_owned()].into();
        let mut talk = FunAsr { words, ..FunAsr::default() }.talk("call-1", Some(Language::Zh));
        let first = text(talk.transmit());
        assert_eq!((first["audio_fs"].as_u64(), first["mode"].as_str()), (Some(8_000), Some("2pass")));
        assert_eq!(first["hotwords"], "{\"方舟\":20}");
        talk.audio(&vec![100; 16_000]);
        let mut bytes = 0;
        while let Some(frame) = talk.transmit() {
            let Frame::Binary(chunk) = frame else { panic!("{frame:?}") };
            bytes += chunk.len();
        }
        assert_eq!(bytes, 16_000, "a second at 8 kHz");
        said(&mut talk, &json!({ "mode": "2pass-online", "text": "我要", "is_final": true }));
        said(&mut talk, &json!({ "mode": "2pass-online", "text": "转人" }));
        assert_eq!(talk.poll(), Some(Answer::SoFar { text: "我要".to_owned(), settled: 0 }));
        assert_eq!(talk.poll(), Some(Answer::SoFar { text: "我要转人".to_owned(), settled: 0 }));
        talk.finish();
        assert_eq!(text(talk.transmit()), json!({ "is_speaking": false }));
        said(
            &mut talk,
            &json!({
                "mode": "2pass-offline", "text": "我要转人工。", "is_final": true,
                "stamp_sents": [{ "text_seg": "我 要 转 人 工", "punc": "。", "start": 430, "end": 1130, "ts_list": [] }],
            }),
        );
        let Some(Answer::Done(Ok(answer))) = talk.poll() else { panic!("no answer") };
        assert_eq!((answer.text.as_str(), answer.segments[0].text.as_str()), ("我要转人工。", "我要转人工。"));
        assert_eq!(answer.segments[0].start, Duration::from_millis(430));
    }

    #[test]
    fn a_server_that_had_read_all_before_the_end_is_not_waited_for() {
        let mut talk = FunAsr::default().talk("x", None);
        said(&mut talk, &json!({ "mode": "2pass-offline", "text": "转人工" }));
        assert!(matches!(talk.poll(), Some(Answer::SoFar { settled: 9, .. })));
        talk.finish();
        talk.waited(Duration::from_millis(100), Duration::from_secs(5));
        assert_eq!(talk.poll(), None);
        talk.waited(SETTLED_WAIT, Duration::from_secs(5));
        assert!(matches!(talk.poll(), Some(Answer::Done(Ok(answer))) if answer.text == "转人工"));
    }

    #[test]
    fn faults_have_their_names() {
        let fault = |act: &dyn Fn(&mut Talk)| {
            let mut talk = FunAsr::default().talk("x", None);
            talk.audio(&[1; 400]);
            talk.finish();
            act(&mut talk);
            match talk.poll() {
                Some(Answer::Done(Err(error))) => error,
                other => panic!("{other:?}"),
            }
        };
        assert!(matches!(fault(&|talk| talk.receive(&Frame::Text("{\"mode\":".to_owned()))), EngineError::Garbage(_)));
        assert!(matches!(fault(&|talk| talk.receive(&Frame::Binary(vec![1]))), EngineError::Garbage(_)));
        assert!(matches!(fault(&Dialogue::closed), EngineError::Retry(_)));
        let limit = Duration::from_secs(3);
        assert_eq!(fault(&|talk| talk.waited(limit, limit)), EngineError::Late(limit));
    }
}
