//! The audit: whether the three databases keep the guarantees of `docs/ARCHITECTURE.md`.
//!
//! ```text
//! orders, 2000 at a time ─► their sagas and logs ─► their payments ─► their reservations ─► judge each order
//! payments, reservations ─► is there such an order?
//! stock ─► do the products hold what the orders hold?        outboxes ─► does anything wait for too long?
//! what looks wrong is looked at again, three times, and reported if it stays the same
//! ```
//! It reads only, and may run while orders flow: three databases have no common moment, so an order may change
//! between two of them. That is why nothing is believed at once. It trusts no code of the services: it has its
//! own fold of the saga log.

mod broker;
mod fold;
mod orders;
mod outbox;
mod participants;
mod report;
mod stock;
mod strays;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::PgPool;
use uuid::Uuid;

pub use report::{Parked, Report, Rule, Subject, Violation};

/// Rows that are read at a time: what bounds the memory.
const BATCH: i64 = 2000;
/// How often something is looked at again before it is reported,
const LOOKS: u32 = 3;
/// and after how long.
const PAUSE: Duration = Duration::from_millis(500);

/// Checks every guarantee. The broker is not asked: see [`Report::ask_broker`].
///
/// Takes as long as it takes to read all orders once, and 1.5 s more when something looks wrong.
///
/// # Errors
/// A database does not answer, has another schema, or holds a row that cannot be read.
pub async fn audit(order: &PgPool, payment: &PgPool, inventory: &PgPool) -> Result<Report> {
    let databases = Databases {
        order,
        payment,
        inventory,
    };
    let mut report = Report::default();
    let mut suspects = databases.all_orders(&mut report).await?;
    let mut waiting = databases.outboxes(&mut report).await?;
    for _ in 0..LOOKS {
        if suspects.is_empty() && waiting.is_empty() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        let again = databases.some_orders(&suspects).await?;
        suspects.retain(|violation| again.contains(violation));
        let again = databases.outboxes(&mut Report::default()).await?;
        waiting.retain(|message| again.iter().any(|other| other.subject == message.subject));
    }
    report.violations = suspects;
    // These two are never wrong for a moment: an order is there before its payment, and stock has one snapshot.
    databases.strays(&mut report).await?;
    stock::check(inventory, &mut report)
        .await
        .context("inventory_db")?;
    report.violations.append(&mut waiting);
    Ok(report)
}

struct Databases<'a> {
    order: &'a PgPool,
    payment: &'a PgPool,
    inventory: &'a PgPool,
}

impl Databases<'_> {
    /// Judges every order that is there now. Orders that are placed meanwhile are the next audit's.
    async fn all_orders(&self, report: &mut Report) -> Result<Vec<Violation>> {
        let mut suspects = Vec::new();
        let last = orders::last(self.order).await.context("order_db")?;
        let mut after = Uuid::nil();
        while let Some(last) = last {
            let page = orders::page(self.order, after, last).await;
            let ids = page.context("order_db")?;
            let Some(&end) = ids.last() else { break };
            after = end;
            for (order, violations) in self.judged(&ids).await? {
                report.count(&order);
                suspects.extend(violations);
            }
        }
        Ok(suspects)
    }

    /// Judges the orders of `suspects` again.
    async fn some_orders(&self, suspects: &[Violation]) -> Result<Vec<Violation>> {
        let ids: BTreeSet<Uuid> = suspects.iter().filter_map(Violation::order).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let mut again = Vec::new();
        for ids in ids.chunks(usize::try_from(BATCH)?) {
            let judged = self.judged(ids).await?;
            again.extend(judged.into_iter().flat_map(|(_, violations)| violations));
        }
        Ok(again)
    }

    /// Orders first: what their sagas say they did is done by then.
    async fn judged(&self, ids: &[Uuid]) -> Result<Vec<(orders::Order, Vec<Violation>)>> {
        let orders = orders::load(self.order, ids).await.context("order_db")?;
        let payments = participants::payments(self.payment, ids).await;
        let payments = payments.context("payment_db")?;
        let reservations = participants::reservations(self.inventory, ids).await;
        let reservations = reservations.context("inventory_db")?;
        let judged = orders.into_iter().map(|order| {
            let payments = payments.get(&order.id).map_or(&[][..], Vec::as_slice);
            let reservations = reservations.get(&order.id).map_or(&[][..], Vec::as_slice);
            let violations = orders::judge(&order, payments, reservations);
            (order, violations)
        });
        Ok(judged.collect())
    }

    async fn outboxes(&self, report: &mut Report) -> Result<Vec<Violation>> {
        let mut waiting = Vec::new();
        for (name, database) in [
            ("order_db", self.order),
            ("payment_db", self.payment),
            ("inventory_db", self.inventory),
        ] {
            let found = outbox::check(name, database, report).await;
            waiting.extend(found.context(name)?);
        }
        Ok(waiting)
    }

    async fn strays(&self, report: &mut Report) -> Result<()> {
        strays::sagas(self.order, report)
            .await
            .context("order_db")?;
        strays::entries(self.order, report)
            .await
            .context("order_db")?;
        strays::payments(self.payment, self.order, report).await?;
        strays::reservations(self.inventory, self.order, report).await
    }
}
