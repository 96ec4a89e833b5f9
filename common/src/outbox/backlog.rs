//! How much is in the outbox, and for how long: what is under way, and what waits.

use std::time::Duration;

use sqlx::{PgExecutor, Row};

use super::table::DESTINATIONS_MAX;
use crate::{amqp::Lane, contract::topology};

/// Rows that are counted one by one. Of more, PostgreSQL's statistics say how many there are: a backlog costs no more to
/// look at than a few rows do.
const COUNTED_MAX: i64 = 100;

/// What is in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages: of more than 100, about so many.
    pub messages: u64,
    /// How long the oldest one for sagas has been there.
    pub oldest_saga: Duration,
    /// How long the oldest public event has been there.
    pub oldest_event: Duration,
}

impl Backlog {
    /// How long the oldest one of a lane has been there.
    #[must_use]
    pub const fn oldest(&self, lane: Lane) -> Duration {
        match lane {
            Lane::Saga => self.oldest_saga,
            Lane::Events => self.oldest_event,
        }
    }
}

/// Looks at the first rows of each table, and at the first one of each destination.
const LOOK: &str = "WITH RECURSIVE d AS (
         (SELECT exchange, routing_key, created_at FROM outbox_waiting
          ORDER BY exchange, routing_key, lease_until, id LIMIT 1)
         UNION ALL
         SELECT next.* FROM d, LATERAL (
             SELECT w.exchange, w.routing_key, w.created_at FROM outbox_waiting w
             WHERE (w.exchange, w.routing_key) > (d.exchange, d.routing_key)
             ORDER BY w.exchange, w.routing_key, w.lease_until, w.id LIMIT 1) AS next),
     waiting AS MATERIALIZED (SELECT exchange, created_at FROM d LIMIT $2),
     under_way AS MATERIALIZED (SELECT exchange, created_at FROM ONLY outbox ORDER BY id LIMIT $3),
     counted (relation, messages) AS (
         SELECT 'outbox'::regclass, count(*) FROM under_way
         UNION ALL
         SELECT 'outbox_waiting'::regclass, count(*) FROM (SELECT FROM outbox_waiting ORDER BY id LIMIT $3) AS w),
     oldest AS (
         SELECT exchange = $1 AS is_event, EXTRACT(epoch FROM now() - min(created_at))::float8 AS age
         FROM (SELECT * FROM waiting UNION ALL SELECT * FROM under_way) AS first GROUP BY is_event)
     SELECT (SELECT sum(CASE WHEN messages < $3 THEN messages ELSE GREATEST(messages, n_live_tup) END)::bigint
             FROM counted LEFT JOIN pg_stat_user_tables ON relid = relation) AS messages,
            COALESCE((SELECT age FROM oldest WHERE NOT is_event), 0) AS saga,
            COALESCE((SELECT age FROM oldest WHERE is_event), 0) AS event";

pub(super) async fn look(db: impl PgExecutor<'_>) -> sqlx::Result<Backlog> {
    let row = sqlx::query(LOOK)
        .bind(topology::EVENTS)
        .bind(DESTINATIONS_MAX)
        .bind(COUNTED_MAX)
        .fetch_one(db)
        .await?;
    let age = |column| Duration::try_from_secs_f64(row.get(column)).unwrap_or_default();
    Ok(Backlog {
        messages: row.get::<i64, _>("messages").unsigned_abs(),
        oldest_saga: age("saga"),
        oldest_event: age("event"),
    })
}
