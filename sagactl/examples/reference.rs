//! Writes the help of each command into `docs/SAGACTL.md`, behind its last heading.

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SAGACTL.md");
    let page = fs::read_to_string(&path)?;
    let heading = "## Commands\n\n";
    let before = page.split(heading).next().unwrap_or_default();
    fs::write(
        path,
        format!("{before}{heading}{}\n", sagactl::reference().trim_end()),
    )
}
