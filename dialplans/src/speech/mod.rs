//! What callers say, beside what they press.
//!
//! A plan listens when it has a `[speech]` table, or phrases for a key, at every prompt at which keys count. It asks for it with
//! [`crate::Do::Listen`], and hears of it with [`crate::Heard::SpeechStarted`] and [`crate::Heard::Said`]. Text that was typed in
//! a chat is understood in the same way, whether the plan listens or not.
//!
//! * `words` makes words of a text: width, case, marks and blanks are no difference, nor is the script of a Chinese sign that
//!   sounds the same.
//! * `phrases` finds what was meant, with a score; `grammar` reads digits, yes and no; `lists` has the built-in words.
//! * `settings` is what a plan says about listening.
//!
//! Nothing is taken for another thing silently: only what was said in the plan's own words (or sounds exactly like them), and
//! heard well, is taken; anything in between is asked back; the rest costs a strike, the same that a wrong key costs.

pub(crate) mod grammar;
pub(crate) mod lists;
pub(crate) mod phrases;
mod settings;
pub(crate) mod words;

use std::sync::Arc;
use std::time::Duration;

use crate::lang::Lang;

pub(crate) use phrases::{Meaning, Phrase, PhraseBook, Understood};
pub use settings::SpeechSettings;
pub(crate) use settings::{Ear, OVERRIDE_FIELDS, SPEECH_FIELDS};

/// How sure a recogniser is of a text, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Confidence(u8);

impl Confidence {
    /// What was typed.
    pub const FULL: Self = Self(100);

    /// That many percent; more than 100 is 100.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        if percent > 100 { Self(100) } else { Self(percent) }
    }

    /// Of a probability between 0 and 1. What is outside is moved to the nearest; what is no number is 0.
    #[must_use]
    pub fn of(probability: f32) -> Self {
        let percent = (probability.clamp(0.0, 1.0) * 100.0).round();
        // Between 0 and 100, or no number, which `as` makes 0.
        Self(percent as u8)
    }

    /// In percent, 0 to 100.
    #[must_use]
    pub const fn as_percent(self) -> u8 {
        self.0
    }
}

/// What the recogniser is asked to listen to: [`crate::Do::Listen`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Counts up within the call. What is heard for an id that is no longer current is ignored by the plan.
    pub id: u64,
    /// The language of the prompt, the likely one.
    pub lang: Lang,
    /// Other languages of the plan that the caller may fall into.
    pub others: Vec<Lang>,
    /// What kind of answer is expected; for engines with grammars, and for what a page shows.
    pub expects: Expects,
    /// Phrases that are likely, the likeliest first, at most [`crate::limits::HINTS_MAX`]: words to bias an engine with.
    pub hints: Arc<[Arc<str>]>,
    /// Whether speech cuts off a prompt that plays. The plan then stops it upon [`crate::Heard::SpeechStarted`]; who listens may
    /// stop it at once. When false, what is said during a prompt is heard all the same, and the prompt goes on.
    pub barge_in: bool,
    /// What is heard belongs to the plan alone: it goes to no log, no timeline, no page, no engine outside the house.
    pub secret: bool,
    /// Where an utterance begins and ends.
    pub endpointing: Endpointing,
}

/// Where an utterance begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpointing {
    /// Sound before the detected begin that belongs to it.
    pub pre_roll: Duration,
    /// Silence that ends it.
    pub hangover: Duration,
    /// It is cut here, however long the caller goes on.
    pub longest: Duration,
}

impl Default for Endpointing {
    fn default() -> Self {
        Self {
            pre_roll: Duration::from_millis(300),
            hangover: Duration::from_millis(600),
            longest: Duration::from_secs(15),
        }
    }
}

/// What kind of answer is expected. Words for a person are, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// One of the phrases of a menu (which are the hints), or the number of a key.
    Choice,
    /// Digits.
    Digits {
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
    },
    /// Yes or no.
    YesNo,
    /// Nothing but words for a person: a prompt plays.
    Person,
}

/// Something that was said or typed, made ready to be understood.
#[derive(Clone, Debug)]
pub(crate) struct Speech {
    pub(crate) words: Vec<words::Word>,
    pub(crate) confidence: u8,
    /// It was typed: nothing follows it by itself.
    pub(crate) typed: bool,
}

impl Speech {
    pub(crate) fn new(text: &str, confidence: Confidence) -> Self {
        Self { words: words::words(text), confidence: confidence.as_percent(), typed: false }
    }

    pub(crate) fn typed(text: &str, confidence: Confidence) -> Self {
        Self { typed: true, ..Self::new(text, confidence) }
    }
}

/// The language that a phrase of a plan is written in.
pub(crate) fn language_of(text: &str) -> Lang {
    if text.chars().any(words::is_han) { Lang::Zh } else { Lang::En }
}

/// What is asked back when the plan is not sure: for the key of a menu that a phrase leads to.
pub(crate) fn asked_back(lang: Lang, label: &str) -> String {
    match lang {
        Lang::Zh => format!("您是说“{label}”吗？请回答是或不是。"),
        Lang::En => format!("Did you say: {label}? Please say yes or no."),
    }
}

/// What stands around digits that are read back although the plan has no readback of its own.
pub(crate) fn digits_back(lang: Lang) -> [&'static str; 2] {
    match lang {
        Lang::Zh => ["您说的是", "对吗？对请说是或按1，不对请说不是或按2。"],
        Lang::En => ["You said", "Is that right? Say yes or press 1, or say no or press 2."],
    }
}
