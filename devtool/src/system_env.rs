//! `system-env`: the services and the audit, in a system of its own, for a command that needs them.
//!
//! | variable | value |
//! |---|---|
//! | `ORDER_URL`, `PAYMENT_URL`, `INVENTORY_URL`, `AUDIT_URL` | where the APIs are: `http://127.0.0.1:20003` |
//!
//! The simulated gateway declines only what it is told to. Everything is below `.dev/system-env`, and is removed at the end.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use common::fleet::{AUDIT, SERVICES};
use futures_util::future::try_join_all;
use test_support::servers::{
    Files, Signal, detached, free_ports, probe_http, stop_left_over, wait_ready,
};
use test_support::system::{self, DRAIN, Replica, START};

use crate::infra::packages;
use crate::lock::Alone;
use crate::test_env::{exit_code, run_to_the_end};
use crate::workspace::Workspace;

/// The names that the command gets the URLs of [`SERVICES`] under.
const URLS: [&str; SERVICES.len()] = ["ORDER_URL", "PAYMENT_URL", "INVENTORY_URL"];
/// What the services are given.
const CONFIGURATION: [(&str, &str); 3] = [
    ("USE_SIMULATED_PAYMENT", "true"),
    ("PAYMENT_SUCCESS_RATE", "1"),
    ("LOG_LEVEL", "warn"),
];

/// Starts the system, runs `command`, and removes the system. If something fails, its logs are kept.
///
/// # Errors
/// The system does not start or end, or the command cannot be run.
pub(crate) async fn run(workspace: &Workspace, command: &[String]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("system-env -- <command>")?;
    let _lock = Alone::SystemEnv.lock(workspace)?;
    packages::ensure(workspace, true, true)?;
    let dir = workspace.dev().join("system-env");
    let result = async {
        let system = System::start(&dir).await?;
        let mut command = tokio::process::Command::new(program);
        let status = run_to_the_end(command.args(arguments).envs(system.urls())).await;
        let status = status.with_context(|| format!("cannot run {program}"))?;
        anyhow::Ok((system, status))
    };
    match result.await {
        Ok((system, status)) if status.success() => {
            system.end().await?;
            Ok(ExitCode::SUCCESS)
        }
        failed => {
            stop_left_over(&dir).await?;
            eprintln!("Everything is stopped. The logs are in {}.", dir.display());
            failed.map(|(_, status)| exit_code(status))
        }
    }
}

/// The services and the audit, one process each.
#[derive(Debug)]
struct System {
    servers: system::System,
    replicas: Vec<Replica>,
    audit: Files,
    audit_url: String,
}

impl System {
    async fn start(dir: &Path) -> Result<Self> {
        let servers = system::System::start(dir, &[]).await?;
        let ports = free_ports(SERVICES.len() + 1)?;
        let replicas = SERVICES.iter().zip(&ports).map(|(service, port)| {
            let replica = servers.replica(service, 1, *port, &CONFIGURATION)?;
            replica.spawn()?;
            Ok(replica)
        });
        let replicas: Vec<Replica> = replicas.collect::<Result<_>>()?;
        let address = format!("127.0.0.1:{}", ports[SERVICES.len()]);
        let audit = Files::below(dir, AUDIT.name);
        let mut command = detached(system::program(AUDIT.name)?);
        command
            .envs(servers.variables())
            .env(AUDIT.http_variable, &address);
        audit.spawn(&mut command)?;
        let audit_url = format!("http://{address}");
        try_join_all(replicas.iter().map(Replica::ready)).await?;
        let ready = format!("{audit_url}/health/ready");
        let probe = async || probe_http(&ready).await;
        wait_ready(AUDIT.name, &audit, START, probe).await?;
        Ok(Self {
            servers,
            replicas,
            audit,
            audit_url,
        })
    }

    fn urls(&self) -> impl Iterator<Item = (&'static str, String)> {
        let services = URLS.into_iter().zip(self.replicas.iter().map(Replica::url));
        services.chain([("AUDIT_URL", self.audit_url.clone())])
    }

    /// Ends everything as an operator would, and removes it.
    async fn end(self) -> Result<()> {
        try_join_all(self.replicas.iter().map(|one| one.end(Signal::TERM))).await?;
        self.audit.stop(Signal::TERM, DRAIN).await?;
        self.servers.end().await
    }
}
