//! The frame of a participant: commands are executed once, and always answered.
//!
//! ```text
//! find what is recorded ─► prepare what is new (calls to others) ─► one transaction: apply + record ─► replies
//!        ▲                                                                     │
//!        └────────────── somebody else was faster: nothing happened ◄──────────┘
//! ```
//!
//! A command that was executed before gets the stored reply. A compensation that comes before its action leaves a
//! tombstone under the action's key, so that the action finds its reply already there: it was compensated. Races between
//! replicas are not prevented but noticed: recording a key that exists starts the batch over.
//!
//! When the records of a saga may have been dropped, an action is not executed any more, for nobody could tell whether it
//! was before: it becomes a dead letter. A compensation can be repeated without harm, and is.

mod command;
mod handler;
pub mod idempotency;

use std::future::Future;

pub use self::{command::Command, handler::CommandHandler};
use crate::{
    amqp::{
        Message,
        consumer::{Error, Incoming},
    },
    contract::{Envelope, Unreadable},
    db::LazyTransaction,
};

/// What comes of a batch of commands.
#[derive(Debug)]
pub struct Output {
    /// The reply to each command, in the commands' order.
    pub replies: Vec<Envelope>,
    /// What else is to be told, once, through the outbox.
    pub events: Vec<Message>,
}

/// What a participant does. Of each saga, a batch has at most one command.
pub trait Participant: Send + Sync + 'static {
    /// What can be asked for.
    type Body: Clone + Send + Sync;
    /// What [`Self::prepare`] found out.
    type Prepared: Send + Sync;

    /// Reads a command; no I/O.
    ///
    /// # Errors
    /// The message becomes a dead letter.
    fn decode(&self, message: &Incoming) -> Result<Command<Self::Body>, Unreadable>;

    /// Asks others, outside of any transaction, about commands that are `new`; `too_late` are actions that were
    /// compensated before they came. It may be called again for the same commands, also after a crash.
    ///
    /// # Errors
    /// Nothing is done and the batch comes again.
    fn prepare(
        &self,
        new: &[Command<Self::Body>],
        too_late: &[Command<Self::Body>],
    ) -> impl Future<Output = Result<Self::Prepared, Error>> + Send;

    /// Does the `new` commands as part of `work`. These may be compensations whose action never came.
    ///
    /// # Errors
    /// Nothing of `work` is done.
    fn apply(
        &self,
        work: &mut LazyTransaction<'_>,
        new: &[Command<Self::Body>],
        prepared: &Self::Prepared,
    ) -> impl Future<Output = Result<Output, Error>> + Send;

    /// The reply to an action that comes after `compensation`: it did nothing.
    fn already_compensated(&self, compensation: &Command<Self::Body>) -> Envelope;
}
