//! One leg's ear: frames of 20 ms go in, what was said comes out.
//!
//! ```
//! use ark_transcribe::stream::{Stream, StreamConfig};
//! use ark_transcribe::{Recognised, SpeechEvent};
//! # use std::time::Duration;
//! let mut stream = Stream::new(StreamConfig::default(), 8000).expect("8, 16 and 48 kHz");
//! // For each 20 ms: when they begin on the call's clock, and the samples.
//! stream.push(Duration::ZERO, &[0; 160]);
//! while let Some(work) = stream.work() {
//!     // An engine reads it, somewhere else, and the answer comes back.
//!     stream.answer(work.ticket, Ok(Recognised::default()), false);
//! }
//! while let Some(event) = stream.poll() {
//!     if let SpeechEvent::Final { text, .. } = event { println!("{text}"); }
//! }
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ark_media::resample::Resampler;

use crate::edges;
use crate::endpoint::{Edge, Endpointer, Endpointing, Vad};
use crate::limits::{EVENTS_MAX, FRAME_SAMPLES, PENDING_MAX, RATE_HZ, VAD_SAMPLES};
use crate::mask::Masks;
use crate::types::{EngineError, Language, Recognised, SpeechEvent, Utterance, samples_to_time, time_to_samples};

/// What a stream is made of.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// How utterances are found.
    pub endpointing: Endpointing,
    /// What is spoken; none: the engine finds out, if it can.
    pub language: Option<Language>,
    /// The site's own words.
    pub words: Arc<[String]>,
    /// What must not be kept.
    pub masks: Arc<Masks>,
    /// Whether what is said so far is asked for meanwhile.
    pub partials: bool,
    /// The engine is fed while the voice goes on ([`Feed`]), instead of being given whole utterances ([`Work`]).
    pub fed: bool,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            endpointing: Endpointing::default(),
            language: None,
            words: Arc::new([]),
            masks: Arc::new(Masks::default()),
            partials: true,
            fed: false,
        }
    }
}

/// Names a question to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Which utterance of the stream.
    pub utterance: u32,
    /// Counts up over the stream's questions.
    pub number: u32,
    /// Whether it is for a partial.
    pub partial: bool,
}

/// An utterance that an engine should read.
#[derive(Clone, Debug)]
pub struct Work {
    /// Comes back with the answer.
    pub ticket: Ticket,
    /// The voice.
    pub utterance: Utterance,
    /// When the voice began, and ended so far, on the call's clock.
    pub span: (Duration, Duration),
}

/// What an engine that is fed hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    /// A voice begins.
    Begin {
        /// Which utterance.
        utterance: u32,
        /// What is spoken.
        language: Option<Language>,
    },
    /// More of it, at 16 kHz.
    Audio {
        /// Which utterance.
        utterance: u32,
        /// Samples.
        samples: Arc<[i16]>,
    },
    /// That was all: the final is wanted.
    Finish {
        /// Which utterance.
        utterance: u32,
    },
}

/// The first partial is asked for when the voice has gone on for so long, and the next ones each so much later.
const PARTIAL_FIRST: Duration = Duration::from_millis(800);
const PARTIAL_EVERY: Duration = Duration::from_millis(700);
/// Sound behind the last voice that an engine gets, too: final consonants are quiet.
const TAIL: Duration = Duration::from_millis(200);

/// An utterance whose final has not come.
#[derive(Clone, Debug)]
struct Pending {
    utterance: u32,
    start: Duration,
    end: Duration,
    /// When the first sample that the engine was given lies.
    audio_from: Duration,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Stream {
    config: StreamConfig,
    vad: Vad,
    endpointer: Endpointer,
    resampler: Resampler,
    resampled: Box<[i16]>,
    /// Samples that are no whole frame of the detector yet.
    rest: Vec<i16>,
    /// Sound from `kept_from` on: the pre-roll, or the utterance that goes on.
    kept: Vec<i16>,
    kept_from: u64,
    /// Where the endpointer's first sample lies, and the samples that it has seen.
    zero: Option<u64>,
    seen: u64,
    utterances: u32,
    numbers: u32,
    /// The utterance that goes on: where it began.
    began: Option<u64>,
    /// It is the rest of one that was cut.
    cut: bool,
    /// Samples of the utterance in its last partial, and what that said.
    partial_at: u64,
    asked: Option<Ticket>,
    /// What an engine that is fed has answered before the voice ended: a failure, mostly.
    early: Option<Result<Recognised, EngineError>>,
    last_partial: String,
    stable: usize,
    fed_to: u64,
    pending: VecDeque<Pending>,
    work: VecDeque<Work>,
    feeds: VecDeque<Feed>,
    events: VecDeque<SpeechEvent>,
    dropped: u64,
}

impl Stream {
    /// A stream of samples at `rate_hz`: 8000, 16000 or 48000. `None` for other rates.
    #[must_use]
    pub fn new(config: StreamConfig, rate_hz: u32) -> Option<Self> {
        Some(Self {
            vad: Vad::default(),
            endpointer: Endpointer::new(config.endpointing),
            resampler: Resampler::new(rate_hz, RATE_HZ)?,
            resampled: vec![0; 8 * FRAME_SAMPLES].into_boxed_slice(),
            rest: Vec::with_capacity(2 * VAD_SAMPLES),
            kept: Vec::new(),
            kept_from: 0,
            zero: None,
            seen: 0,
            utterances: 0,
            numbers: 0,
            began: None,
            cut: false,
            partial_at: 0,
            asked: None,
            early: None,
            last_partial: String::new(),
            stable: 0,
            fed_to: 0,
            pending: VecDeque::new(),
            work: VecDeque::new(),
            feeds: VecDeque::new(),
            events: VecDeque::new(),
            dropped: 0,
            config,
        })
    }

    /// The next samples, which begin at `at` on the call's clock. Frames follow each other; a gap is silence, and where time goes
    /// back, the sound before it is forgotten.
    pub fn push(&mut self, at: Duration, samples: &[i16]) {
        let position = time_to_samples(at) as u64;
        let zero = *self.zero.get_or_insert(position);
        let expected = zero + self.seen + self.rest.len() as u64;
        let off = position as i64 - expected as i64;
        // A millisecond of rounding is no gap.
        if off.unsigned_abs() > u64::from(RATE_HZ) / 100 {
            self.jump(off, position);
        }
        let mut resampled = std::mem::take(&mut self.resampled);
        for chunk in samples.chunks(FRAME_SAMPLES) {
            let count = self.resampler.process(chunk, &mut resampled);
            self.rest.extend_from_slice(&resampled[..count]);
        }
        self.resampled = resampled;
        self.look();
    }

    /// Time jumps: what goes on ends, unless the gap is short.
    fn jump(&mut self, off: i64, position: u64) {
        let hangover = time_to_samples(self.endpointer.config().hangover) as i64;
        if off > 0 && off <= 2 * hangover {
            self.rest.resize(self.rest.len() + off as usize, 0);
            return self.look();
        }
        if let Some(edge) = self.endpointer.finish() {
            self.edge(edge);
        }
        self.endpointer = Endpointer::new(self.config.endpointing);
        self.rest.clear();
        self.kept.clear();
        self.resampler.reset();
        (self.zero, self.seen, self.kept_from) = (Some(position), 0, position);
    }

    fn look(&mut self) {
        let mut taken = 0;
        while self.rest.len() - taken >= VAD_SAMPLES {
            let frame = &self.rest[taken..taken + VAD_SAMPLES];
            let score = self.vad.score(frame);
            self.kept.extend_from_slice(frame);
            taken += VAD_SAMPLES;
            self.seen += VAD_SAMPLES as u64;
            if let Some(edge) = self.endpointer.push(score) {
                self.edge(edge);
            }
            self.meanwhile();
        }
        self.rest.drain(..taken);
    }

    /// After each frame: partials are asked for, the engine is fed, or old sound is forgotten.
    fn meanwhile(&mut self) {
        let pre_roll = time_to_samples(self.config.endpointing.bounded().pre_roll);
        let Some(began) = self.began else {
            // Forgotten in larger pieces, so that not each frame moves what is kept.
            if self.kept.len() > 2 * (pre_roll + 8 * VAD_SAMPLES) {
                self.forget(self.kept.len() - pre_roll - 8 * VAD_SAMPLES);
            }
            return;
        };
        let now = self.zero.unwrap_or(0) + self.seen;
        if self.config.fed {
            if now - self.fed_to >= FRAME_SAMPLES as u64 * 5 {
                self.feed(now);
            }
            return;
        }
        let long = samples_to_time((now - began) as usize);
        let since = samples_to_time((now - self.partial_at.max(began)) as usize);
        let due = if self.partial_at <= began { long >= PARTIAL_FIRST } else { since >= PARTIAL_EVERY };
        if self.config.partials && due && self.asked.is_none() {
            self.partial_at = now;
            let ticket = self.ticket(true);
            let utterance = self.utterance(now, true);
            self.asked = Some(ticket);
            let span = (samples_to_time(began as usize), samples_to_time(now as usize));
            self.work.retain(|work| !work.ticket.partial);
            self.work.push_back(Work { ticket, utterance, span });
        }
    }

    fn forget(&mut self, samples: usize) {
        self.kept.drain(..samples);
        self.kept_from += samples as u64;
    }

    fn ticket(&mut self, partial: bool) -> Ticket {
        self.numbers += 1;
        Ticket { utterance: self.utterances, number: self.numbers, partial }
    }

    /// What is kept up to `until`.
    fn utterance(&self, until: u64, partial: bool) -> Utterance {
        let length = (until.saturating_sub(self.kept_from) as usize).min(self.kept.len());
        Utterance {
            samples: self.kept[..length].into(),
            language: self.config.language,
            words: Arc::clone(&self.config.words),
            partial,
        }
    }

    fn feed(&mut self, until: u64) {
        let from = (self.fed_to - self.kept_from) as usize;
        let to = ((until - self.kept_from) as usize).min(self.kept.len());
        if to > from {
            let samples = self.kept[from..to].into();
            self.feeds.push_back(Feed::Audio { utterance: self.utterances, samples });
            self.fed_to = until;
        }
    }

    fn edge(&mut self, edge: Edge) {
        let zero = self.zero.unwrap_or(0);
        match edge {
            Edge::Start(at) => self.begin(zero + at),
            Edge::End(at) => self.end(zero + at, zero + self.seen),
            Edge::Cut(at) => {
                self.end(zero + at, zero + at);
                self.begin(zero + at);
                self.cut = true;
            }
        }
    }

    fn begin(&mut self, at: u64) {
        self.utterances += 1;
        let from = at.saturating_sub(time_to_samples(self.config.endpointing.bounded().pre_roll) as u64);
        if from > self.kept_from {
            self.forget(((from - self.kept_from) as usize).min(self.kept.len()));
        }
        self.began = Some(at);
        self.cut = false;
        (self.partial_at, self.fed_to) = (0, self.kept_from);
        self.last_partial.clear();
        self.stable = 0;
        self.asked = None;
        self.early = None;
        self.event(SpeechEvent::Started { utterance: self.utterances, at: samples_to_time(at as usize) });
        if self.config.fed {
            self.feeds.push_back(Feed::Begin { utterance: self.utterances, language: self.config.language });
        }
    }

    /// Where the sound of a voice begins and ends; where it was cut, it is the detector's word that counts.
    fn sound(&self, began: u64, at: u64, heard: u64) -> (u64, u64) {
        let kept_from = self.kept_from.min(began);
        let place = |position: u64| (position - kept_from) as usize;
        let (first, last) = edges::of_sound(&self.kept, place(began), place(at));
        let first = if self.cut { began } else { kept_from + first as u64 };
        (first, if heard > at { (kept_from + last as u64).clamp(first, heard) } else { at })
    }

    /// The voice ended at `at`; sound is there up to `heard`.
    fn end(&mut self, at: u64, heard: u64) {
        let Some(began) = self.began.take() else { return };
        let utterance = self.utterances;
        let (first, last) = self.sound(began, at.max(began), heard);
        let (start, end) = (samples_to_time(first as usize), samples_to_time(last as usize));
        self.event(SpeechEvent::Ended { utterance, at: end });
        self.work.retain(|work| !work.ticket.partial);
        self.asked = None;
        let until = (at + time_to_samples(TAIL) as u64).max(last).min(heard.max(at));
        let pending = Pending { utterance, start, end, audio_from: samples_to_time(self.kept_from as usize) };
        if self.pending.len() >= PENDING_MAX {
            let error = EngineError::Retry("too many utterances of this leg wait for the engine".to_owned());
            self.event(SpeechEvent::Failed { utterance, start, end, error });
        } else {
            self.pending.push_back(pending);
            if self.config.fed {
                self.feed(until);
                self.feeds.push_back(Feed::Finish { utterance });
                if let Some(answer) = self.early.take() {
                    self.final_answer(utterance, answer, false);
                }
            } else {
                let ticket = self.ticket(false);
                let utterance = self.utterance(until, false);
                self.work.push_back(Work { ticket, utterance, span: (start, end) });
            }
        }
        // What follows is the next utterance's pre-roll, or its beginning after a cut.
        let keep_from = at.saturating_sub(time_to_samples(self.config.endpointing.bounded().pre_roll) as u64);
        let gone = (keep_from.saturating_sub(self.kept_from) as usize).min(self.kept.len());
        self.forget(gone);
    }

    /// The leg is over: what goes on ends now.
    pub fn finish(&mut self) {
        if let Some(edge) = self.endpointer.finish() {
            self.edge(edge);
        }
    }

    /// Other settings from now on.
    pub fn set(&mut self, endpointing: Endpointing, partials: bool) {
        self.config.endpointing = endpointing;
        self.config.partials = partials;
        self.endpointer.set(endpointing);
    }

    /// Another language from the next utterance on.
    pub fn set_language(&mut self, language: Option<Language>) {
        self.config.language = language;
    }

    /// Other words from the next utterance on.
    pub fn set_words(&mut self, words: Arc<[String]>) {
        self.config.words = words;
    }

    /// The number of the last utterance; 0: there was none.
    #[must_use]
    pub fn counted(&self) -> u32 {
        self.utterances
    }

    /// The next utterance is the one behind that, as the leg was listened to before. To be told before the first sample.
    pub fn count_on_from(&mut self, last: u32) {
        self.utterances = self.utterances.max(last);
    }

    /// What is set.
    #[must_use]
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Whether somebody speaks just now.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        self.began.is_some()
    }

    /// The next utterance to read, until `None`. A partial that was not taken is replaced by the next one.
    pub fn work(&mut self) -> Option<Work> {
        self.work.pop_front()
    }

    /// What the engine that is fed hears next, until `None`.
    pub fn feed_next(&mut self) -> Option<Feed> {
        self.feeds.pop_front()
    }

    /// An engine's answer. `degraded`: it was made under load.
    pub fn answer(&mut self, ticket: Ticket, answer: Result<Recognised, EngineError>, degraded: bool) {
        if ticket.partial {
            if self.asked == Some(ticket) {
                self.asked = None;
            }
            if let (Ok(answer), true) = (answer, self.began.is_some() && ticket.utterance == self.utterances) {
                self.partial(&answer.text);
            }
            return;
        }
        self.final_answer(ticket.utterance, answer, degraded);
    }

    /// A partial was not worked on: there was no room.
    pub fn shed(&mut self, ticket: Ticket) {
        if self.asked == Some(ticket) {
            self.asked = None;
        }
    }

    /// What an engine that is fed has understood so far. `settled`: so many bytes of it it will not change.
    pub fn heard_so_far(&mut self, utterance: u32, text: &str, settled: usize) {
        if utterance == self.utterances && self.began.is_some() {
            self.stable = settled.min(text.len());
            self.partial(text);
        }
    }

    /// The final of an engine that is fed.
    pub fn heard(&mut self, utterance: u32, answer: Result<Recognised, EngineError>) {
        if utterance == self.utterances && self.began.is_some() {
            self.early = Some(answer);
            return;
        }
        self.final_answer(utterance, answer, false);
    }

    /// There was no room for an utterance: it is made after the call.
    pub fn defer(&mut self, utterance: u32) {
        if let Some(pending) = self.take_pending(utterance) {
            let Pending { start, end, .. } = pending;
            self.event(SpeechEvent::Deferred { utterance, start, end });
        }
    }

    /// Two neighbouring utterances were read as one: the second has no final of its own.
    pub fn merged(&mut self, first: u32, second: u32) {
        let Some(second) = self.take_pending(second) else { return };
        if let Some(first) = self.pending.iter_mut().find(|pending| pending.utterance == first) {
            first.end = first.end.max(second.end);
        }
        self.event(SpeechEvent::Nothing { utterance: second.utterance });
    }

    fn take_pending(&mut self, utterance: u32) -> Option<Pending> {
        let at = self.pending.iter().position(|pending| pending.utterance == utterance)?;
        self.pending.remove(at)
    }

    /// LocalAgreement: what two partials one after the other begin with alike will stay.
    fn partial(&mut self, text: &str) {
        let (text, _) = self.config.masks.apply(text.trim());
        if text.is_empty() {
            return;
        }
        let agreed = agreement(&self.last_partial, &text);
        let kept = common(&text, self.last_partial.get(..self.stable).unwrap_or_default());
        self.stable = agreed.max(kept);
        self.last_partial.clone_from(&text);
        let start = samples_to_time(self.began.unwrap_or(0) as usize);
        let (utterance, stable) = (self.utterances, self.stable);
        // A newer one says all that the older one said.
        self.events.retain(|event| !matches!(event, SpeechEvent::Partial { utterance: old, .. } if *old == utterance));
        self.event(SpeechEvent::Partial { utterance, start, text, stable });
    }

    fn final_answer(&mut self, utterance: u32, answer: Result<Recognised, EngineError>, degraded: bool) {
        let Some(pending) = self.take_pending(utterance) else { return };
        let Pending { start, end, audio_from, .. } = pending;
        match answer {
            Err(error) => self.event(SpeechEvent::Failed { utterance, start, end, error }),
            Ok(answer) => {
                let event = finished(&self.config, utterance, (start, end, audio_from), answer, degraded);
                self.event(event);
            }
        }
    }

    fn event(&mut self, event: SpeechEvent) {
        if self.events.len() >= EVENTS_MAX {
            let partial = self.events.iter().position(|event| matches!(event, SpeechEvent::Partial { .. }));
            self.events.remove(partial.unwrap_or(0));
            self.dropped += 1;
        }
        self.events.push_back(event);
    }

    /// What has become known, until `None`.
    pub fn poll(&mut self) -> Option<SpeechEvent> {
        self.events.pop_front()
    }

    /// Events that nobody polled in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Utterances whose finals have not come.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

/// An answer as the event that ends its utterance: masked, its segments on the call's clock. `span`: when the voice began and
/// ended, and when the first sample lies that the engine was given.
#[must_use]
pub fn finished(
    config: &StreamConfig,
    utterance: u32,
    (start, end, audio_from): (Duration, Duration, Duration),
    answer: Recognised,
    degraded: bool,
) -> SpeechEvent {
    let answer = answer.sane(end.saturating_sub(audio_from) + TAIL);
    if answer.text.is_empty() {
        return SpeechEvent::Nothing { utterance };
    }
    let (text, mut masked) = config.masks.apply(&answer.text);
    let mut segments = answer.segments;
    for segment in &mut segments {
        segment.start = (segment.start + audio_from).clamp(start, end);
        segment.end = (segment.end + audio_from).clamp(segment.start, end);
        let (text, hidden) = config.masks.apply(&segment.text);
        segment.text = text;
        masked |= hidden;
    }
    // A number that is spoken over several words is masked in the whole text alone: its parts would give it away.
    if masked {
        let whole: String = segments.iter().map(|segment| segment.text.as_str()).collect();
        let same = |text: &str| text.chars().filter(|c| c.is_alphanumeric() || *c == '*').collect::<String>();
        if same(&whole) != same(&text) {
            segments.clear();
        }
    }
    let (confidence, language) = (answer.confidence, answer.language.or(config.language));
    SpeechEvent::Final {
        utterance,
        start,
        end,
        text,
        raw: answer.text,
        segments,
        confidence,
        language,
        masked,
        degraded,
    }
}

/// Bytes that two texts begin with alike.
fn common(a: &str, b: &str) -> usize {
    a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b).map_or_else(|| a.len().min(b.len()), |((at, _), _)| at)
}

/// The same, up to the end of a word: an English word that is half the same is another one. Where both are the same to the end,
/// the last word may still grow.
fn agreement(a: &str, b: &str) -> usize {
    let alike = common(b, a);
    let Some(head) = b.get(..alike) else { return 0 };
    let joins = |c: char| c.is_ascii_alphanumeric() || c == '\'';
    if head.ends_with(joins) && b[alike..].chars().next().is_none_or(joins) {
        return head
            .rfind(|c: char| !joins(c))
            .map_or(0, |at| at + head[at..].chars().next().map_or(0, char::len_utf8));
    }
    alike
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_partials_agree_on_ends_with_a_word() {
        assert_eq!(agreement("I want to tal", "I want to talk"), "I want to ".len());
        assert_eq!(agreement("我的订单扣了", "我的订单扣了两次"), "我的订单扣了".len());
        assert_eq!(agreement("", "hello"), 0);
        assert_eq!(agreement("hello there", "hello world"), "hello ".len());
        assert_eq!(agreement("我要转人工", "我要赚人工"), "我要".len());
    }
}
