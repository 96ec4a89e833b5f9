//! Handles a batch: again while a dependency is away, and one by one when something in it is at fault.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use lapin::Channel;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use super::{
    super::{
        Broker, Message, Outgoing,
        broker::Hold,
        properties::{message_properties, short},
    },
    dead_letter::dead_letter,
    decode::{Item, Origin},
    handler::{Error, Handled, Handler, Incoming},
};
use crate::{
    backoff::Backoff,
    batch::BATCH_MAX,
    db::{self, PinnedConnection},
    watchdog::beat,
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

/// What came of a batch.
pub(super) struct Done<I> {
    pub(super) outgoing: Vec<Outgoing>,
    /// What comes again after a pause.
    pub(super) postponed: Vec<Message>,
    /// What is to be handled again when an answer is there.
    pub(super) later: Vec<(Origin, BoxFuture<'static, I>)>,
}

impl<I> Default for Done<I> {
    fn default() -> Self {
        Self {
            outgoing: Vec::new(),
            postponed: Vec::new(),
            later: Vec::new(),
        }
    }
}

/// What came of one call of the handler.
enum Attempt<I> {
    Done(Handled<I>),
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
    /// Handles `batch`, whatever it takes.
    pub(super) async fn handle(
        &self,
        batch: Vec<Item<H::Input>>,
    ) -> Result<Done<H::Input>, SessionOver> {
        let mut done = Done::default();
        let (messages, inputs): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|item| (item.origin, item.input))
            .unzip();
        // One AMQP message may carry any number of messages.
        for (messages, inputs) in messages.chunks(BATCH_MAX).zip(inputs.chunks(BATCH_MAX)) {
            match self.attempt(inputs).await? {
                Attempt::Done(handled) => self.take(messages, handled, &mut done),
                Attempt::Slow => self.halve(messages, inputs, &mut done).await?,
                Attempt::Failed(_) if inputs.len() > 1 => {
                    self.one_by_one(messages, inputs, &mut done).await?;
                }
                Attempt::Failed(error) => {
                    self.retry(&messages[0], &inputs[0], &error, &mut done)
                        .await?;
                }
            }
        }
        Ok(done)
    }

    /// Adds what came of `messages` to what is done.
    fn take(&self, messages: &[Origin], handled: Handled<H::Input>, done: &mut Done<H::Input>) {
        let Handled {
            outgoing,
            refused,
            postponed,
            later,
        } = handled;
        done.outgoing.extend(outgoing);
        self.say(&refused, "dead letters: nothing can be done with them");
        self.say(&postponed, "postponed: they come again after a pause");
        for (origin, why) in named(messages, refused) {
            let why = format!("{why:#}");
            let letter = self.dead_letter(&origin.message, "refused", &why, 1);
            done.outgoing.push(letter);
        }
        for (origin, _) in named(messages, postponed) {
            let again = Message::postponed(self.queue, origin.message.envelope.clone());
            done.postponed.push(again);
        }
        done.later.extend(named(messages, later));
    }

    /// One line for all of them.
    fn say(&self, messages: &[(Uuid, anyhow::Error)], what: &str) {
        if let Some((_, first)) = messages.first() {
            let (queue, messages) = (self.queue, messages.len());
            warn!(queue, messages, error = format!("{first:#}"), "{what}");
        }
    }

    /// Takes a batch that is too slow apart, so that what is slow holds up nothing but itself. Where both halves are
    /// too slow, it is not for one message.
    async fn halve(
        &self,
        mut messages: &[Origin],
        mut inputs: &[H::Input],
        done: &mut Done<H::Input>,
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
                    Attempt::Done(handled) => self.take(messages, handled, done),
                    Attempt::Slow => slow.push((messages, inputs)),
                    Attempt::Failed(_) => self.one_by_one(messages, inputs, done).await?,
                }
            }
            match slow[..] {
                [] => return Ok(()),
                [one] => (messages, inputs) = one,
                _ => break,
            }
        }
        self.one_by_one(messages, inputs, done).await
    }

    /// Takes a failed batch apart, so that one bad message cannot hurt its neighbours: good ones first.
    async fn one_by_one(
        &self,
        messages: &[Origin],
        inputs: &[H::Input],
        done: &mut Done<H::Input>,
    ) -> Result<(), SessionOver> {
        let mut failed = Vec::new();
        for (message, input) in messages.iter().zip(inputs) {
            match self.attempt_alone(input).await? {
                Ok(handled) => self.take(std::slice::from_ref(message), handled, done),
                Err(error) => failed.push((message, input, error)),
            }
        }
        for (message, input, error) in failed {
            self.retry(message, input, &error, done).await?;
        }
        Ok(())
    }

    /// Gives a message that failed once its remaining tries, then makes it a dead letter.
    async fn retry(
        &self,
        message: &Origin,
        input: &H::Input,
        first: &anyhow::Error,
        done: &mut Done<H::Input>,
    ) -> Result<(), SessionOver> {
        let envelope = &message.message.envelope;
        let mut last_error = format!("{first:#}");
        let mut backoff = Backoff::default();
        for attempt in 2..=MAX_ATTEMPTS {
            warn!(message.id = %envelope.id, saga.id = ?envelope.sagaid, error = last_error, "attempt {} failed", attempt - 1);
            backoff.wait(self.shutdown).await;
            match self.attempt_alone(input).await? {
                Ok(handled) => {
                    self.take(std::slice::from_ref(message), handled, done);
                    return Ok(());
                }
                Err(error) => last_error = format!("{error:#}"),
            }
        }
        error!(message.id = %envelope.id, saga.id = ?envelope.sagaid, error = last_error, "dead letter: every attempt failed");
        let letter = self.dead_letter(
            &message.message,
            "handler-failed",
            &last_error,
            MAX_ATTEMPTS,
        );
        done.outgoing.push(letter);
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
    async fn attempt(&self, inputs: &[H::Input]) -> Result<Attempt<H::Input>, SessionOver> {
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
    ) -> Result<Result<Handled<H::Input>, anyhow::Error>, SessionOver> {
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

    async fn call(&self, inputs: &[H::Input]) -> Result<Handled<H::Input>, Error> {
        beat();
        let call = AssertUnwindSafe(self.handle_once(inputs)).catch_unwind();
        let panicked = |_| Err(Error::Failed(anyhow::anyhow!("the handler panicked")));
        call.await.unwrap_or_else(panicked)
    }

    async fn handle_once(&self, inputs: &[H::Input]) -> Result<Handled<H::Input>, Error> {
        let mut connection = self.db.take().await?;
        let handled = db::in_time(self.handler.handle(&mut connection, inputs)).await?;
        self.db.put_back(connection);
        Ok(handled)
    }
}

/// The messages that `of` names, each with what is said about it.
fn named<T>(messages: &[Origin], of: Vec<(Uuid, T)>) -> Vec<(Origin, T)> {
    if of.is_empty() {
        return Vec::new();
    }
    // The same message may be there twice, and is then named twice.
    let mut by_id: HashMap<Uuid, Vec<&Origin>> = HashMap::with_capacity(messages.len());
    for origin in messages {
        let same = by_id.entry(origin.message.envelope.id).or_default();
        same.push(origin);
    }
    let mut take = |id| by_id.get_mut(&id).and_then(Vec::pop).cloned();
    of.into_iter()
        .filter_map(|(id, what)| Some((take(id)?, what)))
        .collect()
}
