//! Looks every few seconds how many sagas are open and parked, where, and since when.

use std::collections::BTreeMap;

use common::{
    db,
    gauges::{LOOK_EVERY, looked},
    metrics::{Metric, OTHER},
    watchdog::Turns,
};
use sqlx::PgExecutor;
use tokio_util::sync::CancellationToken;

use crate::{
    Engine, Registry,
    metrics::{NOW_PARKED, OLDEST, OPEN, OVERDUE, SAMPLED},
    store,
    table::Table,
};

/// Looks until `stop`. Where the database does not tell, what was seen last stays.
pub async fn run(engine: Engine, stop: CancellationToken) {
    let mut turns = Turns::new(LOOK_EVERY, stop);
    while turns.next().await {
        if let Ok(seen) = db::in_time(look(engine.db(), engine.registry())).await {
            seen.tell();
            looked(&SAMPLED);
        }
    }
}

/// What was seen, with the zeros where nothing was.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    open: BTreeMap<[&'static str; 3], f64>,
    parked: BTreeMap<[&'static str; 2], f64>,
    oldest: BTreeMap<[&'static str; 1], f64>,
    overdue: BTreeMap<[&'static str; 1], f64>,
}

impl Seen {
    fn nothing(registry: &Registry) -> Self {
        let mut seen = Self::default();
        let steps = registry.definitions().flat_map(|definition| {
            let table: &dyn Table = definition;
            table
                .plans()
                .map(|plan| (definition.name(), plan.name))
                .collect::<Vec<_>>()
        });
        for (name, step) in steps.chain([(OTHER, OTHER)]) {
            for status in ["RUNNING", "COMPENSATING"] {
                seen.open.insert([name, status, step], 0.0);
            }
            seen.parked.insert([name, step], 0.0);
            seen.oldest.insert([name], 0.0);
            seen.overdue.insert([name], 0.0);
        }
        seen
    }

    fn tell(&self) {
        tell(&OPEN, &self.open);
        tell(&NOW_PARKED, &self.parked);
        tell(&OLDEST, &self.oldest);
        tell(&OVERDUE, &self.overdue);
    }

    /// A step that a definition has; what only another version of the program knows is not told apart.
    fn known(&self, name: &str, step: &str) -> [&'static str; 2] {
        let mut known = self.parked.keys();
        let known = known.find(|[its, own]| *its == name && *own == step);
        known.copied().unwrap_or([OTHER, OTHER])
    }
}

fn tell<const N: usize>(metric: &Metric, values: &BTreeMap<[&'static str; N], f64>) {
    for (labels, value) in values {
        metric.set(labels, *value);
    }
}

async fn look(db: impl PgExecutor<'_>, registry: &Registry) -> sqlx::Result<Seen> {
    let mut seen = Seen::nothing(registry);
    for waiting in store::waiting(db).await? {
        let [name, step] = seen.known(&waiting.name, &waiting.step);
        let sagas = waiting.count as f64;
        let status = match &*waiting.status {
            "PARKED" => {
                *seen.parked.entry([name, step]).or_default() += sagas;
                continue;
            }
            "COMPENSATING" => "COMPENSATING",
            _ => "RUNNING",
        };
        *seen.open.entry([name, status, step]).or_default() += sagas;
        *seen.overdue.entry([name]).or_default() += waiting.overdue as f64;
        let oldest = seen.oldest.entry([name]).or_default();
        *oldest = oldest.max(waiting.oldest_seconds);
    }
    Ok(seen)
}
