//! `ark dialplan simulate`: a call, or a chat, in the terminal. Pure: a line in, lines out; the clock is virtual.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::chat_world::ChatWorld;
use crate::event::{Do, EndReason, Piece};
use crate::plan::{Plan, TestEvent};
use crate::read::{key_name, parse_duration, parse_key};
use crate::run::Caller;
use crate::speech::Confidence;
use crate::world::{Impossible, World};

/// What can be typed.
pub const HELP: &str = "type keys (0-9, star or *, hash or #, several digits at once), or: wait (let the prompt end, then \
silence), wait 10s, say 找人工 (spoken), type 找人工 (in a chat), answered, no-answer, recorded, joined, picture, not-sent, taken, refused, overflow, place 3 2m, http key=value ..., http failed, hangup, help";

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
            ("place", [position, wait @ ..]) => told(place(position, wait.first().copied()), |one| self.happen(one)),
            ("http", values) => told(http(values), |one| self.happen(one)),
            ("answered", []) => self.happen(&TestEvent::Answered),
            ("overflow", []) => self.happen(&TestEvent::Overflow),
            ("no-answer", []) => self.happen(&TestEvent::NoAnswer),
            ("recorded", []) => self.happen(&TestEvent::Recorded),
            ("joined", []) => self.happen(&TestEvent::Joined),
            ("picture", []) => self.happen(&TestEvent::Picture),
            ("not-sent", []) => self.happen(&TestEvent::NotSent),
            ("taken", []) => self.happen(&TestEvent::Taken),
            ("refused", []) => self.happen(&TestEvent::Refused),
            ("hangup", []) => self.happen(&TestEvent::Hangup),
            _ => self.keys(input.trim()),
        };
        let mut lines = self.show();
        lines.extend(problem);
        lines
    }

    fn happen(&mut self, event: &TestEvent) -> Option<String> {
        self.world.event(event).err().map(|why| said_no(&why))
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

/// What can be typed into a chat.
pub const CHAT_HELP: &str = "write what the customer writes: words, a button's words, its key. Or: /picture (a picture comes), \
/wait 30m, /place 3 2m, /answered (a person takes it), /no-answer (the queue is waited out), /http key=value ..., /http failed, /leave, /help";

/// A chat in the terminal.
pub struct ChatSimulator {
    world: ChatWorld,
    began: Timestamp,
    shown_at: Timestamp,
}

impl ChatSimulator {
    /// Begins a chat at that wall time, before the customer has said anything. The lines are what they read first.
    #[must_use]
    pub fn begin(plan: &Arc<Plan>, caller: &Caller, at: Timestamp) -> (Self, Vec<String>) {
        let mut simulator = Self { world: ChatWorld::begin(plan, caller, at), began: at, shown_at: at };
        let lines = simulator.show();
        (simulator, lines)
    }

    /// True when the plan has no more to say: it ended, or a person has the chat.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.world.is_over()
    }

    /// One line of input; what happens then, line by line.
    pub fn line(&mut self, input: &str) -> Vec<String> {
        if self.world.is_over() {
            return vec!["the plan has nothing more to say".to_owned()];
        }
        let Some(command) = input.trim().strip_prefix('/') else {
            self.world.says(input.trim());
            return self.show();
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        let problem = match words.as_slice() {
            ["wait", length] => match parse_duration(length) {
                Ok(length) => {
                    self.world.wait(length);
                    None
                }
                Err(_) => Some(format!("`{length}` is not a duration: 10s, 2m, 1m30s")),
            },
            ["place", position, wait @ ..] => told(place(position, wait.first().copied()), |one| self.happen(one)),
            ["http", values @ ..] => told(http(values), |one| self.happen(one)),
            ["picture"] => self.happen(&TestEvent::Picture),
            ["answered"] => self.happen(&TestEvent::Answered),
            ["no-answer"] => self.happen(&TestEvent::NoAnswer),
            ["leave"] => self.happen(&TestEvent::Hangup),
            _ => Some(CHAT_HELP.to_owned()),
        };
        let mut lines = self.show();
        lines.extend(problem);
        lines
    }

    fn happen(&mut self, event: &TestEvent) -> Option<String> {
        self.world.event(event).err().map(|why| said_no(&why))
    }

    fn show(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.world.now > self.shown_at {
            self.shown_at = self.world.now;
            lines.push(format!("-- {} s into the chat", self.shown_at.duration_since(self.began).as_secs()));
        }
        for out in self.world.take() {
            lines.extend(out.did.iter().filter(|one| !matches!(one, Do::Write { .. })).filter_map(shown));
            lines.extend(out.text.lines().map(str::to_owned));
            lines.extend(out.choices.iter().map(|choice| format!("   [{}] {}", key_name(choice.key), choice.label)));
        }
        match (self.world.run.waits_in(), self.world.run.ended()) {
            _ if self.world.trace.last().is_some_and(|last| last == "answered") => {
                lines.push("-- a person has the chat".to_owned());
            }
            (_, Some(_)) if self.world.run.is_for_a_person() => {
                lines.push("-- the plan is done, and the chat waits for a person".to_owned());
            }
            (_, Some(_)) => lines.push("-- the chat ends".to_owned()),
            (Some((queue, _)), None) => lines.push(format!("   (waits in the queue {queue})")),
            (None, None) => {}
        }
        lines
    }
}

fn told(event: Result<TestEvent, &'static str>, happen: impl FnOnce(&TestEvent) -> Option<String>) -> Option<String> {
    match event {
        Ok(event) => happen(&event),
        Err(problem) => Some(problem.to_owned()),
    }
}

fn said_no(why: &Impossible) -> String {
    match why {
        Impossible::Ended => "the call is over".to_owned(),
        Impossible::NotHere(what) => format!("there is no {what} here"),
    }
}

fn place(position: &str, wait: Option<&str>) -> Result<TestEvent, &'static str> {
    const HOW: &str = "write `place 3 2m`";
    let position = position.parse().ok().filter(|n: &u32| *n > 0).ok_or(HOW)?;
    let wait = wait.map(parse_duration).transpose().map_err(|_| HOW)?;
    Ok(TestEvent::Place { position, wait })
}

fn http(values: &[&str]) -> Result<TestEvent, &'static str> {
    if values == ["failed"] {
        return Ok(TestEvent::Http(None));
    }
    let pairs: Option<BTreeMap<String, String>> =
        values.iter().map(|pair| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
    pairs.map(|pairs| TestEvent::Http(Some(pairs))).ok_or("write `http status=shipped` or `http failed`")
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
        Do::Callback { name, number, .. } => {
            format!("   (to be called at {number} by queue {name}: taken, or refused?)")
        }
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
