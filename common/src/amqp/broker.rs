//! RabbitMQ: consuming, and publishing with confirms.
//!
//! Three connections a process: one to consume, so that a broker that blocks publishers does not block acks, and one
//! for each [`Lane`] of what goes out. A connection is made when somebody needs it and replaced when it is found
//! broken; whoever needs it waits with its own backoff.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use lapin::{
    Channel, Consumer,
    options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::{sync::Mutex, time::timeout};

use super::{
    Destination, Error, Lane, NotPublished, Outgoing,
    connection::Connection,
    dead_letters::DeadLetters,
    frame::{Frame, frames},
    lane::Lanes,
    line::{self, Line},
    publisher::Publisher,
};
use crate::{config::BrokerConfig, metrics::HOLDING};

/// How long a look at a queue may take. One without a leader does not answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long somebody who wants to look at letters waits for a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(6);

/// A service's access to RabbitMQ. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Broker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    publishers: Lanes<Publisher>,
    consuming: Connection,
    batch_max: usize,
    commands_waiting_max: u32,
    /// The channel on which queues are looked at.
    looking: Mutex<Option<Channel>>,
    /// Consumers that wait for a dependency.
    holding: AtomicUsize,
}

/// What is in a queue, and who wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// AMQP messages that nobody has taken.
    pub messages: u32,
    /// Consumers that take them.
    pub consumers: u32,
}

/// A worker waits for a dependency while this exists.
#[derive(Debug)]
pub(crate) struct Hold(Broker);

impl Drop for Hold {
    fn drop(&mut self) {
        let before = self.0.0.holding.fetch_sub(1, Ordering::Relaxed);
        HOLDING.set(&[], (before - 1) as f64);
    }
}

impl Broker {
    /// Prepares to connect; `name` is shown in the management console.
    #[must_use]
    pub fn new(name: &str, config: &BrokerConfig) -> Self {
        Self(Arc::new(Inner {
            publishers: Lanes::new(|lane| {
                Publisher::new(format!("{name} {lane}"), config.nodes.clone())
            }),
            consuming: Connection::new(format!("{name} consume"), config.nodes.clone()),
            batch_max: config.message_batch_max,
            commands_waiting_max: config.commands_waiting_max,
            looking: Mutex::new(None),
            holding: AtomicUsize::new(0),
        }))
    }

    /// Makes sure that there are connections to publish on, with the topology declared.
    ///
    /// # Errors
    /// No node can be reached, or the topology is not ours.
    pub async fn check(&self) -> Result<(), Error> {
        self.0.publishers.saga.check().await?;
        self.0.publishers.events.check().await
    }

    /// Makes sure that there is a connection to publish on in one lane, with the topology declared.
    ///
    /// # Errors
    /// No node can be reached, or the topology is not ours.
    pub async fn check_lane(&self, lane: Lane) -> Result<(), Error> {
        self.0.publishers.get(lane).check().await
    }

    /// Whether the lane's connection stood when last looked at. Costs nothing.
    #[must_use]
    pub fn is_connected(&self, lane: Lane) -> bool {
        self.0.publishers.get(lane).is_up()
    }

    /// Whether what is published to `destination` now is likely to be confirmed soon.
    #[must_use]
    pub fn takes(&self, destination: &Destination) -> bool {
        self.is_connected(destination.lane()) && !self.line(destination).patience().is_late()
    }

    /// Whether what goes to `destination` is confirmed late or not at all, or no confirm has come yet on its channel.
    #[must_use]
    pub fn is_stalled(&self, destination: &Destination) -> bool {
        self.line(destination).patience().is_stalled()
    }

    fn line(&self, destination: &Destination) -> Arc<Line> {
        let publisher = self.0.publishers.get(destination.lane());
        publisher.line(destination)
    }

    /// Says that a consumer waits for a dependency, which makes the service not ready until the result is dropped.
    pub(crate) fn hold(&self) -> Hold {
        let before = self.0.holding.fetch_add(1, Ordering::Relaxed);
        HOLDING.set(&[], (before + 1) as f64);
        Hold(self.clone())
    }

    /// Whether any worker waits for a dependency.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.0.holding.load(Ordering::Relaxed) > 0
    }

    /// Messages that share an AMQP message at most.
    pub(crate) fn batch_max(&self) -> usize {
        self.0.batch_max
    }

    /// Commands that may wait in a participant's queue.
    pub(crate) fn commands_waiting_max(&self) -> u32 {
        self.0.commands_waiting_max
    }

    /// Looks at `queue`: where there is none, nothing is in it. `None`: the broker does not tell.
    pub async fn look(&self, queue: &str) -> Option<QueueState> {
        let mut looking = self.0.looking.lock().await;
        let look = async {
            let channel = match looking.take() {
                Some(channel) if channel.status().connected() => channel,
                _ => self.0.consuming.channel().await?,
            };
            let passive = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let seen = channel
                .queue_declare(queue.into(), passive, FieldTable::default())
                .await;
            // After an error it is closed, and another one is opened the next time.
            match seen {
                Ok(seen) => {
                    *looking = Some(channel);
                    Ok(QueueState {
                        messages: seen.message_count(),
                        consumers: seen.consumer_count(),
                    })
                }
                Err(error) if error.is_amqp_soft_error() => Ok(QueueState::default()),
                Err(error) => Err(Error::from(error)),
            }
        };
        timeout(LOOK_TIMEOUT, look).await.ok()?.ok()
    }

    /// The letters in the dead-letter queue `queue`, to be taken one after another.
    ///
    /// # Errors
    /// RabbitMQ cannot be reached, or has no such queue.
    pub async fn dead_letters(&self, queue: &str) -> Result<DeadLetters, Error> {
        let channel = timeout(OPEN_TIMEOUT, self.0.consuming.channel()).await;
        let late = |_| Error::Unreachable(format!("no answer within {OPEN_TIMEOUT:?}"));
        DeadLetters::open(channel.map_err(late)??, queue).await
    }

    /// Publishes `outgoing` without waiting for the confirms, which the result does.
    pub async fn publish(&self, outgoing: &[Outgoing]) -> Confirms {
        self.publish_in(outgoing, self.0.batch_max).await
    }

    /// The same, with at most `batch_max` messages in an AMQP message.
    pub(crate) async fn publish_in(&self, outgoing: &[Outgoing], batch_max: usize) -> Confirms {
        let lane = |frame: &Frame| frame.line.lane();
        let Lanes { saga, events } = Lanes::sort(frames(outgoing, batch_max), lane);
        let (saga, events) = tokio::join!(
            self.0.publishers.saga.publish(saga),
            self.0.publishers.events.publish(events)
        );
        Confirms {
            lines: saga.into_iter().chain(events).collect(),
            messages: outgoing.len(),
        }
    }

    /// Subscribes to `queue`, with at most `prefetch` deliveries under way.
    ///
    /// # Errors
    /// No node can be reached, or the topology is not ours.
    pub(super) async fn subscribe(
        &self,
        queue: &str,
        prefetch: u16,
    ) -> Result<(Channel, Consumer), Error> {
        self.0.consuming.declare().await?;
        let channel = self.0.consuming.channel().await?;
        let consuming = self.0.consuming.in_time(async {
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
            Ok(consumer)
        });
        let consumer = consuming.await?;
        Ok((channel, consumer))
    }

    /// Closes the connections: the last thing that a service does.
    pub async fn close(&self) {
        self.0.consuming.close().await;
        self.0.publishers.saga.close().await;
        self.0.publishers.events.close().await;
    }
}

/// Confirms that are on their way.
#[must_use = "a message is with the broker only when it is confirmed"]
pub struct Confirms {
    lines: Vec<line::Confirms>,
    messages: usize,
}

impl Confirms {
    /// Waits for all confirms: one result for each message, in order.
    pub async fn wait(self) -> Vec<Result<(), NotPublished>> {
        let mut results = vec![Err(NotPublished::Lost); self.messages];
        let lines = self.lines.into_iter().map(line::Confirms::wait);
        for (position, result) in join_all(lines).await.into_iter().flatten() {
            results[position] = result;
        }
        results
    }

    /// The confirms of each destination, which do not wait for one another.
    pub(crate) fn lines(self) -> Vec<line::Confirms> {
        self.lines
    }
}
