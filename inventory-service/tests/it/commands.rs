//! Reserve and release: once, whatever is delivered twice or in another order.

use common::contract::topology;
use serde_json::{Value, json};

use crate::support::{Saga, World, lines};

#[tokio::test]
async fn a_reservation_holds_the_items_and_is_told_to_the_saga_and_to_all() {
    let (world, _service) = World::with_stock(&[("a", 100), ("b", 50)]).await;
    let public = world
        .amqp
        .listen(topology::EVENTS, "inventory.reserved.v1")
        .await;
    let saga = Saga::new();
    let command = saga.reserve(&[("b", 2), ("a", 1), ("b", 3)]);
    world.command(&command).await;

    let reply = world.reply().await;
    assert_eq!(reply["type"], "inventory.reserved.v1");
    let expected = json!({"orderId": saga.order, "items": lines(&[("a", 1), ("b", 5)])});
    assert_eq!(reply["data"], expected);
    assert_eq!(reply["subject"], saga.order.to_string());
    assert_eq!(reply["sagaid"], saga.id.to_string());
    assert_eq!(reply["sagastep"], "inventory");
    assert_eq!(reply["correlationid"], "a-request");
    assert_eq!(reply["causationid"], command["id"]);
    assert_eq!(reply["sequence"], 1);
    assert_eq!(world.amqp.next_events(&public, 1).await, [reply]);
    assert_eq!(world.stock("a").await, (100, 1));
    assert_eq!(world.stock("b").await, (50, 5));
    assert_eq!(world.reservations().await, ["RESERVED"]);
    world.assert_books_balance().await;
}

#[tokio::test]
async fn an_order_that_cannot_have_all_gets_nothing() {
    let (world, _service) = World::with_stock(&[("a", 100), ("b", 1)]).await;
    for (items, reason, product) in [
        ([("a", 1), ("b", 2)], "OUT_OF_STOCK", "b"),
        ([("a", 1), ("nothing", 1)], "UNKNOWN_PRODUCT", "nothing"),
    ] {
        world.command(&Saga::new().reserve(&items)).await;
        let reply = world.reply().await;
        assert_eq!(reply["type"], "inventory.reservation_failed.v1");
        assert_eq!(reply["data"]["reason"], reason);
        assert_eq!(reply["data"]["detail"], product);
    }
    assert_eq!(world.stock("a").await, (100, 0));
    assert!(world.reservations().await.is_empty());
}

#[tokio::test]
async fn a_released_order_gives_everything_back() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let saga = Saga::new();
    world.command(&saga.reserve(&[("a", 7)])).await;
    world.reply().await;
    world.command(&saga.release()).await;

    let reply = world.reply().await;
    assert_eq!(reply["type"], "inventory.released.v1");
    let expected =
        json!({"orderId": saga.order, "items": lines(&[("a", 7)]), "reason": "CUSTOMER_REQUEST"});
    assert_eq!(reply["data"], expected);
    assert_eq!(reply["sequence"], 2);
    assert_eq!(world.stock("a").await, (100, 0));
    assert_eq!(world.reservations().await, ["RELEASED"]);
}

#[tokio::test]
async fn a_command_that_comes_twice_is_done_once_and_answered_the_same() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let saga = Saga::new();
    for command in [saga.reserve(&[("a", 7)]), saga.release()] {
        world.command(&command).await;
        let first = world.reply().await;
        world.command(&command).await;
        assert_eq!(world.reply().await, first);
        // Twice in one message, too.
        world.commands(&[command.clone(), command]).await;
        assert_eq!(world.replies(2).await, [first.clone(), first]);
    }
    assert_eq!(world.stock("a").await, (100, 0));
    assert_eq!(world.reservations().await, ["RELEASED"]);
}

#[tokio::test]
async fn a_reserve_that_comes_after_its_release_does_nothing() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let saga = Saga::new();
    world.command(&saga.release()).await;
    let released = world.reply().await;
    assert_eq!(released["type"], "inventory.released.v1");
    assert_eq!(released["data"]["items"], json!([]));

    world.command(&saga.reserve(&[("a", 7)])).await;
    let refused = world.reply().await;
    assert_eq!(refused["type"], "inventory.reservation_failed.v1");
    assert_eq!(refused["data"]["reason"], "ALREADY_COMPENSATED");
    assert_eq!(world.stock("a").await, (100, 0));
    assert!(world.reservations().await.is_empty());
}

#[tokio::test]
async fn a_refused_reservation_is_released_with_no_items() {
    let (world, _service) = World::with_stock(&[("a", 1)]).await;
    let saga = Saga::new();
    world.command(&saga.reserve(&[("a", 2)])).await;
    world.reply().await;
    world.command(&saga.release()).await;
    let released = world.reply().await;
    assert_eq!(released["type"], "inventory.released.v1");
    assert_eq!(released["data"]["items"], json!([]));
    assert_eq!(world.stock("a").await, (1, 0));
}

#[tokio::test]
async fn reserve_and_release_of_one_saga_may_share_a_message() {
    let (world, _service) = World::with_stock(&[("a", 10)]).await;
    let [first, second] = [Saga::new(), Saga::new()];
    let batch = [
        first.reserve(&[("a", 10)]),
        first.release(),
        second.release(),
        second.reserve(&[("a", 10)]),
    ];
    world.commands(&batch).await;
    let replies = world.replies(4).await;
    let of = |saga: Saga| -> Vec<&Value> {
        let is_its = |reply: &&Value| reply["sagaid"] == saga.id.to_string();
        replies
            .iter()
            .filter(is_its)
            .map(|reply| &reply["type"])
            .collect()
    };
    assert_eq!(
        of(first),
        ["inventory.reserved.v1", "inventory.released.v1"]
    );
    assert_eq!(
        of(second),
        ["inventory.released.v1", "inventory.reservation_failed.v1"]
    );
    assert_eq!(world.stock("a").await, (10, 0));
    assert_eq!(world.reservations().await, ["RELEASED"]);
}

#[tokio::test]
async fn another_step_of_a_saga_has_a_reservation_of_its_own() {
    let (world, _service) = World::with_stock(&[("a", 100)]).await;
    let saga = Saga::new();
    let mut other = saga.reserve(&[("a", 2)]);
    other["sagastep"] = json!("another step");
    for command in [saga.reserve(&[("a", 1)]), other] {
        world.command(&command).await;
        assert_eq!(world.reply().await["type"], "inventory.reserved.v1");
    }
    assert_eq!(world.stock("a").await, (100, 3));
    world.command(&saga.release()).await;
    assert_eq!(world.reply().await["type"], "inventory.released.v1");
    assert_eq!(world.stock("a").await, (100, 2));
    world.assert_books_balance().await;
}
