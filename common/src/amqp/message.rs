//! A message on its way out.

use std::{borrow::Cow, sync::Arc};

use lapin::BasicProperties;
use uuid::Uuid;

use super::properties::{PERSISTENT, event_properties};
use crate::contract::{Envelope, Unreadable, topology};

/// What is kept apart on its way out, so that a queue that does not get on holds up its own lane only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Commands, replies, answers and dead letters: sagas wait for them, and the queues are ours.
    Saga,
    /// Public events: nobody here waits for them, and anybody may bind a queue.
    Events,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Saga, Self::Events];
}

/// A message with its destination.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(super) exchange: Cow<'static, str>,
    pub(super) routing_key: String,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A CloudEvent, and its JSON, which is made once.
    Event(Arc<Envelope>, Arc<str>),
    /// Bytes that go out as they came in: a dead letter.
    Raw(Arc<[u8]>, Box<BasicProperties>),
}

/// What a participant did for a command, and its JSON, which is made once.
#[derive(Clone, Debug)]
pub struct Outcome {
    envelope: Arc<Envelope>,
    json: Arc<str>,
}

impl Outcome {
    /// An outcome that nobody knows yet.
    #[must_use]
    pub fn new(envelope: Envelope) -> Self {
        Self {
            json: envelope.to_json().into(),
            envelope: Arc::new(envelope),
        }
    }

    /// One that was stored as JSON.
    ///
    /// # Errors
    /// `json` is not a CloudEvent.
    pub fn stored(json: &str) -> Result<Self, Unreadable> {
        Ok(Self {
            envelope: Arc::new(Envelope::parse(json.as_bytes())?),
            json: json.into(),
        })
    }

    /// The message's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.envelope.id
    }

    /// The message's JSON.
    #[must_use]
    pub fn json(&self) -> &Arc<str> {
        &self.json
    }
}

impl Outgoing {
    /// A command to a participant.
    #[must_use]
    pub fn command(participant: &str, envelope: Envelope) -> Self {
        Self::event_to(topology::COMMANDS, participant, envelope)
    }

    /// A public event.
    #[must_use]
    pub fn event(envelope: Envelope) -> Self {
        let kind = envelope.kind.clone();
        Self::event_to(topology::EVENTS, &kind, envelope)
    }

    /// An outcome: a reply to `reply_to`, and the same as a public event.
    #[must_use]
    pub fn outcome(reply_to: &str, outcome: &Outcome) -> [Self; 2] {
        let to = |exchange, routing_key: &str| Self {
            exchange: Cow::Borrowed(exchange),
            routing_key: routing_key.to_owned(),
            content: Content::Event(Arc::clone(&outcome.envelope), Arc::clone(&outcome.json)),
        };
        [
            to(topology::REPLIES, reply_to),
            to(topology::EVENTS, &outcome.envelope.kind),
        ]
    }

    /// The answer to a request that named an AMQP `reply_to` queue. Dropped where nobody waits any more.
    #[must_use]
    pub fn answer(reply_to: &str, correlation_id: Option<&str>, envelope: &Envelope) -> Self {
        let mut properties = event_properties(envelope);
        if let Some(id) = correlation_id {
            properties = properties.with_correlation_id(id.into());
        }
        Self {
            exchange: Cow::Borrowed(""),
            routing_key: reply_to.to_owned(),
            content: Content::Raw(envelope.to_json().into_bytes().into(), Box::new(properties)),
        }
    }

    /// A dead letter of `queue`: `body` as it came, with `properties` that say why it is here.
    #[must_use]
    pub fn dead_letter(queue: &str, body: Vec<u8>, properties: BasicProperties) -> Self {
        Self {
            exchange: Cow::Borrowed(topology::DLX),
            routing_key: queue.to_owned(),
            content: Content::Raw(
                body.into(),
                Box::new(properties.with_delivery_mode(PERSISTENT)),
            ),
        }
    }

    /// A message as an outbox row has it.
    ///
    /// # Errors
    /// `json` is not a CloudEvent.
    pub(crate) fn stored(
        exchange: String,
        routing_key: String,
        json: String,
    ) -> Result<Self, Unreadable> {
        let envelope = Envelope::parse(json.as_bytes())?;
        Ok(Self {
            exchange: Cow::Owned(exchange),
            routing_key,
            content: Content::Event(Arc::new(envelope), json.into()),
        })
    }

    fn event_to(exchange: &'static str, routing_key: &str, envelope: Envelope) -> Self {
        let json = envelope.to_json();
        Self {
            exchange: Cow::Borrowed(exchange),
            routing_key: routing_key.to_owned(),
            content: Content::Event(Arc::new(envelope), json.into()),
        }
    }

    /// The message's id. Only events have one.
    pub(crate) fn id(&self) -> Option<Uuid> {
        match &self.content {
            Content::Event(envelope, _) => Some(envelope.id),
            Content::Raw(..) => None,
        }
    }

    /// The message's JSON. Only events have one.
    pub(crate) fn json(&self) -> Option<&str> {
        match &self.content {
            Content::Event(_, json) => Some(json),
            Content::Raw(..) => None,
        }
    }

    pub(crate) fn exchange(&self) -> &str {
        &self.exchange
    }

    pub(crate) fn routing_key(&self) -> &str {
        &self.routing_key
    }

    /// The lane that it takes.
    pub(crate) fn lane(&self) -> Lane {
        if self.exchange() == topology::EVENTS {
            Lane::Events
        } else {
            Lane::Saga
        }
    }

    /// Whether being unroutable is an error: not for what may have no listener.
    pub(super) fn mandatory(&self) -> bool {
        !matches!(self.exchange(), topology::EVENTS | "")
    }

    /// Whether several may share one AMQP message: only what is private to orchestrators and participants.
    pub(super) fn batchable(&self) -> bool {
        matches!(self.exchange(), topology::COMMANDS | topology::REPLIES)
    }
}
