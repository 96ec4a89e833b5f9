//! Errors as `application/problem+json`.
//!
//! An [`ApiError`] becomes an answer without a body; [`complete`] writes it, when it is known what was asked for.
//!
//! Source: <https://www.rfc-editor.org/rfc/rfc9457>

mod pages;
pub mod types;

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tracing::{debug, error};
use utoipa::ToSchema;

pub use self::pages::document;
pub(super) use self::pages::routes;
use self::types::ProblemType;

/// The content type of a problem.
pub(super) const CONTENT: &str = "application/problem+json";

/// What went wrong, for people and programs.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "type": "/problems/invalid-fields",
    "title": "Some fields are wrong",
    "status": 422,
    "detail": "1 field is invalid",
    "instance": "/orders",
    "correlationId": "01976a3d-0000-7000-8000-000000000009",
    "errors": [{"field": "items[0].quantity", "message": "must be from 1 to 10000"}]
}))]
pub struct Problem {
    /// Which type of problem it is: a path of this service, with a page for people. Programs branch on it.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference")]
    pub kind: String,
    /// The type in a few words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// The path that was asked for.
    #[schema(format = "uri-reference")]
    pub instance: String,
    /// The request's, which the service's log and all messages of the request repeat.
    pub correlation_id: String,
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
    /// 422: it can be read, but some fields are wrong.
    #[error("invalid fields")]
    Invalid(Vec<FieldError>),
    /// Any other refusal, with its type.
    #[error("{1}")]
    Refused(&'static ProblemType, String),
    /// 503: a dependency is away; the same will work later.
    #[error("a dependency is away")]
    Unavailable(#[source] anyhow::Error),
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

    fn kind(&self) -> &'static ProblemType {
        match self {
            Self::BadRequest(..) => &types::MALFORMED_REQUEST,
            Self::NotFound(_) => &types::NOT_FOUND,
            Self::Invalid(_) => &types::INVALID_FIELDS,
            Self::Refused(kind, _) => kind,
            Self::Unavailable(_) => &types::DEPENDENCY_AWAY,
            Self::Internal(_) => &types::INTERNAL_ERROR,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.kind().status
    }

    /// The problem, of nothing that was asked for yet.
    pub(super) fn problem(self) -> Problem {
        let kind = self.kind();
        let (detail, errors) = match self {
            Self::BadRequest(detail, errors) => (detail, errors),
            Self::NotFound(detail) | Self::Refused(_, detail) => (detail, Vec::new()),
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
            kind: kind.uri(),
            title: kind.title,
            status: kind.status.as_u16(),
            detail,
            instance: String::new(),
            correlation_id: String::new(),
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
        let retry_after = match self.kind() {
            kind if *kind == types::OVERLOADED => Some("10"),
            kind if kind.status == StatusCode::SERVICE_UNAVAILABLE => Some("1"),
            _ => None,
        };
        let is_away = matches!(self, Self::Unavailable(_));
        let mut response = self.status().into_response();
        if let Some(seconds) = retry_after {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if is_away {
            response.extensions_mut().insert(Away);
        }
        response.extensions_mut().insert(self.problem());
        response
    }
}

/// Writes the problem of an answer that refuses, of a request for `path`.
pub(super) fn complete(response: &mut Response, path: &str, correlation_id: &str) {
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else {
        return;
    };
    path.clone_into(&mut problem.instance);
    correlation_id.clone_into(&mut problem.correlation_id);
    *response.body_mut() = Body::from(serde_json::to_vec(&problem).unwrap_or_default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
}
