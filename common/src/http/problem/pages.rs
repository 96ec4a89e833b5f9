//! A page for each type of problem, where its URI points.

use std::fmt::Write;

use axum::{extract::Path, response::Html};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    types::{ALL, ProblemType},
};
use crate::http::document::SYSTEM;

pub(in crate::http) fn routes<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
}

/// The types of problems, for people.
#[utoipa::path(get, path = "/problems", operation_id = "listProblemTypes", tag = SYSTEM,
    responses((status = 200, description = "A page with all types", body = String, content_type = "text/html")))]
async fn list() -> Html<String> {
    let items = ALL.iter().map(|one| {
        let (uri, title, status) = (one.uri(), one.title, one.status.as_u16());
        format!("<li><a href=\"{uri}\">{}</a> ({status}): {title}", one.name)
    });
    let items: String = items.collect();
    page("Types of problems", &format!("<ul>{items}</ul>"))
}

/// What a type of problem means, and what to do about it, for people. A problem's `type` is this path.
#[utoipa::path(get, path = "/problems/{name}", operation_id = "getProblemType", tag = SYSTEM,
    params(("name" = String, Path, description = "The last part of the problem's `type`", example = "order-shipped")),
    responses((status = 200, description = "A page", body = String, content_type = "text/html"),
              (status = 404, description = "There is no such type")))]
async fn show(Path(name): Path<String>) -> Result<Html<String>, ApiError> {
    let one = ALL.iter().find(|one| one.name == name);
    let one = one.ok_or_else(|| {
        ApiError::NotFound("there is no such type of problem: see /problems".to_owned())
    })?;
    Ok(page(one.title, &description(one)))
}

fn description(one: &ProblemType) -> String {
    let (uri, status) = (one.uri(), one.status);
    format!(
        "<p>{}<p><code>{uri}</code>, with status {status}. <a href=\"/problems\">All types</a>",
        marked(one.advice)
    )
}

/// What stands between backticks, as code.
fn marked(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let part = |(position, part): (usize, &str)| match position % 2 {
        0 => part.to_owned(),
        _ => format!("<code>{part}</code>"),
    };
    parts.map(part).collect()
}

fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title><h1>{title}</h1>{body}</html>\n"
    ))
}

/// The same as a document: `docs/PROBLEMS.md`.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# Types of problems\n\n\
         Every error of every service is a problem of RFC 9457, as `application/problem+json`. Its `type` is one of these, relative\n\
         to the service, which has a page there for people; programs branch on it, and on nothing else. `detail` is for people and\n\
         may change, `errors` names wrong fields, `instance` is the path that was asked for, and `correlationId` is in the log.\n\n\
         This page is made from `common/src/http/problem/types.rs`.\n\n\
         | `type` | status | what it means, and what to do |\n|---|---|---|\n",
    );
    for one in ALL {
        let (uri, status, title, advice) = (one.uri(), one.status.as_u16(), one.title, one.advice);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{uri}` | {status} | {title}. {advice} |");
    }
    text
}
