//! Commands, executed once and always replied to.

use std::{collections::HashMap, sync::Arc};

use sqlx::PgConnection;
use tracing::{debug, info};
use uuid::Uuid;

use super::{
    Command, Participant, Task,
    idempotency::{self, Direction, Key, Record},
    task::{Asked, Open, Recorded},
};
use crate::{
    amqp::{
        Message, Outgoing, Reply,
        consumer::{Error, Handled, Handler, Incoming, PREFETCH},
    },
    batch::one_per_saga,
    contract::{Envelope, Unreadable},
    crash,
    db::{LazyTransaction, retention::Retention},
    outbox::Outbox,
};

/// Times that a batch is started over before it counts as a dependency that is away.
const MAX_RACES: usize = 5;

/// A [`Participant`] as the handler of its queue of commands.
#[derive(Debug)]
pub struct CommandHandler<P> {
    participant: P,
    outbox: Outbox,
    retention: Retention,
}

/// A batch of commands, by what is to be done with them. Those that others are being asked about are not in it.
struct Triage<'t, P: Participant> {
    /// Replies that are recorded, with where they go.
    recorded: Vec<(&'t str, Reply)>,
    /// Commands that others have answered about.
    new: Vec<New<'t, P>>,
    /// Commands that must not be executed any more, by message, and why.
    refused: Vec<(Uuid, anyhow::Error)>,
    /// Commands that others could not be asked about, by message, and why.
    postponed: Vec<(Uuid, anyhow::Error)>,
}

/// A command that is to be done.
struct New<'t, P: Participant> {
    command: &'t Command<P::Body>,
    recorded: Recorded,
    found: &'t P::Found,
}

impl<P: Participant> CommandHandler<P> {
    /// The handler of `participant`'s commands.
    #[must_use]
    pub fn new(participant: P, outbox: Outbox, retention: Retention) -> Self {
        Self {
            participant,
            outbox,
            retention,
        }
    }

    /// Replies to commands, no two of which belong to the same saga.
    async fn reply(
        &self,
        db: &mut PgConnection,
        tasks: Vec<Task<P>>,
    ) -> Result<Handled<Task<P>>, Error> {
        let mut tasks: Vec<_> = tasks.into_iter().map(Open::from).collect();
        for _ in 0..MAX_RACES {
            if let Some(mut handled) = self.try_to_reply(db, &mut tasks).await? {
                crash::point("participant.committed");
                let later = tasks
                    .iter_mut()
                    .filter_map(|task| Some((task.command.id, task.later()?)));
                handled.later.extend(later);
                return Ok(handled);
            }
            info!("another replica was faster: starting the batch over");
            for task in &mut tasks {
                task.known = None;
            }
        }
        Err(Error::Away(anyhow::anyhow!(
            "lost {MAX_RACES} races for the same commands"
        )))
    }

    /// `None`: another transaction recorded one of the keys meanwhile, and nothing happened here.
    async fn try_to_reply(
        &self,
        db: &mut PgConnection,
        tasks: &mut [Open<P>],
    ) -> Result<Option<Handled<Task<P>>>, Error> {
        self.look_up(db, tasks).await?;
        self.ask(db, tasks).await?;
        let Triage {
            recorded,
            new,
            refused,
            postponed,
        } = self.triage(tasks);
        let mut replies = recorded;
        if !new.is_empty() {
            let mut work = LazyTransaction::new(db);
            let commands: Vec<_> = new.iter().map(|one| (one.command, one.found)).collect();
            let output = self.participant.apply(&mut work, &commands).await?;
            let enqueued = self.outbox.enqueue(&mut work.writes, output.events);
            let (records, new_replies) = self.records(&new, output.replies);
            idempotency::insert(&mut work.writes, &records);
            crash::point("participant.applied");
            match work.commit().await {
                Err(error) if idempotency::is_recorded(&error) => return Ok(None),
                committed => committed?,
            };
            self.outbox.hand_over(enqueued).await;
            let reply_to = new.iter().map(|one| one.command.reply_to.as_str());
            replies.extend(reply_to.zip(new_replies));
        }
        for (reply_to, reply) in &replies {
            say_answered(reply_to, reply.envelope());
        }
        let outgoing = replies
            .iter()
            .flat_map(|(reply_to, reply)| reply.messages(reply_to))
            .map(Outgoing::from);
        Ok(Some(Handled {
            outgoing: outgoing.collect(),
            refused,
            postponed,
            later: Vec::new(),
        }))
    }

    /// Finds out what is recorded.
    async fn look_up(&self, db: &mut PgConnection, tasks: &mut [Open<P>]) -> Result<(), Error> {
        let mut unknown: Vec<_> = tasks
            .iter_mut()
            .filter(|task| task.known.is_none())
            .collect();
        let keys = unknown.iter().flat_map(|task| {
            let key = &task.command.key;
            match key.direction {
                Direction::Action => vec![key.clone()],
                Direction::Compensation => vec![key.clone(), key.action()],
            }
        });
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() {
            return Ok(());
        }
        let found = idempotency::find(db, &keys).await?;
        for task in &mut unknown {
            let (recorded, reply) = recorded(&found, &task.command.key)?;
            task.know(recorded, reply);
        }
        Ok(())
    }

    /// Asks others about what is new, and about what came too late: a slower or crashed attempt may have done it.
    async fn ask(&self, db: &mut PgConnection, tasks: &mut [Open<P>]) -> Result<(), Error> {
        let (mut new, mut too_late) = (Vec::new(), Vec::new());
        for task in tasks.iter_mut() {
            let recorded = task.recorded();
            match task.asked {
                Asked::No if recorded.tombstone => too_late.push(task),
                Asked::No if !recorded.this && !self.is_forgotten(&task.command) => new.push(task),
                _ => {}
            }
        }
        if new.is_empty() && too_late.is_empty() {
            return Ok(());
        }
        let command = |task: &&mut Open<P>| Arc::clone(&task.command);
        let new_commands: Vec<_> = new.iter().map(command).collect();
        let late_commands: Vec<_> = too_late.iter().map(command).collect();
        let calls = self.participant.calls(db, &new_commands, &late_commands);
        let tasks = new.into_iter().chain(too_late);
        for (task, call) in tasks.zip(calls.await?) {
            task.ask(call);
        }
        Ok(())
    }

    /// Whether nobody knows any more whether the action was done.
    fn is_forgotten(&self, command: &Command<P::Body>) -> bool {
        command.key.direction == Direction::Action && self.retention.is_over_for(command.key.saga)
    }

    fn triage<'t>(&self, tasks: &'t [Open<P>]) -> Triage<'t, P> {
        let mut triage = Triage {
            recorded: Vec::new(),
            new: Vec::new(),
            refused: Vec::new(),
            postponed: Vec::new(),
        };
        for task in tasks {
            let command = &task.command;
            let reply = task.known.as_ref().and_then(|(_, reply)| reply.clone());
            let recorded = task.recorded();
            match (&task.asked, reply) {
                (Asked::Waiting(..), _) => {}
                (Asked::Answered(answer), reply) => match (&answer.found, reply) {
                    (Ok(_), Some(reply)) => triage.recorded.push((&command.reply_to, reply)),
                    (Ok(found), None) => triage.new.push(New {
                        command,
                        recorded,
                        found,
                    }),
                    (Err(Error::Failed(why)), _) => triage.refused.push((command.id, said(why))),
                    (Err(Error::Away(why) | Error::Slow(why)), _) => {
                        triage.postponed.push((command.id, said(why)));
                    }
                },
                (Asked::No, Some(reply)) => triage.recorded.push((&command.reply_to, reply)),
                (Asked::No, None) => {
                    let why = anyhow::anyhow!(
                        "{} is older than RETENTION_DAYS: whether it was done is not known any more",
                        command.key
                    );
                    triage.refused.push((command.id, why));
                }
            }
        }
        triage
    }

    /// What to record, which is each command's reply and tombstones, and the replies. These are numbered in the order
    /// in which they exist.
    fn records(&self, new: &[New<'_, P>], replies: Vec<Envelope>) -> (Vec<Record>, Vec<Reply>) {
        let mut records = Vec::with_capacity(new.len());
        let mut numbered_replies = Vec::with_capacity(new.len());
        for (one, reply) in new.iter().zip(replies) {
            let New {
                command, recorded, ..
            } = one;
            let is_compensation = command.key.direction == Direction::Compensation;
            let action = command.key.action();
            let after_action = is_compensation && recorded.action;
            // Of an old saga, the action may have had its reply, and the record of that may have been dropped.
            let is_second = after_action || self.retention.is_over_for(action.saga);
            let sequence = if is_second { 2 } else { 1 };
            let reply = numbered(reply, sequence);
            records.push(record(command.key.clone(), &reply, false));
            numbered_replies.push(reply);
            if is_compensation && !after_action {
                let reply = self.participant.already_compensated(command);
                records.push(record(action, &numbered(reply, sequence + 1), true));
            }
        }
        (records, numbered_replies)
    }
}

/// A line for whoever looks at each message.
fn say_answered(reply_to: &str, reply: &Envelope) {
    debug!(
        reply_to,
        message.id = %reply.id,
        message.kind = reply.kind,
        saga.id = reply.sagaid.map(tracing::field::display),
        saga.step = reply.sagastep,
        correlation_id = reply.correlationid,
        "answered"
    );
}

/// What `found` says about the command under `key`, and its reply.
fn recorded(found: &HashMap<Key, Record>, key: &Key) -> Result<(Recorded, Option<Reply>), Error> {
    let this = found.get(key);
    let recorded = Recorded {
        this: this.is_some(),
        tombstone: this.is_some_and(|record| record.tombstone),
        action: key.direction == Direction::Compensation && found.contains_key(&key.action()),
    };
    let reply = this.map(stored_reply).transpose();
    Ok((recorded, reply.map_err(Error::Failed)?))
}

/// An error that is said again.
fn said(error: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

fn stored_reply(record: &Record) -> anyhow::Result<Reply> {
    let Some(json) = &record.reply else {
        anyhow::bail!("{} is recorded without a reply", record.key);
    };
    Ok(Reply::stored(json)?)
}

fn numbered(mut reply: Envelope, sequence: i32) -> Reply {
    reply.sequence = Some(sequence);
    Reply::new(reply)
}

fn record(key: Key, reply: &Reply, tombstone: bool) -> Record {
    Record {
        key,
        message_id: reply.id(),
        reply: Some(Arc::clone(reply.json())),
        tombstone,
    }
}

impl<P: Participant> Handler for CommandHandler<P> {
    type Input = Task<P>;

    fn decode(&self, message: &Incoming) -> Result<Self::Input, Unreadable> {
        self.participant.decode(message).map(Task::new)
    }

    async fn handle(
        &self,
        db: &mut PgConnection,
        batch: &[Task<P>],
    ) -> Result<Handled<Task<P>>, Error> {
        let mut handled = Handled::default();
        for tasks in one_per_saga(batch, |task| task.command.key.saga) {
            handled.extend(self.reply(db, tasks).await?);
        }
        Ok(handled)
    }

    fn prefetch(&self) -> u16 {
        // Half as many again: while they are asked about, others are acked.
        let enough = |concurrency: u16| concurrency.saturating_add(concurrency / 2).max(2);
        self.participant
            .concurrency()
            .map_or(PREFETCH, |concurrency| enough(concurrency).min(PREFETCH))
    }

    async fn ready(&self) {
        self.participant.ready().await;
    }

    fn is_held_up(&self) -> bool {
        self.participant.is_held_up()
    }

    async fn store(&self, messages: &[Message]) -> sqlx::Result<()> {
        self.outbox.store(messages).await
    }
}
