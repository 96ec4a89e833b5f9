//! `./dev bench`: how fast the system is, and what it costs.
//!
//! ```text
//! system    PostgreSQL, RabbitMQ and release builds of the services, of its own, below .dev/bench
//! scenario  load ─► POST /orders, keep-alive      ends ─► when each saga ended, from PostgreSQL
//!           meter ─► CPU, memory, commits, WAL and messages of the same time
//! floor     the same rows and messages, without the system
//! fill      millions of finished sagas: does cost grow with them?
//! report ─► .dev/bench/results.json ─► table, plot
//! ```
//! `docs/PERFORMANCE.md` explains each number.

mod audited;
mod away;
mod clock;
mod course;
mod cpu;
mod ends;
mod fill;
mod floor;
mod latency;
mod listener;
mod load;
mod meter;
mod orders;
mod plot;
mod report;
mod scenario;
mod stream;
mod system;
mod table;

use std::fs::{self, File};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use futures_util::FutureExt as _;
use test_support::servers::stop_left_over;
use tokio::signal::unix::{SignalKind, signal};

use self::report::{Growth, Outcome, Results};
use self::scenario::{SCENARIOS, Scenario, Times};
use self::system::System;

/// The data and logs of the system, which are removed after a run, and what stays.
const DIR: &str = ".dev/bench/system";
const RESULTS: &str = ".dev/bench/results.json";
const LOCK: &str = ".dev/bench/lock";
const PLOT: &str = "docs/performance.svg";
const COURSES: &str = "docs/courses.svg";
/// How long each part of the floor is measured.
const FLOOR: Duration = Duration::from_secs(5);

/// Measures the speed and the cost of Order Saga, in a system of its own.
#[derive(Debug, Parser)]
#[command(name = "./dev bench")]
struct Options {
    /// Only these, separated by commas: burst-64, burst-512, closed-64, open-50, open-1000, hot, stream, replicas-2, hang,
    /// overload, absence, outage
    #[arg(long, value_delimiter = ',', value_parser = scenario_named)]
    scenario: Vec<Scenario>,
    /// How long each is measured
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How long orders come before that
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Put so many finished sagas in, and compare burst-64 before and after; without --scenario, nothing else
    #[arg(long, value_name = "SAGAS")]
    fill: Option<u64>,
    /// Do not measure the floor
    #[arg(long)]
    no_floor: bool,
    /// Audit everything at the end
    #[arg(long)]
    audit: bool,
    /// Measure nothing: draw the last results to docs/performance.svg and docs/courses.svg
    #[arg(long)]
    plot: bool,
}

fn scenario_named(name: &str) -> Result<Scenario, String> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found
        .copied()
        .ok_or_else(|| "there is no such scenario".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match bench(&Options::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(options: &Options) -> Result<ExitCode> {
    ensure!(
        Path::new("bench/Cargo.toml").exists(),
        "run this from the root of the checkout, best as ./dev bench"
    );
    if options.plot {
        let results = fs::read(RESULTS).context("there are no results yet; run ./dev bench")?;
        let results = serde_json::from_slice(&results)?;
        fs::write(PLOT, plot::svg(&results))?;
        fs::write(COURSES, plot::courses(&results))?;
        println!("Drawn to {PLOT} and {COURSES}.");
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(
        !cfg!(debug_assertions),
        "a debug build tells nothing about speed; run ./dev bench, which builds for release"
    );
    let dir = std::path::absolute(DIR)?;
    fs::create_dir_all(&dir)?;
    let lock = File::create(LOCK)?;
    ensure!(
        lock.try_lock().is_ok(),
        "another ./dev bench runs in this checkout"
    );
    let (mut interrupted, mut terminated) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let result = tokio::select! {
        // Also after a panic, nothing may go on running.
        result = AssertUnwindSafe(run(&dir, options)).catch_unwind() =>
            result.unwrap_or_else(|_| Err(anyhow::anyhow!("a bug in the benchmark"))),
        _ = interrupted.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminated.recv() => Err(anyhow::anyhow!("terminated")),
    };
    if result.is_err() {
        stop_left_over(&dir).await?;
        eprintln!("Everything is stopped. Data and logs are kept in {DIR} until the next run.");
    }
    let results = result?;
    fs::write(RESULTS, serde_json::to_string_pretty(&results)?)?;
    print!("{}", table::shown(&results));
    println!("All numbers: {RESULTS}");
    let broken = results.audit.is_some_and(|audit| audit.violations > 0);
    Ok(if broken {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn run(dir: &Path, options: &Options) -> Result<Results> {
    eprintln!("Starting a system of its own …");
    let mut system = System::start(dir).await?;
    orders::stock(&system.databases.inventory).await?;
    let mut results = Results {
        cores: std::thread::available_parallelism()?.get(),
        settings: system.settings().await?,
        ..Results::default()
    };
    let times = Times {
        warm_up: Duration::from_secs(options.warm_up),
        window: Duration::from_secs(options.seconds),
    };
    for scenario in chosen(options) {
        results
            .scenarios
            .push(step(&scenario, &mut system, times).await?);
    }
    if let Some(sagas) = options.fill {
        results.growth = Some(growth(&mut system, sagas, times).await?);
    }
    if options.audit || options.fill.is_some() {
        eprintln!("Auditing …");
        results.audit = Some(audited::audit(&system).await?);
    }
    if !options.no_floor {
        eprintln!("The floor …");
        system.scale(0).await?;
        let burst = results.scenarios.iter().find(|o| o.scenario == "burst-64");
        results.floor = Some(floor::measure(&system, FLOOR, results.cores, burst).await?);
    }
    system.end().await?;
    Ok(results)
}

fn chosen(options: &Options) -> Vec<Scenario> {
    if options.scenario.is_empty() && options.fill.is_none() {
        SCENARIOS.to_vec()
    } else {
        options.scenario.clone()
    }
}

async fn step(scenario: &Scenario, system: &mut System, times: Times) -> Result<Outcome> {
    eprintln!("{}: {} …", scenario.name, scenario.about);
    let outcome = scenario.run(system, times).await;
    outcome.with_context(|| format!("scenario {}", scenario.name))
}

async fn growth(system: &mut System, sagas: u64, times: Times) -> Result<Growth> {
    let Some(burst) = SCENARIOS.first() else {
        bail!("there is no scenario");
    };
    let before = step(burst, system, times).await?;
    eprintln!("Filling {sagas} sagas …");
    let filled = fill::fill(&system.databases, sagas).await?;
    let after = step(burst, system, times).await?;
    Ok(Growth {
        filled: sagas,
        fill_s: filled.took.as_secs_f64(),
        databases_mib: filled.databases_mib,
        before,
        after,
    })
}
