//! Sagas, found by what is in the address.

use std::collections::HashMap;

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};

use super::{
    asked::{Asked, query},
    fault::{Fault, show_form},
    state::Page,
    view::{Part, Saga},
};

/// What can be asked for: the parameter, what it is called, and an example.
const FILTERS: [(&str, &str, &str); 6] = [
    ("type", "Type", "create_order"),
    ("step", "Step", "inventory"),
    ("reason", "Reason", "OUT_OF_STOCK"),
    ("error", "Error contains", "no reply"),
    ("subject", "About", "order/…"),
    ("olderThan", "Older than", "15m"),
];
const STATUSES: [&str; 5] = [
    "RUNNING",
    "COMPENSATING",
    "PARKED",
    "COMPLETED",
    "COMPENSATED",
];

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    nav: &'static str,
    live: Option<String>,
    asked: Asked,
    sagas: Vec<Saga>,
    /// Where the list goes on.
    next: Option<String>,
    fault: Option<Fault>,
}

impl ListPage {
    /// Where something is done about all sagas that fit, if it is said which these are.
    fn batch(&self) -> Option<String> {
        let filter = self.asked.filter();
        let is_some = !filter.is_empty() && (!self.sagas.is_empty() || self.next.is_some());
        is_some.then(|| format!("/ui/sagas/batch?{}", query(&filter)))
    }
}

pub(super) async fn show(
    State(Page { backend, .. }): State<Page>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let asked = Asked::from(asked);
    let found = backend
        .get::<Part<Saga>>(&format!("/sagas?{}", asked.query(None)))
        .await;
    let (sagas, next, fault) = match found {
        Ok(part) => (part.items, part.next_cursor, None),
        Err(fault) => (vec![], None, Some(fault)),
    };
    let next = next.map(|cursor| format!("/ui/sagas?{}", asked.query(Some(&cursor))));
    let list = ListPage {
        nav: "sagas",
        // The first page is where something happens.
        live: asked.is("cursor", "").then(|| "/sagas/events".to_owned()),
        asked,
        sagas,
        next,
        fault,
    };
    show_form(&list, list.fault.as_ref())
}
