//! One command at a time changes what runs.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// Waits for `.dev/lock`. Dropping the file releases it.
///
/// # Errors
/// When the lock file cannot be had.
pub(crate) fn exclusive(workspace: &Workspace) -> Result<File> {
    let file = open(&workspace.dev().join("lock"))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        eprintln!("Waiting for another ./dev command in this checkout …");
    }
    file.lock().context("cannot lock .dev/lock")?;
    Ok(file)
}

/// `.dev/test.lock`, which every test run shares: whoever can have it alone is the last one.
///
/// # Errors
/// When the lock file cannot be had.
pub(crate) fn test_run(workspace: &Workspace) -> Result<File> {
    let file = open(&workspace.dev().join("test.lock"))?;
    file.lock_shared().context("cannot lock .dev/test.lock")?;
    Ok(file)
}

/// Whether nobody holds `.dev/test.lock` any more.
///
/// # Errors
/// When the lock file cannot be had.
pub(crate) fn is_last_test_run(workspace: &Workspace) -> Result<bool> {
    match open(&workspace.dev().join("test.lock"))?.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock .dev/test.lock"),
    }
}

/// A command that has a system of its own below `.dev`, of which one runs at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Alone {
    Torture,
    Upgrade,
    Example,
    SystemEnv,
}

impl Alone {
    const ALL: [Self; 4] = [Self::Torture, Self::Upgrade, Self::Example, Self::SystemEnv];

    fn name(self) -> &'static str {
        match self {
            Self::Torture => "torture",
            Self::Upgrade => "upgrade",
            Self::Example => "example",
            Self::SystemEnv => "system-env",
        }
    }

    /// Its lock: `.dev/torture.lock`, for example.
    ///
    /// # Errors
    /// It runs already, or the lock file cannot be had.
    pub(crate) fn lock(self, workspace: &Workspace) -> Result<File> {
        alone_at(workspace, self.name(), &format!("{}.lock", self.name()))
    }
}

/// Waits for nobody: nothing else runs in this checkout that keeps files below `.dev`, and nothing begins while these are
/// held.
///
/// # Errors
/// Something does, or a lock file cannot be had.
pub(crate) fn nobody_else(workspace: &Workspace) -> Result<Vec<File>> {
    let systems = Alone::ALL.iter().map(|command| command.lock(workspace));
    let mut locks = systems.collect::<Result<Vec<_>>>()?;
    locks.push(alone_at(workspace, "test", "test.lock")?);
    // A benchmark keeps its lock beside its files.
    if workspace.dev().join("bench").exists() {
        locks.push(alone_at(workspace, "bench", "bench/lock")?);
    }
    Ok(locks)
}

fn alone_at(workspace: &Workspace, command: &str, name: &str) -> Result<File> {
    let file = open(&workspace.dev().join(name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("./dev {command} runs in this checkout: wait for it, or stop it")
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock .dev/{name}"))
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    opened.with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wiped_while_anybody_keeps_files_there() {
        let workspace = Workspace::of_test("lock");
        std::fs::create_dir_all(workspace.dev().join("bench")).unwrap();
        for (name, command) in [
            ("torture.lock", "torture"),
            ("example.lock", "example"),
            ("upgrade.lock", "upgrade"),
            ("system-env.lock", "system-env"),
            ("test.lock", "test"),
            ("bench/lock", "bench"),
        ] {
            let held = open(&workspace.dev().join(name)).unwrap();
            held.lock_shared().unwrap();
            let refused = nobody_else(&workspace).unwrap_err().to_string();
            assert!(
                refused.contains(&format!("./dev {command} runs")),
                "{refused}"
            );
            drop(held);
            assert_eq!(nobody_else(&workspace).unwrap().len(), 6);
        }
        std::fs::remove_dir_all(workspace.root()).unwrap();
    }
}
