//! The entries of the saga log: what is decided or noticed, and how it is written.

use std::time::Duration;

use common::contract::Reason;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    table::Table,
    verb::{Intervention, Verb},
};

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
        /// Who, and why in their own words.
        #[serde(flatten)]
        by: Intervention,
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
        /// Who, and why.
        #[serde(flatten)]
        by: Intervention,
    },
    /// An operator takes the step for done, or on the way back for undone.
    SkipRequested {
        /// Who, and why.
        #[serde(flatten)]
        by: Intervention,
    },
    /// An operator takes the saga for completed, whatever was done of it.
    CompletionForced {
        /// Who, and why.
        #[serde(flatten)]
        by: Intervention,
    },
    /// An operator takes the saga for compensated, whatever is left of it.
    CompensationForced {
        /// Who, and why.
        #[serde(flatten)]
        by: Intervention,
    },
    /// An operator changed when it is looked at again.
    Rescheduled {
        /// How long after the entry that is.
        delay_seconds: u64,
        /// Who, and why.
        #[serde(flatten)]
        by: Intervention,
    },
    /// An operator had a dead letter of it sent again.
    DeadLetterRedriven(DeadLetter),
    /// An operator took a dead letter of it away.
    DeadLetterDeleted(DeadLetter),
}

/// A message of a saga that nobody could handle, and what an operator says about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The queue in which it was.
    pub queue: String,
    /// The message's id.
    pub message_id: String,
    /// The id under which it goes out, where it was edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_as: Option<String>,
    /// Why, in the operator's words.
    pub note: String,
    /// Who.
    pub actor: String,
}

/// A row of the log that means nothing to this program.
#[derive(Debug, thiserror::Error)]
#[error("unreadable saga log entry {event} of step {step:?}: {problem}")]
pub struct Unreadable {
    event: String,
    step: Option<String>,
    problem: String,
}

impl What {
    /// Whether from here on the saga says more than its participants did: an operator said so.
    #[must_use]
    pub const fn overrules(&self) -> bool {
        matches!(
            self,
            Self::SkipRequested { .. }
                | Self::CompletionForced { .. }
                | Self::CompensationForced { .. }
        )
    }

    /// What an operator did, who, and why, where somebody did.
    #[must_use]
    pub const fn intervention(&self) -> Option<(Verb, &Intervention)> {
        Some(match self {
            Self::RetryRequested { by } => (Verb::Retry, by),
            Self::SkipRequested { by } => (Verb::Skip, by),
            Self::CompletionForced { by } => (Verb::ForceComplete, by),
            Self::CompensationForced { by } => (Verb::ForceCompensated, by),
            Self::CancelRequested { by, .. } => (Verb::Abort, by),
            Self::Rescheduled { delay_seconds, by } => {
                (Verb::Reschedule(Duration::from_secs(*delay_seconds)), by)
            }
            _ => return None,
        })
    }

    /// What went wrong, in a few words, if it says so.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        match self {
            Self::StepRejected { reason, detail } => Some(match detail {
                Some(detail) => format!("{reason}: {detail}"),
                None => reason.to_string(),
            }),
            Self::ActionTimedOut { attempt } => Some(format!("no reply to attempt {attempt}")),
            Self::CompensationTimedOut { attempt } => {
                Some(format!("no reply to attempt {attempt} of the compensation"))
            }
            Self::SagaExpired {} => Some("the whole saga was not through in time".to_owned()),
            Self::SagaQuarantined { problem, .. } => Some(problem.clone()),
            _ => None,
        }
    }
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
