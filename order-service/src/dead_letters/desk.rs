//! Where letters are looked at: one of all replicas at a time for each queue.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    amqp::{Broker, DeadLetter, DeadLetters},
    contract::topology,
    db, fleet,
};
use saga::Engine;
use sqlx::{Postgres, Transaction};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};

use super::{error::Error, letter::Letter};

/// How long somebody waits for the turn of another one in this process. In others, the database's limit counts.
const TURN_TIMEOUT: Duration = Duration::from_secs(3);

/// A dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Its name: `payment.commands.dlq`.
    pub(crate) name: String,
    /// The queue that its letters come from, and go to again.
    pub(crate) working: &'static str,
    /// The service that consumes that one.
    pub(crate) service: &'static str,
}

impl Queue {
    /// All of them, in the order of the flow.
    pub(crate) fn all() -> Vec<Self> {
        let of = |service: &'static fleet::Service| {
            service.queues.iter().map(|queue| Self {
                name: topology::dead_letter_queue(queue.name),
                working: queue.name,
                service: service.program.name,
            })
        };
        fleet::SERVICES.into_iter().flat_map(of).collect()
    }

    /// The one with this name.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|queue| queue.name == name)
    }
}

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Letters.
    pub(super) letters: u32,
    /// Bytes of their bodies.
    pub(super) bytes: usize,
    /// No more are taken after so long.
    pub(super) time: Duration,
}

/// Where letters are taken out of queues. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Desk(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    engine: Engine,
    broker: Broker,
    turns: Vec<(String, Mutex<()>)>,
}

/// A turn at a queue: nobody else here takes letters out of it until it ends.
#[derive(Debug)]
pub(super) struct Turn<'d> {
    letters: DeadLetters,
    lock: Transaction<'static, Postgres>,
    reach: Reach,
    begun: Instant,
    looked_at: u32,
    bytes: usize,
    _here: MutexGuard<'d, ()>,
}

impl Desk {
    /// A desk for the sagas of `engine`.
    pub(crate) fn new(engine: Engine, broker: Broker) -> Self {
        let turns = Queue::all().into_iter();
        let turns = turns.map(|queue| (queue.name, Mutex::new(()))).collect();
        Self(Arc::new(Parts {
            engine,
            broker,
            turns,
        }))
    }

    /// The engine of the sagas that letters belong to.
    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// RabbitMQ.
    pub(super) fn broker(&self) -> &Broker {
        &self.0.broker
    }

    /// Waits for a turn at `queue`. It is to be ended; dropped, it ends a little later by itself.
    ///
    /// # Errors
    /// Others take too long, or the database or RabbitMQ is away.
    pub(super) async fn turn(&self, queue: &Queue, reach: Reach) -> Result<Turn<'_>, Error> {
        let busy = || Error::Busy(queue.name.clone());
        let mut turns = self.0.turns.iter();
        let (_, here) = turns
            .find(|(name, _)| *name == queue.name)
            .ok_or_else(busy)?;
        let here = timeout(TURN_TIMEOUT, here.lock())
            .await
            .map_err(|_| busy())?;
        let mut lock = db::begin(self.0.engine.db()).await?;
        let locked = sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))")
            .bind(&queue.name)
            .execute(&mut *lock)
            .await;
        locked.map_err(|error| Error::of_turn(error, &queue.name))?;
        Ok(Turn {
            letters: self.0.broker.dead_letters(&queue.name).await?,
            lock,
            reach,
            begun: Instant::now(),
            looked_at: 0,
            bytes: 0,
            _here: here,
        })
    }
}

impl Turn<'_> {
    /// The next letters; none at the end of the queue, or of what is within reach.
    ///
    /// # Errors
    /// RabbitMQ does not answer.
    pub(super) async fn next(&mut self) -> Result<Vec<Letter>, Error> {
        if self.is_over() {
            return Ok(Vec::new());
        }
        let taken = self.letters.take().await?;
        self.looked_at += u32::try_from(taken.len()).unwrap_or(u32::MAX);
        self.bytes += taken
            .iter()
            .map(|letter| letter.body().len())
            .sum::<usize>();
        Ok(taken.into_iter().map(Letter::read).collect())
    }

    fn is_over(&self) -> bool {
        self.looked_at >= self.reach.letters
            || self.bytes >= self.reach.bytes
            || self.begun.elapsed() >= self.reach.time
    }

    /// Letters that it has looked at.
    pub(super) fn looked_at(&self) -> u32 {
        self.looked_at
    }

    /// Letters behind those that it has looked at.
    pub(super) fn left(&self) -> u32 {
        self.letters.left()
    }

    /// For how long it has lasted.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Takes letters away for good.
    ///
    /// # Errors
    /// They are in the queue again.
    pub(super) async fn ack(&mut self, letters: Vec<Letter>) -> Result<(), Error> {
        let taken: Vec<DeadLetter> = letters.into_iter().map(|letter| letter.taken).collect();
        Ok(self.letters.ack(&taken).await?)
    }

    /// Puts back what is not acked, and lets others have their turn.
    pub(super) async fn end(self) {
        if let Err(error) = self.letters.put_back().await {
            tracing::debug!(%error, "letters go back with their channel");
        }
        // The lock ends with the transaction, however that ends.
        let _ = self.lock.rollback().await;
    }
}
