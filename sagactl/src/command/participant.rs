//! `participants`: who takes part in sagas, and whether commands go out to them.

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::saga::option;
use crate::{
    context::Context,
    failure::Failure,
    screen::{BACK, BAD, GOOD, Table, Text, length, relative},
    service::read,
};

/// Lists participants, and pauses and resumes their commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Participants {
    /// Lists participants: whether commands go out to them, and how their queues are
    Ls,
    /// Holds back commands to a participant; time stands still for their sagas
    Pause(Hold),
    /// Has commands to a participant go out again, the oldest first
    Resume(Hold),
}

/// A participant, and why.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// The participant, such as payment
    #[arg(value_name = "PARTICIPANT")]
    name: String,
    /// Why, in your words: it is kept with what is done
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Who takes part in sagas.
#[derive(Debug, Deserialize)]
struct All {
    items: Vec<One>,
}

/// Who takes part in sagas.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct One {
    name: String,
    pause: Option<Pause>,
    held: Option<String>,
    queue_messages: Option<u64>,
    queue_consumers: Option<u64>,
    waited_seconds: f64,
    broker_connected: bool,
}

/// Who paused it.
#[derive(Debug, Deserialize)]
struct Pause {
    actor: String,
    reason: String,
    since: DateTime<Utc>,
}

impl Participants {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (hold, verb) = match self {
            Self::Ls => {
                let answer = context.orders.get(&["participants"]).json().await?;
                if context.screen.is_json() {
                    return context.screen.json(&answer);
                }
                return context.screen.table(table(&read::<All>(&answer)?.items));
            }
            Self::Pause(hold) => (hold, "pause"),
            Self::Resume(hold) => (hold, "resume"),
        };
        let body = json!({ "reason": hold.reason });
        let path = ["participants", &hold.name, verb];
        let answer: Value = context.orders.post(&path, &body).by_actor()?.json().await?;
        if context.screen.is_json() {
            return context.screen.json(&answer);
        }
        context.screen.table(table(&[read(&answer)?]))
    }
}

fn table(participants: &[One]) -> Table {
    let heads = [
        "PARTICIPANT",
        "COMMANDS",
        "QUEUE",
        "CONSUMERS",
        "WAITED",
        "WHY",
    ];
    let mut table = Table::new(&heads);
    for one in participants {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        #[expect(clippy::cast_possible_truncation, reason = "it is bounded before")]
        let waited = (one.waited_seconds.clamp(0.0, 1e12) * 1000.0) as i64;
        let waited = (waited > 0).then(|| length(TimeDelta::milliseconds(waited)));
        table.row([
            Text::plain(&one.name),
            one.commands(),
            option(number(one.queue_messages).as_deref()),
            option(number(one.queue_consumers).as_deref()),
            option(waited.as_deref()),
            option(one.why().as_deref()),
        ]);
    }
    table
}

impl One {
    fn commands(&self) -> Text {
        match (&self.pause, &self.held) {
            (Some(_), _) => Text::styled(BACK, "PAUSED"),
            (None, Some(held)) => Text::styled(BAD, format!("HELD: {held}")),
            (None, None) if !self.broker_connected => Text::styled(BAD, "NO BROKER"),
            (None, None) => Text::styled(GOOD, "GO OUT"),
        }
    }

    fn why(&self) -> Option<String> {
        let pause = self.pause.as_ref()?;
        let since = relative(pause.since);
        Some(format!("{}, {since}: {}", pause.actor, pause.reason))
    }
}
