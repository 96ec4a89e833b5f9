//! Writes `docs/METRICS.md`, which is made from the lists of metrics.
//!
//! Run it after a change to one of them: `cargo run -p order-service --example metrics-docs`

mod sections;

use std::{fs, path::Path};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let text = common::metrics::document(sections::SECTIONS);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}
