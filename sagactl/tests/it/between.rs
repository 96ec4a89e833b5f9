//! Something between the program and the service, such as a slow network: what it hands on is late, or gets lost.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use reqwest::Client;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};

use crate::harness::url;

/// What is between.
pub(crate) struct Between {
    pub(crate) url: String,
    /// Answers that were lost.
    pub(crate) lost: Arc<AtomicU32>,
    _running: JoinSet<()>,
}

#[derive(Clone)]
struct Way {
    to: String,
    is_stale: bool,
    loses: u32,
    lost: Arc<AtomicU32>,
}

impl Between {
    /// Shows sagas as they were before their last entry.
    pub(crate) async fn stale(to: &str) -> Self {
        Self::new(to, true, 0).await
    }

    /// Loses the answer of the first request that does something.
    pub(crate) async fn losing(to: &str) -> Self {
        Self::new(to, false, 1).await
    }

    async fn new(to: &str, is_stale: bool, loses: u32) -> Self {
        let lost = Arc::new(AtomicU32::new(0));
        let way = Way {
            to: to.to_owned(),
            is_stale,
            loses,
            lost: lost.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url(listener.local_addr().unwrap());
        let router = Router::new().fallback(hand_on).with_state(way);
        let mut running = JoinSet::new();
        running.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            lost,
            _running: running,
        }
    }
}

async fn hand_on(State(way): State<Way>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let to = format!("{}{}", way.to, parts.uri);
    let mut headers = parts.headers;
    headers.remove("host");
    let request = Client::new()
        .request(parts.method.clone(), to)
        .headers(headers)
        .body(body);
    let answer = request.send().await.unwrap();
    let (status, mut body) = (answer.status(), answer.bytes().await.unwrap());
    if parts.method == Method::POST && way.lost.load(Ordering::SeqCst) < way.loses {
        way.lost.fetch_add(1, Ordering::SeqCst);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if way.is_stale && parts.method == Method::GET {
        let mut saga: Value = serde_json::from_slice(&body).unwrap();
        saga["version"] = (saga["version"].as_i64().unwrap() - 1).into();
        body = Bytes::from(saga.to_string());
    }
    (status, body).into_response()
}
