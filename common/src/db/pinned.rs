//! A connection that one worker has to itself.

use std::sync::{Mutex, PoisonError};

use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::time::Instant;

use super::{TEST_AFTER_IDLE, is_usable};

/// A connection of a pool that one worker has to itself, from one transaction to the next.
///
/// The pool would hand out the connection that was idle longest, whose caches in the server are the coldest, and would
/// ping each that comes back.
#[derive(Debug)]
pub struct PinnedConnection {
    pool: PgPool,
    connection: Mutex<Option<(PoolConnection<Postgres>, Instant)>>,
}

impl PinnedConnection {
    /// A connection of `pool`, which is taken when it is needed.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            connection: Mutex::default(),
        }
    }

    /// Takes the connection, or another one of the pool when there is none. After a failure it must not be put back
    /// here: dropped, it goes back to the pool, which tests it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn take(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        let pinned = self.slot().take();
        if let Some((mut connection, since)) = pinned
            && (since.elapsed() < TEST_AFTER_IDLE
                || is_usable(&mut connection).await.unwrap_or(false))
        {
            return Ok(connection);
        }
        self.pool.acquire().await
    }

    /// Puts the connection back for the next transaction.
    pub fn put_back(&self, connection: PoolConnection<Postgres>) {
        *self.slot() = Some((connection, Instant::now()));
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<(PoolConnection<Postgres>, Instant)>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
