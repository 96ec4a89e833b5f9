//! Log entries that are new since the last look.
//!
//! A saga whose version has risen has new entries, and those that changed of late are found in three places, whatever there
//! is beside them: among those that wait (a partial index in the order of deadlines), among those that ended (one in the
//! order in which they did) and among the newest (the key).

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use common::{contract::SagaId, http::id_after};
use saga::store;
use sqlx::{PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use super::news::{Happening, News};

/// What was decided is seen when it is committed, which may be this much later.
const COMMITTED_WITHIN: TimeDelta = TimeDelta::seconds(10);
/// How far back the first look goes.
const MISSED_MAX: TimeDelta = TimeDelta::minutes(5);
/// Sagas that are looked at in each of the three places.
const SAGAS_MAX: i64 = 2_000;
/// Entries that one look tells of: the newest.
const ENTRIES_MAX: i64 = 2_000;

/// Whoever looks: what was seen so far.
#[derive(Debug)]
pub(super) struct Looker {
    db: PgPool,
    /// Older entries are not told.
    begin: Option<DateTime<Utc>>,
    /// When it looked last.
    last: Option<DateTime<Utc>>,
    /// Up to which version each saga that changed of late is told, and when it changed.
    told: HashMap<Uuid, (i32, DateTime<Utc>)>,
}

/// A saga that changed.
struct Changed {
    id: Uuid,
    kind: String,
    subject: String,
    version: i32,
    at: DateTime<Utc>,
}

impl Looker {
    /// Its looks tell what happens after `begin`, as far as that is not too long ago, or else after the first look.
    pub(super) fn new(db: PgPool, begin: Option<DateTime<Utc>>) -> Self {
        Self {
            db,
            begin,
            last: None,
            told: HashMap::new(),
        }
    }

    /// What is new, in the order in which it was decided.
    pub(super) async fn look(&mut self) -> sqlx::Result<Vec<News>> {
        let now: DateTime<Utc> = sqlx::query_scalar("SELECT now()")
            .fetch_one(&self.db)
            .await?;
        let begin = self.begin.unwrap_or(now).max(now - MISSED_MAX);
        let from = self.last.unwrap_or(begin) - COMMITTED_WITHIN;
        let mut news = Vec::new();
        let (mut changed, is_all) = changed(&self.db, from).await?;
        changed.retain(|one| one.version > self.version(one.id));
        let happened = self.entries(&changed, from.max(begin)).await?;
        if !is_all || happened.len() as i64 == ENTRIES_MAX {
            news.push(News::Skipped);
        }
        news.extend(happened.into_iter().map(|one| News::Entry(Arc::new(one))));
        self.told.retain(|_, (_, at)| *at > from);
        for Changed {
            id, version, at, ..
        } in changed
        {
            self.told.insert(id, (version, at));
        }
        // Only now, for a look that fails is made again.
        (self.begin, self.last) = (Some(begin), Some(now));
        Ok(news)
    }

    fn version(&self, id: Uuid) -> i32 {
        self.told.get(&id).map_or(0, |(version, _)| *version)
    }

    /// What has happened to these sagas after `floor` and was not told.
    async fn entries(
        &self,
        sagas: &[Changed],
        floor: DateTime<Utc>,
    ) -> sqlx::Result<Vec<Happening>> {
        let ids: Vec<_> = sagas.iter().map(|one| one.id).collect();
        let told: Vec<_> = ids.iter().map(|id| self.version(*id)).collect();
        let until: Vec<_> = sagas.iter().map(|one| one.version).collect();
        let rows = sqlx::query(
            "SELECT l.saga_id, l.seq, l.at, l.event, l.step, l.details
             FROM unnest($1::uuid[], $2::int[], $3::int[]) AS changed (id, told, until)
             JOIN saga_log l ON l.saga_id = changed.id AND l.seq > changed.told AND l.seq <= changed.until
             WHERE l.at > $4 ORDER BY l.at DESC, l.saga_id DESC, l.seq DESC LIMIT $5",
        )
        .bind(&ids)
        .bind(&told)
        .bind(&until)
        .bind(floor)
        .bind(ENTRIES_MAX)
        .fetch_all(&self.db)
        .await?;
        let of: HashMap<_, _> = sagas.iter().map(|one| (one.id, one)).collect();
        let happening = |row: &PgRow| {
            let id: Uuid = row.get("saga_id");
            let saga = of.get(&id)?;
            Some(Happening {
                saga: SagaId(id),
                kind: saga.kind.clone(),
                subject: saga.subject.clone(),
                entry: store::written(row),
            })
        };
        Ok(rows.iter().rev().filter_map(happening).collect())
    }
}

/// The sagas that changed after `from`, and whether they are all that can be told.
async fn changed(db: &PgPool, from: DateTime<Utc>) -> sqlx::Result<(Vec<Changed>, bool)> {
    let rows = sqlx::query(
        "SELECT place, id, type, subject, version, updated_at FROM (
             (SELECT 'open' AS place, id, type, subject, version, updated_at FROM sagas
              WHERE deadline_at IS NOT NULL ORDER BY deadline_at DESC LIMIT $3)
             UNION ALL
             (SELECT 'ended', id, type, subject, version, updated_at FROM sagas
              WHERE deadline_at IS NULL AND updated_at > $1 ORDER BY updated_at DESC LIMIT $3)
             UNION ALL
             (SELECT 'new', id, type, subject, version, updated_at FROM sagas
              WHERE id > $2 ORDER BY id DESC LIMIT $3)) AS changed
         WHERE updated_at > $1",
    )
    .bind(from)
    .bind(id_after(from))
    .bind(SAGAS_MAX)
    .fetch_all(db)
    .await?;
    let is_full = |place: &str| {
        let there = rows
            .iter()
            .filter(|row| row.get::<&str, _>("place") == place);
        there.count() as i64 == SAGAS_MAX
    };
    let is_all = !["open", "ended", "new"].into_iter().any(is_full);
    // One may be in two places; the versions are of one moment.
    let changed: HashMap<Uuid, Changed> =
        rows.iter().map(|row| (row.get("id"), one(row))).collect();
    Ok((changed.into_values().collect(), is_all))
}

fn one(row: &PgRow) -> Changed {
    Changed {
        id: row.get("id"),
        kind: row.get("type"),
        subject: row.get("subject"),
        version: row.get("version"),
        at: row.get("updated_at"),
    }
}
