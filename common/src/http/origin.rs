//! Where a request comes from: its correlation id and its trace, which all that it causes repeats.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};
use uuid::Uuid;

use super::{ApiError, problem};
use crate::contract::{Origin, clock};

/// Ties together all that a request causes, across services. Given by the caller, or made here.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// Characters of a correlation id.
pub(super) const CORRELATION_ID_MAX: usize = 128;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
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
    let trace = only(headers, &TRACEPARENT).and_then(traceparent);
    Origin {
        correlation_id: correlation_id.map_or_else(|| clock::new_id().to_string(), str::to_owned),
        tracestate: trace.as_ref().and_then(|_| tracestate(headers)),
        traceparent: Some(trace.unwrap_or_else(new_trace)),
    }
}

/// The header's value, where it is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none());
    value.and_then(|value| value.to_str().ok())
}

/// `given` as this version of the format has it, if it is a trace. Of a later version, what this one knows is kept.
///
/// Source: <https://www.w3.org/TR/trace-context/#versioning-of-traceparent>
fn traceparent(given: &str) -> Option<String> {
    let (known, rest) = given.split_at_checked(55)?;
    let parts: Vec<_> = known.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else {
        return None;
    };
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|b| b != b'0');
    let ends = rest.is_empty() || version != "00" && rest.starts_with('-');
    let is_trace = is_hex(version, 2)
        && version != "ff"
        && is_id(trace, 32)
        && is_id(parent, 16)
        && is_hex(flags, 2);
    (is_trace && ends).then(|| format!("00-{trace}-{parent}-{flags}"))
}

fn new_trace() -> String {
    let (trace, parent) = (Uuid::new_v4().simple(), Uuid::new_v4().as_u64_pair().0 | 1);
    format!("00-{trace}-{parent:016x}-01")
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
        assert_eq!(traceparent(TRACE).as_deref(), Some(TRACE));
        let later = format!("cc{}-what-comes-later", &TRACE[2..]);
        assert_eq!(traceparent(&later).as_deref(), Some(TRACE));
        for wrong in [
            "",
            "00",
            &format!("ff{}", &TRACE[2..]),
            &format!("{TRACE}-more"),
            &format!("cc{}.more", &TRACE[2..]),
            &TRACE.to_uppercase(),
            &TRACE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &TRACE.replace("b7ad6b7169203331", &"0".repeat(16)),
            &TRACE[..54],
            &format!("{}é", &TRACE[..54]),
        ] {
            assert_eq!(traceparent(wrong), None, "{wrong}");
            let origin = origin(&headers(&[("tracestate", "a=1")]));
            let made = origin.traceparent.unwrap();
            assert_eq!(traceparent(&made).as_deref(), Some(&*made));
            assert_eq!(origin.tracestate, None, "a state of no trace");
        }
        let twice = origin(&headers(&[("traceparent", TRACE), ("traceparent", TRACE)]));
        assert_ne!(twice.traceparent.as_deref(), Some(TRACE));
    }

    #[test]
    fn a_trace_state_is_one_list_of_what_fits() {
        let state = |values: &[&str]| {
            let trace = [("traceparent", TRACE)].into_iter();
            let states = values.iter().map(|value| ("tracestate", *value));
            origin(&headers(&trace.chain(states).collect::<Vec<_>>())).tracestate
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
