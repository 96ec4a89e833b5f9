//! `sagactl`: operating sagas from a terminal, a script or a pipeline.
//!
//! ```text
//! the command line (cli) ─► a command ─► requests (service), streams (live) ─► the order service
//!                               │
//!                               ├─► what it answers, for people or as JSON (screen)
//!                               └─► why it could not, and the exit code (failure)
//! ```
//!
//! It talks to the services over HTTP, and sees no database and no broker. Only `replay` decides something by itself: it
//! has the definitions of the release that it is of, and retraces sagas that were exported (archive).

mod archive;
mod cli;
mod command;
mod context;
mod docs;
mod failure;
mod http;
mod input;
mod live;
mod screen;
mod service;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use common::config::Vars;

use self::{
    cli::Cli,
    failure::Failure,
    screen::{BAD, Screen, Text},
};

/// Does what the command line says, and returns the exit code of the process.
pub async fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let said = match global.context(&Vars::from_process()) {
        Ok(context) => match command.run(&context).await {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => (failure, context.screen),
        },
        Err(failure) => (failure, Screen::plain()),
    };
    let (failure, screen) = said;
    complain(&screen, &failure);
    failure.exit_code()
}

/// Says why it was not done, line by line.
fn complain(screen: &Screen, failure: &Failure) {
    if matches!(failure, Failure::Closed) {
        return;
    }
    let text = failure.to_string();
    let mut lines = text.lines();
    let first = Text::styled(BAD, "error: ").and(Text::plain(lines.next().unwrap_or_default()));
    screen.tell(&first);
    for line in lines.take(100) {
        screen.tell(&Text::plain(format!("  {line}")));
    }
}

/// The help of each command, as Markdown: a part of `docs/SAGACTL.md`, which a test compares with it.
#[must_use]
pub fn reference() -> String {
    docs::reference(Cli::command())
}
