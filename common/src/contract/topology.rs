//! Every exchange, queue and binding.
//!
//! ```text
//! saga.commands (direct)  payment ► payment.commands        inventory ► inventory.commands
//! saga.replies  (direct)  order   ► order.saga.replies
//! saga.events   (topic)   whoever wants to listen binds a queue of its own
//! saga.dlx      (direct)  q ► q.dlq, for each queue q above
//! ```
//!
//! These are plain data; the services declare all of it at each connection.

use serde_json::{Value, json};

/// Redeliveries after which RabbitMQ gives a message up. It counts a whole prefetched batch when a consumer dies,
/// so it must leave room for some restarts.
/// Source: <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>
const DELIVERY_LIMIT: i64 = 20;

/// Redeliveries after which a dead letter would be given up. It is so high that looking at a dead-letter queue in the
/// management console, which counts as a delivery, can never drop a message.
const DLQ_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// Commands, from orchestrators to participants; the routing key is the participant.
pub const COMMANDS: &str = "saga.commands";
/// Replies, from participants to whoever sent the command; the routing key is what its `replyto` names.
pub const REPLIES: &str = "saga.replies";
/// Public events, for everybody; the routing key is the type.
pub const EVENTS: &str = "saga.events";
/// RabbitMQ's own exchange, from which a message goes to the queue that its routing key names.
pub const DEFAULT: &str = "";
/// Dead letters; the routing key is the queue that they come from.
pub const DLX: &str = "saga.dlx";

/// A working queue. Its dead letters go to `<name>.dlq`.
#[derive(Debug)]
pub struct Queue {
    /// The queue's name.
    pub name: &'static str,
    /// The exchange that it is bound to.
    pub exchange: &'static str,
    /// The routing keys that it is bound with.
    pub routing_keys: &'static [&'static str],
}

/// Replies to the order service's sagas.
pub const ORDER_REPLIES: Queue = Queue {
    name: "order.saga.replies",
    exchange: REPLIES,
    routing_keys: &["order"],
};
/// Commands to the payment service.
pub const PAYMENT_COMMANDS: Queue = Queue {
    name: "payment.commands",
    exchange: COMMANDS,
    routing_keys: &["payment"],
};
/// Commands to the inventory service.
pub const INVENTORY_COMMANDS: Queue = Queue {
    name: "inventory.commands",
    exchange: COMMANDS,
    routing_keys: &["inventory"],
};
/// Every working queue.
pub const QUEUES: [&Queue; 3] = [&ORDER_REPLIES, &PAYMENT_COMMANDS, &INVENTORY_COMMANDS];

/// A queue that an earlier version bound and that nobody reads any more: bound, it would grow for ever.
pub const UNBOUND: Queue = Queue {
    name: "inventory.events",
    exchange: EVENTS,
    routing_keys: &["order.shipped.v1"],
};

/// The queue of commands to `participant`, by the rule for their names.
#[must_use]
pub fn commands_queue(participant: &str) -> String {
    format!("{participant}.commands")
}

/// The dead-letter queue of a working queue.
#[must_use]
pub fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.dlq")
}

/// The arguments of a working queue.
#[must_use]
pub fn arguments(queue: &str) -> Vec<(&'static str, Value)> {
    vec![
        // Replicated and durable; the only type that can dead-letter at least once.
        ("x-queue-type", json!("quorum")),
        ("x-dead-letter-exchange", json!(DLX)),
        ("x-dead-letter-routing-key", json!(queue)),
        // A dead letter leaves its queue only when the DLQ has confirmed it. This needs reject-publish.
        // Source: https://www.rabbitmq.com/docs/quorum-queues#activating-at-least-once-dead-lettering
        ("x-dead-letter-strategy", json!("at-least-once")),
        ("x-overflow", json!("reject-publish")),
        // Without it 3.10 retries for ever, and 4.x has another default.
        ("x-delivery-limit", json!(DELIVERY_LIMIT)),
    ]
}

/// The arguments of a dead-letter queue.
#[must_use]
pub fn dead_letter_arguments() -> Vec<(&'static str, Value)> {
    vec![
        ("x-queue-type", json!("quorum")),
        ("x-delivery-limit", json!(DLQ_DELIVERY_LIMIT)),
    ]
}
