//! `ark dialplan graph`: the plan as a picture. Mermaid for documents, SVG for everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::plan::{Plan, State};
use crate::testing::escape;
use crate::verb::{Role, When};

/// A Mermaid flowchart.
#[must_use]
pub fn mermaid(plan: &Plan) -> String {
    let states = in_order(plan);
    let number: BTreeMap<&str, usize> = states.iter().enumerate().map(|(i, s)| (&*s.name.text, i)).collect();
    let mut out = String::from("flowchart TD\n");
    let name = quoted(&plan.name.text);
    let _ = writeln!(out, "  call((\"{name}\"))");
    for (i, state) in states.iter().enumerate() {
        let label = format!("{}<br/><small>{}</small>", quoted(&state.name.text), quoted(&what(state)));
        let (open, close) = match state.node.role() {
            Role::Asking => ("{{", "}}"),
            Role::Person => ("([", "])"),
            Role::Recording => ("[/", "/]"),
            Role::End => ("((", "))"),
            Role::Passing => ("[", "]"),
        };
        let _ = writeln!(out, "  s{i}{open}\"{label}\"{close}");
    }
    if let Some(entry) = number.get(&*plan.entry.text) {
        let _ = writeln!(out, "  call --> s{entry}");
    }
    for (i, state) in states.iter().enumerate() {
        for edge in state.node.edges() {
            let Some(to) = number.get(&*edge.to.text) else { continue };
            let arrow = if edge.when == When::Input || edge.when == When::Always { "-->" } else { "-.->" };
            let label = if edge.label.is_empty() { String::new() } else { format!("|\"{}\"|", quoted(&edge.label)) };
            let _ = writeln!(out, "  s{i} {arrow}{label} s{to}");
        }
    }
    if let Some(human) = number.get(&*plan.rules.human_target.text) {
        let key = crate::read::key_name(plan.rules.human_key);
        let _ = writeln!(out, "  anywhere((\"{key}\")) ==>|\"any prompt\"| s{human}");
    }
    out
}

fn quoted(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

fn what(state: &State) -> String {
    state.node.object().map_or_else(|| state.verb.to_owned(), |object| format!("{} {object}", state.verb))
}

/// The states in the order of the file.
fn in_order(plan: &Plan) -> Vec<&State> {
    let mut states: Vec<&State> = plan.states.values().collect();
    states.sort_by_key(|state| state.name.span.start);
    states
}

const BOX_WIDTH: usize = 180;
const BOX_HEIGHT: usize = 44;
const GAP_X: usize = 36;
const GAP_Y: usize = 62;
const MARGIN: usize = 24;

/// A self-contained SVG: layers from the entry downwards, edges with their labels.
#[must_use]
pub fn svg(plan: &Plan) -> String {
    let layers = layers(plan);
    let widest = layers.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let width = 2 * MARGIN + widest * BOX_WIDTH + (widest - 1) * GAP_X + 120;
    let height = 2 * MARGIN + layers.len() * (BOX_HEIGHT + GAP_Y);
    let mut at: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for (row, layer) in layers.iter().enumerate() {
        let used = layer.len() * BOX_WIDTH + layer.len().saturating_sub(1) * GAP_X;
        let left = MARGIN + (width - 120 - 2 * MARGIN - used.min(width - 120 - 2 * MARGIN)) / 2;
        for (column, state) in layer.iter().enumerate() {
            at.insert(
                &state.name.text,
                (left + column * (BOX_WIDTH + GAP_X), MARGIN + row * (BOX_HEIGHT + GAP_Y), row),
            );
        }
    }
    let mut out = String::new();
    let title = escape(&plan.name.text);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{title}</title>\n<style>.box{{stroke:#456;stroke-width:1.2}}.edge{{fill:none;stroke:#789;stroke-width:1.2}}.quiet{{stroke-dasharray:4 3}}.label{{fill:#345;font-size:10px}}.name{{font-weight:bold;fill:#123}}.verb{{fill:#567;font-size:10px}}</style>\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#789\"/></marker></defs>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>"
    );
    for state in layers.iter().flatten() {
        edges_svg(&mut out, state, &at);
    }
    for state in layers.iter().flatten() {
        if let Some((x, y, _)) = at.get(&*state.name.text) {
            box_svg(&mut out, plan, state, *x, *y);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// States by their distance from the entry; what only the human key reaches follows from its target; then the rest.
fn layers(plan: &Plan) -> Vec<Vec<&State>> {
    let mut layers: Vec<Vec<&State>> = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let rest = in_order(plan).into_iter().map(|state| &*state.name.text);
    for start in [&*plan.entry.text, &*plan.rules.human_target.text].into_iter().chain(rest) {
        let mut layer: Vec<&State> = plan.state(start).filter(|s| seen.insert(&s.name.text)).into_iter().collect();
        let mut row = usize::from(!layers.is_empty());
        while !layer.is_empty() {
            if layers.len() <= row {
                layers.resize_with(row + 1, Vec::new);
            }
            let next: Vec<&State> = layer
                .iter()
                .flat_map(|state| state.node.edges())
                .filter_map(|edge| plan.state(&edge.to.text))
                .filter(|state| seen.insert(&state.name.text))
                .collect();
            layers[row].extend(layer);
            layer = next;
            row += 1;
        }
    }
    layers
}

fn edges_svg(out: &mut String, state: &State, at: &BTreeMap<&str, (usize, usize, usize)>) {
    let Some((x, y, row)) = at.get(&*state.name.text).copied() else { return };
    let edges = state.node.edges();
    // Several ways to one state are one line with all labels.
    let mut ways: BTreeMap<&str, (Vec<String>, bool)> = BTreeMap::new();
    for edge in &edges {
        let way = ways.entry(&edge.to.text).or_insert((Vec::new(), true));
        if !edge.label.is_empty() {
            way.0.push(edge.label.clone());
        }
        way.1 &= !matches!(edge.when, When::Input | When::Always);
    }
    let count = ways.len();
    for (i, (to, (labels, quiet))) in ways.into_iter().enumerate() {
        let Some((to_x, to_y, to_row)) = at.get(to).copied() else { continue };
        let start_x = x + (i + 1) * BOX_WIDTH / (count + 1);
        let class = if quiet { "edge quiet" } else { "edge" };
        let (end_x, label_x, label_y);
        let path = if to_row > row {
            let start_y = y + BOX_HEIGHT;
            end_x = to_x + BOX_WIDTH / 2;
            (label_x, label_y) = (start_x.midpoint(end_x), start_y + 14 + 10 * (i % 3));
            format!(
                "M{start_x} {start_y}C{start_x} {} {end_x} {} {end_x} {to_y}",
                start_y + 30,
                to_y.saturating_sub(30)
            )
        } else {
            // Back or sideways: round the right side.
            end_x = to_x + BOX_WIDTH;
            let (from_x, from_y, end_y) = (x + BOX_WIDTH, y + BOX_HEIGHT / 2, to_y + BOX_HEIGHT / 2);
            let bend = from_x.max(end_x) + 60;
            (label_x, label_y) = (bend, from_y.midpoint(end_y));
            format!("M{from_x} {from_y}C{bend} {from_y} {bend} {end_y} {end_x} {end_y}")
        };
        let _ = writeln!(out, "<path class=\"{class}\" d=\"{path}\" marker-end=\"url(#tip)\"/>");
        let text = labels.join(", ");
        if !text.is_empty() {
            let text = escape(&text);
            let _ = writeln!(
                out,
                "<text class=\"label\" x=\"{label_x}\" y=\"{label_y}\" text-anchor=\"middle\">{text}</text>"
            );
        }
    }
}

fn box_svg(out: &mut String, plan: &Plan, state: &State, x: usize, y: usize) {
    let fill = match state.node.role() {
        Role::Asking => "#e8f0fe",
        Role::Person => "#e6f6e8",
        Role::Recording => "#fff4de",
        Role::End => "#f0f0f0",
        Role::Passing => "#ffffff",
    };
    let human = plan.rules.human_target.text == state.name.text;
    let bold = if human { " style=\"stroke-width:3\"" } else { "" };
    let mut text = what(state);
    if human {
        let _ = write!(text, " (key {} from anywhere)", crate::read::key_name(plan.rules.human_key));
    }
    let (name, text, middle) = (escape(&state.name.text), escape(&text), x + BOX_WIDTH / 2);
    let _ = writeln!(
        out,
        "<rect class=\"box\"{bold} x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"7\" fill=\"{fill}\"/><text class=\"name\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{name}</text><text class=\"verb\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
        y + 19,
        y + 34
    );
}
