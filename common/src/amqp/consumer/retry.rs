//! Handles a batch: again while a dependency is away, and one by one when something in it is at fault.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use lapin::Channel;
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    super::{Broker, Outgoing, properties::message_properties},
    dead_letter::dead_letter,
    decode::Item,
    handler::{Error, Handler, Incoming},
};
use crate::{backoff::Backoff, db::PinnedConnection};

/// Tries before a message that fails by itself becomes a dead letter.
const MAX_ATTEMPTS: u32 = 3;

/// The session ended before a batch was handled: it will be delivered again.
pub(super) struct SessionOver;

/// What it takes to have a batch handled.
pub(super) struct Attempts<'a, H> {
    pub(super) broker: &'a Broker,
    pub(super) db: &'a PinnedConnection,
    pub(super) queue: &'static str,
    pub(super) handler: &'a Arc<H>,
    pub(super) shutdown: &'a CancellationToken,
    /// The session is over when it is closed.
    pub(super) channel: Channel,
}

impl<H: Handler> Attempts<'_, H> {
    /// Handles `batch`, whatever it takes, and returns what is to be published.
    pub(super) async fn handle(
        &self,
        batch: Vec<Item<H::Input>>,
    ) -> Result<Vec<Outgoing>, SessionOver> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        counter!("consumer_messages_total", "queue" => self.queue).increment(batch.len() as u64);
        let (messages, inputs): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|item| (item.message, item.input))
            .unzip();
        match self.attempt(&inputs).await? {
            Ok(outgoing) => Ok(outgoing),
            Err(_) if inputs.len() > 1 => self.one_by_one(&messages, &inputs).await,
            Err(error) => self.retry(&messages[0], &inputs[0], &error).await,
        }
    }

    /// Takes a failed batch apart, so that one bad message cannot hurt its neighbours: good ones first.
    async fn one_by_one(
        &self,
        messages: &[Incoming],
        inputs: &[H::Input],
    ) -> Result<Vec<Outgoing>, SessionOver> {
        let mut outgoing = Vec::new();
        let mut failed = Vec::new();
        for (message, input) in messages.iter().zip(inputs) {
            match self.attempt(std::slice::from_ref(input)).await? {
                Ok(more) => outgoing.extend(more),
                Err(error) => failed.push((message, input, error)),
            }
        }
        for (message, input, error) in failed {
            outgoing.extend(self.retry(message, input, &error).await?);
        }
        Ok(outgoing)
    }

    /// Gives a message that failed once its remaining tries, then makes it a dead letter.
    async fn retry(
        &self,
        message: &Incoming,
        input: &H::Input,
        first: &anyhow::Error,
    ) -> Result<Vec<Outgoing>, SessionOver> {
        let envelope = &message.envelope;
        let mut last_error = format!("{first:#}");
        let mut backoff = Backoff::default();
        for attempt in 2..=MAX_ATTEMPTS {
            warn!(message.id = %envelope.id, saga.id = ?envelope.sagaid, error = last_error, "attempt {} failed", attempt - 1);
            backoff.wait(self.shutdown).await;
            match self.attempt(std::slice::from_ref(input)).await? {
                Ok(outgoing) => return Ok(outgoing),
                Err(error) => last_error = format!("{error:#}"),
            }
        }
        error!(message.id = %envelope.id, saga.id = ?envelope.sagaid, error = last_error, "dead letter: every attempt failed");
        let mut properties = message_properties(envelope);
        if let Some(reply_to) = &message.reply_to {
            properties = properties.with_reply_to(reply_to.as_str().into());
        }
        let body = envelope.to_json().into_bytes();
        Ok(vec![dead_letter(
            self.queue,
            body,
            properties,
            "handler-failed",
            &last_error,
            MAX_ATTEMPTS,
        )])
    }

    /// Calls the handler until no dependency is away.
    async fn attempt(
        &self,
        inputs: &[H::Input],
    ) -> Result<Result<Vec<Outgoing>, anyhow::Error>, SessionOver> {
        let mut backoff = Backoff::default();
        let mut hold = None;
        loop {
            match AssertUnwindSafe(self.handle_once(inputs))
                .catch_unwind()
                .await
            {
                Ok(Ok(outgoing)) => {
                    if hold.is_some() {
                        info!(queue = self.queue, "going on");
                    }
                    return Ok(Ok(outgoing));
                }
                Ok(Err(Error::Away(cause))) => {
                    if hold.is_none() {
                        warn!(
                            queue = self.queue,
                            error = format!("{cause:#}"),
                            "holding: a dependency is away"
                        );
                        hold = Some(self.broker.hold());
                    }
                    backoff.wait(self.shutdown).await;
                    if self.shutdown.is_cancelled() || !self.channel.status().connected() {
                        return Err(SessionOver);
                    }
                }
                Ok(Err(Error::Failed(cause))) => return Ok(Err(cause)),
                Err(_) => return Ok(Err(anyhow::anyhow!("the handler panicked"))),
            }
        }
    }

    async fn handle_once(&self, inputs: &[H::Input]) -> Result<Vec<Outgoing>, Error> {
        let mut connection = self.db.take().await?;
        let outgoing = self.handler.handle(&mut connection, inputs).await?;
        self.db.put_back(connection);
        Ok(outgoing)
    }
}
