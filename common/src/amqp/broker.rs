//! RabbitMQ: consuming, and publishing with confirms.
//!
//! Three connections a process: one to consume, so that a broker that blocks publishers does not block acks, and one
//! for each [`Lane`] of what goes out. A connection is made when somebody needs it and replaced when it is found
//! broken; whoever needs it waits with its own backoff.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use lapin::{
    Channel, Consumer,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};

use super::{
    Error, Lane, NotPublished, Outgoing,
    connection::Link,
    declare,
    frame::{Frame, frames},
    publisher::{self, Publisher},
};
use crate::config::BrokerConfig;

/// A service's access to RabbitMQ. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Broker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    saga: Publisher,
    events: Publisher,
    consuming: Link,
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
            saga: Publisher::new(format!("{name} saga"), config.nodes.clone()),
            events: Publisher::new(format!("{name} events"), config.nodes.clone()),
            consuming: Link::new(format!("{name} consume"), config.nodes.clone()),
            batch_max: config.message_batch_max,
            holding: AtomicUsize::new(0),
        }))
    }

    /// Makes sure that there are connections to publish on, with the topology declared.
    ///
    /// # Errors
    /// No node can be reached, or the topology is not ours.
    pub async fn check(&self) -> Result<(), Error> {
        for lane in Lane::ALL {
            self.check_lane(lane).await?;
        }
        Ok(())
    }

    /// The same for one lane.
    ///
    /// # Errors
    /// No node can be reached, or the topology is not ours.
    pub async fn check_lane(&self, lane: Lane) -> Result<(), Error> {
        self.publisher(lane).channel().await.map(drop)
    }

    /// Whether the lane's connection stood when last looked at. Costs nothing.
    #[must_use]
    pub fn is_connected(&self, lane: Lane) -> bool {
        self.publisher(lane).is_up()
    }

    /// Whether the lane's last confirms did not come in time.
    #[must_use]
    pub fn is_stalled(&self, lane: Lane) -> bool {
        self.publisher(lane).is_stalled()
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
    pub async fn publish(&self, messages: &[Outgoing]) -> Confirms {
        let (saga, events): (Vec<_>, Vec<_>) = frames(messages, self.0.batch_max)
            .into_iter()
            .partition(|frame| messages[frame.carries[0]].lane() == Lane::Saga);
        let (saga, events) = tokio::join!(
            self.publish_on(Lane::Saga, saga),
            self.publish_on(Lane::Events, events)
        );
        Confirms {
            lanes: saga.into_iter().chain(events).collect(),
            messages: messages.len(),
        }
    }

    async fn publish_on(&self, lane: Lane, frames: Vec<Frame>) -> Option<publisher::Confirms> {
        if frames.is_empty() {
            return None;
        }
        Some(self.publisher(lane).publish(frames).await)
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
        declare::declare(&channel).await?;
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
        self.0.saga.close().await;
        self.0.events.close().await;
    }

    fn publisher(&self, lane: Lane) -> &Publisher {
        match lane {
            Lane::Saga => &self.0.saga,
            Lane::Events => &self.0.events,
        }
    }
}

/// Confirms that are on their way.
#[derive(Debug)]
#[must_use = "a message is with the broker only when it is confirmed"]
pub struct Confirms {
    lanes: Vec<publisher::Confirms>,
    messages: usize,
}

impl Confirms {
    /// Waits for all confirms: one result for each message, in order.
    pub async fn wait(self) -> Vec<Result<(), NotPublished>> {
        let mut results = vec![Err(NotPublished::Lost); self.messages];
        for lane in self.lanes {
            lane.wait(&mut results).await;
        }
        results
    }
}
