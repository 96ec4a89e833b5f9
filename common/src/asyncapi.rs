//! The AsyncAPI 3 document and the JSON Schemas, made from the Rust types.
//!
//! `docs/asyncapi.json` and `docs/schemas/*.json` are committed; a test fails when they no longer fit.
//!
//! Source: <https://www.asyncapi.com/docs/reference/specification/v3.0.0>

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    contract::{Message, inventory as i, order as o, payment as p, topology},
    fleet,
};

/// A message as the documents show it.
struct Documented {
    kind: &'static str,
    /// The channels that it travels on.
    channels: &'static [&'static str],
    schema: fn(&mut SchemaGenerator) -> Value,
}

const fn message<M: Message>(channels: &'static [&'static str]) -> Documented {
    Documented {
        kind: M::TYPE,
        channels,
        schema: schema::<M>,
    }
}

/// A channel: an exchange with the routing keys in use on it.
struct Channel {
    name: &'static str,
    exchange: &'static str,
    routing_key: &'static str,
    senders: &'static [&'static str],
    description: &'static str,
}

const ORDER: &str = fleet::ORDER.program.name;
const PAYMENT: &str = fleet::PAYMENT.program.name;
const INVENTORY: &str = fleet::INVENTORY.program.name;

const CHANNELS: [Channel; 5] = [
    Channel {
        name: "paymentCommands",
        exchange: topology::COMMANDS,
        routing_key: "payment",
        senders: &[ORDER],
        description: "Commands to the payment service. Several may share one AMQP message (CloudEvents JSON batch).",
    },
    Channel {
        name: "inventoryCommands",
        exchange: topology::COMMANDS,
        routing_key: "inventory",
        senders: &[ORDER],
        description: "Commands to the inventory service, and inventory.validate.v1 requests from anyone. Several may \
                      share one AMQP message (CloudEvents JSON batch).",
    },
    Channel {
        name: "orderReplies",
        exchange: topology::REPLIES,
        routing_key: "order",
        senders: &[PAYMENT, INVENTORY],
        description: "Outcomes, to the orchestrator whose command named them in replyto. Several may share one AMQP \
                      message (CloudEvents JSON batch).",
    },
    Channel {
        name: "events",
        exchange: topology::EVENTS,
        routing_key: "the event's type",
        senders: &[ORDER, PAYMENT, INVENTORY],
        description: "Public events, one a message. Bind a queue of your own with the types that you want, or #.",
    },
    Channel {
        name: "answers",
        exchange: "",
        routing_key: "the request's reply_to",
        senders: &[INVENTORY],
        description: "Answers to requests, straight to the queue that the request's AMQP reply_to names.",
    },
];

const OUTCOME: &[&str] = &["orderReplies", "events"];

/// Every message, in the order of the flow.
const MESSAGES: [Documented; 28] = [
    message::<o::OrderCreated>(&["events"]),
    message::<p::ProcessPayment>(&["paymentCommands"]),
    message::<p::PaymentProcessed>(OUTCOME),
    message::<p::PaymentFailed>(OUTCOME),
    message::<i::ReserveStock>(&["inventoryCommands"]),
    message::<i::StockReserved>(OUTCOME),
    message::<i::StockReservationFailed>(OUTCOME),
    message::<o::OrderCompleted>(&["events"]),
    message::<o::OrderFailed>(&["events"]),
    message::<i::ReleaseStock>(&["inventoryCommands"]),
    message::<i::StockReleased>(OUTCOME),
    message::<p::RefundPayment>(&["paymentCommands"]),
    message::<p::PaymentRefunded>(OUTCOME),
    message::<o::OrderCancelled>(&["events"]),
    message::<i::CommitStock>(&["inventoryCommands"]),
    message::<i::StockCommitted>(OUTCOME),
    message::<o::OrderShipped>(&["events"]),
    message::<o::OrderDelivered>(&["events"]),
    message::<i::Restock>(&["inventoryCommands"]),
    message::<i::Restocked>(OUTCOME),
    message::<p::RefundPart>(&["paymentCommands"]),
    message::<p::PartRefunded>(OUTCOME),
    message::<o::OrderReturned>(&["events"]),
    message::<i::ValidateStock>(&["inventoryCommands"]),
    message::<i::StockValidated>(&["answers"]),
    message::<i::InventoryUpdated>(&["events"]),
    message::<i::LowStock>(&["events"]),
    message::<i::BackInStock>(&["events"]),
];

fn schema<M: Message>(generator: &mut SchemaGenerator) -> Value {
    let mut schema = M::json_schema(generator).to_value();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["$id"] = format!("{}.json", M::TYPE).into();
    schema["title"] = M::TYPE.into();
    schema
}

/// The JSON Schema of each message's `data`, by type.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Value)> {
    // Inlined, so that each schema stands alone.
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.into_generator();
    MESSAGES
        .iter()
        .map(|message| (message.kind, (message.schema)(&mut generator)))
        .collect()
}

/// The files that are committed below `docs/`: their names and what is in them.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let pretty = |value: &Value| format!("{value:#}\n");
    let schemas = schemas()
        .into_iter()
        .map(|(kind, schema)| (format!("schemas/{kind}.json"), pretty(&schema)));
    schemas
        .chain([("asyncapi.json".to_owned(), pretty(&document()))])
        .collect()
}

/// The AsyncAPI 3 document.
#[must_use]
pub fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Order Saga",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Messages are CloudEvents 1.0 in the JSON format; the payloads here are their data. \
                            A new version of a message is a new type beside the old one."
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": by_name(CHANNELS.iter().map(|channel| (channel.name.to_owned(), channel_document(channel)))),
        "operations": operations(),
        "components": {
            "messages": by_name(schemas().into_iter().map(|(kind, schema)| (id(kind), message_document(kind, &schema)))),
            "messageTraits": { "cloudEvent": cloud_event() }
        }
    })
}

fn by_name(entries: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(entries.collect::<Map<_, _>>())
}

/// AsyncAPI component keys have no dots in most tools.
fn id(kind: &str) -> String {
    kind.replace('.', "_")
}

/// The services with a queue that is bound to `channel`: to the exchange of events with whatever types, to the others
/// with its routing key.
fn receivers(channel: &Channel) -> impl Iterator<Item = &'static str> {
    let is_bound = |queue: &&topology::Queue| {
        queue.exchange == channel.exchange
            && (channel.exchange == topology::EVENTS
                || queue.routing_keys.contains(&channel.routing_key))
    };
    let receives =
        move |service: &&fleet::Service| service.queues.iter().copied().any(|q| is_bound(&q));
    let services = fleet::SERVICES.into_iter().filter(receives);
    services.map(|service| service.program.name)
}

fn channel_document(channel: &Channel) -> Value {
    let messages = MESSAGES
        .iter()
        .filter(|message| message.channels.contains(&channel.name))
        .map(|message| {
            let reference = format!("#/components/messages/{}", id(message.kind));
            (id(message.kind), json!({ "$ref": reference }))
        });
    let kind = if channel.exchange == topology::EVENTS {
        "topic"
    } else {
        "direct"
    };
    let exchange = if channel.exchange.is_empty() {
        json!({ "type": "default" })
    } else {
        json!({ "name": channel.exchange, "type": kind, "durable": true, "autoDelete": false })
    };
    json!({
        "address": channel.routing_key,
        "description": channel.description,
        "messages": by_name(messages),
        "bindings": { "amqp": { "is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0" } }
    })
}

fn operations() -> Value {
    let operation = |action: &'static str, channel: &'static str| {
        move |service: &str| {
            let key = format!("{service}.{action}.{channel}")
                .replace('-', "_")
                .replace('.', "_");
            let reference = format!("#/channels/{channel}");
            (
                key,
                json!({ "action": action, "channel": { "$ref": reference }, "summary": format!("{service}: {action}") }),
            )
        }
    };
    by_name(CHANNELS.iter().flat_map(|channel| {
        let send = channel.senders.iter().copied();
        let send = send.map(operation("send", channel.name));
        let receive = receivers(channel).map(operation("receive", channel.name));
        send.chain(receive)
    }))
}

fn message_document(kind: &str, schema: &Value) -> Value {
    json!({
        "name": kind,
        "title": schema.get("description").cloned().unwrap_or_else(|| kind.into()),
        "contentType": "application/cloudevents+json",
        "traits": [{ "$ref": "#/components/messageTraits/cloudEvent" }],
        "payload": schema
    })
}

/// The envelope's attributes, as headers of every message.
fn cloud_event() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "headers": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "subject", "time"],
            "properties": {
                "specversion": { "const": "1.0" },
                "id": text("UUID; a message that is sent again has the same"),
                "source": text("the service that says it"),
                "type": text("the message's type"),
                "subject": text("the order's id, or the product's for events about stock"),
                "time": { "type": "string", "format": "date-time" },
                "datacontenttype": { "const": "application/json" },
                "sagaid": text("the saga that it belongs to"),
                "sagastep": text("the saga's step that it belongs to"),
                "correlationid": text("ties together all that one request caused"),
                "causationid": text("the id of the message that caused this one"),
                "sequence": { "type": "integer", "minimum": 1,
                              "description": "counts the public events of one source about one subject; outcomes of commands, \
                              for each step of a saga" },
                "traceparent": text("W3C trace context"),
                "replyto": text("on commands: the routing key on saga.replies for the outcome")
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_on_a_channel_that_exists() {
        for message in &MESSAGES {
            assert!(
                message
                    .channels
                    .iter()
                    .all(|name| CHANNELS.iter().any(|channel| channel.name == *name))
            );
        }
    }

    #[test]
    fn every_reference_resolves() {
        let document = document();
        let text = document.to_string();
        for part in text.split(r##""$ref":"#/"##).skip(1) {
            let reference = part.split('"').next().unwrap();
            assert!(
                document.pointer(&format!("/{reference}")).is_some(),
                "{reference}"
            );
        }
    }
}
