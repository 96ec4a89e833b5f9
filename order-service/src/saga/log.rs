//! The entries of the saga log, and the state that they add up to.

use common::contract::Reason;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::Definition;

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
    /// A step could not be undone: an operator has to look.
    Parked {
        /// The step.
        step: &'static str,
        /// Why it was to be undone.
        reason: Reason,
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
    /// The order was accepted.
    SagaStarted {},
    /// The step's command is sent.
    ActionSent {
        /// For the how-manieth time.
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
    /// The order was cancelled.
    CancelRequested {
        /// By whom.
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
        /// For the how-manieth time.
        attempt: u32,
    },
    /// The participant did not answer the compensation in time.
    CompensationTimedOut {
        /// The attempt that was not answered.
        attempt: u32,
    },
    /// Nothing is left of the step.
    StepUndone {},
    /// A reply that the saga no longer waits for. Its effect, if it had one, is undone or being undone.
    LateReply {
        /// The reply's type.
        reply: String,
    },
    /// Every step succeeded.
    SagaCompleted {},
    /// Nothing is left of any step.
    SagaCompensated {},
    /// The step's compensation has failed too often: an operator has to look.
    SagaParked {},
    /// Its row or its log makes no sense to this program: an operator has to look.
    SagaQuarantined {
        /// Why it is being undone, or [`Reason::OPERATOR`].
        reason: Reason,
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
        let event = value["event"].as_str().unwrap_or_default().to_owned();
        (event, value["details"].to_string())
    }

    /// The entry from its columns.
    ///
    /// # Errors
    /// The row was written by a program that knows more, or was damaged.
    pub fn from_columns(
        definition: &Definition,
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
            Some(name) => match definition.step(name) {
                Some(step) => Some(step.name),
                None => return Err(unreadable("the definition has no such step".to_owned())),
            },
            None => None,
        };
        Ok(Self { step, what })
    }
}

impl State {
    /// The state after a whole log; `None` for an empty one.
    #[must_use]
    pub fn fold<'a>(
        definition: &Definition,
        log: impl IntoIterator<Item = &'a Entry>,
    ) -> Option<Self> {
        log.into_iter().fold(None, |state, entry| {
            let before = state.unwrap_or(Self::Running {
                step: definition.first().name,
                attempt: 0,
            });
            Some(before.after(entry))
        })
    }

    /// The state after one more entry.
    #[must_use]
    pub fn after(self, entry: &Entry) -> Self {
        let step = entry.step.or_else(|| self.step()).unwrap_or_default();
        match (&entry.what, self.reason()) {
            (What::ActionSent { attempt }, _) => Self::Running {
                step,
                attempt: *attempt,
            },
            (What::SagaCompleted {}, _) => Self::Completed,
            (What::CompensationStarted { reason }, _) => Self::Compensating {
                step,
                attempt: 0,
                reason: *reason,
            },
            (What::CompensationSent { attempt }, Some(reason)) => Self::Compensating {
                step,
                attempt: *attempt,
                reason,
            },
            (What::SagaCompensated {}, Some(reason)) => Self::Compensated { reason },
            (What::SagaParked {}, Some(reason)) => Self::Parked { step, reason },
            (What::SagaQuarantined { reason, .. }, _) => Self::Parked {
                step,
                reason: *reason,
            },
            _ => self,
        }
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
            Self::Compensating { reason, .. }
            | Self::Compensated { reason }
            | Self::Parked { reason, .. } => Some(*reason),
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
        definition: &Definition,
        status: &str,
        step: Option<&str>,
        attempt: u32,
        reason: Option<Reason>,
    ) -> Option<Self> {
        let step = step
            .and_then(|name| definition.step(name))
            .map(|step| step.name);
        match (status, step, reason) {
            ("RUNNING", Some(step), None) => Some(Self::Running { step, attempt }),
            ("COMPLETED", None, None) => Some(Self::Completed),
            ("COMPENSATING", Some(step), Some(reason)) => Some(Self::Compensating {
                step,
                attempt,
                reason,
            }),
            ("COMPENSATED", None, Some(reason)) => Some(Self::Compensated { reason }),
            ("PARKED", Some(step), Some(reason)) => Some(Self::Parked { step, reason }),
            _ => None,
        }
    }

    /// Whether it waits for an answer, and therefore needs a deadline.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Compensating { .. })
    }
}
