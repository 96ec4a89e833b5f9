//! The results as pictures: sagas a second, and what a thousand of them cost by process; and how scenarios went on.

use std::fmt::Write as _;

use common::fleet;

use crate::course::Course;
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

/// The scenarios whose course is drawn, where they are in the results.
const COURSES: [&str; 3] = ["overload", "absence", "outage"];
/// The size of the chart of a course, and the space between two.
const CHART: (f64, f64) = (640.0, 150.0);
const GAP: f64 = 90.0;

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
    let mut svg = begin(height);
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
    legend(&mut svg, LEFT, height - ROW, 140.0, PARTS);
    svg + "</svg>\n"
}

/// An SVG document: how scenarios went on.
pub(crate) fn courses(results: &Results) -> String {
    let is_drawn = |row: &&Outcome| COURSES.contains(&row.scenario.as_str());
    let rows: Vec<&Outcome> = results.scenarios.iter().filter(is_drawn).collect();
    let height = (CHART.1 + GAP) * rows.len() as f64;
    let mut svg = begin(height);
    for (row, outcome) in rows.iter().enumerate() {
        let top = 50.0 + (CHART.1 + GAP) * row as f64;
        text(&mut svg, LEFT, top - 25.0, "start", &outcome.scenario);
        course(&mut svg, top, &outcome.course);
    }
    svg + "</svg>\n"
}

fn course(svg: &mut String, top: f64, course: &Course) {
    let bottom = top + CHART.1;
    let seconds = course.part_s * course.open.len() as f64;
    let open: Vec<_> = course.open.iter().map(|open| *open as f64).collect();
    let rates = [
        ("accepted/s", &course.accepted_per_s, "#4269d0"),
        ("ended/s", &course.ended_per_s, "#3ca951"),
        ("refused/s", &course.refused_per_s, "#ff725c"),
    ];
    let fastest = largest(
        rates
            .iter()
            .flat_map(|(_, values, _)| values.iter().copied()),
    );
    let most = largest(open.iter().copied());
    line(svg, bottom, &open, most, "#bbbbbb");
    for (_, values, colour) in rates {
        line(svg, bottom, values, fastest, colour);
    }
    let right = LEFT + CHART.0;
    let _ = writeln!(
        svg,
        r##"<path d="M{LEFT} {top}V{bottom}H{right}V{top}" fill="none" stroke="#333"/>"##
    );
    text(
        svg,
        LEFT - 8.0,
        top + 10.0,
        "end",
        &format!("{fastest:.0}/s"),
    );
    text(
        svg,
        right + 8.0,
        top + 10.0,
        "start",
        &format!("{most:.0} open"),
    );
    text(svg, LEFT, bottom + 16.0, "start", "0 s");
    text(svg, right, bottom + 16.0, "end", &format!("{seconds:.0} s"));
    let names = rates.map(|(name, _, colour)| (name, colour));
    let names = names.into_iter().chain([("open (right scale)", "#bbbbbb")]);
    legend(svg, LEFT + 90.0, bottom + 6.0, 110.0, names);
}

/// What colours mean, from left to right.
fn legend(
    svg: &mut String,
    mut x: f64,
    y: f64,
    step: f64,
    names: impl IntoIterator<Item = (&'static str, &'static str)>,
) {
    for (name, colour) in names {
        let _ = writeln!(
            svg,
            r#"<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>"#
        );
        text(svg, x + 17.0, y + 10.0, "start", name);
        x += step;
    }
}

fn line(svg: &mut String, bottom: f64, values: &[f64], largest: f64, colour: &str) {
    let step = CHART.0 / values.len().max(1) as f64;
    let mut points = String::new();
    for (n, value) in values.iter().enumerate() {
        let x = LEFT + step * (n as f64 + 0.5);
        let y = bottom - CHART.1 * value / largest;
        let _ = write!(points, "{x:.1},{y:.1} ");
    }
    let _ = writeln!(
        svg,
        r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>"#
    );
}

/// The beginning of a document.
fn begin(height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    )
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
