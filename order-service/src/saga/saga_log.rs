//! The saga log and its cache in PostgreSQL: lock, load, append.
//!
//! All statements are set-based: one a table, whatever the number of sagas.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use common::{
    amqp,
    contract::{Envelope, Reason, SagaId, UnknownReason},
    db::{Writes, retention},
    participant::idempotency::{self, Record},
};
use serde_json::Value;
use sqlx::{PgExecutor, Postgres, Row, Transaction, postgres::PgRow};
use uuid::Uuid;

use super::{
    Definition, definition,
    log::{Entry, State, Unreadable},
    transition::{Deadline, Transition},
};
use crate::orders::{Context, Order};

/// The log, of which that of an open or parked saga is kept, however old it is.
pub const TABLE: retention::Table = retention::Table {
    name: "saga_log",
    // In the words of the partial indexes, whatever the number of sagas that have ended.
    in_use: Some("SELECT id FROM sagas WHERE deadline_at IS NOT NULL OR status = 'PARKED'"),
};

/// What `replyto` says on our commands: the routing key of our queue of replies.
const REPLY_TO: &str = "order";

/// A saga with the order that it is about.
#[derive(Clone, Debug)]
pub struct Saga {
    /// Its id.
    pub id: SagaId,
    /// What it consists of.
    pub definition: &'static Definition,
    /// Where it is.
    pub state: State,
    /// Number of its log entries.
    pub version: i32,
    /// Ties together all that one request caused.
    pub correlation_id: String,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// What it is about.
    pub order: Order,
}

/// A saga that this program cannot go on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database's.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Its row makes no sense: it was written by a program that knows more, or was damaged.
    #[error("saga {0} cannot be understood: {1}")]
    Corrupt(SagaId, String),
}

/// Binds the columns of `sagas` that a decision sets, as parameters 1 to 8.
macro_rules! bind_state {
    ($query:expr, $decisions:expr, $scale:expr) => {
        $query
            .bind($decisions.iter().map(|d| d.saga.id.0).collect::<Vec<_>>())
            .bind(
                $decisions
                    .iter()
                    .map(|d| d.transition.state.status())
                    .collect::<Vec<_>>(),
            )
            .bind(
                $decisions
                    .iter()
                    .map(|d| d.transition.state.step())
                    .collect::<Vec<_>>(),
            )
            .bind(
                $decisions
                    .iter()
                    .map(|d| d.transition.state.attempt().cast_signed())
                    .collect::<Vec<_>>(),
            )
            .bind(
                $decisions
                    .iter()
                    .map(|d| d.transition.state.reason().map(Reason::as_str))
                    .collect::<Vec<_>>(),
            )
            .bind($decisions.iter().map(Decision::version).collect::<Vec<_>>())
            .bind($decisions.iter().map(|d| d.command_id).collect::<Vec<_>>())
            .bind(
                $decisions
                    .iter()
                    .map(|d| d.seconds($scale))
                    .collect::<Vec<_>>(),
            )
    };
}

/// A saga that nobody else can change, and whether the reply about it is new.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The saga.
    pub saga: Saga,
    /// Whether its reply was not recorded before.
    pub is_new: bool,
}

/// Locks the sagas with these ids, in the order of their ids, and loads them with their orders; records `replies`, at
/// most one of each saga. Ids that do not exist are left out. The orders are locked too: else they would be as they
/// were before the wait for the sagas.
///
/// # Errors
/// The database's, or a saga that cannot be understood.
pub async fn lock(
    tx: &mut Transaction<'_, Postgres>,
    ids: &[SagaId],
    replies: &[Record],
) -> Result<HashMap<SagaId, Locked>, Error> {
    let mut statement = Writes::default();
    idempotency::insert_new(&mut statement, replies);
    let recorded = statement.last_name();
    statement
        .add(&format!(
            "SELECT s.id AS saga_id, s.type, s.definition_version, s.status AS saga_status, s.current_step, s.attempt,
                    s.reason, s.version, s.correlation_id, s.traceparent, new.saga_id IS NOT NULL AS is_new, o.*
             FROM sagas s JOIN orders o ON o.id = s.order_id LEFT JOIN {recorded} new ON new.saga_id = s.id
             WHERE s.id = ANY($1) ORDER BY s.id FOR UPDATE OF s, o",
        ))
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>());
    let rows = statement.execute(&mut **tx).await?;
    let locked = rows.iter().map(|row| {
        let is_new = row.get("is_new");
        read(row).map(|saga| (saga.id, Locked { saga, is_new }))
    });
    locked.collect()
}

/// Locks and loads one saga.
///
/// # Errors
/// The database's, or a saga that cannot be understood.
pub async fn lock_one(
    tx: &mut Transaction<'_, Postgres>,
    id: SagaId,
) -> Result<Option<Saga>, Error> {
    let locked = lock(tx, &[id], &[]).await?.remove(&id);
    Ok(locked.map(|locked| locked.saga))
}

fn read(row: &PgRow) -> Result<Saga, Error> {
    let id = SagaId(row.get("saga_id"));
    let corrupt = |why: &str| Error::Corrupt(id, why.to_owned());
    let (name, version): (&str, i32) = (row.get("type"), row.get("definition_version"));
    let definition = definition(name, version)
        .ok_or_else(|| corrupt(&format!("this program has no definition {name} v{version}")))?;
    let reason = reason(row.get("reason")).map_err(|_| corrupt("its reason is unknown"))?;
    let state = State::from_columns(
        definition,
        row.get("saga_status"),
        row.get("current_step"),
        u32::try_from(row.get::<i32, _>("attempt"))
            .map_err(|_| corrupt("its attempt is negative"))?,
        reason,
    )
    .ok_or_else(|| corrupt("its status, step and reason do not fit together"))?;
    Ok(Saga {
        id,
        definition,
        state,
        version: row.get("version"),
        correlation_id: row.get("correlation_id"),
        traceparent: row.get("traceparent"),
        order: Order::read(row).map_err(|error| corrupt(&error.to_string()))?,
    })
}

fn reason(name: Option<&str>) -> Result<Option<Reason>, UnknownReason> {
    name.map(str::parse).transpose()
}

impl Saga {
    /// What all messages about it have in common; `causation_id` is the message that they follow from.
    #[must_use]
    pub fn context(&self, causation_id: Option<Uuid>) -> Context {
        Context {
            saga_id: self.id,
            correlation_id: self.correlation_id.clone(),
            traceparent: self.traceparent.clone(),
            causation_id,
        }
    }
}

/// What was decided about a saga, ready to be written.
#[derive(Debug)]
pub struct Decision {
    /// The saga before the decision.
    pub saga: Saga,
    /// What follows.
    pub transition: Transition,
    /// The command that is sent with it.
    command_id: Option<Uuid>,
}

impl Decision {
    /// A decision about `saga`, with the message of the command that it sends, if any.
    #[must_use]
    pub fn new(
        saga: Saga,
        transition: Transition,
        context: &Context,
    ) -> (Self, Option<amqp::Message>) {
        let command = transition.send.map(|send| {
            let envelope = context.apply(send.envelope(&saga.order));
            let step = send.step();
            let addressed = Envelope {
                sagastep: Some(step.name.to_owned()),
                replyto: Some(REPLY_TO.to_owned()),
                ..envelope
            };
            (step.participant, addressed)
        });
        let decision = Self {
            saga,
            transition,
            command_id: command.as_ref().map(|(_, envelope)| envelope.id),
        };
        (
            decision,
            command.map(|(participant, envelope)| amqp::Message::command(participant, envelope)),
        )
    }

    fn version(&self) -> i32 {
        self.saga.version + i32::try_from(self.transition.log.len()).unwrap_or(i32::MAX)
    }

    fn seconds(&self, scale: f64) -> Option<f64> {
        match self.transition.deadline {
            Deadline::In(duration) => Some(duration.as_secs_f64() * scale),
            Deadline::Unchanged | Deadline::None => None,
        }
    }
}

/// Adds the rows and the first log entries of new sagas to `writes`. `deadline_scale` multiplies all deadlines.
pub fn insert(writes: &mut Writes, decisions: &[Decision], deadline_scale: f64) {
    let sagas = || decisions.iter().map(|decision| &decision.saga);
    bind_state!(
        writes.add(
            "INSERT INTO sagas (id, status, current_step, attempt, reason, version, command_id, deadline_at,
                                order_id, type, definition_version, correlation_id, traceparent)
             SELECT id, status, current_step, attempt, reason, version, command_id,
                    now() + make_interval(secs => seconds), order_id, type, definition_version, correlation_id,
                    traceparent
             FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::int[], $7::uuid[],
                         $8::float8[], $9::uuid[], $10::text[], $11::int[], $12::text[], $13::text[])
                  AS s (id, status, current_step, attempt, reason, version, command_id, seconds,
                        order_id, type, definition_version, correlation_id, traceparent)",
        ),
        decisions,
        deadline_scale
    )
    .bind(sagas().map(|saga| saga.order.id.0).collect::<Vec<_>>())
    .bind(sagas().map(|saga| saga.definition.name).collect::<Vec<_>>())
    .bind(sagas().map(|saga| saga.definition.version).collect::<Vec<_>>())
    .bind(sagas().map(|saga| saga.correlation_id.as_str()).collect::<Vec<_>>())
    .bind(sagas().map(|saga| saga.traceparent.as_deref()).collect::<Vec<_>>());
    append(writes, decisions);
}

/// Adds what was decided about locked sagas to `writes`: their rows, and their new log entries.
pub fn update(writes: &mut Writes, decisions: &[Decision], deadline_scale: f64) {
    bind_state!(
        writes.add(
            "UPDATE sagas s
             SET status = n.status, current_step = n.current_step, attempt = n.attempt, reason = n.reason,
                 version = n.version, command_id = COALESCE(n.command_id, s.command_id), updated_at = now(),
                 deadline_at = CASE WHEN n.keep_deadline THEN s.deadline_at
                                    ELSE now() + make_interval(secs => n.seconds) END
             FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::int[], $7::uuid[],
                         $8::float8[], $9::bool[])
                  AS n (id, status, current_step, attempt, reason, version, command_id, seconds, keep_deadline)
             WHERE s.id = n.id",
        ),
        decisions,
        deadline_scale
    )
    .bind(decisions.iter().map(|d| d.transition.deadline == Deadline::Unchanged).collect::<Vec<_>>());
    append(writes, decisions);
}

fn append(writes: &mut Writes, decisions: &[Decision]) {
    let entries = || {
        decisions.iter().flat_map(|decision| {
            let numbered = (decision.saga.version + 1..).zip(&decision.transition.log);
            numbered.map(|(seq, entry)| (decision.saga.id.0, seq, entry))
        })
    };
    let (events, details): (Vec<_>, Vec<_>) =
        entries().map(|(_, _, entry)| entry.to_columns()).unzip();
    writes
        .add(
            "INSERT INTO saga_log (saga_id, seq, event, step, details)
         SELECT saga_id, seq, event, step, details::json
         FROM UNNEST($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[])
              AS e (saga_id, seq, event, step, details)",
        )
        .bind(entries().map(|(saga, _, _)| saga).collect::<Vec<_>>())
        .bind(entries().map(|(_, seq, _)| seq).collect::<Vec<_>>())
        .bind(events)
        .bind(
            entries()
                .map(|(_, _, entry)| entry.step)
                .collect::<Vec<_>>(),
        )
        .bind(details);
}

/// Parks a saga that this program cannot go on with, whatever is wrong with its row or its log.
///
/// # Errors
/// The database's.
pub async fn quarantine(db: impl PgExecutor<'_>, id: SagaId, problem: &str) -> sqlx::Result<()> {
    // In one statement, and from the columns themselves: nothing of the saga need be understood for it.
    sqlx::query(
        "WITH entry AS (
             INSERT INTO saga_log (saga_id, seq, event, step, details)
             SELECT s.id, COALESCE((SELECT max(seq) FROM saga_log WHERE saga_id = s.id), 0) + 1, 'SAGA_QUARANTINED',
                    s.current_step, json_build_object('reason', COALESCE(s.reason, 'OPERATOR'), 'problem', $2::text)
             FROM sagas s WHERE s.id = $1 AND s.deadline_at IS NOT NULL
             RETURNING saga_id, seq)
         UPDATE sagas s
         SET status = 'PARKED', attempt = 0, reason = COALESCE(s.reason, 'OPERATOR'), version = entry.seq,
             deadline_at = NULL, updated_at = now()
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
    pub fn entry(&self, definition: &Definition) -> Result<Entry, Unreadable> {
        Entry::from_columns(definition, &self.event, self.step.as_deref(), &self.details)
    }
}

/// The log of a saga, in order: the whole, or what is left of it when it is older than `RETENTION_DAYS`.
///
/// # Errors
/// The database's.
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

/// Sagas that are open and whose definition this program does not have: `id (name vN)`.
///
/// # Errors
/// The database's.
pub async fn of_unknown_definitions(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    let known = || super::DEFINITIONS.iter();
    let rows = sqlx::query(
        "SELECT s.id, s.type, s.definition_version FROM sagas s
         WHERE (s.deadline_at IS NOT NULL OR s.status = 'PARKED')
           AND NOT EXISTS (SELECT FROM UNNEST($1::text[], $2::int[]) AS known (type, version)
                           WHERE known.type = s.type AND known.version = s.definition_version)
         ORDER BY s.id LIMIT 20",
    )
    .bind(
        known()
            .map(|definition| definition.name)
            .collect::<Vec<_>>(),
    )
    .bind(
        known()
            .map(|definition| definition.version)
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
