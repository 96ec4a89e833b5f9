//! The OpenAPI documents that are committed, one for each program.

use std::{fs, path::Path};

use serde_json::Value;

/// Checks that `served`, the document of `program`, is the one below `docs/openapi`.
///
/// # Panics
/// It is not, or there is none.
pub fn assert_committed(program: &str, served: &Value) {
    let file = format!("docs/openapi/{program}.json");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let committed = fs::read(root.join(&file)).unwrap_or_default();
    let committed: Option<Value> = serde_json::from_slice(&committed).ok();
    assert!(
        committed.as_ref() == Some(served),
        "{file} is not what {program} serves: run `cargo run -p {program} -- --openapi > {file}`"
    );
}
