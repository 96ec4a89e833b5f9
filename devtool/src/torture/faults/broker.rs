//! What is done to RabbitMQ as a whole, or to a queue.
//!
//! Whoever stops it or nodes of it, makes it short of memory, or takes a leader away has `rabbitmq_turn`: each of these
//! ends before the next one begins, and finds all nodes at work.

use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::Utc;
use common::contract::topology::QUEUES;
use futures_util::future::join_all;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use test_support::Shuffle;
use tokio::sync::MutexGuard;
use tokio::time::{sleep, timeout};

use super::strangers::{BoundQueue, Takes};
use super::{SHUFFLE_MAX, Torturer, say};
use crate::torture::fault::{Kind, Link};
use crate::torture::stranger::QUEUE;

/// How long a queue may take to have a leader after a start, and how often it is asked.
const LEADER_MAX: Duration = Duration::from_secs(12);
const LEADER_TRIES: usize = 2;
/// How long RabbitMQ works between two of these faults, however many wait for their turn.
const BREATHER: Duration = Duration::from_secs(3);

impl<'a> Torturer<'a> {
    pub(super) async fn broker_turn(&self) -> MutexGuard<'a, ()> {
        let turn = self.system.rabbitmq_turn.lock().await;
        sleep(BREATHER).await;
        turn
    }

    pub(super) async fn restart_broker(&self, hard: bool, down: Duration) -> Result<()> {
        let rabbitmq = &self.system.servers.rabbitmq;
        let _turn = self.broker_turn().await;
        if hard {
            rabbitmq.kill().await?;
        } else {
            rabbitmq.stop().await?;
        }
        sleep(down).await;
        rabbitmq.start().await?;
        self.wipe_if_ruined().await
    }

    pub(super) async fn wipe_broker(&self, down: Duration) -> Result<()> {
        let _turn = self.broker_turn().await;
        self.wipe(down).await
    }

    pub(super) async fn alarm(&self, lasts: Duration) -> Result<()> {
        let _turn = self.broker_turn().await;
        // In a cluster, publishers of all nodes wait until none of them is short of memory.
        let rabbitmq = self.system.servers.rabbitmq.any();
        rabbitmq.set_memory_alarm(true).await?;
        sleep(lasts).await;
        rabbitmq.set_memory_alarm(false).await
    }

    /// Takes the leader of one of our queues away for a while, or that of a queue that a stranger has bound for events.
    pub(super) async fn no_leader(
        &self,
        queue: Option<&'static str>,
        lasts: Duration,
    ) -> Result<()> {
        let _turn = self.broker_turn().await;
        if let Some(queue) = queue {
            return self.take_leader(queue, lasts).await;
        }
        let url = self.system.servers.rabbitmq.url();
        let bind = BoundQueue::bind(&url, Takes::All);
        let stranger = timeout(SHUFFLE_MAX, bind).await.context("no answer")?;
        let stranger = stranger.context("a queue for events")?;
        self.take_leader(stranger.name(), lasts).await?;
        stranger.delete().await
    }

    async fn take_leader(&self, queue: &str, lasts: Duration) -> Result<()> {
        let rabbitmq = self.system.servers.rabbitmq.any();
        if let Err(error) = rabbitmq.set_leader(queue, false).await {
            // After all was lost, nobody has declared it yet.
            say(self.start, "no such leader", &format!("{error:#}"));
            return Ok(());
        }
        sleep(lasts).await;
        rabbitmq.set_leader(queue, true).await
    }

    async fn wipe(&self, down: Duration) -> Result<()> {
        let rabbitmq = &self.system.servers.rabbitmq;
        if rabbitmq.nodes().len() > 1 {
            return self.wipe_cluster(down).await;
        }
        self.lock().wiped.push(Utc::now());
        rabbitmq.kill().await?;
        rabbitmq.remove_data()?;
        sleep(down).await;
        rabbitmq.start().await
    }

    /// Its nodes stay a cluster: while one is formed, queues would be declared that have members on some nodes only.
    async fn wipe_cluster(&self, down: Duration) -> Result<()> {
        let rabbitmq = &self.system.servers.rabbitmq;
        rabbitmq.kill().await?;
        sleep(down).await;
        rabbitmq.start().await?;
        // Nobody is to see how it happens: a service that declares its queues in a virtual host that is being deleted
        // would end.
        let proxies = || self.system.replicas.iter().map(|r| r.link(Link::Rabbitmq));
        for proxy in proxies() {
            proxy.refuse(true);
            proxy.cut();
        }
        self.lock().wiped.push(Utc::now());
        rabbitmq.forget_all().await?;
        proxies().for_each(|proxy| proxy.refuse(false));
        Ok(())
    }

    /// RabbitMQ 3.10 that is killed in the seconds after a quorum queue was made may leave it without a leader for ever.
    /// An operator can only wipe it then, which is one more loss of all data.
    ///
    /// Source: <https://github.com/rabbitmq/rabbitmq-server/issues/10070>
    pub(super) async fn wipe_if_ruined(&self) -> Result<()> {
        let url = self.system.servers.rabbitmq.url();
        let queues: Vec<_> = QUEUES
            .iter()
            .map(|queue| queue.name)
            .chain([QUEUE])
            .collect();
        let ruined = join_all(queues.iter().map(|queue| has_no_leader(&url, queue))).await;
        let ruined = queues.iter().zip(ruined).find(|(_, is_ruined)| *is_ruined);
        if let Some((queue, _)) = ruined {
            let why = format!("RabbitMQ has left {queue} without a leader");
            say(self.start, &Kind::WipeBroker.to_string(), &why);
            *self.lock().faults.entry(Kind::WipeBroker).or_default() += 1;
            self.wipe(Duration::ZERO).await?;
        }
        Ok(())
    }
}

/// Whether nobody can consume from `queue`, though it exists.
async fn has_no_leader(url: &str, queue: &str) -> bool {
    let touch = Shuffle {
        most: 1,
        collect: Duration::from_millis(100),
        hold: Duration::ZERO,
        twice_percent: 0,
    };
    for _ in 0..LEADER_TRIES {
        let mut random = StdRng::seed_from_u64(0);
        match timeout(LEADER_MAX, touch.apply(url, queue, &mut random)).await {
            Ok(Ok(_)) => return false,
            // It was lost with all else, and nobody has declared it yet.
            Ok(Err(error))
                if error
                    .downcast_ref::<lapin::Error>()
                    .is_some_and(lapin::Error::is_amqp_soft_error) =>
            {
                return false;
            }
            _ => {}
        }
    }
    true
}
