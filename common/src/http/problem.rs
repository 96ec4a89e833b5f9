//! Errors as `application/problem+json`.
//!
//! Source: <https://www.rfc-editor.org/rfc/rfc9457>

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tracing::{debug, error};
use utoipa::ToSchema;

/// The content type of a problem.
pub(super) const CONTENT: &str = "application/problem+json";

/// What went wrong, for people and programs.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "about:blank",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "1 field is invalid",
    "errors": [{"field": "items[0].quantity", "message": "must be from 1 to 10000"}]
}))]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What to do about it.
    pub detail: String,
    /// Which fields are wrong, and how.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Path of the field: `items[0].quantity`.
    pub field: String,
    /// What it must be.
    pub message: String,
}

impl FieldError {
    /// `field` must be as `message` says.
    #[must_use]
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Marks an answer that was refused because a dependency is away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Away;

/// Why a request is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 400: it cannot be read.
    #[error("{0}")]
    BadRequest(String, Vec<FieldError>),
    /// 404.
    #[error("{0}")]
    NotFound(String),
    /// 409: not in this state.
    #[error("{0}")]
    Conflict(String),
    /// 422: it can be read, but some fields are wrong.
    #[error("invalid fields")]
    Invalid(Vec<FieldError>),
    /// Any other refusal, with its status.
    #[error("{1}")]
    Refused(StatusCode, String),
    /// 503: a dependency is away; the same will work later.
    #[error("a dependency is away")]
    Unavailable(#[source] anyhow::Error),
    /// 503: there is too much to do already; the same will work later.
    #[error("{0}")]
    Overloaded(String),
    /// 500: somebody has to look.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

impl ApiError {
    /// 400 about one field.
    #[must_use]
    pub fn bad_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let error = FieldError::new(field, message);
        Self::BadRequest(format!("{} {}", error.field, error.message), vec![error])
    }

    /// 422 about one field.
    #[must_use]
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(..) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Refused(status, _) => *status,
            Self::Unavailable(_) | Self::Overloaded(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn problem(self) -> Problem {
        let status = self.status();
        let (detail, errors) = match self {
            Self::BadRequest(detail, errors) => (detail, errors),
            Self::NotFound(detail)
            | Self::Conflict(detail)
            | Self::Refused(_, detail)
            | Self::Overloaded(detail) => (detail, Vec::new()),
            Self::Invalid(errors) => {
                let plural = if errors.len() == 1 {
                    "field is"
                } else {
                    "fields are"
                };
                (format!("{} {plural} invalid", errors.len()), errors)
            }
            // What is wrong inside is for the log, not for the caller.
            Self::Unavailable(_) => (
                "a dependency is away: try again in a moment".to_owned(),
                Vec::new(),
            ),
            Self::Internal(_) => (
                "the request failed and has been logged".to_owned(),
                Vec::new(),
            ),
        };
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail,
            errors,
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        if crate::db::is_transient(&error) {
            Self::Unavailable(error.into())
        } else {
            Self::Internal(error.into())
        }
    }
}

impl From<sea_orm::DbErr> for ApiError {
    fn from(error: sea_orm::DbErr) -> Self {
        use sea_orm::{DbErr, RuntimeErr};
        let transient = match &error {
            DbErr::Conn(RuntimeErr::SqlxError(cause))
            | DbErr::Exec(RuntimeErr::SqlxError(cause))
            | DbErr::Query(RuntimeErr::SqlxError(cause)) => crate::db::is_transient(cause),
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
            _ => false,
        };
        if transient {
            Self::Unavailable(error.into())
        } else {
            Self::Internal(error.into())
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match &self {
            Self::Internal(cause) => error!(error = format!("{cause:#}"), "request failed"),
            // The gate tells once that the database is away.
            Self::Unavailable(cause) => debug!(error = format!("{cause:#}"), "request refused"),
            _ => {}
        }
        let status = self.status();
        let retry_after = match &self {
            Self::Overloaded(_) => "10",
            _ => "1",
        };
        let is_away = matches!(self, Self::Unavailable(_));
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(retry_after));
        }
        if is_away {
            response.extensions_mut().insert(Away);
        }
        response
    }
}
