//! A primary and its synchronous standby, and what befalls them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sqlx::Connection as _;
use tokio::time::{Instant, sleep};

use super::{MISSING, Owner, PostgresServer, programs, run_as, succeeded};
use crate::servers::free_ports;
use crate::servers::process::{Process, Signal};

/// How long a standby may take until its primary waits for it.
const SYNCHRONOUS: Duration = Duration::from_secs(60);

impl PostgresServer {
    /// A started standby of this server, for one test. From now on, whatever this server commits is on both of them before
    /// anybody is told. `dir` should be used for nothing else.
    ///
    /// # Errors
    /// When it cannot be started; see [`Self::start`].
    pub async fn add_standby(&self, dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir)?;
        let mut standby = Self::new(&dir, free_ports(1)?[0], &self.user, &self.password);
        standby.primary = Some(self.url());
        let standby = standby.guarded_and_started().await?;
        // Not before: the standby, which has a copy of the settings, is to wait for nobody when it is the primary.
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            .await?;
        self.execute("SELECT pg_reload_conf()").await?;
        let deadline = Instant::now() + SYNCHRONOUS;
        let waits = "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'";
        while self.execute(waits).await? == 0 {
            ensure!(Instant::now() < deadline, "the standby does not follow");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(standby)
    }

    /// Makes a standby the primary, and waits until it is.
    ///
    /// # Errors
    /// It does not run, or is no standby.
    pub async fn promote(&self) -> Result<()> {
        let promoted = "SELECT WHERE pg_promote(wait_seconds => 60)";
        ensure!(self.execute(promoted).await? == 1, "it was not promoted");
        Ok(())
    }

    /// Has the server, which must not run, come back as a standby, on which nothing can be written.
    ///
    /// # Errors
    /// It has no data.
    pub fn demote(&self) -> Result<()> {
        ensure!(self.process().is_none(), "PostgreSQL still runs");
        let signal = self.files.data.join("cluster").join("standby.signal");
        fs::write(signal, "").context("it has no data")
    }

    /// SIGSTOP for all of its processes: connections stay open, new ones can be made, and nothing comes any more until
    /// [`Self::resume`]. Does nothing when it does not run.
    ///
    /// # Errors
    /// When a process cannot be signalled.
    pub async fn pause(&self) -> Result<()> {
        let Some(first) = self.process() else {
            return Ok(());
        };
        // First, so that it starts no others.
        first.signal(Signal::STOP)?;
        while first.is_alive() && !first.is_paused() {
            sleep(Duration::from_millis(1)).await;
        }
        signal(Signal::STOP, &first.children())
    }

    /// SIGCONT, after [`Self::pause`].
    ///
    /// # Errors
    /// When a process cannot be signalled.
    pub fn resume(&self) -> Result<()> {
        let first = self.process();
        first.map_or(Ok(()), |first| {
            signal(Signal::CONT, &first.children())?;
            first.signal(Signal::CONT)
        })
    }

    /// SIGKILL for all of its processes, as when its machine dies: nobody says good-bye, and nobody starts anew.
    ///
    /// # Errors
    /// When a process cannot be signalled.
    pub async fn die(&self) -> Result<()> {
        self.pause().await?;
        let children = self.process().map(|first| first.children());
        signal(Signal::KILL, &children.unwrap_or_default())?;
        self.files.stop(Signal::KILL, Duration::from_secs(10)).await
    }

    /// Executes a statement as the superuser, and returns how many rows it had.
    async fn execute(&self, sql: &'static str) -> Result<u64> {
        let mut connection = sqlx::PgConnection::connect(&self.url()).await?;
        let done = sqlx::query(sql).execute(&mut connection).await?;
        connection.close().await?;
        Ok(done.rows_affected())
    }
}

fn signal(signal: Signal, processes: &[Process]) -> Result<()> {
    processes
        .iter()
        .try_for_each(|process| process.signal(signal))
}

/// `pg_basebackup`: what `primary` has, with the settings of its standby.
pub(super) fn copy_cluster(fresh: &Path, primary: &str, owner: Owner) -> Result<()> {
    let data = fresh.parent().expect("it is inside of one");
    let mut command = Command::new(programs(None).context(MISSING)?.1.join("pg_basebackup"));
    let output = run_as(owner, data, &mut command)
        .args(["--write-recovery-conf", "--checkpoint=fast", "--dbname"])
        .arg(primary)
        .arg("--pgdata")
        .arg(fresh)
        .output()
        .context("cannot run pg_basebackup")?;
    succeeded("pg_basebackup", &output)
}
