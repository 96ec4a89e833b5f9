//! The deadline worker: sagas whose deadline has passed are asked what follows from that.
//!
//! Any number of replicas work at once: each takes rows that no other has locked. Time comes from the database, so
//! clocks that differ do not matter. While a saga's command is still in the outbox, time stands still for it: an
//! attempt that has not left is no attempt. Only the time of the whole saga goes on.

use std::time::Duration;

use common::{
    amqp::Message,
    backoff::Backoff,
    contract::{Envelope, SagaId},
    db,
    watchdog::idle,
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{Engine, Error, Event, metrics::QUARANTINED, store};

/// Sagas that one transaction takes at most.
const BATCH_MAX: i64 = 256;
/// How often the worker looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// When a saga whose command has not left the outbox is looked at again; later, where it has not for long, ...
const UNSENT_PAUSE: Duration = Duration::from_secs(10);
/// ... but not later than this: there may be any number of such sagas.
const UNSENT_LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Works until `shutdown`.
pub async fn run(engine: Engine, shutdown: CancellationToken) {
    let mut backoff = Backoff::default();
    while !shutdown.is_cancelled() {
        match wake_due(&engine).await {
            Ok(0) => {
                backoff.reset();
                idle(async {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = sleep(LOOK_EVERY) => {}
                    }
                })
                .await;
            }
            Ok(_) => backoff.reset(),
            Err(error) => {
                warn!(%error, "cannot look after deadlines");
                backoff.wait(&shutdown).await;
            }
        }
    }
}

/// Handles one batch of due sagas of definitions that the engine has, and returns how many there were.
///
/// A saga that cannot be handled is quarantined, so that it does not keep the others from being handled.
///
/// # Errors
/// The database is away.
pub async fn wake_due(engine: &Engine) -> Result<usize, Error> {
    let mut db = engine.db().acquire().await?;
    db::in_time(async {
        match wake(engine, &mut db, None).await {
            Err(error) if !error.is_transient() => {
                warn!(%error, "handling due sagas one by one: one of them hurts the others");
                one_by_one(engine, &mut db).await
            }
            handled => handled,
        }
    })
    .await
}

async fn one_by_one(engine: &Engine, db: &mut PgConnection) -> Result<usize, Error> {
    let due = sqlx::query(
        "SELECT id FROM sagas
         WHERE deadline_at <= now() AND (type, definition_version) IN (SELECT * FROM UNNEST($2::text[], $3::int[]))
         ORDER BY deadline_at LIMIT $1",
    )
    .bind(BATCH_MAX)
    .bind(engine.registry().names())
    .bind(engine.registry().versions())
    .fetch_all(&mut *db)
    .await?;
    for row in &due {
        let id = SagaId(row.get("id"));
        match wake(engine, db, Some(id)).await {
            Ok(_) => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(problem) => {
                error!(saga.id = %id, error = %problem, "quarantined: an operator has to look");
                quarantine(engine, db, id, &problem.to_string()).await?;
            }
        }
    }
    Ok(due.len())
}

/// Parks a saga that cannot be handled, and tells everybody.
async fn quarantine(
    engine: &Engine,
    db: &mut PgConnection,
    id: SagaId,
    problem: &str,
) -> Result<(), Error> {
    let mut work = engine.work(db);
    let parked = store::quarantine(&mut **work.transaction().await?, id, problem).await?;
    if let Some(parked) = parked {
        let envelope = Envelope::new(engine.program().source, &id.to_string(), &parked);
        work.tell(Message::event(Envelope {
            sagaid: Some(id),
            ..envelope
        }));
        work.tally().add(&QUARANTINED, &[], 1);
    }
    work.commit().await
}

/// Handles due sagas, or `only` one of them, in one transaction.
async fn wake(
    engine: &Engine,
    db: &mut PgConnection,
    only: Option<SagaId>,
) -> Result<usize, Error> {
    let mut work = engine.work(db);
    let rows = sqlx::query(
        "WITH due AS (SELECT id, command_id, expires_at FROM sagas
                      WHERE deadline_at <= now() AND ($2::uuid IS NULL OR id = $2)
                        AND (type, definition_version) IN (SELECT * FROM UNNEST($3::text[], $4::int[]))
                      ORDER BY deadline_at LIMIT $1 FOR UPDATE SKIP LOCKED)
         SELECT id, COALESCE(expires_at <= now(), false) AS expired,
                EXISTS (SELECT FROM outbox WHERE outbox.id = due.command_id) AS unsent FROM due",
    )
    .bind(BATCH_MAX)
    .bind(only.map(|id| id.0))
    .bind(engine.registry().names())
    .bind(engine.registry().versions())
    .fetch_all(&mut **work.transaction().await?)
    .await?;
    let (due, unsent): (Vec<_>, Vec<_>) = rows
        .iter()
        .partition(|row| row.get("expired") || !row.get::<bool, _>("unsent"));
    if !unsent.is_empty() {
        let ids: Vec<Uuid> = unsent.iter().map(|row| row.get("id")).collect();
        let pause = UNSENT_PAUSE.as_secs_f64() * engine.program().deadline_scale;
        sqlx::query(
            "UPDATE sagas SET deadline_at = LEAST(
                 now() + LEAST(GREATEST(make_interval(secs => $2), (now() - updated_at) / 4), make_interval(secs => $3)),
                 expires_at)
             WHERE id = ANY($1)",
        )
        .bind(ids)
        .bind(pause)
        .bind(UNSENT_LONGEST_PAUSE.as_secs_f64())
        .execute(&mut **work.transaction().await?)
        .await?;
    }
    if !due.is_empty() {
        let events: Vec<_> = due.iter().map(|row| event(row)).collect();
        work.apply_all(&events).await?;
    }
    work.commit().await?;
    if !due.is_empty() {
        info!(sagas = due.len(), "deadlines passed");
    }
    Ok(rows.len())
}

fn event(due: &PgRow) -> (SagaId, Event) {
    let event = if due.get("expired") {
        Event::Expired
    } else {
        Event::DeadlinePassed
    };
    (SagaId(due.get("id")), event)
}
