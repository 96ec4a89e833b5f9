//! Messages that nobody can want, while orders flow.

use rand::{SeedableRng as _, rngs::StdRng};
use reqwest::StatusCode;
use test_support::{Amqp, eventually, garbage};

use crate::harness::{System, count};

/// How much of it comes at a time, and how often.
const SOME: usize = 200;
const ROUNDS: usize = 4;
/// How many orders are placed meanwhile at most.
const ORDERS: i64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn orders_end_while_garbage_rains_on_all_queues() {
    let system = System::whole().await;
    let url = system.environment.rabbitmq_url();
    let seed = rand::random();
    println!("seed {seed}");
    let raining = tokio::spawn({
        let url = url.clone();
        async move {
            let mut random = StdRng::seed_from_u64(seed);
            for _ in 0..ROUNDS {
                garbage::throw(&url, SOME, &mut random).await.unwrap();
            }
        }
    });
    let mut placed = 0;
    while !raining.is_finished() && placed < ORDERS {
        system.place("prod-1", 1).await;
        placed += 1;
    }
    raining.await.unwrap();
    let db = system.environment.pool("order").await;
    let pending = || count(&db, "SELECT count(*) FROM orders WHERE status = 'PENDING'");
    eventually("all orders end", pending, |pending| *pending == 0).await;
    assert_eq!(count(&db, "SELECT count(*) FROM orders").await, placed);

    // All of it is gone from the queues, and kept where it can be looked at.
    let amqp = Amqp::connect(&url).await;
    for queue in common::contract::topology::QUEUES {
        eventually(
            "it is handled",
            || amqp.ready(queue.name),
            |left| *left == 0,
        )
        .await;
        assert_eq!(amqp.consumers(queue.name).await, 1, "{}", queue.name);
        let dead = common::contract::topology::dead_letter_queue(queue.name);
        assert!(amqp.ready(&dead).await > 0, "{dead}");
    }
    for api in [
        Some(&system.orders),
        system.payments.as_ref(),
        system.inventory.as_ref(),
    ] {
        let ready = api.unwrap().get("/health/ready").await;
        assert_eq!(ready.status(), StatusCode::OK);
    }
    system.audit().await;
}
