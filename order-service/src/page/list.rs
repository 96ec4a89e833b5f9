//! Sagas, found by what is in the address.

use std::collections::HashMap;

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use url::form_urlencoded::Serializer;

use super::{
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

/// What is in the address.
struct Asked(Vec<(String, String)>);

impl Asked {
    fn value(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(asked, _)| asked == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.value(name) == value
    }

    /// The same, with another cursor.
    fn query(&self, cursor: Option<&str>) -> String {
        let mut query = Serializer::new(String::new());
        let asked = self
            .0
            .iter()
            .filter(|(name, _)| name != "cursor" || cursor.is_none());
        query.extend_pairs(asked);
        if let Some(cursor) = cursor {
            query.append_pair("cursor", cursor);
        }
        query.finish()
    }
}

pub(super) async fn show(
    State(Page { backend, .. }): State<Page>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    // A form sends what is empty, too.
    let mut asked: Vec<_> = asked
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    asked.sort_unstable();
    let asked = Asked(asked);
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
