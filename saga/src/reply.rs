//! A participant's reply, and what it tells its saga.

use common::{
    amqp::consumer::Incoming,
    contract::{SagaId, Trace, Unreadable},
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
    /// The command that it answers, if it says so.
    pub(crate) asked: Option<Uuid>,
    /// Where in its trace it is handled.
    pub(crate) trace: Option<Trace>,
    step: String,
    kind: String,
    reading: Reading,
}

impl Reply {
    /// Reads a message of the queue of replies; or what is known of it, where no definition of `registry` has such a
    /// reply.
    ///
    /// # Errors
    /// It is not what its type promises, or an attribute is missing.
    pub(crate) fn read(
        registry: &Registry,
        Incoming {
            envelope, trace, ..
        }: &Incoming,
    ) -> Result<Result<Self, UnknownReply>, Unreadable> {
        let step = envelope
            .sagastep
            .clone()
            .ok_or(Unreadable::Attribute("sagastep"))?;
        let saga = envelope.sagaid.ok_or(Unreadable::Attribute("sagaid"))?;
        let (id, kind) = (envelope.id, envelope.kind.clone());
        let Some(reading) = registry.read(&step, envelope) else {
            return Ok(Err(UnknownReply {
                id,
                saga,
                step,
                kind,
            }));
        };
        let reading = reading.map_err(|error| Unreadable::Data {
            kind: kind.clone(),
            error: error.to_string(),
        })?;
        Ok(Ok(Self {
            id,
            saga,
            asked: envelope.causationid,
            trace: trace.clone(),
            step,
            kind,
            reading,
        }))
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

/// A reply that no definition has: that of another version may.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no definition has {kind} as a reply of step {step:?}")]
pub struct UnknownReply {
    pub(crate) id: Uuid,
    pub(crate) saga: SagaId,
    step: String,
    kind: String,
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
