//! `set`: variables get values; `lang` changes the language.

use super::{Edge, Field, Kind, Node, Role, Verb, When};
use crate::diagnostic::both;
use crate::lang::Lang;
use crate::plan::settable;
use crate::read::must;
use crate::run::{Flow, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "set",
    doc: "Gives variables fixed values; `lang` chooses the language that is spoken from now on.",
    fields: FIELDS,
    read: |reader, block| {
        let vars = block.strings(reader, "vars", "vars = { lang = \"en\" }");
        for (name, value) in &vars {
            settable(reader, name);
            if &*name.text == "lang" && Lang::parse(&value.text).is_none() {
                let text = &value.text;
                reader.say(
                    "E012",
                    &value.span,
                    both!("unknown language `{text}`", "未知语言 `{text}`"),
                    Some(both!("`zh` and `en` can be spoken", "可用语言为 `zh` 和 `en`")),
                );
            }
        }
        Box::new(Set { vars, next: block.must_name(reader, "next") })
    },
};

const FIELDS: &[Field] = &[
    must("vars", Kind::Strings, "the variables and their values: { lang = \"en\" }"),
    must("next", Kind::State, "where the call goes then"),
];

#[derive(Debug)]
struct Set {
    vars: Vec<(Name, Name)>,
    next: Name,
}

impl Node for Set {
    fn role(&self) -> Role {
        Role::Passing
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        vec![Edge::new("", &self.next, When::Always)]
    }

    fn assigns(&self) -> Vec<(&Name, Option<&str>)> {
        self.vars.iter().map(|(name, value)| (name, Some(&*value.text))).collect()
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        for (name, value) in &self.vars {
            turn.set(&name.text, &value.text);
        }
        Flow::go(&self.next)
    }
}
