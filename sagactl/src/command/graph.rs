//! `graph`: the way of a saga.

use std::{fs, path::PathBuf};

use clap::Args;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    context::Context,
    failure::Failure,
    screen::{BACK, BAD, BOLD, BUSY, FAINT, GOOD, Text},
    service::read,
};

/// Draws the steps of a saga and what undoes them, each with its state.
#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// The saga
    #[arg(value_name = "SAGA")]
    id: Uuid,
    /// Write the drawing to this file, as an SVG, instead of showing it
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The way of a saga.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Way {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    definition_known: bool,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

/// A station on it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: String,
    kind: String,
    label: String,
    participant: Option<String>,
    state: String,
    attempts: Option<i64>,
    last_error: Option<String>,
}

/// From one station to the next.
#[derive(Debug, Deserialize)]
struct Edge {
    to: String,
    taken: bool,
}

impl Graph {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.id.to_string();
        let request = || context.orders.get(&["sagas", &id, "graph"]);
        if let Some(file) = self.svg {
            let request = request().query([("format", "svg")]);
            let svg = request.accept("image/svg+xml")?.text().await?;
            return fs::write(&file, svg).map_err(|error| {
                Failure::File(format!("{} cannot be written: {error}", file.display()))
            });
        }
        let request = request().query([("format", "json")]);
        let answer = request.json().await?;
        if context.screen.is_json() {
            return context.screen.json(&answer);
        }
        for line in read::<Way>(&answer)?.lines() {
            context.screen.print(&line)?;
        }
        Ok(())
    }
}

impl Way {
    fn lines(&self) -> Vec<Text> {
        let title = Text::styled(BOLD, format!("{}  ", self.kind));
        let mut lines = vec![title.and(Text::status(&self.status)), Text::default()];
        if !self.definition_known {
            let why = "The service does not have its definition: only where it is can be shown.";
            lines.push(Text::styled(FAINT, why));
        }
        let widest = self
            .nodes
            .iter()
            .map(|node| Text::plain(&node.label).width());
        let widest = widest.max().unwrap_or(0);
        let mut was_forward = true;
        for (position, node) in self.nodes.iter().enumerate() {
            let turns = was_forward && node.is_back();
            was_forward = !node.is_back();
            if turns {
                lines.push(Text::default());
                lines.push(Text::styled(FAINT, "  and back:"));
            } else if position > 0 {
                lines.push(self.edge_to(node));
            }
            lines.push(node.line(widest));
        }
        lines
    }

    fn edge_to(&self, node: &Node) -> Text {
        let is_taken = self
            .edges
            .iter()
            .any(|edge| edge.to == node.id && edge.taken);
        Text::styled(FAINT, if is_taken { "  │" } else { "  ┆" })
    }
}

impl Node {
    fn is_back(&self) -> bool {
        matches!(self.kind.as_str(), "COMPENSATION" | "COMPENSATED")
    }

    fn line(&self, widest: usize) -> Text {
        let (style, sign) = match self.state.as_str() {
            "DONE" => (GOOD, "●"),
            "CURRENT" => (BUSY, "▶"),
            "PARKED" => (BAD, "■"),
            "REJECTED" => (BAD, "✗"),
            "UNDONE" => (BACK, "↩"),
            "SKIPPED" => (FAINT, "·"),
            _ => (FAINT, "○"),
        };
        let label = Text::styled(style, format!("  {sign} "));
        let label = label.and(Text::plain(&self.label)).padded(widest + 6);
        let state = Text::styled(style, self.state.to_lowercase()).padded(11);
        label.and(state).and(Text::plain(self.particulars()))
    }

    fn particulars(&self) -> String {
        let attempts = self.attempts.map(|count| match count {
            1 => "1 attempt".to_owned(),
            count => format!("{count} attempts"),
        });
        let all = [
            self.participant.as_ref().map(|name| format!("by {name}")),
            attempts,
            self.last_error.clone(),
        ];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
