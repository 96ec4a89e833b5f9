//! `kill -9` at the worst moments: the real binary, and what the next one makes of what it finds.

use std::{os::unix::process::ExitStatusExt, process::Stdio};

use test_support::PATIENCE;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::support::{Saga, World};

const SIGKILL: i32 = 9;

fn start(world: &World, variables: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_inventory-service"))
        .env_clear()
        .envs(world.environment.pairs(variables))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Reserves with a service that dies at `point` and one that comes after it, and expects that many replies.
async fn crash_at(point: &str, replies: usize) {
    let world = World::new().await;
    world.add("a", 100).await;
    let saga = Saga::new();
    world.command(&saga.reserve(&[("a", 7)])).await;

    let mut dying = start(&world, &[("CRASH_AT", point)]);
    let status = timeout(PATIENCE, dying.wait()).await.unwrap().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "{point}");

    let _alive = start(&world, &[]);
    let replies = world.replies(replies).await;
    for reply in &replies {
        assert_eq!(reply["type"], "inventory.reserved.v1");
        assert_eq!(reply["sagaid"], saga.id.to_string());
        assert_eq!(reply["id"], replies[0]["id"]);
    }
    // The next command comes behind all that was left over.
    world.command(&saga.release()).await;
    let released = world.reply().await;
    assert_eq!(released["type"], "inventory.released.v1");
    assert_eq!(released["data"]["items"][0]["quantity"], 7);
    assert_eq!(world.stock("a").await, (100, 0));
    assert_eq!(world.reservations().await, ["RELEASED"]);
    assert_eq!(world.amqp.ready("inventory.commands.dlq").await, 0);
}

/// Ships an order and puts all of it back, with services that die at `point` and others that come after them.
async fn crash_there_and_back_at(point: &str, replies: usize) {
    let (world, service) = World::with_stock(&[("a", 100)]).await;
    let saga = Saga::new();
    world.command(&saga.reserve(&[("a", 7)])).await;
    world.reply().await;
    service.stop().await;

    for (command, kind, quantity) in [
        (saga.another().commit(), "inventory.committed.v1", 93),
        (
            saga.another().restock(&[("a", 7)]),
            "inventory.restocked.v1",
            100,
        ),
    ] {
        world.command(&command).await;
        let mut dying = start(&world, &[("CRASH_AT", point)]);
        let status = timeout(PATIENCE, dying.wait()).await.unwrap().unwrap();
        assert_eq!(status.signal(), Some(SIGKILL), "{point}");

        let next = world.start().await;
        let replies = world.replies(replies).await;
        assert_eq!(replies[0]["type"], kind);
        assert!(replies.iter().all(|reply| *reply == replies[0]));
        next.stop().await;
        assert_eq!(world.stock("a").await, (quantity, 0));
    }
    assert_eq!(world.amqp.ready("inventory.commands.dlq").await, 0);
    world.assert_books_balance().await;
}

#[tokio::test]
async fn killed_before_the_commit_goods_leave_and_come_back_once() {
    crash_there_and_back_at("participant.applied", 1).await;
}

#[tokio::test]
async fn killed_between_commit_and_reply_goods_leave_and_come_back_once() {
    crash_there_and_back_at("participant.committed", 1).await;
}

#[tokio::test]
async fn killed_between_reply_and_ack_goods_leave_and_come_back_once() {
    crash_there_and_back_at("consumer.published", 2).await;
}

#[tokio::test]
async fn killed_before_the_commit_it_is_done_by_the_next() {
    crash_at("participant.applied", 1).await;
}

#[tokio::test]
async fn killed_between_commit_and_reply_it_is_answered_by_the_next() {
    crash_at("participant.committed", 1).await;
}

#[tokio::test]
async fn killed_between_reply_and_ack_it_is_answered_the_same_again() {
    crash_at("consumer.published", 2).await;
}
