//! The command line, told to shells, to `man`, and to the documentation.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap_complete::Shell;
use clap_mangen::Man;

use crate::failure::Failure;

/// Writes what `shell` needs to complete commands.
pub(crate) fn completions(mut command: clap::Command, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "sagactl", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// Writes the manual page of the program, or those of all its commands into `directory`.
pub(crate) fn man(command: clap::Command, directory: Option<&Path>) -> Result<(), Failure> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return Ok(io::stdout().write_all(&page)?);
    };
    let written = fs::create_dir_all(directory);
    let written = written.and_then(|()| clap_mangen::generate_to(command, directory));
    written.map_err(|error| {
        Failure::File(format!(
            "{} cannot be written: {error}",
            directory.display()
        ))
    })
}

/// The help of each command, as Markdown. What all of them take is in that of the program, and not repeated.
pub(crate) fn reference(mut command: clap::Command) -> String {
    command.build();
    let mut text = String::new();
    section(&mut text, &mut command);
    text
}

fn section(text: &mut String, command: &mut clap::Command) {
    let name = command.get_bin_name().unwrap_or_default().to_owned();
    let help = command.render_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    let help = lines.join("\n");
    text.push_str(&format!(
        "### `{name}`\n\n```text\n{}\n```\n\n",
        help.trim()
    ));
    for inner in command.get_subcommands_mut() {
        if inner.get_name() == "help" {
            continue;
        }
        let is_global = |arg: &clap::Arg| arg.is_global_set() || arg.get_id() == "help";
        let mut own = inner.clone().mut_args(|arg| {
            let hidden = is_global(&arg);
            arg.hide(hidden)
        });
        section(text, &mut own);
    }
}
