//! The AsyncAPI 3 document and the JSON Schemas, made from the Rust types.
//!
//! ```text
//! messages    every message: who says it to whom, and an example
//! payload     what an AMQP message looks like: the CloudEvent with its data, headers and properties
//! channels    exchanges, routing keys and queues; who sends and who receives there, and what is answered
//! ```
//!
//! `docs/asyncapi.json` and `docs/schemas/*.json` are committed; a test fails when they no longer fit.
//!
//! Source: <https://www.asyncapi.com/docs/reference/specification/v3.1.0>

mod channels;
mod messages;
mod payload;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::fleet;

/// Where the order service serves the schemas, when it runs on this machine at its usual port.
fn schema_id(kind: &str) -> String {
    let port = fleet::ORDER.program.port;
    format!("http://localhost:{port}/api/docs/schemas/{kind}.json")
}

/// The JSON Schema of each message's `data`, by type.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Value)> {
    // Inlined, so that each schema stands alone.
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.into_generator();
    let messages = messages::all().into_iter();
    let schema = |message: messages::Documented| {
        let mut schema = (message.schema)(&mut generator).to_value();
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
        schema["$id"] = schema_id(message.kind).into();
        schema["title"] = message.kind.into();
        (message.kind, schema)
    };
    messages.map(schema).collect()
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
    let messages = messages::all();
    let channels = channels::all(&messages);
    let documents = channels.iter();
    let documents = documents.map(|channel| (channel.id.clone(), channel.document()));
    let operations = channels::operations(&messages).into_iter();
    json!({
        "asyncapi": "3.1.0",
        "id": "urn:order-saga:messages",
        "info": {
            "title": "Order Saga",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the services say to each other, and to everybody. Every message is a CloudEvent 1.0 \
                            in the JSON format. A message whose meaning changes gets a new type beside the old one; \
                            attributes and fields may be added to any message.",
            "license": { "name": env!("CARGO_PKG_LICENSE") }
        },
        "defaultContentType": payload::ONE,
        "servers": {
            "development": {
                "host": "localhost:5672",
                "protocol": "amqp",
                "protocolVersion": "0-9-1",
                "description": "RabbitMQ, as ./dev and Docker Compose start it",
                "security": [{ "$ref": "#/components/securitySchemes/user" }]
            }
        },
        "channels": documents.collect::<Map<_, _>>(),
        "operations": operations.collect::<Map<_, _>>(),
        "components": {
            "securitySchemes": { "user": { "type": "userPassword" } },
            "schemas": payload::schemas(&messages),
            "messages": payload::messages(&messages),
            "messageTraits": { "cloudEvent": payload::cloud_event() }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn every_message_is_sent_and_received() {
        let document = document();
        let operations = document["operations"].as_object().unwrap();
        for message in messages::all() {
            let end = format!("/messages/{}\"", messages::id(message.kind));
            let is_named = |operation: &Value| operation.to_string().contains(&end);
            assert!(operations.values().any(is_named), "{}", message.kind);
        }
    }
}
