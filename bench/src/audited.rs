//! The audit of all that was done: fast and wrong is not fast.

use std::time::Instant;

use anyhow::Result;
use audit::Books;

use crate::cpu;
use crate::report::Audited;
use crate::system::System;

/// Audits the databases of `system`, and says what is broken.
///
/// # Errors
/// A database does not answer.
pub(crate) async fn audit(system: &System) -> Result<Audited> {
    let books = Books::open(&system.servers.variables().into_iter().collect())?;
    cpu::reset_peak(std::process::id());
    let start = Instant::now();
    let report = books.audit().await?;
    let audited = Audited {
        orders: report.orders,
        took_s: start.elapsed().as_secs_f64(),
        memory_mib: cpu::peak_mib(std::process::id()),
        violations: report.violations.len(),
    };
    if !report.is_clean() {
        eprintln!("{report}");
    }
    Ok(audited)
}
