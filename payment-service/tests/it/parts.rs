//! Parts of a payment that are given back: each of them once, and never more than was taken.

use common::contract::Money;
use payment_service::gateway::{Gateway, PartialRefund};
use serde_json::json;
use test_support::eventually;

use crate::{
    bank::Bank,
    dead_letters::header,
    service::{DLQ, Orchestrator, Saga},
};

/// Expects that the next dead letter is the command of `saga`, because of `why`.
async fn assert_dead(orchestrator: &Orchestrator, saga: &Saga, why: &str) {
    let letter = orchestrator.amqp.next(DLQ).await;
    let command: serde_json::Value = serde_json::from_slice(&letter.data).unwrap();
    assert_eq!(command["sagaid"], json!(saga.id));
    let error = header(&letter, "x-error");
    assert!(error.contains(why), "{error}");
}

fn captured(given_back: i64, parts: &[i64]) -> (String, i64, Vec<i64>) {
    ("CAPTURED".to_owned(), given_back, parts.to_vec())
}

fn refunded(parts: &[i64]) -> (String, i64, Vec<i64>) {
    ("REFUNDED".to_owned(), 3998, parts.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_given_back_and_everybody_is_told() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let _service = orchestrator.start(bank.clone()).await;
    let saga = Saga::new();
    orchestrator.send(&saga.process("pm_card_visa")).await;
    let processed = orchestrator.reply().await;
    orchestrator.event().await;
    let back = saga.returning();
    orchestrator.send(&back.refund_part("10.50")).await;

    let reply = orchestrator.reply().await;
    assert_eq!(reply["type"], "payment.part_refunded.v1");
    assert_eq!(reply["sagaid"], json!(back.id));
    assert_eq!(reply["sequence"], 1);
    assert_eq!(
        reply["data"],
        json!({
            "orderId": saga.order,
            "paymentId": processed["data"]["paymentId"],
            "returnId": back.id,
            "amount": "10.50",
            "currency": "USD",
            "reason": "CUSTOMER_REQUEST",
        })
    );
    assert_eq!(orchestrator.event().await, reply);
    assert_eq!(bank.held(&saga.charge_key()), 2948);
    assert_eq!(orchestrator.refunds(&saga).await, captured(1050, &[1050]));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_given_back_until_nothing_is_left() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let _service = orchestrator.start(bank.clone()).await;
    let saga = orchestrator.paid().await;
    // Two of them at once: they are in one batch.
    let parts = ["20.00", "9.98"].map(|amount| saga.returning().refund_part(amount));
    orchestrator.send_batch(&parts).await;
    orchestrator.replies(2).await;
    assert_eq!(
        orchestrator.refunds(&saga).await,
        captured(2998, &[2000, 998])
    );

    let (greedy, last, late) = (saga.returning(), saga.returning(), saga.returning());
    let calls = bank.calls();
    orchestrator.send(&greedy.refund_part("10.01")).await;
    assert_dead(&orchestrator, &greedy, "10.00 is left").await;
    assert_eq!(bank.calls(), calls, "what is too much is not asked for");

    orchestrator.send(&last.refund_part("10.00")).await;
    orchestrator.reply().await;
    assert_eq!(
        orchestrator.refunds(&saga).await,
        refunded(&[2000, 998, 1000])
    );
    assert!(!bank.holds_money_of(&saga.charge_key()));
    orchestrator.send(&late.refund_part("0.01")).await;
    assert_dead(&orchestrator, &late, "0.00 is left").await;
    assert_eq!(orchestrator.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_asked_for_twice_is_given_back_once() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let _service = orchestrator.start(bank.clone()).await;
    let saga = orchestrator.paid().await;
    let back = saga.returning();
    // All of it, so that nothing is left for the second one.
    let command = back.refund_part("39.98");
    orchestrator.send(&command).await;
    let first = orchestrator.reply().await;
    orchestrator
        .send_batch(&[command.clone(), command, back.refund_part("39.98")])
        .await;
    // Replies that are the same may become one, where they have to wait in the outbox.
    assert_eq!(orchestrator.reply().await, first);
    while let Some(reply) = orchestrator.try_reply().await {
        assert_eq!(reply, first);
    }
    assert_eq!(bank.held(&saga.charge_key()), 0);
    assert_eq!(orchestrator.refunds(&saga).await, refunded(&[3998]));
    assert_eq!(orchestrator.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_with_the_same_part_give_it_back_once() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let _replicas = [
        orchestrator.start(bank.clone()).await,
        orchestrator.start(bank.clone()).await,
    ];
    orchestrator.until_consumed_by(2).await;
    let saga = orchestrator.paid().await;
    bank.refunds().close();
    let command = saga.returning().refund_part("39.98");
    let sent = orchestrator
        .send_until_two_are_held_up(&command, bank.refunds())
        .await;
    bank.refunds().open();

    let replies = orchestrator.replies(sent).await;
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    assert_eq!(replies[0]["type"], "payment.part_refunded.v1");
    assert_eq!(bank.held(&saga.charge_key()), 0);
    assert_eq!(orchestrator.refunds(&saga).await, refunded(&[3998]));
    assert_eq!(orchestrator.dead_letters().await, 0);
}

/// Both replicas see the whole payment when they look; how many parts the bank holds up tells whether it gave both.
async fn two_parts_that_are_too_much_together(bank: &Bank, held_up: usize) {
    let orchestrator = Orchestrator::new().await;
    let _replicas = [
        orchestrator.start(bank.clone()).await,
        orchestrator.start(bank.clone()).await,
    ];
    orchestrator.until_consumed_by(2).await;
    let saga = orchestrator.paid().await;
    bank.refunds().close();
    let mut sagas = vec![saga.returning(), saga.returning()];
    for sent in &sagas {
        orchestrator.send(&sent.refund_part("30.00")).await;
        let waiting = || orchestrator.waiting();
        eventually("a replica takes it", waiting, |waiting| *waiting == 0).await;
    }
    bank.refunds().holds(held_up).await;
    if held_up == 1 {
        let dead = || orchestrator.dead_letters();
        eventually("one is refused", dead, |dead| *dead == 1).await;
    }
    bank.refunds().open();

    let reply = orchestrator.reply().await;
    sagas.retain(|saga| reply["sagaid"] != json!(saga.id));
    let why = if held_up == 1 {
        "more than was charged"
    } else {
        "9.98 is left"
    };
    assert_dead(&orchestrator, &sagas[0], why).await;
    assert_eq!(orchestrator.refunds(&saga).await, captured(3000, &[3000]));
    assert_eq!(orchestrator.unread_replies().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_parts_that_are_too_much_together_the_gateway_refuses_one() {
    let bank = Bank::new();
    two_parts_that_are_too_much_together(&bank, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_parts_that_are_too_much_together_the_books_have_one() {
    let bank = Bank::new();
    bank.be_careless();
    two_parts_that_are_too_much_together(&bank, 2).await;
}

/// The part was given back, and all that would tell of it died.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_nobody_recorded_is_not_given_back_again() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let _service = orchestrator.start(bank.clone()).await;
    let saga = orchestrator.paid().await;
    let back = saga.returning();
    let part = PartialRefund {
        idempotency_key: &back.charge_key(),
        charge_key: &saga.charge_key(),
        gateway_id: &saga.charge_key(),
        amount: Money::from_minor(1000),
        currency: "USD",
    };
    bank.refund_part(part).await.unwrap();
    orchestrator.send(&back.refund_part("10.00")).await;

    assert_eq!(
        orchestrator.reply().await["type"],
        "payment.part_refunded.v1"
    );
    assert_eq!(bank.held(&saga.charge_key()), 2998);
    assert_eq!(orchestrator.refunds(&saga).await, captured(1000, &[1000]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_undone_as_a_whole_has_nothing_left_to_be_given_back() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let _service = orchestrator.start(bank.clone()).await;
    let saga = orchestrator.paid().await;
    let (part, late) = (saga.returning(), saga.returning());
    // All in one batch: it cannot be done at once, so it is done one by one.
    orchestrator
        .send_batch(&[
            part.refund_part("10.00"),
            saga.refund(),
            late.refund_part("10.00"),
        ])
        .await;
    let replies = orchestrator.replies(2).await;
    assert_eq!(replies[0]["type"], "payment.part_refunded.v1");
    assert_eq!(replies[1]["type"], "payment.refunded.v1");
    assert_eq!(replies[1]["data"]["amount"], "29.98");
    assert_dead(&orchestrator, &late, "0.00 is left").await;
    assert_eq!(orchestrator.refunds(&saga).await, refunded(&[1000]));
    assert!(!bank.holds_money_of(&saga.charge_key()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_paid_cannot_be_given_back() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let declined = Saga::new();
    orchestrator
        .send(&declined.process("pm_card_chargeDeclined"))
        .await;
    orchestrator.reply().await;
    let unknown = Saga::new();
    for order in [declined, unknown] {
        let back = order.returning();
        orchestrator.send(&back.refund_part("1.00")).await;
        assert_dead(&orchestrator, &back, "has no payment").await;
    }
    let paid = orchestrator.paid().await;
    let back = paid.returning();
    let mut euros = back.refund_part("1.00");
    euros["data"]["currency"] = json!("EUR");
    orchestrator.send(&euros).await;
    assert_dead(&orchestrator, &back, "is in \"USD\", and \"EUR\"").await;
    assert_eq!(orchestrator.refunds(&paid).await, captured(0, &[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_makes_no_sense_is_dead_at_once_and_alone() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let saga = orchestrator.paid().await;
    let hostile = [
        ("amount", json!("0.00"), "more than 0.00"),
        ("amount", json!("-1.00"), "more than 0.00"),
        ("amount", json!("99999999999999999999.00"), "too large"),
        ("currency", json!("US\0"), "U+0000"),
        ("reason", json!("because\0"), "a reason is"),
        ("returnId", json!("7"), "UUID"),
    ];
    let sagas: Vec<_> = hostile.iter().map(|_| saga.returning()).collect();
    let commands = sagas.iter().zip(&hostile).map(|(back, (field, value, _))| {
        let mut command = back.refund_part("1.00");
        command["data"][field] = value.clone();
        command
    });
    let mut commands: Vec<_> = commands.collect();
    commands.push(saga.returning().refund_part("1.00"));
    orchestrator.send_batch(&commands).await;

    for (back, (.., why)) in sagas.iter().zip(&hostile) {
        assert_dead(&orchestrator, back, why).await;
    }
    assert_eq!(
        orchestrator.reply().await["type"],
        "payment.part_refunded.v1"
    );
    assert_eq!(orchestrator.refunds(&saga).await, captured(100, &[100]));
}
