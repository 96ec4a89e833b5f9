//! RabbitMQ is there, but some queue, or all of it, is stuck.

use std::{path::PathBuf, time::Duration};

use common::contract::topology;
use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use test_support::{Amqp, Environment, Proxy, eventually, servers::RabbitMqServer};
use tokio::time::interval;

use crate::harness::{System, count, slowest_sagas, text};

const DATABASES: [&str; 3] = ["order", "payment", "inventory"];
const WAITING: &str = "SELECT count(*) FROM outbox";

/// A queue for all events that takes none.
async fn bind_full_queue(amqp: &Amqp, name: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(0));
    let overflow = AMQPValue::LongString("reject-publish".into());
    arguments.insert("x-overflow".into(), overflow);
    bind(amqp, name, "#", arguments).await;
}

/// A queue for events.
async fn bind(amqp: &Amqp, name: &str, kind: &str, arguments: FieldTable) {
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let channel = amqp.channel();
    channel
        .queue_declare(name.into(), durable, arguments)
        .await
        .unwrap();
    channel
        .queue_bind(
            name.into(),
            topology::EVENTS.into(),
            kind.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
}

async fn waiting(system: &System) -> Vec<i64> {
    let mut rows = Vec::new();
    for database in DATABASES {
        rows.push(count(&system.environment.pool(database).await, WAITING).await);
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_s_queue_that_takes_nothing_holds_up_no_saga() {
    let system = System::whole().await;
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    bind_full_queue(&amqp, "stranger").await;

    let completed = system.place("prod-1", 1).await;
    let declined = system
        .place_with("prod-1", 1, "pm_card_chargeDeclined")
        .await;
    system.until(&completed, "COMPLETED").await;
    system.until(&declined, "CANCELLED").await;
    // Each participant has acked the command, and kept the event for later.
    eventually(
        "the events wait in the outbox",
        || waiting(&system),
        |rows| rows.iter().all(|rows| *rows > 0),
    )
    .await;

    let events = amqp.listen(topology::EVENTS, "#").await;
    let delete = QueueDeleteOptions::default();
    amqp.channel()
        .queue_delete("stranger".into(), delete)
        .await
        .unwrap();
    eventually(
        "the events go out",
        || waiting(&system),
        |rows| rows.iter().all(|rows| *rows == 0),
    )
    .await;
    let mut kinds = Vec::new();
    while let Some(event) = amqp.get(&events).await {
        let event: serde_json::Value = serde_json::from_slice(&event.data).unwrap();
        if event["subject"] == completed["orderId"] {
            kinds.push(text(&event, "type").to_owned());
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    let all = [
        "inventory.reserved.v1",
        "order.completed.v1",
        "order.created.v1",
        "payment.processed.v1",
    ];
    assert_eq!(kinds, all);
    system.audit().await;
}

/// How long sagas take of orders that come at a steady pace: half of them, 99 %, and all.
async fn latencies(system: &System) -> [f64; 3] {
    const ORDERS: i64 = 300;
    const PACE: Duration = Duration::from_millis(10);
    let db = system.environment.pool("order").await;
    let mut pace = interval(PACE);
    for _ in 0..ORDERS {
        pace.tick().await;
        system.place("prod-1", 1).await;
    }
    let open = || count(&db, "SELECT count(*) FROM orders WHERE status = 'PENDING'");
    eventually("all have ended", open, |open| *open == 0).await;
    slowest_sagas(&db, ORDERS).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_s_queue_that_says_nothing_slows_no_saga() {
    let dir =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("silent-{}", std::process::id()));
    let rabbitmq = RabbitMqServer::on_free_ports(&dir).await.unwrap();
    let url = rabbitmq.url();
    let broker = [("RABBITMQ_URL", url.as_str())];
    let mut system = System::on(Environment::new().await, &broker).await;
    system.add_participants(&broker).await;
    system.stock(&[("prod-1", 10_000)]).await;
    let amqp = Amqp::connect(&url).await;
    let mut arguments = FieldTable::default();
    let quorum = AMQPValue::LongString("quorum".into());
    arguments.insert("x-queue-type".into(), quorum);
    bind(&amqp, "stranger", "payment.processed.v1", arguments).await;

    latencies(&system).await;
    let before = latencies(&system).await;
    rabbitmq.set_leader("stranger", false).await.unwrap();
    let silent = latencies(&system).await;
    rabbitmq.set_leader("stranger", true).await.unwrap();
    let after = latencies(&system).await;
    println!(
        "half, 99 %, all, in ms: {before:?} before, {silent:?} while it says nothing, {after:?} after"
    );
    // The machine may have had more to do at one time than at another. Whoever waited for the stranger would wait for seconds.
    let [half, most] = [0, 1].map(|share| f64::max(before[share], after[share]));
    assert!(silent[0] < 2.0 * half + 100.0 && silent[1] < 2.0 * most + 1000.0);
    // And nothing is lost.
    eventually(
        "all events have gone out",
        || waiting(&system),
        |rows| rows.iter().all(|rows| *rows == 0),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_placed_while_the_broker_confirms_nothing() {
    const ORDERS: i64 = 300;
    let environment = Environment::new().await;
    let (proxy, url) = Proxy::before(&environment.rabbitmq_url()).await.unwrap();
    let mut system = System::on(environment, &[("RABBITMQ_URL", url.as_str())]).await;
    system.add_participants(&[]).await;
    system.stock(&[("prod-1", 1000)]).await;

    proxy.stall(Duration::from_secs(3600));
    // One after the other: if each waited for the broker, that alone would take longer than a test may.
    for _ in 0..ORDERS {
        system.place("prod-1", 1).await;
    }
    proxy.heal();
    let db = system.environment.pool("order").await;
    let completed = "SELECT count(*) FROM orders WHERE status = 'COMPLETED'";
    eventually(
        "all orders are completed",
        || count(&db, completed),
        |completed| *completed == ORDERS,
    )
    .await;
    system.audit().await;
}
