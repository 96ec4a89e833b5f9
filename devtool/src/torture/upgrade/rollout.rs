//! The rollout: who is replaced when, and by which release.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use common::fleet::SERVICES;
use sqlx::PgPool;
use test_support::servers::Signal;
use test_support::system::Databases;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::super::fault::Target;
use super::super::faults::say;
use super::super::system::{REPLICAS, System};
use super::release::Release;

/// How often a rollout pauses: before and after the migration, and after each start of a replica: up, back, `kill -9` of
/// one of each service, and up again.
pub(super) const PAUSES: u32 = 2 + (3 * REPLICAS as u32 + 1) * SERVICES.len() as u32;
/// How long what one release has left in the outboxes may take until the other has sent it. Postponed messages are half
/// as old again when they go out.
const LEFT_OVER: Duration = Duration::from_secs(60);

/// Replaces replicas one by one.
#[derive(Debug)]
pub(super) struct Rollout<'a> {
    system: &'a mut System,
    databases: &'a Databases,
    previous: &'a Release,
    today: &'a Release,
    start: Instant,
    /// After each replica.
    pause: Duration,
    /// Replicas that ended without being told to.
    ended: Vec<String>,
}

impl<'a> Rollout<'a> {
    pub(super) fn new(
        system: &'a mut System,
        databases: &'a Databases,
        [previous, today]: [&'a Release; 2],
        start: Instant,
        pause: Duration,
    ) -> Self {
        Self {
            system,
            databases,
            previous,
            today,
            start,
            pause,
            ended: Vec::new(),
        }
    }

    /// Up, back, and up in the other order. Returns the replicas that ended without being told to.
    ///
    /// # Errors
    /// Something cannot be stopped or started, or what one release has left in an outbox is not sent by the other.
    pub(super) async fn run(mut self) -> Result<Vec<String>> {
        let all = || 0..SERVICES.len();
        self.pause().await;
        let before = self.schemas().await?;
        let migrate = self.today.program("migrate");
        self.system.servers.migrate(&migrate).await?;
        let after = self.schemas().await?;
        say(self.start, "migrated", "all run the previous release");
        self.pause().await;

        for service in all() {
            self.replace(service, self.today).await?;
        }
        // Those whose schema is no longer one on which the previous release starts stay as they are.
        let goes_back = |service: &usize| {
            self.previous.starts_on_later_schemas || before[*service] == after[*service]
        };
        let (back, stay): (Vec<_>, Vec<_>) = all().partition(goes_back);
        for service in stay {
            let why = "stays: the previous release does not start on a later schema";
            say(self.start, SERVICES[service].program.name, why);
        }
        for &service in &back {
            self.replace(service, self.previous).await?;
        }
        self.leave_nothing_over().await?;
        for &service in &back {
            self.restart(
                Target {
                    service,
                    replica: 0,
                },
                self.previous,
                Signal::KILL,
            )
            .await?;
        }
        for service in all().rev() {
            self.replace(service, self.today).await?;
        }
        self.look()?;
        Ok(self.ended)
    }

    /// Replaces the replicas of a service.
    async fn replace(&mut self, service: usize, by: &Release) -> Result<()> {
        for replica in 0..REPLICAS {
            self.restart(Target { service, replica }, by, Signal::TERM)
                .await?;
        }
        Ok(())
    }

    async fn restart(&mut self, whom: Target, release: &Release, signal: Signal) -> Result<()> {
        self.look()?;
        let process = &mut self.system.replica_mut(whom).process;
        process.end(signal).await?;
        process.program = release.program(process.service.program.name);
        process.spawn()?;
        process.ready().await?;
        let how = if signal == Signal::KILL {
            " after kill -9"
        } else {
            ""
        };
        let what = format!("{whom} runs {}{how}", release.name);
        say(self.start, "started", &what);
        self.pause().await;
        Ok(())
    }

    async fn pause(&self) {
        sleep(self.pause).await;
    }

    /// Notes who has ended without being told to, and starts him again.
    fn look(&mut self) -> Result<()> {
        for replica in &self.system.replicas {
            if replica.process.running().is_none() {
                let whom = replica.target.to_string();
                say(self.start, "ENDED BY ITSELF", &whom);
                self.ended.push(whom);
                replica.process.spawn()?;
            }
        }
        Ok(())
    }

    /// Waits until every message is gone that is in an outbox now. The release that runs now may not have written it.
    async fn leave_nothing_over(&self) -> Result<()> {
        let start = Instant::now();
        let rows = self.waiting().await?;
        let what = format!(
            "{} messages in the outboxes",
            rows.values().map(Vec::len).sum::<usize>()
        );
        say(self.start, "left over", &what);
        for (service, mut rows) in rows {
            while !rows.is_empty() {
                if start.elapsed() > LEFT_OVER {
                    bail!(
                        "after {LEFT_OVER:?} messages are still in the outbox of {service}: {rows:?}"
                    );
                }
                sleep(Duration::from_millis(200)).await;
                let now = self.waiting().await?.remove(service).unwrap_or_default();
                rows.retain(|row| now.contains(row));
            }
        }
        Ok(())
    }

    /// The rows of each service's outbox.
    async fn waiting(&self) -> Result<BTreeMap<&'static str, Vec<Uuid>>> {
        let mut waiting = BTreeMap::new();
        for (service, database) in self.services() {
            let rows = sqlx::query_scalar("SELECT id FROM outbox").fetch_all(database);
            waiting.insert(service, rows.await?);
        }
        Ok(waiting)
    }

    /// How many migrations each service's database has.
    async fn schemas(&self) -> Result<Vec<i64>> {
        let mut schemas = Vec::new();
        for (service, database) in self.services() {
            let count = sqlx::query_scalar("SELECT count(*) FROM seaql_migrations");
            schemas.push(count.fetch_one(database).await.context(service)?);
        }
        Ok(schemas)
    }

    fn services(&self) -> impl Iterator<Item = (&'static str, &'a PgPool)> + use<'a> {
        let names = SERVICES.iter().map(|service| service.program.name);
        names.zip(self.databases.all())
    }
}
