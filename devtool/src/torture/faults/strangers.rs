//! Queues that somebody else binds for public events, and does not look after.

use anyhow::Result;
use common::contract::topology;
use lapin::options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};

/// What a queue takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// One message. It is gone with its connection, whatever ends that.
    One,
    /// All, and keeps them. It has a leader, and stays until it is deleted.
    All,
}

/// A queue that is bound for all public events.
pub(super) struct BoundQueue {
    // Held, for the channel ends with it.
    _connection: Connection,
    channel: Channel,
    name: String,
}

impl BoundQueue {
    pub(super) async fn bind(url: &str, takes: Takes) -> lapin::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let mut arguments = FieldTable::default();
        let text = |text: &str| AMQPValue::LongString(text.into());
        let (name, options) = match takes {
            Takes::One => {
                arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
                arguments.insert("x-overflow".into(), text("reject-publish"));
                let exclusive = QueueDeclareOptions {
                    exclusive: true,
                    ..QueueDeclareOptions::default()
                };
                ("", exclusive)
            }
            Takes::All => {
                arguments.insert("x-queue-type".into(), text("quorum"));
                ("torture.neglected", QueueDeclareOptions::durable())
            }
        };
        let queue = channel
            .queue_declare(name.into(), options, arguments)
            .await?;
        let name = queue.name().to_string();
        channel
            .queue_bind(
                name.as_str().into(),
                topology::EVENTS.into(),
                "#".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(Self {
            _connection: connection,
            channel,
            name,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Deletes it, with all that is in it.
    pub(super) async fn delete(self) -> Result<()> {
        let options = QueueDeleteOptions::default();
        self.channel
            .queue_delete(self.name.as_str().into(), options)
            .await?;
        Ok(())
    }
}
