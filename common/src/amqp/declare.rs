//! The topology, declared and thereby checked by each service at each connection.
//!
//! RabbitMQ refuses a declaration that differs from what exists, so declaring is checking.

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;

use super::Error;
use crate::contract::topology::{
    COMMANDS, DLX, EVENTS, QUEUES, Queue, REPLIES, UNBOUND, arguments, dead_letter_arguments,
    dead_letter_queue,
};

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
        declare_queue(channel, &dlq, table(dead_letter_arguments())).await?;
        declare_queue(channel, queue.name, table(arguments(queue.name))).await?;
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

fn table(arguments: Vec<(&'static str, Value)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            Value::String(text) => AMQPValue::LongString(text.into()),
            other => AMQPValue::LongLongInt(other.as_i64().unwrap_or_default()),
        };
        table.insert(name.into(), value);
    }
    table
}
