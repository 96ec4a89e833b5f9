//! Sagas and their log in PostgreSQL: lock, load, append.
//!
//! All statements are set-based: one a table, whatever the number of sagas.

mod log;
mod waiting;
mod write;

use std::collections::{HashMap, HashSet};

use common::{
    contract::{Origin, Reason, SagaId, Trace, saga::SagaParked},
    db::{self, Writes, retention},
    participant::idempotency::{self, Record},
};
use serde_json::value::RawValue;
use sqlx::{PgConnection, PgExecutor, Postgres, Row, Transaction, postgres::PgRow};
use uuid::Uuid;

pub use self::{
    log::{Written, load, load_after, under_key, written},
    waiting::{COUNTED_MAX, Waiting, waiting},
    write::{insert, update},
};
use crate::{
    Registry,
    saga::{Saga, Subject},
    state::State,
};

/// The log. That of an open or parked saga is kept, however old it is.
pub const TABLE: retention::Table = retention::Table {
    name: "saga_log",
    // In the words of the partial indexes, so that sagas that have ended cost nothing.
    in_use: Some("SELECT id FROM sagas WHERE deadline_at IS NOT NULL OR status = 'PARKED'"),
};

/// A saga that this program cannot go on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Its row makes no sense.
    #[error("saga {0} cannot be understood: {1}")]
    Corrupt(SagaId, String),
    /// Another version of this program has its definition.
    #[error("this program does not have the definition of saga {0}: {1}")]
    Foreign(SagaId, String),
}

/// A saga that nobody else can change, and whether the reply about it is new.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The saga.
    pub saga: Saga,
    /// Whether its reply was not recorded before.
    pub is_new: bool,
}

/// Locks the sagas with these ids, in the order of their ids, and loads them; records `replies`, at most one of each
/// saga. Ids that do not exist are left out; a saga that cannot be understood is an error of its own.
///
/// # Errors
/// The database failed.
pub async fn lock(
    tx: &mut Transaction<'_, Postgres>,
    registry: &Registry,
    ids: &[SagaId],
    replies: &[Record],
) -> sqlx::Result<HashMap<SagaId, Result<Locked, Error>>> {
    let mut statement = Writes::default();
    idempotency::insert_new(&mut statement, replies);
    let recorded = statement.last_name();
    statement
        .add(&format!(
            "SELECT s.id, s.type, s.definition_version, s.status, s.current_step, s.attempt, s.reason, s.version,
                    s.subject, s.data::text, s.correlation_id, s.traceparent, s.tracestate,
                    new.saga_id IS NOT NULL AS is_new
             FROM sagas s LEFT JOIN {recorded} new ON new.saga_id = s.id
             WHERE s.id = ANY($1) ORDER BY s.id FOR UPDATE OF s",
        ))
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>());
    let rows = statement.execute(&mut **tx).await?;
    let locked = rows.iter().map(|row| {
        let is_new = row.get("is_new");
        let saga = read(registry, row).map(|saga| Locked { saga, is_new });
        (SagaId(row.get("id")), saga)
    });
    Ok(locked.collect())
}

fn read(registry: &Registry, row: &PgRow) -> Result<Saga, Error> {
    let id = SagaId(row.get("id"));
    let corrupt = |why: String| Error::Corrupt(id, why);
    let (name, version): (&str, i32) = (row.get("type"), row.get("definition_version"));
    let definition = registry
        .find(name, version)
        .ok_or_else(|| Error::Foreign(id, format!("{name} v{version}")))?;
    let reason = row
        .get::<Option<&str>, _>("reason")
        .map(str::parse::<Reason>)
        .transpose()
        .map_err(|error| corrupt(error.to_string()))?;
    let status: &str = row.get("status");
    let status = status
        .parse()
        .map_err(|_| corrupt(format!("its status is {status:?}")))?;
    let state = State::from_columns(
        definition,
        status,
        row.get("current_step"),
        u32::try_from(row.get::<i32, _>("attempt"))
            .map_err(|_| corrupt("its attempt is negative".to_owned()))?,
        reason,
    )
    .ok_or_else(|| corrupt("its status, step and reason do not fit together".to_owned()))?;
    let subject = row.get::<&str, _>("subject").parse::<Subject>();
    let data = RawValue::from_string(row.get("data"));
    Ok(Saga {
        id,
        definition,
        subject: subject.map_err(|error| corrupt(error.to_string()))?,
        data: data.map_err(|error| corrupt(error.to_string()))?,
        state,
        version: row.get("version"),
        origin: Origin {
            correlation_id: row.get("correlation_id"),
            trace: Trace::stored(row.get("traceparent"), row.get("tracestate")),
        },
    })
}

/// Takes the lock of `subject` until `tx` ends: whoever else is about to begin or reopen a saga about it has to wait.
///
/// # Errors
/// The database failed.
pub async fn lock_subject(
    tx: &mut Transaction<'_, Postgres>,
    subject: &Subject,
) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(subject.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// An open saga about `subject` of one of the types `names`.
///
/// # Errors
/// The database failed.
pub async fn find_open(
    db: &mut PgConnection,
    subject: &Subject,
    names: &[&str],
) -> sqlx::Result<Option<(SagaId, String)>> {
    if names.is_empty() {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT id, type FROM sagas
         WHERE subject = $1 AND type = ANY($2) AND (deadline_at IS NOT NULL OR status = 'PARKED')
         ORDER BY id LIMIT 1",
    )
    .bind(subject.as_str())
    .bind(names)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (SagaId(row.get("id")), row.get("type"))))
}

/// Notes that what a locked saga says from now on comes from `origin`.
///
/// # Errors
/// The database failed.
pub async fn set_origin(
    tx: &mut Transaction<'_, Postgres>,
    id: SagaId,
    origin: &Origin,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE sagas SET correlation_id = $2, traceparent = $3, tracestate = $4 WHERE id = $1",
    )
    .bind(id.0)
    .bind(&origin.correlation_id)
    .bind(origin.trace.as_ref().map(Trace::parent))
    .bind(origin.trace.as_ref().and_then(Trace::state))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes that a locked saga no longer says what its participants did: an operator said something else.
///
/// # Errors
/// The database failed.
pub async fn set_overruled(tx: &mut Transaction<'_, Postgres>, id: SagaId) -> sqlx::Result<()> {
    sqlx::query("UPDATE sagas SET overruled = true WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// What a saga is about; none where there is no such saga.
///
/// # Errors
/// The database failed, or has a text that names no subject.
pub async fn subject(db: impl PgExecutor<'_>, id: SagaId) -> sqlx::Result<Option<Subject>> {
    let row = sqlx::query("SELECT subject FROM sagas WHERE id = $1")
        .bind(id.0)
        .fetch_optional(db)
        .await?;
    row.map(|row| db::parsed(&row, "subject")).transpose()
}

/// Parks a saga that this program cannot go on with, whatever is wrong with its row or its log, and returns what everybody is
/// to be told; none where it is parked or has ended.
///
/// # Errors
/// The database failed.
pub async fn quarantine(
    db: impl PgExecutor<'_>,
    id: SagaId,
    problem: &str,
) -> sqlx::Result<Option<SagaParked>> {
    // In one statement, and from the columns themselves: nothing of the saga need be understood for it.
    let row = sqlx::query(
        "WITH entry AS (
             INSERT INTO saga_log (saga_id, seq, event, step, details)
             SELECT s.id, COALESCE((SELECT max(seq) FROM saga_log WHERE saga_id = s.id), 0) + 1, 'SAGA_QUARANTINED',
                    s.current_step, json_build_object('reason', s.reason, 'problem', $2::text)
             FROM sagas s WHERE s.id = $1 AND s.deadline_at IS NOT NULL
             RETURNING saga_id, seq)
         UPDATE sagas s
         SET status = 'PARKED', attempt = 0, version = entry.seq, deadline_at = NULL, expires_at = NULL,
             updated_at = now(), last_error = left($2, 500)
         FROM entry WHERE s.id = entry.saga_id
         RETURNING s.type, s.subject, s.current_step, s.reason, s.last_error, s.updated_at",
    )
    .bind(id.0)
    .bind(problem)
    .fetch_optional(db)
    .await?;
    let told = |row: PgRow| {
        let reason: Option<&str> = row.get("reason");
        SagaParked {
            saga_id: id,
            definition: row.get("type"),
            subject: row.get("subject"),
            step: row.get("current_step"),
            // It may be what is wrong with the row.
            reason: reason.and_then(|reason| reason.parse().ok()),
            last_error: row.get("last_error"),
            parked_at: row.get("updated_at"),
        }
    };
    Ok(row.map(told))
}

/// Those of `ids` whose saga exists and is of a definition that `registry` does not have.
///
/// # Errors
/// The database failed.
pub async fn foreign(
    db: impl PgExecutor<'_>,
    registry: &Registry,
    ids: &[SagaId],
) -> sqlx::Result<HashSet<SagaId>> {
    let rows = sqlx::query(
        "SELECT id FROM sagas
         WHERE id = ANY($1) AND (type, definition_version) NOT IN (SELECT * FROM UNNEST($2::text[], $3::int[]))",
    )
    .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(registry.names())
    .bind(registry.versions())
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(|row| SagaId(row.get("id"))).collect())
}

/// Sagas that are open or parked and whose definition `registry` does not have: `id (name vN)`.
///
/// # Errors
/// The database failed.
pub async fn of_unknown_definitions(
    db: impl PgExecutor<'_>,
    registry: &Registry,
) -> sqlx::Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT s.id, s.type, s.definition_version FROM sagas s
         WHERE (s.deadline_at IS NOT NULL OR s.status = 'PARKED')
           AND NOT EXISTS (SELECT FROM UNNEST($1::text[], $2::int[]) AS known (type, version)
                           WHERE known.type = s.type AND known.version = s.definition_version)
         ORDER BY s.id LIMIT 20",
    )
    .bind(registry.names())
    .bind(registry.versions())
    .fetch_all(db)
    .await?;
    let described = rows.iter().map(|row| {
        let (id, name): (Uuid, &str) = (row.get(0), row.get(1));
        format!("{id} ({name} v{})", row.get::<i32, _>(2))
    });
    Ok(described.collect())
}
