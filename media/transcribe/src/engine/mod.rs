//! Engines: what reads a voice.
//!
//! Two kinds. An [`Engine`] is given whole utterances and computes, or asks somebody and waits: whisper, OpenAI's interface, a
//! process, a script. A [`Dialogue`] is one utterance's talk with a server that is fed while the voice goes on: FunASR, vosk. Both
//! are used from threads and tasks of the gateway; no socket is opened here.

pub mod exec;
pub mod funasr;
pub mod openai;
pub mod scripted;
pub mod vosk;
#[cfg(feature = "whisper")]
pub mod whisper;

use std::time::Duration;

use ark_media::resample::Resampler;

use crate::limits::{FRAME_SAMPLES, RATE_HZ};
use crate::types::{EngineError, Recognised, Utterance};

/// Reads whole utterances. One thread uses it at a time; it may take as long as it computes.
pub trait Engine: Send {
    /// Its name in the log: the kind, and what it was made of.
    fn name(&self) -> &str;

    /// What was said.
    ///
    /// # Errors
    /// [`EngineError`], by what can be done.
    fn recognise(&mut self, utterance: &Utterance) -> Result<Recognised, EngineError>;
}

/// A message of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

/// What a dialogue has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// So far.
    SoFar {
        /// What was understood.
        text: String,
        /// Bytes of it that will stay.
        settled: usize,
    },
    /// The end.
    Done(Result<Recognised, EngineError>),
}

/// The talk with a server about one utterance, over one connection: a machine, frames in and out.
pub trait Dialogue: Send {
    /// More of the voice, at 16 kHz.
    fn audio(&mut self, samples: &[i16]);

    /// The voice has ended.
    fn finish(&mut self);

    /// What is to be sent next, until `None`.
    fn transmit(&mut self) -> Option<Frame>;

    /// What came.
    fn receive(&mut self, frame: &Frame);

    /// The connection is gone.
    fn closed(&mut self);

    /// So much time has passed since the voice ended and nothing more came: says whether that is all there will be. After
    /// `limit` it always is.
    fn waited(&mut self, since_finish: Duration, limit: Duration);

    /// What it has come to, until `None`. After [`Answer::Done`] nothing follows.
    fn poll(&mut self) -> Option<Answer>;
}

/// Samples per packet to a server, at [`RATE_HZ`]: 100 ms.
const CHUNK: usize = 5 * FRAME_SAMPLES;

/// Sound on its way to a server, in the server's own rate.
struct Chunks {
    resampler: Option<Resampler>,
    waiting: Vec<i16>,
}

impl Chunks {
    /// For a server that takes so many samples a second.
    fn new(rate_hz: u32) -> Self {
        let resampler = (rate_hz != RATE_HZ).then(|| Resampler::new(RATE_HZ, rate_hz)).flatten();
        Self { resampler, waiting: Vec::with_capacity(CHUNK) }
    }

    fn push(&mut self, samples: &[i16]) {
        self.waiting.extend_from_slice(samples);
    }

    /// The next packet, once it is full; at the end also what is left.
    fn next(&mut self, at_the_end: bool) -> Option<Vec<u8>> {
        let least = if at_the_end { 1 } else { CHUNK };
        if self.waiting.len() < least {
            return None;
        }
        let rest = self.waiting.split_off(self.waiting.len().min(CHUNK));
        let chunk = std::mem::replace(&mut self.waiting, rest);
        let Some(resampler) = &mut self.resampler else { return Some(pcm_bytes(&chunk)) };
        let mut out = vec![0; resampler.most(chunk.len())];
        let count = resampler.process(&chunk, &mut out);
        Some(pcm_bytes(&out[..count]))
    }
}

/// PCM as it goes over a wire: 16 bits, little endian.
fn pcm_bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Chinese engines put blanks between words; nobody writes them.
fn without_blanks(text: &str) -> String {
    let wide = |c: char| !c.is_ascii() && !c.is_whitespace();
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim().chars().peekable();
    while let Some(c) = rest.next() {
        let between =
            c.is_whitespace() && (out.chars().next_back().is_some_and(wide) || rest.peek().is_some_and(|c| wide(*c)));
        if !between {
            out.push(c);
        }
    }
    out
}

/// Seconds of an engine as a time.
fn seconds(value: f64) -> Duration {
    if value.is_finite() && value > 0.0 { Duration::from_secs_f64(value.min(86_400.0)) } else { Duration::ZERO }
}

/// Milliseconds of an engine as a time.
fn millis(value: f64) -> Duration {
    seconds(value / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_between_chinese_words_go_and_others_stay() {
        assert_eq!(without_blanks(" 我 要 转 人工 "), "我要转人工");
        assert_eq!(without_blanks("i want an agent"), "i want an agent");
        assert_eq!(without_blanks("打 12 34 号"), "打12 34号");
        assert_eq!(seconds(f64::NAN), Duration::ZERO);
        assert_eq!(millis(-3.0), Duration::ZERO);
        assert_eq!(millis(1e300), Duration::from_secs(86_400));
    }
}
