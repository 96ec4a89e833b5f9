//! What the audit makes of orders that are right, of what is wrong for a moment, and of what is old.

use audit::Rule;
use uuid::Uuid;

use crate::case::Case;

/// An operator said that the order is paid, so nobody compares; but nothing may be there twice.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_overruled_is_not_compared_with_what_was_done() {
    let case = Case::new().await;
    let ids = case.completed().await;
    case.run(&case.payment, "DELETE FROM payments").await;
    case.breaks(Rule::Kept, ids.order, "but not paid").await;
    case.run(&case.order, "UPDATE sagas SET overruled = true")
        .await;
    let report = case.audit().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.overruled, 1);
    case.pay(ids, "CAPTURED").await;
    let twice = "INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, status, gateway_id)
                 SELECT gen_random_uuid(), saga_id, 'tip', order_id, customer_id, amount_minor, currency, status, gateway_id
                 FROM payments";
    case.run(&case.payment, twice).await;
    case.breaks(Rule::Kept, ids.order, "paid 2 times").await;
}

#[tokio::test]
async fn orders_of_every_kind_pass() {
    let case = Case::new().await;
    for _ in 0..3 {
        case.completed().await;
        case.cancelled().await;
        case.running().await;
    }
    case.shipping().await;
    case.shipped().await;
    case.returning().await;
    case.partly_returned().await;
    case.returned().await;
    let report = case.audit().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.orders, 14);
    assert_eq!(report.by_status["SHIPPED"], 2);
    assert_eq!(report.by_status["DELIVERED"], 2);
    assert_eq!(report.checked[&Rule::Kept], 8);
    assert_eq!(report.checked[&Rule::Undone], 3);
    assert_eq!(report.checked[&Rule::Returned], 4);
    assert_eq!(report.checked[&Rule::Deadline], 5);
    // 14 payments, 11 reservations, 3 refunds and 4 restocks.
    assert_eq!(report.checked[&Rule::Known], 32);
    assert_eq!(report.checked[&Rule::Stock], 2);
    assert!(report.to_string().contains("Every guarantee held."));
}

#[tokio::test]
async fn nothing_at_all_passes() {
    let report = Case::new().await.audit().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn more_orders_than_one_batch_are_all_seen() {
    let case = Case::new().await;
    let template = case.completed().await;
    // PostgreSQL copies the order until there are 4500 of them, with ids in no order.
    let copies = "CREATE TEMP TABLE copies AS SELECT gen_random_uuid() AS id, gen_random_uuid() AS saga FROM generate_series(1, 4499)";
    let mut order = case.order.acquire().await.unwrap();
    sqlx::query(copies).execute(&mut *order).await.unwrap();
    for copy in [
        "INSERT INTO orders (id, saga_id, customer_id, status, items, currency, total_minor, event_sequence)
         SELECT c.id, c.saga, customer_id, status, items, currency, total_minor, event_sequence FROM orders, copies c",
        "INSERT INTO sagas (id, subject, data, type, definition_version, status, version, correlation_id)
         SELECT c.saga, 'order/' || c.id, data, type, definition_version, status, version, correlation_id FROM sagas, copies c",
        "INSERT INTO saga_log (saga_id, seq, event, step, details)
         SELECT c.saga, seq, event, step, details FROM saga_log, copies c",
    ] {
        sqlx::query(copy).execute(&mut *order).await.unwrap();
    }
    let report = case.audit().await;
    assert_eq!(report.orders, 4500);
    // None of the copies is paid, and none holds anything.
    assert_eq!(report.violations.len(), 2 * 4499);
    let of_template = |v: &audit::Violation| v.order() == Some(template.order);
    assert!(!report.violations.iter().any(of_template));
}

#[tokio::test]
async fn a_parked_saga_is_listed_and_no_violation() {
    let case = Case::new().await;
    let parked = case.parked().await;
    let report = case.audit().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.parked[0].saga_id, parked.saga);
    let text = format!(
        "saga {} of order {}: payment could not be undone (TIMEOUT)",
        parked.saga, parked.order
    );
    assert!(report.to_string().contains(&text), "{report}");
}

#[tokio::test]
async fn a_saga_that_is_parked_on_its_way_forward_is_listed_too() {
    let case = Case::new().await;
    let ids = case.shipping().await;
    let park = "INSERT INTO saga_log (saga_id, seq, event, step, details)
                SELECT id, version + 1, 'SAGA_PARKED', 'inventory', '{}' FROM sagas WHERE type = 'ship_order';
                UPDATE sagas SET status = 'PARKED', attempt = 0, version = version + 1, deadline_at = NULL
                WHERE type = 'ship_order'";
    case.run(&case.order, park).await;
    let report = case.audit().await;
    assert!(report.is_clean(), "{report}");
    let text = format!(
        "of order {}: inventory could not be done, and there is no way back",
        ids.order
    );
    assert!(report.to_string().contains(&text), "{report}");
}

#[tokio::test]
async fn what_is_wrong_for_a_moment_only_is_no_violation() {
    let case = Case::new().await;
    case.completed().await;
    // The payment comes to light as soon as it is looked for again. The audit's connection remembers that it has
    // looked: it holds a lock from then on.
    let hide = "ALTER TABLE payments RENAME TO hidden;
                CREATE FUNCTION was_looked_for() RETURNS boolean LANGUAGE plpgsql AS $$
                BEGIN
                    IF EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
                               WHERE locktype = 'advisory' AND datname = current_database()) THEN
                        RETURN true;
                    END IF;
                    PERFORM pg_advisory_lock(1);
                    RETURN false;
                END $$;
                CREATE VIEW payments AS SELECT * FROM hidden WHERE was_looked_for()";
    case.run(&case.payment, hide).await;
    let report = case.audit().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.checked[&Rule::Kept], 1);
}

#[tokio::test]
async fn a_payment_of_another_orders_saga_is_found() {
    let case = Case::new().await;
    let ids = case.completed().await;
    let other = case.cancelled().await;
    let moved = format!(
        "UPDATE payments SET order_id = '{}' WHERE saga_id = '{}'",
        ids.order, other.saga
    );
    case.run(&case.payment, &moved).await;
    let words = format!(
        "is of saga {}, which is about order/{}",
        other.saga, other.order
    );
    case.breaks(Rule::Known, ids.order, &words).await;
}

#[tokio::test]
async fn a_deadline_may_have_passed_a_moment_ago() {
    let case = Case::new().await;
    case.running().await;
    let passed = "UPDATE sagas SET deadline_at = now() - interval '50 s'";
    case.run(&case.order, passed).await;
    let report = case.audit().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_log_that_was_dropped_is_no_violation_and_a_hole_is() {
    let case = Case::new().await;
    let (dropped, reopened) = (case.completed().await, case.cancelled().await);
    let partition: String =
        sqlx::query_scalar("SELECT tableoid::regclass::text FROM saga_log LIMIT 1")
            .fetch_one(&case.order)
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
    case.run(&case.order, &drop).await;
    let report = case.audit().await;
    assert!(report.is_clean(), "{report}");

    // Sagas whose day is kept have their whole log.
    let keep = "ALTER TABLE saga_log DETACH PARTITION saga_log_default;
                CREATE TABLE between PARTITION OF saga_log
                    FOR VALUES FROM (first_id('2000-01-02')) TO (first_id('2999-01-01'))";
    case.run(&case.order, keep).await;
    let report = case.audit().await;
    assert_eq!(report.violations.len(), 2, "{report}");
    for order in [dropped.order, reopened.order] {
        let about = |v: &audit::Violation| v.order() == Some(order) && v.rule == Rule::Log;
        assert!(report.violations.iter().any(about), "{report}");
    }
}

#[tokio::test]
async fn a_saga_without_an_order_is_found() {
    let case = Case::new().await;
    let ids = case.completed().await;
    let nobody = Uuid::now_v7();
    case.run(
        &case.order,
        &format!(
            "INSERT INTO sagas (id, subject, data, type, definition_version, status, version, correlation_id)
             SELECT '{nobody}', 'order/{nobody}', data, type, definition_version, status, version, correlation_id FROM sagas"
        ),
    )
    .await;
    case.breaks(Rule::OneSaga, format!("saga {nobody}"), "there is no order")
        .await;
    let other = format!(
        "UPDATE orders SET saga_id = '{nobody}' WHERE id = '{}'",
        ids.order
    );
    case.run(&case.order, &other).await;
    let report = case.audit().await;
    assert!(
        report
            .to_string()
            .contains(&format!("it names saga {nobody}")),
        "{report}"
    );
}

#[tokio::test]
async fn an_old_message_in_an_outbox_is_found() {
    let case = Case::new().await;
    case.completed().await;
    for (name, db) in [
        ("order_db", &case.order),
        ("payment_db", &case.payment),
        ("inventory_db", &case.inventory),
    ] {
        let id = Uuid::now_v7();
        let insert = |age: &str| {
            format!(
                r#"INSERT INTO outbox (id, exchange, routing_key, message, created_at)
                   VALUES ('{id}', 'saga.commands', 'payment', '{{"type":"payment.process.v1","subject":"order-7"}}', now() - interval '{age}')"#
            )
        };
        case.run(db, &insert("50 s")).await;
        assert!(case.audit().await.is_clean());
        case.run(db, "DELETE FROM outbox").await;
        case.run(db, &insert("61 s")).await;
        case.breaks(
            Rule::Outbox,
            id,
            &format!("payment.process.v1 about order-7 waits in {name}"),
        )
        .await;
        case.run(db, "DELETE FROM outbox").await;
    }
}
