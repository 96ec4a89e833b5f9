//! Exchanges, routing keys and queues as channels, and what services do with them as operations.
//!
//! What is sent goes to an exchange with a routing key; what is received comes from a queue. AsyncAPI's binding for AMQP
//! describes either in one channel, so each queue is a channel beside that of its exchange and key.

use serde_json::{Map, Value, json};

use super::{
    messages::{Documented, Role, id},
    payload::{DEAD_LETTER, batch_id, batched},
};
use crate::{
    contract::topology::{self, Queue},
    fleet::{self, Service},
};

/// A channel, and the messages on it by their ids.
pub(super) struct Channel {
    pub(super) id: String,
    address: Value,
    description: String,
    binding: Value,
    parameters: Value,
    messages: Vec<String>,
}

impl Channel {
    pub(super) fn document(&self) -> Value {
        let messages = self.messages.iter().map(|id| {
            let reference = format!("#/components/messages/{id}");
            (id.clone(), json!({ "$ref": reference }))
        });
        json!({
            "address": self.address,
            "description": self.description,
            "servers": [{ "$ref": "#/servers/development" }],
            "messages": messages.collect::<Map<_, _>>(),
            "parameters": self.parameters,
            "bindings": { "amqp": self.binding }
        })
    }
}

const ANSWERS: &str = "answers";

/// Every channel.
pub(super) fn all(messages: &[Documented]) -> Vec<Channel> {
    let queues = topology::QUEUES.into_iter();
    let queues =
        queues.flat_map(|queue| [to_queue(queue, messages), queue_channel(queue, messages)]);
    let ids = |of: fn(Role) -> bool| {
        let messages = messages.iter().filter(move |message| of(message.role));
        messages.map(|message| id(message.kind)).collect::<Vec<_>>()
    };
    let is_public = |role| matches!(role, Role::Outcome | Role::Event | Role::Notice);
    let public = messages.iter().filter(|message| is_public(message.role));
    let public: Vec<_> = public.map(|message| message.kind).collect();
    let queue_names: Vec<_> = topology::QUEUES.iter().map(|queue| queue.name).collect();
    queues
        .chain([
            Channel {
                id: id(topology::REPLIES),
                address: Value::Null,
                description: "Replies to whoever sent the command: the routing key is the command's replyto. Several \
                              may share one AMQP message."
                    .to_owned(),
                binding: exchange(topology::REPLIES, "direct"),
                parameters: json!({}),
                messages: with_batch(ids(|role| role == Role::Outcome), &topology::ORDER_REPLIES),
            },
            Channel {
                id: id(topology::EVENTS),
                address: "{type}".into(),
                description: "Public events, one in each AMQP message. Bind a queue of your own with the types that \
                              you want, or #."
                    .to_owned(),
                binding: exchange(topology::EVENTS, "topic"),
                parameters: json!({ "type": {
                    "description": "The event's type",
                    "enum": public,
                    "location": "$message.payload#/type"
                } }),
                messages: ids(is_public),
            },
            Channel {
                id: ANSWERS.to_owned(),
                address: Value::Null,
                description: "Answers to questions, straight to the queue that the question's AMQP property reply_to \
                              names."
                    .to_owned(),
                binding: json!({ "is": "routingKey", "exchange": { "type": "default" }, "bindingVersion": "0.3.0" }),
                parameters: json!({}),
                messages: ids(|role| role == Role::Answer),
            },
            Channel {
                id: id(topology::DLX),
                address: "{queue}".into(),
                description: "Dead letters: they wait in the queue {queue}.dlq for somebody who looks.".to_owned(),
                binding: exchange(topology::DLX, "direct"),
                parameters: json!({ "queue": { "description": "The queue that it comes from", "enum": queue_names } }),
                messages: vec![DEAD_LETTER.to_owned()],
            },
        ])
        .collect()
}

/// What services do: they send commands and expect replies, execute commands, answer questions, tell events, and put
/// dead letters aside.
pub(super) fn operations(messages: &[Documented]) -> Vec<(String, Value)> {
    let mut operations = Vec::new();
    for service in fleet::SERVICES {
        let name = service.program.name;
        let mut add = |what: &str, operation| operations.push((key(name, what), operation));
        for queue in topology::QUEUES
            .into_iter()
            .filter(|queue| sends_to(service, queue))
        {
            add(
                &format!("sends to {}", queue.name),
                send_commands(service, queue, messages),
            );
        }
        for queue in service.queues {
            add(
                &format!("receives from {}", queue.name),
                receive(service, queue, messages),
            );
            if let Some(answer) = answer(service, queue, messages) {
                add("answers", answer);
            }
        }
        add("tells", tell(service, messages));
        add("gives up", give_up(service));
    }
    operations
}

fn key(service: &str, what: &str) -> String {
    format!("{service} {what}").replace([' ', '-', '.'], "_")
}

/// Only the order service has sagas, and so commands to give.
fn sends_to(service: &Service, queue: &Queue) -> bool {
    queue.exchange == topology::COMMANDS && service.program == fleet::ORDER.program
}

/// The channel of the exchange and the routing key that lead to `queue`.
fn to_queue_id(queue: &Queue) -> String {
    id(&format!(
        "{}.{}",
        queue.exchange,
        queue.routing_keys.join(".")
    ))
}

fn to_queue(queue: &Queue, messages: &[Documented]) -> Channel {
    let (key, exchange_name) = (queue.routing_keys.join("."), queue.exchange);
    Channel {
        id: to_queue_id(queue),
        address: key.into(),
        description: format!(
            "What {exchange_name} takes to {}. Several may share one AMQP message.",
            queue.name
        ),
        binding: exchange(exchange_name, "direct"),
        parameters: json!({}),
        messages: on_queue(queue, messages),
    }
}

fn queue_channel(queue: &Queue, messages: &[Documented]) -> Channel {
    let arguments = topology::arguments(queue.name).into_iter();
    let arguments = arguments.map(|(name, value)| (name.to_owned(), value));
    Channel {
        id: id(queue.name),
        address: queue.name.into(),
        description: format!(
            "Bound to {} with {}. Dead letters go to {}.",
            queue.exchange,
            queue.routing_keys.join(", "),
            topology::dead_letter_queue(queue.name)
        ),
        binding: json!({
            "is": "queue",
            "queue": {
                "name": queue.name, "durable": true, "exclusive": false, "autoDelete": false,
                "x-arguments": arguments.collect::<Map<_, _>>()
            },
            "bindingVersion": "0.3.0"
        }),
        parameters: json!({}),
        messages: on_queue(queue, messages),
    }
}

fn on_queue(queue: &Queue, messages: &[Documented]) -> Vec<String> {
    let messages = batched(messages, queue).map(|message| id(message.kind));
    with_batch(messages.collect(), queue)
}

fn with_batch(mut messages: Vec<String>, queue: &Queue) -> Vec<String> {
    messages.push(batch_id(queue.name));
    messages
}

fn exchange(name: &str, kind: &str) -> Value {
    json!({
        "is": "routingKey",
        "exchange": { "name": name, "type": kind, "durable": true, "autoDelete": false },
        "bindingVersion": "0.3.0"
    })
}

/// References to messages on a channel.
fn on(channel: &str, messages: impl IntoIterator<Item = String>) -> Vec<Value> {
    let reference = |message| json!({ "$ref": format!("#/channels/{channel}/messages/{message}") });
    messages.into_iter().map(reference).collect()
}

fn channel(id: &str) -> Value {
    json!({ "$ref": format!("#/channels/{id}") })
}

/// The outcomes of commands on `queue`, which may share an AMQP message.
fn outcomes(queue: &Queue, messages: &[Documented]) -> Vec<String> {
    let is_of_queue = |message: &&Documented| {
        message.role == Role::Outcome && queue.routing_keys.contains(&message.family())
    };
    let outcomes = messages.iter().filter(is_of_queue);
    let outcomes = outcomes.map(|message| id(message.kind));
    with_batch(outcomes.collect(), &topology::ORDER_REPLIES)
}

fn send_commands(service: &Service, queue: &Queue, messages: &[Documented]) -> Value {
    let to = to_queue_id(queue);
    let replies = to_queue_id(&topology::ORDER_REPLIES);
    let is_question = |message: &&Documented| matches!(message.role, Role::Question(_));
    let commands = batched(messages, queue).filter(|message| !is_question(message));
    let commands = commands.map(|message| id(message.kind)).collect();
    json!({
        "action": "send",
        "summary": format!("{} asks for steps of sagas", service.program.name),
        "channel": channel(&to),
        "messages": on(&to, with_batch(commands, queue)),
        "reply": {
            "channel": channel(&replies),
            "messages": on(&replies, outcomes(queue, messages))
        },
        "bindings": { "amqp": { "deliveryMode": 2, "mandatory": true, "bindingVersion": "0.3.0" } }
    })
}

/// Commands are executed and replied to; replies are taken.
fn receive(service: &Service, queue: &Queue, messages: &[Documented]) -> Value {
    let from = id(queue.name);
    let name = service.program.name;
    let are_commands = queue.exchange == topology::COMMANDS;
    let is_question = |message: &&Documented| matches!(message.role, Role::Question(_));
    let received = batched(messages, queue).filter(|message| !is_question(message));
    let received = received.map(|message| id(message.kind)).collect();
    let what = if are_commands {
        "executes commands, each once"
    } else {
        "takes replies"
    };
    let mut operation = json!({
        "action": "receive",
        "summary": format!("{name} {what}"),
        "channel": channel(&from),
        "messages": on(&from, with_batch(received, queue)),
        "bindings": { "amqp": { "ack": true, "bindingVersion": "0.3.0" } }
    });
    if are_commands {
        let replies = id(topology::REPLIES);
        operation["reply"] = json!({
            "address": {
                "description": "The routing key on saga.replies",
                "location": "$message.payload#/replyto"
            },
            "channel": channel(&replies),
            "messages": on(&replies, outcomes(queue, messages))
        });
    }
    operation
}

/// Questions that anybody may ask.
fn answer(service: &Service, queue: &Queue, messages: &[Documented]) -> Option<Value> {
    let from = id(queue.name);
    let is_question = |message: &&Documented| matches!(message.role, Role::Question(_));
    let questions = batched(messages, queue).filter(is_question);
    let questions: Vec<_> = questions.map(|message| id(message.kind)).collect();
    let is_answer = |message: &&Documented| {
        message.role == Role::Answer && queue.routing_keys.contains(&message.family())
    };
    let answers = messages.iter().filter(is_answer);
    let answers: Vec<_> = answers.map(|message| id(message.kind)).collect();
    (!questions.is_empty()).then(|| {
        json!({
            "action": "receive",
            "summary": format!("{} answers questions of anybody, which change nothing", service.program.name),
            "channel": channel(&from),
            "messages": on(&from, questions),
            "reply": {
                "address": {
                    "description": "The queue that the question's AMQP property reply_to names",
                    "location": "$message.header#/reply_to"
                },
                "channel": channel(ANSWERS),
                "messages": on(ANSWERS, answers)
            },
            "bindings": { "amqp": { "ack": true, "bindingVersion": "0.3.0" } }
        })
    })
}

fn tell(service: &Service, messages: &[Documented]) -> Value {
    let events = id(topology::EVENTS);
    let is_told = |message: &&Documented| {
        matches!(message.role, Role::Outcome | Role::Event | Role::Notice)
            && message.service().program == service.program
    };
    let told = messages
        .iter()
        .filter(is_told)
        .map(|message| id(message.kind));
    json!({
        "action": "send",
        "summary": format!("{} tells everybody", service.program.name),
        "channel": channel(&events),
        "messages": on(&events, told),
        "bindings": { "amqp": { "deliveryMode": 2, "mandatory": false, "bindingVersion": "0.3.0" } }
    })
}

fn give_up(service: &Service) -> Value {
    let letters = id(topology::DLX);
    json!({
        "action": "send",
        "summary": format!("{} puts aside what it cannot handle", service.program.name),
        "channel": channel(&letters),
        "messages": on(&letters, [DEAD_LETTER.to_owned()]),
        "bindings": { "amqp": { "deliveryMode": 2, "mandatory": true, "bindingVersion": "0.3.0" } }
    })
}
