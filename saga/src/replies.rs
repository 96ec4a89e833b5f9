//! Replies of participants: the queue's handler.

use common::{
    amqp::{
        Message,
        consumer::{self, Handled, Handler, Incoming},
    },
    batch::{AdmissionControl, one_per_saga},
    contract::Unreadable,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    engine::{Engine, Error},
    metrics::STRAY_REPLIES,
    reply::{Reply, UnknownReply},
    store,
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
    type Input = Result<Reply, UnknownReply>;

    fn decode(&self, event: &Incoming) -> Result<Self::Input, Unreadable> {
        Reply::read(self.engine.registry(), event)
    }

    async fn handle(
        &self,
        db: &mut PgConnection,
        batch: &[Self::Input],
    ) -> Result<Handled<Self::Input>, consumer::Error> {
        self.admission.took(batch.len());
        // All that follows goes through the outbox, so nothing has to be published before the ack.
        let mut handled = Handled::default();
        let known: Vec<&Reply> = batch.iter().flatten().collect();
        for replies in one_per_saga(&known, |reply| reply.saga) {
            let mut work = self.engine.work(db);
            let strays = work.take(&replies).await?;
            work.commit().await?;
            for (reply, why) in strays {
                let is_foreign = matches!(why, Error::Saga(store::Error::Foreign(..)));
                leave_out(&mut handled, reply.id, is_foreign, why.into());
            }
        }
        let unknown: Vec<_> = batch
            .iter()
            .filter_map(|reply| reply.as_ref().err())
            .collect();
        if !unknown.is_empty() {
            let sagas: Vec<_> = unknown.iter().map(|reply| reply.saga).collect();
            let foreign = store::foreign(&mut *db, self.engine.registry(), &sagas).await?;
            for reply in unknown {
                let is_foreign = foreign.contains(&reply.saga);
                leave_out(&mut handled, reply.id, is_foreign, reply.clone().into());
            }
        }
        STRAY_REPLIES.add(&[], handled.refused.len() as u64);
        Ok(handled)
    }

    async fn store(&self, messages: &[Message]) -> sqlx::Result<()> {
        self.engine.outbox().store(messages).await
    }
}

/// Leaves a reply out of its batch. That to a foreign saga comes again: a replica of another version has the definition,
/// and one of the two versions comes to an end.
fn leave_out<I>(handled: &mut Handled<I>, reply: Uuid, is_foreign: bool, why: anyhow::Error) {
    let left_out = if is_foreign {
        &mut handled.postponed
    } else {
        &mut handled.refused
    };
    left_out.push((reply, why));
}
