//! What `./dev` calls for everything that outgrows a page of Bash: infrastructure, services, the environment of the tests.
//!
//! ```text
//! settings   process environment over .env over .env.example
//! infra      PostgreSQL and RabbitMQ: what the user configured; else what runs; else Docker Compose; else private servers
//! services   migrate, then one detached process for each service and for the audit
//! demo       orders of every kind, and what became of them
//! guarantees the audit, at the databases of the services
//! torture    a system of its own, in which everything goes wrong, or one release takes the other's place
//! system-env a system of its own, for a command that needs the services
//! openapi    which changes of an API break its clients
//! example    a system of its own, with a participant in another language
//! .dev/      env, infra.json, run/<name>.pid, log/<name>.log, and the data of private servers
//! ```
//! Run it from the root of the checkout, as `./dev` does.

mod demo;
mod down;
mod example;
mod guarantees;
mod infra;
mod lock;
mod logs;
mod openapi;
mod services;
mod settings;
mod status;
mod system_env;
mod test_env;
mod torture;
mod up;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Runs Order Saga on this machine.
#[derive(Parser)]
#[command(name = "devtool")]
struct Cli {
    /// Where it keeps what it starts; servers of other versions need another place
    #[arg(long, value_name = "DIRECTORY", default_value = ".dev")]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Do what `up` does, then send orders of every kind through the saga and check what became of them
    Demo,
    /// Start infrastructure and services, wait until they are ready
    Up,
    /// Stop what `up` started, and nothing else
    Down {
        /// Also drop the data
        #[arg(long)]
        wipe: bool,
    },
    /// Show what runs, where, and how it is
    Status,
    /// Show the end of the logs, and follow them on a terminal
    Logs {
        /// All services, unless one is named (postgres and rabbitmq can be, too)
        service: Option<String>,
    },
    /// Check the guarantees across all databases
    Audit,
    /// Kill, restart, stall and duplicate while orders flow, in a system of its own, then audit
    Torture(torture::Options),
    /// Replace the previous release by this one and back while orders flow, in a system of its own, then audit
    Upgrade(torture::upgrade::Options),
    /// Show orders that a participant in TypeScript checks for fraud, in a system of its own
    Example,
    /// Start what the tests need; with a command, run it with the TEST_* variables and stop what was started
    TestEnv {
        /// The command; without one, the variables are printed and everything is left running
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Start the services in a system of its own, run a command with their URLs, and remove the system
    SystemEnv {
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Say which changes of docs/openapi break older clients
    OpenapiBreaks {
        /// Compare with this commit, instead of the last two
        #[arg(long)]
        since: Option<String>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::here(&cli.dir)?;
    match cli.command {
        Command::Demo => return demo::run(&workspace).await,
        Command::Audit => return guarantees::run(&workspace).await,
        Command::Up => up::run(&workspace).await?,
        Command::Down { wipe } => down::run(&workspace, wipe).await?,
        Command::Status => status::run(&workspace).await?,
        Command::Logs { service } => logs::run(&workspace, service.as_deref())?,
        Command::Torture(options) => return torture::run(&workspace, options).await,
        Command::Upgrade(options) => return torture::upgrade::run(&workspace, options).await,
        Command::Example => return example::run(&workspace).await,
        Command::SystemEnv { command } => return system_env::run(&workspace, &command).await,
        Command::OpenapiBreaks { since } => return openapi::run(&workspace, since.as_deref()),
        Command::TestEnv { command } => return test_env::run(&workspace, &command).await,
    }
    Ok(ExitCode::SUCCESS)
}
