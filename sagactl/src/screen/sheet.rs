//! Where it is shown, and in which form.

use std::io::{self, BufRead, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use serde_json::Value;

use super::{
    table::Table,
    text::{BOLD, Text, is_hostile},
};
use crate::failure::Failure;

/// The longest answer to a question, in bytes.
const ANSWER_MAX: u64 = 100;
/// Columns for the names of facts.
const NAMES: usize = 15;

/// In which form answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: what the service answered.
    Json,
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Also elsewhere.
    Always,
    /// Nowhere.
    Never,
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::AlwaysAnsi,
            Color::Never => Self::Never,
        }
    }
}

/// Standard output and standard error.
#[derive(Debug)]
pub(crate) struct Screen {
    format: Format,
    color: ColorChoice,
    width: Option<usize>,
}

impl Screen {
    /// The screen of this process.
    pub(crate) fn new(format: Format, color: Color) -> Self {
        Self {
            format,
            color: color.into(),
            width: width(),
        }
    }

    /// A screen of which nothing is known yet.
    pub(crate) fn plain() -> Self {
        Self::new(Format::Table, Color::Auto)
    }

    /// Whether answers are for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Shows a line of an answer.
    pub(crate) fn print(&self, line: &Text) -> Result<(), Failure> {
        let mut out = AutoStream::new(io::stdout().lock(), self.color);
        Ok(writeln!(out, "{}", line.to_string().trim_end())?)
    }

    /// Shows a table.
    pub(crate) fn table(&self, table: Table) -> Result<(), Failure> {
        for line in table.lines(self.width) {
            self.print(&line)?;
        }
        Ok(())
    }

    /// Shows facts, each with its name before it.
    pub(crate) fn facts(
        &self,
        facts: impl IntoIterator<Item = (&'static str, Text)>,
    ) -> Result<(), Failure> {
        for (name, fact) in facts {
            self.print(&Text::styled(BOLD, name).padded(NAMES).and(fact))?;
        }
        Ok(())
    }

    /// Shows JSON, each value on lines of its own.
    pub(crate) fn json(&self, value: &Value) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        Ok(writeln!(io::stdout().lock(), "{}", escaped(&text, true))?)
    }

    /// Shows JSON on one line.
    pub(crate) fn json_line(&self, value: &Value) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        Ok(writeln!(io::stdout().lock(), "{}", escaped(&text, false))?)
    }

    /// Tells JSON.
    pub(crate) fn tell_json(&self, value: &Value) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        Ok(writeln!(io::stderr().lock(), "{}", escaped(&text, true))?)
    }

    /// Tells how it is going: never a part of the answer.
    pub(crate) fn tell(&self, line: &Text) {
        let mut err = AutoStream::new(io::stderr().lock(), self.color);
        // There is nobody left to tell.
        let _gone = writeln!(err, "{}", line.to_string().trim_end());
    }

    /// Tells a table.
    pub(crate) fn tell_table(&self, table: Table) {
        for line in table.lines(self.width) {
            self.tell(&line);
        }
    }

    /// Shows a line on standard output, or on standard error where it is `aside`.
    pub(crate) fn line(&self, aside: bool, line: &Text) -> Result<(), Failure> {
        if aside {
            self.tell(line);
            return Ok(());
        }
        self.print(line)
    }

    /// Whether somebody is there who can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks whether to do it.
    ///
    /// # Errors
    /// The answer is not yes, or nobody is there to be asked.
    pub(crate) fn confirm(&self, question: &str) -> Result<(), Failure> {
        if !self.can_ask() {
            let why = "there is no terminal to ask on: say --yes to do it, or --dry-run to see only what would follow";
            return Err(Failure::Usage(why.to_owned()));
        }
        let mut err = AutoStream::new(io::stderr().lock(), self.color);
        write!(err, "{} [y/N] ", Text::plain(question))?;
        err.flush()?;
        let mut answer = String::new();
        io::Read::take(io::stdin().lock(), ANSWER_MAX).read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::Declined),
        }
    }
}

/// JSON text whose strings hold no character that a terminal would take for more than a sign.
fn escaped(json: &str, is_pretty: bool) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hostile(c) && !(is_pretty && c == '\n') {
            // All of them are in the basic plane, and in strings.
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

/// Columns of the terminal that answers go to, if it is one.
fn width() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_stays_json_and_holds_no_control_character() {
        let value = json!({ "a": "\u{1b}[2J \u{9b}31m \u{202e} ü", "b": [1, 2] });
        for is_pretty in [true, false] {
            let text = if is_pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                serde_json::to_string(&value).unwrap()
            };
            let shown = escaped(&text, is_pretty);
            assert!(
                !shown.chars().any(|c| is_hostile(c) && c != '\n'),
                "{shown}"
            );
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }
    }
}
