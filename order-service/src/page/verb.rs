//! The operator's verbs: asked for, shown in advance, and confirmed.

use askama::Template;
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    backend::segment,
    fault::{Fault, show as page, show_form},
    form::{Ours, actor, done, new_key, number},
    state::Page,
    view::{Details, Entry, Explained, Saga},
};

/// What can be done about a saga.
#[derive(Debug)]
pub(super) struct Verb {
    /// What the API calls it.
    pub(super) name: &'static str,
    /// What a button calls it.
    pub(super) title: &'static str,
    /// What it does.
    pub(super) what: &'static str,
    /// Whether it says that something is done, or undone, which nobody has checked.
    pub(super) is_grave: bool,
}

/// What can be done about a saga, or about many.
pub(super) const VERBS: [Verb; 6] = [
    Verb {
        name: "retry",
        title: "Retry",
        what: "The command that the saga was parked at is sent again, with all its attempts.",
        is_grave: false,
    },
    Verb {
        name: "abort",
        title: "Abort and undo",
        what: "What was done so far is undone, beginning now, as after a cancellation.",
        is_grave: false,
    },
    Verb {
        name: "reschedule",
        title: "Reschedule",
        what: "The saga is looked at sooner or later than its deadline says.",
        is_grave: false,
    },
    Verb {
        name: "skip",
        title: "Skip the step",
        what: "The step is taken for done, or on the way back for undone, although nobody has said so.",
        is_grave: true,
    },
    Verb {
        name: "force-complete",
        title: "Force: completed",
        what: "The saga is taken for completed, whatever was done of it. Nothing more is asked of anybody.",
        is_grave: true,
    },
    Verb {
        name: "force-compensated",
        title: "Force: compensated",
        what: "The saga is taken for compensated, whatever is left of it. Nothing more is asked of anybody.",
        is_grave: true,
    },
];

impl Verb {
    pub(super) fn find(name: &str) -> Result<&'static Self, Fault> {
        let found = VERBS.iter().find(|verb| verb.name == name);
        found.ok_or_else(|| Fault::not_found("There is no such verb."))
    }

    /// Those that make sense now.
    pub(super) fn among(names: &[String]) -> Vec<&'static Self> {
        let is_among = |verb: &&Self| names.iter().any(|name| name == verb.name);
        VERBS.iter().filter(is_among).collect()
    }
}

/// What was filled in.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filled {
    actor: String,
    reason: String,
    #[serde(default)]
    delay_seconds: String,
    /// The version that the operator has seen.
    version: i32,
    key: String,
    /// Whether what would follow was seen, and is wanted.
    #[serde(default)]
    confirmed: bool,
}

impl Filled {
    fn body(&self, verb: &Verb) -> Value {
        let mut body = json!({ "reason": self.reason });
        if verb.name == "reschedule" {
            body["delaySeconds"] = number(&self.delay_seconds);
        }
        body
    }
}

#[derive(Template)]
#[template(path = "verb.html")]
struct VerbPage {
    nav: &'static str,
    live: Option<String>,
    verb: &'static Verb,
    saga: Saga,
    explanation: String,
    filled: Filled,
    /// The saga as it would be.
    would: Option<Details>,
    fault: Option<Fault>,
}

impl VerbPage {
    /// What would be written into the log.
    fn written<'a>(&self, would: &'a Details) -> Vec<&'a Entry> {
        let new = would
            .log
            .iter()
            .filter(|entry| entry.seq > self.filled.version);
        new.collect()
    }
}

async fn ready(page: &Page, id: &str, verb: &'static Verb) -> Result<VerbPage, Fault> {
    let (path, why) = (format!("/sagas/{id}"), format!("/sagas/{id}/explain"));
    let saga: Details = page.backend.get(&path).await?;
    let explained: Explained = page.backend.get(&why).await?;
    Ok(VerbPage {
        nav: "sagas",
        live: None,
        verb,
        filled: Filled {
            version: saga.saga.version,
            key: new_key(),
            ..Filled::default()
        },
        saga: saga.saga,
        explanation: explained.explanation,
        would: None,
        fault: None,
    })
}

pub(super) async fn ask(
    State(state): State<Page>,
    Path((id, verb)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let mut ready = ready(&state, &segment(&id), Verb::find(&verb)?).await?;
    ready.filled.actor = actor(&headers);
    Ok(page(&ready))
}

pub(super) async fn act(
    State(state): State<Page>,
    Path((id, verb)): Path<(String, String)>,
    headers: HeaderMap,
    Ours(filled): Ours<Filled>,
) -> Result<Response, Fault> {
    let (id, verb) = (segment(&id), Verb::find(&verb)?);
    let tag = format!("\"{}\"", filled.version);
    let mut more = vec![
        ("x-actor", filled.actor.as_str()),
        ("if-match", tag.as_str()),
    ];
    let dry_run = if filled.confirmed {
        more.push(("idempotency-key", filled.key.as_str()));
        ""
    } else {
        "?dryRun=true"
    };
    let path = format!("/sagas/{id}/{}{dry_run}", verb.name);
    let answer = state
        .backend
        .post::<Details>(&path, &headers, &more, &filled.body(verb))
        .await;
    let (would, fault) = match answer {
        Ok(_) if filled.confirmed => return Ok(done(&format!("/ui/sagas/{id}"), &filled.actor)),
        Ok(would) => (Some(would), None),
        Err(fault) if fault.is_the_senders() => (None, Some(fault)),
        Err(fault) => return Err(fault),
    };
    let ready = ready(&state, &id, verb).await?;
    // Where the saga has changed, what is shown now is what is to be decided about.
    let version = if fault.is_some() {
        ready.saga.version
    } else {
        filled.version
    };
    let form = VerbPage {
        filled: Filled { version, ..filled },
        would,
        fault,
        ..ready
    };
    Ok(show_form(&form, form.fault.as_ref()))
}
