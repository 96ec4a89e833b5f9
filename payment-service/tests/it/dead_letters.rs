//! What cannot be done goes to the dead-letter queue alone, and with its reason.

use std::time::{Duration, SystemTime};

use common::contract::topology;
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    message::Delivery,
    options::BasicConsumeOptions,
    types::{AMQPValue, FieldTable},
};
use serde_json::{Value, json};
use test_support::{PATIENCE, wait_until};
use tokio::time::timeout;
use uuid::{NoContext, Timestamp, Uuid};

use crate::service::{DLQ, Orchestrator, Saga};

pub(crate) fn header(letter: &Delivery, name: &str) -> String {
    let headers = letter.properties.headers().as_ref().unwrap();
    match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        Some(AMQPValue::LongLongInt(number)) => number.to_string(),
        other => panic!("{name} is {other:?}"),
    }
}

fn without(command: &Value, field: &str) -> Value {
    let mut command = command.clone();
    command.as_object_mut().unwrap().remove(field).unwrap();
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_dead_at_once_and_alone() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let good = [Saga::new(), Saga::new(), Saga::new()];
    let poisoned = Saga::new().process("pm_card_visa");

    let mut unknown = poisoned.clone();
    unknown["type"] = json!("payment.explode.v1");
    let mut free = poisoned.clone();
    free["data"]["amount"] = json!("0.00");
    let mut unwritable = poisoned.clone();
    unwritable["data"]["customerId"] = json!("nobody\0");

    let amqp = &orchestrator.amqp;
    orchestrator.send(&good[0].process("pm_card_visa")).await;
    let (exchange, key) = (topology::COMMANDS, "payment");
    let properties = BasicProperties::default().with_message_id("7".into());
    amqp.publish(exchange, key, b"}not JSON{", properties).await;
    orchestrator.send(&good[1].process("pm_card_visa")).await;
    orchestrator.send(&without(&poisoned, "sagaid")).await;
    orchestrator.send(&without(&poisoned, "replyto")).await;
    orchestrator.send(&free).await;
    orchestrator.send(&unwritable).await;
    let last = good[2].process("pm_card_visa");
    orchestrator
        .send_batch(&[unknown.clone(), last, without(&poisoned, "data")])
        .await;

    let replies = orchestrator.replies(3).await;
    assert!(
        replies
            .iter()
            .all(|reply| reply["type"] == "payment.processed.v1")
    );
    let expected = [
        ("unreadable", "not a CloudEvents"),
        ("missing-attribute", "sagaid"),
        ("missing-attribute", "replyto"),
        ("invalid-data", "amount"),
        ("invalid-data", "U+0000"),
        ("unknown-type", "payment.explode.v1"),
        ("invalid-data", "data"),
    ];
    let mut letters = Vec::new();
    for _ in expected {
        letters.push(amqp.next(DLQ).await);
    }
    for (letter, (kind, why)) in letters.iter().zip(expected) {
        assert_eq!(header(letter, "x-error-kind"), kind);
        assert!(
            header(letter, "x-error").contains(why),
            "{}",
            header(letter, "x-error")
        );
        assert!(header(letter, "x-failed-at").starts_with("20"));
    }
    assert_eq!(letters[0].data, b"}not JSON{");
    assert_eq!(
        letters[0]
            .properties
            .message_id()
            .as_ref()
            .unwrap()
            .as_str(),
        "7"
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&letters[5].data).unwrap(),
        unknown
    );
    assert_eq!(orchestrator.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_may_be_forgotten_is_not_made_and_its_refund_is() {
    let (orchestrator, _service) = Orchestrator::with_service(&[("RETENTION_DAYS", "2")]).await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let ago = |hours: u64| {
        let began = Timestamp::from_unix(NoContext, now - hours * 3600, 0);
        Saga {
            id: Uuid::new_v7(began),
            ..Saga::new()
        }
    };
    let (old, young) = (ago(49), ago(24));
    orchestrator.send(&old.process("pm_card_visa")).await;
    let letter = orchestrator.amqp.next(DLQ).await;
    assert!(header(&letter, "x-error").contains("RETENTION_DAYS"));
    assert!(orchestrator.payments(&old).await.is_empty());
    // Of a compensation nothing need be known.
    for _ in 0..2 {
        orchestrator.send(&old.refund()).await;
        let reply = orchestrator.reply().await;
        assert_eq!(reply["type"], "payment.refunded.v1");
        assert_eq!(reply["sequence"], 2);
    }
    orchestrator.send(&young.process("pm_card_visa")).await;
    assert_eq!(orchestrator.reply().await["type"], "payment.processed.v1");
    assert_eq!(orchestrator.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_recorded_is_dead_after_three_attempts() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    sqlx::query("ALTER TABLE payments ADD CONSTRAINT no_euros CHECK (currency <> 'EUR')")
        .execute(&orchestrator.db)
        .await
        .unwrap();
    let [before, bad, after] = [Saga::new(), Saga::new(), Saga::new()];
    let mut command = bad.process("pm_card_visa");
    command["data"]["currency"] = json!("EUR");
    let (before, after) = (
        before.process("pm_card_visa"),
        after.process("pm_card_visa"),
    );
    orchestrator
        .send_batch(&[before, command.clone(), after])
        .await;

    let replies = orchestrator.replies(2).await;
    assert!(
        replies
            .iter()
            .all(|reply| reply["type"] == "payment.processed.v1")
    );
    let letter = orchestrator.amqp.next(DLQ).await;
    assert_eq!(header(&letter, "x-error-kind"), "handler-failed");
    assert!(header(&letter, "x-error").contains("no_euros"));
    assert_eq!(header(&letter, "x-attempts"), "3");
    assert_eq!(
        serde_json::from_slice::<Value>(&letter.data).unwrap(),
        command
    );
    assert!(orchestrator.payments(&bad).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_kills_its_consumer_again_and_again_is_dead_by_the_delivery_limit() {
    let orchestrator = Orchestrator::new().await;
    let command = Saga::new().process("pm_card_visa");
    orchestrator.send(&command).await;
    let url = orchestrator.environment.rabbitmq_url();
    let connection = Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();

    wait_until(PATIENCE, "the delivery limit is used up", || async {
        let channel = connection.create_channel().await.unwrap();
        let queue = topology::PAYMENT_COMMANDS.name;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let deliveries = channel.basic_consume(queue.into(), "".into(), options, arguments);
        let mut deliveries = deliveries.await.unwrap();
        // There is none any more once it is dead.
        let _ = timeout(Duration::from_millis(500), deliveries.next()).await;
        channel.close(200, "it died".into()).await.unwrap();
        orchestrator.dead_letters().await == 1
    })
    .await;

    let letter = orchestrator.amqp.next(DLQ).await;
    assert_eq!(
        serde_json::from_slice::<Value>(&letter.data).unwrap(),
        command
    );
}
