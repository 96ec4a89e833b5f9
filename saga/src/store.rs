//! Sagas and their log in PostgreSQL: lock, load, append.
//!
//! All statements are set-based: one a table, whatever the number of sagas.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use common::{
    contract::{Reason, SagaId},
    db::{Writes, retention},
    participant::idempotency::{self, Record},
};
use serde_json::{Value, value::RawValue};
use sqlx::{PgConnection, PgExecutor, Postgres, Row, Transaction, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Registry, Table,
    decision::Decision,
    saga::{Origin, Saga, Subject},
    state::{Entry, State, Unreadable},
    transition::Deadline,
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
    /// Its row makes no sense: it was written by a program that knows more, or was damaged.
    #[error("saga {0} cannot be understood: {1}")]
    Corrupt(SagaId, String),
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
/// saga. Ids that do not exist are left out.
///
/// # Errors
/// The database failed, or a saga cannot be understood.
pub async fn lock(
    tx: &mut Transaction<'_, Postgres>,
    registry: &Registry,
    ids: &[SagaId],
    replies: &[Record],
) -> Result<HashMap<SagaId, Locked>, Error> {
    let mut statement = Writes::default();
    idempotency::insert_new(&mut statement, replies);
    let recorded = statement.last_name();
    statement
        .add(&format!(
            "SELECT s.id, s.type, s.definition_version, s.status, s.current_step, s.attempt, s.reason, s.version,
                    s.subject, s.data::text, s.correlation_id, s.traceparent, new.saga_id IS NOT NULL AS is_new
             FROM sagas s LEFT JOIN {recorded} new ON new.saga_id = s.id
             WHERE s.id = ANY($1) ORDER BY s.id FOR UPDATE OF s",
        ))
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>());
    let rows = statement.execute(&mut **tx).await?;
    let locked = rows.iter().map(|row| {
        let is_new = row.get("is_new");
        read(registry, row).map(|saga| (saga.id, Locked { saga, is_new }))
    });
    locked.collect()
}

fn read(registry: &Registry, row: &PgRow) -> Result<Saga, Error> {
    let id = SagaId(row.get("id"));
    let corrupt = |why: String| Error::Corrupt(id, why);
    let (name, version): (&str, i32) = (row.get("type"), row.get("definition_version"));
    let definition = registry
        .find(name, version)
        .ok_or_else(|| corrupt(format!("this program has no definition {name} v{version}")))?;
    let reason = row
        .get::<Option<&str>, _>("reason")
        .map(str::parse::<Reason>)
        .transpose()
        .map_err(|error| corrupt(error.to_string()))?;
    let state = State::from_columns(
        definition,
        row.get("status"),
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
            traceparent: row.get("traceparent"),
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

/// Where a saga comes from.
///
/// # Errors
/// The database failed.
pub async fn origin(db: impl PgExecutor<'_>, id: SagaId) -> sqlx::Result<Option<Origin>> {
    let row = sqlx::query("SELECT correlation_id, traceparent FROM sagas WHERE id = $1")
        .bind(id.0)
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| Origin {
        correlation_id: row.get("correlation_id"),
        traceparent: row.get("traceparent"),
    }))
}

/// One column of what was decided about several sagas.
fn column<'d, T>(decisions: &'d [Decision], of: impl Fn(&'d Decision) -> T) -> Vec<T> {
    decisions.iter().map(of).collect()
}

/// Binds the columns of `sagas` that every decision sets, as parameters 1 to 9.
fn bind_state<'w>(
    statement: &'w mut Writes,
    decisions: &[Decision],
    deadline_scale: f64,
) -> &'w mut Writes {
    statement
        .bind(column(decisions, |d| d.saga.id.0))
        .bind(column(decisions, |d| d.transition.state.status()))
        .bind(column(decisions, |d| d.transition.state.step()))
        .bind(column(decisions, |d| {
            d.transition.state.attempt().cast_signed()
        }))
        .bind(column(decisions, |d| {
            d.transition.state.reason().map(|reason| reason.to_string())
        }))
        .bind(column(decisions, Decision::version))
        .bind(column(decisions, |d| d.command_id))
        .bind(column(decisions, |d| d.seconds(deadline_scale)))
}

/// Adds the rows and the first log entries of new sagas to `writes`. `deadline_scale` multiplies all deadlines.
pub fn insert(writes: &mut Writes, decisions: &[Decision], deadline_scale: f64) {
    if decisions.is_empty() {
        return;
    }
    let statement = writes.add(
        "INSERT INTO sagas (id, status, current_step, attempt, reason, version, command_id, deadline_at, expires_at,
                            subject, data, type, definition_version, correlation_id, traceparent)
         SELECT id, status, current_step, attempt, reason, version, command_id,
                now() + make_interval(secs => LEAST(seconds, life)), now() + make_interval(secs => life),
                subject, data::json, type, definition_version, correlation_id, traceparent
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::int[], $7::uuid[], $8::float8[],
                     $9::float8[], $10::text[], $11::text[], $12::text[], $13::int[], $14::text[], $15::text[])
              AS s (id, status, current_step, attempt, reason, version, command_id, seconds,
                    life, subject, data, type, definition_version, correlation_id, traceparent)",
    );
    let life = |d: &Decision| {
        let life = d.saga.definition.expires_after();
        life.map(|life| life.as_secs_f64() * deadline_scale)
    };
    bind_state(statement, decisions, deadline_scale)
        .bind(column(decisions, life))
        .bind(column(decisions, |d| d.saga.subject.as_str()))
        .bind(column(decisions, |d| d.saga.data.get()))
        .bind(column(decisions, |d| d.saga.definition.name()))
        .bind(column(decisions, |d| d.saga.definition.version()))
        .bind(column(decisions, |d| d.saga.origin.correlation_id.as_str()))
        .bind(column(decisions, |d| d.saga.origin.traceparent.as_deref()));
    append(writes, decisions);
}

/// Adds what was decided about locked sagas to `writes`: their rows, and their new log entries.
pub fn update(writes: &mut Writes, decisions: &[Decision], deadline_scale: f64) {
    if decisions.is_empty() {
        return;
    }
    let statement = writes.add(
        "UPDATE sagas s
         SET status = n.status, current_step = n.current_step, attempt = n.attempt, reason = n.reason,
             version = n.version, command_id = COALESCE(n.command_id, s.command_id), updated_at = now(),
             expires_at = CASE WHEN n.may_expire THEN s.expires_at END,
             deadline_at = CASE WHEN n.keep_deadline THEN s.deadline_at
                                WHEN n.seconds IS NOT NULL
                                THEN LEAST(now() + make_interval(secs => n.seconds),
                                           CASE WHEN n.may_expire THEN s.expires_at END) END
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::int[], $7::uuid[],
                     $8::float8[], $9::bool[], $10::bool[])
              AS n (id, status, current_step, attempt, reason, version, command_id, seconds, keep_deadline, may_expire)
         WHERE s.id = n.id",
    );
    bind_state(statement, decisions, deadline_scale)
        .bind(column(decisions, |d| {
            d.transition.deadline == Deadline::Unchanged
        }))
        .bind(column(decisions, |d| d.transition.may_expire()));
    append(writes, decisions);
}

fn append(writes: &mut Writes, decisions: &[Decision]) {
    let entries: Vec<_> = decisions
        .iter()
        .flat_map(|decision| {
            let numbered = (decision.saga.version + 1..).zip(&decision.transition.log);
            numbered.map(|(seq, entry)| (decision.saga.id.0, seq, entry))
        })
        .collect();
    let (events, details): (Vec<_>, Vec<_>) = entries
        .iter()
        .map(|(_, _, entry)| entry.to_columns())
        .unzip();
    writes
        .add(
            "INSERT INTO saga_log (saga_id, seq, event, step, details)
             SELECT saga_id, seq, event, step, details::json
             FROM UNNEST($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[])
                  AS e (saga_id, seq, event, step, details)",
        )
        .bind(entries.iter().map(|(saga, _, _)| *saga).collect::<Vec<_>>())
        .bind(entries.iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>())
        .bind(events)
        .bind(
            entries
                .iter()
                .map(|(_, _, entry)| entry.step)
                .collect::<Vec<_>>(),
        )
        .bind(details);
}

/// Parks a saga that this program cannot go on with, whatever is wrong with its row or its log.
///
/// # Errors
/// The database failed.
pub async fn quarantine(db: impl PgExecutor<'_>, id: SagaId, problem: &str) -> sqlx::Result<()> {
    // In one statement, and from the columns themselves: nothing of the saga need be understood for it.
    sqlx::query(
        "WITH entry AS (
             INSERT INTO saga_log (saga_id, seq, event, step, details)
             SELECT s.id, COALESCE((SELECT max(seq) FROM saga_log WHERE saga_id = s.id), 0) + 1, 'SAGA_QUARANTINED',
                    s.current_step, json_build_object('reason', s.reason, 'problem', $2::text)
             FROM sagas s WHERE s.id = $1 AND s.deadline_at IS NOT NULL
             RETURNING saga_id, seq)
         UPDATE sagas s
         SET status = 'PARKED', attempt = 0, version = entry.seq, deadline_at = NULL, expires_at = NULL,
             updated_at = now()
         FROM entry WHERE s.id = entry.saga_id",
    )
    .bind(id.0)
    .bind(problem)
    .execute(db)
    .await?;
    Ok(())
}

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
    let rows = sqlx::query(
        "SELECT seq, at, event, step, details FROM saga_log WHERE saga_id = $1 ORDER BY seq",
    )
    .bind(id.0)
    .fetch_all(db)
    .await?;
    let written = rows.iter().map(|row| Written {
        seq: row.get("seq"),
        at: row.get("at"),
        event: row.get("event"),
        step: row.get("step"),
        details: row.get("details"),
    });
    Ok(written.collect())
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
    .bind(registry.definitions().map(|d| d.name()).collect::<Vec<_>>())
    .bind(
        registry
            .definitions()
            .map(|d| d.version())
            .collect::<Vec<_>>(),
    )
    .fetch_all(db)
    .await?;
    let described = rows.iter().map(|row| {
        let (id, name): (Uuid, &str) = (row.get(0), row.get(1));
        format!("{id} ({name} v{})", row.get::<i32, _>(2))
    });
    Ok(described.collect())
}
