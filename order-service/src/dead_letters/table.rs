//! Requests to send letters again, as rows: what is asked for, and how far it is.

use chrono::{DateTime, Utc};
use common::db;
use serde::Serialize;
use sqlx::{PgExecutor, Row, postgres::PgRow, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::selection::{Refusal, Selection};
use crate::idempotency::Idempotency;

/// Where a redrive is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::Display, Serialize, ToSchema,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = RedriveStatus)]
pub(crate) enum Status {
    /// Nobody has begun with it.
    Pending,
    /// Somebody carries it out, or will go on with it.
    Running,
    /// Nothing is left to be done.
    Done,
    /// Somebody cancelled it.
    Cancelled,
}

/// A request to send letters again.
#[derive(Clone, Debug)]
pub(crate) struct Redrive {
    pub(crate) id: Uuid,
    pub(crate) queue: String,
    pub(crate) selection: Selection,
    pub(crate) force: bool,
    /// Letters that were in the queue when it was asked for.
    pub(crate) letters: i32,
    /// No more than so many are sent again.
    pub(crate) letters_max: i32,
    pub(crate) per_second: Option<i32>,
    pub(crate) actor: String,
    pub(crate) reason: String,
    pub(crate) status: Status,
    pub(crate) redriven: i32,
    pub(crate) refused: i32,
    pub(crate) refusals: Vec<Refusal>,
    /// The letters that were sent and noted last, by [`Letter::mark`](super::letter::Letter::mark).
    pub(crate) last_batch: Vec<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) cancel_requested: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
}

/// A new request.
#[derive(Clone, Debug)]
pub(crate) struct NewRedrive {
    pub(crate) id: Uuid,
    pub(crate) queue: String,
    pub(crate) selection: Selection,
    pub(crate) force: bool,
    pub(crate) letters: i32,
    pub(crate) letters_max: i32,
    pub(crate) per_second: Option<i32>,
    pub(crate) actor: String,
    pub(crate) reason: String,
}

/// The columns that make a [`Redrive`].
macro_rules! columns {
    () => {
        "id, queue, selection, force, letters, letters_max, per_second, actor, reason, status, redriven, refused,
         refusals, last_batch, last_error, cancel_requested, created_at, updated_at, finished_at"
    };
}

pub(super) use columns;

/// Stores a request, with the client's key and the hash of what came with it.
///
/// # Errors
/// The database failed, or the key is taken.
pub(crate) async fn create(
    db: impl PgExecutor<'_>,
    new: &NewRedrive,
    idempotency: Option<&Idempotency>,
) -> sqlx::Result<Redrive> {
    let row = sqlx::query(concat!(
        "INSERT INTO redrives (id, queue, selection, force, letters, letters_max, per_second, actor, reason,
                               idempotency_key, request_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING ",
        columns!()
    ))
    .bind(new.id)
    .bind(&new.queue)
    .bind(Json(&new.selection))
    .bind(new.force)
    .bind(new.letters)
    .bind(new.letters_max)
    .bind(new.per_second)
    .bind(&new.actor)
    .bind(&new.reason)
    .bind(idempotency.map(Idempotency::stored))
    .bind(idempotency.map(|request| &request.hash))
    .fetch_one(db)
    .await?;
    read(&row)
}

/// The request with this id.
///
/// # Errors
/// The database failed.
pub(crate) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Redrive>> {
    let query = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM redrives WHERE id = $1"
    ));
    let row = query.bind(id).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

/// The request that came with this key, and the hash of what came with it.
///
/// # Errors
/// The database failed.
pub(crate) async fn find_by_key(
    db: impl PgExecutor<'_>,
    request: &Idempotency,
) -> sqlx::Result<Option<(Vec<u8>, Redrive)>> {
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        ", request_hash FROM redrives WHERE idempotency_key = ANY($1)"
    ))
    .bind(request.spellings().to_vec())
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok((row.try_get("request_hash")?, read(&row)?)))
        .transpose()
}

/// The newest requests before `after`, at most `limit`.
///
/// # Errors
/// The database failed.
pub(crate) async fn list(
    db: impl PgExecutor<'_>,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Redrive>> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM redrives WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"
    ))
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter().map(read).collect()
}

/// Cancels a request that is not finished: at once where nobody carries it out, else after the letters that are on their
/// way. None where it is finished, or there is none.
///
/// # Errors
/// The database failed.
pub(crate) async fn cancel(
    db: impl PgExecutor<'_>,
    id: Uuid,
    actor: &str,
) -> sqlx::Result<Option<Redrive>> {
    let row = sqlx::query(concat!(
        "UPDATE redrives
         SET cancel_requested = true, cancelled_by = $2, updated_at = now(),
             status = CASE WHEN lease_until >= now() THEN status ELSE 'CANCELLED' END,
             finished_at = CASE WHEN lease_until >= now() THEN NULL ELSE now() END
         WHERE id = $1 AND finished_at IS NULL RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(actor)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(read).transpose()
}

/// The request of a row with the columns of [`columns!`].
///
/// # Errors
/// It holds what no version of this program wrote.
pub(super) fn read(row: &PgRow) -> sqlx::Result<Redrive> {
    Ok(Redrive {
        id: row.try_get("id")?,
        queue: row.try_get("queue")?,
        selection: row.try_get::<Json<_>, _>("selection")?.0,
        force: row.try_get("force")?,
        letters: row.try_get("letters")?,
        letters_max: row.try_get("letters_max")?,
        per_second: row.try_get("per_second")?,
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        status: db::parsed(row, "status")?,
        redriven: row.try_get("redriven")?,
        refused: row.try_get("refused")?,
        refusals: row.try_get::<Json<_>, _>("refusals")?.0,
        last_batch: row.try_get::<Json<_>, _>("last_batch")?.0,
        last_error: row.try_get("last_error")?,
        cancel_requested: row.try_get("cancel_requested")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        finished_at: row.try_get("finished_at")?,
    })
}
