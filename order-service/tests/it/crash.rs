//! `kill -9` of the order service at the places where it hurts.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use test_support::{Environment, PATIENCE, servers::free_ports, wait_until};
use tokio::process::{Child, Command};

use crate::harness::{Api, Participants, System, order, processed, reserved};

/// The real binary, which dies when it first comes to `crash_at`.
pub(crate) struct Victim {
    process: Child,
    pub(crate) orders: Api,
}

impl Victim {
    pub(crate) async fn start(environment: &Environment, crash_at: &str) -> Self {
        let victim = Self::spawn(environment, crash_at);
        victim.orders.until_ready().await;
        victim
    }

    fn spawn(environment: &Environment, crash_at: &str) -> Self {
        let port = free_ports(1).unwrap()[0];
        let address = format!("127.0.0.1:{port}");
        let process = Command::new(env!("CARGO_BIN_EXE_order-service"))
            .envs(environment.pairs(&[("ORDER_HTTP_ADDR", &address), ("CRASH_AT", crash_at)]))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let orders = Api::at(address.parse().unwrap());
        Self { process, orders }
    }

    /// Waits until it is dead.
    pub(crate) async fn dies(mut self) {
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        let status = ended.expect("it dies").unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9),
            "{status}"
        );
    }
}

/// The only order that there is.
async fn the_order(environment: &Environment) -> Option<Value> {
    let db = environment.pool("order").await;
    let row: Option<(uuid::Uuid, uuid::Uuid)> = sqlx::query_as("SELECT id, saga_id FROM orders")
        .fetch_optional(&db)
        .await
        .unwrap();
    row.map(|(id, saga)| serde_json::json!({ "orderId": id, "sagaId": saga }))
}

/// Lets leases of the dead process end now.
async fn end_leases(environment: &Environment) {
    let db = environment.pool("order").await;
    sqlx::query("UPDATE outbox SET lease_until = now()")
        .execute(&db)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_not_committed_is_not_there() {
    let environment = Environment::new().await;
    let victim = Victim::start(&environment, "engine.decided").await;
    let request = victim
        .orders
        .request(reqwest::Method::POST, "/orders")
        .json(&order("prod-1", 1, "pm_card_visa"));
    assert!(request.send().await.is_err());
    victim.dies().await;
    assert!(the_order(&environment).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_committed_goes_on_after_the_crash() {
    let environment = Environment::new().await;
    let victim = Victim::start(&environment, "outbox.committed").await;
    let request = victim
        .orders
        .request(reqwest::Method::POST, "/orders")
        .json(&order("prod-1", 1, "pm_card_visa"));
    // Answered or not: it is committed.
    let _ = request.send().await;
    victim.dies().await;
    let order = the_order(&environment)
        .await
        .expect("the order is committed");
    end_leases(&environment).await;
    let mut system = System::on(environment, &[]).await;
    system.add_participants(&[]).await;
    system.stock(&[("prod-1", 100)]).await;
    let ended = system.until_saga_ends(&order).await;
    assert!(["COMPLETED", "CANCELLED"].contains(&ended["status"].as_str().unwrap()));
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_taken_once_whenever_the_orchestrator_dies() {
    for crash_at in [
        "engine.decided",
        "outbox.committed",
        "outbox.confirmed",
        "consumer.published",
    ] {
        let environment = Environment::new().await;
        // Placed by a process that lives, so that the crash is in the handling of the reply.
        let system = System::on(environment, &[]).await;
        let order = system.place("prod-1", 1).await;
        system.until_outbox_is_empty().await;
        let environment = system.stop().await;
        let participants = Participants::of(&environment).await;
        let victim = Victim::start(&environment, crash_at).await;
        let paid = processed(&participants.command("payment").await);
        participants.reply(&[paid]).await;
        victim.dies().await;
        end_leases(&environment).await;
        let system = System::on(environment, &[]).await;
        let reserve = participants.command("inventory").await;
        participants.reply(&[reserved(&reserve)]).await;
        system.until(&order, "COMPLETED").await;
        assert_eq!(system.saga(&order).await["version"], 6, "{crash_at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_in_a_crash_passes_again() {
    for crash_at in ["engine.decided", "outbox.committed"] {
        let system = System::alone().await;
        let order = system.place("prod-1", 1).await;
        system.until_outbox_is_empty().await;
        let environment = system.stop().await;
        let participants = Participants::of(&environment).await;
        let first = participants.command("payment").await;
        let db = environment.pool("order").await;
        sqlx::query("UPDATE sagas SET deadline_at = now()")
            .execute(&db)
            .await
            .unwrap();
        Victim::spawn(&environment, crash_at).dies().await;
        end_leases(&environment).await;
        let system = System::on(environment, &[]).await;
        let again = participants.command("payment").await;
        assert_eq!(again["data"], first["data"], "{crash_at}");
        participants.reply(&[processed(&again)]).await;
        let reserve = participants.command("inventory").await;
        participants.reply(&[reserved(&reserve)]).await;
        system.until(&order, "COMPLETED").await;
        // One attempt is logged as lost, however often somebody died over it.
        let log = system.saga(&order).await["log"].clone();
        let lost = log.as_array().unwrap().iter();
        let lost = lost.filter(|entry| entry["event"] == "ACTION_TIMED_OUT");
        assert_eq!(lost.count(), 1, "{crash_at}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_signal_ends_the_service_well() {
    let environment = Environment::new().await;
    let mut victim = Victim::start(&environment, "nowhere").await;
    let answer = victim
        .orders
        .post("/orders", &order("prod-1", 1, "pm_card_visa"))
        .await;
    assert_eq!(answer.status(), 201);
    let pid = victim.process.id().unwrap().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .unwrap();
    assert!(kill.success());
    let ended = tokio::time::timeout(Duration::from_secs(30), victim.process.wait()).await;
    assert_eq!(ended.expect("it ends within 30 s").unwrap().code(), Some(0));
    let db = environment.pool("order").await;
    wait_until(PATIENCE, "nothing is left to publish", || async {
        crate::harness::count(&db, "SELECT count(*) FROM outbox").await == 0
    })
    .await;
}
