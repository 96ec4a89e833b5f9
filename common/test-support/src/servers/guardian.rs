//! Cleans up after a test process that was killed and could not do it itself.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};

use super::process::{Files, detached};

/// Waits for a line. When the pipe closes without one, the test process is gone: kill what the pid files name, remove the data.
const SCRIPT: &str = r#"
read -r _ && exit 0
data=$1; shift
for file in "$@"; do
    [ -s "$file" ] || continue
    server=$(cut -d' ' -f1 "$file")
    # Its processes miss it by themselves, unless they were stopped.
    kill -9 "$server" $(cat "/proc/$server/task/$server/children")
done
rm -rf "$(readlink -f "$data")" "$data" "$@"
"#;

/// A shell that outlives this process by a moment, holding the other end of a pipe. As long as the value lives, nothing happens.
#[derive(Debug)]
pub(super) struct Guardian(Child);

impl Guardian {
    /// Guards the server of `files`, and a second process of the same server if it has one.
    pub(super) fn of(files: &Files, second_pid_file: Option<&Path>) -> Result<Self> {
        let mut command = detached("sh");
        command
            .args(["-c", SCRIPT, "guardian"])
            .arg(&files.data)
            .arg(&files.pid)
            .args(second_pid_file);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.map(Self).context("cannot run sh")
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // Its server has been cleaned up: the line sends it home.
        if let Some(mut pipe) = self.0.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}
