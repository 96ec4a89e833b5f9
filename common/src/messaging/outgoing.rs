//! A message on its way out, and how several become one AMQP message.

use std::{borrow::Cow, sync::Arc};

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use uuid::Uuid;

use super::topology;
use crate::contract::{Envelope, Unreadable};

/// Media type of one CloudEvent.
pub(crate) const ONE: &str = "application/cloudevents+json";
/// Media type of a JSON array of CloudEvents.
pub(crate) const MANY: &str = "application/cloudevents-batch+json";
/// AMQP delivery mode of a message that survives a restart of the broker.
const PERSISTENT: u8 = 2;

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
    exchange: Cow<'static, str>,
    routing_key: String,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
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
    pub(super) fn stored(
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
    pub(super) fn id(&self) -> Option<Uuid> {
        match &self.content {
            Content::Event(envelope, _) => Some(envelope.id),
            Content::Raw(..) => None,
        }
    }

    /// The message's JSON. Only events have one.
    pub(super) fn json(&self) -> Option<&str> {
        match &self.content {
            Content::Event(_, json) => Some(json),
            Content::Raw(..) => None,
        }
    }

    pub(super) fn exchange(&self) -> &str {
        &self.exchange
    }

    pub(super) fn routing_key(&self) -> &str {
        &self.routing_key
    }

    /// The lane that it takes.
    pub(super) fn lane(&self) -> Lane {
        if self.exchange() == topology::EVENTS {
            Lane::Events
        } else {
            Lane::Saga
        }
    }

    /// Whether being unroutable is an error: not for what may have no listener.
    fn mandatory(&self) -> bool {
        !matches!(self.exchange(), topology::EVENTS | "")
    }

    /// Whether several may share one AMQP message: only what is private to orchestrators and participants.
    fn batchable(&self) -> bool {
        matches!(self.exchange(), topology::COMMANDS | topology::REPLIES)
    }
}

/// An AMQP message that carries one or several of a batch.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) message: AmqpMessage,
    /// Which messages of the batch it carries, by position.
    pub(super) carries: Vec<usize>,
}

/// What `basic.publish` takes.
#[derive(Debug)]
pub(super) struct AmqpMessage {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) mandatory: bool,
    pub(super) properties: BasicProperties,
    pub(super) payload: Vec<u8>,
}

/// Puts `messages` into as few AMQP messages as the contract allows, in order for each destination.
pub(super) fn frames(messages: &[Outgoing], batch_max: usize) -> Vec<Frame> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (position, message) in messages.iter().enumerate() {
        // Few destinations are batchable, so a look at the newest groups finds the one to join.
        let joined = message.batchable().then(|| {
            groups.iter_mut().rev().find(|group| {
                let first = &messages[group[0]];
                first.exchange == message.exchange && first.routing_key == message.routing_key
            })
        });
        match joined.flatten() {
            Some(group) if group.len() < batch_max => group.push(position),
            _ => groups.push(vec![position]),
        }
    }
    groups
        .into_iter()
        .map(|group| frame(messages, group))
        .collect()
}

fn frame(messages: &[Outgoing], carries: Vec<usize>) -> Frame {
    let first = &messages[carries[0]];
    let (properties, payload) = match &first.content {
        Content::Raw(body, properties) => (properties.as_ref().clone(), body.to_vec()),
        Content::Event(envelope, json) if carries.len() == 1 => {
            (event_properties(envelope), json.as_bytes().to_vec())
        }
        Content::Event(envelope, _) => (
            batch_properties(envelope),
            batch_payload(messages, &carries),
        ),
    };
    let message = AmqpMessage {
        exchange: first.exchange().to_owned(),
        routing_key: first.routing_key().to_owned(),
        mandatory: first.mandatory(),
        properties,
        payload,
    };
    Frame { message, carries }
}

fn batch_payload(messages: &[Outgoing], carries: &[usize]) -> Vec<u8> {
    let events = carries
        .iter()
        .filter_map(|&position| messages[position].json());
    let mut payload =
        Vec::with_capacity(events.clone().map(|json| json.len() + 1).sum::<usize>() + 1);
    for json in events {
        payload.push(if payload.is_empty() { b'[' } else { b',' });
        payload.extend_from_slice(json.as_bytes());
    }
    payload.push(b']');
    payload
}

fn batch_properties(first: &Envelope) -> BasicProperties {
    BasicProperties::default()
        .with_content_type(MANY.into())
        .with_delivery_mode(PERSISTENT)
        .with_app_id(first.source.as_str().into())
}

/// The AMQP properties of a single event: what brokers and tools look at, repeated from the envelope.
pub(super) fn event_properties(envelope: &Envelope) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_content_type(ONE.into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(envelope.id.to_string().into())
        .with_type(envelope.kind.as_str().into())
        .with_app_id(envelope.source.as_str().into())
        .with_timestamp(envelope.time.timestamp().unsigned_abs());
    let mut headers = FieldTable::default();
    if let Some(id) = &envelope.correlationid {
        properties = properties.with_correlation_id(id.as_str().into());
        headers.insert(
            "x-correlation-id".into(),
            AMQPValue::LongString(id.as_str().into()),
        );
    }
    if let Some(trace) = &envelope.traceparent {
        headers.insert(
            "traceparent".into(),
            AMQPValue::LongString(trace.as_str().into()),
        );
    }
    properties.with_headers(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{
        Message, OrderId, Reason,
        inventory::{ReleaseStock, ReserveStock},
        payment::RefundPayment,
    };

    fn refund() -> Envelope {
        let data = RefundPayment {
            order_id: OrderId::generate(),
            reason: Reason::TIMEOUT,
        };
        Envelope::new("order-service", "an order", &data)
    }

    #[test]
    fn commands_for_one_participant_share_a_message_up_to_the_limit() {
        let messages: Vec<_> = (0..5)
            .map(|_| Outgoing::command("payment", refund()))
            .collect();
        let sizes = |max| {
            frames(&messages, max)
                .iter()
                .map(|f| f.carries.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(64), [5]);
        assert_eq!(sizes(2), [2, 2, 1]);
        assert_eq!(sizes(1), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_batch_is_an_array_of_the_same_events() {
        let messages: Vec<_> = (0..2)
            .map(|_| Outgoing::command("payment", refund()))
            .collect();
        let [batch] = &frames(&messages, 64)[..] else {
            panic!("one frame")
        };
        let events: Vec<Envelope> = serde_json::from_slice(&batch.message.payload).unwrap();
        assert_eq!(
            events.iter().map(|e| Some(e.id)).collect::<Vec<_>>(),
            messages.iter().map(Outgoing::id).collect::<Vec<_>>()
        );
        assert_eq!(
            batch
                .message
                .properties
                .content_type()
                .as_ref()
                .map(|t| t.as_str()),
            Some(MANY)
        );
    }

    #[test]
    fn destinations_are_kept_apart_and_events_stay_single() {
        let release = ReleaseStock {
            order_id: OrderId::generate(),
            reason: Reason::TIMEOUT,
        };
        let messages = [
            Outgoing::command("payment", refund()),
            Outgoing::command("inventory", Envelope::new("order-service", "x", &release)),
            Outgoing::command("payment", refund()),
            Outgoing::event(refund()),
            Outgoing::event(refund()),
        ];
        let carried: Vec<_> = frames(&messages, 64)
            .into_iter()
            .map(|f| f.carries)
            .collect();
        assert_eq!(carried, [vec![0, 2], vec![1], vec![3], vec![4]]);
    }

    #[test]
    fn only_what_may_have_no_listener_is_not_mandatory() {
        let [command, event] = [
            Outgoing::command("payment", refund()),
            Outgoing::event(refund()),
        ];
        assert!(command.mandatory());
        assert!(!event.mandatory());
        assert_eq!(ReserveStock::TYPE, "inventory.reserve.v1");
    }
}
