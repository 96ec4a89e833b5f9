//! What everybody is told of a product, numbered without a gap.

use common::contract::topology;
use reqwest::{Client, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::{Saga, World};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn every_event_about_a_product_has_the_next_number() {
    let (world, service) = World::with_stock(&[]).await;
    let mut queues = Vec::new();
    for kind in ["updated", "low_stock", "back_in_stock"] {
        let key = format!("inventory.{kind}.v1");
        queues.push(world.amqp.listen(topology::EVENTS, &key).await);
    }
    let [updated, low_stock, back_in_stock] = &queues[..] else {
        unreachable!()
    };
    let next = async |queue: &str, expected: (i64, Value)| {
        let event = world.amqp.next_events(queue, 1).await.remove(0);
        assert_eq!(event["subject"], "a");
        assert_eq!(event["source"], "inventory-service");
        let by_command = event.get("causationid").is_some();
        let origin = [&event["correlationid"], &event["traceparent"]];
        if by_command {
            assert_eq!(origin, [&json!("a-request"), &Value::Null]);
        } else {
            assert_eq!(origin, [&json!("stocktaking"), &json!(TRACE)]);
            assert_eq!(event["tracestate"], "a=1");
        }
        assert_eq!(
            (event["sequence"].as_i64().unwrap(), event["data"].clone()),
            expected
        );
    };
    let level = |quantity: i64, reserved: i64| {
        json!({
            "productId": "a", "quantity": quantity, "reservedQuantity": reserved,
            "availableQuantity": quantity - reserved,
        })
    };
    let all = format!("{}/inventory", service.url);
    let item = format!("{all}/a");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-correlation-id", "stocktaking"),
        ("traceparent", TRACE),
        ("tracestate", "a=1"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let http = Client::builder().default_headers(headers).build().unwrap();
    let [first, second] = [Saga::new(), Saga::new()];

    let product = json!({"productId": "a", "quantity": 15});
    http.post(&all).json(&product).send().await.unwrap();
    next(updated, (1, level(15, 0))).await;

    world.command(&first.reserve(&[("a", 6)])).await;
    next(low_stock, (2, level(15, 6))).await;

    // Lower still, and then none: nothing new.
    world.command(&second.reserve(&[("a", 9)])).await;
    world.replies(2).await;
    world.command(&first.release()).await;
    next(back_in_stock, (3, level(15, 9))).await;

    http.patch(&item)
        .json(&json!({"quantity": 50}))
        .send()
        .await
        .unwrap();
    next(updated, (4, level(50, 9))).await;

    world.command(&second.another().commit()).await;
    next(updated, (5, level(41, 0))).await;

    http.patch(&item)
        .json(&json!({"quantity": 0}))
        .send()
        .await
        .unwrap();
    next(updated, (6, level(0, 0))).await;
    next(low_stock, (7, level(0, 0))).await;

    http.patch(&item)
        .json(&json!({"quantity": 20}))
        .send()
        .await
        .unwrap();
    next(updated, (8, level(20, 0))).await;
    next(back_in_stock, (9, level(20, 0))).await;

    http.delete(&item).send().await.unwrap();
    next(updated, (10, level(0, 0))).await;

    // It comes back, and whoever goes by the sequence does not take it for old news.
    for sequence in [11, 13] {
        let product = json!({"productId": "a", "quantity": 1});
        let added = http.post(&all).json(&product).send().await.unwrap();
        assert_eq!(added.status(), 201);
        next(updated, (sequence, level(1, 0))).await;
        http.delete(&item).send().await.unwrap();
        next(updated, (sequence + 1, level(0, 0))).await;
    }
    for queue in &queues {
        assert_eq!(world.amqp.ready(queue).await, 0);
    }
    service.stop().await;
    let left: i64 = sqlx::Row::get(
        &sqlx::query("SELECT count(*) FROM outbox")
            .fetch_one(&world.db)
            .await
            .unwrap(),
        0,
    );
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_event_names_the_command_of_its_batch_that_it_follows_from() {
    let (world, _service) = World::with_stock(&[("a", 10), ("b", 10), ("c", 10)]).await;
    let low = world
        .amqp
        .listen(topology::EVENTS, "inventory.low_stock.v1")
        .await;
    let mut commands = Vec::new();
    for product in ["c", "a", "b"] {
        let mut command = Saga::new().reserve(&[(product, 5)]);
        command["correlationid"] = json!(format!("who wants {product}"));
        command["traceparent"] = json!(TRACE);
        command["tracestate"] = json!(format!("of={product}"));
        commands.push(command);
    }
    world.commands(&commands).await;
    for event in world.amqp.next_events(&low, 3).await {
        let product = event["subject"].as_str().unwrap();
        let is_cause = |command: &&Value| command["data"]["items"][0]["productId"] == product;
        let cause = commands.iter().find(is_cause).unwrap();
        assert_eq!(event["causationid"], cause["id"]);
        for attribute in ["correlationid", "tracestate"] {
            assert_eq!(event[attribute], cause[attribute]);
        }
    }
}
