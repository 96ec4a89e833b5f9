//! What happens to sagas, told to whoever looks on, as it happens.
//!
//! ```text
//! sagas that changed since the last look ──► their new log entries ──► those who look on   (twice a second, one reader)
//! ```
//!
//! The log is the truth, whichever replica wrote it, so it is read rather than announced: a saga pays nothing for this,
//! and nobody looks while nobody looks on.

mod feed;
mod look;
mod news;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use self::look::Looker;
pub(crate) use self::news::{Happening, News};

/// Streams that are open at once in one process.
const STREAMS_MAX: usize = 128;
/// What a stream that reads slowly may be behind by before some of it is left out.
const BEHIND_MAX: usize = 4096;

/// Where streams begin.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    db: PgPool,
    news: broadcast::Sender<News>,
    room: Arc<Semaphore>,
    /// When streams end.
    pub(crate) stop: CancellationToken,
}

impl Live {
    /// Streams that end at `stop`.
    pub(crate) fn new(db: PgPool, stop: CancellationToken) -> Self {
        Self {
            db,
            news: broadcast::Sender::new(BEHIND_MAX),
            room: Arc::new(Semaphore::new(STREAMS_MAX)),
            stop,
        }
    }

    /// Room for one more stream, if there is any.
    pub(crate) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// What happens from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// What has happened since `time`, as far back as is looked.
    pub(crate) async fn since(&self, time: DateTime<Utc>) -> sqlx::Result<Vec<News>> {
        Looker::new(self.db.clone(), Some(time)).look().await
    }

    /// Tells those who look on, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        feed::run(self.db, self.news, stop).await;
    }
}
