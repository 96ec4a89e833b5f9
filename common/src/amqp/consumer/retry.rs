//! Handles a batch: again while a dependency is away, and one by one when something in it is at fault.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use lapin::Channel;
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    super::{
        Broker, Outgoing,
        broker::Hold,
        properties::{message_properties, short},
    },
    dead_letter::dead_letter,
    decode::Item,
    handler::{Error, Handled, Handler, Incoming},
};
use crate::{
    backoff::Backoff,
    batch::BATCH_MAX,
    db::{self, PinnedConnection},
};

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

/// What came of one call of the handler.
enum Attempt {
    Done(Handled),
    /// It took too long, or something that it locks is locked: perhaps because of one message.
    Slow,
    Failed(anyhow::Error),
}

/// How long the handler has been in vain, and that the service is not ready for that reason.
#[derive(Default)]
struct Holding {
    backoff: Backoff,
    hold: Option<Hold>,
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
        let mut outgoing = Vec::new();
        // One AMQP message may carry any number of messages.
        for (messages, inputs) in messages.chunks(BATCH_MAX).zip(inputs.chunks(BATCH_MAX)) {
            match self.attempt(inputs).await? {
                Attempt::Done(handled) => self.take(messages, handled, &mut outgoing),
                Attempt::Slow => self.halve(messages, inputs, &mut outgoing).await?,
                Attempt::Failed(_) if inputs.len() > 1 => {
                    self.one_by_one(messages, inputs, &mut outgoing).await?;
                }
                Attempt::Failed(error) => {
                    self.retry(&messages[0], &inputs[0], &error, &mut outgoing)
                        .await?;
                }
            }
        }
        Ok(outgoing)
    }

    /// Adds what is to be published about `messages`, which were handled.
    fn take(&self, messages: &[Incoming], handled: Handled, outgoing: &mut Vec<Outgoing>) {
        let Handled {
            outgoing: more,
            refused,
        } = handled;
        outgoing.extend(more);
        let Some((_, first)) = refused.first() else {
            return;
        };
        warn!(
            queue = self.queue,
            messages = refused.len(),
            error = format!("{first:#}"),
            "dead letters: nothing can be done with them"
        );
        for message in messages {
            let of = |(id, _): &&(_, _)| *id == message.envelope.id;
            if let Some((_, why)) = refused.iter().find(of) {
                outgoing.push(self.dead_letter(message, "refused", &format!("{why:#}"), 1));
            }
        }
    }

    /// Takes a batch that is too slow apart, so that what is slow holds up nothing but itself. Where both halves are
    /// too slow, it is not for one message.
    async fn halve(
        &self,
        mut messages: &[Incoming],
        mut inputs: &[H::Input],
        outgoing: &mut Vec<Outgoing>,
    ) -> Result<(), SessionOver> {
        while inputs.len() > 1 {
            let half = inputs.len() / 2;
            let halves = [
                (&messages[..half], &inputs[..half]),
                (&messages[half..], &inputs[half..]),
            ];
            let mut slow = Vec::new();
            for (messages, inputs) in halves {
                match self.attempt(inputs).await? {
                    Attempt::Done(handled) => self.take(messages, handled, outgoing),
                    Attempt::Slow => slow.push((messages, inputs)),
                    Attempt::Failed(_) => self.one_by_one(messages, inputs, outgoing).await?,
                }
            }
            match slow[..] {
                [] => return Ok(()),
                [one] => (messages, inputs) = one,
                _ => break,
            }
        }
        self.one_by_one(messages, inputs, outgoing).await
    }

    /// Takes a failed batch apart, so that one bad message cannot hurt its neighbours: good ones first.
    async fn one_by_one(
        &self,
        messages: &[Incoming],
        inputs: &[H::Input],
        outgoing: &mut Vec<Outgoing>,
    ) -> Result<(), SessionOver> {
        let mut failed = Vec::new();
        for (message, input) in messages.iter().zip(inputs) {
            match self.attempt_alone(input).await? {
                Ok(handled) => self.take(std::slice::from_ref(message), handled, outgoing),
                Err(error) => failed.push((message, input, error)),
            }
        }
        for (message, input, error) in failed {
            self.retry(message, input, &error, outgoing).await?;
        }
        Ok(())
    }

    /// Gives a message that failed once its remaining tries, then makes it a dead letter.
    async fn retry(
        &self,
        message: &Incoming,
        input: &H::Input,
        first: &anyhow::Error,
        outgoing: &mut Vec<Outgoing>,
    ) -> Result<(), SessionOver> {
        let envelope = &message.envelope;
        let mut last_error = format!("{first:#}");
        let mut backoff = Backoff::default();
        for attempt in 2..=MAX_ATTEMPTS {
            warn!(message.id = %envelope.id, saga.id = ?envelope.sagaid, error = last_error, "attempt {} failed", attempt - 1);
            backoff.wait(self.shutdown).await;
            match self.attempt_alone(input).await? {
                Ok(handled) => {
                    self.take(std::slice::from_ref(message), handled, outgoing);
                    return Ok(());
                }
                Err(error) => last_error = format!("{error:#}"),
            }
        }
        error!(message.id = %envelope.id, saga.id = ?envelope.sagaid, error = last_error, "dead letter: every attempt failed");
        outgoing.push(self.dead_letter(message, "handler-failed", &last_error, MAX_ATTEMPTS));
        Ok(())
    }

    fn dead_letter(&self, message: &Incoming, kind: &str, error: &str, attempts: u32) -> Outgoing {
        let mut properties = message_properties(&message.envelope);
        if let Some(reply_to) = &message.reply_to {
            properties = properties.with_reply_to(short(reply_to));
        }
        let body = message.envelope.to_json().into_bytes();
        dead_letter(self.queue, body, &properties, kind, error, attempts)
    }

    /// Calls the handler until no dependency is away. A batch that is too slow can be taken apart.
    async fn attempt(&self, inputs: &[H::Input]) -> Result<Attempt, SessionOver> {
        let mut holding = Holding::default();
        loop {
            match self.call(inputs).await {
                Ok(handled) => return Ok(Attempt::Done(handled)),
                Err(Error::Slow(_)) if inputs.len() > 1 => return Ok(Attempt::Slow),
                Err(Error::Failed(cause)) => return Ok(Attempt::Failed(cause)),
                Err(Error::Away(cause) | Error::Slow(cause)) => {
                    self.hold(&mut holding, &cause).await?
                }
            }
        }
    }

    /// Calls the handler with one message until no dependency is away.
    async fn attempt_alone(
        &self,
        input: &H::Input,
    ) -> Result<Result<Handled, anyhow::Error>, SessionOver> {
        let mut holding = Holding::default();
        loop {
            match self.call(std::slice::from_ref(input)).await {
                Ok(handled) => return Ok(Ok(handled)),
                Err(Error::Failed(cause)) => return Ok(Err(cause)),
                Err(Error::Away(cause) | Error::Slow(cause)) => {
                    self.hold(&mut holding, &cause).await?
                }
            }
        }
    }

    /// Waits before the handler is called again, and says once why.
    async fn hold(&self, holding: &mut Holding, cause: &anyhow::Error) -> Result<(), SessionOver> {
        if holding.hold.is_none() {
            let error = format!("{cause:#}");
            warn!(queue = self.queue, error, "holding: a dependency is away");
            holding.hold = Some(self.broker.hold());
        }
        holding.backoff.wait(self.shutdown).await;
        if self.shutdown.is_cancelled() || !self.channel.status().connected() {
            return Err(SessionOver);
        }
        Ok(())
    }

    async fn call(&self, inputs: &[H::Input]) -> Result<Handled, Error> {
        let call = AssertUnwindSafe(self.handle_once(inputs)).catch_unwind();
        let panicked = |_| Err(Error::Failed(anyhow::anyhow!("the handler panicked")));
        call.await.unwrap_or_else(panicked)
    }

    async fn handle_once(&self, inputs: &[H::Input]) -> Result<Handled, Error> {
        let mut connection = self.db.take().await?;
        let handled = db::in_time(self.handler.handle(&mut connection, inputs)).await?;
        self.db.put_back(connection);
        Ok(handled)
    }
}
