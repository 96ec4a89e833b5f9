//! A message that cannot be read hurts nobody but itself.

use common::contract::topology;
use lapin::{BasicProperties, options::QueueBindOptions, types::FieldTable};
use serde_json::{Value, json};
use test_support::eventually;

use crate::support::{Saga, World, header};

const DLQ: &str = "inventory.commands.dlq";

/// Messages that nobody can read, with their kind.
fn poison() -> [(Value, &'static str); 6] {
    let reserve = Saga::new().reserve(&[("a", 1)]);
    let with = |field: &str, value: Value| {
        let mut poisoned = reserve.clone();
        poisoned[field] = value;
        poisoned
    };
    [
        (json!({"not": "a CloudEvent"}), "unreadable"),
        (with("specversion", json!("0.3")), "unreadable"),
        (with("type", json!("inventory.explode.v1")), "unknown-type"),
        (with("sagaid", Value::Null), "missing-attribute"),
        (with("data", json!({"items": []})), "invalid-data"),
        (
            with("data", Saga::new().reserve(&[("a", 0)])["data"].clone()),
            "invalid-data",
        ),
    ]
}

#[tokio::test]
async fn what_dies_out_of_a_batch_still_says_what_it_is() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let mut poisoned = Saga::new().reserve(&[("a", 0)]);
    poisoned["traceparent"] = json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    world
        .commands(&[Saga::new().reserve(&[("a", 1)]), poisoned.clone()])
        .await;
    let dead = world.amqp.next(DLQ).await;
    let properties = &dead.properties;
    for (property, attribute) in [
        (properties.message_id(), "id"),
        (properties.kind(), "type"),
        (properties.app_id(), "source"),
        (properties.correlation_id(), "correlationid"),
    ] {
        let property = property.as_ref().map(|text| text.as_str());
        assert_eq!(property, poisoned[attribute].as_str(), "{attribute}");
    }
    for (name, attribute) in [
        ("x-correlation-id", "correlationid"),
        ("traceparent", "traceparent"),
    ] {
        assert_eq!(header(&dead, name), poisoned[attribute].as_str().unwrap());
    }
}

async fn assert_dead(world: &World, poison: &[(Value, &str)]) {
    for (body, kind) in poison {
        let dead = world.amqp.next(DLQ).await;
        assert_eq!(serde_json::from_slice::<Value>(&dead.data).unwrap(), *body);
        assert_eq!(header(&dead, "x-error-kind"), *kind);
        assert!(!header(&dead, "x-error").is_empty());
        assert!(header(&dead, "x-failed-at").starts_with("20"));
    }
    assert_eq!(world.amqp.ready(DLQ).await, 0);
}

#[tokio::test]
async fn poison_in_the_middle_of_a_message_dies_alone() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let poison = poison();
    let mut batch = Vec::new();
    for (poisoned, _) in &poison {
        batch.extend([
            Saga::new().reserve(&[("a", 1)]),
            poisoned.clone(),
            Saga::new().reserve(&[("a", 1)]),
        ]);
    }
    world.commands(&batch).await;
    assert_eq!(world.replies(12).await.len(), 12);
    assert_dead(&world, &poison).await;
    assert_eq!(world.stock("a").await, (100, 12));
}

#[tokio::test]
async fn poison_between_many_messages_dies_alone() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let poison = poison();
    for (poisoned, _) in &poison {
        world.command(&Saga::new().reserve(&[("a", 1)])).await;
        world.command(poisoned).await;
        world.command(&Saga::new().reserve(&[("a", 1)])).await;
    }
    assert_eq!(world.replies(12).await.len(), 12);
    assert_dead(&world, &poison).await;
    assert_eq!(world.stock("a").await, (100, 12));
}

#[tokio::test]
async fn what_is_not_even_json_is_kept_as_it_came() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    for content_type in [
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "text/plain",
    ] {
        let properties = BasicProperties::default().with_content_type(content_type.into());
        let exchange = topology::COMMANDS;
        world
            .amqp
            .publish(exchange, "inventory", b"[{\xff", properties)
            .await;
        let dead = world.amqp.next(DLQ).await;
        assert_eq!(dead.data, b"[{\xff");
        assert_eq!(header(&dead, "x-error-kind"), "unreadable");
    }
    world.command(&Saga::new().reserve(&[("a", 1)])).await;
    assert_eq!(world.reply().await["type"], "inventory.reserved.v1");
}

#[tokio::test]
async fn a_dead_letter_that_no_queue_keeps_waits_for_one_and_holds_up_the_ack() {
    let (world, service) = World::with_stock(&[("a", 100)]).await;
    // Once it consumes and is ready, it has all its connections, on each of which it binds all queues.
    world.command(&Saga::new().reserve(&[("a", 1)])).await;
    world.reply().await;
    let status = || async { service.get("/health/ready").await.0 };
    eventually("it is ready", status, |status| *status == 200).await;
    let (exchange, key) = (topology::DLX, topology::INVENTORY_COMMANDS.name);
    let channel = world.amqp.channel();
    channel
        .queue_unbind(
            DLQ.into(),
            exchange.into(),
            key.into(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let [poison, ..] = poison();
    world.command(&poison.0).await;
    eventually("readiness is red", status, |status| *status == 503).await;
    channel
        .queue_bind(
            DLQ.into(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    assert_dead(&world, &[poison]).await;
    eventually("readiness is green", status, |status| *status == 200).await;
}
