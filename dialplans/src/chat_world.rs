//! The world around a chat when there is no chat: a virtual clock, a customer who writes as told, and a trace. Tests and the simulator
//! share it.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::event::{Do, EndReason};
use crate::plan::{Plan, TestEvent};
use crate::run::Caller;
use crate::run::chat::{ChatAsk, ChatHeard, ChatOut, ChatRun, Choice};
use crate::world::{Impossible, trace_of};

/// What a customer leaves where a test says no more of it than that it was left.
const MESSAGE: &str = "请回电 · please call back";
/// Times that pass before the world gives up on the plan: more than a plan's longest way without the customer.
const CLOCKS_MAX: usize = 100;

pub(crate) struct ChatWorld {
    plan: Arc<Plan>,
    pub(crate) run: ChatRun,
    pub(crate) now: Timestamp,
    pub(crate) trace: Vec<String>,
    /// The buttons below what was written last.
    choices: Vec<Choice>,
    /// What the plan asked for last and has not been answered.
    asks: Vec<ChatAsk>,
    /// Keys of an entry, which a chat types as a whole.
    typed: String,
    /// A person has it, so that the plan is silent.
    taken: bool,
    /// What was written since the last [`ChatWorld::take`].
    recent: Vec<ChatOut>,
}

impl ChatWorld {
    /// A customer comes, and has said nothing yet.
    pub(crate) fn begin(plan: &Arc<Plan>, caller: &Caller, now: Timestamp) -> Self {
        let (run, out) = ChatRun::start(Arc::clone(plan), caller, now, &ChatHeard::Came);
        let mut world = Self {
            plan: Arc::clone(plan),
            run,
            now,
            trace: Vec::new(),
            choices: Vec::new(),
            asks: Vec::new(),
            typed: String::new(),
            taken: false,
            recent: Vec::new(),
        };
        world.note(out);
        world
    }

    /// What was written since the last time.
    pub(crate) fn take(&mut self) -> Vec<ChatOut> {
        std::mem::take(&mut self.recent)
    }

    /// Whether the plan has no more to say.
    pub(crate) fn is_over(&self) -> bool {
        self.taken || self.run.ended().is_some()
    }

    pub(crate) fn hear(&mut self, heard: &ChatHeard) {
        let out = self.run.step(self.now, heard);
        self.note(out);
    }

    fn note(&mut self, mut out: ChatOut) {
        for one in &out.did {
            self.trace.extend(trace_of(&self.plan, one));
        }
        if !out.text.is_empty() {
            self.choices = std::mem::take(&mut out.choices);
            self.trace.extend(self.choices.iter().map(|choice| format!("button:{}", choice.label)));
            out.choices.clone_from(&self.choices);
        }
        self.asks.append(&mut out.asks);
        let ended = match self.run.ended() {
            _ if self.trace.last().is_some_and(|last| matches!(last.as_str(), "hangup" | "caller-hangup")) => &[][..],
            None => &[],
            Some(EndReason::Caller) => &["caller-hangup"],
            Some(EndReason::Fault) => &["fault", "hangup"],
            Some(EndReason::Completed | EndReason::PersonLeft) => &["hangup"],
        };
        self.trace.extend(ended.iter().map(|one| (*one).to_owned()));
        self.recent.push(out);
    }

    /// The customer writes.
    pub(crate) fn says(&mut self, text: &str) {
        self.hear(&ChatHeard::Said { text: text.to_owned(), file: false });
    }

    /// The next time comes for which the plan waits. False: it waits for none.
    pub(crate) fn next_deadline(&mut self) -> bool {
        let Some(at) = self.run.deadline() else { return false };
        self.now = self.now.max(at);
        self.hear(&ChatHeard::Clock);
        true
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, length: Duration) {
        let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        let until = self.now.checked_add(length).unwrap_or(Timestamp::MAX);
        for _ in 0..CLOCKS_MAX {
            if self.is_over() || self.run.deadline().is_none_or(|at| at > until) {
                break;
            }
            self.next_deadline();
        }
        self.now = self.now.max(until);
    }

    /// The keys that wait are typed: nothing more follows.
    pub(crate) fn end_of_digits(&mut self) {
        let typed = std::mem::take(&mut self.typed);
        if !typed.is_empty() {
            self.says(&typed);
        }
    }

    fn key(&mut self, key: char) {
        match self.run.expects_entry() {
            Some((_, finish)) if key == finish => self.end_of_digits(),
            Some((max, _)) => {
                self.typed.push(key);
                if self.typed.len() >= max {
                    self.end_of_digits();
                }
            }
            None => self.says(&key.to_string()),
        }
    }

    fn press(&mut self, words: &str) -> Result<(), Impossible> {
        let found = self.choices.iter().find(|choice| choice.label == words);
        let label = found.map(|choice| choice.label.clone()).ok_or(Impossible::NotHere("button of these words"))?;
        self.says(&label);
        Ok(())
    }

    /// Lets one event of a test happen.
    pub(crate) fn event(&mut self, event: &TestEvent) -> Result<(), Impossible> {
        if !matches!(event, TestEvent::Key(_)) {
            self.end_of_digits();
        }
        if self.is_over() {
            return if *event == TestEvent::Hangup { Ok(()) } else { Err(Impossible::Ended) };
        }
        match event {
            TestEvent::Key(key) => self.key(*key),
            TestEvent::Say { text, .. } | TestEvent::Type(text) => self.says(text),
            TestEvent::Press(words) => self.press(words)?,
            TestEvent::Hangup => {
                while !self.is_over() && self.next_deadline() {}
            }
            TestEvent::Answered => {
                self.queued()?;
                self.trace.push("answered".to_owned());
                self.taken = true;
            }
            TestEvent::NoAnswer => {
                let queue = self.queued()?;
                self.trace.push("no-answer".to_owned());
                for _ in 0..CLOCKS_MAX {
                    if self.run.waits_in().is_none_or(|(name, _)| name != queue) || !self.next_deadline() {
                        break;
                    }
                }
            }
            TestEvent::Recorded if self.run.takes_message() => {
                self.trace.push("recorded".to_owned());
                self.says(MESSAGE);
            }
            TestEvent::Recorded => return Err(Impossible::NotHere("recording")),
            TestEvent::Picture => {
                self.trace.push("picture".to_owned());
                self.hear(&ChatHeard::Said { text: String::new(), file: true });
            }
            TestEvent::Http(values) => {
                let ask = self.asks.pop().ok_or(Impossible::NotHere("HTTP action at work"))?;
                self.hear(&ChatHeard::Http { id: ask.id, result: values.clone().ok_or_else(|| "failed".to_owned()) });
            }
            TestEvent::Place { position, wait } => {
                self.queued()?;
                self.hear(&ChatHeard::Place { position: *position, wait: *wait });
            }
            TestEvent::Silence | TestEvent::Joined | TestEvent::NotSent => {
                return Err(Impossible::NotHere("such thing in a chat"));
            }
        }
        Ok(())
    }

    fn queued(&self) -> Result<String, Impossible> {
        let waits = self.run.waits_in().map(|(name, _)| name.to_owned());
        waits.ok_or(Impossible::NotHere("person being called"))
    }
}
