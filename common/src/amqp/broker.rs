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
    connection::Connection,
    declare::declare,
    frame::{Frame, frames},
    lane::Lanes,
    publisher::{self, Publisher},
};
use crate::config::BrokerConfig;

/// A service's access to RabbitMQ. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Broker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    publishers: Lanes<Publisher>,
    consuming: Connection,
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
            publishers: Lanes::new(|lane| {
                Publisher::new(format!("{name} {lane}"), config.nodes.clone())
            }),
            consuming: Connection::new(format!("{name} consume"), config.nodes.clone()),
            batch_max: config.message_batch_max,
            holding: AtomicUsize::new(0),
        }))
    }

    /// Makes sure that there are connections to publish on, with the topology declared.
    ///
    /// # Errors
    /// No node can be reached, or the topology is not ours.
    pub async fn check(&self) -> Result<(), Error> {
        self.0.publishers.saga.channel().await?;
        self.0.publishers.events.channel().await?;
        Ok(())
    }

    /// Makes sure that there is a connection to publish on in one lane, with the topology declared.
    ///
    /// # Errors
    /// No node can be reached, or the topology is not ours.
    pub async fn check_lane(&self, lane: Lane) -> Result<(), Error> {
        self.0.publishers.get(lane).channel().await.map(drop)
    }

    /// Whether the lane's connection stood when last looked at. Costs nothing.
    #[must_use]
    pub fn is_connected(&self, lane: Lane) -> bool {
        self.0.publishers.get(lane).is_up()
    }

    /// Whether the lane's last confirms did not come in time.
    #[must_use]
    pub fn is_late(&self, lane: Lane) -> bool {
        self.0.publishers.get(lane).is_late()
    }

    /// Whether the lane's last confirms did not come in time, or none has come yet on its channel.
    #[must_use]
    pub fn is_stalled(&self, lane: Lane) -> bool {
        self.0.publishers.get(lane).is_stalled()
    }

    /// Says that a consumer waits for a dependency, which makes the service not ready until the result is dropped.
    pub(super) fn hold(&self) -> Hold {
        self.0.holding.fetch_add(1, Ordering::Relaxed);
        Hold(self.clone())
    }

    /// Whether any consumer waits for a dependency.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.0.holding.load(Ordering::Relaxed) > 0
    }

    /// Publishes `outgoing` without waiting for the confirms, which the result does.
    pub async fn publish(&self, outgoing: &[Outgoing]) -> Confirms {
        let frames = Lanes::sort(frames(outgoing, self.0.batch_max), |frame| frame.lane);
        let (saga, events) = tokio::join!(
            publish_on(&self.0.publishers.saga, frames.saga),
            publish_on(&self.0.publishers.events, frames.events)
        );
        Confirms {
            lanes: saga.into_iter().chain(events).collect(),
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
        let channel = self.0.consuming.channel().await?;
        let consuming = self.0.consuming.in_time(async {
            declare(&channel).await?;
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

async fn publish_on(publisher: &Publisher, frames: Vec<Frame>) -> Option<publisher::Confirms> {
    if frames.is_empty() {
        return None;
    }
    Some(publisher.publish(frames).await)
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
