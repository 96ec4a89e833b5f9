//! `ls`: sagas, the newest first.

use clap::Args;
use serde_json::{Value, json};

use super::{
    filter::Filter,
    page::Page,
    saga::{Summary, table},
};
use crate::{
    context::Context,
    failure::Failure,
    screen::{FAINT, Text},
    service::{Service, read},
};

/// Items that a page of the API has at most.
const PAGE_MAX: usize = 200;

/// Lists sagas, newest first.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// How many at most; 50, or 10000 with --all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: Option<u32>,
    /// Follow the list to its end, or to the limit
    #[arg(long)]
    all: bool,
    /// Go on where an earlier list ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    filter: Filter,
}

impl List {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let default = if self.all { 10_000 } else { 50 };
        let limit = usize::try_from(self.limit.unwrap_or(default)).unwrap_or(usize::MAX);
        let mut pages = Pages::new(&context.orders, &self.filter, self.cursor);
        let mut items = Vec::new();
        loop {
            items.extend(pages.next((limit - items.len()).min(PAGE_MAX)).await?);
            let is_enough = items.len() >= limit || !pages.goes_on();
            // A page may be short although the list goes on: only so much is read for one answer.
            if is_enough || (!self.all && !items.is_empty()) {
                break;
            }
        }
        let next = pages.cursor;
        if context.screen.is_json() {
            return context
                .screen
                .json(&json!({ "items": items, "nextCursor": next }));
        }
        let sagas: Vec<Summary> = items.iter().map(read).collect::<Result<_, _>>()?;
        if sagas.is_empty() {
            context.screen.tell(&Text::plain("no saga fits"));
        } else {
            context.screen.table(table(&sagas))?;
        }
        if let Some(cursor) = next {
            let more = format!("there are more: --all, or --cursor {cursor}");
            context.screen.tell(&Text::styled(FAINT, more));
        }
        Ok(())
    }
}

/// A list of sagas, page by page.
pub(crate) struct Pages<'a> {
    service: &'a Service,
    parameters: Vec<(&'static str, String)>,
    has_begun: bool,
    /// Behind the pages that were read.
    pub(crate) cursor: Option<String>,
}

impl<'a> Pages<'a> {
    /// The sagas that `filter` lets through, from `cursor` on.
    pub(crate) fn new(service: &'a Service, filter: &Filter, cursor: Option<String>) -> Self {
        Self {
            service,
            parameters: filter.parameters().into_iter().collect(),
            has_begun: false,
            cursor,
        }
    }

    /// Whether there is another page.
    pub(crate) fn goes_on(&self) -> bool {
        !self.has_begun || self.cursor.is_some()
    }

    /// The next page, which may be empty although the list goes on.
    pub(crate) async fn next(&mut self, limit: usize) -> Result<Vec<Value>, Failure> {
        let request = self
            .service
            .get(&["sagas"])
            .query(self.parameters_with(limit));
        let page: Page = read(&request.json().await?)?;
        if self.has_begun && page.next_cursor.is_some() && page.next_cursor == self.cursor {
            let why = "the list does not get on: its cursor is that of the page before";
            return Err(Failure::Away(why.to_owned()));
        }
        self.has_begun = true;
        self.cursor = page.next_cursor;
        Ok(page.items)
    }

    fn parameters_with(&self, limit: usize) -> Vec<(&'static str, String)> {
        let mut parameters = self.parameters.clone();
        parameters.push(("limit", limit.to_string()));
        let cursor = self.cursor.clone();
        parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
        parameters
    }
}
