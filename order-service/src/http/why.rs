//! Why an operator does something: the body of most of what operators ask for.

use common::http::{
    ApiError,
    extract::{Checks, Text},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why an operator intervenes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Intervention)]
pub(super) struct Why {
    /// In the operator's words; kept with what is done.
    #[schema(value_type = Text, example = "the payment service is back")]
    pub(super) reason: String,
}

/// Whether it is a text that can be kept.
///
/// # Errors
/// 422: it is not.
pub(super) fn check(reason: &str) -> Result<(), ApiError> {
    let mut checks = Checks::default();
    checks.text("reason", reason);
    checks.finish()
}
