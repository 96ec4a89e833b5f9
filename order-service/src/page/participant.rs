//! Holding commands to a participant back, and letting them go.

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
    form::{Ours, actor, done},
    state::Page,
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Filled {
    actor: String,
    reason: String,
}

#[derive(Template)]
#[template(path = "participant.html")]
struct ParticipantPage {
    nav: &'static str,
    live: Option<String>,
    name: String,
    is_pause: bool,
    filled: Filled,
    fault: Option<Fault>,
}

impl ParticipantPage {
    fn new(name: String, verb: &str, filled: Filled, fault: Option<Fault>) -> Result<Self, Fault> {
        let is_pause = match verb {
            "pause" => true,
            "resume" => false,
            _ => return Err(Fault::not_found("A participant is paused or resumed.")),
        };
        Ok(Self {
            nav: "board",
            live: None,
            name,
            is_pause,
            filled,
            fault,
        })
    }
}

pub(super) async fn ask(
    Path((name, verb)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let filled = Filled {
        actor: actor(&headers),
        ..Filled::default()
    };
    ParticipantPage::new(name, &verb, filled, None).map(|form| page(&form))
}

pub(super) async fn act(
    State(Page { backend, .. }): State<Page>,
    Path((name, verb)): Path<(String, String)>,
    headers: HeaderMap,
    Ours(filled): Ours<Filled>,
) -> Result<Response, Fault> {
    let path = format!("/participants/{}/{}", segment(&name), segment(&verb));
    let body = json!({ "reason": filled.reason });
    let actor = [("x-actor", filled.actor.as_str())];
    match backend.post::<Value>(&path, &headers, &actor, &body).await {
        Ok(_) => Ok(done("/", &filled.actor)),
        Err(fault) if fault.is_the_senders() => {
            let form = ParticipantPage::new(name, &verb, filled, Some(fault))?;
            Ok(show_form(&form, form.fault.as_ref()))
        }
        Err(fault) => Err(fault),
    }
}
