//! A case to be judged: databases with orders as the services leave them, written by hand, and then broken.

mod delivery;

use audit::{Books, Report, Rule};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use test_support::Environment;
use uuid::Uuid;

/// The databases of a test.
pub(crate) struct Case {
    pub(crate) env: Environment,
    pub(crate) order: PgPool,
    pub(crate) payment: PgPool,
    pub(crate) inventory: PgPool,
}

/// An order's ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    pub(crate) order: Uuid,
    pub(crate) saga: Uuid,
}

impl Case {
    /// Empty databases, and the role that the audit reads them with.
    pub(crate) async fn new() -> Self {
        let env = Environment::new().await;
        env.make_auditor().await;
        Self {
            order: env.pool("order").await,
            payment: env.pool("payment").await,
            inventory: env.pool("inventory").await,
            env,
        }
    }

    /// What the audit finds, which reads as its own role.
    pub(crate) async fn audit(&self) -> Report {
        self.audit_with(&[]).await
    }

    /// What the audit finds when these variables are set.
    pub(crate) async fn audit_with(&self, overrides: &[(&str, &str)]) -> Report {
        let books = Books::open(&self.env.vars(overrides)).unwrap();
        books.audit().await.unwrap()
    }

    /// The audit finds exactly one violation: of `rule`, about `subject`, with `words` in it.
    pub(crate) async fn breaks(&self, rule: Rule, subject: impl ToString, words: &str) {
        let report = self.audit().await;
        let [found] = report.violations.as_slice() else {
            panic!("not one violation: {report}");
        };
        assert_eq!(found.rule, rule, "{report}");
        let text = found.to_string();
        assert!(text.contains(&subject.to_string()), "{text}");
        assert!(text.contains(words), "{text}");
        assert!(report.to_string().contains(&text));
    }

    /// Runs one statement or several.
    pub(crate) async fn run(&self, db: &PgPool, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(db).await.unwrap();
    }

    /// 3 of `mug` (in two lines) and 1 of `cup`, for 39.98; paid and held.
    pub(crate) async fn completed(&self) -> Ids {
        let ids = self.order_as("COMPLETED", "COMPLETED", None).await;
        self.log(ids, &forward()).await;
        self.pay(ids, "CAPTURED").await;
        self.hold(ids, "RESERVED").await;
        ids
    }

    /// Cancelled by the customer after it was completed.
    pub(crate) async fn cancelled(&self) -> Ids {
        let reason = Some("CUSTOMER_REQUEST");
        let ids = self.order_as("CANCELLED", "COMPENSATED", reason).await;
        let back = json!({"reason": reason});
        let mut log = forward();
        log.extend([
            ("CANCEL_REQUESTED", None, back.clone()),
            ("COMPENSATION_STARTED", None, back),
            (
                "COMPENSATION_SENT",
                Some("inventory"),
                json!({"attempt": 1}),
            ),
            ("STEP_UNDONE", Some("inventory"), json!({})),
            ("COMPENSATION_SENT", Some("payment"), json!({"attempt": 1})),
            ("STEP_UNDONE", Some("payment"), json!({})),
            ("SAGA_COMPENSATED", None, json!({})),
        ]);
        self.log(ids, &log).await;
        self.pay(ids, "REFUNDED").await;
        self.hold(ids, "RELEASED").await;
        ids
    }

    /// Under way: paid, and nothing more is known.
    pub(crate) async fn running(&self) -> Ids {
        let ids = self.order_as("PENDING", "RUNNING", None).await;
        self.log(ids, &forward()[..4]).await;
        self.pay(ids, "CAPTURED").await;
        ids
    }

    /// Its refund gets no answer.
    pub(crate) async fn parked(&self) -> Ids {
        let ids = self.order_as("PENDING", "PARKED", Some("TIMEOUT")).await;
        let once = json!({"attempt": 1});
        let payment = Some("payment");
        let log = [
            ("SAGA_STARTED", None, json!({})),
            ("ACTION_SENT", payment, once.clone()),
            ("ACTION_TIMED_OUT", payment, once.clone()),
            ("COMPENSATION_STARTED", None, json!({"reason": "TIMEOUT"})),
            ("COMPENSATION_SENT", payment, once.clone()),
            ("COMPENSATION_TIMED_OUT", payment, once),
            ("SAGA_PARKED", payment, json!({})),
        ];
        self.log(ids, &log).await;
        self.pay(ids, "CAPTURED").await;
        ids
    }

    async fn order_as(&self, status: &str, saga_status: &str, reason: Option<&str>) -> Ids {
        let ids = Ids {
            order: Uuid::now_v7(),
            saga: Uuid::now_v7(),
        };
        let items = json!([{"productId": "mug", "quantity": 2, "unitPrice": "10.00"},
                           {"productId": "cup", "quantity": 1, "unitPrice": "9.98"},
                           {"productId": "mug", "quantity": 1, "unitPrice": "10.00"}]);
        sqlx::query(
            "INSERT INTO orders (id, saga_id, customer_id, status, cancellation_reason, items, currency, total_minor,
                                 event_sequence)
             VALUES ($1, $2, 'customer-1', $3, $4, $5::json, 'USD', 3998, 1)",
        )
        .bind(ids.order)
        .bind(ids.saga)
        .bind(status)
        .bind(reason)
        .bind(items)
        .execute(&self.order)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO sagas (id, subject, data, type, definition_version, status, current_step, attempt, reason, version,
                                correlation_id, deadline_at)
             VALUES ($1, 'order/' || $2::uuid, '{}', 'create_order', 1, $3,
                     CASE $3 WHEN 'RUNNING' THEN 'inventory' WHEN 'PARKED' THEN 'payment' END,
                     CASE $3 WHEN 'RUNNING' THEN 1 ELSE 0 END, $4, 0, 'test',
                     CASE $3 WHEN 'RUNNING' THEN now() + interval '30 s' END)",
        )
        .bind(ids.saga)
        .bind(ids.order)
        .bind(saga_status)
        .bind(reason)
        .execute(&self.order)
        .await
        .unwrap();
        ids
    }

    async fn log(&self, ids: Ids, entries: &[(&str, Option<&str>, Value)]) {
        for (seq, (event, step, details)) in (1_i32..).zip(entries) {
            sqlx::query(
                "INSERT INTO saga_log (saga_id, seq, event, step, details) VALUES ($1, $2, $3, $4, $5::json)",
            )
            .bind(ids.saga)
            .bind(seq)
            .bind(event)
            .bind(step)
            .bind(details)
            .execute(&self.order)
            .await
            .unwrap();
        }
        sqlx::query("UPDATE sagas SET version = $2 WHERE id = $1")
            .bind(ids.saga)
            .bind(i32::try_from(entries.len()).unwrap())
            .execute(&self.order)
            .await
            .unwrap();
    }

    pub(crate) async fn pay(&self, ids: Ids, status: &str) {
        sqlx::query(
            "INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, status, gateway_id,
                                   refunded_minor)
             VALUES ($1, $2, 'payment', $3, 'customer-1', 3998, 'USD', $4, 'sim_1',
                     CASE $4 WHEN 'REFUNDED' THEN 3998 ELSE 0 END)",
        )
        .bind(Uuid::now_v7())
        .bind(ids.saga)
        .bind(ids.order)
        .bind(status)
        .execute(&self.payment)
        .await
        .unwrap();
    }

    pub(crate) async fn hold(&self, ids: Ids, status: &str) {
        let items =
            json!([{"productId": "cup", "quantity": 1}, {"productId": "mug", "quantity": 3}]);
        sqlx::query(
            "INSERT INTO reservations (id, saga_id, step, order_id, items, status) VALUES ($1, $2, 'inventory', $3, $4::json, $5)",
        )
        .bind(Uuid::now_v7())
        .bind(ids.saga)
        .bind(ids.order)
        .bind(items)
        .bind(status)
        .execute(&self.inventory)
        .await
        .unwrap();
        let reserved = i64::from(status == "RESERVED");
        sqlx::query(
            "INSERT INTO inventory_items (product_id, quantity, reserved_quantity)
             VALUES ('mug', 100, 3 * $1), ('cup', 100, $1)
             ON CONFLICT (product_id) DO UPDATE
             SET reserved_quantity = inventory_items.reserved_quantity + excluded.reserved_quantity",
        )
        .bind(reserved)
        .execute(&self.inventory)
        .await
        .unwrap();
    }
}

fn forward() -> Vec<(&'static str, Option<&'static str>, Value)> {
    let once = json!({"attempt": 1});
    vec![
        ("SAGA_STARTED", None, json!({})),
        ("ACTION_SENT", Some("payment"), once.clone()),
        ("STEP_SUCCEEDED", Some("payment"), json!({})),
        ("ACTION_SENT", Some("inventory"), once),
        ("STEP_SUCCEEDED", Some("inventory"), json!({})),
        ("SAGA_COMPLETED", None, json!({})),
    ]
}
