//! All that is published: messages, and what goes out beside them and cannot be stored.

use lapin::BasicProperties;

use super::{
    Destination, Message,
    properties::{PERSISTENT, message_properties, short},
};
use crate::contract::{Envelope, topology};

/// What the broker is asked to take.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// A message, which could also be in an outbox.
    Message(Message),
    /// A dead letter, dead or redriven, or the response to a request.
    Raw(Raw),
}

/// Bytes that go out as they are, with AMQP properties of their own. They cannot be in an outbox.
#[derive(Clone, Debug)]
pub struct Raw {
    exchange: &'static str,
    routing_key: String,
    body: Vec<u8>,
    properties: Box<BasicProperties>,
    /// Whether being unroutable is an error.
    mandatory: bool,
}

impl Raw {
    /// The response to a request that named an AMQP `reply_to` queue. It is dropped where nobody waits any more.
    #[must_use]
    pub fn response(reply_to: &str, correlation_id: Option<&str>, envelope: &Envelope) -> Self {
        let mut properties = message_properties(envelope);
        if let Some(id) = correlation_id {
            properties = properties.with_correlation_id(short(id));
        }
        Self {
            exchange: topology::DEFAULT,
            routing_key: reply_to.to_owned(),
            body: envelope.to_json().into_bytes(),
            properties: Box::new(properties),
            mandatory: false,
        }
    }

    /// A dead letter of `queue`: `body` as it came, with `properties` that say why it is here.
    pub(super) fn dead_letter(queue: &str, body: Vec<u8>, properties: BasicProperties) -> Self {
        Self {
            exchange: topology::DLX,
            routing_key: queue.to_owned(),
            body,
            properties: Box::new(properties.with_delivery_mode(PERSISTENT)),
            mandatory: true,
        }
    }

    /// What goes to `queue` and nowhere else.
    pub(super) fn to_queue(queue: &str, body: Vec<u8>, properties: BasicProperties) -> Self {
        Self {
            exchange: topology::DEFAULT,
            routing_key: queue.to_owned(),
            body,
            properties: Box::new(properties.with_delivery_mode(PERSISTENT)),
            mandatory: true,
        }
    }

    /// Which line it takes. All responses share one: nobody waits for their confirms, and their queues are anybody's.
    pub(super) fn line(&self) -> Destination {
        let key = if self.mandatory {
            self.routing_key.as_str()
        } else {
            ""
        };
        Destination::new(self.exchange, key)
    }

    pub(super) fn exchange(&self) -> &str {
        self.exchange
    }

    pub(super) fn routing_key(&self) -> &str {
        &self.routing_key
    }

    /// Whether being unroutable is an error. A client that asked may be gone, but each queue has a place for its dead
    /// letters.
    pub(super) fn mandatory(&self) -> bool {
        self.mandatory
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn properties(&self) -> &BasicProperties {
        &self.properties
    }
}

impl From<Message> for Outgoing {
    fn from(message: Message) -> Self {
        Self::Message(message)
    }
}

impl From<Raw> for Outgoing {
    fn from(raw: Raw) -> Self {
        Self::Raw(raw)
    }
}
