//! `torture`: everything goes wrong while orders flow, and then the books must balance.
//!
//! ```text
//! schedule  what goes wrong when: a function of the seed ─► faults   does it, through the proxies and signals of
//! load      customers who order, cancel and send back    ─► system   servers, proxies, two replicas of each service
//! operator  retries parked sagas, asks why others wait, and clicks at verbs, batches and dead letters
//! stranger  reads every public event, and compares it with the published document
//!           then no more faults ─► quiet   no saga is open, no message waits ─► the audit ─► report
//! ```
//! The system is its own, below `.dev/torture`; it is removed after a run in which everything held. [`upgrade`] has the
//! same customers and the same audit, while one release takes the other's place.

mod evidence;
mod fault;
mod faults;
mod load;
mod operator;
mod quiet;
mod report;
mod schedule;
mod stranger;
mod system;
mod trial;
pub(crate) mod upgrade;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use rand::RngExt as _;
use test_support::servers::stop_left_over;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use self::faults::{Torturer, say};
use self::load::Load;
use self::operator::Operator;
use self::stranger::Stranger;
use self::system::{NODES, System};
use self::trial::Trial;
use crate::lock::Alone;
use crate::workspace::Workspace;

/// What can be chosen.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    /// The same seed gives the same faults; without one, it is drawn
    #[arg(long)]
    seed: Option<u64>,
    /// How long orders flow and things go wrong
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Orders a second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Three RabbitMQ nodes instead of one, which die, hang and are restarted as well
    #[arg(long)]
    cluster: bool,
}

/// Tortures a system of its own. Fails when a guarantee was not kept.
///
/// # Errors
/// The system does not start, or does not become quiet after the faults.
pub(crate) async fn run(workspace: &Workspace, options: Options) -> Result<ExitCode> {
    ensure!(
        (0.05..=10_000.0).contains(&options.minutes),
        "--minutes must be at least 0.05"
    );
    let _lock = Alone::Torture.lock(workspace)?;
    let trial = Box::pin(torture(workspace, options));
    to_the_end(&system::dir(workspace), trial).await
}

/// Runs `trial`, which says whether everything held in its system below `dir`.
async fn to_the_end(dir: &Path, trial: impl Future<Output = Result<bool>>) -> Result<ExitCode> {
    let (mut interrupted, mut terminated) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let result = tokio::select! {
        result = trial => result,
        _ = interrupted.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminated.recv() => Err(anyhow::anyhow!("terminated")),
    };
    if !matches!(result, Ok(true)) {
        stop_left_over(dir).await?;
        eprintln!(
            "Everything is stopped. Data, logs and evidence are kept in {} until the next run.",
            dir.display()
        );
    }
    Ok(if result? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether everything held.
async fn torture(workspace: &Workspace, options: Options) -> Result<bool> {
    let seed = options
        .seed
        .unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let refuses = seed.is_multiple_of(2);
    let duration = Duration::from_secs_f64(options.minutes * 60.0);
    println!(
        "Torture with seed {seed} for {} minutes at {} orders a second, with {} and a gateway that {} refunded keys. \
         Starting a system of its own …",
        options.minutes,
        options.rate,
        if options.cluster {
            "a RabbitMQ cluster"
        } else {
            "a single RabbitMQ node"
        },
        if refuses {
            "refuses"
        } else {
            "does not refuse"
        },
    );
    let began = Instant::now();
    let nodes = if options.cluster { NODES } else { 1 };
    let system = System::start(workspace, nodes, refuses).await?;
    load::fill_stock(&system, duration.as_secs_f64() * f64::from(options.rate)).await?;

    let stranger = Stranger::start(system.servers.rabbitmq.url()).await?;
    let planned = schedule::schedule(seed, duration, nodes);
    let start = Instant::now();
    say(start, "start", &format!("{} faults to come", planned.len()));
    let load = Load::new(&system, seed)?;
    let torturer = Torturer::new(&system, start, seed);
    let end = sleep_until(start + duration);
    let operator = Operator::new(&system)?;
    let ((), tally) = tokio::select! {
        ended = async { tokio::try_join!(load.run(options.rate, end), torturer.run(planned)) } => ended?,
        () = operator.run() => unreachable!("an operator looks for ever"),
    };

    say(start, "no more faults", "waiting until it is quiet");
    let trial = Trial {
        name: format!("seed {seed}"),
        began,
        start,
        system,
        load,
        stranger,
        operator,
    };
    let databases = trial.databases().await?;
    let outcome = trial.examine(&databases, tally).await?;
    outcome.print(&trial.load.seen, &databases).await?;
    trial.end(&databases, &outcome, outcome.is_good()).await
}
