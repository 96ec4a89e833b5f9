//! The service under test, and an orchestrator's view of it.

use std::{collections::VecDeque, net::SocketAddr, sync::Mutex};

use common::contract::topology;
use payment_service::{
    app::{App, Config},
    gateway::Gateway,
};
use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use test_support::{Amqp, Environment, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The routing key of the test's replies.
const REPLY_TO: &str = "test";
/// Where commands are dead-lettered.
pub(crate) const DLQ: &str = "payment.commands.dlq";

/// A broker with our topology and queues that listen, and a database. What runs on it, each test decides.
pub(crate) struct Orchestrator {
    pub(crate) env: Environment,
    pub(crate) amqp: Amqp,
    pub(crate) db: PgPool,
    replies: String,
    events: String,
    /// The rest of a batch of replies.
    unread: Mutex<VecDeque<Value>>,
}

impl Orchestrator {
    pub(crate) async fn new() -> Self {
        let env = Environment::new().await;
        let amqp = Amqp::connect(&env.rabbitmq_url()).await;
        // Before any service, so that commands can wait for it.
        common::amqp::declare(amqp.channel()).await.unwrap();
        Self {
            db: env.pool("payment").await,
            replies: amqp.listen(topology::REPLIES, REPLY_TO).await,
            events: amqp.listen(topology::EVENTS, "payment.#").await,
            unread: Mutex::default(),
            env,
            amqp,
        }
    }

    /// The same with a service that has the simulated gateway and these variables.
    pub(crate) async fn with_service(vars: &[(&str, &str)]) -> (Self, Service) {
        let orchestrator = Self::new().await;
        let config = Config::from_vars(&orchestrator.env.vars(vars)).unwrap();
        let service = Service::start(App::build(&config).await.unwrap());
        (orchestrator, service)
    }

    /// Starts a replica on `gateway`.
    pub(crate) async fn start(&self, gateway: impl Gateway) -> Service {
        let config = Config::from_vars(&self.env.vars(&[])).unwrap();
        Service::start(App::with_gateway(&config, gateway).await.unwrap())
    }

    pub(crate) async fn send(&self, command: &Value) {
        let amqp = &self.amqp;
        amqp.publish_event(topology::COMMANDS, "payment", command)
            .await;
    }

    pub(crate) async fn send_batch(&self, commands: &[Value]) {
        let amqp = &self.amqp;
        amqp.publish_batch(topology::COMMANDS, "payment", commands)
            .await;
    }

    /// The next reply, if one has come.
    pub(crate) async fn try_reply(&self) -> Option<Value> {
        if let Some(message) = self.amqp.get(&self.replies).await {
            let mut unread = self.unread.lock().unwrap();
            match serde_json::from_slice(&message.data).unwrap() {
                Value::Array(batch) => unread.extend(batch),
                event => unread.push_back(event),
            }
        }
        self.unread.lock().unwrap().pop_front()
    }

    /// The next reply, as soon as there is one.
    pub(crate) async fn reply(&self) -> Value {
        let reply = eventually("a reply comes", || self.try_reply(), Option::is_some).await;
        reply.unwrap()
    }

    pub(crate) async fn replies(&self, count: usize) -> Vec<Value> {
        let mut replies = Vec::new();
        while replies.len() < count {
            replies.push(self.reply().await);
        }
        replies
    }

    /// The next reply of type `kind`, whatever comes before it.
    pub(crate) async fn reply_of_type(&self, kind: &str) -> Value {
        loop {
            let reply = self.reply().await;
            if reply["type"] == kind {
                return reply;
            }
        }
    }

    pub(crate) async fn event(&self) -> Value {
        self.amqp.next_events(&self.events, 1).await.remove(0)
    }

    /// Replies that nobody has taken.
    pub(crate) async fn unread_replies(&self) -> u32 {
        self.amqp.ready(&self.replies).await
    }

    /// Commands that no replica has taken.
    pub(crate) async fn waiting(&self) -> u32 {
        self.amqp.ready(topology::PAYMENT_COMMANDS.name).await
    }

    pub(crate) async fn dead_letters(&self) -> u32 {
        self.amqp.ready(DLQ).await
    }

    /// A saga that has paid 39.98 USD.
    pub(crate) async fn paid(&self) -> Saga {
        let saga = Saga::new();
        self.send(&saga.process("pm_card_visa")).await;
        assert_eq!(self.reply().await["type"], "payment.processed.v1");
        saga
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

/// A replica that runs until it is stopped or dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Service {
    fn start<G: Gateway>(app: App<G>) -> Self {
        let shutdown = CancellationToken::new();
        Self {
            address: app.address().unwrap(),
            running: Some(tokio::spawn(app.run(shutdown.clone()))),
            shutdown,
        }
    }

    /// Stops it as SIGTERM does, and waits until it has.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let running = self.running.take().unwrap();
        running.await.unwrap().unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("http://{}{path}", self.address);
        let response = reqwest::get(url).await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
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
        json!({
            "specversion": "1.0",
            "id": Uuid::now_v7(),
            "source": "order-service",
            "type": kind,
            "subject": self.order,
            "time": "2026-11-20T10:00:00Z",
            "datacontenttype": "application/json",
            "sagaid": self.id,
            "sagastep": "payment",
            "correlationid": "a-request",
            "replyto": REPLY_TO,
            "data": data,
        })
    }
}
