//! Debian's packages: of the servers, and of what the tests need besides.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use test_support::{
    faketime,
    servers::{PostgresServer, RabbitMqServer},
};

use crate::workspace::Workspace;

/// Installs what is needed and missing, by `./dev install`, which knows how to become root.
///
/// # Errors
/// When that fails.
pub(crate) fn ensure(workspace: &Workspace, postgres: bool, rabbitmq: bool) -> Result<()> {
    let mut missing = Vec::new();
    missing.extend((postgres && !PostgresServer::is_installed()).then_some("postgresql"));
    missing.extend((rabbitmq && !RabbitMqServer::is_installed()).then_some("rabbitmq-server"));
    install(workspace, &missing)
}

/// The same for all that the tests start.
///
/// # Errors
/// When that fails.
pub(crate) fn ensure_for_tests(workspace: &Workspace) -> Result<()> {
    // The tests that stop a server start one of their own.
    ensure(workspace, true, true)?;
    let mut missing = Vec::new();
    missing.extend((!faketime::is_installed()).then_some("faketime"));
    // The page is tested in a browser.
    missing.extend((!is_on_path("chromedriver")).then_some("chromium-driver"));
    install(workspace, &missing)
}

fn is_on_path(program: &str) -> bool {
    let version = Command::new(program).arg("--version").output();
    version.is_ok_and(|version| version.status.success())
}

fn install(workspace: &Workspace, missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let mut command = Command::new(workspace.root().join("dev"));
    let status = command
        .arg("install")
        .args(missing)
        .status()
        .context("cannot run ./dev install")?;
    ensure!(
        status.success(),
        "{} could not be installed",
        missing.join(" and ")
    );
    Ok(())
}
