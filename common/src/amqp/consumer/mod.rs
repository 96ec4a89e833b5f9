//! A batch of deliveries → handler → ack, retry or dead letter.
//!
//! ```text
//! deliveries that are there ──► decode ──► handle: one transaction ──► publish answers ──► confirmed ──► ack
//!                                 │                 │
//!                      cannot be read ─► .dlq       ├─ a dependency is away: hold, nothing is burnt
//!                                                   └─ any other error: one by one, 3 tries each, then ─► .dlq
//! ```
//!
//! Batches form by themselves: what has arrived is taken, at a [`Pace`] that makes no lone event wait. While one batch waits for its
//! confirms, the next one is handled. Acks go out in order, one for all batches of a moment.

mod ack;
mod dead_letter;
mod retry;
mod session;

use std::future::Future;

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{retry::Attempts, session::Session};
use super::Outgoing;
use crate::{
    backoff::Backoff,
    contract::{Envelope, Unreadable},
    outbox::Outbox,
};

/// Deliveries that RabbitMQ sends ahead of their acks.
const PREFETCH: u16 = 256;

/// Why a batch was not handled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A dependency is away, or a race was lost: the same will work later.
    #[error("a dependency is away")]
    Away(#[source] anyhow::Error),
    /// Anything else: some event in the batch may be at fault.
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
        if crate::db::is_transient(&error) {
            Self::Away(error.into())
        } else {
            Self::Failed(error.into())
        }
    }
}

/// An event, with what AMQP says about it.
#[derive(Debug)]
pub struct Incoming {
    /// The event.
    pub envelope: Envelope,
    /// Queue that an answer goes to, on requests.
    pub reply_to: Option<String>,
    /// What the answer repeats, on requests.
    pub correlation_id: Option<String>,
}

/// What a consumer does with events.
pub trait Handler: Send + Sync + 'static {
    /// An event as the handler wants it.
    type Input: Send + Sync;

    /// Reads an event. No I/O: what fails here is the message's fault.
    ///
    /// # Errors
    /// The event becomes a dead letter at once.
    fn decode(&self, event: &Incoming) -> Result<Self::Input, Unreadable>;

    /// Handles a batch in one transaction on `db`, and returns what is to be published before the batch is acked.
    ///
    /// It may be called again with the same events: after an error, one by one, and after a crash. What it did the
    /// first time it must then not do again.
    ///
    /// # Errors
    /// The batch comes again, whole or one by one.
    fn handle(
        &self,
        db: &mut PgConnection,
        batch: &[Self::Input],
    ) -> impl Future<Output = Result<Vec<Outgoing>, Error>> + Send;
}

/// Consumes `queue` until `shutdown`, over any number of connections.
pub async fn run<H: Handler>(
    outbox: Outbox,
    queue: &'static str,
    handler: H,
    shutdown: CancellationToken,
) {
    let db = outbox.connection();
    let mut backoff = Backoff::default();
    while !shutdown.is_cancelled() {
        match outbox.broker().subscribe(queue, PREFETCH).await {
            Ok((channel, deliveries)) => {
                info!(queue, "consuming");
                backoff.reset();
                let attempts = Attempts {
                    outbox: &outbox,
                    queue,
                    handler: &handler,
                    shutdown: &shutdown,
                    db: &db,
                    channel,
                };
                Session::new(attempts).run(deliveries).await;
                if !shutdown.is_cancelled() {
                    warn!(queue, "the subscription ended: subscribing again");
                }
            }
            Err(error) if error.is_transient() => {}
            Err(error) => error!(queue, %error, "cannot consume"),
        }
        if !shutdown.is_cancelled() {
            backoff.wait(&shutdown).await;
        }
    }
}
