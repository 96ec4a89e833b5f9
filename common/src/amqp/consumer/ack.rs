//! Publishes what batches have to say, and acks them when it is confirmed.

use std::{sync::Arc, time::Duration};

use lapin::{Channel, message::Delivery, options::BasicAckOptions};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tracing::warn;

use super::{
    super::{Broker, Lane, Message, Outgoing},
    handler::Handler,
};
use crate::{backoff::Backoff, crash};

/// Deliveries that RabbitMQ sends ahead of their acks.
pub(super) const PREFETCH: u16 = 256;
/// How long an ack may wait for those of later batches. To a quorum queue, each costs as much as a message.
const ACK_EVERY: Duration = Duration::from_millis(50);
/// Deliveries that are acked at once, so that RabbitMQ sends more.
const ACK_MAX: usize = PREFETCH as usize / 4;

/// A batch that was handled: what is to be published, and then acked.
pub(super) struct PendingAck {
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) deliveries: usize,
    pub(super) last: Delivery,
}

/// Where acks and what they wait for go.
pub(super) struct Acks<H> {
    pub(super) broker: Broker,
    pub(super) handler: Arc<H>,
    /// The channel of the deliveries.
    pub(super) channel: Channel,
}

/// The channel of the deliveries is gone, and with it the right to ack: RabbitMQ delivers all of them again.
struct ChannelGone;

impl<H: Handler> Acks<H> {
    /// Publishes what each batch has to say, then acks, in order: all batches of [`ACK_EVERY`] at once.
    pub(super) async fn run(self, mut batches: mpsc::Receiver<PendingAck>) {
        while let Some(batch) = batches.recv().await {
            if self.ack(batch, &mut batches).await.is_err() {
                return;
            }
        }
    }

    /// Acks `batch` and those that come soon after it.
    async fn ack(
        &self,
        batch: PendingAck,
        batches: &mut mpsc::Receiver<PendingAck>,
    ) -> Result<(), ChannelGone> {
        let PendingAck {
            outgoing,
            mut deliveries,
            mut last,
        } = batch;
        self.publish(outgoing).await?;
        let ack_at = Instant::now() + ACK_EVERY;
        while deliveries < ACK_MAX
            && Instant::now() < ack_at
            && let Ok(Some(more)) = timeout_at(ack_at, batches.recv()).await
        {
            self.publish(more.outgoing).await?;
            deliveries += more.deliveries;
            last = more.last;
        }
        let all_up_to_it = BasicAckOptions { multiple: true };
        match last.acker.ack(all_up_to_it).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ChannelGone),
        }
    }

    /// Publishes until all is confirmed, but does not wait for events that some queue does not take: the handler
    /// stores them.
    async fn publish(&self, mut outgoing: Vec<Outgoing>) -> Result<(), ChannelGone> {
        let mut backoff = Backoff::default();
        while !outgoing.is_empty() {
            let results = self.broker.publish(&outgoing).await.wait().await;
            let mut confirmed = results.iter().map(Result::is_ok);
            outgoing.retain(|_| !confirmed.next().unwrap_or(false));
            let (events, rest) = split(outgoing);
            outgoing = rest;
            if !events.is_empty()
                && let Err(error) = self.handler.store(&events).await
            {
                warn!(%error, "cannot store events that were not confirmed");
                outgoing.extend(events.into_iter().map(Outgoing::from));
            }
            if !outgoing.is_empty() {
                if !self.channel.status().connected() {
                    return Err(ChannelGone);
                }
                sleep(backoff.next_delay()).await;
            }
        }
        crash::point("consumer.published");
        Ok(())
    }
}

/// The public events of `outgoing`, and the rest.
fn split(outgoing: Vec<Outgoing>) -> (Vec<Message>, Vec<Outgoing>) {
    let (mut events, mut rest) = (Vec::new(), Vec::new());
    for one in outgoing {
        match one {
            Outgoing::Message(message) if message.lane() == Lane::Events => events.push(message),
            other => rest.push(other),
        }
    }
    (events, rest)
}
