//! While the database is away, requests are refused at once instead of waiting for it one by one.
//!
//! An answer of 503 because a dependency is away closes the gate. Behind it, one probe at a time asks the database until
//! it answers; then the gate opens. Nobody comes through before the database has said what time it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use sqlx::PgPool;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{ApiError, problem::Away};
use crate::{contract::clock, db::LONGEST};

/// How often the database is asked while it is away.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How long it may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A gate before what needs the database.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    db: PgPool,
    closed: Arc<AtomicBool>,
}

impl Gate {
    pub(super) fn new(db: PgPool) -> Self {
        Self {
            db,
            closed: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Closes the gate until the database answers.
    fn close(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        let gate = self.clone();
        tokio::spawn(async move {
            if !gate.database_answers().await {
                warn!("the database is away: requests are refused until it answers");
                while !gate.database_answers().await {
                    sleep(PROBE_EVERY).await;
                }
                info!("the database is back");
            }
            gate.closed.store(false, Ordering::Relaxed);
        });
    }

    async fn database_answers(&self) -> bool {
        let probe = sqlx::query("SELECT 1").execute(&self.db);
        // A pool that is closed belongs to a service that has stopped: nobody waits behind the gate.
        self.db.is_closed() || matches!(timeout(PROBE_TIMEOUT, probe).await, Ok(Ok(_)))
    }
}

/// Lets a request through while the gate is open.
pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    if !clock::is_known() && !gate.database_answers().await {
        gate.close();
    }
    if gate.closed.load(Ordering::Relaxed) {
        let away = "the database is away: try again in a moment".to_owned();
        return ApiError::Refused(StatusCode::SERVICE_UNAVAILABLE, away).into_response();
    }
    let late = || ApiError::Unavailable(anyhow::anyhow!("no answer within {LONGEST:?}"));
    let response = match timeout(LONGEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => late().into_response(),
    };
    if response.extensions().get::<Away>().is_some() {
        gate.close();
    }
    response
}
