//! What a consumer calls: the handler of a queue's messages.

use std::{fmt, future::Future};

use futures_util::future::BoxFuture;
use lapin::types::FieldTable;
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::{Message, Outgoing};
use crate::contract::{Envelope, Trace, Unreadable};

/// Deliveries that RabbitMQ sends ahead of their acks, unless a handler wants fewer.
pub(crate) const PREFETCH: u16 = 384;

/// Why a batch was not handled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A dependency is away, or a race was lost: the same will work later.
    #[error("a dependency is away")]
    Away(#[source] anyhow::Error),
    /// A statement took too long, or what it locks is locked: perhaps because of one message in the batch.
    #[error("it is too slow")]
    Slow(#[source] anyhow::Error),
    /// Anything else: some message in the batch may be at fault.
    #[error("the handler failed")]
    Failed(#[source] anyhow::Error),
}

impl Error {
    /// Whether trying again later can help, whatever the batch contains.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if crate::db::is_slow(&error) {
            Self::Slow(error.into())
        } else if crate::db::is_transient(&error) {
            Self::Away(error.into())
        } else {
            Self::Failed(error.into())
        }
    }
}

/// A message that came in, with what AMQP says about it.
#[derive(Debug)]
pub struct Incoming {
    /// The message.
    pub envelope: Envelope,
    /// Where in its trace it is being handled: what follows from it has this as its parent.
    pub trace: Option<Trace>,
    /// On requests: the queue that the response goes to.
    pub reply_to: Option<String>,
    /// On requests: what the response repeats.
    pub correlation_id: Option<String>,
    /// Headers that say that it was redriven, if it was.
    pub(super) redriven: FieldTable,
}

/// What comes of a batch. Messages are named by their ids; those that are not named are done.
pub struct Handled<I> {
    /// What is to be published before the batch is acked.
    pub outgoing: Vec<Outgoing>,
    /// Messages that nothing can be done with, and why: they become dead letters at once.
    pub refused: Vec<(Uuid, anyhow::Error)>,
    /// Messages that somebody else could not be asked about, and why: they come again after a pause.
    pub postponed: Vec<(Uuid, anyhow::Error)>,
    /// Messages that somebody else is being asked about. When the answer is there, each is handled again, as the input
    /// that the future gives, and is not acked before.
    pub later: Vec<(Uuid, BoxFuture<'static, I>)>,
}

impl<I> Default for Handled<I> {
    fn default() -> Self {
        Self {
            outgoing: Vec::new(),
            refused: Vec::new(),
            postponed: Vec::new(),
            later: Vec::new(),
        }
    }
}

impl<I> fmt::Debug for Handled<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handled")
            .field("outgoing", &self.outgoing)
            .field("refused", &self.refused)
            .field("postponed", &self.postponed)
            .field("later", &self.later.len())
            .finish()
    }
}

impl<I: Send + 'static> Handled<I> {
    /// Adds what came of other messages of the batch.
    pub fn extend(&mut self, more: Self) {
        self.outgoing.extend(more.outgoing);
        self.refused.extend(more.refused);
        self.postponed.extend(more.postponed);
        self.later.extend(more.later);
    }

    /// The same for a handler whose inputs are those of another one and more.
    pub fn map<J>(self, input: fn(I) -> J) -> Handled<J>
    where
        J: 'static,
    {
        let later = self.later.into_iter().map(|(id, answer)| {
            let answer: BoxFuture<'static, J> = Box::pin(async move { input(answer.await) });
            (id, answer)
        });
        Handled {
            outgoing: self.outgoing,
            refused: self.refused,
            postponed: self.postponed,
            later: later.collect(),
        }
    }
}

/// What a consumer does with messages.
pub trait Handler: Send + Sync + 'static {
    /// A message as the handler wants it.
    type Input: Send + Sync + 'static;

    /// Reads a message. No I/O: what fails here is the message's fault.
    ///
    /// # Errors
    /// The message becomes a dead letter at once.
    fn decode(&self, message: &Incoming) -> Result<Self::Input, Unreadable>;

    /// Handles a batch in one transaction on `db`.
    ///
    /// It may be called again with the same messages: after an error, one by one, and after a crash. What it did the
    /// first time it must then not do again.
    ///
    /// # Errors
    /// The batch comes again, whole or one by one.
    fn handle(
        &self,
        db: &mut PgConnection,
        batch: &[Self::Input],
    ) -> impl Future<Output = Result<Handled<Self::Input>, Error>> + Send;

    /// Deliveries that RabbitMQ sends ahead of their acks. Whoever asks others about messages is to have not many more of
    /// them than it can ask about at once.
    fn prefetch(&self) -> u16 {
        PREFETCH
    }

    /// Waits until more messages can be handled: until then, they stay in the queue.
    fn ready(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Whether something is away without which no message can be handled. The service is then not ready.
    fn is_held_up(&self) -> bool {
        false
    }

    /// Stores messages, so that an outbox publishes them when their queues are well, or their pauses over: what
    /// [`Self::handle`] returned and the broker did not confirm, and what is postponed. One may be stored already, and
    /// one may be with the broker all the same.
    ///
    /// # Errors
    /// The database failed. The ack waits until it works.
    fn store(&self, messages: &[Message]) -> impl Future<Output = sqlx::Result<()>> + Send;
}
