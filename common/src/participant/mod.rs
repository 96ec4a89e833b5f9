//! The frame of a participant: commands are executed once, and always answered.
//!
//! ```text
//! find what is recorded ─► ask others about what is new ─► one transaction: apply + record ─► replies
//!        ▲                    │ each call takes its own time:        │
//!        │                    │ a command is not in the batch before │
//!        │                    └ it ends, and no other waits for it   │
//!        └───────── somebody else was faster: nothing happened ◄─────┘
//! ```
//!
//! A command that was executed before gets the stored reply. A compensation that comes before its action leaves a
//! tombstone under the action's key, so that the action finds its reply already there: it was compensated. Races between
//! replicas are not prevented but noticed: recording a key that exists starts the batch over.
//!
//! A command that others cannot be asked about is put into the outbox, which sends it to this queue again after a pause: it
//! keeps no other command waiting. One that they refuse for good becomes a dead letter.
//!
//! When the records of a saga may have been dropped, an action is not executed any more, for nobody could tell whether it
//! was before: it becomes a dead letter. A compensation can be repeated without harm, and is.

mod command;
mod handler;
pub mod idempotency;
mod task;

use std::{future::Future, sync::Arc};

use futures_util::future::BoxFuture;
use sqlx::PgConnection;

pub use self::{command::Command, handler::CommandHandler, task::Task};
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

/// A question to others about one command, outside of any transaction.
///
/// Where they are away, the command comes again after a pause, however often. Where they fail for good, it becomes a
/// dead letter.
pub type Call<F> = BoxFuture<'static, Result<F, Error>>;

/// What a participant does. Of each saga, a batch has at most one command.
pub trait Participant: Send + Sync + 'static {
    /// What can be asked for.
    type Body: Send + Sync + 'static;
    /// What is found out by asking others: `()` where nobody is asked.
    type Found: Send + Sync + 'static;

    /// Reads a command; no I/O.
    ///
    /// # Errors
    /// The message becomes a dead letter.
    fn decode(&self, message: &Incoming) -> Result<Command<Self::Body>, Unreadable>;

    /// What others are to be asked about each command that is `new`, and then about each that came `too_late`: an action
    /// that was compensated before it came. The same may be asked again, also after a crash.
    ///
    /// # Errors
    /// Nothing is done and the batch comes again.
    fn calls(
        &self,
        db: &mut PgConnection,
        new: &[Arc<Command<Self::Body>>],
        too_late: &[Arc<Command<Self::Body>>],
    ) -> impl Future<Output = Result<Vec<Call<Self::Found>>, Error>> + Send;

    /// Does the `new` commands, each with what was found out about it, as part of `work`. These may be compensations whose
    /// action never came.
    ///
    /// # Errors
    /// Nothing of `work` is done.
    fn apply(
        &self,
        work: &mut LazyTransaction<'_>,
        new: &[(&Command<Self::Body>, &Self::Found)],
    ) -> impl Future<Output = Result<Output, Error>> + Send;

    /// How many commands others are asked about at once; `None` where nobody is asked.
    fn concurrency(&self) -> Option<u16> {
        None
    }

    /// Waits until more commands can be taken.
    fn ready(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Whether somebody is away without whom no command can be done.
    fn is_held_up(&self) -> bool {
        false
    }

    /// The reply to an action that comes after `compensation`: it did nothing.
    fn already_compensated(&self, compensation: &Command<Self::Body>) -> Envelope;
}
