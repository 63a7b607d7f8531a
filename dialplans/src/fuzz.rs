//! `ark dialplan fuzz`: random callers, and the seeded fuzzers of this crate.

mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::check::{EstimateOnly, Site, check_source};
use crate::event::{Do, EndReason, Failure, Heard, LinkNews};
use crate::lang::Lang;
use crate::plan::Plan;
use crate::run::{Caller, Job};
use crate::speech::Confidence;
use crate::verb::Role;
use crate::world::World;

pub use said::said;

/// Events that a random caller makes before falling silent.
const EVENTS_PER_CALLER: u64 = 12;
/// Steps after which a silent caller must have reached a person or the end.
const STEPS_OF_SILENCE: usize = 400;
/// Failures that are kept; the rest is counted.
const FAILURES_KEPT: usize = 10;

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to `below - 1`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let at = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        items.get(at).cloned()
    }
}

/// A caller who did not come through.
#[derive(Clone, Debug, Serialize)]
pub struct LostCaller {
    /// `--seed` that makes this caller the first one.
    pub seed: u64,
    /// What the caller did.
    pub events: Vec<String>,
    /// The state where it ended.
    pub state: String,
    /// What went wrong.
    pub reason: String,
}

/// How the random callers fared.
#[derive(Clone, Debug, Serialize)]
pub struct FuzzReport {
    /// The plan's file.
    pub file: String,
    /// How many called.
    pub callers: u64,
    /// The seed of the run.
    pub seed: u64,
    /// Reached a queue or a transfer at some time.
    pub reached_person: u64,
    /// Ended without one: said goodbye, left a message.
    pub ended: u64,
    /// Hung up themselves before either.
    pub hung_up: u64,
    /// Got stuck, went round, or met a fault.
    pub lost: u64,
    /// The first of those.
    pub failures: Vec<LostCaller>,
    /// Reachable states that no random caller saw.
    pub unseen_states: Vec<String>,
    /// Most steps that any caller took.
    pub steps_max: usize,
}

impl FuzzReport {
    /// True when everybody came through.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0
    }

    /// For people.
    #[must_use]
    pub fn render_human(&self, lang: Lang) -> String {
        let mut out = String::new();
        let Self { callers, seed, reached_person, ended, hung_up, lost, steps_max, .. } = self;
        let _ = match lang {
            Lang::En => writeln!(
                out,
                "{callers} random callers (seed {seed}): {reached_person} reached a person, {ended} came to an end, {hung_up} hung up, {lost} were lost; at most {steps_max} steps"
            ),
            Lang::Zh => writeln!(
                out,
                "{callers} 个随机来电(种子 {seed}):{reached_person} 个接到人工，{ended} 个正常结束，{hung_up} 个自行挂断，{lost} 个迷失；最多 {steps_max} 步"
            ),
        };
        if !self.unseen_states.is_empty() {
            let states = self.unseen_states.join(", ");
            let word = if lang == Lang::Zh { "没有来电者到过" } else { "no caller saw" };
            let _ = writeln!(out, "{word}: {states}");
        }
        for failure in &self.failures {
            let LostCaller { seed, events, state, reason } = failure;
            let _ = writeln!(out, "lost (--callers 1 --seed {seed}): {reason} in `{state}` after {}", events.join(" "));
        }
        out
    }
}

/// Lets random callers call the plan. Caller `n` of seed `s` is caller 0 of seed `s + n`.
#[must_use]
pub fn fuzz_callers(plan: &Arc<Plan>, callers: u64, seed: u64) -> FuzzReport {
    let material = Material::of(plan);
    let mut report = FuzzReport {
        file: plan.file_name().to_owned(),
        callers,
        seed,
        reached_person: 0,
        ended: 0,
        hung_up: 0,
        lost: 0,
        failures: Vec::new(),
        unseen_states: Vec::new(),
        steps_max: 0,
    };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for n in 0..callers {
        let seed = seed.wrapping_add(n);
        let mut one = OneCaller::call(plan, &material, seed);
        let outcome = one.live();
        report.steps_max = report.steps_max.max(one.steps);
        match outcome {
            Ok(()) if one.saw_person => report.reached_person += 1,
            Ok(()) if one.world.core.ended == Some(EndReason::Caller) => report.hung_up += 1,
            Ok(()) => report.ended += 1,
            Err(reason) => {
                report.lost += 1;
                if report.failures.len() < FAILURES_KEPT {
                    let state = one.world.core.state.to_string();
                    report.failures.push(LostCaller { seed, events: one.events.clone(), state, reason });
                }
            }
        }
        seen.append(&mut one.states);
    }
    let reachable = crate::check::reachable(plan);
    report.unseen_states = reachable.into_iter().filter(|state| !seen.contains(*state)).map(str::to_owned).collect();
    report
}

/// What random callers are made of.
struct Material {
    numbers: Vec<String>,
    values: Vec<String>,
    saved: Vec<String>,
    /// What callers say: the plan's own phrases, and what every caller may.
    said: Vec<String>,
}

impl Material {
    fn of(plan: &Plan) -> Self {
        let mut numbers: Vec<String> =
            plan.lists.values().flat_map(|list| list.numbers.iter().cloned()).take(1_000).collect();
        numbers.extend(["13900000001", "", "anonymous", "+14155550100"].map(str::to_owned));
        let mut values: Vec<String> =
            plan.states.values().flat_map(|state| state.node.values()).map(str::to_owned).collect();
        values.extend(["", "42", "12.50", "2026-10-01", "\u{4f60}\u{597d}"].map(str::to_owned));
        let saved = plan.actions.values().flat_map(|a| &a.save).map(|n| n.text.to_string()).collect();
        let phrases = plan.states.values().filter_map(|state| state.node.ear()).flat_map(|ear| ear.phrases.values());
        let mut said: Vec<String> = phrases.flat_map(|(_, names)| names).map(|name| name.text.to_string()).collect();
        said.extend(said::USUAL.iter().map(|text| (*text).to_owned()));
        Self { numbers, values, saved, said }
    }
}

struct OneCaller<'m> {
    world: World,
    random: Random,
    material: &'m Material,
    events: Vec<String>,
    states: BTreeSet<String>,
    saw_person: bool,
    steps: usize,
}

impl<'m> OneCaller<'m> {
    fn call(plan: &Arc<Plan>, material: &'m Material, seed: u64) -> Self {
        let mut random = Random::new(seed);
        // Any minute of two years.
        let minute = i64::try_from(random.below(2 * 365 * 24 * 60)).unwrap_or(0);
        let wall = jiff::Timestamp::from_second(1_767_225_600 + minute * 60).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let lang = random.pick(&[None, None, Some(Lang::Zh), Some(Lang::En)]).flatten();
        let number = random.pick(&material.numbers).unwrap_or_default();
        let world = World::call(plan, &Caller { number, dialled: "95188".to_owned(), lang }, wall);
        Self { world, random, material, events: Vec::new(), states: BTreeSet::new(), saw_person: false, steps: 0 }
    }

    /// Random events, then silence: a person or an end must come.
    fn live(&mut self) -> Result<(), String> {
        self.look()?;
        for _ in 0..EVENTS_PER_CALLER {
            if self.world.ended() {
                return Ok(());
            }
            let heard = self.random_event();
            self.step(&heard)?;
        }
        let before = self.saw_person;
        self.saw_person = false;
        for _ in 0..STEPS_OF_SILENCE {
            if self.world.ended() || self.world.with_a_person() {
                self.saw_person |= before || self.world.with_a_person();
                return Ok(());
            }
            self.quiet_step()?;
        }
        Err(format!("a silent caller reached neither a person nor an end in {STEPS_OF_SILENCE} steps"))
    }

    fn quiet_step(&mut self) -> Result<(), String> {
        if let Some(id) = self.world.core.playing() {
            return self.step(&Heard::PlayFinished { id });
        }
        if let Some(Job::Record(id)) = self.world.core.job {
            return self.step(&Heard::Recorded { id, seconds: 0 });
        }
        self.clock()
    }

    fn clock(&mut self) -> Result<(), String> {
        if let Some(at) = self.world.core.deadline() {
            self.world.advance_to(at);
        }
        self.step(&Heard::Clock)
    }

    fn step(&mut self, heard: &Heard) -> Result<(), String> {
        self.steps += 1;
        let did = self.world.hear(heard);
        if did > 300 {
            return Err(format!("one step asked for {did} things"));
        }
        self.look()
    }

    /// What must hold after every step.
    fn look(&mut self) -> Result<(), String> {
        for one in self.world.take() {
            if let Do::Entered { state, .. } = one {
                self.states.insert(state.to_string());
            }
        }
        self.saw_person |= self.world.with_a_person();
        if self.world.core.ended == Some(EndReason::Fault) || self.world.trace.iter().any(|t| t == "play:ark.sorry") {
            return Err("the plan failed and the caller heard an apology".to_owned());
        }
        if self.world.stuck() {
            return Err("nothing will ever happen again".to_owned());
        }
        Ok(())
    }

    fn random_event(&mut self) -> Heard {
        const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '*', '#', '1', '2', '3'];
        let world = &self.world;
        let (playing, job, role) = (world.core.playing(), world.core.job, world.core.role());
        let choice = self.random.below(100);
        let heard = match (choice, job) {
            (0, _) => Heard::Hangup,
            (1..=4, _) => self.stale(),
            (5..=39, _) => Heard::Key(self.random.pick(&KEYS).unwrap_or('1')),
            (40..=49, _) => self.speech(),
            (50..=64, _) if playing.is_some() => Heard::PlayFinished { id: playing.unwrap_or(0) },
            (_, Some(Job::Queue(id) | Job::Transfer(id))) => self.about_a_person(id),
            (_, Some(Job::Record(id))) => Heard::Recorded { id, seconds: u32::try_from(choice % 3).unwrap_or(0) },
            (_, Some(Job::Http(id))) => self.http(id),
            (_, Some(Job::Link(id))) => self.link(id),
            (_, Some(Job::Callback(id))) => Heard::Callback { id, taken: !choice.is_multiple_of(3) },
            _ if role == Role::Asking && choice < 80 => Heard::Key(self.random.pick(&KEYS).unwrap_or('1')),
            _ => {
                if let Some(at) = self.world.core.deadline() {
                    self.world.advance_to(at);
                }
                Heard::Clock
            }
        };
        self.events.push(shown(&heard));
        heard
    }

    /// Something is said or typed; the ear may have changed meanwhile.
    fn speech(&mut self) -> Heard {
        let current = self.world.core.listening.as_ref().map(|listening| listening.listen.id);
        if let (Some(id), 0..=2) = (current, self.random.below(10)) {
            return Heard::SpeechStarted { id };
        }
        let mut text = self.random.pick(&self.material.said).unwrap_or_default();
        if self.random.below(3) == 0 {
            text.push_str(&self.random.pick(&self.material.said).unwrap_or_default());
        }
        let percent = u8::try_from(self.random.below(101)).unwrap_or(100);
        match (current, self.random.below(10)) {
            (_, 0) => Heard::Said { id: Some(1_000_000), text, confidence: Confidence::FULL },
            (Some(_), 1..=7) => Heard::Said { id: current, text, confidence: Confidence::percent(percent) },
            _ => Heard::Said { id: None, text, confidence: Confidence::FULL },
        }
    }

    fn about_a_person(&mut self, id: u64) -> Heard {
        match self.random.below(8) {
            7 => Heard::WaitsAgain { id, anew: false },
            6 => Heard::Overflow { id },
            0 => Heard::Answered { id },
            1 => Heard::Failed { id, failure: Failure::Busy },
            2 => Heard::Failed { id, failure: Failure::Unavailable },
            3 => Heard::PersonLeft { id },
            _ => {
                let position = u32::try_from(self.random.below(30)).unwrap_or(1) + 1;
                let wait = (position % 3 > 0).then(|| Duration::from_secs(self.random.below(4_000)));
                Heard::QueueUpdate { id, position, wait }
            }
        }
    }

    fn http(&mut self, id: u64) -> Heard {
        if self.random.below(3) == 0 {
            return Heard::HttpResult { id, result: Err("503".to_owned()) };
        }
        let mut values = BTreeMap::new();
        for name in &self.material.saved {
            if let Some(value) = self.random.pick(&self.material.values) {
                values.insert(name.clone(), value);
            }
        }
        Heard::HttpResult { id, result: Ok(values) }
    }

    fn link(&mut self, id: u64) -> Heard {
        let news = match self.random.below(6) {
            0 => LinkNews::Failed,
            1 => LinkNews::Sent,
            2 => LinkNews::Code("048213".to_owned()),
            3 => LinkNews::Joined,
            4 => LinkNews::Picture,
            _ => {
                if let Some(at) = self.world.core.deadline() {
                    self.world.advance_to(at);
                }
                return Heard::Clock;
            }
        };
        Heard::Link { id, news }
    }

    /// Something about a job that is over or never was.
    fn stale(&mut self) -> Heard {
        let id = 1_000_000;
        match self.random.below(6) {
            5 => Heard::SpeechStarted { id },
            0 => Heard::PlayFinished { id },
            1 => Heard::Answered { id },
            2 => Heard::Recorded { id, seconds: 1 },
            3 => Heard::Failed { id, failure: Failure::NoAnswer },
            _ => Heard::Key('A'),
        }
    }
}

fn shown(heard: &Heard) -> String {
    match heard {
        Heard::Key(key) => key.to_string(),
        Heard::PlayFinished { .. } => "played".to_owned(),
        Heard::SpeechStarted { .. } => "speaks".to_owned(),
        Heard::Said { id, text, confidence } => {
            format!("{}:{text}@{}", if id.is_some() { "say" } else { "type" }, confidence.as_percent())
        }
        Heard::Clock => "silence".to_owned(),
        Heard::QueueUpdate { position, .. } => format!("place:{position}"),
        Heard::WaitsAgain { .. } => "waits-again".to_owned(),
        Heard::Overflow { .. } => "overflow".to_owned(),
        Heard::Answered { .. } => "answered".to_owned(),
        Heard::PersonLeft { .. } => "left".to_owned(),
        Heard::Failed { .. } => "failed".to_owned(),
        Heard::Recorded { seconds, .. } => format!("recorded:{seconds}"),
        Heard::HttpResult { result, .. } => if result.is_ok() { "http:ok" } else { "http:failed" }.to_owned(),
        Heard::Link { news, .. } => format!("link:{news:?}"),
        Heard::Callback { taken, .. } => if *taken { "taken" } else { "refused" }.to_owned(),
        Heard::Hangup => "hangup".to_owned(),
    }
}

/// The shipped plan, which the fuzzers below begin from.
const SHIPPED: &str = include_str!("../plans/hotline-95188.toml");

/// Random callers on the shipped plan: nobody is lost.
///
/// # Panics
/// When somebody is; the message holds the seed.
#[doc(hidden)]
pub fn callers(seed: u64, iterations: u64) {
    let plan =
        Arc::new(Plan::parse(SHIPPED, "hotline-95188.toml").expect("the shipped plan can be read: a test proves it"));
    let report = fuzz_callers(&plan, iterations, seed);
    assert!(report.is_clean(), "seed {seed}: {}", report.render_human(Lang::En));
}

/// A plan that `check` refuses: its English callers go round without a word. Must fail, else the fuzzers see nothing.
///
/// # Panics
/// Always, given a few dozen iterations; the message holds the seed.
#[doc(hidden)]
pub fn canary(seed: u64, iterations: u64) {
    let circle =
        SHIPPED.replace("vars = { lang = \"en\" }\nnext = \"main\"", "vars = { lang = \"en\" }\nnext = \"english\"");
    let plan = Arc::new(Plan::parse(&circle, "canary.toml").expect("the canary can be read: only its flow is broken"));
    let report = fuzz_callers(&plan, iterations, seed);
    assert!(report.is_clean(), "seed {seed}: {}", report.render_human(Lang::En));
}

/// Broken plan files: whatever stands in a file, it is read or refused with places inside it, never with a panic; and
/// whatever passes `check` loses no caller.
///
/// # Panics
/// When that does not hold; the message holds the seed.
#[doc(hidden)]
pub fn sources(seed: u64, iterations: u64) {
    for n in 0..iterations {
        let seed = seed.wrapping_add(n);
        let text = mutated(&mut Random::new(seed));
        let lines = text.split('\n').count();
        let (plan, found) = check_source(&text, "fuzz.toml", &EstimateOnly, &Site::default());
        for one in &found {
            assert!(one.line >= 1 && one.line <= lines, "seed {seed}: line {} of {lines}", one.line);
            let _ = (one.render(Lang::En), one.render(Lang::Zh));
        }
        assert!(plan.is_some() || !found.is_empty(), "seed {seed}: refused without a word");
        if let Some(plan) = plan {
            let plan = Arc::new(plan);
            let _ = crate::testing::test(&plan);
            let report = fuzz_callers(&plan, 20, seed);
            assert!(
                report.is_clean(),
                "seed {seed}: passed `check` and lost a caller: {}",
                report.render_human(Lang::En)
            );
        }
    }
}

/// One to four changes to the shipped plan: lines dropped, doubled, swapped; names exchanged; bytes changed.
fn mutated(random: &mut Random) -> String {
    let mut lines: Vec<String> = SHIPPED.lines().map(str::to_owned).collect();
    let words = [
        "main",
        "to_agent",
        "bye",
        "\"0\"",
        "3s",
        "star",
        "menu",
        "queue",
        "next",
        "on_timeout",
        "{",
        "]",
        "\"",
        "闭",
        "lang",
        "-1",
    ];
    for _ in 0..=random.below(4) {
        let at = usize::try_from(random.below(lines.len() as u64)).unwrap_or(0);
        let other = usize::try_from(random.below(lines.len() as u64)).unwrap_or(0);
        match random.below(6) {
            0 => {
                lines.remove(at);
            }
            1 => {
                let line = lines[at].clone();
                lines.insert(other, line);
            }
            2 => lines.swap(at, other),
            3 => {
                let value = lines[other].split_once(" = ").map(|(_, v)| v.to_owned());
                if let (Some((key, _)), Some(value)) = (lines[at].clone().split_once(" = "), value) {
                    lines[at] = format!("{key} = {value}");
                }
            }
            _ => {
                let word = random.pick(&words).unwrap_or("x");
                let chars: Vec<char> = lines[at].chars().collect();
                let cut = usize::try_from(random.below(chars.len() as u64 + 1)).unwrap_or(0);
                let keep = (cut + usize::try_from(random.below(4)).unwrap_or(0)).min(chars.len());
                lines[at] =
                    chars[..cut].iter().chain(word.chars().collect::<Vec<_>>().iter()).chain(&chars[keep..]).collect();
            }
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
    }
    lines.join("\n")
}

/// Random values through the say-rules: never silent, never a word outside the vocabulary.
///
/// # Panics
/// When that does not hold; the message holds the seed.
#[doc(hidden)]
pub fn say_rules(seed: u64, iterations: u64) {
    use crate::say::{Kind, Token, speak_or_spell, vocabulary};
    let known: Vec<BTreeSet<String>> = Lang::ALL.iter().map(|lang| vocabulary(*lang).into_iter().collect()).collect();
    let mut random = Random::new(seed);
    let alphabet: Vec<char> = "0123456789.-:+ ABxy$元年T\u{200d}".chars().collect();
    for _ in 0..iterations {
        let length = random.below(20);
        let value: String = (0..length).filter_map(|_| random.pick(&alphabet)).collect();
        for (lang, known) in Lang::ALL.into_iter().zip(&known) {
            for kind in Kind::ALL {
                let tokens = speak_or_spell(lang, kind, &value);
                assert!(!tokens.is_empty(), "seed {seed}: {lang} {kind:?} {value:?} is silent");
                for token in tokens {
                    if let Token::Word(word) = token {
                        assert!(known.contains(&word), "seed {seed}: {lang} {kind:?} {value:?} says {word:?}");
                    }
                }
            }
        }
    }
}
