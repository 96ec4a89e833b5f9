//! What a command has before it, for whoever asks why a saga waits: its row, flow control, and its participant's queue.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgExecutor, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::amqp::QueueState;

/// Why commands to a participant stay in the outbox of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Held {
    /// Nobody has consumed the participant's queue for a while.
    Absent,
    /// The participant's queue is full.
    Full,
    /// The participant takes commands again, and older ones go out first.
    Behind,
    /// An operator holds them back.
    Paused,
}

/// The way to a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whether RabbitMQ can be reached.
    pub is_connected: bool,
    /// Why commands stay in the outbox, if they do.
    pub held: Option<Held>,
    /// The participant's queue; `None`: the broker does not tell.
    pub queue: Option<QueueState>,
}

/// A message that is still in the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unsent {
    /// Since when.
    pub since: DateTime<Utc>,
    /// How often it was published in vain.
    pub attempts: i32,
    /// Why it could not be published the last time.
    pub last_error: Option<String>,
    /// Whether it waits for the sweep. Else the process that wrote it is publishing it now.
    pub is_waiting: bool,
}

pub(super) async fn unsent(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Unsent>> {
    // A row may be in both tables for a moment: then it waits.
    let row = sqlx::query(
        "SELECT created_at, attempts, last_error,
                tableoid = 'outbox_waiting'::regclass OR lease_until <= now() AS is_waiting
         FROM outbox WHERE id = $1 ORDER BY is_waiting DESC LIMIT 1",
    )
    .bind(id)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Unsent {
        since: row.get("created_at"),
        attempts: row.get("attempts"),
        last_error: row.get("last_error"),
        is_waiting: row.get("is_waiting"),
    }))
}
