//! How many sagas have not ended, and where they are.

use chrono::{DateTime, Utc};
use common::contract::SagaId;
use sqlx::{PgExecutor, Row, postgres::PgRow};

/// Open and parked sagas that are counted at most, each: what is more is not read.
pub const COUNTED_MAX: i64 = 20_000;

/// Sagas of one type that are at one step.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The definition's name.
    pub name: String,
    /// Their status.
    pub status: String,
    /// The step that is executed or undone.
    pub step: String,
    /// How many there are.
    pub count: i64,
    /// How many of them should have been looked at a minute ago.
    pub overdue: i64,
    /// The one that began first.
    pub oldest: SagaId,
    /// When it began.
    pub oldest_at: DateTime<Utc>,
    /// How many seconds ago that was, by the database's clock.
    pub oldest_seconds: f64,
}

/// Counts the sagas that have not ended. Those whose deadlines come last are left out where there are too many, and of the
/// parked ones the newest.
///
/// # Errors
/// The database failed.
pub async fn waiting(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Waiting>> {
    // In the words and in the order of the partial indexes, which have nothing but these. Ids begin with the time.
    let rows = sqlx::query(
        "SELECT type, status, current_step, count(*) AS count, min(created_at) AS oldest_at,
                count(*) FILTER (WHERE deadline_at < now() - interval '1 minute') AS overdue,
                GREATEST(0, EXTRACT(epoch FROM now() - min(created_at)))::float8 AS oldest_seconds,
                min(id::text)::uuid AS oldest
         FROM ((SELECT id, type, status, current_step, created_at, deadline_at FROM sagas
                WHERE deadline_at IS NOT NULL ORDER BY deadline_at LIMIT $1)
               UNION ALL
               (SELECT id, type, status, current_step, created_at, deadline_at FROM sagas
                WHERE status = 'PARKED' ORDER BY id LIMIT $1)) AS waiting
         GROUP BY type, status, current_step ORDER BY type, status, current_step",
    )
    .bind(COUNTED_MAX)
    .fetch_all(db)
    .await?;
    let of = |row: &PgRow| Waiting {
        name: row.get("type"),
        status: row.get("status"),
        step: row.get("current_step"),
        count: row.get("count"),
        overdue: row.get("overdue"),
        oldest: SagaId(row.get("oldest")),
        oldest_at: row.get("oldest_at"),
        oldest_seconds: row.get("oldest_seconds"),
    };
    Ok(rows.iter().map(of).collect())
}
