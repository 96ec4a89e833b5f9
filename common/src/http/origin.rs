//! Where a request comes from: its correlation id and its trace, which all that it causes repeats.

use super::{ApiError, problem};
use crate::contract::{Origin, Trace, clock};
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Ties together all that a request causes, across services. Given by the caller, or made here.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// Characters of a correlation id.
pub(super) const CORRELATION_ID_MAX: usize = 128;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Characters of a trace state that are handed on. Source: <https://www.w3.org/TR/trace-context/#tracestate-limits>
const TRACESTATE_MAX: usize = 512;

/// Gives every request a correlation id, and every answer, also in its problem, that of its request. One that cannot be kept is refused: whoever
/// chose it would look for it in vain.
pub(super) async fn correlate(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&CORRELATION_ID);
    let is_refused = given.is_some_and(|id| !is_correlation_id(id.as_bytes()));
    let id = match given {
        Some(id) if !is_refused => id.clone(),
        _ => HeaderValue::try_from(clock::new_id().to_string()).expect("an id is ASCII"),
    };
    let uri = request.uri().clone();
    let mut response = if is_refused {
        let rule = format!("must be 1 to {CORRELATION_ID_MAX} printable ASCII characters");
        ApiError::bad_field(CORRELATION_ID.as_str(), rule).into_response()
    } else {
        request.headers_mut().insert(CORRELATION_ID, id.clone());
        next.run(request).await
    };
    problem::complete(&mut response, uri.path(), id.to_str().unwrap_or_default());
    response.headers_mut().insert(CORRELATION_ID, id);
    response
}

fn is_correlation_id(id: &[u8]) -> bool {
    (1..=CORRELATION_ID_MAX).contains(&id.len()) && id.iter().all(|b| matches!(b, b' '..=b'~'))
}

/// Where all messages come from that this request causes.
#[must_use]
pub fn origin(headers: &HeaderMap) -> Origin {
    let correlation_id = headers.get(&CORRELATION_ID).and_then(|id| id.to_str().ok());
    let trace = trace(headers).unwrap_or_default();
    Origin {
        correlation_id: correlation_id.map_or_else(|| clock::new_id().to_string(), str::to_owned),
        trace: Some(trace),
    }
}

/// Where in a trace the request was made, if it says so.
pub(super) fn trace(headers: &HeaderMap) -> Option<Trace> {
    Trace::read(only(headers, &TRACEPARENT)?, tracestate(headers))
}

/// The header's value, where it is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none());
    value.and_then(|value| value.to_str().ok())
}

/// All that the headers say, as one list: as many of its first members as fit. None where it is no list.
///
/// Source: <https://www.w3.org/TR/trace-context/#tracestate-header-field-values>
fn tracestate(headers: &HeaderMap) -> Option<String> {
    let mut list = String::new();
    for value in headers.get_all(&TRACESTATE) {
        let members = value.to_str().ok()?.split(',').map(str::trim);
        for member in members.filter(|member| !member.is_empty()) {
            let (key, value) = member.split_once('=')?;
            let is_text = |text: &str| text.bytes().all(|b| matches!(b, b' '..=b'~'));
            if key.is_empty() || !is_text(key) || !is_text(value) {
                return None;
            }
            let comma = usize::from(!list.is_empty());
            if list.len() + comma + member.len() > TRACESTATE_MAX {
                return Some(list).filter(|list| !list.is_empty());
            }
            list.push_str(&","[..comma]);
            list.push_str(member);
        }
    }
    Some(list).filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_trace_is_kept_and_what_is_none_is_replaced() {
        let parent = |pairs: &[(&'static str, &str)]| {
            let trace = origin(&headers(pairs)).trace.unwrap();
            (trace.parent(), trace.state().map(str::to_owned))
        };
        assert_eq!(parent(&[("traceparent", TRACE)]).0, TRACE);
        for wrong in [
            &[("traceparent", TRACE), ("traceparent", TRACE)][..],
            &[("traceparent", &TRACE[1..])],
            &[("tracestate", "a=1")],
        ] {
            let (made, state) = parent(wrong);
            assert!(Trace::read(&made, None).is_some(), "{made}");
            assert_ne!(made, TRACE);
            assert_eq!(state, None, "a state of no trace");
        }
    }

    #[test]
    fn a_trace_state_is_one_list_of_what_fits() {
        let state = |values: &[&str]| {
            let trace = [("traceparent", TRACE)].into_iter();
            let states = values.iter().map(|value| ("tracestate", *value));
            let origin = origin(&headers(&trace.chain(states).collect::<Vec<_>>()));
            origin.trace.unwrap().state().map(str::to_owned)
        };
        assert_eq!(state(&[]), None);
        assert_eq!(state(&["", " , "]), None);
        assert_eq!(
            state(&["a=1,\tb=2 ,", "c=3"]).as_deref(),
            Some("a=1,b=2,c=3")
        );
        for wrong in ["a", "=1", "a=1,b", "a=1\u{e9}"] {
            assert_eq!(state(&[wrong]), None, "{wrong}");
        }
        let long = format!("b={}", "x".repeat(510));
        assert_eq!(state(&[&long]), Some(long.clone()));
        assert_eq!(state(&["a=1", &long, "c=3"]).as_deref(), Some("a=1"));
    }
}
