//! The shell around the decision: a batch of news, one transaction.
//!
//! ```text
//! lock the sagas ─► what is new? ─► transition, for each ─► write state, log, orders, outbox ─► commit ─► hand over
//! ```
//!
//! Replies, deadlines, cancellations and operators all come through [`Orchestrator::apply`].

use anyhow::Context as _;
use common::{
    amqp::{
        Message, Outgoing,
        consumer::{self, Handler, Incoming},
    },
    batch::{AdmissionControl, one_per_saga},
    contract::{
        Reason, SagaId, Unreadable,
        order::{OrderCancelled, OrderCompleted, OrderFailed},
    },
    crash,
    db::{self, Writes},
    outbox::Outbox,
    participant::idempotency::{Direction, Key, Record},
};
use metrics::counter;
use serde::Deserialize;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tracing::{error, info};
use uuid::Uuid;

use super::{
    Definition, Event, IllegalEvent, Told, Transition,
    log::{State, What},
    saga_log::{self, Decision, Locked, Saga},
    transition::transition,
};
use crate::orders::{self, Context, Order, Status};

/// Something that happened to a saga.
#[derive(Clone, Debug)]
pub struct News {
    /// Which one.
    pub saga: SagaId,
    /// What.
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A participant replied.
    Reply(Reply),
    /// Anything else, which needs no translation.
    Event(Event),
}

/// A participant's reply. What it means depends on the saga's definition.
#[derive(Clone, Debug)]
pub struct Reply {
    id: Uuid,
    kind: String,
    step: String,
    direction: Direction,
    reason: Option<Reason>,
    detail: Option<String>,
}

/// Why news could not be applied. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The saga's.
    #[error(transparent)]
    Saga(#[from] saga_log::Error),
    /// The event makes no sense in the saga's state.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// There is no such saga.
    #[error("there is no saga {0}")]
    NoSuchSaga(SagaId),
    /// The saga's definition has no such step, or the step no such reply.
    #[error("saga {saga} of {definition} has no meaning for {kind} of step {step:?}")]
    Meaningless {
        /// The saga.
        saga: SagaId,
        /// Its definition.
        definition: &'static str,
        /// The reply's type.
        kind: String,
        /// The reply's step.
        step: String,
    },
}

impl Error {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Saga(saga_log::Error::Database(error)) if db::is_transient(error))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Saga(error.into())
    }
}

impl From<Error> for consumer::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Saga(saga_log::Error::Database(error)) => error.into(),
            other => Self::Failed(other.into()),
        }
    }
}

/// Applies news to sagas.
#[derive(Clone, Debug)]
pub struct Orchestrator {
    db: PgPool,
    outbox: Outbox,
    admission: AdmissionControl,
    deadline_scale: f64,
}

impl Orchestrator {
    /// An orchestrator of the sagas in `db`, whose deadlines are multiplied by `deadline_scale`.
    #[must_use]
    pub fn new(
        db: PgPool,
        outbox: Outbox,
        admission: AdmissionControl,
        deadline_scale: f64,
    ) -> Self {
        Self {
            db,
            outbox,
            admission,
            deadline_scale,
        }
    }

    /// The database of the sagas.
    #[must_use]
    pub fn db(&self) -> &PgPool {
        &self.db
    }

    /// By how much deadlines are multiplied.
    #[must_use]
    pub fn deadline_scale(&self) -> f64 {
        self.deadline_scale
    }

    /// The outbox that its messages go through.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Applies news, of each saga at most one, within `tx`, and returns the messages that it put into the outbox.
    /// They are to be handed over after the commit.
    ///
    /// # Errors
    /// `tx` is to be rolled back.
    pub async fn apply(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        news: &[News],
    ) -> Result<Vec<Message>, Error> {
        let ids: Vec<_> = news.iter().map(|news| news.saga).collect();
        let replies = news.iter().filter_map(|one| match &one.what {
            Happening::Reply(reply) => Some(reply.record(one.saga)),
            Happening::Event(_) => None,
        });
        let mut sagas = saga_log::lock(tx, &ids, &replies.collect::<Vec<_>>()).await?;

        let mut messages = Vec::new();
        let mut decisions = Vec::new();
        let mut orders = Vec::new();
        for one in news {
            let locked = sagas.remove(&one.saga);
            let Locked { saga, is_new } = locked.ok_or(Error::NoSuchSaga(one.saga))?;
            let (event, causation_id) = match &one.what {
                // Done before: nothing follows from it again.
                Happening::Reply(_) if !is_new => continue,
                Happening::Reply(reply) => (reply.event(&saga)?, Some(reply.id)),
                Happening::Event(event) => (event.clone(), None),
            };
            let transition = transition(saga.definition, saga.state, &event)?;
            if transition.log.is_empty() {
                continue;
            }
            report(&saga, &transition);
            let context = saga.context(causation_id);
            let (order, events) = follow(&saga.order, &transition, &context);
            let (decision, command) = Decision::new(saga, transition, &context);
            messages.extend(events);
            messages.extend(command);
            orders.extend(order);
            decisions.push(decision);
        }
        if !decisions.is_empty() {
            let mut writes = Writes::default();
            saga_log::update(&mut writes, &decisions, self.deadline_scale);
            orders::update(&mut writes, &orders);
            self.outbox.enqueue(&mut writes, &messages);
            writes.execute(&mut **tx).await?;
            crash::point("orchestrator.applied");
        }
        Ok(messages)
    }
}

impl Reply {
    /// What is recorded of a reply about `saga`: it tells its news only once.
    fn record(&self, saga: SagaId) -> Record {
        Record {
            key: Key {
                saga,
                step: self.step.clone(),
                direction: self.direction,
            },
            message_id: self.id,
            reply: None,
            tombstone: false,
        }
    }

    /// The reply in the words of the saga's definition.
    fn event(&self, saga: &Saga) -> Result<Event, Error> {
        let definition: &Definition = saga.definition;
        let event = definition.step(&self.step).and_then(|step| {
            Some(match step.told(&self.kind)? {
                Told::Succeeded => Event::Succeeded(step.name),
                Told::Rejected => Event::Rejected {
                    step: step.name,
                    reason: self.reason?,
                    detail: self.detail.clone(),
                },
                Told::Undone => Event::Undone(step.name),
            })
        });
        event.ok_or_else(|| Error::Meaningless {
            saga: saga.id,
            definition: definition.name,
            kind: self.kind.clone(),
            step: self.step.clone(),
        })
    }
}

/// What the new log entries mean for the order: its status, and what is told about it.
fn follow(
    order: &Order,
    transition: &Transition,
    context: &Context,
) -> (Option<Order>, Vec<Message>) {
    let mut order = order.clone();
    let mut events = Vec::new();
    let mut changed = false;
    for entry in &transition.log {
        match entry.what {
            What::SagaCompleted {} => {
                order.status = Status::Completed;
                events.push(order.event(OrderCompleted, context));
            }
            What::CompensationStarted { reason } => {
                order.status = Status::Pending;
                order.cancellation_reason = Some(reason);
                if !matches!(reason, Reason::CustomerRequest | Reason::Operator) {
                    events.push(order.event(OrderFailed, context));
                }
            }
            What::SagaCompensated {} => {
                order.status = Status::Cancelled;
                events.push(order.event(OrderCancelled, context));
            }
            _ => continue,
        }
        changed = true;
    }
    (changed.then_some(order), events)
}

/// Tells logs and metrics what happened.
fn report(saga: &Saga, transition: &Transition) {
    let ended = match transition.state {
        State::Completed => "completed",
        State::Compensated { .. } => "compensated",
        State::Parked { step, reason } => {
            error!(saga.id = %saga.id, saga.step = step, %reason, "parked: an operator has to look");
            "parked"
        }
        State::Running { .. } | State::Compensating { .. } => {
            if transition
                .log
                .iter()
                .any(|entry| matches!(entry.what, What::ActionTimedOut { .. }))
            {
                info!(saga.id = %saga.id, saga.step = saga.state.step(), "a participant did not answer in time");
            }
            return;
        }
    };
    if saga.state != transition.state {
        counter!("sagas_ended_total", "as" => ended).increment(1);
    }
}

/// What replies of this type are about.
fn direction(kind: &str) -> Option<Direction> {
    let mut steps = super::DEFINITIONS
        .iter()
        .flat_map(|definition| definition.steps);
    steps.find_map(|step| step.told(kind)).map(Told::direction)
}

/// What replies have in common, whatever their type.
#[derive(Deserialize)]
struct Refusal {
    reason: Option<Reason>,
    detail: Option<String>,
}

impl Handler for Orchestrator {
    type Input = News;

    fn decode(&self, event: &Incoming) -> Result<News, Unreadable> {
        let envelope = &event.envelope;
        let direction = direction(&envelope.kind)
            .ok_or_else(|| Unreadable::UnknownType(envelope.kind.clone()))?;
        let invalid = |error: String| Unreadable::Data {
            kind: envelope.kind.clone(),
            error,
        };
        let refusal: Refusal =
            serde_json::from_str(envelope.data.get()).map_err(|e| invalid(e.to_string()))?;
        let reply = Reply {
            id: envelope.id,
            kind: envelope.kind.clone(),
            step: envelope
                .sagastep
                .clone()
                .ok_or(Unreadable::Attribute("sagastep"))?,
            direction,
            reason: refusal.reason,
            detail: refusal.detail,
        };
        Ok(News {
            saga: envelope.sagaid.ok_or(Unreadable::Attribute("sagaid"))?,
            what: Happening::Reply(reply),
        })
    }

    async fn handle(
        &self,
        db: &mut PgConnection,
        batch: &[News],
    ) -> Result<Vec<Outgoing>, consumer::Error> {
        self.admission.took(batch.len());
        for news in one_per_saga(batch, |news| news.saga) {
            let mut tx = db::begin(&mut *db).await?;
            let messages = self.apply(&mut tx, &news).await?;
            tx.commit().await?;
            self.outbox.hand_over(messages).await;
        }
        // All that follows went through the outbox, so nothing has to be published before the ack.
        Ok(Vec::new())
    }

    async fn store(&self, events: &[Message]) -> sqlx::Result<()> {
        self.outbox.store(events).await
    }
}

/// Refuses to go on with sagas that this program has no definition for.
///
/// # Errors
/// There are such sagas: the error lists them.
pub async fn check_definitions(db: &PgPool) -> anyhow::Result<()> {
    let unknown = saga_log::of_unknown_definitions(db)
        .await
        .context("looking for open sagas")?;
    anyhow::ensure!(
        unknown.is_empty(),
        "open sagas were started with definitions that this program does not have: {}. \
         Run the version that has them until they have ended",
        unknown.join(", ")
    );
    Ok(())
}
