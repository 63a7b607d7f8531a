//! What a verb can do in its turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Core, Flow, Held, Job, Phase, Place, Tick, Timer};
use crate::event::{ConsentAnswer, ConsentHow, Do, LinkWay, Piece, RecordingAct, Sought, StrikeCause};
use crate::lang::Lang;
use crate::limits;
use crate::plan::{Plan, text_piece};
use crate::prompt::Part;
use crate::say::{self, Token};
use crate::source::Name;

/// The core, the time, and where to write what is to be done.
pub(crate) struct Turn<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) now: Tick,
    pub(crate) out: &'a mut Vec<Do>,
}

/// A breath inside a sentence.
const BREATH: Duration = Duration::from_millis(150);

impl Turn<'_> {
    pub(crate) fn plan(&self) -> &Plan {
        &self.core.plan
    }

    pub(crate) fn state(&self) -> &str {
        &self.core.state
    }

    pub(crate) fn phase(&mut self, phase: Phase) {
        self.core.scratch.phase = phase;
    }

    pub(crate) fn is(&self, phase: Phase) -> bool {
        self.core.scratch.phase == phase
    }

    // ---- time ----

    pub(crate) fn start(&mut self, timer: Timer, after: Duration) {
        self.start_since(timer, self.now.at, after);
    }

    pub(crate) fn start_since(&mut self, timer: Timer, since: Duration, after: Duration) {
        self.stop(timer);
        self.core.timers.push((timer, since + after));
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.core.timers.retain(|(other, _)| *other != timer);
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.now.wall
    }

    // ---- prompts ----

    pub(crate) fn play(&mut self, prompts: &[&Name]) {
        self.play_with(prompts, true);
    }

    pub(crate) fn play_with(&mut self, prompts: &[&Name], barge_in: bool) {
        if self.core.writes {
            let texts: Vec<String> = prompts.iter().filter_map(|name| self.text(name)).collect();
            let names = prompts.iter().map(|name| Arc::from(&*name.text)).collect();
            return self.write(texts.join("\n"), names);
        }
        let mut pieces = Vec::new();
        for name in prompts {
            self.pieces(name, &mut pieces);
        }
        if pieces.is_empty() {
            // Only a plan that `check` refuses gets here; the caller still hears something.
            pieces.push(crate::plan::sorry(self.core.lang));
        }
        self.play_pieces(pieces, barge_in);
    }

    pub(crate) fn play_pieces(&mut self, pieces: Vec<Piece>, barge_in: bool) {
        if self.core.writes {
            let mut names: Vec<Arc<str>> = Vec::new();
            for piece in &pieces {
                if let Piece::Text { prompt, .. } = piece
                    && names.last() != Some(prompt)
                {
                    names.push(Arc::clone(prompt));
                }
            }
            return self.write(super::chat::words(&pieces), names);
        }
        self.silence_prompt();
        let id = self.next_id();
        let length: Duration = pieces.iter().map(piece_estimate).sum();
        self.core.playing = Some(id);
        self.start(Timer::Play, length * 2 + limits::PLAY_GRACE);
        self.out.push(Do::Play { id, pieces, lang: self.core.lang, barge_in });
    }

    /// Writes to the customer. It counts as played until its end is told, which is at once.
    pub(crate) fn write(&mut self, text: String, prompts: Vec<Arc<str>>) {
        self.silence_prompt();
        let id = self.next_id();
        self.core.playing = Some(id);
        self.out.push(Do::Write { id, text, prompts });
    }

    /// A prompt as it is written.
    fn text(&self, name: &Name) -> Option<String> {
        let prompt = self.plan().prompts.get(&name.text)?;
        let (lang, template) = prompt.written(self.core.lang)?;
        Some(super::chat::fill(template, |name, kind| say::written(lang, kind, &self.variable(name))))
    }

    pub(crate) fn is_playing(&self) -> bool {
        self.core.playing.is_some()
    }

    /// Stops what plays; nothing will be reported about it any more.
    pub(crate) fn silence_prompt(&mut self) {
        if let Some(id) = self.core.playing.take() {
            self.out.push(Do::StopPlay { id });
        }
        self.stop(Timer::Play);
    }

    /// Reads digits back that were understood with a doubt, where the plan has no readback of its own.
    pub(crate) fn play_digits_back(&mut self, digits: &str) {
        let lang = self.core.lang;
        let [before, after] = crate::plan::digits_back_pieces(lang);
        let words = say::speak_or_spell(lang, say::Kind::Digits, digits).into_iter().map(|token| match token {
            Token::Word(text) => Piece::Word { lang, text: text.into() },
            Token::Pause => Piece::Pause(BREATH),
        });
        let pieces = [before].into_iter().chain(words).chain([Piece::Pause(BREATH), after]).collect();
        self.play_pieces(pieces, true);
    }

    pub(crate) fn lang(&self) -> Lang {
        self.core.lang
    }

    pub(crate) fn go_after_prompt(&mut self, to: &Arc<str>) {
        self.core.scratch.after_prompt = Some(Arc::clone(to));
    }

    pub(crate) fn take_after_prompt(&mut self) -> Flow {
        self.core.scratch.after_prompt.take().map_or(Flow::Stay, Flow::Go)
    }

    fn pieces(&self, name: &Name, pieces: &mut Vec<Piece>) {
        let plan = self.plan();
        let Some(prompt) = plan.prompts.get(&name.text) else { return };
        let Some((lang, spoken)) = prompt.in_or_near(self.core.lang) else { return };
        for part in &spoken.parts {
            match part {
                Part::Text { index, text } => pieces.push(text_piece(prompt, lang, *index, text)),
                Part::Pause => pieces.push(Piece::Pause(BREATH)),
                Part::Variable { name, kind, .. } => {
                    let value = self.variable(name);
                    pieces.extend(say::speak_or_spell(lang, *kind, &value).into_iter().map(|token| match token {
                        Token::Word(text) => Piece::Word { lang, text: text.into() },
                        Token::Pause => Piece::Pause(BREATH),
                    }));
                }
            }
        }
    }

    // ---- variables ----

    pub(crate) fn variable(&self, name: &str) -> String {
        let place = self.core.place;
        let local = || self.core.plan.zone.to_datetime(self.now.wall);
        match name {
            "lang" => self.core.lang.as_str().to_owned(),
            "caller" => self.core.caller.clone(),
            "dialled" => self.core.dialled.clone(),
            "position" => place.map(|p| p.position.to_string()).unwrap_or_default(),
            "ahead" => place.map(|p| p.position.saturating_sub(1).to_string()).unwrap_or_default(),
            "wait" => place.and_then(|p| p.wait).map(|w| w.as_secs().to_string()).unwrap_or_default(),
            "date" => local().date().to_string(),
            "link_code" => self.core.link_code.clone(),
            "time" => format!("{:02}:{:02}", local().hour(), local().minute()),
            _ => self.core.vars.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Gives a variable a value and tells the log.
    pub(crate) fn set(&mut self, name: &Arc<str>, value: &str) {
        if &**name == "lang" {
            let Some(lang) = Lang::parse(value) else { return };
            self.core.lang = lang;
        } else {
            self.keep(name, value);
        }
        self.out.push(Do::Set { name: Arc::clone(name), value: cut(value).to_owned() });
    }

    /// Gives a variable a value without telling the log.
    pub(crate) fn keep(&mut self, name: &str, value: &str) {
        let vars = &mut self.core.vars;
        if vars.len() < limits::VARIABLES_MAX || vars.contains_key(name) {
            vars.insert(name.to_owned(), cut(value).to_owned());
        }
    }

    pub(crate) fn digits(&mut self) -> &mut String {
        &mut self.core.scratch.digits
    }

    pub(crate) fn has_no_digits(&self) -> bool {
        self.core.scratch.digits.is_empty()
    }

    pub(crate) fn gathered(&mut self, name: &Arc<str>, secret: bool) {
        let value = self.variable(name);
        let value = if secret { "*".repeat(value.len()) } else { value };
        self.out.push(Do::Gathered { name: Arc::clone(name), value });
    }

    pub(crate) fn ask_survey(&mut self, scale: u8) {
        self.out.push(Do::SurveyAsked { scale });
    }

    pub(crate) fn scored(&mut self, score: u8, scale: u8) {
        self.out.push(Do::SurveyAnswered { score, scale });
    }

    // ---- the rules ----

    /// The caller did something that the plan understands.
    pub(crate) fn accepted(&mut self) {
        self.core.strikes = 0;
        self.core.struck_out = false;
        self.core.asked = false;
    }

    /// A strike. With the last one: to a person; or, when that already led back here, the state's own way out.
    pub(crate) fn strike(&mut self, cause: StrikeCause, otherwise: &Name) -> Option<Flow> {
        self.core.strikes += 1;
        self.out.push(Do::Strike { count: self.core.strikes, cause });
        if self.core.strikes < self.plan().rules.strikes {
            return None;
        }
        self.core.strikes = 0;
        if std::mem::replace(&mut self.core.struck_out, true) {
            return Some(Flow::go(otherwise));
        }
        Some(Flow::Human(Sought::Strikes))
    }

    /// Whether a silent caller is asked once more.
    pub(crate) fn try_again(&mut self, retries: u32) -> bool {
        self.core.scratch.tries += 1;
        self.core.scratch.tries <= retries
    }

    /// No person was reached: the human key works again.
    pub(crate) fn nobody_came(&mut self) {
        self.core.asked = false;
    }

    // ---- jobs ----

    fn next_id(&mut self) -> u64 {
        self.core.last_id += 1;
        self.core.last_id
    }

    pub(crate) fn job_done(&mut self) {
        self.core.job = None;
    }

    pub(crate) fn abandon_job(&mut self) {
        if let Some(job) = self.core.job.take() {
            self.out.extend(super::cancel(job));
        }
    }

    pub(crate) fn recording(&mut self, act: RecordingAct) {
        self.out.push(Do::Recording { act });
    }

    /// What became of the question whether the call may be kept.
    pub(crate) fn consent(&self) -> Option<ConsentAnswer> {
        self.core.consent
    }

    pub(crate) fn settle_consent(&mut self, answer: ConsentAnswer, how: Option<ConsentHow>) {
        self.silence_prompt();
        self.stop(Timer::Silence);
        self.core.consent = Some(answer);
        self.out.push(Do::Consent { answer, how });
    }

    /// Whether what is said is written: a chat.
    pub(crate) fn writes(&self) -> bool {
        self.core.writes
    }

    pub(crate) fn record(&mut self, max: Duration, silence: Duration) {
        let id = self.next_id();
        self.core.job = Some(Job::Record(id));
        self.out.push(Do::Record { id, max, silence });
    }

    /// Asks for the end of the recording; the job goes on until it is reported.
    pub(crate) fn finish_recording(&mut self) {
        if let Some(Job::Record(id)) = self.core.job {
            self.out.push(Do::StopRecord { id });
        }
    }

    pub(crate) fn transfer(&mut self, target: &Arc<str>, timeout: Duration) -> bool {
        let Some(to) = self.plan().targets.get(target).map(|target| Arc::clone(&target.to.text)) else { return false };
        self.release_place();
        let id = self.next_id();
        self.core.job = Some(Job::Transfer(id));
        self.out.push(Do::Transfer { id, name: Arc::clone(target), to, timeout });
        true
    }

    /// Asks a named action; the answer must come within the returned time.
    pub(crate) fn http(&mut self, action: &Arc<str>) -> Option<Duration> {
        let plan = Arc::clone(&self.core.plan);
        let found = plan.actions.get(action)?;
        let vars: BTreeMap<String, String> =
            found.send.iter().map(|name| (name.text.to_string(), self.variable(&name.text))).collect();
        let id = self.next_id();
        self.core.job = Some(Job::Http(id));
        self.out.push(Do::Http { id, action: Arc::clone(action), vars, timeout: found.timeout });
        Some(found.timeout)
    }

    /// Asks for a link; what becomes of it is told as it happens.
    pub(crate) fn link(&mut self, ways: &[LinkWay], timeout: Duration) {
        let id = self.next_id();
        self.core.job = Some(Job::Link(id));
        self.core.link_code.clear();
        self.out.push(Do::Link { id, ways: ways.to_vec(), timeout });
    }

    /// The code that opens the link, for prompts.
    pub(crate) fn link_code(&mut self, code: &str) {
        code.clone_into(&mut self.core.link_code);
    }

    pub(crate) fn has_link_code(&self) -> bool {
        !self.core.link_code.is_empty()
    }

    /// Keeps the values that the action promises; others are dropped.
    pub(crate) fn save(&mut self, action: &str, values: &BTreeMap<String, String>) {
        let plan = Arc::clone(&self.core.plan);
        let Some(found) = plan.actions.get(action) else { return };
        for name in &found.save {
            self.set(&name.text, values.get(&*name.text).map_or("", String::as_str));
        }
    }

    // ---- waiting for a person ----

    /// From here on the caller is on the way to a person.
    pub(crate) fn on_the_way(&mut self) {
        if !std::mem::replace(&mut self.core.asked, true) {
            self.out.push(Do::PersonSought { by: Sought::Plan });
        }
    }

    /// Asks for a callback. False: there is no number. What is typed in a chat is nobody's for sure: there the verified one counts.
    pub(crate) fn call_back(&mut self, queue: &Arc<str>, number: &str) -> bool {
        let number = self.variable(if self.core.writes { "caller" } else { number });
        if number.chars().filter(char::is_ascii_digit).count() < limits::CALLBACK_DIGITS_MIN {
            return false;
        }
        let id = self.next_id();
        self.core.job = Some(Job::Callback(id));
        self.out.push(Do::Callback { id, name: Arc::clone(queue), number });
        true
    }

    /// The place is the callback's from now on.
    pub(crate) fn promised_a_call(&mut self) {
        (self.core.job, self.core.held) = (None, None);
    }

    /// Joins a queue, or goes back to the place that was kept in it. Returns when the wait began.
    pub(crate) fn join_queue(&mut self, queue: &Arc<str>, priority: i32, skills: &BTreeMap<Arc<str>, u8>) -> Duration {
        if let Some(held) = self.core.held.take_if(|held| held.queue == *queue) {
            self.core.job = Some(Job::Queue(held.id));
            self.core.held = None;
            self.remember_joining(held.id, queue, held.joined);
            return held.joined;
        }
        self.release_place();
        let id = self.next_id();
        self.core.job = Some(Job::Queue(id));
        self.core.place = None;
        self.core.announced = None;
        let lang = (self.core.plan.languages.len() > 1).then_some(self.core.lang);
        self.out.push(Do::Queue { id, name: Arc::clone(queue), priority, skills: skills.clone(), lang });
        self.remember_joining(id, queue, self.now.at);
        self.now.at
    }

    fn remember_joining(&mut self, id: u64, queue: &Arc<str>, joined: Duration) {
        self.core.joined = Some(Held { id, queue: Arc::clone(queue), state: Arc::clone(&self.core.state), joined });
    }

    /// The caller leaves the queue's state but keeps the place.
    pub(crate) fn keep_place(&mut self) {
        if let Some(Job::Queue(id)) = self.core.job {
            self.core.job = None;
            self.core.held = self.core.joined.take().filter(|joined| joined.id == id);
        }
        self.accepted();
    }

    fn release_place(&mut self) {
        if let Some(held) = self.core.held.take() {
            self.out.push(Do::LeaveQueue { id: held.id });
        }
    }

    pub(crate) fn place(&mut self, position: u32, wait: Option<Duration>) {
        self.core.place = Some(Place { position, wait });
    }

    pub(crate) fn place_known(&self) -> bool {
        self.core.place.is_some()
    }

    pub(crate) fn announcement_due(&self) -> bool {
        self.core.scratch.announcement_due
    }

    pub(crate) fn set_announcement_due(&mut self, due: bool) {
        self.core.scratch.announcement_due = due;
    }

    /// Remembers what is about to be announced; true when it is longer than what was announced before.
    pub(crate) fn note_announced_wait(&mut self) -> bool {
        let range = self.core.place.and_then(|p| p.wait).map(|wait| say::wait_range(wait.as_secs()));
        let Some(range) = range else { return false };
        let before = self.core.announced.replace(range);
        before.is_some_and(|before| range > before)
    }

    /// A person is there: prompts and clocks are silent.
    pub(crate) fn talk(&mut self) {
        self.silence_prompt();
        let ends = self.core.timers.iter().find(|(timer, _)| *timer == Timer::MaxWait).map(|(_, at)| *at);
        self.core.wait_left = ends.map(|at| at.saturating_sub(self.now.at));
        self.core.timers.clear();
        self.core.scratch.phase = Phase::Talking;
    }

    /// How long they may still wait, who waited before the talk; none: it is not known.
    pub(crate) fn wait_left(&mut self) -> Option<Duration> {
        self.core.wait_left.take()
    }
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(limits::VALUE_BYTES_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

/// How long a text takes when nobody has measured it: fixed figures, so that verdicts do not depend on a synthesiser.
///
/// They are a little more than what espeak-ng takes at its normal speed (measured over the shipped plan and common phrases:
/// Mandarin 8 %, English 16 % more in all, no sentence less), so that what passes here also passes when it is measured.
#[must_use]
pub(crate) fn text_estimate(lang: Lang, text: &str) -> Duration {
    if text.is_empty() {
        return Duration::ZERO;
    }
    let begin: u64 = match lang {
        Lang::Zh => 200,
        Lang::En => 260,
    };
    let ms: u64 = text
        .chars()
        .map(|c| match (lang, c) {
            (
                _,
                ',' | '.' | '!' | '?' | ';' | ':' | '\u{3001}' | '\u{3002}' | '\u{ff01}' | '\u{ff0c}' | '\u{ff1a}'
                | '\u{ff1b}' | '\u{ff1f}',
            ) => 250,
            (_, c) if c.is_whitespace() => 30,
            (Lang::Zh, c) if c.is_ascii_alphabetic() => 150,
            (Lang::Zh, _) => 310,
            (Lang::En, c) if c.is_ascii_digit() => 350,
            (Lang::En, c) if crate::source::width(c) == 2 => 310,
            (Lang::En, _) => 75,
        })
        .sum();
    Duration::from_millis(begin + ms)
}

pub(crate) fn piece_estimate(piece: &Piece) -> Duration {
    match piece {
        Piece::Text { lang, text, .. } | Piece::Word { lang, text } => text_estimate(*lang, text),
        Piece::Pause(length) => *length,
    }
}
