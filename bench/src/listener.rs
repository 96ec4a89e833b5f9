//! Hears of ends as any integrator would: with a queue of its own on the public events.
//!
//! It is only the trigger of the closed loop. When a saga ended is read from PostgreSQL, as everywhere.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueBindOptions};
use lapin::types::FieldTable;
use serde::Deserialize;
use test_support::Amqp;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The events that tell of an end.
const ENDS: [&str; 2] = ["order.completed.v1", "order.cancelled.v1"];

/// A queue and who reads it, as long as the value lives.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Gets a permit for each order that ended.
    pub(crate) ended: Arc<Semaphore>,
    reader: JoinHandle<()>,
    _amqp: Amqp,
}

/// What is read of an event.
#[derive(Deserialize)]
struct Event {
    subject: Uuid,
}

impl Listener {
    /// Listens, with `permits` to begin with.
    pub(crate) async fn start(url: &str, permits: usize) -> Result<Self> {
        let amqp = Amqp::connect(url).await;
        let queue = amqp.listen("saga.events", ENDS[0]).await;
        amqp.channel()
            .queue_bind(
                queue.as_str().into(),
                "saga.events".into(),
                ENDS[1].into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let no_ack = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let mut events = amqp
            .channel()
            .basic_consume(
                queue.as_str().into(),
                "".into(),
                no_ack,
                FieldTable::default(),
            )
            .await?;
        let ended = Arc::new(Semaphore::new(permits));
        let permits = Arc::clone(&ended);
        let reader = tokio::spawn(async move {
            // An event may come twice.
            let mut seen = HashSet::new();
            while let Some(Ok(delivery)) = events.next().await {
                let event = serde_json::from_slice::<Event>(&delivery.data);
                if event.is_ok_and(|event| seen.insert(event.subject)) {
                    permits.add_permits(1);
                }
            }
        });
        Ok(Self {
            ended,
            reader,
            _amqp: amqp,
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
