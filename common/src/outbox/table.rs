//! The tables `outbox` and `outbox_waiting`: what is inserted, claimed, moved and deleted.
//!
//! A row is in `outbox` while the process that wrote it publishes it, and in `outbox_waiting` when it is for a sweep.
//! The latter inherits from the former, so that a statement about `outbox` is about both, and one about `ONLY outbox` is
//! not. Backlogs can be large, and have an index by destination; what is under way is little, and needs none.

use std::{collections::HashMap, time::Duration};

use sqlx::{PgPool, Row, postgres::PgRow};
use tracing::{error, warn};
use uuid::Uuid;

use super::in_flight::Results;
use crate::{
    amqp::{Destination, Message, NotPublished},
    contract::topology,
    db::{Writes, in_time},
};

/// How long a row belongs to the process that wrote or claimed it.
const LEASE: Duration = Duration::from_secs(10);
/// Rows of processes that died that are moved at once.
const ORPHANS_MAX: i64 = 1000;
/// Destinations that are looked at in one go.
pub(super) const DESTINATIONS_MAX: i64 = 100;

/// Adds the rows of what the caller publishes after the commit.
pub(super) fn insert(writes: &mut Writes, messages: &[Message]) {
    insert_into(writes, "outbox", messages, |_| LEASE);
}

/// Adds the rows of what a sweep publishes, when it is due.
pub(super) fn insert_waiting(writes: &mut Writes, messages: &[Message]) {
    insert_into(writes, "outbox_waiting", messages, Message::pause);
}

fn insert_into(
    writes: &mut Writes,
    table: &str,
    messages: &[Message],
    lease: impl Fn(&Message) -> Duration,
) {
    if messages.is_empty() {
        return;
    }
    let insert = format!(
        "INSERT INTO {table} (id, exchange, routing_key, message, lease_until)
         SELECT id, exchange, routing_key, message::json, now() + make_interval(secs => lease)
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::float8[])
              AS m (id, exchange, routing_key, message, lease)
         ON CONFLICT (id) DO NOTHING"
    );
    let destinations = || messages.iter().map(Message::destination);
    let json: Vec<_> = messages.iter().map(Message::row_json).collect();
    let leases = messages.iter().map(|message| lease(message).as_secs_f64());
    writes
        .add(&insert)
        .bind(messages.iter().map(Message::row_id).collect::<Vec<_>>())
        .bind(
            destinations()
                .map(Destination::exchange)
                .collect::<Vec<_>>(),
        )
        .bind(
            destinations()
                .map(Destination::routing_key)
                .collect::<Vec<_>>(),
        )
        .bind(json.iter().map(AsRef::as_ref).collect::<Vec<&str>>())
        .bind(leases.collect::<Vec<_>>());
}

/// The rows.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) db: PgPool,
}

impl Table {
    /// Has some rows wait that nobody publishes any more.
    pub(super) async fn move_orphans(&self) -> sqlx::Result<()> {
        let moving = async {
            let orphans: Vec<Uuid> = sqlx::query_scalar(
                "SELECT id FROM ONLY outbox WHERE lease_until <= now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
            )
            .bind(ORPHANS_MAX)
            .fetch_all(&self.db)
            .await?;
            if orphans.is_empty() {
                return Ok(());
            }
            self.have_wait(&orphans).await
        };
        in_time(moving).await
    }

    /// For whom rows wait that are due or will be, in order: some of them, after `after`.
    pub(super) async fn destinations(
        &self,
        after: Option<&Destination>,
    ) -> sqlx::Result<Vec<Destination>> {
        // One look into the index for each destination, however many rows it has.
        let rows = sqlx::query(
            "WITH RECURSIVE d AS (
                 (SELECT exchange, routing_key FROM outbox_waiting
                  WHERE (exchange, routing_key) > ($1, $2) ORDER BY exchange, routing_key, lease_until, id LIMIT 1)
                 UNION ALL
                 SELECT next.* FROM d, LATERAL (
                     SELECT w.exchange, w.routing_key FROM outbox_waiting w
                     WHERE (w.exchange, w.routing_key) > (d.exchange, d.routing_key)
                     ORDER BY w.exchange, w.routing_key, w.lease_until, w.id LIMIT 1) AS next)
             SELECT exchange, routing_key FROM d LIMIT $3",
        )
        .bind(after.map_or("", Destination::exchange))
        .bind(after.map_or("", Destination::routing_key))
        .bind(DESTINATIONS_MAX)
        .fetch_all(&self.db);
        let rows = in_time(rows).await?;
        Ok(rows.iter().map(destination).collect())
    }

    /// Leases at most `max` of the rows for `destination` that are due, the oldest first.
    pub(super) async fn claim(
        &self,
        destination: &Destination,
        max: i64,
    ) -> sqlx::Result<Vec<Message>> {
        let rows = sqlx::query(
            "WITH due AS MATERIALIZED (
                 SELECT id FROM outbox_waiting
                 WHERE exchange = $2 AND routing_key = $3 AND lease_until <= now()
                 ORDER BY lease_until, id LIMIT $1 FOR UPDATE SKIP LOCKED)
             UPDATE outbox_waiting o SET lease_until = now() + make_interval(secs => $4) FROM due WHERE o.id = due.id
             RETURNING o.id, exchange, routing_key, message::text",
        )
        .bind(max)
        .bind(destination.exchange())
        .bind(destination.routing_key())
        .bind(LEASE.as_secs_f64())
        .fetch_all(&self.db);
        let rows = in_time(rows).await?;
        let mut messages: Vec<Message> = rows.iter().filter_map(message).collect();
        messages.sort_unstable_by_key(Message::row_id);
        Ok(messages)
    }

    /// How long the oldest command to each of `participants` has waited, where one waits.
    pub(super) async fn waited(
        &self,
        participants: &[String],
    ) -> sqlx::Result<HashMap<String, Duration>> {
        let rows = sqlx::query(
            "SELECT participant, EXTRACT(epoch FROM now() - created_at)::float8 AS waited
             FROM UNNEST($1::text[]) AS participant,
                  LATERAL (SELECT created_at FROM outbox_waiting
                           WHERE exchange = $2 AND routing_key = participant
                           ORDER BY lease_until, id LIMIT 1) AS oldest",
        )
        .bind(participants)
        .bind(topology::COMMANDS)
        .fetch_all(&self.db);
        let rows = in_time(rows).await?;
        let waited = rows.iter().map(|row| (row.get("participant"), waited(row)));
        Ok(waited.collect())
    }

    /// Deletes what is confirmed, and postpones the rest to a later sweep.
    pub(super) async fn record(&self, results: Results) -> sqlx::Result<()> {
        in_time(self.delete_or_postpone(results)).await
    }

    async fn delete_or_postpone(&self, results: Results) -> sqlx::Result<()> {
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

    /// Moves rows to those that wait.
    async fn have_wait(&self, ids: &[Uuid]) -> sqlx::Result<()> {
        sqlx::query(
            "WITH moved AS (
                 DELETE FROM ONLY outbox WHERE id = ANY($1)
                 RETURNING id, exchange, routing_key, message, attempts, last_error, lease_until, created_at)
             INSERT INTO outbox_waiting
                 (id, exchange, routing_key, message, attempts, last_error, lease_until, created_at)
             SELECT * FROM moved ON CONFLICT (id) DO NOTHING",
        )
        .bind(ids)
        .execute(&self.db)
        .await?;
        Ok(())
    }

    async fn postpone(&self, ids: &[Uuid], why: NotPublished) -> sqlx::Result<()> {
        warn!(rows = ids.len(), reason = %why, "messages stay in the outbox");
        self.have_wait(ids).await?;
        let (first, longest) = pauses(why);
        sqlx::query(
            "UPDATE outbox_waiting SET attempts = attempts + 1, last_error = $2,
                 lease_until = now() + make_interval(secs => LEAST($3 + power(2, LEAST(attempts, 6)) - 1, $4))
             WHERE id = ANY($1)",
        )
        .bind(ids)
        .bind(why.to_string())
        .bind(first.as_secs_f64())
        .bind(longest.as_secs_f64())
        .execute(&self.db)
        .await?;
        Ok(())
    }
}

/// How long what could not be published waits, the first time and at most. In between, each time is twice as long.
///
/// What a broker did not confirm or refused while its nodes came and went goes out soon after that is over. What no queue
/// wants is in no hurry: somebody has to bind one first.
fn pauses(why: NotPublished) -> (Duration, Duration) {
    let (first, longest) = match why {
        NotPublished::Lost => (0, 7),
        NotPublished::Refused => (1, 8),
        NotPublished::Unroutable => (5, 60),
    };
    (Duration::from_secs(first), Duration::from_secs(longest))
}

fn message(row: &PgRow) -> Option<Message> {
    let id = row.get("id");
    match Message::stored(id, destination(row), row.get("message")) {
        Ok(message) => Some(message),
        Err(error) => {
            error!(message.id = %id, %error, "an outbox row is no message: it stays, and somebody must look");
            None
        }
    }
}

fn destination(row: &PgRow) -> Destination {
    let (exchange, routing_key): (String, String) = (row.get("exchange"), row.get("routing_key"));
    Destination::new(exchange, routing_key)
}

fn waited(row: &PgRow) -> Duration {
    Duration::try_from_secs_f64(row.get("waited")).unwrap_or_default()
}
