//! Why the broker could not be used.

/// Why the broker could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No node can be reached, or a connection broke.
    #[error("RabbitMQ is not reachable: {0}")]
    Unreachable(String),
    /// It takes nothing from those who publish, until it has memory and disk space again.
    #[error("RabbitMQ takes no messages: it is short of memory or of disk space")]
    Blocked,
    /// The broker's topology is not ours. Trying again does not help: somebody has to look.
    #[error(transparent)]
    Topology(#[from] Mismatch),
}

impl Error {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Blocked)
    }

    /// Why `what` could not be declared.
    pub(super) fn declaring(what: String, error: lapin::Error) -> Self {
        if error.is_amqp_soft_error() {
            Self::Topology(Mismatch {
                what,
                difference: error.to_string(),
            })
        } else {
            error.into()
        }
    }
}

impl From<lapin::Error> for Error {
    fn from(error: lapin::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// The broker has something else under one of our names.
#[derive(Debug, thiserror::Error)]
#[error(
    "RabbitMQ has {what} with other properties than this version declares: {difference}. \
     Move its messages away, delete it, and start again: it is then declared anew"
)]
pub struct Mismatch {
    what: String,
    difference: String,
}
