//! A stream of all public events, as an analytics service would have it.

use anyhow::Result;
use lapin::options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use test_support::Amqp;

const STREAM: &str = "events.stream";

/// Declares it, and binds it to everything.
pub(crate) async fn declare(url: &str) -> Result<()> {
    let amqp = Amqp::connect(url).await;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("stream".into()),
    );
    amqp.channel()
        .queue_declare(STREAM.into(), QueueDeclareOptions::durable(), arguments)
        .await?;
    amqp.channel()
        .queue_bind(
            STREAM.into(),
            "saga.events".into(),
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    Ok(())
}

/// Deletes it.
pub(crate) async fn delete(url: &str) -> Result<()> {
    let amqp = Amqp::connect(url).await;
    let options = QueueDeleteOptions::default();
    amqp.channel().queue_delete(STREAM.into(), options).await?;
    Ok(())
}
