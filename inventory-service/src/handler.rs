//! What comes in on `inventory.commands`: commands of sagas, and questions from anyone.
//!
//! ```text
//! reserve, release ─► CommandHandler ─► Inventory: lock, decide, write ─► reply to replyto, and an event to all
//! validate ─────────► validation ─► response to the AMQP reply_to
//! ```

use std::collections::{BTreeSet, HashMap};

use common::{
    amqp::{
        self, Outgoing,
        consumer::{Error, Handler, Incoming},
    },
    contract::{
        Envelope, Message, Reason, SagaId, Unreadable,
        inventory::{
            ReleaseStock, ReserveStock, StockItem, StockReleased, StockReservationFailed,
            StockReserved, ValidateStock,
        },
    },
    db::{LazyTransaction, Writes, retention::Retention},
    outbox::Outbox,
    participant::{Command, CommandHandler, Output, Participant, idempotency::Direction},
};
use sqlx::PgConnection;
use tracing::info;
use uuid::Uuid;

use crate::{
    SOURCE,
    reservations::{self, Reservation, Status},
    stock::{self, Stock},
    validation::{self, Question},
    wanted::merge,
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
    Command(Command<Body>),
    /// A question from anyone.
    Validate(Question),
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
        let mut outgoing = self.commands.handle(db, &commands).await?;
        let responses = validation::answer(db, &questions).await?;
        outgoing.extend(responses.into_iter().map(Outgoing::from));
        Ok(outgoing)
    }

    async fn store(&self, events: &[amqp::Message]) -> sqlx::Result<()> {
        self.commands.store(events).await
    }
}

/// The participant: reserves, and releases again.
#[derive(Debug)]
pub(crate) struct Inventory;

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

    fn decode(&self, event: &Incoming) -> Result<Command<Body>, Unreadable> {
        match event.envelope.kind.as_str() {
            ReserveStock::TYPE => {
                let ReserveStock { order_id, items } = event.envelope.data()?;
                let items = merge(&event.envelope, items)?;
                Command::new(event, Direction::Action, order_id, Body::Reserve(items))
            }
            ReleaseStock::TYPE => {
                let ReleaseStock { order_id, reason } = event.envelope.data()?;
                let body = Body::Release(reason);
                Command::new(event, Direction::Compensation, order_id, body)
            }
            other => Err(Unreadable::UnknownType(other.to_owned())),
        }
    }

    /// Nobody else is to be asked.
    async fn prepare(&self, _: &[Command<Body>], _: &[Command<Body>]) -> Result<(), Error> {
        Ok(())
    }

    async fn apply(
        &self,
        work: &mut LazyTransaction<'_>,
        new: &[Command<Body>],
        (): &(),
    ) -> Result<Output, Error> {
        let actions: Vec<_> = releases(new).map(|command| command.key.action()).collect();
        let tx = work.transaction().await?;
        let held = reservations::lock_by_action(tx, &actions).await?;
        let mut batch = Batch::new(stock::lock(tx, &products(new, &held)).await?, held);
        let replies = new.iter().map(|command| batch.execute(command));
        let replies = replies.collect::<Result<_, _>>()?;
        let events = batch.write(&mut work.writes);
        Ok(Output { replies, events })
    }

    fn already_compensated(&self, compensation: &Command<Body>) -> Envelope {
        let data = StockReservationFailed {
            order_id: compensation.order_id,
            items: Vec::new(),
            reason: Reason::ALREADY_COMPENSATED,
            detail: None,
        };
        compensation.reply(SOURCE, &data)
    }
}

fn releases(commands: &[Command<Body>]) -> impl Iterator<Item = &Command<Body>> {
    let is_release = |command: &&Command<Body>| matches!(command.body, Body::Release(_));
    commands.iter().filter(is_release)
}

/// Every product that `commands` and the reservations in `held` are about.
fn products<'a>(commands: &'a [Command<Body>], held: &'a [Reservation]) -> Vec<&'a str> {
    let wanted = commands.iter().flat_map(|command| match &command.body {
        Body::Reserve(items) => items.as_slice(),
        Body::Release(_) => &[],
    });
    let items = wanted.chain(held.iter().flat_map(|reservation| &reservation.items));
    let products: BTreeSet<_> = items.map(|item| item.product_id.as_str()).collect();
    products.into_iter().collect()
}

/// What a batch does, in memory until it is written.
struct Batch {
    stock: Stock,
    held: HashMap<SagaId, Reservation>,
    reserved: Vec<Reservation>,
    released: Vec<Uuid>,
}

impl Batch {
    fn new(stock: Stock, held: Vec<Reservation>) -> Self {
        Self {
            stock,
            held: held.into_iter().map(|r| (r.saga_id, r)).collect(),
            reserved: Vec::new(),
            released: Vec::new(),
        }
    }

    fn execute(&mut self, command: &Command<Body>) -> Result<Envelope, Error> {
        match &command.body {
            Body::Reserve(items) => Ok(self.reserve(command, items.clone())),
            Body::Release(reason) => self.release(command, *reason),
        }
    }

    fn reserve(&mut self, command: &Command<Body>, items: Vec<StockItem>) -> Envelope {
        let order_id = command.order_id;
        if let Err(refusal) = self.stock.reserve(&items) {
            let (reason, product_id) = (refusal.reason, refusal.product_id);
            info!(saga.id = %command.key.saga, %order_id, %reason, product_id, "refused to reserve");
            let data = StockReservationFailed {
                order_id,
                items,
                reason,
                detail: Some(product_id),
            };
            return command.reply(SOURCE, &data);
        }
        self.reserved.push(Reservation {
            id: Uuid::now_v7(),
            saga_id: command.key.saga,
            step: command.key.step.clone(),
            order_id,
            items: items.clone(),
            status: Status::Reserved,
        });
        command.reply(SOURCE, &StockReserved { order_id, items })
    }

    fn release(&mut self, command: &Command<Body>, reason: Reason) -> Result<Envelope, Error> {
        let saga = command.key.saga;
        let items = match self.held.get(&saga) {
            Some(reservation) if reservation.status == Status::Reserved => {
                let failed = |error: stock::Error| Error::Failed(error.into());
                self.stock.release(&reservation.items).map_err(failed)?;
                self.released.push(reservation.id);
                reservation.items.clone()
            }
            // The order refuses to be cancelled once it is shipped, so this is no race but a fault.
            Some(reservation) if reservation.status == Status::Committed => {
                let error = anyhow::anyhow!("the goods of saga {saga} have left: no release");
                return Err(Error::Failed(error));
            }
            _ => Vec::new(),
        };
        let data = StockReleased {
            order_id: command.order_id,
            items,
            reason,
        };
        Ok(command.reply(SOURCE, &data))
    }

    /// Adds all of it to `writes`, and returns the events to enqueue.
    fn write(self, writes: &mut Writes) -> Vec<amqp::Message> {
        let events = stock::write(writes, self.stock.changes());
        reservations::insert(writes, self.reserved);
        reservations::set_status(writes, &self.released, Status::Released);
        events
    }
}
