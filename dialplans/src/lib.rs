//! Dialplans as data: the TOML language, its proofs, and the pure stepper.
//!
//! A plan is one TOML file: flat named states, one verb each. The same functions run calls, tests, fuzzers and the
//! simulator; nothing here reads a clock, a file or a socket.
//!
//! * [`Plan::parse`] reads a file, `check` proves it: errors with file, line, column, caret and what to do.
//! * [`Run`] is one caller walking through a plan: [`Run::start`], [`Run::step`], [`Run::deadline`].
//! * [`say`] turns numbers, amounts, dates and times into words in Mandarin and English.
//!
//! Invariant: this crate does not know that telephones, sockets or audio files exist. A prompt is an id with a text per
//! language and, when somebody measured it, a length.

// Until the checker lands, nothing reads what the verbs say about themselves.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod calendar;
mod diagnostic;
mod event;
mod lang;
pub mod limits;
mod plan;
mod prompt;
mod read;
mod run;
pub mod say;
mod source;
mod suggest;
pub mod verb;

pub use calendar::{Calendar, Opening};
pub use diagnostic::{Both, Diagnostic, Severity, render_human, render_json};
pub use event::{Do, EndReason, Failure, Heard, Piece, Sought, StrikeCause};
pub use lang::Lang;
pub use plan::{Action, NumberList, Plan, Rules, State, Target, TestCase, TestEvent, Utterance, normalise_number};
pub use prompt::{Part, Prompt, Spoken};
pub use run::{Caller, Now, Run};
pub use source::{Name, Span};
