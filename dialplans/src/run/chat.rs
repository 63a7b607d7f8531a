//! One customer walking through a plan by messages.
//!
//! The same plan, the same stepper, other hands: what would be said is written, a key is a button or is typed, and nobody is
//! hurried. What each verb is to a chat:
//!
//! * `say`, `menu`, `gather`: their text, with buttons for keys. What is typed is a key, the words of a button, an entry as a
//!   whole, or is understood as what a caller says ([`Heard::Said`]); all else costs a strike as in a call.
//! * `queue`: the conversation waits there. Its place is told once; a key is still taken, everything else is for the person.
//! * `record`: the next message is the message. `link`: the customer sends the picture right here.
//! * `set`, `branch`, `hours`, `http`, `direct`: as in a call. `recording`, `consent`: nothing, a chat is kept anyway.
//! * `callback`: the customer is called at their verified number when their turn comes; without one the plan goes its other way.
//! * `transfer`: nobody can be reached so ([`unfit_for_chat`] refuses such a plan).
//! * `hangup`: the plan is over. A customer who asked for a person, or left a message, goes to the queue all the same.
//!
//! Silence costs nothing: who says nothing for [`limits::CHAT_IDLE`] has left. The timers that stay are the queue's longest
//! wait and an action's timeout.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::save::{Saved, ms};
use super::{Caller, Core, Flow, Job, Phase, Tick, Timer, Turn};
use crate::diagnostic::{Both, Diagnostic, both};
use crate::event::{Do, EndReason, Failure, Heard, LinkNews, Piece, Sought};
use crate::lang::Lang;
use crate::limits;
use crate::plan::{Plan, State};
use crate::prompt::{Part, parse_template};
use crate::say::Kind as SayAs;
use crate::source::Span;
use crate::speech::{Confidence, Meaning, Speech, Understood};
use crate::verb::Role;

/// What a chat's plan hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatHeard {
    /// The customer wrote, or sent something.
    Said {
        /// Their words; empty: none.
        text: String,
        /// Whether a picture or another file came with them.
        file: bool,
    },
    /// The customer wants a person, by a button that says so.
    Person,
    /// They came, and have said nothing yet.
    Came,
    /// [`ChatRun::deadline`] has come.
    Clock,
    /// The place in the queue that the chat waits in.
    Place {
        /// 1 is next.
        position: u32,
        /// Estimated wait, when there is an estimate.
        wait: Option<Duration>,
    },
    /// The chat has waited longer than the queue's `overflow_after`.
    Overflow,
    /// An action has answered.
    Http {
        /// The id of [`ChatAsk`].
        id: u64,
        /// Values by name; `Err` holds the reason for the log.
        result: Result<BTreeMap<String, String>, String>,
    },
}

/// A button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The key that it stands for.
    pub key: char,
    /// What it says; the key itself, when the plan has no words for it.
    pub label: String,
}

/// An action that is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatAsk {
    /// Comes back in [`ChatHeard::Http`].
    pub id: u64,
    /// Its name in the plan.
    pub action: Arc<str>,
    /// The values that it may see.
    pub vars: BTreeMap<String, String>,
    /// After this the plan goes on without it.
    pub timeout: Duration,
}

/// What is to be done, all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatOut {
    /// What is written to the customer; empty: nothing.
    pub text: String,
    /// The buttons below it, at most [`limits::CHOICES_MAX`].
    pub choices: Vec<Choice>,
    /// What happened, for the log: states, variables, entries, strikes; and what the text was made of, in its place among them.
    pub did: Vec<Do>,
    /// Actions to ask.
    pub asks: Vec<ChatAsk>,
    /// The customer is to be called: the queue whose agents call, and the number.
    pub callback: Option<(Arc<str>, String)>,
}

impl ChatOut {
    fn write(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text.trim());
    }

    /// Adds what came of a later step; its buttons are those that count.
    pub fn then(&mut self, later: Self) {
        self.write(&later.text);
        self.choices = later.choices;
        self.did.extend(later.did);
        self.asks.extend(later.asks);
        self.callback = later.callback.or_else(|| self.callback.take());
    }
}

/// A chat in a plan.
#[derive(Debug)]
pub struct ChatRun {
    core: Core,
    began: Timestamp,
    /// When the customer was heard last, from the beginning.
    heard: Duration,
    /// The queue that it joined last, and with which priority.
    queue: Option<(String, i32)>,
    /// What an agent of that queue must be able to do.
    needs: QueueNeeds,
    /// A person was asked for, or a message left.
    for_person: bool,
}

/// What an agent must be able to do for a chat that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueNeeds {
    /// Skills, with levels from 1 to 5.
    #[serde(default)]
    pub skills: BTreeMap<String, u8>,
    /// The customer's language, where the plan speaks several: `zh`.
    #[serde(default)]
    pub lang: Option<String>,
}

/// [`ChatRun`], written down.
#[derive(Serialize, Deserialize)]
struct Kept {
    core: Saved,
    began_ms: i64,
    heard_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queue: Option<(String, i32)>,
    #[serde(default)]
    needs: QueueNeeds,
    #[serde(default)]
    for_person: bool,
}

impl ChatRun {
    /// Begins with what the customer says first: a greeting is answered with the plan's first words, a key or a wish for a
    /// person is taken at once.
    #[must_use]
    pub fn start(plan: Arc<Plan>, caller: &Caller, now: Timestamp, first: &ChatHeard) -> (Self, ChatOut) {
        let mut core = Core::fresh(plan, caller);
        core.writes = true;
        let mut run = Self {
            core,
            began: now,
            heard: Duration::ZERO,
            queue: None,
            needs: QueueNeeds::default(),
            for_person: false,
        };
        let (tick, mut out) = (run.tick(now), ChatOut::default());
        let todo = run.core.begin(tick);
        run.carry(tick, todo, &mut out);
        let wish = match first {
            ChatHeard::Person => true,
            ChatHeard::Said { text, .. } => run.key_of(text).is_some() || run.means_something(tick, text),
            _ => false,
        };
        if wish && run.core.ended.is_none() && run.core.role() != Role::Person {
            // Who knows what they want need not read what there is.
            out.text.clear();
            out.did.retain(|one| !matches!(one, Do::Write { .. }));
            out.then(run.hear(now, first));
        }
        run.offer(&mut out);
        (run, out)
    }

    /// Goes on with what [`ChatRun::save`] wrote. None: it fits neither the plan nor this version of Ark.
    #[must_use]
    pub fn restore(plan: Arc<Plan>, kept: &str) -> Option<Self> {
        let Kept { core, began_ms, heard_ms, queue, needs, for_person } = serde_json::from_str(kept).ok()?;
        let mut core = Core::restore(plan, core)?;
        core.writes = true;
        let began = Timestamp::from_millisecond(began_ms).ok()?;
        Some(Self { core, began, heard: Duration::from_millis(heard_ms), queue, needs, for_person })
    }

    /// All that it needs to go on, as JSON.
    #[must_use]
    pub fn save(&self) -> String {
        let kept = Kept {
            core: self.core.save(),
            began_ms: self.began.as_millisecond(),
            heard_ms: ms(self.heard),
            queue: self.queue.clone(),
            needs: self.needs.clone(),
            for_person: self.for_person,
        };
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// Tells the plan what happened.
    pub fn step(&mut self, now: Timestamp, heard: &ChatHeard) -> ChatOut {
        let mut out = self.hear(now, heard);
        self.offer(&mut out);
        out
    }

    /// When [`ChatHeard::Clock`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let idle = self.waits_for_customer().then(|| self.heard + limits::CHAT_IDLE);
        let at = [idle, self.core.deadline()].into_iter().flatten().min()?;
        self.began.checked_add(jiff::SignedDuration::try_from(at).ok()?).ok()
    }

    /// The state that the customer is in.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.core.state
    }

    /// The language that is written.
    #[must_use]
    pub fn lang(&self) -> Lang {
        self.core.lang
    }

    /// The queue that the chat waits in now, and with which priority: higher goes first.
    #[must_use]
    pub fn waits_in(&self) -> Option<(&str, i32)> {
        let waits = matches!(self.core.job, Some(Job::Queue(_)));
        self.queue.as_ref().filter(|_| waits).map(|(name, priority)| (name.as_str(), *priority))
    }

    /// How many digits are to be typed at most, and the key that ends them on a telephone; none: no entry is asked for now.
    pub(crate) fn expects_entry(&self) -> Option<(usize, char)> {
        let asks = self.core.role() == Role::Asking && self.core.scratch.phase != Phase::Confirming;
        let node = &self.node().filter(|_| asks)?.node;
        Some((node.entry_max()?, node.finish()))
    }

    /// Whether the next message is a message that is left.
    pub(crate) fn takes_message(&self) -> bool {
        matches!(self.core.job, Some(Job::Record(_)))
    }

    /// What an agent of the queue that it waits in must be able to do.
    #[must_use]
    pub fn needs(&self) -> &QueueNeeds {
        &self.needs
    }

    /// Whether the plan has a way of its own for who waits too long ([`ChatHeard::Overflow`]).
    #[must_use]
    pub fn takes_overflow(&self) -> bool {
        self.core.takes_overflow()
    }

    /// Why the plan ended, once it has.
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        self.core.ended
    }

    /// Whether somebody must look at it though the plan is over: a person was asked for, a message was left, the plan is broken.
    #[must_use]
    pub fn is_for_a_person(&self) -> bool {
        self.for_person || self.core.ended == Some(EndReason::Fault)
    }

    /// The queue that it waited in last.
    #[must_use]
    pub fn last_queue(&self) -> Option<&str> {
        self.queue.as_ref().map(|(name, _)| name.as_str())
    }

    fn tick(&self, now: Timestamp) -> Tick {
        let at = Duration::try_from(now.duration_since(self.began)).unwrap_or_default();
        Tick { at, wall: now }
    }

    fn node(&self) -> Option<&State> {
        self.core.plan.state(&self.core.state)
    }

    fn waits_for_customer(&self) -> bool {
        let link = matches!(self.core.job, Some(Job::Link(_)));
        self.core.ended.is_none() && (matches!(self.core.role(), Role::Asking | Role::Recording) || link)
    }

    fn hear(&mut self, now: Timestamp, heard: &ChatHeard) -> ChatOut {
        let (tick, mut out) = (self.tick(now), ChatOut::default());
        if self.core.ended.is_some() {
            return out;
        }
        match heard {
            ChatHeard::Came => {}
            ChatHeard::Said { text, file } => self.said(tick, text, *file, &mut out),
            ChatHeard::Person => self.person(tick, &mut out),
            ChatHeard::Clock => self.clock(tick, &mut out),
            ChatHeard::Place { position, wait } => {
                if let Some(Job::Queue(id)) = self.core.job {
                    self.feed(tick, &Heard::QueueUpdate { id, position: *position, wait: *wait }, &mut out);
                }
            }
            ChatHeard::Overflow => {
                if let Some(Job::Queue(id)) = self.core.job {
                    self.feed(tick, &Heard::Overflow { id }, &mut out);
                }
            }
            ChatHeard::Http { id, result } => {
                self.feed(tick, &Heard::HttpResult { id: *id, result: result.clone() }, &mut out);
            }
        }
        let spoke = matches!(heard, ChatHeard::Said { .. } | ChatHeard::Person | ChatHeard::Came);
        if self.waits_for_customer() && (spoke || !out.text.is_empty()) {
            self.heard = tick.at;
        }
        out
    }

    fn said(&mut self, tick: Tick, text: &str, file: bool, out: &mut ChatOut) {
        let key = self.key_of(text);
        let wants = key.is_none() && self.wants_person(tick, text);
        let human = key == Some(self.core.plan.rules.human_key) && !self.is_entry_of(text);
        if (wants || human) && self.core.role() != Role::Person {
            return self.person(tick, out);
        }
        match (self.core.role(), self.core.job) {
            (Role::Person, _) => {
                if let Some(key) = key.filter(|key| self.bound().any(|bound| bound == *key)) {
                    self.feed(tick, &Heard::Key(key), out);
                }
            }
            (Role::Recording, Some(Job::Record(id))) => {
                self.for_person = true;
                self.feed(tick, &Heard::Recorded { id, seconds: 1 }, out);
            }
            (_, Some(Job::Link(id))) if file => {
                self.feed(tick, &Heard::Link { id, news: LinkNews::Picture }, out);
            }
            (Role::Asking, _) => match self.node().and_then(|state| state.node.entry_max()) {
                Some(max) if self.core.scratch.phase != Phase::Confirming => self.entry(tick, text, max, out),
                _ => match key {
                    Some(key) => self.feed(tick, &Heard::Key(key), out),
                    None if text.trim().is_empty() => self.feed(tick, &Heard::Key(self.unbound()), out),
                    None => self.words(tick, text, out),
                },
            },
            // An action works: what is said meanwhile is in the log.
            _ => {}
        }
    }

    /// Whether the human key, typed, is an ordinary digit here.
    fn is_entry_of(&self, text: &str) -> bool {
        let entry = self.node().and_then(|state| state.node.entry_max());
        entry.is_some() && self.core.scratch.phase != Phase::Confirming && digits_of(text).is_some_and(|d| d.len() > 1)
    }

    /// Words that are no key: understood as if they had been said.
    fn words(&mut self, tick: Tick, text: &str, out: &mut ChatOut) {
        let said = Heard::Said { id: None, text: text.to_owned(), confidence: Confidence::FULL };
        self.feed(tick, &said, out);
    }

    /// Digits, all at once.
    fn entry(&mut self, tick: Tick, text: &str, max: usize, out: &mut ChatOut) {
        if digits_of(text).is_none() && !text.trim().is_empty() {
            return self.words(tick, text, out);
        }
        let finish = self.node().map_or('#', |state| state.node.finish());
        self.core.scratch.digits = digits_of(text).filter(|digits| digits.len() <= max).unwrap_or_default();
        self.feed(tick, &Heard::Key(finish), out);
    }

    fn person(&mut self, tick: Tick, out: &mut ChatOut) {
        if self.core.role() == Role::Person {
            return;
        }
        let mut todo = Vec::new();
        self.core.settle(tick, Flow::Human(Sought::Key), &mut todo);
        self.carry(tick, todo, out);
    }

    fn clock(&mut self, tick: Tick, out: &mut ChatOut) {
        if self.waits_for_customer() && tick.at >= self.heard + limits::CHAT_IDLE {
            let mut todo = Vec::new();
            self.core.end(EndReason::Caller, &mut todo);
            return self.carry(tick, todo, out);
        }
        for _ in 0..limits::CHAT_STEPS {
            if self.core.deadline().is_none_or(|at| at > tick.at) {
                return;
            }
            self.feed(tick, &Heard::Clock, out);
        }
    }

    fn feed(&mut self, tick: Tick, heard: &Heard, out: &mut ChatOut) {
        let todo = self.core.step(tick, heard);
        self.carry(tick, todo, out);
    }

    /// Does what the plan asks for, and tells it at once of what is over at once.
    fn carry(&mut self, tick: Tick, todo: Vec<Do>, out: &mut ChatOut) {
        let (mut todo, mut next) = (VecDeque::from(todo), VecDeque::new());
        let mut steps = 0;
        loop {
            while let Some(one) = todo.pop_front() {
                self.one(one, &mut next, out);
            }
            let Some(heard) = next.pop_front() else { break };
            steps += 1;
            if steps > limits::CHAT_STEPS {
                let mut end = Vec::new();
                self.core.end(EndReason::Fault, &mut end);
                break;
            }
            todo.extend(self.core.step(tick, &heard));
        }
        // Nobody is hurried: what stays is the queue's longest wait, and an action's time.
        let keep = match self.core.job {
            Some(Job::Queue(_)) => Some(Timer::MaxWait),
            Some(Job::Http(_)) => Some(Timer::Job),
            _ => None,
        };
        self.core.timers.retain(|(timer, _)| Some(*timer) == keep);
    }

    fn one(&mut self, one: Do, next: &mut VecDeque<Heard>, out: &mut ChatOut) {
        match one {
            Do::Write { id, ref text, .. } => {
                out.write(text);
                next.push_back(Heard::PlayFinished { id });
                out.did.push(one);
            }
            Do::Queue { name, priority, skills, lang, .. } => {
                self.queue = Some((name.to_string(), priority));
                let skills = skills.iter().map(|(skill, level)| (skill.to_string(), *level)).collect();
                self.needs = QueueNeeds { skills, lang: lang.map(|lang| lang.as_str().to_owned()) };
            }
            Do::Link { id, .. } => {
                let before = out.text.len();
                next.push_back(Heard::Link { id, news: LinkNews::Sent });
                if out.text.len() == before && !self.has_link_words() {
                    out.write(match self.core.lang {
                        Lang::Zh => "请把图片直接发到这里。",
                        Lang::En => "Please send the picture here.",
                    });
                }
            }
            Do::Callback { id, ref name, ref number } => {
                self.queue = Some((name.to_string(), self.queue.as_ref().map_or(0, |(_, priority)| *priority)));
                out.callback = Some((name.clone(), number.clone()));
                out.did.push(one.clone());
                next.push_back(Heard::Callback { id, taken: true });
            }
            Do::Transfer { id, .. } => next.push_back(Heard::Failed { id, failure: Failure::Unavailable }),
            Do::Http { id, action, vars, timeout } => out.asks.push(ChatAsk { id, action, vars, timeout }),
            Do::PersonSought { .. } => {
                self.for_person = true;
                out.did.push(one);
            }
            Do::Entered { .. }
            | Do::Set { .. }
            | Do::Gathered { .. }
            | Do::Strike { .. }
            | Do::SurveyAsked { .. }
            | Do::SurveyAnswered { .. } => out.did.push(one),
            Do::Answer
            | Do::Play { .. }
            | Do::Listen(_)
            | Do::StopListen { .. }
            | Do::StopPlay { .. }
            | Do::Record { .. }
            | Do::StopRecord { .. }
            | Do::Recording { .. }
            | Do::Consent { .. }
            | Do::LeaveQueue { .. }
            | Do::CancelTransfer { .. }
            | Do::Hangup { .. } => {}
        }
    }

    /// Whether the link's state says by itself what to do: its prompt, not the one that speaks a code.
    fn has_link_words(&self) -> bool {
        self.node().is_some_and(|state| {
            state.node.refs().iter().any(|one| {
                let prompt = self.core.plan.prompts.get(&one.name.text);
                prompt.is_some_and(|prompt| {
                    prompt.spoken.values().all(|spoken| spoken.variables().all(|(name, ..)| name != "link_code"))
                })
            })
        })
    }

    /// The keys that mean something here.
    fn bound(&self) -> impl Iterator<Item = char> + '_ {
        self.node().and_then(|state| state.node.keys()).into_iter().flat_map(|keys| keys.keys().copied())
    }

    /// A key that means nothing here.
    fn unbound(&self) -> char {
        let human = self.core.plan.rules.human_key;
        let confirms = self.is_read_back();
        let free = |key: &char| {
            *key != human && !self.bound().any(|bound| bound == *key) && !(confirms && matches!(key, '1' | '2'))
        };
        "9876543210".chars().find(free).unwrap_or('*')
    }

    /// Whether an entry was read back.
    fn is_read_back(&self) -> bool {
        let entry = self.node().and_then(|state| state.node.entry_max());
        entry.is_some() && self.core.scratch.phase == Phase::Confirming
    }

    /// The buttons of what was written.
    fn offer(&self, out: &mut ChatOut) {
        out.choices = if out.text.is_empty() || self.core.ended.is_some() { Vec::new() } else { self.choices() };
    }

    fn choices(&self) -> Vec<Choice> {
        let lang = self.core.lang;
        let mut choices: Vec<Choice> = match (self.core.role(), self.core.scratch.phase) {
            (Role::Asking, Phase::Confirming) if self.is_read_back() => {
                let (yes, again) = confirming(lang);
                [('1', yes), ('2', again)].map(|(key, label)| Choice { key, label: label.to_owned() }).into()
            }
            (Role::Asking, _) | (Role::Person, Phase::Working) => self.labelled(lang),
            _ => Vec::new(),
        };
        let to_a_person = self.core.role() == Role::Asking || matches!(self.core.job, Some(Job::Link(_)));
        choices.truncate(limits::CHOICES_MAX - 1);
        if to_a_person {
            choices.push(Choice { key: self.core.plan.rules.human_key, label: a_person(lang).to_owned() });
        }
        choices
    }

    /// The keys of this state with the words of the states that they lead to.
    fn labelled(&self, lang: Lang) -> Vec<Choice> {
        let Some(keys) = self.node().and_then(|state| state.node.keys()) else { return Vec::new() };
        let mut choices: Vec<Choice> = Vec::new();
        for (key, (_, to)) in keys {
            let label = self.core.plan.state(&to.text).map(|state| &state.label);
            let label = label.and_then(|label| label.get(&lang).or_else(|| label.values().next()));
            let phrase = || self.node()?.node.ear()?.phrase(lang, *key);
            let label =
                match label.map(|label| label.text.to_string()).or_else(|| phrase().map(|text| text.to_string())) {
                    Some(label) => label,
                    // Without words star says "once more", and hash nothing.
                    None if key.is_ascii_digit() => key.to_string(),
                    None => continue,
                };
            if choices.iter().all(|other| other.label != label) {
                choices.push(Choice { key: *key, label });
            }
        }
        choices
    }

    /// The key that was typed, or whose button has these words.
    fn key_of(&self, text: &str) -> Option<char> {
        let typed = plain(text);
        let is = |label: &str| plain(label) == typed;
        let by_words = Lang::ALL.into_iter().find_map(|lang| {
            let (yes, again) = confirming(lang);
            let confirms = self.is_read_back();
            let built_in = [('1', yes), ('2', again)].into_iter().find(|(_, label)| confirms && is(label));
            let labelled = self.labelled(lang).into_iter().find(|choice| is(&choice.label));
            built_in.map(|(key, _)| key).or(labelled.map(|choice| choice.key))
        });
        let mut letters = typed.chars();
        let single = match (letters.next(), letters.next()) {
            (Some(key), None) if key.is_ascii_digit() || matches!(key, '*' | '#') => Some(key),
            _ => None,
        };
        by_words.or(single)
    }

    /// Whether what was said first chooses a way of the menu where the plan begins.
    fn means_something(&mut self, tick: Tick, text: &str) -> bool {
        if self.wants_person(tick, text) {
            return true;
        }
        let said = Speech::typed(text, Confidence::FULL);
        let plan = Arc::clone(&self.core.plan);
        let ear = plan.state(&self.core.state).and_then(|state| state.node.ear());
        ear.is_some_and(|ear| matches!(ear.understand(&said, &plan.speech), Understood::Sure(Meaning::Key(_))))
    }

    /// Whether these words ask for a person, in whatever state.
    fn wants_person(&mut self, tick: Tick, text: &str) -> bool {
        let said = Speech::typed(text, Confidence::FULL);
        Turn { core: &mut self.core, now: tick, out: &mut Vec::new() }.wants_person(&said)
    }
}

const fn a_person(lang: Lang) -> &'static str {
    match lang {
        Lang::Zh => "转人工",
        Lang::En => "Talk to a person",
    }
}

const fn confirming(lang: Lang) -> (&'static str, &'static str) {
    match lang {
        Lang::Zh => ("正确", "重新输入"),
        Lang::En => ("That is right", "Enter again"),
    }
}

/// What a customer reads when the plan itself fails.
pub(crate) const fn sorry(lang: Lang) -> &'static str {
    match lang {
        Lang::Zh => "抱歉，系统出现故障。我们的人工客服会看到您的消息。",
        Lang::En => "Sorry, something went wrong. A person will see your message.",
    }
}

/// What is said in pieces, written.
pub(crate) fn words(pieces: &[Piece]) -> String {
    let mut text = String::new();
    for piece in pieces {
        if let Piece::Text { lang, text: words, .. } | Piece::Word { lang, text: words } = piece {
            if *lang == Lang::En && !text.is_empty() {
                text.push(' ');
            }
            text.push_str(words);
        }
    }
    text
}

/// A template with its variables written in.
pub(crate) fn fill(template: &str, value: impl Fn(&str, SayAs) -> String) -> String {
    let (mut text, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((inner, behind)) = after.split_once('}') else { break };
        let name = inner.split_once(':').map_or(inner, |(name, _)| name);
        let kind = match parse_template(&format!("{{{inner}}}")).ok().and_then(|parts| parts.into_iter().next()) {
            Some(Part::Variable { kind, .. }) => kind,
            _ => SayAs::of_variable(name),
        };
        text.push_str(&value(name, kind));
        rest = behind;
    }
    text.push_str(rest);
    text
}

/// Words as they are compared: no case, no width, no punctuation at the end.
fn plain(text: &str) -> String {
    let narrow = |c: char| match u32::from(c) {
        wide @ 0xff01..=0xff5e => char::from_u32(wide - 0xfee0).unwrap_or(c),
        0x3000 => ' ',
        _ => c,
    };
    let text: String = text.trim().chars().map(narrow).flat_map(char::to_lowercase).collect();
    text.trim_end_matches(['.', '!', '?', ',', '\u{3002}', '\u{3001}', ' ']).to_owned()
}

/// The digits of an entry: nothing but digits and what separates them, or one run of digits among words.
fn digits_of(text: &str) -> Option<String> {
    let text = plain(text);
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let only = text.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '.' | '#'));
    let runs = text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).count();
    (!digits.is_empty() && (only || runs == 1)).then_some(digits)
}

/// States of a plan that have no meaning in a chat, each with its place and what to do.
pub(crate) fn unfit(plan: &Plan) -> Vec<(Span, Both, Both)> {
    let mut found = Vec::new();
    for state in plan.states.values() {
        let name = &state.name;
        if state.verb == "transfer" {
            found.push((
                name.span.clone(),
                both!(
                    "`{name}` transfers to a telephone: a chat cannot go there",
                    "`{name}` 转接到电话，聊天去不了那里"
                ),
                both!(
                    "give the channel a plan of its own, with `do = \"queue\"` instead",
                    "请为该渠道另写一个方案，用 `do = \"queue\"` 代替"
                ),
            ));
        }
        if state.node.hears_secret() {
            found.push((
                name.span.clone(),
                both!(
                    "`{name}` asks for a secret: what customers write in a chat stays in the log",
                    "`{name}` 要求输入保密内容，而聊天内容会保留在日志里"
                ),
                both!("give the channel a plan of its own that does not ask", "请为该渠道另写一个不询问的方案"),
            ));
        }
    }
    found
}

/// What keeps a plan from being a chat's entry (code `E030`); [`crate::check()`] says it where [`crate::Site::chat`] is set.
#[must_use]
pub fn unfit_for_chat(plan: &Plan) -> Vec<Diagnostic> {
    let told = unfit(plan).into_iter();
    told.map(|(span, message, help)| Diagnostic::new(&plan.source, "E030", &span, message, Some(help))).collect()
}

#[cfg(test)]
mod tests;
