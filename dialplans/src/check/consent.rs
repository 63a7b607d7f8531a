//! Where the site keeps no call without consent: no way leads to a person, or to a recording, past every `consent`.

use std::collections::{BTreeMap, VecDeque};

use super::Checker;
use crate::diagnostic::both;
use crate::plan::{Plan, State};
use crate::read::key_name;
use crate::verb::Role;

/// E025: what is said there would be kept, were it not that nobody was asked; so it is not, and that is no site's wish.
pub(super) fn check(checker: &mut Checker<'_>) {
    let plan = checker.plan;
    let before = unasked(plan);
    let mut found: Vec<&State> =
        before.keys().filter_map(|name| plan.state(name)).filter(|state| keeps(state)).collect();
    found.sort_by_key(|state| state.name.span.start);
    for state in found {
        let (name, road) = (&state.name, road(plan, &before, &state.name.text));
        checker.say(
            "E025",
            &name.span,
            both!(
                "a caller gets to `{name}` without a `consent` state, so that nothing of the call is kept: {road}",
                "来电者未经过 `consent` 就会到达 `{name}`，因此通话不会被保存：{road}"
            ),
            Some(both!(
                "begin with a `consent` state, or put one before this state: it speaks once in a call",
                "请以 `consent` 状态开头，或在此状态之前放一个：每通电话只会说一次"
            )),
        );
    }
}

/// Where the talk with a person, or a recording of the call, begins. The message that a caller leaves is their own wish.
fn keeps(state: &State) -> bool {
    state.node.role() == Role::Person || state.node.records()
}

/// How a state is reached: from which one, and whether by the human key.
type Before<'p> = BTreeMap<&'p str, Option<(&'p str, bool)>>;

/// Every state that some caller can get to past every `consent`.
fn unasked(plan: &Plan) -> Before<'_> {
    let mut before: Before<'_> = BTreeMap::new();
    let Some(entry) = plan.state(&plan.entry.text) else { return before };
    let mut open = VecDeque::from([&*entry.name.text]);
    before.insert(&entry.name.text, None);
    while let Some(name) = open.pop_front() {
        let Some(state) = plan.state(name).filter(|state| state.node.consent().is_none()) else { continue };
        let edges = state.node.edges().into_iter().map(|edge| (&*edge.to.text, false));
        // Whoever asks for a person instead of answering a `consent` is not kept; before one they would be.
        let human = takes_keys(state).then_some((&*plan.rules.human_target.text, true));
        for (to, by_key) in edges.chain(human) {
            let Some(to) = plan.state(to).map(|state| &*state.name.text) else { continue };
            if !before.contains_key(to) {
                before.insert(to, Some((name, by_key)));
                open.push_back(to);
            }
        }
    }
    before
}

/// Whether the human key can be pressed there.
fn takes_keys(state: &State) -> bool {
    match state.node.role() {
        Role::Asking | Role::Recording => true,
        Role::Passing => !state.node.heard_in_silence().is_empty(),
        Role::Person | Role::End => false,
    }
}

fn road(plan: &Plan, before: &Before<'_>, to: &str) -> String {
    let (mut at, mut road) = (to, to.to_owned());
    while let Some(Some((from, by_key))) = before.get(at) {
        let arrow = if *by_key { format!(" -[{}]-> ", key_name(plan.rules.human_key)) } else { " -> ".to_owned() };
        road = format!("{from}{arrow}{road}");
        at = from;
    }
    road
}
