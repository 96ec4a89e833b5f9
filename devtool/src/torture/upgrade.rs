//! `upgrade`: one release takes the other's place while orders flow: up, back on the new schema, and up in the other order.
//!
//! ```text
//! release   the programs of the release before this one, built from the history, and of this one
//! rollout   migrates, then replaces the replicas one by one
//! outcome   who complained, and what was left over, beside what torture looks at
//! ```
//! System, customers, stranger, audit and report are torture's. Nothing goes wrong here, but for one call to the gateway in
//! twenty that hangs, so that messages wait in outboxes for whichever release comes next.

mod outcome;
mod release;
mod rollout;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::outcome::Upgraded;
use self::release::Release;
use self::rollout::{PAUSES, Rollout};
use super::faults::{Tally, say};
use super::load::{self, Load};
use super::operator::Operator;
use super::stranger::Stranger;
use super::system::System;
use super::trial::Trial;
use crate::lock::Alone;
use crate::workspace::Workspace;

/// What all replicas are given; each release reads what it knows of it. In early ones, whoever commits may wait for a second
/// connection, so there are plenty.
const CONFIGURATION: [(&str, &str); 7] = [
    ("USE_SIMULATED_PAYMENT", "true"),
    ("PAYMENT_SUCCESS_RATE", "0.85"),
    ("PAYMENT_LATENCY_MS", "20"),
    ("PAYMENT_HANG_RATE", "0.05"),
    ("PAYMENT_TIMEOUT_MS", "500"),
    ("DATABASE_MAX_CONNECTIONS", "32"),
    ("LOG_LEVEL", "warn"),
];
/// What a replica takes to end and start, at most, for counting the stock that will be asked for.
const RESTART: f64 = 10.0;
/// The customers' choices are the same each time.
const SEED: u64 = 1;

/// What can be chosen.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How long the releases run side by side; restarts are not counted
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// Orders a second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// The commit of the release to come from and to go back to
    #[arg(long, default_value = release::PREVIOUS)]
    from: String,
    /// Do nothing where the history does not reach back to that commit, and say so
    #[arg(long)]
    if_possible: bool,
}

/// Upgrades a system of its own, takes that back, and upgrades it again. Fails when a guarantee was not kept, or when
/// somebody noticed.
///
/// # Errors
/// The previous release cannot be built, or the system does not start or does not become quiet.
pub(crate) async fn run(workspace: &Workspace, options: Options) -> Result<ExitCode> {
    ensure!(
        (0.05..=10_000.0).contains(&options.minutes),
        "--minutes must be at least 0.05"
    );
    if options.if_possible && !release::is_there(workspace, &options.from).await? {
        println!("Upgrading is left out: {}", release::missing(&options.from));
        return Ok(ExitCode::SUCCESS);
    }
    let _lock = Alone::Upgrade.lock(workspace)?;
    let trial = Box::pin(upgrade(workspace, options));
    super::to_the_end(&dir(workspace), trial).await
}

/// Whether everything held.
async fn upgrade(workspace: &Workspace, options: Options) -> Result<bool> {
    let began = Instant::now();
    let previous = Release::previous(workspace, &options.from).await?;
    let today = Release::today()?;
    let pause = Duration::from_secs_f64(options.minutes * 60.0 / f64::from(PAUSES));
    println!(
        "Upgrading from {} with {} orders a second, and {:.1} s after each replica. Starting a system of its own …",
        options.from,
        options.rate,
        pause.as_secs_f64()
    );
    let mut system = System::at_rest(workspace, &dir(workspace), &CONFIGURATION, 1).await?;
    system.servers.migrate(&previous.program("migrate")).await?;
    for replica in &mut system.replicas {
        replica.process.program = previous.program(replica.process.service.program.name);
    }
    system.spawn().await?;
    let seconds = (pause.as_secs_f64() + RESTART) * f64::from(PAUSES);
    load::fill_stock(&system, seconds * f64::from(options.rate)).await?;

    let stranger = Stranger::start(system.servers.rabbitmq.url()).await?;
    let databases = system.servers.databases().await?;
    let load = Load::new(&system, SEED)?;
    let (ended, end) = oneshot::channel::<()>();
    let start = Instant::now();
    let rollout = async {
        let rollout = Rollout::new(&mut system, &databases, [&previous, &today], start, pause);
        let ended_by_themselves = rollout.run().await?;
        let _ = ended.send(());
        Ok(ended_by_themselves)
    };
    let end = async {
        // Where the rollout fails, this ends with it.
        let _ = end.await;
    };
    let ((), ended) = tokio::try_join!(load.run(options.rate, end), rollout)?;

    say(start, "no more orders", "waiting until it is quiet");
    let operator = Operator::new(&system)?;
    let trial = Trial {
        name: format!("upgrade from {}", options.from),
        began,
        start,
        system,
        load,
        stranger,
        operator,
    };
    let tally = Tally {
        ended,
        ..Tally::default()
    };
    let upgraded = Upgraded {
        outcome: trial.examine(&databases, tally).await?,
        complaints: outcome::complaints(&trial.system),
    };
    upgraded.print(&trial.load.seen, &databases).await?;
    let is_good = upgraded.is_good();
    trial.end(&databases, &upgraded.outcome, is_good).await
}

/// Where a run keeps everything.
fn dir(workspace: &Workspace) -> PathBuf {
    workspace.dev().join("upgrade")
}
