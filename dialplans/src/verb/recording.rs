//! `recording`: the recording of the call begins, pauses, goes on or ends.

use super::{Edge, Field, Kind, Node, Object, Role, Verb, When};
use crate::diagnostic::both;
use crate::event::RecordingAct;
use crate::read::must;
use crate::run::{Flow, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "recording",
    doc: "Starts, pauses, resumes or stops the recording of the call; a pause ends when a person answers, if not before.",
    fields: FIELDS,
    read: |reader, block| {
        let act = block.must_name(reader, "act");
        let known = RecordingAct::parse(&act.text);
        // A missing one was told already.
        if known.is_none() && !act.text.is_empty() {
            let text = &act.text;
            reader.say(
                "E012",
                &act.span,
                both!("a recording cannot be told to `{text}`", "录音没有 `{text}` 这种操作"),
                Some(both!(
                    "`act` is one of `start`, `pause`, `resume` and `stop`",
                    "`act` 可以是 `start`、`pause`、`resume` 或 `stop`"
                )),
            );
        }
        let act = known.unwrap_or(RecordingAct::Pause);
        Box::new(Recording { act, word: act.as_str().into(), next: block.must_name(reader, "next") })
    },
};

const FIELDS: &[Field] = &[
    must(
        "act",
        Kind::Text,
        "`start`, `pause` (time goes on in silence), `resume` or `stop`; what is so already stays so",
    ),
    must("next", Kind::State, "where the call goes then"),
];

#[derive(Debug)]
struct Recording {
    act: RecordingAct,
    word: std::sync::Arc<str>,
    next: Name,
}

impl Node for Recording {
    fn role(&self) -> Role {
        Role::Passing
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        vec![Edge::new("", &self.next, When::Always)]
    }

    fn records(&self) -> bool {
        matches!(self.act, RecordingAct::Start | RecordingAct::Resume)
    }

    fn object(&self) -> Object {
        Some(self.word.clone())
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        turn.recording(self.act);
        Flow::go(&self.next)
    }
}
