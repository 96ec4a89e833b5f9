//! What only the broker knows.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use common::contract::topology::{QUEUES, dead_letter_queue};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

use super::report::{Report, Rule};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Report {
    /// Counts the dead letters at the first of `nodes` that answers. When none does, messages in outboxes are no
    /// violation any more: they wait for it.
    pub(super) async fn ask_broker(&mut self, nodes: impl Iterator<Item = &str>) {
        let mut reason = anyhow::anyhow!("no URL");
        for node in nodes {
            match tokio::time::timeout(PATIENCE, dead_letters(node)).await {
                Ok(Ok(counts)) => {
                    self.dead_letters = Some(counts);
                    return;
                }
                Ok(Err(error)) => reason = error,
                Err(_) => reason = anyhow::anyhow!("no answer within {PATIENCE:?}"),
            }
        }
        self.broker_is_away = Some(format!("{reason:#}"));
        let all = std::mem::take(&mut self.violations);
        let (waiting, others) = all.into_iter().partition(|v| v.rule == Rule::Outbox);
        self.violations = others;
        self.held_back = waiting;
    }
}

async fn dead_letters(url: &str) -> Result<BTreeMap<String, Option<u32>>> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let mut counts = BTreeMap::new();
    for queue in QUEUES {
        let name = dead_letter_queue(queue.name);
        // One each: RabbitMQ closes the channel that asks for what is not there.
        let channel = connection.create_channel().await?;
        let only_look = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::durable()
        };
        let there = channel
            .queue_declare(name.as_str().into(), only_look, FieldTable::default())
            .await;
        let count = match there {
            Ok(queue) => Some(queue.message_count()),
            Err(error) if error.is_amqp_soft_error() => None,
            Err(error) => return Err(error.into()),
        };
        counts.insert(name, count);
    }
    // The answer is there, however the connection ends.
    let _ = connection.close(200, "".into()).await;
    Ok(counts)
}
