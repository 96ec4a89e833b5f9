//! Replicas that meet at the gateway, or die there: no money is taken twice, none is kept after a refund.

use serde_json::Value;
use test_support::{PATIENCE, eventually, wait_until};

use crate::{
    bank::Bank,
    service::{Orchestrator, Saga},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_which_the_gateway_is_away_comes_again() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let _service = orchestrator.start(bank.clone()).await;
    let saga = Saga::new();
    for outcome in ["payment.processed.v1", "payment.refunded.v1"] {
        bank.set_away(true);
        let before = bank.calls();
        let command = if outcome == "payment.processed.v1" {
            saga.process("pm_card_visa")
        } else {
            saga.refund()
        };
        orchestrator.send(&command).await;
        let again = async || bank.calls() > before + 2;
        wait_until(PATIENCE, "it was tried again and again", again).await;
        assert_eq!(orchestrator.dead_letters().await, 0);
        assert_eq!(orchestrator.unread_replies().await, 0);

        bank.set_away(false);
        assert_eq!(orchestrator.reply().await["type"], outcome);
    }
    assert_eq!(bank.charged(), 1);
    assert!(!bank.holds_money_of(&saga.charge_key()));
    assert_eq!(orchestrator.payments(&saga).await, ["REFUNDED"]);
    assert_eq!(orchestrator.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_told_to_stop_finishes_what_it_has_begun() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    bank.charges().close();
    let service = orchestrator.start(bank.clone()).await;
    let saga = Saga::new();
    orchestrator.send(&saga.process("pm_card_visa")).await;
    bank.charges().holds(1).await;

    let stopped = tokio::spawn(service.stop());
    bank.charges().open();
    stopped.await.unwrap();
    assert_eq!(orchestrator.reply().await["type"], "payment.processed.v1");
    assert_eq!(orchestrator.payments(&saga).await, ["CAPTURED"]);
    // Acked: nobody consumes, and nothing came back.
    assert_eq!(orchestrator.waiting().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_carry_out_the_same_command_charge_once() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    bank.charges().close();
    let _replicas = [
        orchestrator.start(bank.clone()).await,
        orchestrator.start(bank.clone()).await,
    ];
    orchestrator.until_consumed_by(2).await;
    let saga = Saga::new();
    let command = saga.process("pm_card_visa");
    let sent = orchestrator
        .send_until_two_are_held_up(&command, bank.charges())
        .await;
    bank.charges().open();

    let replies = orchestrator.replies(sent).await;
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    assert_eq!(replies[0]["type"], "payment.processed.v1");
    assert_eq!(orchestrator.payments(&saga).await, ["CAPTURED"]);
    assert_eq!(bank.charged(), 1);
    assert_eq!(orchestrator.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_get_payments_and_refunds_in_any_order_keep_no_money() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let _replicas = [
        orchestrator.start(bank.clone()).await,
        orchestrator.start(bank.clone()).await,
    ];
    orchestrator.until_consumed_by(2).await;
    let sagas: Vec<_> = (0..40).map(|_| Saga::new()).collect();
    for (n, saga) in sagas.iter().enumerate() {
        orchestrator.send_both(saga, n % 2 == 0).await;
    }
    orchestrator.replies(80).await;
    for saga in &sagas {
        assert!(!bank.holds_money_of(&saga.charge_key()));
        orchestrator.holds_no_payment_of(saga).await;
    }
    assert_eq!(orchestrator.dead_letters().await, 0);
}

/// Sends `command` again and again, as who gets no answer, until a replica gets it that is not held up.
async fn until_answered(orchestrator: &Orchestrator, command: &Value) -> Value {
    let ask = async || {
        orchestrator.send(command).await;
        orchestrator.try_reply().await
    };
    eventually("a replica answers", ask, Option::is_some)
        .await
        .unwrap()
}

/// One replica is about to charge while the other one compensates.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_a_refund_overtook_is_given_back() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    bank.charges().close();
    let _slow = orchestrator.start(bank.clone()).await;
    let saga = Saga::new();
    orchestrator.send(&saga.process("pm_card_visa")).await;
    bank.charges().holds(1).await;

    let _fast = orchestrator.start(bank.clone()).await;
    let refunded = until_answered(&orchestrator, &saga.refund()).await;
    assert_eq!(refunded["type"], "payment.refunded.v1");
    bank.charges().open();

    let reply = orchestrator.reply_of_type("payment.failed.v1").await;
    assert_eq!(reply["data"]["reason"], "ALREADY_COMPENSATED");
    assert_eq!(bank.charged(), 1);
    assert!(!bank.holds_money_of(&saga.charge_key()));
    assert!(orchestrator.payments(&saga).await.is_empty());
}

/// The same within one process, where calls are beside each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_a_refund_overtook_in_its_own_process_is_given_back() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    bank.charges().close();
    let _service = orchestrator.start(bank.clone()).await;
    let saga = Saga::new();
    orchestrator.send(&saga.process("pm_card_visa")).await;
    bank.charges().holds(1).await;
    orchestrator.send(&saga.refund()).await;
    assert_eq!(orchestrator.reply().await["type"], "payment.refunded.v1");
    bank.charges().open();

    let reply = orchestrator.reply().await;
    assert_eq!(reply["type"], "payment.failed.v1");
    assert_eq!(reply["data"]["reason"], "ALREADY_COMPENSATED");
    assert_eq!(bank.charged(), 1);
    assert!(!bank.holds_money_of(&saga.charge_key()));
    assert!(orchestrator.payments(&saga).await.is_empty());
    assert_eq!(orchestrator.waiting().await, 0);
}

/// And where the charge is recorded while the refund is at the gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_a_charge_overtook_in_its_own_process_is_made_again() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    bank.refunds().close();
    let _service = orchestrator.start(bank.clone()).await;
    let saga = Saga::new();
    orchestrator.send(&saga.refund()).await;
    bank.refunds().holds(1).await;
    orchestrator.send(&saga.process("pm_card_visa")).await;
    let paid = orchestrator.reply().await;
    assert_eq!(paid["type"], "payment.processed.v1");
    bank.refunds().open();

    let refunded = orchestrator.reply().await;
    assert_eq!(refunded["type"], "payment.refunded.v1");
    assert_eq!(refunded["data"]["paymentId"], paid["data"]["paymentId"]);
    assert!(!bank.holds_money_of(&saga.charge_key()));
    assert_eq!(orchestrator.payments(&saga).await, ["REFUNDED"]);
}

/// One replica has refunded nothing and not yet recorded it while the other one charges and records that.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_a_charge_overtook_is_made_again() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    bank.refunds().close();
    let _slow = orchestrator.start(bank.clone()).await;
    let saga = Saga::new();
    orchestrator.send(&saga.refund()).await;
    bank.refunds().holds(1).await;

    let _fast = orchestrator.start(bank.clone()).await;
    let process = saga.process("pm_card_visa");
    let reply = until_answered(&orchestrator, &process).await;
    assert_eq!(reply["type"], "payment.processed.v1");
    bank.refunds().open();

    let refunded = orchestrator.reply_of_type("payment.refunded.v1").await;
    assert_eq!(refunded["data"]["paymentId"], reply["data"]["paymentId"]);
    assert!(!bank.holds_money_of(&saga.charge_key()));
    assert_eq!(orchestrator.payments(&saga).await, ["REFUNDED"]);
}

/// A charge was made, and all that would tell of it died.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_gives_back_a_charge_that_nobody_recorded() {
    use payment_service::gateway::{Charge, Gateway};

    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let saga = Saga::new();
    let charge = Charge {
        idempotency_key: &saga.charge_key(),
        amount: common::contract::Money::from_minor(3998),
        currency: "USD",
        payment_method: None,
    };
    bank.charge(charge).await.unwrap();
    let _service = orchestrator.start(bank.clone()).await;
    orchestrator.send(&saga.refund()).await;

    assert_eq!(orchestrator.reply().await["type"], "payment.refunded.v1");
    assert!(!bank.holds_money_of(&saga.charge_key()));
}
