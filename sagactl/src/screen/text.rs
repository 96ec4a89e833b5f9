//! A line for people: words in styles, of which none can take over the terminal.

use std::fmt;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar;

/// Characters of what a service says that are shown in one place.
const LONGEST: usize = 4000;

/// What is faint: times, hints.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// What stands out: headings.
pub(crate) const BOLD: Style = Style::new().bold();
/// What is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What is under way.
pub(crate) const BUSY: Style = AnsiColor::Cyan.on_default();
/// What goes back, or has gone back.
pub(crate) const BACK: Style = AnsiColor::Yellow.on_default();
/// What somebody has to look at.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Words in styles, without a control character, whoever wrote them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text(Vec<(Style, String)>);

impl Text {
    /// The style of words that mean nothing in particular.
    pub(crate) const NO_STYLE: Style = Style::new();

    /// Words in no style.
    pub(crate) fn plain(words: impl AsRef<str>) -> Self {
        Self::styled(Style::new(), words)
    }

    /// Words in `style`.
    pub(crate) fn styled(style: Style, words: impl AsRef<str>) -> Self {
        Self(vec![(style, clean(words.as_ref()))])
    }

    /// The status of a saga, of a node, or of a job.
    pub(crate) fn status(status: &str) -> Self {
        let style = match status {
            "COMPLETED" | "DONE" => GOOD,
            "RUNNING" | "CURRENT" | "PENDING" => BUSY,
            "COMPENSATING" | "COMPENSATED" | "UNDONE" | "CANCELLED" | "SKIPPED" => BACK,
            "PARKED" | "REJECTED" => BAD,
            _ => Style::new(),
        };
        Self::styled(style, status)
    }

    /// This and `more` behind it.
    #[must_use]
    pub(crate) fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// This and so many spaces that it is `width` columns wide.
    #[must_use]
    pub(crate) fn padded(self, width: usize) -> Self {
        let missing = width.saturating_sub(self.width());
        self.and(Self::plain(" ".repeat(missing)))
    }

    /// Columns that it takes.
    pub(crate) fn width(&self) -> usize {
        let words = self.0.iter();
        words
            .map(|(_, words)| words.chars().map(wide).sum::<usize>())
            .sum()
    }

    /// As much of it as fits into `width` columns, with a sign where something is missing.
    #[must_use]
    pub(crate) fn cut(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut left = width.saturating_sub(1);
        let mut kept = Vec::new();
        for (style, words) in self.0 {
            let fitting: String = words
                .chars()
                .take_while(|c| {
                    let fits = wide(*c) <= left;
                    left = if fits { left - wide(*c) } else { 0 };
                    fits
                })
                .collect();
            let is_whole = fitting.len() == words.len();
            kept.push((style, fitting));
            if !is_whole {
                break;
            }
        }
        Self(kept).and(Self::plain("…"))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (style, words) in &self.0 {
            write!(f, "{style}{words}{style:#}")?;
        }
        Ok(())
    }
}

fn wide(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Whether a terminal takes the character for more than a sign: control characters, and those that change the direction
/// of what follows.
pub(super) fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The words with their control characters written out, and not without end.
fn clean(words: &str) -> String {
    let mut clean = String::with_capacity(words.len().min(LONGEST));
    for (count, c) in words.chars().enumerate() {
        if count == LONGEST {
            clean.push('…');
            break;
        }
        if is_hostile(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_takes_over_the_terminal() {
        let hostile = "a\u{1b}]0;title\u{7}\nb\u{9b}2J\u{202e}c\u{7f}";
        let shown = Text::plain(hostile).to_string();
        assert_eq!(shown, r"a\u{1b}]0;title\u{7}\nb\u{9b}2J\u{202e}c\u{7f}");
        let long = Text::plain("x".repeat(LONGEST + 5));
        assert_eq!(long.width(), LONGEST + 1);
    }

    #[test]
    fn what_is_cut_fits_and_says_so() {
        let text = || Text::styled(BAD, "Zürich ").and(Text::plain("東京 and more"));
        assert_eq!(text().width(), 20);
        for width in 1..20 {
            let cut = text().cut(width);
            assert!(cut.width() <= width, "{width}: {cut}");
            assert!(cut.to_string().contains('…'));
        }
        assert_eq!(text().cut(20).width(), 20);
        assert_eq!(Text::plain("ab").padded(4).width(), 4);
    }
}
