//! Crash points: named places where a test makes a service die, as `kill -9` would.
//!
//! `CRASH_AT=consumer.published` kills the process when it first comes there. Only builds with debug assertions
//! have them; a release build refuses to start with the variable set.

use std::sync::OnceLock;

use crate::config::{self, Vars};

static CRASH_AT: OnceLock<String> = OnceLock::new();

/// Arms the point that `CRASH_AT` names, if any.
///
/// # Errors
/// The variable is set in a release build.
pub fn arm(vars: &Vars) -> Result<(), config::Error> {
    if let Some(point) = vars.optional("CRASH_AT") {
        if !cfg!(debug_assertions) {
            return Err(config::Error::new(
                "CRASH_AT",
                &point,
                "unset: this is a release build",
            ));
        }
        let _ = CRASH_AT.set(point);
    }
    Ok(())
}

/// Dies here if this point is armed.
pub fn point(name: &str) {
    if cfg!(debug_assertions) && CRASH_AT.get().is_some_and(|armed| armed == name) {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
