//! A batch of deliveries → handler → ack, retry or dead letter.
//!
//! ```text
//! deliveries that are there ──► decode ──► handle: one transaction ──► publish ──► confirmed, or stored ──► ack
//!                                 │                 │
//!                      cannot be read ─► .dlq       ├─ nothing can be done with some of them ─► .dlq
//!                                                   ├─ somebody else is asked about some: later, with the answer
//!                                                   ├─ or is away: stored, and back in the queue after a pause
//!                                                   ├─ a dependency is away: hold, no try is used up
//!                                                   ├─ too slow, or locked: one by one, and what is slow alone: later
//!                                                   └─ any other error: one by one, 3 tries each, then ─► .dlq
//! ```
//!
//! Batches form by themselves: what has arrived is taken, in a [`BatchingWindow`](crate::batch::BatchingWindow) that
//! makes no lone message wait. While one batch waits for its confirms, the next one is handled. One ack goes out for
//! all that is done at a moment, and single ones for what is done behind a delivery that is not.

mod ack;
mod dead_letter;
mod decode;
mod foreign;
mod handler;
mod retry;
mod session;
mod slow;

use std::sync::Arc;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub(crate) use self::handler::PREFETCH;
pub use self::handler::{Error, Handled, Handler, Incoming};
use self::{retry::Attempts, session::Session};
use super::Broker;
use crate::{
    backoff::Backoff,
    db::PinnedConnection,
    metrics::{BATCH_MESSAGES, CONSUMED, DEAD, REDELIVERED, RETRIES},
};

/// Consumes `queue` until `shutdown`, over any number of connections to the broker, and with one to `db`.
pub async fn run<H: Handler>(
    broker: Broker,
    db: PgPool,
    queue: &'static str,
    handler: H,
    shutdown: CancellationToken,
) {
    for metric in [&CONSUMED, &REDELIVERED, &BATCH_MESSAGES, &RETRIES, &DEAD] {
        metric.zero(&[queue]);
    }
    let handler = Arc::new(handler);
    let db = PinnedConnection::new(db);
    let mut backoff = Backoff::default();
    while !shutdown.is_cancelled() {
        match broker.subscribe(queue, handler.prefetch()).await {
            Ok((channel, deliveries)) => {
                info!(queue, "consuming");
                backoff.reset();
                let attempts = Attempts {
                    broker: &broker,
                    db: &db,
                    queue,
                    handler: &handler,
                    shutdown: &shutdown,
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
