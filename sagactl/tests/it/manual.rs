//! What the program says of itself.

use std::{fs, path::Path};

use uuid::Uuid;

use crate::harness::sagactl;

const NOWHERE: &str = "http://127.0.0.1:1";

#[test]
fn the_documentation_has_the_help_of_each_command() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SAGACTL.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, commands) = page.split_once("## Commands\n\n").unwrap();
    let help = sagactl::reference();
    assert!(
        commands.trim() == help.trim(),
        "docs/SAGACTL.md is not what --help says: run `cargo run -p sagactl --example reference`"
    );
    for command in [
        "ls",
        "dlq redrive",
        "events tail",
        "batch run",
        "force-compensated",
        "replay",
    ] {
        assert!(
            help.contains(&format!("### `sagactl {command}`")),
            "{command}"
        );
    }
}

#[tokio::test]
async fn every_command_has_help_and_a_manual_page() {
    let directory = std::env::temp_dir().join(format!("sagactl-man-{}", Uuid::new_v4()));
    let written = sagactl(NOWHERE, &["man", directory.to_str().unwrap()]).await;
    assert_eq!(written.code, 0, "{written:?}");
    let help = sagactl::reference();
    let commands = help
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let mut count = 0;
    for command in commands {
        let page = directory.join(format!("{}.1", command.replace(' ', "-")));
        assert!(
            fs::read_to_string(&page).unwrap().contains(".SH NAME"),
            "{}",
            page.display()
        );
        let arguments: Vec<_> = command.split(' ').skip(1).chain(["--help"]).collect();
        let told = sagactl(NOWHERE, &arguments).await;
        assert!(
            told.code == 0 && told.out.contains("Usage: "),
            "{command}: {told:?}"
        );
        count += 1;
    }
    assert!(count > 30, "{count} commands");
    fs::remove_dir_all(&directory).unwrap();
    assert!(sagactl(NOWHERE, &["man"]).await.out.contains("Exit codes"));
}

#[tokio::test]
async fn shells_complete_it() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sagactl(NOWHERE, &["completions", shell]).await;
        assert_eq!(script.code, 0, "{script:?}");
        assert!(script.out.contains("force-compensated"), "{shell}");
    }
}
