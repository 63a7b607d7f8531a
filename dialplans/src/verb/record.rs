//! `record`: the caller leaves a message.

use std::time::Duration;

use super::{Edge, Field, Kind, Node, Ref, RefKind, Role, Verb, When};
use crate::event::{Heard, StrikeCause};
use crate::limits::ANSWER_GRACE;
use crate::read::{may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::Name;
use crate::speech::Expects;

pub(super) const VERB: Verb = Verb {
    name: "record",
    doc: "Plays a prompt and a beep and records the caller's message.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Record {
            prompt: block.must_name(reader, "prompt"),
            max: block.duration(reader, "max", Duration::from_secs(120)),
            silence: block.duration(reader, "silence", Duration::from_secs(5)),
            finish: block.key(reader, "finish").map_or('#', |(key, _)| key),
            next: block.must_name(reader, "next"),
            on_empty: block.name(reader, "on_empty"),
        })
    },
};

const FIELDS: &[Field] = &[
    must("prompt", Kind::Prompt, "said before the beep"),
    may("max", Kind::Duration, "longest message; default \"2m\""),
    may("silence", Kind::Duration, "silence that ends the message; default \"5s\""),
    may("finish", Kind::KeyName, "the key that ends the message; default \"hash\""),
    must("next", Kind::State, "where the call goes with the message"),
    may("on_empty", Kind::State, "where the call goes when nothing was said; default: as `next`"),
];

#[derive(Debug)]
struct Record {
    prompt: Name,
    max: Duration,
    silence: Duration,
    finish: char,
    next: Name,
    on_empty: Option<Name>,
}

impl Record {
    fn begin(&self, turn: &mut Turn<'_>) -> Flow {
        turn.phase(Phase::Working);
        turn.record(self.max, self.silence);
        turn.start(Timer::Job, self.max + ANSWER_GRACE);
        Flow::Stay
    }

    fn explain(&self, turn: &mut Turn<'_>) -> Flow {
        turn.abandon_job();
        turn.stop(Timer::Job);
        turn.phase(Phase::Speaking);
        turn.play(&[&self.prompt]);
        Flow::Stay
    }
}

impl Node for Record {
    fn role(&self) -> Role {
        Role::Recording
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        let empty = self.on_empty.as_ref().map(|to| Edge::new("nothing said", to, When::Silence));
        std::iter::once(Edge::new("recorded", &self.next, When::Silence)).chain(empty).collect()
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        vec![Ref::new(RefKind::Prompt, &self.prompt)]
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        vec![&self.prompt]
    }

    /// A message is a message, whatever is said in it.
    fn listens(&self, phase: Phase) -> Option<Expects> {
        (phase == Phase::Speaking).then_some(Expects::Person)
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        self.explain(turn)
    }

    fn played(&self, turn: &mut Turn<'_>) -> Flow {
        if turn.is(Phase::Speaking) { self.begin(turn) } else { Flow::Stay }
    }

    fn key(&self, turn: &mut Turn<'_>, key: char) -> Flow {
        if turn.is(Phase::Speaking) {
            turn.silence_prompt();
            return self.begin(turn);
        }
        if turn.is(Phase::Finishing) {
            return Flow::Stay;
        }
        if key == self.finish {
            turn.phase(Phase::Finishing);
            turn.finish_recording();
            turn.start(Timer::Job, ANSWER_GRACE);
            return Flow::Stay;
        }
        // A stray key must not cut a message; three of them ask for help.
        let cause = if key == '*' { StrikeCause::Repeat } else { StrikeCause::NoMatch };
        match turn.strike(cause, &self.next) {
            Some(flow) => flow,
            None if key == '*' => self.explain(turn),
            None => Flow::Stay,
        }
    }

    fn timer(&self, _turn: &mut Turn<'_>, _timer: Timer) -> Flow {
        Flow::go(&self.next)
    }

    fn heard(&self, turn: &mut Turn<'_>, heard: &Heard) -> Flow {
        let Heard::Recorded { seconds, .. } = heard else { return Flow::Stay };
        turn.job_done();
        match &self.on_empty {
            Some(empty) if *seconds == 0 => Flow::go(empty),
            _ => Flow::go(&self.next),
        }
    }
}
