//! What is in a delivery: messages that the handler can read, and dead letters.

use std::sync::Arc;

use lapin::{BasicProperties, message::Delivery};
use serde_json::value::RawValue;
use tracing::debug;

use super::{
    super::{
        Outgoing,
        properties::{MANY, marks_of_redrive, properties_of_unreadable, with_marks},
    },
    dead_letter::dead_letter,
    foreign,
    handler::{Handler, Incoming},
    slow::Slow,
};
use crate::{
    contract::{Envelope, Trace, Unreadable},
    telemetry::{Span, messaging},
};

/// A message that could be read, and what the handler made of it.
pub(super) struct Item<I> {
    pub(super) origin: Origin,
    pub(super) input: I,
}

/// A message, and the delivery that it came in.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) message: Arc<Incoming>,
    pub(super) delivery: DeliveryTag,
    /// Set when it was too slow by itself.
    pub(super) slow: Option<Slow>,
    /// That it is being handled.
    span: Span,
}

impl Origin {
    /// Says that nothing more is done about it here: it is done, or it failed, for which there is a stable word and the
    /// reason.
    pub(super) fn over(&self, queue: &'static str, failure: Option<(&str, &str)>) {
        let span = self.span.clone();
        match failure {
            None => {
                say(queue, &self.message, "done");
                span.end();
            }
            Some((kind, error)) => {
                say(queue, &self.message, kind);
                span.fail(kind, error);
            }
        }
    }
}

/// A line for whoever looks at each message.
fn say(queue: &'static str, message: &Incoming, what: &str) {
    let Incoming {
        envelope, trace, ..
    } = message;
    debug!(
        queue,
        message.id = %envelope.id,
        message.kind = envelope.kind,
        saga.id = envelope.sagaid.map(tracing::field::display),
        saga.step = envelope.sagastep,
        correlation_id = envelope.correlationid,
        trace_id = trace.as_ref().map(Trace::name),
        "{what}"
    );
}

/// Deliveries are numbered in the order in which they come on a channel.
pub(super) type DeliveryTag = u64;

/// Messages that cannot be read.
#[derive(Default)]
pub(super) struct Dead {
    pub(super) letters: Vec<Outgoing>,
    /// Why the first of them cannot be read.
    pub(super) first: Option<Unreadable>,
}

/// Takes the data out of `delivery` and puts what the handler can read into `batch`, and the rest into `dead`.
pub(super) fn decode<H: Handler>(
    (queue, handler): (&'static str, &H),
    delivery: &mut Delivery,
    batch: &mut Vec<Item<H::Input>>,
    dead: &mut Dead,
) {
    let data = std::mem::take(&mut delivery.data);
    let properties = &delivery.properties;
    for json in messages(&data, properties) {
        match read((queue, handler), json, properties) {
            Ok((message, span, input)) => batch.push(Item {
                origin: Origin {
                    message: Arc::new(message),
                    delivery: delivery.delivery_tag,
                    slow: None,
                    span,
                },
                input,
            }),
            Err(reason) => {
                // Of several, only this one dies, as the single message that it might have been.
                let properties = if json.len() < data.len() {
                    with_marks(
                        properties_of_unreadable(json),
                        &marks_of_redrive(properties),
                    )
                } else {
                    properties.clone()
                };
                let (kind, error) = (reason.kind(), reason.to_string());
                let letter = dead_letter(queue, json.to_vec(), &properties, kind, &error, 1);
                dead.letters.push(letter);
                dead.first.get_or_insert(reason);
            }
        }
    }
}

/// The messages in `data`, each as JSON. What calls itself a batch and is none counts as one message.
fn messages<'d>(data: &'d [u8], properties: &BasicProperties) -> Vec<&'d [u8]> {
    let content_type = properties.content_type().as_ref();
    if content_type.is_some_and(|kind| kind.as_str() == MANY)
        && let Ok(messages) = serde_json::from_slice::<Vec<&RawValue>>(data)
    {
        return messages
            .into_iter()
            .map(|message| message.get().as_bytes())
            .collect();
    }
    vec![data]
}

fn read<H: Handler>(
    (queue, handler): (&'static str, &H),
    json: &[u8],
    properties: &BasicProperties,
) -> Result<(Incoming, Span, H::Input), Unreadable> {
    let text =
        |property: &Option<lapin::types::ShortString>| property.as_ref().map(ToString::to_string);
    let envelope = Envelope::parse(json).or_else(|_| foreign::read(json, properties))?;
    let span = messaging::process(queue, &envelope);
    let message = Incoming {
        trace: span.trace_or(envelope.trace()),
        envelope,
        reply_to: text(properties.reply_to()),
        correlation_id: text(properties.correlation_id()),
        redriven: marks_of_redrive(properties),
    };
    say(queue, &message, "taken");
    match handler.decode(&message) {
        Ok(input) => Ok((message, span, input)),
        Err(reason) => {
            span.fail(reason.kind(), &reason.to_string());
            Err(reason)
        }
    }
}
