//! What says on a dead letter why it is one.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};

use super::super::{Outgoing, Raw, properties::identifying};
use crate::contract::clock;

/// Longest error text in a header.
const ERROR_TEXT_MAX: usize = 1000;

/// A dead letter of `queue`, after so many `attempts`; `kind` is a stable word for the reason, `error` the reason.
pub(super) fn dead_letter(
    queue: &'static str,
    body: Vec<u8>,
    properties: &BasicProperties,
    kind: &str,
    error: &str,
    attempts: u32,
) -> Outgoing {
    let properties = identifying(properties);
    let mut headers = properties.headers().clone().unwrap_or_default();
    add_reason(&mut headers, kind, error, attempts);
    Raw::dead_letter(queue, body, properties.with_headers(headers)).into()
}

fn add_reason(headers: &mut FieldTable, kind: &str, error: &str, attempts: u32) {
    let error: String = error.chars().take(ERROR_TEXT_MAX).collect();
    for (name, value) in [
        ("x-error-kind", kind),
        ("x-error", &error),
        ("x-failed-at", &clock::now().to_rfc3339()),
    ] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    headers.insert(
        "x-attempts".into(),
        AMQPValue::LongLongInt(i64::from(attempts)),
    );
}
