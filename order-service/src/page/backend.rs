//! The API, called in this process: what a page shows and does went through the same checks as any other request.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Request, header, request::Builder},
};
use common::http::{CORRELATION_ID, Problem};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};
use tower::ServiceExt;

use super::fault::Fault;

/// Bytes of an answer: a saga's log, or a page of letters with their bodies.
const ANSWER_MAX: usize = 32 * 1024 * 1024;

/// For how long the same answer is shown to all who look, where it costs much.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// What is encoded in a part of a path: all but what RFC 3986 leaves as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An answer, and when it came.
type Answered = Option<(Instant, Bytes)>;

/// Who answers.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    api: Router,
    counts: Arc<Mutex<Answered>>,
}

/// A part of a path as it was before it was decoded.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

impl Backend {
    pub(super) fn new(api: Router) -> Self {
        Self {
            api,
            counts: Arc::default(),
        }
    }

    /// What the API has at `path`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        read(&self.send(Request::get(path), Body::empty()).await?)
    }

    /// How many sagas there are, as of a moment ago: counting reads up to 60 000 of them.
    pub(super) async fn stats<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        // Who comes second waits for the counts of the first.
        let mut counts = self.counts.lock().await;
        let answer = match &*counts {
            Some((at, answer)) if at.elapsed() < FRESH_FOR => answer.clone(),
            _ => {
                let request = Request::get("/sagas/stats");
                let answer = self.send(request, Body::empty()).await?;
                *counts = Some((Instant::now(), answer.clone()));
                answer
            }
        };
        read(&answer)
    }

    /// What the API answers to `body`, which comes with the headers of `from` that matter and with `more`.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        from: &HeaderMap,
        more: &[(&str, &str)],
        body: &Value,
    ) -> Result<T, Fault> {
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        for name in [CORRELATION_ID.as_str(), "traceparent", "tracestate"] {
            if let Some(value) = from.get(name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        read(&self.send(request, Body::from(body.to_string())).await?)
    }

    async fn send(&self, request: Builder, body: Body) -> Result<Bytes, Fault> {
        // What was typed may be nothing that a header or a path can carry.
        let request = request.body(body).map_err(|_| Fault::unsendable())?;
        let Ok(mut answer) = self.api.clone().oneshot(request).await;
        if !answer.status().is_success() {
            // It becomes a body at the very edge of the service, where a page never comes.
            let problem = answer.extensions_mut().remove::<Problem>();
            return Err(problem.map_or_else(Fault::unreadable, Fault::from));
        }
        let body = to_bytes(answer.into_body(), ANSWER_MAX).await;
        body.map_err(|_| Fault::unreadable())
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(answer).map_err(|_| Fault::unreadable())
}
