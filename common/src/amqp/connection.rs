//! One AMQP connection that is made anew, to the next node, when it is found broken.
//!
//! lapin's automatic recovery is not used: it tries one node only, and a publish hangs while it works.
//!
//! A connection that RabbitMQ has blocked is not broken. lapin writes nothing on it until that is over, not even that it
//! closes, so whoever left it for another one would have both; and RabbitMQ, which is short of memory, too.

use std::{
    sync::{
        Mutex as SyncMutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use lapin::{
    Channel, ConnectionProperties, ConnectionStatus,
    uri::{AMQPAuthority, AMQPUri},
};
use rand::RngExt;
use tokio::{net::TcpStream, sync::Mutex, time::timeout};
use tracing::{info, warn};

use super::{
    Error,
    declare::{bind_all, declare_all},
    stream,
};
use crate::{
    config::Secret,
    metrics::{BLOCKED, CONNECTED},
};

/// A node that has not answered by then is given up for the next one.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long bindings are waited for.
const BIND_TIMEOUT: Duration = Duration::from_secs(1);

/// One connection, with its name and the nodes to try.
#[derive(Debug)]
pub(super) struct Connection {
    name: String,
    nodes: Vec<Secret>,
    next: AtomicUsize,
    connection: Mutex<Option<lapin::Connection>>,
    /// How often it was made.
    made: AtomicU64,
    /// Which of these the topology was declared on.
    declared: Mutex<u64>,
    /// Of the connection that was made last.
    status: SyncMutex<ConnectionStatus>,
    up: AtomicBool,
    /// Whether it was blocked when last looked at.
    blocked: AtomicBool,
}

impl Connection {
    pub(super) fn new(name: String, nodes: Vec<Secret>) -> Self {
        CONNECTED.zero(&[&name]);
        BLOCKED.zero(&[&name]);
        Self {
            name,
            nodes,
            // Any of them: so connections are spread over the nodes, and the leaders of queues with them.
            next: AtomicUsize::new(rand::rng().random_range(0..1024)),
            connection: Mutex::new(None),
            made: AtomicU64::new(0),
            declared: Mutex::new(0),
            status: SyncMutex::default(),
            up: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
        }
    }

    /// Whether the connection stood when last looked at, and takes messages. Costs nothing.
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed) && !self.is_blocked()
    }

    /// Whether RabbitMQ takes nothing on this connection, because it is short of memory or of disk space.
    pub(super) fn is_blocked(&self) -> bool {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let blocked = status.connected() && status.blocked();
        if self.blocked.swap(blocked, Ordering::Relaxed) != blocked {
            BLOCKED.set(&[&self.name], f64::from(u8::from(blocked)));
            if blocked {
                warn!(connection = %self.name, "RabbitMQ takes no messages: it is short of memory or of disk space");
            } else {
                info!(connection = %self.name, "RabbitMQ takes messages again");
            }
        }
        blocked
    }

    /// Makes sure that it stands, with the topology declared.
    pub(super) async fn check(&self) -> Result<(), Error> {
        if self.is_blocked() {
            return Err(Error::Blocked);
        }
        let mut declared = self.declared.lock().await;
        let made = self.made.load(Ordering::Relaxed);
        if *declared == made && self.is_open().await {
            return Ok(());
        }
        self.declare().await?;
        *declared = self.made.load(Ordering::Relaxed);
        Ok(())
    }

    /// Declares the topology.
    pub(super) async fn declare(&self) -> Result<(), Error> {
        let channel = self.channel().await?;
        self.in_time(declare_all(&channel)).await?;
        // Where a node hangs, binding goes on by itself: nobody else has to wait for that node.
        let binding = tokio::spawn(async move { bind_all(&channel).await });
        match timeout(BIND_TIMEOUT, binding).await {
            Ok(Ok(bound)) => bound,
            _ => Ok(()),
        }
    }

    async fn is_open(&self) -> bool {
        let connection = self.connection.lock().await;
        connection
            .as_ref()
            .is_some_and(|open| open.status().connected())
    }

    /// A new channel, on a new connection if need be. Each node is tried once.
    pub(super) async fn channel(&self) -> Result<Channel, Error> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.as_ref().filter(|open| open.status().connected()) {
            let channel = timeout(CONNECT_TIMEOUT, open.create_channel()).await;
            if let Ok(Ok(channel)) = channel {
                return Ok(channel);
            }
            if self.is_blocked() {
                return Err(Error::Blocked);
            }
        }
        if connection.take().is_some() {
            // It is broken, and perhaps its node with it.
            self.next.fetch_add(1, Ordering::Relaxed);
        }
        let mut last_error = String::from("no node is configured");
        for _ in 0..self.nodes.len() {
            let node = &self.nodes[self.next.load(Ordering::Relaxed) % self.nodes.len()];
            match self.connect(node).await {
                Ok((open, channel)) => {
                    *self.status.lock().unwrap_or_else(PoisonError::into_inner) =
                        open.status().clone();
                    *connection = Some(open);
                    self.made.fetch_add(1, Ordering::Relaxed);
                    self.changed(true, "");
                    return Ok(channel);
                }
                Err(error) => last_error = error,
            }
            self.next.fetch_add(1, Ordering::Relaxed);
        }
        self.changed(false, &last_error);
        Err(Error::Unreachable(last_error))
    }

    /// The result of `work` on a channel of this connection, which is left when it does not answer in time.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = |_| Error::Unreachable(format!("no answer within {CONNECT_TIMEOUT:?}"));
        let result = timeout(CONNECT_TIMEOUT, work).await.map_err(late).flatten();
        if result.as_ref().is_err_and(Error::is_transient) {
            self.abandon().await;
        }
        result
    }

    /// Leaves a connection that does not answer: the next channel is on another one, at the next node.
    async fn abandon(&self) {
        if self.is_blocked() {
            return;
        }
        self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(open) = self.connection.lock().await.take() {
            // Closing it may take for ever, and nobody waits for that.
            let close = async move { open.close(200, "no answer".into()).await };
            tokio::spawn(timeout(CONNECT_TIMEOUT, close));
        }
    }

    async fn connect(&self, node: &Secret) -> Result<(lapin::Connection, Channel), String> {
        let properties =
            ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let attempt = async {
            let uri: AMQPUri = node.expose().parse().map_err(anyhow::Error::msg)?;
            // lapin 4.12 never frees 10 kB of each connection that it cannot make, so make sure that somebody listens.
            let AMQPAuthority { host, port, .. } = &uri.authority;
            TcpStream::connect((host.as_str(), *port)).await?;
            let connection = stream::connect(uri, properties).await?;
            let channel = connection.create_channel().await?;
            anyhow::Ok((connection, channel))
        };
        match timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {CONNECT_TIMEOUT:?}")),
        }
    }

    /// One log line for each change of state, not for each attempt.
    fn changed(&self, up: bool, error: &str) {
        let before = self.up.swap(up, Ordering::Relaxed);
        CONNECTED.set(&[&self.name], f64::from(u8::from(up)));
        match (before, up) {
            (false, true) => info!(connection = %self.name, "connected to RabbitMQ"),
            (true, false) => warn!(connection = %self.name, error, "lost RabbitMQ"),
            _ => {}
        }
    }

    pub(super) async fn close(&self) {
        if let Some(open) = self.connection.lock().await.take() {
            // It may be broken already: then there is nothing to close.
            let _ = timeout(CONNECT_TIMEOUT, open.close(200, "bye".into())).await;
        }
        self.up.store(false, Ordering::Relaxed);
    }
}
