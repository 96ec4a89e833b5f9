//! The audit: whether the three databases keep the guarantees of `docs/GUARANTEES.md`.
//!
//! [`Books`] are what it reads, and [`Books::audit`] is all of it: the program serves it over HTTP ([`App`]), `./dev
//! audit` prints it, and torture and the benchmark end with it.
//!
//! ```text
//! orders, 2000 at a time ─► their sagas, logs and returns ─► what the participants have of them ─► judge each order
//! payments, refunds, reservations, restocks ─► is there such an order?
//! stock ─► do the products hold what the orders hold?        outboxes ─► does anything wait for too long?
//! what looks wrong is looked at again, three times, and reported if it stays the same
//! ```
//! It reads only, and may run while orders flow: three databases have no common moment, so an order may change
//! between two of them. That is why nothing is believed at once. It trusts no code of the services: it has its
//! own fold of the saga log.

mod app;
mod books;
mod broker;
mod fold;
mod http;
pub mod metrics;
mod orders;
mod outbox;
mod participants;
mod report;
mod returns;
mod sagas;
mod stock;
mod strays;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use common::config::Secret;
use uuid::Uuid;

pub use app::App;
pub use books::Books;
pub use http::openapi;
pub use report::{Parked, Report, Rule, Subject, Violation};

/// Rows that are read at a time: what bounds the memory.
const BATCH: i64 = 2000;
/// How often something that looks wrong is looked at again before it is reported.
const LOOKS: u32 = 3;
/// How long the audit waits before it looks again.
const PAUSE: Duration = Duration::from_millis(500);

impl Books {
    /// Checks every guarantee, then counts the dead letters. A broker that is away is told in the report.
    ///
    /// Takes as long as it takes to read all orders once, and 1.5 s more when something looks wrong.
    ///
    /// # Errors
    /// A database does not answer, has another schema, or holds a row that cannot be read.
    pub async fn audit(&self) -> Result<Report> {
        self.reach().await?;
        let mut report = Report::default();
        let mut suspects = self.all_orders(&mut report).await?;
        let mut waiting = self.outboxes(&mut report).await?;
        for _ in 0..LOOKS {
            if suspects.is_empty() && waiting.is_empty() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            let again = self.some_orders(&suspects).await?;
            suspects.retain(|violation| again.contains(violation));
            let again = self.outboxes(&mut Report::default()).await?;
            waiting.retain(|message| again.iter().any(|other| other.subject == message.subject));
        }
        report.violations = suspects;
        // These two are never wrong for a moment: an order is there before its payment, and stock has one snapshot.
        self.strays(&mut report).await?;
        stock::check(&self.inventory, &mut report)
            .await
            .context("inventory_db")?;
        report.violations.append(&mut waiting);
        report
            .ask_broker(self.brokers.iter().map(Secret::expose))
            .await;
        Ok(report)
    }

    /// Judges every order that is there now. Orders that are placed meanwhile are the next audit's.
    async fn all_orders(&self, report: &mut Report) -> Result<Vec<Violation>> {
        let mut suspects = Vec::new();
        let last = orders::last(&self.order).await.context("order_db")?;
        let mut after = Uuid::nil();
        while let Some(last) = last {
            let page = orders::page(&self.order, after, last).await;
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
        let orders = orders::load(&self.order, ids).await.context("order_db")?;
        let mut participants = participants::of_orders(&self.payment, &self.inventory, ids).await?;
        let judged = orders.into_iter().map(|order| {
            let participants = participants.remove(&order.id).unwrap_or_default();
            let violations = orders::judge(&order, &participants);
            (order, violations)
        });
        Ok(judged.collect())
    }

    async fn outboxes(&self, report: &mut Report) -> Result<Vec<Violation>> {
        let mut waiting = Vec::new();
        for (name, database) in self.databases() {
            let found = outbox::check(name, database, report).await;
            waiting.extend(found.context(name)?);
        }
        Ok(waiting)
    }

    async fn strays(&self, report: &mut Report) -> Result<()> {
        strays::sagas(&self.order, report)
            .await
            .context("order_db")?;
        strays::entries(&self.order, report)
            .await
            .context("order_db")?;
        for table in strays::PAYMENT {
            strays::rows(&self.payment, table, &self.order, report).await?;
        }
        for table in strays::INVENTORY {
            strays::rows(&self.inventory, table, &self.order, report).await?;
        }
        Ok(())
    }
}
