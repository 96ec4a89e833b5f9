//! The results as a picture: sagas a second, and what a thousand of them cost by process.

use std::fmt::Write as _;

use common::fleet;

use crate::report::{Outcome, Results};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 110.0;
/// Where the second chart begins, and how wide the bars of each may be.
const RIGHT: f64 = 500.0;
const BARS: f64 = 270.0;
const ROW: f64 = 26.0;
const TOP: f64 = 64.0;
/// Sagas a second below which most of the cost is that of waiting: such a bar is cut off.
const BUSY: f64 = 100.0;

/// A process and its colour.
const PARTS: [(&str, &str); 5] = [
    (fleet::ORDER.program.name, "#4269d0"),
    (fleet::PAYMENT.program.name, "#97bbf5"),
    (fleet::INVENTORY.program.name, "#6cc5b0"),
    ("postgresql", "#efb118"),
    ("rabbitmq", "#ff725c"),
];

/// An SVG document.
pub(crate) fn svg(results: &Results) -> String {
    let rows: Vec<&Outcome> = results.scenarios.iter().collect();
    let height = TOP + ROW * (rows.len() + 2) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text(&mut svg, LEFT, 24.0, "start", "Sagas a second");
    text(&mut svg, RIGHT, 24.0, "start", "CPU seconds per 1000 sagas");
    let fastest = largest(rows.iter().map(|row| row.sagas_per_s));
    let busy = rows.iter().filter(|row| row.sagas_per_s >= BUSY);
    let dearest = largest(busy.map(|row| total(row)));
    for (row, outcome) in rows.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        text(&mut svg, LEFT - 8.0, y + 14.0, "end", &outcome.scenario);
        let width = BARS * outcome.sagas_per_s / fastest;
        bar(&mut svg, LEFT, y, width, "#4269d0");
        let rate = format!("{:.0}", outcome.sagas_per_s);
        text(&mut svg, LEFT + width + 5.0, y + 14.0, "start", &rate);
        costs(&mut svg, y, outcome, dearest);
    }
    let mut x = LEFT;
    for (name, colour) in PARTS {
        let y = height - ROW;
        let _ = writeln!(
            svg,
            r#"<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>"#
        );
        text(&mut svg, x + 17.0, y + 10.0, "start", name);
        x += 140.0;
    }
    svg + "</svg>\n"
}

fn costs(svg: &mut String, y: f64, outcome: &Outcome, dearest: f64) {
    let Some(cost) = &outcome.cost else { return };
    let mut x = RIGHT;
    let is_cut_off = total(outcome) > dearest;
    let dearest = dearest.max(total(outcome));
    for (name, colour) in PARTS {
        let seconds = cost.cpu_per_1000.get(name).copied().unwrap_or_default();
        let width = BARS * seconds / dearest;
        bar(svg, x, y, width, colour);
        x += width;
    }
    let cut_off = if is_cut_off { " (cut)" } else { "" };
    let all = format!("{:.2}{cut_off}", cost.cpu_per_1000_total);
    text(svg, x + 5.0, y + 14.0, "start", &all);
}

fn total(outcome: &Outcome) -> f64 {
    outcome
        .cost
        .as_ref()
        .map_or(0.0, |cost| cost.cpu_per_1000_total)
}

/// Never 0, for it divides.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::MIN_POSITIVE, f64::max)
}

fn bar(svg: &mut String, x: f64, y: f64, width: f64, colour: &str) {
    let height = ROW - 8.0;
    let _ = writeln!(
        svg,
        r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height}" fill="{colour}"/>"#
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
    );
}
