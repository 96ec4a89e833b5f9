//! The program dies as by `kill -9`, or is stopped, and the next one takes up where it was.

use std::collections::HashMap;

use serde_json::{Value, json};
use test_support::{PATIENCE, eventually, wait_until};
use uuid::Uuid;

use crate::fraud_check::{Saga, World};

/// How many commands a load has.
const LOAD: usize = 400;

/// Sends a check for each of `sagas`, some alone and some in batches, and every tenth twice.
async fn send_all(world: &World, sagas: &[Saga]) {
    let check = |saga: &Saga| saga.check("customer-1", "39.98");
    let (alone, together) = sagas.split_at(sagas.len() / 4);
    for saga in alone {
        world.send(&check(saga)).await;
    }
    for batch in together.chunks(16) {
        let commands: Vec<_> = batch.iter().map(check).collect();
        world.send_batch(&commands).await;
    }
    for saga in sagas.iter().step_by(10) {
        world.send(&check(saga)).await;
    }
}

/// Waits until every command is answered, and returns all replies of each saga.
async fn all_replies(world: &World, sagas: &[Saga]) -> HashMap<Uuid, Vec<Vec<u8>>> {
    let mut replies: HashMap<Uuid, Vec<Vec<u8>>> = HashMap::new();
    while replies.len() < sagas.len() || world.unread_replies().await > 0 {
        let bytes = world.reply().await;
        let reply: Value = serde_json::from_slice(&bytes).unwrap();
        let saga = serde_json::from_value(reply["sagaid"].clone()).unwrap();
        replies.entry(saga).or_default().push(bytes);
    }
    replies
}

/// Each saga is decided once, and whatever was said about it are the stored bytes.
async fn assert_decided_once(world: &World, sagas: &[Saga], said: &HashMap<Uuid, Vec<Vec<u8>>>) {
    assert_eq!(world.decided().await, i64::try_from(sagas.len()).unwrap());
    for saga in sagas {
        let (stored, _) = world.stored(saga, "ACTION").await.unwrap();
        assert!(
            said[&saga.id]
                .iter()
                .all(|reply| reply == stored.as_bytes())
        );
    }
    assert_eq!(world.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_between_commit_and_ack_the_stored_reply_comes() {
    let world = World::new().await;
    let replica = world.start();
    let saga = Saga::new();
    // Nobody listens there yet. So the decision is committed, and the reply cannot leave.
    let mut command = saga.check("customer-1", "39.98");
    command["replyto"] = json!("later");
    world.send(&command).await;
    let stored = eventually(
        "it is decided",
        || world.stored(&saga, "ACTION"),
        Option::is_some,
    );
    let (stored, _) = stored.await.unwrap();
    replica.kill().await;

    let later = world.amqp.listen("saga.replies", "later").await;
    assert_eq!(world.amqp.ready(&later).await, 0);
    let _next = world.start();
    assert_eq!(world.amqp.next(&later).await.data, stored.as_bytes());
    assert_eq!(world.decided().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_cannot_be_routed_leaves_as_soon_as_it_can() {
    let world = World::new().await;
    let _replica = world.start();
    let saga = Saga::new();
    let mut command = saga.check("customer-1", "39.98");
    command["replyto"] = json!("later");
    world.send(&command).await;
    // It does not hold up others.
    world.send(&Saga::new().check("customer-1", "1.00")).await;
    world.reply().await;

    let later = world.amqp.listen("saga.replies", "later").await;
    let (stored, _) = world.stored(&saga, "ACTION").await.unwrap();
    assert_eq!(world.amqp.next(&later).await.data, stored.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_it_is_killed_each_command_is_answered_and_decided_once() {
    let world = World::new().await;
    let sagas: Vec<_> = (0..LOAD).map(|_| Saga::new()).collect();
    send_all(&world, &sagas).await;
    // Two at a time, of which one dies whenever some more is decided.
    let mut survivor = world.start();
    for kill in 1..=4 {
        let victim = survivor;
        survivor = world.start();
        let enough = i64::try_from(LOAD / 6 * kill).unwrap();
        wait_until(PATIENCE, "some more is decided", async || {
            world.decided().await >= enough
        })
        .await;
        victim.kill().await;
    }
    let said = all_replies(&world, &sagas).await;
    assert_decided_once(&world, &sagas, &said).await;
    drop(survivor);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_in_hand_and_nothing_is_said_twice() {
    let world = World::new().await;
    let sagas: Vec<_> = (0..LOAD / 2).map(|_| Saga::new()).collect();
    for saga in &sagas {
        world.send(&saga.check("customer-1", "39.98")).await;
    }
    let replica = world.start();
    wait_until(PATIENCE, "it is at work", async || {
        world.decided().await > 10
    })
    .await;
    let status = replica.terminate().await;
    assert!(status.success(), "{status}");
    let left = sagas.len() - usize::try_from(world.decided().await).unwrap();
    eventually(
        "what was decided is acked, and the rest is still there",
        || world.waiting(),
        |waiting| *waiting as usize == left,
    )
    .await;

    let _next = world.start();
    let said = all_replies(&world, &sagas).await;
    assert!(said.values().all(|replies| replies.len() == 1));
    assert_decided_once(&world, &sagas, &said).await;
}
