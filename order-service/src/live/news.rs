//! What whoever looks on is told.

use std::sync::Arc;

use common::contract::SagaId;
use saga::store::Written;

/// A log entry, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    pub(crate) saga: SagaId,
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) entry: Written,
}

/// What whoever looks on is told.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// A log entry.
    Entry(Arc<Happening>),
    /// More has happened than is told.
    Skipped,
}
