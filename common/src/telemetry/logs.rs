//! Logs: one JSON object a line, in Bunyan's format, to standard output.

use tracing::Metadata;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_bunyan_formatter::{BunyanFormattingLayer, JsonStorageLayer};
use tracing_subscriber::{
    EnvFilter, fmt::writer::MakeWriterExt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::{self, Vars};

/// Starts logging for the service `name` at `LOG_LEVEL`. Lines that are still buffered are written when the guard
/// is dropped.
///
/// # Errors
/// `LOG_LEVEL` is no filter.
pub(super) fn init(name: &str, vars: &Vars) -> Result<WorkerGuard, config::Error> {
    let level = vars
        .optional("LOG_LEVEL")
        .unwrap_or_else(|| "info".to_owned());
    // lapin logs the payload of returned messages, which is customers' data, and every broken connection, which our
    // own code reports once. sqlx logs every connection that `db` refuses, which says so once, too.
    // `LOG_LEVEL=info,lapin=debug` shows it all the same.
    let quiet = "lapin=off,sqlx_core::pool::inner=off";
    let filter = EnvFilter::try_new(format!("{quiet},{level}")).map_err(|_| {
        config::Error::new(
            "LOG_LEVEL",
            &level,
            "a level such as info, or a tracing filter",
        )
    })?;
    let (writer, guard) = tracing_appender::non_blocking(std::io::stdout());
    // Lines for the start and end of each span would be five times the volume.
    let events_only = writer.with_filter(|metadata: &Metadata<'_>| metadata.is_event());
    tracing_subscriber::registry()
        .with(filter)
        .with(JsonStorageLayer)
        .with(BunyanFormattingLayer::new(name.to_owned(), events_only))
        .init();
    Ok(guard)
}
