//! `kill -9` between the confirm of what is sent again and the ack of its letter.

use reqwest::Method;
use serde_json::{Value, json};
use test_support::{Amqp, PATIENCE, wait_until};

use super::{DLQ, WORKING, World, ask};
use crate::{
    crash::Victim,
    harness::{Participants, System, count, events, text},
};

/// Kills the order service where it comes to `crash_at` in redriving the command of an order, and has the next one go on:
/// the command is then in its queue so many `times`, and the participant does it once.
async fn dies_and_goes_on(crash_at: &str, times: u32) {
    let world = World::new().await;
    let participants = Participants::of(&world.system.environment).await;
    let order = world.system.place("prod-1", 1).await;
    let pay = participants.command("payment").await;
    world.system.until_outbox_is_empty().await;
    world.kill(&pay, "handler-failed", "a bug").await;
    let World { system, amqp } = world;
    let environment = system.stop().await;

    let victim = Victim::start(&environment, crash_at).await;
    let path = format!("/dead-letters/{DLQ}/redrive");
    let asked = ask(
        &victim.orders,
        Method::POST,
        &path,
        &json!({"reason": "mended"}),
    )
    .await;
    let asked: Value = asked.json().await.unwrap();
    victim.dies().await;
    // It was sent, and its letter is there all the same.
    let is_back = || async { amqp.ready(DLQ).await == 1 };
    wait_until(PATIENCE, "the letter is in its queue again", is_back).await;
    assert_eq!(amqp.ready(WORKING).await, 1, "{crash_at}");

    let mut system = System::on(environment, &[]).await;
    let db = system.environment.pool("order").await;
    sqlx::query("UPDATE redrives SET lease_until = now() - interval '1 s'")
        .execute(&db)
        .await
        .unwrap();
    let done = super::until_done(&system.orders, &asked).await;
    assert_eq!(done["redriven"], 1, "{crash_at}");
    assert_eq!(
        (amqp.ready(DLQ).await, amqp.ready(WORKING).await),
        (0, times),
        "{crash_at}"
    );

    let stock = system.environment.pool("inventory").await;
    sqlx::query("INSERT INTO inventory_items (product_id, quantity) VALUES ('prod-1', 10)")
        .execute(&stock)
        .await
        .unwrap();
    system.add_participants(&[]).await;
    system.until(&order, "COMPLETED").await;
    let payments = system.environment.pool("payment").await;
    assert_eq!(count(&payments, "SELECT count(*) FROM payments").await, 1);
    let saga = system.saga(&order).await;
    let noted = events(&saga)
        .into_iter()
        .filter(|event| *event == "DEAD_LETTER_REDRIVEN");
    assert_eq!(noted.count(), 1, "{crash_at}");
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_between_the_confirm_and_the_note_loses_nothing_and_doubles_nothing() {
    dies_and_goes_on("redrive.confirmed", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_between_the_note_and_the_ack_loses_nothing_and_doubles_nothing() {
    dies_and_goes_on("redrive.noted", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_between_keeping_a_letter_and_its_ack_has_done_both_or_none() {
    let world = World::new().await;
    let [id] = &world.kill_some(1).await[..] else {
        panic!("one letter")
    };
    let World { system, amqp } = world;
    let environment = system.stop().await;
    let victim = Victim::start(&environment, "dead_letter.kept").await;
    let path = format!("/dead-letters/{DLQ}/{id}/redrive");
    let edit = json!({"reason": "mended", "body": super::command(None)});
    let request = victim.orders.request(Method::POST, &path);
    let request = request
        .header("x-actor", "ada")
        .header("idempotency-key", "k-3");
    assert!(request.json(&edit).send().await.is_err());
    victim.dies().await;
    let is_back = || async { amqp.ready(DLQ).await == 1 };
    wait_until(PATIENCE, "the letter is in its queue again", is_back).await;
    let system = System::on(environment, &[]).await;
    // Whoever asks again learns that it was done, and by which message.
    let request = system.orders.request(Method::POST, &path);
    let request = request
        .header("x-actor", "ada")
        .header("idempotency-key", "k-3");
    let again = request.json(&edit).send().await.unwrap();
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    let kept: Value = again.json().await.unwrap();
    let sent = Amqp::next_events(&amqp, WORKING, 1).await;
    assert_eq!(text(&sent[0], "id"), text(&kept, "editedAs"));
    // The letter is still there, so it can be deleted; it is no loss.
    assert_eq!(amqp.ready(DLQ).await, 1);
}
