//! `hangup`: goodbye, and the end.

use super::{Edge, Field, Kind, Node, Ref, RefKind, Role, Verb};
use crate::event::EndReason;
use crate::read::may;
use crate::run::{Flow, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "hangup",
    doc: "Says goodbye and ends the call.",
    fields: FIELDS,
    read: |reader, block| Box::new(Hangup { prompt: block.name(reader, "prompt") }),
};

const FIELDS: &[Field] = &[may("prompt", Kind::Prompt, "said before the call ends")];

#[derive(Debug)]
struct Hangup {
    prompt: Option<Name>,
}

impl Node for Hangup {
    fn role(&self) -> Role {
        Role::End
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        Vec::new()
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        self.prompt.iter().map(|name| Ref::new(RefKind::Prompt, name)).collect()
    }

    fn heard_in_silence(&self) -> Vec<&Name> {
        self.prompt.iter().collect()
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        match &self.prompt {
            Some(prompt) => {
                turn.play_with(&[prompt], false);
                Flow::Stay
            }
            None => Flow::End(EndReason::Completed),
        }
    }

    fn played(&self, _turn: &mut Turn<'_>) -> Flow {
        Flow::End(EndReason::Completed)
    }
}
