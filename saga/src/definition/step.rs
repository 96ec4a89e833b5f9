//! A step: what is done, and what undoes it.

use std::time::Duration;

use common::contract::{Command, Message, Reason, Rejection};

use super::ask::{Ask, AskBack, ReadRejection, read_rejection};
use crate::table::{StepPlan, Tries, Undo, same};

/// A step: what is done, and what undoes it.
pub struct Step<D: 'static> {
    pub(super) plan: StepPlan,
    pub(super) action: &'static dyn Ask<D>,
    pub(super) compensation: Option<&'static dyn AskBack<D>>,
    pub(super) reads_rejection: Option<ReadRejection>,
}

/// The way forward: a command that may be refused.
pub struct Action<D: 'static> {
    command: &'static dyn Ask<D>,
    participant: &'static str,
    succeeded: &'static str,
    rejected: &'static str,
    reads_rejection: ReadRejection,
    tries: Tries,
}

/// The way forward where there is no way back: a command that is asked again until it is done.
pub struct ForwardAction<D: 'static> {
    command: &'static dyn Ask<D>,
    participant: &'static str,
    succeeded: &'static str,
    tries: Tries,
}

/// The way back: a command that cannot be refused.
pub struct Compensation<D: 'static> {
    command: &'static dyn AskBack<D>,
    participant: &'static str,
    done: &'static str,
    tries: Tries,
}

impl<D> Action<D> {
    /// An action that asks with `C`, which is answered with `S` when it is done, and with `R` when it is refused and
    /// has left nothing behind. It has the usual deadlines: three attempts, 30 s each.
    #[must_use]
    pub const fn of<C: Command, S: Message, R: Rejection>(
        command: &'static (impl Fn(&D) -> C + Sync),
    ) -> Self {
        Self {
            command,
            participant: C::PARTICIPANT,
            succeeded: S::TYPE,
            rejected: R::TYPE,
            reads_rejection: read_rejection::<R>,
            tries: Tries::evenly(Duration::from_secs(30), 3),
        }
    }

    /// How long each reply may take, and how often the command is sent before the step counts as silent.
    #[must_use]
    pub const fn tried(mut self, timeout: Duration, attempts: u32) -> Self {
        self.tries = Tries::evenly(timeout, attempts);
        self
    }
}

impl<D> ForwardAction<D> {
    /// An action that asks with `C`, which is answered with `S` when it is done. It has the usual deadlines: ten
    /// attempts, 30 s to 5 min each, about half an hour in all; then the saga is parked.
    #[must_use]
    pub const fn of<C: Command, S: Message>(command: &'static (impl Fn(&D) -> C + Sync)) -> Self {
        Self {
            command,
            participant: C::PARTICIPANT,
            succeeded: S::TYPE,
            tries: Tries::patiently(),
        }
    }

    /// How long the first reply may take, to how much that grows by doubling, and how often the command is sent.
    #[must_use]
    pub const fn tried(mut self, first: Duration, longest: Duration, attempts: u32) -> Self {
        self.tries = Tries::doubling(first, longest, attempts);
        self
    }
}

impl<D> Compensation<D> {
    /// A compensation that asks with `C`, which is answered with `S` when nothing of the step is left. It has the
    /// usual deadlines: ten attempts, 30 s to 5 min each, about half an hour in all; then the saga is parked.
    #[must_use]
    pub const fn of<C: Command, S: Message>(
        command: &'static (impl Fn(&D, Reason) -> C + Sync),
    ) -> Self {
        Self {
            command,
            participant: C::PARTICIPANT,
            done: S::TYPE,
            tries: Tries::patiently(),
        }
    }

    /// How long the first reply may take, to how much that grows by doubling, and how often the command is sent.
    #[must_use]
    pub const fn tried(mut self, first: Duration, longest: Duration, attempts: u32) -> Self {
        self.tries = Tries::doubling(first, longest, attempts);
        self
    }
}

impl<D> Step<D> {
    /// A step that leaves nothing to be undone, as long as it is not [`Step::undone_by`] something.
    #[must_use]
    pub const fn new(name: &'static str, action: Action<D>) -> Self {
        Self {
            plan: StepPlan {
                name,
                participant: action.participant,
                succeeded: action.succeeded,
                rejected: Some(action.rejected),
                tries: action.tries,
                undo: Undo::Nothing,
            },
            action: action.command,
            compensation: None,
            reads_rejection: Some(action.reads_rejection),
        }
    }

    /// A step after which there is no way back: its command is sent again until it is done, or the saga is parked.
    #[must_use]
    pub const fn forward_only(name: &'static str, action: ForwardAction<D>) -> Self {
        Self {
            plan: StepPlan {
                name,
                participant: action.participant,
                succeeded: action.succeeded,
                rejected: None,
                tries: action.tries,
                undo: Undo::Never,
            },
            action: action.command,
            compensation: None,
            reads_rejection: None,
        }
    }

    /// This step, undone by `compensation`.
    ///
    /// # Panics
    /// The step is forward-only, or another participant is to undo it. In a constant, that does not compile.
    #[must_use]
    pub const fn undone_by(mut self, compensation: Compensation<D>) -> Self {
        assert!(
            !matches!(self.plan.undo, Undo::Never),
            "a forward-only step has no compensation"
        );
        assert!(
            same(self.plan.participant, compensation.participant),
            "a step is undone by the participant that did it"
        );
        self.plan.undo = Undo::By {
            done: compensation.done,
            tries: compensation.tries,
        };
        self.compensation = Some(compensation.command);
        self
    }
}
