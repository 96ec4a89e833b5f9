//! A gateway that charges also under a key that was refunded: an intent is written before each charge, and whatever
//! happens in whatever order, no money is kept after a refund.

use serde_json::Value;
use sqlx::Row;
use test_support::{PATIENCE, eventually, participant::Replica, wait_until};

use crate::{
    bank::Bank,
    service::{DLQ, Orchestrator, Saga},
};

/// Calls are waited for as long as a test may take: one that hangs is as good as a process that died with it, and whose
/// command RabbitMQ lost.
const PATIENT: [(&str, &str); 1] = [("PAYMENT_TIMEOUT_MS", "600000")];

async fn start(bank: &Bank) -> (Orchestrator, Replica) {
    let orchestrator = Orchestrator::new().await;
    let service = orchestrator.start_with(bank.clone(), &PATIENT).await;
    (orchestrator, service)
}

/// Sends a payment, and waits until the gateway is asked for it.
async fn ask(orchestrator: &Orchestrator, bank: &Bank, saga: &Saga) {
    let calls = bank.calls();
    orchestrator.send(&saga.process("pm_card_visa")).await;
    let asked = async || bank.calls() > calls;
    wait_until(PATIENCE, "the gateway is asked", asked).await;
}

/// The next reply says that the money is given back.
async fn refunded(orchestrator: &Orchestrator) {
    let reply = orchestrator.reply().await;
    assert_eq!(reply["type"], "payment.refunded.v1");
}

fn is_too_late(reply: &Value) -> bool {
    reply["type"] == "payment.failed.v1" && reply["data"]["reason"] == "ALREADY_COMPENSATED"
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_is_there_for_as_long_as_its_charge() {
    let bank = Bank::that_forgets_refunds();
    bank.charges().close();
    let (orchestrator, _service) = start(&bank).await;
    let saga = Saga::new();
    orchestrator.send(&saga.process("pm_card_visa")).await;
    bank.charges().holds(1).await;
    let intent = sqlx::query(
        "SELECT saga_id, step, amount_minor, currency, payment_method, closed FROM intents",
    )
    .fetch_one(&orchestrator.db)
    .await
    .unwrap();
    assert_eq!(intent.get::<uuid::Uuid, _>(0), saga.id);
    assert_eq!(intent.get::<&str, _>(1), "payment");
    assert_eq!(intent.get::<i64, _>(2), 3998);
    assert_eq!(intent.get::<&str, _>(3), "USD");
    assert_eq!(intent.get::<&str, _>(4), "pm_card_visa");
    assert!(!intent.get::<bool, _>(5));

    bank.charges().open();
    assert_eq!(orchestrator.reply().await["type"], "payment.processed.v1");
    assert_eq!(orchestrator.intents().await, 0);
    orchestrator.send(&saga.refund()).await;
    refunded(&orchestrator).await;
    assert_eq!(orchestrator.intents().await, 0);
    assert!(!bank.holds_money_of(&saga.charge_key()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_refuses_refunded_keys_needs_no_intents() {
    let bank = Bank::new();
    bank.charges().close();
    let (orchestrator, _service) = start(&bank).await;
    let saga = Saga::new();
    orchestrator.send(&saga.process("pm_card_visa")).await;
    bank.charges().holds(1).await;
    assert_eq!(orchestrator.intents().await, 0);

    bank.refunds().close();
    orchestrator.send(&saga.refund()).await;
    bank.refunds().holds(1).await;
    assert_eq!(orchestrator.intents().await, 0);
}

/// The request is on its way for so long that its refund is done when it comes in. Nobody waits for it by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_lands_after_its_refund_moves_no_money() {
    let bank = Bank::that_forgets_refunds();
    let (orchestrator, _service) = start(&bank).await;
    let saga = Saga::new();
    bank.delay(&saga.charge_key());
    ask(&orchestrator, &bank, &saga).await;
    assert_eq!((bank.charged(), orchestrator.intents().await), (0, 1));

    orchestrator.send(&saga.refund()).await;
    refunded(&orchestrator).await;
    assert_eq!(orchestrator.intents().await, 0);
    assert!(!bank.holds_money_of(&saga.charge_key()));

    bank.arrivals().open();
    assert!(is_too_late(&orchestrator.reply().await));
    assert_eq!(bank.charged(), 1, "it was settled by charging");
    assert!(!bank.holds_money_of(&saga.charge_key()));
    assert_eq!(
        bank.calls(),
        3,
        "the charge, the same again, and the refund"
    );
    assert!(orchestrator.payments(&saga).await.is_empty());
    assert_eq!(orchestrator.dead_letters().await, 0);
}

/// The gateway has taken the money, and who should have recorded it never hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_whose_answer_is_lost_is_given_back() {
    let bank = Bank::that_forgets_refunds();
    let (orchestrator, _service) = start(&bank).await;
    let saga = Saga::new();
    bank.lose_answer(&saga.charge_key());
    ask(&orchestrator, &bank, &saga).await;
    let held = async || bank.holds_money_of(&saga.charge_key());
    wait_until(PATIENCE, "the money is taken", held).await;

    orchestrator.send(&saga.refund()).await;
    refunded(&orchestrator).await;
    assert_eq!(bank.charged(), 1);
    assert!(!bank.holds_money_of(&saga.charge_key()));
    assert_eq!(orchestrator.intents().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_not_answered_before_its_charge_is_settled() {
    let bank = Bank::that_forgets_refunds();
    let (orchestrator, _service) = start(&bank).await;
    let saga = Saga::new();
    bank.lose_answer(&saga.charge_key());
    ask(&orchestrator, &bank, &saga).await;
    bank.set_away(true);
    orchestrator.send(&saga.refund()).await;
    let again = async || bank.calls() > 3;
    wait_until(PATIENCE, "it is asked again and again", again).await;
    assert_eq!(orchestrator.unread_replies().await, 0);
    assert_eq!(orchestrator.intents().await, 1);

    bank.set_away(false);
    refunded(&orchestrator).await;
    assert_eq!(bank.charged(), 1);
    assert!(!bank.holds_money_of(&saga.charge_key()));
    assert_eq!(orchestrator.intents().await, 0);
}

/// The gateway says that it will never make the charge, so there is nothing to give back.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_the_gateway_refuses_is_settled() {
    let bank = Bank::that_forgets_refunds();
    let (orchestrator, _service) = start(&bank).await;
    let saga = Saga::new();
    bank.refuse(&saga.charge_key());
    orchestrator.send(&saga.process("pm_card_visa")).await;
    orchestrator.amqp.next(DLQ).await;
    assert_eq!(orchestrator.intents().await, 1);
    orchestrator.send(&saga.refund()).await;
    refunded(&orchestrator).await;
    assert_eq!(bank.calls(), 2, "there was no refund");
    assert_eq!(orchestrator.intents().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_comes_after_its_refund_is_not_asked_for() {
    let bank = Bank::that_forgets_refunds();
    let (orchestrator, _service) = start(&bank).await;
    let saga = Saga::new();
    orchestrator.send(&saga.refund()).await;
    refunded(&orchestrator).await;
    for _ in 0..2 {
        orchestrator.send(&saga.process("pm_card_visa")).await;
        assert!(is_too_late(&orchestrator.reply().await));
    }
    assert_eq!(bank.calls(), 0);
    assert_eq!(orchestrator.intents().await, 0);
}

/// It waits until the refund is done, and is then told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_comes_while_its_refund_is_under_way_is_not_asked_for() {
    let bank = Bank::that_forgets_refunds();
    let (orchestrator, _service) = start(&bank).await;
    let saga = Saga::new();
    bank.delay(&saga.charge_key());
    ask(&orchestrator, &bank, &saga).await;
    bank.charges().close();
    orchestrator.send(&saga.refund()).await;
    bank.charges().holds(1).await;

    orchestrator.send(&saga.process("pm_card_visa")).await;
    let waiting = async || {
        let outbox = sqlx::query_scalar("SELECT count(*) FROM outbox");
        let stored: i64 = outbox.fetch_one(&orchestrator.db).await.unwrap();
        stored == 1 || bank.calls() > 2
    };
    wait_until(PATIENCE, "it is postponed", waiting).await;
    assert_eq!(bank.calls(), 2);
    bank.charges().open();
    refunded(&orchestrator).await;
    assert!(is_too_late(&orchestrator.reply().await));
    assert_eq!(bank.calls(), 3);
    bank.arrivals().open();
    assert!(is_too_late(&orchestrator.reply().await));
    assert_eq!((bank.charged(), bank.calls()), (1, 3));
    assert!(!bank.holds_money_of(&saga.charge_key()));
}

/// A replica has found nothing recorded of a payment, and comes to write its intent only when the refund is done: another
/// intent of its batch makes it wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_refund_is_recorded_before_its_intent_is_not_asked_for() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::that_forgets_refunds();
    let _replicas = [
        orchestrator.start(bank.clone()).await,
        orchestrator.start(bank.clone()).await,
    ];
    orchestrator.until_consumed_by(2).await;
    let (first, second) = (Saga::new(), Saga::new());
    let mut lock = common::db::begin(&orchestrator.db).await.unwrap();
    sqlx::query("INSERT INTO intents (saga_id, step, closed) VALUES ($1, 'payment', true)")
        .bind(first.id)
        .execute(&mut *lock)
        .await
        .unwrap();
    let [pay_first, pay_second] = [first, second].map(|saga| saga.process("pm_card_visa"));
    orchestrator.send_batch(&[pay_first, pay_second]).await;
    let waits = async || {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock')";
        let waits = sqlx::query_scalar(waits).fetch_one(&orchestrator.db).await;
        waits.unwrap()
    };
    wait_until(PATIENCE, "the intents wait", waits).await;
    let refund = second.refund();
    let ask = async || {
        orchestrator.send(&refund).await;
        orchestrator.try_reply().await
    };
    let reply = eventually("a replica answers", ask, Option::is_some).await;
    assert_eq!(reply.unwrap()["type"], "payment.refunded.v1");
    assert_eq!(bank.calls(), 0);
    lock.rollback().await.unwrap();

    orchestrator.reply_of_type("payment.processed.v1").await;
    assert!(is_too_late(
        &orchestrator.reply_of_type("payment.failed.v1").await
    ));
    assert_eq!(bank.calls(), 1, "the first one's");
    assert_eq!(orchestrator.payments(&first).await, ["CAPTURED"]);
    assert!(!bank.holds_money_of(&second.charge_key()));
    assert_eq!(orchestrator.intents().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_settle_the_same_charge_give_it_back_once() {
    let bank = Bank::that_forgets_refunds();
    let (orchestrator, _one) = start(&bank).await;
    let saga = Saga::new();
    bank.lose_answer(&saga.charge_key());
    ask(&orchestrator, &bank, &saga).await;
    let _other = orchestrator.start_with(bank.clone(), &PATIENT).await;
    orchestrator.until_consumed_by(2).await;
    bank.charges().close();
    let refund = saga.refund();
    let sent = orchestrator
        .send_until_two_are_held_up(&refund, bank.charges())
        .await;
    bank.charges().open();
    let replies = orchestrator.replies(sent).await;
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    assert_eq!(replies[0]["type"], "payment.refunded.v1");
    assert_eq!(bank.charged(), 1);
    assert!(!bank.holds_money_of(&saga.charge_key()));
    assert_eq!(orchestrator.intents().await, 0);
}

/// Payments and refunds in any order, requests that are late, answers that are lost, and calls that are given up.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_in_any_order_of_payments_refunds_and_late_requests() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::that_forgets_refunds();
    let impatient = [("PAYMENT_TIMEOUT_MS", "300")];
    let _replicas = [
        orchestrator.start_with(bank.clone(), &impatient).await,
        orchestrator.start_with(bank.clone(), &impatient).await,
    ];
    orchestrator.until_consumed_by(2).await;
    let sagas: Vec<_> = (0..40).map(|_| Saga::new()).collect();
    for (n, saga) in sagas.iter().enumerate() {
        match n % 8 {
            0 | 1 => bank.delay(&saga.charge_key()),
            2 => bank.lose_answer(&saga.charge_key()),
            _ => {}
        }
        orchestrator.send_both(saga, n % 2 == 0).await;
    }
    orchestrator.replies(80).await;
    bank.arrivals().open();
    let all_in = async || bank.arrivals().held_up() == 0;
    wait_until(PATIENCE, "what was late has come in", all_in).await;
    for saga in &sagas {
        assert!(!bank.holds_money_of(&saga.charge_key()));
        orchestrator.holds_no_payment_of(saga).await;
    }
    // How many is chance; that there were any shows that this is about something.
    assert!(bank.charged() > 0, "it was charged before refunds");
    assert_eq!(orchestrator.intents().await, 0);
    assert_eq!(orchestrator.dead_letters().await, 0);
}
