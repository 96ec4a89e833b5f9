//! The program under test, and an orchestrator's view of it.

use std::process::{ExitStatus, Stdio};

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Executor, PgPool};
use test_support::{Amqp, Environment, PATIENCE};
use tokio::{
    process::{Child, Command},
    time::timeout,
};
use url::Url;
use uuid::Uuid;

pub(crate) const DLQ: &str = "fraud.commands.dlq";
const COMMANDS: &str = "saga.commands";
const QUEUE: &str = "fraud.commands";
/// What `npm run build` makes.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fraud-check/dist/main.js");
/// The routing key of the test's replies.
const REPLY_TO: &str = "test";

/// A broker, a database, and queues that listen. What runs on them, each test decides.
pub(crate) struct World {
    pub(crate) env: Environment,
    pub(crate) amqp: Amqp,
    pub(crate) db: PgPool,
    replies: String,
    events: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        let env = Environment::new().await;
        let amqp = Amqp::connect(&env.rabbitmq_url()).await;
        declare(&amqp).await;
        let db = env.pool("order").await;
        db.execute("CREATE SCHEMA fraud").await.unwrap();
        Self {
            replies: amqp.listen("saga.replies", REPLY_TO).await,
            events: amqp.listen("saga.events", "fraud.#").await,
            db,
            env,
            amqp,
        }
    }

    /// A schema of the program's own, in a database that is there.
    pub(crate) fn database_url(&self) -> Url {
        let mut url = Url::parse(&self.env.database_url("order")).unwrap();
        url.set_query(Some("options=-csearch_path%3Dfraud"));
        url
    }

    /// Starts a replica.
    pub(crate) fn start(&self) -> Replica {
        Replica::start(&self.env.rabbitmq_url(), self.database_url().as_str())
    }

    pub(crate) async fn send(&self, command: &Value) {
        self.amqp.publish_event(COMMANDS, "fraud", command).await;
    }

    pub(crate) async fn send_batch(&self, commands: &[Value]) {
        self.amqp.publish_batch(COMMANDS, "fraud", commands).await;
    }

    /// The bytes of the next reply, as soon as there is one.
    pub(crate) async fn reply(&self) -> Vec<u8> {
        self.amqp.next(&self.replies).await.data
    }

    /// The next reply, read.
    pub(crate) async fn read_reply(&self) -> Value {
        serde_json::from_slice(&self.reply().await).unwrap()
    }

    /// The bytes of the next public event, as soon as there is one.
    pub(crate) async fn event(&self) -> Vec<u8> {
        self.amqp.next(&self.events).await.data
    }

    /// Replies that nobody has taken.
    pub(crate) async fn unread_replies(&self) -> u32 {
        self.amqp.ready(&self.replies).await
    }

    /// Commands that no replica has taken.
    pub(crate) async fn waiting(&self) -> u32 {
        self.amqp.ready(QUEUE).await
    }

    pub(crate) async fn dead_letters(&self) -> u32 {
        self.amqp.ready(DLQ).await
    }

    /// How many keys are decided. The table is there only when the program has been.
    pub(crate) async fn decided(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM fraud.idempotency");
        count.fetch_one(&self.db).await.unwrap_or(0)
    }

    /// The stored reply of `saga` in `direction`, and whether it is a tombstone.
    pub(crate) async fn stored(&self, saga: &Saga, direction: &str) -> Option<(String, bool)> {
        sqlx::query_as(
            "SELECT reply, tombstone FROM fraud.idempotency
             WHERE saga_id = $1 AND step = 'fraud' AND direction = $2",
        )
        .bind(saga.id)
        .bind(direction)
        .fetch_optional(&self.db)
        .await
        .unwrap_or(None)
    }
}

/// A process of fraud-check. It dies with its test.
pub(crate) struct Replica(Child);

impl Replica {
    pub(crate) fn start(rabbitmq_url: &str, database_url: &str) -> Self {
        assert!(
            std::path::Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: run the tests with ./dev test, which builds it"
        );
        let child = Command::new("node")
            .arg(PROGRAM)
            .env("RABBITMQ_URL", rabbitmq_url)
            .env("FRAUD_DATABASE_URL", database_url)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        Self(child.expect("node is installed: ./dev test does it"))
    }

    /// Dies as by `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.0.kill().await.unwrap();
    }

    /// Gets SIGTERM, and is waited for.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        let id = i32::try_from(self.0.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        let ended = timeout(PATIENCE, self.0.wait()).await;
        ended.expect("it ends").unwrap()
    }
}

/// A saga that has an order checked.
#[derive(Clone, Debug)]
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

    /// The command to check an order of `customer` that costs `amount`.
    pub(crate) fn check(&self, customer: &str, amount: &str) -> Value {
        let data = json!({
            "orderId": self.order,
            "customerId": customer,
            "amount": amount,
            "currency": "USD",
        });
        self.command("fraud.check.v1", &data)
    }

    /// The command to forget that check.
    pub(crate) fn forget(&self) -> Value {
        let data = json!({ "orderId": self.order, "reason": "TIMEOUT" });
        self.command("fraud.forget.v1", &data)
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
            "sagastep": "fraud",
            "correlationid": "a-request",
            "replyto": REPLY_TO,
            "data": data,
        })
    }
}

/// Makes what the program needs, before it runs, so that commands can wait for it. What is said here of the queues is
/// what the program must say of them, for RabbitMQ refuses anything else.
async fn declare(amqp: &Amqp) {
    let channel = amqp.channel();
    for (name, kind) in [
        (COMMANDS, ExchangeKind::Direct),
        ("saga.replies", ExchangeKind::Direct),
        ("saga.events", ExchangeKind::Topic),
        ("saga.dlx", ExchangeKind::Direct),
    ] {
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        channel
            .exchange_declare(name.into(), kind, durable, FieldTable::default())
            .await
            .unwrap();
    }
    let text = |value: &str| AMQPValue::LongString(value.into());
    let working = [
        ("x-queue-type", text("quorum")),
        ("x-dead-letter-exchange", text("saga.dlx")),
        ("x-dead-letter-routing-key", text(QUEUE)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-delivery-limit", AMQPValue::LongLongInt(20)),
    ];
    let dead = [
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongLongInt(1_000_000_000)),
    ];
    for (name, arguments, exchange, key) in [
        (QUEUE, &working[..], COMMANDS, "fraud"),
        (DLQ, &dead[..], "saga.dlx", QUEUE),
    ] {
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        channel
            .queue_declare(name.into(), QueueDeclareOptions::durable(), table)
            .await
            .unwrap();
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        channel
            .queue_bind(name.into(), exchange.into(), key.into(), options, none)
            .await
            .unwrap();
    }
}
