//! How many sagas there are, where they are, and how long they take: counted where the answer costs little.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use common::{
    contract::SagaId,
    http::{ApiError, extract::Query},
};
use saga::{
    Status,
    store::{self, COUNTED_MAX},
};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, Row, postgres::PgRow};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::super::api::Api;

/// Minutes that are looked at when the request does not say, and at most.
const MINUTES_MAX: i32 = 60;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(stats))
}

/// Over which time what has ended is counted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Window {
    /// The last minutes.
    #[param(value_type = i32, required = false, minimum = 1, maximum = 60, default = 60)]
    minutes: Option<String>,
}

impl Window {
    fn minutes(&self) -> Result<i32, ApiError> {
        let Some(text) = &self.minutes else {
            return Ok(MINUTES_MAX);
        };
        let minutes = text.parse().ok();
        let minutes = minutes.filter(|minutes| (1..=MINUTES_MAX).contains(minutes));
        let rule = format!("must be a number from 1 to {MINUTES_MAX}");
        minutes.ok_or_else(|| ApiError::bad_field("minutes", rule))
    }
}

/// How the sagas are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SagaStats {
    /// The time of this, by the database's clock.
    at: DateTime<Utc>,
    /// Those that have not ended, by type, status and step.
    waiting: Vec<Waiting>,
    /// Whether all of these are counted: of more than 20 000 open or 20 000 parked ones, the others are not. Then those whose
    /// deadlines come last are missing, and of the parked ones the newest.
    waiting_complete: bool,
    /// Those that have ended.
    ended: Ended,
}

/// Sagas of one type that are at one step.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    #[serde(rename = "type")]
    #[schema(example = "create_order")]
    kind: String,
    #[schema(value_type = Status)]
    status: String,
    #[schema(example = "payment")]
    step: String,
    count: i64,
    /// The one that began first.
    oldest: SagaId,
    /// When it began.
    oldest_at: DateTime<Utc>,
}

impl From<store::Waiting> for Waiting {
    fn from(waiting: store::Waiting) -> Self {
        Self {
            kind: waiting.name,
            status: waiting.status,
            step: waiting.step,
            count: waiting.count,
            oldest: waiting.oldest,
            oldest_at: waiting.oldest_at,
        }
    }
}

/// Sagas that ended of late. A saga counts as ended when it changed last: a reply that comes too late moves that.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Ended {
    /// All that ended since then are counted. Where more than 20 000 ended in the time that was asked for, only the last
    /// 20 000 of them are, and this is when the first of these ended.
    since: DateTime<Utc>,
    /// By type and how they ended.
    by_type: Vec<EndedOfType>,
    /// By the minute in which they ended, without a gap. The first and the last minute may be cut short.
    per_minute: Vec<Minute>,
}

/// Sagas of one type that ended in one way.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EndedOfType {
    #[serde(rename = "type")]
    #[schema(example = "create_order")]
    kind: String,
    #[schema(value_type = Status)]
    status: String,
    count: i64,
    /// Half of them took no longer from beginning to end, in milliseconds.
    p50_ms: f64,
    /// 95 % of them took no longer.
    p95_ms: f64,
    /// 99 % of them took no longer.
    p99_ms: f64,
}

/// What ended in a minute.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Minute {
    /// When it begins.
    at: DateTime<Utc>,
    completed: i64,
    compensated: i64,
}

/// Count sagas: those that wait, and those that ended of late.
///
/// It reads at most 20 000 sagas that are open, 20 000 that are parked and 20 000 that ended, and says so where there are
/// more. For a long time, or at a high rate, use the metric `sagas_ended_total`.
#[utoipa::path(get, path = "/sagas/stats", operation_id = "getSagaStats", tag = "sagas", params(Window),
    responses((status = 200, description = "The counts", body = SagaStats)))]
async fn stats(
    State(api): State<Api>,
    Query(window): Query<Window>,
) -> Result<Json<SagaStats>, ApiError> {
    let minutes = window.minutes()?;
    let db = api.engine.db();
    let (waiting, waiting_complete) = waiting(db).await?;
    let (at, ended) = ended(db, minutes).await?;
    Ok(Json(SagaStats {
        at,
        waiting,
        waiting_complete,
        ended,
    }))
}

async fn waiting(db: &PgPool) -> sqlx::Result<(Vec<Waiting>, bool)> {
    let waiting = store::waiting(db).await?;
    let count = |is_parked| {
        let of = waiting
            .iter()
            .filter(|one| (one.status == "PARKED") == is_parked);
        of.map(|one| one.count).sum::<i64>()
    };
    let is_complete = count(true) < COUNTED_MAX && count(false) < COUNTED_MAX;
    Ok((
        waiting.into_iter().map(Waiting::from).collect(),
        is_complete,
    ))
}

async fn ended(db: &PgPool, minutes: i32) -> sqlx::Result<(DateTime<Utc>, Ended)> {
    // One reading, grouped in three ways: by type, by minute, and all together.
    let rows = sqlx::query(
        "SELECT now() AS at, now() - make_interval(mins => $1) AS since, grouping(type) = 0 AS of_type,
                grouping(minute) = 0 AS of_minute, type, status, minute, count(*) AS count,
                min(updated_at) AS first_at, percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY ms) AS ms
         FROM (SELECT type, status, date_trunc('minute', updated_at) AS minute, updated_at,
                      (1000 * extract(epoch FROM updated_at - created_at))::float8 AS ms
               FROM sagas WHERE deadline_at IS NULL AND updated_at > now() - make_interval(mins => $1)
               ORDER BY updated_at DESC LIMIT $2) AS ended
         GROUP BY GROUPING SETS ((type, status), (minute, status), ()) ORDER BY type, status, minute",
    )
    .bind(minutes)
    .bind(COUNTED_MAX)
    .fetch_all(db)
    .await?;
    // That of all together is there even where nothing has ended.
    let all = rows
        .iter()
        .find(|row| !is(row, "of_type") && !is(row, "of_minute"));
    let all = all.ok_or(sqlx::Error::RowNotFound)?;
    let at: DateTime<Utc> = all.get("at");
    let is_cut = all.get::<i64, _>("count") >= COUNTED_MAX;
    let since = all.get(if is_cut { "first_at" } else { "since" });
    let mut per_minute = minutes_between(since, at);
    let mut by_type = Vec::new();
    // Parked sagas wait for nothing either, and have not ended.
    for row in rows.iter().filter(|row| is_end(row)) {
        if is(row, "of_type") {
            by_type.push(of_type(row));
        } else if let Some(minute) = per_minute.get_mut(&row.get::<DateTime<Utc>, _>("minute")) {
            let count = row.get("count");
            match row.get("status") {
                "COMPLETED" => minute.completed = count,
                _ => minute.compensated = count,
            }
        }
    }
    let per_minute = per_minute.into_values().collect();
    let ended = Ended {
        since,
        by_type,
        per_minute,
    };
    Ok((at, ended))
}

fn is(row: &PgRow, column: &str) -> bool {
    row.get(column)
}

fn is_end(row: &PgRow) -> bool {
    let status: Option<&str> = row.get("status");
    status.is_some_and(|status| status != "PARKED")
}

fn of_type(row: &PgRow) -> EndedOfType {
    let ms: Vec<f64> = row.get("ms");
    let [p50_ms, p95_ms, p99_ms] = [0, 1, 2].map(|at| ms.get(at).copied().unwrap_or_default());
    EndedOfType {
        kind: row.get("type"),
        status: row.get("status"),
        count: row.get("count"),
        p50_ms,
        p95_ms,
        p99_ms,
    }
}

/// The minutes from `since` to `at`, of which nothing is known yet.
fn minutes_between(since: DateTime<Utc>, at: DateTime<Utc>) -> BTreeMap<DateTime<Utc>, Minute> {
    let minute = TimeDelta::minutes(1);
    let begin = |time: DateTime<Utc>| time.duration_trunc(minute).unwrap_or(time);
    let mut minutes = BTreeMap::new();
    let mut next = begin(since);
    while next <= at {
        let empty = Minute {
            at: next,
            ..Minute::default()
        };
        minutes.insert(next, empty);
        next += minute;
    }
    minutes
}
