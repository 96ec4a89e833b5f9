//! How sagas ended, from PostgreSQL.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sqlx::PgPool;
use test_support::system::Databases;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::load::Fired;
use crate::orders::DECLINED;

/// How long it may take until nothing is left to do.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until no saga is open and no message waits.
///
/// # Errors
/// That does not happen in time.
pub(crate) async fn wait_quiet(databases: &Databases) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if databases.are_quiet().await? {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    bail!("after {PATIENCE:?} sagas are still open, or messages wait in an outbox");
}

/// Whether any saga of an order older than `order` is open. Cheap: open sagas have an index.
pub(crate) async fn is_open_before(db: &PgPool, order: Uuid) -> Result<bool> {
    let open = "SELECT EXISTS (SELECT FROM sagas WHERE deadline_at IS NOT NULL AND subject < 'order/' || $1::uuid)";
    Ok(sqlx::query_scalar(open).bind(order).fetch_one(db).await?)
}

/// When and how the sagas of some orders ended.
#[derive(Debug)]
pub(crate) struct Ends {
    /// When the transaction of the end was committed, by order; PostgreSQL stamps it right before the flush to disk.
    at: HashMap<Uuid, i64>,
    /// How many orders ended in which way: `COMPLETED`, or the reason why one was cancelled.
    pub(crate) ways: HashMap<String, usize>,
}

impl Ends {
    /// Of the orders since `first`, all of which have ended.
    ///
    /// Nothing touches the row of a saga after its end, so the last transaction that wrote it is the one that ended it.
    ///
    /// # Errors
    /// The database failed, or an order has not ended.
    pub(crate) async fn load(db: &PgPool, first: Uuid) -> Result<Self> {
        let rows: Vec<(Uuid, String, Option<String>, Option<i64>)> = sqlx::query_as(
            "SELECT o.id, o.status, o.cancellation_reason,
                    (extract(epoch FROM pg_xact_commit_timestamp(s.xmin)) * 1000000)::bigint
             FROM sagas s JOIN orders o ON o.saga_id = s.id
             WHERE o.id >= $1 AND s.status IN ('COMPLETED', 'COMPENSATED')",
        )
        .bind(first)
        .fetch_all(db)
        .await?;
        let mut ends = Self {
            at: HashMap::with_capacity(rows.len()),
            ways: HashMap::new(),
        };
        for (order, status, reason, at) in rows {
            ends.at
                .insert(order, at.context("a commit without its time")?);
            *ends.ways.entry(reason.unwrap_or(status)).or_default() += 1;
        }
        Ok(ends)
    }

    /// When the saga of `order` ended.
    pub(crate) fn of(&self, order: Uuid) -> Option<i64> {
        self.at.get(&order).copied()
    }

    /// All times, in no order.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        self.at.values().copied()
    }

    /// How many a second, from `start` to the last one.
    pub(crate) fn per_second(&self, start: i64) -> f64 {
        let last = self.times().max().unwrap_or(start);
        self.at.len() as f64 * 1e6 / (last - start).max(1) as f64
    }

    /// Whether each accepted order ended, no other order is there, and the ways are those that were to be expected.
    ///
    /// # Errors
    /// It is not so: with what is wrong.
    pub(crate) fn check(&self, fired: &Fired, out_of_stock: f64) -> Result<()> {
        let missing = fired
            .accepted
            .iter()
            .filter(|shot| self.of(shot.order).is_none());
        let (accepted, missing) = (fired.accepted.len(), missing.count());
        ensure!(
            missing == 0,
            "{missing} of {accepted} orders have not ended"
        );
        ensure!(
            !fired.refused.is_empty() || self.at.len() == accepted,
            "{accepted} orders were accepted, but {} are there",
            self.at.len()
        );
        let undone = (1.0 - DECLINED) * out_of_stock;
        let expected = [
            ("PAYMENT_DECLINED", DECLINED),
            ("OUT_OF_STOCK", undone),
            ("COMPLETED", 1.0 - DECLINED - undone),
        ];
        for (way, count) in &self.ways {
            ensure!(
                expected.iter().any(|(expected, _)| way == expected),
                "{count} orders ended as {way}"
            );
        }
        for (way, expected) in expected {
            let count = self.ways.get(way).copied().unwrap_or_default();
            ensure!(
                is_plausible(count, self.at.len(), expected),
                "{count} of {} orders ended as {way}, where {:.1} % were to be expected",
                self.at.len(),
                expected * 100.0
            );
        }
        Ok(())
    }
}

/// Whether `count` of `all` is no farther from the `expected` share than chance explains: five standard deviations.
fn is_plausible(count: usize, all: usize, expected: f64) -> bool {
    let all = all as f64;
    let deviation = (all * expected * (1.0 - expected)).sqrt();
    (count as f64 - all * expected).abs() <= 5.0 * deviation + 1.0
}

#[cfg(test)]
mod tests {
    use super::is_plausible;

    #[test]
    fn chance_is_plausible_and_an_error_is_not() {
        assert!(is_plausible(1030, 10_000, 0.1));
        assert!(!is_plausible(1300, 10_000, 0.1));
        assert!(is_plausible(0, 10_000, 0.0));
        assert!(!is_plausible(10, 10_000, 0.0));
    }
}
