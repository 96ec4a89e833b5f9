//! Letters that are taken out of their queue for good, kept as they were there.

use chrono::{DateTime, SubsecRound, Utc};
use common::{contract::clock, db::Writes};
use sqlx::{PgExecutor, Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::letter::Letter;
use crate::idempotency::Idempotency;

/// A letter that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) id: Uuid,
    pub(crate) queue: String,
    pub(crate) message_id: String,
    pub(crate) actor: String,
    pub(crate) reason: String,
    /// The id of the message that goes out instead, where it was edited.
    pub(crate) edited_id: Option<Uuid>,
    pub(crate) created_at: DateTime<Utc>,
}

/// Adds to `writes` that `letter` of `queue` is kept: with the message that goes out instead, where it is edited.
pub(super) fn insert(
    writes: &mut Writes,
    letter: &Letter,
    queue: &str,
    edited: Option<(Uuid, &str)>,
    (actor, reason): (&str, &str),
    idempotency: Option<&Idempotency>,
) -> Kept {
    let kept = Kept {
        id: clock::new_id(),
        queue: queue.to_owned(),
        message_id: letter.id.clone(),
        actor: actor.to_owned(),
        reason: reason.to_owned(),
        edited_id: edited.map(|(id, _)| id),
        created_at: clock::now().trunc_subsecs(6),
    };
    writes
        .add(
            "INSERT INTO kept_letters (id, queue, message_id, action, headers, content_type, body, edited_id,
                                       edited_body, actor, reason, idempotency_key, request_hash, created_at)
             VALUES ($1, $2, $3, CASE WHEN $7::uuid IS NULL THEN 'DELETED' ELSE 'EDITED' END, $4, $5, $6, $7,
                     $8::text::json, $9, $10, $11, $12, $13)",
        )
        .bind(kept.id)
        .bind(kept.queue.clone())
        .bind(kept.message_id.clone())
        .bind(Json(letter.headers.clone()))
        .bind(letter.taken.content_type().and_then(plain))
        .bind(letter.taken.body().to_vec())
        .bind(kept.edited_id)
        .bind(edited.map(|(_, body)| body.to_owned()))
        .bind(kept.actor.clone())
        .bind(kept.reason.clone())
        .bind(idempotency.map(|request| request.stored().to_owned()))
        .bind(idempotency.map(|request| request.hash.clone()))
        .bind(kept.created_at);
    kept
}

/// PostgreSQL stores no NUL.
fn plain(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| text.to_owned())
}

/// What was kept under this key, and the hash of what came with it.
///
/// # Errors
/// The database failed.
pub(super) async fn find_by_key(
    db: impl PgExecutor<'_>,
    request: &Idempotency,
) -> sqlx::Result<Option<(Vec<u8>, Kept)>> {
    let row = sqlx::query(
        "SELECT id, queue, message_id, actor, reason, edited_id, created_at, request_hash
         FROM kept_letters WHERE idempotency_key = ANY($1)",
    )
    .bind(request.spellings().to_vec())
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok((row.try_get("request_hash")?, read(&row)?)))
        .transpose()
}

fn read(row: &PgRow) -> sqlx::Result<Kept> {
    Ok(Kept {
        id: row.try_get("id")?,
        queue: row.try_get("queue")?,
        message_id: row.try_get("message_id")?,
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        edited_id: row.try_get("edited_id")?,
        created_at: row.try_get("created_at")?,
    })
}
