//! The spans of a message: it is created, sent, and processed.
//!
//! ```text
//! what caused it ─► create ─┬─► send, until the broker has confirmed it
//!                           └─► process, which causes others
//! ```
//!
//! A message carries the place of its `create`, so that whoever reads it, however late and from whatever process it was
//! sent, goes on from there.
//!
//! Source: <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>

use super::{KeyValue, Span, SpanKind, is_collected};
use crate::contract::{Envelope, Trace, topology};

/// The span of making the message `envelope`, which goes to these.
pub(crate) fn create(to: (&str, &str), envelope: &Envelope) -> Span {
    begin(SpanKind::Producer, "create", to, envelope)
}

/// The span of sending the message `envelope`, which was made before.
pub(crate) fn send(to: (&str, &str), envelope: &Envelope) -> Span {
    begin(SpanKind::Client, "send", to, envelope)
}

/// The span of handling the message `envelope` of `queue`.
pub(crate) fn process(queue: &'static str, envelope: &Envelope) -> Span {
    begin(SpanKind::Consumer, "process", (queue, ""), envelope)
}

fn begin(
    kind: SpanKind,
    operation: &'static str,
    (exchange, routing_key): (&str, &str),
    envelope: &Envelope,
) -> Span {
    if !is_collected() {
        return Span::default();
    }
    let name = destination_name(exchange, routing_key);
    let parent = envelope.trace();
    Span::begin(kind, parent.as_ref(), || format!("{operation} {name}"))
        .with(|| attributes(operation, name.clone(), routing_key))
        .with(|| about(envelope))
}

/// Source: `messaging.destination.name` in <https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/>
fn destination_name(exchange: &str, routing_key: &str) -> String {
    match (exchange, routing_key) {
        (topology::DEFAULT, key) => key.to_owned(),
        (exchange, "") => exchange.to_owned(),
        (exchange, key) => format!("{exchange}:{key}"),
    }
}

/// The span of handling so many messages of `queue` together. It is in a trace of its own and linked to the `places` where
/// they were made, for it belongs to each of their traces.
pub(crate) fn process_batch(queue: &'static str, messages: usize, places: &[Trace]) -> Span {
    let messages = i64::try_from(messages).unwrap_or(i64::MAX);
    Span::begin(SpanKind::Consumer, None, || format!("process {queue}"))
        .with(|| attributes("process", queue.to_owned(), ""))
        .with(|| [KeyValue::new("messaging.batch.message_count", messages)])
        .linked(places)
}

fn attributes(operation: &'static str, destination: String, routing_key: &str) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("messaging.system", "rabbitmq"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.destination.name", destination),
    ];
    if !routing_key.is_empty() {
        let key = routing_key.to_owned();
        attributes.push(KeyValue::new(
            "messaging.rabbitmq.destination.routing_key",
            key,
        ));
    }
    attributes
}

fn about(envelope: &Envelope) -> impl Iterator<Item = KeyValue> + use<> {
    let saga = envelope.sagaid.map(|saga| saga.to_string());
    let known = [
        ("messaging.message.id", Some(envelope.id.to_string())),
        (
            "messaging.message.conversation_id",
            envelope.correlationid.clone(),
        ),
        ("cloudevents.event_type", Some(envelope.kind.clone())),
        ("saga.id", saga),
        ("saga.step", envelope.sagastep.clone()),
    ];
    let known = known.into_iter();
    known.filter_map(|(name, value)| Some(KeyValue::new(name, value?)))
}
