//! `openapi-breaks`: whether the documents in `docs/openapi` still fit the clients of earlier ones.

mod breaks;

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use common::fleet;
use serde_json::Value;

use self::breaks::breaks;
use crate::workspace::Workspace;

/// Compares the documents with those of the last commit and of the one before it, or of the one that is named.
///
/// # Errors
/// There is no git, or a document cannot be read.
pub(crate) fn run(workspace: &Workspace, since: Option<&str>) -> Result<ExitCode> {
    let mut found = Vec::new();
    let commits = since.map_or(vec!["HEAD", "HEAD^"], |commit| vec![commit]);
    for program in fleet::programs() {
        let path = format!("docs/openapi/{}.json", program.name);
        let new = fs::read(workspace.root().join(&path)).with_context(|| path.clone())?;
        let new: Value = serde_json::from_slice(&new).with_context(|| path.clone())?;
        for commit in &commits {
            if let Some(old) = committed(workspace, commit, &path)? {
                let breaks = breaks(&old, &new).into_iter();
                found.extend(breaks.map(|what| format!("{} since {commit}: {what}", program.name)));
            }
        }
    }
    found.iter().for_each(|what| println!("{what}"));
    if found.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let log = fs::read_to_string(workspace.root().join("CHANGELOG.md")).unwrap_or_default();
    if is_announced(&log) {
        println!("CHANGELOG.md announces it.");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "This breaks clients: keep what they use, or say “Breaking” under the first heading of CHANGELOG.md."
    );
    Ok(ExitCode::FAILURE)
}

/// The document as it was; nothing where the history has none.
fn committed(workspace: &Workspace, commit: &str, path: &str) -> Result<Option<Value>> {
    let output = Command::new("git")
        .args(["show", &format!("{commit}:{path}")])
        .current_dir(workspace.root())
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        return Ok(None);
    }
    let document = serde_json::from_slice(&output.stdout);
    document
        .map(Some)
        .with_context(|| format!("{path} of {commit}"))
}

/// Whether the newest part of the change log says that something breaks.
fn is_announced(log: &str) -> bool {
    let newest = log.split("\n## ").nth(1);
    newest.is_some_and(|newest| newest.contains("Breaking"))
}

#[cfg(test)]
mod tests {
    use super::is_announced;

    #[test]
    fn only_the_newest_part_announces() {
        let log = "# Changes\n\n## Next\n\n- Breaking: x\n\n## 0.1\n\n- y\n";
        assert!(is_announced(log));
        assert!(!is_announced(
            "# Changes\n\n## Next\n\n- y\n\n## 0.1\n\n- Breaking: x\n"
        ));
        assert!(!is_announced(""));
    }
}
