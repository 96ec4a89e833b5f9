//! Sending dead letters again: asked for, shown in advance, confirmed, and followed.

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    backend::segment,
    fault::{Fault, show as page, show_form},
    form::{Ours, actor, done, new_key},
    state::Page,
    view::Part,
    when::When,
};

/// What was filled in.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Filled {
    actor: String,
    reason: String,
    /// Only the letters of this group; all, where it is empty.
    #[serde(default)]
    group: String,
    #[serde(default)]
    force: bool,
    key: String,
    #[serde(default)]
    confirmed: bool,
}

impl Filled {
    fn body(&self) -> Value {
        let mut body = json!({ "reason": self.reason, "force": self.force });
        if !self.group.is_empty() {
            body["group"] = json!(self.group);
        }
        body
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preview {
    messages: u32,
    looked_at: u32,
    would_redrive: usize,
    would_refuse: usize,
    refusals: Vec<Refusal>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    message_id: String,
    why: String,
}

#[derive(Template)]
#[template(path = "redrive_form.html")]
struct FormPage {
    nav: &'static str,
    live: Option<String>,
    queue: String,
    filled: Filled,
    would: Option<Preview>,
    fault: Option<Fault>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    group: String,
}

pub(super) async fn ask(
    Path(queue): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let filled = Filled {
        actor: actor(&headers),
        group: wanted.group,
        key: new_key(),
        ..Filled::default()
    };
    form(queue, filled, None, None)
}

fn form(queue: String, filled: Filled, would: Option<Preview>, fault: Option<Fault>) -> Response {
    let form = FormPage {
        nav: "letters",
        live: None,
        queue,
        filled,
        would,
        fault,
    };
    show_form(&form, form.fault.as_ref())
}

pub(super) async fn act(
    State(Page { backend, .. }): State<Page>,
    Path(queue): Path<String>,
    headers: HeaderMap,
    Ours(filled): Ours<Filled>,
) -> Result<Response, Fault> {
    let path = format!("/dead-letters/{}/redrive", segment(&queue));
    let mut more = vec![("x-actor", filled.actor.as_str())];
    let answer = if filled.confirmed {
        more.push(("idempotency-key", filled.key.as_str()));
        let begun = backend
            .post::<Redrive>(&path, &headers, &more, &filled.body())
            .await;
        begun.map(Answer::Begun)
    } else {
        let path = format!("{path}?dryRun=true");
        let would = backend
            .post::<Preview>(&path, &headers, &more, &filled.body())
            .await;
        would.map(Answer::Would)
    };
    match answer {
        Ok(Answer::Begun(one)) => Ok(done(
            &format!("/ui/redrives/{}", one.redrive_id),
            &filled.actor,
        )),
        Ok(Answer::Would(would)) => Ok(form(queue, filled, Some(would), None)),
        Err(fault) if fault.is_the_senders() => Ok(form(queue, filled, None, Some(fault))),
        Err(fault) => Err(fault),
    }
}

enum Answer {
    Begun(Redrive),
    Would(Preview),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Redrive {
    redrive_id: String,
    queue: String,
    status: String,
    messages: i64,
    max: i64,
    redriven: i64,
    refused: i64,
    refusals: Vec<Refusal>,
    last_error: Option<String>,
    actor: String,
    reason: String,
    created_at: When,
    finished_at: Option<When>,
}

#[derive(Template)]
#[template(path = "redrive.html")]
struct RedrivePage {
    nav: &'static str,
    live: Option<String>,
    redrive: Redrive,
}

#[derive(Template)]
#[template(path = "redrives.html")]
struct RedrivesPage {
    nav: &'static str,
    live: Option<String>,
    redrives: Vec<Redrive>,
}

pub(super) async fn show(
    State(Page { backend, .. }): State<Page>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let redrive: Redrive = backend.get(&format!("/redrives/{}", segment(&id))).await?;
    Ok(page(&RedrivePage {
        nav: "letters",
        live: Some(String::new()),
        redrive,
    }))
}

/// The newest.
pub(super) async fn list(State(Page { backend, .. }): State<Page>) -> Result<Response, Fault> {
    let redrives: Part<Redrive> = backend.get("/redrives?limit=50").await?;
    Ok(page(&RedrivesPage {
        nav: "letters",
        live: Some(String::new()),
        redrives: redrives.items,
    }))
}
