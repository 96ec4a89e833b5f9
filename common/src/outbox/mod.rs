//! The outbox: what a transaction wants to say is a row of the same transaction, until the broker has it.
//!
//! ```text
//! enqueue(tx) ─ commit ─ hand_over ──► publish ──► confirmed ──► row deleted
//!                 │                       └──► lost, refused, unroutable: the row stays
//!                 └─ crash, broker away ──► the sweep finds the row when its lease is over
//! ```
//!
//! Who commits a row hands it over to the relay in memory, so nothing is read back while all goes well. A row is
//! leased to that process for some seconds; after that, any replica's sweep may take it. A message may therefore
//! go out twice, and never not at all. Memory holds nothing that the table does not. All of it exists once for each
//! [`Lane`].

mod handover;
mod in_flight;
mod relay;
mod sweep;
mod table;
mod vacuum;

use std::time::Duration;

use sqlx::PgPool;
use tracing::warn;

pub use self::relay::Relay;
use self::{
    handover::Handover,
    relay::LaneRelay,
    table::{LEASE, Table, insert, release},
};
use crate::{
    amqp::{Broker, Lane, Outgoing},
    batch::Backlog,
    crash,
    db::{Kept, Writes},
};

/// What transactions leave messages in, and where they are handed over after the commit. Clones share the relay.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: PgPool,
    broker: Broker,
    backlog: Backlog,
    saga: Handover,
    events: Handover,
}

impl Outbox {
    /// An outbox in `db` and its relay, which is to be run.
    #[must_use]
    pub fn new(db: PgPool, broker: Broker) -> (Self, Relay) {
        let table = |lane| Table {
            db: db.clone(),
            lane,
        };
        let backlog = Backlog::default();
        let (saga, saga_relay) = LaneRelay::new(table(Lane::Saga), broker.clone(), backlog.clone());
        // No event makes a reply.
        let (events, events_relay) =
            LaneRelay::new(table(Lane::Events), broker.clone(), Backlog::default());
        let outbox = Self {
            db,
            broker,
            backlog,
            saga,
            events,
        };
        let relay = Relay {
            lanes: [saga_relay, events_relay],
        };
        (outbox, relay)
    }

    /// The broker that the messages go to.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The replies that wait.
    #[must_use]
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// A connection to its database, for a worker to keep.
    #[must_use]
    pub fn connection(&self) -> Kept {
        Kept::new(self.db.clone())
    }

    /// Adds messages to what the caller writes. Only events can be in an outbox.
    pub fn enqueue(&self, writes: &mut Writes, messages: &[Outgoing]) {
        // Without a broker nobody will be handed the rows, so they are leased to nobody.
        let lease = |message: &Outgoing| {
            let connected = self.broker.is_connected(message.lane());
            if connected { LEASE } else { Duration::ZERO }
        };
        insert(writes, messages, lease);
    }

    /// Has `messages`, which are committed, published soon.
    ///
    /// Waits while the broker is slower than the callers, but not while it is away or confirms nothing: the sweep
    /// publishes them then.
    pub async fn hand_over(&self, messages: Vec<Outgoing>) {
        if messages.is_empty() {
            return;
        }
        crash::point("outbox.committed");
        let (saga, events): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| message.lane() == Lane::Saga);
        for (lane, messages) in [(Lane::Saga, saga), (Lane::Events, events)] {
            if messages.is_empty() || !self.broker.is_connected(lane) {
                continue;
            }
            if let Err(left_over) = self.handover(lane).send(messages).await
                && let Err(error) = release(&self.db, &left_over).await
            {
                warn!(%error, "a sweep publishes rows only when their lease is over");
            }
        }
    }

    /// Takes messages over that have no transaction of their own, and that could not be published.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn keep(&self, messages: &[Outgoing]) -> sqlx::Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        // It may be there already: a command that comes twice is answered twice, with the same event.
        let mut writes = Writes::default();
        insert(&mut writes, messages, |_| Duration::ZERO);
        writes.execute(&self.db).await?;
        Ok(())
    }

    fn handover(&self, lane: Lane) -> &Handover {
        match lane {
            Lane::Saga => &self.saga,
            Lane::Events => &self.events,
        }
    }
}
