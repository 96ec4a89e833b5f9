//! What became of the orders, as a table.

use std::io::IsTerminal as _;

use super::play::Outcome;
use crate::settings::process_environment;

/// Colours, where somebody can see them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    ///
    /// Source: <https://no-color.org>
    pub(super) fn for_stdout() -> Self {
        let is_refused =
            process_environment().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
        Self(std::io::stdout().is_terminal() && !is_refused)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.code("32", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.code("31", text)
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

const HEADER: [&str; 7] = [
    "kind",
    "order",
    "became",
    "reason",
    "payment",
    "reservation",
    "took",
];

/// Prints one line for each order; those that did not end as they should are marked.
pub(super) fn print(outcomes: &[Outcome], paint: Paint) {
    let rows: Vec<[String; 7]> = outcomes.iter().map(row).collect();
    let lines = lines(&rows);
    println!("  {}", paint.bold(&lines[0]));
    for (line, outcome) in lines[1..].iter().zip(outcomes) {
        let mark = if outcome.problems.is_empty() {
            paint.green("✔")
        } else {
            paint.red("✘")
        };
        println!("{mark} {line}");
    }
}

fn row(outcome: &Outcome) -> [String; 7] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        outcome.kind.to_owned(),
        or_dash(&outcome.order_id),
        or_dash(&outcome.became),
        or_dash(&outcome.reason),
        or_dash(&outcome.payment),
        or_dash(&outcome.reservation),
        format!("{} ms", outcome.took.as_millis()),
    ]
}

/// The header and the rows, in columns as wide as they need to be. Numbers are to the right.
fn lines(rows: &[[String; 7]]) -> Vec<String> {
    let header = HEADER.map(str::to_owned);
    let all = || std::iter::once(&header).chain(rows);
    let width = |column: usize| {
        let widths = all().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            6 => format!("{cell:>width$}"),
            _ => format!("{cell:width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    all().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_is_in_them() {
        let row = |kind: &str, took: &str| {
            let mut row = std::array::from_fn(|_| "–".to_owned());
            row[0] = kind.to_owned();
            row[6] = took.to_owned();
            row
        };
        let lines = lines(&[row("success", "7 ms"), row("cancelled – later", "1234 ms")]);
        assert_eq!(lines.len(), 3);
        let length = lines[0].chars().count();
        assert!(
            lines.iter().all(|line| line.chars().count() == length),
            "{lines:#?}"
        );
        assert!(lines[1].ends_with("     7 ms"));
    }
}
