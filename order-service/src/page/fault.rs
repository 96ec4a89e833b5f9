//! What went wrong, for whoever looks at a page.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use common::http::{ApiError, FieldError, Problem};

/// What the API refused, or what is wrong with a page.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    status: StatusCode,
    pub(super) title: String,
    pub(super) detail: String,
    pub(super) errors: Vec<FieldError>,
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.status);
        Self {
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            title: problem.title.to_owned(),
            detail: problem.detail,
            errors: problem.errors,
        }
    }
}

impl Fault {
    pub(super) fn new(status: StatusCode, title: &str, detail: &str) -> Self {
        Self {
            title: title.to_owned(),
            status,
            detail: detail.to_owned(),
            errors: vec![],
        }
    }

    pub(super) fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such page", detail)
    }

    pub(super) fn unsendable() -> Self {
        let detail = "Use letters, digits and spaces, without accents, in your name.";
        Self::new(
            StatusCode::BAD_REQUEST,
            "Something that you typed cannot be sent",
            detail,
        )
    }

    pub(super) fn unreadable() -> Self {
        let detail = "The service answered something that this page cannot read.";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The page has a fault",
            detail,
        )
    }

    /// Whether the one who sent the form can do something about it.
    pub(super) fn is_the_senders(&self) -> bool {
        self.status.is_client_error() && self.status != StatusCode::NOT_FOUND
    }
}

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage {
    nav: &'static str,
    live: Option<String>,
    fault: Fault,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = self.status;
        let page = FaultPage {
            nav: "",
            live: None,
            fault: self,
        };
        (status, show(&page)).into_response()
    }
}

/// The page that a template makes.
pub(super) fn show(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => ApiError::Internal(error.into()).into_response(),
    }
}

/// The same for a page that shows what was refused, if anything was: with the status of that.
pub(super) fn show_form(template: &impl Template, fault: Option<&Fault>) -> Response {
    let status = fault.map(|fault| fault.status).unwrap_or_default();
    (status, show(template)).into_response()
}
