//! Replicas whose clocks are a month off, beside a right one.

use std::process::Stdio;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use test_support::{Environment, Proxy, eventually, faketime::clock_off_by, servers::free_ports};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::harness::{Api, System, assert_no_dead_letters, count, id, order, text};

const ORDERS: usize = 10;

/// The order service in a process whose clock is off.
struct Replica {
    orders: Api,
    _process: Child,
}

impl Replica {
    async fn start(environment: &Environment, offset: &str) -> Self {
        let replica = Self::spawn(environment, offset, &[]);
        replica.orders.until_ready().await;
        replica
    }

    fn spawn(environment: &Environment, offset: &str, overrides: &[(&str, &str)]) -> Self {
        let port = free_ports(1).unwrap()[0];
        let address = format!("127.0.0.1:{port}");
        let process = Command::new(env!("CARGO_BIN_EXE_order-service"))
            .envs(environment.pairs(overrides))
            .env("ORDER_HTTP_ADDR", &address)
            .envs(clock_off_by(offset))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            orders: Api::at(address.parse().unwrap()),
            _process: process,
        }
    }
}

/// The time is said by the database, which shares the test's clock.
fn assert_is_now(time: DateTime<Utc>) {
    let off = Utc::now() - time;
    assert!(off.abs() < TimeDelta::minutes(2), "{time} is off by {off}");
}

fn began(saga: Uuid) -> DateTime<Utc> {
    let (seconds, _) = saga.get_timestamp().unwrap().to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).unwrap(), 0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_is_accepted_before_the_database_has_said_what_time_it_is() {
    let environment = Environment::new().await;
    let (proxy, url) = Proxy::before(&environment.database_url("order"))
        .await
        .unwrap();
    proxy.refuse(true);
    let overrides = [("ORDER_DATABASE_URL", url.as_str())];
    let replica = Replica::spawn(&environment, "+31d", &overrides);
    let place = || async {
        let request = replica.orders.request(Method::POST, "/orders");
        let answer = request.json(&order("prod-1", 1, "pm_card_visa")).send();
        answer.await.ok()
    };
    let refused = eventually("it serves HTTP", place, Option::is_some).await;
    let status = refused.expect("it answers").status();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);

    proxy.heal();
    let created = |answer: &Option<Response>| {
        let status = answer.as_ref().map(Response::status);
        status == Some(StatusCode::CREATED)
    };
    eventually("an order is accepted", place, created).await;
    // Also of those whose clients got no answer.
    let db = environment.pool("order").await;
    let sagas = sqlx::query_scalar("SELECT id FROM sagas").fetch_all(&db);
    sagas
        .await
        .unwrap()
        .into_iter()
        .for_each(|id| assert_is_now(began(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_end_whatever_the_clocks_of_their_replicas_show() {
    let mut system = System::on(Environment::new().await, &[]).await;
    system.add_participants(&[]).await;
    system.stock(&[("prod-1", 1000)]).await;
    let (ahead, behind) = tokio::join!(
        Replica::start(&system.environment, "+31d"),
        Replica::start(&system.environment, "-31d"),
    );
    let mut placed = Vec::new();
    for _ in 0..ORDERS {
        for replica in [&system.orders, &ahead.orders, &behind.orders] {
            let new = order("prod-1", 1, "pm_card_visa");
            let answer = replica.post("/orders", &new).await;
            assert_eq!(answer.status(), StatusCode::CREATED);
            let order: Value = answer.json().await.unwrap();
            assert_is_now(text(&order, "createdAt").parse().unwrap());
            assert_is_now(began(id(&order, "sagaId")));
            placed.push(order);
        }
    }
    for order in &placed {
        system.until(order, "COMPLETED").await;
    }
    for (n, replica) in [&ahead.orders, &behind.orders].into_iter().enumerate() {
        let path = format!("/orders/{}/status", text(&placed[n], "orderId"));
        let shipped = replica.request(Method::PATCH, &path);
        let answer = shipped.json(&json!({ "status": "SHIPPED" })).send().await;
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    system.audit().await;

    assert_no_dead_letters(&system.environment.rabbitmq_url()).await;
    // All that is recorded of a saga is dropped with the day on which it began.
    for service in ["order", "payment", "inventory"] {
        let db = system.environment.pool(service).await;
        let of_no_day = count(&db, "SELECT count(*) FROM idempotency_default").await;
        assert_eq!(of_no_day, 0, "{service}");
    }
    let db = system.environment.pool("order").await;
    let of_no_day = count(&db, "SELECT count(*) FROM saga_log_default").await;
    assert_eq!(of_no_day, 0);
}
