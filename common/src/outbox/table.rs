//! The table `outbox`: what is inserted, claimed, deleted and kept in it.

use std::{collections::HashMap, time::Duration};

use sqlx::{PgPool, Row};
use tracing::{error, warn};
use uuid::Uuid;

use super::in_flight::Results;
use crate::{
    amqp::{Lane, Message, NotPublished},
    contract::topology,
    db::Writes,
};

/// How long a row belongs to the process that wrote or claimed it.
pub(super) const LEASE: Duration = Duration::from_secs(10);

pub(super) fn insert(
    writes: &mut Writes,
    messages: &[Message],
    lease: impl Fn(&Message) -> Duration,
) {
    if messages.is_empty() {
        return;
    }
    let column = |get: fn(&Message) -> &str| messages.iter().map(get).collect::<Vec<_>>();
    writes
        .add(
            "INSERT INTO outbox (id, exchange, routing_key, message, lease_until)
         SELECT id, exchange, routing_key, message::json, now() + make_interval(secs => lease)
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::float8[])
              AS m (id, exchange, routing_key, message, lease)
         ON CONFLICT (id) DO NOTHING",
        )
        .bind(messages.iter().map(Message::row_id).collect::<Vec<_>>())
        .bind(column(Message::exchange))
        .bind(column(Message::routing_key))
        .bind(column(Message::json))
        .bind(
            messages
                .iter()
                .map(|message| lease(message).as_secs_f64())
                .collect::<Vec<_>>(),
        );
}

/// The rows of one lane.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) db: PgPool,
    pub(super) lane: Lane,
}

impl Table {
    /// Leases at most `max` of the rows whose lease is over, the oldest first, but no commands to those who are `closed`.
    pub(super) async fn claim(&self, max: i64, closed: &[String]) -> sqlx::Result<Vec<Message>> {
        let rows = sqlx::query(
            // Materialized: as a subquery in WHERE, it may be executed for each row of the table.
            "WITH due AS MATERIALIZED (
                 SELECT id FROM outbox WHERE lease_until <= now() AND (exchange = $2) = $3
                   AND NOT (exchange = $5 AND routing_key = ANY($6))
                 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
             UPDATE outbox o SET lease_until = now() + make_interval(secs => $4) FROM due WHERE o.id = due.id
             RETURNING o.id, exchange, routing_key, message::text",
        )
        .bind(max)
        .bind(topology::EVENTS)
        .bind(self.lane == Lane::Events)
        .bind(LEASE.as_secs_f64())
        .bind(topology::COMMANDS)
        .bind(closed)
        .fetch_all(&self.db)
        .await?;
        let mut rows: Vec<(Uuid, Message)> = rows.iter().filter_map(read).collect();
        rows.sort_unstable_by_key(|(id, _)| *id);
        Ok(rows.into_iter().map(|(_, message)| message).collect())
    }

    /// How long the oldest row has been there; nothing where there is none.
    pub(super) async fn oldest(&self) -> sqlx::Result<Duration> {
        let row = sqlx::query(
            "SELECT EXTRACT(epoch FROM now() - created_at)::float8 FROM outbox
             WHERE (exchange = $1) = $2 ORDER BY id LIMIT 1",
        )
        .bind(topology::EVENTS)
        .bind(self.lane == Lane::Events)
        .fetch_optional(&self.db)
        .await?;
        let seconds = row.map_or(0.0, |row| row.get(0));
        Ok(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }

    /// How long the oldest command to each of `participants` has waited.
    pub(super) async fn waited(
        &self,
        participants: &[String],
    ) -> sqlx::Result<HashMap<String, Duration>> {
        let rows = sqlx::query(
            "SELECT participant, COALESCE(EXTRACT(epoch FROM now() - oldest)::float8, 0) AS seconds
             FROM UNNEST($1::text[]) AS participant,
                  LATERAL (SELECT (SELECT created_at FROM outbox WHERE exchange = $2 AND routing_key = participant
                                   ORDER BY id LIMIT 1) AS oldest) AS o",
        )
        .bind(participants)
        .bind(topology::COMMANDS)
        .fetch_all(&self.db)
        .await?;
        let waited = rows.iter().map(|row| {
            let seconds: f64 = row.get("seconds");
            (
                row.get("participant"),
                Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            )
        });
        Ok(waited.collect())
    }

    /// Deletes what is confirmed, and postpones the rest to a later sweep.
    pub(super) async fn record(&self, results: Results) -> sqlx::Result<()> {
        let (confirmed, failed): (Vec<_>, Vec<_>) =
            results.into_iter().partition(|(_, result)| result.is_ok());
        if !confirmed.is_empty() {
            let ids: Vec<_> = confirmed.into_iter().map(|(id, _)| id).collect();
            sqlx::query("DELETE FROM outbox WHERE id = ANY($1)")
                .bind(ids)
                .execute(&self.db)
                .await?;
        }
        for kind in [
            NotPublished::Unroutable,
            NotPublished::Refused,
            NotPublished::Lost,
        ] {
            let ids: Vec<_> = failed
                .iter()
                .filter(|(_, r)| *r == Err(kind))
                .map(|(id, _)| *id)
                .collect();
            if !ids.is_empty() {
                self.postpone(&ids, kind).await?;
            }
        }
        Ok(())
    }

    async fn postpone(&self, ids: &[Uuid], why: NotPublished) -> sqlx::Result<()> {
        warn!(rows = ids.len(), reason = %why, "messages stay in the outbox");
        // After a lost connection they go out as soon as there is one. But what is lost again and again gets in the way
        // of others, for a queue that confirms nothing looks the same. What was sent back is in no hurry.
        let first_pause = if why == NotPublished::Lost { 0 } else { 5 };
        sqlx::query(
            "UPDATE outbox SET attempts = attempts + 1, last_error = $2,
                 lease_until = now() + make_interval(secs => LEAST($3 + power(2, LEAST(attempts, 6)) - 1, 60))
             WHERE id = ANY($1)",
        )
        .bind(ids)
        .bind(why.to_string())
        .bind(first_pause)
        .execute(&self.db)
        .await?;
        Ok(())
    }
}

fn read(row: &sqlx::postgres::PgRow) -> Option<(Uuid, Message)> {
    let id = row.get("id");
    match Message::stored(
        id,
        row.get("exchange"),
        row.get("routing_key"),
        row.get("message"),
    ) {
        Ok(message) => Some((id, message)),
        Err(error) => {
            error!(message.id = %id, %error, "an outbox row is no message: it stays, and somebody must look");
            None
        }
    }
}
