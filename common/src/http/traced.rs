//! The span of a request, which all that it causes follows from.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method},
    middleware::Next,
    response::Response,
};

use super::origin::{CORRELATION_ID, TRACEPARENT, trace};
use crate::telemetry::{KeyValue, Span, SpanKind};

/// Routes that are asked all the time, and cause nothing.
const NOT_TRACED: [&str; 2] = ["/health", "/metrics"];

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Records a span for each request. What the request causes finds its place in the header that the caller's was in.
pub(super) async fn record(mut request: Request, next: Next) -> Response {
    let span = begin(&request);
    let Some(here) = span.trace() else {
        return next.run(request).await;
    };
    if let Ok(here) = HeaderValue::try_from(here.parent()) {
        request.headers_mut().insert(TRACEPARENT, here);
    }
    let response = next.run(request).await;
    let status = response.status();
    let span = span.with(|| {
        [KeyValue::new(
            "http.response.status_code",
            i64::from(status.as_u16()),
        )]
    });
    if status.is_server_error() {
        span.fail(status.as_str(), "");
    } else {
        span.end();
    }
    response
}

/// Source: <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span>
fn begin(request: &Request) -> Span {
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
    Span::begin(SpanKind::Server, trace(headers).as_ref(), name)
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
