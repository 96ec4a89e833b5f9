//! A connection to publish on, and the confirms of what goes out on it.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex as SyncMutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::future::maybe_done;
use lapin::{
    Channel, Confirmation, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Error,
    connection::{CONNECT_TIMEOUT, Connection},
    declare::declare,
    frame::{AmqpMessage, Frame},
};
use crate::config::Secret;

/// A confirm that has not come by then is taken for lost, and its channel with it.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// A confirm on a new channel is taken for lost after this, and after twice as long whenever one did not come, until
/// one comes: a queue that does not answer must not hold up the others for long.
const STALLED_CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);

/// Of [`Patience`]: nothing is known yet.
const SUSPECT: u32 = 1;
/// A channel that is refused something is replaced, at once the first time, then after this, doubling, ...
const REPLACE_AFTER: Duration = Duration::from_secs(1);
/// ... and in the end no more often than this.
const REPLACE_LONGEST: Duration = Duration::from_secs(30);

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

/// How long to wait for confirms, by how often in a row they did not come in time.
#[derive(Debug)]
struct Patience {
    /// 0 while confirms come in time, [`SUSPECT`] on a new channel, and one more for each time that they did not come.
    late: AtomicU32,
    /// When the channel may be replaced because it was refused something, and how often in a row it was.
    replace: SyncMutex<(Instant, u32)>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            late: AtomicU32::new(0),
            replace: SyncMutex::new((Instant::now(), 0)),
        }
    }
}

impl Patience {
    fn is_stalled(&self) -> bool {
        self.late.load(Ordering::Relaxed) >= SUSPECT
    }

    fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed) > SUSPECT
    }

    /// Nothing is known yet, as of a new channel.
    fn suspect(&self) {
        self.late.fetch_max(SUSPECT, Ordering::Relaxed);
    }

    fn late(&self) {
        let later = |times: u32| Some(times.max(SUSPECT) + 1);
        let _ = self
            .late
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// Everything was answered, and nothing refused.
    fn well(&self) {
        self.replace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1 = 0;
    }

    fn answered(&self) {
        self.late.store(0, Ordering::Relaxed);
    }

    /// Whether the channel is to be replaced because it was refused something. Where that does not help, the queue is
    /// full, and each time is twice as long after the last one.
    fn may_replace(&self) -> bool {
        let mut replace = self.replace.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, times) = *replace;
        let may = Instant::now() >= at;
        if may {
            let pause = (REPLACE_AFTER * 2_u32.pow(times.min(6))).min(REPLACE_LONGEST);
            *replace = (Instant::now() + pause, times + 1);
        }
        may
    }

    /// How long to wait for confirms.
    fn timeout(&self) -> Duration {
        match self.late.load(Ordering::Relaxed) {
            0 => CONFIRM_TIMEOUT,
            times => {
                let doubled = times.saturating_sub(SUSPECT + 1).min(6);
                (STALLED_CONFIRM_TIMEOUT * 2_u32.pow(doubled)).min(CONFIRM_TIMEOUT)
            }
        }
    }
}

/// Publishes on a connection of its own.
#[derive(Debug)]
pub(super) struct Publisher {
    connection: Connection,
    channel: Mutex<Option<Channel>>,
    patience: Arc<Patience>,
    turn: SyncMutex<()>,
}

impl Publisher {
    pub(super) fn new(name: String, nodes: Vec<Secret>) -> Self {
        Self {
            connection: Connection::new(name, nodes),
            channel: Mutex::new(None),
            patience: Arc::default(),
            turn: SyncMutex::default(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.is_up()
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.patience.is_stalled()
    }

    pub(super) fn is_late(&self) -> bool {
        self.patience.is_late()
    }

    pub(super) async fn close(&self) {
        self.connection.close().await;
    }

    /// The channel, with the topology declared.
    pub(super) async fn channel(&self) -> Result<Channel, Error> {
        let mut current = self.channel.lock().await;
        if let Some(channel) = current
            .as_ref()
            .filter(|channel| channel.status().connected())
        {
            return Ok(channel.clone());
        }
        let channel = self.connection.channel().await?;
        let prepare = async {
            declare(&channel).await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            Ok(())
        };
        self.connection.in_time(prepare).await?;
        // The channel has to prove itself: right after its start, RabbitMQ takes messages for queues that have no leader
        // yet, and then may never confirm them.
        self.patience.suspect();
        *current = Some(channel.clone());
        Ok(channel)
    }

    /// Publishes `frames`; what could not even be sent counts as lost.
    pub(super) async fn publish(&self, frames: Vec<Frame>) -> Confirms {
        let channel = self.channel().await.ok();
        let (carried, messages): (Vec<_>, Vec<_>) = frames
            .into_iter()
            .map(|frame| (frame.carries, frame.message))
            .unzip();
        let sent = match &channel {
            Some(channel) => self.send(channel, messages).await,
            None => messages.iter().map(|_| None).collect(),
        };
        Confirms {
            pending: carried.into_iter().zip(sent).collect(),
            channel,
            patience: Arc::clone(&self.patience),
        }
    }

    /// Sends all of `messages` at once. lapin's future of one ends when its bytes are written by the connection's
    /// thread, so that one after the other would be a change of threads for each.
    async fn send(
        &self,
        channel: &Channel,
        messages: Vec<AmqpMessage>,
    ) -> Vec<Option<PublisherConfirm>> {
        let mut sending: Vec<_> = messages
            .into_iter()
            .map(|message| Box::pin(maybe_done(send(channel, message))))
            .collect();
        poll_fn(|context| {
            // lapin numbers a message before it queues it, and the broker counts what comes. So nobody else may queue a
            // message between these two, or a confirm would be taken for that of another message.
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            for one in &mut sending {
                let _ = one.as_mut().poll(context);
            }
            Poll::Ready(())
        })
        .await;
        let mut sent = Vec::with_capacity(sending.len());
        // A broker that reads nothing any more must not hold up the publisher. What is given up here may still go out.
        let deadline = Instant::now() + self.patience.timeout();
        for mut one in sending {
            let _ = timeout_at(deadline, one.as_mut()).await;
            sent.push(one.as_mut().take_output().and_then(Result::ok));
        }
        if Instant::now() >= deadline {
            self.patience.late();
        }
        sent
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that publishes"
)]
async fn send(channel: &Channel, message: AmqpMessage) -> lapin::Result<PublisherConfirm> {
    let options = BasicPublishOptions {
        mandatory: message.mandatory,
        ..BasicPublishOptions::default()
    };
    let (exchange, routing_key) = (message.exchange.into(), message.routing_key.into());
    let (payload, properties) = (&message.payload, message.properties);
    channel
        .basic_publish(exchange, routing_key, options, payload, properties)
        .await
}

/// Confirms that are on their way on one channel.
#[derive(Debug)]
pub(super) struct Confirms {
    /// Which messages each of them is about, by position.
    pending: Vec<(Vec<usize>, Option<PublisherConfirm>)>,
    channel: Option<Channel>,
    patience: Arc<Patience>,
}

impl Confirms {
    /// Waits for all confirms, and writes what they say into `results`.
    pub(super) async fn wait(self, results: &mut [Result<(), NotPublished>]) {
        let deadline = Instant::now() + self.patience.timeout();
        let (mut lost, mut late, mut answered, mut refused) = (false, false, false, false);
        for (carries, confirm) in self.pending {
            let result = match confirm {
                Some(confirm) => match timeout_at(deadline, confirm).await {
                    Ok(Ok(Confirmation::Ack(None))) => Ok(()),
                    // A returned message is acked too: only the return tells that nobody has it.
                    Ok(Ok(Confirmation::Ack(Some(_)))) => Err(NotPublished::Unroutable),
                    Ok(Ok(Confirmation::Nack(_))) => Err(NotPublished::Refused),
                    Ok(Ok(Confirmation::NotRequested) | Err(_)) => Err(NotPublished::Lost),
                    Err(_) => {
                        late = true;
                        Err(NotPublished::Lost)
                    }
                },
                None => Err(NotPublished::Lost),
            };
            lost |= result == Err(NotPublished::Lost);
            refused |= result == Err(NotPublished::Refused);
            answered |= matches!(result, Ok(()) | Err(NotPublished::Unroutable));
            for position in carries {
                results[position] = result;
            }
        }
        if late {
            self.patience.late();
        } else if answered {
            self.patience.answered();
            if !refused {
                self.patience.well();
            }
        }
        // RabbitMQ refuses for ever what a channel sends to a queue whose leader was on a node that died: the channel
        // remembers that leader. Another channel asks who leads now. But a queue that is full refuses on any channel.
        let replaced = lost || (refused && self.patience.may_replace());
        if let Some(channel) = self.channel.filter(|_| replaced) {
            // Whether it still works is unknown, so the next publish gets another one. Closing it may take long.
            let close = async move { channel.close(200, "confirms lost".into()).await };
            tokio::spawn(timeout(CONNECT_TIMEOUT, close));
        }
    }
}
