//! The server: routes, documentation, metrics, and a stop that finishes what is in flight.

use std::any::Any;

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderName, HeaderValue, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use sqlx::PgPool;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};
use tracing::{Span, info, info_span};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use super::{
    ApiError, connections,
    document::{self, SYSTEM},
    extract::BODY_MAX,
    gate::{self, Gate},
    health,
    origin::{CORRELATION_ID, correlate, trace},
    problem::{self, types},
    traced,
};
use crate::metrics::{self, HTTP_REQUESTS, HTTP_SECONDS};

/// What browsers may do with answers: nothing but show them, and on the page of the documentation what the page itself
/// brings. Source: <https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html#security-headers>
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// `routes` that are refused at once while `db`, which they need, is away.
pub fn gated(routes: OpenApiRouter, db: PgPool) -> OpenApiRouter {
    routes.layer(middleware::from_fn_with_state(Gate::new(db), gate::pass))
}

/// The API of a program: its routes and its probes, with documentation, metrics, and problems for what is not there.
/// The document begins with what `routes` say of themselves: see [`super::describe`]. `pages` are for people, and no part
/// of it.
pub fn api(mut routes: OpenApiRouter, probes: OpenApiRouter, pages: Router) -> Router {
    metrics::describe(metrics::PROGRAM);
    let mut frame = frame(probes);
    let document = document::complete(routes.to_openapi(), frame.to_openapi());
    let swagger = SwaggerUi::new("/api/docs").url("/api/docs/openapi.json", document);
    let (router, _) = routes.merge(frame).split_for_parts();
    router
        .merge(swagger)
        .merge(pages)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(CatchPanicLayer::custom(panicked))
        // From the outside in: all are counted and protected, each has an id, and a span that carries it.
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_failure(()),
        )
        .layer(middleware::from_fn(traced::record))
        .layer(middleware::from_fn(correlate))
        .layer(middleware::map_response(protect))
        .layer(middleware::from_fn(measure))
}

/// The document that [`api`] serves for these routes.
#[must_use]
pub fn document<S: Clone + Send + Sync + 'static>(routes: OpenApiRouter<S>) -> OpenApi {
    let frame = frame(health::routes());
    document::complete(routes.into_openapi(), frame.into_openapi())
}

/// What every program has beside its own routes.
fn frame<S: Clone + Send + Sync + 'static>(probes: OpenApiRouter<S>) -> OpenApiRouter<S> {
    probes.routes(routes!(get_metrics)).merge(problem::routes())
}

/// What the process has counted and timed, for Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = SYSTEM,
    responses((status = 200, description = "In Prometheus' text format", body = String)))]
async fn get_metrics() -> String {
    metrics::render()
}

/// The root span of a request, which all its log lines inherit.
fn span(request: &Request) -> Span {
    let correlation_id = request
        .headers()
        .get(&CORRELATION_ID)
        .and_then(|id| id.to_str().ok());
    let trace_id = trace(request.headers()).map(|trace| trace.name());
    info_span!("request", method = %request.method(), path = request.uri().path(), correlation_id, trace_id)
}

/// Serves until `shutdown`, and then until the requests in flight are answered.
pub async fn serve(listener: TcpListener, api: Router, shutdown: CancellationToken) {
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving HTTP");
    }
    tokio::select! {
        () = connections::serve(listener, api, shutdown) => {}
        never = metrics::keep_small() => match never {},
    }
}

/// A page may know better what it needs.
async fn protect(mut response: Response) -> Response {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::NotFound(format!("there is nothing at {}: see /api/docs", uri.path()))
}

async fn method_not_allowed(request: Request) -> ApiError {
    let detail = format!("{} does not work here: see /api/docs", request.method());
    ApiError::Refused(&types::METHOD_NOT_ALLOWED, detail)
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Internal(anyhow::anyhow!("the handler panicked")).into_response()
}

/// Counts and times requests by route, not by path, so that ids do not become labels; nor do methods that clients make up.
async fn measure(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let response = next.run(request).await;
    let (method, status) = (method.as_str(), response.status());
    HTTP_REQUESTS.add(&[method, &route, status.as_str()], 1);
    HTTP_SECONDS.record(&[method, &route], started.elapsed().as_secs_f64());
    response
}
