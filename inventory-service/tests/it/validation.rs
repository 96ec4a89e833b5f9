//! Questions that anyone may ask: would these items be available?

use common::contract::topology;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{World, event, header, lines};

async fn ask(world: &World, question: &Value, properties: BasicProperties) {
    let properties = properties.with_content_type("application/cloudevents+json".into());
    let body = question.to_string();
    let exchange = topology::COMMANDS;
    world
        .amqp
        .publish(exchange, "inventory", body.as_bytes(), properties)
        .await;
}

#[tokio::test]
async fn a_question_is_answered_to_its_reply_to_and_holds_nothing() {
    let (world, _service) = World::with_stock(&[("a", 10)]).await;
    let answers = world.amqp.listen(topology::EVENTS, "nothing").await;
    for (items, available, expected) in [
        (
            lines(&[("a", 4), ("a", 6)]),
            true,
            json!([{"productId": "a", "requested": 10, "available": 10}]),
        ),
        (
            lines(&[("x", 1), ("a", 11)]),
            false,
            json!([{"productId": "a", "requested": 11, "available": 10}, {"productId": "x", "requested": 1}]),
        ),
    ] {
        let question = event(
            "inventory.validate.v1",
            Uuid::now_v7(),
            json!({"items": items}),
        );
        let properties = BasicProperties::default()
            .with_reply_to(answers.as_str().into())
            .with_correlation_id("question-1".into());
        ask(&world, &question, properties).await;

        let answer = world.amqp.next(&answers).await;
        let correlation_id = answer.properties.correlation_id().clone().unwrap();
        assert_eq!(correlation_id.as_str(), "question-1");
        let answer: Value = serde_json::from_slice(&answer.data).unwrap();
        assert_eq!(answer["type"], "inventory.validated.v1");
        assert_eq!(answer["causationid"], question["id"]);
        assert_eq!(
            answer["data"],
            json!({"available": available, "items": expected})
        );
    }
    assert_eq!(world.stock("a").await, (10, 0));
}

/// As an SDK of CloudEvents writes it that has heard of nothing but the specification.
#[tokio::test]
async fn a_question_of_a_stranger_is_answered() {
    let (world, _service) = World::with_stock(&[("a", 10)]).await;
    let answers = world.amqp.listen(topology::EVENTS, "nothing").await;
    let properties = |content_type: &str| {
        let properties = BasicProperties::default().with_content_type(content_type.into());
        properties
            .with_reply_to(answers.as_str().into())
            .with_correlation_id("question-1".into())
    };
    let attributes = [
        ("specversion", "1.0"),
        ("id", "A234-1234-1234"),
        ("source", "/mycontext"),
        ("type", "inventory.validate.v1"),
    ];
    let data = json!({"items": lines(&[("a", 4)])});

    let mut structured: serde_json::Map<_, _> = attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
        .collect();
    structured.insert("data".to_owned(), data.clone());
    let mut headers = FieldTable::default();
    for (name, value) in attributes {
        let value = AMQPValue::LongString(value.into());
        headers.insert(format!("cloudEvents:{name}").into(), value);
    }
    let binary = properties("application/json").with_headers(headers);
    let mut causes = Vec::new();
    for (body, properties) in [
        (
            Value::from(structured),
            properties("application/cloudevents+json"),
        ),
        (data, binary),
    ] {
        let body = body.to_string();
        let exchange = topology::COMMANDS;
        let amqp = &world.amqp;
        amqp.publish(exchange, "inventory", body.as_bytes(), properties)
            .await;
        let answer = amqp.next(&answers).await;
        let correlation_id = answer.properties.correlation_id().clone().unwrap();
        assert_eq!(correlation_id.as_str(), "question-1");
        let answer: Value = serde_json::from_slice(&answer.data).unwrap();
        assert_eq!(answer["data"]["available"], true);
        assert_eq!(answer.get("subject"), None);
        causes.push(answer["causationid"].clone());
    }
    assert_eq!(causes[0], causes[1], "it is the same event");
}

#[tokio::test]
async fn a_question_that_does_not_say_where_the_answer_goes_is_a_dead_letter() {
    let (world, _service) = World::with_stock(&[]).await;
    let data = json!({"items": lines(&[("a", 1)])});
    let question = event("inventory.validate.v1", Uuid::now_v7(), data);
    ask(&world, &question, BasicProperties::default()).await;
    let dead = world.amqp.next("inventory.commands.dlq").await;
    let error = header(&dead, "x-error");
    assert!(error.contains("reply_to"), "{error}");
}
