//! Retention: tables with a partition for each day on which sagas began, made ahead and dropped when they are old.
//!
//! ```text
//! MINVALUE … yesterday │ today │ +1 │ +2 │ +3 │ … nothing yet          default: ids of no day
//!      dropped whole   └── what sagas of now use │ made ahead, so that nobody ever waits for it
//! ```
//!
//! Ids of sagas are UUID v7 by the database's clock, so a range of ids is a range of time, and all that is recorded of a
//! saga is in one partition, whenever it is written. Dropping one costs the same whatever is in it, and leaves nothing to
//! vacuum.
//! A partition's name ends with the last day in it.
//!
//! All replicas do this, but only one of them changes something at a time. Nobody else waits for long: a table that
//! cannot be locked at once is left for later.

use std::time::Duration;

use chrono::{Days, NaiveDate};
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgExecutor, PgPool, Postgres, Row, Transaction};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::{self, Vars},
    contract::{SagaId, clock},
    watchdog::idle,
};

/// Days after today that have a partition.
const AHEAD: Days = Days::new(3);
/// How often there may be something to do.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// When to look again after it did not work.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Others wait behind a lock that is waited for, so it is not waited for any longer than this.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '100ms'";
/// The advisory lock that a replica holds while it changes partitions. The number only has to differ from those of
/// other programs that lock in this database.
const PARTITIONS_LOCK: i64 = 0x5A6A_0002;

/// For how many days records of a saga are kept, counted from when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// 0 is for ever.
    days: u16,
}

impl Retention {
    /// Reads `RETENTION_DAYS`.
    ///
    /// # Errors
    /// The value is no number of days.
    pub fn from_vars(vars: &Vars) -> Result<Self, config::Error> {
        let expected = "a number of days from 1 to 36500, or 0 for ever";
        let days = vars.parse_if("RETENTION_DAYS", 30, expected, |days| days <= 36500)?;
        Ok(Self { days })
    }

    /// Whether records of `saga` may have been dropped. It says so an hour early, for the databases' clocks
    /// differ.
    #[must_use]
    pub fn is_over_for(self, saga: SagaId) -> bool {
        const HOUR: u64 = 3600;
        // Other ids than v7 are nobody's.
        let began = saga.0.get_timestamp().map_or(u64::MAX, |at| at.to_unix().0);
        let now = u64::try_from(clock::now().timestamp()).unwrap_or_default();
        let kept = u64::from(self.days) * 24 * HOUR;
        kept > 0 && began < now.saturating_sub(kept - HOUR)
    }
}

/// A table that is partitioned by `saga_id`.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// A query for the ids of sagas whose records stay, however old they are.
    pub in_use: Option<&'static str>,
}

/// Looks after the partitions of `tables` until `shutdown`.
pub async fn run(db: PgPool, tables: &[Table], retention: Retention, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let pause = match maintain(&db, tables, retention).await {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                warn!(%error, "cannot look after partitions now");
                RETRY_AFTER
            }
        };
        idle(async {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(pause) => {}
            }
        })
        .await;
    }
}

/// Makes the partitions that are going to be needed, and drops those that are too old.
///
/// # Errors
/// The database failed, or a table cannot be locked at once. What was done until then stays done.
pub async fn maintain(db: &PgPool, tables: &[Table], retention: Retention) -> sqlx::Result<()> {
    for table in tables {
        while table.make_next(db).await? {}
    }
    for table in tables {
        let (today, days) = table.days(db).await?;
        // Of its last day, too, all has been kept for long enough.
        let is_old = |day: &NaiveDate| *day + Days::new(u64::from(retention.days)) < today;
        for day in days
            .into_iter()
            .filter(|day| retention.days > 0 && is_old(day))
        {
            table.drop(db, day).await?;
        }
    }
    Ok(())
}

/// Begins a change of partitions, when no other replica is at one.
async fn begin(db: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut tx = super::begin(db).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(PARTITIONS_LOCK)
        .execute(&mut *tx)
        .await?;
    tx.execute(LOCK_TIMEOUT).await?;
    Ok(tx)
}

impl Table {
    fn partition(&self, day: NaiveDate) -> String {
        format!("{}_{}", self.name, day.format("%Y%m%d"))
    }

    /// Today, and the last day of each partition, in order.
    async fn days(&self, db: impl PgExecutor<'_>) -> sqlx::Result<(NaiveDate, Vec<NaiveDate>)> {
        let row = sqlx::query(
            r"SELECT (now() AT TIME ZONE 'UTC')::date,
                     ARRAY(SELECT to_date(right(relname, 8), 'YYYYMMDD') AS day
                           FROM pg_inherits JOIN pg_class ON oid = inhrelid
                           WHERE inhparent = $1::regclass AND relname ~ '_\d{8}$' ORDER BY day)",
        )
        .bind(self.name)
        .fetch_one(db)
        .await?;
        Ok((row.get(0), row.get(1)))
    }

    /// Makes the partition after the last one, if it is time, and says whether it did.
    async fn make_next(&self, db: &PgPool) -> sqlx::Result<bool> {
        let mut tx = begin(db).await?;
        let (today, days) = self.days(&mut *tx).await?;
        let day = days.last().map_or(today, |last| *last + Days::new(1));
        if day > today + AHEAD {
            return Ok(false);
        }
        self.make(&mut tx, day).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Makes the partition of `day`. It becomes one when it is ready, so that others wait only where they use the
    /// default partition.
    async fn make(&self, tx: &mut PgConnection, day: NaiveDate) -> sqlx::Result<()> {
        let (table, partition) = (self.name, self.partition(day));
        let bounds = format!(
            "(first_id('{day}')) TO (first_id('{}'))",
            day + Days::new(1)
        );
        let attach = format!(
            "CREATE TABLE {partition} (LIKE {table} INCLUDING ALL);
             ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM {bounds};"
        );
        // Nobody made it in time: what belongs into it moves there, by way of another default partition, for rows of
        // the log cannot be deleted.
        let moved = format!(
            "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
             CREATE TEMPORARY TABLE moved ON COMMIT DROP AS SELECT * FROM {table}_default;
             DROP TABLE {table}_default;
             {attach}
             CREATE TABLE {table}_default PARTITION OF {table} DEFAULT;
             INSERT INTO {table} SELECT * FROM moved;"
        );
        let late = format!(
            "SELECT EXISTS (SELECT FROM {table}_default WHERE saga_id >= first_id($1) AND saga_id < first_id($1 + 1))"
        );
        let late = sqlx::query(AssertSqlSafe(late)).bind(day);
        let is_late = late.fetch_one(&mut *tx).await?.get(0);
        tx.execute(AssertSqlSafe(if is_late { moved } else { attach }))
            .await?;
        Ok(())
    }

    /// Drops the partition that ends with `day`, unless it holds a saga that is in use.
    ///
    /// A saga that is taken up again afterwards has lost its old records, as it would a moment later.
    async fn drop(&self, db: &PgPool, day: NaiveDate) -> sqlx::Result<()> {
        let mut tx = begin(db).await?;
        let (_, days) = self.days(&mut *tx).await?;
        let partition = self.partition(day);
        if !days.contains(&day) {
            return Ok(());
        }
        // First, so that whoever is writing to it is seen: he may be taking up a saga again.
        tx.execute(AssertSqlSafe(format!(
            "LOCK TABLE {partition} IN SHARE MODE"
        )))
        .await?;
        if self.is_in_use(&mut tx, &partition).await? {
            return Ok(());
        }
        tx.execute(AssertSqlSafe(format!("DROP TABLE {partition}")))
            .await?;
        tx.commit().await?;
        info!(partition, "dropped: it is older than RETENTION_DAYS");
        Ok(())
    }

    async fn is_in_use(&self, tx: &mut PgConnection, partition: &str) -> sqlx::Result<bool> {
        let Some(in_use) = self.in_use else {
            return Ok(false);
        };
        let query = format!(
            "SELECT EXISTS (SELECT FROM ({in_use}) AS s (id) JOIN {partition} AS p ON p.saga_id = s.id)"
        );
        let row = sqlx::query(AssertSqlSafe(query)).fetch_one(tx).await?;
        Ok(row.get(0))
    }
}

#[cfg(test)]
mod tests {
    use uuid::{NoContext, Timestamp, Uuid};

    use super::*;

    fn began(hours_ago: u64) -> SagaId {
        let at = u64::try_from(clock::now().timestamp()).unwrap() - hours_ago * 3600;
        SagaId(Uuid::new_v7(Timestamp::from_unix(NoContext, at, 0)))
    }

    fn retention(days: &str) -> Result<Retention, config::Error> {
        Retention::from_vars(&Vars::from_iter([("RETENTION_DAYS", days)]))
    }

    #[test]
    fn retention_is_over_after_its_days() {
        let two = retention("2").unwrap();
        assert!(!two.is_over_for(began(46)));
        assert!(two.is_over_for(began(48)));
        assert!(!two.is_over_for(SagaId(Uuid::new_v4())));
        assert!(!retention("0").unwrap().is_over_for(began(100_000)));
    }

    #[test]
    fn retention_is_a_number_of_days() {
        assert_eq!(Retention::from_vars(&Vars::default()), retention("30"));
        for wrong in ["-1", "1.5", "36501", "a month"] {
            let error = retention(wrong).unwrap_err().to_string();
            assert!(error.starts_with("RETENTION_DAYS="), "{error}");
        }
    }
}
