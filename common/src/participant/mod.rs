//! The frame of a participant: commands are executed once, and always answered.
//!
//! ```text
//! find what is recorded ─► prepare what is new (calls to others) ─► one transaction: apply + record ─► outcomes
//!        ▲                                                                     │
//!        └────────────── somebody else was faster: nothing happened ◄──────────┘
//! ```
//!
//! A command that was executed before is answered with the stored outcome. A compensation that comes before its
//! action leaves a tombstone under the action's key, so that the action finds its answer already there: it was
//! compensated. Races between replicas are not prevented but noticed: recording a key that exists starts the batch
//! over.
//!
//! When what is recorded of a saga may have been dropped, an action is not executed any more: nobody could tell whether
//! it was before. It is a dead letter. A compensation can be repeated without harm, and is.

mod command;
pub mod idempotency;

use std::{collections::HashSet, future::Future, sync::Arc};

use sqlx::PgConnection;
use tracing::info;

pub use self::command::Command;
use self::idempotency::{Direction, Key, Record};
use crate::{
    amqp::{
        Outcome, Outgoing,
        consumer::{self, Handler, Incoming},
    },
    batch::waves,
    contract::{Envelope, Unreadable},
    crash,
    db::{UnitOfWork, retention::Retention},
    outbox::Outbox,
};

/// Times that a batch is started over before it counts as a dependency that is away.
const MAX_RACES: usize = 5;

/// What was done for a batch of commands.
#[derive(Debug)]
pub struct Applied {
    /// The outcome of each command, in the commands' order.
    pub outcomes: Vec<Envelope>,
    /// What else is to be told, once, through the outbox.
    pub events: Vec<Outgoing>,
}

/// What a participant does. Of each saga, a batch has at most one command.
pub trait Participant: Send + Sync + 'static {
    /// What can be asked for.
    type Body: Clone + Send + Sync;
    /// What [`Self::prepare`] found out.
    type Prepared: Send + Sync;

    /// Reads a command; no I/O.
    ///
    /// # Errors
    /// The message becomes a dead letter.
    fn decode(&self, event: &Incoming) -> Result<Command<Self::Body>, Unreadable>;

    /// Asks others, outside of any transaction, about commands that are `new`; `too_late` are actions that were
    /// compensated before they came. It may be called again for the same commands, also after a crash.
    ///
    /// # Errors
    /// Nothing is done and the batch comes again.
    fn prepare(
        &self,
        new: &[Command<Self::Body>],
        too_late: &[Command<Self::Body>],
    ) -> impl Future<Output = Result<Self::Prepared, consumer::Error>> + Send;

    /// Does the `new` commands as part of `work`. Called with compensations also where the action never came.
    ///
    /// # Errors
    /// Nothing of `work` is done.
    fn apply(
        &self,
        work: &mut UnitOfWork<'_>,
        new: &[Command<Self::Body>],
        prepared: &Self::Prepared,
    ) -> impl Future<Output = Result<Applied, consumer::Error>> + Send;

    /// The outcome of an action that comes after `compensation`: it did nothing.
    fn already_compensated(&self, compensation: &Command<Self::Body>) -> Envelope;
}

/// A [`Participant`] as the handler of its queue of commands.
#[derive(Debug)]
pub struct Commands<P> {
    participant: P,
    outbox: Outbox,
    retention: Retention,
}

/// Commands of a wave, by what is to be done with them.
struct Sorted<B> {
    /// Outcomes that are recorded, with where they go.
    recorded: Vec<(String, Outcome)>,
    new: Vec<Command<B>>,
    too_late: Vec<Command<B>>,
    /// Actions of new compensations that are recorded, so that they need no tombstone.
    actions: HashSet<Key>,
}

impl<P: Participant> Commands<P> {
    /// The handler of `participant`'s commands.
    #[must_use]
    pub fn new(participant: P, outbox: Outbox, retention: Retention) -> Self {
        Self {
            participant,
            outbox,
            retention,
        }
    }

    /// Answers one wave of commands.
    async fn answer(
        &self,
        db: &mut PgConnection,
        wave: &[Command<P::Body>],
    ) -> Result<Vec<Outgoing>, consumer::Error> {
        for _ in 0..MAX_RACES {
            if let Some(messages) = self.try_answer(db, wave).await? {
                crash::point("participant.committed");
                return Ok(messages);
            }
            info!("another replica was faster: starting the batch over");
        }
        Err(consumer::Error::Away(anyhow::anyhow!(
            "lost {MAX_RACES} races for the same commands"
        )))
    }

    /// `None`: another transaction recorded one of the keys meanwhile, and nothing happened here.
    async fn try_answer(
        &self,
        db: &mut PgConnection,
        wave: &[Command<P::Body>],
    ) -> Result<Option<Vec<Outgoing>>, consumer::Error> {
        let Sorted {
            mut recorded,
            new,
            too_late,
            actions,
        } = self.sort(db, wave).await?;
        let prepared = self.participant.prepare(&new, &too_late).await?;
        if !new.is_empty() {
            let mut work = UnitOfWork::new(db);
            let applied = self.participant.apply(&mut work, &new, &prepared).await?;
            self.outbox.enqueue(&mut work.writes, &applied.events);
            let (records, outcomes) = self.records(&new, applied.outcomes, &actions);
            idempotency::insert(&mut work.writes, &records);
            crash::point("participant.applied");
            match work.commit().await {
                Err(error) if idempotency::is_recorded(&error) => return Ok(None),
                committed => committed?,
            };
            self.outbox.hand_over(applied.events).await;
            let reply_to = new.into_iter().map(|command| command.reply_to);
            recorded.extend(reply_to.zip(outcomes));
        }
        let messages = recorded
            .iter()
            .flat_map(|(reply_to, outcome)| Outgoing::outcome(reply_to, outcome));
        Ok(Some(messages.collect()))
    }

    async fn sort(
        &self,
        db: &mut PgConnection,
        wave: &[Command<P::Body>],
    ) -> Result<Sorted<P::Body>, consumer::Error> {
        let keys = wave.iter().flat_map(|command| match command.key.direction {
            Direction::Action => vec![command.key.clone()],
            Direction::Compensation => vec![command.key.clone(), command.key.action()],
        });
        let mut found = idempotency::find(db, &keys.collect::<Vec<_>>()).await?;
        let mut sorted = Sorted {
            recorded: Vec::new(),
            new: Vec::new(),
            too_late: Vec::new(),
            actions: HashSet::new(),
        };
        for command in wave {
            if let Some(record) = found.remove(&command.key) {
                if record.tombstone {
                    sorted.too_late.push(command.clone());
                }
                let stored = Outcome::stored(record.outcome.as_deref().unwrap_or_default())
                    .map_err(|error| consumer::Error::Failed(error.into()))?;
                sorted.recorded.push((command.reply_to.clone(), stored));
            } else {
                let action = command.key.action();
                if command.key == action && self.retention.is_over_for(action.saga) {
                    return Err(consumer::Error::Failed(anyhow::anyhow!(
                        "{action} is older than RETENTION_DAYS: whether it was done is not known any more"
                    )));
                }
                if found.contains_key(&action) {
                    sorted.actions.insert(action);
                }
                sorted.new.push(command.clone());
            }
        }
        Ok(sorted)
    }

    /// What to record, each command's outcome and tombstones, and the outcomes. They are numbered in the order in
    /// which they exist.
    fn records(
        &self,
        new: &[Command<P::Body>],
        outcomes: Vec<Envelope>,
        actions: &HashSet<Key>,
    ) -> (Vec<Record>, Vec<Outcome>) {
        let mut records = Vec::with_capacity(new.len());
        let mut told = Vec::with_capacity(new.len());
        for (command, outcome) in new.iter().zip(outcomes) {
            let is_compensation = command.key.direction == Direction::Compensation;
            let action = command.key.action();
            let after_action = is_compensation && actions.contains(&action);
            // Of an old saga, the action may have been told, and the record of that dropped.
            let is_second = after_action || self.retention.is_over_for(action.saga);
            let sequence = if is_second { 2 } else { 1 };
            let outcome = numbered(outcome, sequence);
            records.push(record(command.key.clone(), &outcome, false));
            told.push(outcome);
            if is_compensation && !after_action {
                let outcome = self.participant.already_compensated(command);
                records.push(record(action, &numbered(outcome, sequence + 1), true));
            }
        }
        (records, told)
    }
}

fn numbered(mut outcome: Envelope, sequence: i32) -> Outcome {
    outcome.sequence = Some(sequence);
    Outcome::new(outcome)
}

fn record(key: Key, outcome: &Outcome, tombstone: bool) -> Record {
    Record {
        key,
        message_id: outcome.id(),
        outcome: Some(Arc::clone(outcome.json())),
        tombstone,
    }
}

impl<P: Participant> Handler for Commands<P> {
    type Input = Command<P::Body>;

    fn decode(&self, event: &Incoming) -> Result<Self::Input, Unreadable> {
        self.participant.decode(event)
    }

    async fn handle(
        &self,
        db: &mut PgConnection,
        batch: &[Self::Input],
    ) -> Result<Vec<Outgoing>, consumer::Error> {
        let mut messages = Vec::new();
        for wave in waves(batch, |command| command.key.saga) {
            messages.extend(self.answer(db, &wave).await?);
        }
        Ok(messages)
    }
}
