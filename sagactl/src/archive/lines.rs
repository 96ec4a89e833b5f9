//! Reading an export line by line, whoever wrote it.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::line::Line;
use crate::{failure::Failure, input};

/// The most bytes of a line.
const LONGEST: u64 = 64 << 20;

/// The lines of an export.
pub(crate) struct Lines {
    from: BufReader<Box<dyn Read>>,
    name: String,
    number: u64,
    /// Bytes of the lines that were read.
    pub(crate) bytes: u64,
}

impl Lines {
    /// The lines of the file at `path`, or of standard input where that is `-`.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let from = input::open(path)
            .map_err(|error| Failure::File(format!("{name} cannot be read: {error}")))?;
        Ok(Self {
            from: BufReader::new(from),
            name,
            number: 0,
            bytes: 0,
        })
    }

    /// What it is read from.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The next line; none at the end. A line that was not written to its end is none.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, Failure> {
        let mut line = Vec::new();
        let mut from = (&mut self.from).take(LONGEST);
        let read = from.read_until(b'\n', &mut line);
        self.number += 1;
        let count = read.map_err(|error| self.wrong(&error))?;
        if line.pop() != Some(b'\n') {
            let is_too_long = u64::try_from(count).unwrap_or(u64::MAX) == LONGEST;
            if is_too_long {
                return Err(self.wrong(&"it is longer than 64 MiB"));
            }
            return Ok(None);
        }
        let read = serde_json::from_slice(&line);
        let read = read.map_err(|error| self.wrong(&format!("it is not of an export: {error}")))?;
        self.bytes += u64::try_from(count).unwrap_or(u64::MAX);
        Ok(Some(read))
    }

    fn wrong(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::File(format!("{} line {}: {why}", self.name, self.number))
    }
}
