//! What comes in on `inventory.commands`: commands of sagas, and questions from anyone.
//!
//! ```text
//! reserve, release ─► participant::Commands ─► Inventory: lock, decide, write ─► outcome to replyto, and to all
//! validate ─────────► validation ─► answer to the AMQP reply_to
//! ```

use std::collections::BTreeSet;

use common::{
    contract::{
        Envelope, Message, Reason, Unreadable,
        inventory::{ReleaseStock, ReserveStock, StockItem, ValidateStock},
    },
    db::UnitOfWork,
    messaging::{
        Outgoing,
        consumer::{Error, Handler, Incoming},
        idempotency::Direction,
        outbox::Outbox,
        participant::{self, Applied, Participant},
        partitions::Retention,
    },
};
use sqlx::PgConnection;

use crate::{
    batch::Batch,
    release,
    reservations::{self, Book, Reservation},
    reserve, stock,
    validation::{self, Question},
    wanted::merge,
};

/// The handler of `inventory.commands`.
#[derive(Debug)]
pub(crate) struct Commands {
    commands: participant::Commands<Inventory>,
}

/// A message on `inventory.commands`.
#[derive(Debug)]
pub(crate) enum Input {
    /// A command of a saga.
    Command(Command),
    /// A question from anyone.
    Validate(Question),
}

impl Commands {
    pub(crate) fn new(outbox: Outbox, retention: Retention) -> Self {
        Self {
            commands: participant::Commands::new(Inventory, outbox, retention),
        }
    }
}

impl Handler for Commands {
    type Input = Input;

    fn decode(&self, event: &Incoming) -> Result<Input, Unreadable> {
        if event.envelope.kind == ValidateStock::TYPE {
            Question::read(event).map(Input::Validate)
        } else {
            self.commands.decode(event).map(Input::Command)
        }
    }

    async fn handle(&self, db: &mut PgConnection, batch: &[Input]) -> Result<Vec<Outgoing>, Error> {
        let mut commands = Vec::with_capacity(batch.len());
        let mut questions = Vec::new();
        for input in batch {
            match input {
                Input::Command(command) => commands.push(command.clone()),
                Input::Validate(question) => questions.push(question),
            }
        }
        let mut messages = self.commands.handle(db, &commands).await?;
        messages.extend(validation::answer(db, &questions).await?);
        Ok(messages)
    }
}

/// The participant: each command has a file of its own.
#[derive(Debug)]
pub(crate) struct Inventory;

/// A command of a saga.
pub(crate) type Command = participant::Command<Body>;

/// What a saga can ask for.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Hold these, each product once, by product.
    Reserve(Vec<StockItem>),
    /// Let go of what is held, and why.
    Release(Reason),
}

impl Participant for Inventory {
    type Body = Body;
    type Prepared = ();

    fn decode(&self, event: &Incoming) -> Result<Command, Unreadable> {
        let message = &event.envelope;
        match message.kind.as_str() {
            ReserveStock::TYPE => {
                let ReserveStock { order_id, items } = message.data()?;
                let body = Body::Reserve(merge(message, items)?);
                Command::new(event, Direction::Action, order_id, body)
            }
            ReleaseStock::TYPE => {
                let ReleaseStock { order_id, reason } = message.data()?;
                let body = Body::Release(reason);
                Command::new(event, Direction::Compensation, order_id, body)
            }
            other => Err(Unreadable::UnknownType(other.to_owned())),
        }
    }

    /// Nobody else is to be asked.
    async fn prepare(&self, _: &[Command], _: &[Command]) -> Result<(), Error> {
        Ok(())
    }

    async fn apply(
        &self,
        work: &mut UnitOfWork<'_>,
        new: &[Command],
        (): &(),
    ) -> Result<Applied, Error> {
        let actions: Vec<_> = releases(new).map(|command| command.key.action()).collect();
        let tx = work.transaction().await?;
        let held = reservations::lock_by_action(tx, &actions).await?;
        let mut batch = Batch {
            stock: stock::lock(tx, &products(new, &held)).await?,
            reservations: Book::new(held),
        };
        let outcomes = new.iter().map(|command| execute(&mut batch, command));
        let outcomes = outcomes.collect::<Result<_, _>>()?;
        let events = batch.write(&mut work.writes);
        Ok(Applied { outcomes, events })
    }

    fn already_compensated(&self, compensation: &Command) -> Envelope {
        reserve::already_compensated(compensation)
    }
}

fn execute(batch: &mut Batch, command: &Command) -> Result<Envelope, Error> {
    match &command.body {
        Body::Reserve(items) => Ok(reserve::execute(batch, command, items.clone())),
        Body::Release(reason) => release::execute(batch, command, *reason),
    }
}

fn releases(commands: &[Command]) -> impl Iterator<Item = &Command> {
    let is_release = |command: &&Command| matches!(command.body, Body::Release(_));
    commands.iter().filter(is_release)
}

/// Every product that `commands` and the reservations in `held` are about.
fn products<'a>(commands: &'a [Command], held: &'a [Reservation]) -> Vec<&'a str> {
    let wanted = commands.iter().flat_map(|command| match &command.body {
        Body::Reserve(items) => items.as_slice(),
        Body::Release(_) => &[],
    });
    let items = wanted.chain(held.iter().flat_map(|reservation| &reservation.items));
    let products: BTreeSet<_> = items.map(|item| item.product_id.as_str()).collect();
    products.into_iter().collect()
}
