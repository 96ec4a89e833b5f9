//! `Idempotency-Key`: the same request gives the same order.

use std::collections::HashSet;

use common::contract::topology;
use reqwest::{Method, Response};
use serde_json::Value;
use test_support::Amqp;

use crate::harness::{Api, System, count, order, text};

/// The answer to an order of `quantity` pieces with `key`.
fn send(orders: &Api, key: &str, quantity: u32) -> impl Future<Output = Response> + use<> {
    let request = orders
        .request(Method::POST, "/orders")
        .header("idempotency-key", key);
    let request = request.json(&order("prod-1", quantity, "pm_card_visa"));
    async move { request.send().await.unwrap() }
}

/// The id of the order that was placed with `key`.
fn placed_with(orders: &Api, key: &str) -> impl Future<Output = String> + use<> {
    let answer = send(orders, key, 2);
    async move {
        let answer = answer.await;
        assert_eq!(answer.status(), 201);
        let order: Value = answer.json().await.unwrap();
        text(&order, "orderId").to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_clients_race_for_one_order() {
    let system = System::alone().await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        clients.spawn(placed_with(&system.orders, "one"));
    }
    let orders: HashSet<String> = clients.join_all().await.into_iter().collect();
    assert_eq!(orders.len(), 1);
    let db = system.environment.pool("order").await;
    assert_eq!(count(&db, "SELECT count(*) FROM orders").await, 1);
    assert_eq!(count(&db, "SELECT count(*) FROM sagas").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_two_replicas_place_with_one_key_at_once_one_is_placed_and_told() {
    const KEYS: usize = 20;
    let mut system = System::alone().await;
    let replicas = [system.orders.clone(), system.add_replica().await];
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    let told = amqp.listen(topology::EVENTS, "order.created.v1").await;
    let mut clients = tokio::task::JoinSet::new();
    for key in 0..KEYS {
        for replica in &replicas {
            clients.spawn(placed_with(replica, &format!("key {key}")));
        }
    }
    let orders: HashSet<String> = clients.join_all().await.into_iter().collect();
    assert_eq!(orders.len(), KEYS);
    let events = amqp.next_events(&told, KEYS).await;
    let told_of: HashSet<_> = events.iter().map(|event| text(event, "subject")).collect();
    assert!(orders.iter().all(|order| told_of.contains(&**order)));
    system.until_outbox_is_empty().await;
    assert_eq!(amqp.ready(&told).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_the_same_in_quotes_and_without() {
    let system = System::alone().await;
    for (first, again) in [("plain", "\"plain\""), ("\"quoted\"", "quoted")] {
        let order = placed_with(&system.orders, first).await;
        assert_eq!(placed_with(&system.orders, again).await, order);
        // As the release before this one stores and finds it.
        let db = system.environment.pool("order").await;
        let stored = format!("SELECT count(*) FROM orders WHERE idempotency_key = '{first}'");
        let stored: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(stored))
            .fetch_one(&db)
            .await
            .unwrap();
        assert_eq!(stored, 1);
    }
    for wrong in ["\"open", "\"\"", "\"k\"k", "tab\tin it"] {
        assert_eq!(
            send(&system.orders, wrong, 1).await.status(),
            400,
            "{wrong}"
        );
    }
    let twice = system.orders.request(Method::POST, "/orders");
    let twice = twice
        .header("idempotency-key", "a")
        .header("idempotency-key", "a");
    let twice = twice.json(&order("prod-1", 1, "pm_card_visa")).send().await;
    assert_eq!(twice.unwrap().status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_total_is_no_part_of_what_a_key_belongs_to() {
    let system = System::alone().await;
    let first = placed_with(&system.orders, "a").await;
    let mut same = order("prod-1", 2, "pm_card_visa");
    same["total"] = serde_json::json!(39.98);
    let request = system.orders.request(Method::POST, "/orders");
    let request = request.header("idempotency-key", "a").json(&same);
    let again: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(again["orderId"], *first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_its_request() {
    let system = System::alone().await;
    let send = |key, quantity| send(&system.orders, key, quantity);
    let first = send("a", 1).await;
    assert_eq!(first.status(), 201);
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let again = send("a", 1).await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.headers()["location"], first.headers()["location"]);
    let other: Value = {
        let answer = send("a", 2).await;
        assert_eq!(answer.status(), 422);
        answer.json().await.unwrap()
    };
    assert_eq!(other["type"], "/problems/idempotency-key-reused");
    assert_eq!(send("b", 2).await.status(), 201);
}
