//! The system that is tortured: two replicas of each service, and a proxy on each of their connections. Where RabbitMQ is a
//! cluster, a replica knows all nodes, and what its proxy does, it does on the ways to all of them.
//!
//! ```text
//! order-service-1 ─┬─ proxy ─► RabbitMQ        order-service-2 ─┬─ proxy ─► …      payment-service-1 …
//!                  └─ proxy ─► PostgreSQL                       └─ proxy ─► …
//! ```

use std::path::{Path, PathBuf};

use anyhow::Result;
use common::fleet::{SERVICES, Service};
use futures_util::future::try_join_all;
use test_support::Proxy;
use test_support::servers::{Signal, free_ports};
use test_support::system;
use tokio::sync::Mutex;

use super::fault::{Link, Target};
use crate::infra::packages;
use crate::settings::RABBITMQ_URL;
use crate::workspace::Workspace;

/// Of each service.
pub(super) const REPLICAS: usize = 2;
/// Of RabbitMQ, where it is a cluster.
pub(super) const NODES: usize = 3;

/// The variable that says how many refunds the gateway refuses.
pub(super) const REFUND_REFUSAL_RATE: &str = "PAYMENT_REFUND_REFUSAL_RATE";

/// What all replicas are given. Deadlines: 1.5 s a step, 1.5 to 15 s a compensation.
/// Some calls to the gateway hang, and some refunds are refused until the gateway is mended.
const CONFIGURATION: [(&str, &str); 9] = [
    ("USE_SIMULATED_PAYMENT", "true"),
    ("PAYMENT_SUCCESS_RATE", "0.85"),
    ("PAYMENT_LATENCY_MS", "2"),
    ("PAYMENT_HANG_RATE", "0.01"),
    (REFUND_REFUSAL_RATE, "0.03"),
    ("PAYMENT_TIMEOUT_MS", "500"),
    ("SAGA_DEADLINE_SCALE", "0.05"),
    ("DATABASE_MAX_CONNECTIONS", "8"),
    ("LOG_LEVEL", "warn"),
];

/// The system.
#[derive(Debug)]
pub(super) struct System {
    pub(super) servers: system::System,
    /// Held by who stops and starts PostgreSQL.
    pub(super) postgres_turn: Mutex<()>,
    /// Held by who stops and starts RabbitMQ.
    pub(super) rabbitmq_turn: Mutex<()>,
    pub(super) replicas: Vec<Replica>,
}

/// A process of a service, behind proxies.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) target: Target,
    pub(super) process: system::Replica,
    rabbitmq: Proxy,
    postgres: Proxy,
    /// Held by who stops and starts it.
    pub(super) turn: Mutex<()>,
}

impl System {
    /// Starts everything from nothing below `.dev/torture`, with so many nodes of RabbitMQ, and a gateway that refuses
    /// refunded keys or does not. What an earlier run left there is stopped and removed.
    ///
    /// # Errors
    /// Something does not start; what has started until then is stopped by
    /// [`stop_left_over`](test_support::servers::stop_left_over).
    pub(super) async fn start(workspace: &Workspace, nodes: usize, refuses: bool) -> Result<Self> {
        let refuses = if refuses { "true" } else { "false" };
        let mut configuration = CONFIGURATION.to_vec();
        configuration.push(("PAYMENT_REFUSES_REFUNDED_KEYS", refuses));
        let system = Self::at_rest(workspace, &dir(workspace), &configuration, nodes).await?;
        let migrate = workspace.program("migrate")?;
        system.servers.migrate(&migrate).await?;
        system.spawn().await?;
        Ok(system)
    }

    /// The same below `dir`, with another configuration. Nobody has migrated, and no replica runs yet.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub(super) async fn at_rest(
        workspace: &Workspace,
        dir: &Path,
        configuration: &[(&str, &str)],
        nodes: usize,
    ) -> Result<Self> {
        packages::ensure(workspace, true, true)?;
        let servers = system::System::without_schemas(dir, &[], nodes).await?;
        let mut replicas = Vec::new();
        for (n, port) in free_ports(SERVICES.len() * REPLICAS)?
            .into_iter()
            .enumerate()
        {
            let target = Target {
                service: n / REPLICAS,
                replica: n % REPLICAS,
            };
            replicas.push(Replica::new(&servers, target, port, configuration).await?);
        }
        Ok(Self {
            servers,
            postgres_turn: Mutex::default(),
            rabbitmq_turn: Mutex::default(),
            replicas,
        })
    }

    /// Starts every replica, and waits until they are ready.
    pub(super) async fn spawn(&self) -> Result<()> {
        self.replicas.iter().try_for_each(|r| r.process.spawn())?;
        self.ready().await
    }

    /// Waits until every replica is ready to work.
    pub(super) async fn ready(&self) -> Result<()> {
        try_join_all(self.replicas.iter().map(|r| r.process.ready())).await?;
        Ok(())
    }

    /// The replicas of one service.
    pub(super) fn of_service(&self, service: &'static Service) -> impl Iterator<Item = &Replica> {
        let is_of = |replica: &&Replica| replica.process.service.program == service.program;
        self.replicas.iter().filter(is_of)
    }

    pub(super) fn replica(&self, target: Target) -> &Replica {
        &self.replicas[target.service * REPLICAS + target.replica]
    }

    pub(super) fn replica_mut(&mut self, target: Target) -> &mut Replica {
        &mut self.replicas[target.service * REPLICAS + target.replica]
    }

    /// The log of each replica.
    pub(super) fn logs(&self) -> impl Iterator<Item = (Target, &Path)> {
        self.replicas
            .iter()
            .map(|replica| (replica.target, replica.process.files.log.as_path()))
    }

    /// Ends the services as an operator would, then the servers, and removes everything.
    ///
    /// # Errors
    /// A process does not end, or a file cannot be removed.
    pub(super) async fn end(self) -> Result<()> {
        try_join_all(self.replicas.iter().map(|r| r.process.end(Signal::TERM))).await?;
        self.servers.end().await
    }
}

impl Replica {
    async fn new(
        servers: &system::System,
        target: Target,
        port: u16,
        configuration: &[(&str, &str)],
    ) -> Result<Self> {
        let service = SERVICES[target.service];
        let process = servers.replica(service, target.replica + 1, port, configuration)?;
        let database = servers.database_url(service.database.name);
        let (postgres, database) = Proxy::before(&database).await?;
        process.set(service.database.variable, database.as_str());
        let nodes = servers.rabbitmq.nodes();
        let (mut rabbitmq, first) = Proxy::before(&nodes[0].url()).await?;
        let mut urls = vec![first.to_string()];
        for node in &nodes[1..] {
            urls.push(rabbitmq.also_before(&node.url()).await?.into());
        }
        process.set(RABBITMQ_URL, &urls.join(","));
        Ok(Self {
            target,
            process,
            rabbitmq,
            postgres,
            turn: Mutex::default(),
        })
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
