//! What integrators see: public events, and RabbitMQ's topology.

use common::{amqp::Broker, config::BrokerConfig, contract::topology};
use lapin::{
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use test_support::{Amqp, Environment, eventually};

use crate::harness::{System, text};

#[tokio::test(flavor = "multi_thread")]
async fn events_are_numbered_and_carry_what_they_belong_to() {
    let system = System::whole().await;
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    let queue = amqp.listen(topology::EVENTS, "#").await;
    let request = system.orders.request(reqwest::Method::POST, "/orders");
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = request
        .header("x-correlation-id", "my-request")
        .header("traceparent", traceparent);
    let order: Value = request
        .json(&crate::harness::order("prod-1", 1, "pm_card_visa"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    system.until(&order, "COMPLETED").await;
    system.cancel(&order).await;
    system.until(&order, "CANCELLED").await;

    let mut seen = Vec::new();
    for _ in 0..7 {
        let delivery = amqp.next(&queue).await;
        let event: Value = serde_json::from_slice(&delivery.data).unwrap();
        let properties = &delivery.properties;
        assert_eq!(delivery.routing_key.as_str(), text(&event, "type"));
        assert_eq!(
            properties.message_id().as_ref().unwrap().as_str(),
            text(&event, "id")
        );
        assert_eq!(
            properties.kind().as_ref().unwrap().as_str(),
            text(&event, "type")
        );
        assert_eq!(
            properties.content_type().as_ref().unwrap().as_str(),
            "application/cloudevents+json"
        );
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(event["subject"], order["orderId"]);
        assert_eq!(event["sagaid"], order["sagaId"]);
        let is_undone = ["released", "refunded", "cancelled"]
            .iter()
            .any(|end| text(&event, "type").ends_with(&format!("{end}.v1")));
        let of_placing = (&json!("my-request"), &json!(traceparent));
        let origin = (&event["correlationid"], &event["traceparent"]);
        assert_eq!(
            origin == of_placing,
            !is_undone,
            "another request cancelled it"
        );
        seen.push((
            text(&event, "source").to_owned(),
            event["sequence"].as_i64().unwrap(),
            text(&event, "type").to_owned(),
        ));
    }
    seen.sort();
    let expected = [
        ("inventory-service", 1, "inventory.reserved.v1"),
        ("inventory-service", 2, "inventory.released.v1"),
        ("order-service", 1, "order.created.v1"),
        ("order-service", 2, "order.completed.v1"),
        ("order-service", 3, "order.cancelled.v1"),
        ("payment-service", 1, "payment.processed.v1"),
        ("payment-service", 2, "payment.refunded.v1"),
    ];
    assert_eq!(
        seen,
        expected.map(|(source, sequence, kind)| (source.to_owned(), sequence, kind.to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_properties_is_a_clear_error() {
    let environment = Environment::new().await;
    let amqp = Amqp::connect(&environment.rabbitmq_url()).await;
    let name = topology::PAYMENT_COMMANDS.name;
    amqp.channel()
        .queue_declare(
            name.into(),
            QueueDeclareOptions::durable(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let broker = Broker::new(
        "test",
        &BrokerConfig::from_vars(&environment.vars(&[])).unwrap(),
    );
    let error = broker.check().await.unwrap_err();
    assert!(!error.is_transient());
    let message = error.to_string();
    assert!(
        message.contains("queue payment.commands") && message.contains("x-"),
        "{message}"
    );

    // A service says it and ends, instead of losing messages.
    let config = order_service::app::Config::from_vars(&environment.vars(&[])).unwrap();
    let app = order_service::app::App::build(&config, order_service::app::PRODUCT)
        .await
        .unwrap();
    let ended = app.run(tokio_util::sync::CancellationToken::new()).await;
    assert!(
        ended
            .unwrap_err()
            .to_string()
            .contains("queue payment.commands")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_without_its_dead_letter_exchange_is_a_clear_error() {
    let environment = Environment::new().await;
    let amqp = Amqp::connect(&environment.rabbitmq_url()).await;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        lapin::types::AMQPValue::LongString("quorum".into()),
    );
    arguments.insert(
        "x-delivery-limit".into(),
        lapin::types::AMQPValue::LongLongInt(20),
    );
    let name = topology::ORDER_REPLIES.name;
    amqp.channel()
        .queue_declare(name.into(), QueueDeclareOptions::durable(), arguments)
        .await
        .unwrap();
    let broker = Broker::new(
        "test",
        &BrokerConfig::from_vars(&environment.vars(&[])).unwrap(),
    );
    let message = broker.check().await.unwrap_err().to_string();
    assert!(message.contains("x-dead-letter-exchange"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_routed_stays_in_the_outbox_until_it_can() {
    let system = System::alone().await;
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    // Who subscribes declares every queue: that must be over.
    let consumers = || amqp.consumers(topology::ORDER_REPLIES.name);
    eventually("the service consumes", consumers, |n| *n == 1).await;
    let queue = topology::PAYMENT_COMMANDS.name;
    amqp.channel()
        .queue_delete(queue.into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    let order = system.place("prod-1", 1).await;
    let db = system.environment.pool("order").await;
    let unroutable = || async {
        crate::harness::count(
            &db,
            "SELECT count(*) FROM outbox WHERE last_error LIKE 'unroutable%'",
        )
        .await
    };
    eventually("the command is returned", unroutable, |rows| *rows == 1).await;
    let broker = Broker::new(
        "test",
        &BrokerConfig::from_vars(&system.environment.vars(&[])).unwrap(),
    );
    broker.check().await.unwrap();
    let command = amqp.next_events(queue, 1).await.remove(0);
    assert_eq!(command["subject"], order["orderId"]);
    system.until_outbox_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_of_several_nodes_will_do() {
    let environment = Environment::new().await;
    let nodes = format!(
        "amqp://guest:guest@127.0.0.1:1/%2f,{}",
        environment.rabbitmq_url()
    );
    let system = System::on(environment, &[("RABBITMQ_URL", &nodes)]).await;
    system.place("prod-1", 1).await;
    system.until_outbox_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_batching_each_command_is_a_message() {
    let environment = Environment::new().await;
    let mut system = System::on(environment, &[("MESSAGE_BATCH_MAX", "1")]).await;
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    for _ in 0..20 {
        system.place("prod-1", 1).await;
    }
    system.until_outbox_is_empty().await;
    assert_eq!(amqp.ready(topology::PAYMENT_COMMANDS.name).await, 20);
    system.add_participants(&[]).await;
    let db = system.environment.pool("order").await;
    let ended = || async {
        crate::harness::count(
            &db,
            "SELECT count(*) FROM orders WHERE status = 'CANCELLED'",
        )
        .await
    };
    eventually("all orders end", ended, |orders| *orders == 20).await;
}
