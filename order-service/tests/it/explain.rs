//! Why a saga waits is said in one sentence, whatever is away.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use test_support::{Environment, Proxy, eventually};

use crate::harness::{Participants, System, id, not_reserved, processed, refunded, reply_to, text};

/// How long an answer may take.
const SOON: Duration = Duration::from_secs(2);

async fn explained(system: &System, order: &Value) -> Value {
    let asked = Instant::now();
    let path = format!("/sagas/{}/explain", text(order, "sagaId"));
    let answer = system.orders.json(&path).await;
    assert!(asked.elapsed() < SOON, "it took {:?}", asked.elapsed());
    answer
}

/// The explanation, as soon as it has all of `parts` in it.
async fn until(system: &System, order: &Value, parts: &[&str]) -> Value {
    let says = |answer: &Value| {
        let said = text(answer, "explanation");
        parts.iter().all(|part| said.contains(part))
    };
    eventually(
        &format!("it says {parts:?}"),
        || explained(system, order),
        says,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_a_saga_waits_for_from_beginning_to_end() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    let said = until(
        &system,
        &order,
        &[
            "Has waited for payment",
            "payment.commands holds 1 message and nobody consumes it",
        ],
    )
    .await;
    assert_eq!(
        said["waits"]["queue"],
        json!({ "name": "payment.commands", "messages": 1, "consumers": 0 })
    );
    assert_eq!(said["next"]["at"], said["deadlineAt"]);
    assert_eq!(said["next"]["log"][0]["event"], "ACTION_TIMED_OUT");
    assert_eq!(said["next"]["thenUndone"], json!(["payment"]));

    participants.command("payment").await;
    system.let_deadline_pass(&order).await;
    let payment = participants.command("payment").await;
    until(
        &system,
        &order,
        &[
            "attempt 2 of 3",
            "whoever took the command is gone",
            "asked once more at",
        ],
    )
    .await;
    participants.reply(&[processed(&payment)]).await;
    let inventory = participants.command("inventory").await;
    let said = until(
        &system,
        &order,
        &[
            "Has waited for inventory",
            "inventory and payment are undone",
        ],
    )
    .await;
    assert_eq!(said["waits"]["attempt"], 1);
    participants.reply(&[not_reserved(&inventory)]).await;
    let refund = participants.command("payment").await;
    until(
        &system,
        &order,
        &[
            "Is being undone after inventory was refused (OUT_OF_STOCK: prod-1)",
            "payment to undo payment",
            "parked for an operator",
        ],
    )
    .await;
    participants.reply(&[refunded(&refund)]).await;
    let said = until(
        &system,
        &order,
        &["after inventory was refused (OUT_OF_STOCK: prod-1): payment was undone."],
    )
    .await;
    assert_eq!(
        (&said["waits"], &said["next"]),
        (&Value::Null, &Value::Null)
    );

    let declined = system.place("prod-1", 1).await;
    let payment = participants.command("payment").await;
    let data = json!({ "amount": "19.99", "currency": "USD", "reason": "PAYMENT_DECLINED" });
    participants
        .reply(&[reply_to(&payment, "payment.failed.v1", &data)])
        .await;
    until(
        &system,
        &declined,
        &[
            "after payment was refused (PAYMENT_DECLINED)",
            "there was nothing to undo",
        ],
    )
    .await;

    let missing = system
        .orders
        .get("/sagas/01976a3d-0000-7000-8000-000000000001/explain")
        .await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_is_wrong_with_a_saga_that_cannot_go_on() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let db = system.environment.pool("order").await;
    // Time stands still for a command that has not left, and none does that nobody takes.
    let take = async || {
        participants.command("payment").await;
        system.until_outbox_is_empty().await;
    };
    let change = async |order: &Value, sql: &'static str| {
        let changed = sqlx::query(sql)
            .bind(id(order, "sagaId"))
            .execute(&db)
            .await
            .unwrap();
        assert_eq!(changed.rows_affected(), 1);
    };
    // Its compensation is sent for the last time.
    let silent = system.place("prod-1", 1).await;
    take().await;
    system.cancel(&silent).await;
    take().await;
    change(
        &silent,
        "UPDATE sagas SET attempt = 10, deadline_at = now() WHERE id = $1",
    )
    .await;
    system.until_saga(&silent, "PARKED").await;
    until(
        &system,
        &silent,
        &[
            "parked",
            "after it was cancelled (CUSTOMER_REQUEST",
            "payment to undo payment 10 times",
            "/retry",
        ],
    )
    .await;

    let misunderstood = system.place("prod-1", 1).await;
    let mut reply = processed(&participants.command("payment").await);
    system.until_outbox_is_empty().await;
    reply["type"] = json!("payment.misunderstood.v1");
    participants.reply(&[reply]).await;
    let said = until(
        &system,
        &misunderstood,
        &[
            "; order.saga.replies.dlq holds a dead letter, where its command or the reply may be",
            text(&misunderstood, "sagaId"),
        ],
    )
    .await;
    let letters = json!([{ "queue": "order.saga.replies.dlq", "messages": 1 }]);
    assert_eq!(said["deadLetters"], letters);

    let foreign = system.place("prod-1", 1).await;
    take().await;
    change(
        &foreign,
        "UPDATE sagas SET definition_version = 9 WHERE id = $1",
    )
    .await;
    let said = until(
        &system,
        &foreign,
        &["create_order v9", "only a release that has it"],
    )
    .await;
    assert_eq!(said["unreadable"], "UNKNOWN_DEFINITION");

    let broken = system.place("prod-1", 1).await;
    take().await;
    change(
        &broken,
        "UPDATE sagas SET current_step = 'nonsense' WHERE id = $1",
    )
    .await;
    until(
        &system,
        &broken,
        &["a row that makes no sense (status RUNNING, step nonsense)"],
    )
    .await;
    system.let_deadline_pass(&broken).await;
    until(
        &system,
        &broken,
        &[
            "Has been parked",
            "its row or its log makes no sense",
            "mend that",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_while_rabbitmq_is_away_or_silent() {
    let environment = Environment::new().await;
    let (proxy, url) = Proxy::before(&environment.rabbitmq_url()).await.unwrap();
    let system = System::on(environment, &[("RABBITMQ_URL", url.as_str())]).await;
    let sent = system.place("prod-1", 1).await;
    until(&system, &sent, &["payment.commands holds 1 message"]).await;
    proxy.stall(Duration::from_secs(4));
    until(&system, &sent, &["RabbitMQ does not tell how its queue is"]).await;
    proxy.refuse(true);
    proxy.cut();
    until(
        &system,
        &sent,
        &["RabbitMQ cannot be reached, so nobody can tell how its queue is"],
    )
    .await;
    let unsent = system.place("prod-1", 1).await;
    let said = until(
        &system,
        &unsent,
        &[
            "in the outbox for",
            "because RabbitMQ cannot be reached",
            "no attempt is used up",
        ],
    )
    .await;
    assert_eq!(
        (&said["waits"]["brokerConnected"], &said["waits"]["queue"]),
        (&json!(false), &Value::Null)
    );
    proxy.heal();
    until(
        &system,
        &unsent,
        &["messages and nobody consumes it: payment does not run"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_why_commands_are_held_back() {
    let system = System::alone().await;
    let first = system.place("prod-1", 1).await;
    until(&system, &first, &["holds 1 message"]).await;
    // After a while, nobody counts on the participant any more.
    let held = eventually(
        "a command is held back",
        || async {
            let order = system.place("prod-1", 1).await;
            (explained(&system, &order).await, order)
        },
        |(said, _)| said["waits"]["held"] == "ABSENT",
    )
    .await;
    let (said, order) = held;
    let sentence = text(&said, "explanation");
    assert!(
        sentence.contains("because nobody consumes the queue of payment"),
        "{sentence}"
    );
    let participants = Participants::of(&system.environment).await;
    participants.command("payment").await;
    until(&system, &order, &["payment"]).await;
}
