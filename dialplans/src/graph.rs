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
const GAP_Y: usize = 96;
const MARGIN: usize = 24;
/// Between two lanes at the right edge, where lines run that do not lead to the next row.
const LANE: usize = 12;
/// Characters of a name that fit into a box.
const NAME_CHARS: usize = 24;
const VERB_CHARS: usize = 32;

/// A self-contained SVG: layers from the entry downwards, edges with their labels.
#[must_use]
pub fn svg(plan: &Plan) -> String {
    let layers = layers(plan);
    let widest = layers.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let content = 2 * MARGIN + widest * BOX_WIDTH + (widest - 1) * GAP_X;
    let height = 2 * MARGIN + layers.len() * (BOX_HEIGHT + GAP_Y);
    let mut at = Places::new();
    for (row, layer) in layers.iter().enumerate() {
        let used = layer.len() * BOX_WIDTH + layer.len().saturating_sub(1) * GAP_X;
        let left = MARGIN + (content - 2 * MARGIN).saturating_sub(used) / 2;
        for (column, state) in layer.iter().enumerate() {
            at.insert(
                &state.name.text,
                (left + column * (BOX_WIDTH + GAP_X), MARGIN + row * (BOX_HEIGHT + GAP_Y), row),
            );
        }
    }
    let lanes = lanes(&layers, &at, content);
    let width = content + (lanes.len() + 2) * LANE;
    let mut out = String::new();
    let title = escape(&plan.name.text);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{title}</title>\n<style>.box{{stroke:#456;stroke-width:1.2}}.edge{{fill:none;stroke:#789;stroke-width:1.2}}.quiet{{stroke-dasharray:4 3}}.label{{fill:#345;font-size:10px;paint-order:stroke;stroke:#fff;stroke-width:3px}}.name{{font-weight:bold;fill:#123}}.verb{{fill:#567;font-size:10px}}</style>\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#789\"/></marker></defs>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>"
    );
    for state in layers.iter().flatten() {
        edges_svg(&mut out, state, &at, &lanes);
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

/// Left edge, upper edge and row of each box.
type Places<'p> = BTreeMap<&'p str, (usize, usize, usize)>;

/// Where the lines to each state run up or down, for states that are reached from other than the row above.
fn lanes<'p>(layers: &[Vec<&'p State>], at: &Places<'p>, content: usize) -> BTreeMap<&'p str, usize> {
    let mut lanes = BTreeMap::new();
    for state in layers.iter().flatten() {
        let Some((.., row)) = at.get(&*state.name.text) else { continue };
        for edge in state.node.edges() {
            let Some((to, (.., to_row))) = at.get_key_value(&*edge.to.text) else { continue };
            if *to_row != row + 1 {
                let next = content + (lanes.len() + 1) * LANE;
                lanes.entry(*to).or_insert(next);
            }
        }
    }
    lanes
}

fn edges_svg(out: &mut String, state: &State, at: &Places<'_>, lanes: &BTreeMap<&str, usize>) {
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
        let (start_x, start_y) = (x + (i + 1) * BOX_WIDTH / (count + 1), y + BOX_HEIGHT);
        // From right to left each label stands lower, so that none is written over the next.
        let label_y = start_y + 11 + 10 * (count - 1 - i).min(4);
        let class = if quiet { "edge quiet" } else { "edge" };
        let path = match lanes.get(to) {
            Some(lane) if to_row != row + 1 => {
                // Through the gap below, along the lane, and through the gap above the state: never behind a box.
                let (out_y, in_y, end_x) = (label_y + 4, to_y.saturating_sub(14), to_x + BOX_WIDTH * 3 / 4);
                format!("M{start_x} {start_y}V{out_y}H{lane}V{in_y}H{end_x}V{to_y}")
            }
            _ => {
                let end_x = to_x + BOX_WIDTH / 2;
                format!("M{start_x} {start_y}C{start_x} {} {end_x} {} {end_x} {to_y}", start_y + 50, to_y - 50)
            }
        };
        let _ = writeln!(out, "<path class=\"{class}\" d=\"{path}\" marker-end=\"url(#tip)\"/>");
        let text = labels.join(", ");
        if !text.is_empty() {
            let (text, label_x) = (escape(&text), start_x + 4);
            let _ = writeln!(out, "<text class=\"label\" x=\"{label_x}\" y=\"{label_y}\">{text}</text>");
        }
    }
}

/// As much of a text as fits.
fn cut(text: &str, chars: usize) -> String {
    // A Chinese character is as wide as two letters.
    let mut room = chars;
    let mut out = String::new();
    for c in text.chars() {
        let Some(left) = room.checked_sub(crate::source::width(c)) else {
            out.push('…');
            break;
        };
        room = left;
        out.push(c);
    }
    out
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
        let _ = write!(text, " · key {}", crate::read::key_name(plan.rules.human_key));
    }
    let (full, middle) = (escape(&state.name.text), x + BOX_WIDTH / 2);
    let (name, text) = (escape(&cut(&state.name.text, NAME_CHARS)), escape(&cut(&text, VERB_CHARS)));
    let _ = writeln!(
        out,
        "<g><title>{full}</title><rect class=\"box\"{bold} x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"7\" fill=\"{fill}\"/><text class=\"name\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{name}</text><text class=\"verb\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{text}</text></g>",
        y + 19,
        y + 34
    );
}
