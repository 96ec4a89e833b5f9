//! Rows below each other: aligned, and never wrapped.

use super::text::{BOLD, Text};

/// Between two columns.
const GAP: usize = 2;
/// The last column is not cut below this.
const LAST_LEAST: usize = 12;

/// A table for people.
#[derive(Debug)]
pub(crate) struct Table {
    heads: Vec<Text>,
    rows: Vec<Vec<Text>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(heads: &[&str]) -> Self {
        let heads = heads.iter().map(|head| Text::styled(BOLD, head));
        Self {
            heads: heads.collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, which has a cell for each column.
    pub(crate) fn row<const COLUMNS: usize>(&mut self, cells: [Text; COLUMNS]) {
        debug_assert_eq!(COLUMNS, self.heads.len(), "a cell for each column");
        self.rows.push(cells.into());
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its lines. On a terminal, which is `width` columns wide, the last column is cut where it does not fit; elsewhere,
    /// nothing ever is.
    pub(crate) fn lines(self, width: Option<usize>) -> Vec<Text> {
        let all = || std::iter::once(&self.heads).chain(&self.rows);
        let widest = |column: usize| all().map(|row| row[column].width()).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.heads.len()).map(widest).collect();
        let before: usize = widths.iter().rev().skip(1).map(|width| width + GAP).sum();
        let last_most = width.map(|width| width.saturating_sub(before).max(LAST_LEAST));
        let lines = std::iter::once(self.heads.clone()).chain(self.rows);
        lines.map(|row| line(row, &widths, last_most)).collect()
    }
}

/// A row, whose cells begin where their columns do; behind the last one that is not empty, there is nothing.
fn line(row: Vec<Text>, widths: &[usize], last_most: Option<usize>) -> Text {
    let last = row.len().saturating_sub(1);
    let (mut line, mut begin) = (Text::default(), 0);
    for (column, (cell, width)) in row.into_iter().zip(widths).enumerate() {
        let cell = match last_most {
            Some(most) if column == last => cell.cut(most),
            _ => cell,
        };
        if cell.width() > 0 {
            line = line.padded(begin).and(cell);
        }
        begin += width + GAP;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["A", "LONG"]);
        table.row([Text::plain("東京"), Text::plain("x".repeat(100))]);
        table.row([Text::plain("b"), Text::plain("y")]);
        table
    }

    #[test]
    fn columns_are_aligned_and_what_is_piped_is_whole() {
        let lines: Vec<_> = table().lines(None);
        assert_eq!(lines[1].width(), 4 + GAP + 100);
        assert_eq!(lines[2].to_string(), "b     y");
        let mut empty = Table::new(&["A", "B"]);
        empty.row([Text::plain("a"), Text::plain("")]);
        assert_eq!(empty.lines(Some(40))[1].to_string(), "a");
        for line in table().lines(Some(40)) {
            assert!(line.width() <= 40, "{line}");
        }
        // On the narrowest terminal, something is still to be seen.
        assert_eq!(table().lines(Some(3))[1].width(), 4 + GAP + LAST_LEAST);
    }
}
