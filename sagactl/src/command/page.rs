//! Lists of the API: which part of them is asked for, and where they go on.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    context::Context,
    failure::Failure,
    screen::{FAINT, Table, Text},
};

/// A page of anything.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    /// The items, as they came.
    pub(crate) items: Vec<Value>,
    /// Where the list goes on.
    pub(crate) next_cursor: Option<String>,
}

/// A part of a list.
#[derive(Debug, Args)]
pub(crate) struct Part {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=200))]
    limit: u8,
    /// Go on where an earlier list ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl Part {
    /// The parameters of a list.
    pub(crate) fn parameters(self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("limit", self.limit.to_string())];
        parameters.extend(self.cursor.map(|cursor| ("cursor", cursor)));
        parameters
    }
}

/// Shows a page of a list, and where it goes on.
pub(crate) fn paged(context: &Context, table: Table, next: Option<String>) -> Result<(), Failure> {
    if table.is_empty() {
        context.screen.tell(&Text::plain("there are none"));
    } else {
        context.screen.table(table)?;
    }
    if let Some(cursor) = next {
        let more = format!("there are more: --cursor {cursor}");
        context.screen.tell(&Text::styled(FAINT, more));
    }
    Ok(())
}

/// The object without fields that say nothing.
pub(crate) fn without_nulls(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body
}
