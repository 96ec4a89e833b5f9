//! Each rule: kept, and broken once on purpose.

use std::time::Duration;

use audit::Rule;
use uuid::Uuid;

use crate::books::Books;

#[tokio::test]
async fn orders_of_every_kind_pass() {
    let books = Books::new().await;
    for _ in 0..3 {
        books.completed().await;
        books.cancelled().await;
        books.running().await;
    }
    // Shipped, and inventory has heard of the second one only.
    for hears in [false, true] {
        let shipped = books.completed().await;
        let ship = format!(
            "UPDATE orders SET status = 'SHIPPED' WHERE id = '{}'",
            shipped.order
        );
        books.run(&books.order, &ship).await;
        if hears {
            let commit = format!(
                "UPDATE reservations SET status = 'COMMITTED' WHERE saga_id = '{}'",
                shipped.saga
            );
            books.run(&books.inventory, &commit).await;
            let leave = "UPDATE inventory_items SET quantity = quantity - CASE product_id WHEN 'mug' THEN 3 ELSE 1 END,
                         reserved_quantity = reserved_quantity - CASE product_id WHEN 'mug' THEN 3 ELSE 1 END";
            books.run(&books.inventory, leave).await;
        }
    }
    let report = books.audit().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.orders, 11);
    assert_eq!(report.by_status["SHIPPED"], 2);
    assert_eq!(report.checked[&Rule::Kept], 5);
    assert_eq!(report.checked[&Rule::Undone], 3);
    assert_eq!(report.checked[&Rule::Deadline], 3);
    assert_eq!(report.checked[&Rule::Known], 19);
    assert_eq!(report.checked[&Rule::Stock], 2);
    assert!(report.to_string().contains("Every guarantee held."));
}

#[tokio::test]
async fn nothing_at_all_passes() {
    let report = Books::new().await.audit().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn more_orders_than_one_batch_are_all_seen() {
    let books = Books::new().await;
    let template = books.completed().await;
    // PostgreSQL copies the order until there are 4500 of them, with ids in no order.
    let copies = "CREATE TEMP TABLE copies AS SELECT gen_random_uuid() AS id, gen_random_uuid() AS saga FROM generate_series(1, 4499)";
    let mut order = books.order.acquire().await.unwrap();
    sqlx::query(copies).execute(&mut *order).await.unwrap();
    for copy in [
        "INSERT INTO orders (id, saga_id, customer_id, status, items, currency, total_minor, event_sequence)
         SELECT c.id, c.saga, customer_id, status, items, currency, total_minor, event_sequence FROM orders, copies c",
        "INSERT INTO sagas (id, order_id, type, definition_version, status, version, correlation_id)
         SELECT c.saga, c.id, type, definition_version, status, version, correlation_id FROM sagas, copies c",
        "INSERT INTO saga_log (saga_id, seq, event, step, details)
         SELECT c.saga, seq, event, step, details FROM saga_log, copies c",
    ] {
        sqlx::query(copy).execute(&mut *order).await.unwrap();
    }
    let report = books.audit().await;
    assert_eq!(report.orders, 4500);
    // None of the copies is paid, and none holds anything.
    assert_eq!(report.violations.len(), 2 * 4499);
    let of_template = |v: &audit::Violation| v.order() == Some(template.order);
    assert!(!report.violations.iter().any(of_template));
}

#[tokio::test]
async fn a_parked_saga_is_listed_and_no_violation() {
    let books = Books::new().await;
    let parked = books.parked().await;
    let report = books.audit().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.parked[0].saga_id, parked.saga);
    assert!(report.to_string().contains(&parked.saga.to_string()));
}

#[tokio::test]
async fn what_is_wrong_for_a_moment_only_is_no_violation() {
    let books = Books::new().await;
    let ids = books.completed().await;
    books.run(&books.payment, "DELETE FROM payments").await;
    let late = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        books.pay(ids, "CAPTURED").await;
    };
    let (report, ()) = tokio::join!(books.audit(), late);
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_wrong_amount_is_found() {
    let books = Books::new().await;
    let order = books.completed().await.order;
    books
        .run(&books.payment, "UPDATE payments SET amount_minor = 3997")
        .await;
    books
        .breaks(Rule::Kept, order, "costs 39.98 USD, but 39.97 USD")
        .await;
    books
        .run(
            &books.payment,
            "UPDATE payments SET amount_minor = 3998, currency = 'EUR'",
        )
        .await;
    books.breaks(Rule::Kept, order, "but 39.98 EUR").await;
}

#[tokio::test]
async fn a_total_that_the_items_do_not_add_up_to_is_found() {
    let books = Books::new().await;
    let order = books.completed().await.order;
    books
        .run(&books.order, "UPDATE orders SET total_minor = 2998")
        .await;
    books
        .run(&books.payment, "UPDATE payments SET amount_minor = 2998")
        .await;
    books
        .breaks(Rule::Kept, order, "do not add up to 29.98 USD")
        .await;
}

#[tokio::test]
async fn a_missing_payment_is_found() {
    let books = Books::new().await;
    let order = books.completed().await.order;
    books
        .run(&books.payment, "UPDATE payments SET status = 'REFUNDED'")
        .await;
    books
        .breaks(Rule::Kept, order, "not paid: 39.98 USD are REFUNDED")
        .await;
    books.run(&books.payment, "DELETE FROM payments").await;
    books.breaks(Rule::Kept, order, "no payment").await;
}

#[tokio::test]
async fn a_second_payment_is_found() {
    let books = Books::new().await;
    let order = books.completed().await.order;
    books
        .run(
            &books.payment,
            "INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, status, gateway_id)
             SELECT gen_random_uuid(), saga_id, 'tip', order_id, customer_id, amount_minor, currency, status, gateway_id
             FROM payments",
        )
        .await;
    books.breaks(Rule::Kept, order, "paid 2 times").await;
}

#[tokio::test]
async fn a_payment_of_another_orders_saga_is_found() {
    let books = Books::new().await;
    let ids = books.completed().await;
    let other = books.cancelled().await;
    let moved = format!(
        "UPDATE payments SET order_id = '{}' WHERE saga_id = '{}'",
        ids.order, other.saga
    );
    books.run(&books.payment, &moved).await;
    books
        .breaks(
            Rule::Known,
            ids.order,
            &format!("is of saga {}", other.saga),
        )
        .await;
}

#[tokio::test]
async fn wrong_stock_for_a_completed_order_is_found() {
    let books = Books::new().await;
    let ids = books.completed().await;
    let items = r#"[{"productId":"cup","quantity":1},{"productId":"mug","quantity":2}]"#;
    books
        .run(
            &books.inventory,
            &format!("UPDATE reservations SET items = '{items}'"),
        )
        .await;
    books
        .run(
            &books.inventory,
            "UPDATE inventory_items SET reserved_quantity = 2 WHERE product_id = 'mug'",
        )
        .await;
    books
        .breaks(Rule::Kept, ids.order, r#"but holds {"cup": 1, "mug": 2}"#)
        .await;
    let none = "UPDATE inventory_items SET reserved_quantity = 0";
    books.run(&books.inventory, none).await;
    books
        .run(
            &books.inventory,
            "UPDATE reservations SET status = 'RELEASED'",
        )
        .await;
    books.breaks(Rule::Kept, ids.order, "holds no stock").await;
    let items = r#"[{"productId":"cup","quantity":1},{"productId":"mug","quantity":3}]"#;
    let left = format!("UPDATE reservations SET status = 'COMMITTED', items = '{items}'");
    books.run(&books.inventory, &left).await;
    books
        .breaks(Rule::Kept, ids.order, "its stock has left")
        .await;
}

#[tokio::test]
async fn kept_money_is_found() {
    let books = Books::new().await;
    let order = books.cancelled().await.order;
    books
        .run(&books.payment, "UPDATE payments SET status = 'CAPTURED'")
        .await;
    books
        .breaks(Rule::Undone, order, "39.98 USD are CAPTURED")
        .await;
}

#[tokio::test]
async fn a_kept_reservation_is_found() {
    let books = Books::new().await;
    let order = books.cancelled().await.order;
    books
        .run(
            &books.inventory,
            "UPDATE reservations SET status = 'COMMITTED'",
        )
        .await;
    books.breaks(Rule::Undone, order, "COMMITTED").await;
}

#[tokio::test]
async fn a_cancellation_for_another_reason_is_found() {
    let books = Books::new().await;
    let order = books.cancelled().await.order;
    books
        .run(
            &books.order,
            "UPDATE orders SET cancellation_reason = 'TIMEOUT'",
        )
        .await;
    books
        .breaks(
            Rule::Undone,
            order,
            "for TIMEOUT, its saga for CUSTOMER_REQUEST",
        )
        .await;
}

#[tokio::test]
async fn a_status_that_is_not_the_sagas_is_found() {
    let books = Books::new().await;
    let order = books.completed().await.order;
    books
        .run(&books.order, "UPDATE orders SET status = 'PENDING'")
        .await;
    books
        .breaks(Rule::Status, order, "PENDING, but its saga is COMPLETED")
        .await;
}

#[tokio::test]
async fn a_gap_in_the_log_is_found() {
    let books = Books::new().await;
    let order = books.completed().await.order;
    books
        .run(
            &books.order,
            "ALTER TABLE saga_log DISABLE TRIGGER append_only",
        )
        .await;
    books
        .run(&books.order, "DELETE FROM saga_log WHERE seq = 3")
        .await;
    books
        .breaks(Rule::Log, order, "entry 4 where entry 3")
        .await;
    books
        .run(&books.order, "DELETE FROM saga_log WHERE seq > 2")
        .await;
    books.breaks(Rule::Log, order, "ends with entry 2").await;
}

#[tokio::test]
async fn a_state_that_the_log_does_not_add_up_to_is_found() {
    let books = Books::new().await;
    let order = books.running().await.order;
    books
        .run(&books.order, "UPDATE sagas SET attempt = 2")
        .await;
    books
        .breaks(Rule::Log, order, "row says RUNNING at inventory, attempt 2")
        .await;
}

#[tokio::test]
async fn an_overdue_saga_is_found() {
    let books = Books::new().await;
    let order = books.running().await.order;
    books
        .run(
            &books.order,
            "UPDATE sagas SET deadline_at = now() - interval '50 s'",
        )
        .await;
    assert!(books.audit().await.is_clean());
    books
        .run(
            &books.order,
            "UPDATE sagas SET deadline_at = now() - interval '61 s'",
        )
        .await;
    books
        .breaks(Rule::Deadline, order, "nobody has looked at it")
        .await;
}

#[tokio::test]
async fn an_open_saga_without_a_deadline_is_found() {
    let books = Books::new().await;
    let order = books.running().await.order;
    books
        .run(
            &books.order,
            "ALTER TABLE sagas DROP CONSTRAINT open_sagas_have_a_deadline",
        )
        .await;
    books
        .run(&books.order, "UPDATE sagas SET deadline_at = NULL")
        .await;
    books
        .breaks(Rule::Deadline, order, "without a deadline")
        .await;
}

#[tokio::test]
async fn an_order_without_a_saga_is_found() {
    let books = Books::new().await;
    let order = books.completed().await.order;
    books
        .run(
            &books.order,
            "ALTER TABLE saga_log DISABLE TRIGGER append_only",
        )
        .await;
    books.run(&books.order, "DELETE FROM saga_log").await;
    books.run(&books.order, "DELETE FROM sagas").await;
    books.breaks(Rule::OneSaga, order, "it has no saga").await;
}

#[tokio::test]
async fn a_log_without_a_saga_is_found() {
    let books = Books::new().await;
    books.completed().await;
    let nobody = Uuid::now_v7();
    let entry = format!(
        "INSERT INTO saga_log (saga_id, seq, event, details) VALUES ('{nobody}', 1, 'SAGA_STARTED', '{{}}')"
    );
    books.run(&books.order, &entry).await;
    books
        .breaks(
            Rule::OneSaga,
            format!("saga {nobody}"),
            "no such saga, but a log",
        )
        .await;
}

#[tokio::test]
async fn a_log_that_was_dropped_is_no_violation_and_a_hole_is() {
    let books = Books::new().await;
    let (dropped, reopened) = (books.completed().await, books.cancelled().await);
    let partition: String =
        sqlx::query_scalar("SELECT tableoid::regclass::text FROM saga_log LIMIT 1")
            .fetch_one(&books.order)
            .await
            .unwrap();
    // The day of these sagas is gone, one before it and one after it are kept. Of the saga that was cancelled later,
    // what was written since then is left.
    let drop = format!(
        "CREATE TABLE rest AS SELECT * FROM saga_log WHERE saga_id = '{}' AND seq > 6;
         DROP TABLE {partition};
         CREATE TABLE early PARTITION OF saga_log
             FOR VALUES FROM (first_id('2000-01-01')) TO (first_id('2000-01-02'));
         CREATE TABLE late PARTITION OF saga_log
             FOR VALUES FROM (first_id('2999-01-01')) TO (first_id('2999-01-02'));
         INSERT INTO saga_log SELECT * FROM rest",
        reopened.saga
    );
    books.script(&books.order, &drop).await;
    let report = books.audit().await;
    assert!(report.is_clean(), "{report}");

    // The same of sagas whose day is kept.
    let keep = "ALTER TABLE saga_log DETACH PARTITION saga_log_default;
                CREATE TABLE between PARTITION OF saga_log
                    FOR VALUES FROM (first_id('2000-01-02')) TO (first_id('2999-01-01'))";
    books.script(&books.order, keep).await;
    let report = books.audit().await;
    assert_eq!(report.violations.len(), 2, "{report}");
    for order in [dropped.order, reopened.order] {
        let about = |v: &audit::Violation| v.order() == Some(order) && v.rule == Rule::Log;
        assert!(report.violations.iter().any(about), "{report}");
    }
}

#[tokio::test]
async fn an_order_with_two_sagas_is_found() {
    let books = Books::new().await;
    let order = books.completed().await.order;
    books.run(
        &books.order,
        "INSERT INTO sagas (id, order_id, type, definition_version, status, version, correlation_id)
         SELECT gen_random_uuid(), order_id, type, definition_version, status, version, correlation_id FROM sagas",
    )
    .await;
    books.breaks(Rule::OneSaga, order, "it has 2 sagas").await;
}

#[tokio::test]
async fn a_saga_without_an_order_is_found() {
    let books = Books::new().await;
    let ids = books.completed().await;
    let nobody = Uuid::now_v7();
    books.run(
        &books.order,
        &format!(
            "INSERT INTO sagas (id, order_id, type, definition_version, status, version, correlation_id)
             SELECT '{nobody}', '{nobody}', type, definition_version, status, version, correlation_id FROM sagas"
        ),
    )
    .await;
    books
        .breaks(Rule::OneSaga, format!("saga {nobody}"), "there is no order")
        .await;
    let other = format!(
        "UPDATE orders SET saga_id = '{nobody}' WHERE id = '{}'",
        ids.order
    );
    books.run(&books.order, &other).await;
    let report = books.audit().await;
    assert!(
        report
            .to_string()
            .contains(&format!("it names saga {nobody}")),
        "{report}"
    );
}

#[tokio::test]
async fn a_payment_and_a_reservation_of_unknown_orders_are_found() {
    let books = Books::new().await;
    books.completed().await;
    let unknown = Uuid::now_v7();
    books.run(
        &books.payment,
        &format!(
            "INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, status, gateway_id)
             VALUES ('{unknown}', '{unknown}', 'payment', '{unknown}', 'customer-1', 1, 'USD', 'CAPTURED', 'sim_2')"
        ),
    )
    .await;
    books
        .breaks(Rule::Known, unknown, "there is no such order, but payment")
        .await;
    books
        .run(
            &books.payment,
            &format!("DELETE FROM payments WHERE id = '{unknown}'"),
        )
        .await;
    books
        .run(
            &books.inventory,
            &format!(
                "INSERT INTO reservations (id, saga_id, step, order_id, items, status)
             VALUES ('{unknown}', '{unknown}', 'inventory', '{unknown}', '[]', 'RELEASED')"
            ),
        )
        .await;
    books.breaks(Rule::Known, unknown, "but reservation").await;
}

#[tokio::test]
async fn stock_that_does_not_add_up_is_found() {
    let books = Books::new().await;
    books.completed().await;
    books
        .run(
            &books.inventory,
            "UPDATE inventory_items SET reserved_quantity = 4 WHERE product_id = 'mug'",
        )
        .await;
    books
        .breaks(
            Rule::Stock,
            "product mug",
            "4 are reserved, but orders hold 3",
        )
        .await;
    books
        .run(
            &books.inventory,
            "ALTER TABLE inventory_items DROP CONSTRAINT no_more_is_reserved_than_there_is",
        )
        .await;
    books.run(&books.inventory, "UPDATE inventory_items SET reserved_quantity = 3, quantity = 2 WHERE product_id = 'mug'").await;
    books
        .breaks(Rule::Stock, "product mug", "3 are reserved of 2")
        .await;
    books
        .run(
            &books.inventory,
            "DELETE FROM inventory_items WHERE product_id = 'mug'",
        )
        .await;
    books
        .breaks(Rule::Stock, "product mug", "there is no such product")
        .await;
}

#[tokio::test]
async fn an_old_message_in_an_outbox_is_found() {
    let books = Books::new().await;
    books.completed().await;
    for (name, db) in [
        ("order_db", &books.order),
        ("payment_db", &books.payment),
        ("inventory_db", &books.inventory),
    ] {
        let id = Uuid::now_v7();
        let insert = |age: &str| {
            format!(
                r#"INSERT INTO outbox (id, exchange, routing_key, message, created_at)
                   VALUES ('{id}', 'saga.commands', 'payment', '{{"type":"payment.process.v1","subject":"order-7"}}', now() - interval '{age}')"#
            )
        };
        books.run(db, &insert("50 s")).await;
        assert!(books.audit().await.is_clean());
        books.run(db, "DELETE FROM outbox").await;
        books.run(db, &insert("61 s")).await;
        books
            .breaks(
                Rule::Outbox,
                id,
                &format!("payment.process.v1 about order-7 waits in {name}"),
            )
            .await;
        books.run(db, "DELETE FROM outbox").await;
    }
}
