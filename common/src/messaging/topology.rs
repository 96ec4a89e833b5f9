//! Every exchange, queue and binding, declared and thereby checked by each service at each connection.
//!
//! ```text
//! saga.commands (direct)  payment ► payment.commands        inventory ► inventory.commands
//! saga.replies  (direct)  order   ► order.saga.replies
//! saga.events   (topic)   whoever wants to listen binds a queue of its own
//! saga.dlx      (direct)  q ► q.dlq, for each queue q above
//! ```
//!
//! RabbitMQ refuses a declaration that differs from what exists, so declaring is checking.

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

/// Commands, from orchestrators to participants; the routing key is the participant.
pub const COMMANDS: &str = "saga.commands";
/// Outcomes, from participants to who asked; the routing key is what the command's `replyto` names.
pub const REPLIES: &str = "saga.replies";
/// Events, for everybody; the routing key is the type.
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

/// Every working queue.
pub const QUEUES: [&Queue; 3] = [&ORDER_REPLIES, &PAYMENT_COMMANDS, &INVENTORY_COMMANDS];

/// A queue that an earlier version bound, and that nobody reads any more: bound, it would grow for ever.
const UNBOUND: Queue = Queue {
    name: "inventory.events",
    exchange: EVENTS,
    routing_keys: &["order.shipped.v1"],
};

/// Redeliveries after which RabbitMQ gives a message up. It counts a whole prefetched batch when a consumer dies,
/// so it must leave room for some restarts.
/// Source: <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>
const DELIVERY_LIMIT: i64 = 20;

/// The same for dead-letter queues: so high that looking at one in the management console, which counts as a
/// delivery, can never drop a message.
const DLQ_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// The broker has something else under one of our names.
#[derive(Debug, thiserror::Error)]
#[error(
    "RabbitMQ has {what} with other properties than this version declares: {difference}. \
     Move its messages away, delete it, and start again: it is then declared anew"
)]
pub struct Mismatch {
    what: String,
    difference: String,
}

/// Why the topology could not be declared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody must look: trying again does not help.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The connection failed.
    #[error("declaring the topology")]
    Connection(#[from] lapin::Error),
}

impl Error {
    fn of(what: String, error: lapin::Error) -> Self {
        if error.is_amqp_soft_error() {
            Self::Mismatch(Mismatch {
                what,
                difference: error.to_string(),
            })
        } else {
            Self::Connection(error)
        }
    }
}

/// The dead-letter queue of a working queue.
#[must_use]
pub fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.dlq")
}

/// Declares everything. Doing it again changes nothing.
///
/// # Errors
/// [`Error::Mismatch`] names what differs; the channel is unusable after an error.
pub async fn declare(channel: &Channel) -> Result<(), Error> {
    for (name, kind) in [
        (COMMANDS, ExchangeKind::Direct),
        (REPLIES, ExchangeKind::Direct),
        (EVENTS, ExchangeKind::Topic),
        (DLX, ExchangeKind::Direct),
    ] {
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        channel
            .exchange_declare(name.into(), kind, durable, FieldTable::default())
            .await
            .map_err(|error| Error::of(format!("exchange {name}"), error))?;
    }
    for queue in QUEUES {
        let dlq = dead_letter_queue(queue.name);
        declare_queue(channel, &dlq, dead_letter_arguments()).await?;
        bind(channel, &dlq, DLX, queue.name).await?;
        declare_queue(channel, queue.name, working_arguments(queue.name)).await?;
        for key in queue.routing_keys {
            bind(channel, queue.name, queue.exchange, key).await?;
        }
    }
    unbind(channel, &UNBOUND).await
}

/// Takes the bindings of a queue away. Unlike AMQP, RabbitMQ does not mind that there is no such binding or queue.
async fn unbind(channel: &Channel, queue: &Queue) -> Result<(), Error> {
    let Queue { name, exchange, .. } = queue;
    for key in queue.routing_keys {
        channel
            .queue_unbind(
                (*name).into(),
                (*exchange).into(),
                (*key).into(),
                FieldTable::default(),
            )
            .await
            .map_err(|error| Error::of(format!("binding {exchange} → {name}"), error))?;
    }
    Ok(())
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> Result<(), Error> {
    channel
        .queue_declare(name.into(), QueueDeclareOptions::durable(), arguments)
        .await
        .map(drop)
        .map_err(|error| Error::of(format!("queue {name}"), error))
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), Error> {
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(|error| Error::of(format!("binding {exchange} → {queue}"), error))
}

fn working_arguments(queue: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    // Replicated and durable; the only type that can dead-letter at least once.
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-dead-letter-exchange".into(), text(DLX));
    arguments.insert("x-dead-letter-routing-key".into(), text(queue));
    // A dead letter leaves its queue only when the DLQ has confirmed it. This needs reject-publish.
    // Source: https://www.rabbitmq.com/docs/quorum-queues#activating-at-least-once-dead-lettering
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    // Without it 3.10 retries for ever, and 4.x has another default.
    arguments.insert(
        "x-delivery-limit".into(),
        AMQPValue::LongLongInt(DELIVERY_LIMIT),
    );
    arguments
}

fn dead_letter_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert(
        "x-delivery-limit".into(),
        AMQPValue::LongLongInt(DLQ_DELIVERY_LIMIT),
    );
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
