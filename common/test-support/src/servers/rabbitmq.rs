//! A RabbitMQ node of our own.

mod control;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use url::Url;

use common::db::credentials;

use super::guardian::Guardian;
use super::process::{Files, Process, Signal, detached, tail, wait_ready, write_private};
use super::{free_ports, loopback_url, made_by_another, probe_http, probe_rabbitmq};

/// The server's own script. Debian's wrapper, which is what `PATH` finds, insists on the users root or rabbitmq.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// Where Debian's package has its libraries, with the version in their names.
const LIBRARIES: &str = "/usr/lib/rabbitmq/lib";

/// Memory that the node may use: enough for a developer's machine.
const MEMORY: &str = "1GB";

/// A RabbitMQ node on 127.0.0.1 with the management plugin (tests create their virtual hosts over its API).
///
/// It shares nothing with other nodes of the machine: it has its own Erlang cookie, node name, port mapper (`epmd`), data and
/// configuration, and does not read `/etc/rabbitmq`. Only nodes of one [`RabbitMqCluster`](super::RabbitMqCluster) share
/// their cookie and their port mapper.
#[derive(Debug)]
pub struct RabbitMqServer {
    files: Files,
    epmd: Files,
    amqp_port: u16,
    management_port: u16,
    user: String,
    password: String,
    membership: Option<Membership>,
    guardian: Option<Guardian>,
}

/// What a node has of the cluster that it belongs to.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    /// Nodes talk only to those who have the same.
    pub(super) cookie: String,
    /// Where the cluster's port mapper listens, which the cluster starts and ends.
    pub(super) epmd_port: u16,
    /// The name of the node that makes the cluster, and that this one joins when it has no data.
    pub(super) first: Option<String>,
}

impl RabbitMqServer {
    /// A node with its files below `dir`, as the module documentation shows. Nothing is started or written yet. User and
    /// password take effect when the data is first made.
    #[must_use]
    pub fn new(
        dir: &Path,
        amqp_port: u16,
        management_port: u16,
        user: &str,
        password: &str,
    ) -> Self {
        Self {
            files: Files::below(dir, "rabbitmq"),
            epmd: Files::below(dir, "rabbitmq-epmd"),
            amqp_port,
            management_port,
            user: user.to_owned(),
            password: password.to_owned(),
            membership: None,
            guardian: None,
        }
    }

    /// The `number`th node of a cluster, whose port mapper is `epmd`.
    pub(super) fn member(
        dir: &Path,
        number: usize,
        (amqp_port, management_port): (u16, u16),
        epmd: Files,
        membership: Membership,
    ) -> Self {
        let mut node = Self::new(dir, amqp_port, management_port, "guest", "guest");
        node.files = Files::below(dir, &format!("rabbitmq-{number}"));
        node.epmd = epmd;
        node.membership = Some(membership);
        node
    }

    /// As [`Self::new`], with port, user and password of the AMQP URL and the port of the management URL.
    ///
    /// # Errors
    /// When a URL cannot be read.
    pub fn for_urls(dir: &Path, url: &str, api_url: &str) -> Result<Self> {
        let url = Url::parse(url).context("not an AMQP URL")?;
        let api = Url::parse(api_url).context("not the URL of the management API")?;
        let (user, password) = credentials(url.as_str())?;
        Ok(Self::new(
            dir,
            url.port().unwrap_or(5672),
            api.port().unwrap_or(15672),
            &user,
            &password,
        ))
    }

    /// A started node for one test: dropping it, or the death of this process, stops it and removes its data.
    /// `dir` is created when it is not there, and should be used for nothing else.
    ///
    /// # Errors
    /// When it cannot be started; see [`Self::start`].
    pub async fn on_free_ports(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir)?;
        let ports = free_ports(2)?;
        let mut server = Self::new(&dir, ports[0], ports[1], "guest", "guest");
        server.guard()?;
        server.start().await?;
        Ok(server)
    }

    /// From now on, dropping it or the death of this process ends it and removes its data.
    pub(super) fn guard(&mut self) -> Result<()> {
        self.guardian = Some(Guardian::of(&self.files, Some(&self.epmd.pid))?);
        Ok(())
    }

    /// Whether Debian's package is there.
    #[must_use]
    pub fn is_installed() -> bool {
        Path::new(PROGRAM).exists()
    }

    /// `amqp://user:password@127.0.0.1:port/%2f`.
    #[must_use]
    pub fn url(&self) -> String {
        loopback_url("amqp", &self.user, &self.password, self.amqp_port, "/%2f")
    }

    /// `http://user:password@127.0.0.1:port`, to which `/api/…` is appended.
    #[must_use]
    pub fn api_url(&self) -> String {
        let url = loopback_url(
            "http",
            &self.user,
            &self.password,
            self.management_port,
            "/",
        );
        url.trim_end_matches('/').to_owned()
    }

    /// Where it keeps what.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Its process, when it runs.
    #[must_use]
    pub fn process(&self) -> Option<Process> {
        self.files.process()
    }

    /// Starts the node unless it runs, and waits until it accepts AMQP connections and answers management requests.
    ///
    /// # Errors
    /// When RabbitMQ is not installed, or it is not ready within two minutes: with the end of its log.
    pub async fn start(&self) -> Result<()> {
        ensure!(
            Self::is_installed(),
            "RabbitMQ is not installed; run `apt-get install rabbitmq-server` as root"
        );
        let started = self.start_once().await;
        // Nodes of a cluster that start at the same time may take each other's silence for incompatible feature flags.
        if started.is_err() && self.membership.is_some() && self.process().is_none() {
            return self.start_once().await;
        }
        started
    }

    async fn start_once(&self) -> Result<()> {
        if self.process().is_none() {
            self.write_configuration()?;
            self.check_version()?;
            self.spawn().await?;
        }
        let overview = format!("{}/api/overview", self.api_url());
        let probe = async || {
            probe_rabbitmq(&self.url()).await?;
            probe_http(&overview).await
        };
        wait_ready("RabbitMQ", &self.files, Duration::from_secs(120), probe).await
    }

    /// Orderly shutdown.
    ///
    /// # Errors
    /// When a process cannot be signalled.
    pub async fn stop(&self) -> Result<()> {
        self.end(Signal::TERM).await
    }

    /// Whether it has run since it last lost its data.
    pub(super) fn has_data(&self) -> bool {
        self.files.data.join("nodes").exists()
    }

    /// Whether the node would find these quorum queues again after a power cut. RabbitMQ writes the names of new ones
    /// half a second later, and a queue of a lost name never has a leader again.
    ///
    /// Source: <https://github.com/rabbitmq/rabbitmq-server/issues/10070>
    #[must_use]
    pub fn has_saved(&self, queues: &[&str]) -> bool {
        let node = self.node_name();
        let names = self.files.data.join("nodes").join(&node).join("quorum");
        let names = fs::read(names.join(&node).join("names.dets")).unwrap_or_default();
        // Each name is an atom, after its virtual host and before a byte that is no part of a name.
        let is_saved = |queue: &&str| {
            let name = format!("_{queue}");
            names
                .windows(name.len() + 1)
                .any(|bytes| bytes.starts_with(name.as_bytes()) && !bytes.ends_with(b"."))
        };
        queues.iter().all(is_saved)
    }

    /// SIGKILL, as in a power cut.
    ///
    /// # Errors
    /// When a process cannot be signalled.
    pub async fn kill(&self) -> Result<()> {
        self.end(Signal::KILL).await
    }

    /// SIGSTOP: connections stay open, and nothing comes any more until [`Self::resume`]. Does nothing when it does not run.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn pause(&self) -> Result<()> {
        self.process()
            .map_or(Ok(()), |process| process.signal(Signal::STOP))
    }

    /// SIGCONT, after [`Self::pause`].
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn resume(&self) -> Result<()> {
        self.process()
            .map_or(Ok(()), |process| process.signal(Signal::CONT))
    }

    /// Removes the data. Only after [`Self::stop`].
    ///
    /// # Errors
    /// When it still runs, or the files are not ours to remove.
    pub fn remove_data(&self) -> Result<()> {
        ensure!(self.process().is_none(), "RabbitMQ still runs");
        match fs::remove_dir_all(&self.files.data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("cannot remove RabbitMQ's data")
            }
            _ => Ok(()),
        }
    }

    async fn end(&self, signal: Signal) -> Result<()> {
        self.files.stop(signal, Duration::from_secs(60)).await?;
        if self.membership.is_some() {
            return Ok(());
        }
        self.epmd.stop(Signal::TERM, Duration::from_secs(5)).await
    }

    /// Notes which version makes the data, and refuses data of another major one, which the node would crash over.
    fn check_version(&self) -> Result<()> {
        let note = self.files.data.join("made-by");
        let Some(version) = installed_version() else {
            return Ok(());
        };
        if !self.has_data() {
            return Ok(fs::write(note, version)?);
        }
        let Ok(made_by) = fs::read_to_string(note) else {
            return Ok(());
        };
        let major = |version: &str| version.split('.').next().map(str::to_owned);
        ensure!(
            major(&made_by) == major(&version),
            made_by_another("RabbitMQ", &made_by, &version, &self.files.data)
        );
        Ok(())
    }

    async fn spawn(&self) -> Result<()> {
        let ports = free_ports(2)?;
        let epmd_port = match &self.membership {
            Some(membership) => membership.epmd_port,
            None => {
                // One may be left over from a node that did not die by our hand.
                self.epmd.stop(Signal::TERM, Duration::from_secs(5)).await?;
                spawn_epmd(&self.epmd, ports[0])?;
                ports[0]
            }
        };
        self.files.spawn(
            self.command()
                .env("ERL_EPMD_PORT", epmd_port.to_string())
                .env("RABBITMQ_DIST_PORT", ports[1].to_string()),
        )?;
        Ok(())
    }

    fn command(&self) -> Command {
        let data = &self.files.data;
        let mut command = detached(PROGRAM);
        // Nothing that is set for another node may reach this one.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8");
        command.current_dir(data);
        // The script becomes the Erlang machine, instead of waiting for it: the pid is the node's.
        command.env("RUNNING_UNDER_SYSTEMD", "true");
        command
            .env("HOME", data)
            .env("RABBITMQ_NODENAME", self.node_name());
        command.env("RABBITMQ_MNESIA_BASE", data.join("nodes"));
        command
            .env("RABBITMQ_LOG_BASE", data)
            .env("RABBITMQ_LOGS", "-");
        command.env("RABBITMQ_CONF_ENV_FILE", data.join("none"));
        command.env("RABBITMQ_CONFIG_FILE", self.configuration());
        command.env("RABBITMQ_CONFIG_FILES", data.join("none"));
        command.env("RABBITMQ_ADVANCED_CONFIG_FILE", data.join("none"));
        command.env(
            "RABBITMQ_ENABLED_PLUGINS_FILE",
            data.join("enabled_plugins"),
        );
        command.env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1}",
        );
        command
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_CRASH_DUMP_SECONDS", "0");
        command
    }

    /// The data is filed under the node's name, so it must not change with the ports.
    pub(super) fn node_name(&self) -> String {
        let place = uuid::Uuid::new_v5(
            &uuid::Uuid::NAMESPACE_URL,
            self.files.data.as_os_str().as_encoded_bytes(),
        );
        format!("order-saga-{}@localhost", &place.simple().to_string()[..12])
    }

    /// The lines of the configuration that make it part of its cluster.
    fn formation(&self) -> String {
        let Some(membership) = &self.membership else {
            return String::new();
        };
        // Otherwise the leaders of all queues are where the client is that declares them first.
        let spread = "queue_leader_locator = balanced\n";
        let Some(first) = &membership.first else {
            return spread.to_owned();
        };
        format!(
            "\
{spread}cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = {first}
cluster_formation.classic_config.nodes.2 = {}
",
            self.node_name()
        )
    }

    fn configuration(&self) -> PathBuf {
        self.files.data.join("rabbitmq.conf")
    }

    fn write_configuration(&self) -> Result<()> {
        let data = &self.files.data;
        fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
        let Self {
            amqp_port,
            management_port,
            user,
            password,
            ..
        } = self;
        let formation = self.formation();
        let text = format!(
            "\
# Written at every start.
listeners.tcp.1 = 127.0.0.1:{amqp_port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management_port}
loopback_users = none
default_user = {user}
default_pass = {password}
# The log of the quorum queues is held in memory up to its size.
vm_memory_high_watermark.absolute = {MEMORY}
raft.wal_max_size_bytes = 67108864
disk_free_limit.absolute = 50MB
{formation}"
        );
        write_private(&self.configuration(), &text)?;
        if let Some(membership) = &self.membership {
            write_private(&data.join(".erlang.cookie"), &membership.cookie)?;
        }
        fs::write(data.join("enabled_plugins"), "[rabbitmq_management].\n")
            .context("cannot write enabled_plugins")
    }
}

/// Starts a port mapper. Otherwise a node starts one, which belongs to nobody and stays.
pub(super) fn spawn_epmd(files: &Files, port: u16) -> Result<()> {
    let port = port.to_string();
    files
        .spawn(detached("epmd").args(["-address", "127.0.0.1", "-port", &port]))
        .map(drop)
}

fn installed_version() -> Option<String> {
    let libraries = fs::read_dir(LIBRARIES).ok()?.flatten();
    let mut names = libraries.filter_map(|entry| entry.file_name().into_string().ok());
    names.find_map(|name| Some(name.strip_prefix("rabbitmq_server-")?.to_owned()))
}

impl Drop for RabbitMqServer {
    fn drop(&mut self) {
        let Some(guardian) = self.guardian.take() else {
            return;
        };
        let processes = [self.files.process(), self.epmd.process()];
        processes.iter().flatten().for_each(Process::kill);
        if std::thread::panicking() {
            eprintln!("The end of RabbitMQ's log:\n{}", tail(&self.files.log, 10));
        }
        let _ = self.remove_data();
        let _ = fs::remove_file(&self.files.pid);
        let _ = fs::remove_file(&self.epmd.pid);
        drop(guardian);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_virtual_host_survives_stop_and_start_and_the_node_survives_kill() {
        let dir = std::env::temp_dir().join(format!("rabbitmq-test-{}", std::process::id()));
        let server = RabbitMqServer::on_free_ports(&dir).await.unwrap();
        let vhost = format!("{}/api/vhosts/mine", server.api_url());
        let created = reqwest::Client::new().put(&vhost).send().await.unwrap();
        assert!(created.status().is_success(), "{}", created.status());

        server.stop().await.unwrap();
        server.start().await.unwrap();
        probe_http(&vhost).await.unwrap();

        server.kill().await.unwrap();
        assert!(probe_rabbitmq(&server.url()).await.is_err());
        server.start().await.unwrap();

        drop(server);
        assert!(!dir.join("rabbitmq").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn data_of_another_version_is_named_with_the_way_out() {
        let dir = std::env::temp_dir().join(format!("rabbitmq-old-{}", std::process::id()));
        let server = RabbitMqServer::new(&dir, 1, 2, "guest", "guest");
        let data = dir.join("rabbitmq");
        fs::create_dir_all(data.join("nodes")).unwrap();
        fs::write(data.join("made-by"), "2.8.4").unwrap();
        let refused = server.start().await.unwrap_err().to_string();
        assert!(refused.contains("made by RabbitMQ 2.8.4"), "{refused}");
        assert!(refused.contains("./dev down --wipe"), "{refused}");
        fs::remove_dir_all(dir).unwrap();
    }
}
