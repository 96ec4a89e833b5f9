//! The idempotency table: what a service has done already, and what it replied.
//!
//! Its key is (saga, step, direction). Participants store their reply beside it, and send it again when they are asked
//! again. The orchestrator stores nothing there, for what it did is in the saga log. Rows are dropped when their saga
//! began more than `RETENTION_DAYS` ago.

use std::{collections::HashMap, fmt, sync::Arc};

use sqlx::{PgExecutor, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    contract::SagaId,
    db::{self, Writes, retention::Table},
};

/// The table of a participant, which does not know which sagas are open.
pub const TABLE: Table = Table {
    name: "idempotency",
    in_use: None,
};

/// Forward or back.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Direction {
    /// A step's action: take the money.
    Action,
    /// What undoes it: give the money back.
    Compensation,
}

/// What is done at most once. Displayed as `saga:step:DIRECTION`, which gateways get as their idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The saga.
    pub saga: SagaId,
    /// Its step.
    pub step: String,
    /// The step's action or its compensation.
    pub direction: Direction,
}

impl Key {
    /// The key of the step's action.
    #[must_use]
    pub fn action(&self) -> Self {
        Self {
            direction: Direction::Action,
            ..self.clone()
        }
    }

    /// The sagas, steps and directions of `keys`, for `UNNEST`.
    #[must_use]
    pub fn columns<'k>(
        keys: impl IntoIterator<Item = &'k Self>,
    ) -> (Vec<Uuid>, Vec<&'k str>, Vec<&'static str>) {
        let columns = |key: &'k Self| (key.saga.0, key.step.as_str(), <&str>::from(key.direction));
        keys.into_iter().map(columns).collect()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.saga, self.step, self.direction)
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Record {
    /// What was done.
    pub key: Key,
    /// The participant's reply; in the orchestrator's table, the reply that it took.
    pub message_id: Uuid,
    /// The reply as JSON, in the column `outcome`. A participant always has one.
    pub reply: Option<Arc<str>>,
    /// Whether the compensation came first, so that the action must not happen any more.
    pub tombstone: bool,
}

const INSERT: &str =
    "INSERT INTO idempotency (saga_id, step, direction, message_id, outcome, tombstone)
         SELECT saga_id, step, direction, message_id, outcome::json, tombstone
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bool[])
              AS r (saga_id, step, direction, message_id, outcome, tombstone)";

/// Adds `records`, all of them new, to what the caller writes. Of any number of transactions at once, exactly one
/// succeeds with a key; the others fail, and [`is_recorded`] tells why.
pub fn insert(writes: &mut Writes, records: &[Record]) {
    add(writes, INSERT, records);
}

/// Adds those of `records` that are new, and whose saga is in table `sagas`, to what the caller writes, and has it return
/// the `saga_id` of each.
pub fn insert_new(writes: &mut Writes, records: &[Record]) {
    let insert = format!(
        "{INSERT} WHERE EXISTS (SELECT FROM sagas WHERE sagas.id = r.saga_id) ON CONFLICT DO NOTHING RETURNING saga_id"
    );
    add(writes, &insert, records);
}

fn add(writes: &mut Writes, insert: &str, records: &[Record]) {
    // The order is the same in all transactions, so that two of them cannot wait for each other.
    let mut records: Vec<_> = records.iter().collect();
    records.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let (sagas, steps, directions) = Key::columns(records.iter().map(|record| &record.key));
    writes
        .add(insert)
        .bind(sagas)
        .bind(steps)
        .bind(directions)
        .bind(records.iter().map(|r| r.message_id).collect::<Vec<_>>())
        .bind(
            records
                .iter()
                .map(|r| r.reply.as_deref())
                .collect::<Vec<_>>(),
        )
        .bind(records.iter().map(|r| r.tombstone).collect::<Vec<_>>());
}

/// Adds to what the caller writes that `records` are taken back.
pub fn delete(writes: &mut Writes, records: &[Record]) {
    if records.is_empty() {
        return;
    }
    let (sagas, steps, directions) = Key::columns(records.iter().map(|record| &record.key));
    writes
        .add(
            "DELETE FROM idempotency i USING UNNEST($1::uuid[], $2::text[], $3::text[]) AS r (saga_id, step, direction)
             WHERE i.saga_id = r.saga_id AND i.step = r.step AND i.direction = r.direction",
        )
        .bind(sagas)
        .bind(steps)
        .bind(directions);
}

/// Whether an [`insert`] failed because one of the keys is recorded.
#[must_use]
pub fn is_recorded(error: &sqlx::Error) -> bool {
    // Each day's partition has a name of its own, and so has its primary key.
    error.as_database_error().is_some_and(|error| {
        let table = error.table().unwrap_or_default();
        error.is_unique_violation() && table.starts_with(TABLE.name)
    })
}

/// What is recorded under any of `keys`.
///
/// # Errors
/// The database failed.
pub async fn find(db: impl PgExecutor<'_>, keys: &[Key]) -> sqlx::Result<HashMap<Key, Record>> {
    let (sagas, steps, directions) = Key::columns(keys);
    // The ids by themselves first: by them, only their days' partitions are opened.
    let rows = sqlx::query(
        "SELECT saga_id, step, direction, message_id, outcome::text, tombstone FROM idempotency
         WHERE saga_id = ANY($1)
           AND (saga_id, step, direction) IN (SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[]))",
    )
    .bind(sagas)
    .bind(steps)
    .bind(directions)
    .fetch_all(db)
    .await?;
    let records = rows.iter().map(|row| {
        let record = Record {
            key: key(row)?,
            message_id: row.get("message_id"),
            reply: row.get::<Option<&str>, _>("outcome").map(Arc::from),
            tombstone: row.get("tombstone"),
        };
        Ok((record.key.clone(), record))
    });
    records.collect()
}

fn key(row: &PgRow) -> sqlx::Result<Key> {
    Ok(Key {
        saga: SagaId(row.get("saga_id")),
        step: row.get("step"),
        direction: db::parsed(row, "direction")?,
    })
}
