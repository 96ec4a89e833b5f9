//! A process whose clock is wrong.

use std::{fs, path::PathBuf};

/// The variables that set a process's clock off, by `+31d` for example. Its durations are measured rightly.
///
/// # Panics
/// When Debian's package is not there; the message says what to run.
#[must_use]
pub fn clock_off_by(offset: &str) -> [(&'static str, String); 3] {
    let library = library().expect("faketime is missing: run `apt-get install faketime` as root");
    [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME", offset.to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

/// Whether Debian's package is there.
#[must_use]
pub fn is_installed() -> bool {
    library().is_some()
}

fn library() -> Option<PathBuf> {
    let architectures = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut libraries = architectures.map(|dir| dir.path().join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.exists())
}
