//! Where a saga comes from: the request's correlation id and trace.

use axum::http::HeaderMap;
use common::{contract::clock, http::CORRELATION_ID};
use saga::Origin;
use uuid::Uuid;

/// Where a saga comes from that this request begins.
pub(super) fn origin(headers: &HeaderMap) -> Origin {
    Origin {
        correlation_id: correlation_id(headers),
        traceparent: Some(traceparent(headers)),
    }
}

/// The request's correlation id, which the server made where the caller gave none.
fn correlation_id(headers: &HeaderMap) -> String {
    let given = headers.get(CORRELATION_ID).and_then(|id| id.to_str().ok());
    match given.filter(|id| (1..=128).contains(&id.len())) {
        Some(id) => id.to_owned(),
        None => clock::new_id().to_string(),
    }
}

/// The caller's trace, or a new one.
///
/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>
fn traceparent(headers: &HeaderMap) -> String {
    let given = headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok());
    match given.filter(|value| is_traceparent(value)) {
        Some(value) => value.to_owned(),
        None => {
            let (trace, parent) = (Uuid::new_v4().simple(), Uuid::new_v4().as_u64_pair().0 | 1);
            format!("00-{trace}-{parent:016x}-01")
        }
    }
}

fn is_traceparent(value: &str) -> bool {
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<_> = value.split('-').collect();
    matches!(&parts[..], [version, trace, parent, flags]
        if is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2))
}
