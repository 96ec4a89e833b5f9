//! The command line.

use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use common::{config::Vars, fleet};
use url::Url;

use crate::{
    command::{
        Act, Audit, Batch, DeadLetters, Events, Explain, Export, Graph, List, Participants,
        Redrives, Replay, Reschedule, Show, Stats, Watch,
    },
    context::Context,
    docs,
    failure::{EXIT_CODES, Failure},
    screen::{Color, Format, Screen},
    service::Service,
};

/// Sees every saga of Order Saga, says why it waits, and does something about it.
///
/// It talks to the order service over HTTP, and to nothing else.
#[derive(Debug, Parser)]
#[command(name = "sagactl", bin_name = "sagactl", version, after_help = EXIT_CODES, after_long_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The order service
    #[arg(long, global = true, value_name = "URL", env = "SAGACTL_URL", hide_env_values = true,
          default_value_t = default_url(fleet::ORDER.program.port), value_parser = url)]
    url: Url,
    /// The program that checks the guarantees
    #[arg(long, global = true, value_name = "URL", env = "SAGACTL_AUDIT_URL", hide_env_values = true,
          default_value_t = default_url(fleet::AUDIT.port), value_parser = url)]
    audit_url: Url,
    /// Who you are, kept with what you do; your login name without it
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "SAGACTL_ACTOR",
        hide_env_values = true
    )]
    actor: Option<String>,
    /// How answers are shown
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Whether colours are used; auto does on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// How long an answer may take, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists sagas, newest first
    Ls(Box<List>),
    /// Shows a saga with its steps, its log, and what can be done about it
    Show(Show),
    /// Says why a saga waits, since when, and what happens next
    Explain(Explain),
    /// Draws the steps of a saga and what undoes them, each with its state
    Graph(Graph),
    /// Follows a saga until it ends: its log so far, then each decision as it is made
    Watch(Watch),
    /// Counts sagas: those that wait, and those that ended of late
    Stats(Stats),
    /// Shows what happens to sagas, as it happens
    #[command(subcommand)]
    Events(Events),
    /// Resumes a parked saga: its command is sent again, with all its attempts
    Retry(Act),
    /// Goes on behind a step: it is taken for done, or on the way back for undone
    Skip(Act),
    /// Takes a saga on its way forward for completed, whatever was done of it
    ForceComplete(Act),
    /// Takes a saga on its way back for compensated, whatever is left of it
    ForceCompensated(Act),
    /// Undoes what was done, beginning now; also of a saga that has completed
    Abort(Act),
    /// Looks at a saga sooner or later than its deadline
    Reschedule(Reschedule),
    /// Does the same about all sagas that a filter finds
    #[command(subcommand)]
    Batch(Batch),
    /// Shows who takes part in sagas, and pauses and resumes their commands
    #[command(subcommand)]
    Participants(Participants),
    /// Shows dead letters, and deals with them
    #[command(subcommand)]
    Dlq(DeadLetters),
    /// Shows the dead letters that are being sent again, and how far that is
    #[command(subcommand)]
    Redrives(Redrives),
    /// Checks the guarantees across the databases of all services, now
    Audit(Audit),
    /// Writes sagas with their logs as JSON lines, without what they are about and without anybody's words
    Export(Box<Export>),
    /// Retraces exported sagas with the definitions of this release: a gate before it is rolled out
    Replay(Replay),
    /// Writes what a shell needs to complete commands
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Writes manual pages
    Man {
        /// The directory for the pages of all commands; without it, the page of sagactl goes to standard output
        #[arg(value_name = "DIR")]
        directory: Option<std::path::PathBuf>,
    },
}

impl Global {
    /// What every command has.
    pub(crate) fn context(self, vars: &Vars) -> Result<Context, Failure> {
        let patience = Duration::from_secs(self.timeout.into());
        let login = || {
            ["USER", "LOGNAME"]
                .iter()
                .find_map(|name| vars.optional(name))
        };
        let actor = self.actor.filter(|actor| !actor.is_empty()).or_else(login);
        Ok(Context {
            orders: Service::new(self.url, actor.clone(), patience)?,
            audit: Service::new(self.audit_url, actor, patience)?,
            screen: Screen::new(self.output, self.color),
        })
    }
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Ls(list) => list.run(context).await,
            Self::Show(show) => show.run(context).await,
            Self::Explain(explain) => explain.run(context).await,
            Self::Graph(graph) => graph.run(context).await,
            Self::Watch(watch) => watch.run(context).await,
            Self::Stats(stats) => stats.run(context).await,
            Self::Events(events) => events.run(context).await,
            Self::Retry(act) => act.run(context, "retry").await,
            Self::Skip(act) => act.run(context, "skip").await,
            Self::ForceComplete(act) => act.run(context, "force-complete").await,
            Self::ForceCompensated(act) => act.run(context, "force-compensated").await,
            Self::Abort(act) => act.run(context, "abort").await,
            Self::Reschedule(reschedule) => reschedule.run(context).await,
            Self::Batch(batch) => batch.run(context).await,
            Self::Participants(participants) => participants.run(context).await,
            Self::Dlq(letters) => letters.run(context).await,
            Self::Redrives(redrives) => redrives.run(context).await,
            Self::Audit(audit) => audit.run(context).await,
            Self::Export(export) => export.run(context).await,
            Self::Replay(replay) => replay.run(context),
            Self::Completions { shell } => docs::completions(Cli::command(), shell),
            Self::Man { directory } => docs::man(Cli::command(), directory.as_deref()),
        }
    }
}

fn default_url(port: u16) -> Url {
    let url = format!("http://localhost:{port}");
    url.parse().expect("it is a URL")
}

/// The address of a service.
fn url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        return Ok(url);
    }
    Err("it must begin with http:// or https://".to_owned())
}
