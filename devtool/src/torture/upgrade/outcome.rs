//! What an upgrade was, and whether everything held.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use serde::Deserialize;
use test_support::system::Databases;

use super::super::load::Seen;
use super::super::report::Outcome;
use super::super::system::System;

/// Bunyan's number for errors.
const ERROR: u16 = 50;

/// What an upgrade was.
#[derive(Debug)]
pub(super) struct Upgraded {
    /// What torture looks at, too.
    pub(super) outcome: Outcome,
    /// What replicas logged as warnings and errors, and how often.
    pub(super) complaints: BTreeMap<Line, usize>,
}

/// A line of a log: the replica's number and its process do not matter.
#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    level: u16,
    name: String,
    msg: String,
}

impl Upgraded {
    /// Whether everything held, and nobody had to do anything for it.
    pub(super) fn is_good(&self) -> bool {
        self.outcome.is_good()
            && self.outcome.operator.retried.is_empty()
            && self.dead_letters() == 0
            && self.errors().next().is_none()
    }

    fn dead_letters(&self) -> u32 {
        let counts = self.outcome.audit.dead_letters.iter().flatten();
        counts.filter_map(|(_, count)| *count).sum()
    }

    fn errors(&self) -> impl Iterator<Item = &Line> {
        self.complaints.keys().filter(|line| line.level >= ERROR)
    }

    /// Prints it.
    ///
    /// # Errors
    /// A database does not answer.
    pub(super) async fn print(&self, seen: &Seen, databases: &Databases) -> Result<()> {
        for (line, count) in &self.complaints {
            let mark = if line.level >= ERROR { "✘" } else { "·" };
            println!("{mark} {} said {count} times: {}", line.name, line.msg);
        }
        let parked = self.outcome.operator.retried.len();
        if parked > 0 {
            println!("✘ {parked} sagas parked");
        }
        if self.dead_letters() > 0 {
            println!("✘ {} dead letters", self.dead_letters());
        }
        self.outcome.print(seen, databases).await
    }
}

/// What the replicas logged as warnings and errors.
pub(super) fn complaints(system: &System) -> BTreeMap<Line, usize> {
    let mut complaints = BTreeMap::new();
    for (_, log) in system.logs() {
        let text = fs::read(log).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines() {
            if let Ok(line) = serde_json::from_str::<Line>(line) {
                *complaints.entry(line).or_default() += 1;
            }
        }
    }
    complaints
}
