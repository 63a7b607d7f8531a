//! `gather`: the caller enters digits.

use std::time::Duration;

use super::{Edge, Field, Kind, Lint, Node, Ref, RefKind, Role, Verb, When};
use crate::diagnostic::both;
use crate::event::{Sought, StrikeCause};
use crate::limits;
use crate::plan::{Plan, settable};
use crate::read::{key_name, may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::Name;
use crate::speech::grammar::{self, Digits};
use crate::speech::{Ear, Expects, Meaning, Speech, SpeechSettings, Understood};

pub(super) const VERB: Verb = Verb {
    name: "gather",
    doc: "Asks for digits, keyed in or said, and keeps them in a variable, with a readback if wanted (1 or yes accepts, 2 or no enters again).",
    fields: FIELDS,
    read: |reader, block| {
        let digits_max = i64::try_from(limits::DIGITS_MAX).unwrap_or(64);
        let max = block.integer(reader, "max", 1..=digits_max, 1);
        let min = block.integer(reader, "min", 1..=digits_max, 1);
        if min > max {
            reader.say("E012", &block.span, both!("`min` is greater than `max`", "`min` 大于 `max`"), None);
        }
        let into = block.must_name(reader, "into");
        if !into.text.is_empty() {
            settable(reader, &into);
            if &*into.text == "lang" {
                reader.say("E012", &into.span, both!("digits are not a language", "按键数字不能作语言"), None);
            }
        }
        let confirm = block.name(reader, "confirm");
        let secret = block.flag(reader, "secret", false);
        if let (true, Some(confirm)) = (secret, &confirm) {
            reader.say(
                "E012",
                &confirm.span,
                both!("a secret is never read back aloud", "保密的输入不能读出来"),
                Some(both!("remove `confirm` or `secret`", "请删除 `confirm` 或 `secret`")),
            );
        }
        Box::new(Gather {
            at: Name::new("", block.span.clone()),
            prompt: block.must_name(reader, "prompt"),
            invalid: block.name(reader, "invalid"),
            min: usize::try_from(min).unwrap_or(1),
            max: usize::try_from(max).unwrap_or(1),
            finish: block.key(reader, "finish").map_or('#', |(key, _)| key),
            timeout: block.duration(reader, "timeout", Duration::from_secs(6)),
            digit_timeout: block.duration(reader, "digit_timeout", Duration::from_secs(4)),
            into,
            confirm,
            secret,
            ear: Ear::read(reader, block),
            human_key_is_digit: block.flag(reader, "human_key_is_digit", false),
            next: block.must_name(reader, "next"),
            on_timeout: block.must_name(reader, "on_timeout"),
            retries: u32::try_from(block.integer(reader, "retries", 0..=10, 1)).unwrap_or(1),
        })
    },
};

const FIELDS: &[Field] = &[
    must("prompt", Kind::Prompt, "what the caller hears"),
    may("invalid", Kind::Prompt, "said before the prompt again when too few digits came"),
    may("min", Kind::Integer, "fewest digits; default 1"),
    must("max", Kind::Integer, "most digits; the last one ends the entry at once"),
    may("finish", Kind::KeyName, "the key that ends the entry; default \"hash\""),
    may("timeout", Kind::Duration, "silence after the prompt; default \"6s\""),
    may("digit_timeout", Kind::Duration, "silence after a digit that ends the entry; default \"4s\""),
    must("into", Kind::Text, "the variable that keeps the digits"),
    may("confirm", Kind::Prompt, "readback, for example \"{order}, right? 1 yes, 2 again\""),
    may("secret", Kind::Flag, "true: the digits are stars in the log and never read back"),
    may(
        "speech",
        Kind::Speech,
        "false: no digits are taken by voice here; or how it listens: { hangover = \"1s\" } where people read out numbers",
    ),
    may(
        "human_key_is_digit",
        Kind::Flag,
        "true: entries may begin with the human key; it then asks for a person only when nothing follows it. Default false",
    ),
    must("next", Kind::State, "where the call goes with the digits"),
    must("on_timeout", Kind::State, "without it a silent caller would hang here"),
    may("retries", Kind::Integer, "how often the prompt is said again to a silent caller; default 1"),
];

#[derive(Debug)]
struct Gather {
    at: Name,
    prompt: Name,
    invalid: Option<Name>,
    min: usize,
    max: usize,
    finish: char,
    timeout: Duration,
    digit_timeout: Duration,
    into: Name,
    confirm: Option<Name>,
    secret: bool,
    ear: Ear,
    human_key_is_digit: bool,
    next: Name,
    on_timeout: Name,
    retries: u32,
}

impl Gather {
    fn ask(&self, turn: &mut Turn<'_>, after: &[&Name]) -> Flow {
        turn.digits().clear();
        turn.doubt(false);
        turn.stop(Timer::Digit);
        turn.stop(Timer::Silence);
        turn.phase(Phase::Speaking);
        let prompts: Vec<&Name> = after.iter().copied().chain([&self.prompt]).collect();
        turn.play(&prompts);
        Flow::Stay
    }

    fn again(&self, turn: &mut Turn<'_>, cause: StrikeCause) -> Flow {
        if let Some(flow) = turn.strike(cause, &self.on_timeout) {
            return flow;
        }
        match (&self.invalid, cause) {
            (Some(invalid), StrikeCause::NoMatch) => self.ask(turn, &[invalid]),
            _ => self.ask(turn, &[]),
        }
    }

    fn silent(&self, turn: &mut Turn<'_>) -> Flow {
        if let Some(flow) = turn.strike(StrikeCause::Silence, &self.on_timeout) {
            return flow;
        }
        if !turn.try_again(self.retries) {
            return Flow::go(&self.on_timeout);
        }
        if turn.is(Phase::Confirming) { self.read_back(turn) } else { self.ask(turn, &[]) }
    }

    fn complete(&self, turn: &mut Turn<'_>) -> Flow {
        turn.stop(Timer::Digit);
        turn.stop(Timer::Silence);
        match (turn.is_doubtful(), self.secret) {
            // A secret is never read back, so it is taken without a doubt or not at all.
            (true, true) => self.again(turn, StrikeCause::NoMatch),
            (true, false) => self.read_back(turn),
            (false, _) if self.confirm.is_some() => self.read_back(turn),
            (false, _) => self.accept(turn),
        }
    }

    fn read_back(&self, turn: &mut Turn<'_>) -> Flow {
        let digits = turn.digits().clone();
        turn.keep(&self.into.text, &digits);
        turn.phase(Phase::Confirming);
        match &self.confirm {
            Some(confirm) => turn.play(&[confirm]),
            None => turn.play_digits_back(&digits),
        }
        Flow::Stay
    }

    fn accept(&self, turn: &mut Turn<'_>) -> Flow {
        let digits = turn.digits().clone();
        turn.keep(&self.into.text, &digits);
        turn.gathered(&self.into.text, self.secret);
        turn.accepted();
        Flow::go(&self.next)
    }

    fn confirm_key(&self, turn: &mut Turn<'_>, key: char) -> Flow {
        turn.stop(Timer::Silence);
        match key {
            '1' => self.accept(turn),
            _ if key == self.finish => self.accept(turn),
            '2' | '*' => self.again(turn, StrikeCause::Repeat),
            _ => match turn.strike(StrikeCause::NoMatch, &self.on_timeout) {
                Some(flow) => flow,
                None => self.read_back(turn),
            },
        }
    }
}

impl Node for Gather {
    fn hears_secret(&self) -> bool {
        self.secret
    }
    fn role(&self) -> Role {
        Role::Asking
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        let label = if self.min == self.max {
            format!("{} digits", self.max)
        } else {
            format!("{}-{} digits", self.min, self.max)
        };
        vec![Edge::new(label, &self.next, When::Input), Edge::new("silence", &self.on_timeout, When::Silence)]
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        [Some(&self.prompt), self.invalid.as_ref(), self.confirm.as_ref()]
            .into_iter()
            .flatten()
            .map(|name| Ref::new(RefKind::Prompt, name))
            .collect()
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        (0..=self.retries).map(|_| &self.prompt).collect()
    }

    fn assigns(&self) -> Vec<(&Name, Option<&str>)> {
        vec![(&self.into, None)]
    }

    fn lint(&self, plan: &Plan) -> Vec<Lint> {
        let human = plan.rules.human_key;
        let taken = self.finish == human
            || (self.confirm.is_some() && matches!(human, '1' | '2' | '*'))
            || (self.human_key_is_digit && self.max == 1 && human.is_ascii_digit());
        if !taken {
            return Vec::new();
        }
        let key = key_name(human);
        vec![Lint {
            code: "E005",
            span: self.at.span.clone(),
            message: both!(
                "this gather uses the human key `{key}` for something else",
                "这里把人工键 `{key}` 用作了别的用途"
            ),
            help: Some(both!(
                "choose another `finish` or another `human_key`; a readback needs 1, 2 and star, and an entry of one digit cannot begin with the human key",
                "请换一个 `finish` 或 `human_key`；读回确认要用 1、2 和 star，只有一位的输入不能以人工键开头"
            )),
        }]
    }

    fn ear(&self) -> Option<&Ear> {
        Some(&self.ear)
    }

    fn listens(&self, phase: Phase) -> Option<Expects> {
        let digits = Expects::Digits { min: self.min, max: self.max };
        Some(if phase == Phase::Confirming { Expects::YesNo } else { digits })
    }

    fn cut_by_speech(&self, plan: &SpeechSettings) -> bool {
        self.ear.overrides.barge_in(plan)
    }

    fn speech_started(&self, turn: &mut Turn<'_>) {
        turn.hearing();
    }

    fn said(&self, turn: &mut Turn<'_>, said: &Speech) -> Flow {
        let confirming = turn.is(Phase::Confirming);
        if confirming && let Some(right) = grammar::yes_or_no(said) {
            turn.silence_prompt();
            turn.stop(Timer::Silence);
            return if right { self.accept(turn) } else { self.again(turn, StrikeCause::Repeat) };
        }
        if turn.wants_person(said) {
            return turn.lead_to_person(Role::Asking);
        }
        match grammar::digits(said) {
            Some(found) if confirming && found.digits.len() == 1 => {
                turn.silence_prompt();
                found.digits.chars().next().map_or(Flow::Stay, |key| self.confirm_key(turn, key))
            }
            Some(found) => {
                if confirming {
                    // "No, it is 1234": entered anew.
                    turn.digits().clear();
                }
                self.spoken(turn, &found, said)
            }
            None => match self.ear.understand(said, &turn.plan().speech) {
                Understood::Sure(Meaning::Again) | Understood::Maybe(Meaning::Again) => {
                    self.again(turn, StrikeCause::Repeat)
                }
                Understood::Sure(Meaning::Speak(lang)) if turn.switch_language(lang) => self.ask(turn, &[]),
                _ => self.again(turn, StrikeCause::NoMatch),
            },
        }
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        self.ask(turn, &[])
    }

    fn takes_human_key(&self, turn: &Turn<'_>) -> bool {
        if turn.is(Phase::Confirming) {
            return false;
        }
        turn.plan().rules.human_key.is_ascii_digit() && (self.human_key_is_digit || !turn.has_no_digits())
    }

    fn key(&self, turn: &mut Turn<'_>, key: char) -> Flow {
        if turn.is(Phase::Confirming) {
            turn.silence_prompt();
            return self.confirm_key(turn, key);
        }
        if key == self.finish {
            if turn.digits().len() >= self.min {
                turn.silence_prompt();
                return if self.only_human_key(turn) { Flow::Human(Sought::Key) } else { self.complete(turn) };
            }
            return self.again(turn, StrikeCause::NoMatch);
        }
        if key == '*' {
            return self.again(turn, StrikeCause::Repeat);
        }
        if !key.is_ascii_digit() {
            return self.again(turn, StrikeCause::NoMatch);
        }
        turn.silence_prompt();
        turn.stop(Timer::Silence);
        turn.phase(Phase::Listening);
        turn.digits().push(key);
        if turn.digits().len() >= self.max {
            return self.complete(turn);
        }
        turn.start(Timer::Digit, self.digit_timeout);
        Flow::Stay
    }

    fn played(&self, turn: &mut Turn<'_>) -> Flow {
        if turn.is(Phase::Speaking) {
            turn.phase(Phase::Listening);
        }
        if !turn.is_hearing() {
            turn.start(Timer::Silence, self.timeout);
        }
        Flow::Stay
    }

    fn timer(&self, turn: &mut Turn<'_>, timer: Timer) -> Flow {
        if timer == Timer::Silence {
            return self.silent(turn);
        }
        if timer == Timer::Speech && turn.is(Phase::Confirming) {
            return turn.strike(StrikeCause::NoMatch, &self.on_timeout).unwrap_or_else(|| self.read_back(turn));
        }
        if self.only_human_key(turn) {
            return Flow::Human(Sought::Key);
        }
        if turn.digits().len() >= self.min { self.complete(turn) } else { self.again(turn, StrikeCause::NoMatch) }
    }
}

impl Gather {
    /// Digits were said or typed, after those that were entered already.
    fn spoken(&self, turn: &mut Turn<'_>, found: &Digits, said: &Speech) -> Flow {
        let thresholds = self.ear.overrides.thresholds(&turn.plan().speech);
        let human = turn.plan().rules.human_key;
        if turn.has_no_digits() && !self.human_key_is_digit && self.max > 1 && found.digits.chars().eq([human]) {
            return turn.lead_to_person(Role::Asking);
        }
        if said.confidence < thresholds.confirm {
            return self.again(turn, StrikeCause::NoMatch);
        }
        if turn.digits().len() + found.digits.len() > self.max {
            return self.again(turn, StrikeCause::NoMatch);
        }
        turn.silence_prompt();
        turn.stop(Timer::Silence);
        turn.phase(Phase::Listening);
        let doubt = turn.is_doubtful() || !found.sure || said.confidence < thresholds.accept;
        turn.doubt(doubt);
        turn.digits().push_str(&found.digits);
        let entered = turn.digits().len();
        if entered >= self.max || (said.typed && entered >= self.min) {
            return if self.only_human_key(turn) { Flow::Human(Sought::Speech) } else { self.complete(turn) };
        }
        if said.typed {
            return self.again(turn, StrikeCause::NoMatch);
        }
        turn.start(Timer::Digit, self.digit_timeout.min(limits::SPOKEN_DIGITS_GAP));
        Flow::Stay
    }

    /// Nothing but the human key was entered where entries may begin with it.
    fn only_human_key(&self, turn: &mut Turn<'_>) -> bool {
        let human = turn.plan().rules.human_key;
        self.human_key_is_digit && self.max > 1 && turn.digits().chars().eq([human])
    }
}
