//! The documents that are made from the code: what is committed in `docs/`.

use crate::{asyncapi, http::problem};

/// Their paths below `docs/`, and what is in them.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files = asyncapi::files();
    files.push(("PROBLEMS.md".to_owned(), problem::document()));
    files
}
