//! `direct`: numbers on a list go straight on, elders to a person for one.

use super::{Edge, Field, Kind, Node, Object, Ref, RefKind, Role, Verb, When};
use crate::plan::normalise_number;
use crate::read::{may, must};
use crate::run::{Flow, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "direct",
    doc: "Sends callers whose number is on a list straight to a state, for example elders to a person.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Direct {
            list: block.must_name(reader, "list"),
            on: block.name(reader, "on"),
            to: block.must_name(reader, "to"),
            otherwise: block.must_name(reader, "else"),
        })
    },
};

const FIELDS: &[Field] = &[
    must("list", Kind::Reference("list"), "the name of a [lists.NAME]"),
    may("on", Kind::Text, "the variable that is looked up; default `caller`, the caller's number"),
    must("to", Kind::State, "where numbers on the list go"),
    must("else", Kind::State, "where everybody else goes"),
];

#[derive(Debug)]
struct Direct {
    list: Name,
    on: Option<Name>,
    to: Name,
    otherwise: Name,
}

impl Node for Direct {
    fn role(&self) -> Role {
        Role::Passing
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        vec![
            Edge::new(format!("on {}", self.list), &self.to, When::Always),
            Edge::new("else", &self.otherwise, When::Always),
        ]
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        let list = Ref::new(RefKind::List, &self.list);
        std::iter::once(list).chain(self.on.as_ref().map(|on| Ref::new(RefKind::Variable, on))).collect()
    }

    fn object(&self) -> Object {
        Some(self.list.text.clone())
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        let value = turn.variable(self.on.as_ref().map_or("caller", |on| &on.text));
        let Some(list) = turn.plan().lists.get(&self.list.text) else { return Flow::Fault };
        let listed = list.numbers.contains(&normalise_number(&value));
        Flow::go(if listed { &self.to } else { &self.otherwise })
    }
}
