//! `branch`: one variable against a table, no expressions.

use std::collections::BTreeMap;

use super::{Edge, Field, Kind, Node, Ref, RefKind, Role, Verb, When};
use crate::read::must;
use crate::run::{Flow, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "branch",
    doc: "Compares one variable with a table of values.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Branch {
            on: block.must_name(reader, "on"),
            cases: block.strings(reader, "cases", "cases = { zh = \"a-state\" }"),
            otherwise: block.must_name(reader, "else"),
        })
    },
};

const FIELDS: &[Field] = &[
    must("on", Kind::Text, "the variable that is compared"),
    must("cases", Kind::Cases, "where each value leads: { zh = \"main_zh\", en = \"main_en\" }"),
    must("else", Kind::State, "without it a caller with any other value would be lost"),
];

#[derive(Debug)]
struct Branch {
    on: Name,
    cases: Vec<(Name, Name)>,
    otherwise: Name,
}

impl Branch {
    fn choose(&self, value: &str) -> &Name {
        self.cases.iter().find(|(case, _)| &*case.text == value).map_or(&self.otherwise, |(_, to)| to)
    }
}

impl Node for Branch {
    fn role(&self) -> Role {
        Role::Passing
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        let cases = self.cases.iter().map(|(case, to)| Edge::new(format!("{} = {case}", self.on), to, When::Always));
        cases.chain([Edge::new("else", &self.otherwise, When::Always)]).collect()
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        vec![Ref::new(RefKind::Variable, &self.on)]
    }

    fn decide(&self, known: &BTreeMap<String, Option<String>>) -> Option<&Name> {
        match known.get(&*self.on.text) {
            Some(Some(value)) => Some(self.choose(value)),
            _ => None,
        }
    }

    fn values(&self) -> Vec<&str> {
        self.cases.iter().map(|(case, _)| &*case.text).collect()
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        let value = turn.variable(&self.on.text);
        Flow::go(self.choose(&value))
    }
}
