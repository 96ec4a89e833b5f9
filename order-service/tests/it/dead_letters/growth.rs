//! Everybody is told when a queue has more dead letters than before, once.

use common::contract::topology;
use serde_json::Value;
use test_support::eventually;

use super::{DLQ, World};
use crate::harness::count;

/// How many letters each event told of, and before.
fn told(event: &Value) -> (u64, u64) {
    let number = |field: &str| event["data"][field].as_u64().unwrap();
    (number("letters"), number("toldBefore"))
}

#[tokio::test(flavor = "multi_thread")]
async fn growing_dead_letters_are_told_of_once_by_one_of_two_replicas() {
    let mut world = World::new().await;
    world.system.add_replica().await;
    let db = world.system.environment.pool("order").await;
    let queue = world
        .amqp
        .listen(topology::EVENTS, "dead_letters.growing.v1")
        .await;
    world.kill_some(3).await;
    let event = world.amqp.next_events(&queue, 1).await.remove(0);
    assert_eq!(event["subject"], DLQ);
    assert_eq!(event["data"]["workingQueue"], "payment.commands");
    let (letters, before) = told(&event);
    assert!((1..=3).contains(&letters) && before == 0, "{event}");

    // A minute later, the others are told of, where the first look came between them.
    let a_minute_passes = "UPDATE letter_notices SET told_at = told_at - interval '2 minutes'";
    sqlx::query(a_minute_passes).execute(&db).await.unwrap();
    if letters < 3 {
        let event = world.amqp.next_events(&queue, 1).await.remove(0);
        assert_eq!(told(&event), (3, letters));
        sqlx::query(a_minute_passes).execute(&db).await.unwrap();
    }

    // As many as were told of are no news, for either replica, nor after a restart.
    let looks = "SELECT count(*) FROM letter_notices WHERE letters = 3";
    eventually("it is noted", || count(&db, looks), |rows| *rows == 1).await;
    world.system.add_replica().await;
    world
        .kill(&super::command(None), "refused", "the gateway says no")
        .await;
    let event = world.amqp.next_events(&queue, 1).await.remove(0);
    assert_eq!(
        told(&event),
        (4, 3),
        "the next that is told is the next one"
    );
    assert!(world.amqp.get(&queue).await.is_none());
}
