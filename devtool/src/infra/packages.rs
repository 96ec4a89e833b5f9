//! Debian's packages of the servers.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use test_support::servers::{PostgresServer, RabbitMqServer};

use crate::workspace::Workspace;

/// Installs what is needed and missing, by `./dev install`, which knows how to become root.
///
/// # Errors
/// When that fails.
pub(crate) fn ensure(workspace: &Workspace, postgres: bool, rabbitmq: bool) -> Result<()> {
    let mut missing = Vec::new();
    missing.extend((postgres && !PostgresServer::is_installed()).then_some("postgresql"));
    missing.extend((rabbitmq && !RabbitMqServer::is_installed()).then_some("rabbitmq-server"));
    if missing.is_empty() {
        return Ok(());
    }
    let mut command = Command::new(workspace.root().join("dev"));
    let status = command
        .arg("install")
        .args(&missing)
        .status()
        .context("cannot run ./dev install")?;
    ensure!(
        status.success(),
        "{} could not be installed",
        missing.join(" and ")
    );
    Ok(())
}
