//! `ark dialplan diff`: what a new version changes for callers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::check::{Offer, PromptSeconds, first_offer, seconds_text};
use crate::lang::Lang;
use crate::plan::Plan;

/// An edge of a plan: from, label, to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DiffEdge {
    /// The state it leaves.
    pub from: String,
    /// The key, or what else takes it.
    pub label: String,
    /// The state it leads to.
    pub to: String,
}

/// Time to the first offer of a person in one language, in seconds; `None`: never, or nothing promised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HumanTime {
    /// The language.
    pub lang: Lang,
    /// Before.
    pub old_seconds: Option<f64>,
    /// After.
    pub new_seconds: Option<f64>,
}

/// A prompt whose words changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PromptChange {
    /// Its id.
    pub prompt: String,
    /// The language.
    pub lang: Lang,
    /// Before; `None`: it is new.
    pub old: Option<String>,
    /// After; `None`: it is gone.
    pub new: Option<String>,
}

/// What changed.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// States that only the new plan has.
    pub states_gained: Vec<String>,
    /// States that only the old plan has.
    pub states_lost: Vec<String>,
    /// States that do something else: name, old verb, new verb.
    pub verbs_changed: Vec<(String, String, String)>,
    /// Ways that only the new plan has.
    pub edges_gained: Vec<DiffEdge>,
    /// Ways that only the old plan has.
    pub edges_lost: Vec<DiffEdge>,
    /// Words that changed.
    pub prompts_changed: Vec<PromptChange>,
    /// Where a person is offered earlier or later.
    pub human_time: Vec<HumanTime>,
    /// Rules that changed: name, old, new.
    pub rules_changed: Vec<(String, String, String)>,
}

/// Compares two plans. Both should pass `check`; the lengths come from the same measure for both.
#[must_use]
pub fn diff(old: &Plan, new: &Plan, seconds: &dyn PromptSeconds) -> Diff {
    let names = |plan: &Plan| plan.states.keys().map(ToString::to_string).collect::<BTreeSet<String>>();
    let (old_names, new_names) = (names(old), names(new));
    let (old_edges, new_edges) = (edges(old), edges(new));
    let verbs_changed = old_names.intersection(&new_names).filter_map(|name| {
        let (was, is) = (old.state(name)?.verb, new.state(name)?.verb);
        (was != is).then(|| (name.clone(), was.to_owned(), is.to_owned()))
    });
    Diff {
        states_gained: new_names.difference(&old_names).cloned().collect(),
        states_lost: old_names.difference(&new_names).cloned().collect(),
        verbs_changed: verbs_changed.collect(),
        edges_gained: new_edges.difference(&old_edges).cloned().collect(),
        edges_lost: old_edges.difference(&new_edges).cloned().collect(),
        prompts_changed: prompts(old, new),
        human_time: human_time(old, new, seconds),
        rules_changed: rules(old, new),
    }
}

fn edges(plan: &Plan) -> BTreeSet<DiffEdge> {
    let all = plan.states.values().flat_map(|state| {
        let edges = state.node.edges().into_iter();
        edges
            .map(|edge| DiffEdge { from: state.name.to_string(), label: edge.label, to: edge.to.to_string() })
            .collect::<Vec<_>>()
    });
    let entry = DiffEdge { from: "(call)".to_owned(), label: String::new(), to: plan.entry.to_string() };
    let human = DiffEdge {
        from: "(anywhere)".to_owned(),
        label: crate::read::key_name(plan.rules.human_key),
        to: plan.rules.human_target.to_string(),
    };
    all.chain([entry, human]).collect()
}

fn prompts(old: &Plan, new: &Plan) -> Vec<PromptChange> {
    let texts = |plan: &Plan| -> BTreeMap<(String, Lang), String> {
        let all = plan.prompts.values().flat_map(|prompt| {
            let spoken = prompt.spoken.iter();
            spoken.map(|(lang, spoken)| ((prompt.name.to_string(), *lang), spoken.text.to_string())).collect::<Vec<_>>()
        });
        all.collect()
    };
    let (old, new) = (texts(old), texts(new));
    let keys: BTreeSet<&(String, Lang)> = old.keys().chain(new.keys()).collect();
    let changed = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    changed
        .map(|key| PromptChange {
            prompt: key.0.clone(),
            lang: key.1,
            old: old.get(key).cloned(),
            new: new.get(key).cloned(),
        })
        .collect()
}

fn human_time(old: &Plan, new: &Plan, seconds: &dyn PromptSeconds) -> Vec<HumanTime> {
    let time = |plan: &Plan, lang| match first_offer(plan, seconds, lang) {
        Offer::After { audio, .. } => Some(audio.as_secs_f64()),
        _ => None,
    };
    let all = Lang::ALL.into_iter().filter(|lang| old.languages.contains(lang) || new.languages.contains(lang));
    all.map(|lang| HumanTime { lang, old_seconds: time(old, lang), new_seconds: time(new, lang) })
        .filter(|time| time.old_seconds != time.new_seconds)
        .collect()
}

fn rules(old: &Plan, new: &Plan) -> Vec<(String, String, String)> {
    let list = |plan: &Plan| {
        let rules = &plan.rules;
        [
            ("human_key", crate::read::key_name(rules.human_key)),
            ("max_keys_to_human", rules.max_keys_to_human.to_string()),
            ("max_seconds_to_human", rules.max_seconds_to_human.to_string()),
            ("max_menu_options", rules.max_menu_options.to_string()),
            ("strikes", rules.strikes.to_string()),
        ]
    };
    let pairs = list(old).into_iter().zip(list(new));
    pairs.filter(|(a, b)| a.1 != b.1).map(|(a, b)| (a.0.to_owned(), a.1, b.1)).collect()
}

impl Diff {
    /// True when callers notice nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states_gained.is_empty()
            && self.states_lost.is_empty()
            && self.verbs_changed.is_empty()
            && self.edges_gained.is_empty()
            && self.edges_lost.is_empty()
            && self.prompts_changed.is_empty()
            && self.human_time.is_empty()
            && self.rules_changed.is_empty()
    }

    /// For people.
    #[must_use]
    pub fn render_human(&self) -> String {
        let mut out = String::new();
        let seconds = |s: Option<f64>| {
            s.map_or_else(|| "never".to_owned(), |s| format!("{} s", seconds_text(Duration::from_secs_f64(s))))
        };
        for time in &self.human_time {
            let (old, new) = (seconds(time.old_seconds), seconds(time.new_seconds));
            let _ = writeln!(out, "~ first offer of a person ({}): {old} -> {new}", time.lang);
        }
        for (name, old, new) in &self.rules_changed {
            let _ = writeln!(out, "~ rule {name}: {old} -> {new}");
        }
        for state in &self.states_gained {
            let _ = writeln!(out, "+ state {state}");
        }
        for state in &self.states_lost {
            let _ = writeln!(out, "- state {state}");
        }
        for (state, old, new) in &self.verbs_changed {
            let _ = writeln!(out, "~ state {state}: {old} -> {new}");
        }
        let edge = |e: &DiffEdge| {
            let label = if e.label.is_empty() { String::new() } else { format!(" ({})", e.label) };
            format!("{}{label} -> {}", e.from, e.to)
        };
        for one in &self.edges_gained {
            let _ = writeln!(out, "+ way {}", edge(one));
        }
        for one in &self.edges_lost {
            let _ = writeln!(out, "- way {}", edge(one));
        }
        for change in &self.prompts_changed {
            let (prompt, lang) = (&change.prompt, change.lang);
            if let Some(old) = &change.old {
                let _ = writeln!(out, "- prompt {prompt} ({lang}): {old}");
            }
            if let Some(new) = &change.new {
                let _ = writeln!(out, "+ prompt {prompt} ({lang}): {new}");
            }
        }
        if out.is_empty() {
            out.push_str("no difference that a caller would notice\n");
        }
        out
    }
}
