//! Dialplans as data: the TOML language, its proofs, and the pure stepper.
//!
//! A plan is one TOML file: flat named states, one verb each. The same functions run calls, tests, fuzzers and the
//! simulator; nothing here reads a clock, a file or a socket.
//!
//! * [`Plan::parse`] reads a file, [`check()`] proves it: errors with file, line, column, caret and what to do.
//! * [`Run`] is one caller walking through a plan: [`Run::start`], [`Run::step`], [`Run::deadline`].
//! * [`ChatRun`] is one customer walking through it by messages.
//! * [`testing`], [`fuzz`], [`graph`], [`diff`], [`simulate`] are what operations people use before publishing.
//! * [`Heard::Said`] is what a caller says or types: the phrases of menus, digits, yes and no, words for a person.
//! * [`say`] turns numbers, amounts, dates and times into words in Mandarin and English.
//!
//! Invariant: this crate does not know that telephones, sockets or audio files exist. A prompt is an id with a text per
//! language and, when somebody measured it, a length.

mod calendar;
mod chat_world;
pub mod check;
pub mod codes;
mod diagnostic;
pub mod diff;
mod event;
pub mod fuzz;
pub mod graph;
mod lang;
pub mod limits;
mod plan;
mod prompt;
mod read;
mod run;
mod sarif;
pub mod say;
pub mod schema;
pub mod simulate;
mod source;
mod speech;
mod suggest;
pub mod testing;
pub mod verb;
mod world;

pub use calendar::{Calendar, Opening};
pub use check::{EstimateOnly, PromptSeconds, RecordingTrouble, Site, check, check_source};
pub use diagnostic::{Both, Diagnostic, Severity, render_human, render_json};
pub use event::{
    ConsentAnswer, ConsentHow, ConsentMode, Do, EndReason, Failure, Heard, LinkNews, LinkWay, Piece, RecordingAct,
    Sought, StrikeCause,
};
pub use lang::Lang;
pub use plan::{
    Action, Consent, NumberList, Plan, Rules, State, Target, TestCase, TestEvent, Utterance, normalise_number,
};
pub use prompt::{Part, Prompt, Spoken};
pub use run::chat::{ChatAsk, ChatHeard, ChatOut, ChatRun, Choice, QueueNeeds, unfit_for_chat};
pub use run::{Caller, Now, Run};
pub use sarif::render_sarif;
pub use source::{Name, Span, decode};
pub use speech::{Confidence, Endpointing, Expects, Listen, SpeechSettings};
pub use testing::{test, test_chat};
