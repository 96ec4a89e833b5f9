//! The shell around the decision: one transaction for whatever happened to any number of sagas.
//!
//! ```text
//! lock the sagas ─► what is new? ─► transition, for each ─► the program follows ─► write all ─► commit ─► hand over
//! └───────────────────────── Work ───────────────────────────────────────────────── Work::commit ──────────────┘
//! ```
//!
//! Replies, deadlines, new sagas, cancellations and operators all go through a [`Work`].

mod error;
mod follow;
mod trace;
mod work;

use std::sync::Arc;

use anyhow::Context as _;
use common::{backoff::Backoff, db, outbox::Outbox};
use sqlx::PgPool;
use tokio::time::sleep;
use tracing::warn;

pub use self::{
    error::Error,
    follow::{Follow, Following},
    work::{Beginning, Rehearsal, Work},
};
use crate::{Registry, metrics, store};

/// Who runs the sagas: what their messages say about that.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The CloudEvents `source` of their messages.
    pub source: &'static str,
    /// The routing key of the program's queue of replies: what `replyto` says on commands.
    pub reply_to: &'static str,
    /// By how much all deadlines are multiplied.
    pub deadline_scale: f64,
}

/// Runs sagas. Clones share everything.
#[derive(Clone)]
pub struct Engine(Arc<Parts>);

struct Parts {
    program: Program,
    registry: Registry,
    follower: Box<dyn Follow>,
    db: PgPool,
    outbox: Outbox,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("program", &self.0.program)
            .field("registry", &self.0.registry)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine of the sagas of `registry` in `db`, whose progress `follower` follows.
    #[must_use]
    pub fn new(
        program: Program,
        registry: Registry,
        follower: impl Follow,
        db: PgPool,
        outbox: Outbox,
    ) -> Self {
        metrics::begin(&registry);
        Self(Arc::new(Parts {
            program,
            registry,
            follower: Box::new(follower),
            db,
            outbox,
        }))
    }

    /// The definitions that it knows.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The database of the sagas.
    #[must_use]
    pub fn db(&self) -> &PgPool {
        &self.0.db
    }

    /// Who runs the sagas.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.0.program
    }

    /// What its commands leave through.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    /// Refuses to go on with sagas that this program has no definition for. Waits for a database that is away.
    ///
    /// # Errors
    /// There are such sagas: the error lists them.
    pub async fn check_definitions(&self) -> anyhow::Result<()> {
        let mut backoff = Backoff::default();
        let unknown = loop {
            match store::of_unknown_definitions(self.db(), self.registry()).await {
                Err(error) if db::is_transient(&error) => {
                    warn!(%error, "cannot look for open sagas");
                    sleep(backoff.next_delay()).await;
                }
                unknown => break unknown.context("looking for open sagas")?,
            }
        };
        anyhow::ensure!(
            unknown.is_empty(),
            "open sagas were started with definitions that this program does not have: {}. \
             Run the version that has them until they have ended",
            unknown.join(", ")
        );
        Ok(())
    }
}
