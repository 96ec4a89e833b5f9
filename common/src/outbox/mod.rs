//! The outbox: what a transaction wants to say is a row of the same transaction, until the broker has it.
//!
//! ```text
//! enqueue(tx) ─ commit ─ hand_over ──► publish ──► confirmed ──► row deleted
//!                 │                       └──► lost, refused, unroutable: the row stays
//!                 └─ crash, broker away ──► the sweep finds the row when its lease is over
//! ```
//!
//! Whoever commits a row hands it over to the relay in memory, so nothing is read back while all goes well. A row is
//! leased to that process for some seconds; after that, any replica's sweep may take it. A message may therefore
//! go out twice, but it always goes out. Memory holds nothing that the table does not. Each [`Lane`] has a relay and a
//! sweep of its own. Commands that their participant does not take stay rows until it does: `flow` says when.

mod flow;
mod handover;
mod in_flight;
mod relay;
mod sweep;
mod table;
mod vacuum;

use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::mpsc;

pub use self::relay::Relay;
use self::{
    flow::Flow,
    handover::Handover,
    in_flight::Results,
    relay::LaneRelay,
    table::{LEASE, Table, insert},
};
use crate::{
    amqp::{Broker, Lane, Lanes, Message, NotPublished},
    batch::AdmissionControl,
    crash,
    db::Writes,
};

/// Batches of rows, of which it is known what became of them, that wait to be settled.
const SETTLED_MAX: usize = 64;

/// What transactions leave messages in, and where they are handed over after the commit. Clones share the relay.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: PgPool,
    broker: Broker,
    flow: Flow,
    handovers: Lanes<Handover>,
    /// Where the relay learns what became of rows.
    settled: mpsc::WeakSender<Results>,
}

impl Outbox {
    /// An outbox in `db` and its relay, which is to be run. Its sweep of commands asks `admission`.
    #[must_use]
    pub fn new(db: PgPool, broker: Broker, admission: AdmissionControl) -> (Self, Relay) {
        let flow = Flow::default();
        let relay = |lane, flow, admission| {
            let table = Table {
                db: db.clone(),
                lane,
            };
            LaneRelay::new(table, broker.clone(), flow, admission)
        };
        let (saga, saga_relay) = relay(Lane::Saga, flow.clone(), admission);
        // No public event causes a reply or is for a participant, so nothing holds up these.
        let (events, events_relay) =
            relay(Lane::Events, Flow::default(), AdmissionControl::default());
        let (settled, results) = mpsc::channel(SETTLED_MAX);
        let outbox = Self {
            db,
            broker,
            flow,
            handovers: Lanes { saga, events },
            settled: settled.downgrade(),
        };
        let relays = Lanes {
            saga: saga_relay,
            events: events_relay,
        };
        let relay = Relay {
            relays,
            settled,
            results,
        };
        (outbox, relay)
    }

    /// Adds `messages` to what the caller writes. After the commit they are to be handed over.
    pub fn enqueue(&self, writes: &mut Writes, messages: &[Message]) {
        // Rows that nobody will be handed are leased to nobody.
        let lease = |message: &Message| {
            let handed_over =
                self.broker.is_connected(message.lane()) && self.flow.is_open(message);
            if handed_over { LEASE } else { Duration::ZERO }
        };
        insert(writes, messages, lease);
    }

    /// How long the oldest command to one of `participants` has waited here, because they take none or their queues are
    /// full.
    #[must_use]
    pub fn waited(&self, participants: &[&str]) -> Duration {
        self.flow.waited(participants)
    }

    /// Has `messages`, which are committed, published soon.
    ///
    /// Waits while the broker is slower than the callers, but not while it is away or confirms nothing: the sweep
    /// publishes them then.
    pub async fn hand_over(&self, mut messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        crash::point("outbox.committed");
        messages.retain(|message| self.flow.is_open(message));
        let Lanes { saga, events } = Lanes::sort(messages, Message::lane);
        for (lane, messages) in [(Lane::Saga, saga), (Lane::Events, events)] {
            if messages.is_empty() || !self.broker.is_connected(lane) {
                continue;
            }
            if let Err(left_over) = self.handovers.get(lane).send(messages).await {
                self.give_up(&left_over);
            }
        }
    }

    /// Has the leases of rows ended that nobody is going to publish, so that the next sweep does. Whoever commits holds a
    /// connection of the pool and must not wait for another one: this is done by the relay, or by time.
    fn give_up(&self, messages: &[Message]) {
        let lost = |message: &Message| (message.row_id(), Err(NotPublished::Lost));
        if let Some(settled) = self.settled.upgrade() {
            // Where it is full, the database is slow, and the leases end by themselves.
            let _ = settled.try_send(messages.iter().map(lost).collect());
        }
    }

    /// Stores messages that no transaction enqueued, because they could not be published, or are to go out after a
    /// pause. A sweep publishes them.
    ///
    /// # Errors
    /// The database failed.
    pub async fn store(&self, messages: &[Message]) -> sqlx::Result<()> {
        // A row may be there already: a command that comes twice has the same reply twice, and so the same event.
        let mut writes = Writes::default();
        insert(&mut writes, messages, Message::pause);
        writes.execute(&self.db).await?;
        Ok(())
    }
}
