//! What a run was, and whether everything held.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::Ordering;

use anyhow::Result;
use audit::Report;
use sqlx::{PgPool, Row as _};
use test_support::system::Databases;
use uuid::Uuid;

use super::faults::Tally;
use super::load::Seen;
use super::operator::Done;
use super::stranger::Heard;
use super::system::System;

/// Missing events that are named.
const NAMED_MAX: usize = 20;

/// What a run was.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    /// What the operator did.
    pub(super) operator: Done,
    pub(super) audit: Report,
    /// Which public events came.
    pub(super) heard: Heard,
    /// Accepted orders that are not there.
    pub(super) lost: Vec<Uuid>,
    /// Log lines that tell of a panic.
    pub(super) panics: Vec<String>,
}

impl Outcome {
    /// Whether everything held.
    pub(super) fn is_good(&self) -> bool {
        self.audit.is_clean()
            && self.lost.is_empty()
            && self.heard.missing.is_empty()
            && self.heard.compared.problems.is_empty()
            && self.panics.is_empty()
            && self.operator.problems.is_empty()
            && self.tally.ended.is_empty()
    }

    /// Prints it.
    ///
    /// # Errors
    /// A database does not answer.
    pub(super) async fn print(&self, seen: &Seen, databases: &Databases) -> Result<()> {
        let faults = self.tally.faults.iter();
        let faults: Vec<_> = faults.map(|(kind, n)| format!("{n} {kind}")).collect();
        if !faults.is_empty() {
            line("faults", &faults.join(", "));
        }
        self.print_orders(seen, &databases.order).await?;
        self.print_sagas(&databases.order).await?;
        self.print_refused(seen, databases).await?;
        print_times(&databases.order).await?;
        for what in &self.lost {
            println!("✘ order {what} was accepted and is not there");
        }
        let Heard {
            events,
            excused,
            missing,
            compared,
        } = &self.heard;
        let excused = format!("{excused} were lost when RabbitMQ lost its data");
        line("events", &format!("{events} came to a stranger; {excused}"));
        line("contract", &compared.to_string());
        for (order, number) in missing.iter().take(NAMED_MAX) {
            println!("✘ public event {number} of order {order} never came");
        }
        for whom in &self.tally.ended {
            println!("✘ {whom} ended by itself");
        }
        for problem in &self.operator.problems {
            println!("✘ the operator: {problem}");
        }
        for panic in &self.panics {
            println!("✘ {panic}");
        }
        println!("\n{}", self.audit);
        Ok(())
    }

    async fn print_orders(&self, seen: &Seen, order: &PgPool) -> Result<()> {
        let accepted = seen.accepted.lock().expect("nobody panics with it").len();
        let ends = rows(
            order,
            "SELECT status || coalesce(' ' || cancellation_reason, ''), count(*)
             FROM orders GROUP BY status, cancellation_reason ORDER BY 1",
        )
        .await?;
        line("orders", &format!("{accepted} accepted: {}", list(&ends)));
        let [cancelled, shipped, delivered, returns, too_many, given_up] = [
            &seen.cancelled,
            &seen.shipped,
            &seen.delivered,
            &seen.returns,
            &seen.too_many,
            &seen.given_up,
        ]
        .map(|counter| counter.load(Ordering::Relaxed));
        line(
            "people",
            &format!("{cancelled} cancellations, {shipped} shipments, {delivered} deliveries"),
        );
        line(
            "returns",
            &format!(
                "{returns} accepted, {too_many} of too much refused; {given_up} times somebody gave up waiting \
                 for another saga of the order"
            ),
        );
        Ok(())
    }

    /// How many sagas there were of each kind, and how many of them met a fault.
    async fn print_sagas(&self, order: &PgPool) -> Result<()> {
        let kinds: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT type, count(*), count(*) FILTER (WHERE EXISTS (
                        SELECT FROM saga_log WHERE saga_id = sagas.id
                            AND event IN ('ACTION_TIMED_OUT', 'COMPENSATION_TIMED_OUT', 'SAGA_PARKED', 'LATE_REPLY')))
             FROM sagas GROUP BY type ORDER BY type",
        )
        .fetch_all(order)
        .await?;
        let kinds = kinds.into_iter();
        let kinds: Vec<_> = kinds
            .map(|(kind, n, met)| format!("{n} {kind} ({met} met a fault)"))
            .collect();
        line("sagas", &kinds.join(", "));
        let Done {
            retried, clicks, ..
        } = &self.operator;
        let clicks = clicks.iter().map(|(what, n)| format!("{n} {what}"));
        let clicks: Vec<_> = clicks.collect();
        let (parked, times) = (retried.len(), retried.values().sum::<usize>());
        line(
            "operator",
            &format!(
                "{parked} sagas were parked and retried, {times} times in all; clicked at random: {}",
                clicks.join(", ")
            ),
        );
        Ok(())
    }

    async fn print_refused(
        &self,
        seen: &Seen,
        Databases {
            order,
            payment,
            inventory,
        }: &Databases,
    ) -> Result<()> {
        let (retried, replayed) = (&seen.retried, &seen.replayed);
        line(
            "requests",
            &format!(
                "{} sent again, of which {} found their order there already",
                retried.load(Ordering::Relaxed),
                replayed.load(Ordering::Relaxed)
            ),
        );
        let shuffled = self.tally.shuffled;
        if shuffled.taken > 0 {
            line(
                "messages",
                &format!(
                    "{} re-ordered, {} of them sent twice",
                    shuffled.taken, shuffled.twice
                ),
            );
        }
        let log = rows(
            order,
            "SELECT event, count(*) FROM saga_log
             WHERE event IN ('LATE_REPLY', 'ACTION_TIMED_OUT', 'COMPENSATION_TIMED_OUT', 'SAGA_PARKED')
                OR event IN ('ACTION_SENT', 'COMPENSATION_SENT') AND (details ->> 'attempt')::int > 1
             GROUP BY event ORDER BY event",
        )
        .await?;
        let count = |event: &str| {
            let found = log.iter().find(|(name, _)| name == event);
            found.map_or(0, |(_, n)| *n)
        };
        line(
            "commands",
            &format!(
                "{} sent again after a timeout, {} compensations sent again, {} sagas parked",
                count("ACTION_SENT"),
                count("COMPENSATION_SENT"),
                count("SAGA_PARKED")
            ),
        );
        let tombstones = "SELECT 'n', count(*) FROM idempotency WHERE tombstone";
        let (payment, inventory) = (
            rows(payment, tombstones).await?,
            rows(inventory, tombstones).await?,
        );
        let number = |rows: &[(String, i64)]| rows.first().map_or(0, |(_, n)| *n);
        line(
            "refused",
            &format!(
                "{} late replies; late commands: {} payments and {} reservations barred by a tombstone",
                count("LATE_REPLY"),
                number(&payment),
                number(&inventory)
            ),
        );
        Ok(())
    }
}

fn line(what: &str, text: &str) {
    println!("{what:<10} {text}");
}

fn list(rows: &[(String, i64)]) -> String {
    let words: Vec<_> = rows.iter().map(|(what, n)| format!("{n} {what}")).collect();
    words.join(", ")
}

async fn rows(database: &PgPool, query: &'static str) -> Result<Vec<(String, i64)>> {
    Ok(sqlx::query_as(query).fetch_all(database).await?)
}

/// How long sagas took. Those that had to ask more than three times for something, such as a refund that the gateway
/// refused, wait longer each time, and are counted apart: among the others, a long stall tells that something stood still.
async fn print_times(order: &PgPool) -> Result<()> {
    let row = sqlx::query(
        "SELECT coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY took), 0)::float8,
                coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY took), 0)::float8,
                coalesce(max(took) FILTER (WHERE attempts <= 3), 0)::float8,
                coalesce(max(took) FILTER (WHERE attempts > 3), 0)::float8,
                count(*) FILTER (WHERE attempts > 3)
         FROM (SELECT extract(epoch FROM min(at) FILTER (WHERE event IN ('SAGA_COMPLETED', 'SAGA_COMPENSATED'))
                                         - min(at)) AS took,
                      coalesce(max((details ->> 'attempt')::int), 0) AS attempts
               FROM saga_log GROUP BY saga_id) AS sagas",
    )
    .fetch_one(order)
    .await?;
    let second = |n: usize| row.get::<f64, _>(n);
    line(
        "duration",
        &format!(
            "of a saga: half within {:.3} s, 99 % within {:.1} s, the longest stall {:.1} s; \
             {} asked for something more than three times, the longest for {:.1} s",
            second(0),
            second(1),
            second(2),
            row.get::<i64, _>(4),
            second(3)
        ),
    );
    Ok(())
}

/// Accepted orders that are not in the database.
///
/// # Errors
/// The database does not answer.
pub(super) async fn lost(seen: &Seen, order: &PgPool) -> Result<Vec<Uuid>> {
    let there: Vec<(Uuid,)> = sqlx::query_as("SELECT id FROM orders")
        .fetch_all(order)
        .await?;
    let there: HashSet<Uuid> = there.into_iter().map(|(id,)| id).collect();
    let accepted = seen.accepted.lock().expect("nobody panics with it");
    Ok(accepted
        .iter()
        .copied()
        .filter(|id| !there.contains(id))
        .collect())
}

/// The logs' lines about panics.
pub(super) fn panics(system: &System) -> Vec<String> {
    let mut found = Vec::new();
    for (target, log) in system.logs() {
        let text = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().filter(|line| line.contains("panicked"));
        found.extend(lines.map(|line| format!("{target}: {line}")));
    }
    found
}
