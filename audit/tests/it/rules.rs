//! Each rule, broken on purpose in each way: one audit finds exactly these violations.

mod returned;

use audit::{Rule, Violation};
use uuid::Uuid;

use crate::case::{Case, Ids};

/// A way to break a rule, done to an order of its own.
struct Row {
    what: &'static str,
    order: Kind,
    /// Statements by database; `$order` and `$saga` are the order's ids, `$unknown` is an id that nobody knows.
    breaks: &'static [(Db, &'static str)],
    rule: Rule,
    /// What the violation is about, if not the order.
    about: Option<&'static str>,
    /// Words of the violation.
    words: &'static str,
}

/// The order that is there.
#[derive(Clone, Copy)]
enum Kind {
    Completed,
    Cancelled,
    Running,
    Shipped,
    PartlyReturned,
    Returned,
}

#[derive(Clone, Copy)]
enum Db {
    Order,
    Payment,
    Inventory,
}

use Db::{Inventory, Order, Payment};
use Kind::{Cancelled, Completed, PartlyReturned, Returned, Running, Shipped};

#[tokio::test]
async fn whatever_breaks_a_rule_is_found() {
    let case = Case::new().await;
    let groups = [
        money(),
        stock(),
        undone(),
        returned::refunds(),
        returned::restocks(),
        returned::returns(),
        sagas(),
        logs(),
        deadlines(),
    ];
    let mut rows = Vec::new();
    for row in groups.into_iter().flatten() {
        let ids = match row.order {
            Completed => case.completed().await,
            Cancelled => case.cancelled().await,
            Running => case.running().await,
            Shipped => case.shipped().await,
            PartlyReturned => case.partly_returned().await,
            Returned => case.returned().await,
        };
        rows.push((row, ids, Uuid::now_v7()));
    }
    let report = case.audit().await;
    assert!(report.is_clean(), "{report}");

    for (row, ids, unknown) in &rows {
        for (db, sql) in row.breaks {
            let db = match db {
                Order => &case.order,
                Payment => &case.payment,
                Inventory => &case.inventory,
            };
            case.run(db, &filled(sql, *ids, *unknown)).await;
        }
    }
    let report = case.audit().await;
    for (row, ids, unknown) in &rows {
        let about = filled(row.about.unwrap_or("order $order"), *ids, *unknown);
        let is_it = |violation: &&Violation| {
            let text = violation.to_string();
            violation.rule == row.rule && text.starts_with(&about) && text.contains(row.words)
        };
        let found: Vec<_> = report.violations.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{} ({about}): {report}", row.what);
        assert!(report.to_string().contains(&found[0].to_string()));
    }
    assert_eq!(report.violations.len(), rows.len(), "{report}");
}

impl Row {
    fn of(
        what: &'static str,
        order: Kind,
        breaks: &'static [(Db, &'static str)],
        rule: Rule,
        words: &'static str,
    ) -> Self {
        Self {
            what,
            order,
            breaks,
            rule,
            about: None,
            words,
        }
    }

    fn about(self, subject: &'static str) -> Self {
        Self {
            about: Some(subject),
            ..self
        }
    }
}

fn filled(text: &str, ids: Ids, unknown: Uuid) -> String {
    text.replace("$order", &ids.order.to_string())
        .replace("$saga", &ids.saga.to_string())
        .replace("$unknown", &unknown.to_string())
}

/// What an order held is free again.
const FREED: &str = "UPDATE inventory_items
                     SET reserved_quantity = reserved_quantity - CASE product_id WHEN 'mug' THEN 3 ELSE 1 END
                     WHERE product_id IN ('mug', 'cup')";

/// What an order had is held again.
const HELD: &str = "UPDATE inventory_items
                    SET reserved_quantity = reserved_quantity + CASE product_id WHEN 'mug' THEN 3 ELSE 1 END
                    WHERE product_id IN ('mug', 'cup')";

fn money() -> Vec<Row> {
    vec![
        Row::of(
            "a wrong amount",
            Completed,
            &[(Payment, "UPDATE payments SET amount_minor = 3997 WHERE order_id = '$order'")],
            Rule::Kept,
            "costs 39.98 USD, but 39.97 USD",
        ),
        Row::of(
            "a wrong currency",
            Completed,
            &[(Payment, "UPDATE payments SET currency = 'EUR' WHERE order_id = '$order'")],
            Rule::Kept,
            "costs 39.98 USD, but 39.98 EUR",
        ),
        Row::of(
            "a total that the items do not add up to",
            Completed,
            &[
                (Order, "UPDATE orders SET total_minor = 2998 WHERE id = '$order'"),
                (Payment, "UPDATE payments SET amount_minor = 2998 WHERE order_id = '$order'"),
            ],
            Rule::Kept,
            "do not add up to 29.98 USD",
        ),
        Row::of(
            "a payment that was given back",
            Completed,
            &[(Payment, "UPDATE payments SET status = 'REFUNDED', refunded_minor = 3998 WHERE order_id = '$order'")],
            Rule::Kept,
            "not paid: 39.98 USD are REFUNDED",
        ),
        Row::of(
            "no payment",
            Completed,
            &[(Payment, "DELETE FROM payments WHERE order_id = '$order'")],
            Rule::Kept,
            "no payment",
        ),
        Row::of(
            "a second payment",
            Completed,
            &[(
                Payment,
                "INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, status, gateway_id)
                 SELECT gen_random_uuid(), saga_id, 'tip', order_id, customer_id, amount_minor, currency, status, gateway_id
                 FROM payments WHERE order_id = '$order'",
            )],
            Rule::Kept,
            "paid 2 times",
        ),
        Row::of(
            "a payment for an unknown order",
            Completed,
            &[(
                Payment,
                "INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, status, gateway_id)
                 VALUES ('$unknown', '$unknown', 'payment', '$unknown', 'customer-1', 1, 'USD', 'CAPTURED', 'sim_2')",
            )],
            Rule::Known,
            "there is no such order, but payment",
        )
        .about("order $unknown"),
        Row::of(
            "a payment of an unknown saga",
            Completed,
            &[(Payment, "UPDATE payments SET saga_id = '$unknown' WHERE order_id = '$order'")],
            Rule::Known,
            "which does not exist",
        ),
    ]
}

fn stock() -> Vec<Row> {
    vec![
        Row::of(
            "too little is held",
            Completed,
            &[
                (
                    Inventory,
                    r#"UPDATE reservations SET items = '[{"productId":"cup","quantity":1},{"productId":"mug","quantity":2}]'
                       WHERE order_id = '$order'"#,
                ),
                (
                    Inventory,
                    "UPDATE inventory_items SET reserved_quantity = reserved_quantity - 1 WHERE product_id = 'mug'",
                ),
            ],
            Rule::Kept,
            r#"but holds {"cup": 1, "mug": 2}"#,
        ),
        Row::of(
            "nothing is held",
            Completed,
            &[
                (Inventory, "UPDATE reservations SET status = 'RELEASED' WHERE order_id = '$order'"),
                (
                    Inventory,
                    FREED
                ),
            ],
            Rule::Kept,
            "holds no stock",
        ),
        Row::of(
            "stock leaves before the order is shipped",
            Completed,
            &[
                (Inventory, "UPDATE reservations SET status = 'COMMITTED' WHERE order_id = '$order'"),
                (
                    Inventory,
                    FREED
                ),
            ],
            Rule::Kept,
            "its stock has left",
        ),
        Row::of(
            "stock that has not left with its order",
            Shipped,
            &[
                (Inventory, "UPDATE reservations SET status = 'RESERVED' WHERE order_id = '$order'"),
                (Inventory, HELD),
            ],
            Rule::Kept,
            "it is SHIPPED, but its stock has not left",
        ),
        Row::of(
            "stock that has not left, and came back",
            PartlyReturned,
            &[
                (Inventory, "UPDATE reservations SET status = 'RESERVED' WHERE order_id = '$order'"),
                (Inventory, HELD),
            ],
            Rule::Kept,
            "it is DELIVERED, but its stock has not left",
        ),
        Row::of(
            "a reservation for an unknown order",
            Completed,
            &[(
                Inventory,
                "INSERT INTO reservations (id, saga_id, step, order_id, items, status)
                 VALUES ('$unknown', '$unknown', 'inventory', '$unknown', '[]', 'RELEASED')",
            )],
            Rule::Known,
            "there is no such order, but reservation",
        )
        .about("order $unknown"),
        Row::of(
            "more is reserved than orders hold",
            Completed,
            &[(
                Inventory,
                "INSERT INTO inventory_items (product_id, quantity, reserved_quantity) VALUES ('pot', 5, 4)",
            )],
            Rule::Stock,
            "4 are reserved, but orders hold 0",
        )
        .about("product pot"),
        Row::of(
            "more is reserved than there is",
            Completed,
            &[
                (
                    Inventory,
                    "ALTER TABLE inventory_items DROP CONSTRAINT no_more_is_reserved_than_there_is",
                ),
                (
                    Inventory,
                    "UPDATE inventory_items SET quantity = 2 WHERE product_id = 'mug'",
                ),
            ],
            Rule::Stock,
            "are reserved of 2",
        )
        .about("product mug"),
        Row::of(
            "a product that is held and not there",
            Completed,
            &[(
                Inventory,
                "DELETE FROM inventory_items WHERE product_id = 'cup'",
            )],
            Rule::Stock,
            "there is no such product",
        )
        .about("product cup"),
    ]
}

fn undone() -> Vec<Row> {
    vec![
        Row::of(
            "money that was kept",
            Cancelled,
            &[(
                Payment,
                "UPDATE payments SET status = 'CAPTURED', refunded_minor = 0 WHERE order_id = '$order'",
            )],
            Rule::Undone,
            "39.98 USD are CAPTURED",
        ),
        Row::of(
            "a reservation that was kept",
            Cancelled,
            &[(
                Inventory,
                "UPDATE reservations SET status = 'COMMITTED' WHERE order_id = '$order'",
            )],
            Rule::Undone,
            "COMMITTED",
        ),
        Row::of(
            "a cancellation for another reason",
            Cancelled,
            &[(
                Order,
                "UPDATE orders SET cancellation_reason = 'TIMEOUT' WHERE id = '$order'",
            )],
            Rule::Undone,
            "for TIMEOUT, its saga for CUSTOMER_REQUEST",
        ),
    ]
}

fn sagas() -> Vec<Row> {
    vec![
        Row::of(
            "a status that is not the saga's",
            Completed,
            &[(Order, "UPDATE orders SET status = 'PENDING' WHERE id = '$order'")],
            Rule::Status,
            "PENDING, but its saga is COMPLETED",
        ),
        Row::of(
            "an order without a saga",
            Completed,
            &[
                (Order, "ALTER TABLE saga_log DISABLE TRIGGER append_only"),
                (Order, "DELETE FROM saga_log WHERE saga_id = '$saga'"),
                (Order, "DELETE FROM sagas WHERE id = '$saga'"),
                (Payment, "DELETE FROM payments WHERE order_id = '$order'"),
                (Inventory, "DELETE FROM reservations WHERE order_id = '$order'"),
                (Inventory, FREED),
            ],
            Rule::OneSaga,
            "it has no saga create_order",
        ),
        Row::of(
            "an order that was placed twice",
            Completed,
            &[(
                Order,
                "INSERT INTO sagas (id, subject, data, type, definition_version, status, version, correlation_id)
                 SELECT '$unknown', subject, data, type, definition_version, status, version, correlation_id FROM sagas
                 WHERE id = '$saga';
                 INSERT INTO saga_log (saga_id, seq, event, step, details)
                 SELECT '$unknown', seq, event, step, details FROM saga_log WHERE saga_id = '$saga'",
            )],
            Rule::OneSaga,
            "it has 2 sagas create_order",
        ),
        Row::of(
            "a saga of an unknown kind",
            Completed,
            &[(
                Order,
                "INSERT INTO sagas (id, subject, data, type, definition_version, status, version, correlation_id)
                 SELECT '$unknown', subject, data, 'lose_order', definition_version, status, version, correlation_id FROM sagas
                 WHERE id = '$saga';
                 INSERT INTO saga_log (saga_id, seq, event, step, details)
                 SELECT '$unknown', seq, event, step, details FROM saga_log WHERE saga_id = '$saga'",
            )],
            Rule::OneSaga,
            "is a lose_order, which nobody knows",
        ),
        Row::of(
            "a log without a saga",
            Completed,
            &[(
                Order,
                "INSERT INTO saga_log (saga_id, seq, event, details) VALUES ('$unknown', 1, 'SAGA_STARTED', '{}')",
            )],
            Rule::OneSaga,
            "no such saga, but a log",
        )
        .about("saga $unknown"),
    ]
}

fn logs() -> Vec<Row> {
    vec![
        Row::of(
            "a gap in the log",
            Completed,
            &[
                (Order, "ALTER TABLE saga_log DISABLE TRIGGER append_only"),
                (
                    Order,
                    "DELETE FROM saga_log WHERE saga_id = '$saga' AND seq = 3",
                ),
            ],
            Rule::Log,
            "entry 4 where entry 3",
        ),
        Row::of(
            "a log without its end",
            Completed,
            &[
                (Order, "ALTER TABLE saga_log DISABLE TRIGGER append_only"),
                (
                    Order,
                    "DELETE FROM saga_log WHERE saga_id = '$saga' AND seq > 2",
                ),
            ],
            Rule::Log,
            "ends with entry 2",
        ),
        Row::of(
            "a state that the log does not add up to",
            Running,
            &[(Order, "UPDATE sagas SET attempt = 2 WHERE id = '$saga'")],
            Rule::Log,
            "row says RUNNING at inventory, attempt 2",
        ),
    ]
}

fn deadlines() -> Vec<Row> {
    vec![
        Row::of(
            "an open saga without a deadline",
            Running,
            &[
                (
                    Order,
                    "ALTER TABLE sagas DROP CONSTRAINT open_sagas_have_a_deadline",
                ),
                (
                    Order,
                    "UPDATE sagas SET deadline_at = NULL WHERE id = '$saga'",
                ),
            ],
            Rule::Deadline,
            "without a deadline",
        ),
        Row::of(
            "a saga that nobody looks at",
            Running,
            &[(
                Order,
                "UPDATE sagas SET deadline_at = now() - interval '61 s' WHERE id = '$saga'",
            )],
            Rule::Deadline,
            "nobody has looked at it",
        ),
    ]
}
