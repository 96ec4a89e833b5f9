//! Why the broker could not be used.

use super::declare;

/// Why the broker could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No node can be reached, or a connection broke.
    #[error("RabbitMQ is not reachable: {0}")]
    Unreachable(String),
    /// The broker's topology is not ours.
    #[error(transparent)]
    Topology(declare::Mismatch),
}

impl Error {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl From<lapin::Error> for Error {
    fn from(error: lapin::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<declare::Error> for Error {
    fn from(error: declare::Error) -> Self {
        match error {
            declare::Error::Mismatch(mismatch) => Self::Topology(mismatch),
            declare::Error::Connection(error) => error.into(),
        }
    }
}
