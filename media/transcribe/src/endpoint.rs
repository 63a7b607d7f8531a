//! Where somebody begins and ceases to speak.
//!
//! [`Vad`] says of each 16 ms how much it sounds like a voice; [`Endpointer`] turns that into utterances: a voice begins with
//! three of five frames, it ends after a pause ([`Endpointing::hangover`]), and one that goes on for too long is cut where it is
//! weakest.

use std::time::Duration;

use crate::limits::{HANGOVER_MAX, PRE_ROLL_MAX, UTTERANCE_MAX, VAD_SAMPLES};
use crate::types::samples_to_time;

/// How utterances are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Endpointing {
    /// Sound before the first voice that the engine gets, too. At most [`PRE_ROLL_MAX`].
    pub pre_roll: Duration,
    /// The pause after which an utterance is over. At most [`HANGOVER_MAX`].
    pub hangover: Duration,
    /// An utterance that is longer is cut. At most [`UTTERANCE_MAX`].
    pub longest: Duration,
    /// From this score on (0 to 1) a frame is voice.
    pub threshold: f32,
}

impl Default for Endpointing {
    fn default() -> Self {
        Self {
            pre_roll: Duration::from_millis(300),
            hangover: Duration::from_millis(600),
            longest: Duration::from_secs(15),
            threshold: 0.5,
        }
    }
}

impl Endpointing {
    /// The same within bounds.
    #[must_use]
    pub fn bounded(self) -> Self {
        let longest = self.longest.clamp(Duration::from_secs(1), UTTERANCE_MAX);
        Self {
            pre_roll: self.pre_roll.min(PRE_ROLL_MAX),
            hangover: self.hangover.clamp(Duration::from_millis(100), HANGOVER_MAX).min(longest),
            longest,
            threshold: if self.threshold.is_finite() { self.threshold.clamp(0.05, 0.95) } else { 0.5 },
        }
    }
}

/// Tells voice from other sound, 16 ms at a time.
pub struct Vad {
    detector: Box<earshot::Detector>,
    /// All that it heard lately was digital silence: it has nothing to remember.
    idle: bool,
}

impl std::fmt::Debug for Vad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vad")
    }
}

impl Default for Vad {
    fn default() -> Self {
        Self { detector: Box::default(), idle: true }
    }
}

impl Vad {
    /// How much [`VAD_SAMPLES`] samples at 16 kHz sound like a voice, 0 to 1. Digital silence costs nothing and is none.
    pub fn score(&mut self, frame: &[i16]) -> f32 {
        if frame.len() != VAD_SAMPLES {
            return 0.0;
        }
        // A line without packets, a held leg, a muted phone: most of what 200 calls send.
        if frame.iter().all(|sample| sample.unsigned_abs() <= SILENCE) {
            if !self.idle {
                self.detector.reset();
                self.idle = true;
            }
            return 0.0;
        }
        self.idle = false;
        self.detector.predict_i16(frame)
    }
}

/// The quantisation noise of a silent G.711 line: A-law's smallest steps are ±8.
const SILENCE: u16 = 16;
/// Frames that are looked at for a beginning, and how many of them must be voice.
const START_WINDOW: u32 = 5;
const START_VOICES: u32 = 3;
/// Where an utterance that is too long is cut: the weakest frame of the last two seconds.
const CUT_WITHIN: Duration = Duration::from_secs(2);

/// What an [`Endpointer`] finds. Positions count samples since its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// A voice began there.
    Start(u64),
    /// It ended there.
    End(u64),
    /// It goes on for too long: cut there, and go on with what follows as another utterance.
    Cut(u64),
}

/// A machine over scores. Every call of [`Endpointer::push`] is one frame of [`VAD_SAMPLES`] samples.
#[derive(Clone, Debug)]
pub struct Endpointer {
    config: Endpointing,
    /// Frames seen.
    frame: u64,
    /// The last frames, newest in the lowest bit: voice or not.
    recent: u32,
    /// In an utterance: the frame in which it began.
    began: Option<u64>,
    /// The last frame that was voice.
    voiced: u64,
    /// The weakest frame since an utterance may be cut, and its score.
    weakest: Option<(u64, f32)>,
}

impl Endpointer {
    /// Waits for a voice.
    #[must_use]
    pub fn new(config: Endpointing) -> Self {
        Self { config: config.bounded(), frame: 0, recent: 0, began: None, voiced: 0, weakest: None }
    }

    /// Other settings from now on: another step of a plan, or a machine under load.
    pub fn set(&mut self, config: Endpointing) {
        self.config = config.bounded();
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> Endpointing {
        self.config
    }

    /// Whether an utterance goes on.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        self.began.is_some()
    }

    /// One more frame.
    pub fn push(&mut self, score: f32) -> Option<Edge> {
        let now = self.frame;
        self.frame += 1;
        let voice = score >= self.config.threshold;
        self.recent = (self.recent << 1 | u32::from(voice)) & ((1 << START_WINDOW) - 1);
        if voice {
            self.voiced = now;
        }
        let Some(began) = self.began else {
            if self.recent.count_ones() < START_VOICES {
                return None;
            }
            let first = u64::from(31 - self.recent.leading_zeros());
            let began = now.saturating_sub(first);
            self.began = Some(began);
            self.weakest = None;
            return Some(Edge::Start(at(began)));
        };
        if samples_to_time(at(now - self.voiced) as usize) >= self.config.hangover {
            self.began = None;
            self.recent = 0;
            return Some(Edge::End(at(self.voiced + 1)));
        }
        let long = samples_to_time(at(now + 1 - began) as usize);
        if long + CUT_WITHIN.min(self.config.longest / 2) >= self.config.longest
            && self.weakest.is_none_or(|(_, weakest)| score <= weakest)
        {
            self.weakest = Some((now, score));
        }
        if long >= self.config.longest {
            let cut = self.weakest.take().map_or(now, |(frame, _)| frame);
            self.began = Some(cut);
            return Some(Edge::Cut(at(cut)));
        }
        None
    }

    /// The stream is over: where an utterance that goes on ends.
    pub fn finish(&mut self) -> Option<Edge> {
        self.began.take().map(|_| Edge::End(at(self.voiced + 1)))
    }
}

/// The first sample of a frame.
const fn at(frame: u64) -> u64 {
    frame * VAD_SAMPLES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(ms: u64) -> u64 {
        ms / 16
    }

    fn run(endpointer: &mut Endpointer, script: &[(u64, f32)]) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (ms, score) in script {
            for _ in 0..frames(*ms) {
                edges.extend(endpointer.push(*score));
            }
        }
        edges
    }

    #[test]
    fn a_voice_begins_and_ends_where_it_is_heard() {
        let mut endpointer = Endpointer::new(Endpointing::default());
        let edges = run(&mut endpointer, &[(480, 0.1), (960, 0.9), (320, 0.2), (480, 0.8), (960, 0.3)]);
        assert_eq!(edges, [Edge::Start(at(30)), Edge::End(at(30 + 60 + 20 + 30))], "a short pause does not end it");
    }

    #[test]
    fn a_click_is_no_voice() {
        let mut endpointer = Endpointer::new(Endpointing::default());
        assert!(run(&mut endpointer, &[(160, 0.0), (32, 0.99), (160, 0.0), (16, 0.9), (160, 0.1)]).is_empty());
        assert_eq!(endpointer.finish(), None);
    }

    #[test]
    fn who_never_pauses_is_cut_where_the_voice_is_weakest() {
        let longest = Duration::from_secs(4);
        let mut endpointer = Endpointer::new(Endpointing { longest, ..Endpointing::default() });
        let mut edges = run(&mut endpointer, &[(2_880, 0.9), (16, 0.55), (1_600, 0.9)]);
        assert_eq!(edges.split_off(1), [Edge::Cut(at(180))]);
        assert_eq!(edges, [Edge::Start(0)]);
        assert!(endpointer.is_speaking());
        assert!(matches!(endpointer.finish(), Some(Edge::End(_))));
    }

    #[test]
    fn settings_out_of_range_are_brought_into_it() {
        let wild = Endpointing {
            pre_roll: Duration::from_secs(99),
            hangover: Duration::ZERO,
            longest: Duration::from_secs(3_600),
            threshold: f32::NAN,
        };
        let bounded = wild.bounded();
        assert_eq!((bounded.pre_roll, bounded.longest, bounded.threshold), (PRE_ROLL_MAX, UTTERANCE_MAX, 0.5));
        assert_eq!(bounded.hangover, Duration::from_millis(100));
    }

    #[test]
    fn silence_for_an_hour_costs_nothing_and_says_nothing() {
        let mut vad = Vad::default();
        let mut endpointer = Endpointer::new(Endpointing::default());
        let frame = [8_i16; VAD_SAMPLES];
        for _ in 0..frames(3_600_000) {
            assert_eq!(endpointer.push(vad.score(&frame)), None);
        }
    }
}
