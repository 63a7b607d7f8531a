//! `http`: a named action is asked.

use super::{Edge, Field, Kind, Lint, Node, Object, Ref, RefKind, Role, Verb, When};
use crate::diagnostic::both;
use crate::event::Heard;
use crate::plan::Plan;
use crate::read::{may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "http",
    doc: "Calls a named action; what it returns becomes variables. When it fails or is late the call goes on.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Http {
            action: block.must_name(reader, "action"),
            prompt: block.name(reader, "prompt"),
            next: block.must_name(reader, "next"),
            on_failed: block.must_name(reader, "on_failed"),
        })
    },
};

const FIELDS: &[Field] = &[
    must("action", Kind::Reference("action"), "the name of an [actions.NAME]"),
    may("prompt", Kind::Prompt, "said while the action works"),
    must("next", Kind::State, "where the call goes with the answer"),
    must("on_failed", Kind::State, "without it a caller would be lost when the action fails or is late"),
];

/// An action that may take longer than this should not leave the caller in silence.
const QUIET_MAX: std::time::Duration = std::time::Duration::from_secs(2);

#[derive(Debug)]
struct Http {
    action: Name,
    prompt: Option<Name>,
    next: Name,
    on_failed: Name,
}

impl Http {
    /// Goes on, but lets a prompt finish its sentence first.
    fn settle(turn: &mut Turn<'_>, to: &Name) -> Flow {
        turn.stop(Timer::Job);
        if turn.is_playing() {
            turn.phase(Phase::Finishing);
            turn.go_after_prompt(&to.text);
            return Flow::Stay;
        }
        Flow::go(to)
    }
}

impl Node for Http {
    fn role(&self) -> Role {
        Role::Passing
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        vec![Edge::new("answer", &self.next, When::Always), Edge::new("failed or late", &self.on_failed, When::Always)]
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        let prompt = self.prompt.iter().map(|name| Ref::new(RefKind::Prompt, name));
        prompt.chain([Ref::new(RefKind::Action, &self.action)]).collect()
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        self.prompt.iter().collect()
    }

    fn object(&self) -> Object {
        Some(self.action.text.clone())
    }

    fn lint(&self, plan: &Plan) -> Vec<Lint> {
        let slow = plan.actions.get(&self.action.text).is_some_and(|action| action.timeout > QUIET_MAX);
        if !slow || self.prompt.is_some() {
            return Vec::new();
        }
        vec![Lint {
            code: "W009",
            span: self.action.span.clone(),
            message: both!(
                "the caller may hear nothing for longer than 2 s while `{}` works",
                "`{}` 执行时来电者可能有 2 秒以上听不到任何声音",
                self.action
            ),
            help: Some(both!("add `prompt = \"one-moment\"`", "请加上 `prompt = \"请稍候\"` 之类的提示语")),
        }]
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        turn.phase(Phase::Working);
        let Some(timeout) = turn.http(&self.action.text) else { return Flow::Fault };
        turn.start(Timer::Job, timeout);
        if let Some(prompt) = &self.prompt {
            turn.play(&[prompt]);
        }
        Flow::Stay
    }

    fn key(&self, turn: &mut Turn<'_>, _key: char) -> Flow {
        turn.silence_prompt();
        self.played(turn)
    }

    fn played(&self, turn: &mut Turn<'_>) -> Flow {
        if turn.is(Phase::Finishing) { turn.take_after_prompt() } else { Flow::Stay }
    }

    fn timer(&self, turn: &mut Turn<'_>, _timer: Timer) -> Flow {
        turn.job_done();
        Self::settle(turn, &self.on_failed)
    }

    fn heard(&self, turn: &mut Turn<'_>, heard: &Heard) -> Flow {
        let Heard::HttpResult { result, .. } = heard else { return Flow::Stay };
        turn.job_done();
        match result {
            Ok(values) => {
                turn.save(&self.action.text, values);
                Self::settle(turn, &self.next)
            }
            Err(_) => Self::settle(turn, &self.on_failed),
        }
    }
}
