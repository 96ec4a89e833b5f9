//! RabbitMQ nodes that are one broker.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use serde_json::Value;
use uuid::Uuid;

use super::free_ports;
use super::process::{Files, Signal};
use super::rabbitmq::{Membership, RabbitMqServer, spawn_epmd};

/// How long an answer of RabbitMQ may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The same where it deletes many queues, some of them perhaps without a leader.
const FORGET: Duration = Duration::from_secs(120);

/// A cluster of RabbitMQ nodes on 127.0.0.1, or a single node, which is then as [`RabbitMqServer::new`] makes it.
///
/// What is done to the cluster is done to all of its nodes; [`Self::nodes`] has them one by one.
#[derive(Debug)]
pub struct RabbitMqCluster {
    nodes: Vec<RabbitMqServer>,
    /// The port mapper through which several nodes find each other. A single one has its own.
    epmd: Option<(Files, u16)>,
}

impl RabbitMqCluster {
    /// A cluster of `size` nodes with their files below `dir`. Nothing is started or written yet.
    ///
    /// # Errors
    /// There are not enough ports.
    pub fn new(dir: &Path, size: usize) -> Result<Self> {
        let ports = free_ports(2 * size + 1)?;
        if size == 1 {
            let node = RabbitMqServer::new(dir, ports[0], ports[1], "guest", "guest");
            return Ok(Self {
                nodes: vec![node],
                epmd: None,
            });
        }
        let epmd = (Files::below(dir, "rabbitmq-epmd"), ports[2 * size]);
        let mut membership = Membership {
            cookie: Uuid::new_v4().simple().to_string(),
            epmd_port: epmd.1,
            first: None,
        };
        let mut nodes = Vec::new();
        for (n, ports) in ports[..2 * size].chunks(2).enumerate() {
            let (ports, epmd) = ((ports[0], ports[1]), epmd.0.clone());
            let node = RabbitMqServer::member(dir, n + 1, ports, epmd, membership.clone());
            membership.first.get_or_insert_with(|| node.node_name());
            nodes.push(node);
        }
        let epmd = Some(epmd);
        Ok(Self { nodes, epmd })
    }

    /// A started cluster for one test: dropping it, or the death of this process, ends it and removes its data.
    ///
    /// # Errors
    /// When it cannot be started; see [`RabbitMqServer::start`].
    pub async fn on_free_ports(dir: &Path, size: usize) -> Result<Self> {
        let mut cluster = Self::new(&std::path::absolute(dir)?, size)?;
        cluster
            .nodes
            .iter_mut()
            .try_for_each(RabbitMqServer::guard)?;
        cluster.start().await?;
        Ok(cluster)
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[RabbitMqServer] {
        &self.nodes
    }

    /// A node that answers, as far as its process tells; the first one when there is none.
    #[must_use]
    pub fn any(&self) -> &RabbitMqServer {
        let answers = |node: &&RabbitMqServer| node.process().is_some_and(|p| !p.is_paused());
        self.nodes.iter().find(answers).unwrap_or(&self.nodes[0])
    }

    /// The URL of [`Self::any`].
    #[must_use]
    pub fn url(&self) -> String {
        self.any().url()
    }

    /// The URLs of all nodes, as `RABBITMQ_URL` takes them.
    #[must_use]
    pub fn urls(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(RabbitMqServer::url).collect();
        urls.join(",")
    }

    /// Starts the nodes that do not run, and waits for all of them. Those without data form the cluster; nobody should
    /// declare a queue before this ends, for a queue has members only on nodes that are there when it is made.
    ///
    /// # Errors
    /// See [`RabbitMqServer::start`].
    pub async fn start(&self) -> Result<()> {
        if let Some((epmd, port)) = &self.epmd
            && epmd.process().is_none()
        {
            spawn_epmd(epmd, *port)?;
        }
        let first = &self.nodes[0];
        if !first.has_data() {
            first.start().await?;
        }
        // At once: a node that was not the last to stop waits for the others.
        try_join_all(self.nodes.iter().map(RabbitMqServer::start)).await?;
        Ok(())
    }

    /// Orderly shutdown of all nodes.
    ///
    /// # Errors
    /// When a process cannot be signalled.
    pub async fn stop(&self) -> Result<()> {
        try_join_all(self.nodes.iter().map(RabbitMqServer::stop)).await?;
        self.stop_epmd().await
    }

    /// SIGKILL for all nodes, as in a power cut.
    ///
    /// # Errors
    /// When a process cannot be signalled.
    pub async fn kill(&self) -> Result<()> {
        try_join_all(self.nodes.iter().map(RabbitMqServer::kill)).await?;
        self.stop_epmd().await
    }

    /// Removes the data of all nodes. Only after [`Self::stop`] or [`Self::kill`].
    ///
    /// # Errors
    /// When one still runs, or the files are not ours to remove.
    pub fn remove_data(&self) -> Result<()> {
        self.nodes.iter().try_for_each(RabbitMqServer::remove_data)
    }

    /// Loses whatever clients have made: exchanges, queues and messages. The nodes stay a cluster.
    ///
    /// # Errors
    /// RabbitMQ does not answer, or refuses.
    pub async fn forget_all(&self) -> Result<()> {
        let (client, url) = (
            client(FORGET)?,
            format!("{}/api/vhosts/%2f", self.any().api_url()),
        );
        for request in [client.delete(&url), client.put(&url)] {
            request.send().await?.error_for_status()?;
        }
        Ok(())
    }

    /// Which of [`Self::nodes`] leads a quorum queue, as far as RabbitMQ knows: it looks every 5 s.
    ///
    /// # Errors
    /// RabbitMQ does not answer, or knows no such queue.
    pub async fn leader(&self, vhost: &str, queue: &str) -> Result<Option<usize>> {
        let queue = self.ask(&format!("queues/{vhost}/{queue}")).await?;
        Ok(self.number(&queue["leader"]))
    }

    /// Which of [`Self::nodes`] the open connections are on, with one entry for each connection.
    ///
    /// # Errors
    /// RabbitMQ does not answer.
    pub async fn connections(&self) -> Result<Vec<usize>> {
        let connections = self.ask("connections").await?;
        let connections = connections.as_array().context("it is a list")?;
        let on = connections.iter().map(|one| self.number(&one["node"]));
        on.collect::<Option<_>>().context("they are on our nodes")
    }

    /// The position of the node that RabbitMQ calls `name`.
    fn number(&self, name: &Value) -> Option<usize> {
        let is_it = |node: &RabbitMqServer| *name == node.node_name();
        self.nodes.iter().position(is_it)
    }

    async fn ask(&self, path: &str) -> Result<Value> {
        let url = format!("{}/api/{path}", self.any().api_url());
        let answer = client(ANSWER)?.get(url).send().await?;
        let answer = answer.error_for_status()?;
        Ok(answer.json().await?)
    }

    async fn stop_epmd(&self) -> Result<()> {
        match &self.epmd {
            Some((epmd, _)) => epmd.stop(Signal::TERM, Duration::from_secs(5)).await,
            None => Ok(()),
        }
    }
}

fn client(patience: Duration) -> reqwest::Result<reqwest::Client> {
    let client = reqwest::Client::builder();
    client.timeout(patience).no_proxy().build()
}
