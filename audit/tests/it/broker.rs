//! What the audit asks the broker.

use audit::Report;
use common::contract::topology::{self, DLX};
use lapin::BasicProperties;
use test_support::{Amqp, eventually};
use uuid::Uuid;

use crate::books::Books;

#[tokio::test]
async fn dead_letters_are_counted() {
    let books = Books::new().await;
    let url = books.env.rabbitmq_url();
    let mut report = Report::default();
    report.ask_broker(&url).await;
    let counts = report.dead_letters.as_ref().unwrap();
    assert_eq!(counts.len(), topology::QUEUES.len());
    assert!(counts.values().all(Option::is_none), "{counts:?}");

    let amqp = Amqp::connect(&url).await;
    common::amqp::declare(amqp.channel()).await.unwrap();
    amqp.publish(DLX, "payment.commands", b"?", BasicProperties::default())
        .await;
    // The first node is away; counts of a quorum queue follow a moment later.
    let nodes = format!("amqp://guest:guest@127.0.0.1:1/%2f, {url}");
    let report = eventually(
        "the dead letter is counted",
        async || {
            let mut report = Report::default();
            report.ask_broker(&nodes).await;
            report
        },
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
    let books = Books::new().await;
    let id = Uuid::now_v7();
    let old = format!(
        "INSERT INTO outbox (id, exchange, routing_key, message, created_at)
         VALUES ('{id}', 'saga.events', 'order.created.v1', '{{}}', now() - interval '1 hour')"
    );
    books.run(&books.order, &old).await;
    let mut report = books.audit().await;
    assert!(!report.is_clean());
    report
        .ask_broker("amqp://guest:guest@127.0.0.1:1/%2f")
        .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.held_back.len(), 1);
    assert!(report.to_string().contains("1 messages wait for it"));
}
