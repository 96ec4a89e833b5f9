//! What is kept of orders that break a guarantee.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use audit::{Report, Subject};
use sqlx::{AssertSqlSafe, PgPool};
use test_support::system::Databases;
use uuid::Uuid;

use super::system::System;

/// Orders of which everything is written down.
const ORDERS_MAX: usize = 20;

/// Writes everything that is known of the orders that break a guarantee into a file, beside the logs.
///
/// # Errors
/// A database does not answer, or the file cannot be written.
pub(super) async fn keep(system: &System, audit: &Report, databases: &Databases) -> Result<()> {
    let mut by_order: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
    for violation in &audit.violations {
        if let Subject::OrderId(id) = violation.subject {
            by_order.entry(id).or_default().push(violation.to_string());
        }
    }
    let Databases {
        order,
        payment,
        inventory,
    } = databases;
    let mut text = format!("{audit}\n");
    for (id, violations) in by_order.iter().take(ORDERS_MAX) {
        writeln!(text, "\n=== {}", violations.join("\n    "))?;
        for (database, name, table, condition) in [
            (order, "order_db", "orders", "id = $1"),
            (order, "order_db", "sagas", "subject = 'order/' || $1::uuid"),
            (order, "order_db", "saga_log", OF_SAGA),
            (order, "order_db", "idempotency", OF_SAGA),
            (
                order,
                "order_db",
                "outbox",
                "message ->> 'subject' = $1::text",
            ),
            (payment, "payment_db", "payments", "order_id = $1"),
            (order, "order_db", "returns", "order_id = $1"),
            (payment, "payment_db", "refunds", "order_id = $1"),
            (inventory, "inventory_db", "reservations", "order_id = $1"),
            (inventory, "inventory_db", "restocks", "order_id = $1"),
        ] {
            dump(&mut text, database, (name, table, condition), *id).await?;
        }
        let saga = sqlx::query_as("SELECT saga_id FROM orders WHERE id = $1")
            .bind(id)
            .fetch_optional(order)
            .await?;
        if let Some((saga,)) = saga {
            let of_saga = |name| (name, "idempotency", "saga_id = $1");
            dump(&mut text, payment, of_saga("payment_db"), saga).await?;
            dump(&mut text, inventory, of_saga("inventory_db"), saga).await?;
        }
    }
    fs::write(system.servers.dir().join("evidence.txt"), text)?;
    Ok(())
}

const OF_SAGA: &str = "saga_id IN (SELECT id FROM sagas WHERE subject = 'order/' || $1::uuid)";

/// The rows of a table; those of the log in order.
async fn dump(
    text: &mut String,
    database: &PgPool,
    (name, table, condition): (&str, &str, &str),
    id: Uuid,
) -> Result<()> {
    // Made of the constants above.
    let order = if table == "saga_log" {
        "ORDER BY seq"
    } else {
        ""
    };
    let query = format!(
        "SELECT row_to_json(t)::text FROM (SELECT * FROM {table} WHERE {condition} {order}) AS t"
    );
    let rows: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(query))
        .bind(id)
        .fetch_all(database)
        .await?;
    for (row,) in rows {
        writeln!(text, "{name}.{table} {row}")?;
    }
    Ok(())
}
