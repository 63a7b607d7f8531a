//! `transfer`: a named target is rung.

use std::time::Duration;

use super::{Edge, Field, Kind, Node, Object, Ref, RefKind, Role, Verb, When};
use crate::event::{EndReason, Heard};
use crate::limits::ANSWER_GRACE;
use crate::read::{may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "transfer",
    doc: "Rings a named target and connects the caller.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Transfer {
            target: block.must_name(reader, "target"),
            prompt: block.name(reader, "prompt"),
            timeout: block.duration(reader, "timeout", Duration::from_secs(30)),
            answered: block.name(reader, "answered"),
            on_timeout: block.must_name(reader, "on_timeout"),
            on_failed: block.name(reader, "on_failed"),
        })
    },
};

const FIELDS: &[Field] = &[
    must("target", Kind::Reference("target"), "the name of a [targets.NAME]"),
    may("prompt", Kind::Prompt, "said while the target is being rung"),
    may("timeout", Kind::Duration, "how long it may ring; default \"30s\""),
    may("answered", Kind::State, "where the caller goes when the person leaves first; default: the call ends"),
    must("on_timeout", Kind::State, "without it a caller whom nobody answers would be lost"),
    may(
        "on_failed",
        Kind::State,
        "where the caller goes when it is busy or cannot be reached; default: as `on_timeout`",
    ),
];

#[derive(Debug)]
struct Transfer {
    target: Name,
    prompt: Option<Name>,
    timeout: Duration,
    answered: Option<Name>,
    on_timeout: Name,
    on_failed: Option<Name>,
}

impl Node for Transfer {
    fn role(&self) -> Role {
        Role::Person
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        let after = self.answered.as_ref().map(|to| Edge::new("after the talk", to, When::After));
        let failed = self.on_failed.as_ref().map(|to| Edge::new("busy or failed", to, When::Failed));
        let timeout = Edge::new("no answer", &self.on_timeout, When::Failed);
        after.into_iter().chain([timeout]).chain(failed).collect()
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        let prompt = self.prompt.iter().map(|name| Ref::new(RefKind::Prompt, name));
        prompt.chain([Ref::new(RefKind::Target, &self.target)]).collect()
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        self.prompt.iter().collect()
    }

    fn object(&self) -> Object {
        Some(self.target.text.clone())
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        turn.phase(Phase::Working);
        if !turn.transfer(&self.target.text, self.timeout) {
            return Flow::Fault;
        }
        turn.start(Timer::MaxWait, self.timeout + ANSWER_GRACE);
        if let Some(prompt) = &self.prompt {
            turn.play(&[prompt]);
        }
        Flow::Stay
    }

    fn key(&self, turn: &mut Turn<'_>, _key: char) -> Flow {
        if !turn.is(Phase::Talking) {
            turn.silence_prompt();
        }
        Flow::Stay
    }

    fn timer(&self, turn: &mut Turn<'_>, _timer: Timer) -> Flow {
        turn.nobody_came();
        Flow::go(&self.on_timeout)
    }

    fn heard(&self, turn: &mut Turn<'_>, heard: &Heard) -> Flow {
        match heard {
            Heard::Answered { .. } => {
                turn.talk();
                Flow::Stay
            }
            Heard::PersonLeft { .. } | Heard::Failed { .. } if turn.is(Phase::Talking) => {
                turn.job_done();
                turn.accepted();
                self.answered.as_ref().map_or(Flow::End(EndReason::PersonLeft), Flow::go)
            }
            Heard::Failed { failure, .. } => {
                turn.job_done();
                turn.nobody_came();
                let unanswered = *failure == crate::Failure::NoAnswer;
                Flow::go(if unanswered {
                    &self.on_timeout
                } else {
                    self.on_failed.as_ref().unwrap_or(&self.on_timeout)
                })
            }
            _ => Flow::Stay,
        }
    }
}
