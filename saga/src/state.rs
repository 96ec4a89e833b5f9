//! The entries of the saga log, and the state that they add up to.

use common::contract::Reason;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::table::Table;

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

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The step that it is about.
    pub step: Option<&'static str>,
    /// What was decided or noticed.
    pub what: What,
}

/// What was decided or noticed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(
    tag = "event",
    content = "details",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase"
)]
pub enum What {
    /// It began.
    SagaStarted {},
    /// The step's command is sent.
    ActionSent {
        /// Counted from 1.
        attempt: u32,
    },
    /// The participant did it.
    StepSucceeded {},
    /// The participant refused, and did nothing.
    StepRejected {
        /// Why.
        reason: Reason,
        /// The participant's own words.
        detail: Option<String>,
    },
    /// The participant did not answer in time.
    ActionTimedOut {
        /// The attempt that was not answered.
        attempt: u32,
    },
    /// Somebody wants it undone.
    CancelRequested {
        /// Why.
        reason: Reason,
        /// In their own words.
        note: Option<String>,
    },
    /// What was done is undone from here on.
    CompensationStarted {
        /// Why.
        reason: Reason,
    },
    /// The step's compensation is sent.
    CompensationSent {
        /// Counted from 1.
        attempt: u32,
    },
    /// The participant did not answer the compensation in time.
    CompensationTimedOut {
        /// The attempt that was not answered.
        attempt: u32,
    },
    /// Nothing is left of the step.
    StepUndone {},
    /// The whole saga was not through in time.
    SagaExpired {},
    /// A reply that the saga no longer waits for. Its effect, if it had one, is undone or being undone.
    LateReply {
        /// The reply's type.
        reply: String,
    },
    /// Every step succeeded.
    SagaCompleted {},
    /// Nothing is left of any step.
    SagaCompensated {},
    /// The step, or its compensation, has been silent too often: an operator has to look.
    SagaParked {},
    /// Its row or its log makes no sense to this program: an operator has to look.
    SagaQuarantined {
        /// Why it is being undone; none on the way forward.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        /// What is wrong with it.
        problem: String,
    },
    /// An operator resumed it.
    RetryRequested {
        /// Why.
        note: Option<String>,
    },
}

/// A row of the log that means nothing to this program.
#[derive(Debug, thiserror::Error)]
#[error("unreadable saga log entry {event} of step {step:?}: {problem}")]
pub struct Unreadable {
    event: String,
    step: Option<String>,
    problem: String,
}

impl Entry {
    /// An entry about `step`.
    #[must_use]
    pub const fn of(step: &'static str, what: What) -> Self {
        Self {
            step: Some(step),
            what,
        }
    }

    /// An entry about the saga as a whole.
    #[must_use]
    pub const fn whole(what: What) -> Self {
        Self { step: None, what }
    }

    /// The entry as the columns `event` and `details`.
    #[must_use]
    pub fn to_columns(&self) -> (String, String) {
        let value = serde_json::to_value(&self.what).expect("entries are plain JSON");
        let event = value["event"].as_str().expect("the tag is a name");
        (event.to_owned(), value["details"].to_string())
    }

    /// The entry from its columns.
    ///
    /// # Errors
    /// The row was written by a program that knows more, or was damaged.
    pub fn from_columns(
        table: &dyn Table,
        event: &str,
        step: Option<&str>,
        details: &Value,
    ) -> Result<Self, Unreadable> {
        let unreadable = |problem: String| Unreadable {
            event: event.to_owned(),
            step: step.map(str::to_owned),
            problem,
        };
        let what = serde_json::json!({ "event": event, "details": details });
        let what = serde_json::from_value(what).map_err(|error| unreadable(error.to_string()))?;
        let step = match step {
            Some(name) => match table.step(name) {
                Some(step) => Some(step.name),
                None => return Err(unreadable("the definition has no such step".to_owned())),
            },
            None => None,
        };
        Ok(Self { step, what })
    }
}

/// An entry that cannot follow on a state: the log was damaged, or written by a program that knows more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} cannot follow on {state:?}")]
pub struct Unfit {
    state: Option<State>,
    entry: Entry,
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
                entry: first.clone(),
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
        let unfit = || Unfit {
            state: Some(self),
            entry: entry.clone(),
        };
        let at = entry.step.or(self.step());
        Ok(match &entry.what {
            What::ActionSent { attempt } => Self::Running {
                step: at.ok_or_else(unfit)?,
                attempt: *attempt,
            },
            What::SagaCompleted {} => Self::Completed,
            // Of a saga that was through, undoing begins at its end.
            What::CompensationStarted { reason } => Self::Compensating {
                step: at.unwrap_or(table.last().name),
                attempt: 0,
                reason: *reason,
            },
            What::CompensationSent { attempt } => Self::Compensating {
                step: at.ok_or_else(unfit)?,
                attempt: *attempt,
                reason: self.reason().ok_or_else(unfit)?,
            },
            What::SagaCompensated {} => Self::Compensated {
                reason: self.reason().ok_or_else(unfit)?,
            },
            What::SagaParked {} => Self::Parked {
                step: at.ok_or_else(unfit)?,
                reason: self.reason(),
            },
            What::SagaQuarantined { reason, .. } => Self::Parked {
                step: at.ok_or_else(unfit)?,
                reason: *reason,
            },
            What::SagaStarted {}
            | What::StepSucceeded {}
            | What::StepRejected { .. }
            | What::ActionTimedOut { .. }
            | What::CancelRequested { .. }
            | What::CompensationTimedOut { .. }
            | What::StepUndone {}
            | What::SagaExpired {}
            | What::LateReply { .. }
            | What::RetryRequested { .. } => self,
        })
    }

    /// The step that it is at.
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

    /// Its name in tables and in the API.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Running { .. } => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Compensating { .. } => "COMPENSATING",
            Self::Compensated { .. } => "COMPENSATED",
            Self::Parked { .. } => "PARKED",
        }
    }

    /// The state from its columns, if they make sense together.
    #[must_use]
    pub fn from_columns(
        table: &dyn Table,
        status: &str,
        step: Option<&str>,
        attempt: u32,
        reason: Option<Reason>,
    ) -> Option<Self> {
        let step = step.and_then(|name| table.step(name)).map(|step| step.name);
        match (status, step, reason) {
            ("RUNNING", Some(step), None) => Some(Self::Running { step, attempt }),
            ("COMPLETED", None, None) => Some(Self::Completed),
            ("COMPENSATING", Some(step), Some(reason)) => Some(Self::Compensating {
                step,
                attempt,
                reason,
            }),
            ("COMPENSATED", None, Some(reason)) => Some(Self::Compensated { reason }),
            ("PARKED", Some(step), reason) => Some(Self::Parked { step, reason }),
            _ => None,
        }
    }

    /// Whether it waits for an answer, and therefore needs a deadline.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Compensating { .. })
    }
}
