//! A release: where its programs are, and how those of an earlier one are built.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use common::fleet::SERVICES;
use tokio::process::Command;

use crate::workspace::Workspace;

/// The release before this one, named here and nowhere else: the first that starts on the schema of a later one.
pub(super) const PREVIOUS: &str = "f6f8c531be00d65edb811b1f5f0b2474589970c7";
/// From this commit on, a service starts on the schema of a later release. Earlier ones wait for exactly their own.
const STARTS_ON_LATER_SCHEMAS: &str = "a420f0a6b75c034e92ab04cb17a5306b4b6ff8d5";

/// Where a release's programs are.
#[derive(Debug)]
pub(super) struct Release {
    programs: PathBuf,
    /// What it is called in what is said.
    pub(super) name: &'static str,
    /// Whether its services start on the schema of a later release.
    pub(super) starts_on_later_schemas: bool,
}

impl Release {
    /// The programs beside this one.
    ///
    /// # Errors
    /// Nobody can say where this program is.
    pub(super) fn today() -> Result<Self> {
        Ok(Self {
            programs: own_programs()?,
            name: "today's release",
            starts_on_later_schemas: true,
        })
    }

    /// Builds `commit` with the profile of this program, below its target directory. What was built before is not built again.
    ///
    /// # Errors
    /// The history of the checkout does not reach back so far, or the commit cannot be built.
    pub(super) async fn previous(workspace: &Workspace, commit: &str) -> Result<Self> {
        ensure!(is_there(workspace, commit).await?, "{}", missing(commit));
        let own = own_programs()?;
        let (target, profile) = (own.parent(), own.file_name());
        let (target, profile) = target
            .zip(profile)
            .context("target/<profile> is where I am")?;
        let place = target.join("previous").join(commit);
        let source = place.join("source");
        if !source.exists() {
            let draft = place.join("draft");
            export(workspace, commit, &draft).await?;
            std::fs::rename(&draft, &source).context("cannot name the sources")?;
        }
        println!("Building the previous release, {commit} (the first time takes some minutes) …");
        let mut cargo = Command::new("cargo");
        cargo
            .args(["build", "--locked", "--quiet", "--bins"])
            .args(["--package", "migrations"])
            .args(SERVICES.iter().flat_map(|s| ["--package", s.program.name]))
            .arg("--target-dir")
            .arg(place.join("target"))
            .current_dir(&source);
        if profile == "release" {
            cargo.arg("--release");
        }
        finish("cargo build", &mut cargo).await?;
        let known = [
            "merge-base",
            "--is-ancestor",
            STARTS_ON_LATER_SCHEMAS,
            commit,
        ];
        Ok(Self {
            programs: place.join("target").join(profile),
            name: "the previous release",
            starts_on_later_schemas: git(workspace, &known).await?,
        })
    }

    /// Where the program `name` is.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

/// Whether the history of the checkout reaches back to `commit`.
///
/// # Errors
/// There is no git.
pub(super) async fn is_there(workspace: &Workspace, commit: &str) -> Result<bool> {
    git(
        workspace,
        &["cat-file", "-e", &format!("{commit}^{{commit}}")],
    )
    .await
}

/// What to do where it does not.
pub(super) fn missing(commit: &str) -> String {
    format!(
        "the history of this checkout does not reach back to {commit}, the release to come from. \
         `git fetch --unshallow` gets it where the clone is shallow"
    )
}

/// `target/<profile>`, where this program is.
fn own_programs() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find myself")?;
    Ok(own
        .parent()
        .context("a program is in a directory")?
        .to_owned())
}

/// Writes the files of `commit` into `dir`, as old as the commit: cargo builds nothing twice.
async fn export(workspace: &Workspace, commit: &str, dir: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let archive = dir.with_extension("tar");
    let mut git = Command::new("git");
    git.args(["archive", "--format=tar", "--output"])
        .arg(&archive)
        .arg(commit)
        .current_dir(workspace.root());
    finish("git archive", &mut git).await?;
    let mut tar = Command::new("tar");
    finish("tar", tar.arg("-xf").arg(&archive).arg("-C").arg(dir)).await?;
    std::fs::remove_file(&archive).context("cannot remove the archive")
}

/// Whether git says yes.
async fn git(workspace: &Workspace, arguments: &[&str]) -> Result<bool> {
    let mut git = Command::new("git");
    git.args(arguments)
        .current_dir(workspace.root())
        .stderr(Stdio::null());
    let status = git.status().await.context("cannot run git")?;
    Ok(status.success())
}

async fn finish(what: &str, command: &mut Command) -> Result<()> {
    let status = command.kill_on_drop(true).status().await;
    let status = status.with_context(|| format!("cannot run {what}"))?;
    ensure!(status.success(), "{what} failed");
    Ok(())
}
