//! Messages of the outbox that are on their way to the broker.

use futures_util::future::join_all;
use tokio::sync::mpsc;
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

    /// Passes on what became of the rows of each destination, as soon as it is known.
    pub(super) async fn settle(self, settled: mpsc::Sender<Results>) {
        let (ids, settled) = (&self.ids, &settled);
        let settling = self.confirms.lines().into_iter().map(|line| async move {
            let results = line.wait().await.into_iter();
            let results = results.map(|(position, result)| (ids[position], result));
            // Without a relay, the leases end by themselves.
            let _ = settled.send(results.collect()).await;
        });
        join_all(settling).await;
    }
}
