//! A command on its way through the frame: what is recorded of it, and what others say about it.

use std::{mem, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::task::unconstrained;

use super::{Call, Command, Participant};
use crate::amqp::{Reply, consumer::Error};

/// A command, as it comes into a batch: for the first time, or with what others said about it.
#[derive(Debug)]
pub struct Task<P: Participant> {
    pub(super) command: Arc<Command<P::Body>>,
    answer: Option<Arc<Answer<P::Found>>>,
}

/// What others said about a command.
#[derive(Debug)]
pub(super) struct Answer<F> {
    /// What was recorded before they were asked.
    pub(super) recorded: Recorded,
    pub(super) found: Result<F, Error>,
}

/// What is recorded of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    /// Whether it has a reply.
    pub(super) this: bool,
    /// Whether it has one because it was compensated before it came.
    pub(super) tombstone: bool,
    /// Of a compensation, whether its action has a reply.
    pub(super) action: bool,
}

impl<P: Participant> Task<P> {
    pub(super) fn new(command: Command<P::Body>) -> Self {
        Self {
            command: Arc::new(command),
            answer: None,
        }
    }
}

impl<P: Participant> Clone for Task<P> {
    fn clone(&self) -> Self {
        Self {
            command: Arc::clone(&self.command),
            answer: self.answer.clone(),
        }
    }
}

/// A task while its batch is handled.
pub(super) struct Open<P: Participant> {
    pub(super) command: Arc<Command<P::Body>>,
    /// What is recorded, and the reply; `None` where it was not looked at.
    pub(super) known: Option<(Recorded, Option<Reply>)>,
    pub(super) asked: Asked<P::Found>,
}

/// Whether others were asked.
pub(super) enum Asked<F> {
    No,
    /// They were, when so much was recorded.
    Waiting(Recorded, Call<F>),
    Answered(Arc<Answer<F>>),
}

impl<F> Asked<F> {
    fn recorded(&self) -> Option<Recorded> {
        match self {
            Self::No => None,
            Self::Waiting(recorded, _) => Some(*recorded),
            Self::Answered(answer) => Some(answer.recorded),
        }
    }
}

impl<P: Participant> From<Task<P>> for Open<P> {
    fn from(task: Task<P>) -> Self {
        let Some(answer) = task.answer else {
            return Self {
                command: task.command,
                known: None,
                asked: Asked::No,
            };
        };
        // What is recorded since is noticed when this is recorded too. But a reply that is there has to be fetched.
        let known = (!answer.recorded.this).then_some((answer.recorded, None));
        Self {
            command: task.command,
            known,
            asked: Asked::Answered(answer),
        }
    }
}

impl<P: Participant> Open<P> {
    /// Takes what is recorded. What others said when it was not the same says nothing.
    pub(super) fn know(&mut self, recorded: Recorded, reply: Option<Reply>) {
        if self.asked.recorded().is_some_and(|then| then != recorded) {
            self.asked = Asked::No;
        }
        self.known = Some((recorded, reply));
    }

    /// What is recorded, when it is known.
    pub(super) fn recorded(&self) -> Recorded {
        self.known
            .as_ref()
            .map_or_else(Recorded::default, |(recorded, _)| *recorded)
    }

    /// Begins to ask others: whoever answers at once need not be waited for.
    pub(super) fn ask(&mut self, call: Call<P::Found>) {
        let recorded = self.recorded();
        let mut call = AssertUnwindSafe(call)
            .catch_unwind()
            .map(|answer| {
                let panicked = |_| Err(Error::Failed(anyhow::anyhow!("the call panicked")));
                answer.unwrap_or_else(panicked)
            })
            .boxed();
        self.asked = match unconstrained(&mut call).now_or_never() {
            Some(found) => Asked::Answered(Arc::new(Answer { recorded, found })),
            None => Asked::Waiting(recorded, call),
        };
    }

    /// The task as it comes again when others have answered; `None` where they are not being asked.
    pub(super) fn later(&mut self) -> Option<BoxFuture<'static, Task<P>>> {
        let command = Arc::clone(&self.command);
        match mem::replace(&mut self.asked, Asked::No) {
            Asked::Waiting(recorded, call) => Some(Box::pin(async move {
                let found = call.await;
                let answer = Some(Arc::new(Answer { recorded, found }));
                Task { command, answer }
            })),
            Asked::No | Asked::Answered(_) => None,
        }
    }
}
