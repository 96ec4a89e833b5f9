//! One subscription: it takes what has arrived, has it handled, and passes it on to be acked.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use lapin::{message::Delivery, options::BasicCancelOptions};
use metrics::histogram;
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::{Instrument, info_span, warn};

use super::{
    ack::{Acks, PendingAck, Saying},
    decode::{Dead, decode},
    handler::Handler,
    retry::{Attempts, SessionOver},
};
use crate::batch::{BATCH_MAX, BatchingWindow};

/// Batches that may wait for their confirms.
const UNCONFIRMED_BATCHES: usize = 4;

/// One subscription: it ends with its channel.
pub(super) struct Session<'a, H> {
    attempts: Attempts<'a, H>,
    handled: mpsc::Sender<PendingAck>,
    acks: JoinHandle<()>,
}

impl<'a, H: Handler> Session<'a, H> {
    pub(super) fn new(attempts: Attempts<'a, H>) -> Self {
        let (handled, batches) = mpsc::channel(UNCONFIRMED_BATCHES);
        let acks = Acks {
            broker: attempts.broker.clone(),
            queue: attempts.queue,
            handler: Arc::clone(attempts.handler),
            channel: attempts.channel.clone(),
        };
        let acks = tokio::spawn(acks.run(batches));
        Self {
            attempts,
            handled,
            acks,
        }
    }

    pub(super) async fn run(self, mut deliveries: lapin::Consumer) {
        let mut window = BatchingWindow::default();
        loop {
            window.wait().await;
            let first = tokio::select! {
                biased;
                () = self.attempts.shutdown.cancelled() => break,
                next = deliveries.next() => next,
            };
            let Some(Ok(first)) = first else { break };
            let Ok(batch) = self.process(first, &mut deliveries, &mut window).await else {
                break;
            };
            if self.handled.send(batch).await.is_err() {
                break;
            }
        }
        if self.attempts.channel.status().connected() {
            // What is not acked goes back to the queue when the channel closes.
            let _ = self
                .attempts
                .channel
                .basic_cancel(deliveries.tag(), BasicCancelOptions::default())
                .await;
        }
        drop(self.handled);
        let _ = self.acks.await;
        if self.attempts.channel.status().connected() {
            let _ = self
                .attempts
                .channel
                .close(200, "unsubscribed".into())
                .await;
        }
    }

    /// Handles `first` and what has arrived behind it.
    async fn process(
        &self,
        first: Delivery,
        deliveries: &mut lapin::Consumer,
        window: &mut BatchingWindow,
    ) -> Result<PendingAck, SessionOver> {
        let (queue, handler) = (self.attempts.queue, self.attempts.handler.as_ref());
        let mut dead = Dead::default();
        let mut batch = Vec::new();
        let mut last = first;
        let mut deliveries_taken = 0;
        loop {
            deliveries_taken += 1;
            decode((queue, handler), &mut last, &mut batch, &mut dead);
            if batch.len() >= BATCH_MAX {
                break;
            }
            match deliveries.next().now_or_never() {
                Some(Some(Ok(next))) => last = next,
                _ => break,
            }
        }
        if let Some(error) = &dead.first {
            // One line for all of them: whoever sends nonsense may send much of it.
            let messages = dead.letters.len();
            warn!(queue, messages, %error, "dead letters: they cannot be read");
        }
        window.start(batch.len());
        histogram!("consumer_batch_messages", "queue" => queue).record(batch.len() as f64);
        let span = info_span!("batch", queue, messages = batch.len());
        let mut outgoing = self.attempts.handle(batch).instrument(span).await?;
        outgoing.append(&mut dead.letters);
        Ok(PendingAck {
            saying: Saying::publish(self.attempts.broker, outgoing).await,
            deliveries: deliveries_taken,
            last,
        })
    }
}
