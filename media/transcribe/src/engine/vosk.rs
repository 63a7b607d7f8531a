//! vosk-server's WebSocket protocol (alphacep/vosk-server, `websocket/asr_server.py`): PCM in binary messages, a JSON text for
//! each, and `{"eof" : 1}` for the last. One utterance is one connection; the server ends it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Chunks, Dialogue, Frame, seconds, without_blanks};
use crate::limits::{ANSWER_BYTES_MAX, TEXT_CHARS_MAX};
use crate::types::{EngineError, Language, Recognised, Segment};

/// How the server is asked.
#[derive(Clone, Debug)]
pub struct Vosk {
    /// What its model wants: 8000 or 16000.
    pub rate_hz: u32,
    /// Nothing but these can be heard (`phrase_list`); empty: anything.
    pub phrases: Arc<[String]>,
}

impl Default for Vosk {
    fn default() -> Self {
        Self { rate_hz: 16_000, phrases: Arc::new([]) }
    }
}

/// The server compares it to the letter, blank included.
const EOF: &str = "{\"eof\" : 1}";
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    partial: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    result: Vec<Word>,
}

#[derive(Deserialize)]
struct Word {
    word: String,
    #[serde(default)]
    start: f64,
    #[serde(default)]
    end: f64,
    #[serde(default)]
    conf: Option<f32>,
}

/// The talk about one utterance.
pub struct Talk {
    out: VecDeque<Frame>,
    sound: Chunks,
    text: String,
    words: Vec<Segment>,
    language: Option<Language>,
    finished: bool,
    /// Binary messages sent, and texts that came: each has one, and the end has one more.
    sent: u64,
    answered: u64,
    done: bool,
    answers: VecDeque<Answer>,
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Talk").field("sent", &self.sent).field("answered", &self.answered).finish_non_exhaustive()
    }
}

impl Vosk {
    /// Begins to talk about an utterance.
    #[must_use]
    pub fn talk(&self, language: Option<Language>) -> Talk {
        let mut config = json!({ "sample_rate": self.rate_hz, "words": true });
        if !self.phrases.is_empty() {
            config["phrase_list"] = self.phrases.iter().map(|phrase| Value::from(phrase.as_str())).collect();
        }
        Talk {
            out: VecDeque::from([Frame::Text(json!({ "config": config }).to_string())]),
            sound: Chunks::new(self.rate_hz),
            text: String::new(),
            words: Vec::new(),
            language,
            finished: false,
            sent: 0,
            answered: 0,
            done: false,
            answers: VecDeque::new(),
        }
    }
}

impl Talk {
    fn send_audio(&mut self, at_the_end: bool) {
        while let Some(bytes) = self.sound.next(at_the_end) {
            self.sent += 1;
            self.out.push_back(Frame::Binary(bytes));
        }
    }

    fn end(&mut self, answer: Result<Recognised, EngineError>) {
        if !self.done {
            self.done = true;
            self.answers.push_back(Answer::Done(answer));
        }
    }

    fn settle(&mut self) {
        let segments = std::mem::take(&mut self.words);
        let known: Vec<f32> = segments.iter().filter_map(|word| word.confidence).collect();
        let confidence = (!known.is_empty()).then(|| known.iter().sum::<f32>() / known.len() as f32);
        self.end(Ok(Recognised { text: without_blanks(&self.text), segments, confidence, language: self.language }));
    }

    fn understood(&mut self, message: Message) {
        self.answered += 1;
        if let Some(text) = message.text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            if !self.text.is_empty() {
                self.text.push(' ');
            }
            self.text.push_str(text);
        }
        self.words.extend(message.result.into_iter().map(|word| Segment {
            start: seconds(word.start),
            end: seconds(word.end),
            text: word.word,
            confidence: word.conf,
        }));
        if self.text.len() > TEXT_CHARS_MAX * 4 {
            let length = self.text.len();
            return self.end(Err(EngineError::Garbage(format!("a text of {length} bytes"))));
        }
        // The answer to the end comes after those to all audio; servers that answer fewer texts say `text` last.
        if self.finished && (self.answered > self.sent || message.text.is_some() && message.partial.is_none()) {
            return self.settle();
        }
        let settled = without_blanks(&self.text).len();
        let along = message.partial.unwrap_or_default();
        let text = without_blanks(format!("{} {along}", self.text).trim());
        if !text.is_empty() {
            self.answers.push_back(Answer::SoFar { settled: settled.min(text.len()), text });
        }
    }
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
            self.out.push_back(Frame::Text(EOF.to_owned()));
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
            Ok(message) if message.partial.is_none() && message.text.is_none() => {
                self.end(Err(EngineError::Garbage("it holds neither `partial` nor `text`".to_owned())));
            }
            Ok(message) => self.understood(message),
            Err(error) => self.end(Err(EngineError::Garbage(error.to_string()))),
        }
    }

    fn closed(&mut self) {
        if self.finished && !self.text.is_empty() {
            self.settle();
        } else {
            self.end(Err(EngineError::Retry("the connection was closed before the answer".to_owned())));
        }
    }

    fn waited(&mut self, since_finish: Duration, limit: Duration) {
        if since_finish >= limit {
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

    #[test]
    fn an_utterance_with_words_and_times() {
        let mut talk = Vosk { rate_hz: 8_000, ..Vosk::default() }.talk(Some(Language::En));
        assert_eq!(talk.transmit(), Some(Frame::Text(r#"{"config":{"sample_rate":8000,"words":true}}"#.to_owned())));
        talk.audio(&[1; 3_200]);
        talk.finish();
        let frames: Vec<Frame> = std::iter::from_fn(|| talk.transmit()).collect();
        assert_eq!(frames.len(), 3);
        assert_eq!(frames[2], Frame::Text("{\"eof\" : 1}".to_owned()));
        for text in [r#"{"partial" : ""}"#, r#"{"partial" : "talk to"}"#] {
            talk.receive(&Frame::Text(text.to_owned()));
        }
        assert_eq!(talk.poll(), Some(Answer::SoFar { text: "talk to".to_owned(), settled: 0 }));
        let last = r#"{"result":[{"conf":0.5,"end":0.4,"start":0.1,"word":"talk"},{"conf":1.0,"end":0.9,"start":0.4,"word":"to"}],"text":"talk to"}"#;
        talk.receive(&Frame::Text(last.to_owned()));
        let Some(Answer::Done(Ok(answer))) = talk.poll() else { panic!("no answer") };
        assert_eq!((answer.text.as_str(), answer.confidence, answer.segments.len()), ("talk to", Some(0.75), 2));
    }

    #[test]
    fn what_the_server_settled_in_between_is_not_lost() {
        let mut talk = Vosk::default().talk(None);
        talk.audio(&[1; 3_200]);
        talk.receive(&Frame::Text(r#"{"text":"我 要"}"#.to_owned()));
        talk.receive(&Frame::Text(r#"{"partial":"转"}"#.to_owned()));
        talk.finish();
        talk.receive(&Frame::Text(r#"{"text":"转 人工"}"#.to_owned()));
        let all: Vec<Answer> = std::iter::from_fn(|| talk.poll()).collect();
        assert_eq!(all[1], Answer::SoFar { text: "我要转".to_owned(), settled: "我要".len() });
        assert!(matches!(&all[2], Answer::Done(Ok(answer)) if answer.text == "我要转人工"), "{all:?}");
    }

    #[test]
    fn faults_have_their_names() {
        for garbage in ["", "{}", "7", r#"{"partial":7}"#] {
            let mut talk = Vosk::default().talk(None);
            talk.receive(&Frame::Text(garbage.to_owned()));
            assert!(matches!(talk.poll(), Some(Answer::Done(Err(EngineError::Garbage(_))))), "{garbage}");
        }
    }
}
