//! A stranger: somebody else's service, which reads all public events from a durable queue of its own. Each must be what the
//! published document says, and of every order it must have every event, at least once.
//!
//! It knows nothing of commands and replies. A queue of its own for these would take what the broker gives back where their
//! own queue is missing. What a reply says, its event says too.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, Utc};
use common::amqp::connect_to;
use common::contract::{Envelope, topology};
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use sqlx::{PgPool, Row as _};
use test_support::contract::{self, Contract};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// The stranger's queue.
pub(super) const QUEUE: &str = "torture.stranger";
/// What it is bound for: all events.
const ALL: &str = "#";
const AGAIN: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long before RabbitMQ lost its data an event may have been made that was lost with it, and how long after that the
/// stranger had no queue.
const BEFORE: chrono::TimeDelta = chrono::TimeDelta::seconds(60);
const AFTER: chrono::TimeDelta = chrono::TimeDelta::seconds(15);

/// What came.
type Seen = Arc<Mutex<Came>>;

#[derive(Debug, Default)]
struct Came {
    /// The sequence numbers of the events about orders, by order.
    orders: HashMap<Uuid, BTreeSet<i32>>,
    /// All events, compared with the document.
    compared: contract::Heard,
}

/// A stranger at work. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Stranger {
    seen: Seen,
    /// Whether its queue is there.
    bound: watch::Receiver<bool>,
    reading: JoinHandle<()>,
}

/// What the stranger has of the orders' events.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Events that came, each counted once.
    pub(super) events: usize,
    /// Events that did not come, and that RabbitMQ may have lost with all of its data.
    pub(super) excused: usize,
    /// Events that did not come: the order and the number.
    pub(super) missing: Vec<(Uuid, i32)>,
    /// All events, compared with the document.
    pub(super) compared: contract::Heard,
}

impl Stranger {
    /// Begins to read; when this ends, its queue is bound.
    ///
    /// # Errors
    /// The broker does not answer.
    pub(super) async fn start(url: String) -> Result<Self> {
        let seen = Seen::default();
        let (is_bound, bound) = watch::channel(false);
        let reading = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                let contract = Contract::new();
                loop {
                    // Whatever goes wrong is a fault that somebody inflicts: nothing is acked before it is noted.
                    let _ = read(&url, (&contract, &seen), &is_bound).await;
                    is_bound.send_replace(false);
                    sleep(AGAIN).await;
                }
            }
        });
        let stranger = Self {
            seen,
            bound,
            reading,
        };
        stranger.ready().await?;
        Ok(stranger)
    }

    /// Waits until its queue is there, as after RabbitMQ has lost all of its data.
    ///
    /// # Errors
    /// The broker does not answer.
    pub(super) async fn ready(&self) -> Result<()> {
        let mut bound = self.bound.clone();
        let bound = timeout(PATIENCE, bound.wait_for(|bound| *bound)).await;
        bound.context("the stranger's queue cannot be bound")??;
        Ok(())
    }

    /// What it has of the events of all orders, when RabbitMQ lost its data at these times.
    ///
    /// # Errors
    /// The database does not answer.
    pub(super) async fn heard(&self, order: &PgPool, wiped: &[DateTime<Utc>]) -> Result<Heard> {
        let rows = sqlx::query("SELECT id, event_sequence, created_at, updated_at FROM orders")
            .fetch_all(order)
            .await?;
        let seen = self.seen.lock().expect("nobody panics with it");
        let none = BTreeSet::new();
        let mut heard = Heard {
            compared: seen.compared.clone(),
            ..Heard::default()
        };
        for row in &rows {
            let id: Uuid = row.get("id");
            let came = seen.orders.get(&id).unwrap_or(&none);
            let (from, to): (DateTime<Utc>, DateTime<Utc>) =
                (row.get("created_at"), row.get("updated_at"));
            let may_be_lost = wiped
                .iter()
                .any(|at| from <= *at + AFTER && to >= *at - BEFORE);
            for number in 1..=row.get::<i32, _>("event_sequence") {
                if came.contains(&number) {
                    heard.events += 1;
                } else if may_be_lost {
                    heard.excused += 1;
                } else {
                    heard.missing.push((id, number));
                }
            }
        }
        Ok(heard)
    }

    /// How many events have come so far.
    pub(super) fn count(&self) -> usize {
        let seen = self.seen.lock().expect("nobody panics with it");
        seen.compared.count()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Reads until the connection breaks.
async fn read(
    url: &str,
    (contract, seen): (&Contract, &Seen),
    bound: &watch::Sender<bool>,
) -> Result<()> {
    let connection = timeout(PATIENCE, connect_to(url)).await??;
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    channel
        .queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), arguments)
        .await?;
    // After all was lost, the exchange is there when a service has declared it.
    channel
        .queue_bind(
            QUEUE.into(),
            topology::EVENTS.into(),
            ALL.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    bound.send_replace(true);
    channel.basic_qos(500, BasicQosOptions::default()).await?;
    let mut events = channel
        .basic_consume(
            QUEUE.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    while let Some(event) = events.next().await {
        let event = event?;
        note(&event, contract, seen)?;
        event.acker.ack(BasicAckOptions::default()).await?;
    }
    bail!("the subscription ended")
}

fn note(delivery: &Delivery, contract: &Contract, seen: &Seen) -> Result<()> {
    let event = Envelope::parse(&delivery.data)?;
    let to = match delivery.exchange.as_str() {
        // Whoever looks for a queue's leader takes a message out of it, and puts it back.
        topology::DEFAULT => (topology::EVENTS, event.kind.as_str()),
        exchange => (exchange, delivery.routing_key.as_str()),
    };
    let compared = contract.check(to, &delivery.properties, &delivery.data);
    let mut seen = seen.lock().expect("nobody panics with it");
    seen.compared.note(compared);
    if event.kind.starts_with("order.") {
        let order: Uuid = event.subject.parse()?;
        let number = event.sequence;
        let number = number.context("an event of an order has a number")?;
        seen.orders.entry(order).or_default().insert(number);
    }
    Ok(())
}
