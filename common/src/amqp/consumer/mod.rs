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

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use chrono::Utc;
use futures_util::{FutureExt, StreamExt};
use lapin::{
    BasicProperties, Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions},
    types::{AMQPValue, FieldTable},
};
use metrics::{counter, histogram};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

use super::{
    Lane, Outgoing,
    properties::{MANY, ONE, event_properties},
};
use crate::{
    backoff::Backoff,
    batch::{BATCH_MAX, Pace},
    contract::{Envelope, Unreadable},
    crash,
    db::Kept,
    outbox::Outbox,
};

/// Deliveries that RabbitMQ sends ahead of their acks.
const PREFETCH: u16 = 256;
/// Batches that may wait for their confirms.
const UNCONFIRMED_BATCHES: usize = 2;
/// How long an ack may wait for those of later batches. To a quorum queue, each is as dear as a message.
const ACK_EVERY: Duration = Duration::from_millis(50);
/// Deliveries that are acked at once, so that RabbitMQ sends more.
const ACK_MAX: usize = PREFETCH as usize / 4;
/// Tries before an event that fails by itself becomes a dead letter.
const MAX_ATTEMPTS: u32 = 3;
/// Longest error text in a header.
const ERROR_TEXT_MAX: usize = 1000;

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
                let session = Session::new(&outbox, queue, &handler, &shutdown, &db, channel);
                session.run(deliveries).await;
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

/// One subscription: it ends with its channel.
struct Session<'a, H: Handler> {
    outbox: &'a Outbox,
    queue: &'static str,
    handler: &'a H,
    shutdown: &'a CancellationToken,
    db: &'a Kept,
    channel: Channel,
    finished: mpsc::Sender<Finished>,
    finisher: JoinHandle<()>,
}

/// A batch that is handled: what to publish, and then what to ack.
struct Finished {
    messages: Vec<Outgoing>,
    deliveries: usize,
    last: Delivery,
}

/// An event that could be read, and what the handler made of it.
struct Readable<I> {
    event: Incoming,
    input: I,
}

impl<'a, H: Handler> Session<'a, H> {
    fn new(
        outbox: &'a Outbox,
        queue: &'static str,
        handler: &'a H,
        shutdown: &'a CancellationToken,
        db: &'a Kept,
        channel: Channel,
    ) -> Self {
        let (finished, batches) = mpsc::channel(UNCONFIRMED_BATCHES);
        let finisher = tokio::spawn(finish(outbox.clone(), channel.clone(), batches));
        Self {
            outbox,
            queue,
            handler,
            shutdown,
            db,
            channel,
            finished,
            finisher,
        }
    }

    async fn run(self, mut deliveries: lapin::Consumer) {
        let mut pace = Pace::default();
        loop {
            pace.wait().await;
            let first = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                next = deliveries.next() => next,
            };
            let Some(Ok(first)) = first else { break };
            let Some(batch) = self.process(first, &mut deliveries, &mut pace).await else {
                break;
            };
            if self.finished.send(batch).await.is_err() {
                break;
            }
        }
        if self.channel.status().connected() {
            // What is not acked goes back to the queue when the channel closes.
            let _ = self
                .channel
                .basic_cancel(deliveries.tag(), BasicCancelOptions::default())
                .await;
        }
        drop(self.finished);
        let _ = self.finisher.await;
        if self.channel.status().connected() {
            let _ = self.channel.close(200, "unsubscribed".into()).await;
        }
    }

    /// Handles `first` and what has arrived behind it. `None`: the session is over.
    async fn process(
        &self,
        first: Delivery,
        deliveries: &mut lapin::Consumer,
        pace: &mut Pace,
    ) -> Option<Finished> {
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
        histogram!("consumer_batch_events", "queue" => self.queue).record(batch.len() as f64);
        let span = info_span!("batch", queue = self.queue, events = batch.len());
        let mut messages = self.handle(batch).instrument(span).await?;
        messages.append(&mut dead);
        Some(Finished {
            messages,
            deliveries: deliveries_taken,
            last,
        })
    }

    /// Sorts the events of one delivery into what can be read and what is dead.
    fn decode(
        &self,
        delivery: &mut Delivery,
        batch: &mut Vec<Readable<H::Input>>,
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
                let input = self.handler.decode(&event)?;
                Ok(Readable { event, input })
            });
            match read {
                Ok(readable) => batch.push(readable),
                Err(reason) => {
                    warn!(queue = self.queue, error = %reason, "dead letter: a message cannot be read");
                    // Of a batch, only this event dies, as the single message that it might have been.
                    let kept = if json.len() < data.len() {
                        BasicProperties::default().with_content_type(ONE.into())
                    } else {
                        properties.clone()
                    };
                    dead.push(self.dead_letter(
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

    async fn handle(&self, batch: Vec<Readable<H::Input>>) -> Option<Vec<Outgoing>> {
        if batch.is_empty() {
            return Some(Vec::new());
        }
        counter!("consumer_events_total", "queue" => self.queue).increment(batch.len() as u64);
        let (events, inputs): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|r| (r.event, r.input)).unzip();
        match self.attempt(&inputs).await? {
            Ok(messages) => Some(messages),
            Err(_) if inputs.len() > 1 => self.one_by_one(&events, &inputs).await,
            Err(error) => self.retry(&events[0], &inputs[0], &error).await,
        }
    }

    /// Takes a failed batch apart, so that one bad event cannot hurt its neighbours: good ones first.
    async fn one_by_one(&self, events: &[Incoming], inputs: &[H::Input]) -> Option<Vec<Outgoing>> {
        let mut messages = Vec::new();
        let mut failed = Vec::new();
        for (event, input) in events.iter().zip(inputs) {
            match self.attempt(std::slice::from_ref(input)).await? {
                Ok(answers) => messages.extend(answers),
                Err(error) => failed.push((event, input, error)),
            }
        }
        for (event, input, error) in failed {
            messages.extend(self.retry(event, input, &error).await?);
        }
        Some(messages)
    }

    /// Gives an event that failed once its remaining tries, then makes it a dead letter.
    async fn retry(
        &self,
        event: &Incoming,
        input: &H::Input,
        first: &anyhow::Error,
    ) -> Option<Vec<Outgoing>> {
        let mut last_error = format!("{first:#}");
        let mut backoff = Backoff::default();
        for attempt in 2..=MAX_ATTEMPTS {
            warn!(message.id = %event.envelope.id, saga.id = ?event.envelope.sagaid, error = last_error, "attempt {} failed", attempt - 1);
            backoff.wait(self.shutdown).await;
            match self.attempt(std::slice::from_ref(input)).await? {
                Ok(messages) => return Some(messages),
                Err(error) => last_error = format!("{error:#}"),
            }
        }
        error!(message.id = %event.envelope.id, saga.id = ?event.envelope.sagaid, error = last_error, "dead letter: every attempt failed");
        let mut properties = event_properties(&event.envelope);
        if let Some(reply_to) = &event.reply_to {
            properties = properties.with_reply_to(reply_to.as_str().into());
        }
        let body = event.envelope.to_json().into_bytes();
        Some(vec![self.dead_letter(
            body,
            properties,
            "handler-failed",
            &last_error,
            MAX_ATTEMPTS,
        )])
    }

    /// Calls the handler until no dependency is away. `None`: the session ended meanwhile.
    async fn attempt(&self, inputs: &[H::Input]) -> Option<Result<Vec<Outgoing>, anyhow::Error>> {
        let mut backoff = Backoff::default();
        let mut hold = None;
        loop {
            match AssertUnwindSafe(self.handle_once(inputs))
                .catch_unwind()
                .await
            {
                Ok(Ok(messages)) => {
                    if hold.is_some() {
                        info!(queue = self.queue, "going on");
                    }
                    return Some(Ok(messages));
                }
                Ok(Err(Error::Away(cause))) => {
                    if hold.is_none() {
                        warn!(
                            queue = self.queue,
                            error = format!("{cause:#}"),
                            "holding: a dependency is away"
                        );
                        hold = Some(self.outbox.broker().hold());
                    }
                    backoff.wait(self.shutdown).await;
                    if self.shutdown.is_cancelled() || !self.channel.status().connected() {
                        return None;
                    }
                }
                Ok(Err(Error::Failed(cause))) => return Some(Err(cause)),
                Err(_) => return Some(Err(anyhow::anyhow!("the handler panicked"))),
            }
        }
    }

    async fn handle_once(&self, inputs: &[H::Input]) -> Result<Vec<Outgoing>, Error> {
        let mut connection = self.db.take().await?;
        let messages = self.handler.handle(&mut connection, inputs).await?;
        self.db.keep(connection);
        Ok(messages)
    }

    fn dead_letter(
        &self,
        body: Vec<u8>,
        properties: BasicProperties,
        kind: &str,
        error: &str,
        attempts: u32,
    ) -> Outgoing {
        counter!("consumer_dead_letters_total", "queue" => self.queue).increment(1);
        let mut headers = properties.headers().clone().unwrap_or_default();
        add_reason(&mut headers, kind, error, attempts);
        Outgoing::dead_letter(self.queue, body, properties.with_headers(headers))
    }
}

fn add_reason(headers: &mut FieldTable, kind: &str, error: &str, attempts: u32) {
    let error: String = error.chars().take(ERROR_TEXT_MAX).collect();
    for (name, value) in [
        ("x-error-kind", kind),
        ("x-error", &error),
        ("x-failed-at", &Utc::now().to_rfc3339()),
    ] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    headers.insert(
        "x-attempts".into(),
        AMQPValue::LongLongInt(i64::from(attempts)),
    );
}

/// Publishes what each batch has to say, then acks, in order: all batches of [`ACK_EVERY`] at once.
async fn finish(outbox: Outbox, channel: Channel, mut batches: mpsc::Receiver<Finished>) {
    // Where it cannot be published the channel is gone, and with it the right to ack: RabbitMQ delivers all of it again.
    while let Some(batch) = batches.recv().await {
        let Finished {
            messages,
            mut deliveries,
            mut last,
        } = batch;
        if !publish_all(&outbox, &channel, messages).await {
            return;
        }
        let ack_at = Instant::now() + ACK_EVERY;
        while deliveries < ACK_MAX
            && Instant::now() < ack_at
            && let Ok(Some(more)) = timeout_at(ack_at, batches.recv()).await
        {
            if !publish_all(&outbox, &channel, more.messages).await {
                return;
            }
            deliveries += more.deliveries;
            last = more.last;
        }
        let all_up_to_it = BasicAckOptions { multiple: true };
        if last.acker.ack(all_up_to_it).await.is_err() {
            return;
        }
    }
}

/// Publishes until every message is confirmed; false when the deliveries' channel ends before that.
///
/// Sagas do not wait for events that some queue does not take: the outbox keeps these.
async fn publish_all(outbox: &Outbox, channel: &Channel, mut messages: Vec<Outgoing>) -> bool {
    let mut backoff = Backoff::default();
    while !messages.is_empty() {
        let results = outbox.broker().publish(&messages).await.wait().await;
        let mut confirmed = results.iter().map(Result::is_ok);
        messages.retain(|_| !confirmed.next().unwrap_or(false));
        let (events, rest): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| message.lane() == Lane::Events);
        messages = rest;
        if let Err(error) = outbox.keep(&events).await {
            warn!(%error, "cannot keep events that are not published");
            messages.extend(events);
        }
        if !messages.is_empty() {
            if !channel.status().connected() {
                return false;
            }
            sleep(backoff.next_delay()).await;
        }
    }
    crash::point("consumer.published");
    true
}
