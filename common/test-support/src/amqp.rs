//! A plain AMQP client, as an integrator would have: it knows nothing of our messaging.

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Queue,
    message::Delivery,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
        QueueBindOptions, QueueDeclareOptions,
    },
    types::FieldTable,
};
use serde_json::Value;

use crate::eventually;

/// A connection to the test's vhost.
#[derive(Debug)]
pub struct Amqp {
    // Held, for the channel ends with it.
    _connection: Connection,
    channel: Channel,
}

impl Amqp {
    /// Connects.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default())
            .await
            .expect("the broker answers");
        let channel = connection.create_channel().await.expect("a channel opens");
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .expect("confirms work");
        Self {
            _connection: connection,
            channel,
        }
    }

    /// The channel, for what this type does not do.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Publishes and waits for the confirm.
    ///
    /// # Panics
    /// When the broker refuses it.
    #[expect(clippy::disallowed_methods, reason = "a foreign client")]
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) {
        let confirm = self
            .channel
            .basic_publish(
                exchange.into(),
                routing_key.into(),
                BasicPublishOptions::default(),
                body,
                properties,
            )
            .await
            .expect("publishing works");
        assert!(confirm.await.expect("a confirm comes").is_ack());
    }

    /// Publishes a CloudEvent.
    pub async fn publish_event(&self, exchange: &str, routing_key: &str, event: &Value) {
        let properties =
            BasicProperties::default().with_content_type("application/cloudevents+json".into());
        self.publish(
            exchange,
            routing_key,
            event.to_string().as_bytes(),
            properties,
        )
        .await;
    }

    /// Publishes several CloudEvents as one AMQP message.
    pub async fn publish_batch(&self, exchange: &str, routing_key: &str, events: &[Value]) {
        let properties = BasicProperties::default()
            .with_content_type("application/cloudevents-batch+json".into());
        let body = Value::from(events.to_vec()).to_string();
        self.publish(exchange, routing_key, body.as_bytes(), properties)
            .await;
    }

    /// A queue of our own, bound to `exchange` with `routing_key`; it is gone with this connection.
    ///
    /// # Panics
    /// When it cannot be declared.
    pub async fn listen(&self, exchange: &str, routing_key: &str) -> String {
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = self
            .channel
            .queue_declare("".into(), exclusive, FieldTable::default())
            .await
            .expect("a queue is declared");
        let name = queue.name().to_string();
        self.channel
            .queue_bind(
                name.as_str().into(),
                exchange.into(),
                routing_key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .expect("the queue is bound");
        name
    }

    /// The next message in `queue`, taken, if there is one.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn get(&self, queue: &str) -> Option<Delivery> {
        let message = self
            .channel
            .basic_get(queue.into(), BasicGetOptions::default())
            .await
            .expect("basic.get works")?;
        message
            .delivery
            .acker
            .ack(BasicAckOptions::default())
            .await
            .expect("the ack works");
        Some(message.delivery)
    }

    /// The next message in `queue`, as soon as there is one.
    pub async fn next(&self, queue: &str) -> Delivery {
        let next = eventually("a message arrives", || self.get(queue), Option::is_some).await;
        next.expect("just checked")
    }

    /// The next `count` CloudEvents in `queue`, out of single messages and batches.
    ///
    /// # Panics
    /// When something is no JSON.
    pub async fn next_events(&self, queue: &str, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let body = self.next(queue).await.data;
            match serde_json::from_slice(&body).expect("messages are JSON") {
                Value::Array(batch) => events.extend(batch),
                event => events.push(event),
            }
        }
        events
    }

    /// Messages in `queue` that nobody has taken.
    pub async fn ready(&self, queue: &str) -> u32 {
        self.look_at(queue).await.message_count()
    }

    /// Consumers of `queue`.
    pub async fn consumers(&self, queue: &str) -> u32 {
        self.look_at(queue).await.consumer_count()
    }

    async fn look_at(&self, queue: &str) -> Queue {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = self
            .channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await;
        queue.expect("the queue exists")
    }
}
