//! RabbitMQ: connecting to one of several nodes, and publishing with confirms.
//!
//! Two connections a process, so that a broker that blocks publishers does not block acks. A connection is made
//! when somebody needs it and replaced when it is found broken; whoever needs it waits with its own backoff.
//! lapin's automatic recovery is not used: it tries one node only, and a publish hangs while it works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use lapin::{
    Channel, Confirmation, Connection, ConnectionProperties, Consumer, PublisherConfirm,
    options::{BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::FieldTable,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout, timeout_at},
};
use tracing::{info, warn};

use super::{Outgoing, outgoing::frames, topology};
use crate::config::{BrokerConfig, Secret};

/// A node that has not answered by then is given up for the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A confirm that has not come by then is taken for lost, and its channel with it.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the broker could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No node can be reached, or a connection broke.
    #[error("RabbitMQ is not reachable: {0}")]
    Unreachable(String),
    /// The broker's topology is not ours.
    #[error(transparent)]
    Topology(topology::Mismatch),
}

impl Error {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl From<lapin::Error> for Error {
    fn from(error: lapin::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<topology::Error> for Error {
    fn from(error: topology::Error) -> Self {
        match error {
            topology::Error::Mismatch(mismatch) => Self::Topology(mismatch),
            topology::Error::Connection(error) => error.into(),
        }
    }
}

/// Why a message is not with the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    /// No queue wants it.
    #[error("unroutable: no queue is bound for it")]
    Unroutable,
    /// The broker refused it, for example because a queue is full.
    #[error("refused by the broker")]
    Refused,
    /// The connection broke, or the confirm did not come: the broker may have it or not.
    #[error("the connection was lost before the confirm")]
    Lost,
}

/// A service's access to RabbitMQ. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Broker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    publishing: Link,
    consuming: Link,
    publisher: Mutex<Option<Channel>>,
    batch_max: usize,
    /// Consumers that wait for a dependency.
    holding: AtomicUsize,
}

/// A consumer waits for a dependency while this exists.
#[derive(Debug)]
pub(super) struct Hold(Broker);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.0.holding.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Broker {
    /// Prepares to connect; `name` is shown in the management console.
    #[must_use]
    pub fn new(name: &str, config: &BrokerConfig) -> Self {
        Self(Arc::new(Inner {
            publishing: Link::new(format!("{name} publish"), config.nodes.clone()),
            consuming: Link::new(format!("{name} consume"), config.nodes.clone()),
            publisher: Mutex::new(None),
            batch_max: config.message_batch_max,
            holding: AtomicUsize::new(0),
        }))
    }

    /// Makes sure that there is a connection to publish on, with the topology declared.
    ///
    /// # Errors
    /// No node can be reached, or the topology is not ours.
    pub async fn check(&self) -> Result<(), Error> {
        self.publisher().await.map(drop)
    }

    /// Whether the connection to publish on stood when last looked at. Costs nothing.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.publishing.up.load(Ordering::Relaxed)
    }

    /// Notes that a consumer waits for a dependency, which makes the service not ready.
    pub(super) fn hold(&self) -> Hold {
        self.0.holding.fetch_add(1, Ordering::Relaxed);
        Hold(self.clone())
    }

    /// Whether any consumer waits for a dependency.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.0.holding.load(Ordering::Relaxed) > 0
    }

    /// Publishes `messages` without waiting for the confirms, which the result does.
    ///
    /// # Errors
    /// There is no connection; nothing was published.
    pub async fn publish(&self, messages: &[Outgoing]) -> Result<Confirms, Error> {
        let channel = self.publisher().await?;
        let mut pending = Vec::new();
        for frame in frames(messages, self.0.batch_max) {
            let options = BasicPublishOptions {
                mandatory: frame.mandatory,
                ..BasicPublishOptions::default()
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the one place that publishes"
            )]
            let confirm = channel
                .basic_publish(
                    frame.exchange.into(),
                    frame.routing_key.into(),
                    options,
                    &frame.payload,
                    frame.properties,
                )
                .await
                .ok();
            pending.push((frame.carries, confirm));
        }
        Ok(Confirms {
            pending,
            messages: messages.len(),
            channel,
        })
    }

    /// Subscribes to `queue`, with at most `prefetch` deliveries under way.
    ///
    /// # Errors
    /// No node can be reached, or the topology is not ours.
    pub async fn subscribe(
        &self,
        queue: &str,
        prefetch: u16,
    ) -> Result<(Channel, Consumer), Error> {
        let channel = self.0.consuming.channel().await?;
        topology::declare(&channel).await?;
        channel
            .basic_qos(prefetch, BasicQosOptions::default())
            .await?;
        let consumer = channel
            .basic_consume(
                queue.into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok((channel, consumer))
    }

    /// Closes the connections: the last thing that a service does.
    pub async fn close(&self) {
        self.0.consuming.close().await;
        self.0.publishing.close().await;
    }

    async fn publisher(&self) -> Result<Channel, Error> {
        let mut publisher = self.0.publisher.lock().await;
        if let Some(channel) = publisher
            .as_ref()
            .filter(|channel| channel.status().connected())
        {
            return Ok(channel.clone());
        }
        let channel = self.0.publishing.channel().await?;
        topology::declare(&channel).await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        *publisher = Some(channel.clone());
        Ok(channel)
    }
}

/// Confirms that are on their way.
#[derive(Debug)]
#[must_use = "a message is with the broker only when it is confirmed"]
pub struct Confirms {
    pending: Vec<(Vec<usize>, Option<PublisherConfirm>)>,
    messages: usize,
    channel: Channel,
}

impl Confirms {
    /// Waits for all confirms: one result for each message, in order.
    pub async fn wait(self) -> Vec<Result<(), NotPublished>> {
        let deadline = Instant::now() + CONFIRM_TIMEOUT;
        let mut results = vec![Err(NotPublished::Lost); self.messages];
        let mut lost = false;
        for (carries, confirm) in self.pending {
            let result = match confirm {
                Some(confirm) => match timeout_at(deadline, confirm).await {
                    Ok(Ok(Confirmation::Ack(None))) => Ok(()),
                    // A returned message is acked too: only the return tells that nobody has it.
                    Ok(Ok(Confirmation::Ack(Some(_)))) => Err(NotPublished::Unroutable),
                    Ok(Ok(Confirmation::Nack(_))) => Err(NotPublished::Refused),
                    Ok(Ok(Confirmation::NotRequested) | Err(_)) | Err(_) => Err(NotPublished::Lost),
                },
                None => Err(NotPublished::Lost),
            };
            lost |= result == Err(NotPublished::Lost);
            for position in carries {
                results[position] = result;
            }
        }
        if lost {
            // Whether it still works is unknown, so the next publish gets another one.
            let _ = timeout(
                CONNECT_TIMEOUT,
                self.channel.close(200, "confirms lost".into()),
            )
            .await;
        }
        results
    }
}

/// One AMQP connection that is made anew, to the next node, when it is found broken.
#[derive(Debug)]
struct Link {
    name: String,
    nodes: Vec<Secret>,
    next: AtomicUsize,
    connection: Mutex<Option<Connection>>,
    up: AtomicBool,
}

impl Link {
    fn new(name: String, nodes: Vec<Secret>) -> Self {
        Self {
            name,
            nodes,
            next: AtomicUsize::new(0),
            connection: Mutex::new(None),
            up: AtomicBool::new(false),
        }
    }

    /// A new channel, on a new connection if need be. Each node is tried once.
    async fn channel(&self) -> Result<Channel, Error> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.as_ref().filter(|open| open.status().connected())
            && let Ok(Ok(channel)) = timeout(CONNECT_TIMEOUT, open.create_channel()).await
        {
            return Ok(channel);
        }
        *connection = None;
        let mut last_error = String::from("no node is configured");
        for _ in 0..self.nodes.len() {
            let node = &self.nodes[self.next.load(Ordering::Relaxed) % self.nodes.len()];
            match self.connect(node).await {
                Ok((open, channel)) => {
                    *connection = Some(open);
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

    async fn connect(&self, node: &Secret) -> Result<(Connection, Channel), String> {
        let properties =
            ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let attempt = async {
            let connection = Connection::connect(node.expose(), properties).await?;
            let channel = connection.create_channel().await?;
            Ok::<_, lapin::Error>((connection, channel))
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
        match (before, up) {
            (false, true) => info!(connection = %self.name, "connected to RabbitMQ"),
            (true, false) => warn!(connection = %self.name, error, "lost RabbitMQ"),
            _ => {}
        }
    }

    async fn close(&self) {
        if let Some(open) = self.connection.lock().await.take() {
            // It may be broken already: then there is nothing to close.
            let _ = timeout(CONNECT_TIMEOUT, open.close(200, "bye".into())).await;
        }
        self.up.store(false, Ordering::Relaxed);
    }
}
