//! The line to one destination: a channel, and the confirms of what goes out on it.
//!
//! RabbitMQ stops reading a channel when a queue behind it is stuck, and then confirms nothing that is sent on it, so
//! each destination has a channel of its own.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    task::Poll,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, Ready, ready},
};
use lapin::{
    Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::{
    Destination, Error, Lane,
    connection::{CONNECT_TIMEOUT, Connection},
    frame::{AmqpMessage, Frame},
    patience::{Patience, UNCONFIRMED_LONGEST, UnderWay},
};
use crate::{metrics::PUBLISHED, telemetry::Span};

/// AMQP messages under way on a channel, give or take a batch. RabbitMQ reads 400 for a channel that is held up, and then
/// nothing more of the whole connection.
/// Source: `credit_flow_default_credit` in <https://www.rabbitmq.com/docs/flow-control>
const WINDOW: usize = 256;

/// Why a message is not with the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    /// No queue wants it.
    #[error("unroutable: no queue is bound for it")]
    Unroutable,
    /// The broker refused it, for example because a queue is full.
    #[error("refused by the broker")]
    Refused,
    /// There is no connection, it broke, or the confirm did not come: the broker may have the message or not.
    #[error("the connection was lost before the confirm")]
    Lost,
}

impl NotPublished {
    /// A stable word for it, in metrics and spans.
    fn name(self) -> &'static str {
        match self {
            Self::Unroutable => "unroutable",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

/// The line to one destination.
#[derive(Debug)]
pub(super) struct Line {
    open: Mutex<Option<Open>>,
    patience: Arc<Patience>,
    turn: SyncMutex<()>,
}

/// A channel, and how much may be under way on it.
#[derive(Clone, Debug)]
struct Open {
    channel: Channel,
    window: Arc<Semaphore>,
}

impl Open {
    fn is_connected(&self) -> bool {
        self.channel.status().connected()
    }
}

/// One `basic.publish` and its confirm, which may have failed already.
type Sending = Either<BoxFuture<'static, Confirmed>, Ready<Confirmed>>;
type Confirmed = lapin::Result<Confirmation>;

impl Line {
    pub(super) fn new(destination: Destination) -> Self {
        Self {
            open: Mutex::new(None),
            patience: Arc::new(Patience::new(destination)),
            turn: SyncMutex::default(),
        }
    }

    pub(super) fn patience(&self) -> &Arc<Patience> {
        &self.patience
    }

    /// Publishes `frames` without waiting for confirms; what could not even be sent counts as lost.
    pub(super) async fn publish(
        self: Arc<Self>,
        connection: &Arc<Connection>,
        frames: Vec<Frame>,
    ) -> Confirms {
        let (carried, messages): (Vec<_>, Vec<_>) = frames
            .into_iter()
            .map(|frame| (frame.carries, frame.message))
            .unzip();
        let sent = match self.channel(connection, messages.len()).await {
            Some((channel, places)) => {
                let deadline = Instant::now() + self.patience.timeout();
                let under_way = self.patience.begin();
                let sending = self.send(&channel, messages).await;
                Some(Sent {
                    sending,
                    connection: Arc::clone(connection),
                    channel,
                    deadline,
                    _places: places,
                    _under_way: under_way,
                })
            }
            None => None,
        };
        Confirms {
            carried,
            sent,
            patience: Arc::clone(&self.patience),
        }
    }

    /// The channel, and places on it for so many AMQP messages, which a broker that reads nothing any more does not give.
    async fn channel(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        messages: usize,
    ) -> Option<(Channel, OwnedSemaphorePermit)> {
        if connection.is_blocked() {
            return None;
        }
        let Open { channel, window } = match self.current() {
            Some(open) => open,
            None => self.open_soon(connection).await?,
        };
        let places = u32::try_from(messages.min(WINDOW)).ok()?;
        let places = timeout(UNCONFIRMED_LONGEST, window.acquire_many_owned(places)).await;
        Some((channel, places.ok()?.ok()?))
    }

    /// What is open, if anything is.
    fn current(&self) -> Option<Open> {
        let current = self.open.try_lock().ok()?;
        current.clone().filter(Open::is_connected)
    }

    /// A new channel. Where it takes long, it is for those who come later.
    async fn open_soon(self: &Arc<Self>, connection: &Arc<Connection>) -> Option<Open> {
        let (line, connection) = (Arc::clone(self), Arc::clone(connection));
        let opening = tokio::spawn(async move { line.open(&connection).await });
        match timeout(UNCONFIRMED_LONGEST, opening).await {
            Ok(opened) => opened.ok()?.ok(),
            Err(_) => {
                self.patience.late();
                None
            }
        }
    }

    async fn open(&self, connection: &Connection) -> Result<Open, Error> {
        let mut current = self.open.lock().await;
        if let Some(open) = current.clone().filter(Open::is_connected) {
            return Ok(open);
        }
        connection.check().await?;
        let channel = connection.channel().await?;
        let confirmed = async {
            let select = ConfirmSelectOptions::default();
            Ok(channel.confirm_select(select).await?)
        };
        connection.in_time(confirmed).await?;
        // The channel has to prove itself: right after its start, RabbitMQ takes messages for queues that have no leader
        // yet, and then may never confirm them.
        self.patience.suspect();
        let open = Open {
            channel,
            window: Arc::new(Semaphore::new(WINDOW)),
        };
        *current = Some(open.clone());
        Ok(open)
    }

    /// Begins to send all of `messages` at once, for one after the other would be a change of threads for each.
    async fn send(&self, channel: &Channel, messages: Vec<AmqpMessage>) -> Vec<Sending> {
        let mut sending: Vec<_> = messages
            .into_iter()
            .map(|message| confirmed(channel.clone(), message).boxed())
            .collect();
        poll_fn(|context| {
            // lapin numbers a message before it queues it, and the broker counts what comes. So nobody else may queue a
            // message between these two, or a confirm would be taken for that of another message.
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let begun = sending
                .drain(..)
                .map(|mut one| match one.poll_unpin(context) {
                    Poll::Ready(confirmed) => Either::Right(ready(confirmed)),
                    Poll::Pending => Either::Left(one),
                });
            Poll::Ready(begun.collect())
        })
        .await
    }
}

/// Publishes, which ends when the connection's thread has written it, and waits for the confirm.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that publishes"
)]
async fn confirmed(channel: Channel, message: AmqpMessage) -> Confirmed {
    let options = BasicPublishOptions {
        mandatory: message.mandatory,
        ..BasicPublishOptions::default()
    };
    let (exchange, routing_key) = (message.exchange.into(), message.routing_key.into());
    let (payload, properties) = (&message.payload, message.properties);
    channel
        .basic_publish(exchange, routing_key, options, payload, properties)
        .await?
        .await
}

/// Confirms of one destination that are on their way.
#[must_use = "a message is with the broker only when it is confirmed"]
pub(crate) struct Confirms {
    /// Which messages each AMQP message carries, by position, and that they are being sent.
    carried: Vec<Vec<(usize, Span)>>,
    sent: Option<Sent>,
    patience: Arc<Patience>,
}

/// What was sent, in the order of what it carries.
struct Sent {
    sending: Vec<Sending>,
    connection: Arc<Connection>,
    channel: Channel,
    deadline: Instant,
    _places: OwnedSemaphorePermit,
    _under_way: UnderWay,
}

impl Confirms {
    /// Waits for all confirms: what each says, and of which messages.
    pub(crate) async fn wait(self) -> Vec<(usize, Result<(), NotPublished>)> {
        let results = match self.sent {
            Some(sent) => sent.wait(&self.patience).await,
            None => vec![Err(NotPublished::Lost); self.carried.len()],
        };
        count(self.patience.lane(), &results);
        let each = self.carried.into_iter().zip(results);
        let each = each.flat_map(|(carries, result)| {
            carries.into_iter().map(move |(position, sent)| {
                match result {
                    Ok(()) => sent.end(),
                    Err(why) => sent.fail(why.name(), &why.to_string()),
                }
                (position, result)
            })
        });
        each.collect()
    }
}

/// Counts AMQP messages by what became of them.
fn count(lane: Lane, results: &[Result<(), NotPublished>]) {
    let lane = lane.to_string();
    for outcome in [
        Ok(()),
        Err(NotPublished::Unroutable),
        Err(NotPublished::Refused),
        Err(NotPublished::Lost),
    ] {
        let name = outcome.err().map_or("confirmed", NotPublished::name);
        let messages = results.iter().filter(|result| **result == outcome);
        PUBLISHED.add(&[&lane, name], messages.count() as u64);
    }
}

impl Sent {
    async fn wait(self, patience: &Patience) -> Vec<Result<(), NotPublished>> {
        let mut results = Vec::with_capacity(self.sending.len());
        let mut late = false;
        for sending in self.sending {
            let result = match timeout_at(self.deadline, sending).await {
                Ok(Ok(Confirmation::Ack(None))) => Ok(()),
                // A returned message is acked too: only the return tells that nobody has it.
                Ok(Ok(Confirmation::Ack(Some(_)))) => Err(NotPublished::Unroutable),
                Ok(Ok(Confirmation::Nack(_))) => Err(NotPublished::Refused),
                Ok(Ok(Confirmation::NotRequested) | Err(_)) => Err(NotPublished::Lost),
                Err(_) => {
                    late = true;
                    Err(NotPublished::Lost)
                }
            };
            results.push(result);
        }
        let lost = results.contains(&Err(NotPublished::Lost));
        let refused = results.contains(&Err(NotPublished::Refused));
        let answered = |result| matches!(result, Ok(()) | Err(NotPublished::Unroutable));
        if late {
            patience.late();
        } else if results.iter().copied().any(answered) {
            patience.answered(!refused);
        }
        // RabbitMQ refuses for ever what a channel sends to a queue whose leader was on a node that died: the channel
        // remembers that leader. Another channel asks who leads now. But a queue that is full refuses on any channel.
        // And a channel that is blocked goes on when that is over: there is no other one until then.
        if !self.connection.is_blocked() && (lost || (refused && patience.may_replace())) {
            // Whether it still works is unknown, so the next publish gets another one. Closing it may take long.
            let channel = self.channel;
            let close = async move { channel.close(200, "confirms lost".into()).await };
            tokio::spawn(timeout(CONNECT_TIMEOUT, close));
        }
        results
    }
}
