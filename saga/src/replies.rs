//! Replies of participants: the queue's handler.

use common::{
    amqp::{
        Message,
        consumer::{self, Handled, Handler, Incoming},
    },
    batch::{AdmissionControl, one_per_saga},
    contract::Unreadable,
};
use metrics::counter;
use sqlx::PgConnection;

use crate::{
    engine::{Engine, Error},
    reply::Reply,
};

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
    ) -> Result<Handled<Reply>, consumer::Error> {
        self.admission.took(batch.len());
        // All that follows goes through the outbox, so nothing has to be published before the ack.
        let mut handled = Handled::default();
        for replies in one_per_saga(batch, |reply| reply.saga) {
            let mut work = self.engine.work(db);
            let strays = work.take(&replies).await?;
            work.commit().await?;
            let refused = |(reply, why): (&Reply, Error)| (reply.id, why.into());
            handled.refused.extend(strays.into_iter().map(refused));
        }
        counter!("saga_stray_replies_total").increment(handled.refused.len() as u64);
        Ok(handled)
    }

    async fn store(&self, messages: &[Message]) -> sqlx::Result<()> {
        self.engine.outbox().store(messages).await
    }
}
