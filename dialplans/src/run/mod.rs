//! One caller walking through a plan.
//!
//! [`Run`] is pure: what happened goes in, what is to be done comes out, [`Run::deadline`] says when to come back with
//! [`Heard::Clock`]. A step never loops: the silent transitions inside it are bounded, and `check` proves that no plan
//! needs the bound.
//!
//! The rules that every plan lives under are here and not in the verbs:
//! * the human key leads to a person at every prompt, unless the caller is already on the way to one;
//! * what is said or typed counts as the key that it means; words for a person lead to one at every prompt;
//! * silence, a wrong key, words that mean nothing and "again" cost a strike; an accepted key clears them; too many lead to a person, and when
//!   that led back to the caller without an accepted key, the state's own way out is taken (so no silent caller circles);
//! * everything that answers later carries an id, so late and doubled reports are harmless;
//! * a prompt whose end is never reported is given up after its estimated length and a grace;
//! * when the plan itself fails, the caller hears an apology before the end.

pub(crate) mod chat;
mod hearing;
mod save;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub(crate) use turn::{Turn, text_estimate};

use crate::event::{Do, EndReason, Heard, Sought};
use crate::lang::Lang;
use crate::limits;
use crate::plan::{Plan, State};
use crate::say;
use crate::source::Name;
use crate::speech::{Listen, Speech};
use crate::verb::Role;

/// Who calls.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The caller's number as the carrier gave it; empty when withheld.
    pub number: String,
    /// The number that was dialled.
    pub dialled: String,
    /// The language before the plan chooses one; default: the plan's first.
    pub lang: Option<Lang>,
}

/// The two clocks, both arguments: one for deadlines, one for calendars and spoken times.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic.
    pub mono: Instant,
    /// Wall clock.
    pub wall: Timestamp,
}

/// The same inside: time since the call began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) at: Duration,
    pub(crate) wall: Timestamp,
}

/// A call in a plan. Cheap to move; holds its version of the plan.
#[derive(Debug)]
pub struct Run {
    core: Core,
    began: Instant,
}

impl Run {
    /// Begins a call. The first thing to do is always [`Do::Answer`].
    #[must_use]
    pub fn start(plan: Arc<Plan>, caller: &Caller, now: Now) -> (Self, Vec<Do>) {
        let (core, out) = Core::start(plan, caller, Tick { at: Duration::ZERO, wall: now.wall });
        (Self { core, began: now.mono }, out)
    }

    /// Tells the plan what happened. After [`Do::Hangup`] every step is empty.
    pub fn step(&mut self, now: Now, heard: &Heard) -> Vec<Do> {
        self.core.step(Tick { at: now.mono.saturating_duration_since(self.began), wall: now.wall }, heard)
    }

    /// When [`Heard::Clock`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.core.deadline().map(|at| self.began + at)
    }

    /// The state the caller is in.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.core.state
    }

    /// The plan this call began with.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.core.plan
    }

    /// What is to be listened to now: that of the last [`Do::Listen`], until [`Do::StopListen`].
    #[must_use]
    pub fn listening(&self) -> Option<&Listen> {
        self.core.listening.as_ref().map(|listening| &listening.listen)
    }

    /// Whether a key pressed now, or what is said or typed, belongs to something that the plan calls secret, and must stay out of the log.
    #[must_use]
    pub fn hears_secret(&self) -> bool {
        self.core.plan.state(self.state()).is_some_and(|state| state.node.hears_secret())
    }

    /// The language spoken now.
    #[must_use]
    pub fn lang(&self) -> Lang {
        self.core.lang
    }

    /// Why the plan ended, once it has.
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        self.core.ended
    }

    /// True while the caller talks to a person.
    #[must_use]
    pub fn is_talking(&self) -> bool {
        self.core.scratch.phase == Phase::Talking
    }
}

/// What a state is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// A prompt plays and keys count.
    #[default]
    Speaking,
    /// The prompt is over; silence is measured.
    Listening,
    /// What was entered is read back.
    Confirming,
    /// A job runs: recording, waiting, ringing, HTTP.
    Working,
    /// The job is over or being stopped; something still has to end.
    Finishing,
    /// The caller talks to a person.
    Talking,
}

/// Why the clock was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The end of a prompt was never reported.
    Play,
    /// Nothing was heard after a prompt.
    Silence,
    /// No further digit came.
    Digit,
    /// The place in the queue is to be said.
    Announce,
    /// Waited or rang long enough.
    MaxWait,
    /// A job is late.
    Job,
    /// What the caller is saying was never reported.
    Speech,
}

/// What a verb wants next.
#[derive(Debug)]
pub(crate) enum Flow {
    Stay,
    Go(Arc<str>),
    /// Go on and let the key count there.
    GoWithKey(Arc<str>, char),
    /// Go on and let what was said count there.
    GoWithSaid(Arc<str>, Speech),
    Human(Sought),
    End(EndReason),
    Fault,
}

impl Flow {
    pub(crate) fn go(to: &Name) -> Self {
        Self::Go(Arc::clone(&to.text))
    }
}

/// Something asked of the outside that will answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Record(u64),
    Queue(u64),
    Transfer(u64),
    Http(u64),
    Link(u64),
}

impl Job {
    fn id(self) -> u64 {
        let (Self::Record(id) | Self::Queue(id) | Self::Transfer(id) | Self::Http(id) | Self::Link(id)) = self;
        id
    }
}

/// A place in a queue that is kept while the caller is elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    id: u64,
    queue: Arc<str>,
    /// The state that joined it.
    state: Arc<str>,
    joined: Duration,
}

/// What a state remembers; forgotten when it is left.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    phase: Phase,
    digits: String,
    tries: u32,
    announcement_due: bool,
    /// The key that is being asked back.
    proposed: Option<char>,
    /// The digits were understood with a doubt.
    doubt: bool,
    after_prompt: Option<Arc<str>>,
}

/// The caller's place, as last told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    position: u32,
    wait: Option<Duration>,
}

/// [`Run`] without an `Instant`, so that tests, fuzzers and the simulator need no clock at all.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) plan: Arc<Plan>,
    pub(crate) state: Arc<str>,
    pub(crate) lang: Lang,
    pub(crate) ended: Option<EndReason>,
    caller: String,
    dialled: String,
    vars: BTreeMap<String, String>,
    scratch: Scratch,
    strikes: u32,
    /// Strikes led to a person already, and nothing was accepted since.
    struck_out: bool,
    /// On the way to a person.
    asked: bool,
    last_id: u64,
    playing: Option<u64>,
    pub(crate) job: Option<Job>,
    /// The place that belongs to `job`, should it be kept.
    joined: Option<Held>,
    held: Option<Held>,
    place: Option<Place>,
    announced: Option<say::WaitRange>,
    timers: Vec<(Timer, Duration)>,
    entered: u32,
    link_code: String,
    apologising: bool,
    /// What it says is written.
    pub(crate) writes: bool,
    pub(crate) listening: Option<hearing::Listening>,
}

/// What counts in the state that is entered next.
enum Pending {
    Key(char),
    Said(Speech),
}

impl Core {
    pub(crate) fn start(plan: Arc<Plan>, caller: &Caller, now: Tick) -> (Self, Vec<Do>) {
        let mut core = Self::fresh(plan, caller);
        let out = core.begin(now);
        (core, out)
    }

    /// Takes the first state.
    pub(crate) fn begin(&mut self, now: Tick) -> Vec<Do> {
        let mut out = vec![Do::Answer];
        let entry = Arc::clone(&self.plan.entry.text);
        self.settle(now, Flow::Go(entry), &mut out);
        self.attend(&mut out);
        out
    }

    /// One that has not begun.
    pub(crate) fn fresh(plan: Arc<Plan>, caller: &Caller) -> Self {
        let lang = caller.lang.unwrap_or_else(|| plan.default_lang());
        let entry = Arc::clone(&plan.entry.text);
        Self {
            plan,
            state: entry,
            lang,
            ended: None,
            caller: caller.number.clone(),
            dialled: caller.dialled.clone(),
            vars: BTreeMap::new(),
            scratch: Scratch::default(),
            strikes: 0,
            struck_out: false,
            asked: false,
            last_id: 0,
            playing: None,
            job: None,
            joined: None,
            held: None,
            place: None,
            announced: None,
            timers: Vec::new(),
            entered: 0,
            link_code: String::new(),
            apologising: false,
            listening: None,
            writes: false,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.timers.iter().map(|(_, at)| *at).min()
    }

    /// The timer that is due next.
    pub(crate) fn next_timer(&self) -> Option<Timer> {
        self.timers.iter().min_by_key(|(timer, at)| (*at, *timer)).map(|(timer, _)| *timer)
    }

    pub(crate) fn playing(&self) -> Option<u64> {
        self.playing
    }

    pub(crate) fn phase(&self) -> Phase {
        self.scratch.phase
    }

    /// The verb's state in the plan, when there is one.
    fn current<'p>(&self, plan: &'p Plan) -> Option<&'p State> {
        plan.state(&self.state)
    }

    pub(crate) fn role(&self) -> Role {
        self.plan.state(&self.state).map_or(Role::End, |state| state.node.role())
    }

    pub(crate) fn step(&mut self, now: Tick, heard: &Heard) -> Vec<Do> {
        let mut out = Vec::new();
        if self.ended.is_some() {
            return out;
        }
        if *heard == Heard::Hangup {
            self.end(EndReason::Caller, &mut out);
            return out;
        }
        let flow = self.hear(now, heard, &mut out);
        self.settle(now, flow, &mut out);
        if self.ended.is_none() {
            self.attend(&mut out);
        }
        out
    }

    /// One thing that happened, to the verb of the current state.
    fn hear(&mut self, now: Tick, heard: &Heard, out: &mut Vec<Do>) -> Flow {
        let plan = Arc::clone(&self.plan);
        match heard {
            Heard::PlayFinished { id } if self.playing == Some(*id) => self.prompt_over(now, out),
            Heard::Clock => self.clock(now, out),
            Heard::Key(key) => self.key(now, *key, out),
            Heard::SpeechStarted { id } => self.speech_started(now, *id, out),
            Heard::Said { id, text, confidence } => self.said(now, *id, text, *confidence, out),
            Heard::PlayFinished { .. } | Heard::Hangup => Flow::Stay,
            Heard::QueueUpdate { id, .. }
            | Heard::Answered { id }
            | Heard::PersonLeft { id }
            | Heard::Failed { id, .. }
            | Heard::Recorded { id, .. }
            | Heard::HttpResult { id, .. }
            | Heard::Link { id, .. } => {
                if self.job.is_some_and(|job| job.id() == *id) {
                    let Some(state) = self.current(&plan) else { return Flow::Fault };
                    return state.node.heard(&mut Turn { core: self, now, out }, heard);
                }
                self.about_the_held_place(now, *id, heard, out)
            }
        }
    }

    /// A person answers while the caller, who kept the place, is somewhere else: the talk begins.
    fn about_the_held_place(&mut self, now: Tick, id: u64, heard: &Heard, out: &mut Vec<Do>) -> Flow {
        let Some(held) = self.held.clone().filter(|held| held.id == id) else { return Flow::Stay };
        match heard {
            Heard::QueueUpdate { position, wait, .. } => {
                self.place = Some(Place { position: *position, wait: *wait });
            }
            Heard::Answered { .. } => {
                self.leave(false, out);
                self.held = None;
                self.job = Some(Job::Queue(id));
                self.state = held.state;
                self.entered(out);
                Turn { core: self, now, out }.talk();
            }
            _ => self.held = None,
        }
        Flow::Stay
    }

    fn prompt_over(&mut self, now: Tick, out: &mut Vec<Do>) -> Flow {
        self.playing = None;
        self.timers.retain(|(timer, _)| *timer != Timer::Play);
        if self.apologising {
            return Flow::End(EndReason::Fault);
        }
        let plan = Arc::clone(&self.plan);
        let Some(state) = self.current(&plan) else { return Flow::Fault };
        state.node.played(&mut Turn { core: self, now, out })
    }

    /// The earliest timer that is due. Others that are due stay due: [`Core::deadline`] says so.
    fn clock(&mut self, now: Tick, out: &mut Vec<Do>) -> Flow {
        let due = self.timers.iter().filter(|(_, at)| *at <= now.at).min_by_key(|(timer, at)| (*at, *timer)).copied();
        let Some((timer, _)) = due else { return Flow::Stay };
        self.timers.retain(|(other, _)| *other != timer);
        if timer == Timer::Play {
            return self.prompt_over(now, out);
        }
        let plan = Arc::clone(&self.plan);
        let Some(state) = self.current(&plan) else { return Flow::Fault };
        state.node.timer(&mut Turn { core: self, now, out }, timer)
    }

    fn key(&mut self, now: Tick, key: char, out: &mut Vec<Do>) -> Flow {
        if !(key.is_ascii_digit() || matches!(key, '*' | '#')) || self.apologising {
            return Flow::Stay;
        }
        let plan = Arc::clone(&self.plan);
        let Some(state) = self.current(&plan) else { return Flow::Fault };
        let mut turn = Turn { core: self, now, out };
        let role = state.node.role();
        if key == plan.rules.human_key && role != Role::Person && !state.node.takes_human_key(&turn) {
            let on_the_way = turn.core.asked && role == Role::Passing;
            return if on_the_way { Flow::Stay } else { Flow::Human(Sought::Key) };
        }
        if key == plan.rules.human_key && role == Role::Person {
            return Flow::Stay;
        }
        state.node.key(&mut turn, key)
    }

    /// Follows the plan until it waits for something. Bounded.
    fn settle(&mut self, now: Tick, mut flow: Flow, out: &mut Vec<Do>) {
        let plan = Arc::clone(&self.plan);
        let mut pending: Option<Pending> = None;
        for _ in 0..limits::TRANSITIONS_PER_STEP {
            flow = match flow {
                Flow::Stay => match pending.take() {
                    Some(Pending::Key(key)) if self.role() != Role::Person => self.key(now, key, out),
                    Some(Pending::Said(said)) if self.role() != Role::Person => self.understand(now, &said, out),
                    _ => return,
                },
                Flow::End(reason) => return self.end(reason, out),
                Flow::Fault => return self.apologise(now, out),
                Flow::Human(by) => {
                    out.push(Do::PersonSought { by });
                    self.asked = true;
                    Flow::Go(Arc::clone(&plan.rules.human_target.text))
                }
                Flow::GoWithKey(to, key) => {
                    pending = Some(Pending::Key(key));
                    Flow::Go(to)
                }
                Flow::GoWithSaid(to, said) => {
                    pending = Some(Pending::Said(said));
                    Flow::Go(to)
                }
                Flow::Go(to) => self.enter(now, &plan, to, out),
            };
        }
        self.apologise(now, out);
    }

    fn enter(&mut self, now: Tick, plan: &Plan, to: Arc<str>, out: &mut Vec<Do>) -> Flow {
        let Some(state) = plan.state(&to) else { return Flow::Fault };
        let role = state.node.role();
        self.leave(matches!(role, Role::Recording | Role::End), out);
        self.state = to;
        self.entered += 1;
        if self.entered > limits::STATES_PER_CALL {
            return Flow::Fault;
        }
        if !self.asked && (role == Role::Person || self.state == plan.rules.human_target.text) {
            out.push(Do::PersonSought { by: Sought::Plan });
            self.asked = true;
        }
        self.entered(out);
        state.node.enter(&mut Turn { core: self, now, out })
    }

    fn entered(&self, out: &mut Vec<Do>) {
        let verb = self.plan.state(&self.state).map_or("", |state| state.verb);
        out.push(Do::Entered { state: Arc::clone(&self.state), verb });
    }

    /// Ends what the state had going. `release`: a kept place in a queue is given up, too.
    fn leave(&mut self, release: bool, out: &mut Vec<Do>) {
        if let Some(id) = self.playing.take() {
            out.push(Do::StopPlay { id });
        }
        if let Some(job) = self.job.take() {
            out.extend(cancel(job));
        }
        if release && let Some(held) = self.held.take() {
            out.push(Do::LeaveQueue { id: held.id });
        }
        self.timers.clear();
        self.scratch = Scratch::default();
    }

    fn end(&mut self, reason: EndReason, out: &mut Vec<Do>) {
        self.leave(true, out);
        self.ended = Some(reason);
        self.stop_listening(out);
        out.push(Do::Hangup { reason });
    }

    /// The plan itself failed (`check` would have told): never silence, an apology and the end.
    fn apologise(&mut self, now: Tick, out: &mut Vec<Do>) {
        self.leave(true, out);
        if self.apologising {
            return self.end(EndReason::Fault, out);
        }
        self.apologising = true;
        let (piece, writes) = (crate::plan::sorry(self.lang), self.writes);
        let mut turn = Turn { core: self, now, out };
        if writes {
            turn.write(chat::sorry(turn.core.lang).to_owned(), Vec::new());
        } else {
            turn.play_pieces(vec![piece], false);
        }
    }
}

fn cancel(job: Job) -> Option<Do> {
    match job {
        Job::Record(id) => Some(Do::StopRecord { id }),
        Job::Queue(id) => Some(Do::LeaveQueue { id }),
        Job::Transfer(id) => Some(Do::CancelTransfer { id }),
        // A link stays good: its page may be opened while the caller waits for a person.
        Job::Http(_) | Job::Link(_) => None,
    }
}
