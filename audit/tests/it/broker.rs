//! What the audit asks the broker.

use common::contract::topology::{self, DLX};
use lapin::BasicProperties;
use test_support::{Amqp, eventually};
use uuid::Uuid;

use crate::case::Case;

/// A node that is away.
const NOBODY: &str = "amqp://guest:guest@127.0.0.1:1/%2f";

#[tokio::test]
async fn dead_letters_are_counted() {
    let case = Case::new().await;
    let report = case.audit().await;
    let counts = report.dead_letters.as_ref().unwrap();
    assert_eq!(counts.len(), topology::QUEUES.len());
    assert!(counts.values().all(Option::is_none), "{counts:?}");

    let url = case.env.rabbitmq_url();
    let amqp = Amqp::connect(&url).await;
    common::amqp::declare(amqp.channel()).await.unwrap();
    let queue = topology::PAYMENT_COMMANDS.name;
    amqp.publish(DLX, queue, b"?", BasicProperties::default())
        .await;
    // The first node is away; counts of a quorum queue follow a moment later.
    let nodes = format!("{NOBODY}, {url}");
    let report = eventually(
        "the dead letter is counted",
        async || case.audit_with(&[("RABBITMQ_URL", &nodes)]).await,
        |report| {
            report
                .to_string()
                .contains("Dead letters: 1 in payment.commands.dlq")
        },
    )
    .await;
    assert!(report.is_clean());
    assert_eq!(
        report.dead_letters.unwrap()["inventory.commands.dlq"],
        Some(0)
    );
}

#[tokio::test]
async fn without_a_broker_messages_may_wait() {
    let case = Case::new().await;
    let id = Uuid::now_v7();
    let old = format!(
        "INSERT INTO outbox (id, exchange, routing_key, message, created_at)
         VALUES ('{id}', 'saga.events', 'order.created.v1', '{{}}', now() - interval '1 hour')"
    );
    case.run(&case.order, &old).await;
    assert!(!case.audit().await.is_clean());
    let report = case.audit_with(&[("RABBITMQ_URL", NOBODY)]).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.held_back.len(), 1);
    assert!(report.to_string().contains("1 messages wait for it"));
}
