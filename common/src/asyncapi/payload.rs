//! What an AMQP message looks like: the CloudEvent with its data, or an array of them, with headers and properties.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::messages::{Documented, Role, id};
use crate::contract::{Envelope, Reason, inventory as i, payment as p, topology};

/// Media type of one message.
pub(super) const ONE: &str = "application/cloudevents+json";
/// Media type of several.
const MANY: &str = "application/cloudevents-batch+json";
/// The dialect of all schemas, which every reader of AsyncAPI 3 has to know.
const DIALECT: &str = "application/schema+json;version=draft-07";

/// The message that holds several for `queue`.
pub(super) fn batch_id(queue: &str) -> String {
    format!("{}_batch", id(queue))
}

/// What is there when a message was refused or given up.
pub(super) const DEAD_LETTER: &str = "dead_letter";

/// What `message` may be sent to in a batch, and under which name.
pub(super) fn batched<'m>(
    messages: &'m [Documented],
    queue: &'m topology::Queue,
) -> impl Iterator<Item = &'m Documented> {
    messages.iter().filter(move |message| match message.role {
        Role::Command(participant) | Role::Question(participant) => {
            queue.exchange == topology::COMMANDS && queue.routing_keys.contains(&participant)
        }
        Role::Outcome => queue.exchange == topology::REPLIES,
        Role::Event | Role::Notice | Role::Answer => false,
    })
}

/// The schemas of all payloads, and of what is in them.
pub(super) fn schemas(messages: &[Documented]) -> Map<String, Value> {
    let settings =
        SchemaSettings::draft07().with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let payloads: Vec<_> = messages
        .iter()
        .map(|message| (id(message.kind), payload(message, &mut generator)))
        .collect();
    let mut schemas = generator.take_definitions(true);
    if let Some(reason) = schemas.get_mut(&reason_schema()) {
        reason["examples"] = json!([
            p::PAYMENT_DECLINED,
            i::OUT_OF_STOCK,
            i::UNKNOWN_PRODUCT,
            Reason::TIMEOUT,
            Reason::CUSTOMER_REQUEST,
            Reason::OPERATOR,
            Reason::ALREADY_COMPENSATED
        ]);
    }
    schemas.extend(payloads);
    for queue in topology::QUEUES {
        let kinds = batched(messages, queue).map(|message| reference(&id(message.kind)));
        let batch = json!({
            "description": format!("Several messages for {} in one AMQP message, in their order.", queue.name),
            "type": "array",
            "items": { "oneOf": kinds.collect::<Vec<_>>() }
        });
        schemas.insert(batch_id(queue.name), batch);
    }
    schemas
}

fn reason_schema() -> String {
    <Reason as schemars::JsonSchema>::schema_name().into_owned()
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn payload(message: &Documented, generator: &mut SchemaGenerator) -> Value {
    let data = (message.schema)(generator);
    json!({
        "title": message.kind,
        "allOf": [generator.subschema_for::<Envelope>()],
        "properties": { "type": { "const": message.kind }, "data": data },
        "required": message.required()
    })
}

/// All messages, those that hold several, and the dead letter.
pub(super) fn messages(messages: &[Documented]) -> Map<String, Value> {
    let single = messages.iter().map(|message| {
        let document = json!({
            "name": message.kind,
            "title": message.kind,
            "summary": summary(message),
            "traits": [{ "$ref": "#/components/messageTraits/cloudEvent" }],
            "payload": { "schemaFormat": DIALECT, "schema": reference(&id(message.kind)) },
            "bindings": { "amqp": { "messageType": message.kind, "bindingVersion": "0.3.0" } },
            "examples": [{ "name": message.kind, "payload": message.example }]
        });
        (id(message.kind), document)
    });
    let batches = topology::QUEUES.into_iter().map(|queue| {
        let examples = batched(messages, queue).take(2).map(|m| &m.example);
        let document = json!({
            "name": format!("{}.batch", queue.name),
            "title": format!("Several messages for {}", queue.name),
            "contentType": MANY,
            "payload": { "schemaFormat": DIALECT, "schema": reference(&batch_id(queue.name)) },
            "examples": [{ "name": "two", "payload": examples.collect::<Vec<_>>() }]
        });
        (batch_id(queue.name), document)
    });
    single
        .chain(batches)
        .chain([(DEAD_LETTER.to_owned(), dead_letter())])
        .collect()
}

/// What the data's type says about itself.
fn summary(message: &Documented) -> Value {
    let inlined = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let schema = (message.schema)(&mut inlined.into_generator());
    schema.get("description").cloned().unwrap_or_default()
}

/// What all single messages have in common: headers, and where the correlation id is.
pub(super) fn cloud_event() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "contentType": ONE,
        "correlationId": {
            "description": "Ties together all that one request caused, across services",
            "location": "$message.payload#/correlationid"
        },
        "headers": {
            "schemaFormat": DIALECT,
            "schema": {
                "type": "object",
                "properties": {
                    "x-correlation-id": text("The attribute correlationid, where there is one"),
                    "traceparent": text("The attribute traceparent, where there is one"),
                    "tracestate": text("The attribute tracestate, where there is one")
                }
            }
        },
        // AsyncAPI has no place of its own for properties.
        "x-amqp-properties": {
            "content_type": text("application/cloudevents+json"),
            "delivery_mode": { "const": 2, "description": "Persistent" },
            "message_id": text("The attribute id"),
            "type": text("The attribute type"),
            "app_id": text("The attribute source"),
            "timestamp": { "type": "integer", "description": "The attribute time, in whole seconds" },
            "correlation_id": text("The attribute correlationid; of an answer, what the question had here"),
            "reply_to": text("On a question: the queue that the answer goes to")
        }
    })
}

fn dead_letter() -> Value {
    json!({
        "name": DEAD_LETTER,
        "title": "A message that could not be handled",
        "summary": "The body as it came, with what identifies it, and headers that say why it is here. What RabbitMQ \
                    itself gave up has x-death instead.",
        "contentType": "application/octet-stream",
        "headers": {
            "schemaFormat": DIALECT,
            "schema": {
                "type": "object",
                "properties": {
                    "x-error-kind": {
                        "type": "string",
                        "enum": ["unreadable", "unknown-type", "missing-attribute", "invalid-data", "refused", "handler-failed"]
                    },
                    "x-error": { "type": "string", "description": "What is wrong, in words" },
                    "x-failed-at": { "type": "string", "format": "date-time" },
                    "x-attempts": { "type": "integer", "minimum": 1 },
                    "x-redriven": { "type": "integer", "minimum": 1, "description": "How often an operator had it sent again before" },
                    "x-redrive": { "type": "string", "format": "uuid", "description": "By which request, the last time" }
                }
            }
        },
        "payload": { "schemaFormat": DIALECT, "schema": { "description": "Anything" } }
    })
}
