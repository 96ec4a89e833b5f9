//! The table `saga_batches`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use common::{
    contract::{Origin, Trace, clock},
    db,
};
use saga::Verb;
use sqlx::{PgExecutor, PgPool, Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::{Request, verb};
use crate::find::Criteria;

/// A batch as its row has it.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) id: Uuid,
    pub(crate) verb: Verb,
    pub(crate) criteria: Criteria,
    /// How many sagas fitted when it was asked for, and whether these were all.
    pub(crate) matched: (i32, bool),
    pub(crate) per_second: u32,
    pub(crate) actor: String,
    pub(crate) reason: String,
    pub(crate) origin: Origin,
    pub(crate) status: Status,
    pub(crate) done: i32,
    pub(crate) refused: i32,
    pub(crate) last_refusal: Option<String>,
    /// The saga that was looked at last.
    pub(crate) after: Option<Uuid>,
    pub(crate) cancelled_by: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
}

/// Where a batch is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    serde::Serialize,
    utoipa::ToSchema,
)]
#[strum(serialize_all = "UPPERCASE")]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = SagaBatchStatus)]
pub(crate) enum Status {
    /// It is carried out, or waits for a replica that does.
    Running,
    /// Every saga that fitted was looked at.
    Done,
    /// Somebody has stopped it.
    Cancelled,
}

/// What became of a request for a batch.
#[derive(Debug)]
pub(crate) enum Placed {
    /// It is there now.
    New(Batch),
    /// It was there, from the same request.
    Before(Batch),
    /// Its key came with another request before.
    KeyReused,
}

/// The columns that make a [`Batch`].
macro_rules! columns {
    () => {
        "id, verb, delay_seconds, filter, matched, is_all, per_second, actor, reason, correlation_id, traceparent,
         tracestate, status, done, refused, last_refusal, after_id, cancelled_by, created_at, updated_at, finished_at"
    };
}
pub(super) use columns;

/// Writes a batch down, once under its key.
///
/// # Errors
/// The database failed.
pub(crate) async fn place(
    db: &PgPool,
    request: Request,
    (matched, is_all): (u32, bool),
) -> sqlx::Result<Placed> {
    let delay = match request.verb {
        Verb::Reschedule(delay) => i64::try_from(delay.as_secs()).ok(),
        _ => None,
    };
    let idempotency = request.idempotency.as_ref();
    let row = sqlx::query(concat!(
        "INSERT INTO saga_batches (id, verb, delay_seconds, filter, matched, is_all, per_second, actor, reason,
                                   correlation_id, traceparent, tracestate, idempotency_key, request_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING ",
        columns!()
    ))
    .bind(clock::new_id())
    .bind(request.verb.to_string())
    .bind(delay)
    .bind(Json(request.criteria.parameters()))
    .bind(matched.cast_signed())
    .bind(is_all)
    .bind(request.per_second.cast_signed())
    .bind(&request.actor)
    .bind(&request.reason)
    .bind(&request.origin.correlation_id)
    .bind(request.origin.trace.as_ref().map(Trace::parent))
    .bind(request.origin.trace.as_ref().and_then(Trace::state))
    .bind(idempotency.map(|one| one.plain().to_owned()))
    .bind(idempotency.map(|one| one.hash.clone()))
    .fetch_optional(db)
    .await?;
    let before = match (row, idempotency) {
        (Some(row), _) => return Ok(Placed::New(read(&row)?)),
        (None, Some(idempotency)) => idempotency,
        (None, None) => return Err(sqlx::Error::RowNotFound),
    };
    let row = sqlx::query(concat!(
        "SELECT request_hash, ",
        columns!(),
        " FROM saga_batches WHERE idempotency_key = $1"
    ))
    .bind(before.plain())
    .fetch_one(db)
    .await?;
    let hash: Vec<u8> = row.try_get("request_hash")?;
    Ok(match hash == before.hash {
        true => Placed::Before(read(&row)?),
        false => Placed::KeyReused,
    })
}

/// The batch with this id.
///
/// # Errors
/// The database failed.
pub(crate) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Batch>> {
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM saga_batches WHERE id = $1"
    ))
    .bind(id)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(read).transpose()
}

/// At most `limit` batches after the one with the id `after`, the newest first.
///
/// # Errors
/// The database failed.
pub(crate) async fn list(
    db: impl PgExecutor<'_>,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Batch>> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM saga_batches WHERE id < COALESCE($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff') ORDER BY id DESC LIMIT $2"
    ))
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter().map(read).collect()
}

/// Stops a batch that runs: nothing more is done of it when this returns. Whether it ran.
///
/// # Errors
/// The database failed.
pub(crate) async fn cancel(db: impl PgExecutor<'_>, id: Uuid, actor: &str) -> sqlx::Result<bool> {
    let cancelled = sqlx::query(
        "UPDATE saga_batches SET status = 'CANCELLED', cancelled_by = $2, finished_at = now(), updated_at = now()
         WHERE id = $1 AND status = 'RUNNING'",
    )
    .bind(id)
    .bind(actor)
    .execute(db)
    .await?;
    Ok(cancelled.rows_affected() == 1)
}

pub(super) fn read(row: &PgRow) -> sqlx::Result<Batch> {
    let (name, delay): (&str, _) = (row.try_get("verb")?, row.try_get("delay_seconds")?);
    let unknown = || sqlx::Error::Decode(format!("the verb is {name:?}").into());
    let Json(parameters): Json<BTreeMap<String, String>> = row.try_get("filter")?;
    let per_second: i32 = row.try_get("per_second")?;
    Ok(Batch {
        id: row.try_get("id")?,
        verb: verb(name, delay).ok_or_else(unknown)?,
        criteria: Criteria::stored(parameters),
        matched: (row.try_get("matched")?, row.try_get("is_all")?),
        per_second: per_second.unsigned_abs().max(1),
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        origin: Origin {
            correlation_id: row.try_get("correlation_id")?,
            trace: Trace::stored(row.try_get("traceparent")?, row.try_get("tracestate")?),
        },
        status: db::parsed(row, "status")?,
        done: row.try_get("done")?,
        refused: row.try_get("refused")?,
        last_refusal: row.try_get("last_refusal")?,
        after: row.try_get("after_id")?,
        cancelled_by: row.try_get("cancelled_by")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        finished_at: row.try_get("finished_at")?,
    })
}
