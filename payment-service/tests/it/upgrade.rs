//! A later release's schema, under this release's service: columns are added while it runs.

use test_support::participant::Replica;

use crate::{
    bank::Bank,
    service::{Orchestrator, Saga},
};

const TABLES: [&str; 4] = ["payments", "refunds", "idempotency", "outbox"];

/// Each command once, again, and too late; and what the API shows of a payment.
async fn everything(orchestrator: &Orchestrator, service: &Replica) {
    let saga = Saga::new();
    let never_paid = Saga::new();
    let mut payment = None;
    let commands = [
        (saga.process("pm_card_visa"), "payment.processed.v1"),
        (
            saga.returning().refund_part("10.50"),
            "payment.part_refunded.v1",
        ),
        (saga.refund(), "payment.refunded.v1"),
        (never_paid.refund(), "payment.refunded.v1"),
    ];
    for (command, answer) in commands {
        for _ in 0..2 {
            orchestrator.send(&command).await;
            let reply = orchestrator.reply().await;
            assert_eq!(reply["type"], answer);
            payment.get_or_insert_with(|| reply["data"]["paymentId"].clone());
        }
    }
    orchestrator.send(&never_paid.process("pm_card_visa")).await;
    let too_late = orchestrator.reply().await;
    assert_eq!(too_late["type"], "payment.failed.v1");
    let id = payment.unwrap();
    let path = format!("/payments/{}", id.as_str().unwrap());
    assert_eq!(service.get(&path).await.1["status"], "REFUNDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_while_the_service_runs() {
    let orchestrator = Orchestrator::new().await;
    let service = orchestrator.start(Bank::new()).await;
    // Every statement is prepared on the tables as they are now.
    everything(&orchestrator, &service).await;
    orchestrator
        .environment
        .add_columns("payment", &TABLES)
        .await;
    everything(&orchestrator, &service).await;
    assert_eq!(orchestrator.dead_letters().await, 0);
}
