//! The verbs: one file each, one line each in [`ALL`]. The engine, the checker and the schema read this table and never
//! mention a verb by name.

mod branch;
mod callback;
mod consent;
mod direct;
mod gather;
mod hangup;
mod hours;
mod http;
mod link;
mod menu;
mod queue;
mod record;
mod recording;
mod say;
mod set;
mod survey;
mod transfer;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

pub use crate::read::{Field, Kind};

use crate::event::Heard;
use crate::read::{Block, Reader};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::{Name, Span};
use crate::speech::{Ear, Expects, Speech, SpeechSettings};

/// A verb: its name, its manual, its fields and how it is read.
pub struct Verb {
    /// What `do` says.
    pub name: &'static str,
    /// One sentence for the manual and the editor.
    pub doc: &'static str,
    /// The fields it takes, besides `do`.
    pub fields: &'static [Field],
    pub(crate) read: fn(&mut Reader, &Block<'_>) -> Box<dyn Node>,
}

/// Every verb.
pub static ALL: &[Verb] = &[
    menu::VERB,
    say::VERB,
    gather::VERB,
    hours::VERB,
    set::VERB,
    branch::VERB,
    direct::VERB,
    record::VERB,
    recording::VERB,
    consent::VERB,
    queue::VERB,
    callback::VERB,
    transfer::VERB,
    http::VERB,
    link::VERB,
    survey::VERB,
    hangup::VERB,
];

/// What a state is to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Leads on by itself.
    Passing,
    /// Waits for keys.
    Asking,
    /// Takes a message.
    Recording,
    /// Leads to a person.
    Person,
    /// Ends the call.
    End,
}

/// When an edge is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum When {
    /// The caller presses a key (or enters digits).
    Input,
    /// The caller does nothing.
    Silence,
    /// By itself.
    Always,
    /// By itself, when a calendar says closed.
    Closed,
    /// No person was reached.
    Failed,
    /// The person left.
    After,
}

/// A way out of a state.
#[derive(Clone, Debug)]
pub(crate) struct Edge<'a> {
    pub(crate) label: String,
    pub(crate) to: &'a Name,
    pub(crate) when: When,
}

impl<'a> Edge<'a> {
    pub(crate) fn new(label: impl Into<String>, to: &'a Name, when: When) -> Self {
        Self { label: label.into(), to, when }
    }
}

/// What a state names besides states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RefKind {
    Prompt,
    Calendar,
    List,
    Action,
    Target,
    Queue,
    Variable,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ref<'a> {
    pub(crate) kind: RefKind,
    pub(crate) name: &'a Name,
}

impl<'a> Ref<'a> {
    pub(crate) fn new(kind: RefKind, name: &'a Name) -> Self {
        Self { kind, name }
    }
}

/// What a state tells the trace of tests besides its verb.
pub(crate) type Object = Option<Arc<str>>;

/// A state's behaviour: what it looks like to the checker, and what it does in a call.
pub(crate) trait Node: Debug + Send + Sync {
    // ---- for the proofs and the graph ----
    fn role(&self) -> Role;
    fn edges(&self) -> Vec<Edge<'_>>;
    fn refs(&self) -> Vec<Ref<'_>> {
        Vec::new()
    }
    /// The prompts a silent caller hears here, in order, before anything else happens.
    fn heard_in_silence(&self) -> Vec<&Name> {
        Vec::new()
    }
    /// Keys it binds, with their places.
    fn keys(&self) -> Option<&BTreeMap<char, (Span, Name)>> {
        None
    }
    /// Variables it sets: known values, or `None` for what only the call will tell.
    fn assigns(&self) -> Vec<(&Name, Option<&str>)> {
        Vec::new()
    }
    /// The edge that known values of variables decide on.
    fn decide(&self, _known: &BTreeMap<String, Option<String>>) -> Option<&Name> {
        None
    }
    /// The most digits of an entry that it asks for.
    fn entry_max(&self) -> Option<usize> {
        None
    }
    /// The key that ends an entry.
    fn finish(&self) -> char {
        '#'
    }
    /// Whether it has a way of its own for a caller who waits too long.
    fn takes_overflow(&self) -> bool {
        false
    }
    /// Whether keys pressed here must stay out of the log.
    fn hears_secret(&self) -> bool {
        false
    }
    /// Whether it tells or asks that the call is kept, and how.
    fn consent(&self) -> Option<crate::plan::Consent> {
        None
    }
    /// Whether the recording of the call begins or goes on here.
    fn records(&self) -> bool {
        false
    }
    /// Values that it compares with.
    fn values(&self) -> Vec<&str> {
        Vec::new()
    }
    /// `general` of `queue:general`.
    fn object(&self) -> Object {
        None
    }
    /// Whether it is open at that moment, for what depends on the clock.
    fn opening(&self, _plan: &crate::Plan, _at: jiff::Timestamp) -> Option<crate::Opening> {
        None
    }
    /// Its phrases, and how it listens.
    fn ear(&self) -> Option<&Ear> {
        None
    }
    /// Keys that may be asked back, when phrases for them were heard badly.
    fn asks_back(&self) -> Vec<char> {
        Vec::new()
    }
    /// Findings of its own about itself: code, place, message, help.
    fn lint(&self, _plan: &crate::Plan) -> Vec<Lint> {
        Vec::new()
    }

    // ---- in a call ----
    fn enter(&self, turn: &mut Turn<'_>) -> Flow;
    fn key(&self, _turn: &mut Turn<'_>, _key: char) -> Flow {
        Flow::Stay
    }
    /// What it listens for in that phase. A person is in reach by words wherever one is by a key.
    fn listens(&self, _phase: Phase) -> Option<Expects> {
        (self.role() != Role::Person).then_some(Expects::Person)
    }
    /// Whether speech cuts off its prompt.
    fn cut_by_speech(&self, _plan: &SpeechSettings) -> bool {
        false
    }
    /// The caller begins to speak.
    fn speech_started(&self, _turn: &mut Turn<'_>) {}
    /// The caller said or typed something.
    fn said(&self, turn: &mut Turn<'_>, said: &Speech) -> Flow {
        if self.role() != Role::Person && turn.is_for_a_person(said) {
            turn.lead_to_person(self.role())
        } else {
            Flow::Stay
        }
    }
    /// Whether the human key is an ordinary key at this moment.
    fn takes_human_key(&self, _turn: &Turn<'_>) -> bool {
        false
    }
    /// Its prompt ended by itself.
    fn played(&self, _turn: &mut Turn<'_>) -> Flow {
        Flow::Stay
    }
    fn timer(&self, _turn: &mut Turn<'_>, _timer: Timer) -> Flow {
        Flow::Stay
    }
    /// A report about the job it started.
    fn heard(&self, _turn: &mut Turn<'_>, _heard: &Heard) -> Flow {
        Flow::Stay
    }
}

/// A finding of a verb about its own state.
pub(crate) struct Lint {
    pub(crate) code: &'static str,
    pub(crate) span: Span,
    pub(crate) message: crate::Both,
    pub(crate) help: Option<crate::Both>,
}

/// Stands for a state that could not be read; such a plan is never run.
#[derive(Debug)]
struct Unreadable;

impl Node for Unreadable {
    fn role(&self) -> Role {
        Role::End
    }
    fn edges(&self) -> Vec<Edge<'_>> {
        Vec::new()
    }
    fn enter(&self, _turn: &mut Turn<'_>) -> Flow {
        Flow::Fault
    }
}

pub(crate) fn unreadable() -> Box<dyn Node> {
    Box::new(Unreadable)
}
