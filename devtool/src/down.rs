//! `down`: stops what `up` started, and nothing else.

use std::fs;

use anyhow::{Context as _, Result};
use futures_util::future::join_all;

use crate::services;
use crate::workspace::{Workspace, remove_if_there};
use crate::{infra, lock};

/// Services first, so that they can still finish what is in flight; then the servers that are ours.
///
/// # Errors
/// When something does not stop.
pub(crate) async fn run(workspace: &Workspace, wipe: bool) -> Result<()> {
    let _lock = lock::exclusive(workspace)?;
    let _others = wipe.then(|| lock::nobody_else(workspace)).transpose()?;
    let ends = join_all(services::all().map(|service| service.stop(workspace))).await;
    ends.into_iter().collect::<Result<()>>()?;
    infra::down(workspace, wipe).await?;
    remove_if_there(&workspace.env_file())?;
    if wipe {
        empty(workspace)?;
    }
    println!(
        "{}",
        if wipe {
            "Everything is stopped, and what was made here is gone."
        } else {
            "Everything is stopped."
        }
    );
    Ok(())
}

/// Removes all of `.dev` but the locks, for which others may be waiting, and the record of what is still to be dropped.
fn empty(workspace: &Workspace) -> Result<()> {
    for entry in fs::read_dir(workspace.dev()).context("cannot read .dev")? {
        let path = entry?.path();
        let removed = match path.extension() {
            _ if path.ends_with("lock") || path.ends_with("infra.json") => Ok(()),
            Some(extension) if extension == "lock" => Ok(()),
            _ if path.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
