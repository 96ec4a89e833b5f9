//! The system of the example: one replica of each service, where the order service has the sagas of the example, and
//! fraud-check.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use common::fleet::{INVENTORY, ORDER, PAYMENT};
use futures_util::future::try_join_all;
use test_support::servers::{Files, Signal, detached, free_ports, wait_ready};
use test_support::system::{self, DRAIN, Replica, START};

use crate::infra::packages;
use crate::workspace::Workspace;

/// What the replicas are given: the gateway declines only what it is told to.
const CONFIGURATION: [(&str, &str); 3] = [
    ("USE_SIMULATED_PAYMENT", "true"),
    ("PAYMENT_SUCCESS_RATE", "1"),
    ("LOG_LEVEL", "warn"),
];
/// The database of fraud-check.
const FRAUD_DB: &str = "fraud_db";

/// The system.
#[derive(Debug)]
pub(super) struct System {
    servers: system::System,
    pub(super) orders: Replica,
    payments: Replica,
    pub(super) inventory: Replica,
    fraud_check: Files,
}

/// Where everything of it is.
pub(super) fn dir(workspace: &Workspace) -> PathBuf {
    workspace.dev().join("example")
}

impl System {
    /// Starts everything from nothing. What an earlier run left there is stopped and removed.
    ///
    /// # Errors
    /// Something does not start.
    pub(super) async fn start(workspace: &Workspace) -> Result<Self> {
        packages::ensure(workspace, true, true)?;
        let servers = system::System::start(&dir(workspace), &[]).await?;
        let ports = free_ports(3)?;
        let mut orders = servers.replica(&ORDER, 1, ports[0], &CONFIGURATION)?;
        orders.program = system::program("checked-orders")?;
        let system = Self {
            orders,
            payments: servers.replica(&PAYMENT, 1, ports[1], &CONFIGURATION)?,
            inventory: servers.replica(&INVENTORY, 1, ports[2], &CONFIGURATION)?,
            fraud_check: Files::below(servers.dir(), "fraud-check"),
            servers,
        };
        system.replicas().into_iter().try_for_each(Replica::spawn)?;
        system.start_fraud_check(workspace).await?;
        try_join_all(system.replicas().map(Replica::ready)).await?;
        Ok(system)
    }

    fn replicas(&self) -> [&Replica; 3] {
        [&self.orders, &self.payments, &self.inventory]
    }

    async fn start_fraud_check(&self, workspace: &Workspace) -> Result<()> {
        let postgres = self.servers.connect("postgres").await?;
        sqlx::query("CREATE DATABASE fraud_db")
            .execute(&postgres)
            .await?;
        let program = workspace.root().join("examples/fraud-check/dist/main.js");
        let mut command = detached("node");
        command
            .arg(program)
            .env("RABBITMQ_URL", self.servers.rabbitmq.url())
            .env("FRAUD_DATABASE_URL", self.servers.database_url(FRAUD_DB));
        self.fraud_check
            .spawn(&mut command)
            .context("cannot run fraud-check")?;
        // From then on its queue is there, and no command has to wait for it in the outbox.
        wait_ready("fraud-check", &self.fraud_check, START, async || {
            let log = std::fs::read_to_string(&self.fraud_check.log)?;
            ensure!(log.contains("consuming"), "it does not consume yet");
            Ok(())
        })
        .await
    }

    /// Ends everything as an operator would, and removes it.
    ///
    /// # Errors
    /// A process does not end, or a file cannot be removed.
    pub(super) async fn end(self) -> Result<()> {
        let replicas = self.replicas().map(|replica| replica.end(Signal::TERM));
        try_join_all(replicas).await?;
        self.fraud_check.stop(Signal::TERM, DRAIN).await?;
        self.servers.end().await
    }
}
