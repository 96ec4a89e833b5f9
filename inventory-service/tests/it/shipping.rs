//! Shipped goods have left: the reservation is final.

use common::contract::topology;
use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use test_support::eventually;

use crate::support::{Saga, World, header, lines};

async fn reserved(world: &World, items: &[(&str, u32)]) -> Saga {
    let saga = Saga::new();
    world.command(&saga.reserve(items)).await;
    assert_eq!(world.reply().await["type"], "inventory.reserved.v1");
    saga
}

/// Expects that the next dead letter is a command of `saga`, because of `why`.
async fn assert_dead(world: &World, saga: &Saga, why: &str) {
    let dead = world.amqp.next("inventory.commands.dlq").await;
    let letter: Value = serde_json::from_slice(&dead.data).unwrap();
    assert_eq!(letter["sagaid"], saga.id.to_string());
    let error = header(&dead, "x-error");
    assert!(error.contains(why), "{error}");
}

#[tokio::test]
async fn shipped_goods_leave_the_warehouse_and_everybody_is_told() {
    let (world, _service) = World::with_stock(&[("a", 100), ("b", 50)]).await;
    let mut queues = Vec::new();
    for kind in ["inventory.updated.v1", "inventory.committed.v1"] {
        queues.push(world.amqp.listen(topology::EVENTS, kind).await);
    }
    let saga = reserved(&world, &[("a", 7), ("b", 2)]).await;
    let shipping = saga.another();
    world.command(&shipping.commit()).await;

    let reply = world.reply().await;
    assert_eq!(reply["type"], "inventory.committed.v1");
    assert_eq!(reply["sagaid"], shipping.id.to_string());
    let expected = json!({"orderId": saga.order, "items": lines(&[("a", 7), ("b", 2)])});
    assert_eq!(reply["data"], expected);
    assert_eq!(world.amqp.next_events(&queues[1], 1).await, [reply]);
    let told = world.amqp.next_events(&queues[0], 2).await;
    let expected =
        json!({"productId": "a", "quantity": 93, "reservedQuantity": 0, "availableQuantity": 93});
    assert_eq!(told[0]["data"], expected);
    assert_eq!(told[1]["subject"], "b");
    assert_eq!(world.stock("a").await, (93, 0));
    assert_eq!(world.stock("b").await, (48, 0));
    assert_eq!(world.reservations().await, ["COMMITTED"]);
    world.assert_books_balance().await;
}

#[tokio::test]
async fn what_is_shipped_twice_leaves_once() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let saga = reserved(&world, &[("a", 7)]).await;
    let shipping = saga.another();
    world.command(&shipping.commit()).await;
    let first = world.reply().await;
    world
        .commands(&[shipping.commit(), shipping.commit()])
        .await;
    assert_eq!(world.replies(2).await, [first.clone(), first.clone()]);
    // Another saga of the order finds it done.
    world.command(&saga.another().commit()).await;
    assert_eq!(world.reply().await["data"], first["data"]);
    assert_eq!(world.stock("a").await, (93, 0));
    assert_eq!(world.amqp.ready("inventory.commands.dlq").await, 0);
}

#[tokio::test]
async fn all_that_an_order_holds_leaves() {
    let (world, _service) = World::with_stock(&[("a", 100), ("b", 50)]).await;
    let saga = Saga::new();
    let mut other = saga.reserve(&[("a", 2), ("b", 1)]);
    other["sagastep"] = json!("another step");
    for command in [saga.reserve(&[("a", 1)]), other] {
        world.command(&command).await;
        world.reply().await;
    }
    world.command(&saga.another().commit()).await;
    let reply = world.reply().await;
    assert_eq!(reply["data"]["items"], lines(&[("a", 3), ("b", 1)]));
    assert_eq!(world.stock("a").await, (97, 0));
    assert_eq!(world.reservations().await, ["COMMITTED", "COMMITTED"]);
}

#[tokio::test]
async fn two_replicas_that_ship_the_same_order_ship_it_once() {
    let (world, _first) = World::with_stock(&[("a", 1000)]).await;
    let _second = world.start().await;
    world.until_consumed_by(2).await;
    let consumers = async || world.amqp.consumers("inventory.commands").await;
    eventually("both consume", consumers, |count| *count == 2).await;
    for _ in 0..10 {
        let saga = reserved(&world, &[("a", 10)]).await;
        let shipping = saga.another();
        // The broker takes turns, so that the second one goes to the other replica.
        for _ in 0..4 {
            world.command(&shipping.commit()).await;
        }
        let replies = world.replies(4).await;
        assert!(replies.iter().all(|reply| *reply == replies[0]));
    }
    assert_eq!(world.stock("a").await, (900, 0));
    assert_eq!(world.amqp.ready("inventory.commands.dlq").await, 0);
}

#[tokio::test]
async fn an_order_that_holds_nothing_cannot_be_shipped() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let released = reserved(&world, &[("a", 1)]).await;
    world.command(&released.release()).await;
    world.reply().await;
    let good = reserved(&world, &[("a", 2)]).await.another();
    let (released, unknown) = (released.another(), Saga::new());
    world
        .commands(&[released.commit(), good.commit(), unknown.commit()])
        .await;

    for saga in [released, unknown] {
        assert_dead(&world, &saga, "is to be shipped but holds nothing").await;
    }
    assert_eq!(world.reply().await["sagaid"], good.id.to_string());
    assert_eq!(world.stock("a").await, (98, 0));
}

#[tokio::test]
async fn a_shipped_order_cannot_be_released() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let saga = reserved(&world, &[("a", 7)]).await;
    world.command(&saga.another().commit()).await;
    world.reply().await;

    let good = Saga::new();
    world
        .commands(&[saga.release(), good.reserve(&[("a", 1)])])
        .await;
    assert_eq!(world.reply().await["sagaid"], good.id.to_string());
    assert_dead(&world, &saga, "have left: no release").await;
    assert_eq!(world.stock("a").await, (93, 1));
    assert_eq!(world.reservations().await, ["COMMITTED", "RESERVED"]);
}

#[tokio::test]
async fn an_order_is_shipped_or_released_in_one_message_but_not_both() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let saga = reserved(&world, &[("a", 7)]).await;
    let shipping = saga.another();
    world.commands(&[saga.release(), shipping.commit()]).await;
    assert_eq!(world.reply().await["type"], "inventory.released.v1");
    assert_dead(&world, &shipping, "holds nothing").await;
    assert_eq!(world.stock("a").await, (100, 0));
    assert_eq!(world.reservations().await, ["RELEASED"]);
}

/// An earlier version listened to `order.shipped.v1` with a queue that nobody reads any more.
#[tokio::test]
async fn the_queue_of_an_earlier_version_gets_nothing_any_more() {
    const OLD: &str = "inventory.events";
    let world = World::new().await;
    let (channel, key) = (world.amqp.channel(), "order.shipped.v1");
    let (options, arguments) = (QueueDeclareOptions::durable(), FieldTable::default());
    channel
        .queue_declare(OLD.into(), options, arguments)
        .await
        .unwrap();
    let (exchange, options) = (topology::EVENTS.into(), QueueBindOptions::default());
    channel
        .queue_bind(
            OLD.into(),
            exchange,
            key.into(),
            options,
            FieldTable::default(),
        )
        .await
        .unwrap();
    let shipped = json!({"specversion": "1.0"});
    let ours = world.amqp.listen(topology::EVENTS, key).await;
    world
        .amqp
        .publish_event(topology::EVENTS, key, &shipped)
        .await;
    world.amqp.next(OLD).await;
    world.amqp.next(&ours).await;

    // Twice, because from then on there is nothing to unbind.
    for _ in 0..2 {
        common::amqp::declare(channel).await.unwrap();
    }
    world
        .amqp
        .publish_event(topology::EVENTS, key, &shipped)
        .await;
    world.amqp.next(&ours).await;
    assert_eq!(world.amqp.ready(OLD).await, 0);
}
