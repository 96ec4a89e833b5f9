//! Orders that were shipped, and of which goods came back.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Case, Ids, forward};

impl Case {
    /// On its way: its saga waits to hear that its stock has left.
    pub(crate) async fn shipping(&self) -> Ids {
        let ids = self.completed().await;
        self.set_status(ids, "SHIPPED").await;
        self.following(ids, "ship_order", &["inventory"], true)
            .await;
        ids
    }

    /// Its stock has left.
    pub(crate) async fn shipped(&self) -> Ids {
        let ids = self.order_as("SHIPPED", "COMPLETED", None).await;
        self.log(ids, &forward()).await;
        self.pay(ids, "CAPTURED").await;
        self.hold(ids, "COMMITTED").await;
        self.following(ids, "ship_order", &["inventory"], false)
            .await;
        ids
    }

    /// Delivered, and one `mug` came back, for 10.00.
    pub(crate) async fn partly_returned(&self) -> Ids {
        let ids = self.shipped().await;
        self.set_status(ids, "DELIVERED").await;
        self.give_back(ids, 1000, &json!([{"productId": "mug", "quantity": 1}]))
            .await;
        ids
    }

    /// All of it came back, in two parts.
    pub(crate) async fn returned(&self) -> Ids {
        let ids = self.partly_returned().await;
        let rest =
            json!([{"productId": "mug", "quantity": 2}, {"productId": "cup", "quantity": 1}]);
        self.give_back(ids, 2998, &rest).await;
        self.set_status(ids, "RETURNED").await;
        ids
    }

    /// Delivered, and one `mug` is on the shelf again, whose price is not given back yet.
    pub(crate) async fn returning(&self) -> Ids {
        let ids = self.shipped().await;
        self.set_status(ids, "DELIVERED").await;
        let items = json!([{"productId": "mug", "quantity": 1}]);
        self.send_back(ids, 1000, &items, true).await;
        ids
    }

    async fn set_status(&self, ids: Ids, status: &str) {
        sqlx::query("UPDATE orders SET status = $2 WHERE id = $1")
            .bind(ids.order)
            .bind(status)
            .execute(&self.order)
            .await
            .unwrap();
    }

    /// A return with its saga, whose goods are on the shelf; the id of the return, and of the saga.
    async fn send_back(&self, ids: Ids, minor: i64, items: &Value, is_open: bool) -> (Uuid, Ids) {
        let saga = self
            .following(ids, "return_order", &["restock", "refund"], is_open)
            .await;
        let id = Uuid::now_v7();
        let status = if is_open { "PENDING" } else { "COMPLETED" };
        sqlx::query(
            "INSERT INTO returns (id, order_id, saga_id, items, amount_minor, currency, status)
             VALUES ($1, $2, $3, $4::json, $5, 'USD', $6)",
        )
        .bind(id)
        .bind(ids.order)
        .bind(saga.saga)
        .bind(items)
        .bind(minor)
        .bind(status)
        .execute(&self.order)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO restocks (id, saga_id, step, order_id, return_id, items) VALUES ($1, $2, 'restock', $3, $4, $5::json)",
        )
        .bind(Uuid::now_v7())
        .bind(saga.saga)
        .bind(ids.order)
        .bind(id)
        .bind(items)
        .execute(&self.inventory)
        .await
        .unwrap();
        (id, saga)
    }

    /// A return that is completed: its price is given back, too.
    async fn give_back(&self, ids: Ids, minor: i64, items: &Value) {
        let (id, saga) = self.send_back(ids, minor, items, false).await;
        sqlx::query(
            "INSERT INTO refunds (id, saga_id, step, payment_id, order_id, return_id, amount_minor, currency)
             SELECT $1, $2, 'refund', id, order_id, $3, $4, currency FROM payments WHERE order_id = $5",
        )
        .bind(Uuid::now_v7())
        .bind(saga.saga)
        .bind(id)
        .bind(minor)
        .bind(ids.order)
        .execute(&self.payment)
        .await
        .unwrap();
        sqlx::query(
            "UPDATE payments SET refunded_minor = refunded_minor + $2,
                                 status = CASE WHEN refunded_minor + $2 = amount_minor THEN 'REFUNDED' ELSE status END
             WHERE order_id = $1",
        )
        .bind(ids.order)
        .bind(minor)
        .execute(&self.payment)
        .await
        .unwrap();
    }

    /// Another saga of the order, without a way back: completed, or waiting for the last of its steps.
    async fn following(&self, ids: Ids, kind: &str, steps: &[&'static str], is_open: bool) -> Ids {
        let saga = Ids {
            saga: Uuid::now_v7(),
            ..ids
        };
        sqlx::query(
            "INSERT INTO sagas (id, subject, data, type, definition_version, status, current_step, attempt, version,
                                correlation_id, deadline_at)
             VALUES ($1, 'order/' || $2::uuid, '{}', $3, 1, CASE WHEN $5 THEN 'RUNNING' ELSE 'COMPLETED' END,
                     CASE WHEN $5 THEN $4 END, CASE WHEN $5 THEN 1 ELSE 0 END, 0, 'test',
                     CASE WHEN $5 THEN now() + interval '30 s' END)",
        )
        .bind(saga.saga)
        .bind(ids.order)
        .bind(kind)
        .bind(steps.last())
        .bind(is_open)
        .execute(&self.order)
        .await
        .unwrap();
        let mut log = vec![("SAGA_STARTED", None, json!({}))];
        for step in steps {
            log.push(("ACTION_SENT", Some(*step), json!({"attempt": 1})));
            log.push(("STEP_SUCCEEDED", Some(*step), json!({})));
        }
        log.push(("SAGA_COMPLETED", None, json!({})));
        let written = log.len() - if is_open { 2 } else { 0 };
        self.log(saga, &log[..written]).await;
        saga
    }
}
