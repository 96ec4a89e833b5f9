//! `dryRun`: whether only to say what would follow.

use common::http::ApiError;
use serde::Deserialize;
use utoipa::IntoParams;

/// The parameter.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct DryRun {
    /// Whether only to say what would follow. Nothing is done then, and no `If-Match` is needed.
    #[param(value_type = bool, required = false)]
    dry_run: Option<String>,
}

impl DryRun {
    /// Whether it is asked for.
    ///
    /// # Errors
    /// 400: it is neither true nor false.
    pub(super) fn is_asked_for(&self) -> Result<bool, ApiError> {
        match self.dry_run.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiError::bad_field("dryRun", "must be true or false")),
        }
    }
}
