//! Vacuums the table of the outbox.

use std::time::Duration;

use sqlx::PgPool;
use tokio::{task::JoinHandle, time::Instant};
use tracing::warn;

/// Deleted rows after which the table is vacuumed.
const VACUUM_AFTER: usize = 50_000;
/// The part of the time that vacuuming may take: one of so many.
const VACUUM_SHARE: u32 = 20;

/// Keeps the table small: its rows live for milliseconds, and autovacuum looks once a minute. Until then, every sweep
/// would walk past all that was deleted.
pub(super) struct Vacuum {
    deleted: usize,
    not_before: Instant,
    running: Option<JoinHandle<Duration>>,
}

impl Vacuum {
    pub(super) fn new() -> Self {
        Self {
            deleted: 0,
            not_before: Instant::now(),
            running: None,
        }
    }

    /// Counts rows that were deleted, and begins to vacuum when it is time.
    pub(super) async fn after(&mut self, deleted: usize, db: &PgPool) {
        self.deleted += deleted;
        if let Some(done) = self.running.take_if(|running| running.is_finished()) {
            // Where it is slow, a long transaction keeps dead rows alive: then it must not eat up the machine.
            let took = done.await.unwrap_or_default();
            self.not_before = Instant::now() + took * VACUUM_SHARE;
        }
        if self.deleted >= VACUUM_AFTER
            && self.running.is_none()
            && Instant::now() >= self.not_before
        {
            self.deleted = 0;
            self.running = Some(tokio::spawn(vacuum(db.clone())));
        }
    }
}

async fn vacuum(db: PgPool) -> Duration {
    let start = Instant::now();
    let vacuum = sqlx::query("VACUUM (SKIP_LOCKED, TRUNCATE false) outbox");
    if let Err(error) = vacuum.execute(&db).await {
        warn!(%error, "cannot vacuum the outbox: autovacuum will");
    }
    start.elapsed()
}
