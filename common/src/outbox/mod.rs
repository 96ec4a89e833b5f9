//! The outbox: what a transaction wants to say is a row of the same transaction, until the broker has it.
//!
//! ```text
//! enqueue(tx) ─ commit ─ hand_over ──► publish ──► confirmed ──► row deleted
//!                 │                       └──► lost, refused, unroutable: the row waits
//!                 └─ crash, broker away ──► the row waits ──► the sweep publishes it
//! ```
//!
//! Whoever commits a row publishes it, so nothing is read back while all goes well. The row is leased to that process
//! for some seconds; after that, any replica's sweep may take it. A message may therefore go out twice, but it always
//! goes out. Memory holds nothing that the table does not.
//!
//! Each [`Destination`] has a line of its own, and waits for nobody else: rows for one that is away, confirms nothing or
//! takes no more are in a table beside the others, by destination, and each is swept by itself. Commands that their
//! participant does not take stay there until it does: `flow` says when.

mod backlog;
mod flow;
mod in_flight;
mod relay;
mod route;
mod sweep;
mod table;
mod vacuum;

use std::time::Duration;

use sqlx::PgPool;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::{
    backlog::Backlog,
    relay::Relay,
    route::{Held, Route, Unsent},
};
use self::{
    flow::Flow,
    in_flight::{InFlight, Results},
    table::{Table, insert, insert_waiting},
};
use crate::{
    amqp::{Broker, Destination, Lane, Message, NotPublished},
    batch::AdmissionControl,
    contract::topology,
    crash,
    db::Writes,
    telemetry::{Span, is_collected},
};

/// How long whoever asks about a queue waits for the answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// Batches of rows, of which it is known what became of them, that wait to be settled.
const SETTLED_MAX: usize = 64;

/// What transactions leave messages in, and where they are handed over after the commit. Clones have the same relay.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: PgPool,
    broker: Broker,
    flow: Flow,
    in_flight: TaskTracker,
    /// Where the relay learns what became of rows.
    settled: mpsc::Sender<Results>,
}

/// What a transaction enqueued and this process publishes after the commit. What a sweep publishes is not in it: it would
/// go out twice.
#[derive(Debug)]
#[must_use = "what is not handed over waits until a sweep finds it"]
pub struct Enqueued {
    messages: Vec<Message>,
    /// The creation of all that it enqueued.
    created: Vec<Span>,
}

impl Outbox {
    /// An outbox in `db` and its relay, which is to be run. Its sweep of commands asks `admission`.
    #[must_use]
    pub fn new(db: PgPool, broker: Broker, admission: AdmissionControl) -> (Self, Relay) {
        let flow = Flow::default();
        let in_flight = TaskTracker::new();
        let (settled, results) = mpsc::channel(SETTLED_MAX);
        let relay = Relay {
            table: Table { db: db.clone() },
            broker: broker.clone(),
            flow: flow.clone(),
            admission,
            in_flight: in_flight.clone(),
            results,
        };
        let outbox = Self {
            db,
            broker,
            flow,
            in_flight,
            settled,
        };
        (outbox, relay)
    }

    /// Adds `messages` to what the caller writes. After the commit, the result is to be handed over.
    pub fn enqueue(&self, writes: &mut Writes, mut messages: Vec<Message>) -> Enqueued {
        let created = match is_collected() {
            true => messages.iter_mut().map(Message::take_created).collect(),
            false => Vec::new(),
        };
        let (now, later): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| self.goes_out(message.destination()));
        insert(writes, &now);
        insert_waiting(writes, &later);
        Enqueued {
            messages: now,
            created,
        }
    }

    /// Whether what is for `destination` is published at once.
    fn goes_out(&self, destination: &Destination) -> bool {
        self.flow.is_open(destination) && self.broker.takes(destination)
    }

    /// How long the oldest command to one of `participants` has waited here, because they take none or their queues are
    /// full.
    #[must_use]
    pub fn waited(&self, participants: &[&str]) -> Duration {
        self.flow.waited(participants)
    }

    /// What a command to `participant` has before it. Asks the broker, and does not wait for long.
    pub async fn route(&self, participant: &str) -> Route {
        let is_connected = self.broker.is_connected(Lane::Saga);
        let queue = match is_connected {
            true => {
                let queue = topology::commands_queue(participant);
                let look = timeout(LOOK_TIMEOUT, self.broker.look(&queue));
                look.await.ok().flatten()
            }
            false => None,
        };
        Route {
            is_connected,
            held: self.flow.held(participant),
            queue,
        }
    }

    /// Holds back commands to `participants` from now on, and to nobody else: what was held back before goes out, the oldest
    /// first.
    pub fn hold_back(&self, participants: &[String]) {
        self.flow.pause(participants);
    }

    /// How much is in the outbox, and for how long.
    ///
    /// # Errors
    /// The database failed.
    pub async fn backlog(&self) -> sqlx::Result<Backlog> {
        backlog::look(&self.db).await
    }

    /// The message with this id, if it has not left, or has and is not confirmed.
    ///
    /// # Errors
    /// The database failed.
    pub async fn unsent(&self, id: Uuid) -> sqlx::Result<Option<Unsent>> {
        route::unsent(&self.db, id).await
    }

    /// Publishes what was enqueued, which is committed, and sees to what becomes of it.
    ///
    /// Waits while the broker is slower than the callers, but not while it is away or confirms nothing: the sweep
    /// publishes the messages then.
    pub async fn hand_over(&self, Enqueued { messages, created }: Enqueued) {
        created.into_iter().for_each(Span::end);
        if messages.is_empty() {
            return;
        }
        crash::point("outbox.committed");
        let (messages, late): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| self.goes_out(message.destination()));
        if !late.is_empty() {
            // Since the row was written, its destination has stopped taking messages. It need not wait for its lease.
            let results = late
                .iter()
                .map(|one| (one.row_id(), Err(NotPublished::Lost)));
            let (results, settled) = (results.collect(), self.settled.clone());
            self.in_flight
                .spawn(async move { settled.send(results).await });
        }
        if messages.is_empty() {
            return;
        }
        let batch_max = self.broker.batch_max();
        self.flow.published(&messages, batch_max);
        let published = InFlight::publish(&self.broker, messages, batch_max).await;
        self.in_flight.spawn(published.settle(self.settled.clone()));
    }

    /// Stores messages that no transaction enqueued, because they could not be published, or are to go out after a
    /// pause. A sweep publishes them.
    ///
    /// # Errors
    /// The database failed.
    pub async fn store(&self, messages: &[Message]) -> sqlx::Result<()> {
        // A row may be there already: a command that comes twice has the same reply twice, and so the same event.
        let mut writes = Writes::default();
        insert_waiting(&mut writes, messages);
        writes.execute(&self.db).await?;
        Ok(())
    }
}
