//! `logs`: what the services say.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use test_support::servers::Files;

use crate::infra::{Infra, Source, compose};
use crate::services;
use crate::workspace::Workspace;

/// Becomes `tail`, which follows the logs as long as there is a terminal to read them at.
///
/// # Errors
/// When there is no such log.
pub(crate) fn run(workspace: &Workspace, only: Option<&str>) -> Result<()> {
    let follow = std::io::stdout().is_terminal();
    let mut known: Vec<&str> = services::all().map(|service| service.name()).collect();
    if only.is_none() {
        return tail(workspace, &known, follow);
    }
    known.extend(["postgres", "rabbitmq"]);
    let wanted = only.unwrap_or_default();
    // `order` is enough for order-service.
    let Some(&name) = known
        .iter()
        .find(|name| **name == wanted || name.strip_suffix("-service") == Some(wanted))
    else {
        bail!("there is no `{wanted}`; there are {}", known.join(", "));
    };
    let infra = Infra::load(workspace)?;
    let server = match name {
        "postgres" => infra.postgres,
        "rabbitmq" => infra.rabbitmq,
        _ => None,
    };
    if server.is_some_and(|server| server.source == Source::Compose) {
        let mut command = compose::command(workspace);
        command
            .args(["logs", "--tail=200"])
            .args(follow.then_some("--follow"))
            .arg(name);
        return Err(command.exec()).context("cannot run docker");
    }
    tail(workspace, &[name], follow)
}

fn tail(workspace: &Workspace, names: &[&str], follow: bool) -> Result<()> {
    let logs = names
        .iter()
        .map(|name| Files::below(workspace.dev(), name).log);
    let logs: Vec<_> = logs.filter(|log| log.exists()).collect();
    ensure!(
        !logs.is_empty(),
        "nothing has been started yet; run `./dev up`"
    );
    let mut command = Command::new("tail");
    command
        .arg(if names.len() == 1 {
            "--lines=200"
        } else {
            "--lines=20"
        })
        .args(follow.then_some("-F"))
        .args(logs);
    Err(command.exec()).context("cannot run tail")
}
