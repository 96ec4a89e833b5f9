//! What comes in on `inventory.commands`: commands of sagas, and questions from anyone.
//!
//! ```text
//! reserve, release, commit, restock ─► CommandHandler ─► Inventory: lock, decide, write ─► reply to replyto,
//!                                                                                    and an event to all
//! validate ─► validation ─► response to the AMQP reply_to
//! ```

use std::{collections::BTreeSet, future::ready, sync::Arc};

use common::{
    amqp::consumer::{Error, Handled, Handler, Incoming},
    amqp::{self, Outgoing},
    contract::{
        Envelope, Message, OrderId, Unreadable,
        inventory::{CommitStock, ReleaseStock, ReserveStock, Restock, StockItem, ValidateStock},
    },
    db::LazyTransaction,
    db::retention::Retention,
    metrics::Tally,
    outbox::Outbox,
    participant::idempotency::{Direction, Key},
    participant::{Call, CommandHandler, Output, Participant, Task},
};
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{
    batch::Batch,
    command::{Body, Command},
    commit, release,
    reservations::{self, Reservation, Status},
    reserve, restock, restocks, stock,
    validation::{self, Question},
};

/// The handler of `inventory.commands`.
#[derive(Debug)]
pub(crate) struct Commands {
    commands: CommandHandler<Inventory>,
}

/// A message on `inventory.commands`.
#[derive(Debug)]
pub(crate) enum Input {
    /// A command of a saga.
    Command(Task<Inventory>),
    /// A question from anyone.
    Validate(Box<Question>),
}

impl Commands {
    pub(crate) fn new(outbox: Outbox, retention: Retention) -> Self {
        Self {
            commands: CommandHandler::new(Inventory, outbox, retention),
        }
    }
}

impl Handler for Commands {
    type Input = Input;

    fn decode(&self, event: &Incoming) -> Result<Input, Unreadable> {
        if event.envelope.kind == ValidateStock::TYPE {
            Question::read(event).map(|question| Input::Validate(Box::new(question)))
        } else {
            self.commands.decode(event).map(Input::Command)
        }
    }

    async fn handle(
        &self,
        db: &mut PgConnection,
        batch: &[Input],
    ) -> Result<Handled<Input>, Error> {
        let mut commands = Vec::with_capacity(batch.len());
        let mut questions = Vec::new();
        for input in batch {
            match input {
                Input::Command(command) => commands.push(command.clone()),
                Input::Validate(question) => questions.push(question.as_ref()),
            }
        }
        let handled = self.commands.handle(db, &commands).await?;
        let mut handled = handled.map(Input::Command);
        let responses = validation::answer(db, &questions).await?;
        let responses = responses.into_iter().map(Outgoing::from);
        handled.outgoing.extend(responses);
        Ok(handled)
    }

    async fn store(&self, messages: &[amqp::Message]) -> sqlx::Result<()> {
        self.commands.store(messages).await
    }
}

/// The participant: each command has a file of its own.
#[derive(Debug)]
pub(crate) struct Inventory;

impl Participant for Inventory {
    type Body = Body;
    type Found = ();

    fn decode(&self, event: &Incoming) -> Result<Command, Unreadable> {
        let message = &event.envelope;
        match message.kind.as_str() {
            ReserveStock::TYPE => {
                let asked = reserve::read(message)?;
                Command::new(event, Direction::Action, Body::Reserve(asked))
            }
            ReleaseStock::TYPE => {
                let asked = message.data()?;
                Command::new(event, Direction::Compensation, Body::Release(asked))
            }
            CommitStock::TYPE => {
                let asked = message.data()?;
                Command::new(event, Direction::Action, Body::Commit(asked))
            }
            Restock::TYPE => {
                let asked = restock::read(message)?;
                Command::new(event, Direction::Action, Body::Restock(asked))
            }
            other => Err(Unreadable::UnknownType(other.to_owned())),
        }
    }

    /// Nobody else is to be asked.
    async fn calls(
        &self,
        _: &mut PgConnection,
        new: &[Arc<Command>],
        too_late: &[Arc<Command>],
    ) -> Result<Vec<Call<()>>, Error> {
        let commands = new.iter().chain(too_late);
        Ok(commands
            .map(|_| -> Call<()> { Box::pin(ready(Ok(()))) })
            .collect())
    }

    async fn apply(
        &self,
        work: &mut LazyTransaction<'_>,
        new: &[(&Command, &())],
    ) -> Result<Output, Error> {
        let new: Vec<_> = new.iter().map(|(command, ())| *command).collect();
        let mut batch = lock(work.transaction().await?, &new).await?;
        let replies = new.iter().enumerate().map(|(position, command)| {
            batch.stock.begin(position);
            execute(&mut batch, command)
        });
        let replies = replies.collect::<Result<_, _>>()?;
        let events = batch.write(work, &new);
        Ok(Output { replies, events })
    }

    fn already_compensated(&self, compensation: &Command) -> Envelope {
        reserve::already_compensated(compensation)
    }
}

fn execute(batch: &mut Batch, command: &Command) -> Result<Envelope, Error> {
    match &command.body {
        Body::Reserve(asked) => Ok(reserve::execute(batch, command, asked.items.clone())),
        Body::Release(asked) => release::execute(batch, command, asked.reason),
        Body::Commit(_) => commit::execute(batch, command),
        Body::Restock(asked) => restock::execute(batch, command, asked),
    }
}

/// What a batch of commands is about.
#[derive(Default)]
struct About<'a> {
    /// Actions whose reservations are looked at.
    actions: Vec<Key>,
    /// Orders whose reservations are looked at, all of them.
    orders: Vec<OrderId>,
    /// Of them, those that something comes back of.
    returning: Vec<OrderId>,
    /// Products that come back, also those that do not exist any more.
    back: BTreeSet<&'a str>,
    products: BTreeSet<&'a str>,
}

impl<'a> About<'a> {
    fn new(commands: &[&'a Command]) -> Self {
        let mut about = Self::default();
        for command in commands {
            match &command.body {
                Body::Reserve(asked) => about.products.extend(ids(&asked.items)),
                Body::Release(_) => about.actions.push(command.key.action()),
                Body::Commit(asked) => about.orders.push(asked.order_id),
                Body::Restock(asked) => {
                    about.orders.push(asked.order_id);
                    about.returning.push(asked.order_id);
                    about.back.extend(ids(&asked.items));
                }
            }
        }
        about.products.extend(&about.back);
        about
    }
}

fn ids(items: &[StockItem]) -> impl Iterator<Item = &str> {
    items.iter().map(|item| item.product_id.as_str())
}

/// Locks all that `commands` are about, in the order that all transactions keep: reservations, then products.
async fn lock(tx: &mut Transaction<'_, Postgres>, commands: &[&Command]) -> Result<Batch, Error> {
    let About {
        actions,
        orders,
        returning,
        back,
        mut products,
    } = About::new(commands);
    let held = reservations::lock(tx, &actions, &orders).await?;
    let restocks = restocks::Book::read(tx, &returning).await?;
    let is_held = |reservation: &&Reservation| reservation.status == Status::Reserved;
    products.extend(held.iter().filter(is_held).flat_map(|r| ids(&r.items)));
    stock::make(tx, &back.into_iter().collect::<Vec<_>>()).await?;
    let stock = stock::lock(tx, &products.into_iter().collect::<Vec<_>>()).await?;
    Ok(Batch {
        stock,
        reservations: reservations::Book::new(held),
        restocks,
        tally: Tally::default(),
    })
}
