//! A detached process that is known by its pid file, also to programs that did not start it.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, sleep};

pub use rustix::process::Signal;

/// Where a program keeps its data, and where its pid and its output go.
#[derive(Debug, Clone)]
pub struct Files {
    /// The directory that is all its own.
    pub data: PathBuf,
    /// Its pid file.
    pub pid: PathBuf,
    /// Its standard output and error, appended.
    pub log: PathBuf,
}

impl Files {
    /// The layout of the module documentation.
    #[must_use]
    pub fn below(dir: &Path, name: &str) -> Self {
        Self {
            data: dir.join(name),
            pid: dir.join("run").join(name).with_extension("pid"),
            log: dir.join("log").join(name).with_extension("log"),
        }
    }

    /// Starts `command` (made by [`detached`]) with its output in the log, and writes the pid file.
    ///
    /// # Errors
    /// When the program or one of the files cannot be had.
    pub fn spawn(&self, command: &mut Command) -> Result<Process> {
        make_parent(&self.pid)?;
        make_parent(&self.log)?;
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let process = Process::with_number(child.id()).context("it ended at once")?;
        // Reaps it, so that a server stopped by a long-running test does not stay as a zombie.
        std::thread::spawn(move || child.wait());
        fs::write(
            &self.pid,
            format!("{} {}\n", process.number, process.started),
        )
        .with_context(|| format!("cannot write {}", self.pid.display()))?;
        Ok(process)
    }

    /// The process of the pid file, if that very process still runs.
    #[must_use]
    pub fn process(&self) -> Option<Process> {
        let text = fs::read_to_string(&self.pid).ok()?;
        let (number, started) = text.trim().split_once(' ')?;
        let process = Process {
            number: number.parse().ok()?,
            started: started.parse().ok()?,
        };
        process.is_alive().then_some(process)
    }

    /// Sends `signal`, waits for the end, sends SIGKILL after `patience`. Does nothing when it does not run.
    ///
    /// # Errors
    /// When the signal is not permitted, or not even SIGKILL ended it.
    pub async fn stop(&self, signal: Signal, patience: Duration) -> Result<()> {
        if let Some(process) = self.process() {
            process.signal(signal)?;
            if !process.ends_within(patience).await {
                process.signal(Signal::KILL)?;
                if !process.ends_within(Duration::from_secs(10)).await {
                    bail!(
                        "process {} does not end, not even by SIGKILL",
                        process.number
                    );
                }
            }
        }
        remove_if_there(&self.pid)
    }
}

/// A command for `program` in a session of its own, so that neither Ctrl-C nor the end of the terminal reaches it.
/// `setsid` becomes the program, so the pid is the program's.
pub fn detached(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program);
    command
}

/// A process, told by its start time from a later one that was given the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    number: u32,
    /// In clock ticks since boot.
    started: u64,
}

impl Process {
    fn with_number(number: u32) -> Option<Self> {
        let (_, started) = state_and_start(number)?;
        Some(Self { number, started })
    }

    /// Its pid.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether it still runs. A zombie does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        state_and_start(self.number)
            .is_some_and(|(state, started)| state != 'Z' && started == self.started)
    }

    /// Whether it was stopped by SIGSTOP, and has not been continued yet.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        state_and_start(self.number)
            .is_some_and(|(state, started)| state == 'T' && started == self.started)
    }

    /// The processes that it has started, and that have not ended.
    #[must_use]
    pub fn children(&self) -> Vec<Self> {
        let number = self.number;
        let file = format!("/proc/{number}/task/{number}/children");
        let numbers = fs::read_to_string(file).unwrap_or_default();
        let numbers = numbers.split_ascii_whitespace();
        numbers
            .filter_map(|number| Self::with_number(number.parse().ok()?))
            .collect()
    }

    /// Sends `signal`, unless the process is gone.
    ///
    /// # Errors
    /// When it is not ours to signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.number)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("a pid is positive")?;
        match rustix::process::kill_process(pid, signal) {
            Err(error) if self.is_alive() => {
                Err(error).with_context(|| format!("cannot signal process {}", self.number))
            }
            _ => Ok(()),
        }
    }

    /// Kills it, and waits for its end where nothing can be awaited.
    pub(super) fn kill(&self) {
        let _ = self.signal(Signal::KILL);
        while self.is_alive() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end; `false` when it still runs after `patience`.
    pub async fn ends_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

/// Fields 3 and 22 of `/proc/<pid>/stat`, counted after the name, which may hold spaces and parentheses.
/// Source: proc_pid_stat(5).
fn state_and_start(number: u32) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((
        fields.next()?.chars().next()?,
        fields.nth(18)?.parse().ok()?,
    ))
}

/// Calls `probe` until it succeeds.
///
/// # Errors
/// When the process ends, or `patience` does: with the probe's last error and the end of the log.
pub async fn wait_ready(
    name: &str,
    files: &Files,
    patience: Duration,
    probe: impl AsyncFn() -> Result<()>,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let Err(error) = probe().await else {
            return Ok(());
        };
        let fate = match files.process() {
            None => "ended while starting".to_owned(),
            Some(_) if Instant::now() < deadline => {
                sleep(Duration::from_millis(100)).await;
                continue;
            }
            Some(_) => format!("is not ready after {} s ({error:#})", patience.as_secs()),
        };
        bail!(
            "{name} {fate}. The end of {}:\n{}",
            files.log.display(),
            tail(&files.log, 20)
        );
    }
}

/// The last lines of a file; empty when it cannot be read.
#[must_use]
pub fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

pub(super) fn make_parent(file: &Path) -> Result<()> {
    let parent = file.parent().context("a file has a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))
}

pub(super) fn remove_if_there(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(file: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    remove_if_there(file)?;
    let mut options = OpenOptions::new();
    let opened: std::io::Result<File> = options.write(true).create_new(true).mode(0o600).open(file);
    opened
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_pid_is_not_our_process() {
        let ours = Process::with_number(std::process::id()).unwrap();
        assert!(ours.is_alive());
        assert!(
            !Process {
                started: ours.started + 1,
                ..ours
            }
            .is_alive()
        );
    }

    #[tokio::test]
    async fn a_stopped_process_leaves_neither_pid_file_nor_zombie() {
        let dir = std::env::temp_dir().join(format!("process-test-{}", std::process::id()));
        let files = Files::below(&dir, "sleeper");
        let process = files.spawn(detached("sleep").arg("60")).unwrap();
        assert_eq!(files.process(), Some(process));
        files
            .stop(Signal::TERM, Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(files.process(), None);
        assert!(!files.pid.exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
