//! A server that vanishes without a word: connections to it stay open, and nothing comes any more.

use std::collections::BTreeSet;

use common::contract::topology;
use serde_json::Value;
use test_support::{Amqp, Environment, PATIENCE, Proxy, eventually, wait_until};
use url::Url;

use crate::harness::{System, text};

/// A whole system, one of whose servers is behind a proxy.
async fn behind(variable: &str, url: &Url, environment: Environment) -> System {
    let mut system = System::on(environment, &[(variable, url.as_str())]).await;
    system.add_participants(&[]).await;
    system.stock(&[("prod-1", 1000)]).await;
    system
}

async fn assert_goes_on(system: &System) {
    let placed = || async { system.try_place("prod-1").await };
    let order = eventually("an order is accepted", placed, Option::is_some).await;
    let path = format!("/orders/{}", text(&order.unwrap(), "orderId"));
    // Of the connections that nobody has used since, each has to find out by itself that it is dead.
    let is_completed = || async {
        let answer = system.orders.get(&path).await;
        let order: Value = answer.json().await.unwrap();
        order["status"] == "COMPLETED"
    };
    wait_until(PATIENCE, "it is completed", is_completed).await;
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_vanishes_is_left_for_the_one_that_is_back() {
    let environment = Environment::new().await;
    let (proxy, url) = Proxy::before(&environment.database_url("order"))
        .await
        .unwrap();
    let system = behind("ORDER_DATABASE_URL", &url, environment).await;
    let order = system.place("prod-1", 1).await;
    system.until(&order, "COMPLETED").await;
    proxy.abandon();
    assert_goes_on(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_vanishes_is_left_for_the_one_that_is_back() {
    let environment = Environment::new().await;
    let (proxy, url) = Proxy::before(&environment.rabbitmq_url()).await.unwrap();
    let system = behind("RABBITMQ_URL", &url, environment).await;
    let order = system.place("prod-1", 1).await;
    system.until(&order, "COMPLETED").await;
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    let events = amqp.listen(topology::EVENTS, "order.created.v1").await;
    proxy.abandon();
    // What is published now is gone, and nobody says so.
    let mut placed = BTreeSet::new();
    for _ in 0..20 {
        placed.insert(text(&system.place("prod-1", 1).await, "orderId").to_owned());
    }
    assert_goes_on(&system).await;
    while !placed.is_empty() {
        let event = amqp.next_events(&events, 1).await;
        placed.remove(text(&event[0], "subject"));
    }
}
