//! A whole system of its own, as `./dev up` makes it: no proxies, no debug build, durable settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};
use test_support::servers::{
    Files, PostgresServer, RabbitMqServer, Signal, detached, free_ports, probe_http, remove,
    stop_left_over, wait_ready,
};
use url::Url;

use crate::meter;

/// A service, the variable of its address, its database and that one's variable.
const SERVICES: [(&str, &str, &str, &str); 3] = [
    (
        "order-service",
        "ORDER_HTTP_ADDR",
        "order_db",
        "ORDER_DATABASE_URL",
    ),
    (
        "payment-service",
        "PAYMENT_HTTP_ADDR",
        "payment_db",
        "PAYMENT_DATABASE_URL",
    ),
    (
        "inventory-service",
        "INVENTORY_HTTP_ADDR",
        "inventory_db",
        "INVENTORY_DATABASE_URL",
    ),
];
/// What the services are given beside where everything is. The rest are their defaults.
const CONFIGURATION: [(&str, &str); 4] = [
    ("LOG_LEVEL", "warn"),
    ("USE_SIMULATED_PAYMENT", "true"),
    ("PAYMENT_SUCCESS_RATE", "0.9"),
    ("PAYMENT_LATENCY_MS", "0"),
];
/// What PostgreSQL is given beside what [`PostgresServer`] gives it. `track_commit_timestamp` tells when a saga ended;
/// it costs a few bytes a transaction in a cache of its own.
const SETTINGS: [(&str, &str); 6] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "512MB"),
    ("max_wal_size", "8GB"),
    ("track_commit_timestamp", "on"),
];
/// How long a service may take to be ready, and to end.
const START: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(35);

/// The system.
#[derive(Debug)]
pub(crate) struct System {
    dir: PathBuf,
    pub(crate) postgres: PostgresServer,
    pub(crate) rabbitmq: RabbitMqServer,
    replicas: Vec<Replica>,
    pub(crate) databases: Databases,
}

/// order_db, payment_db and inventory_db.
#[derive(Debug, Clone)]
pub(crate) struct Databases {
    pub(crate) order: PgPool,
    pub(crate) payment: PgPool,
    pub(crate) inventory: PgPool,
}

/// A process of a service.
#[derive(Debug)]
pub(crate) struct Replica {
    /// The service's name.
    pub(crate) service: &'static str,
    pub(crate) files: Files,
    port: u16,
}

impl System {
    /// Starts everything from nothing below `dir`. What an earlier run left there is stopped and removed.
    ///
    /// # Errors
    /// Something does not start; what has started until then is stopped by [`stop_left_over`].
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        stop_left_over(dir).await?;
        remove(dir)?;
        let ports = free_ports(3)?;
        let postgres = PostgresServer::new(dir, ports[0], "postgres", "postgres");
        let rabbitmq = RabbitMqServer::new(dir, ports[1], ports[2], "guest", "guest");
        tokio::try_join!(start_postgres(&postgres), rabbitmq.start())?;
        migrate(&postgres)?;
        let databases = Databases {
            order: connect(&postgres, "order_db").await?,
            payment: connect(&postgres, "payment_db").await?,
            inventory: connect(&postgres, "inventory_db").await?,
        };
        let mut system = Self {
            dir: dir.to_owned(),
            postgres,
            rabbitmq,
            replicas: Vec::new(),
            databases,
        };
        system.scale(1).await?;
        Ok(system)
    }

    /// Has `count` replicas of each service run, all of them ready.
    ///
    /// # Errors
    /// One of them does not start or end.
    pub(crate) async fn scale(&mut self, count: usize) -> Result<()> {
        while self.replicas.len() > count * SERVICES.len() {
            let replica = self.replicas.pop().context("there is one")?;
            replica.files.stop(Signal::TERM, DRAIN).await?;
        }
        let ports = free_ports((count * SERVICES.len()).saturating_sub(self.replicas.len()))?;
        for port in ports {
            let (n, which) = (
                self.replicas.len() / SERVICES.len() + 1,
                self.replicas.len() % SERVICES.len(),
            );
            self.replicas.push(self.spawn(which, n, port)?);
        }
        try_join_all(self.replicas.iter().map(Replica::ready)).await?;
        Ok(())
    }

    fn spawn(&self, which: usize, n: usize, port: u16) -> Result<Replica> {
        let (service, address, database, variable) = SERVICES[which];
        let files = Files::below(&self.dir, &format!("{service}-{n}"));
        let mut command = detached(program(service)?);
        command
            .envs(CONFIGURATION)
            .env(address, format!("127.0.0.1:{port}"))
            .env(variable, database_url(&self.postgres, database)?)
            .env("RABBITMQ_URL", self.rabbitmq.url());
        files.spawn(&mut command)?;
        Ok(Replica {
            service,
            files,
            port,
        })
    }

    /// The processes of the services.
    pub(crate) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Where orders are placed: `127.0.0.1:20003`, of each replica.
    pub(crate) fn order_addresses(&self) -> Vec<String> {
        let orders = self.replicas.iter().filter(|r| r.service == SERVICES[0].0);
        orders.map(Replica::address).collect()
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
        self.rabbitmq.stop().await?;
        self.postgres.stop().await?;
        remove(&self.dir)
    }
}

impl Replica {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn ready(&self) -> Result<()> {
        let url = format!("http://{}/health/ready", self.address());
        let probe = async || probe_http(&url).await;
        wait_ready(self.service, &self.files, START, probe).await
    }
}

/// Starts it with [`SETTINGS`], some of which need a second start.
async fn start_postgres(postgres: &PostgresServer) -> Result<()> {
    postgres.start().await?;
    let pool = connect(postgres, "postgres").await?;
    for (name, value) in SETTINGS {
        let statement = AssertSqlSafe(format!("ALTER SYSTEM SET {name} = '{value}'"));
        sqlx::raw_sql(statement).execute(&pool).await?;
    }
    pool.close().await;
    postgres.stop().await?;
    postgres.start().await
}

fn migrate(postgres: &PostgresServer) -> Result<()> {
    let mut command = Command::new(program("migrate")?);
    for (_, _, database, variable) in SERVICES {
        command.env(variable, database_url(postgres, database)?);
    }
    let output = command.output().context("cannot run migrate")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the migrations failed: {said}");
    Ok(())
}

/// A few connections to a database of the server.
///
/// # Errors
/// It does not answer.
pub(crate) async fn connect(postgres: &PostgresServer, database: &str) -> Result<PgPool> {
    let options: PgConnectOptions = database_url(postgres, database)?.parse()?;
    // As the services have it: a statement that is planned on an empty table must not scan it for ever.
    let options = options.options([("enable_seqscan", "off"), ("jit", "off")]);
    let pool = PgPoolOptions::new().max_connections(4);
    pool.connect_with(options)
        .await
        .context(database.to_owned())
}

fn database_url(postgres: &PostgresServer, database: &str) -> Result<String> {
    let mut url = Url::parse(&postgres.url())?;
    url.set_path(database);
    Ok(url.into())
}

/// A program that was built together with this one.
fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find myself")?;
    let program = own.with_file_name(name);
    ensure!(
        program.exists(),
        "{name} has not been built; `./dev bench` builds everything"
    );
    Ok(program)
}
