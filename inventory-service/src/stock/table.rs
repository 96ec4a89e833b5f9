//! The table `inventory_items`, for a whole batch in one statement each.

use common::db::Writes;
use std::collections::HashMap;

use common::amqp::Message;
use sqlx::{PgExecutor, Postgres, Row, Transaction};

use super::{Change, Item, Stock, changes::outgoing};

/// Makes those of `products` that do not exist, with none of each in the warehouse and nothing told of them yet.
///
/// # Errors
/// The database failed.
pub(crate) async fn make(
    tx: &mut Transaction<'_, Postgres>,
    products: &[&str],
) -> sqlx::Result<()> {
    if products.is_empty() {
        return Ok(());
    }
    // Who makes the same one at the same time is waited for. The order is the same in all transactions.
    sqlx::query(
        "INSERT INTO inventory_items (product_id, quantity, version)
         SELECT product_id, 0, 0 FROM UNNEST($1::text[]) AS product_id ORDER BY product_id
         ON CONFLICT (product_id) DO NOTHING",
    )
    .bind(products)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Locks `products`, in the order that all transactions keep. Those that do not exist are not in the result.
///
/// # Errors
/// The database failed.
pub(crate) async fn lock(
    tx: &mut Transaction<'_, Postgres>,
    products: &[&str],
) -> sqlx::Result<Stock> {
    if products.is_empty() {
        return Ok(Stock::default());
    }
    let rows = sqlx::query(
        "SELECT product_id, quantity, reserved_quantity, low_stock_threshold, version
         FROM inventory_items WHERE product_id = ANY($1) ORDER BY product_id FOR UPDATE",
    )
    .bind(products)
    .fetch_all(&mut **tx)
    .await?;
    let items = rows.iter().map(|row| {
        let item = Item {
            quantity: row.try_get("quantity")?,
            reserved: row.try_get("reserved_quantity")?,
            low_stock_threshold: row.try_get("low_stock_threshold")?,
            version: row.try_get("version")?,
        };
        Ok((row.try_get("product_id")?, item))
    });
    Ok(Stock::new(items.collect::<sqlx::Result<Vec<_>>>()?))
}

/// Adds `changes` of locked products, each product once, to `writes`, and returns the events to enqueue.
pub(crate) fn write(writes: &mut Writes, changes: Vec<Change>) -> Vec<Message> {
    if changes.is_empty() {
        return Vec::new();
    }
    let events = |change: &Change| i32::try_from(change.events.len()).unwrap_or_default();
    writes.add(
        "UPDATE inventory_items AS i
         SET quantity = i.quantity + c.quantity, reserved_quantity = i.reserved_quantity + c.reserved,
             version = i.version + c.events, updated_at = now()
         FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::integer[]) AS c (product_id, quantity, reserved, events)
         WHERE i.product_id = c.product_id",
    )
    .bind(changes.iter().map(|c| c.product_id.as_str()).collect::<Vec<_>>())
    .bind(changes.iter().map(|c| c.quantity).collect::<Vec<_>>())
    .bind(changes.iter().map(|c| c.reserved).collect::<Vec<_>>())
    .bind(changes.iter().map(events).collect::<Vec<_>>());
    outgoing(changes)
}

/// How many of each of `products` can be ordered at this moment. Locks nothing.
///
/// # Errors
/// The database failed.
pub(crate) async fn availability(
    db: impl PgExecutor<'_>,
    products: &[&str],
) -> sqlx::Result<HashMap<String, i64>> {
    let rows = sqlx::query(
        "SELECT product_id, quantity - reserved_quantity AS available
         FROM inventory_items WHERE product_id = ANY($1)",
    )
    .bind(products)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("product_id")?, row.try_get("available")?)))
        .collect()
}
