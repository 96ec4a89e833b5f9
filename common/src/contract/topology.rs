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
