//! The service under test, and an orchestrator's view of it.

use std::ops::Deref;

use common::{fleet, messaging::topology};
use payment_service::{
    app::{App, Config},
    gateway::Gateway,
};
use serde_json::{Value, json};
use sqlx::Row;
use test_support::participant::{self, Participant, Replica};
use uuid::Uuid;

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

    /// The same with a service that has the simulated gateway and these variables.
    pub(crate) async fn with_service(vars: &[(&str, &str)]) -> (Self, Replica) {
        let orchestrator = Self::new().await;
        let config = Config::from_vars(&orchestrator.environment.vars(vars)).unwrap();
        let replica = run(App::build(&config).await.unwrap());
        (orchestrator, replica)
    }

    /// Starts a replica on `gateway`.
    pub(crate) async fn start(&self, gateway: impl Gateway) -> Replica {
        let config = Config::from_vars(&self.environment.vars(&[])).unwrap();
        run(App::with_gateway(&config, gateway).await.unwrap())
    }

    pub(crate) async fn event(&self) -> Value {
        self.amqp.next_events(&self.events, 1).await.remove(0)
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

    fn command(&self, kind: &str, data: &Value) -> Value {
        participant::command(self.id, self.order, "payment", kind, data)
    }
}
