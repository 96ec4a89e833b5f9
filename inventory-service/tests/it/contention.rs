//! Many orders for few products, and several replicas: nothing is sold twice, and nobody waits for ever.

use common::contract::topology;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Row;
use test_support::{Amqp, eventually};

use crate::support::{Saga, World};

fn count(replies: &[Value], kind: &str) -> usize {
    replies.iter().filter(|reply| reply["type"] == kind).count()
}

#[tokio::test]
async fn a_hundred_of_two_hundred_concurrent_orders_get_the_last_hundred() {
    let (world, _service) = World::with_stock(&[("hot", 100)]).await;
    let orders: Vec<_> = (0..200)
        .map(|_| Saga::new().reserve(&[("hot", 1)]))
        .collect();
    join_all(orders.chunks(20).map(|batch| world.commands(batch))).await;

    let replies = world.replies(200).await;
    assert_eq!(count(&replies, "inventory.reserved.v1"), 100);
    assert_eq!(count(&replies, "inventory.reservation_failed.v1"), 100);
    assert_eq!(world.stock("hot").await, (100, 100));
    assert_eq!(world.reservations().await.len(), 100);
    world.assert_books_balance().await;
}

#[tokio::test]
async fn replicas_that_race_for_the_same_products_and_commands_never_deadlock() {
    let products: Vec<String> = (0..40).map(|n| format!("p{n:02}")).collect();
    let stock: Vec<_> = products.iter().map(|id| (id.as_str(), 6)).collect();
    let (world, first) = World::with_stock(&stock).await;
    let second = world.start().await;
    eventually("both consume", || consumers(&world), |count| *count == 2).await;

    let reserved = join_all((0..8).map(|n| buy_and_return(&world, n, &products))).await;
    let reserved: usize = reserved.into_iter().sum();
    assert!(reserved > 0);
    let reservations = world.reservations().await;
    assert_eq!(reservations.len(), reserved);
    for status in ["RELEASED", "COMMITTED"] {
        assert!(reservations.iter().any(|of_order| of_order == status));
    }
    assert!(!reservations.contains(&"RESERVED".to_owned()));
    for (product_id, quantity) in stock {
        assert_eq!(world.stock(product_id).await, (quantity, 0));
    }
    assert_eq!(world.amqp.ready("inventory.commands.dlq").await, 0);
    first.stop().await;
    second.stop().await;
    assert_eq!(deadlocks(&world).await, 0);
}

/// A client that reserves, and then releases or has it shipped and sends it back, again and again, and says everything
/// twice. Returns how often it got all.
async fn buy_and_return(world: &World, client: usize, products: &[String]) -> usize {
    const ROUNDS: usize = 15;
    let reply_to = format!("client-{client}");
    let amqp = Amqp::connect(&world.environment.rabbitmq_url()).await;
    let replies = amqp.listen(topology::REPLIES, &reply_to).await;
    let ask = async |mut command: Value| {
        command["replyto"] = json!(reply_to);
        // The broker takes turns, so that the second one goes to the other replica.
        for _ in 0..2 {
            amqp.publish_event(topology::COMMANDS, "inventory", &command)
                .await;
        }
        let answers = amqp.next_events(&replies, 2).await;
        assert_eq!(answers[0], answers[1]);
        answers[0]["type"].clone()
    };
    let mut items: Vec<_> = products.iter().map(|id| (id.as_str(), 1)).collect();
    let mut reserved = 0;
    for round in 0..ROUNDS {
        items.rotate_left(client + round);
        items.reverse();
        let saga = Saga::new();
        let has_all = ask(saga.reserve(&items)).await == "inventory.reserved.v1";
        reserved += usize::from(has_all);
        if has_all && round % 2 == 0 {
            let committed = ask(saga.another().commit()).await;
            assert_eq!(committed, "inventory.committed.v1");
            let restocked = ask(saga.another().restock(&items)).await;
            assert_eq!(restocked, "inventory.restocked.v1");
        } else {
            assert_eq!(ask(saga.release()).await, "inventory.released.v1");
        }
    }
    reserved
}

/// Replicas that consume commands.
async fn consumers(world: &World) -> u32 {
    world.amqp.consumers("inventory.commands").await
}

/// Deadlocks that PostgreSQL had to break.
async fn deadlocks(world: &World) -> i64 {
    let row =
        sqlx::query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            .fetch_one(&world.db)
            .await
            .unwrap();
    row.get(0)
}
