//! What is replied, to whom, and how often it is decided.

use checked_orders::messages::{FRAUD_SUSPECTED, FraudPassed, FraudRefused};
use common::contract::{Envelope, Message, Reason};
use lapin::{BasicProperties, message::Delivery};
use serde_json::{Value, json};
use test_support::eventually;

use crate::fraud_check::{DLQ, Saga, World};

/// The next reply as the orchestrator reads it.
async fn envelope(world: &World) -> Envelope {
    Envelope::parse(&world.reply().await).unwrap()
}

/// What the header `name` of a dead letter says.
fn header(letter: &Delivery, name: &str) -> String {
    let headers = letter.properties.headers().as_ref().unwrap();
    let value = headers.inner().get(name);
    let text = value.and_then(|value| value.as_long_string());
    text.unwrap_or_else(|| panic!("{name} is text: {value:?}"))
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_passes_or_is_refused_with_a_reason() {
    let world = World::new().await;
    let _replica = world.start();

    let saga = Saga::new();
    world.send(&saga.check("customer-1", "500.00")).await;
    let passed: FraudPassed = envelope(&world).await.data().unwrap();
    assert_eq!(passed.order_id.0, saga.order);

    for (customer, amount, detail) in [
        ("customer-1", "500.01", "500.01 USD is more than 500.00"),
        ("fraudster-7", "1.00", "the customer is known for fraud"),
    ] {
        world.send(&Saga::new().check(customer, amount)).await;
        let refused = envelope(&world).await;
        assert_eq!(refused.kind, FraudRefused::TYPE);
        let refused: FraudRefused = refused.data().unwrap();
        assert_eq!(refused.reason, FRAUD_SUSPECTED);
        assert_eq!(refused.detail.as_deref(), Some(detail));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_belongs_to_its_command_and_is_a_public_event_too() {
    let world = World::new().await;
    let _replica = world.start();
    let saga = Saga::new();
    let mut command = saga.check("customer-1", "39.98");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    command["traceparent"] = json!(trace);
    world.send(&command).await;

    let bytes = world.reply().await;
    assert_eq!(world.event().await, bytes);
    let reply = Envelope::parse(&bytes).unwrap();
    assert_eq!(reply.kind, FraudPassed::TYPE);
    assert_eq!(reply.source, "fraud-check");
    assert_eq!(reply.subject, saga.order.to_string());
    assert_eq!(reply.sagaid.unwrap().0, saga.id);
    assert_eq!(reply.sagastep.as_deref(), Some("fraud"));
    assert_eq!(reply.correlationid.as_deref(), Some("a-request"));
    assert_eq!(json!(reply.causationid), command["id"]);
    assert_eq!(reply.traceparent.as_deref(), Some(trace));
    assert_eq!(reply.sequence, Some(1));
    assert_eq!(reply.replyto, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_gets_the_same_bytes() {
    let world = World::new().await;
    let replicas = [world.start(), world.start()];
    let saga = Saga::new();
    let command = saga.check("customer-1", "39.98");
    world.send(&command).await;
    let first = world.reply().await;

    // The orchestrator sends a command again under a new id; RabbitMQ delivers the same one again.
    let again = saga.check("customer-1", "39.98");
    world.send_batch(&[command.clone(), again.clone()]).await;
    world.send(&again).await;
    // What counts is what was decided first, whatever the command says now.
    world.send(&saga.check("fraudster", "39.98")).await;
    for _ in 0..4 {
        assert_eq!(world.reply().await, first);
    }
    for _ in 0..5 {
        assert_eq!(world.event().await, first);
    }
    assert_eq!(world.decided().await, 1);
    drop(replicas);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_only_what_cannot_be_read_dies() {
    let world = World::new().await;
    let _replica = world.start();
    let sagas = [Saga::new(), Saga::new(), Saga::new()];
    let mut batch: Vec<_> = sagas
        .iter()
        .map(|s| s.check("customer-1", "1.00"))
        .collect();
    let mut unknown = Saga::new().check("customer-1", "1.00");
    unknown["type"] = json!("fraud.guess.v1");
    batch.insert(1, unknown.clone());
    world.send_batch(&batch).await;

    let mut answered = Vec::new();
    for _ in &sagas {
        answered.push(world.read_reply().await["sagaid"].clone());
    }
    for saga in &sagas {
        assert!(answered.contains(&json!(saga.id)));
    }
    let letter = world.amqp.next(DLQ).await;
    assert_eq!(header(&letter, "x-error-kind"), "unknown-type");
    let body: Value = serde_json::from_slice(&letter.data).unwrap();
    assert_eq!(body, unknown);
    assert_eq!((world.dead_letters().await, world.decided().await), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_dead_letter_that_says_why() {
    let world = World::new().await;
    let _replica = world.start();
    let changed = |change: fn(&mut Value)| {
        let mut command = Saga::new().check("customer-1", "39.98");
        change(&mut command);
        command.to_string().into_bytes()
    };
    let cases = [
        (b"not JSON \xff".to_vec(), "unreadable"),
        (b"null".to_vec(), "unreadable"),
        (changed(|c| c["source"] = Value::Null), "unreadable"),
        (changed(|c| c["type"] = json!("a.b.v1")), "unknown-type"),
        (changed(|c| c["sagaid"] = json!("7")), "missing-attribute"),
        (
            changed(|c| c["sagastep"] = json!("\0")),
            "missing-attribute",
        ),
        (changed(|c| c["replyto"] = Value::Null), "missing-attribute"),
        (changed(|c| c["data"] = Value::Null), "invalid-data"),
        (changed(|c| c["data"]["orderId"] = json!(1)), "invalid-data"),
        (
            changed(|c| c["data"]["amount"] = json!("1e3")),
            "invalid-data",
        ),
        (
            changed(|c| c["data"]["amount"] = json!("-1.00")),
            "invalid-data",
        ),
    ];
    for (body, kind) in &cases {
        // Its own properties say nothing about how long a dead letter is kept.
        let properties = BasicProperties::default()
            .with_content_type("application/cloudevents+json".into())
            .with_expiration("60000".into());
        world
            .amqp
            .publish("saga.commands", "fraud", body, properties)
            .await;
        let letter = world.amqp.next(DLQ).await;
        assert_eq!(&letter.data, body);
        assert_eq!(&header(&letter, "x-error-kind"), kind);
        assert!(!header(&letter, "x-error").is_empty());
        assert!(header(&letter, "x-failed-at").starts_with("20"));
        assert_eq!(*letter.properties.expiration(), None);
    }
    assert_eq!(world.unread_replies().await, 0);
    assert_eq!(world.decided().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_comes_after_its_compensation_is_refused() {
    let world = World::new().await;
    let _replica = world.start();
    let saga = Saga::new();
    world.send(&saga.forget()).await;
    let forgotten = envelope(&world).await;
    assert_eq!(forgotten.kind, "fraud.forgotten.v1");
    assert_eq!(forgotten.sequence, Some(1));
    let (_, tombstone) = world.stored(&saga, "ACTION").await.unwrap();
    assert!(tombstone);

    world.send(&saga.check("customer-1", "39.98")).await;
    let too_late = envelope(&world).await;
    assert_eq!(too_late.sequence, Some(2));
    let refused: FraudRefused = too_late.data().unwrap();
    assert_eq!(refused.reason, Reason::ALREADY_COMPENSATED);
    assert_eq!(refused.detail, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_after_its_check_leaves_no_tombstone() {
    let world = World::new().await;
    let _replica = world.start();
    let saga = Saga::new();
    world.send(&saga.check("customer-1", "39.98")).await;
    let checked = world.reply().await;
    world.send(&saga.forget()).await;
    let forgotten = envelope(&world).await;
    assert_eq!(forgotten.sequence, Some(2));

    // The stored reply is still what was said.
    world.send(&saga.check("customer-1", "39.98")).await;
    assert_eq!(world.reply().await, checked);
    let stored = eventually(
        "both are stored",
        || world.decided(),
        |decided| *decided == 2,
    );
    stored.await;
    let (_, tombstone) = world.stored(&saga, "ACTION").await.unwrap();
    assert!(!tombstone);
}
