//! Whatever a client sends costs at most itself.

use common::contract::topology;
use lapin::{
    BasicProperties,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use serde_json::{Value, json};
use sqlx::Row;
use test_support::eventually;

use crate::support::{Saga, World, header};

const DLQ: &str = "inventory.commands.dlq";

/// A question that anybody may ask.
fn question(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": uuid::Uuid::now_v7(), "source": "a-shop", "type": "inventory.validate.v1",
        "subject": "a basket", "time": "2026-11-20T10:00:00Z", "correlationid": id,
        "data": {"items": [{"productId": "a", "quantity": 1}]},
    })
}

/// After all this, the service does what it is for.
async fn assert_alive(world: &World) {
    world.command(&Saga::new().reserve(&[("a", 1)])).await;
    assert_eq!(world.reply().await["type"], "inventory.reserved.v1");
}

#[tokio::test]
async fn attributes_that_fit_nowhere_are_dead_letters() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let long = "x".repeat(300);
    let mut messages = Vec::new();
    for attribute in [
        "source",
        "type",
        "correlationid",
        "replyto",
        "sagastep",
        "traceparent",
    ] {
        for value in [long.as_str(), "with\0NUL", "with\nline"] {
            let mut command = Saga::new().reserve(&[("a", 1)]);
            command[attribute] = json!(value);
            messages.push(command);
        }
    }
    messages.push(question(&long));
    for message in &messages {
        world.command(message).await;
    }
    for message in &messages {
        let dead = world.amqp.next(DLQ).await;
        assert_eq!(
            serde_json::from_slice::<Value>(&dead.data).unwrap(),
            *message
        );
        assert_eq!(header(&dead, "x-error-kind"), "unreadable");
    }
    assert_alive(&world).await;
}

#[tokio::test]
async fn a_message_of_two_megabytes_is_kept_and_not_read() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let mut huge = Saga::new().reserve(&[("a", 1)]);
    huge["data"]["more"] = json!("x".repeat(2 * 1024 * 1024));
    world.command(&huge).await;
    let dead = world.amqp.next(DLQ).await;
    assert_eq!(header(&dead, "x-error-kind"), "unreadable");
    assert!(dead.data.len() > 2 * 1024 * 1024);
    assert_alive(&world).await;
}

#[tokio::test]
async fn a_dead_letter_keeps_what_identifies_it_and_does_nothing_else() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let elsewhere =
        AMQPValue::FieldArray(vec![AMQPValue::LongString("payment.commands".into())].into());
    let mut headers = FieldTable::default();
    headers.insert("CC".into(), elsewhere.clone());
    headers.insert("x-mine".into(), AMQPValue::LongString("kept".into()));
    headers.insert(
        "x-huge".into(),
        AMQPValue::LongString("x".repeat(100_000).into()),
    );
    let properties = BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_message_id("my-message".into())
        .with_correlation_id("my-request".into())
        .with_reply_to("my-queue".into())
        // Long enough for a message that waits until the service comes to it.
        .with_expiration("600000".into())
        .with_priority(9)
        .with_user_id("guest".into())
        .with_headers(headers);
    world
        .amqp
        .publish(topology::COMMANDS, "inventory", b"nonsense", properties)
        .await;
    let dead = world.amqp.next(DLQ).await;
    let kept = &dead.properties;
    let text =
        |property: &Option<lapin::types::ShortString>| property.as_ref().map(ToString::to_string);
    assert_eq!(text(kept.message_id()).as_deref(), Some("my-message"));
    assert_eq!(text(kept.correlation_id()).as_deref(), Some("my-request"));
    assert_eq!(text(kept.reply_to()).as_deref(), Some("my-queue"));
    assert_eq!(header(&dead, "x-mine"), "kept");
    // Each of these would make it vanish, be refused, or go elsewhere.
    assert_eq!(
        (text(kept.expiration()), text(kept.user_id())),
        (None, None)
    );
    let headers = kept.headers().as_ref().unwrap().inner();
    assert!(!headers.contains_key("CC") && !headers.contains_key("x-huge"));
    assert_eq!(world.amqp.ready("payment.commands.dlq").await, 0);
    assert_alive(&world).await;
}

#[tokio::test]
async fn thousands_of_messages_in_one_are_handled_in_batches() {
    let (world, _service) = World::with_stock(&[("a", 10_000)]).await;
    let commands: Vec<_> = (0..3000)
        .map(|_| Saga::new().reserve(&[("a", 1)]))
        .collect();
    world.commands(&commands).await;
    assert_eq!(world.replies(3000).await.len(), 3000);
    assert_eq!(world.stock("a").await, (10_000, 3000));
    world.assert_books_balance().await;
}

#[tokio::test]
async fn a_reply_that_nobody_wants_waits_and_holds_up_nobody() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let unwanted = || {
        let mut command = Saga::new().reserve(&[("a", 1)]);
        command["replyto"] = json!("an-orchestrator-that-is-not-deployed-yet");
        command
    };
    // More than the batches that may wait for their confirms.
    for _ in 0..20 {
        world.command(&unwanted()).await;
        assert_alive(&world).await;
    }
    let waiting = || async {
        let row = sqlx::query("SELECT count(*) FROM outbox").fetch_one(&world.db);
        row.await.unwrap().get::<i64, _>(0)
    };
    eventually("all replies wait", waiting, |rows| *rows == 20).await;
    // An earlier release deletes the row that is called like the message that it has published.
    let named = "SELECT count(*) FROM outbox WHERE id::text = message ->> 'id'";
    let named = sqlx::query(named).fetch_one(&world.db).await.unwrap();
    assert_eq!(named.get::<i64, _>(0), 20);
    let queue = world
        .amqp
        .listen(
            topology::REPLIES,
            "an-orchestrator-that-is-not-deployed-yet",
        )
        .await;
    eventually("they go out", waiting, |rows| *rows == 0).await;
    assert_eq!(world.amqp.next_events(&queue, 20).await.len(), 20);
}

#[tokio::test]
async fn a_reply_that_can_neither_go_out_nor_be_stored_waits_for_the_database() {
    let (world, service) = World::with_stock(&[("a", 100)]).await;
    let refuse = [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a test'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON outbox_waiting EXECUTE FUNCTION refuse()",
    ];
    for sql in refuse {
        sqlx::query(sql).execute(&world.db).await.unwrap();
    }
    let mut command = Saga::new().reserve(&[("a", 1)]);
    command["replyto"] = json!("an-orchestrator-that-is-not-deployed-yet");
    world.command(&command).await;
    let status = || async { service.get("/health/ready").await.0 };
    eventually("readiness is red", status, |status| *status == 503).await;
    let allow = sqlx::query("DROP TRIGGER refuse ON outbox_waiting").execute(&world.db);
    allow.await.unwrap();
    let listen = world.amqp.listen(
        topology::REPLIES,
        "an-orchestrator-that-is-not-deployed-yet",
    );
    let queue = listen.await;
    let replies = world.amqp.next_events(&queue, 1).await;
    assert_eq!(replies[0]["sagaid"], command["sagaid"]);
    eventually("readiness is green", status, |status| *status == 200).await;
}

#[tokio::test]
async fn an_asker_who_takes_no_answer_holds_up_nobody() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(0));
    arguments.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    let channel = world.amqp.channel();
    let options = QueueDeclareOptions::default();
    let declared = channel.queue_declare("full".into(), options, arguments);
    declared.await.unwrap();
    for _ in 0..20 {
        let properties = BasicProperties::default()
            .with_content_type("application/cloudevents+json".into())
            .with_reply_to("full".into());
        let question = question("a").to_string();
        world
            .amqp
            .publish(
                topology::COMMANDS,
                "inventory",
                question.as_bytes(),
                properties,
            )
            .await;
        assert_alive(&world).await;
    }
}
