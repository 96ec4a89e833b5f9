//! What is tried again is counted once. A program of its own: what other tests do at the same time would be counted, too.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "it/support.rs"]
mod support;

use support::{Saga, World};
use test_support::{eventually, participant::Replica};

/// The value of a series at `/metrics`.
async fn value(service: &Replica, series: &str) -> f64 {
    let address = format!("{}/metrics", service.url);
    let text = reqwest::get(address).await.unwrap().text().await.unwrap();
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let value = lines.find(|(name, _)| *name == series);
    value
        .unwrap_or_else(|| panic!("there is no {series}"))
        .1
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_and_is_taken_apart_is_counted_once() {
    let (world, service) = World::with_stock(&[("a", 2)]).await;
    let dead = r#"consumer_dead_letters_total{queue="inventory.commands"}"#;
    let retries = r#"consumer_retries_total{queue="inventory.commands"}"#;
    let out_of_stock = r#"inventory_failures_total{reason="OUT_OF_STOCK"}"#;
    for series in ["inventory_reservations_total", dead, retries, out_of_stock] {
        assert_eq!(value(&service, series).await, 0.0, "{series}");
    }
    // What ships an order that holds nothing is a fault, and fails the transaction of all that came with it.
    let reserve = |quantity| Saga::new().reserve(&[("a", quantity)]);
    let fault = Saga::new().commit();
    world
        .commands(&[reserve(1), reserve(1), fault, reserve(1)])
        .await;
    eventually(
        "it is a dead letter",
        || value(&service, dead),
        |n| *n == 1.0,
    )
    .await;
    assert_eq!(value(&service, retries).await, 2.0);
    assert_eq!(value(&service, "inventory_reservations_total").await, 3.0);
    assert_eq!(value(&service, out_of_stock).await, 1.0);
    assert_eq!(value(&service, "inventory_commits_total").await, 0.0);

    // What is asked for again is answered again, and was counted.
    let again = reserve(1);
    world.command(&again).await;
    let failed = || value(&service, "inventory_reservations_total");
    eventually("it is counted", failed, |n| *n == 4.0).await;
    let consumed = r#"consumer_messages_total{queue="inventory.commands"}"#;
    let before = value(&service, consumed).await;
    world.command(&again).await;
    world.replies(5).await;
    eventually("it is taken", || value(&service, consumed), |n| *n > before).await;
    assert_eq!(failed().await, 4.0);
}
