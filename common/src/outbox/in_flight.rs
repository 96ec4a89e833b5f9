//! Messages of the outbox that are on their way to the broker.

use uuid::Uuid;

use crate::amqp::{Broker, Confirms, Message, NotPublished, Outgoing};

/// What became of rows.
pub(super) type Results = Vec<(Uuid, Result<(), NotPublished>)>;

/// Messages whose confirms are awaited.
pub(super) struct InFlight {
    ids: Vec<Uuid>,
    confirms: Confirms,
}

impl InFlight {
    /// Publishes `messages` without waiting for their confirms.
    /// At most `batch_max` share an AMQP message.
    pub(super) async fn publish(broker: &Broker, messages: Vec<Message>, batch_max: usize) -> Self {
        let ids = messages.iter().map(Message::row_id).collect();
        let outgoing: Vec<_> = messages.into_iter().map(Outgoing::from).collect();
        Self {
            ids,
            confirms: broker.publish_in(&outgoing, batch_max).await,
        }
    }

    /// Waits for the confirms.
    pub(super) async fn wait(self) -> Results {
        self.ids
            .into_iter()
            .zip(self.confirms.wait().await)
            .collect()
    }
}
