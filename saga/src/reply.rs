//! A participant's reply, and what it tells its saga.

use common::{
    contract::{Envelope, SagaId, Unreadable},
    participant::idempotency::{Key, Record},
};
use uuid::Uuid;

use crate::{
    registry::{Reading, Registry},
    saga::Saga,
    table::Table,
    transition::Event,
};

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
    /// Reads a message of the queue of replies.
    ///
    /// # Errors
    /// No definition of `registry` has such a reply, or it is not what its type promises.
    pub(crate) fn read(registry: &Registry, envelope: &Envelope) -> Result<Self, Unreadable> {
        let step = envelope
            .sagastep
            .clone()
            .ok_or(Unreadable::Attribute("sagastep"))?;
        let reading = registry
            .read(&step, envelope)
            .ok_or_else(|| Unreadable::UnknownType(envelope.kind.clone()))?;
        Ok(Self {
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
    ///
    /// # Errors
    /// The saga's definition has no such step, or the step no such reply.
    pub(crate) fn event(&self, saga: &Saga) -> Result<Event, Meaningless> {
        let table: &dyn Table = saga.definition;
        let event = self.reading.event(table, &self.step, &self.kind);
        event.ok_or_else(|| Meaningless {
            saga: saga.id,
            definition: saga.definition.name(),
            kind: self.kind.clone(),
            step: self.step.clone(),
        })
    }
}

/// A reply that its saga has no meaning for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("saga {saga} of {definition} has no meaning for {kind} of step {step:?}")]
pub struct Meaningless {
    saga: SagaId,
    definition: &'static str,
    kind: String,
    step: String,
}
