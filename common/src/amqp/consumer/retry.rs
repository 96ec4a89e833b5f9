//! Handles a batch: again while a dependency is away, and one by one when something in it is at fault or too slow.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures_util::{FutureExt, future::BoxFuture};
use lapin::Channel;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use super::{
    super::{
        Broker, Message, Outgoing,
        properties::{message_properties, short, with_marks},
    },
    dead_letter::dead_letter,
    decode::{Item, Origin},
    handler::{Error, Handled, Handler, Incoming},
    slow::Slow,
};
use crate::{
    backoff::Backoff,
    batch::BATCH_MAX,
    db::{self, PinnedConnection},
    metrics::RETRIES,
    watchdog::beat,
};

/// Tries before a message that fails by itself becomes a dead letter.
const MAX_ATTEMPTS: u32 = 3;
/// Of messages that are tried one by one, as many may be too slow before the others wait as well.
const SLOW_MAX: usize = 2;

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

/// Why the handler could not handle what it was called with.
enum Failure {
    /// It took too long, or something that it locks is locked: perhaps because of one message.
    Slow,
    Failed(anyhow::Error),
}

impl<H: Handler> Attempts<'_, H> {
    /// Handles `batch`, whatever it takes.
    pub(super) async fn handle(
        &self,
        batch: Vec<Item<H::Input>>,
    ) -> Result<Done<H::Input>, SessionOver> {
        let mut done = Done::default();
        let (slow, others): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|item| item.origin.slow.is_some());
        self.handle_together(others, &mut done).await?;
        let (messages, inputs) = split(slow);
        let slow = self.one_by_one(&messages, &inputs, &mut done).await?;
        self.set_aside(messages, inputs, &slow, &mut done);
        Ok(done)
    }

    async fn handle_together(
        &self,
        batch: Vec<Item<H::Input>>,
        done: &mut Done<H::Input>,
    ) -> Result<(), SessionOver> {
        let (messages, inputs) = split(batch);
        let mut slow = Vec::new();
        // One AMQP message may carry any number of messages.
        let parts = messages.chunks(BATCH_MAX).zip(inputs.chunks(BATCH_MAX));
        for (part, (messages, inputs)) in parts.enumerate() {
            if inputs.len() > 1
                && let Ok(handled) = self.attempt(inputs).await?
            {
                self.take(messages, handled, done);
                continue;
            }
            let found = self.one_by_one(messages, inputs, done).await?;
            slow.extend(
                found
                    .into_iter()
                    .map(|position| part * BATCH_MAX + position),
            );
        }
        self.set_aside(messages, inputs, &slow, done);
        Ok(())
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
        let ids = refused.iter().chain(&postponed).map(|(id, _)| *id);
        let left_out: HashSet<_> = ids.chain(later.iter().map(|(id, _)| *id)).collect();
        for origin in messages {
            if !left_out.contains(&origin.message.envelope.id) {
                origin.over(self.queue, None);
            }
        }
        self.say(&refused, "dead letters: nothing can be done with them");
        self.say(&postponed, "postponed: they come again after a pause");
        for (origin, why) in named(messages, refused) {
            let why = format!("{why:#}");
            origin.over(self.queue, Some(("refused", &why)));
            let letter = self.dead_letter(&origin.message, "refused", &why, 1);
            done.outgoing.push(letter);
        }
        for (origin, why) in named(messages, postponed) {
            origin.over(self.queue, Some(("postponed", &format!("{why:#}"))));
            let Incoming {
                envelope, trace, ..
            } = &*origin.message;
            let again = envelope.clone().traced(trace.as_ref());
            done.postponed.push(Message::postponed(self.queue, again));
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

    /// Takes a batch that failed or is too slow apart, so that one message cannot hurt its neighbours: good ones first.
    /// Returns the positions of those that are too slow.
    async fn one_by_one(
        &self,
        messages: &[Origin],
        inputs: &[H::Input],
        done: &mut Done<H::Input>,
    ) -> Result<Vec<usize>, SessionOver> {
        let (mut failed, mut slow) = (Vec::new(), Vec::new());
        for (position, input) in inputs.iter().enumerate() {
            match self.attempt(std::slice::from_ref(input)).await? {
                Ok(handled) => self.take(&messages[position..=position], handled, done),
                Err(Failure::Failed(error)) => failed.push((position, error)),
                Err(Failure::Slow) => {
                    slow.push(position);
                    if slow.len() == SLOW_MAX {
                        slow.extend(position + 1..inputs.len());
                        break;
                    }
                }
            }
        }
        for (position, error) in failed {
            let is_done = self.retry(&messages[position], &inputs[position], &error, done);
            if !is_done.await? {
                slow.push(position);
            }
        }
        Ok(slow)
    }

    /// Gives a message that failed once its remaining tries, then makes it a dead letter. False when it is too slow.
    async fn retry(
        &self,
        message: &Origin,
        input: &H::Input,
        first: &anyhow::Error,
        done: &mut Done<H::Input>,
    ) -> Result<bool, SessionOver> {
        let envelope = &message.message.envelope;
        let mut last_error = format!("{first:#}");
        let mut backoff = Backoff::default();
        for attempt in 2..=MAX_ATTEMPTS {
            warn!(message.id = %envelope.id, saga.id = ?envelope.sagaid, correlation_id = envelope.correlationid, error = last_error, "attempt {} failed", attempt - 1);
            backoff.wait(self.shutdown).await;
            RETRIES.add(&[self.queue], 1);
            match self.attempt(std::slice::from_ref(input)).await? {
                Ok(handled) => {
                    self.take(std::slice::from_ref(message), handled, done);
                    return Ok(true);
                }
                Err(Failure::Failed(error)) => last_error = format!("{error:#}"),
                Err(Failure::Slow) => return Ok(false),
            }
        }
        error!(message.id = %envelope.id, saga.id = ?envelope.sagaid, correlation_id = envelope.correlationid, error = last_error, "dead letter: every attempt failed");
        message.over(self.queue, Some(("handler-failed", &last_error)));
        let letter = self.dead_letter(
            &message.message,
            "handler-failed",
            &last_error,
            MAX_ATTEMPTS,
        );
        done.outgoing.push(letter);
        Ok(true)
    }

    /// Has the messages at `positions` handled again after a pause, while their neighbours go on. The service is not ready
    /// until they are done.
    fn set_aside(
        &self,
        messages: Vec<Origin>,
        inputs: Vec<H::Input>,
        positions: &[usize],
        done: &mut Done<H::Input>,
    ) {
        if positions.is_empty() {
            return;
        }
        let all = messages.into_iter().zip(inputs).enumerate();
        for (_, (mut origin, input)) in all.filter(|(position, _)| positions.contains(position)) {
            let slow = match origin.slow.take() {
                Some(slow) => slow.again(),
                None => Slow::first(self.broker.hold()),
            };
            let pause = slow.pause(self.shutdown);
            origin.slow = Some(slow);
            let again = async move {
                pause.await;
                input
            };
            done.later.push((origin, Box::pin(again)));
        }
    }

    fn dead_letter(&self, message: &Incoming, kind: &str, error: &str, attempts: u32) -> Outgoing {
        let properties = message_properties(&message.envelope);
        let mut properties = with_marks(properties, &message.redriven);
        if let Some(reply_to) = &message.reply_to {
            properties = properties.with_reply_to(short(reply_to));
        }
        let body = message.envelope.to_json().into_bytes();
        dead_letter(self.queue, body, &properties, kind, error, attempts)
    }

    /// Calls the handler until no dependency is away.
    async fn attempt(
        &self,
        inputs: &[H::Input],
    ) -> Result<Result<Handled<H::Input>, Failure>, SessionOver> {
        let mut backoff = Backoff::default();
        let mut hold = None;
        loop {
            let cause = match self.call(inputs).await {
                Ok(handled) => return Ok(Ok(handled)),
                Err(Error::Failed(cause)) => return Ok(Err(Failure::Failed(cause))),
                Err(Error::Slow(cause)) => {
                    let (queue, messages) = (self.queue, inputs.len());
                    warn!(queue, messages, error = format!("{cause:#}"), "too slow");
                    self.go_on()?;
                    return Ok(Err(Failure::Slow));
                }
                Err(Error::Away(cause)) => cause,
            };
            if hold.is_none() {
                let error = format!("{cause:#}");
                warn!(queue = self.queue, error, "holding: a dependency is away");
                hold = Some(self.broker.hold());
            }
            backoff.wait(self.shutdown).await;
            self.go_on()?;
        }
    }

    /// What could not be handled is delivered again, where the session is over.
    fn go_on(&self) -> Result<(), SessionOver> {
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

fn split<I>(batch: Vec<Item<I>>) -> (Vec<Origin>, Vec<I>) {
    let pairs = batch.into_iter().map(|item| (item.origin, item.input));
    pairs.unzip()
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
