//! What the progress of sagas means to the program that runs them.

use async_trait::async_trait;
use common::{
    amqp::Message,
    db::{LazyTransaction, Writes},
    metrics::Tally,
};
use sqlx::{Postgres, Transaction};

use super::Error;
use crate::decision::Decision;

/// What the progress of sagas means to the program that runs them.
#[async_trait]
pub trait Follow: Send + Sync + 'static {
    /// Adds to `work` what follows from `decisions` in the program's own tables, and tells what is to be told.
    /// Called once for each transaction, before anything of it is written.
    ///
    /// # Errors
    /// Nothing of the transaction is done.
    async fn follow(&self, work: &mut Following<'_, '_>) -> Result<(), Error>;
}

/// What a [`Follow`] sees of a [`Work`], and what it may add.
pub struct Following<'w, 'c> {
    pub(super) transaction: &'w mut LazyTransaction<'c>,
    pub(super) begun: &'w [Decision],
    pub(super) decided: &'w [Decision],
    pub(super) messages: &'w mut Vec<Message>,
}

impl<'w, 'c> Following<'w, 'c> {
    /// What was decided about sagas, those that begin first.
    pub fn decisions(&self) -> impl Iterator<Item = &'w Decision> + use<'w> {
        self.begun.iter().chain(self.decided)
    }

    /// The transaction, for statements that read and lock.
    ///
    /// # Errors
    /// It cannot be begun.
    pub async fn transaction(&mut self) -> sqlx::Result<&mut Transaction<'c, Postgres>> {
        self.transaction.transaction().await
    }

    /// What will be written.
    pub fn writes(&mut self) -> &mut Writes {
        &mut self.transaction.writes
    }

    /// What will be counted when it is committed.
    pub fn tally(&mut self) -> &mut Tally {
        &mut self.transaction.tally
    }

    /// Has `message` sent.
    pub fn tell(&mut self, message: Message) {
        self.messages.push(message);
    }
}
