//! `GET /audit`: whether the three databases keep the guarantees.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::{
    config::{BrokerConfig, DatabaseConfig, Secret},
    db,
    http::{ApiError, Problem},
};
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// An audit reads one database after the other.
const CONNECTIONS: u32 = 2;

/// The books of all services. The audit alone looks across services, and only reads.
#[derive(Clone, Debug)]
pub(crate) struct Books(Arc<Mutex<Databases>>);

#[derive(Debug)]
struct Databases {
    order: PgPool,
    payment: PgPool,
    inventory: PgPool,
    brokers: Vec<Secret>,
}

impl Books {
    /// Prepares to read; nothing is connected before somebody asks.
    pub(crate) fn new(
        databases: [&DatabaseConfig; 3],
        broker: &BrokerConfig,
    ) -> anyhow::Result<Self> {
        let pool = |config: &DatabaseConfig| {
            let few = DatabaseConfig {
                max_connections: CONNECTIONS,
                ..config.clone()
            };
            db::pool("order-service audit", &few)
        };
        let [order, payment, inventory] = databases;
        Ok(Self(Arc::new(Mutex::new(Databases {
            order: pool(order)?,
            payment: pool(payment)?,
            inventory: pool(inventory)?,
            brokers: broker.nodes.clone(),
        }))))
    }
}

pub(super) fn routes(books: Books) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(run)).with_state(books)
}

/// What an audit found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditView {
    /// Whether every guarantee was kept.
    clean: bool,
    /// What was looked at, what is wrong, which sagas are parked, and the dead letters of each queue.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    report: audit::Report,
}

/// Check the guarantees across the databases of all services, now.
///
/// Reads every order; safe on a live system. One at a time.
#[utoipa::path(get, path = "/audit", tag = "audit",
    responses((status = 200, description = "What was found; `clean` says whether every guarantee was kept", body = AuditView),
              (status = 409, description = "An audit is running", body = Problem, content_type = "application/problem+json"),
              (status = 503, description = "A database is away", body = Problem, content_type = "application/problem+json")))]
async fn run(State(books): State<Books>) -> Result<Json<AuditView>, ApiError> {
    let Ok(databases) = Arc::clone(&books.0).try_lock_owned() else {
        return Err(ApiError::Conflict(
            "an audit is running: ask again when it has ended".to_owned(),
        ));
    };
    // It goes on when the client hangs up, and then the next one may begin.
    let report = db::in_own_task(async move {
        let mut report =
            audit::audit(&databases.order, &databases.payment, &databases.inventory).await?;
        let nodes: Vec<_> = databases.brokers.iter().map(Secret::expose).collect();
        report.ask_broker(&nodes.join(",")).await;
        anyhow::Ok(report)
    });
    let report = report.await.map_err(ApiError::Unavailable)?;
    Ok(Json(AuditView {
        clean: report.is_clean(),
        report,
    }))
}
