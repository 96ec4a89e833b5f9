//! What AMQP says about a message beside its body.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::{Map, Value};

use crate::contract::Envelope;

/// Media type of one message, which is a CloudEvent.
pub(super) const ONE: &str = "application/cloudevents+json";
/// Media type of a JSON array of messages.
pub(super) const MANY: &str = "application/cloudevents-batch+json";
/// AMQP delivery mode of a message that survives a restart of the broker.
pub(super) const PERSISTENT: u8 = 2;

/// Bytes of all headers of a dead letter that are kept, by their names and values.
const HEADERS_MAX: usize = 8 * 1024;
/// Headers that route: a dead letter has one destination.
const ROUTING_HEADERS: [&str; 2] = ["CC", "BCC"];

/// What says how often a message was redriven, ...
const REDRIVEN: &str = "x-redriven";
/// ... and by which request, the last time.
const REDRIVE: &str = "x-redrive";
/// How the headers begin that say why and how often a message died: ours, and those of RabbitMQ.
const DEATH_HEADERS: [&str; 8] = [
    "x-error",
    "x-failed-at",
    "x-attempts",
    "x-death",
    "x-first-death-",
    "x-last-death-",
    "x-delivery-count",
    "x-acquired-count",
];

/// `text` as AMQP's short string, which ends after 255 bytes.
pub(super) fn short(text: &str) -> ShortString {
    let longest = text.floor_char_boundary(255);
    ShortString::try_new(&text[..longest]).unwrap_or_default()
}

/// Of what AMQP says about a message, that which identifies it and does nothing: not when it expires, who may publish
/// it, or where else it goes. Of large headers, the first are kept.
pub(super) fn identifying(properties: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default();
    if let Some(kind) = properties.content_type() {
        kept = kept.with_content_type(kind.clone());
    }
    if let Some(encoding) = properties.content_encoding() {
        kept = kept.with_content_encoding(encoding.clone());
    }
    if let Some(id) = properties.message_id() {
        kept = kept.with_message_id(id.clone());
    }
    if let Some(id) = properties.correlation_id() {
        kept = kept.with_correlation_id(id.clone());
    }
    if let Some(kind) = properties.kind() {
        kept = kept.with_type(kind.clone());
    }
    if let Some(id) = properties.app_id() {
        kept = kept.with_app_id(id.clone());
    }
    if let Some(queue) = properties.reply_to() {
        kept = kept.with_reply_to(queue.clone());
    }
    if let Some(time) = properties.timestamp() {
        kept = kept.with_timestamp(*time);
    }
    let mut headers = FieldTable::default();
    let mut left = HEADERS_MAX;
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        let size = name.as_str().len() + size(value);
        if size <= left && !ROUTING_HEADERS.contains(&name.as_str()) {
            left -= size;
            headers.insert(name.clone(), value.clone());
        }
    }
    kept.with_headers(headers)
}

/// The properties of a dead letter that goes to its queue again: what identifies it, without what says why it died, and
/// that it was redriven so many `times`, the last time by `redrive`.
pub(super) fn redriven(properties: &BasicProperties, times: u32, redrive: &str) -> BasicProperties {
    let properties = identifying(properties);
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        let is_of_death = |death: &&str| name.as_str().starts_with(*death);
        if !DEATH_HEADERS.iter().any(is_of_death) {
            headers.insert(name.clone(), value.clone());
        }
    }
    headers.insert(REDRIVEN.into(), AMQPValue::LongLongInt(i64::from(times)));
    headers.insert(REDRIVE.into(), AMQPValue::LongString(redrive.into()));
    properties.with_headers(headers)
}

/// What says that a message was redriven, of all that AMQP says about it: nothing of one that was not. It stays with the
/// message when it dies again.
pub(super) fn marks_of_redrive(properties: &BasicProperties) -> FieldTable {
    let mut marks = FieldTable::default();
    if let Some(headers) = properties.headers() {
        for name in [REDRIVEN, REDRIVE] {
            if let Some(value) = headers.inner().get(name).filter(|value| size(value) <= 255) {
                marks.insert(name.into(), value.clone());
            }
        }
    }
    marks
}

/// `properties` with `marks` among their headers.
pub(super) fn with_marks(properties: BasicProperties, marks: &FieldTable) -> BasicProperties {
    if marks.inner().is_empty() {
        return properties;
    }
    let mut headers = properties.headers().clone().unwrap_or_default();
    for (name, value) in marks.inner() {
        headers.insert(name.clone(), value.clone());
    }
    properties.with_headers(headers)
}

/// About as many bytes as `value` has on the wire.
fn size(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::ShortString(text) => text.as_str().len(),
        AMQPValue::LongString(text) => text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => bytes.as_slice().len(),
        AMQPValue::FieldArray(values) => {
            values.as_slice().iter().map(|value| 1 + size(value)).sum()
        }
        AMQPValue::FieldTable(table) => {
            let entry =
                |(name, value): (&ShortString, &AMQPValue)| 2 + name.as_str().len() + size(value);
            table.inner().iter().map(entry).sum()
        }
        _ => 8,
    }
}

/// The properties of several messages in one, of which `first` is the first.
pub(super) fn batch_properties(first: &Envelope) -> BasicProperties {
    BasicProperties::default()
        .with_content_type(MANY.into())
        .with_delivery_mode(PERSISTENT)
        .with_app_id(short(&first.source))
}

/// The properties of a single message: what brokers and tools look at, repeated from the envelope.
pub(super) fn message_properties(envelope: &Envelope) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_content_type(ONE.into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(envelope.id.to_string().into())
        .with_type(short(&envelope.kind))
        .with_app_id(short(&envelope.source))
        .with_timestamp(envelope.time.timestamp().unsigned_abs());
    let mut headers = FieldTable::default();
    if let Some(id) = &envelope.correlationid {
        properties = properties.with_correlation_id(short(id));
        headers.insert(
            "x-correlation-id".into(),
            AMQPValue::LongString(id.as_str().into()),
        );
    }
    for (name, value) in [
        ("traceparent", &envelope.traceparent),
        ("tracestate", &envelope.tracestate),
    ] {
        if let Some(value) = value {
            headers.insert(name.into(), AMQPValue::LongString(value.as_str().into()));
        }
    }
    properties.with_headers(headers)
}

/// The properties of a message that came with others in one and cannot be read: what identifies it, as far as it says so.
pub(super) fn properties_of_unreadable(json: &[u8]) -> BasicProperties {
    let event: Map<String, Value> = serde_json::from_slice(json).unwrap_or_default();
    let text = |attribute: &str| event.get(attribute).and_then(Value::as_str);
    let mut properties = BasicProperties::default().with_content_type(ONE.into());
    if let Some(id) = text("id") {
        properties = properties.with_message_id(short(id));
    }
    if let Some(kind) = text("type") {
        properties = properties.with_type(short(kind));
    }
    if let Some(source) = text("source") {
        properties = properties.with_app_id(short(source));
    }
    if let Some(id) = text("correlationid") {
        properties = properties.with_correlation_id(short(id));
    }
    let mut headers = FieldTable::default();
    for (name, attribute) in [
        ("x-correlation-id", "correlationid"),
        ("traceparent", "traceparent"),
        ("tracestate", "tracestate"),
    ] {
        if let Some(value) = text(attribute) {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
    }
    properties.with_headers(headers)
}
