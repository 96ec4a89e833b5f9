//! Placing orders: those that arrive together share a transaction.
//!
//! A request hands its order to the intake worker and waits for the answer. The worker takes what is there, so a
//! lone order does not wait for others, and a thousand at once need a few commits. What a client does while it
//! waits, hanging up for example, cannot touch the transaction.

use std::{collections::HashMap, sync::Arc, time::Duration};

use common::{
    batch::{AdmissionControl, BATCH_MAX, BatchingWindow},
    contract::order::OrderCreated,
    db::{self, PinnedConnection, Writes},
    watchdog::idle,
};
use saga::{Beginning, Context, Definition, Engine, Origin, Work};
use sqlx::{PgConnection, PgExecutor, Row, types::Json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    idempotency::{Idempotency, Key},
    metrics::CREATED,
    orders::{Order, columns},
    sagas::PlacedOrder,
};

/// Orders that wait for a transaction at most; more requests wait to hand theirs in.
const WAITING_MAX: usize = 1024;
/// Times that orders are tried again because another replica was faster with a key.
const MAX_RACES: usize = 3;

/// An order to be placed.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// The order, with event sequence 0.
    pub(crate) order: Order,
    /// What makes it the same as one before.
    pub(crate) idempotency: Option<Idempotency>,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// Orders that were placed with a key, by the plain key, and their requests' hashes.
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
    /// The transaction failed, for all orders of the batch.
    #[error("placing the order")]
    Saga(#[source] Arc<saga::Error>),
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
    /// Earlier orders wait for their turn.
    #[error("orders have waited for {} s: try again later", _0.as_secs())]
    Overloaded(Duration),
}

type Answer = oneshot::Sender<Result<Placed, Error>>;

/// Where requests hand in orders.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    waiting: mpsc::Sender<(Placement, Answer)>,
    engine: Engine,
    /// Who does the steps of the saga.
    participants: Arc<[&'static str]>,
    backlog_max: Duration,
}

/// Places orders that were handed in.
#[derive(Debug)]
pub(crate) struct Worker {
    engine: Engine,
    definition: &'static Definition<PlacedOrder>,
    db: PinnedConnection,
    admission: AdmissionControl,
    waiting: mpsc::Receiver<(Placement, Answer)>,
}

impl Intake {
    /// An intake and its worker, which is to be run. Orders are placed by sagas of `definition`, when `admission` lets
    /// them begin, and while no command to its participants has waited for longer than `backlog_max`.
    pub(crate) fn new(
        engine: Engine,
        definition: &'static Definition<PlacedOrder>,
        admission: AdmissionControl,
        backlog_max: Duration,
    ) -> (Self, Worker) {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let intake = Self {
            waiting: sender,
            engine: engine.clone(),
            participants: definition.participants().collect(),
            backlog_max,
        };
        let worker = Worker {
            db: PinnedConnection::new(engine.db().clone()),
            engine,
            definition,
            admission,
            waiting,
        };
        (intake, worker)
    }

    /// Places an order. It is placed whole or not at all, also when the caller does not wait for the answer.
    pub(crate) async fn place(&self, placement: Placement) -> Result<Placed, Error> {
        let waited = self.engine.outbox().waited(&self.participants);
        if waited > self.backlog_max {
            return Err(Error::Overloaded(waited));
        }
        let (answer, answered) = oneshot::channel();
        self.waiting
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
            let received = idle(async {
                window.wait().await;
                self.admission.admit().await;
                tokio::select! {
                    n = self.waiting.recv_many(&mut batch, BATCH_MAX) => Some(n),
                    () = shutdown.cancelled(), if !self.waiting.is_closed() => None,
                }
            });
            let Some(received) = received.await else {
                self.waiting.close();
                continue;
            };
            if received == 0 {
                return;
            }
            window.start(received);
            let (placements, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
            let mut answers = Answers(answers);
            match self.place(&placements, &mut answers).await {
                Err(error) if placements.len() > 1 && !error.is_transient() => {
                    warn!(%error, "placing orders one by one: one of them hurts the others");
                    for (placement, answer) in placements.iter().zip(answers.0) {
                        let mut answer = Answers(vec![answer]);
                        let one = std::slice::from_ref(placement);
                        if let Err(error) = self.place(one, &mut answer).await {
                            answer.refuse(error);
                        }
                    }
                }
                Err(error) => answers.refuse(error),
                Ok(()) => {}
            }
        }
    }

    /// Places orders in one transaction, and answers as soon as it is committed: what is placed is placed, whatever
    /// the broker does.
    async fn place(
        &self,
        placements: &[Placement],
        answers: &mut Answers,
    ) -> Result<(), saga::Error> {
        for _ in 0..MAX_RACES {
            match self.try_place(placements, answers).await {
                Err(error) if error.database().is_some_and(is_race) => {}
                placed => return placed,
            }
        }
        self.try_place(placements, answers).await
    }

    async fn try_place(
        &self,
        placements: &[Placement],
        answers: &mut Answers,
    ) -> Result<(), saga::Error> {
        let mut db = self.db.take().await?;
        db::in_time(self.place_on(&mut db, placements, answers)).await?;
        self.db.put_back(db);
        Ok(())
    }

    async fn place_on(
        &self,
        db: &mut PgConnection,
        placements: &[Placement],
        answers: &mut Answers,
    ) -> Result<(), saga::Error> {
        let mut known = find_by_key(&mut *db, placements).await?;
        let mut work = self.engine.work(db);
        let mut placed = Vec::with_capacity(placements.len());
        let mut new = Vec::with_capacity(placements.len());
        for placement in placements {
            if let Some(before) = before(placement, &known) {
                placed.push(before);
                continue;
            }
            let order = self.begin(&mut work, placement)?;
            if let Some(request) = &placement.idempotency {
                let known_as = request.plain().to_owned();
                known.insert(known_as, (request.hash.clone(), order.clone()));
            }
            placed.push(Placed::New(Box::new(order)));
            new.push(placement);
        }
        if !new.is_empty() {
            insert_orders(work.writes(), &new);
            work.tally().add(&CREATED, &[], new.len() as u64);
        }
        // Nothing is locked, so all of it is one statement, which is a transaction too.
        work.commit_then(|| answers.give(placed)).await?;
        Ok(())
    }

    /// Begins the saga of a new order, and tells that it was placed.
    fn begin(&self, work: &mut Work<'_>, placement: &Placement) -> Result<Order, saga::Error> {
        let mut order = placement.order.clone();
        let origin = placement.origin.clone();
        let context = Context {
            saga_id: order.saga_id,
            origin: origin.clone(),
            causation_id: None,
        };
        work.tell(order.event(OrderCreated, &context));
        work.begin(Beginning {
            id: order.saga_id,
            definition: self.definition,
            subject: order.subject(),
            data: &PlacedOrder::from(&order),
            origin,
        })?;
        Ok(order)
    }
}

/// Those who wait for the orders of a batch.
struct Answers(Vec<Answer>);

impl Answers {
    fn give(&mut self, placed: Vec<Placed>) {
        for (answer, placed) in self.0.drain(..).zip(placed) {
            // An error means that the client hung up.
            let _ = answer.send(Ok(placed));
        }
    }

    fn refuse(self, error: saga::Error) {
        let error = Arc::new(error);
        for answer in self.0 {
            let _ = answer.send(Err(Error::Saga(Arc::clone(&error))));
        }
    }
}

/// Whether another replica was faster: the key was not there a moment ago, or both have keys that the other one waits
/// for.
fn is_race(error: &sqlx::Error) -> bool {
    db::violates(error, "orders_idempotency_key") || db::is_deadlock(error)
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
    .bind(keys().map(|key| key.map(Idempotency::stored)).collect::<Vec<_>>())
    .bind(keys().map(|key| key.map(|request| request.hash.as_slice())).collect::<Vec<_>>())
    .bind(orders().map(|order| order.created_at).collect::<Vec<_>>());
}

/// The orders that were placed before with keys of these placements, and their requests' hashes.
async fn find_by_key(db: impl PgExecutor<'_>, placements: &[Placement]) -> sqlx::Result<Known> {
    let keys: Vec<_> = placements
        .iter()
        .filter_map(|placement| placement.idempotency.as_ref())
        .flat_map(Idempotency::spellings)
        .collect();
    if keys.is_empty() {
        return Ok(Known::new());
    }
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        ", idempotency_key, request_hash FROM orders WHERE idempotency_key = ANY($1)"
    ))
    .bind(keys)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let (order, stored) = (Order::read(row)?, row.get("idempotency_key"));
            // One that an earlier release took, and this one would not, is known by what it was.
            let key = Key::read(stored).map_or_else(|| stored.to_owned(), Key::plain);
            Ok((key, (row.get("request_hash"), order)))
        })
        .collect()
}

/// What became of a placement whose key is known.
fn before(placement: &Placement, known: &Known) -> Option<Placed> {
    let request = placement.idempotency.as_ref()?;
    let (earlier_hash, order) = known.get(request.plain())?;
    Some(if request.hash == *earlier_hash {
        Placed::Before(Box::new(order.clone()))
    } else {
        Placed::KeyReused
    })
}
