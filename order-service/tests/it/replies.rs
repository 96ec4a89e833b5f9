//! Replies: twice, late, in another order, and unreadable.

use common::contract::topology;
use lapin::BasicProperties;
use serde_json::json;
use test_support::eventually;

use crate::harness::{
    Participants, System, count, events, id, not_reserved, processed, refunded, released, reply_to,
    reserved,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_delivered_twice_counts_once() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    let paid = processed(&participants.command("payment").await);
    participants.reply(&[paid.clone(), paid.clone()]).await;
    let held = reserved(&participants.command("inventory").await);
    participants.reply(std::slice::from_ref(&held)).await;
    participants.reply(&[held, paid]).await;
    system.until(&order, "COMPLETED").await;
    // A later reply that is handled shows that the repeated ones were handled before it.
    let other = system.place("prod-1", 1).await;
    let declined = reply_to(
        &participants.command("payment").await,
        "payment.failed.v1",
        &json!({ "reason": "PAYMENT_DECLINED", "detail": "card_declined" }),
    );
    participants.reply(&[declined]).await;
    system.until(&other, "CANCELLED").await;
    assert_eq!(system.saga(&order).await["version"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_after_the_timeout_is_noted_and_undone() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    let mut command = participants.command("payment").await;
    for _ in 0..2 {
        system.let_deadline_pass(&order).await;
        let again = participants.command("payment").await;
        assert_eq!(again["type"], "payment.process.v1");
        assert_ne!(again["id"], command["id"]);
        assert_eq!(
            (&again["sagaid"], &again["sagastep"]),
            (&command["sagaid"], &command["sagastep"])
        );
        command = again;
    }
    system.let_deadline_pass(&order).await;
    let refund = participants.command("payment").await;
    assert_eq!(refund["type"], "payment.refund.v1");
    assert_eq!(refund["data"]["reason"], "TIMEOUT");
    participants
        .reply(&[processed(&command), refunded(&refund)])
        .await;
    let order = system.until(&order, "CANCELLED").await;
    assert_eq!(order["cancellationReason"], "TIMEOUT");
    let saga = system.saga(&order).await;
    assert!(events(&saga).contains(&"LATE_REPLY"), "{saga}");
    assert_eq!(saga["status"], "COMPENSATED");
}

/// The saga of `order`, once a late reply is in its log.
async fn until_noted(system: &System, order: &serde_json::Value) -> serde_json::Value {
    let noted = |saga: &serde_json::Value| events(saga).contains(&"LATE_REPLY");
    eventually("the reply is noted", || system.saga(order), noted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_in_the_wrong_order_end_well() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    let process = participants.command("payment").await;
    system.cancel(&order).await;
    let refund = participants.command("payment").await;
    // The refund overtook the payment.
    participants.reply(&[refunded(&refund)]).await;
    system.until(&order, "CANCELLED").await;
    let too_late = json!({ "reason": "ALREADY_COMPENSATED" });
    participants
        .reply(&[reply_to(&process, "payment.failed.v1", &too_late)])
        .await;
    let saga = until_noted(&system, &order).await;
    assert_eq!(saga["status"], "COMPENSATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_reply_leaves_the_command_that_is_out_alone() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    let process = participants.command("payment").await;
    system.cancel(&order).await;
    let refund = participants.command("payment").await;
    participants.reply(&[processed(&process)]).await;
    until_noted(&system, &order).await;
    // While it is in the outbox, its deadline does not run.
    let db = system.environment.pool("order").await;
    let out: Option<uuid::Uuid> = sqlx::query_scalar("SELECT command_id FROM sagas")
        .fetch_one(&db)
        .await
        .unwrap();
    assert_eq!(out, Some(id(&refund, "id")));
    participants.reply(&[refunded(&refund)]).await;
    system.until(&order, "CANCELLED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_undone_in_reverse_order() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    participants
        .reply(&[processed(&participants.command("payment").await)])
        .await;
    let reserve = participants.command("inventory").await;
    system.cancel(&order).await;
    let release = participants.command("inventory").await;
    assert_eq!(release["type"], "inventory.release.v1");
    participants
        .reply(&[released(&release), not_reserved(&reserve)])
        .await;
    let refund = participants.command("payment").await;
    assert_eq!(refund["type"], "payment.refund.v1");
    participants.reply(&[refunded(&refund)]).await;
    system.until(&order, "CANCELLED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_reply_goes_alone() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let dlq = topology::dead_letter_queue(topology::ORDER_REPLIES.name);
    let mut orders = Vec::new();
    let mut replies = Vec::new();
    for _ in 0..4 {
        orders.push(system.place("prod-1", 1).await);
        replies.push(processed(&participants.command("payment").await));
    }
    let no_such_saga = {
        let mut reply = replies[0].clone();
        reply["sagaid"] = json!(uuid::Uuid::now_v7());
        reply["id"] = json!(uuid::Uuid::now_v7());
        reply
    };
    let unknown_type = {
        let mut reply = replies[0].clone();
        reply["type"] = json!("payment.exploded.v9");
        reply
    };
    let no_step = {
        let mut reply = replies[0].clone();
        reply.as_object_mut().unwrap().remove("sagastep");
        reply
    };
    let mut batch = replies.clone();
    batch.insert(1, unknown_type);
    batch.insert(2, no_such_saga);
    batch.insert(4, no_step);
    batch.push(json!("no event at all"));
    participants.reply(&batch).await;
    participants
        .amqp
        .publish(
            topology::REPLIES,
            "order",
            b"{not json",
            BasicProperties::default(),
        )
        .await;
    let reserve = topology::INVENTORY_COMMANDS.name;
    participants.amqp.next_events(reserve, orders.len()).await;
    let mut kinds = Vec::new();
    for _ in 0..5 {
        let dead = participants.amqp.next(&dlq).await;
        let headers = dead.properties.headers().clone().unwrap();
        let header = |name: &str| match headers.inner().get(name) {
            Some(lapin::types::AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        assert!(!header("x-error").is_empty());
        assert!(!header("x-failed-at").is_empty());
        kinds.push(header("x-error-kind"));
    }
    kinds.sort();
    assert_eq!(
        kinds,
        [
            "missing-attribute",
            "refused",
            "refused",
            "unreadable",
            "unreadable"
        ]
    );
    assert_eq!(participants.amqp.ready(&dlq).await, 0);
    let db = system.environment.pool("order").await;
    assert_eq!(
        count(
            &db,
            "SELECT count(*) FROM sagas WHERE current_step = 'inventory'"
        )
        .await,
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_strays_cost_their_neighbours_nothing() {
    const STRAYS: usize = 3000;
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let dlq = topology::dead_letter_queue(topology::ORDER_REPLIES.name);
    let order = system.place("prod-1", 1).await;
    let paid = processed(&participants.command("payment").await);
    let stray = || {
        let mut reply = paid.clone();
        reply["sagaid"] = json!(uuid::Uuid::new_v4());
        reply["id"] = json!(uuid::Uuid::now_v7());
        reply
    };
    let mut batch: Vec<_> = (0..STRAYS).map(|_| stray()).collect();
    batch.insert(STRAYS / 2, paid.clone());
    participants.reply(&batch).await;
    let held = reserved(&participants.command("inventory").await);
    participants.reply(&[held]).await;
    system.until(&order, "COMPLETED").await;
    let dead = || participants.amqp.ready(&dlq);
    let strays = u32::try_from(STRAYS).unwrap();
    eventually("every stray is kept", dead, |n| *n == strays).await;
    // Nothing is recorded of what nobody took.
    let db = system.environment.pool("order").await;
    let foreign = "SELECT count(*) FROM idempotency i WHERE NOT EXISTS (SELECT FROM sagas s WHERE s.id = i.saga_id)";
    assert_eq!(count(&db, foreign).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_without_a_meaning_takes_no_place() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let dlq = topology::dead_letter_queue(topology::ORDER_REPLIES.name);
    let order = system.place("prod-1", 1).await;
    let command = participants.command("payment").await;
    // Some saga has a step of this name, but not the saga of this order.
    let mut meaningless = reply_to(
        &command,
        "inventory.restocked.v1",
        &json!({ "returnId": uuid::Uuid::now_v7(), "items": [] }),
    );
    meaningless["sagastep"] = json!("restock");
    participants
        .reply(&[meaningless.clone(), processed(&command)])
        .await;
    assert_eq!(
        participants.command("inventory").await["subject"],
        order["orderId"]
    );
    let dead = participants.amqp.next_events(&dlq, 1).await;
    assert_eq!(dead[0]["id"], meaningless["id"]);
    let db = system.environment.pool("order").await;
    let recorded = "SELECT count(*) FROM idempotency WHERE step = 'restock'";
    assert_eq!(count(&db, recorded).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_somebody_has_locked_waits_and_its_neighbours_go_on() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let mut paid = Vec::new();
    for _ in 0..2 {
        system.place("prod-1", 1).await;
        paid.push(processed(&participants.command("payment").await));
    }
    let [neighbour, locked] = &paid[..] else {
        unreachable!("there are two")
    };
    let db = system.environment.pool("order").await;
    let mut somebody = common::db::begin(&db).await.unwrap();
    sqlx::query("SELECT FROM sagas WHERE id = $1 FOR UPDATE")
        .bind(id(locked, "sagaid"))
        .execute(&mut *somebody)
        .await
        .unwrap();
    participants.reply(&paid).await;
    let reserve = participants.command("inventory").await;
    assert_eq!(reserve["sagaid"], neighbour["sagaid"]);
    let status = || async { system.orders.get("/health/ready").await.status().as_u16() };
    eventually("readiness is red", status, |status| *status == 503).await;
    // What comes behind it goes on as well.
    system.place("prod-1", 1).await;
    let later = processed(&participants.command("payment").await);
    participants.reply(std::slice::from_ref(&later)).await;
    let reserve = participants.command("inventory").await;
    assert_eq!(reserve["sagaid"], later["sagaid"]);
    assert_eq!(status().await, 503);
    somebody.rollback().await.unwrap();
    let reserve = participants.command("inventory").await;
    assert_eq!(reserve["sagaid"], locked["sagaid"]);
    eventually("readiness is green", status, |status| *status == 200).await;
}
