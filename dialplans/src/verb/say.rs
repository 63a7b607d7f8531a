//! `say`: a prompt, then on.

use super::{Edge, Field, Kind, Node, Ref, RefKind, Role, Verb, When};
use crate::read::{may, must};
use crate::run::{Flow, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "say",
    doc: "Plays a prompt and goes on. A key cuts it short and counts in the next menu.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Say {
            prompt: block.must_name(reader, "prompt"),
            next: block.must_name(reader, "next"),
            barge_in: block.flag(reader, "barge_in", true),
        })
    },
};

const FIELDS: &[Field] = &[
    must("prompt", Kind::Prompt, "what the caller hears"),
    must("next", Kind::State, "where the call goes then"),
    may("barge_in", Kind::Flag, "false: keys do not cut it short, except the human key; default true"),
];

#[derive(Debug)]
struct Say {
    prompt: Name,
    next: Name,
    barge_in: bool,
}

impl Node for Say {
    fn role(&self) -> Role {
        Role::Passing
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        vec![Edge::new("", &self.next, When::Always)]
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        vec![Ref::new(RefKind::Prompt, &self.prompt)]
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        vec![&self.prompt]
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        turn.play_with(&[&self.prompt], self.barge_in);
        Flow::Stay
    }

    fn key(&self, _turn: &mut Turn<'_>, key: char) -> Flow {
        if self.barge_in { Flow::GoWithKey(self.next.text.clone(), key) } else { Flow::Stay }
    }

    fn played(&self, _turn: &mut Turn<'_>) -> Flow {
        Flow::go(&self.next)
    }
}
