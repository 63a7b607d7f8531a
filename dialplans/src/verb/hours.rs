//! `hours`: a calendar decides.

use jiff::Timestamp;

use super::{Edge, Field, Kind, Node, Object, Ref, RefKind, Role, Verb, When};
use crate::calendar::{Opening, OwnHours};
use crate::diagnostic::both;
use crate::plan::Plan;
use crate::read::{may, must};
use crate::run::{Flow, Turn};
use crate::source::Name;

pub(super) const VERB: Verb = Verb {
    name: "hours",
    doc: "Asks a calendar whether the hotline is open at this moment.",
    fields: FIELDS,
    read: |reader, block| {
        // `open` is a state, or the state's own hours and `next` is where they lead.
        let own = block.is_list("open").then(|| {
            let lines = block.texts(reader, "open");
            OwnHours::read(reader, &lines)
        });
        let calendar = block.name(reader, "calendar");
        let next = block.name(reader, "next");
        if own.is_none() && calendar.is_none() {
            block.missing(reader, "calendar");
        }
        let open = match (&own, next) {
            (None, None) => block.must_name(reader, "open"),
            (None, Some(next)) => {
                let here = &next.span;
                reader.say(
                    "E012",
                    here,
                    both!("`next` needs hours in `open`", "使用 `next` 时 `open` 必须是营业时间"),
                    Some(both!(
                        "write `open = [\"mon-fri 09:00-18:00\"]`, or `open = \"a-state\"` without `next`",
                        "请写 `open = [\"mon-fri 09:00-18:00\"]`，或只写 `open = \"状态名\"`"
                    )),
                );
                next
            }
            (Some(_), Some(next)) => next,
            (Some(_), None) => {
                block.missing(reader, "next");
                block.broken()
            }
        };
        Box::new(Hours {
            own,
            calendar,
            open,
            closed: block.must_name(reader, "closed"),
            holiday: block.name(reader, "holiday"),
        })
    },
};

const FIELDS: &[Field] = &[
    may(
        "calendar",
        Kind::Reference("calendar"),
        "the name of a [calendar.NAME]; may be missing where `open` has hours",
    ),
    must(
        "open",
        Kind::StateOrTexts,
        "where the call goes within opening hours; or the hours themselves, such as [\"mon-sun 08:00-22:00\"], which replace the calendar's",
    ),
    may("next", Kind::State, "where the call goes within the hours of `open`"),
    must("closed", Kind::State, "without it a caller would be lost outside opening hours"),
    may("holiday", Kind::State, "where the call goes on a holiday; default: as `closed`"),
];

#[derive(Debug)]
struct Hours {
    own: Option<OwnHours>,
    calendar: Option<Name>,
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
        self.calendar.iter().map(|name| Ref::new(RefKind::Calendar, name)).collect()
    }

    fn object(&self) -> Object {
        self.calendar.as_ref().map(|name| name.text.clone())
    }

    fn opening(&self, plan: &Plan, at: Timestamp) -> Option<Opening> {
        let calendar = self.calendar.as_ref().map(|name| plan.calendars.get(&name.text));
        match (&self.own, calendar) {
            (Some(own), Some(calendar)) => Some(own.at(Some(calendar?), at, &plan.zone)),
            (Some(own), None) => Some(own.at(None, at, &plan.zone)),
            (None, calendar) => Some(calendar??.at(at, &plan.zone)),
        }
    }

    fn enter(&self, turn: &mut Turn<'_>) -> Flow {
        match self.opening(turn.plan(), turn.wall()) {
            None => Flow::Fault,
            Some(Opening::Open) => Flow::go(&self.open),
            Some(Opening::Holiday) => Flow::go(self.holiday.as_ref().unwrap_or(&self.closed)),
            Some(Opening::Closed) => Flow::go(&self.closed),
        }
    }
}
