//! A dead letter, read: which message it is, what it belongs to, and why it is here.
//!
//! Anybody may have written it, so what does not fit is passed over, and the rest is bounded.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use common::{amqp::DeadLetter, contract::SagaId};
use serde_json::{Map, Value, value::RawValue};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::fingerprint::{fingerprint, hex};

/// Bytes of a body that is looked into. Nobody here reads a larger one.
const BODY_MAX: usize = 1024 * 1024;
/// Messages of a batch whose sagas are looked at.
const MESSAGES_MAX: usize = 256;
/// Characters of what a letter says about itself.
const TEXT_MAX: usize = 255;
/// Characters of an error.
const ERROR_MAX: usize = 1000;

/// A dead letter.
#[derive(Debug)]
pub(crate) struct Letter {
    /// The message as it is in the queue.
    pub(crate) taken: DeadLetter,
    /// What it is called here: the message's id where it has one that can stand in a path, else a hash of its body.
    pub(crate) id: String,
    /// The message's type.
    pub(crate) kind: Option<String>,
    /// The sagas that it belongs to: one, unless several messages came in one.
    pub(crate) sagas: Vec<SagaId>,
    /// The saga's step.
    pub(crate) step: Option<String>,
    /// What ties it to a request.
    pub(crate) correlation_id: Option<String>,
    /// Messages in it.
    pub(crate) messages: usize,
    /// Why it is here.
    pub(crate) reason: Reason,
    /// How often it was redriven before.
    pub(crate) redriven: u32,
    /// By which request, the last time.
    pub(crate) redrive: Option<Uuid>,
    /// What it has in common with letters that have the same error.
    pub(crate) fingerprint: String,
    /// All of its headers.
    pub(crate) headers: Map<String, Value>,
}

/// Why a letter is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// A stable word: ours, or RabbitMQ's.
    pub(crate) kind: String,
    /// What went wrong, in words.
    pub(crate) error: String,
    /// When it died, as far as it says so.
    pub(crate) at: Option<DateTime<Utc>>,
    /// How often it was tried.
    pub(crate) attempts: Option<i64>,
}

/// The attributes of a CloudEvent that say what it belongs to.
struct Attributes<'b>(BTreeMap<&'b str, &'b RawValue>);

impl Letter {
    /// Reads what was taken.
    pub(super) fn read(taken: DeadLetter) -> Self {
        let headers = taken.headers();
        let events = events(&taken);
        let first = events.first();
        let attribute = |name: &str| {
            let binary = ["cloudEvents:", "cloudEvents_"].iter().find_map(|prefix| {
                let header = headers.get(&format!("{prefix}{name}"))?;
                header.as_str().map(str::to_owned)
            });
            fits(first.and_then(|event| event.text(name)).or(binary))
        };
        let mut sagas: Vec<SagaId> = events
            .iter()
            .take(MESSAGES_MAX)
            .filter_map(|event| event.text("sagaid")?.parse().ok())
            .collect();
        if events.is_empty() {
            sagas.extend(attribute("sagaid").and_then(|id| id.parse::<SagaId>().ok()));
        }
        sagas.sort_unstable();
        sagas.dedup();
        let is_one = events.len() < 2;
        let id = fits(taken.message_id().map(str::to_owned));
        let id = id.or_else(|| attribute("id").filter(|_| is_one));
        let kind = attribute("type").filter(|_| is_one);
        let kind = kind.or_else(|| fits(taken.kind().map(str::to_owned)));
        let reason = Reason::read(&headers);
        let correlation_id = fits(taken.correlation_id().map(str::to_owned));
        Self {
            id: id
                .unwrap_or_else(|| format!("sha256-{}", hex(&Sha256::digest(taken.body())[..16]))),
            fingerprint: fingerprint(&reason.kind, kind.as_deref(), &reason.error),
            correlation_id: correlation_id
                .or_else(|| attribute("correlationid").filter(|_| is_one)),
            step: attribute("sagastep").filter(|_| is_one),
            messages: events.len().max(1),
            redriven: times(&headers),
            redrive: headers
                .get("x-redrive")
                .and_then(|id| id.as_str()?.parse().ok()),
            kind,
            sagas,
            reason,
            headers,
            taken,
        }
    }

    /// Whether no version of a service will ever be able to read it.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.reason.kind == "unreadable"
    }

    /// What tells it from every other letter, also from the same message when it dies again: its id, and the time of its
    /// death. None where it does not say when it died.
    pub(super) fn mark(&self) -> Option<String> {
        let at = self.reason.at?;
        Some(format!("{} {}", self.id, at.to_rfc3339()))
    }

    /// Its body, where it is JSON.
    pub(crate) fn json(&self) -> Option<&RawValue> {
        let body = self.taken.body();
        serde_json::from_slice(body)
            .ok()
            .filter(|_| body.len() <= BODY_MAX)
    }
}

impl Reason {
    /// What the headers tell: ours, or those of RabbitMQ, which gave the message up itself.
    fn read(headers: &Map<String, Value>) -> Self {
        let text = |name: &str, longest: usize| {
            let text = headers.get(name)?.as_str()?;
            Some(text.chars().take(longest).collect::<String>())
        };
        if let Some(kind) = text("x-error-kind", TEXT_MAX) {
            return Self {
                kind,
                error: text("x-error", ERROR_MAX).unwrap_or_default(),
                at: text("x-failed-at", TEXT_MAX).and_then(|at| at.parse().ok()),
                attempts: headers.get("x-attempts").and_then(Value::as_i64),
            };
        }
        let Some(death) = headers.get("x-death").and_then(|deaths| deaths.get(0)) else {
            return Self {
                kind: "unknown".to_owned(),
                error: "it does not say why it is here".to_owned(),
                at: None,
                attempts: None,
            };
        };
        let part = |name: &str| {
            let text = death.get(name).and_then(Value::as_str).unwrap_or_default();
            text.chars().take(TEXT_MAX).collect::<String>()
        };
        Self {
            error: format!(
                "RabbitMQ took it out of {}: {}",
                part("queue"),
                part("reason")
            ),
            kind: part("reason"),
            at: part("time").parse().ok(),
            attempts: headers.get("x-delivery-count").and_then(Value::as_i64),
        }
    }
}

fn times(headers: &Map<String, Value>) -> u32 {
    let times = headers.get("x-redriven").and_then(Value::as_i64);
    times
        .and_then(|times| u32::try_from(times).ok())
        .unwrap_or(0)
}

/// The CloudEvents in the body; none, where it holds none.
fn events(letter: &DeadLetter) -> Vec<Attributes<'_>> {
    let body = letter.body();
    if body.len() > BODY_MAX {
        return Vec::new();
    }
    let one = serde_json::from_slice(body).map(|event| vec![Attributes(event)]);
    one.or_else(|_| {
        let several: Vec<BTreeMap<&str, &RawValue>> = serde_json::from_slice(body)?;
        serde_json::Result::Ok(several.into_iter().map(Attributes).collect())
    })
    .unwrap_or_default()
}

impl Attributes<'_> {
    fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }
}

/// A text that can be stored, logged and put into a path.
fn fits(text: Option<String>) -> Option<String> {
    let is_fine = |text: &String| {
        (1..=TEXT_MAX).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'!'..=b'~'))
    };
    text.filter(is_fine)
}
