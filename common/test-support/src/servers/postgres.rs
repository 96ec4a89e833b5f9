//! A PostgreSQL server of our own.

mod standby;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use url::Url;

use common::db::credentials;

use super::guardian::Guardian;
use super::process::{
    Files, Process, Signal, detached, make_parent, tail, wait_ready, write_private,
};
use super::{free_ports, loopback_url, made_by_another, probe_postgres};

/// The user (uid, gid) that the server runs as, when that is not ourselves.
type Owner = Option<(u32, u32)>;

/// A PostgreSQL server on 127.0.0.1: durable (`fsync`, `synchronous_commit`), 300 connections, TCP only, one superuser with a
/// password. The servers of Debian's packages serve, in the version that made the data, else in the newest.
///
/// PostgreSQL refuses to run as root, so for root it runs as the user `postgres`. Where that user cannot reach the directory
/// (a checkout in root's home), the data is kept below `/var/tmp` and a symbolic link leads there.
#[derive(Debug)]
pub struct PostgresServer {
    files: Files,
    port: u16,
    user: String,
    password: String,
    /// The URL of the primary whose standby it is made as.
    primary: Option<String>,
    guardian: Option<Guardian>,
}

impl PostgresServer {
    /// A server with its files below `dir`, as the module documentation shows. Nothing is started or written yet. User and
    /// password take effect when the data is first made.
    #[must_use]
    pub fn new(dir: &Path, port: u16, user: &str, password: &str) -> Self {
        let files = Files::below(dir, "postgres");
        Self {
            files,
            port,
            user: user.to_owned(),
            password: password.to_owned(),
            primary: None,
            guardian: None,
        }
    }

    /// As [`Self::new`], with port, user and password of `url`.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn for_url(dir: &Path, url: &str) -> Result<Self> {
        let url = Url::parse(url).context("not a PostgreSQL URL")?;
        let (user, password) = credentials(url.as_str())?;
        Ok(Self::new(dir, url.port().unwrap_or(5432), &user, &password))
    }

    /// A started server for one test: dropping it, or the death of this process, stops it and removes its data.
    /// `dir` is created when it is not there, and should be used for nothing else.
    ///
    /// # Errors
    /// When it cannot be started; see [`Self::start`].
    pub async fn on_free_ports(dir: &Path) -> Result<Self> {
        let server = Self::new(
            &std::path::absolute(dir)?,
            free_ports(1)?[0],
            "postgres",
            "postgres",
        );
        server.guarded_and_started().await
    }

    async fn guarded_and_started(mut self) -> Result<Self> {
        self.guardian = Some(Guardian::of(&self.files, None)?);
        self.start().await?;
        Ok(self)
    }

    /// Whether Debian's package (or another PostgreSQL on `PATH`) is there.
    #[must_use]
    pub fn is_installed() -> bool {
        programs(None).is_some()
    }

    /// `postgres://user:password@127.0.0.1:port/postgres`: the superuser at the maintenance database.
    #[must_use]
    pub fn url(&self) -> String {
        loopback_url(
            "postgres",
            &self.user,
            &self.password,
            self.port,
            "/postgres",
        )
    }

    /// The URL of another user at another database.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        let path = format!("/{database}");
        loopback_url("postgres", user, password, self.port, &path)
    }

    /// Where it keeps what.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Its main process, when it runs.
    #[must_use]
    pub fn process(&self) -> Option<Process> {
        self.files.process()
    }

    /// Makes the data when there is none, starts the server unless it runs, and waits until it lets the superuser in.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or it is not ready within a minute: with the end of its log.
    pub async fn start(&self) -> Result<()> {
        if self.process().is_none() {
            let owner = self.prepare_directory()?;
            // Where a link leads: its own place may be closed to the owner.
            let data = fs::canonicalize(&self.files.data)?;
            let cluster = data.join("cluster");
            if !cluster.exists() {
                let fresh = cluster.with_extension("new");
                remove_tree(&fresh)?;
                match &self.primary {
                    None => self.make_cluster(&fresh, owner)?,
                    Some(primary) => standby::copy_cluster(&fresh, primary, owner)?,
                }
                fs::rename(&fresh, &cluster).context("cannot name the new cluster")?;
            }
            let made_by = fs::read_to_string(cluster.join("PG_VERSION")).unwrap_or_default();
            let made_by = made_by.trim();
            let (version, programs) = programs(Some(made_by)).context(MISSING)?;
            if let Some(version) = version {
                let version = version.to_string();
                ensure!(
                    version == made_by,
                    made_by_another("PostgreSQL", made_by, &version, &cluster)
                );
            }
            let mut command = detached(programs.join("postgres"));
            self.files.spawn(
                run_as(owner, &data, &mut command)
                    .arg("-D")
                    .arg(&cluster)
                    .args(self.options()),
            )?;
        }
        wait_ready(
            "PostgreSQL",
            &self.files,
            Duration::from_secs(60),
            async || probe_postgres(&self.url()).await,
        )
        .await
    }

    /// Fast shutdown: connections are closed, data is checkpointed.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub async fn stop(&self) -> Result<()> {
        self.files.stop(Signal::INT, Duration::from_secs(60)).await
    }

    /// Immediate shutdown, as in a power cut: nothing is finished or flushed, the next start recovers from the log.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub async fn kill(&self) -> Result<()> {
        self.files.stop(Signal::QUIT, Duration::from_secs(10)).await
    }

    /// Removes the data, wherever it is. Only after [`Self::stop`].
    ///
    /// # Errors
    /// When it still runs, or the files are not ours to remove.
    pub fn remove_data(&self) -> Result<()> {
        ensure!(self.process().is_none(), "PostgreSQL still runs");
        let data = &self.files.data;
        if let Ok(elsewhere) = fs::read_link(data) {
            remove_tree(&elsewhere)?;
            return Ok(fs::remove_file(data)?);
        }
        remove_tree(data)
    }

    fn options(&self) -> Vec<String> {
        let settings = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            // No socket: its path would often be longer than the 107 bytes that there are.
            ("unix_socket_directories", String::new()),
            ("max_connections", "300".to_owned()),
            // The guarantees rest on these two. They are the defaults, and must not depend on defaults.
            ("fsync", "on".to_owned()),
            ("synchronous_commit", "on".to_owned()),
            // A database is dropped when every backend has agreed to it, also one that waits for its client's password: and
            // clients of a test that is at its end may say nothing any more. By default that takes a minute.
            ("authentication_timeout", "5s".to_owned()),
        ];
        settings
            .iter()
            .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")])
            .collect()
    }

    /// Makes the directory of the data, which the server's user owns and can reach.
    fn prepare_directory(&self) -> Result<Owner> {
        let data = &self.files.data;
        make_parent(data)?;
        let existing = fs::metadata(data).ok();
        if !rustix::process::getuid().is_root() {
            return if existing.is_some() {
                Ok(None)
            } else {
                make_private(data).map(|()| None)
            };
        }
        if let Some(existing) = existing.filter(|existing| existing.uid() != 0) {
            return Ok(Some((existing.uid(), existing.gid())));
        }
        let owner = (id_of_postgres("-u")?, id_of_postgres("-g")?);
        // What is there is of no use: a link to nowhere, or a directory that never got its owner.
        self.remove_data()?;
        let mut place = data.clone();
        if !can_reach(owner, data.parent().expect("it has one")) {
            place = elsewhere(data);
            remove_left_over(&place, owner)?;
            symlink(&place, data).with_context(|| format!("cannot link {}", data.display()))?;
        }
        make_private(&place)?;
        chown(&place, Some(owner.0), Some(owner.1))?;
        Ok(Some(owner))
    }

    /// `initdb`, to a directory that gets its name when it is complete.
    fn make_cluster(&self, fresh: &Path, owner: Owner) -> Result<()> {
        let data = fresh.parent().expect("it is inside of one");
        let password = data.join("password");
        write_private(&password, &self.password)?;
        if let Some((user, group)) = owner {
            chown(&password, Some(user), Some(group))?;
        }
        let mut command = Command::new(programs(None).context(MISSING)?.1.join("initdb"));
        let output = run_as(owner, data, &mut command)
            .args([
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--username",
                &self.user,
            ])
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(fresh)
            .output()
            .context("cannot run initdb")?;
        fs::remove_file(&password)?;
        succeeded("initdb", &output)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let Some(guardian) = self.guardian.take() else {
            return;
        };
        if let Some(process) = self.process() {
            // Its other processes would miss the first one, unless they are stopped.
            for child in process.children() {
                let _ = child.signal(Signal::KILL);
            }
            process.kill();
        }
        if std::thread::panicking() {
            eprintln!(
                "The end of PostgreSQL's log:\n{}",
                tail(&self.files.log, 10)
            );
        }
        let _ = self.remove_data();
        let _ = fs::remove_file(&self.files.pid);
        drop(guardian);
    }
}

const MISSING: &str = "PostgreSQL is not installed; run `apt-get install postgresql` as root";

/// The directory with `postgres` and `initdb`, and its major version where that is known: of the wanted one, else the newest
/// of Debian's, else on `PATH`.
fn programs(wanted: Option<&str>) -> Option<(Option<u32>, PathBuf)> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut installed: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, bin)| bin.join("postgres").exists())
        .collect();
    installed.sort();
    let exact = installed
        .iter()
        .find(|(version, _)| wanted == Some(version.to_string().as_str()));
    let debian = exact.or(installed.last());
    let debian = debian.map(|(version, bin)| (Some(*version), bin.clone()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.or_else(|| {
        std::env::split_paths(&path)
            .find(|bin| bin.join("postgres").exists() && bin.join("initdb").exists())
            .map(|bin| (None, bin))
    })
}

fn succeeded(program: &str, output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}", said.trim());
    Ok(())
}

/// Runs `command` as `owner` in `dir`: the directory that we are in may be closed to that user.
fn run_as<'a>(owner: Owner, dir: &Path, command: &'a mut Command) -> &'a mut Command {
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command.current_dir(dir)
}

fn id_of_postgres(which: &str) -> Result<u32> {
    let output = Command::new("id")
        .args([which, "postgres"])
        .output()
        .context("cannot run id")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().context(
        "there is no user `postgres`, whom Debian's package creates: PostgreSQL cannot run as root",
    )
}

fn can_reach(owner: (u32, u32), dir: &Path) -> bool {
    let mut command = Command::new("test");
    let status = run_as(Some(owner), Path::new("/"), command.arg("-x").arg(dir)).status();
    status.is_ok_and(|status| status.success())
}

/// A directory that every user can reach, one for each `data`.
fn elsewhere(data: &Path) -> PathBuf {
    let name = uuid::Uuid::new_v5(
        &uuid::Uuid::NAMESPACE_URL,
        data.as_os_str().as_encoded_bytes(),
    );
    PathBuf::from("/var/tmp").join(format!("order-saga-{}", name.simple()))
}

/// Removes the data of a checkout that was at the same path and is gone: nothing leads there any more.
fn remove_left_over(place: &Path, owner: (u32, u32)) -> Result<()> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() && found.uid() == owner.0 => remove_tree(place),
        _ => Ok(()),
    }
}

/// Fails when it is there already: in a directory for all, another user may have put it there.
fn make_private(dir: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().mode(0o700).create(dir);
    made.with_context(|| format!("cannot create {}", dir.display()))
}

fn remove_tree(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection as _;

    async fn execute(url: &str, sql: &'static str) -> u64 {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
        done.rows_affected()
    }

    #[tokio::test]
    async fn what_was_committed_survives_a_power_cut() {
        let dir = std::env::temp_dir().join(format!("postgres-test-{}", std::process::id()));
        let server = PostgresServer::on_free_ports(&dir).await.unwrap();
        execute(&server.url(), "CREATE TABLE t AS SELECT 1 AS x").await;
        server.kill().await.unwrap();
        assert!(server.process().is_none());
        server.start().await.unwrap();
        assert_eq!(execute(&server.url(), "SELECT x FROM t").await, 1);

        let first = server.process();
        server.start().await.unwrap();
        assert_eq!(server.process(), first, "a second start starts nothing");

        drop(server);
        assert!(!dir.join("postgres").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn data_of_another_version_is_named_with_the_way_out() {
        let dir = std::env::temp_dir().join(format!("postgres-old-{}", std::process::id()));
        let server = PostgresServer::on_free_ports(&dir).await.unwrap();
        server.stop().await.unwrap();
        fs::write(dir.join("postgres/cluster/PG_VERSION"), "9.6\n").unwrap();
        let refused = server.start().await.unwrap_err().to_string();
        assert!(refused.contains("made by PostgreSQL 9.6"), "{refused}");
        assert!(refused.contains("./dev down --wipe"), "{refused}");
        drop(server);
        fs::remove_dir_all(dir).unwrap();
    }
}
