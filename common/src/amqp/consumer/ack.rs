//! What batches have to say is published, and the batches are acked when it is confirmed, or stored to go out later.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lapin::{Acker, Channel, options::BasicAckOptions};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::warn;

use super::{
    super::{Broker, Lane, Message, NotPublished, Outgoing},
    decode::DeliveryTag,
    handler::Handler,
};
use crate::{backoff::Backoff, crash, metrics::DEAD, watchdog::idle};

/// How long an ack may wait for those of later batches. To a quorum queue, each costs as much as a message.
const ACK_EVERY: Duration = Duration::from_millis(50);
/// Deliveries that are acked at once, so that RabbitMQ sends more.
const ACK_MAX: usize = 64;
/// How long after they were published confirms of replies are waited for. Later, their queue is not well, and they wait
/// in the outbox.
const REPLIES_PATIENCE: Duration = Duration::from_secs(5);
/// The same for public events, for which nobody here waits and whose queues are anybody's.
const EVENTS_PATIENCE: Duration = Duration::from_secs(1);

/// A batch that was handled, and what it has to say, on its way.
pub(super) struct HandledBatch {
    pub(super) saying: Saying,
    /// Deliveries that it began with.
    pub(super) begun: Vec<Begun>,
    /// The delivery of each message that is done.
    pub(super) done: Vec<DeliveryTag>,
}

/// A delivery, of which nothing is done yet.
pub(super) struct Begun<A = Acker> {
    pub(super) tag: DeliveryTag,
    pub(super) acker: A,
    /// Messages in it that can be read.
    pub(super) messages: usize,
}

/// Deliveries that are not acked yet, each with the number of its messages that are not done.
struct Unacked<A = Acker>(BTreeMap<DeliveryTag, (A, usize)>);

impl<A> Unacked<A> {
    fn add(&mut self, begun: Vec<Begun<A>>, done: &[DeliveryTag]) {
        for one in begun {
            self.0.insert(one.tag, (one.acker, one.messages));
        }
        for tag in done {
            if let Some((_, left)) = self.0.get_mut(tag) {
                *left -= 1;
            }
        }
    }

    /// Takes out what can be acked: the last of those before which nothing is left to do, and each one behind it.
    fn take_done(&mut self) -> (Option<A>, Vec<A>) {
        let first_left = self.0.iter().find(|(_, (_, left))| *left > 0);
        let behind = match first_left.map(|(tag, _)| *tag) {
            Some(tag) => self.0.split_off(&tag),
            None => BTreeMap::new(),
        };
        let before = std::mem::replace(&mut self.0, behind);
        let last = before.into_values().next_back().map(|(acker, _)| acker);
        let done = self.0.extract_if(.., |_, (_, left)| *left == 0);
        let single = done.map(|(_, (acker, _))| acker).collect();
        (last, single)
    }
}

/// What a batch has to say.
#[derive(Default)]
pub(super) struct Saying {
    /// What was published.
    published: Vec<Published>,
    /// Messages that are postponed, and those whose destinations are away or confirm nothing: they need not wait to find
    /// that out.
    unsent: Vec<Message>,
    /// Dead letters, which cannot be stored.
    letters: Vec<Outgoing>,
}

/// Messages whose confirms are awaited until a time.
struct Published {
    messages: Vec<Message>,
    /// The confirms of each destination.
    confirms: Vec<JoinHandle<Vec<Confirmed>>>,
    until: Instant,
}

/// The position of a message, and what became of it.
type Confirmed = (usize, Result<(), NotPublished>);

impl Saying {
    /// Publishes `outgoing`, without waiting for confirms; `postponed` goes out later.
    pub(super) async fn publish(
        broker: &Broker,
        outgoing: Vec<Outgoing>,
        mut postponed: Vec<Message>,
    ) -> Self {
        for message in &mut postponed {
            message.take_created().end();
        }
        let mut saying = Self {
            unsent: postponed,
            ..Self::default()
        };
        let (mut replies, mut events, mut responses) = (Vec::new(), Vec::new(), Vec::new());
        for mut one in outgoing {
            if let Outgoing::Message(message) = &mut one {
                message.take_created().end();
            }
            match one {
                Outgoing::Message(message) if !broker.takes(message.destination()) => {
                    saying.unsent.push(message);
                }
                Outgoing::Message(message) if message.destination().lane() == Lane::Events => {
                    events.push(message);
                }
                Outgoing::Message(message) => replies.push(message),
                Outgoing::Raw(raw) if raw.mandatory() => saying.letters.push(raw.into()),
                Outgoing::Raw(raw) => responses.push(Outgoing::from(raw)),
            }
        }
        for (messages, patience) in [(replies, REPLIES_PATIENCE), (events, EVENTS_PATIENCE)] {
            if !messages.is_empty() {
                let published = Published::publish(broker, messages, patience).await;
                saying.published.push(published);
            }
        }
        if !responses.is_empty() {
            // Whoever asks asks again, and what becomes of a stranger's queue is no business of this one.
            let _unconfirmed = broker.publish(&responses).await;
        }
        saying
    }
}

impl Published {
    async fn publish(broker: &Broker, messages: Vec<Message>, patience: Duration) -> Self {
        let until = Instant::now() + patience;
        let outgoing: Vec<_> = messages.iter().cloned().map(Outgoing::from).collect();
        let lines = broker.publish(&outgoing).await.lines();
        // Of what is not awaited here any more, the line still learns how its queues are.
        let confirms = lines.into_iter().map(|line| tokio::spawn(line.wait()));
        Self {
            messages,
            confirms: confirms.collect(),
            until,
        }
    }

    /// What is not confirmed in time.
    async fn unconfirmed(self) -> Vec<Message> {
        let mut unconfirmed: Vec<_> = self.messages.into_iter().map(Some).collect();
        for confirms in self.confirms {
            let results = timeout_at(self.until, confirms).await;
            for (position, result) in results.into_iter().flatten().flatten() {
                if result.is_ok() {
                    unconfirmed[position] = None;
                }
            }
        }
        unconfirmed.into_iter().flatten().collect()
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

/// How long an ack may take until it is written.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The channel of the deliveries is gone, and with it the right to ack: RabbitMQ delivers all of them again.
struct ChannelGone;

impl<H: Handler> Acks<H> {
    /// Acks batches when all that they have to say is safe, in order: all batches of [`ACK_EVERY`] at once.
    pub(super) async fn run(self, mut batches: mpsc::Receiver<HandledBatch>) {
        let mut unacked = Unacked(BTreeMap::new());
        while let Some(batch) = idle(batches.recv()).await {
            if self.ack(&mut unacked, batch, &mut batches).await.is_err() {
                return;
            }
        }
    }

    /// Acks what is done of `batch` and of those that come soon after it.
    async fn ack(
        &self,
        unacked: &mut Unacked,
        batch: HandledBatch,
        batches: &mut mpsc::Receiver<HandledBatch>,
    ) -> Result<(), ChannelGone> {
        let mut deliveries = batch.begun.len();
        self.make_safe(batch.saying).await?;
        unacked.add(batch.begun, &batch.done);
        let ack_at = Instant::now() + ACK_EVERY;
        while deliveries < ACK_MAX
            && Instant::now() < ack_at
            && let Ok(Some(more)) = timeout_at(ack_at, batches.recv()).await
        {
            self.make_safe(more.saying).await?;
            deliveries += more.begun.len();
            unacked.add(more.begun, &more.done);
        }
        let (last, single) = unacked.take_done();
        if let Some(last) = last {
            ack(&last, true).await?;
        }
        for one in single {
            ack(&one, false).await?;
        }
        Ok(())
    }

    /// Waits until all is confirmed. What is not confirmed in time is stored, so that an outbox goes on with it: a queue
    /// that is stuck, or that nobody has bound yet, delays nothing but what is for it.
    async fn make_safe(&self, saying: Saying) -> Result<(), ChannelGone> {
        let Saying {
            published,
            mut unsent,
            letters,
        } = saying;
        for published in published {
            unsent.extend(published.unconfirmed().await);
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
            let before = letters.len();
            letters.retain(|_| !confirmed.next().unwrap_or(false));
            DEAD.add(&[self.queue], (before - letters.len()) as u64);
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
        idle(sleep(backoff.next_delay())).await;
        Ok(())
    }
}

async fn ack(delivery: &Acker, multiple: bool) -> Result<(), ChannelGone> {
    // lapin's future ends when the ack is written, which is never where the broker closes the connection just then.
    let acked = timeout(ACK_TIMEOUT, delivery.ack(BasicAckOptions { multiple })).await;
    match acked {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(ChannelGone),
        Err(_) => {
            warn!("an ack was not written in time: the subscription is left");
            Err(ChannelGone)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(tag: DeliveryTag, messages: usize) -> Begun<()> {
        Begun {
            tag,
            acker: (),
            messages,
        }
    }

    /// What can be acked: whether there is something up to which all is, how many one by one; and what is left.
    fn done(unacked: &mut Unacked<()>) -> (bool, usize, Vec<DeliveryTag>) {
        let (last, single) = unacked.take_done();
        let left = unacked.0.keys().copied().collect();
        (last.is_some(), single.len(), left)
    }

    #[test]
    fn a_delivery_is_acked_when_all_its_messages_are_done() {
        let mut unacked = Unacked(BTreeMap::new());
        // The second one has nothing in it that could be read.
        unacked.add(
            vec![begun(1, 2), begun(2, 0), begun(3, 1), begun(4, 1)],
            &[1, 4],
        );
        assert_eq!(done(&mut unacked), (false, 2, vec![1, 3]));
        unacked.add(vec![begun(5, 3)], &[5, 5, 5]);
        assert_eq!(done(&mut unacked), (false, 1, vec![1, 3]));
        unacked.add(Vec::new(), &[1]);
        assert_eq!(done(&mut unacked), (true, 0, vec![3]));
        unacked.add(vec![begun(6, 1)], &[3, 6]);
        assert_eq!(done(&mut unacked), (true, 0, Vec::new()));
        assert_eq!(done(&mut unacked), (false, 0, Vec::new()));
    }
}
