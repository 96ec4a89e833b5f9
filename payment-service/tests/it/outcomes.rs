//! What becomes of commands.

use serde_json::json;

use crate::service::{Orchestrator, Saga};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_captured_and_everybody_is_told() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let saga = Saga::new();
    let command = saga.process("pm_card_visa");
    orchestrator.send(&command).await;

    let reply = orchestrator.reply().await;
    assert_eq!(reply["type"], "payment.processed.v1");
    assert_eq!(reply["source"], "payment-service");
    assert_eq!(reply["subject"], json!(saga.order));
    assert_eq!(reply["sagaid"], json!(saga.id));
    assert_eq!(reply["sagastep"], "payment");
    assert_eq!(reply["correlationid"], "a-request");
    assert_eq!(reply["causationid"], command["id"]);
    assert_eq!(reply["sequence"], 1);
    assert_eq!(reply["data"]["orderId"], json!(saga.order));
    assert_eq!(reply["data"]["amount"], "39.98");
    assert_eq!(reply["data"]["currency"], "USD");
    assert!(reply["data"]["paymentId"].is_string());
    assert_eq!(orchestrator.event().await, reply);
    assert_eq!(orchestrator.payments(&saga).await, ["CAPTURED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_payment_says_why() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let saga = Saga::new();
    let method = "pm_card_visa_chargeDeclinedInsufficientFunds";
    orchestrator.send(&saga.process(method)).await;

    let reply = orchestrator.reply().await;
    assert_eq!(reply["type"], "payment.failed.v1");
    assert_eq!(reply["data"]["reason"], "PAYMENT_DECLINED");
    assert_eq!(reply["data"]["detail"], "insufficient_funds");
    assert_eq!(reply["data"]["amount"], "39.98");
    assert_eq!(orchestrator.payments(&saga).await, ["DECLINED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_gives_the_payment_back() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let saga = Saga::new();
    orchestrator.send(&saga.process("pm_card_visa")).await;
    let processed = orchestrator.reply().await;
    orchestrator.send(&saga.refund()).await;

    let reply = orchestrator.reply().await;
    assert_eq!(reply["type"], "payment.refunded.v1");
    assert_eq!(reply["sequence"], 2);
    assert_eq!(reply["data"]["paymentId"], processed["data"]["paymentId"]);
    assert_eq!(reply["data"]["amount"], "39.98");
    assert_eq!(reply["data"]["currency"], "USD");
    assert_eq!(reply["data"]["reason"], "OUT_OF_STOCK");
    assert_eq!(orchestrator.payments(&saga).await, ["REFUNDED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_a_declined_payment_gives_nothing_back() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let saga = Saga::new();
    orchestrator
        .send(&saga.process("pm_card_chargeDeclined"))
        .await;
    orchestrator.reply().await;
    orchestrator.send(&saga.refund()).await;

    let reply = orchestrator.reply().await;
    assert_eq!(reply["type"], "payment.refunded.v1");
    assert_eq!(
        reply["data"],
        json!({ "orderId": saga.order, "reason": "OUT_OF_STOCK" })
    );
    assert_eq!(orchestrator.payments(&saga).await, ["DECLINED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_comes_after_its_refund_is_not_made() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let saga = Saga::new();
    orchestrator.send(&saga.refund()).await;
    let refunded = orchestrator.reply().await;
    assert_eq!(refunded["type"], "payment.refunded.v1");
    assert!(refunded["data"].get("paymentId").is_none());
    orchestrator.send(&saga.process("pm_card_visa")).await;

    let reply = orchestrator.reply().await;
    assert_eq!(reply["type"], "payment.failed.v1");
    assert_eq!(
        reply["data"],
        json!({ "orderId": saga.order, "reason": "ALREADY_COMPENSATED" })
    );
    assert!(orchestrator.payments(&saga).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_twice_gets_the_same_reply_twice() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let saga = Saga::new();
    for command in [saga.process("pm_card_visa"), saga.refund()] {
        orchestrator.send(&command).await;
        let first = orchestrator.reply().await;
        orchestrator.send(&command).await;
        assert_eq!(orchestrator.reply().await, first);
        // Sent anew by its sender, it is another message with the same key.
        let again = if command["type"] == "payment.refund.v1" {
            saga.refund()
        } else {
            saga.process("pm_card_visa")
        };
        orchestrator.send(&again).await;
        assert_eq!(orchestrator.reply().await, first);
    }
    assert_eq!(orchestrator.payments(&saga).await, ["REFUNDED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_may_have_both_commands_in_one_message() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let [forth, back] = [Saga::new(), Saga::new()];
    orchestrator
        .send_batch(&[
            forth.process("pm_card_visa"),
            back.refund(),
            forth.refund(),
            back.process("pm_card_visa"),
        ])
        .await;

    let replies = orchestrator.replies(4).await;
    let of = |saga: &Saga| {
        let own = replies
            .iter()
            .filter(|reply| reply["sagaid"] == json!(saga.id));
        own.map(|reply| reply["type"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&forth), ["payment.processed.v1", "payment.refunded.v1"]);
    assert_eq!(of(&back), ["payment.refunded.v1", "payment.failed.v1"]);
    assert_eq!(orchestrator.payments(&forth).await, ["REFUNDED"]);
    assert!(orchestrator.payments(&back).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_another_step_leaves_the_payment_alone() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let saga = Saga::new();
    orchestrator.send(&saga.process("pm_card_visa")).await;
    orchestrator.reply().await;
    let mut refund = saga.refund();
    refund["sagastep"] = json!("tip");
    orchestrator.send(&refund).await;

    let reply = orchestrator.reply().await;
    assert_eq!(reply["type"], "payment.refunded.v1");
    assert!(reply["data"].get("paymentId").is_none());
    assert_eq!(orchestrator.payments(&saga).await, ["CAPTURED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_step_of_a_saga_has_a_payment_of_its_own() {
    let (orchestrator, _service) = Orchestrator::with_service(&[]).await;
    let saga = Saga::new();
    let mut second = saga.process("pm_card_visa");
    second["sagastep"] = json!("tip");
    for command in [saga.process("pm_card_visa"), second] {
        orchestrator.send(&command).await;
        assert_eq!(orchestrator.reply().await["type"], "payment.processed.v1");
    }
    assert_eq!(orchestrator.payments(&saga).await, ["CAPTURED", "CAPTURED"]);
    orchestrator.send(&saga.refund()).await;
    orchestrator.reply().await;
    let mut statuses = orchestrator.payments(&saga).await;
    statuses.sort();
    assert_eq!(statuses, ["CAPTURED", "REFUNDED"]);
}
