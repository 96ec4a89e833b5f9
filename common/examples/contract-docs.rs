//! Writes the documents that are made from the code: `docs/asyncapi.json`, `docs/schemas/*.json` and `docs/PROBLEMS.md`.
//!
//! Run it after a change to the contract: `cargo run -p common --example contract-docs`

use std::{fs, path::Path};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let schemas = docs.join("schemas");
    if schemas.exists() {
        fs::remove_dir_all(&schemas).context("removing the old schemas")?;
    }
    for (file, text) in common::docs::files() {
        let path = docs.join(file);
        fs::create_dir_all(path.parent().unwrap_or(&docs))?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
