//! What a program tells about itself while it runs: its logs, and the spans of traces.

mod export;
mod logs;
pub(crate) mod messaging;
mod span;

use tracing_appender::non_blocking::WorkerGuard;

/// What is known about a span, and on which side of an exchange it is.
pub use opentelemetry::{KeyValue, trace::SpanKind};

pub use self::span::{Span, is_collected};
use crate::config::{self, Vars};

/// Logs and spans. What is still buffered goes out when it is dropped.
#[derive(Debug)]
#[must_use = "what is buffered goes out when it is dropped"]
pub struct Telemetry {
    // Dropped first: what becomes of the last spans is logged.
    _spans: Option<export::Guard>,
    _logs: WorkerGuard,
}

/// Starts telling what the program `name` does: logs to standard output, and spans to the collector that `vars` name.
/// Is called within the runtime.
///
/// # Errors
/// A variable has a value that cannot be used.
pub fn init(name: &str, vars: &Vars) -> Result<Telemetry, config::Error> {
    let logs = logs::init(name, vars)?;
    Ok(Telemetry {
        _spans: export::init(name, vars)?,
        _logs: logs,
    })
}
