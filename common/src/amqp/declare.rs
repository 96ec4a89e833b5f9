//! The topology, declared and thereby checked by each service at each connection.
//!
//! RabbitMQ refuses a declaration that differs from what exists, so declaring is checking.

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use super::Error;
use crate::contract::topology::{
    COMMANDS, DLX, EVENTS, QUEUES, Queue, REPLIES, UNBOUND, dead_letter_queue,
};

/// Redeliveries after which RabbitMQ gives a message up. It counts a whole prefetched batch when a consumer dies,
/// so it must leave room for some restarts.
/// Source: <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>
const DELIVERY_LIMIT: i64 = 20;

/// Redeliveries after which a dead letter would be given up. It is so high that looking at a dead-letter queue in the
/// management console, which counts as a delivery, can never drop a message.
const DLQ_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// Declares everything. Doing it again changes nothing.
///
/// # Errors
/// [`Error::Topology`] names what differs; the channel is unusable after an error.
pub async fn declare(channel: &Channel) -> Result<(), Error> {
    declare_all(channel).await?;
    bind_all(channel).await
}

/// Declares all exchanges and queues.
pub(super) async fn declare_all(channel: &Channel) -> Result<(), Error> {
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
            .map_err(|error| Error::declaring(format!("exchange {name}"), error))?;
    }
    for queue in QUEUES {
        let dlq = dead_letter_queue(queue.name);
        declare_queue(channel, &dlq, dead_letter_arguments()).await?;
        declare_queue(channel, queue.name, working_arguments(queue.name)).await?;
    }
    Ok(())
}

/// Binds all queues. In a cluster it waits for all nodes, even where nothing has to be changed.
pub(super) async fn bind_all(channel: &Channel) -> Result<(), Error> {
    for queue in QUEUES {
        bind(channel, &dead_letter_queue(queue.name), DLX, queue.name).await?;
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
            .map_err(|error| Error::declaring(format!("binding {exchange} → {name}"), error))?;
    }
    Ok(())
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> Result<(), Error> {
    channel
        .queue_declare(name.into(), QueueDeclareOptions::durable(), arguments)
        .await
        .map(drop)
        .map_err(|error| Error::declaring(format!("queue {name}"), error))
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
        .map_err(|error| Error::declaring(format!("binding {exchange} → {queue}"), error))
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
