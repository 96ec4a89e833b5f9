//! What operators do about a saga, and how the log says who did and why.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What an operator does about a saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Verb {
    /// A parked saga goes on: the command that it was parked at is sent again, with all its attempts.
    Retry,
    /// The step is taken for done, or on the way back for undone, and the saga goes on behind it.
    Skip,
    /// The saga is taken for completed, whatever was done of it.
    ForceComplete,
    /// The saga is taken for compensated, whatever is left of it.
    ForceCompensated,
    /// What was done is undone, as after a cancellation.
    Abort,
    /// The saga is looked at after this time, and not when it would have been.
    Reschedule(Duration),
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Retry,
        Self::Skip,
        Self::ForceComplete,
        Self::ForceCompensated,
        Self::Abort,
        Self::Reschedule(Duration::ZERO),
    ];
}

/// Who intervened, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intervention {
    /// Why, in their own words.
    pub note: Option<String>,
    /// Who. None where a program did it, or one that did not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What the request was called, so that it is carried out once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

impl Intervention {
    /// An intervention of nobody in particular.
    #[must_use]
    pub fn of(note: Option<String>) -> Self {
        Self {
            note,
            ..Self::default()
        }
    }
}
