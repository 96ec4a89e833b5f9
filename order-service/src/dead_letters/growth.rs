//! Tells everybody when a queue has more dead letters than they were told of: `dead_letters.growing.v1`.
//!
//! What was told stands in a row of each queue, which a replica changes in the transaction that has the event: so only one of
//! all replicas tells, and a restart repeats nothing. A queue is told of at most once a minute.

use std::collections::{HashMap, VecDeque};

use common::{
    amqp::{Broker, Message},
    contract::{Envelope, clock, dead_letters::DeadLettersGrowing},
    db,
    gauges::LOOK_EVERY,
    watchdog::Turns,
};
use saga::{Engine, Error};
use sqlx::{PgConnection, Row};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Queue;

/// Looks that are remembered, of about a minute. Letters that somebody looks at are out of their queue for a moment, so a
/// queue has as many as it had at most in that time.
const REMEMBERED: usize = 12;

/// What the last looks saw in each queue.
type Seen = HashMap<String, VecDeque<i64>>;

/// Looks at the queues until `stop`.
pub(crate) async fn run(engine: Engine, broker: Broker, stop: CancellationToken) {
    let mut seen = Seen::new();
    let mut turns = Turns::new(LOOK_EVERY, stop);
    while turns.next().await {
        if let Err(error) = db::in_time(look(&engine, &broker, &mut seen)).await {
            warn!(%error, "cannot tell of dead letters");
        }
    }
}

async fn look(engine: &Engine, broker: &Broker, seen: &mut Seen) -> Result<(), Error> {
    let mut letters = Vec::new();
    for queue in Queue::all() {
        // Where RabbitMQ does not tell, it is asked again soon.
        if let Some(state) = broker.look(&queue.name).await {
            let looks = seen.entry(queue.name.clone()).or_default();
            letters.push((queue, most(looks, state.messages.into())));
        }
    }
    let mut db = engine.db().acquire().await?;
    let told = told(&mut db).await?;
    for (queue, letters) in letters {
        if told.get(&queue.name).copied().unwrap_or_default() != letters {
            tell(engine, &mut db, &queue, letters).await?;
        }
    }
    Ok(())
}

/// The most that was seen of late, `now` too.
fn most(looks: &mut VecDeque<i64>, now: i64) -> i64 {
    looks.truncate(REMEMBERED - 1);
    looks.push_front(now);
    looks.iter().copied().max().unwrap_or(now)
}

async fn told(db: &mut PgConnection) -> sqlx::Result<HashMap<String, i64>> {
    let rows = sqlx::query("SELECT queue, letters FROM letter_notices");
    let rows = rows.fetch_all(db).await?;
    let letters = rows
        .iter()
        .map(|row| (row.get("queue"), row.get("letters")));
    Ok(letters.collect())
}

/// Takes note of how many letters there are, and tells everybody if they are more, unless somebody has done so within a
/// minute.
async fn tell(
    engine: &Engine,
    db: &mut PgConnection,
    queue: &Queue,
    letters: i64,
) -> Result<(), Error> {
    let mut work = engine.work(db);
    let tx = work.transaction().await?;
    sqlx::query(
        "INSERT INTO letter_notices (queue, letters) VALUES ($1, 0) ON CONFLICT DO NOTHING",
    )
    .bind(&queue.name)
    .execute(&mut **tx)
    .await?;
    let before = sqlx::query_scalar::<_, i64>(
        "SELECT letters FROM letter_notices
         WHERE queue = $1 AND letters <> $2 AND COALESCE(told_at < now() - interval '1 minute', true) FOR UPDATE",
    )
    .bind(&queue.name)
    .bind(letters)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(before) = before else {
        return Ok(());
    };
    work.writes()
        .add(
            "UPDATE letter_notices SET letters = $2, told_at = CASE WHEN $2 > letters THEN now() ELSE told_at END
             WHERE queue = $1",
        )
        .bind(queue.name.clone())
        .bind(letters);
    if letters > before {
        work.tell(growing(engine, queue, letters, before));
    }
    work.commit().await
}

fn growing(engine: &Engine, queue: &Queue, letters: i64, before: i64) -> Message {
    let growing = DeadLettersGrowing {
        queue: queue.name.clone(),
        working_queue: queue.working.to_owned(),
        letters: letters.unsigned_abs(),
        told_before: before.unsigned_abs(),
        seen_at: clock::now(),
    };
    let source = engine.program().source;
    Message::event(Envelope::new(source, &queue.name, &growing))
}
