//! The graph as a picture. Boxes bring their own ground, and what is outside of them has a grey that can be read on white and
//! on black, so it needs no style sheet, which a page's policy might forbid. No state is told by colour alone.

use std::fmt::Write;

use super::flow::{Edge, Node, NodeKind, NodeState, SagaGraph};

const BOX: (i32, i32) = (132, 58);
const GAP: (i32, i32) = (36, 52);
const MARGIN: i32 = 16;
const TOP: i32 = 44;
/// Contrast of 4.5 to 1 to white and to black.
const GREY: &str = "#767676";

/// The SVG.
pub(super) fn draw(graph: &SagaGraph) -> String {
    let (forward, back): (Vec<_>, Vec<_>) = graph.nodes.iter().partition(|node| !is_back(node));
    let columns = forward.len().max(back.len());
    let width = 2 * MARGIN + pixels(columns) * (BOX.0 + GAP.0) - GAP.0;
    let rows = if back.is_empty() { 1 } else { 2 };
    let height = TOP + MARGIN + rows * (BOX.1 + GAP.1) - GAP.1;
    let places = places(graph, forward.len());
    let title = format!("saga {}: {}, {}", graph.saga_id, graph.kind, graph.status);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-labelledby=\"t d\" font-family=\"system-ui, sans-serif\" font-size=\"14\">\
         <title id=\"t\">{}</title><desc id=\"d\">{}</desc>\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path d=\"M0 0 8 4 0 8z\" fill=\"{GREY}\"/></marker></defs>\
         <text x=\"{MARGIN}\" y=\"26\" fill=\"{GREY}\">{} · {}</text>",
        escaped(&title),
        escaped(&description(graph)),
        escaped(&graph.kind),
        escaped(&graph.status),
    );
    for edge in &graph.edges {
        if let (Some(from), Some(to)) = (place(&places, &edge.from), place(&places, &edge.to)) {
            arrow(&mut svg, edge, from, to);
        }
    }
    for (node, at) in &places {
        station(&mut svg, node, *at);
    }
    svg.push_str("</svg>\n");
    svg
}

fn is_back(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Compensation | NodeKind::Compensated)
}

/// The upper left corner of each box. What leads back runs from right to left, below.
fn places(graph: &SagaGraph, forward: usize) -> Vec<(&Node, (i32, i32))> {
    let x = |column: usize| MARGIN + pixels(column) * (BOX.0 + GAP.0);
    let turn = graph
        .edges
        .iter()
        .find(|edge| edge.back)
        .map(|edge| edge.from.as_str());
    let turn = graph
        .nodes
        .iter()
        .position(|node| Some(node.id.as_str()) == turn);
    let back = graph.nodes.len() - forward;
    // There is room for all of it to the left.
    let mut below = turn.unwrap_or(0).max(back.saturating_sub(1));
    let mut places = Vec::new();
    for (column, node) in graph.nodes.iter().enumerate() {
        if is_back(node) {
            places.push((node, (x(below), TOP + BOX.1 + GAP.1)));
            below = below.saturating_sub(1);
        } else {
            places.push((node, (x(column), TOP)));
        }
    }
    places
}

fn place(places: &[(&Node, (i32, i32))], id: &str) -> Option<(i32, i32)> {
    let found = places.iter().find(|(node, _)| node.id == id);
    found.map(|(_, at)| *at)
}

fn arrow(svg: &mut String, edge: &Edge, from: (i32, i32), to: (i32, i32)) {
    let (middle, half) = (BOX.0 / 2, BOX.1 / 2);
    let (begin, end) = match (edge.back, from.1 == to.1) {
        (false, _) => ((from.0 + BOX.0, from.1 + half), (to.0, to.1 + half)),
        (true, true) => ((from.0, from.1 + half), (to.0 + BOX.0, to.1 + half)),
        (true, false) => ((from.0 + middle, from.1 + BOX.1), (to.0 + middle, to.1)),
    };
    let dashes = if edge.taken {
        ""
    } else {
        " stroke-dasharray=\"4 4\""
    };
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<path d=\"M{} {} {} {}\" stroke=\"{GREY}\" stroke-width=\"2\" fill=\"none\" marker-end=\"url(#a)\"{dashes}/>",
        begin.0, begin.1, end.0, end.1
    );
}

fn station(svg: &mut String, node: &Node, (x, y): (i32, i32)) {
    let (ground, ink) = colours(node.state);
    let dashes = match node.state {
        NodeState::Remaining | NodeState::Skipped => " stroke-dasharray=\"4 4\"",
        _ => "",
    };
    let radius = match node.kind {
        NodeKind::Step | NodeKind::Compensation => 6,
        _ => BOX.1 / 2,
    };
    let middle = x + BOX.0 / 2;
    let _ = write!(
        svg,
        "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"{radius}\" fill=\"{ground}\" \
         stroke=\"{GREY}\"{dashes}/><text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\" \
         font-weight=\"600\">{}</text><text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\" \
         font-size=\"12\">{}</text></g>",
        escaped(&described(node)),
        BOX.0,
        BOX.1,
        y + 25,
        escaped(&shortened(&node.label)),
        y + 44,
        escaped(&state(node)),
    );
}

/// The ground of a box, and what is written on it: each pair has a contrast of at least 4.5 to 1.
fn colours(state: NodeState) -> (&'static str, &'static str) {
    match state {
        NodeState::Done => ("#1b6e3c", "#ffffff"),
        NodeState::Current => ("#0b5cad", "#ffffff"),
        NodeState::Parked => ("#a84300", "#ffffff"),
        NodeState::Rejected => ("#a61b1b", "#ffffff"),
        NodeState::Undone => ("#5d4a73", "#ffffff"),
        NodeState::Remaining => ("#eef1f4", "#37424d"),
        NodeState::Skipped => ("#e0e0e0", "#5c5c5c"),
    }
}

fn state(node: &Node) -> String {
    match (node.state, node.attempts) {
        (NodeState::Current | NodeState::Parked, Some(attempts)) => {
            format!("{}, attempt {attempts}", node.state)
        }
        (state, _) => state.to_string(),
    }
}

fn described(node: &Node) -> String {
    let error = node
        .last_error
        .as_deref()
        .map(|error| format!(" ({error})"));
    format!(
        "{}: {}{}",
        node.label,
        state(node),
        error.unwrap_or_default()
    )
}

/// All of it in words, for those who do not see it.
fn description(graph: &SagaGraph) -> String {
    let nodes: Vec<_> = graph.nodes.iter().map(described).collect();
    nodes.join("; ")
}

/// A name that fits into a box.
fn shortened(text: &str) -> String {
    const MAX: usize = 16;
    match text.chars().count() {
        ..=MAX => text.to_owned(),
        _ => text.chars().take(MAX - 1).chain(['…']).collect(),
    }
}

/// Text for XML, which has no control characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

fn pixels(count: usize) -> i32 {
    i32::try_from(count)
        .unwrap_or(i32::MAX / 1000)
        .min(i32::MAX / 1000)
}
