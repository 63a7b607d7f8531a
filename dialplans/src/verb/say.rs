//! `say`: a prompt, then on.

use super::{Edge, Field, Kind, Node, Ref, RefKind, Role, Verb, When};
use crate::read::{may, must};
use crate::run::{Flow, Phase, Timer, Turn};
use crate::source::Name;
use crate::speech::{Expects, Speech, SpeechSettings};

pub(super) const VERB: Verb = Verb {
    name: "say",
    doc: "Plays a prompt and goes on. A key, or what is said, cuts it short and counts in the next menu.",
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
    may("barge_in", Kind::Flag, "false: keys and speech do not cut it short, except for a person; default true"),
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

    fn listens(&self, _phase: Phase) -> Option<Expects> {
        Some(if self.barge_in { Expects::Choice } else { Expects::Person })
    }

    fn cut_by_speech(&self, plan: &SpeechSettings) -> bool {
        self.barge_in && plan.barge_in
    }

    fn speech_started(&self, turn: &mut Turn<'_>) {
        if self.cut_by_speech(&turn.plan().speech) {
            turn.hearing();
        }
    }

    fn said(&self, turn: &mut Turn<'_>, said: &Speech) -> Flow {
        if turn.is_for_a_person(said) {
            return turn.lead_to_person(self.role());
        }
        match (self.barge_in, said.words.is_empty()) {
            (true, false) => Flow::GoWithSaid(self.next.text.clone(), said.clone()),
            (true, true) => Flow::go(&self.next),
            (false, _) => Flow::Stay,
        }
    }

    /// The caller began to speak, and nothing came of it.
    fn timer(&self, _turn: &mut Turn<'_>, _timer: Timer) -> Flow {
        Flow::go(&self.next)
    }

    fn played(&self, _turn: &mut Turn<'_>) -> Flow {
        Flow::go(&self.next)
    }
}
