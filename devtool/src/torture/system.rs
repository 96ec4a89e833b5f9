//! A whole system of its own: servers, two replicas of each service, and a proxy on each of their connections.
//!
//! ```text
//! order-service-1 ─┬─ proxy ─► RabbitMQ        order-service-2 ─┬─ proxy ─► …      payment-service-1 …
//!                  └─ proxy ─► PostgreSQL                       └─ proxy ─► …
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use sqlx::PgPool;
use test_support::Proxy;
use test_support::servers::{
    Files, PostgresServer, RabbitMqServer, Signal, detached, free_ports, probe_http, remove,
    stop_left_over, wait_ready,
};
use tokio::sync::Mutex;
use url::Url;

use super::schedule::{Link, Target};
use crate::infra::packages;
pub(super) use crate::services::SERVICES;
use crate::workspace::Workspace;

/// Of each service.
pub(super) const REPLICAS: usize = 2;

/// The databases, in the order of [`SERVICES`].
const DATABASES: [&str; 3] = ["order_db", "payment_db", "inventory_db"];
const DATABASE_URLS: [&str; 3] = [
    "ORDER_DATABASE_URL",
    "PAYMENT_DATABASE_URL",
    "INVENTORY_DATABASE_URL",
];

/// What all replicas are given. Deadlines: 1.5 s a step, 1.5 to 15 s a compensation.
const CONFIGURATION: [(&str, &str); 6] = [
    ("USE_SIMULATED_PAYMENT", "true"),
    ("PAYMENT_SUCCESS_RATE", "0.85"),
    ("PAYMENT_LATENCY_MS", "2"),
    ("SAGA_DEADLINE_SCALE", "0.05"),
    ("DATABASE_MAX_CONNECTIONS", "8"),
    ("LOG_LEVEL", "warn"),
];

/// How long a service may take to be ready, and to end.
const START: Duration = Duration::from_secs(90);
const DRAIN: Duration = Duration::from_secs(35);

/// The system.
#[derive(Debug)]
pub(super) struct System {
    dir: PathBuf,
    pub(super) postgres: Server<PostgresServer>,
    pub(super) rabbitmq: Server<RabbitMqServer>,
    pub(super) replicas: Vec<Replica>,
}

/// A server, and the turn of who stops and starts it.
#[derive(Debug)]
pub(super) struct Server<S> {
    pub(super) server: S,
    pub(super) turn: Mutex<()>,
}

/// A process of a service.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) target: Target,
    /// `http://127.0.0.1:20003`.
    pub(super) url: String,
    files: Files,
    program: PathBuf,
    environment: Vec<(String, String)>,
    rabbitmq: Proxy,
    postgres: Proxy,
    /// Held by who stops and starts it.
    pub(super) turn: Mutex<()>,
}

impl System {
    /// Starts everything from nothing below `.dev/torture`. What an earlier run left there is stopped and removed.
    ///
    /// # Errors
    /// Something does not start; what has started until then is stopped by [`stop_left_over`].
    pub(super) async fn start(workspace: &Workspace) -> Result<Self> {
        packages::ensure(workspace, true, true)?;
        let dir = dir(workspace);
        stop_left_over(&dir).await?;
        remove(&dir)?;
        let ports = free_ports(3 + SERVICES.len() * REPLICAS)?;
        let postgres = PostgresServer::new(&dir, ports[0], "postgres", "postgres");
        let rabbitmq = RabbitMqServer::new(&dir, ports[1], ports[2], "guest", "guest");
        tokio::try_join!(postgres.start(), rabbitmq.start())?;
        let mut replicas = Vec::new();
        for (n, &port) in ports[3..].iter().enumerate() {
            let target = Target {
                service: n / REPLICAS,
                replica: n % REPLICAS,
            };
            let servers = (postgres.url(), rabbitmq.url());
            replicas.push(Replica::new(workspace, &dir, target, port, &servers).await?);
        }
        let system = Self {
            dir,
            postgres: Server::new(postgres),
            rabbitmq: Server::new(rabbitmq),
            replicas,
        };
        system.migrate(workspace)?;
        system.replicas.iter().try_for_each(Replica::spawn)?;
        system.ready().await?;
        Ok(system)
    }

    fn migrate(&self, workspace: &Workspace) -> Result<()> {
        let mut command = Command::new(workspace.program("migrate")?);
        for (variable, database) in DATABASE_URLS.iter().zip(DATABASES) {
            command.env(
                variable,
                database_url(&self.postgres.server.url(), database)?,
            );
        }
        let output = command.output().context("cannot run migrate")?;
        ensure!(
            output.status.success(),
            "the migrations failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Waits until every replica is ready to work.
    pub(super) async fn ready(&self) -> Result<()> {
        try_join_all(self.replicas.iter().map(Replica::ready)).await?;
        Ok(())
    }

    /// The replicas of one service.
    pub(super) fn of_service(&self, service: usize) -> impl Iterator<Item = &Replica> {
        self.replicas
            .iter()
            .filter(move |replica| replica.target.service == service)
    }

    pub(super) fn replica(&self, target: Target) -> &Replica {
        &self.replicas[target.service * REPLICAS + target.replica]
    }

    /// order_db, payment_db and inventory_db, without a proxy.
    pub(super) async fn databases(&self) -> Result<[PgPool; 3]> {
        let url = self.postgres.server.url();
        let connect = async |database| {
            let pool = PgPool::connect(&database_url(&url, database)?).await;
            pool.context(database)
        };
        Ok([
            connect(DATABASES[0]).await?,
            connect(DATABASES[1]).await?,
            connect(DATABASES[2]).await?,
        ])
    }

    /// Where everything is: data, and the logs below `log`.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The log of each replica.
    pub(super) fn logs(&self) -> impl Iterator<Item = (Target, &Path)> {
        self.replicas
            .iter()
            .map(|replica| (replica.target, replica.files.log.as_path()))
    }

    /// Ends the services as an operator would, then the servers, and removes everything.
    ///
    /// # Errors
    /// A process does not end, or a file cannot be removed.
    pub(super) async fn end(self) -> Result<()> {
        try_join_all(self.replicas.iter().map(|r| r.end(Signal::TERM))).await?;
        self.rabbitmq.server.stop().await?;
        self.postgres.server.stop().await?;
        remove(&self.dir)
    }
}

impl<S> Server<S> {
    fn new(server: S) -> Self {
        Self {
            server,
            turn: Mutex::default(),
        }
    }
}

impl Replica {
    async fn new(
        workspace: &Workspace,
        dir: &Path,
        target: Target,
        port: u16,
        (postgres_url, rabbitmq_url): &(String, String),
    ) -> Result<Self> {
        let service = SERVICES[target.service];
        let postgres = Proxy::start(0, address(postgres_url)?).await?;
        let rabbitmq = Proxy::start(0, address(rabbitmq_url)?).await?;
        let database = database_url(postgres_url, DATABASES[target.service])?;
        let mut environment: Vec<_> = CONFIGURATION
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        environment.extend([
            (
                DATABASE_URLS[target.service].to_owned(),
                through(&database, &postgres)?,
            ),
            ("RABBITMQ_URL".to_owned(), through(rabbitmq_url, &rabbitmq)?),
            (service.address.to_owned(), format!("127.0.0.1:{port}")),
        ]);
        Ok(Self {
            target,
            url: format!("http://127.0.0.1:{port}"),
            files: Files::below(dir, &target.to_string()),
            program: workspace.program(service.name)?,
            environment,
            rabbitmq,
            postgres,
            turn: Mutex::default(),
        })
    }

    /// Starts its process.
    pub(super) fn spawn(&self) -> Result<()> {
        let mut command = detached(&self.program);
        self.files
            .spawn(command.envs(self.environment.iter().map(|(k, v)| (k, v))))
            .map(drop)
    }

    pub(super) fn is_running(&self) -> bool {
        self.files.process().is_some()
    }

    /// Ends its process, by force if it does not drain in time.
    pub(super) async fn end(&self, signal: Signal) -> Result<()> {
        self.files.stop(signal, DRAIN).await
    }

    async fn ready(&self) -> Result<()> {
        let url = format!("{}/health/ready", self.url);
        let name = self.target.to_string();
        wait_ready(&name, &self.files, START, async || probe_http(&url).await).await
    }

    /// The proxy on its connections.
    pub(super) fn link(&self, link: Link) -> &Proxy {
        match link {
            Link::Rabbitmq => &self.rabbitmq,
            Link::Postgres => &self.postgres,
        }
    }
}

/// Where a run keeps everything.
pub(super) fn dir(workspace: &Workspace) -> PathBuf {
    workspace.dev().join("torture")
}

fn database_url(server: &str, database: &str) -> Result<String> {
    let mut url = Url::parse(server)?;
    url.set_path(database);
    Ok(url.into())
}

fn address(url: &str) -> Result<SocketAddr> {
    let port = Url::parse(url)?.port().context("it has a port")?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The same URL, at the proxy.
fn through(url: &str, proxy: &Proxy) -> Result<String> {
    let mut url = Url::parse(url)?;
    let set = url.set_port(Some(proxy.address().port()));
    set.ok().context("the URL has a host")?;
    Ok(url.into())
}
