//! What batches have to say is published, and the batches are acked when it is confirmed, or stored to go out later.

use std::{sync::Arc, time::Duration};

use lapin::{Channel, message::Delivery, options::BasicAckOptions};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::warn;

use super::{
    super::{Broker, Lane, Message, NotPublished, Outgoing},
    handler::Handler,
};
use crate::{backoff::Backoff, crash};

/// Deliveries that RabbitMQ sends ahead of their acks.
pub(super) const PREFETCH: u16 = 256;
/// How long an ack may wait for those of later batches. To a quorum queue, each costs as much as a message.
const ACK_EVERY: Duration = Duration::from_millis(50);
/// Deliveries that are acked at once, so that RabbitMQ sends more.
const ACK_MAX: usize = PREFETCH as usize / 4;
/// How long an ack waits for confirms of replies. Later, their queue is not well, and they wait in the outbox.
const REPLIES_PATIENCE: Duration = Duration::from_secs(5);
/// The same for public events, for which nobody here waits and whose queues are anybody's.
const EVENTS_PATIENCE: Duration = Duration::from_secs(1);

/// A batch that was handled, and what it has to say, on its way.
pub(super) struct PendingAck {
    pub(super) saying: Saying,
    pub(super) deliveries: usize,
    pub(super) last: Delivery,
}

/// What a batch has to say.
#[derive(Default)]
pub(super) struct Saying {
    /// What was published.
    published: Vec<Published>,
    /// Messages of a lane that is away or confirms nothing: they need not wait to find that out.
    unsent: Vec<Message>,
    /// Dead letters, which cannot be stored.
    letters: Vec<Outgoing>,
}

/// Messages of one lane whose confirms are awaited.
struct Published {
    messages: Vec<Message>,
    confirms: JoinHandle<Vec<Result<(), NotPublished>>>,
    patience: Duration,
}

impl Saying {
    /// Publishes `outgoing`, without waiting for confirms.
    pub(super) async fn publish(broker: &Broker, outgoing: Vec<Outgoing>) -> Self {
        let mut saying = Self::default();
        let (mut replies, mut events, mut responses) = (Vec::new(), Vec::new(), Vec::new());
        for one in outgoing {
            match one {
                Outgoing::Message(message) if message.lane() == Lane::Events => {
                    events.push(message)
                }
                Outgoing::Message(message) => replies.push(message),
                Outgoing::Raw(raw) if raw.mandatory() => saying.letters.push(raw.into()),
                Outgoing::Raw(raw) => responses.push(Outgoing::from(raw)),
            }
        }
        for (lane, messages, patience) in [
            (Lane::Saga, replies, REPLIES_PATIENCE),
            (Lane::Events, events, EVENTS_PATIENCE),
        ] {
            if broker.is_late(lane) || !broker.is_connected(lane) {
                saying.unsent.extend(messages);
            } else if !messages.is_empty() {
                let outgoing: Vec<_> = messages.iter().cloned().map(Outgoing::from).collect();
                let confirms = broker.publish(&outgoing).await;
                saying.published.push(Published {
                    messages,
                    confirms: tokio::spawn(confirms.wait()),
                    patience,
                });
            }
        }
        if !responses.is_empty() {
            // Whoever asks asks again, and what becomes of a stranger's queue is no business of this one.
            let _unconfirmed = broker.publish(&responses).await;
        }
        saying
    }
}

/// Where acks and what they wait for go.
pub(super) struct Acks<H> {
    pub(super) broker: Broker,
    pub(super) queue: &'static str,
    pub(super) handler: Arc<H>,
    /// The channel of the deliveries.
    pub(super) channel: Channel,
}

/// The channel of the deliveries is gone, and with it the right to ack: RabbitMQ delivers all of them again.
struct ChannelGone;

impl<H: Handler> Acks<H> {
    /// Acks batches when all that they have to say is safe, in order: all batches of [`ACK_EVERY`] at once.
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
            saying,
            mut deliveries,
            mut last,
        } = batch;
        self.make_safe(saying).await?;
        let ack_at = Instant::now() + ACK_EVERY;
        while deliveries < ACK_MAX
            && Instant::now() < ack_at
            && let Ok(Some(more)) = timeout_at(ack_at, batches.recv()).await
        {
            self.make_safe(more.saying).await?;
            deliveries += more.deliveries;
            last = more.last;
        }
        let all_up_to_it = BasicAckOptions { multiple: true };
        match last.acker.ack(all_up_to_it).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ChannelGone),
        }
    }

    /// Waits until all is confirmed. What is not confirmed in time is stored, so that an outbox goes on with it: a queue
    /// that is stuck, or that nobody has bound yet, delays nothing but what is for it.
    async fn make_safe(&self, saying: Saying) -> Result<(), ChannelGone> {
        let Saying {
            published,
            mut unsent,
            letters,
        } = saying;
        for Published {
            messages,
            confirms,
            patience,
        } in published
        {
            // Of what is not awaited here any more, the publisher still learns how its queues are.
            match timeout(patience, confirms).await {
                Ok(Ok(results)) => {
                    let unconfirmed = messages
                        .into_iter()
                        .zip(results)
                        .filter(|(_, result)| result.is_err());
                    unsent.extend(unconfirmed.map(|(message, _)| message));
                }
                Ok(Err(_)) | Err(_) => unsent.extend(messages),
            }
        }
        if !unsent.is_empty() {
            self.store(&unsent).await?;
        }
        self.publish_letters(letters).await?;
        crash::point("consumer.published");
        Ok(())
    }

    async fn store(&self, messages: &[Message]) -> Result<(), ChannelGone> {
        let mut backoff = Backoff::default();
        let mut hold = None;
        while let Err(error) = self.handler.store(messages).await {
            if hold.is_none() {
                warn!(queue = self.queue, %error, "cannot store messages that were not confirmed");
                hold = Some(self.broker.hold());
            }
            self.pause(&mut backoff).await?;
        }
        Ok(())
    }

    async fn publish_letters(&self, mut letters: Vec<Outgoing>) -> Result<(), ChannelGone> {
        let mut backoff = Backoff::default();
        let mut hold = None;
        while !letters.is_empty() {
            let results = self.broker.publish(&letters).await.wait().await;
            let mut confirmed = results.iter().map(Result::is_ok);
            letters.retain(|_| !confirmed.next().unwrap_or(false));
            if !letters.is_empty() {
                if hold.is_none() {
                    let why = results.iter().find_map(|result| result.err());
                    let why = why.map(|why| why.to_string());
                    warn!(
                        queue = self.queue,
                        why, "dead letters are not confirmed: nothing is acked before they are"
                    );
                    hold = Some(self.broker.hold());
                }
                self.pause(&mut backoff).await?;
            }
        }
        Ok(())
    }

    async fn pause(&self, backoff: &mut Backoff) -> Result<(), ChannelGone> {
        if !self.channel.status().connected() {
            return Err(ChannelGone);
        }
        sleep(backoff.next_delay()).await;
        Ok(())
    }
}
