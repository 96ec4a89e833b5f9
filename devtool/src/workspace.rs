//! The checkout: where its files are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The root of a checkout and what is found from there.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
    dev: PathBuf,
}

impl Workspace {
    /// The checkout whose root is the current directory, with `dev` for its `.dev`, which is made.
    ///
    /// # Errors
    /// When the current directory is no such root.
    pub(crate) fn here(dev: &Path) -> Result<Self> {
        let root = std::env::current_dir().context("there is no current directory")?;
        ensure!(
            root.join("devtool/Cargo.toml").exists(),
            "run this from the root of the checkout, best as ./dev"
        );
        Self::at(root, dev)
    }

    fn at(root: PathBuf, dev: &Path) -> Result<Self> {
        let dev = root.join(dev);
        fs::create_dir_all(&dev).with_context(|| format!("cannot create {}", dev.display()))?;
        Ok(Self { root, dev })
    }

    /// An empty checkout for one test.
    #[cfg(test)]
    pub(crate) fn of_test(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        Self::at(root, ".dev".as_ref()).expect("the temporary directory can be written")
    }

    /// The root itself.
    #[must_use]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `.dev`: all that we write.
    #[must_use]
    pub(crate) fn dev(&self) -> &Path {
        &self.dev
    }

    /// `.dev/env`: the environment of the services. It is there from `up` to `down`.
    #[must_use]
    pub(crate) fn env_file(&self) -> PathBuf {
        self.dev().join("env")
    }

    /// A program of this workspace, built with the same profile as this one.
    ///
    /// # Errors
    /// When it has not been built.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        test_support::system::program(name)
    }
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write_private(file: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let draft = file.with_extension("new");
    let _ = fs::remove_file(&draft);
    let mut options = fs::OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&draft, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Removes a file.
///
/// # Errors
/// When it is there and cannot be removed.
pub(crate) fn remove_if_there(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}
