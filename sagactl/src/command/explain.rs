//! `explain`: why a saga waits, in one sentence, and what is known.

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Deserialize;
use uuid::Uuid;

use super::saga::option;
use crate::{
    context::Context,
    failure::Failure,
    screen::{BOLD, Text, when},
    service::read,
};

/// Says why a saga waits, since when, and what happens next.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The saga
    #[arg(value_name = "SAGA")]
    id: Uuid,
}

/// What is known of a saga.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    explanation: String,
    #[serde(rename = "type")]
    kind: String,
    definition_version: i64,
    status: String,
    step: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    deadline_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    last_error: Option<String>,
    waits: Option<Waits>,
    next: Option<Next>,
}

/// What it waits for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Waits {
    participant: String,
    since: DateTime<Utc>,
    attempt: i64,
    attempts: i64,
    held: Option<String>,
    broker_connected: bool,
    queue: Option<Queue>,
}

/// The queue of a participant.
#[derive(Debug, Deserialize)]
struct Queue {
    name: String,
    messages: i64,
    consumers: i64,
}

/// What follows without a reply.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Next {
    at: DateTime<Utc>,
    again: i64,
    then_undone: Option<Vec<String>>,
}

impl Explain {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = context
            .orders
            .get(&["sagas", &self.id.to_string(), "explain"]);
        let answer = request.json().await?;
        if context.screen.is_json() {
            return context.screen.json(&answer);
        }
        let known: Explanation = read(&answer)?;
        context
            .screen
            .print(&Text::styled(BOLD, &known.explanation))?;
        context.screen.print(&Text::default())?;
        context.screen.facts(known.facts())
    }
}

impl Explanation {
    fn facts(&self) -> Vec<(&'static str, Text)> {
        let kind = format!("{} v{}", self.kind, self.definition_version);
        let mut facts = vec![
            ("type", Text::plain(kind)),
            ("status", Text::status(&self.status)),
            ("step", option(self.step.as_deref())),
            ("created", when(self.created_at)),
            ("changed", when(self.updated_at)),
        ];
        if let Some(waits) = &self.waits {
            facts.push(("waits for", Text::plain(waits.told())));
            facts.push(("since", when(waits.since)));
            if let Some(queue) = &waits.queue {
                facts.push(("queue", Text::plain(queue.told())));
            }
        }
        let next = self.next.as_ref().map(|next| next.at);
        let times = [
            ("deadline", self.deadline_at),
            ("expires", self.expires_at),
            ("next", next.filter(|at| Some(*at) != self.deadline_at)),
        ];
        facts.extend(
            times
                .into_iter()
                .filter_map(|(name, at)| Some((name, when(at?)))),
        );
        if let Some(next) = &self.next {
            facts.push(("without reply", Text::plain(next.told())));
        }
        if let Some(error) = &self.last_error {
            facts.push(("last error", Text::plain(error)));
        }
        facts
    }
}

impl Waits {
    fn told(&self) -> String {
        let (participant, attempt, attempts) = (&self.participant, self.attempt, self.attempts);
        let mut told = format!("{participant}, attempt {attempt} of {attempts}");
        if let Some(held) = &self.held {
            told.push_str(&format!(", its commands are held back: {held}"));
        }
        if !self.broker_connected {
            told.push_str(", RabbitMQ cannot be reached");
        }
        told
    }
}

impl Queue {
    fn told(&self) -> String {
        let (name, messages, consumers) = (&self.name, self.messages, self.consumers);
        format!("{name}, messages {messages}, consumers {consumers}")
    }
}

impl Next {
    fn told(&self) -> String {
        let then = match &self.then_undone {
            None => "parked".to_owned(),
            Some(steps) if steps.is_empty() => "ended: there is nothing to undo".to_owned(),
            Some(steps) => format!("undone: {}", steps.join(", ")),
        };
        match self.again {
            0 => then,
            1 => format!("asked again once, then {then}"),
            again => format!("asked again {again} times, then {then}"),
        }
    }
}
