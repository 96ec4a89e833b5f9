//! Handles a batch: again while a dependency is away, and one by one when something in it is at fault.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use lapin::Channel;
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    super::{Outgoing, properties::event_properties},
    Error, Handler, Incoming,
    dead_letter::dead_letter,
};
use crate::{backoff::Backoff, db::Kept, outbox::Outbox};

/// Tries before an event that fails by itself becomes a dead letter.
const MAX_ATTEMPTS: u32 = 3;

/// An event that could be read, and what the handler made of it.
pub(super) struct Item<I> {
    pub(super) event: Incoming,
    pub(super) input: I,
}

/// What it takes to have a batch handled.
pub(super) struct Attempts<'a, H: Handler> {
    pub(super) outbox: &'a Outbox,
    pub(super) queue: &'static str,
    pub(super) handler: &'a H,
    pub(super) shutdown: &'a CancellationToken,
    pub(super) db: &'a Kept,
    /// The session is over when it is closed.
    pub(super) channel: Channel,
}

impl<H: Handler> Attempts<'_, H> {
    /// Handles `batch`, whatever it takes. `None`: the session ended meanwhile.
    pub(super) async fn handle(&self, batch: Vec<Item<H::Input>>) -> Option<Vec<Outgoing>> {
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
        Some(vec![dead_letter(
            self.queue,
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
}
