//! Walking a plan without a caller: what is reachable, and where silence would go round.

use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use crate::diagnostic::both;
use crate::limits;
use crate::plan::{Plan, State};
use crate::verb::{Role, When};

/// Names of every state that some caller can get to.
pub(crate) fn reachable(plan: &Plan) -> BTreeSet<&str> {
    let mut open: Vec<&str> = vec![&plan.entry.text, &plan.rules.human_target.text];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(state) = plan.state(name) else { continue };
        if seen.insert(&*state.name.text) {
            open.extend(state.node.edges().into_iter().map(|edge| &*edge.to.text));
        }
    }
    seen
}

/// A state and what is known about the variables there. Absent: never set. `None`: set, value unknown.
pub(crate) type Known = BTreeMap<String, Option<String>>;

/// What is known behind a state.
pub(crate) fn after(plan: &Plan, state: &State, known: &Known) -> Known {
    let mut known = known.clone();
    // Silence enters no digits: what a gather would set stays as it was.
    if state.node.role() != Role::Asking {
        for (name, value) in state.node.assigns() {
            known.insert(name.text.to_string(), value.map(str::to_owned));
        }
    }
    for r in state.node.refs().iter().filter(|r| r.kind == crate::verb::RefKind::Action) {
        for name in plan.actions.get(&r.name.text).into_iter().flat_map(|action| &action.save) {
            known.insert(name.text.to_string(), None);
        }
    }
    known
}

/// Where a silent caller goes on to: state and kind of edge.
pub(crate) fn silent_ways<'p>(state: &'p State, known: &Known) -> Vec<(&'p str, When)> {
    if let Some(to) = state.node.decide(known) {
        return vec![(&to.text, When::Always)];
    }
    let passes = |when: When| matches!(when, When::Silence | When::Always | When::Closed | When::Failed);
    state.node.edges().into_iter().filter(|edge| passes(edge.when)).map(|edge| (&*edge.to.text, edge.when)).collect()
}

pub(super) fn check(checker: &mut Checker<'_>) {
    loops(checker);
    if !checker.found.iter().any(crate::Diagnostic::is_error) {
        chains(checker);
    }
}

type Node<'p> = (&'p str, Known);

/// Three-colour depth-first search over (state, known variables), from every reachable state.
fn loops(checker: &mut Checker<'_>) {
    let plan = checker.plan;
    let mut done: BTreeSet<Node<'_>> = BTreeSet::new();
    let mut told: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
    let mut starts: Vec<&State> = reachable(plan).into_iter().filter_map(|name| plan.state(name)).collect();
    starts.sort_by_key(|state| state.name.span.start);
    for start in starts {
        let mut path: Vec<(Node<'_>, Vec<Node<'_>>)> = Vec::new();
        let root: Node<'_> = (&start.name.text, Known::new());
        if done.contains(&root) {
            continue;
        }
        path.push((root.clone(), next_nodes(plan, &root)));
        while let Some((node, rest)) = path.last_mut() {
            if done.len() > limits::PROOF_NODES_MAX {
                too_big(checker);
                return;
            }
            let Some(next) = rest.pop() else {
                done.insert(node.clone());
                path.pop();
                continue;
            };
            if let Some(at) = path.iter().position(|(node, _)| *node == next) {
                let cycle: Vec<&str> = path[at..].iter().map(|(node, _)| node.0).collect();
                if told.insert(cycle.iter().copied().collect()) {
                    tell_loop(checker, &cycle);
                }
            } else if !done.contains(&next) {
                let ways = next_nodes(plan, &next);
                path.push((next, ways));
            }
        }
    }
}

fn next_nodes<'p>(plan: &'p Plan, node: &Node<'p>) -> Vec<Node<'p>> {
    let Some(state) = plan.state(node.0) else { return Vec::new() };
    let known = after(plan, state, &node.1);
    silent_ways(state, &known).into_iter().map(|(to, _)| (to, known.clone())).collect()
}

fn too_big(checker: &mut Checker<'_>) {
    let span = checker.plan.name.span.clone();
    checker.say(
        "E018",
        &span,
        both!("the plan is too large to be proved", "方案太大，无法证明"),
        Some(both!(
            "use fewer `set` values that branches depend on, or split the plan",
            "请减少分支所依赖的 `set` 值，或拆分方案"
        )),
    );
}

fn tell_loop(checker: &mut Checker<'_>, cycle: &[&str]) {
    let plan = checker.plan;
    // Begin with the state that stands first in the file, so that the message does not depend on the search.
    let begin = (0..cycle.len()).min_by_key(|i| plan.state(cycle[*i]).map_or(0, |s| s.name.span.start)).unwrap_or(0);
    let turned: Vec<&str> = cycle[begin..].iter().chain(&cycle[..begin]).copied().collect();
    let Some(first) = plan.state(turned[0]) else { return };
    let road = format!("{} -> {}", turned.join(" -> "), turned[0]);
    let name = &first.name;
    let is_person = |name: &&str| plan.state(name).is_some_and(|s| s.node.role() == Role::Person);
    let speaks = |name: &&str| {
        plan.state(name).is_some_and(|s| s.node.role() != Role::Person && !s.node.heard_in_silence().is_empty())
    };
    if !cycle.iter().any(is_person) {
        checker.say(
            "E006",
            &name.span,
            both!(
                "a silent caller loops for ever from `{name}`: {road}",
                "沉默的来电者会从 `{name}` 开始无限循环：{road}"
            ),
            Some(both!(
                "let one of these edges lead to a person, a message or a hangup; to say a menu again use `retries`",
                "请让其中一条边通向人工、留言或挂断；要重复菜单请用 `retries`"
            )),
        );
    } else if cycle.iter().any(speaks) {
        checker.say(
            "W006",
            &name.span,
            both!(
                "when nobody ever answers, the caller goes round for ever: {road}",
                "如果一直无人接听，来电者会无限循环：{road}"
            ),
            Some(both!("offer a message (`record`) or say goodbye at some point", "请在某处提供留言(`record`)或道别")),
        );
    } else {
        checker.say(
            "E006",
            &name.span,
            both!(
                "when nobody can answer, the call spins without a word: {road}",
                "无人可接时，呼叫会无声地空转：{road}"
            ),
            Some(both!(
                "lead `on_timeout` or `on_failed` to a message or a hangup",
                "请让 `on_timeout` 或 `on_failed` 通向留言或挂断"
            )),
        );
    }
}

/// E018: more silent transitions in a row than one step may take.
fn chains(checker: &mut Checker<'_>) {
    let plan = checker.plan;
    let mut longest: BTreeMap<&str, u32> = BTreeMap::new();
    // Passes of relaxation; without branches on known values this may see a circle that no call takes, hence the bound.
    let quiet = |state: &State| state.node.role() == Role::Passing && state.node.heard_in_silence().is_empty();
    for _ in 0..=limits::TRANSITIONS_PER_STEP {
        let mut changed = false;
        for state in plan.states.values().filter(|s| quiet(s)) {
            let next =
                state.node.edges().iter().map(|e| longest.get(&*e.to.text).copied().unwrap_or(0)).max().unwrap_or(0)
                    + 1;
            changed |= longest.insert(&state.name.text, next) != Some(next);
        }
        if !changed {
            return;
        }
    }
    let too_long = longest.iter().max_by_key(|(_, n)| **n).and_then(|(name, _)| plan.state(name));
    if let Some(state) = too_long {
        let (name, most) = (&state.name, limits::TRANSITIONS_PER_STEP);
        checker.say(
            "E018",
            &name.span,
            both!(
                "more than {most} states in a row from `{name}` without a word to the caller",
                "从 `{name}` 起连续超过 {most} 个状态没有任何声音"
            ),
            Some(both!("shorten the chain, or say something on the way", "请缩短这串状态，或在途中播放提示语")),
        );
    }
}
