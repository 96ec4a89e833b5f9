//! What was asked for about many sagas: how far it is, and stopping it.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    asked::query,
    backend::segment,
    fault::{Fault, show as page, show_form},
    form::{Ours, actor, done},
    state::Page,
    verb::Verb,
    view::Part,
    when::When,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    batch_id: String,
    status: String,
    verb: String,
    delay_seconds: Option<u64>,
    filter: BTreeMap<String, String>,
    reason: String,
    actor: String,
    per_second: u32,
    matched: i32,
    matched_all: bool,
    done: i32,
    refused: i32,
    last_refusal: Option<String>,
    cancelled_by: Option<String>,
    created_at: When,
    finished_at: Option<When>,
}

impl Batch {
    /// What the page calls its verb.
    fn title(&self) -> &str {
        Verb::find(&self.verb).map_or(&self.verb, |verb| verb.title)
    }

    /// The list of the sagas that fit now.
    fn list(&self) -> String {
        format!("/ui/sagas?{}", query(&self.filter))
    }

    fn is_running(&self) -> bool {
        self.status == "RUNNING"
    }

    fn looked_at(&self) -> i32 {
        self.done + self.refused
    }

    /// How long its bar is, and how much of that is full.
    fn bar(&self) -> (i32, i32) {
        let max = self.matched.max(self.looked_at()).max(1);
        match self.status.as_str() {
            // Some may fit no longer when it is their turn.
            "DONE" => (max, max),
            _ => (max, self.looked_at()),
        }
    }

    /// Sagas that fitted when it was asked for, and not when it was their turn.
    fn missed(&self) -> Option<i32> {
        let missed = self.matched - self.looked_at();
        (self.status == "DONE" && missed > 0).then_some(missed)
    }
}

#[derive(Template)]
#[template(path = "batch.html")]
struct BatchPage {
    nav: &'static str,
    live: Option<String>,
    batch: Batch,
}

#[derive(Template)]
#[template(path = "batches.html")]
struct BatchesPage {
    nav: &'static str,
    live: Option<String>,
    batches: Vec<Batch>,
}

#[derive(Template)]
#[template(path = "batch_cancel.html")]
struct CancelPage {
    nav: &'static str,
    live: Option<String>,
    batch: Batch,
    filled: Filled,
    fault: Option<Fault>,
}

pub(super) async fn show(
    State(state): State<Page>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    Ok(page(&BatchPage {
        nav: "sagas",
        live: Some(String::new()),
        batch: read(&state, &id).await?,
    }))
}

async fn read(state: &Page, id: &str) -> Result<Batch, Fault> {
    let path = format!("/sagas/batch/{}", segment(id));
    state.backend.get(&path).await
}

/// The newest.
pub(super) async fn list(State(Page { backend, .. }): State<Page>) -> Result<Response, Fault> {
    let batches: Part<Batch> = backend.get("/sagas/batch?limit=50").await?;
    Ok(page(&BatchesPage {
        nav: "sagas",
        live: Some(String::new()),
        batches: batches.items,
    }))
}

/// What was filled in to stop a batch: the API asks for no reason.
#[derive(Debug, Deserialize)]
pub(super) struct Filled {
    actor: String,
}

fn form(batch: Batch, filled: Filled, fault: Option<Fault>) -> Response {
    let form = CancelPage {
        nav: "sagas",
        live: None,
        batch,
        filled,
        fault,
    };
    show_form(&form, form.fault.as_ref())
}

pub(super) async fn ask(
    State(state): State<Page>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let filled = Filled {
        actor: actor(&headers),
    };
    Ok(form(read(&state, &id).await?, filled, None))
}

pub(super) async fn cancel(
    State(state): State<Page>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Ours(filled): Ours<Filled>,
) -> Result<Response, Fault> {
    let path = format!("/sagas/batch/{}/cancel", segment(&id));
    let actor = [("x-actor", filled.actor.as_str())];
    let answer = state
        .backend
        .post::<Batch>(&path, &headers, &actor, &json!({}))
        .await;
    match answer {
        Ok(batch) => {
            let path = format!("/ui/batches/{}", batch.batch_id);
            Ok(done(&path, &filled.actor))
        }
        Err(fault) if fault.is_the_senders() => {
            Ok(form(read(&state, &id).await?, filled, Some(fault)))
        }
        Err(fault) => Err(fault),
    }
}
