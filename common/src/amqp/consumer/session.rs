//! One subscription: it takes what has arrived, has it handled, and passes it on to be acked.

use futures_util::{FutureExt, StreamExt};
use lapin::{BasicProperties, message::Delivery, options::BasicCancelOptions};
use metrics::histogram;
use serde_json::value::RawValue;
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::{Instrument, info_span, warn};

use super::{
    super::{
        Outgoing,
        properties::{MANY, ONE},
    },
    Handler, Incoming,
    ack::{self, PendingAck},
    dead_letter::dead_letter,
    retry::{Attempts, Item},
};
use crate::{
    batch::{BATCH_MAX, Pace},
    contract::Envelope,
};

/// Batches that may wait for their confirms.
const UNCONFIRMED_BATCHES: usize = 2;

/// One subscription: it ends with its channel.
pub(super) struct Session<'a, H: Handler> {
    attempts: Attempts<'a, H>,
    handled: mpsc::Sender<PendingAck>,
    acks: JoinHandle<()>,
}

impl<'a, H: Handler> Session<'a, H> {
    pub(super) fn new(attempts: Attempts<'a, H>) -> Self {
        let (handled, batches) = mpsc::channel(UNCONFIRMED_BATCHES);
        let acks = tokio::spawn(ack::finish(
            attempts.outbox.clone(),
            attempts.channel.clone(),
            batches,
        ));
        Self {
            attempts,
            handled,
            acks,
        }
    }

    pub(super) async fn run(self, mut deliveries: lapin::Consumer) {
        let mut pace = Pace::default();
        loop {
            pace.wait().await;
            let first = tokio::select! {
                biased;
                () = self.attempts.shutdown.cancelled() => break,
                next = deliveries.next() => next,
            };
            let Some(Ok(first)) = first else { break };
            let Some(batch) = self.process(first, &mut deliveries, &mut pace).await else {
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

    /// Handles `first` and what has arrived behind it. `None`: the session is over.
    async fn process(
        &self,
        first: Delivery,
        deliveries: &mut lapin::Consumer,
        pace: &mut Pace,
    ) -> Option<PendingAck> {
        let mut dead = Vec::new();
        let mut batch = Vec::new();
        let mut last = first;
        let mut deliveries_taken = 0;
        loop {
            deliveries_taken += 1;
            self.decode(&mut last, &mut batch, &mut dead);
            if batch.len() >= BATCH_MAX {
                break;
            }
            match deliveries.next().now_or_never() {
                Some(Some(Ok(next))) => last = next,
                _ => break,
            }
        }
        pace.start(batch.len());
        histogram!("consumer_batch_events", "queue" => self.attempts.queue)
            .record(batch.len() as f64);
        let span = info_span!("batch", queue = self.attempts.queue, events = batch.len());
        let mut messages = self.attempts.handle(batch).instrument(span).await?;
        messages.append(&mut dead);
        Some(PendingAck {
            messages,
            deliveries: deliveries_taken,
            last,
        })
    }

    /// Sorts the events of one delivery into what can be read and what is dead.
    fn decode(
        &self,
        delivery: &mut Delivery,
        batch: &mut Vec<Item<H::Input>>,
        dead: &mut Vec<Outgoing>,
    ) {
        let data = std::mem::take(&mut delivery.data);
        let properties = &delivery.properties;
        let is_batch = properties
            .content_type()
            .as_ref()
            .is_some_and(|kind| kind.as_str() == MANY);
        let events = if is_batch {
            serde_json::from_slice::<Vec<&RawValue>>(&data).map(|events| {
                events
                    .into_iter()
                    .map(|event| event.get().as_bytes())
                    .collect()
            })
        } else {
            Ok(vec![data.as_slice()])
        };
        let events = events.unwrap_or_else(|_| vec![data.as_slice()]);
        for json in events {
            let read = Envelope::parse(json).and_then(|envelope| {
                let event = Incoming {
                    envelope,
                    reply_to: properties.reply_to().as_ref().map(ToString::to_string),
                    correlation_id: properties
                        .correlation_id()
                        .as_ref()
                        .map(ToString::to_string),
                };
                let input = self.attempts.handler.decode(&event)?;
                Ok(Item { event, input })
            });
            match read {
                Ok(readable) => batch.push(readable),
                Err(reason) => {
                    warn!(queue = self.attempts.queue, error = %reason, "dead letter: a message cannot be read");
                    // Of a batch, only this event dies, as the single message that it might have been.
                    let kept = if json.len() < data.len() {
                        BasicProperties::default().with_content_type(ONE.into())
                    } else {
                        properties.clone()
                    };
                    dead.push(dead_letter(
                        self.attempts.queue,
                        json.to_vec(),
                        kept,
                        reason.kind(),
                        &reason.to_string(),
                        1,
                    ));
                }
            }
        }
    }
}
