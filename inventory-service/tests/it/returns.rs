//! Goods that came back are on the shelf again, once, and never more of them than were shipped.

use common::contract::topology;
use serde_json::{Value, json};
use sqlx::Row;
use test_support::eventually;

use crate::support::{Saga, World, header, lines};

const DLQ: &str = "inventory.commands.dlq";

/// An order that was shipped with these items.
async fn shipped(world: &World, items: &[(&str, u32)]) -> Saga {
    let saga = Saga::new();
    world.command(&saga.reserve(items)).await;
    assert_eq!(world.reply().await["type"], "inventory.reserved.v1");
    world.command(&saga.another().commit()).await;
    assert_eq!(world.reply().await["type"], "inventory.committed.v1");
    saga
}

/// Expects that the next dead letter is the command of `saga`, because of `why`.
async fn assert_dead(world: &World, saga: &Saga, why: &str) {
    let dead = world.amqp.next(DLQ).await;
    let letter: Value = serde_json::from_slice(&dead.data).unwrap();
    assert_eq!(letter["sagaid"], saga.id.to_string());
    let error = header(&dead, "x-error");
    assert!(error.contains(why), "{error}");
}

/// (return, items) of each row in the book, in the order in which they were made.
async fn restocks(world: &World) -> Vec<(String, Value)> {
    let rows = sqlx::query("SELECT return_id::text, items FROM restocks ORDER BY id")
        .fetch_all(&world.db)
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn what_came_back_is_on_the_shelf_again_and_everybody_is_told() {
    let (world, _service) = World::with_stock(&[("a", 7), ("b", 50)]).await;
    let order = shipped(&world, &[("a", 7), ("b", 2)]).await;
    // What was told so far is not listened to.
    let untold = || async {
        let rows = sqlx::query("SELECT FROM outbox").fetch_all(&world.db);
        rows.await.unwrap().len()
    };
    eventually("the outbox is empty", untold, |rows| *rows == 0).await;
    let mut queues = Vec::new();
    for kind in ["restocked", "updated", "back_in_stock"] {
        let key = format!("inventory.{kind}.v1");
        queues.push(world.amqp.listen(topology::EVENTS, &key).await);
    }
    let back = order.another();
    world
        .command(&back.restock(&[("a", 1), ("b", 1), ("a", 2)]))
        .await;

    let reply = world.reply().await;
    assert_eq!(reply["type"], "inventory.restocked.v1");
    assert_eq!(reply["sequence"], 1);
    let items = lines(&[("a", 3), ("b", 1)]);
    let expected = json!({"orderId": order.order, "returnId": back.id, "items": items});
    assert_eq!(reply["data"], expected);
    assert_eq!(world.amqp.next_events(&queues[0], 1).await, [reply]);
    let updated = world.amqp.next_events(&queues[1], 2).await;
    let level =
        json!({"productId": "a", "quantity": 3, "reservedQuantity": 0, "availableQuantity": 3});
    assert_eq!(updated[0]["data"], level);
    assert_eq!(updated[1]["data"]["quantity"], 49);
    let told = world.amqp.next_events(&queues[2], 1).await;
    assert_eq!(told[0]["data"], level);
    assert_eq!(
        told[0]["sequence"].as_i64(),
        updated[0]["sequence"].as_i64().map(|n| n + 1)
    );
    assert_eq!(world.stock("a").await, (3, 0));
    assert_eq!(world.stock("b").await, (49, 0));
    assert_eq!(restocks(&world).await, [(back.id.to_string(), items)]);
    world.assert_books_balance().await;
}

#[tokio::test]
async fn never_more_comes_back_than_was_shipped() {
    let (world, _service) = World::with_stock(&[("a", 100), ("b", 50)]).await;
    let order = shipped(&world, &[("a", 5), ("b", 1)]).await;
    // Two returns at once: they are in one batch.
    let [first, second] = [order.another(), order.another()];
    world
        .commands(&[first.restock(&[("a", 2)]), second.restock(&[("a", 2)])])
        .await;
    world.replies(2).await;
    assert_eq!(world.stock("a").await, (99, 0));

    let greedy = order.another();
    world.command(&greedy.restock(&[("a", 2), ("b", 1)])).await;
    let why = "5 of product \"a\" were shipped for order";
    assert_dead(&world, &greedy, why).await;
    let stranger = order.another();
    world.command(&stranger.restock(&[("c", 1)])).await;
    assert_dead(&world, &stranger, "0 of product \"c\" were shipped").await;
    // Nothing of it has happened, and the rest can still come back.
    assert_eq!(world.stock("b").await, (49, 0));
    world
        .command(&order.another().restock(&[("a", 1), ("b", 1)]))
        .await;
    world.reply().await;
    assert_eq!(world.stock("a").await, (100, 0));
    assert_eq!(world.stock("b").await, (50, 0));
    let late = order.another();
    world.command(&late.restock(&[("a", 1)])).await;
    assert_dead(&world, &late, "and 5 came back before: not 1 more").await;
    assert_eq!(restocks(&world).await.len(), 3);
}

#[tokio::test]
async fn what_comes_back_twice_is_put_back_once() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let order = shipped(&world, &[("a", 5)]).await;
    let back = order.another();
    // All of it, so that a second time would be too much.
    let command = back.restock(&[("a", 5)]);
    world.command(&command).await;
    let first = world.reply().await;
    world.command(&command).await;
    world.commands(&[command, back.restock(&[("a", 5)])]).await;
    for reply in world.replies(3).await {
        assert_eq!(reply, first);
    }
    assert_eq!(world.stock("a").await, (100, 0));
    assert_eq!(restocks(&world).await.len(), 1);
    assert_eq!(world.amqp.ready(DLQ).await, 0);
}

#[tokio::test]
async fn two_replicas_with_the_same_return_put_it_back_once() {
    let (world, _first) = World::with_stock(&[("a", 1000)]).await;
    let _second = world.start().await;
    world.until_consumed_by(2).await;
    let consumers = async || world.amqp.consumers("inventory.commands").await;
    eventually("both consume", consumers, |count| *count == 2).await;
    for _ in 0..10 {
        let back = shipped(&world, &[("a", 5)]).await.another();
        // The broker takes turns, so that the second one goes to the other replica.
        for _ in 0..4 {
            world.command(&back.restock(&[("a", 5)])).await;
        }
        let replies = world.replies(4).await;
        assert!(replies.iter().all(|reply| *reply == replies[0]));
    }
    assert_eq!(world.stock("a").await, (1000, 0));
    assert_eq!(restocks(&world).await.len(), 10);
    assert_eq!(world.amqp.ready(DLQ).await, 0);
}

#[tokio::test]
async fn replicas_with_returns_that_are_too_many_together_put_some_back() {
    let (world, _first) = World::with_stock(&[("a", 100)]).await;
    let _second = world.start().await;
    world.until_consumed_by(2).await;
    let consumers = async || world.amqp.consumers("inventory.commands").await;
    eventually("both consume", consumers, |count| *count == 2).await;
    let order = shipped(&world, &[("a", 5)]).await;
    for _ in 0..6 {
        world.command(&order.another().restock(&[("a", 2)])).await;
    }
    world.replies(2).await;
    let dead = async || world.amqp.ready(DLQ).await;
    eventually("the others are too many", dead, |dead| *dead == 4).await;
    assert_eq!(world.stock("a").await, (99, 0));
    assert_eq!(restocks(&world).await.len(), 2);
}

#[tokio::test]
async fn a_product_that_was_deleted_meanwhile_is_made_again() {
    let (world, service) = World::with_stock(&[("a", 5)]).await;
    let order = shipped(&world, &[("a", 5)]).await;
    let url = format!("{}/inventory/a", service.url);
    let deleted = reqwest::Client::new().delete(&url).send().await.unwrap();
    assert!(deleted.status().is_success());
    let updated = world
        .amqp
        .listen(topology::EVENTS, "inventory.updated.v1")
        .await;
    // In one message with somebody who wants to have it.
    let next = Saga::new();
    world
        .commands(&[
            order.another().restock(&[("a", 3)]),
            next.reserve(&[("a", 1)]),
        ])
        .await;

    let replies = world.replies(2).await;
    assert_eq!(replies[0]["type"], "inventory.restocked.v1");
    assert_eq!(replies[1]["type"], "inventory.reserved.v1");
    assert_eq!(world.stock("a").await, (3, 1));
    let event = world.amqp.next_events(&updated, 1).await.remove(0);
    assert_eq!(event["sequence"], 1);
    assert_eq!(event["data"]["quantity"], 3);
    let product: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    assert_eq!(product["quantity"], 3);
    world.assert_books_balance().await;
}

#[tokio::test]
async fn what_was_not_shipped_cannot_come_back() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let held = Saga::new();
    world.command(&held.reserve(&[("a", 5)])).await;
    world.reply().await;
    for order in [held, Saga::new()] {
        let back = order.another();
        world.command(&back.restock(&[("a", 1)])).await;
        assert_dead(&world, &back, "0 of product \"a\" were shipped").await;
    }
    assert_eq!(world.stock("a").await, (100, 5));
    assert!(restocks(&world).await.is_empty());
}

#[tokio::test]
async fn a_return_that_makes_no_sense_is_dead_at_once_and_alone() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let order = shipped(&world, &[("a", 5)]).await;
    let mut commands = Vec::new();
    let mut expected = Vec::new();
    for (field, value, why) in [
        ("items", json!([]), "must not be empty"),
        ("items", lines(&[("a", 0)]), "must be at least 1"),
        ("items", lines(&[("a\0", 1)]), "must not contain NUL"),
        ("items", lines(&[("a", u32::MAX), ("a", 1)]), "too large"),
        (
            "items",
            json!([{"productId": "a", "quantity": -1}]),
            "integer",
        ),
        ("returnId", json!("7"), "UUID"),
    ] {
        let back = order.another();
        let mut command = back.restock(&[("a", 1)]);
        command["data"][field] = value;
        commands.push(command);
        expected.push((back, why));
    }
    commands.push(order.another().restock(&[("a", 1)]));
    world.commands(&commands).await;
    for (back, why) in expected {
        assert_dead(&world, &back, why).await;
    }
    assert_eq!(world.reply().await["type"], "inventory.restocked.v1");
    assert_eq!(world.stock("a").await, (96, 0));
}
