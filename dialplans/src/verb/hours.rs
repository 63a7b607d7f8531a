//! `hours`: a calendar decides.

use super::{Edge, Field, Kind, Node, Object, Ref, RefKind, Role, Verb, When};
use crate::calendar::Opening;
use crate::read::{may, must};
use crate::run::{Flow, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "hours",
    doc: "Asks a calendar whether the hotline is open at this moment.",
    fields: FIELDS,
    read: |reader, block| {
        Box::new(Hours {
            calendar: block.must_name(reader, "calendar"),
            open: block.must_name(reader, "open"),
            closed: block.must_name(reader, "closed"),
            holiday: block.name(reader, "holiday"),
        })
    },
};

const FIELDS: &[Field] = &[
    must("calendar", Kind::Reference("calendar"), "the name of a [calendar.NAME]"),
    must("open", Kind::State, "where the call goes within opening hours"),
    must("closed", Kind::State, "without it a caller would be lost outside opening hours"),
    may("holiday", Kind::State, "where the call goes on a holiday; default: as `closed`"),
];

#[derive(Debug)]
struct Hours {
    calendar: Name,
    open: Name,
    closed: Name,
    holiday: Option<Name>,
}

impl Node for Hours {
    fn role(&self) -> Role {
        Role::Passing
    }

    fn edges(&self) -> Vec<Edge<'_>> {
        let holiday = self.holiday.as_ref().map(|to| Edge::new("holiday", to, When::Closed));
        [Edge::new("open", &self.open, When::Always), Edge::new("closed", &self.closed, When::Closed)]
            .into_iter()
            .chain(holiday)
            .collect()
    }

    fn refs(&self) -> Vec<Ref<'_>> {
        vec![Ref::new(RefKind::Calendar, &self.calendar)]
    }

    fn object(&self) -> Object {
        Some(self.calendar.text.clone())
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        match turn.opening(&self.calendar.text) {
            None => Flow::Fault,
            Some(Opening::Open) => Flow::go(&self.open),
            Some(Opening::Holiday) => Flow::go(self.holiday.as_ref().unwrap_or(&self.closed)),
            Some(Opening::Closed) => Flow::go(&self.closed),
        }
    }
}
