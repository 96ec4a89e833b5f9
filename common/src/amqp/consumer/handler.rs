//! What a consumer calls: the handler of a queue's messages.

use std::future::Future;

use sqlx::PgConnection;
use uuid::Uuid;

use super::super::{Message, Outgoing};
use crate::contract::{Envelope, Unreadable};

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
    /// On requests: the queue that the response goes to.
    pub reply_to: Option<String>,
    /// On requests: what the response repeats.
    pub correlation_id: Option<String>,
}

/// What comes of a batch.
#[derive(Debug, Default)]
pub struct Handled {
    /// What is to be published before the batch is acked.
    pub outgoing: Vec<Outgoing>,
    /// Messages, by their ids, that nothing can be done with, and why: they become dead letters at once. The rest of
    /// the batch was handled without them.
    pub refused: Vec<(Uuid, anyhow::Error)>,
}

/// What a consumer does with messages.
pub trait Handler: Send + Sync + 'static {
    /// A message as the handler wants it.
    type Input: Send + Sync;

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
    ) -> impl Future<Output = Result<Handled, Error>> + Send;

    /// Stores messages that [`Self::handle`] returned and that the broker did not confirm, so that an outbox publishes
    /// them when their queues are well. One may be stored already, and one may be with the broker all the same.
    ///
    /// # Errors
    /// The database failed. The ack waits until it works.
    fn store(&self, messages: &[Message]) -> impl Future<Output = sqlx::Result<()>> + Send;
}
