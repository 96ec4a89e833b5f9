//! Who carries out a request to send letters again: for as long as he has a lease on its row.

use common::db::Writes;
use sqlx::{PgExecutor, types::Json};
use uuid::Uuid;

use super::{
    selection::Refusal,
    table::{Redrive, Status, columns, read},
};

/// Takes the oldest request that nobody carries out, for `worker` and 30 s.
///
/// # Errors
/// The database failed.
pub(super) async fn claim(db: impl PgExecutor<'_>, worker: Uuid) -> sqlx::Result<Option<Redrive>> {
    let row = sqlx::query(concat!(
        "UPDATE redrives
         SET status = 'RUNNING', worker = $1, lease_until = now() + interval '30 s', updated_at = now()
         WHERE id = (SELECT id FROM redrives
                     WHERE finished_at IS NULL AND (lease_until IS NULL OR lease_until < now())
                     ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING ",
        columns!()
    ))
    .bind(worker)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Says that `worker` goes on. None when it is not his any more.
///
/// # Errors
/// The database failed.
pub(super) async fn renew(
    db: impl PgExecutor<'_>,
    (id, worker): (Uuid, Uuid),
) -> sqlx::Result<Option<Redrive>> {
    let row = sqlx::query(concat!(
        "UPDATE redrives SET lease_until = now() + interval '30 s'
         WHERE id = $1 AND worker = $2 AND finished_at IS NULL RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(worker)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Notes that `worker` has sent so many more letters again: `batch`, as far as they can be told from such that die again.
/// None when it is not his any more.
///
/// # Errors
/// The database failed.
pub(super) async fn progress(
    db: impl PgExecutor<'_>,
    (id, worker): (Uuid, Uuid),
    redriven: i32,
    batch: Vec<String>,
) -> sqlx::Result<Option<Redrive>> {
    let row = sqlx::query(concat!(
        "UPDATE redrives
         SET redriven = redriven + $3, last_batch = $4, last_error = NULL, updated_at = now(),
             lease_until = now() + interval '30 s'
         WHERE id = $1 AND worker = $2 AND finished_at IS NULL RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(worker)
    .bind(redriven)
    .bind(Json(batch))
    .fetch_optional(db)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Letters that a request names of those that stay.
const REFUSALS_MAX: usize = 100;

/// The letters that stay, of those that were looked at last.
#[derive(Debug, Default)]
pub(super) struct Refused {
    number: i32,
    first: Vec<Refusal>,
    /// Letters behind those that were looked at.
    pub(super) behind: u32,
}

impl Refused {
    /// Adds some.
    pub(super) fn add(&mut self, refusals: Vec<Refusal>) {
        self.number += i32::try_from(refusals.len()).unwrap_or(i32::MAX);
        let room = REFUSALS_MAX - self.first.len();
        self.first.extend(refusals.into_iter().take(room));
    }

    /// What a request says that did not come to the end of its queue.
    fn note(&self) -> Option<String> {
        let behind = self.behind;
        (behind > 0).then(|| {
            format!(
                "{behind} letters were not looked at, for those before them are too many: deal with these first"
            )
        })
    }
}

/// What is noted of a request that `worker` lets go.
#[derive(Debug)]
pub(super) enum Left<'l> {
    /// It is finished, and these letters stay.
    Finished(Status, &'l Refused),
    /// It goes on, now or after a pause; with what went wrong, if anything.
    Unfinished(Option<&'l str>),
}

/// Lets go of a request.
///
/// # Errors
/// The database failed.
pub(super) async fn leave(
    db: impl PgExecutor<'_>,
    (id, worker): (Uuid, Uuid),
    left: Left<'_>,
) -> sqlx::Result<()> {
    let mut writes = Writes::default();
    match left {
        Left::Finished(status, refused) => writes
            .add(
                "UPDATE redrives SET status = $3, refused = $4, refusals = $5, last_error = $6, finished_at = now(),
                                     updated_at = now(), worker = NULL, lease_until = NULL
                 WHERE id = $1 AND worker = $2 AND finished_at IS NULL",
            )
            .bind(id)
            .bind(worker)
            .bind(status.to_string())
            .bind(refused.number)
            .bind(Json(refused.first.clone()))
            .bind(refused.note()),
        Left::Unfinished(error) => writes
            .add(
                "UPDATE redrives SET last_error = $3, updated_at = now(), worker = NULL,
                                     lease_until = CASE WHEN $3 IS NOT NULL THEN now() + interval '2 s' END
                 WHERE id = $1 AND worker = $2 AND finished_at IS NULL",
            )
            .bind(id)
            .bind(worker)
            .bind(error.map(str::to_owned)),
    };
    writes.execute(db).await.map(drop)
}
