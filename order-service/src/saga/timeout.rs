//! The timeout worker: sagas whose deadline has passed are asked what follows from that.
//!
//! Any number of replicas work at once: each takes rows that no other has locked. Time comes from the database, so
//! clocks that differ do not matter. While a saga's command is still in the outbox, time stands still for it: an
//! attempt that has not left is no attempt.

use std::time::Duration;

use common::{backoff::Backoff, contract::SagaId, db};
use sqlx::Row;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    Event,
    orchestrator::{Error, Happening, News, Orchestrator},
    saga_log,
};

/// Sagas that one transaction takes at most.
const BATCH_MAX: i64 = 256;
/// How often the worker looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// When a saga whose command has not left the outbox is looked at again.
const UNSENT_PAUSE: Duration = Duration::from_secs(10);

/// Works until `shutdown`.
pub async fn run(orchestrator: Orchestrator, shutdown: CancellationToken) {
    let mut backoff = Backoff::default();
    while !shutdown.is_cancelled() {
        match wake_due(&orchestrator).await {
            Ok(0) => {
                backoff.reset();
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = sleep(LOOK_EVERY) => {}
                }
            }
            Ok(_) => backoff.reset(),
            Err(error) => {
                warn!(%error, "cannot look after deadlines");
                backoff.wait(&shutdown).await;
            }
        }
    }
}

/// Handles one batch of due sagas, and returns how many there were.
///
/// A saga that cannot be handled is quarantined, so that it does not keep the others from being handled.
///
/// # Errors
/// The database is away.
pub async fn wake_due(orchestrator: &Orchestrator) -> Result<usize, Error> {
    match wake(orchestrator, None).await {
        Err(error) if !error.is_transient() => {
            warn!(%error, "handling due sagas one by one: one of them hurts the others");
            one_by_one(orchestrator).await
        }
        handled => handled,
    }
}

async fn one_by_one(orchestrator: &Orchestrator) -> Result<usize, Error> {
    let due = sqlx::query(
        "SELECT id FROM sagas WHERE deadline_at <= now() ORDER BY deadline_at LIMIT $1",
    )
    .bind(BATCH_MAX)
    .fetch_all(orchestrator.db())
    .await?;
    for row in &due {
        let id = SagaId(row.get("id"));
        match wake(orchestrator, Some(id)).await {
            Ok(_) => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(problem) => {
                error!(saga.id = %id, error = %problem, "quarantined: an operator has to look");
                saga_log::quarantine(orchestrator.db(), id, &problem.to_string()).await?;
            }
        }
    }
    Ok(due.len())
}

/// Handles due sagas, or `only` one of them, in one transaction.
async fn wake(orchestrator: &Orchestrator, only: Option<SagaId>) -> Result<usize, Error> {
    let mut tx = db::begin(orchestrator.db()).await?;
    let rows = sqlx::query(
        "WITH due AS (SELECT id, command_id FROM sagas WHERE deadline_at <= now() AND ($2::uuid IS NULL OR id = $2)
                      ORDER BY deadline_at LIMIT $1 FOR UPDATE SKIP LOCKED)
         SELECT id, EXISTS (SELECT FROM outbox WHERE outbox.id = due.command_id) AS unsent FROM due",
    )
    .bind(BATCH_MAX)
    .bind(only.map(|id| id.0))
    .fetch_all(&mut *tx)
    .await?;
    let (unsent, due): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.get("unsent"));
    if !unsent.is_empty() {
        let pause = UNSENT_PAUSE.as_secs_f64() * orchestrator.deadline_scale();
        sqlx::query(
            "UPDATE sagas SET deadline_at = now() + make_interval(secs => $2) WHERE id = ANY($1)",
        )
        .bind(
            unsent
                .iter()
                .map(|row| row.get("id"))
                .collect::<Vec<Uuid>>(),
        )
        .bind(pause)
        .execute(&mut *tx)
        .await?;
    }
    let news: Vec<_> = due
        .iter()
        .map(|row| News {
            saga: SagaId(row.get("id")),
            what: Happening::Event(Event::DeadlinePassed),
        })
        .collect();
    let messages = if news.is_empty() {
        Vec::new()
    } else {
        orchestrator.apply(&mut tx, &news).await?
    };
    tx.commit().await?;
    if !news.is_empty() {
        info!(sagas = news.len(), "deadlines passed");
    }
    orchestrator.outbox().hand_over(messages).await;
    Ok(rows.len())
}
