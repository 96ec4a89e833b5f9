//! How a run ends: quiet, then the audit, then the verdict.

use anyhow::Result;
use audit::Books;
use test_support::system::Databases;
use tokio::time::Instant;

use super::evidence;
use super::faults::{Tally, say};
use super::load::Load;
use super::operator::Operator;
use super::quiet;
use super::report::{self, Outcome};
use super::stranger::Stranger;
use super::system::System;

/// A run, after its last order.
pub(super) struct Trial {
    /// What tells it from others.
    pub(super) name: String,
    /// When it began, and when its orders did.
    pub(super) began: Instant,
    pub(super) start: Instant,
    pub(super) system: System,
    pub(super) load: Load,
    pub(super) stranger: Stranger,
    pub(super) operator: Operator,
}

impl Trial {
    pub(super) async fn databases(&self) -> Result<Databases> {
        self.system.servers.databases().await
    }

    /// Waits until nothing is left to be done, and looks at everything that must hold then.
    ///
    /// # Errors
    /// It does not become quiet, or a server does not answer.
    pub(super) async fn examine(&self, databases: &Databases, tally: Tally) -> Result<Outcome> {
        let Self {
            system,
            stranger,
            operator,
            ..
        } = self;
        system.ready().await?;
        stranger.ready().await?;
        let took = quiet::wait(system, databases, stranger, operator).await?;
        let took = took.as_secs_f64();
        say(self.start, "quiet", &format!("after {took:.1} s; auditing"));
        let books = Books::open(&system.servers.variables().into_iter().collect())?;
        let outcome = Outcome {
            operator: operator.done(),
            audit: books.audit().await?,
            heard: stranger.heard(&databases.order, &tally.wiped).await?,
            tally,
            lost: report::lost(&self.load.seen, &databases.order).await?,
            panics: report::panics(system),
        };
        println!();
        Ok(outcome)
    }

    /// Says whether everything held. Where it did not, what is known is kept.
    ///
    /// # Errors
    /// A server does not answer, or does not end.
    pub(super) async fn end(
        self,
        databases: &Databases,
        outcome: &Outcome,
        is_good: bool,
    ) -> Result<bool> {
        if is_good {
            self.system.end().await?;
        } else {
            evidence::keep(&self.system, &outcome.audit, databases).await?;
        }
        let verdict = if is_good { "✔ passed" } else { "✘ FAILED" };
        println!(
            "{verdict}: {}, {:.0} s in all",
            self.name,
            self.began.elapsed().as_secs_f64()
        );
        Ok(is_good)
    }
}
