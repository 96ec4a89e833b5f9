//! RabbitMQ and PostgreSQL stop and come back. Each test has servers of its own.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use common::contract::topology;
use reqwest::StatusCode;
use serde_json::Value;
use test_support::{
    Environment, PATIENCE, Servers, eventually,
    servers::{PostgresServer, RabbitMqServer},
    wait_until,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::harness::{System, assert_no_dead_letters, count, order};

/// Servers of a test's own.
struct Own {
    postgres: PostgresServer,
    rabbitmq: RabbitMqServer,
}

impl Own {
    async fn start(name: &str) -> (Self, System) {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}", std::process::id()));
        let own = Self {
            postgres: PostgresServer::on_free_ports(&dir).await.unwrap(),
            rabbitmq: RabbitMqServer::on_free_ports(&dir).await.unwrap(),
        };
        let servers = Servers {
            postgres: own.postgres.url(),
            rabbitmq: own.rabbitmq.url(),
            rabbitmq_api: own.rabbitmq.api_url(),
        };
        let mut system = System::on(Environment::on(servers).await.unwrap(), &[]).await;
        system.add_participants(&[]).await;
        system.stock(&[("prod-1", 1000)]).await;
        // A broker that loses its queues for good is another story.
        let queues = topology::QUEUES.map(|queue| queue.name);
        let saved = || async { own.rabbitmq.has_saved(&queues) };
        wait_until(PATIENCE, "RabbitMQ has saved its queues", saved).await;
        (own, system)
    }
}

async fn until_all_completed(system: &System, orders: i64) {
    let db = system.environment.pool("order").await;
    let completed = || async {
        count(
            &db,
            "SELECT count(*) FROM orders WHERE status = 'COMPLETED'",
        )
        .await
    };
    eventually("all orders are completed", completed, |completed| {
        *completed == orders
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_placed_without_the_broker_and_go_on_when_it_is_back() {
    let (own, system) = Own::start("broker").await;
    system.place("prod-1", 1).await;
    own.rabbitmq.kill().await.unwrap();
    for _ in 0..50 {
        system.place("prod-1", 1).await;
    }
    let health = || async { system.orders.get("/health").await.status() };
    eventually("its health says so", health, |status| {
        *status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let ready = system.orders.get("/health/ready").await;
    assert_eq!(ready.status(), StatusCode::OK, "and orders may come");
    own.rabbitmq.start().await.unwrap();
    until_all_completed(&system, 51).await;
    system.audit().await;
    let environment = system.stop().await;
    drop(environment);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stops_costs_nothing_but_time() {
    let (own, system) = Own::start("database").await;
    for _ in 0..20 {
        system.place("prod-1", 1).await;
    }
    own.postgres.kill().await.unwrap();
    // A crowd is refused, at once but for the first ones, and does not pile up.
    let mut crowd = JoinSet::new();
    for number in 0..300 {
        let orders = system.orders.clone();
        crowd.spawn(async move {
            let answer = if number % 2 == 0 {
                orders
                    .post("/orders", &order("prod-1", 1, "pm_card_visa"))
                    .await
            } else {
                orders.get("/orders").await
            };
            (
                answer.status(),
                answer.headers().contains_key("retry-after"),
            )
        });
    }
    for refusal in crowd.join_all().await {
        assert_eq!(refusal, (StatusCode::SERVICE_UNAVAILABLE, true));
    }
    own.postgres.start().await.unwrap();
    until_all_completed(&system, 20).await;
    wait_until(
        Duration::from_secs(30),
        "orders are taken again",
        || async {
            system
                .orders
                .post("/orders", &order("prod-1", 1, "pm_card_visa"))
                .await
                .status()
                == StatusCode::CREATED
        },
    )
    .await;
    until_all_completed(&system, 21).await;
    let db = system.environment.pool("order").await;
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'order-service'";
    assert!(count(&db, connections).await <= 8);
    system.audit().await;
    assert_no_dead_letters(&system.environment.rabbitmq_url()).await;
}

/// Connections that RabbitMQ has with the services.
async fn connections(rabbitmq: &RabbitMqServer) -> usize {
    let url = format!("{}/api/connections", rabbitmq.api_url());
    let answer = reqwest::get(url).await.unwrap();
    let connections: Vec<Value> = answer.json().await.unwrap();
    let of_services = |one: &&Value| {
        let name = one["client_properties"]["connection_name"].as_str();
        name.is_some_and(|name| name.contains("-service "))
    };
    connections.iter().filter(of_services).count()
}

/// Threads of this process that serve a connection to RabbitMQ.
fn connection_threads() -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.trim() == "lapin-io-loop").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_memory_costs_no_connection_and_sagas_go_on_after_it() {
    const ALARM: Duration = Duration::from_secs(30);
    const AFTER: Duration = Duration::from_secs(10);
    let (own, system) = Own::start("alarm").await;
    let first = system.place("prod-1", 1).await;
    system.until(&first, "COMPLETED").await;
    // One to consume, and one for each lane, of three services.
    let before = connection_threads();
    assert_eq!(before, 9);

    own.rabbitmq.set_memory_alarm(true).await.unwrap();
    let start = Instant::now();
    let mut orders = 1;
    let (mut most, mut slowest) = (0, Duration::ZERO);
    let mut pace = interval(Duration::from_millis(100));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while start.elapsed() < ALARM {
        pace.tick().await;
        let asked = Instant::now();
        system.place("prod-1", 1).await;
        slowest = slowest.max(asked.elapsed());
        orders += 1;
        most = most.max(connections(&own.rabbitmq).await);
    }
    let threads = connection_threads();
    own.rabbitmq.set_memory_alarm(false).await.unwrap();
    let over = Instant::now();
    until_all_completed(&system, orders).await;
    let after = over.elapsed();
    eprintln!(
        "{orders} orders, the slowest in {slowest:?}; {most} connections, {threads} threads; all completed {after:?} later"
    );
    assert!(most <= before, "{most} connections during the alarm");
    assert!(threads <= before, "{threads} threads during the alarm");
    assert!(
        slowest < Duration::from_secs(3),
        "an order took {slowest:?}"
    );
    assert!(after < AFTER, "sagas went on after {after:?}");
    system.audit().await;
}
