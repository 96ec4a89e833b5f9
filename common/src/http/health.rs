//! Probes: `/health` for people, `/health/startup`, `/health/live` and `/health/ready` for Kubernetes.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use futures_util::future::join_all;
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::document::SYSTEM;
use crate::{
    amqp::Broker,
    watchdog::{STUCK_AFTER, Watchdog},
};

/// A dependency that has not answered by then is down.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// What a service depends on.
#[derive(Clone, Debug)]
pub struct Dependencies {
    /// The service's name.
    pub service: &'static str,
    /// What must answer for it to be up.
    pub checks: Vec<Check>,
    /// Whether it answers requests also while RabbitMQ is away.
    pub ready_without_broker: bool,
    /// Set when its workers run: the schema is there.
    pub started: Arc<AtomicBool>,
    /// Cancelled when it is stopping.
    pub shutdown: CancellationToken,
}

/// Something that a service depends on.
#[derive(Clone, Debug)]
pub enum Check {
    /// A database, and what it is called here.
    Database(&'static str, PgPool),
    /// The broker.
    Broker(Broker),
    /// The service's workers: none of them hangs.
    Workers(Watchdog),
    /// The service's own consumers, which hold while anything that they need is away, a payment gateway for example.
    Consumers(Broker),
}

impl Check {
    /// Whether requests can be answered without it.
    fn is_spared(&self, of: &Dependencies) -> bool {
        of.ready_without_broker && matches!(self, Self::Broker(_))
    }

    async fn make(&self) -> Dependency {
        match self {
            Self::Database(name, db) => {
                measure(name, async {
                    sqlx::query("SELECT 1").execute(db).await.map(drop)
                })
                .await
            }
            Self::Broker(broker) => measure("rabbitmq", broker.check()).await,
            Self::Consumers(broker) => {
                let holding = "holding: a dependency is away";
                Dependency::known("consumers", broker.is_holding().then(|| holding.to_owned()))
            }
            Self::Workers(watchdog) => Dependency::known("workers", hanging(watchdog)),
        }
    }
}

/// How a service is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The service's name.
    #[schema(example = "order-service")]
    pub service: String,
    /// The service's version.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// `UP`, or `DOWN` when a dependency is.
    pub status: Status,
    /// Each dependency.
    pub dependencies: Vec<Dependency>,
}

/// How a dependency is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Its name.
    #[schema(example = "postgresql")]
    pub name: &'static str,
    /// Whether it answers.
    pub status: Status,
    /// How long it took, in milliseconds.
    pub latency_ms: f64,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Dependency {
    fn new(name: &'static str, latency: Duration, error: Option<String>) -> Self {
        Self {
            name,
            status: if error.is_none() {
                Status::Up
            } else {
                Status::Down
            },
            latency_ms: latency.as_secs_f64() * 1000.0,
            error,
        }
    }

    /// Of what is known without asking anybody.
    fn known(name: &'static str, error: Option<String>) -> Self {
        Self::new(name, Duration::ZERO, error)
    }
}

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = HealthStatus)]
pub enum Status {
    /// It works.
    Up,
    /// It does not.
    Down,
}

/// The probes' routes.
#[must_use]
pub fn router(dependencies: Dependencies) -> OpenApiRouter {
    routes().with_state(dependencies)
}

pub(super) fn routes() -> OpenApiRouter<Dependencies> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(startup))
        .routes(routes!(live))
        .routes(routes!(ready))
}

/// Every dependency, with its state and latency.
#[utoipa::path(get, path = "/health", operation_id = "getHealth", tag = SYSTEM,
    responses((status = 200, description = "All dependencies answer", body = Health),
              (status = 503, description = "A dependency is down", body = Health)))]
async fn health(State(dependencies): State<Dependencies>) -> impl IntoResponse {
    answer(examine(&dependencies).await)
}

/// The schema is there, and the workers have begun. Kubernetes asks nothing else before.
#[utoipa::path(get, path = "/health/startup", operation_id = "getStartup", tag = SYSTEM,
    responses((status = 200, description = "The service has started; the body is empty", body = String),
              (status = 503, description = "It waits for its database, or for `migrate`", body = String)))]
async fn startup(State(dependencies): State<Dependencies>) -> (StatusCode, &'static str) {
    if dependencies.started.load(Ordering::Relaxed) {
        (StatusCode::OK, "")
    } else {
        let waiting = "waiting for the database and its schema";
        (StatusCode::SERVICE_UNAVAILABLE, waiting)
    }
}

/// The process runs, and none of its workers hangs. Kubernetes restarts it when this fails.
#[utoipa::path(get, path = "/health/live", operation_id = "getLiveness", tag = SYSTEM,
    responses((status = 200, description = "The process runs; the body is empty", body = String),
              (status = 503, description = "A worker hangs: only a restart helps", body = String)))]
async fn live(State(dependencies): State<Dependencies>) -> (StatusCode, String) {
    let hanging = dependencies.checks.iter().find_map(|check| match check {
        Check::Workers(watchdog) => hanging(watchdog),
        _ => None,
    });
    match hanging {
        Some(error) => (StatusCode::SERVICE_UNAVAILABLE, error),
        None => (StatusCode::OK, String::new()),
    }
}

/// The service has started, can do its work, and is not stopping. Kubernetes sends it no requests while this fails.
#[utoipa::path(get, path = "/health/ready", operation_id = "getReadiness", tag = SYSTEM,
    responses((status = 200, description = "Ready", body = Health),
              (status = 503, description = "A dependency is down, or the service is stopping", body = Health)))]
async fn ready(State(dependencies): State<Dependencies>) -> impl IntoResponse {
    let mut health = examine(&dependencies).await;
    let checks = dependencies.checks.iter().zip(&health.dependencies);
    let can_answer = checks
        .filter(|(check, _)| !check.is_spared(&dependencies))
        .all(|(_, dependency)| dependency.status == Status::Up);
    let running =
        dependencies.started.load(Ordering::Relaxed) && !dependencies.shutdown.is_cancelled();
    health.status = if running && can_answer {
        Status::Up
    } else {
        Status::Down
    };
    answer(health)
}

fn answer(health: Health) -> impl IntoResponse {
    let status = match health.status {
        Status::Up => StatusCode::OK,
        Status::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health))
}

async fn examine(of: &Dependencies) -> Health {
    let dependencies = join_all(of.checks.iter().map(Check::make)).await;
    let up = dependencies.iter().all(|d| d.status == Status::Up);
    Health {
        service: of.service.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        status: if up { Status::Up } else { Status::Down },
        dependencies,
    }
}

/// Which workers hang, if any do.
fn hanging(watchdog: &Watchdog) -> Option<String> {
    let stuck = watchdog.stuck();
    (!stuck.is_empty()).then(|| {
        let workers = stuck.join(", ");
        format!("no progress for {} s: {workers}", STUCK_AFTER.as_secs())
    })
}

async fn measure<E: std::fmt::Display>(
    name: &'static str,
    check: impl Future<Output = Result<(), E>>,
) -> Dependency {
    let started = Instant::now();
    let error = match timeout(CHECK_TIMEOUT, check).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {CHECK_TIMEOUT:?}")),
    };
    Dependency::new(name, started.elapsed(), error)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_hangs_is_not_alive() {
        let watchdog = Watchdog::default();
        let dependencies = Dependencies {
            service: "a test",
            checks: vec![Check::Workers(watchdog.clone())],
            ready_without_broker: false,
            started: Arc::new(AtomicBool::new(true)),
            shutdown: CancellationToken::new(),
        };
        let _worker = tokio::spawn({
            let watchdog = watchdog.clone();
            async move { watchdog.watch("a worker", pending::<()>()).await }
        });
        tokio::task::yield_now().await;
        let (started, _) = startup(State(dependencies.clone())).await;
        assert_eq!(started, StatusCode::OK);
        dependencies.started.store(false, Ordering::Relaxed);
        let (started, _) = startup(State(dependencies.clone())).await;
        assert_eq!(started, StatusCode::SERVICE_UNAVAILABLE);
        let (status, _) = live(State(dependencies.clone())).await;
        assert_eq!(status, StatusCode::OK);
        advance(STUCK_AFTER).await;
        let (status, error) = live(State(dependencies.clone())).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(error.contains("a worker"), "{error}");
        let health = examine(&dependencies).await;
        assert_eq!(health.status, Status::Down);
        assert_eq!(health.dependencies[0].name, "workers");
    }
}
