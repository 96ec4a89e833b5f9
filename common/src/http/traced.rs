//! The span of a request, which all that it causes follows from.

use std::mem;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::Response,
};

use super::origin::{CORRELATION_ID, TRACEPARENT, TRACESTATE, trace};
use crate::{
    contract::Trace,
    telemetry::{KeyValue, Span, SpanKind, is_collected},
};

/// Routes that are asked all the time, and cause nothing.
const NOT_TRACED: [&str; 2] = ["/health", "/metrics"];

/// Those that clients do not make up.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Records a span for each request. What the request causes finds its place in the header that the caller's was in.
pub(super) async fn record(mut request: Request, next: Next) -> Response {
    if !is_collected() {
        return next.run(request).await;
    }
    let from = trace(request.headers());
    let span = begin(&request, from.as_ref());
    if let Some(here) = span.trace()
        && let Ok(here) = HeaderValue::try_from(here.parent())
    {
        let headers = request.headers_mut();
        headers.insert(TRACEPARENT, here);
        if from.is_none() {
            // The state of a trace that this is not.
            headers.remove(TRACESTATE);
        }
    }
    let unanswered = Unanswered(span);
    let response = next.run(request).await;
    unanswered.answered(response.status());
    response
}

/// A request until it is answered. A client that goes away has it dropped; what it has begun goes on all the same.
struct Unanswered(Span);

impl Unanswered {
    fn answered(mut self, status: StatusCode) {
        let code = KeyValue::new("http.response.status_code", i64::from(status.as_u16()));
        let span = mem::take(&mut self.0).with(|| [code]);
        if status.is_server_error() {
            span.fail(status.as_str(), "");
        } else {
            span.end();
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let why = "the client went away before the answer";
        mem::take(&mut self.0).fail("cancelled", why);
    }
}

/// Source: <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span>
fn begin(request: &Request, from: Option<&Trace>) -> Span {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map(MatchedPath::as_str);
    if route.is_some_and(|route| NOT_TRACED.iter().any(|prefix| route.starts_with(prefix))) {
        return Span::default();
    }
    let method = known(request.method());
    let name = || match route {
        Some(route) => format!("{} {route}", method.unwrap_or("HTTP")),
        None => method.unwrap_or("HTTP").to_owned(),
    };
    let (headers, path) = (request.headers(), request.uri().path());
    Span::begin(SpanKind::Server, from, name)
        .with(|| {
            [
                KeyValue::new("http.request.method", method.unwrap_or("_OTHER")),
                KeyValue::new("url.scheme", "http"),
                KeyValue::new("url.path", path.to_owned()),
            ]
        })
        .with(|| route.map(|route| KeyValue::new("http.route", route.to_owned())))
        .with(|| correlation(headers))
}

/// Methods that clients make up are one.
fn known(method: &Method) -> Option<&'static str> {
    let mut known = METHODS.iter().copied();
    known.find(|known| *known == method.as_str())
}

fn correlation(headers: &HeaderMap) -> Option<KeyValue> {
    let id = headers.get(&CORRELATION_ID)?.to_str().ok()?;
    Some(KeyValue::new(
        "messaging.message.conversation_id",
        id.to_owned(),
    ))
}
