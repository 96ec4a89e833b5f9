//! Placing orders: those that arrive together share a transaction.
//!
//! A request hands its order to the intake worker and waits for the answer. The worker takes what is there, so a
//! lone order does not wait for others, and a thousand at once need a few commits. What a client does while it
//! waits, hanging up for example, cannot touch the transaction.

use std::{collections::HashMap, sync::Arc};

use common::{
    amqp::Message,
    batch::{AdmissionControl, BATCH_MAX, BatchingWindow},
    contract::order::OrderCreated,
    crash,
    db::{self, PinnedConnection, Writes},
    outbox::Outbox,
};
use metrics::counter;
use sqlx::{PgExecutor, PgPool, Row, types::Json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    orders::Order,
    saga::{
        Definition,
        create_order::CREATE_ORDER,
        saga_log::{self, Decision, Saga},
        transition,
    },
};

/// Orders that wait for a transaction at most; more requests wait to hand theirs in.
const WAITING_MAX: usize = 1024;
/// Times that orders are tried again because another replica was faster with a key.
const MAX_RACES: usize = 3;
/// The saga that executes new orders.
const DEFINITION: &Definition = &CREATE_ORDER;

/// An order to be placed.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// The order, with event sequence 0.
    pub(crate) order: Order,
    /// The client's key, and the hash of what came with it.
    pub(crate) idempotency: Option<(String, Vec<u8>)>,
    /// Ties together all that the request causes.
    pub(crate) correlation_id: String,
    /// W3C trace context of the request.
    pub(crate) traceparent: Option<String>,
}

/// Orders that were placed with a key, by key, and their requests' hashes.
type Known = HashMap<String, (Vec<u8>, Order)>;

/// What became of a placement.
#[derive(Clone, Debug)]
pub(crate) enum Placed {
    /// The order is placed.
    New(Box<Order>),
    /// The same request placed this order before.
    Before(Box<Order>),
    /// The key came with another request before.
    KeyReused,
}

/// Why an order was not placed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database's, shared by all orders of the batch.
    #[error("placing the order")]
    Database(#[source] Arc<sqlx::Error>),
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
}

type Answer = oneshot::Sender<Result<Placed, Error>>;

/// Where requests hand in orders.
#[derive(Clone, Debug)]
pub(crate) struct Intake(mpsc::Sender<(Placement, Answer)>);

/// Places orders that were handed in.
#[derive(Debug)]
pub(crate) struct Worker {
    db: PinnedConnection,
    outbox: Outbox,
    admission: AdmissionControl,
    deadline_scale: f64,
    waiting: mpsc::Receiver<(Placement, Answer)>,
}

impl Intake {
    /// An intake and its worker, which is to be run.
    pub(crate) fn new(
        db: PgPool,
        outbox: Outbox,
        admission: AdmissionControl,
        deadline_scale: f64,
    ) -> (Self, Worker) {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let worker = Worker {
            db: PinnedConnection::new(db),
            outbox,
            admission,
            deadline_scale,
            waiting,
        };
        (Self(sender), worker)
    }

    /// Places an order. It is placed whole or not at all, also when the caller does not wait for the answer.
    pub(crate) async fn place(&self, placement: Placement) -> Result<Placed, Error> {
        let (answer, answered) = oneshot::channel();
        self.0
            .send((placement, answer))
            .await
            .map_err(|_| Error::Stopping)?;
        answered.await.map_err(|_| Error::Stopping)?
    }
}

impl Worker {
    /// Works until `shutdown`, and then until what was handed in is answered.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut window = BatchingWindow::default();
        loop {
            window.wait().await;
            self.admission.admit().await;
            let received = tokio::select! {
                n = self.waiting.recv_many(&mut batch, BATCH_MAX) => n,
                () = shutdown.cancelled(), if !self.waiting.is_closed() => {
                    self.waiting.close();
                    continue;
                }
            };
            if received == 0 {
                return;
            }
            window.start(received);
            let (placements, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
            match self.place(&placements).await {
                Ok(messages) => self.answer(answers, messages).await,
                Err(error) if placements.len() > 1 && !db::is_transient(&error) => {
                    warn!(%error, "placing orders one by one: one of them hurts the others");
                    for (placement, answer) in placements.iter().zip(answers) {
                        match self.place(std::slice::from_ref(placement)).await {
                            Ok(placed) => self.answer(vec![answer], placed).await,
                            Err(error) => refuse(vec![answer], error),
                        }
                    }
                }
                Err(error) => refuse(answers, error),
            }
        }
    }

    /// Answers first: what is committed is placed, whatever the broker does.
    async fn answer(&self, answers: Vec<Answer>, (placed, messages): (Vec<Placed>, Vec<Message>)) {
        for (answer, placed) in answers.into_iter().zip(placed) {
            // An error means that the client hung up.
            let _ = answer.send(Ok(placed));
        }
        self.outbox.hand_over(messages).await;
    }

    /// Places orders in one transaction, and returns what became of each, and the messages to be handed over.
    async fn place(&self, placements: &[Placement]) -> sqlx::Result<(Vec<Placed>, Vec<Message>)> {
        for _ in 0..MAX_RACES {
            match self.try_place(placements).await {
                // The key was not there a moment ago: another replica placed the same order meanwhile.
                Err(error) if db::violates(&error, "orders_idempotency_key") => {}
                // It has two keys of ours, and we have two of its.
                Err(error) if db::is_deadlock(&error) => {}
                placed => return placed,
            }
        }
        self.try_place(placements).await
    }

    async fn try_place(
        &self,
        placements: &[Placement],
    ) -> sqlx::Result<(Vec<Placed>, Vec<Message>)> {
        let mut db = self.db.take().await?;
        let mut known = find_by_key(&mut *db, placements).await?;
        let mut placed = Vec::with_capacity(placements.len());
        let mut messages = Vec::with_capacity(placements.len() * 2);
        let mut new = Vec::with_capacity(placements.len());
        let mut decisions = Vec::with_capacity(placements.len());
        for placement in placements {
            if let Some(before) = before(placement, &known) {
                placed.push(before);
                continue;
            }
            let (decision, said) = start(placement);
            let order = decision.saga.order.clone();
            if let Some((key, hash)) = &placement.idempotency {
                known.insert(key.clone(), (hash.clone(), order.clone()));
            }
            placed.push(Placed::New(Box::new(order)));
            messages.extend(said);
            decisions.push(decision);
            new.push(placement);
        }
        let mut writes = Writes::default();
        if !new.is_empty() {
            insert_orders(&mut writes, &new);
            saga_log::insert(&mut writes, &decisions, self.deadline_scale);
            self.outbox.enqueue(&mut writes, &messages);
        }
        crash::point("intake.decided");
        // One statement is a transaction too.
        writes.execute(&mut *db).await?;
        self.db.put_back(db);
        counter!("orders_placed_total").increment(new.len() as u64);
        Ok((placed, messages))
    }
}

fn refuse(answers: Vec<Answer>, error: sqlx::Error) {
    let error = Arc::new(error);
    for answer in answers {
        let _ = answer.send(Err(Error::Database(Arc::clone(&error))));
    }
}

/// The saga of a new order with its first decision, and what is said about it.
fn start(placement: &Placement) -> (Decision, Vec<Message>) {
    let transition = transition::start(DEFINITION);
    let mut saga = Saga {
        id: placement.order.saga_id,
        definition: DEFINITION,
        state: transition.state,
        version: 0,
        correlation_id: placement.correlation_id.clone(),
        traceparent: placement.traceparent.clone(),
        order: placement.order.clone(),
    };
    let context = saga.context(None);
    let mut messages = vec![saga.order.event(OrderCreated, &context)];
    let (decision, command) = Decision::new(saga, transition, &context);
    messages.extend(command);
    (decision, messages)
}

fn insert_orders(writes: &mut Writes, placements: &[&Placement]) {
    let orders = || placements.iter().map(|placement| &placement.order);
    let keys = || {
        placements
            .iter()
            .map(|placement| placement.idempotency.as_ref())
    };
    writes.add(
        "INSERT INTO orders (id, saga_id, customer_id, status, items, currency, total_minor, payment_method,
                             customer_email, idempotency_key, request_hash, event_sequence, created_at, updated_at)
         SELECT id, saga_id, customer_id, 'PENDING', items, currency, total_minor, payment_method, customer_email,
                idempotency_key, request_hash, 1, created_at, created_at
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::json[], $5::text[], $6::bigint[], $7::text[], $8::text[],
                     $9::text[], $10::bytea[], $11::timestamptz[])
              AS o (id, saga_id, customer_id, items, currency, total_minor, payment_method, customer_email,
                    idempotency_key, request_hash, created_at)",
    )
    .bind(orders().map(|order| order.id.0).collect::<Vec<_>>())
    .bind(orders().map(|order| order.saga_id.0).collect::<Vec<_>>())
    .bind(orders().map(|order| order.customer_id.as_str()).collect::<Vec<_>>())
    .bind(orders().map(|order| Json(&order.items)).collect::<Vec<_>>())
    .bind(orders().map(|order| order.currency.as_str()).collect::<Vec<_>>())
    .bind(orders().map(|order| order.total.minor()).collect::<Vec<_>>())
    .bind(orders().map(|order| order.payment_method.as_deref()).collect::<Vec<_>>())
    .bind(orders().map(|order| order.customer_email.as_deref()).collect::<Vec<_>>())
    .bind(keys().map(|key| key.map(|(key, _)| key.as_str())).collect::<Vec<_>>())
    .bind(keys().map(|key| key.map(|(_, hash)| hash.as_slice())).collect::<Vec<_>>())
    .bind(orders().map(|order| order.created_at).collect::<Vec<_>>());
}

/// The orders that were placed before with keys of these placements, and their requests' hashes.
async fn find_by_key(db: impl PgExecutor<'_>, placements: &[Placement]) -> sqlx::Result<Known> {
    let keys: Vec<_> = placements
        .iter()
        .filter_map(|placement| placement.idempotency.as_ref())
        .map(|(key, _)| key.as_str())
        .collect();
    if keys.is_empty() {
        return Ok(Known::new());
    }
    let rows = sqlx::query("SELECT * FROM orders WHERE idempotency_key = ANY($1)")
        .bind(keys)
        .fetch_all(db)
        .await?;
    rows.iter()
        .map(|row| {
            let order = Order::read(row).map_err(|error| sqlx::Error::Decode(error.into()))?;
            Ok((row.get("idempotency_key"), (row.get("request_hash"), order)))
        })
        .collect()
}

/// What became of a placement whose key is known.
fn before(placement: &Placement, known: &Known) -> Option<Placed> {
    let (key, hash) = placement.idempotency.as_ref()?;
    let (earlier_hash, order) = known.get(key)?;
    Some(if hash == earlier_hash {
        Placed::Before(Box::new(order.clone()))
    } else {
        Placed::KeyReused
    })
}
