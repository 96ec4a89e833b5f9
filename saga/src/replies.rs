//! Replies of participants: the queue's handler.

use common::{
    amqp::{
        Message, Outgoing,
        consumer::{self, Handler, Incoming},
    },
    batch::{AdmissionControl, one_per_saga},
    contract::{SagaId, Unreadable},
    participant::idempotency::{Key, Record},
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Engine, Error, Event, Table, registry::Reading, saga::Saga};

/// A participant's reply. What it means depends on its saga's definition.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) id: Uuid,
    pub(crate) saga: SagaId,
    step: String,
    kind: String,
    reading: Reading,
}

impl Reply {
    /// What is recorded of it, so that it has its consequences only once.
    pub(crate) fn record(&self) -> Record {
        Record {
            key: Key {
                saga: self.saga,
                step: self.step.clone(),
                direction: self.reading.direction(),
            },
            message_id: self.id,
            reply: None,
            tombstone: false,
        }
    }

    /// What it tells `saga`.
    pub(crate) fn event(&self, saga: &Saga) -> Result<Event, Error> {
        let table: &dyn Table = saga.definition;
        let event = self.reading.event(table, &self.step, &self.kind);
        event.ok_or_else(|| Error::Meaningless {
            saga: saga.id,
            definition: saga.definition.name(),
            kind: self.kind.clone(),
            step: self.step.clone(),
        })
    }
}

/// The handler of the program's queue of replies.
#[derive(Debug)]
pub struct Replies {
    engine: Engine,
    admission: AdmissionControl,
}

impl Replies {
    /// Hands replies to `engine`, and tells `admission` how many there are.
    #[must_use]
    pub fn new(engine: Engine, admission: AdmissionControl) -> Self {
        Self { engine, admission }
    }
}

impl Handler for Replies {
    type Input = Reply;

    fn decode(&self, event: &Incoming) -> Result<Reply, Unreadable> {
        let envelope = &event.envelope;
        let step = envelope
            .sagastep
            .clone()
            .ok_or(Unreadable::Attribute("sagastep"))?;
        let reading = self
            .engine
            .registry()
            .read(&step, envelope)
            .ok_or_else(|| Unreadable::UnknownType(envelope.kind.clone()))?;
        Ok(Reply {
            id: envelope.id,
            saga: envelope.sagaid.ok_or(Unreadable::Attribute("sagaid"))?,
            step,
            kind: envelope.kind.clone(),
            reading: reading.map_err(|error| Unreadable::Data {
                kind: envelope.kind.clone(),
                error: error.to_string(),
            })?,
        })
    }

    async fn handle(
        &self,
        db: &mut PgConnection,
        batch: &[Reply],
    ) -> Result<Vec<Outgoing>, consumer::Error> {
        self.admission.took(batch.len());
        for replies in one_per_saga(batch, |reply| reply.saga) {
            let mut work = self.engine.work(db);
            work.take(&replies).await?;
            work.commit().await?;
        }
        // All that follows went through the outbox, so nothing has to be published before the ack.
        Ok(Vec::new())
    }

    async fn store(&self, events: &[Message]) -> sqlx::Result<()> {
        self.engine.outbox().store(events).await
    }
}
