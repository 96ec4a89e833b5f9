//! Publishes what batches have to say, and acks them when it is confirmed.

use std::time::Duration;

use lapin::{Channel, message::Delivery, options::BasicAckOptions};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tracing::warn;

use super::{
    super::{Lane, Outgoing},
    PREFETCH,
};
use crate::{backoff::Backoff, crash, outbox::Outbox};

/// How long an ack may wait for those of later batches. To a quorum queue, each is as dear as a message.
const ACK_EVERY: Duration = Duration::from_millis(50);
/// Deliveries that are acked at once, so that RabbitMQ sends more.
const ACK_MAX: usize = PREFETCH as usize / 4;

/// A batch that is handled: what to publish, and then what to ack.
pub(super) struct PendingAck {
    pub(super) messages: Vec<Outgoing>,
    pub(super) deliveries: usize,
    pub(super) last: Delivery,
}

/// Publishes what each batch has to say, then acks, in order: all batches of [`ACK_EVERY`] at once.
pub(super) async fn finish(
    outbox: Outbox,
    channel: Channel,
    mut batches: mpsc::Receiver<PendingAck>,
) {
    // Where it cannot be published the channel is gone, and with it the right to ack: RabbitMQ delivers all of it again.
    while let Some(batch) = batches.recv().await {
        let PendingAck {
            messages,
            mut deliveries,
            mut last,
        } = batch;
        if !publish_all(&outbox, &channel, messages).await {
            return;
        }
        let ack_at = Instant::now() + ACK_EVERY;
        while deliveries < ACK_MAX
            && Instant::now() < ack_at
            && let Ok(Some(more)) = timeout_at(ack_at, batches.recv()).await
        {
            if !publish_all(&outbox, &channel, more.messages).await {
                return;
            }
            deliveries += more.deliveries;
            last = more.last;
        }
        let all_up_to_it = BasicAckOptions { multiple: true };
        if last.acker.ack(all_up_to_it).await.is_err() {
            return;
        }
    }
}

/// Publishes until every message is confirmed; false when the deliveries' channel ends before that.
///
/// Sagas do not wait for events that some queue does not take: the outbox keeps these.
async fn publish_all(outbox: &Outbox, channel: &Channel, mut messages: Vec<Outgoing>) -> bool {
    let mut backoff = Backoff::default();
    while !messages.is_empty() {
        let results = outbox.broker().publish(&messages).await.wait().await;
        let mut confirmed = results.iter().map(Result::is_ok);
        messages.retain(|_| !confirmed.next().unwrap_or(false));
        let (events, rest): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| message.lane() == Lane::Events);
        messages = rest;
        if let Err(error) = outbox.keep(&events).await {
            warn!(%error, "cannot keep events that are not published");
            messages.extend(events);
        }
        if !messages.is_empty() {
            if !channel.status().connected() {
                return false;
            }
            sleep(backoff.next_delay()).await;
        }
    }
    crash::point("consumer.published");
    true
}
