//! The entries of the saga log, and the state that they add up to.

mod entry;

use common::contract::Reason;
use serde::{Deserialize, Serialize};

pub use self::entry::{DeadLetter, Entry, Unreadable, What};
use crate::table::{StepPlan, Table};

/// Where a saga is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The step's command is with its participant.
    Running {
        /// The step.
        step: &'static str,
        /// How often its command was sent.
        attempt: u32,
    },
    /// Every step succeeded.
    Completed,
    /// The step's compensation is with its participant.
    Compensating {
        /// The step that is being undone.
        step: &'static str,
        /// How often its compensation was sent.
        attempt: u32,
        /// Why.
        reason: Reason,
    },
    /// Nothing is left of any step.
    Compensated {
        /// Why.
        reason: Reason,
    },
    /// It cannot go on by itself: an operator has to look.
    Parked {
        /// The step that could not be done or undone.
        step: &'static str,
        /// Why the step was to be undone; none on the way forward.
        reason: Option<Reason>,
    },
}

/// A state without its particulars, as tables and APIs name it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = SagaStatus)]
pub enum Status {
    /// On the way forward.
    Running,
    /// Every step succeeded.
    Completed,
    /// On the way back.
    Compensating,
    /// Nothing is left of any step.
    Compensated,
    /// An operator has to look.
    Parked,
}

/// An entry that cannot follow on a state: the log was damaged, or written by a program that knows more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} cannot follow on {state:?}")]
pub struct Unfit {
    state: Option<State>,
    entry: Box<Entry>,
}

impl State {
    /// The state after a whole log; `None` for an empty one.
    ///
    /// # Errors
    /// An entry does not fit to those before it.
    pub fn fold<'a>(
        table: &dyn Table,
        log: impl IntoIterator<Item = &'a Entry>,
    ) -> Result<Option<Self>, Unfit> {
        let mut log = log.into_iter();
        let Some(first) = log.next() else {
            return Ok(None);
        };
        let begun = Self::begin(table);
        if !matches!(first.what, What::SagaStarted {}) {
            return Err(Unfit {
                state: None,
                entry: Box::new(first.clone()),
            });
        }
        log.try_fold(begun, |state, entry| state.after(table, entry))
            .map(Some)
    }

    /// The state of a saga whose first command is not decided on yet.
    #[must_use]
    pub fn begin(table: &dyn Table) -> Self {
        Self::Running {
            step: table.first().name,
            attempt: 0,
        }
    }

    /// The state after one more entry.
    ///
    /// # Errors
    /// The entry cannot follow on this state.
    pub fn after(self, table: &dyn Table, entry: &Entry) -> Result<Self, Unfit> {
        let at = entry.step.or(self.step());
        let next = match (&entry.what, self) {
            (
                What::ActionSent { attempt },
                Self::Running { .. } | Self::Parked { reason: None, .. },
            ) => at.map(|step| Self::Running {
                step,
                attempt: *attempt,
            }),
            (What::SagaCompleted {}, Self::Running { .. } | Self::Parked { reason: None, .. }) => {
                Some(Self::Completed)
            }
            // Of a saga that was through, undoing begins at its end.
            (
                What::CompensationStarted { reason },
                Self::Running { .. } | Self::Completed | Self::Parked { reason: None, .. },
            ) => Some(Self::Compensating {
                step: at.unwrap_or(table.last().name),
                attempt: 0,
                reason: *reason,
            }),
            (
                What::CompensationSent { attempt },
                Self::Compensating { reason, .. }
                | Self::Parked {
                    reason: Some(reason),
                    ..
                },
            ) => at.map(|step| Self::Compensating {
                step,
                attempt: *attempt,
                reason,
            }),
            (
                What::SagaCompensated {},
                Self::Compensating { reason, .. }
                | Self::Parked {
                    reason: Some(reason),
                    ..
                },
            ) => Some(Self::Compensated { reason }),
            (What::SagaParked {}, Self::Running { .. } | Self::Compensating { .. }) => {
                at.map(|step| Self::Parked {
                    step,
                    reason: self.reason(),
                })
            }
            // Whatever it was: its row or its log made no sense.
            (What::SagaQuarantined { reason, .. }, _) => at.map(|step| Self::Parked {
                step,
                reason: *reason,
            }),
            _ => self.is_noted(&entry.what).then_some(self),
        };
        next.ok_or_else(|| Unfit {
            state: Some(self),
            entry: Box::new(entry.clone()),
        })
    }

    /// Whether an entry that changes nothing can be noted in this state.
    const fn is_noted(&self, what: &What) -> bool {
        let forward = matches!(
            self,
            Self::Running { .. } | Self::Parked { reason: None, .. }
        );
        match what {
            What::StepSucceeded {} | What::StepRejected { .. } => forward,
            What::ActionTimedOut { .. } | What::SagaExpired {} => {
                matches!(self, Self::Running { .. })
            }
            What::CancelRequested { .. } => forward || matches!(self, Self::Completed),
            What::StepUndone {} => matches!(
                self,
                Self::Compensating { .. }
                    | Self::Parked {
                        reason: Some(_),
                        ..
                    }
            ),
            What::CompensationTimedOut { .. } => matches!(self, Self::Compensating { .. }),
            What::RetryRequested { .. } => matches!(self, Self::Parked { .. }),
            What::SkipRequested { .. } => self.step().is_some(),
            What::CompletionForced { .. } => forward,
            What::CompensationForced { .. } => self.step().is_some() && !forward,
            What::Rescheduled { .. } => self.is_open(),
            What::LateReply { .. } | What::DeadLetterRedriven(_) | What::DeadLetterDeleted(_) => {
                true
            }
            // The first entry, on the state before the first command.
            What::SagaStarted {} => matches!(self, Self::Running { attempt: 0, .. }),
            What::ActionSent { .. }
            | What::CompensationStarted { .. }
            | What::CompensationSent { .. }
            | What::SagaCompleted {}
            | What::SagaCompensated {}
            | What::SagaParked {}
            | What::SagaQuarantined { .. } => false,
        }
    }

    /// The step that is executed or undone, or at which it is parked.
    #[must_use]
    pub const fn step(&self) -> Option<&'static str> {
        match self {
            Self::Running { step, .. }
            | Self::Compensating { step, .. }
            | Self::Parked { step, .. } => Some(step),
            Self::Completed | Self::Compensated { .. } => None,
        }
    }

    /// How often the command that it waits for was sent.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        match self {
            Self::Running { attempt, .. } | Self::Compensating { attempt, .. } => *attempt,
            Self::Completed | Self::Compensated { .. } | Self::Parked { .. } => 0,
        }
    }

    /// Why it is or was undone.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Compensating { reason, .. } | Self::Compensated { reason } => Some(*reason),
            Self::Parked { reason, .. } => *reason,
            Self::Running { .. } | Self::Completed => None,
        }
    }

    /// Which of the five it is.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Running { .. } => Status::Running,
            Self::Completed => Status::Completed,
            Self::Compensating { .. } => Status::Compensating,
            Self::Compensated { .. } => Status::Compensated,
            Self::Parked { .. } => Status::Parked,
        }
    }

    /// The state from its columns, if they make sense together.
    #[must_use]
    pub fn from_columns(
        table: &dyn Table,
        status: Status,
        step: Option<&str>,
        attempt: u32,
        reason: Option<Reason>,
    ) -> Option<Self> {
        let plan = step.and_then(|name| table.step(name));
        // Nobody undoes a forward-only step: going on from there would undo what is before it.
        if reason.is_some() && plan.is_some_and(StepPlan::is_forward_only) {
            return None;
        }
        let step = plan.map(|plan| plan.name);
        match (status, step, reason) {
            (Status::Running, Some(step), None) => Some(Self::Running { step, attempt }),
            (Status::Completed, None, None) => Some(Self::Completed),
            (Status::Compensating, Some(step), Some(reason)) => Some(Self::Compensating {
                step,
                attempt,
                reason,
            }),
            (Status::Compensated, None, Some(reason)) => Some(Self::Compensated { reason }),
            (Status::Parked, Some(step), reason) => Some(Self::Parked { step, reason }),
            _ => None,
        }
    }

    /// Whether it waits for an answer, and therefore needs a deadline.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Compensating { .. })
    }
}
