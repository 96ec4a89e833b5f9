//! `show`: a saga with its steps and its log.

use clap::Args;
use uuid::Uuid;

use super::saga::{Details, log, option, when_if_ever};
use crate::{
    context::Context,
    failure::Failure,
    screen::{BACK, FAINT, Table, Text, length, relative, when},
    service::read,
};

/// Shows a saga with its steps, its log, and what can be done about it.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The saga
    #[arg(value_name = "SAGA")]
    id: Uuid,
}

impl Show {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let answer = context.orders.get(&["sagas", &self.id.to_string()]);
        let answer = answer.json().await?;
        if context.screen.is_json() {
            return context.screen.json(&answer);
        }
        show(context, &read(&answer)?)
    }
}

fn show(context: &Context, details: &Details) -> Result<(), Failure> {
    let screen = &context.screen;
    let saga = &details.saga;
    let kind = format!("{} v{}", saga.kind, saga.definition_version);
    let mut status = Text::status(&saga.status);
    if let Some(step) = &saga.current_step {
        status = status.and(Text::plain(format!(" at {step}")));
    }
    if let Some(reason) = &saga.reason {
        status = status.and(Text::plain(format!(", for {reason}")));
    }
    if saga.overruled {
        status = status.and(Text::styled(BACK, ", overruled by an operator"));
    }
    let facts = [
        ("saga", Text::plain(saga.saga_id.to_string())),
        ("type", Text::plain(kind)),
        ("subject", Text::plain(&saga.subject)),
        ("status", status),
        ("version", Text::plain(saga.version.to_string())),
        ("created", when(saga.created_at)),
        ("changed", when(saga.updated_at)),
        ("deadline", when_if_ever(saga.deadline_at)),
        ("last error", option(saga.last_error.as_deref())),
        ("correlation", Text::plain(&saga.correlation_id)),
        ("trace", option(saga.trace_id.as_deref())),
        ("can be done", Text::plain(listed(&details.verbs))),
    ];
    screen.facts(facts)?;
    screen.print(&Text::default())?;
    screen.table(steps(details))?;
    screen.print(&Text::default())?;
    if details.log_dropped {
        let why = "The beginning of the log was dropped: it is older than the service keeps logs.";
        screen.print(&Text::styled(FAINT, why))?;
    }
    screen.table(log(&details.log))
}

fn listed(verbs: &[String]) -> String {
    if verbs.is_empty() {
        return "nothing".to_owned();
    }
    verbs.join(", ")
}

fn steps(details: &Details) -> Table {
    let mut table = Table::new(&[
        "STEP",
        "STATUS",
        "ATTEMPTS",
        "STARTED",
        "TOOK",
        "LAST ERROR",
    ]);
    for step in &details.steps {
        let took = step.started_at.zip(step.finished_at);
        let took = took.map(|(from, to)| length(to - from));
        let attempts = step.attempts.map(|attempts| attempts.to_string());
        table.row([
            Text::plain(&step.name),
            Text::status(&step.status),
            option(attempts.as_deref()),
            option(step.started_at.map(relative).as_deref()),
            option(took.as_deref()),
            option(step.last_error.as_deref()),
        ]);
    }
    table
}
