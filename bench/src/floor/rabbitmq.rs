//! RabbitMQ alone: the messages of a completed saga, 256 confirms in flight, prefetch 256, one ack for 16.
//!
//! Two commands and two replies go through durable quorum queues and are consumed. Four public events (order.created,
//! payment.processed, inventory.reserved, order.completed) are published to a topic exchange where nobody listens, as
//! nobody listens in the scenarios. Each event has 600 bytes.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm};
use tokio::time::Instant;

use super::Watch;
use crate::report::Part;
use crate::system::System;

/// Commands or replies in one message, when there are many.
pub(super) const BATCH: usize = 64;
/// Queues that a saga's commands and replies go through: a message each.
const QUEUES: [&str; 4] = ["floor-1", "floor-2", "floor-3", "floor-4"];
const EVENTS: usize = 4;
const EVENT_BYTES: usize = 600;
const IN_FLIGHT: usize = 256;
const ACK_EVERY: u64 = 16;

/// A JSON document of [`EVENT_BYTES`].
pub(super) fn event() -> String {
    format!("\"{}\"", "x".repeat(EVENT_BYTES - 2))
}

/// Publishes for `window`, `batch` sagas at a time.
pub(super) async fn measure(system: &System, window: Duration, batch: usize) -> Result<Part> {
    let url = system.servers.rabbitmq.url();
    // As the services have it: a connection to publish on, another one to consume on.
    let publishing = Connection::connect(&url, ConnectionProperties::default()).await?;
    let consuming = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = publishing.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    for queue in QUEUES {
        declare(&channel, queue).await?;
    }
    let watch = Watch::start(system.servers.rabbitmq.any().process())?;
    let end = Instant::now() + window;
    let publish = publish(&channel, end, batch);
    let consumers = futures_util::future::try_join_all(
        QUEUES.map(|queue| consume(&consuming, queue, end + Duration::from_secs(1))),
    );
    let (sagas, consumed) = tokio::try_join!(publish, consumers)?;
    let part = watch.stop(sagas);
    // The last second is for what was still under way.
    let sagas_per_s = sagas as f64 / window.as_secs_f64();
    for (queue, consumed) in QUEUES.iter().zip(consumed) {
        ensure!(
            consumed * batch == sagas,
            "{} messages went into {queue}, and {consumed} came out",
            sagas / batch
        );
        channel
            .queue_delete((*queue).into(), QueueDeleteOptions::default())
            .await?;
    }
    Ok(Part {
        sagas_per_s,
        ..part
    })
}

async fn declare(channel: &Channel, queue: &str) -> Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    channel
        .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
        .await?;
    Ok(())
}

/// How many sagas it published, and had confirmed.
async fn publish(channel: &Channel, end: Instant, batch: usize) -> Result<usize> {
    let one = event().into_bytes();
    let many = one.repeat(batch);
    let mut in_flight: VecDeque<PublisherConfirm> = VecDeque::with_capacity(IN_FLIGHT);
    let mut sagas = 0;
    while Instant::now() < end {
        for queue in QUEUES {
            send(channel, &mut in_flight, "", queue, &many).await?;
        }
        for _ in 0..EVENTS * batch {
            send(channel, &mut in_flight, "saga.events", "floor", &one).await?;
        }
        sagas += batch;
    }
    for confirm in in_flight {
        ensure!(confirm.await?.is_ack(), "RabbitMQ refused a message");
    }
    Ok(sagas)
}

#[expect(clippy::disallowed_methods, reason = "a measurement of RabbitMQ alone")]
async fn send(
    channel: &Channel,
    in_flight: &mut VecDeque<PublisherConfirm>,
    exchange: &str,
    key: &str,
    body: &[u8],
) -> Result<()> {
    if in_flight.len() == IN_FLIGHT
        && let Some(oldest) = in_flight.pop_front()
    {
        ensure!(oldest.await?.is_ack(), "RabbitMQ refused a message");
    }
    let confirm = channel
        .basic_publish(
            exchange.into(),
            key.into(),
            BasicPublishOptions::default(),
            body,
            BasicProperties::default().with_delivery_mode(2),
        )
        .await?;
    in_flight.push_back(confirm);
    Ok(())
}

/// How many messages it got until `end`.
async fn consume(connection: &Connection, queue: &str, end: Instant) -> Result<usize> {
    let channel = connection.create_channel().await?;
    channel
        .basic_qos(u16::try_from(IN_FLIGHT)?, BasicQosOptions::default())
        .await?;
    let mut deliveries = channel
        .basic_consume(
            queue.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let all_before = BasicAckOptions { multiple: true };
    let mut count = 0;
    while let Ok(Some(delivery)) = tokio::time::timeout_at(end, deliveries.next()).await {
        let tag = delivery?.delivery_tag;
        count += 1;
        if tag % ACK_EVERY == 0 {
            channel.basic_ack(tag, all_before).await?;
        }
    }
    Ok(count)
}
