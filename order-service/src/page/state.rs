//! What the pages share.

use super::{backend::Backend, links::Links};

/// What a page is made with.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) backend: Backend,
    pub(super) links: Links,
}
