//! `replay`: whether exported sagas would go the same way with the definitions of this program.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use order_service::sagas::{SAGAS, registry};
use saga::{Entry, Registry, State, Table, retrace};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::saga::option;
use crate::{
    archive::{Exported, Line, Lines},
    context::Context,
    failure::Failure,
    screen::{BAD, GOOD, Table as Sheet, Text},
};

/// Sagas that part that are shown.
const SHOWN: usize = 200;

/// Retraces exported sagas with the definitions of this release, and says where it would have decided otherwise; ends with 4
/// if one parts.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Exports; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// What became of the sagas of one definition.
#[derive(Debug, Default, Serialize)]
struct Count {
    /// Those that would go the same way.
    same: u64,
    /// Those that would part.
    parted: u64,
    /// Those whose log has lost its beginning.
    untold: u64,
}

/// A saga that would part from what was logged.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Parted {
    saga_id: Uuid,
    #[serde(rename = "type")]
    kind: String,
    definition_version: i32,
    /// The number of the entry; none where it is about the whole saga.
    seq: Option<i32>,
    why: String,
}

/// What becomes of a saga with the definitions of this program.
enum Outcome {
    Same,
    Untold,
    Parts(Option<i32>, String),
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    counts: BTreeMap<(String, i32), Count>,
    /// The first of those that part.
    parted: Vec<Parted>,
    unfinished: Vec<String>,
}

impl Replay {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let registry = registry(SAGAS).map_err(|error| Failure::Found(error.to_string()))?;
        let mut found = Found::default();
        for file in &self.files {
            found.read(&registry, Lines::open(file)?)?;
        }
        for name in &found.unfinished {
            let line = format!("{name} ends before its export does: there were more sagas");
            context.screen.tell(&Text::styled(BAD, line));
        }
        found.show(context)
    }
}

impl Found {
    fn read(&mut self, registry: &Registry, mut lines: Lines) -> Result<(), Failure> {
        let is_export = matches!(lines.next()?, Some(Line::Export(header)) if header.is_known());
        if !is_export {
            let why =
                "does not begin as an export of this format does: `sagactl export` writes one";
            return Err(Failure::File(format!("{} {why}", lines.name())));
        }
        let mut is_whole = false;
        while let Some(line) = lines.next()? {
            match line {
                Line::Saga(saga) => self.add(registry, *saga),
                Line::End(_) => is_whole = true,
                Line::Cursor(_) | Line::Export(_) => {}
            }
        }
        if !is_whole {
            self.unfinished.push(lines.name().to_owned());
        }
        Ok(())
    }

    fn add(&mut self, registry: &Registry, saga: Exported) {
        let (kind, definition_version) = (saga.kind.clone(), saga.definition_version);
        let count = self.counts.entry((kind.clone(), definition_version));
        let count = count.or_default();
        match outcome(registry, &saga) {
            Outcome::Same => count.same += 1,
            Outcome::Untold => count.untold += 1,
            Outcome::Parts(seq, why) => {
                count.parted += 1;
                if self.parted.len() < SHOWN {
                    self.parted.push(Parted {
                        saga_id: saga.saga_id,
                        kind,
                        definition_version,
                        seq,
                        why,
                    });
                }
            }
        }
    }

    fn show(&self, context: &Context) -> Result<(), Failure> {
        let parted: u64 = self.counts.values().map(|count| count.parted).sum();
        if context.screen.is_json() {
            context.screen.json(&self.json())?;
        } else {
            self.tables(context, parted)?;
        }
        if parted == 0 {
            return Ok(());
        }
        let sagas = if parted == 1 {
            "saga parts"
        } else {
            "sagas part"
        };
        let why = "this release would have decided otherwise";
        Err(Failure::Found(format!(
            "{parted} {sagas} from what was logged: {why}"
        )))
    }

    fn json(&self) -> Value {
        let counts = self.counts.iter().map(|((kind, version), count)| {
            json!({ "type": kind, "definitionVersion": version,
                    "same": count.same, "parted": count.parted, "untold": count.untold })
        });
        json!({ "definitions": counts.collect::<Vec<_>>(), "parted": self.parted, "unfinished": self.unfinished })
    }

    fn tables(&self, context: &Context, parted: u64) -> Result<(), Failure> {
        let mut table = Sheet::new(&["TYPE", "VERSION", "SAME", "PART", "LOG DROPPED"]);
        for ((kind, version), count) in &self.counts {
            let style = if count.parted == 0 { GOOD } else { BAD };
            table.row([
                Text::plain(kind),
                Text::plain(version.to_string()),
                Text::plain(count.same.to_string()),
                Text::styled(style, count.parted.to_string()),
                Text::plain(count.untold.to_string()),
            ]);
        }
        context.screen.table(table)?;
        if self.parted.is_empty() {
            return Ok(());
        }
        context.screen.print(&Text::default())?;
        let mut table = Sheet::new(&["SAGA", "TYPE", "ENTRY", "WHERE IT PARTS"]);
        for one in &self.parted {
            table.row([
                Text::plain(one.saga_id.to_string()),
                Text::plain(format!("{} v{}", one.kind, one.definition_version)),
                option(one.seq.map(|seq| seq.to_string()).as_deref()),
                Text::plain(&one.why),
            ]);
        }
        context.screen.table(table)?;
        let shown = u64::try_from(self.parted.len()).unwrap_or(u64::MAX);
        if parted > shown {
            let more = format!("and {} more", parted - shown);
            context.screen.print(&Text::plain(more))?;
        }
        Ok(())
    }
}

fn outcome(registry: &Registry, saga: &Exported) -> Outcome {
    let (kind, version) = (&saga.kind, saga.definition_version);
    let Some(definition) = registry.find(kind, version) else {
        let why = format!("this release has no definition {kind} v{version}");
        return Outcome::Parts(None, why);
    };
    let table: &dyn Table = definition;
    let mut log = Vec::with_capacity(saga.log.len());
    for line in &saga.log {
        let step = line.step.as_deref();
        match Entry::from_columns(table, &line.event, step, &line.details) {
            Ok(entry) => log.push(entry),
            Err(unreadable) => return Outcome::Parts(Some(line.seq), unreadable.to_string()),
        }
    }
    let first = saga.log.first().map_or(0, |line| line.seq);
    if saga.log_dropped && first != 1 {
        return Outcome::Untold;
    }
    if let Some((seq, line)) = (1..).zip(&saga.log).find(|(seq, line)| *seq != line.seq) {
        let why = format!("the log has entry {} where entry {seq} should be", line.seq);
        return Outcome::Parts(Some(seq), why);
    }
    match retrace(table, &log) {
        Ok(state) => differs(saga, &state).map_or(Outcome::Same, |why| Outcome::Parts(None, why)),
        Err(parting) => {
            let seq = i32::try_from(parting.at + 1).ok();
            Outcome::Parts(seq, parting.why)
        }
    }
}

/// How the end of the log differs from what the saga says of itself.
fn differs(saga: &Exported, state: &State) -> Option<String> {
    let (status, reason) = (state.status().to_string(), state.reason());
    let reason = reason.map(|reason| reason.to_string());
    let ends: [(&str, Option<String>, Option<String>); 4] = [
        ("status", Some(status), Some(saga.status.clone())),
        (
            "step",
            state.step().map(str::to_owned),
            saga.current_step.clone(),
        ),
        ("reason", reason, saga.reason.clone()),
        (
            "version",
            Some(saga.log.len().to_string()),
            Some(saga.version.to_string()),
        ),
    ];
    let (what, here, there) = ends.into_iter().find(|(_, here, there)| here != there)?;
    let shown = |end: Option<String>| end.unwrap_or("none".to_owned());
    Some(format!(
        "the log leads to the {what} {}, and the saga says {}",
        shown(here),
        shown(there)
    ))
}
