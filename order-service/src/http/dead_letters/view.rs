//! Dead letters, as the API shows them.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use common::contract::{SagaId, clock};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use utoipa::ToSchema;

use crate::dead_letters::{Letter, Queue, Window};

/// Bytes of a body that a list shows, ...
pub(super) const BODY_IN_LIST: usize = 16 * 1024;
/// ... and that are shown of a letter that was asked for.
pub(super) const BODY_IN_FULL: usize = 1024 * 1024;
/// Groups of a queue that are shown.
const GROUPS_MAX: usize = 50;

/// A dead-letter queue with what is wrong in it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueView {
    /// The queue's name.
    #[schema(example = "payment.commands.dlq")]
    queue: String,
    /// The queue that its letters come from, and go to when they are redriven.
    #[schema(example = "payment.commands")]
    working_queue: &'static str,
    /// The service that consumes that one.
    #[schema(example = "payment-service")]
    service: &'static str,
    /// Letters in it.
    messages: u32,
    /// The oldest letters that were looked at; the groups are made of these.
    looked_at: usize,
    /// Whether all were looked at.
    complete: bool,
    /// When the oldest of them died.
    oldest_at: Option<DateTime<Utc>>,
    /// Letters with the same error, the largest groups first, at most 50.
    groups: Vec<GroupView>,
    /// Groups that are not shown.
    more_groups: usize,
}

/// Letters with the same error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupView {
    /// What identifies the group: of the kind, the type, and the error without its ids and numbers.
    #[schema(example = "9f86d081884c7d65")]
    group: String,
    count: usize,
    /// The message's type.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The error of the oldest one.
    reason: ReasonView,
    /// The oldest one.
    message_id: String,
    oldest_at: Option<DateTime<Utc>>,
    newest_at: Option<DateTime<Utc>>,
}

/// Why a letter is dead.
#[derive(Debug, Serialize, ToSchema)]
struct ReasonView {
    /// A stable word: `x-error-kind`, or RabbitMQ's reason in `x-death`.
    #[schema(example = "refused")]
    kind: String,
    /// What went wrong: `x-error`.
    error: String,
    /// How often it was tried.
    attempts: Option<i64>,
}

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LetterView {
    /// The message's id; a hash of its body where it has none that can stand in a path.
    message_id: String,
    /// The message's type.
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: ReasonView,
    /// When it died: `x-failed-at`, or the time in `x-death`.
    failed_at: Option<DateTime<Utc>>,
    /// Seconds since then.
    age_s: Option<i64>,
    /// The saga that it belongs to, if it is one.
    saga_id: Option<SagaId>,
    /// The saga's step.
    step: Option<String>,
    correlation_id: Option<String>,
    /// What it has in common with letters that have the same error.
    group: String,
    /// Messages in it: several, where a batch died as a whole.
    messages: usize,
    /// How often it was redriven before.
    redriven: u32,
    /// The body, where it is JSON and not too large.
    #[schema(value_type = Option<Object>)]
    body: Option<Box<RawValue>>,
    /// The body in base64, where it is no JSON and not too large.
    body_base64: Option<String>,
    /// Bytes of the body.
    body_bytes: usize,
    content_type: Option<String>,
    /// All headers, as the management console shows them.
    #[schema(value_type = Object)]
    headers: Map<String, Value>,
}

impl From<&Letter> for ReasonView {
    fn from(letter: &Letter) -> Self {
        Self {
            kind: letter.reason.kind.clone(),
            error: letter.reason.error.clone(),
            attempts: letter.reason.attempts,
        }
    }
}

impl LetterView {
    /// `letter`, with a body of at most `body_max` bytes.
    pub(super) fn new(letter: &Letter, body_max: usize) -> Self {
        let body = letter.taken.body();
        let is_shown = body.len() <= body_max;
        let json = letter.json().filter(|_| is_shown);
        let base64 = (is_shown && json.is_none()).then(|| BASE64_STANDARD.encode(body));
        Self {
            message_id: letter.id.clone(),
            kind: letter.kind.clone(),
            reason: letter.into(),
            failed_at: letter.reason.at,
            age_s: letter
                .reason
                .at
                .map(|at| (clock::now() - at).num_seconds().max(0)),
            saga_id: Some(&letter.sagas[..])
                .filter(|sagas| sagas.len() == 1)
                .map(|sagas| sagas[0]),
            step: letter.step.clone(),
            correlation_id: letter.correlation_id.clone(),
            group: letter.fingerprint.clone(),
            messages: letter.messages,
            redriven: letter.redriven,
            body: json.map(ToOwned::to_owned),
            body_base64: base64,
            body_bytes: body.len(),
            content_type: letter.taken.content_type().map(str::to_owned),
            headers: letter.headers.clone(),
        }
    }
}

impl QueueView {
    /// `queue`, as `window` shows it.
    pub(super) fn new(queue: Queue, window: &Window) -> Self {
        let mut groups: BTreeMap<&str, GroupView> = BTreeMap::new();
        for letter in &window.letters {
            let at = letter.reason.at;
            let group = groups
                .entry(&letter.fingerprint)
                .or_insert_with(|| GroupView {
                    group: letter.fingerprint.clone(),
                    count: 0,
                    kind: letter.kind.clone(),
                    reason: letter.into(),
                    message_id: letter.id.clone(),
                    oldest_at: at,
                    newest_at: at,
                });
            group.count += 1;
            group.oldest_at = oldest(group.oldest_at, at);
            group.newest_at = group.newest_at.max(at);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        let more_groups = groups.len().saturating_sub(GROUPS_MAX);
        groups.truncate(GROUPS_MAX);
        let all = window.letters.iter().map(|letter| letter.reason.at);
        Self {
            queue: queue.name,
            working_queue: queue.working,
            service: queue.service,
            messages: window.in_queue,
            looked_at: window.letters.len(),
            complete: window.is_complete(),
            oldest_at: all.fold(None, oldest),
            groups,
            more_groups,
        }
    }
}

fn oldest(one: Option<DateTime<Utc>>, other: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
