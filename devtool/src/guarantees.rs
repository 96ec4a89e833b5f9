//! `audit`: checks the guarantees at the databases of the services, and says what it found.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use audit::{Books, Report};

use crate::services::{self, Environment};
use crate::settings::Settings;
use crate::workspace::Workspace;

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
    let vars = environment.clone().into_iter().collect();
    let report = Books::open(&vars)?.audit().await;
    report.context("the audit cannot read everything; `./dev up` starts what is not running")
}
