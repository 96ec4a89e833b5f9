//! A connection that a worker keeps.

use std::sync::{Mutex, PoisonError};

use sqlx::{Connection, PgPool, Postgres, pool::PoolConnection};
use tokio::time::Instant;

use super::TEST_AFTER_IDLE;

/// A connection that one worker keeps from one transaction to the next.
///
/// From the pool it would get the one that was idle longest, whose caches in the server are the coldest, and a ping
/// would go with each that it gives back.
#[derive(Debug)]
pub struct Kept {
    pool: PgPool,
    connection: Mutex<Option<(PoolConnection<Postgres>, Instant)>>,
}

impl Kept {
    /// One of `pool`, when it is needed.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            connection: Mutex::default(),
        }
    }

    /// The connection, or another when there is none. What fails on it must not be kept: dropped, it goes back to the
    /// pool, which tests it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn take(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        let kept = self.slot().take();
        if let Some((mut connection, since)) = kept
            && (since.elapsed() < TEST_AFTER_IDLE || connection.ping().await.is_ok())
        {
            return Ok(connection);
        }
        self.pool.acquire().await
    }

    /// Keeps the connection for the next transaction.
    pub fn keep(&self, connection: PoolConnection<Postgres>) {
        *self.slot() = Some((connection, Instant::now()));
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<(PoolConnection<Postgres>, Instant)>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
