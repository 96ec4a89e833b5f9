//! `GET /audit`: whether the databases keep the guarantees.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::{
    fleet,
    http::{ApiError, describe, document, problem::types},
};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::{ToSchema, openapi::OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Books, Report, metrics};

/// The books, which one request at a time reads.
type Desk = Arc<Mutex<Books>>;

/// The document of this API.
#[must_use]
pub fn openapi() -> OpenApi {
    document(documented())
}

fn documented() -> OpenApiRouter<Desk> {
    let description = "Whether the guarantees hold, across the databases of all services. Every error is an RFC 9457 problem.";
    let tags = [("audit", "Whether the guarantees hold")];
    OpenApiRouter::with_openapi(describe(&fleet::AUDIT, description, &tags)).routes(routes!(run))
}

/// The routes, documented.
pub(crate) fn routes(books: Books) -> OpenApiRouter {
    documented().with_state(Arc::new(Mutex::new(books)))
}

/// What an audit found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditView {
    /// Whether every guarantee was kept.
    clean: bool,
    /// What was looked at, what is wrong, which sagas are parked, and the dead letters of each queue.
    #[serde(flatten)]
    report: Report,
}

/// Check the guarantees across the databases of all services, now.
///
/// Reads every order; safe on a live system. One at a time.
#[utoipa::path(get, path = "/audit", operation_id = "runAudit", tag = "audit",
    responses((status = 200, description = "What was found; `clean` says whether every guarantee was kept", body = AuditView),
              (status = 409, description = "An audit is running: `/problems/audit-running`"),
              (status = 503, description = "A database is away")))]
async fn run(State(desk): State<Desk>) -> Result<Json<AuditView>, ApiError> {
    let Ok(books) = desk.try_lock_owned() else {
        let detail = "an audit is running: ask again when it has ended".to_owned();
        return Err(ApiError::Refused(&types::AUDIT_RUNNING, detail));
    };
    // It goes on when the client hangs up, and then the next one may begin.
    let report = tokio::spawn(async move { books.audit().await }).await;
    let report = report.map_err(|panic| ApiError::Internal(panic.into()))?;
    let report = report.map_err(ApiError::Unavailable)?;
    metrics::tell(&report);
    Ok(Json(AuditView {
        clean: report.is_clean(),
        report,
    }))
}
