//! PostgreSQL alone: all rows that a completed saga writes, 100 sagas a commit, one set-based statement a table.
//!
//! The tables are those of the migrations, with all keys, indexes and checks, in a database of their own.

use std::time::Duration;

use anyhow::Result;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::Watch;
use crate::orders::stock;
use crate::report::Part;
use crate::system::System;

/// Sagas a commit, and connections that write at once, so that one waits for the disk while another works.
const SAGAS: usize = 100;
const CONNECTIONS: usize = 2;

/// One database for all tables, as the migrations make them.
const SCHEMA: [&str; 4] = [
    include_str!("../../../migrations/src/sql/messaging.sql"),
    include_str!("../../../migrations/src/sql/order.sql"),
    include_str!("../../../migrations/src/sql/payment.sql"),
    include_str!("../../../migrations/src/sql/inventory.sql"),
];

/// What is written of each saga. `$1` and `$2` are the ids of orders and sagas, `$3` those of the messages in the outbox,
/// `$4` is the content of one.
const STATEMENTS: [&str; 10] = [
    "INSERT INTO orders (id, saga_id, customer_id, status, items, currency, total_minor, payment_method, event_sequence)
     SELECT o, s, 'customer-1', 'PENDING', '[{\"productId\":\"product-123\",\"quantity\":1,\"unitPrice\":\"19.99\"}]',
            'USD', 1999, 'pm_any', 1
     FROM UNNEST($1::uuid[], $2::uuid[]) AS n (o, s)",
    "INSERT INTO sagas (id, order_id, type, definition_version, status, current_step, attempt, version, command_id,
                        correlation_id, traceparent, deadline_at)
     SELECT s, o, 'create_order', 1, 'RUNNING', 'payment', 1, 2, o, o::text,
            '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', now() + interval '30 s'
     FROM UNNEST($1::uuid[], $2::uuid[]) AS n (o, s)",
    "INSERT INTO saga_log (saga_id, seq, event, step, details)
     SELECT s, seq, event, step, '{\"attempt\":1}' FROM UNNEST($2::uuid[]) AS s, (VALUES
         (1, 'SAGA_STARTED', NULL), (2, 'ACTION_SENT', 'payment'), (3, 'STEP_SUCCEEDED', 'payment'),
         (4, 'ACTION_SENT', 'inventory'), (5, 'STEP_SUCCEEDED', 'inventory'), (6, 'SAGA_COMPLETED', NULL))
         AS e (seq, event, step)",
    "INSERT INTO outbox (id, exchange, routing_key, message)
     SELECT id, 'saga.commands', 'payment', $4::json FROM UNNEST($3::uuid[]) AS id",
    // Two replies at the orchestrator, without content; one outcome at each participant.
    "INSERT INTO idempotency (saga_id, step, direction, message_id, outcome)
     SELECT s, step, 'ACTION', o, CASE WHEN is_kept THEN $4::json END
     FROM UNNEST($1::uuid[], $2::uuid[]) AS n (o, s),
          (VALUES ('payment', false), ('inventory', false), ('paid', true), ('held', true)) AS r (step, is_kept)",
    "INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, status, gateway_id)
     SELECT o, s, 'payment', o, 'customer-1', 1999, 'USD', 'CAPTURED', 'sim_b7a9931fc1e006b65a01d742'
     FROM UNNEST($1::uuid[], $2::uuid[]) AS n (o, s)",
    "INSERT INTO reservations (id, saga_id, step, order_id, items, status)
     SELECT o, s, 'inventory', o, '[{\"productId\":\"product-123\",\"quantity\":1}]', 'RESERVED'
     FROM UNNEST($1::uuid[], $2::uuid[]) AS n (o, s)",
    "UPDATE sagas SET status = 'COMPLETED', current_step = NULL, version = 6, deadline_at = NULL, updated_at = now()
     WHERE id = ANY($2)",
    "UPDATE orders SET status = 'COMPLETED', event_sequence = 2, updated_at = now() WHERE id = ANY($1)",
    "DELETE FROM outbox WHERE id = ANY($3)",
];
/// Messages that go through the outbox: order.created, payment.process, inventory.reserve, order.completed.
const OUTBOX: usize = 4;
/// A piece of each of a hundred products.
const STOCK: &str =
    "UPDATE inventory_items AS i SET reserved_quantity = reserved_quantity + 1, updated_at = now()
     FROM generate_series($1::int, $1 + $2 - 1) AS n WHERE i.product_id = 'product-' || n";

/// Writes for `window`.
pub(super) async fn measure(system: &System, window: Duration) -> Result<Part> {
    let server = system.servers.connect("postgres").await?;
    sqlx::raw_sql("DROP DATABASE IF EXISTS floor")
        .execute(&server)
        .await?;
    sqlx::raw_sql("CREATE DATABASE floor")
        .execute(&server)
        .await?;
    let db = system.servers.connect("floor").await?;
    for tables in SCHEMA {
        sqlx::raw_sql(tables).execute(&db).await?;
    }
    stock(&db).await?;
    let watch = Watch::start(system.servers.postgres.process())?;
    let end = Instant::now() + window;
    let mut writers = JoinSet::new();
    for writer in 0..CONNECTIONS {
        let db = db.clone();
        writers.spawn(async move { write(&db, end, writer).await });
    }
    let mut sagas = 0;
    while let Some(written) = writers.join_next().await {
        sagas += written??;
    }
    let part = watch.stop(sagas);
    db.close().await;
    sqlx::raw_sql("DROP DATABASE floor")
        .execute(&server)
        .await?;
    Ok(part)
}

/// How many sagas it wrote.
async fn write(db: &PgPool, end: Instant, writer: usize) -> Result<usize> {
    let message = super::rabbitmq::event();
    let mut sagas = 0;
    while Instant::now() < end {
        let ids = |count| (0..count).map(|_| Uuid::now_v7()).collect::<Vec<_>>();
        let mut tx: Transaction<'_, Postgres> = common::db::begin(db).await?;
        let (orders, of_orders, messages) = (ids(SAGAS), ids(SAGAS), ids(SAGAS * OUTBOX));
        for statement in STATEMENTS {
            sqlx::query(statement)
                .bind(&orders)
                .bind(&of_orders)
                .bind(&messages)
                .bind(&message)
                .execute(&mut *tx)
                .await?;
        }
        // Of other products than the other writer, who would wait.
        let first = i32::try_from(writer * SAGAS)?;
        sqlx::query(STOCK)
            .bind(first)
            .bind(i32::try_from(SAGAS)?)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        sagas += SAGAS;
    }
    Ok(sagas)
}
