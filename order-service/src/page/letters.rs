//! Dead letters, by what went wrong.

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::{
    backend::segment,
    fault::{Fault, show as page},
    state::Page,
    view::{Part, pretty, short},
    when::When,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    queue: String,
    service: String,
    messages: u32,
    looked_at: usize,
    complete: bool,
    groups: Vec<Group>,
    more_groups: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    group: String,
    count: usize,
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Reason,
    oldest_at: Option<When>,
    newest_at: Option<When>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    kind: String,
    error: String,
    attempts: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Letter {
    message_id: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Reason,
    failed_at: Option<When>,
    saga_id: Option<String>,
    redriven: u32,
    body: Option<Value>,
    body_base64: Option<String>,
    body_bytes: usize,
    headers: Value,
}

impl Letter {
    fn body(&self) -> String {
        match (&self.body, &self.body_base64) {
            (Some(body), _) => pretty(body),
            (None, Some(body)) => body.clone(),
            (None, None) => format!("{} bytes, too many to be shown", self.body_bytes),
        }
    }

    fn headers(&self) -> String {
        pretty(&self.headers)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Letters {
    items: Vec<Letter>,
    next_cursor: Option<String>,
    messages: u32,
    looked_at: usize,
    complete: bool,
}

#[derive(Template)]
#[template(path = "letters.html")]
struct GroupsPage {
    nav: &'static str,
    live: Option<String>,
    queues: Vec<Queue>,
}

impl GroupsPage {
    fn messages(&self) -> u32 {
        self.queues.iter().map(|queue| queue.messages).sum()
    }
}

#[derive(Template)]
#[template(path = "letter_list.html")]
struct ListPage {
    nav: &'static str,
    live: Option<String>,
    queue: String,
    group: Option<String>,
    letters: Letters,
    next: Option<String>,
}

/// Each look takes the letters out of their queues and puts them back, so this page does not look by itself.
pub(super) async fn groups(State(Page { backend, .. }): State<Page>) -> Result<Response, Fault> {
    let queues: Part<Queue> = backend.get("/dead-letters").await?;
    Ok(page(&GroupsPage {
        nav: "letters",
        live: None,
        queues: queues.items,
    }))
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    group: Option<String>,
    cursor: Option<String>,
}

impl Wanted {
    fn query(&self, cursor: Option<&str>) -> String {
        let mut query = Serializer::new(String::from("limit=20"));
        for (name, value) in [("group", self.group.as_deref()), ("cursor", cursor)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

pub(super) async fn list(
    State(Page { backend, .. }): State<Page>,
    Path(queue): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Fault> {
    let query = wanted.query(wanted.cursor.as_deref());
    let path = format!("/dead-letters/{}?{query}", segment(&queue));
    let letters: Letters = backend.get(&path).await?;
    let next = letters.next_cursor.as_deref();
    let next = next.map(|next| format!("/ui/dead-letters/{queue}?{}", wanted.query(Some(next))));
    Ok(page(&ListPage {
        nav: "letters",
        live: None,
        queue,
        group: wanted.group,
        letters,
        next,
    }))
}
