//! An orchestrator, a warehouse and a client for tests.

use std::ops::Deref;

use common::fleet;
use inventory_service::app::{App, Config};
use lapin::{message::Delivery, types::AMQPValue};
use serde_json::{Value, json};
use sqlx::Row;
use test_support::participant::{self, Participant, Replica};
use uuid::Uuid;

/// The inventory service as an orchestrator sees it, and its warehouse.
pub(crate) struct World(Participant);

impl Deref for World {
    type Target = Participant;

    fn deref(&self) -> &Participant {
        &self.0
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self(Participant::of(&fleet::INVENTORY).await)
    }

    /// Starts a replica of the service.
    pub(crate) async fn start(&self) -> Replica {
        let config = Config::from_vars(&self.environment.vars(&[])).unwrap();
        let app = App::build(&config).await.unwrap();
        Replica::start(app.address().unwrap(), |shutdown| app.run(shutdown))
    }

    /// A world with a service and these products.
    pub(crate) async fn with_stock(products: &[(&str, i64)]) -> (Self, Replica) {
        let world = Self::new().await;
        for (product_id, quantity) in products {
            world.add(product_id, *quantity).await;
        }
        let service = world.start().await;
        service.until_ready().await;
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
        self.send(command).await;
    }

    pub(crate) async fn commands(&self, commands: &[Value]) {
        self.send_batch(commands).await;
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
        participant::command(self.id, self.order, "inventory", kind, &data)
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
