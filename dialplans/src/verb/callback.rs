//! `callback`: the caller hangs up and is called when their turn comes.

use super::{Edge, Field, Kind, Node, Object, Ref, RefKind, Role, Verb, When};
use crate::event::{EndReason, Heard};
use crate::limits::ANSWER_GRACE;
use crate::read::{may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::Name;
use crate::speech::Expects;

pub(super) const VERB: Verb = Verb {
    name: "callback",
    doc: "Keeps the caller's place in line, says that they will be called, and ends the call; an agent calls them when the place comes up.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Callback {
            prompt: block.must_name(reader, "prompt"),
            queue: block.must_name(reader, "queue"),
            number: block.name(reader, "number"),
            otherwise: block.must_name(reader, "else"),
        })
    },
};

const FIELDS: &[Field] = &[
    must("prompt", Kind::Prompt, "says that they will be called; then the call ends"),
    must(
        "queue",
        Kind::Reference("queue"),
        "whose agents call: the place that the caller has in it is kept, else they get one at its end",
    ),
    may("number", Kind::Text, "the variable with the number to call, from an earlier `gather`; default: the caller's"),
    must("else", Kind::State, "where the call goes when there is no number, or none that can be called"),
];

#[derive(Debug)]
struct Callback {
    prompt: Name,
    queue: Name,
    number: Option<Name>,
    otherwise: Name,
}

impl Callback {
    fn cannot(&self, turn: &mut Turn<'_>) -> Flow {
        turn.job_done();
        turn.nobody_came();
        Flow::go(&self.otherwise)
    }
}

impl Node for Callback {
    /// No person is there yet: the proofs do not take it for one.
    fn role(&self) -> Role {
        Role::Passing
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        vec![Edge::new("cannot be called", &self.otherwise, When::Failed)]
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        let number = self.number.iter().map(|name| Ref::new(RefKind::Variable, name));
        number.chain([Ref::new(RefKind::Prompt, &self.prompt), Ref::new(RefKind::Queue, &self.queue)]).collect()
    }

    fn object(&self) -> Object {
        Some(self.queue.text.clone())
    }

    fn listens(&self, _phase: Phase) -> Option<Expects> {
        None
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        turn.phase(Phase::Working);
        turn.on_the_way();
        let number = self.number.as_ref().map_or("caller", |name| &name.text);
        if !turn.call_back(&self.queue.text, number) {
            return self.cannot(turn);
        }
        turn.start(Timer::Job, ANSWER_GRACE);
        Flow::Stay
    }

    fn heard(&self, turn: &mut Turn<'_>, heard: &Heard) -> Flow {
        match heard {
            Heard::Callback { taken: true, .. } => {
                turn.stop(Timer::Job);
                turn.promised_a_call();
                turn.phase(Phase::Finishing);
                turn.play(&[&self.prompt]);
                Flow::Stay
            }
            Heard::Callback { taken: false, .. } => self.cannot(turn),
            _ => Flow::Stay,
        }
    }

    fn played(&self, turn: &mut Turn<'_>) -> Flow {
        if turn.is(Phase::Finishing) { Flow::End(EndReason::Completed) } else { Flow::Stay }
    }

    fn timer(&self, turn: &mut Turn<'_>, _timer: Timer) -> Flow {
        self.cannot(turn)
    }
}
