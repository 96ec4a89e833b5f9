//! Who carries batches out: one replica at a time, saga by saga.

use std::time::Duration;

use anyhow::Context as _;
use common::{
    backoff::Backoff,
    contract::{SagaId, clock},
    db,
    watchdog::idle,
};
use saga::{Engine, Intervention};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx::{PgConnection, Row};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::table::{Batch, columns, read};
use crate::interventions::{self, Refusal, Request};

/// How often a worker looks for a batch that nobody carries out.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a batch belongs to its worker after the last saga.
const LEASE: Duration = Duration::from_secs(15);
/// Sagas that are read at once.
const PAGE: u64 = 50;

/// Carries batches out until `shutdown`.
pub(crate) async fn run(engine: Engine, shutdown: CancellationToken) {
    let worker = Worker {
        reads: SqlxPostgresConnector::from_sqlx_postgres_pool(engine.db().clone()),
        engine,
        id: clock::new_id(),
        shutdown,
    };
    let mut backoff = Backoff::default();
    while !worker.shutdown.is_cancelled() {
        match worker.look().await {
            Ok(true) => backoff.reset(),
            Ok(false) => {
                backoff.reset();
                worker.pause(LOOK_EVERY).await;
            }
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "cannot carry out a batch of interventions"
                );
                backoff.wait(&worker.shutdown).await;
            }
        }
    }
}

struct Worker {
    engine: Engine,
    reads: DatabaseConnection,
    /// Its name in the rows that it leases.
    id: Uuid,
    shutdown: CancellationToken,
}

/// What became of a saga of a batch.
enum Step {
    /// It was done, or refused: the next one follows.
    Next,
    /// The batch is somebody else's, or stopped.
    Over,
}

impl Worker {
    /// Carries out a batch that nobody else does, if there is one.
    async fn look(&self) -> anyhow::Result<bool> {
        let claimed = db::in_time(self.claim()).await.context("leasing it")?;
        let Some(mut batch) = claimed else {
            return Ok(false);
        };
        info!(batch.id = %batch.id, verb = %batch.verb, actor = batch.actor, done = batch.done, "a batch of interventions goes on");
        let mut pace = interval(Duration::from_secs(1) / batch.per_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.some(&mut batch, &mut pace).await? {}
        Ok(true)
    }

    async fn claim(&self) -> sqlx::Result<Option<Batch>> {
        let row = sqlx::query(concat!(
            "WITH free AS MATERIALIZED (
                 SELECT id AS free_id FROM saga_batches WHERE status = 'RUNNING' AND lease_until <= now()
                 ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED)
             UPDATE saga_batches SET worker = $1, lease_until = now() + make_interval(secs => $2)
             FROM free WHERE id = free_id RETURNING ",
            columns!()
        ))
        .bind(self.id)
        .bind(LEASE.as_secs_f64())
        .fetch_optional(self.engine.db())
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Goes on with some sagas of a batch, and returns whether there may be more.
    async fn some(&self, batch: &mut Batch, pace: &mut Interval) -> anyhow::Result<bool> {
        let search = batch.criteria.search(Some(batch.created_at));
        let search = search.map_err(|error| anyhow::anyhow!("its filter: {error}"))?;
        let page = search.page(&self.reads, batch.after, PAGE).await;
        let page = page.map_err(|error| anyhow::anyhow!("looking for its sagas: {error}"))?;
        for saga in &page.items {
            let turn = idle(async {
                tokio::select! {
                    () = self.shutdown.cancelled() => false,
                    _ = pace.tick() => true,
                }
            });
            if !turn.await {
                self.release(batch).await?;
                return Ok(false);
            }
            match db::in_time(self.one(batch, saga.id)).await? {
                Step::Next => batch.after = Some(saga.id),
                Step::Over => return Ok(false),
            }
        }
        let Some(end) = page.end() else {
            self.finish(batch).await?;
            return Ok(false);
        };
        // Where few of many fit, a page may be empty.
        batch.after = Some(end);
        let is_ours = db::in_time(self.advance(batch)).await?;
        Ok(is_ours && !self.shutdown.is_cancelled())
    }

    /// Does one saga of a batch: in one transaction with how far the batch is, which is locked first.
    async fn one(&self, batch: &Batch, saga: Uuid) -> Result<Step, Refusal> {
        let mut db = self.engine.db().acquire().await?;
        match self.intervene(&mut db, batch, saga).await {
            Err(refusal) if !refusal.is_transient() => {
                // On the same connection, which takes back what was begun first.
                self.refused(&mut db, batch, saga, &refusal).await?;
                Ok(Step::Next)
            }
            done => done,
        }
    }

    async fn intervene(
        &self,
        db: &mut PgConnection,
        batch: &Batch,
        saga: Uuid,
    ) -> Result<Step, Refusal> {
        let mut work = self.engine.work(db);
        if !self.is_ours(batch, work.transaction().await?).await? {
            return Ok(Step::Over);
        }
        let by = Intervention {
            note: Some(batch.reason.clone()),
            actor: Some(batch.actor.clone()),
            idempotency_key: Some(format!("batch {}", batch.id)),
        };
        let request = Request {
            saga: SagaId(saga),
            verb: batch.verb,
            by,
            seen: None,
            origin: batch.origin.clone(),
        };
        interventions::decide(&mut work, request).await?;
        work.writes()
            .add(
                "UPDATE saga_batches SET done = done + 1, after_id = $2, updated_at = now(),
                     lease_until = now() + make_interval(secs => $3) WHERE id = $1",
            )
            .bind(batch.id)
            .bind(saga)
            .bind(LEASE.as_secs_f64());
        work.commit().await?;
        Ok(Step::Next)
    }

    /// Whether the batch runs and is this worker's, and stays so until the transaction ends.
    async fn is_ours(&self, batch: &Batch, db: &mut PgConnection) -> sqlx::Result<bool> {
        let row = sqlx::query(
            "SELECT status = 'RUNNING' AND worker = $2 AS is_ours FROM saga_batches WHERE id = $1 FOR UPDATE",
        )
        .bind(batch.id)
        .bind(self.id)
        .fetch_one(db)
        .await?;
        row.try_get("is_ours")
    }

    /// Notes how far a batch is, and returns whether it is still this worker's.
    async fn advance(&self, batch: &Batch) -> sqlx::Result<bool> {
        let advanced = sqlx::query(
            "UPDATE saga_batches SET after_id = $3, updated_at = now(), lease_until = now() + make_interval(secs => $4)
             WHERE id = $1 AND worker = $2 AND status = 'RUNNING'",
        )
        .bind(batch.id)
        .bind(self.id)
        .bind(batch.after)
        .bind(LEASE.as_secs_f64())
        .execute(self.engine.db())
        .await?;
        Ok(advanced.rows_affected() == 1)
    }

    async fn refused(
        &self,
        db: &mut PgConnection,
        batch: &Batch,
        saga: Uuid,
        why: &Refusal,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE saga_batches SET refused = refused + 1, last_refusal = $3, after_id = $4, updated_at = now(),
                 lease_until = now() + make_interval(secs => $5)
             WHERE id = $1 AND worker = $2 AND status = 'RUNNING'",
        )
        .bind(batch.id)
        .bind(self.id)
        .bind(format!("saga {saga}: {why}"))
        .bind(saga)
        .bind(LEASE.as_secs_f64())
        .execute(db)
        .await?;
        Ok(())
    }

    async fn finish(&self, batch: &Batch) -> sqlx::Result<()> {
        let finish = sqlx::query(
            "UPDATE saga_batches SET status = 'DONE', finished_at = now(), updated_at = now()
             WHERE id = $1 AND worker = $2 AND status = 'RUNNING'",
        )
        .bind(batch.id)
        .bind(self.id)
        .execute(self.engine.db());
        db::in_time(finish).await?;
        info!(batch.id = %batch.id, "a batch of interventions is done");
        Ok(())
    }

    /// Leaves a batch to whoever takes it up.
    async fn release(&self, batch: &Batch) -> sqlx::Result<()> {
        let release = sqlx::query(
            "UPDATE saga_batches SET lease_until = now() WHERE id = $1 AND worker = $2",
        )
        .bind(batch.id)
        .bind(self.id)
        .execute(self.engine.db());
        db::in_time(release).await?;
        Ok(())
    }

    async fn pause(&self, pause: Duration) {
        idle(async {
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = sleep(pause) => {}
            }
        })
        .await;
    }
}
