//! The service under test, and an orchestrator's view of it.

use std::ops::Deref;

use common::{contract::topology, fleet};
use payment_service::{
    app::{App, Config},
    gateway::Gateway,
};
use serde_json::{Value, json};
use sqlx::Row;
use test_support::{
    eventually,
    participant::{self, Participant, Replica},
};
use uuid::Uuid;

use crate::bank::Gate;

/// Where commands are dead-lettered.
pub(crate) const DLQ: &str = "payment.commands.dlq";

/// The payment service as an orchestrator sees it, and its events.
pub(crate) struct Orchestrator {
    events: String,
    participant: Participant,
}

impl Deref for Orchestrator {
    type Target = Participant;

    fn deref(&self) -> &Participant {
        &self.participant
    }
}

impl Orchestrator {
    pub(crate) async fn new() -> Self {
        let participant = Participant::of(&fleet::PAYMENT).await;
        Self {
            events: participant.amqp.listen(topology::EVENTS, "payment.#").await,
            participant,
        }
    }

    /// An orchestrator, and a service that has the simulated gateway and these variables.
    pub(crate) async fn with_service(vars: &[(&str, &str)]) -> (Self, Replica) {
        let orchestrator = Self::new().await;
        let config = Config::from_vars(&orchestrator.environment.vars(vars)).unwrap();
        let replica = run(App::build(&config).await.unwrap());
        replica.until_ready().await;
        (orchestrator, replica)
    }

    /// Starts a replica on `gateway`.
    pub(crate) async fn start(&self, gateway: impl Gateway) -> Replica {
        self.start_with(gateway, &[]).await
    }

    /// Starts a replica on `gateway`, with these variables.
    pub(crate) async fn start_with(&self, gateway: impl Gateway, vars: &[(&str, &str)]) -> Replica {
        let config = Config::from_vars(&self.environment.vars(vars)).unwrap();
        run(App::with_gateway(&config, gateway).await.unwrap())
    }

    pub(crate) async fn event(&self) -> Value {
        self.amqp.next_events(&self.events, 1).await.remove(0)
    }

    /// A saga that has paid 39.98 USD.
    pub(crate) async fn paid(&self) -> Saga {
        let saga = Saga::new();
        self.send(&saga.process("pm_card_visa")).await;
        assert_eq!(self.reply().await["type"], "payment.processed.v1");
        saga
    }

    /// Sends the payment and the refund of `saga`, in this order or in the other.
    pub(crate) async fn send_both(&self, saga: &Saga, payment_first: bool) {
        let mut commands = [saga.process("pm_card_visa"), saga.refund()];
        if !payment_first {
            commands.reverse();
        }
        for command in &commands {
            self.send(command).await;
        }
    }

    /// Sends `command` again and again until it is held up at `gate` by two replicas: how many times.
    pub(crate) async fn send_until_two_are_held_up(&self, command: &Value, gate: &Gate) -> usize {
        let mut sent = 0;
        while gate.held_up() < 2 {
            self.send(command).await;
            sent += 1;
            let waiting = || self.waiting();
            eventually("a replica takes it", waiting, |waiting| *waiting == 0).await;
        }
        sent
    }

    /// What was paid for `saga`, if anything, was given back.
    pub(crate) async fn holds_no_payment_of(&self, saga: &Saga) {
        let payments = self.payments(saga).await;
        assert!(
            payments.is_empty() || payments == ["REFUNDED"],
            "{payments:?}"
        );
    }

    /// (status, what is given back) of the only payment of `saga`, and the parts that were given back of its order.
    pub(crate) async fn refunds(&self, saga: &Saga) -> (String, i64, Vec<i64>) {
        let payment = sqlx::query("SELECT status, refunded_minor FROM payments WHERE saga_id = $1")
            .bind(saga.id)
            .fetch_one(&self.db)
            .await
            .unwrap();
        let parts = sqlx::query("SELECT amount_minor FROM refunds WHERE order_id = $1 ORDER BY id")
            .bind(saga.order)
            .fetch_all(&self.db)
            .await
            .unwrap();
        let parts = parts.iter().map(|row| row.get(0)).collect();
        (payment.get(0), payment.get(1), parts)
    }

    /// Charges that the gateway may be making.
    pub(crate) async fn intents(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM intents")
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    /// The status of each payment of `saga`.
    pub(crate) async fn payments(&self, saga: &Saga) -> Vec<String> {
        let rows = sqlx::query("SELECT status FROM payments WHERE saga_id = $1")
            .bind(saga.id)
            .fetch_all(&self.db)
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

fn run<G: Gateway>(app: App<G>) -> Replica {
    Replica::start(app.address().unwrap(), |shutdown| app.run(shutdown))
}

/// A saga that pays for an order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saga {
    pub(crate) id: Uuid,
    pub(crate) order: Uuid,
}

impl Saga {
    pub(crate) fn new() -> Self {
        Self {
            id: Uuid::now_v7(),
            order: Uuid::now_v7(),
        }
    }

    /// Another saga, in which the customer sends something of the same order back.
    pub(crate) fn returning(&self) -> Self {
        Self {
            id: Uuid::now_v7(),
            order: self.order,
        }
    }

    /// The gateway's idempotency key of its charge.
    pub(crate) fn charge_key(&self) -> String {
        format!("{}:payment:ACTION", self.id)
    }

    /// The command to take 39.98 USD.
    pub(crate) fn process(&self, payment_method: &str) -> Value {
        let data = json!({
            "orderId": self.order,
            "customerId": "customer-1",
            "amount": "39.98",
            "currency": "USD",
            "paymentMethod": payment_method,
        });
        self.command("payment.process.v1", &data)
    }

    /// The command to give it back.
    pub(crate) fn refund(&self) -> Value {
        let data = json!({ "orderId": self.order, "reason": "OUT_OF_STOCK" });
        self.command("payment.refund.v1", &data)
    }

    /// The command to give `amount` USD of it back. Its return has the saga's id.
    pub(crate) fn refund_part(&self, amount: &str) -> Value {
        let data = json!({
            "orderId": self.order,
            "returnId": self.id,
            "amount": amount,
            "currency": "USD",
            "reason": "CUSTOMER_REQUEST",
        });
        self.command("payment.refund_part.v1", &data)
    }

    fn command(&self, kind: &str, data: &Value) -> Value {
        participant::command(self.id, self.order, "payment", kind, data)
    }
}
