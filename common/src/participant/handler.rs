//! Commands, executed once and always replied to.

use std::{collections::HashSet, sync::Arc};

use sqlx::PgConnection;
use tracing::info;
use uuid::Uuid;

use super::{
    Command, Participant,
    idempotency::{self, Direction, Key, Record},
};
use crate::{
    amqp::{
        Message, Outgoing, Reply,
        consumer::{Error, Handled, Handler, Incoming},
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

/// A batch of commands, by what is to be done with them.
struct Triage<B> {
    /// Replies that are recorded, with where they go.
    recorded: Vec<(String, Reply)>,
    new: Vec<Command<B>>,
    /// Actions that were compensated before they came. Their replies are recorded too.
    too_late: Vec<Command<B>>,
    /// Actions of new compensations that are recorded, so that they need no tombstone.
    actions: HashSet<Key>,
    /// Commands that must not be executed any more, by message, and why.
    refused: Vec<(Uuid, anyhow::Error)>,
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
        commands: &[Command<P::Body>],
    ) -> Result<Handled, Error> {
        for _ in 0..MAX_RACES {
            if let Some(handled) = self.try_to_reply(db, commands).await? {
                crash::point("participant.committed");
                return Ok(handled);
            }
            info!("another replica was faster: starting the batch over");
        }
        Err(Error::Away(anyhow::anyhow!(
            "lost {MAX_RACES} races for the same commands"
        )))
    }

    /// `None`: another transaction recorded one of the keys meanwhile, and nothing happened here.
    async fn try_to_reply(
        &self,
        db: &mut PgConnection,
        commands: &[Command<P::Body>],
    ) -> Result<Option<Handled>, Error> {
        let Triage {
            mut recorded,
            new,
            too_late,
            actions,
            refused,
        } = self.triage(db, commands).await?;
        let prepared = self.participant.prepare(&new, &too_late).await?;
        if !new.is_empty() {
            let mut work = LazyTransaction::new(db);
            let output = self.participant.apply(&mut work, &new, &prepared).await?;
            self.outbox.enqueue(&mut work.writes, &output.events);
            let (records, replies) = self.records(&new, output.replies, &actions);
            idempotency::insert(&mut work.writes, &records);
            crash::point("participant.applied");
            match work.commit().await {
                Err(error) if idempotency::is_recorded(&error) => return Ok(None),
                committed => committed?,
            };
            self.outbox.hand_over(output.events).await;
            let reply_to = new.into_iter().map(|command| command.reply_to);
            recorded.extend(reply_to.zip(replies));
        }
        let outgoing = recorded
            .iter()
            .flat_map(|(reply_to, reply)| reply.messages(reply_to))
            .map(Outgoing::from);
        Ok(Some(Handled {
            outgoing: outgoing.collect(),
            refused,
        }))
    }

    async fn triage(
        &self,
        db: &mut PgConnection,
        commands: &[Command<P::Body>],
    ) -> Result<Triage<P::Body>, Error> {
        let keys = commands
            .iter()
            .flat_map(|command| match command.key.direction {
                Direction::Action => vec![command.key.clone()],
                Direction::Compensation => vec![command.key.clone(), command.key.action()],
            });
        let mut found = idempotency::find(db, &keys.collect::<Vec<_>>()).await?;
        let mut triage = Triage {
            recorded: Vec::new(),
            new: Vec::new(),
            too_late: Vec::new(),
            actions: HashSet::new(),
            refused: Vec::new(),
        };
        for command in commands {
            if let Some(record) = found.remove(&command.key) {
                if record.tombstone {
                    triage.too_late.push(command.clone());
                }
                let reply = stored_reply(&record).map_err(Error::Failed)?;
                triage.recorded.push((command.reply_to.clone(), reply));
            } else {
                let action = command.key.action();
                if command.key == action && self.retention.is_over_for(action.saga) {
                    let why = anyhow::anyhow!(
                        "{action} is older than RETENTION_DAYS: whether it was done is not known any more"
                    );
                    triage.refused.push((command.id, why));
                    continue;
                }
                if found.contains_key(&action) {
                    triage.actions.insert(action);
                }
                triage.new.push(command.clone());
            }
        }
        Ok(triage)
    }

    /// What to record, which is each command's reply and tombstones, and the replies. These are numbered in the order
    /// in which they exist.
    fn records(
        &self,
        new: &[Command<P::Body>],
        replies: Vec<Envelope>,
        actions: &HashSet<Key>,
    ) -> (Vec<Record>, Vec<Reply>) {
        let mut records = Vec::with_capacity(new.len());
        let mut numbered_replies = Vec::with_capacity(new.len());
        for (command, reply) in new.iter().zip(replies) {
            let is_compensation = command.key.direction == Direction::Compensation;
            let action = command.key.action();
            let after_action = is_compensation && actions.contains(&action);
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
    type Input = Command<P::Body>;

    fn decode(&self, message: &Incoming) -> Result<Self::Input, Unreadable> {
        self.participant.decode(message)
    }

    async fn handle(&self, db: &mut PgConnection, batch: &[Self::Input]) -> Result<Handled, Error> {
        let mut handled = Handled::default();
        for commands in one_per_saga(batch, |command| command.key.saga) {
            let Handled { outgoing, refused } = self.reply(db, &commands).await?;
            handled.outgoing.extend(outgoing);
            handled.refused.extend(refused);
        }
        Ok(handled)
    }

    async fn store(&self, messages: &[Message]) -> sqlx::Result<()> {
        self.outbox.store(messages).await
    }
}
