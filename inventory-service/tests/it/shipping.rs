//! Shipped goods have left: the reservation is final.

use common::contract::topology;
use serde_json::{Value, json};
use test_support::eventually;

use crate::support::{Saga, World, header};

async fn ship(world: &World, event: &Value) {
    let exchange = topology::EVENTS;
    world
        .amqp
        .publish_event(exchange, "order.shipped.v1", event)
        .await;
}

async fn reserved(world: &World, items: &[(&str, u32)]) -> Saga {
    let saga = Saga::new();
    world.command(&saga.reserve(items)).await;
    assert_eq!(world.reply().await["type"], "inventory.reserved.v1");
    saga
}

#[tokio::test]
async fn shipped_goods_leave_the_warehouse_once() {
    let (world, _service) = World::with_stock(&[("a", 100), ("b", 50)]).await;
    let updated = world
        .amqp
        .listen(topology::EVENTS, "inventory.updated.v1")
        .await;
    let saga = reserved(&world, &[("a", 7), ("b", 2)]).await;
    let event = saga.shipped();
    ship(&world, &event).await;

    let told = world.amqp.next_events(&updated, 2).await;
    let expected =
        json!({"productId": "a", "quantity": 93, "reservedQuantity": 0, "availableQuantity": 93});
    assert_eq!(told[0]["data"], expected);
    assert_eq!(told[1]["subject"], "b");
    assert_eq!(world.stock("a").await, (93, 0));
    assert_eq!(world.stock("b").await, (48, 0));
    assert_eq!(world.reservations().await, ["COMMITTED"]);

    // Again, and then another order: when that one has left, the repetition was handled, too.
    ship(&world, &event).await;
    let next = reserved(&world, &[("b", 1)]).await;
    ship(&world, &next.shipped()).await;
    assert_eq!(
        world.amqp.next_events(&updated, 1).await[0]["data"]["quantity"],
        47
    );
    assert_eq!(world.stock("a").await, (93, 0));
    assert_eq!(world.amqp.ready("inventory.events.dlq").await, 0);
    world.assert_books_balance().await;
}

#[tokio::test]
async fn an_order_that_holds_nothing_cannot_be_shipped() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let released = reserved(&world, &[("a", 1)]).await;
    world.command(&released.release()).await;
    world.reply().await;
    let good = reserved(&world, &[("a", 2)]).await;
    for saga in [released, good, Saga::new()] {
        ship(&world, &saga.shipped()).await;
    }

    for _ in 0..2 {
        let dead = world.amqp.next("inventory.events.dlq").await;
        let error = header(&dead, "x-error");
        assert!(error.contains("was shipped but holds nothing"), "{error}");
    }
    let shipped = || world.stock("a");
    eventually("the good one has left", shipped, |stock| *stock == (98, 0)).await;
}

#[tokio::test]
async fn a_shipped_order_cannot_be_released() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let saga = reserved(&world, &[("a", 7)]).await;
    ship(&world, &saga.shipped()).await;
    eventually(
        "the goods have left",
        || world.stock("a"),
        |stock| *stock == (93, 0),
    )
    .await;

    let good = Saga::new();
    world
        .commands(&[saga.release(), good.reserve(&[("a", 1)])])
        .await;
    assert_eq!(world.reply().await["sagaid"], good.id.to_string());
    let dead = world.amqp.next("inventory.commands.dlq").await;
    let letter: Value = serde_json::from_slice(&dead.data).unwrap();
    assert_eq!(letter["sagaid"], saga.id.to_string());
    assert_eq!(world.stock("a").await, (93, 1));
    assert_eq!(world.reservations().await, ["COMMITTED", "RESERVED"]);
}
