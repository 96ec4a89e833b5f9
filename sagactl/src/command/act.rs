//! The verbs: what an operator does about one saga. Seen, shown, confirmed, and then done once.
//!
//! ```text
//! GET the saga ─► its version ─► dry run at that version, shown ─► yes? ─► POST, If-Match, with a key of its own
//! ```

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::saga::{Details, Summary, details, event};
use crate::{
    context::Context,
    failure::Failure,
    screen::{BOLD, FAINT, Text},
    service::{Request, read},
};

/// What is done about a saga, and why.
#[derive(Debug, Args)]
pub(crate) struct Act {
    /// The saga
    #[arg(value_name = "SAGA")]
    id: Uuid,
    #[command(flatten)]
    why: Why,
}

/// Why something is done, and whether it is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Why {
    /// Why, in your words: it is kept with what is done
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Only show what would follow
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it without asking
    #[arg(long, short)]
    yes: bool,
}

impl Why {
    /// Whether it is to be done. What `would` follow is shown: as the answer of a dry run, or aside, before the question.
    ///
    /// # Errors
    /// What is asked for makes no sense; that is said first. The answer is not yes, or nobody is there to be asked.
    pub(crate) async fn agreed<W: DeserializeOwned>(
        &self,
        context: &Context,
        would: impl Future<Output = Result<Value, Failure>>,
        show: impl FnOnce(bool, &W) -> Result<(), Failure>,
        question: impl FnOnce(&W) -> String,
    ) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        let (screen, would) = (&context.screen, would.await?);
        if self.dry_run && screen.is_json() {
            screen.json(&would)?;
            return Ok(false);
        }
        let would = read(&would)?;
        if self.dry_run {
            show(false, &would)?;
            return Ok(false);
        }
        if screen.can_ask() {
            show(true, &would)?;
        }
        screen.confirm(&question(&would))?;
        Ok(true)
    }
}

/// When a saga is looked at again, and why.
#[derive(Debug, Args)]
pub(crate) struct Reschedule {
    #[command(flatten)]
    act: Act,
    /// In so many seconds from now; 0 is at once
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=2_592_000))]
    delay: u32,
}

impl Reschedule {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = json!({ "reason": self.act.why.reason, "delaySeconds": self.delay });
        self.act.run_with(context, "reschedule", &body).await
    }
}

impl Act {
    /// Does `verb`.
    pub(crate) async fn run(self, context: &Context, verb: &str) -> Result<(), Failure> {
        let body = json!({ "reason": self.why.reason });
        self.run_with(context, verb, &body).await
    }

    async fn run_with(self, context: &Context, verb: &str, body: &Value) -> Result<(), Failure> {
        let screen = &context.screen;
        let id = self.id.to_string();
        let seen = context.orders.get(&["sagas", &id]).json().await?;
        let seen: Details = read(&seen)?;
        let version = seen.saga.version;
        let request = || -> Result<Request<'_>, Failure> {
            let request = context.orders.post(&["sagas", &id, verb], body);
            request.by_actor()?.if_version(version)
        };
        let would = request()?.dry_run(true).json();
        let show = |aside, would: &Value| preview(context, aside, verb, &seen, &read(would)?);
        let question = |_: &Value| format!("{verb} saga {id}?");
        if !self.why.agreed(context, would, show, question).await? {
            return Ok(());
        }
        let done = request()?.once(Uuid::new_v4())?.json().await?;
        if screen.is_json() {
            return screen.json(&done);
        }
        let after: Details = read(&done)?;
        let line = Text::styled(BOLD, format!("{verb}: "))
            .and(Text::plain(format!("saga {id} is now ")))
            .and(Text::status(&after.saga.status))
            .and(Text::plain(format!(", version {}", after.saga.version)));
        screen.print(&line)
    }
}

/// Shows what a verb would do: on standard error where it is only `aside`.
fn preview(
    context: &Context,
    aside: bool,
    verb: &str,
    seen: &Details,
    would: &Details,
) -> Result<(), Failure> {
    let say = |line: Text| context.screen.line(aside, &line);
    let place = |saga: &Summary| {
        let step = saga.current_step.as_ref().map(|step| format!(" at {step}"));
        Text::status(&saga.status).and(Text::plain(step.unwrap_or_default()))
    };
    let title = Text::styled(BOLD, format!("{verb} would lead from "));
    say(title
        .and(place(&seen.saga))
        .and(Text::plain(" to "))
        .and(place(&would.saga)))?;
    for entry in would
        .log
        .iter()
        .filter(|entry| entry.seq > seen.saga.version)
    {
        let line = Text::plain(format!("  log      {:>3} ", entry.seq)).and(event(&entry.event));
        let step = entry.step.as_deref().map(|step| format!(" {step}"));
        let line = line.and(Text::plain(step.unwrap_or_default()));
        let told = format!("  {}", details(&entry.details));
        say(line.and(Text::styled(FAINT, told)))?;
    }
    let Some(preview) = &would.preview else {
        return Ok(());
    };
    for command in &preview.commands {
        let line = format!("  command  {} to {}", command.kind, command.participant);
        say(Text::plain(line))?;
    }
    for event in &preview.events {
        say(Text::plain(format!("  event    {event}")))?;
    }
    if let Some(order) = &preview.order {
        say(Text::plain(format!("  order    {}", order.status)))?;
    }
    Ok(())
}
