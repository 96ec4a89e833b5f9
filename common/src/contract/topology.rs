//! Every exchange, queue and binding.
//!
//! ```text
//! saga.commands (direct)  payment ► payment.commands        inventory ► inventory.commands
//! saga.replies  (direct)  order   ► order.saga.replies
//! saga.events   (topic)   order.shipped.v1 ► inventory.events
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
/// Events that the inventory service listens to.
pub const INVENTORY_EVENTS: Queue = Queue {
    name: "inventory.events",
    exchange: EVENTS,
    routing_keys: &["order.shipped.v1"],
};

/// Every working queue.
pub const QUEUES: [&Queue; 4] = [
    &ORDER_REPLIES,
    &PAYMENT_COMMANDS,
    &INVENTORY_COMMANDS,
    &INVENTORY_EVENTS,
];

/// The dead-letter queue of a working queue.
#[must_use]
pub fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.dlq")
}
