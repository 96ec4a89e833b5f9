//! The program dies as by `kill -9`, and the next one takes up where it was.
//!
//! Release builds have no crash points.
#![cfg(debug_assertions)]

use std::{os::unix::process::ExitStatusExt, process::Stdio};

use serde_json::{Value, json};
use sqlx::Row;
use test_support::{PATIENCE, eventually};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::service::{Orchestrator, Saga};

fn run(orchestrator: &Orchestrator, overrides: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_payment-service"))
        .env_clear()
        .envs(orchestrator.environment.pairs(overrides))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Runs the program on a batch of three commands until it dies at `point`.
async fn crash(point: &str) -> (Orchestrator, [Saga; 3]) {
    crash_with(point, &[]).await
}

/// The same, with these variables.
async fn crash_with(point: &str, vars: &[(&str, &str)]) -> (Orchestrator, [Saga; 3]) {
    let orchestrator = Orchestrator::new().await;
    let sagas = [Saga::new(), Saga::new(), Saga::new()];
    let [accepted, declined, refunded] = &sagas;
    orchestrator
        .send_batch(&[
            accepted.process("pm_card_visa"),
            declined.process("pm_card_chargeDeclined"),
            refunded.refund(),
        ])
        .await;
    let mut program = run(&orchestrator, &[&[("CRASH_AT", point)], vars].concat());
    let status = timeout(PATIENCE, program.wait()).await.unwrap().unwrap();
    assert_eq!(status.signal(), Some(9));
    (orchestrator, sagas)
}

/// Runs the program again, until it has answered.
async fn recover(orchestrator: &Orchestrator, sagas: &[Saga; 3]) -> Vec<Value> {
    recover_with(orchestrator, sagas, &[]).await
}

/// The same, with these variables.
async fn recover_with(
    orchestrator: &Orchestrator,
    sagas: &[Saga; 3],
    vars: &[(&str, &str)],
) -> Vec<Value> {
    let _program = run(orchestrator, vars);
    // What was not confirmed in time before the crash waits in the outbox, and comes besides.
    let mut replies = Vec::new();
    while replies.len() < sagas.len() {
        let reply = orchestrator.reply().await;
        if !replies.contains(&reply) {
            replies.push(reply);
        }
    }
    let position = |reply: &Value| sagas.iter().position(|s| reply["sagaid"] == json!(s.id));
    replies.sort_by_key(position);
    let kinds: Vec<_> = replies.iter().map(|reply| &reply["type"]).collect();
    assert_eq!(
        kinds,
        [
            "payment.processed.v1",
            "payment.failed.v1",
            "payment.refunded.v1"
        ]
    );
    let [accepted, declined, refunded] = sagas;
    assert_eq!(orchestrator.payments(accepted).await, ["CAPTURED"]);
    assert_eq!(orchestrator.payments(declined).await, ["DECLINED"]);
    assert!(orchestrator.payments(refunded).await.is_empty());
    replies
}

/// The ids of the outcomes that are recorded for `sagas`, in their order, without tombstones.
async fn recorded(orchestrator: &Orchestrator, sagas: &[Saga; 3]) -> Vec<Value> {
    let rows = sqlx::query(
        "SELECT message_id FROM idempotency WHERE saga_id = ANY($1) AND NOT tombstone
         ORDER BY array_position($1, saga_id)",
    )
    .bind(sagas.iter().map(|saga| saga.id).collect::<Vec<_>>())
    .fetch_all(&orchestrator.db)
    .await
    .unwrap();
    let ids = rows.iter().map(|row| row.get::<uuid::Uuid, _>(0));
    ids.map(|id| json!(id)).collect()
}

fn ids(replies: &[Value]) -> Vec<Value> {
    replies.iter().map(|reply| reply["id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_before_the_commit_the_work_is_done_once() {
    let (orchestrator, sagas) = crash("participant.applied").await;
    assert!(recorded(&orchestrator, &sagas).await.is_empty());
    assert_eq!(orchestrator.unread_replies().await, 0);

    let replies = recover(&orchestrator, &sagas).await;
    assert_eq!(ids(&replies), recorded(&orchestrator, &sagas).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_between_commit_and_publish_the_recorded_reply_comes() {
    let (orchestrator, sagas) = crash("participant.committed").await;
    let before = recorded(&orchestrator, &sagas).await;
    assert_eq!(before.len(), 3);
    assert_eq!(orchestrator.unread_replies().await, 0);

    let replies = recover(&orchestrator, &sagas).await;
    assert_eq!(ids(&replies), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_between_publish_and_ack_the_same_reply_comes_again() {
    let (orchestrator, sagas) = crash("consumer.published").await;
    let before = recorded(&orchestrator, &sagas).await;
    let mut published = Vec::new();
    while let Some(reply) = orchestrator.try_reply().await {
        published.push(reply);
    }
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM outbox_waiting WHERE exchange = 'saga.replies'")
            .fetch_one(&orchestrator.db)
            .await
            .unwrap();
    assert!(published.len() as i64 + stored >= 3, "{stored} are stored");
    assert!(ids(&published).iter().all(|id| before.contains(id)));

    let replies = recover(&orchestrator, &sagas).await;
    assert_eq!(ids(&replies), before);
}

/// A gateway that needs intents.
const FORGETS: [(&str, &str); 1] = [("PAYMENT_REFUSES_REFUNDED_KEYS", "false")];

/// Dies at `point` of two payments and a refund whose intents are written, and goes on with the same commands.
async fn with_intents(point: &str) {
    let (orchestrator, sagas) = crash_with(point, &FORGETS).await;
    assert!(recorded(&orchestrator, &sagas).await.is_empty());
    assert_eq!(orchestrator.intents().await, 3);

    let replies = recover_with(&orchestrator, &sagas, &FORGETS).await;
    assert_eq!(ids(&replies), recorded(&orchestrator, &sagas).await);
    assert_eq!(orchestrator.intents().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_between_intent_and_charge_the_work_is_done_once() {
    with_intents("payment.intended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_between_charge_and_record_the_work_is_done_once() {
    with_intents("participant.applied").await;
}

/// And where RabbitMQ loses the commands, so that the refunds are all that is left.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_refunds_settle_what_was_intended() {
    let (orchestrator, sagas) = crash_with("payment.intended", &FORGETS).await;
    let back = || orchestrator.waiting();
    eventually("the commands are back", back, |n| *n == 1).await;
    let lost = orchestrator.amqp.get("payment.commands").await;
    assert!(lost.is_some());

    let _program = run(&orchestrator, &FORGETS);
    let refunds: Vec<_> = sagas.iter().map(Saga::refund).collect();
    orchestrator.send_batch(&refunds).await;
    let replies = orchestrator.replies(3).await;
    assert!(
        replies
            .iter()
            .all(|reply| reply["type"] == "payment.refunded.v1")
    );
    assert_eq!(orchestrator.intents().await, 0);
    for saga in &sagas {
        assert!(orchestrator.payments(saga).await.is_empty());
        orchestrator.send(&saga.process("pm_card_visa")).await;
        let reply = orchestrator.reply().await;
        assert_eq!(reply["data"]["reason"], "ALREADY_COMPENSATED");
    }
}

/// Gives a part back with a program that dies at `point` and with the next one, and expects that many replies.
async fn give_a_part_back(point: &str, replies: usize) {
    let (orchestrator, service) = Orchestrator::with_service(&[]).await;
    let saga = orchestrator.paid().await;
    service.stop().await;
    let back = saga.returning();
    orchestrator.send(&back.refund_part("39.98")).await;
    let mut program = run(&orchestrator, &[("CRASH_AT", point)]);
    let status = timeout(PATIENCE, program.wait()).await.unwrap().unwrap();
    assert_eq!(status.signal(), Some(9));

    let _program = run(&orchestrator, &[]);
    let replies = orchestrator.replies(replies).await;
    assert_eq!(replies[0]["type"], "payment.part_refunded.v1");
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    let given_back = ("REFUNDED".to_owned(), 3998, vec![3998]);
    assert_eq!(orchestrator.refunds(&saga).await, given_back);
    assert_eq!(orchestrator.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_before_the_commit_a_part_is_given_back_once() {
    give_a_part_back("participant.applied", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_between_commit_and_publish_a_part_is_not_given_back_again() {
    give_a_part_back("participant.committed", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_between_publish_and_ack_a_part_is_not_given_back_again() {
    give_a_part_back("consumer.published", 2).await;
}
