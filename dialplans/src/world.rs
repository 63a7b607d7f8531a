//! The world around a call when there is no call: a virtual clock, a caller who does as told, and a trace. Tests, random
//! callers and the simulator share it, and the plan cannot tell it from the real one.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan};

use crate::calendar::Opening;
use crate::event::{Do, EndReason, Failure, Heard, LinkNews, LinkWay, Piece};
use crate::plan::{ASKED_BACK, Plan, TestEvent};
use crate::run::{Caller, Core, Job, Phase, Tick, Timer};
use crate::speech::{Confidence, Speech, grammar};
use crate::verb::Role;

/// Steps that one event of a test may take before the world gives up on the plan.
const STEPS_PER_EVENT: usize = 500;

pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) now: Tick,
    pub(crate) trace: Vec<String>,
    /// Everything that was asked for since the last [`World::take`].
    recent: Vec<Do>,
    strikes_heard: u32,
    /// Whether the last link's first way is a spoken code.
    link_spoken: bool,
    /// Something was said last: when nothing of the kind follows, the time passes in which more digits may come.
    spoke: bool,
}

/// Why an event could not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Impossible {
    /// The call had ended.
    Ended,
    /// Nothing of that kind is going on.
    NotHere(&'static str),
}

impl World {
    pub(crate) fn call(plan: &Arc<Plan>, caller: &Caller, wall: Timestamp) -> Self {
        let now = Tick { at: Duration::ZERO, wall };
        let (core, out) = Core::start(Arc::clone(plan), caller, now);
        let mut world = Self {
            core,
            now,
            trace: Vec::new(),
            recent: Vec::new(),
            strikes_heard: 0,
            link_spoken: false,
            spoke: false,
        };
        world.note(out);
        world
    }

    /// What was asked for since the last time.
    pub(crate) fn take(&mut self) -> Vec<Do> {
        std::mem::take(&mut self.recent)
    }

    pub(crate) fn hear(&mut self, heard: &Heard) -> usize {
        let out = self.core.step(self.now, heard);
        let count = out.len();
        self.note(out);
        count
    }

    /// Moves the clocks to the next deadline and lets it fire.
    pub(crate) fn next_deadline(&mut self) -> bool {
        let Some(at) = self.core.deadline() else { return false };
        self.advance_to(at);
        self.hear(&Heard::Clock);
        true
    }

    pub(crate) fn advance_to(&mut self, at: Duration) {
        let by = at.saturating_sub(self.now.at);
        self.now.at = self.now.at.max(at);
        if let Ok(wall) =
            self.now.wall.checked_add(jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::ZERO))
        {
            self.now.wall = wall;
        }
    }

    /// The prompt that plays ends by itself, after its estimated length.
    pub(crate) fn prompt_ends(&mut self) -> bool {
        let Some(id) = self.core.playing() else { return false };
        self.hear(&Heard::PlayFinished { id });
        true
    }

    fn note(&mut self, out: Vec<Do>) {
        for one in &out {
            self.trace_one(one);
        }
        self.recent.extend(out);
    }

    fn trace_one(&mut self, one: &Do) {
        match one {
            Do::Link { ways, .. } => self.link_spoken = ways.first() == Some(&LinkWay::Code),
            Do::Strike { .. } => self.strikes_heard += 1,
            _ => {}
        }
        self.trace.extend(trace_of(&self.core.plan, one));
    }

    pub(crate) fn ended(&self) -> bool {
        self.core.ended.is_some()
    }

    pub(crate) fn with_a_person(&self) -> bool {
        !self.ended() && self.core.role() == Role::Person
    }

    /// Lets one event of a test happen.
    pub(crate) fn event(&mut self, event: &TestEvent) -> Result<(), Impossible> {
        let more = matches!(event, TestEvent::Key(_) | TestEvent::Say { .. } | TestEvent::Type(_));
        if !more {
            self.end_of_digits();
        }
        if self.ended() {
            return if *event == TestEvent::Hangup { Ok(()) } else { Err(Impossible::Ended) };
        }
        match event {
            TestEvent::Key(key) => {
                self.hear(&Heard::Key(*key));
            }
            TestEvent::Say { text, confidence } => self.say(text, *confidence)?,
            TestEvent::Type(text) => {
                self.hear(&Heard::Said { id: None, text: text.clone(), confidence: Confidence::FULL });
            }
            TestEvent::Press(_) => return Err(Impossible::NotHere("button in a call")),
            TestEvent::Silence => self.silence(),
            TestEvent::Hangup => {
                self.hear(&Heard::Hangup);
            }
            TestEvent::Answered => {
                let id = self.until_job("person being called", |job| match job {
                    Job::Queue(id) | Job::Transfer(id) => Some(id),
                    _ => None,
                })?;
                self.trace.push("answered".to_owned());
                self.hear(&Heard::Answered { id });
                self.hear(&Heard::PersonLeft { id });
            }
            TestEvent::NoAnswer => self.no_answer()?,
            TestEvent::Overflow => {
                let id = self.until_queued()?;
                self.trace.push("overflow".to_owned());
                self.hear(&Heard::Overflow { id });
            }
            TestEvent::Recorded => {
                let id = self.until_job("recording", |job| match job {
                    Job::Record(id) => Some(id),
                    _ => None,
                })?;
                self.trace.push("recorded".to_owned());
                self.hear(&Heard::Recorded { id, seconds: 5 });
            }
            TestEvent::Http(values) => {
                let id = self.until_job("HTTP action at work", |job| match job {
                    Job::Http(id) => Some(id),
                    _ => None,
                })?;
                let result = values.clone().ok_or_else(|| "failed".to_owned());
                self.hear(&Heard::HttpResult { id, result });
            }
            TestEvent::Joined => {
                let id = self.link_is_out()?;
                self.trace.push("joined".to_owned());
                self.hear(&Heard::Link { id, news: LinkNews::Joined });
            }
            TestEvent::Picture => {
                let id = self.link_is_out()?;
                self.trace.push("picture".to_owned());
                self.hear(&Heard::Link { id, news: LinkNews::Picture });
            }
            TestEvent::NotSent => {
                let id = self.until_link()?;
                self.trace.push("not-sent".to_owned());
                self.hear(&Heard::Link { id, news: LinkNews::Failed });
            }
            TestEvent::Taken | TestEvent::Refused => {
                let taken = *event == TestEvent::Taken;
                if !self.answer_callback(taken) {
                    return Err(Impossible::NotHere("callback"));
                }
            }
            TestEvent::Place { position, wait } => {
                let id = self.until_queued()?;
                self.place(id, *position, *wait);
            }
        }
        Ok(())
    }

    fn until_queued(&mut self) -> Result<u64, Impossible> {
        self.until_job("queue", |job| match job {
            Job::Queue(id) => Some(id),
            _ => None,
        })
    }

    /// The caller begins to speak, and is understood as told.
    fn say(&mut self, text: &str, confidence: Confidence) -> Result<(), Impossible> {
        // Who answers a question that has not been asked yet says it into the next one.
        if self.spoke
            && self.core.phase() != Phase::Confirming
            && grammar::digits(&Speech::new(text, confidence)).is_none()
        {
            self.end_of_digits();
        }
        let id = self.core.listening.as_ref().map(|l| l.listen.id).ok_or(Impossible::NotHere("listening"))?;
        self.hear(&Heard::SpeechStarted { id });
        self.hear(&Heard::Said { id: Some(id), text: text.to_owned(), confidence });
        self.spoke = true;
        Ok(())
    }

    /// No more digits follow those that were said.
    fn end_of_digits(&mut self) {
        if std::mem::take(&mut self.spoke) && self.core.next_timer() == Some(Timer::Digit) {
            self.next_deadline();
        }
    }

    fn until_link(&mut self) -> Result<u64, Impossible> {
        self.until_job("link", |job| match job {
            Job::Link(id) => Some(id),
            _ => None,
        })
    }

    /// The link of the state, once it went out by its first way.
    fn link_is_out(&mut self) -> Result<u64, Impossible> {
        let id = self.until_link()?;
        self.send_link();
        Ok(id)
    }

    /// Lets a link that waits for it go out. Whether there was one.
    fn send_link(&mut self) -> bool {
        let (Some(Job::Link(id)), Phase::Working) = (self.core.job, self.core.phase()) else { return false };
        let spoken = self.link_spoken;
        let news = if spoken { LinkNews::Code("482913".to_owned()) } else { LinkNews::Sent };
        self.hear(&Heard::Link { id, news });
        true
    }

    /// Tells a plan that wants a callback whether there will be one. Whether there was such a plan.
    fn answer_callback(&mut self, taken: bool) -> bool {
        let Some(Job::Callback(id)) = self.core.job else { return false };
        self.trace.push(if taken { "taken" } else { "refused" }.to_owned());
        self.hear(&Heard::Callback { id, taken });
        true
    }

    /// The place changes, and the next announcement comes: what is being said ends first, then its time passes.
    fn place(&mut self, id: u64, position: u32, wait: Option<Duration>) {
        while self.prompt_ends() {}
        self.hear(&Heard::QueueUpdate { id, position, wait });
        if self.core.playing().is_none() && self.core.next_timer() == Some(Timer::Announce) {
            self.next_deadline();
        }
    }

    /// A queue is waited out; a transfer rings out.
    fn no_answer(&mut self) -> Result<(), Impossible> {
        let job = self.until_job("person being called", |job| match job {
            Job::Queue(_) | Job::Transfer(_) => Some(job),
            _ => None,
        })?;
        self.trace.push("no-answer".to_owned());
        if let Job::Transfer(id) = job {
            self.hear(&Heard::Failed { id, failure: Failure::NoAnswer });
            return Ok(());
        }
        for _ in 0..STEPS_PER_EVENT {
            if self.core.job != Some(job) || !(self.prompt_ends() || self.next_deadline()) {
                break;
            }
        }
        Ok(())
    }

    /// Lets prompts end until a job of that kind runs.
    fn until_job<T>(&mut self, what: &'static str, kind: impl Fn(Job) -> Option<T>) -> Result<T, Impossible> {
        for _ in 0..STEPS_PER_EVENT {
            if let Some(found) = self.core.job.and_then(&kind) {
                return Ok(found);
            }
            if self.ended() || !self.prompt_ends() {
                break;
            }
        }
        Err(if self.ended() { Impossible::Ended } else { Impossible::NotHere(what) })
    }

    /// The caller says nothing until that costs a strike, ends a recording, reaches a person, or ends the call.
    fn silence(&mut self) {
        let strikes = self.strikes_heard;
        for _ in 0..STEPS_PER_EVENT {
            if self.ended() || self.with_a_person() || self.strikes_heard != strikes {
                return;
            }
            if self.prompt_ends() {
                continue;
            }
            if let Some(Job::Record(id)) = self.core.job {
                self.hear(&Heard::Recorded { id, seconds: 0 });
                return;
            }
            if self.send_link() || self.answer_callback(true) {
                continue;
            }
            if !self.next_deadline() {
                return;
            }
        }
    }

    /// Lets everything that plays end, so that a goodbye ends the call.
    pub(crate) fn coast(&mut self) {
        self.end_of_digits();
        for _ in 0..STEPS_PER_EVENT {
            if self.ended() || self.with_a_person() || !(self.prompt_ends() || self.answer_callback(true)) {
                return;
            }
        }
    }

    /// True when nothing will ever happen again although the call is up.
    pub(crate) fn stuck(&self) -> bool {
        !self.ended() && self.core.deadline().is_none() && self.core.phase() != Phase::Talking
    }
}

/// What stands of it in a trace.
pub(crate) fn trace_of(plan: &Plan, one: &Do) -> Vec<String> {
    match one {
        Do::Entered { state, verb } => {
            let object = plan.state(state).and_then(|s| s.node.object());
            let entered = format!("state:{state}");
            match object {
                Some(object) => vec![entered, format!("{verb}:{object}")],
                // The end itself is traced once, when it comes.
                None if *verb == "hangup" => vec![entered],
                None => vec![entered, (*verb).to_owned()],
            }
        }
        Do::Play { pieces, .. } => {
            let mut names: Vec<&str> = Vec::new();
            for piece in pieces {
                if let Piece::Text { prompt, .. } = piece
                    && names.last() != Some(&&**prompt)
                {
                    names.push(prompt);
                }
            }
            names.into_iter().map(played).collect()
        }
        Do::Write { prompts, .. } => prompts.iter().map(|prompt| played(prompt)).collect(),
        Do::Set { name, value } if &**name == "lang" => vec![format!("lang:{value}")],
        Do::Set { name, value } => vec![format!("set:{name}={value}")],
        Do::Consent { answer, .. } => vec![answer.as_str().to_owned()],
        Do::SurveyAsked { .. } => vec!["survey".to_owned()],
        Do::SurveyAnswered { score, .. } => vec![format!("scored:{score}")],
        Do::Gathered { name, value } => vec![format!("gathered:{name}={value}")],
        Do::Strike { count, .. } => vec![format!("strike:{count}")],
        Do::PersonSought { .. } => vec!["person".to_owned()],
        Do::Hangup { reason: EndReason::Caller } => vec!["caller-hangup".to_owned()],
        Do::Hangup { reason: EndReason::Fault } => vec!["fault".to_owned(), "hangup".to_owned()],
        Do::Hangup { .. } => vec!["hangup".to_owned()],
        _ => Vec::new(),
    }
}

/// `play:main`; what is asked back of itself: `confirm:2`, `confirm:digits`.
fn played(prompt: &str) -> String {
    match (prompt.strip_prefix(ASKED_BACK).and_then(|rest| rest.rsplit('.').next()), prompt) {
        (Some(key), _) => format!("confirm:{key}"),
        (None, "ark.digits") => "confirm:digits".to_owned(),
        (None, _) => format!("play:{prompt}"),
    }
}

/// A moment at which every `hours` of the plan is open, the same on every machine.
pub(crate) fn open_moment(plan: &Plan) -> Timestamp {
    moment(plan, |opening| opening == Opening::Open).unwrap_or_else(|| beginning(plan))
}

/// A moment at which no `hours` of the plan is open and it is no holiday; `None` when there is none, or no `hours`.
pub(crate) fn closed_moment(plan: &Plan) -> Option<Timestamp> {
    let hours = plan.states.values().any(|state| state.node.opening(plan, beginning(plan)).is_some());
    hours.then(|| moment(plan, |opening| opening == Opening::Closed)).flatten()
}

fn beginning(plan: &Plan) -> Timestamp {
    wall(plan, jiff::civil::date(2026, 3, 3).at(10, 0, 0, 0))
}

/// The first hour from the beginning on at which every `hours` of the plan is as wanted.
fn moment(plan: &Plan, wanted: impl Fn(Opening) -> bool) -> Option<Timestamp> {
    let mut at = beginning(plan);
    for _ in 0..24 * 400 {
        if plan.states.values().filter_map(|state| state.node.opening(plan, at)).all(&wanted) {
            return Some(at);
        }
        at = at.checked_add(1.hour()).ok()?;
    }
    None
}

/// A wall time in the plan's time zone.
pub(crate) fn wall(plan: &Plan, at: DateTime) -> Timestamp {
    plan.zone.to_timestamp(at).unwrap_or(Timestamp::UNIX_EPOCH)
}
