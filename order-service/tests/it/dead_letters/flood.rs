//! A queue with very many letters.

use std::time::Instant;

use common::contract::topology;
use futures_util::future::join_all;
use lapin::{BasicProperties, options::BasicPublishOptions};
use reqwest::Method;
use serde_json::{Value, json};
use test_support::eventually;

use super::{DLQ, WORKING, World, ask, command, reason, redrive};
use crate::harness::{setting, text};

/// Puts `number` letters into the queue, and returns the id of the last one.
#[expect(clippy::disallowed_methods, reason = "a foreign client")]
async fn flood(world: &World, number: usize) -> String {
    let mut last = String::new();
    let mut left = number;
    while left > 0 {
        let mut confirms = Vec::new();
        for _ in 0..left.min(1000) {
            let body = command(None);
            text(&body, "id").clone_into(&mut last);
            let json = body.to_string();
            let properties = BasicProperties::default()
                .with_message_id(last.as_str().into())
                .with_delivery_mode(2)
                .with_headers(reason("refused", "the gateway says no"));
            let published = world.amqp.channel().basic_publish(
                topology::DLX.into(),
                WORKING.into(),
                BasicPublishOptions::default(),
                json.as_bytes(),
                properties,
            );
            confirms.push(published.await.unwrap());
            left -= 1;
        }
        for confirm in join_all(confirms).await {
            assert!(confirm.unwrap().is_ack());
        }
    }
    last
}

/// `DEAD_LETTERS=100000` shows what PERFORMANCE tells of.
#[tokio::test(flavor = "multi_thread")]
async fn answers_about_a_long_queue_are_bounded_and_say_so() {
    let number: u32 = setting("DEAD_LETTERS", 3000);
    let world = World::new().await;
    let last = flood(&world, number as usize).await;
    eventually("they are dead", || world.amqp.ready(DLQ), |n| *n == number).await;
    let timed = |what: &str, since: Instant| eprintln!("{what}: {:?}", since.elapsed());
    let orders = &world.system.orders;

    let begun = Instant::now();
    let all = orders.json("/dead-letters").await;
    timed("GET /dead-letters", begun);
    let queue = &all["items"][1];
    assert_eq!(
        (&queue["messages"], &queue["complete"]),
        (&json!(number), &json!(false))
    );
    assert_eq!(queue["groups"][0]["count"], queue["lookedAt"]);
    let begun = Instant::now();
    let list = world.list("?limit=50").await;
    timed("GET /dead-letters/{queue}", begun);
    assert_eq!(
        (&list["messages"], &list["complete"]),
        (&json!(number), &json!(false))
    );
    assert!(list["lookedAt"].as_u64().unwrap() <= 1000);

    let begun = Instant::now();
    let found = orders.get(&format!("/dead-letters/{DLQ}/{last}")).await;
    let status = found.status();
    timed(&format!("GET of the last letter: {status}"), begun);
    let told = found.text().await.unwrap();
    assert!(
        status == 200 || told.contains("were not looked at"),
        "{status}: {told}"
    );

    let begun = Instant::now();
    let path = format!("/dead-letters/{DLQ}/redrive?dryRun=true");
    let preview = ask(orders, Method::POST, &path, &json!({"reason": "what if"})).await;
    let preview: Value = preview.json().await.unwrap();
    timed(
        &format!("dry run of all, which looks at {}", preview["lookedAt"]),
        begun,
    );
    assert_eq!(preview["wouldRedrive"], preview["lookedAt"]);

    let begun = Instant::now();
    let asked = redrive(orders, &json!({"reason": "all of them"})).await;
    let done = world.until_done(&asked).await;
    timed("redriving all", begun);
    assert_eq!(
        (&done["redriven"], &done["lastError"]),
        (&json!(number), &Value::Null)
    );
    let emptied = |n: &u32| *n == number;
    eventually(
        "they are in their queue",
        || world.amqp.ready(WORKING),
        emptied,
    )
    .await;
    assert_eq!(world.amqp.ready(DLQ).await, 0);
}
