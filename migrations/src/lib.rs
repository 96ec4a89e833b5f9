//! The schema of each service's database: one migrator each, and the messaging tables in all.
//!
//! Migrations are additive; a released one is never edited. [`migrate`] may run in any number of processes at
//! once. Services do not migrate: they wait until it is done ([`is_current`]).

pub mod auditor;
mod m20261121_000001_initial;
mod m20261121_000002_retention;
mod m20261122_000003_returns;
mod m20261122_000003_subjects;
mod m20261122_000004_intents;
mod m20261122_000005_outbox_waiting;
mod m20261122_000006_tracestate;
mod m20261122_000007_sequences;
mod m20261122_000008_dead_letters;
mod m20261122_000008_overruled;
mod m20261122_000010_finding;
mod m20261122_000011_views;
mod m20261122_000012_batches;
mod m20261122_000013_pauses;
mod m20261122_000014_letter_notices;
mod plain;
mod stepwise;

use std::{pin::Pin, time::Duration};

use anyhow::Context;
use common::{
    config::Secret,
    db,
    fleet::{self, Database},
};
use sea_orm_migration::{
    MigrationTrait, MigratorTrait,
    sea_orm::{DatabaseConnection, SqlxPostgresConnector},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row};
use tokio::time::sleep;

/// A number that no other program uses for its locks.
const MIGRATION_LOCK: i64 = 0x5A6A_0001;
/// How often a migration looks whether another one has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Declares the migrator of each service.
macro_rules! migrators {
    ($($(#[$doc:meta])* $name:ident: [$($migration:expr),+ $(,)?]),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl MigratorTrait for $name {
            fn migrations() -> Vec<Box<dyn MigrationTrait>> {
                vec![$(Box::new($migration)),+]
            }
        }
    )+};
}

migrators! {
    /// order_db
    Order: [
        m20261121_000001_initial::ORDER,
        m20261121_000002_retention::ORDER,
        m20261122_000003_subjects::ORDER,
        m20261122_000005_outbox_waiting::ALL,
        m20261122_000006_tracestate::ORDER,
        m20261122_000008_dead_letters::ORDER,
        m20261122_000008_overruled::ORDER,
        m20261122_000010_finding::ORDER,
        m20261122_000011_views::ORDER,
        m20261122_000012_batches::ORDER,
        m20261122_000013_pauses::ORDER,
        m20261122_000014_letter_notices::ORDER,
    ],
    /// payment_db
    Payment: [
        m20261121_000001_initial::PAYMENT,
        m20261121_000002_retention::PAYMENT,
        m20261122_000003_returns::PAYMENT,
        m20261122_000004_intents::PAYMENT,
        m20261122_000005_outbox_waiting::ALL,
    ],
    /// inventory_db
    Inventory: [
        m20261121_000001_initial::INVENTORY,
        m20261121_000002_retention::INVENTORY,
        m20261122_000003_returns::INVENTORY,
        m20261122_000005_outbox_waiting::ALL,
        m20261122_000007_sequences::INVENTORY,
    ],
}

/// A database with its migrator.
pub struct Schema {
    /// The database.
    pub database: &'static Database,
    up: fn(Secret) -> Work,
    down: fn(Secret) -> Work,
}

/// The future of a migration.
type Work = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

impl Schema {
    const fn of<M: MigratorTrait>(database: &'static Database) -> Self {
        Self {
            database,
            up: |url| Box::pin(async move { migrate::<M>(&url).await }),
            down: |url| Box::pin(async move { roll_back::<M>(&url).await }),
        }
    }

    /// As [`migrate`] does.
    ///
    /// # Errors
    /// See [`migrate`]; the error names the database.
    pub async fn migrate(&self, url: &Secret) -> anyhow::Result<()> {
        (self.up)(url.clone()).await.context(self.database.name)
    }

    /// As [`roll_back`] does.
    ///
    /// # Errors
    /// See [`roll_back`]; the error names the database.
    pub async fn roll_back(&self, url: &Secret) -> anyhow::Result<()> {
        (self.down)(url.clone()).await.context(self.database.name)
    }
}

/// The schemas of all databases, in the order of [`fleet::SERVICES`].
pub const SCHEMAS: [Schema; fleet::SERVICES.len()] = [
    Schema::of::<Order>(&fleet::ORDER.database),
    Schema::of::<Payment>(&fleet::PAYMENT.database),
    Schema::of::<Inventory>(&fleet::INVENTORY.database),
];

/// Creates the database of `url` if there is none, and brings its schema up to date.
///
/// # Errors
/// The server is not reachable, or its user may not create databases or tables.
pub async fn migrate<M: MigratorTrait>(url: &Secret) -> anyhow::Result<()> {
    create_database(url).await?;
    let pool = PgPool::connect_lazy_with(db::options(url)?);
    // Of a database that a later version has migrated, an earlier one knows no more than that.
    let is_current = is_current::<M>(&pool).await;
    pool.close().await;
    if matches!(is_current, Ok(true)) {
        return Ok(());
    }
    let connection = connect(url).await?;
    M::up(&connection, None).await.context("migrating")?;
    connection.close().await?;
    Ok(())
}

async fn connect(url: &Secret) -> anyhow::Result<DatabaseConnection> {
    let pool = PgPool::connect_with(db::options(url)?).await;
    let pool = pool.context("connecting to the database")?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// Takes the last migration back.
///
/// # Errors
/// The server is not reachable, or the migration cannot be taken back.
pub async fn roll_back<M: MigratorTrait>(url: &Secret) -> anyhow::Result<()> {
    let connection = connect(url).await?;
    M::down(&connection, Some(1))
        .await
        .context("rolling back")?;
    connection.close().await?;
    Ok(())
}

/// Runs `work` while no other process that does the same can, on the server of `url`; calls `waiting` when one does.
///
/// # Errors
/// The server is not reachable, or the work's own.
pub async fn exclusively<T>(
    url: &Secret,
    waiting: impl FnOnce(),
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let (server, _) = db::maintenance(url)?;
    let mut connection = PgConnection::connect_with(&server)
        .await
        .context("connecting to PostgreSQL")?;
    // A lock of the session would stay with a connection that a pooler keeps. That of a transaction ends with it.
    let mut lock = connection.begin().await?;
    lock.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        .await?;
    let mut waiting = Some(waiting);
    while !is_first(&mut lock).await? {
        waiting.take().into_iter().for_each(|waiting| waiting());
        sleep(LOOK_EVERY).await;
    }
    let result = work.await;
    // It is over, also for a connection that has broken meanwhile.
    let _ = lock.rollback().await;
    let _ = connection.close().await;
    result
}

async fn is_first(lock: &mut PgConnection) -> sqlx::Result<bool> {
    let first = sqlx::query("SELECT pg_try_advisory_xact_lock($1)").bind(MIGRATION_LOCK);
    first.fetch_one(lock).await?.try_get(0)
}

async fn create_database(url: &Secret) -> anyhow::Result<()> {
    let (server, name) = db::maintenance(url)?;
    let mut connection = PgConnection::connect_with(&server)
        .await
        .context("connecting to PostgreSQL")?;
    let exists = sqlx::query("SELECT FROM pg_database WHERE datname = $1")
        .bind(&name)
        .fetch_optional(&mut connection)
        .await?
        .is_some();
    if !exists {
        // A name cannot be a parameter; quoting makes any name safe.
        let create = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        connection
            .execute(AssertSqlSafe(create))
            .await
            .with_context(|| format!("creating database {name}"))?;
    }
    connection.close().await?;
    Ok(())
}

/// Whether the schema behind `db` has all that this program needs. It may have more: that of a later version, which only
/// adds to it.
///
/// # Errors
/// The database is not reachable, or was never migrated.
pub async fn is_current<M: MigratorTrait>(db: &PgPool) -> sqlx::Result<bool> {
    let needed: Vec<_> = M::migrations()
        .iter()
        .map(|one| one.name().to_owned())
        .collect();
    let row = sqlx::query("SELECT $1::text[] <@ array_agg(version::text) FROM seaql_migrations")
        .bind(needed)
        .fetch_one(db)
        .await?;
    Ok(row.try_get::<Option<bool>, _>(0)?.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_database_has_its_schema() {
        assert!(fleet::databases().eq(SCHEMAS.iter().map(|schema| schema.database)));
    }
}
