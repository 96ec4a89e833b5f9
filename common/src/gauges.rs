//! Looks at the database and the broker for the gauges that need them: every few seconds in one worker, however often
//! somebody asks for metrics.
//!
//! What cannot be looked at keeps its last value, and the time of the last look shows how old that is.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    amqp::{Broker, Lane},
    contract::{clock, topology},
    db,
    metrics::{
        DATABASE_CONNECTIONS, DATABASE_CONNECTIONS_MAX, DATABASE_UP, DEAD_LETTERS, Metric,
        OUTBOX_OLDEST, OUTBOX_ROWS, OUTBOX_SAMPLED, QUEUE_CONSUMERS, QUEUE_MESSAGES,
        QUEUES_SAMPLED,
    },
    outbox::Outbox,
    watchdog::Turns,
};

/// How often a look is taken.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Notes in `metric` that a look was taken now.
pub fn looked(metric: &Metric) {
    let seconds = clock::now().timestamp_millis() as f64 / 1000.0;
    metric.set(&[], seconds);
}

/// Looks at what every service has, until `stop`.
pub(crate) async fn run(db: PgPool, broker: Broker, outbox: Outbox, stop: CancellationToken) {
    let mut turns = Turns::new(LOOK_EVERY, stop);
    while turns.next().await {
        look_at_pool(&db);
        look_at_outbox(&outbox).await;
        look_at_queues(&broker).await;
    }
}

fn look_at_pool(db: &PgPool) {
    let (all, idle) = (f64::from(db.size()), db.num_idle() as f64);
    DATABASE_CONNECTIONS.set(&["busy"], (all - idle).max(0.0));
    DATABASE_CONNECTIONS.set(&["idle"], idle);
    DATABASE_CONNECTIONS_MAX.set(&[], f64::from(db.options().get_max_connections()));
}

async fn look_at_outbox(outbox: &Outbox) {
    let backlog = db::in_time(outbox.backlog()).await;
    DATABASE_UP.set(&[], f64::from(u8::from(backlog.is_ok())));
    let Ok(backlog) = backlog else { return };
    OUTBOX_ROWS.set(&[], backlog.messages as f64);
    for lane in [Lane::Saga, Lane::Events] {
        OUTBOX_OLDEST.set(&[&lane.to_string()], backlog.oldest(lane).as_secs_f64());
    }
    looked(&OUTBOX_SAMPLED);
}

/// Any service looks at all queues, so that somebody sees those of one that is down.
async fn look_at_queues(broker: &Broker) {
    for queue in topology::QUEUES {
        let dead = topology::dead_letter_queue(queue.name);
        let (Some(seen), Some(dead)) = (broker.look(queue.name).await, broker.look(&dead).await)
        else {
            return;
        };
        QUEUE_MESSAGES.set(&[queue.name], f64::from(seen.messages));
        QUEUE_CONSUMERS.set(&[queue.name], f64::from(seen.consumers));
        DEAD_LETTERS.set(&[queue.name], f64::from(dead.messages));
    }
    looked(&QUEUES_SAMPLED);
}
