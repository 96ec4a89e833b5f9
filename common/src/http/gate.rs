//! While the database is away, requests are refused at once instead of waiting for it one by one.
//!
//! An answer of 503 because a dependency is away closes the gate. Behind it, one probe at a time asks the database until
//! it answers; then the gate opens. Nobody comes through before the database has said what time it is, and only so many
//! are beyond it at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sqlx::PgPool;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    ApiError,
    problem::{Away, types},
};
use crate::{contract::clock, db::LONGEST};

/// Requests that are worked on at once. Their bodies are in memory.
const REQUESTS_MAX: usize = 2048;
/// How often the database is asked while it is away.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How long it may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A gate before what needs the database.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    db: PgPool,
    closed: Arc<AtomicBool>,
    room: Arc<Semaphore>,
}

impl Gate {
    pub(super) fn new(db: PgPool) -> Self {
        Self {
            db,
            closed: Arc::new(AtomicBool::new(false)),
            room: Arc::new(Semaphore::new(REQUESTS_MAX)),
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
        return ApiError::Refused(&types::DEPENDENCY_AWAY, away).into_response();
    }
    let Ok(_place) = gate.room.try_acquire() else {
        let full = format!("{REQUESTS_MAX} requests are being worked on: try again later");
        return ApiError::Refused(&types::OVERLOADED, full).into_response();
    };
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

#[cfg(test)]
mod tests {
    use axum::{Router, middleware, routing::get};
    use chrono::Utc;

    use super::*;
    use crate::http::connections::testing::{answer, send, serving};

    #[tokio::test]
    async fn so_many_requests_are_worked_on_and_no_more() {
        clock::set(Utc::now());
        let gate = Gate::new(PgPool::connect_lazy("postgres://127.0.0.1:1/none").unwrap());
        let layer = middleware::from_fn_with_state(gate.clone(), pass);
        let api = Router::new().route("/", get(async || "well")).layer(layer);
        let (address, _shutdown) = serving(api).await;
        let ask = async || {
            let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            answer(send(address, request).await).await
        };
        let all = u32::try_from(REQUESTS_MAX).unwrap();
        let others = gate.room.acquire_many(all).await.unwrap();
        let refused = ask().await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("retry-after: 10"), "{refused}");
        drop(others);
        assert!(ask().await.ends_with("well"));
    }
}
