//! PostgreSQL and RabbitMQ out of `docker-compose.yml`, in a Compose project of this checkout's own: whatever else was
//! started from that file, by `docker compose up` for example, is another project with other volumes.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use uuid::Uuid;

use super::{Plan, Source};
use crate::workspace::Workspace;

/// Whether there is a Docker daemon that we may use, with the Compose plugin.
#[must_use]
pub(crate) fn is_available() -> bool {
    // A daemon that hangs must not hang us.
    let succeeds = |arguments: &[&str]| {
        let mut command = Command::new("timeout");
        command
            .args(["10", "docker"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    succeeds(&["compose", "version"]) && succeeds(&["info"])
}

/// Starts what the plan takes from Compose, and waits until it is healthy.
///
/// # Errors
/// When Compose fails; what it had begun is taken back.
pub(crate) fn up(workspace: &Workspace, plan: &Plan) -> Result<()> {
    let wanted = |server: &Option<super::Server>| {
        server
            .as_ref()
            .is_some_and(|server| server.source == Source::Compose)
    };
    let mut names = Vec::new();
    names.extend(wanted(&plan.postgres).then_some("postgres"));
    names.extend(wanted(&plan.rabbitmq).then_some("rabbitmq"));
    println!("Starting {} with Docker Compose …", names.join(" and "));
    let started = compose(
        workspace,
        &[&["up", "--detach", "--wait"], names.as_slice()].concat(),
    );
    if started.is_err() {
        let _ = compose(workspace, &["down"]);
    }
    started
}

/// Stops the containers; `wipe` removes their volumes.
///
/// # Errors
/// When Compose fails.
pub(crate) fn down(workspace: &Workspace, wipe: bool) -> Result<()> {
    println!("Stopping Docker Compose …");
    compose(
        workspace,
        if wipe {
            &["down", "--volumes"]
        } else {
            &["down"]
        },
    )
}

/// `docker compose` in the project of this checkout.
#[must_use]
pub(crate) fn command(workspace: &Workspace) -> Command {
    let mut command = Command::new("docker");
    command
        .args(["compose", "--project-name", &project(workspace)])
        .current_dir(workspace.root());
    command
}

fn project(workspace: &Workspace) -> String {
    let checkout = workspace.root().as_os_str().as_encoded_bytes();
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, checkout).simple();
    format!("order-saga-dev-{:.12}", id.to_string())
}

fn compose(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let status = command(workspace)
        .args(arguments)
        .status()
        .context("cannot run docker")?;
    ensure!(
        status.success(),
        "`docker compose {}` ended with {status}",
        arguments.join(" ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_checkout_has_a_project_of_its_own() {
        let [one, other] = ["one", "other"].map(Workspace::of_test);
        assert_ne!(project(&one), project(&other));
        let command = command(&one);
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments[..2], ["compose", "--project-name"]);
        assert_eq!(arguments[2], project(&one).as_str());
        for workspace in [one, other] {
            std::fs::remove_dir_all(workspace.root()).unwrap();
        }
    }
}
