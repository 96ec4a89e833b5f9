//! A participant that is away, or has more to do than it can: commands wait where no time passes for them.

use reqwest::StatusCode;
use serde_json::Value;
use test_support::{Amqp, PATIENCE, eventually, wait_until};

use crate::harness::{System, count, order};

const PAYMENTS: &str = "payment.commands";

async fn orders(system: &System, status: &str) -> usize {
    let page = system
        .orders
        .json(&format!("/orders?limit=200&status={status}"))
        .await;
    page["items"].as_array().unwrap().len()
}

/// Asserts that all orders end, and that each of `count` is completed.
async fn assert_all_complete(system: &System, count: usize) {
    let pending = || orders(system, "PENDING");
    eventually("all orders end", pending, |pending| *pending == 0).await;
    assert_eq!(orders(system, "COMPLETED").await, count);
    system.audit().await;
}

/// Deadlines come after a twentieth of their time: three attempts are over after less than five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_is_away_cancels_no_order() {
    let hasty = [
        ("SAGA_DEADLINE_SCALE", "0.05"),
        ("COMMANDS_WAITING_MAX", "20"),
    ];
    let mut system = System::on(test_support::Environment::new().await, &hasty).await;
    for _ in 0..60 {
        system.place("prod-1", 1).await;
    }
    let db = system.environment.pool("order").await;
    // Commands that left have been asked for again, and these wait; so do those that never left.
    let waiting = || async {
        count(
            &db,
            "SELECT count(*) FROM outbox WHERE routing_key = 'payment'",
        )
        .await
    };
    eventually("all of them wait", waiting, |rows| *rows == 60).await;
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    let left = amqp.ready(PAYMENTS).await;
    let looked = "SELECT count(*) FROM sagas WHERE deadline_at - updated_at > interval '4 s'";
    let again = || async { count(&db, looked).await };
    eventually("their deadlines have been put off", again, |sagas| {
        *sagas == 60
    })
    .await;
    assert_eq!(orders(&system, "PENDING").await, 60);
    assert_eq!(
        amqp.ready(PAYMENTS).await,
        left,
        "nothing more is sent to nobody"
    );

    // Before the first payment is made, there is something to sell.
    let own = &[
        ("PAYMENT_SUCCESS_RATE", "1"),
        ("PAYMENT_LATENCY_MS", "1000"),
    ];
    system.add_participants(own).await;
    system.stock(&[("prod-1", 1000)]).await;
    assert_all_complete(&system, 60).await;
}

/// A payment takes half a second and four are made at once: eight a second. The last of 120 is made after 15 seconds,
/// and three attempts are over after nine.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_participant_is_sent_what_it_can_do_in_time() {
    let vars = [
        ("SAGA_DEADLINE_SCALE", "0.1"),
        ("COMMANDS_WAITING_MAX", "4"),
        ("PAYMENT_SUCCESS_RATE", "1"),
        ("PAYMENT_LATENCY_MS", "500"),
        ("PAYMENT_CONCURRENCY", "4"),
    ];
    let system = System::whole_with(&vars).await;
    system.stock(&[("prod-9", 1000)]).await;
    for _ in 0..120 {
        system.place("prod-9", 1).await;
    }
    assert_all_complete(&system, 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_orders_are_refused_when_earlier_ones_have_waited_for_too_long() {
    let impatient = [("ORDER_BACKLOG_MAX_S", "2"), ("COMMANDS_WAITING_MAX", "50")];
    let mut system = System::on(test_support::Environment::new().await, &impatient).await;
    let place = || async {
        system
            .orders
            .post("/orders", &order("prod-1", 1, "pm_card_visa"))
            .await
    };
    let refused = || async { place().await.status() };
    eventually("orders are refused", refused, |status| {
        *status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let refusal = place().await;
    assert_eq!(refusal.headers()["retry-after"], "10");
    let problem: Value = refusal.json().await.unwrap();
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("orders have waited"),
        "{problem}"
    );
    // It is no reason to refuse anything else.
    assert_eq!(system.orders.get("/orders").await.status(), StatusCode::OK);

    system.add_participants(&[]).await;
    let accepted = async || {
        let answer = system
            .orders
            .post("/orders", &order("prod-1", 1, "pm_card_visa"))
            .await;
        answer.status() == StatusCode::CREATED
    };
    wait_until(PATIENCE, "orders are accepted again", accepted).await;
}
