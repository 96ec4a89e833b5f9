//! Whether messages are what `docs/asyncapi.json` says: a reader of them that knows the document and nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Mutex,
};

use jsonschema::{Draft, Validator};
use lapin::{
    BasicProperties, Connection,
    message::Delivery,
    options::{BasicAckOptions, BasicGetOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use common::{amqp::connect_to, asyncapi, contract::topology};

/// So many things that are wrong are told.
const PROBLEMS_MAX: usize = 10;

/// The document, ready to be compared with messages.
pub struct Contract {
    document: Value,
    /// The schemas of payload and headers, by message.
    messages: HashMap<String, (Validator, Validator)>,
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract").finish_non_exhaustive()
    }
}

impl Default for Contract {
    fn default() -> Self {
        Self::new()
    }
}

impl Contract {
    /// What this version of the services promises.
    ///
    /// # Panics
    /// A schema in the document is none.
    #[must_use]
    pub fn new() -> Self {
        let document = asyncapi::document();
        let compile = |schema: &Value| {
            // What it refers to is found from the root.
            let root = json!({ "allOf": [schema], "components": document["components"] });
            let options = jsonschema::options().with_draft(Draft::Draft7);
            // Draft 7 does not have this one yet.
            let options = options.with_format("uuid", |text: &str| Uuid::try_parse(text).is_ok());
            let validator = options.should_validate_formats(true).build(&root);
            validator.expect("the document's schemas are schemas")
        };
        let trait_headers = &document["components"]["messageTraits"]["cloudEvent"]["headers"];
        let messages = object(&document["components"]["messages"]).map(|(id, message)| {
            let headers = message.get("headers").unwrap_or(trait_headers);
            let validators = (
                compile(&message["payload"]["schema"]),
                compile(&headers["schema"]),
            );
            (id.clone(), validators)
        });
        Self {
            messages: messages.collect(),
            document,
        }
    }

    /// Checks an AMQP message that went to `exchange` with `routing_key`, and returns the types of the messages in it.
    ///
    /// # Errors
    /// It is not what the document says, and why.
    pub fn check(
        &self,
        (exchange, routing_key): (&str, &str),
        properties: &BasicProperties,
        body: &[u8],
    ) -> Result<Vec<String>, String> {
        let channel = self
            .channel(exchange, routing_key)
            .ok_or_else(|| format!("there is no channel {routing_key:?} of {exchange:?}"))?;
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let events = match &body {
            Value::Array(events) => events.as_slice(),
            event => std::slice::from_ref(event),
        };
        let types = events.iter().map(|event| event["type"].as_str());
        let types: Option<Vec<_>> = types.map(|kind| kind.map(ToOwned::to_owned)).collect();
        let types = types.ok_or("a message has no type")?;
        for (kind, event) in types.iter().zip(events) {
            let id = self.message(channel, "name", kind);
            let id = id.ok_or_else(|| {
                format!("there is no {kind:?} on the channel {routing_key:?} of {exchange:?}")
            })?;
            self.fits(id, event, properties)?;
        }
        if body.is_array() {
            let id = self.message(channel, "contentType", content_type(properties));
            let id = id.ok_or("several messages share one, with another content type")?;
            self.fits(id, &body, properties)?;
        } else if content_type(properties) != self.document["defaultContentType"] {
            return Err("a single message has another content type".to_owned());
        } else if properties.kind().as_ref().map(ToString::to_string) != types.first().cloned() {
            return Err("the property type is not the attribute type".to_owned());
        }
        Ok(types)
    }

    /// Whether each example of the document fits the schema that it stands beside.
    ///
    /// # Errors
    /// One does not, and why.
    pub fn check_examples(&self) -> Result<usize, String> {
        let mut count = 0;
        for (id, message) in object(&self.document["components"]["messages"]) {
            for example in message["examples"].as_array().into_iter().flatten() {
                self.fits(id, &example["payload"], &BasicProperties::default())?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// The channel with this address; of an exchange whose other addresses nobody knows in advance, the one for these.
    fn channel(&self, exchange: &str, routing_key: &str) -> Option<&Value> {
        let of_exchange = || {
            let channels = object(&self.document["channels"]).map(|(_, channel)| channel);
            channels.filter(|channel| {
                let binding = &channel["bindings"]["amqp"]["exchange"];
                binding.is_object() && binding["name"].as_str().unwrap_or_default() == exchange
            })
        };
        let has_address = |channel: &&Value| {
            let parameters = object(&channel["parameters"]).flat_map(|(_, parameter)| {
                let values = parameter["enum"].as_array();
                values.into_iter().flatten()
            });
            let mut addresses = parameters.chain([&channel["address"]]);
            addresses.any(|address| address == routing_key)
        };
        let unknown = || of_exchange().find(|channel| channel["address"].is_null());
        of_exchange().find(has_address).or_else(unknown)
    }

    /// The id of the message on `channel` whose `field` is `value`.
    fn message<'c>(&self, channel: &'c Value, field: &str, value: &str) -> Option<&'c String> {
        let all = &self.document["components"]["messages"];
        let mut ids = object(&channel["messages"]).map(|(id, _)| id);
        ids.find(|id| all[id.as_str()][field] == value)
    }

    fn fits(&self, id: &str, payload: &Value, properties: &BasicProperties) -> Result<(), String> {
        let (of_payload, of_headers) = &self.messages[id];
        let told = |what: &str, error: jsonschema::ValidationError<'_>| {
            format!("{what} of {id}: {}: {error}", error.instance_path())
        };
        of_payload
            .validate(payload)
            .map_err(|e| told("payload", e))?;
        let headers = headers(properties);
        of_headers
            .validate(&headers)
            .map_err(|e| told("headers", e))
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn content_type(properties: &BasicProperties) -> &str {
    let kind = properties.content_type().as_ref();
    kind.map_or("", |kind| kind.as_str())
}

/// Texts as such; of anything else, no schema says anything.
fn headers(properties: &BasicProperties) -> Value {
    let table = properties.headers().iter().flat_map(FieldTable::inner);
    let headers = table.map(|(name, value)| {
        let value = match value {
            AMQPValue::LongString(text) => text.to_string().into(),
            AMQPValue::LongLongInt(number) => (*number).into(),
            _ => Value::Null,
        };
        (name.to_string(), value)
    });
    Value::Object(headers.collect::<Map<_, _>>())
}

/// What was said, by type, and what of it is not what the document says.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// How many messages of each type fit.
    pub fit: BTreeMap<String, usize>,
    /// What is wrong with others: the first of them.
    pub problems: Vec<String>,
}

impl Heard {
    /// Takes the outcome of a check into account.
    pub fn note(&mut self, checked: Result<Vec<String>, String>) {
        match checked {
            Ok(types) => {
                for kind in types {
                    *self.fit.entry(kind).or_default() += 1;
                }
            }
            Err(problem) if self.problems.len() < PROBLEMS_MAX => self.problems.push(problem),
            Err(_) => {}
        }
    }

    /// How many messages fit.
    #[must_use]
    pub fn count(&self) -> usize {
        self.fit.values().sum()
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, types) = (self.count(), self.fit.len());
        write!(
            f,
            "{count} messages of {types} types fit docs/asyncapi.json"
        )?;
        for problem in &self.problems {
            write!(f, "\n✘ this one does not: {problem}")?;
        }
        Ok(())
    }
}

/// A queue that has a copy of every command, reply and event, as long as it is held.
#[derive(Debug)]
pub struct Tap {
    // Held, for the queue ends with it.
    _connection: Connection,
    channel: lapin::Channel,
    queue: String,
    heard: Mutex<Heard>,
}

impl Tap {
    /// Begins to copy. The services have declared the exchanges.
    ///
    /// # Errors
    /// The broker does not answer, or has no such exchange.
    pub async fn open(url: &str) -> lapin::Result<Self> {
        let connection = connect_to(url).await?;
        let channel = connection.create_channel().await?;
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = channel.queue_declare("".into(), exclusive, FieldTable::default());
        let queue = queue.await?.name().to_string();
        let working = topology::QUEUES.into_iter().flat_map(|queue| {
            let keys = queue.routing_keys.iter();
            keys.map(|key| (queue.exchange, *key))
        });
        for (exchange, key) in working.chain([(topology::EVENTS, "#")]) {
            channel
                .queue_bind(
                    queue.as_str().into(),
                    exchange.into(),
                    key.into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await?;
        }
        Ok(Self {
            _connection: connection,
            channel,
            queue,
            heard: Mutex::default(),
        })
    }

    /// Compares what has come with the document, and returns what was heard so far.
    ///
    /// # Errors
    /// The broker does not answer.
    ///
    /// # Panics
    /// Never: nothing panics while it holds what was heard.
    pub async fn compare(&self, contract: &Contract) -> lapin::Result<Heard> {
        let queue = || self.queue.as_str().into();
        while let Some(message) = self
            .channel
            .basic_get(queue(), BasicGetOptions::default())
            .await?
        {
            let Delivery {
                exchange,
                routing_key,
                properties,
                data,
                acker,
                ..
            } = &message.delivery;
            let to = (exchange.as_str(), routing_key.as_str());
            let compared = contract.check(to, properties, data);
            self.heard
                .lock()
                .expect("nobody panics with it")
                .note(compared);
            acker.ack(BasicAckOptions::default()).await?;
        }
        Ok(self.heard.lock().expect("nobody panics with it").clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document's own example of a message, and what AMQP says about it.
    fn example(id: &str) -> (Value, BasicProperties) {
        let mut document = asyncapi::document();
        let event = document["components"]["messages"][id]["examples"][0]["payload"].take();
        let kind = event["type"].as_str().unwrap();
        let properties = BasicProperties::default()
            .with_content_type("application/cloudevents+json".into())
            .with_type(kind.into());
        (event, properties)
    }

    const PROCESS: (&str, &str) = ("saga.commands", "payment");

    #[test]
    fn every_example_fits() {
        assert_eq!(Contract::new().check_examples(), Ok(33));
    }

    #[test]
    fn what_fits_is_named() {
        let contract = Contract::new();
        let check = |to, properties: &_, event: &Value| {
            contract.check(to, properties, event.to_string().as_bytes())
        };
        let (event, properties) = example("payment_process_v1");
        let types = check(PROCESS, &properties, &event).unwrap();
        assert_eq!(types, ["payment.process.v1"]);
        let batch = properties.with_content_type("application/cloudevents-batch+json".into());
        let types = check(PROCESS, &batch, &json!([event, event])).unwrap();
        assert_eq!(types.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_found() {
        let contract = Contract::new();
        let check = |to, properties: &_, event: &Value| {
            contract.check(to, properties, event.to_string().as_bytes())
        };
        let (good, properties) = example("payment_process_v1");
        let with = |change: &dyn Fn(&mut Value)| {
            let mut event = good.clone();
            change(&mut event);
            event
        };
        let wrong: [&dyn Fn(&mut Value); 8] = [
            &|event| event["data"]["amount"] = json!(39.98),
            &|event| event["data"]["orderId"] = json!("an order"),
            &|event| drop(event["data"].as_object_mut().unwrap().remove("currency")),
            &|event| drop(event.as_object_mut().unwrap().remove("replyto")),
            &|event| event["type"] = json!("payment.refund.v1"),
            &|event| event["type"] = json!("payment.processed.v1"),
            &|event| event["time"] = json!("yesterday"),
            &|event| event["specversion"] = json!("0.3"),
        ];
        for change in wrong {
            let event = with(change);
            let as_said = properties
                .clone()
                .with_type(event["type"].as_str().unwrap().into());
            let checked = check(PROCESS, &as_said, &event);
            assert!(checked.is_err(), "{event}");
        }
        assert!(check(("saga.commands", "inventory"), &properties, &good).is_err());
        assert!(check(("saga.events", "payment.process.v1"), &properties, &good).is_err());
        assert!(check(PROCESS, &properties, &json!([good])).is_err());
        assert!(check(PROCESS, &properties.clone().with_type("x".into()), &good).is_err());
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), AMQPValue::LongLongInt(1));
        assert!(check(PROCESS, &properties.with_headers(headers), &good).is_err());
    }
}
