//! Messages that come twice and in another order.

use std::collections::HashMap;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use test_support::garbage::{odd, wire::Wire};
use test_support::{Amqp, Environment, Shuffle, Shuffled};

const QUEUE: &str = "work";

async fn queue(amqp: &Amqp) {
    let mut quorum = FieldTable::default();
    quorum.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let durable = QueueDeclareOptions::durable();
    let declared = amqp.channel().queue_declare(QUEUE.into(), durable, quorum);
    declared.await.expect("the queue is declared");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_the_order_is_another_also_where_others_consume() {
    let environment = Environment::new().await;
    let url = environment.rabbitmq_url();
    let amqp = Amqp::connect(&url).await;
    queue(&amqp).await;
    let shuffle = Shuffle {
        most: 20,
        collect: Duration::from_secs(20),
        hold: Duration::ZERO,
        twice_percent: 50,
    };
    // A consumer that would take everything, had it not less to say than the shuffle.
    let rival = Amqp::connect(&url).await;
    let consumer = rival.channel().basic_consume(
        QUEUE.into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let consumer = consumer.await.unwrap();
    let shuffling = tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(7);
        shuffle.apply(&url, QUEUE, &mut random).await.unwrap()
    });
    // The shuffle is there as soon as the queue has two consumers.
    test_support::wait_until(test_support::PATIENCE, "it consumes", || async {
        let only_look = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let there = amqp
            .channel()
            .queue_declare(QUEUE.into(), only_look, FieldTable::default());
        there.await.unwrap().consumer_count() == 2
    })
    .await;
    for n in 0..20_u8 {
        amqp.publish("", QUEUE, &[n], BasicProperties::default())
            .await;
    }
    let Shuffled { taken, twice } = shuffling.await.unwrap();
    assert_eq!(taken, 20);
    assert!((1..20).contains(&twice), "{twice}");

    let mut seen = Vec::new();
    let mut counts = HashMap::new();
    let mut deliveries = consumer;
    while seen.len() < taken + twice {
        let next = futures_util::StreamExt::next(&mut deliveries);
        let delivery = tokio::time::timeout(test_support::PATIENCE, next).await;
        let n = delivery.expect("all come").unwrap().unwrap().data[0];
        seen.push(n);
        *counts.entry(n).or_insert(0) += 1;
    }
    assert!(!seen.is_sorted());
    assert_eq!(counts.len(), 20);
    assert!(counts.values().all(|&count| count <= 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_library_writes_is_shuffled_too() {
    let environment = Environment::new().await;
    let url = environment.rabbitmq_url();
    let amqp = Amqp::connect(&url).await;
    queue(&amqp).await;
    let mut wire = Wire::connect(&url).await.unwrap();
    let mut published = 0;
    for (_, can_be_taken, message) in odd::each(QUEUE) {
        if can_be_taken {
            wire.publish(&message).await.unwrap();
            published += 1;
        }
    }
    let shuffle = Shuffle {
        most: published,
        collect: Duration::from_secs(20),
        hold: Duration::ZERO,
        twice_percent: 0,
    };
    let mut random = StdRng::seed_from_u64(7);
    let shuffled = shuffle.apply(&url, QUEUE, &mut random).await.unwrap();
    assert!(published > 0);
    assert_eq!(shuffled.taken, usize::from(published));
}
