//! `ark dialplan simulate`: a call in the terminal. Pure: a line in, lines out; the clock is virtual.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{Do, EndReason, Piece};
use crate::plan::{Plan, TestEvent};
use crate::read::{key_name, parse_duration, parse_key};
use crate::run::Caller;
use crate::speech::Confidence;
use crate::world::{Impossible, World};

/// What can be typed.
pub const HELP: &str = "type keys (0-9, star or *, hash or #, several digits at once), or: wait (let the prompt end, then \
silence), wait 10s, say 找人工 (spoken), type 找人工 (in a chat), answered, no-answer, recorded, joined, picture, not-sent, place 3 2m, http key=value ..., http failed, hangup, help";

/// A call in the terminal.
pub struct Simulator {
    world: World,
    shown_at: Duration,
}

impl Simulator {
    /// Begins a call at that wall time. The lines are what the caller hears first.
    #[must_use]
    pub fn call(plan: &Arc<Plan>, caller: &Caller, at: Timestamp) -> (Self, Vec<String>) {
        let mut simulator = Self { world: World::call(plan, caller, at), shown_at: Duration::ZERO };
        let lines = simulator.show();
        (simulator, lines)
    }

    /// True when the call is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.world.ended()
    }

    /// One line of input; what happens then, line by line.
    pub fn line(&mut self, input: &str) -> Vec<String> {
        let mut words = input.split_whitespace();
        let Some(first) = words.next() else { return Vec::new() };
        let rest: Vec<&str> = words.collect();
        if self.world.ended() {
            return vec!["the call is over".to_owned()];
        }
        let problem = match (first, rest.as_slice()) {
            ("help" | "?", _) => Some(HELP.to_owned()),
            ("wait" | "silence", []) => {
                self.silence();
                None
            }
            ("wait", [length]) => match parse_duration(length) {
                Ok(length) => {
                    self.wait(length);
                    None
                }
                Err(_) => Some(format!("`{length}` is not a duration: 10s, 2m, 1m30s")),
            },
            ("say", [_, ..]) => self.happen(&TestEvent::Say { text: rest.join(" "), confidence: Confidence::FULL }),
            ("type", [_, ..]) => self.happen(&TestEvent::Type(rest.join(" "))),
            ("place", [position, wait @ ..]) => self.place(position, wait.first().copied()),
            ("http", values) => self.http(values),
            ("answered", []) => self.happen(&TestEvent::Answered),
            ("no-answer", []) => self.happen(&TestEvent::NoAnswer),
            ("recorded", []) => self.happen(&TestEvent::Recorded),
            ("joined", []) => self.happen(&TestEvent::Joined),
            ("picture", []) => self.happen(&TestEvent::Picture),
            ("not-sent", []) => self.happen(&TestEvent::NotSent),
            ("hangup", []) => self.happen(&TestEvent::Hangup),
            _ => self.keys(input.trim()),
        };
        let mut lines = self.show();
        lines.extend(problem);
        lines
    }

    fn happen(&mut self, event: &TestEvent) -> Option<String> {
        match self.world.event(event) {
            Ok(()) => None,
            Err(Impossible::Ended) => Some("the call is over".to_owned()),
            Err(Impossible::NotHere(what)) => Some(format!("there is no {what} here")),
        }
    }

    fn keys(&mut self, text: &str) -> Option<String> {
        let keys: Option<Vec<char>> = match parse_key(text) {
            Some(key) => Some(vec![key]),
            None => text
                .chars()
                .filter(|c| !c.is_whitespace())
                .map(|c| (c.is_ascii_digit() || matches!(c, '*' | '#')).then_some(c))
                .collect(),
        };
        let Some(keys) = keys else {
            return Some(format!("`{text}` means nothing here; {HELP}"));
        };
        for key in keys {
            if self.world.ended() {
                break;
            }
            let _ = self.happen(&TestEvent::Key(key));
        }
        None
    }

    /// The prompt ends, then the caller says nothing until something comes of it.
    fn silence(&mut self) {
        if self.world.with_a_person() {
            if !self.world.prompt_ends() {
                self.world.next_deadline();
            }
            return;
        }
        let _ = self.world.event(&TestEvent::Silence);
    }

    fn wait(&mut self, length: Duration) {
        self.world.prompt_ends();
        let until = self.world.now.at + length;
        for _ in 0..1_000 {
            match self.world.core.deadline().filter(|at| *at <= until) {
                Some(_) => self.world.next_deadline(),
                None => break,
            };
            self.world.prompt_ends();
        }
        self.world.advance_to(until);
    }

    fn place(&mut self, position: &str, wait: Option<&str>) -> Option<String> {
        let Some(position) = position.parse().ok().filter(|n: &u32| *n > 0) else {
            return Some("write `place 3 2m`".to_owned());
        };
        let wait = match wait.map(parse_duration) {
            None => None,
            Some(Ok(wait)) => Some(wait),
            Some(Err(_)) => return Some("write `place 3 2m`".to_owned()),
        };
        self.happen(&TestEvent::Place { position, wait })
    }

    fn http(&mut self, values: &[&str]) -> Option<String> {
        if values == ["failed"] {
            return self.happen(&TestEvent::Http(None));
        }
        let pairs: Option<BTreeMap<String, String>> =
            values.iter().map(|pair| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
        match pairs {
            Some(pairs) => self.happen(&TestEvent::Http(Some(pairs))),
            None => Some("write `http status=shipped` or `http failed`".to_owned()),
        }
    }

    fn show(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.world.now.at > self.shown_at {
            self.shown_at = self.world.now.at;
            lines.push(format!("-- {} s into the call", self.world.now.at.as_secs()));
        }
        lines.extend(self.world.take().iter().filter_map(shown));
        if self.world.ended() {
            return lines;
        }
        let plan = &self.world.core.plan;
        let key = key_name(plan.rules.human_key);
        if let Some(keys) = plan.state(&self.world.core.state).and_then(|s| s.node.keys().filter(|k| !k.is_empty())) {
            let mut ways: Vec<String> =
                keys.iter().map(|(key, (_, to))| format!("{} -> {to}", key_name(*key))).collect();
            if !self.world.with_a_person() {
                ways.push(format!("{key} -> a person"));
            }
            lines.push(format!("   [{}]", ways.join(", ")));
        }
        lines
    }
}

fn shown(one: &Do) -> Option<String> {
    Some(match one {
        Do::Answer => "-- the call is answered".to_owned(),
        Do::Entered { state, verb } => format!("-> {state} ({verb})"),
        Do::Play { pieces, .. } => format!("   \"{}\"", words(pieces)),
        Do::Record { .. } => "   (beep, recording)".to_owned(),
        Do::Recording { act } => format!("   (the call's recording: {})", act.as_str()),
        Do::Consent { answer, .. } if answer.keeps() => {
            format!("   (from now on the call is kept: {})", answer.as_str())
        }
        Do::Consent { answer, .. } => format!("   (nothing of the call is kept: {})", answer.as_str()),
        Do::Queue { name, priority, .. } => format!("   (waiting in queue {name}, priority {priority})"),
        Do::LeaveQueue { .. } => "   (left the queue)".to_owned(),
        Do::Transfer { name, to, .. } => format!("   (ringing {name} at {to})"),
        Do::Http { action, vars, .. } => {
            let vars: Vec<String> = vars.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("   (asking {action}: {})", vars.join(" "))
        }
        Do::Link { ways, .. } => {
            let ways: Vec<&str> = ways.iter().map(|way| way.as_str()).collect();
            format!("   (sending a link: {})", ways.join(", "))
        }
        Do::Set { name, value } => format!("   ({name} = {value})"),
        Do::SurveyAsked { scale } => format!("   (survey: 1 to {scale})"),
        Do::SurveyAnswered { score, scale } => format!("   (score {score} of {scale})"),
        Do::Gathered { name, value } => format!("   ({name} = {value})"),
        Do::Strike { count, .. } => format!("   (strike {count})"),
        Do::PersonSought { .. } => "   (to a person)".to_owned(),
        Do::Hangup { reason } => {
            let why = match reason {
                EndReason::Completed => "the plan is done",
                EndReason::PersonLeft => "the person left",
                EndReason::Caller => "the caller hung up",
                EndReason::Fault => "the plan failed",
            };
            format!("-- the call ends: {why}")
        }
        Do::Write { text, .. } => text.clone(),
        Do::Listen(_)
        | Do::StopListen { .. }
        | Do::StopPlay { .. }
        | Do::StopRecord { .. }
        | Do::CancelTransfer { .. } => return None,
    })
}

/// The words of a prompt as they are spoken.
fn words(pieces: &[Piece]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text { text, lang, .. } | Piece::Word { text, lang } => {
                if *lang == crate::Lang::En && !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
                out.push_str(text);
            }
            Piece::Pause(_) => out.push(','),
        }
    }
    out
}
