//! An orchestrator, a warehouse and a client for tests.

use common::contract::topology;
use inventory_service::app::{App, Config};
use lapin::{message::Delivery, types::AMQPValue};
use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use test_support::{Amqp, Environment};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What a command's `replyto` names here.
pub(crate) const REPLY_TO: &str = "test";

/// What a test has: an environment with the topology, our own queue of replies, and as many services as it starts.
pub(crate) struct World {
    pub(crate) amqp: Amqp,
    pub(crate) db: PgPool,
    pub(crate) replies: String,
    // Last, because services use it until they are dropped.
    pub(crate) environment: Environment,
}

impl World {
    pub(crate) async fn new() -> Self {
        let environment = Environment::new().await;
        let amqp = Amqp::connect(&environment.rabbitmq_url()).await;
        common::amqp::declare(amqp.channel()).await.unwrap();
        Self {
            replies: amqp.listen(topology::REPLIES, REPLY_TO).await,
            db: environment.pool("inventory").await,
            amqp,
            environment,
        }
    }

    /// A world with a service and these products.
    pub(crate) async fn with_stock(products: &[(&str, i64)]) -> (Self, Service) {
        let world = Self::new().await;
        for (product_id, quantity) in products {
            world.add(product_id, *quantity).await;
        }
        let service = Service::start(&world.environment).await;
        (world, service)
    }

    /// Puts a product on the shelf, without a word to anybody.
    pub(crate) async fn add(&self, product_id: &str, quantity: i64) {
        sqlx::query(
            "INSERT INTO inventory_items (product_id, quantity, version) VALUES ($1, $2, 0)",
        )
        .bind(product_id)
        .bind(quantity)
        .execute(&self.db)
        .await
        .unwrap();
    }

    pub(crate) async fn command(&self, command: &Value) {
        let exchange = topology::COMMANDS;
        self.amqp
            .publish_event(exchange, "inventory", command)
            .await;
    }

    pub(crate) async fn commands(&self, commands: &[Value]) {
        let exchange = topology::COMMANDS;
        self.amqp
            .publish_batch(exchange, "inventory", commands)
            .await;
    }

    /// The next `count` replies.
    pub(crate) async fn replies(&self, count: usize) -> Vec<Value> {
        self.amqp.next_events(&self.replies, count).await
    }

    pub(crate) async fn reply(&self) -> Value {
        self.replies(1).await.remove(0)
    }

    /// (quantity, reserved) of a product.
    pub(crate) async fn stock(&self, product_id: &str) -> (i64, i64) {
        let row = sqlx::query(
            "SELECT quantity, reserved_quantity FROM inventory_items WHERE product_id = $1",
        )
        .bind(product_id)
        .fetch_one(&self.db)
        .await
        .unwrap();
        (row.get(0), row.get(1))
    }

    /// Status of each reservation, in the order in which they were made.
    pub(crate) async fn reservations(&self) -> Vec<String> {
        let rows = sqlx::query("SELECT status FROM reservations ORDER BY id")
            .fetch_all(&self.db)
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// What is reserved of each product is what reservations hold of it.
    pub(crate) async fn assert_books_balance(&self) {
        let wrong = sqlx::query(
            "SELECT product_id FROM inventory_items
             LEFT JOIN (SELECT item->>'productId' AS product_id, sum((item->>'quantity')::bigint) AS held
                        FROM reservations, json_array_elements(items) AS item
                        WHERE status = 'RESERVED' GROUP BY 1) AS r USING (product_id)
             WHERE reserved_quantity <> COALESCE(held, 0)",
        )
        .fetch_all(&self.db)
        .await
        .unwrap();
        let wrong: Vec<&str> = wrong.iter().map(|row| row.get(0)).collect();
        assert!(wrong.is_empty(), "the books of {wrong:?} do not balance");
    }
}

/// A replica of the service in this process. It stops when it is dropped.
pub(crate) struct Service {
    pub(crate) url: String,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    pub(crate) async fn start(environment: &Environment) -> Self {
        let config = Config::from_vars(&environment.vars(&[])).unwrap();
        let app = App::build(&config).await.unwrap();
        let stop = CancellationToken::new();
        Self {
            url: format!("http://{}", app.address().unwrap()),
            running: tokio::spawn(app.run(stop.clone())),
            stop,
        }
    }

    /// Stops it, and says whether it stopped well.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// An order's saga, as the orchestrator sees it.
#[derive(Clone, Copy)]
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

    pub(crate) fn reserve(&self, items: &[(&str, u32)]) -> Value {
        self.command(
            "inventory.reserve.v1",
            json!({"orderId": self.order, "items": lines(items)}),
        )
    }

    pub(crate) fn release(&self) -> Value {
        self.command(
            "inventory.release.v1",
            json!({"orderId": self.order, "reason": "CUSTOMER_REQUEST"}),
        )
    }

    /// Another saga of the same order.
    pub(crate) fn another(&self) -> Self {
        Self {
            id: Uuid::now_v7(),
            order: self.order,
        }
    }

    pub(crate) fn commit(&self) -> Value {
        self.command("inventory.commit.v1", json!({"orderId": self.order}))
    }

    /// What came back with a return that has the saga's id.
    pub(crate) fn restock(&self, items: &[(&str, u32)]) -> Value {
        self.command(
            "inventory.restock.v1",
            json!({"orderId": self.order, "returnId": self.id, "items": lines(items)}),
        )
    }

    fn command(&self, kind: &str, data: Value) -> Value {
        let mut command = event(kind, self.order, data);
        command["sagaid"] = json!(self.id);
        command["sagastep"] = json!("inventory");
        command["correlationid"] = json!("request-1");
        command["replyto"] = json!(REPLY_TO);
        command
    }
}

/// A CloudEvent.
pub(crate) fn event(kind: &str, subject: Uuid, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": Uuid::now_v7(), "source": "order-service", "type": kind,
        "subject": subject.to_string(), "time": "2026-11-21T10:00:00Z",
        "datacontenttype": "application/json", "data": data,
    })
}

/// `[{"productId","quantity"}]`
pub(crate) fn lines(items: &[(&str, u32)]) -> Value {
    let line = |(product_id, quantity): &(&str, u32)| json!({"productId": product_id, "quantity": quantity});
    items.iter().map(line).collect()
}

/// A header that says why a message is dead.
pub(crate) fn header(dead: &Delivery, name: &str) -> String {
    let headers = dead.properties.headers().clone().unwrap();
    match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name} is {other:?}"),
    }
}
