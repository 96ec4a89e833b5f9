//! Configuration: the process environment over `.env` over `.env.example`, which is the one list of variables and defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The broker of the services.
pub(crate) const RABBITMQ_URL: &str = "RABBITMQ_URL";

/// Values by variable, and which of them the user chose.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    defaults: BTreeMap<String, String>,
    chosen: BTreeMap<String, String>,
}

impl Settings {
    /// Reads the three layers.
    ///
    /// # Errors
    /// When a file cannot be read or has a line that is no `KEY=value`.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let defaults = read(&root.join(".env.example"))?;
        let mut chosen = if root.join(".env").exists() {
            read(&root.join(".env"))?
        } else {
            BTreeMap::new()
        };
        chosen.extend(process_environment().filter(|(name, _)| defaults.contains_key(name)));
        chosen.retain(|_, value| !value.is_empty());
        Ok(Self { defaults, chosen })
    }

    /// The same as if the user had chosen nothing.
    #[must_use]
    pub(crate) fn without_choices(&self) -> Self {
        Self {
            defaults: self.defaults.clone(),
            chosen: BTreeMap::new(),
        }
    }

    /// The value that the user chose.
    #[must_use]
    pub(crate) fn chosen(&self, name: &str) -> Option<&str> {
        self.chosen.get(name).map(String::as_str)
    }

    /// The value that holds when the user chooses none.
    ///
    /// # Errors
    /// When `.env.example` lacks it.
    pub(crate) fn default(&self, name: &str) -> Result<&str> {
        let value = self.defaults.get(name).map(String::as_str);
        value.with_context(|| format!(".env.example does not name {name}"))
    }

    /// The value that holds.
    ///
    /// # Errors
    /// When there is neither a chosen one nor a default.
    pub(crate) fn value(&self, name: &str) -> Result<&str> {
        self.chosen(name).map_or_else(|| self.default(name), Ok)
    }

    /// All values that hold.
    #[must_use]
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        let mut all = self.defaults.clone();
        all.extend(self.chosen.clone());
        all
    }
}

/// The environment of this process; variables that are not Unicode cannot be ours.
pub(crate) fn process_environment() -> impl Iterator<Item = (String, String)> {
    let unicode = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(unicode)
}

fn read(file: &Path) -> Result<BTreeMap<String, String>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let pairs: Result<_, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
    pairs.with_context(|| format!("cannot understand {}", file.display()))
}

#[cfg(test)]
mod tests {
    use common::fleet;

    use super::*;

    #[test]
    fn the_example_names_all_that_we_need() {
        let settings = Settings::load(Path::new("..")).unwrap();
        let addresses = fleet::programs().map(|program| program.http_variable);
        let databases = fleet::databases();
        let databases = databases.flat_map(|d| [d.variable, d.audit_variable]);
        for name in addresses.chain(databases).chain([RABBITMQ_URL]) {
            settings.default(name).unwrap();
        }
    }
}
