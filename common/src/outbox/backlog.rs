//! How much is in the outbox: what is under way, and what waits.

use std::time::Duration;

use sqlx::{PgExecutor, Row};

use crate::{amqp::Lane, contract::topology};

/// Messages that wait that are counted at most in each lane.
const COUNTED_MAX: i64 = 20_000;

/// What is in one lane of the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages: of those that wait, at most 20 000 are counted.
    pub messages: u32,
    /// How long the oldest of these has been there.
    pub oldest: Duration,
}

pub(super) async fn of_lanes(db: impl PgExecutor<'_>) -> sqlx::Result<[(Lane, Backlog); 2]> {
    // What is under way is little. What waits has an index by destination, which both parts walk along.
    let rows = sqlx::query(
        "SELECT exchange = $1 AS is_event, count(*) AS messages,
                GREATEST(0, EXTRACT(epoch FROM now() - min(created_at)))::float8 AS oldest
         FROM ((SELECT exchange, created_at FROM ONLY outbox ORDER BY id LIMIT $3)
               UNION ALL
               (SELECT exchange, created_at FROM outbox_waiting WHERE exchange = $1
                ORDER BY exchange, routing_key, lease_until, id LIMIT $3)
               UNION ALL
               (SELECT exchange, created_at FROM outbox_waiting WHERE exchange = ANY($2) LIMIT $3)) AS counted
         GROUP BY is_event",
    )
    .bind(topology::EVENTS)
    .bind([topology::COMMANDS, topology::REPLIES, topology::DEFAULT])
    .bind(COUNTED_MAX)
    .fetch_all(db)
    .await?;
    let mut lanes = [Lane::Saga, Lane::Events].map(|lane| (lane, Backlog::default()));
    for row in rows {
        let is_event: bool = row.get("is_event");
        lanes[usize::from(is_event)].1 = Backlog {
            messages: u32::try_from(row.get::<i64, _>("messages")).unwrap_or(u32::MAX),
            oldest: Duration::try_from_secs_f64(row.get("oldest")).unwrap_or_default(),
        };
    }
    Ok(lanes)
}
