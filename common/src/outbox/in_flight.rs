//! Messages of the outbox that are on their way to the broker.

use uuid::Uuid;

use crate::amqp::{Broker, Confirms, NotPublished, Outgoing};

/// What became of rows.
pub(super) type Results = Vec<(Uuid, Result<(), NotPublished>)>;

/// Messages that are on their way to the broker.
pub(super) struct Published {
    ids: Vec<Uuid>,
    confirms: Confirms,
}

impl Published {
    pub(super) async fn start(broker: &Broker, messages: &[Outgoing]) -> Self {
        Self {
            confirms: broker.publish(messages).await,
            ids: messages.iter().filter_map(Outgoing::id).collect(),
        }
    }

    pub(super) async fn wait(self) -> impl Iterator<Item = (Uuid, Result<(), NotPublished>)> {
        self.ids.into_iter().zip(self.confirms.wait().await)
    }
}
