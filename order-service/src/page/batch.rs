//! The same about many sagas: asked for, shown in advance, and confirmed.

use std::collections::{BTreeMap, HashMap};

use askama::Template;
use axum::{
    extract::{Query, State},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    asked::{Asked, query},
    fault::{Fault, show_form},
    form::{Ours, actor, done, new_key, number},
    state::Page,
    verb::{VERBS, Verb},
    view::Saga,
};

/// What was filled in. Which sagas it is about stands in the address.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filled {
    actor: String,
    reason: String,
    #[serde(default)]
    verb: String,
    #[serde(default)]
    delay_seconds: String,
    #[serde(default)]
    per_second: String,
    key: String,
    /// Whether what it is about was seen, and is wanted.
    #[serde(default)]
    confirmed: bool,
}

impl Filled {
    fn body(&self, filter: &BTreeMap<String, String>) -> Value {
        let mut body = json!({ "filter": filter, "verb": self.verb, "reason": self.reason });
        if self.verb == "reschedule" {
            body["delaySeconds"] = number(&self.delay_seconds);
        }
        if !self.per_second.is_empty() {
            body["perSecond"] = number(&self.per_second);
        }
        body
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preview {
    matched: usize,
    matched_all: bool,
    items: Vec<Saga>,
}

/// What would be done, and about which sagas.
struct Would {
    verb: &'static Verb,
    about: Preview,
}

#[derive(Template)]
#[template(path = "batch_form.html")]
struct FormPage {
    nav: &'static str,
    live: Option<String>,
    filter: BTreeMap<String, String>,
    filled: Filled,
    would: Option<Would>,
    fault: Option<Fault>,
}

impl FormPage {
    /// The list that shows which sagas fit.
    fn list(&self) -> String {
        format!("/ui/sagas?{}", query(&self.filter))
    }
}

fn form(
    filter: BTreeMap<String, String>,
    filled: Filled,
    would: Option<Would>,
    fault: Option<Fault>,
) -> Response {
    let form = FormPage {
        nav: "sagas",
        live: None,
        filter,
        filled,
        would,
        fault,
    };
    show_form(&form, form.fault.as_ref())
}

pub(super) async fn ask(
    Query(asked): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let filled = Filled {
        actor: actor(&headers),
        key: new_key(),
        ..Filled::default()
    };
    form(Asked::from(asked).filter(), filled, None, None)
}

/// A batch that was placed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    batch_id: String,
}

enum Answer {
    Placed(Placed),
    Would(Preview),
}

pub(super) async fn act(
    State(Page { backend, .. }): State<Page>,
    Query(asked): Query<HashMap<String, String>>,
    headers: HeaderMap,
    Ours(filled): Ours<Filled>,
) -> Result<Response, Fault> {
    let filter = Asked::from(asked).filter();
    let body = filled.body(&filter);
    let mut more = vec![("x-actor", filled.actor.as_str())];
    let answer = if filled.confirmed {
        more.push(("idempotency-key", filled.key.as_str()));
        let placed = backend.post("/sagas/batch", &headers, &more, &body).await;
        placed.map(Answer::Placed)
    } else {
        let path = "/sagas/batch?dryRun=true";
        let would = backend.post(path, &headers, &more, &body).await;
        would.map(Answer::Would)
    };
    match answer {
        Ok(Answer::Placed(one)) => {
            let path = format!("/ui/batches/{}", one.batch_id);
            Ok(done(&path, &filled.actor))
        }
        Ok(Answer::Would(about)) => {
            let verb = Verb::find(&filled.verb)?;
            Ok(form(filter, filled, Some(Would { verb, about }), None))
        }
        Err(fault) if fault.is_the_senders() => {
            // Nothing was placed under its key, unless another form was, from which the browser went back to this one.
            let key = new_key();
            let filled = Filled { key, ..filled };
            Ok(form(filter, filled, None, Some(fault)))
        }
        Err(fault) => Err(fault),
    }
}
