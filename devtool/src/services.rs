//! The services and the audit: one detached process each.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use common::fleet::{self, Program};
use test_support::servers::{Files, Process, Signal, detached, probe_http, wait_ready};

use crate::workspace::Workspace;

/// A service drains for up to 30 s; then it is ended by force.
const DRAIN: Duration = Duration::from_secs(35);

/// How long a service may wait for what it needs.
const START: Duration = Duration::from_secs(90);

/// The environment of the services, variable by variable.
pub(crate) type Environment = BTreeMap<String, String>;

/// What `up` gave to the services; nothing before `up`.
///
/// # Errors
/// When `.dev/env` cannot be understood.
pub(crate) fn environment(workspace: &Workspace) -> Result<Option<Environment>> {
    if !workspace.env_file().exists() {
        return Ok(None);
    }
    let pairs: Result<_, _> = dotenvy::from_path_iter(workspace.env_file())?.collect();
    pairs.map(Some).context("cannot understand .dev/env")
}

/// A service of this workspace, or the audit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service(&'static Program);

/// All services in the order of the flow, and the audit.
pub(crate) fn all() -> impl Iterator<Item = Service> {
    fleet::programs().map(Service)
}

impl From<&'static Program> for Service {
    fn from(program: &'static Program) -> Self {
        Self(program)
    }
}

impl Service {
    /// The name of its program.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        self.0.name
    }

    /// Where its pid and its log are.
    #[must_use]
    pub(crate) fn files(self, workspace: &Workspace) -> Files {
        Files::below(workspace.dev(), self.name())
    }

    /// Its process, when it runs.
    #[must_use]
    pub(crate) fn process(self, workspace: &Workspace) -> Option<Process> {
        self.files(workspace).process()
    }

    /// Whether it runs, from the program as it is now and with this environment.
    ///
    /// # Errors
    /// When the program has not been built.
    pub(crate) fn is_current(
        self,
        workspace: &Workspace,
        environment: &Environment,
    ) -> Result<bool> {
        let Some(process) = self.process(workspace) else {
            return Ok(false);
        };
        let proc = std::path::PathBuf::from(format!("/proc/{}", process.number()));
        // The file that it was started from, even when another has taken its name since.
        let started = fs::metadata(proc.join("exe"))
            .map(|file| (file.dev(), file.ino()))
            .ok();
        let built = fs::metadata(workspace.program(self.name())?)?;
        let given = fs::read(proc.join("environ")).unwrap_or_default();
        let given: Vec<&[u8]> = given.split(|&byte| byte == 0).collect();
        let same = |(name, value): (&String, &String)| {
            given.contains(&format!("{name}={value}").as_bytes())
        };
        let same_program = started == Some((built.dev(), built.ino()));
        Ok(same_program && self.given(environment).all(same))
    }

    /// Starts it; it need not be ready yet.
    ///
    /// # Errors
    /// When its address is wrong or taken, or the program has not been built.
    pub(crate) fn start(self, workspace: &Workspace, environment: &Environment) -> Result<()> {
        let address = self.socket_address(environment)?;
        if let Err(error) = TcpListener::bind(address) {
            bail!(
                "{} cannot listen at {address}: {error}. Stop what uses it, or set {} in .env",
                self.name(),
                self.0.http_variable
            );
        }
        let mut command = detached(workspace.program(self.name())?);
        for name in self.withheld() {
            command.env_remove(name);
        }
        command
            .envs(self.given(environment))
            .current_dir(workspace.root());
        self.files(workspace).spawn(&mut command)?;
        Ok(())
    }

    /// The variables that it is given: all but those of databases that are none of its business.
    fn given(self, environment: &Environment) -> impl Iterator<Item = (&String, &String)> {
        let withheld: Vec<_> = self.withheld().collect();
        let is_given = move |(name, _): &(&String, &String)| !withheld.contains(&name.as_str());
        environment.iter().filter(is_given)
    }

    /// The variables of databases that are none of its business: a service has its own, and the audit reads all of them
    /// through URLs of its own.
    fn withheld(self) -> impl Iterator<Item = &'static str> {
        let variables = fleet::SERVICES.into_iter().flat_map(move |service| {
            let own = (service.program != *self.0).then_some(service.database.variable);
            let audit = (fleet::AUDIT != *self.0).then_some(service.database.audit_variable);
            [own, audit]
        });
        variables.flatten()
    }

    /// Waits until it is ready to work.
    ///
    /// # Errors
    /// When it ends or is not ready in time: with the end of its log.
    pub(crate) async fn ready(
        self,
        workspace: &Workspace,
        environment: &Environment,
    ) -> Result<()> {
        let url = format!("{}/health/ready", self.url(environment)?);
        wait_ready(self.name(), &self.files(workspace), START, async || {
            probe_http(&url).await
        })
        .await?;
        println!("{:18} ready", self.name());
        Ok(())
    }

    /// Lets it drain and end. Does nothing when it does not run.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub(crate) async fn stop(self, workspace: &Workspace) -> Result<()> {
        if self.process(workspace).is_some() {
            println!("Stopping {} …", self.name());
        }
        self.files(workspace).stop(Signal::TERM, DRAIN).await
    }

    /// Where this machine reaches it: `http://localhost:3001`.
    ///
    /// # Errors
    /// When its address is wrong.
    pub(crate) fn url(self, environment: &Environment) -> Result<String> {
        let address = self.socket_address(environment)?;
        let everywhere = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ];
        if everywhere.contains(&address.ip()) || address.ip().is_loopback() {
            return Ok(format!("http://localhost:{}", address.port()));
        }
        Ok(format!("http://{address}"))
    }

    fn socket_address(self, environment: &Environment) -> Result<SocketAddr> {
        let value = environment
            .get(self.0.http_variable)
            .map_or("", String::as_str);
        let address = value.parse().ok();
        address.with_context(|| {
            format!(
                "{} must be an IP address and a port, such as 0.0.0.0:3001, not `{value}`",
                self.0.http_variable
            )
        })
    }
}
