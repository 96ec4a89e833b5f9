//! What the audit reads: the databases of the services, as a role that can only read, and the broker.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::config::{BrokerConfig, Secret, Vars};
use common::db;
use common::fleet::{self, Database};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::time::timeout;

/// One for the audit, which reads one database after the other, and one for the probes.
const CONNECTIONS: u32 = 2;
/// A database that has not let us in by then is away.
const PATIENCE: Duration = Duration::from_secs(5);
/// What each connection begins with. The role should not be able to write; where it is, it still does not. A statement
/// reads 2000 orders, or the outbox, or all stock; one that is planned on empty tables must not scan full ones for ever.
const SETTINGS: &str = "SET default_transaction_read_only = on; SET statement_timeout = '5min'; SET lock_timeout = '8s';
    SET enable_seqscan = off; SET jit = off";

/// The databases of all services, opened for reading, and the nodes of the broker.
#[derive(Clone, Debug)]
pub struct Books {
    pub(crate) order: PgPool,
    pub(crate) payment: PgPool,
    pub(crate) inventory: PgPool,
    pub(crate) brokers: Vec<Secret>,
}

impl Books {
    /// Reads the variables of the audit. Nothing is connected before somebody asks.
    ///
    /// # Errors
    /// A value cannot be used; the error names its variable.
    pub fn open(vars: &Vars) -> Result<Self> {
        Ok(Self {
            order: pool(&fleet::ORDER.database, vars)?,
            payment: pool(&fleet::PAYMENT.database, vars)?,
            inventory: pool(&fleet::INVENTORY.database, vars)?,
            brokers: BrokerConfig::from_vars(vars)?.nodes,
        })
    }

    /// The databases with their names, in the order of the fleet.
    pub(crate) fn databases(&self) -> impl Iterator<Item = (&'static str, &PgPool)> {
        let names = fleet::databases().map(|database| database.name);
        names.zip([&self.order, &self.payment, &self.inventory])
    }

    /// Connects to each database once: a pool says only that it timed out, and not why.
    pub(crate) async fn reach(&self) -> Result<()> {
        for (name, pool) in self.databases() {
            let options = pool.connect_options();
            let reached = timeout(PATIENCE, async {
                PgConnection::connect_with(&options).await?.close().await
            });
            let reached = reached.await.context("it does not answer");
            reached.and_then(|reached| Ok(reached?)).context(name)?;
        }
        Ok(())
    }
}

fn pool(database: &Database, vars: &Vars) -> Result<PgPool> {
    let url = database.audit_url(vars)?;
    let options = db::options(&url).context(database.audit_variable)?;
    let options = options.application_name(fleet::AUDIT.name);
    Ok(PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .after_connect(|connection, _| {
            Box::pin(async { connection.execute(SETTINGS).await.map(drop) })
        })
        .connect_lazy_with(options))
}
