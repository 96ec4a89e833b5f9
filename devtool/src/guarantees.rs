//! `audit`: checks the guarantees at the databases of the services, and says what it found.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use audit::{Report, audit};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use test_support::servers::probe_postgres;

use crate::infra::shown;
use crate::services::{self, Environment};
use crate::settings::{RABBITMQ_URL, Settings};
use crate::workspace::Workspace;

/// How long a database may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints the report. Fails when a guarantee was not kept.
///
/// # Errors
/// When a database does not answer.
pub(crate) async fn run(workspace: &Workspace) -> Result<ExitCode> {
    // Those that the services use; before `up`, and with Docker Compose, those that are configured.
    let environment = match services::environment(workspace)? {
        Some(environment) => environment,
        None => Settings::load(workspace.root())?.all(),
    };
    let report = check(&environment).await?;
    println!("{report}");
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Audits the databases of `environment`, and counts the dead letters of its broker.
///
/// # Errors
/// When a database does not answer.
pub(crate) async fn check(environment: &Environment) -> Result<Report> {
    let order = connect(environment, "ORDER_DATABASE_URL").await?;
    let payment = connect(environment, "PAYMENT_DATABASE_URL").await?;
    let inventory = connect(environment, "INVENTORY_DATABASE_URL").await?;
    let mut report = audit(&order, &payment, &inventory).await?;
    let nodes = environment.get(RABBITMQ_URL).map_or("", String::as_str);
    report.ask_broker(nodes).await;
    Ok(report)
}

async fn connect(environment: &Environment, name: &str) -> Result<PgPool> {
    let url = environment.get(name).map_or("", String::as_str);
    // A pool tells that it timed out, and not why.
    probe_postgres(url).await.with_context(|| {
        let at = shown(url);
        format!("{name} is {at}, which does not answer; `./dev up` starts what is not running")
    })?;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(PATIENCE);
    Ok(pool.connect(url).await?)
}
