//! The server: routes, documentation, metrics, and a stop that finishes what is in flight.

use std::{
    any::Any, convert::Infallible, future::IntoFuture, net::SocketAddr, sync::OnceLock,
    time::Duration,
};

use anyhow::Context;
use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{Method, StatusCode, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use metrics::histogram;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sqlx::PgPool;
use tokio::{
    net::TcpListener,
    time::{Instant, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};
use tracing::{Span, info, info_span, warn};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use super::{
    ApiError,
    document::{self, SYSTEM},
    extract::BODY_MAX,
    gate::{self, Gate},
    health,
    origin::{CORRELATION_ID, correlate},
};

/// Requests that are in flight when the service stops have this long to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often metrics are put together.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// `routes` that are refused at once while `db`, which they need, is away.
pub fn gated(routes: OpenApiRouter, db: PgPool) -> OpenApiRouter {
    routes.layer(middleware::from_fn_with_state(Gate::new(db), gate::pass))
}

/// The API of a program: its routes and its probes, with documentation, metrics, and problems for what is not there.
/// The document begins with what `routes` say of themselves: see [`super::describe`].
pub fn api(mut routes: OpenApiRouter, probes: OpenApiRouter) -> Router {
    recorder();
    let mut frame = frame(probes);
    let document = document::complete(routes.to_openapi(), frame.to_openapi());
    let swagger = SwaggerUi::new("/api/docs").url("/api/docs/openapi.json", document);
    let (router, _) = routes.merge(frame).split_for_parts();
    router
        .merge(swagger)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(CatchPanicLayer::custom(panicked))
        // From the outside in: all are counted, each has an id, and a span that carries it.
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_failure(()),
        )
        .layer(middleware::from_fn(correlate))
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
    probes.routes(routes!(metrics))
}

/// What the process has counted and timed, for Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = SYSTEM,
    responses((status = 200, description = "In Prometheus' text format", body = String)))]
async fn metrics() -> String {
    recorder()
        .map(|metrics| metrics.render())
        .unwrap_or_default()
}

/// The root span of a request, which all its log lines inherit.
fn span(request: &Request) -> Span {
    let correlation_id = request
        .headers()
        .get(&CORRELATION_ID)
        .and_then(|id| id.to_str().ok());
    info_span!("request", method = %request.method(), path = request.uri().path(), correlation_id)
}

/// Binds the address of an API.
///
/// # Errors
/// It is in use, or it is not one of this machine.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}: is it in use?"))
}

/// Serves until `shutdown`, and then until the requests in flight are answered.
///
/// # Errors
/// The address cannot be bound, or serving fails.
pub async fn serve(
    listener: TcpListener,
    api: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    info!(%address, "serving HTTP");
    let stop = shutdown.clone();
    // Nagle's algorithm would hold small answers back for the peer's delayed ack.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let serving = axum::serve(listener, api)
        .with_graceful_shutdown(stop.cancelled_owned())
        .into_future();
    let deadline = async {
        shutdown.cancelled().await;
        sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        result = serving => result.context("serving HTTP"),
        () = deadline => {
            warn!("some requests did not end in time");
            Ok(())
        }
        never = keep_metrics_small() => match never {},
    }
}

/// Histograms keep every value until somebody reads them or this is done.
async fn keep_metrics_small() -> Infallible {
    let mut turns = interval(METRICS_UPKEEP);
    loop {
        turns.tick().await;
        if let Some(metrics) = recorder() {
            metrics.run_upkeep();
        }
    }
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::NotFound(format!("there is nothing at {}: see /api/docs", uri.path()))
}

async fn method_not_allowed(request: Request) -> ApiError {
    let detail = format!("{} does not work here: see /api/docs", request.method());
    ApiError::Refused(StatusCode::METHOD_NOT_ALLOWED, detail)
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Internal(anyhow::anyhow!("the handler panicked")).into_response()
}

/// Counts and times requests by route, not by path, so that ids do not become labels; nor do methods that clients make up.
async fn measure(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = known(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let response = next.run(request).await;
    let labels = [
        ("method", method.to_owned()),
        ("route", route),
        ("status", response.status().as_u16().to_string()),
    ];
    histogram!("http_request_duration_seconds", &labels).record(started.elapsed().as_secs_f64());
    response
}

fn known(method: &Method) -> &'static str {
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let known = methods.into_iter().find(|known| method == *known);
    known.unwrap_or("other")
}

/// The process's metrics recorder; several services in one process, as in tests, share it.
fn recorder() -> Option<PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            PrometheusBuilder::new()
                .install_recorder()
                .inspect_err(|error| warn!(%error, "no metrics"))
                .ok()
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_clients_make_up_count_as_one() {
        assert_eq!(known(&Method::PATCH), "PATCH");
        for made_up in ["FROB", "patch", "X-1"] {
            assert_eq!(known(&made_up.parse().unwrap()), "other");
        }
    }
}
