//! The system that is measured: release builds, no proxies, durable settings.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use common::fleet::{self, Program, SERVICES};
use futures_util::future::try_join_all;
use test_support::servers::{Signal, free_ports};
use test_support::system::{self, Databases, Replica};

use crate::meter;

/// What the services are given beside where everything is. The rest are their defaults.
const CONFIGURATION: [(&str, &str); 4] = [
    ("LOG_LEVEL", "warn"),
    ("USE_SIMULATED_PAYMENT", "true"),
    ("PAYMENT_SUCCESS_RATE", "0.9"),
    ("PAYMENT_LATENCY_MS", "0"),
];
/// What PostgreSQL is given. `track_commit_timestamp` tells when a saga ended; it costs a few bytes a transaction in a
/// cache of its own.
const SETTINGS: [(&str, &str); 6] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "512MB"),
    ("max_wal_size", "8GB"),
    ("track_commit_timestamp", "on"),
];

/// The system.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) servers: system::System,
    pub(crate) databases: Databases,
    replicas: Vec<Replica>,
    /// What the services are given in this scenario.
    configuration: Configuration,
}

/// Variables and their values.
pub(crate) type Configuration = &'static [(&'static str, &'static str)];

impl System {
    /// Starts everything from nothing below `dir`. What an earlier run left there is stopped and removed.
    ///
    /// # Errors
    /// Something does not start; what has started until then is stopped by
    /// [`stop_left_over`](test_support::servers::stop_left_over).
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        let servers = system::System::start(dir, &SETTINGS).await?;
        let mut system = Self {
            databases: servers.databases().await?,
            servers,
            replicas: Vec::new(),
            configuration: &[],
        };
        system.scale(1).await?;
        Ok(system)
    }

    /// Has one replica of each service run with `configuration`.
    ///
    /// # Errors
    /// One of them does not start or end.
    pub(crate) async fn configure(&mut self, configuration: Configuration) -> Result<()> {
        self.scale(0).await?;
        self.configuration = configuration;
        self.scale(1).await
    }

    /// Has `count` replicas of each service run, all of them ready.
    ///
    /// # Errors
    /// One of them does not start or end.
    pub(crate) async fn scale(&mut self, count: usize) -> Result<()> {
        while self.replicas.len() > count * SERVICES.len() {
            let replica = self.replicas.pop().context("there is one")?;
            replica.end(Signal::TERM).await?;
        }
        let ports = free_ports((count * SERVICES.len()).saturating_sub(self.replicas.len()))?;
        for port in ports {
            let n = self.replicas.len();
            let service = SERVICES[n % SERVICES.len()];
            let number = n / SERVICES.len() + 1;
            let configuration = [&CONFIGURATION, self.configuration].concat();
            let replica = self
                .servers
                .replica(service, number, port, &configuration)?;
            replica.spawn()?;
            self.replicas.push(replica);
        }
        try_join_all(self.replicas.iter().map(Replica::ready)).await?;
        Ok(())
    }

    /// Stops all replicas of a service, as an operator would.
    ///
    /// # Errors
    /// One of them does not end.
    pub(crate) async fn stop(&self, program: &Program) -> Result<()> {
        try_join_all(self.replicas_of(program).map(|one| one.end(Signal::TERM))).await?;
        Ok(())
    }

    /// Starts all replicas of a service that was stopped, and waits until they are ready.
    ///
    /// # Errors
    /// One of them does not start.
    pub(crate) async fn start_again(&self, program: &Program) -> Result<()> {
        for replica in self.replicas_of(program) {
            replica.spawn()?;
        }
        try_join_all(self.replicas_of(program).map(Replica::ready)).await?;
        Ok(())
    }

    fn replicas_of<'a>(&'a self, program: &'a Program) -> impl Iterator<Item = &'a Replica> {
        let replicas = self.replicas.iter();
        replicas.filter(move |replica| &replica.service.program == program)
    }

    /// The processes of the services.
    pub(crate) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Where orders are placed: `127.0.0.1:20003`, of each replica.
    pub(crate) fn order_addresses(&self) -> Vec<String> {
        let orders = self.replicas_of(&fleet::ORDER.program);
        orders.map(|replica| replica.address.clone()).collect()
    }

    /// Settings and versions that decide what the numbers mean, as the servers themselves tell them.
    pub(crate) async fn settings(&self) -> Result<BTreeMap<String, String>> {
        let names = SETTINGS.map(|(name, _)| name);
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT name, current_setting(name) FROM pg_settings
             WHERE name = ANY($1) OR name IN ('server_version', 'wal_compression', 'checkpoint_timeout') ORDER BY name",
        )
        .bind(&names[..])
        .fetch_all(&self.databases.order)
        .await?;
        let mut settings: BTreeMap<_, _> = rows.into_iter().collect();
        let rabbitmq = meter::overview(self).await?;
        let version = rabbitmq["rabbitmq_version"].as_str().unwrap_or("?");
        settings.insert("rabbitmq_version".to_owned(), version.to_owned());
        Ok(settings)
    }

    /// Ends the services as an operator would, then the servers, and removes everything.
    ///
    /// # Errors
    /// A process does not end, or a file cannot be removed.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.scale(0).await?;
        self.servers.end().await
    }
}
