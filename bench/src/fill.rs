//! Finished sagas by the million: the rows that the services would have left behind, in all three databases.
//!
//! Everything about a saga follows from its number (see `fill/functions.sql`), so the databases agree without asking
//! each other, and the audit finds all books right. The sagas are of the week before yesterday.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgPool};
use test_support::system::Databases;

use crate::clock::now;

/// Sagas in a transaction.
const PART: i64 = 20_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What filling did.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) took: Duration,
    pub(crate) databases_mib: f64,
}

/// Puts `sagas` finished sagas in, and lets PostgreSQL tidy up. Only once in a system.
///
/// # Errors
/// A database's.
pub(crate) async fn fill(databases: &Databases, sagas: u64) -> Result<Filled> {
    ensure!(sagas > 0, "--fill needs at least one saga");
    let start = Instant::now();
    let functions = include_str!("fill/functions.sql")
        .replace("{first_ms}", &(now() / 1000 - 8 * DAY_MS).to_string())
        .replace("{span_ms}", &(7 * DAY_MS).to_string())
        .replace("{count}", &sagas.to_string());
    let sagas = i64::try_from(sagas)?;
    let fill = |db, rows| fill_one(db, &functions, rows, sagas);
    tokio::try_join!(
        fill(&databases.order, include_str!("fill/order.sql")),
        fill(&databases.payment, include_str!("fill/payment.sql")),
        fill(&databases.inventory, include_str!("fill/inventory.sql")),
    )?;
    sqlx::query("CHECKPOINT").execute(&databases.order).await?;
    let bytes: i64 = sqlx::query_scalar(
        "SELECT sum(pg_database_size(datname))::bigint FROM pg_database WHERE datname LIKE '%\\_db'",
    )
    .fetch_one(&databases.order)
    .await?;
    Ok(Filled {
        took: start.elapsed(),
        databases_mib: bytes as f64 / 1_048_576.0,
    })
}

/// Executes the statements in `rows` for each part of the sagas.
async fn fill_one(db: &PgPool, functions: &str, rows: &'static str, sagas: i64) -> Result<()> {
    // The functions are gone with the connection.
    let mut connection = db.acquire().await?.detach();
    let functions = AssertSqlSafe(functions.to_owned());
    sqlx::raw_sql(functions).execute(&mut connection).await?;
    for first in (1..=sagas).step_by(usize::try_from(PART)?) {
        sqlx::query("CALL pg_temp.make_part($1, $2)")
            .bind(first)
            .bind(sagas.min(first + PART - 1))
            .execute(&mut connection)
            .await?;
        // One transaction.
        sqlx::raw_sql(rows).execute(&mut connection).await?;
    }
    sqlx::query("VACUUM ANALYZE")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}
