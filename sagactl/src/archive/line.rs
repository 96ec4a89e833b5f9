//! The lines of an export.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// What the format is called; a release that changes it counts on.
const FORMAT: u32 = 1;
/// Details that are the same for all sagas that went the same way. All others are somebody's words, or may be.
const PLAIN: [&str; 7] = [
    "attempt",
    "reason",
    "reply",
    "delaySeconds",
    "queue",
    "messageId",
    "editedAs",
];
/// What stands in the place of words.
const REDACTED: &str = "[redacted]";

/// A line of an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Line {
    /// The first one: what the export is of.
    Export(Header),
    /// A saga.
    Saga(Box<Exported>),
    /// Where the list goes on behind the sagas before this line.
    Cursor(String),
    /// The last one.
    End(End),
}

/// What an export is of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    format: u32,
    filter: BTreeMap<String, String>,
    words: bool,
}

/// The end of an export.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct End {
    /// How many it has.
    pub(crate) sagas: u64,
}

/// A saga with its log, and without what it is about.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exported {
    pub(crate) saga_id: Uuid,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) definition_version: i32,
    pub(crate) status: String,
    pub(crate) current_step: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) version: i32,
    pub(crate) overruled: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) log_dropped: bool,
    pub(crate) log: Vec<LogLine>,
}

/// An entry of its log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogLine {
    pub(crate) seq: i32,
    pub(crate) at: DateTime<Utc>,
    pub(crate) event: String,
    pub(crate) step: Option<String>,
    pub(crate) details: Value,
}

impl Header {
    /// An export of the sagas that `filter` lets through, with people's `words` or without.
    pub(crate) fn new(filter: &BTreeMap<&'static str, String>, words: bool) -> Self {
        let filter = filter.iter();
        Self {
            format: FORMAT,
            filter: filter
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            words,
        }
    }

    /// Whether this release reads such an export.
    pub(crate) fn is_known(&self) -> bool {
        self.format == FORMAT
    }
}

/// The details of an entry, without anybody's words.
pub(crate) fn redacted(mut details: Value) -> Value {
    let Some(fields) = details.as_object_mut() else {
        return Value::Object(serde_json::Map::new());
    };
    for (name, value) in fields {
        let is_said = matches!(value, Value::String(_) | Value::Array(_) | Value::Object(_));
        if is_said && !PLAIN.contains(&name.as_str()) {
            *value = REDACTED.into();
        }
    }
    details
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nobodys_words_are_exported() {
        let details = json!({ "attempt": 2, "reason": "OUT_OF_STOCK", "detail": "for Ada Lovelace", "note": null,
                              "actor": "ada@example.com", "later": { "name": "Ada" } });
        let expected = json!({ "attempt": 2, "reason": "OUT_OF_STOCK", "detail": REDACTED, "note": null,
                               "actor": REDACTED, "later": REDACTED });
        assert_eq!(redacted(details), expected);
        assert_eq!(redacted(json!("text")), json!({}));
    }

    #[test]
    fn lines_say_what_they_are() {
        let line = serde_json::to_value(Line::Cursor("abc".to_owned())).unwrap();
        assert_eq!(line, json!({ "cursor": "abc" }));
        let end: Line = serde_json::from_value(json!({ "end": { "sagas": 3 } })).unwrap();
        assert!(matches!(end, Line::End(End { sagas: 3 })));
    }
}
