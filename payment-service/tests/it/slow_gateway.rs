//! A gateway that is slow, silent, away, or fails for one payment: each payment waits for its own call only.

use serde_json::Value;
use test_support::{PATIENCE, eventually, wait_until};

use crate::{
    bank::Bank,
    service::{DLQ, Orchestrator, Saga},
};

fn payments(count: usize) -> (Vec<Saga>, Vec<Value>) {
    let sagas: Vec<_> = (0..count).map(|_| Saga::new()).collect();
    let pay = |saga: &Saga| saga.process("pm_card_visa");
    let commands = sagas.iter().map(pay).collect();
    (sagas, commands)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_made_beside_each_other_up_to_a_limit() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    bank.charges().close();
    let limit = [("PAYMENT_CONCURRENCY", "100")];
    let _service = orchestrator.start_with(bank.clone(), &limit).await;
    // In one message, and in many.
    let (_, mut commands) = payments(300);
    orchestrator.send_batch(&commands.split_off(50)).await;
    for command in &commands {
        orchestrator.send(command).await;
    }
    bank.charges().holds(100).await;
    assert_eq!(bank.calls(), 100);
    bank.charges().open();
    assert_eq!(orchestrator.replies(300).await.len(), 300);
    assert_eq!(orchestrator.waiting().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_holds_up_no_other_payment() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let vars = [("PAYMENT_TIMEOUT_MS", "500"), ("PAYMENT_CONCURRENCY", "20")];
    let service = orchestrator.start_with(bank.clone(), &vars).await;
    let (sagas, commands) = payments(30);
    let (hanging, others) = sagas.split_at(3);
    for saga in hanging {
        bank.be_silent_about(&saga.charge_key());
    }
    // One message carries all of them, and it is not acked before they are done or stored.
    orchestrator.send_batch(&commands).await;
    let mut answered: Vec<_> = orchestrator.replies(27).await;
    answered.retain(|reply| reply["type"] == "payment.processed.v1");
    assert_eq!(answered.len(), 27);
    for saga in others {
        assert_eq!(orchestrator.payments(saga).await, ["CAPTURED"]);
    }

    // What hung is tried again and again, and nobody waits for it.
    let calls = bank.calls();
    wait_until(PATIENCE, "they are tried again", async || {
        bank.calls() >= calls + 6
    })
    .await;
    let (_, more) = payments(10);
    orchestrator.send_batch(&more).await;
    orchestrator.replies(10).await;
    assert_eq!(service.get("/health/ready").await.0, 200);
    assert_eq!(orchestrator.waiting().await, 0);

    bank.answer_all();
    orchestrator.replies(3).await;
    for saga in hanging {
        assert_eq!(orchestrator.payments(saga).await, ["CAPTURED"]);
    }
    assert_eq!(bank.charged(), 40);
    assert_eq!(orchestrator.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_gateway_refuses_is_the_only_dead_letter() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    let (sagas, commands) = payments(20);
    bank.refuse(&sagas[7].charge_key());
    let _service = orchestrator.start(bank.clone()).await;
    orchestrator.send_batch(&commands).await;
    orchestrator.replies(19).await;
    let letter = orchestrator.amqp.next(DLQ).await;
    let command: Value = serde_json::from_slice(&letter.data).unwrap();
    assert_eq!(command["id"], commands[7]["id"]);
    assert_eq!(bank.calls(), 20, "nobody was asked twice");
    assert_eq!(orchestrator.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_dead_is_left_alone_but_for_a_single_call_now_and_then() {
    let orchestrator = Orchestrator::new().await;
    let bank = Bank::new();
    bank.set_away(true);
    let service = orchestrator.start(bank.clone()).await;
    let ready = async || service.get("/health/ready").await.0;
    eventually("the service is ready", ready, |status| *status == 200).await;
    let (sagas, commands) = payments(100);
    orchestrator.send_batch(&commands[..50]).await;
    eventually("the service is not ready any more", ready, |status| {
        *status == 503
    })
    .await;
    // The calls that were on their way, and hardly any more.
    let calls = bank.calls();
    for command in &commands[50..] {
        orchestrator.send(command).await;
    }
    let probed = async || bank.calls() > calls + 1;
    wait_until(PATIENCE, "it is tried again", probed).await;
    assert!(bank.calls() <= calls + 3, "{} calls", bank.calls() - calls);
    assert_eq!(orchestrator.dead_letters().await, 0);

    bank.set_away(false);
    assert_eq!(orchestrator.replies(100).await.len(), 100);
    eventually("the service is ready again", ready, |status| *status == 200).await;
    for saga in &sagas {
        assert_eq!(orchestrator.payments(saga).await, ["CAPTURED"]);
    }
    assert_eq!(orchestrator.dead_letters().await, 0);
}
