//! The committed documents fit the contract's types.

use std::{collections::BTreeMap, fs, path::Path};

#[test]
fn the_committed_documents_fit_the_types() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let expected: BTreeMap<String, String> = common::docs::files().into_iter().collect();
    for (file, text) in &expected {
        let committed = fs::read_to_string(docs.join(file)).unwrap_or_default();
        assert!(
            &committed == text,
            "docs/{file} no longer fits the code: run `cargo run -p common --example contract-docs`"
        );
    }
    for entry in fs::read_dir(docs.join("schemas")).unwrap() {
        let file = format!("schemas/{}", entry.unwrap().file_name().to_string_lossy());
        assert!(
            expected.contains_key(&file),
            "docs/{file} belongs to no message any more"
        );
    }
}
