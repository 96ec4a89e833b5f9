//! A whole system of its own, as `./dev up` makes it: PostgreSQL, RabbitMQ, the schemas, and replicas of the services,
//! each in a process.
//!
//! ```text
//! System    the servers, and the databases after `migrate`     torture puts a proxy on each connection of a replica
//! Replica   a process of a service, with its environment       bench scales replicas, and meters them
//! ```
//! Everything is below one directory; [`super::servers::stop_left_over`] ends what a run left there.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::fleet::{self, Service};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::process::Command;
use url::Url;

use crate::servers::{
    Files, PostgresServer, Process, RabbitMqCluster, Signal, detached, free_ports, probe_http,
    remove, stop_left_over, wait_ready,
};

/// How long a service may take until it is ready.
pub const START: Duration = Duration::from_secs(90);
/// How long a service may take to end; one drains for up to 30 s.
pub const DRAIN: Duration = Duration::from_secs(35);

/// The servers and their databases.
#[derive(Debug)]
pub struct System {
    dir: PathBuf,
    /// PostgreSQL.
    pub postgres: PostgresServer,
    /// RabbitMQ: a single node, or a cluster.
    pub rabbitmq: RabbitMqCluster,
}

/// The databases of the services, for looking into them.
#[derive(Clone, Debug)]
pub struct Databases {
    /// order_db
    pub order: PgPool,
    /// payment_db
    pub payment: PgPool,
    /// inventory_db
    pub inventory: PgPool,
}

/// A process of a service.
#[derive(Debug)]
pub struct Replica {
    /// Its service.
    pub service: &'static Service,
    /// `payment-service-2`.
    pub name: String,
    /// `127.0.0.1:20003`.
    pub address: String,
    /// Its pid file and its log.
    pub files: Files,
    /// What its process runs.
    pub program: PathBuf,
    environment: Mutex<Vec<(String, String)>>,
}

impl System {
    /// Starts the servers from nothing below `dir`, and migrates. What an earlier run left there is stopped and
    /// removed. PostgreSQL gets `settings` beside what [`PostgresServer`] gives it.
    ///
    /// # Errors
    /// Something does not start; what has started until then is stopped by [`stop_left_over`].
    pub async fn start(dir: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let system = Self::without_schemas(dir, settings, 1).await?;
        system.migrate(&program("migrate")?).await?;
        Ok(system)
    }

    /// The same, but with a RabbitMQ of several nodes, and somebody else migrates.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub async fn without_schemas(
        dir: &Path,
        settings: &[(&str, &str)],
        rabbitmq_nodes: usize,
    ) -> Result<Self> {
        stop_left_over(dir).await?;
        remove(dir)?;
        let system = Self {
            dir: dir.to_owned(),
            postgres: PostgresServer::new(dir, free_ports(1)?[0], "postgres", "postgres"),
            rabbitmq: RabbitMqCluster::new(dir, rabbitmq_nodes)?,
        };
        tokio::try_join!(system.start_postgres(settings), system.rabbitmq.start())?;
        Ok(system)
    }

    async fn start_postgres(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.postgres.start().await?;
        if settings.is_empty() {
            return Ok(());
        }
        let pool = self.connect("postgres").await?;
        for (name, value) in settings {
            let statement = AssertSqlSafe(format!("ALTER SYSTEM SET {name} = '{value}'"));
            sqlx::raw_sql(statement).execute(&pool).await?;
        }
        pool.close().await;
        // Some settings take effect at a start only.
        self.postgres.stop().await?;
        self.postgres.start().await
    }

    /// Runs the program `migrate`.
    ///
    /// # Errors
    /// It fails.
    pub async fn migrate(&self, migrate: &Path) -> Result<()> {
        let mut command = Command::new(migrate);
        let output = command.envs(self.variables()).output().await;
        let output = output.context("cannot run migrate")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the migrations failed: {said}");
        Ok(())
    }

    /// The variables that say where the servers are, as `migrate` and the audit read them.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        for database in fleet::databases() {
            let own = self.database_url(database.name);
            variables.push((database.variable.to_owned(), own));
            let audit = self.postgres.url_as("auditor", "auditor", database.name);
            variables.push((database.audit_variable.to_owned(), audit));
        }
        variables.push(("RABBITMQ_URL".to_owned(), self.rabbitmq.urls()));
        variables
    }

    /// The superuser's URL of the database `name`.
    #[must_use]
    pub fn database_url(&self, name: &str) -> String {
        let mut url = Url::parse(&self.postgres.url()).expect("the server has a URL");
        url.set_path(name);
        url.into()
    }

    /// The databases of the services.
    ///
    /// # Errors
    /// One of them does not answer.
    pub async fn databases(&self) -> Result<Databases> {
        Ok(Databases {
            order: self.connect(fleet::ORDER.database.name).await?,
            payment: self.connect(fleet::PAYMENT.database.name).await?,
            inventory: self.connect(fleet::INVENTORY.database.name).await?,
        })
    }

    /// A few connections to the database `name`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn connect(&self, name: &str) -> Result<PgPool> {
        let options: PgConnectOptions = self.database_url(name).parse()?;
        // As the services have it: a statement that is planned on an empty table must not scan it for ever.
        let options = options.options([("enable_seqscan", "off"), ("jit", "off")]);
        let pool = PgPoolOptions::new().max_connections(4);
        let connected = pool.connect_with(options).await;
        connected.with_context(|| name.to_owned())
    }

    /// A replica of `service` that listens at `port`; it does not run yet. `number` counts from 1.
    ///
    /// # Errors
    /// The program has not been built.
    pub fn replica(
        &self,
        service: &'static Service,
        number: usize,
        port: u16,
        configuration: &[(&str, &str)],
    ) -> Result<Replica> {
        let name = format!("{}-{number}", service.program.name);
        let address = format!("127.0.0.1:{port}");
        let database = self.database_url(service.database.name);
        let own = [
            (service.database.variable, database.as_str()),
            ("RABBITMQ_URL", &self.rabbitmq.urls()),
            (service.program.http_variable, &address),
        ];
        let environment = configuration.iter().copied().chain(own);
        Ok(Replica {
            service,
            files: Files::below(&self.dir, &name),
            program: program(service.program.name)?,
            environment: Mutex::new(
                environment
                    .map(|(variable, value)| (variable.to_owned(), value.to_owned()))
                    .collect(),
            ),
            name,
            address,
        })
    }

    /// Where everything is: data, and the logs below `log`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends the servers and removes everything. No replica may run any more.
    ///
    /// # Errors
    /// A server does not end, or a file cannot be removed.
    pub async fn end(self) -> Result<()> {
        self.rabbitmq.stop().await?;
        self.postgres.stop().await?;
        remove(&self.dir)
    }
}

impl Databases {
    /// All of them, in the order of [`fleet::SERVICES`].
    #[must_use]
    pub fn all(&self) -> [&PgPool; fleet::SERVICES.len()] {
        [&self.order, &self.payment, &self.inventory]
    }

    /// Whether no saga is open and no message waits in an outbox. So cheap that it can be asked while something is
    /// measured.
    ///
    /// # Errors
    /// A database does not answer.
    pub async fn are_quiet(&self) -> Result<bool> {
        // Open sagas are those with a deadline, and these have an index.
        let open =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM sagas WHERE deadline_at IS NOT NULL)");
        if open.fetch_one(&self.order).await? {
            return Ok(false);
        }
        for database in self.all() {
            let waits = sqlx::query_scalar("SELECT EXISTS (SELECT FROM outbox)");
            if waits.fetch_one(database).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Replica {
    /// Where its API is: `http://127.0.0.1:20003`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Gives `variable` another value from the next start on.
    pub fn set(&self, variable: &str, value: &str) {
        let mut environment = self.environment();
        environment.retain(|(name, _)| name != variable);
        environment.push((variable.to_owned(), value.to_owned()));
    }

    /// Starts its process.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn spawn(&self) -> Result<()> {
        let environment = self.environment().clone();
        let mut command = detached(&self.program);
        self.files.spawn(command.envs(environment)).map(drop)
    }

    fn environment(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        self.environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Its process, if it runs.
    #[must_use]
    pub fn running(&self) -> Option<Process> {
        self.files.process()
    }

    /// Waits until it is ready to work.
    ///
    /// # Errors
    /// It ends, or is not ready within [`START`].
    pub async fn ready(&self) -> Result<()> {
        let url = format!("{}/health/ready", self.url());
        wait_ready(&self.name, &self.files, START, async || {
            probe_http(&url).await
        })
        .await
    }

    /// Ends its process with `signal`, and by force if it does not end within [`DRAIN`].
    ///
    /// # Errors
    /// It does not end.
    pub async fn end(&self, signal: Signal) -> Result<()> {
        self.files.stop(signal, DRAIN).await
    }
}

/// A program of this workspace, built together with the one that runs.
///
/// # Errors
/// It has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find myself")?;
    let program = own.with_file_name(name);
    ensure!(
        program.exists(),
        "{} is not there; build it with `cargo build --release --workspace`",
        program.display()
    );
    Ok(program)
}
