//! What an earlier run left behind: of a program that was killed, or kept evidence.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Files, PostgresServer, Signal};

/// Ends, at once, whatever the pid files below `dir` name.
///
/// # Errors
/// A process does not end.
pub async fn stop_left_over(dir: &Path) -> Result<()> {
    let files = fs::read_dir(dir.join("run"))
        .into_iter()
        .flatten()
        .flatten();
    for file in files {
        let path = file.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.context("a pid file has a name")?;
        // PostgreSQL's other processes shall end with it, which a SIGKILL does not promise.
        let signal = if name == "postgres" {
            Signal::QUIT
        } else {
            Signal::KILL
        };
        let files = Files::below(dir, name);
        files.stop(signal, Duration::from_secs(10)).await?;
    }
    Ok(())
}

/// Removes `dir` with the data of a [`PostgresServer`] below it, which may be elsewhere. Nothing may run there.
///
/// # Errors
/// PostgreSQL still runs, or a file is not ours to remove.
pub fn remove(dir: &Path) -> Result<()> {
    PostgresServer::new(dir, 0, "", "").remove_data()?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
