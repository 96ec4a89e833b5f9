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

/// `.dev/torture.lock`: one torture at a time.
///
/// # Errors
/// There is one, or the lock file cannot be had.
pub(crate) fn torture(workspace: &Workspace) -> Result<File> {
    alone(workspace, "torture")
}

/// `.dev/example.lock`: one example at a time.
///
/// # Errors
/// There is one, or the lock file cannot be had.
pub(crate) fn example(workspace: &Workspace) -> Result<File> {
    alone(workspace, "example")
}

/// `.dev/system-env.lock`: one such system at a time.
///
/// # Errors
/// There is one, or the lock file cannot be had.
pub(crate) fn system_env(workspace: &Workspace) -> Result<File> {
    alone(workspace, "system-env")
}

/// `.dev/upgrade.lock`: one upgrade at a time.
///
/// # Errors
/// There is one, or the lock file cannot be had.
pub(crate) fn upgrade(workspace: &Workspace) -> Result<File> {
    alone(workspace, "upgrade")
}

/// Waits for nobody: nothing else runs in this checkout that keeps files below `.dev`, and nothing begins while these are
/// held.
///
/// # Errors
/// Something does, or a lock file cannot be had.
pub(crate) fn nobody_else(workspace: &Workspace) -> Result<Vec<File>> {
    let mut locks = Vec::new();
    for command in ["torture", "example", "upgrade", "test"] {
        locks.push(alone(workspace, command)?);
    }
    // A benchmark keeps its lock beside its files.
    if workspace.dev().join("bench").exists() {
        locks.push(alone_at(workspace, "bench", "bench/lock")?);
    }
    Ok(locks)
}

fn alone(workspace: &Workspace, command: &str) -> Result<File> {
    alone_at(workspace, command, &format!("{command}.lock"))
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
            assert_eq!(nobody_else(&workspace).unwrap().len(), 5);
        }
        std::fs::remove_dir_all(workspace.root()).unwrap();
    }
}
