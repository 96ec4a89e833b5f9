//! Replies of participants: the queue's handler.

use common::{
    amqp::{
        Message, Outgoing,
        consumer::{self, Handler, Incoming},
    },
    batch::{AdmissionControl, one_per_saga},
    contract::Unreadable,
};
use sqlx::PgConnection;

use crate::{engine::Engine, reply::Reply};

/// The handler of the program's queue of replies.
#[derive(Debug)]
pub struct Replies {
    engine: Engine,
    admission: AdmissionControl,
}

impl Replies {
    /// Hands replies to `engine`, and tells `admission` how many there are.
    #[must_use]
    pub fn new(engine: Engine, admission: AdmissionControl) -> Self {
        Self { engine, admission }
    }
}

impl Handler for Replies {
    type Input = Reply;

    fn decode(&self, event: &Incoming) -> Result<Reply, Unreadable> {
        Reply::read(self.engine.registry(), &event.envelope)
    }

    async fn handle(
        &self,
        db: &mut PgConnection,
        batch: &[Reply],
    ) -> Result<Vec<Outgoing>, consumer::Error> {
        self.admission.took(batch.len());
        for replies in one_per_saga(batch, |reply| reply.saga) {
            let mut work = self.engine.work(db);
            work.take(&replies).await?;
            work.commit().await?;
        }
        // All that follows went through the outbox, so nothing has to be published before the ack.
        Ok(Vec::new())
    }

    async fn store(&self, events: &[Message]) -> sqlx::Result<()> {
        self.engine.outbox().store(events).await
    }
}
