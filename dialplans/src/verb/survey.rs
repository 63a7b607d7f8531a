//! `survey`: the caller says with one key how content they were.

use std::time::Duration;

use super::{Edge, Field, Kind, Lint, Node, Ref, RefKind, Role, Verb, When};
use crate::diagnostic::both;
use crate::plan::Plan;
use crate::read::{key_name, may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::Name;
use crate::speech::grammar;
use crate::speech::{Expects, Speech};

pub(super) const VERB: Verb = Verb {
    name: "survey",
    doc: "Asks how content the caller was: one key, or a number said or typed, from 1 (the worst) to `scale`. Silence and other keys cost no strike.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Survey {
            at: Name::new("", block.span.clone()),
            prompt: block.must_name(reader, "prompt"),
            thanks: block.name(reader, "thanks"),
            scale: u8::try_from(block.integer(reader, "scale", 2..=9, 5)).unwrap_or(5),
            timeout: block.duration(reader, "timeout", Duration::from_secs(6)),
            retries: u32::try_from(block.integer(reader, "retries", 0..=3, 1)).unwrap_or(1),
            next: block.must_name(reader, "next"),
        })
    },
};

const FIELDS: &[Field] = &[
    must("prompt", Kind::Prompt, "the question, with the keys: 1 is the worst"),
    may("thanks", Kind::Prompt, "said to who answered"),
    may("scale", Kind::Integer, "the best score, 2 to 9; default 5"),
    may("timeout", Kind::Duration, "silence after the question; default \"6s\""),
    may("retries", Kind::Integer, "how often it is asked again, 0 to 3; default 1"),
    must("next", Kind::State, "where the call goes, answered or not"),
];

#[derive(Debug)]
struct Survey {
    at: Name,
    prompt: Name,
    thanks: Option<Name>,
    scale: u8,
    timeout: Duration,
    retries: u32,
    next: Name,
}

impl Survey {
    fn ask(&self, turn: &mut Turn<'_>) -> Flow {
        turn.stop(Timer::Silence);
        turn.phase(Phase::Speaking);
        turn.play(&[&self.prompt]);
        Flow::Stay
    }

    fn again(&self, turn: &mut Turn<'_>) -> Flow {
        if turn.try_again(self.retries) { self.ask(turn) } else { Flow::go(&self.next) }
    }

    fn answered(&self, turn: &mut Turn<'_>, score: u8) -> Flow {
        turn.silence_prompt();
        turn.stop(Timer::Silence);
        turn.scored(score, self.scale);
        turn.accepted();
        match &self.thanks {
            Some(thanks) => {
                turn.phase(Phase::Finishing);
                turn.play(&[thanks]);
                Flow::Stay
            }
            None => Flow::go(&self.next),
        }
    }

    fn score(&self, key: char) -> Option<u8> {
        let digit = key.to_digit(10).and_then(|digit| u8::try_from(digit).ok())?;
        (1..=self.scale).contains(&digit).then_some(digit)
    }
}

impl Node for Survey {
    fn role(&self) -> Role {
        Role::Asking
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        vec![
            Edge::new(format!("1-{}", self.scale), &self.next, When::Input),
            Edge::new("silence", &self.next, When::Silence),
        ]
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        [Some(&self.prompt), self.thanks.as_ref()]
            .into_iter()
            .flatten()
            .map(|name| Ref::new(RefKind::Prompt, name))
            .collect()
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        (0..=self.retries).map(|_| &self.prompt).collect()
    }

    fn lint(&self, plan: &Plan) -> Vec<Lint> {
        let human = plan.rules.human_key;
        if self.score(human).is_none() {
            return Vec::new();
        }
        let key = key_name(human);
        vec![Lint {
            code: "E005",
            span: self.at.span.clone(),
            message: both!("this survey uses the human key `{key}` for a score", "这里把人工键 `{key}` 用作了评分"),
            help: Some(both!(
                "choose another `human_key`, or a smaller `scale`",
                "请换一个 `human_key`，或减小 `scale`"
            )),
        }]
    }

    fn listens(&self, phase: Phase) -> Option<Expects> {
        (phase != Phase::Finishing).then_some(Expects::Digits { min: 1, max: 1 })
    }

    fn speech_started(&self, turn: &mut Turn<'_>) {
        turn.hearing();
    }

    fn said(&self, turn: &mut Turn<'_>, said: &Speech) -> Flow {
        if turn.is(Phase::Finishing) {
            return Flow::Stay;
        }
        if turn.wants_person(said) {
            return turn.lead_to_person(Role::Asking);
        }
        let confident = said.confidence >= turn.plan().speech.accept;
        let digit = grammar::digits(said).filter(|found| found.sure && confident && found.digits.len() == 1);
        match digit.and_then(|found| found.digits.chars().next()).and_then(|key| self.score(key)) {
            Some(score) => self.answered(turn, score),
            None => self.again(turn),
        }
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        turn.ask_survey(self.scale);
        self.ask(turn)
    }

    fn key(&self, turn: &mut Turn<'_>, key: char) -> Flow {
        if turn.is(Phase::Finishing) {
            return Flow::Stay;
        }
        match self.score(key) {
            Some(score) => self.answered(turn, score),
            None => self.again(turn),
        }
    }

    fn played(&self, turn: &mut Turn<'_>) -> Flow {
        if turn.is(Phase::Finishing) {
            return Flow::go(&self.next);
        }
        turn.phase(Phase::Listening);
        if !turn.is_hearing() {
            turn.start(Timer::Silence, self.timeout);
        }
        Flow::Stay
    }

    fn timer(&self, turn: &mut Turn<'_>, _timer: Timer) -> Flow {
        if turn.is(Phase::Finishing) { Flow::Stay } else { self.again(turn) }
    }
}
