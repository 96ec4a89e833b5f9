//! Logs that releases have written: today's code still has to understand them.

use std::{fs, path::Path};

use common::contract::Reason;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    registry::Registry,
    state::{Entry, State, Status},
    table::Table,
};

/// The log of a saga as it is in its table, and the state that it added up to.
///
/// ```json
/// {"type": "book_trip", "version": 1,
///  "log": [{"event": "SAGA_STARTED", "step": null, "details": {}},
///          {"event": "ACTION_SENT", "step": "flight", "details": {"attempt": 1}}],
///  "state": {"status": "RUNNING", "step": "flight", "attempt": 1, "reason": null}}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    #[serde(rename = "type")]
    name: String,
    version: i32,
    log: Vec<Row>,
    state: Columns,
}

/// A row of table `saga_log`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    event: String,
    step: Option<String>,
    details: Value,
}

/// The state's columns of table `sagas`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    status: Status,
    step: Option<String>,
    attempt: u32,
    reason: Option<Reason>,
}

impl Sample {
    /// What is written of a saga with this log and state.
    pub(super) fn of(table: &dyn Table, log: &[Entry], state: State) -> Self {
        Self {
            name: table.name().to_owned(),
            version: table.version(),
            log: log.iter().map(Row::of).collect(),
            state: Columns::of(state),
        }
    }

    /// The sample as JSON, to be committed.
    #[must_use]
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("a sample is plain JSON");
        json + "\n"
    }

    /// Folds the log, and says what is wrong if that is not its state.
    fn replay(&self, registry: &Registry) -> Result<(), String> {
        let (name, version) = (&self.name, self.version);
        let definition = registry
            .find(name, version)
            .ok_or_else(|| format!("there is no definition {name} v{version} any more"))?;
        let entries: Result<Vec<_>, _> = self.log.iter().map(|row| row.read(definition)).collect();
        let entries = entries.map_err(|error| error.to_string())?;
        let folded = State::fold(definition, &entries).map_err(|error| error.to_string())?;
        let folded = folded.ok_or("its log is empty")?;
        let columns = Columns::of(folded);
        if columns != self.state {
            return Err(format!(
                "its log adds up to {columns:?}, not to {:?}",
                self.state
            ));
        }
        match self.state.read(definition) {
            Some(state) if state == folded => Ok(()),
            other => Err(format!(
                "its columns are read as {other:?}, not as {folded:?}"
            )),
        }
    }
}

impl Row {
    fn of(entry: &Entry) -> Self {
        let (event, details) = entry.to_columns();
        Self {
            event,
            step: entry.step.map(str::to_owned),
            details: serde_json::from_str(&details).expect("details are JSON"),
        }
    }

    fn read(&self, table: &dyn Table) -> Result<Entry, crate::state::Unreadable> {
        Entry::from_columns(table, &self.event, self.step.as_deref(), &self.details)
    }
}

impl Columns {
    fn of(state: State) -> Self {
        Self {
            status: state.status(),
            step: state.step().map(str::to_owned),
            attempt: state.attempt(),
            reason: state.reason(),
        }
    }

    fn read(&self, table: &dyn Table) -> Option<State> {
        let step = self.step.as_deref();
        State::from_columns(table, self.status, step, self.attempt, self.reason)
    }
}

/// Folds every [`Sample`] in the JSON files of `folder`, and sees to it that each adds up to its state, and that each
/// definition of `registry` has one. A [`Scenario`](super::Scenario) makes samples; once their version is released,
/// nobody changes them.
///
/// # Panics
/// One of them is not understood, or adds up to another state; a definition has none.
pub fn replay(registry: &Registry, folder: impl AsRef<Path>) {
    let samples = read(folder.as_ref());
    for (file, sample) in &samples {
        if let Err(problem) = sample.replay(registry) {
            panic!("{file}: {problem}");
        }
    }
    for definition in registry.definitions() {
        let (name, version) = (definition.name(), definition.version());
        assert!(
            samples
                .iter()
                .any(|(_, sample)| sample.name == name && sample.version == version),
            "no sample in {} is a log of {name} v{version}",
            folder.as_ref().display(),
        );
    }
}

fn read(folder: &Path) -> Vec<(String, Sample)> {
    let listed = fs::read_dir(folder);
    let listed = listed.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut samples: Vec<_> = listed
        .map(|file| file.unwrap_or_else(|error| panic!("{}: {error}", folder.display())))
        .map(|file| file.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let file = path.display().to_string();
            let json = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
            let sample = serde_json::from_str(&json);
            (
                file.clone(),
                sample.unwrap_or_else(|error| panic!("{file}: {error}")),
            )
        })
        .collect();
    samples.sort_by(|(one, _), (other, _)| one.cmp(other));
    samples
}
