//! What AMQP says about a message beside its body.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};

use crate::contract::Envelope;

/// Media type of one message, which is a CloudEvent.
pub(super) const ONE: &str = "application/cloudevents+json";
/// Media type of a JSON array of messages.
pub(super) const MANY: &str = "application/cloudevents-batch+json";
/// AMQP delivery mode of a message that survives a restart of the broker.
pub(super) const PERSISTENT: u8 = 2;

/// The properties of several messages in one, of which `first` is the first.
pub(super) fn batch_properties(first: &Envelope) -> BasicProperties {
    BasicProperties::default()
        .with_content_type(MANY.into())
        .with_delivery_mode(PERSISTENT)
        .with_app_id(first.source.as_str().into())
}

/// The properties of a single message: what brokers and tools look at, repeated from the envelope.
pub(super) fn message_properties(envelope: &Envelope) -> BasicProperties {
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
