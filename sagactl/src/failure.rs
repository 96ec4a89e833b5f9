//! Why a command did not do what it was asked for, and the exit code that says so to scripts.

use std::{fmt, io, process::ExitCode};

use common::http::problem::types;
use serde::Deserialize;

/// The exit codes, as help and documentation tell them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  it is done
  1  it was refused: there is no such thing, it makes no sense now, it has changed since you looked, or you said no;
     or a file cannot be read or written
  2  the command line makes no sense, or --yes is missing where nobody can be asked
  3  the service cannot be reached, did not answer in time, or answered something else than its API
  4  a replay parts from what was logged, or the audit found a violation";

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The service said no.
    #[error("{0}")]
    Refused(Problem),
    /// The operator said no.
    #[error("nothing was done")]
    Declined,
    /// A file cannot be read or written, or holds something else than it should.
    #[error("{0}")]
    File(String),
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The service does not answer, or not as it should.
    #[error("{0}")]
    Away(String),
    /// Something is not as it should be, and the command was there to find that.
    #[error("{0}")]
    Found(String),
    /// Nobody reads any more what is shown.
    #[error("nobody reads the output")]
    Closed,
}

impl Failure {
    /// What scripts are told; see [`EXIT_CODES`].
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Closed => 0,
            Self::Refused(_) | Self::Declined | Self::File(_) => 1,
            Self::Usage(_) => 2,
            Self::Away(_) => 3,
            Self::Found(_) => 4,
        })
    }

    /// Whether the service said no by this type of problem.
    pub(crate) fn is(&self, kind: &types::ProblemType) -> bool {
        matches!(self, Self::Refused(problem) if problem.kind == kind.uri())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::File(format!("the output cannot be written: {error}")),
        }
    }
}

/// What a service said where it said no, or could not.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The type in a few words.
    pub(crate) title: String,
    /// What went wrong this time.
    #[serde(default)]
    pub(crate) detail: String,
    /// What the log of the service has.
    #[serde(default)]
    pub(crate) correlation_id: String,
    /// Which fields are wrong.
    #[serde(default)]
    pub(crate) errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Debug, Deserialize)]
pub(crate) struct FieldError {
    /// Which one.
    pub(crate) field: String,
    /// What it must be.
    pub(crate) message: String,
}

impl Problem {
    /// What can be done about it.
    fn advice(&self) -> Option<&'static str> {
        let of = |kind: &types::ProblemType| self.kind == kind.uri();
        if of(&types::PRECONDITION_FAILED) {
            return Some(
                "Something else has changed the saga meanwhile. Look at it again with `sagactl show`, and decide again.",
            );
        }
        // The fields say it.
        if of(&types::INVALID_FIELDS) || of(&types::MALFORMED_REQUEST) {
            return None;
        }
        types::ALL
            .iter()
            .find(|kind| of(kind))
            .map(|kind| kind.advice)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)?;
        for FieldError { field, message } in self.errors.iter().take(20) {
            write!(f, "\n{field} {message}")?;
        }
        if let Some(advice) = self.advice() {
            write!(f, "\n{advice}")?;
        }
        if !self.correlation_id.is_empty() {
            write!(
                f,
                "\nThe service's log has it under {}.",
                self.correlation_id
            )?;
        }
        Ok(())
    }
}
