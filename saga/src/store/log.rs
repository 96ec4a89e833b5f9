//! Reading the saga log.

use chrono::{DateTime, Utc};
use common::contract::SagaId;
use serde_json::Value;
use sqlx::{PgExecutor, Row, postgres::PgRow};

use crate::{
    Table,
    state::{Entry, Unreadable},
};

/// An entry as it was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its number, from 1 without a gap.
    pub seq: i32,
    /// When.
    pub at: DateTime<Utc>,
    /// The entry's name.
    pub event: String,
    /// The step that it is about.
    pub step: Option<String>,
    /// The rest of it.
    pub details: Value,
}

impl Written {
    /// The entry, for a saga of this definition.
    ///
    /// # Errors
    /// It means nothing to this program.
    pub fn entry(&self, table: &dyn Table) -> Result<Entry, Unreadable> {
        Entry::from_columns(table, &self.event, self.step.as_deref(), &self.details)
    }
}

/// The log of a saga, in order: the whole, or what is left of it when it is older than `RETENTION_DAYS`.
///
/// # Errors
/// The database failed.
pub async fn load(db: impl PgExecutor<'_>, id: SagaId) -> sqlx::Result<Vec<Written>> {
    load_after(db, id, 0).await
}

/// What stands in the log of a saga behind the entry `seq`, in order.
///
/// # Errors
/// The database failed.
pub async fn load_after(
    db: impl PgExecutor<'_>,
    id: SagaId,
    seq: i32,
) -> sqlx::Result<Vec<Written>> {
    let rows = sqlx::query(
        "SELECT seq, at, event, step, details FROM saga_log WHERE saga_id = $1 AND seq > $2 ORDER BY seq",
    )
    .bind(id.0)
    .bind(seq)
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(written).collect())
}

/// The entry in a row with the log's columns.
#[must_use]
pub fn written(row: &PgRow) -> Written {
    Written {
        seq: row.get("seq"),
        at: row.get("at"),
        event: row.get("event"),
        step: row.get("step"),
        details: row.get("details"),
    }
}

/// The entry of what an operator did about a saga under the key `key`, if anything.
///
/// # Errors
/// The database failed.
pub async fn under_key(
    db: impl PgExecutor<'_>,
    id: SagaId,
    key: &str,
) -> sqlx::Result<Option<Written>> {
    let row = sqlx::query(
        "SELECT seq, at, event, step, details FROM saga_log
         WHERE saga_id = $1 AND details->>'idempotencyKey' = $2 ORDER BY seq LIMIT 1",
    )
    .bind(id.0)
    .bind(key)
    .fetch_optional(db)
    .await?;
    Ok(row.as_ref().map(written))
}
