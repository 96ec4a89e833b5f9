//! What a scenario costs: from before its first order until nothing is left to do, so that no cost is left out.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::cpu;
use crate::system::System;

/// How long RabbitMQ takes to count what was published: it collects every 5 s.
const COUNTED: Duration = Duration::from_secs(6);

/// What a scenario cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cost {
    /// CPU seconds, user and system, for 1000 sagas: of all replicas of a service, and of the servers with all their processes.
    pub(crate) cpu_per_1000: BTreeMap<String, f64>,
    /// The sum of these.
    pub(crate) cpu_per_1000_total: f64,
    /// CPU seconds of the driver for 1000 sagas; it is not part of the system.
    pub(crate) driver_cpu_per_1000: f64,
    /// Peak of resident memory in MiB: of the largest replica of a service, and of RabbitMQ. Of PostgreSQL what it has at
    /// the end, shared memory counted once.
    pub(crate) memory_mib: BTreeMap<String, f64>,
    /// Transactions that wrote something, for each saga, in all databases together.
    pub(crate) commits_per_saga: f64,
    /// Bytes of write-ahead log for each saga.
    pub(crate) wal_bytes_per_saga: f64,
    /// AMQP messages that were published, for each saga; one may carry up to 64 commands or replies.
    pub(crate) messages_per_saga: f64,
}

/// Counters before a scenario.
#[derive(Debug)]
pub(crate) struct Meter(Counters);

#[derive(Debug)]
struct Counters {
    cpu: BTreeMap<String, f64>,
    driver: f64,
    transactions: i64,
    wal_bytes: i64,
    messages: f64,
}

impl Meter {
    /// Begins to measure. Nothing may go on in the system.
    pub(crate) async fn start(system: &System) -> Result<Self> {
        for (_, pid) in processes(system) {
            cpu::reset_peak(pid);
        }
        let messages = published(system).await?;
        Ok(Self(Counters::read(system, messages).await?))
    }

    /// What was used since, by `sagas`. Nothing may go on any more.
    pub(crate) async fn stop(self, system: &System, sagas: usize) -> Result<Cost> {
        let after = Counters::read(system, 0.0).await?;
        let memory_mib = memory(system);
        sleep(COUNTED).await;
        let messages = published(system).await? - self.0.messages;
        let before = self.0;
        let each = |amount: f64| amount / sagas.max(1) as f64;
        let cpu_per_1000: BTreeMap<_, _> = after
            .cpu
            .into_iter()
            .map(|(name, seconds)| {
                let used = seconds - before.cpu.get(&name).copied().unwrap_or_default();
                (name, each(used * 1000.0))
            })
            .collect();
        Ok(Cost {
            cpu_per_1000_total: cpu_per_1000.values().sum(),
            cpu_per_1000,
            driver_cpu_per_1000: each((after.driver - before.driver) * 1000.0),
            memory_mib,
            commits_per_saga: each((after.transactions - before.transactions) as f64),
            wal_bytes_per_saga: each((after.wal_bytes - before.wal_bytes) as f64),
            messages_per_saga: each(messages),
        })
    }
}

impl Counters {
    async fn read(system: &System, messages: f64) -> Result<Self> {
        let mut cpu = BTreeMap::new();
        for (name, pid) in processes(system) {
            *cpu.entry(name.to_owned()).or_default() += cpu::seconds(pid);
        }
        let (transactions, wal_bytes) = written(&system.databases.order).await?;
        Ok(Self {
            cpu,
            driver: cpu::own_seconds(),
            transactions,
            wal_bytes,
            messages,
        })
    }
}

/// How many transactions have written anything, and how many bytes of log there are, in the whole server.
///
/// Each writing transaction gets a number, so the difference of two is exact, and at once; `pg_stat_database` is late
/// by up to a minute, and counts what only reads.
///
/// # Errors
/// The database failed.
pub(crate) async fn written(db: &PgPool) -> Result<(i64, i64)> {
    let row = sqlx::query_as(
        "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
                pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint",
    );
    Ok(row.fetch_one(db).await?)
}

/// All processes of the system that run, by name.
fn processes(system: &System) -> Vec<(&'static str, u32)> {
    let replicas = system.replicas().iter();
    let mut all: Vec<_> = replicas
        .map(|replica| (replica.service.program.name, replica.running()))
        .collect();
    all.push(("postgresql", system.servers.postgres.process()));
    all.push(("rabbitmq", system.servers.rabbitmq.any().process()));
    let running = all.into_iter();
    running
        .filter_map(|(name, process)| Some((name, process?.number())))
        .collect()
}

fn memory(system: &System) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, f64> = BTreeMap::new();
    for (name, pid) in processes(system) {
        let mib = match name {
            "postgresql" => cpu::shared_mib(pid),
            _ => cpu::peak_mib(pid),
        };
        let largest = all.entry(name.to_owned()).or_default();
        *largest = largest.max(mib);
    }
    all
}

/// AMQP messages that were published since RabbitMQ started.
async fn published(system: &System) -> Result<f64> {
    let overview = overview(system).await?;
    // Both are absent until something is published.
    let published = overview.pointer("/message_stats/publish");
    published
        .map_or(Some(0.0), Value::as_f64)
        .context("RabbitMQ does not tell how many messages were published")
}

/// What RabbitMQ tells about itself.
///
/// # Errors
/// It does not answer.
pub(crate) async fn overview(system: &System) -> Result<Value> {
    let url = format!("{}/api/overview", system.servers.rabbitmq.any().api_url());
    let client = reqwest::Client::builder().no_proxy().build()?;
    Ok(client.get(url).send().await?.json().await?)
}
