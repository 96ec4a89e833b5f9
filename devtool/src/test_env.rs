//! `test-env`: what the tests need, and the variables that tell them where it is.
//!
//! | variable | value |
//! |---|---|
//! | `TEST_DATABASE_URL` | a superuser at the database `postgres`; each test makes and drops its own database |
//! | `TEST_RABBITMQ_URL` | an administrator at the default virtual host; each test makes and drops its own |
//! | `TEST_RABBITMQ_API_URL` | the management API with user and password, without a path |
//!
//! Those that are set already are used as they are. Otherwise private servers, those of the demo if it runs; never the
//! servers that the user configured for the services.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context as _, Result, ensure};
use test_support::servers::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::infra::{self, private_servers};
use crate::lock;
use crate::settings::{Settings, process_environment};
use crate::workspace::{Workspace, remove_if_there};

/// Starts or finds the servers. With a command, runs it and stops what was started; without one, prints the variables.
///
/// # Errors
/// When a server cannot be started, or the command cannot be run.
pub(crate) async fn run(workspace: &Workspace, command: &[String]) -> Result<ExitCode> {
    let Some((program, arguments)) = command.split_first() else {
        let variables = start(workspace, false).await?;
        variables
            .iter()
            .for_each(|(name, value)| println!("{name}={value}"));
        return Ok(ExitCode::SUCCESS);
    };
    let shared = lock::test_run(workspace)?;
    let variables = start(workspace, true).await?;
    let mut command = tokio::process::Command::new(program);
    let status = run_to_the_end(command.args(arguments).envs(variables)).await;
    drop(shared);
    stop(workspace).await?;
    let status = status.with_context(|| format!("cannot run {program}"))?;
    Ok(exit_code(status))
}

/// Leaves servers running that the tests started: from now on somebody else needs them.
///
/// # Errors
/// When `.dev` cannot be written.
pub(crate) fn claim(workspace: &Workspace) -> Result<()> {
    remove_if_there(&marker(workspace))
}

async fn start(
    workspace: &Workspace,
    only_for_this_run: bool,
) -> Result<BTreeMap<&'static str, String>> {
    let _lock = lock::exclusive(workspace)?;
    let settings = Settings::load(workspace.root())?;
    let mut variables = given()?;
    let (postgres, rabbitmq) = private_servers(workspace);
    let ran_before = postgres.process().is_some() || rabbitmq.process().is_some();
    if !only_for_this_run {
        claim(workspace)?;
    } else if !ran_before {
        // Before they start: also a run that is interrupted in the middle of it will be cleaned up by the next one.
        fs::write(marker(workspace), "").context("cannot write .dev/started-by-tests")?;
    }
    let needs = |name| !variables.contains_key(name);
    let plan = infra::up_for_tests(
        workspace,
        &settings,
        needs("TEST_DATABASE_URL"),
        needs("TEST_RABBITMQ_URL"),
    )
    .await?;
    if let Some(server) = plan.postgres {
        variables.insert("TEST_DATABASE_URL", server.url);
    }
    if let Some(server) = plan.rabbitmq {
        variables.insert("TEST_RABBITMQ_URL", server.url);
        variables.insert("TEST_RABBITMQ_API_URL", server.api_url);
    }
    Ok(variables)
}

/// What the user set.
fn given() -> Result<BTreeMap<&'static str, String>> {
    let names = [
        "TEST_DATABASE_URL",
        "TEST_RABBITMQ_URL",
        "TEST_RABBITMQ_API_URL",
    ];
    let all: BTreeMap<String, String> = process_environment().collect();
    let given: BTreeMap<_, _> = names
        .into_iter()
        .filter_map(|name| Some((name, all.get(name)?.clone())))
        .collect();
    ensure!(
        given.contains_key("TEST_RABBITMQ_URL") == given.contains_key("TEST_RABBITMQ_API_URL"),
        "set both of TEST_RABBITMQ_URL and TEST_RABBITMQ_API_URL, or none"
    );
    Ok(given)
}

/// Stops the servers if a test run started them, nobody has claimed them, and this run is the last. Says nothing: the last
/// lines are the tests'.
async fn stop(workspace: &Workspace) -> Result<()> {
    let _lock = lock::exclusive(workspace)?;
    if !marker(workspace).exists() || !lock::is_last_test_run(workspace)? {
        return Ok(());
    }
    let (postgres, rabbitmq) = private_servers(workspace);
    rabbitmq.stop().await?;
    postgres.stop().await?;
    claim(workspace)
}

/// Ctrl-C reaches the command by itself; SIGTERM is passed on. Either way we stay, to stop the servers.
pub(crate) async fn run_to_the_end(command: &mut tokio::process::Command) -> Result<ExitStatus> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut child = command.spawn()?;
    let pid = child
        .id()
        .and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = interrupted.recv() => {}
            _ = terminated.recv() => if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, Signal::TERM);
            },
        }
    }
}

/// As a shell gives it: 128 and the signal's number for a command that a signal ended.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn marker(workspace: &Workspace) -> std::path::PathBuf {
    workspace.dev().join("started-by-tests")
}
