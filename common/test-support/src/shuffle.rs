//! Messages of a working queue, twice and in another order, as a broker and its clients may deliver them.
//!
//! ```text
//! take some, before the queue's own consumers ─► hold ─► publish again, shuffled, some twice ─► confirmed ─► ack
//! ```
//! None is lost: what is not acked when something breaks goes back to the queue.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::amqp::connect_to;
use futures_util::StreamExt as _;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use rand::RngExt;
use rand::seq::SliceRandom as _;
use tokio::time::{Instant, sleep, timeout_at};

/// Above the consumers of the queue, which have none: otherwise they take everything.
const PRIORITY: i32 = 10;

/// What to do to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// Messages that are taken at most.
    pub most: u16,
    /// How long to wait for them.
    pub collect: Duration,
    /// How long to keep them after that. Longer than a step's deadline, and commands come late.
    pub hold: Duration,
    /// Share of them that is published twice, in percent.
    pub twice_percent: u8,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shuffled {
    /// Messages that were taken.
    pub taken: usize,
    /// Of them, those that are in the queue twice now.
    pub twice: usize,
}

impl Shuffle {
    /// Does it to `queue` of the broker at `url`.
    ///
    /// # Errors
    /// The broker does not answer, has no such queue, or goes away: then some messages may be there twice.
    pub async fn apply(self, url: &str, queue: &str, random: &mut impl RngExt) -> Result<Shuffled> {
        let connection = connect_to(url).await?;
        let channel = connection.create_channel().await?;
        let shuffled = self.on(&channel, queue, random).await;
        // What is not acked goes back.
        let _ = connection.close(200, "".into()).await;
        shuffled
    }

    async fn on(
        self,
        channel: &Channel,
        queue: &str,
        random: &mut impl RngExt,
    ) -> Result<Shuffled> {
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let taken = self.take(channel, queue).await?;
        sleep(self.hold).await;
        let mut order = Vec::with_capacity(taken.len() * 2);
        for delivery in &taken {
            order.push(delivery);
            if random.random_ratio(u32::from(self.twice_percent), 100) {
                order.push(delivery);
            }
        }
        order.shuffle(random);
        publish(channel, queue, &order).await?;
        for delivery in &taken {
            delivery.acker.ack(BasicAckOptions::default()).await?;
        }
        Ok(Shuffled {
            taken: taken.len(),
            twice: order.len() - taken.len(),
        })
    }

    async fn take(self, channel: &Channel, queue: &str) -> Result<Vec<Delivery>> {
        channel
            .basic_qos(self.most, BasicQosOptions::default())
            .await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-priority".into(), AMQPValue::LongInt(PRIORITY));
        let mut deliveries = channel
            .basic_consume(
                queue.into(),
                "".into(),
                BasicConsumeOptions::default(),
                arguments,
            )
            .await?;
        let deadline = Instant::now() + self.collect;
        let mut taken = Vec::new();
        while taken.len() < usize::from(self.most)
            && let Ok(Some(delivery)) = timeout_at(deadline, deliveries.next()).await
        {
            taken.push(delivery?);
        }
        channel
            .basic_cancel(deliveries.tag(), BasicCancelOptions::default())
            .await?;
        // The consumer ends with the cancellation; what came before that is ours, too.
        while let Some(delivery) = deliveries.next().await {
            taken.push(delivery?);
        }
        Ok(taken)
    }
}

/// Publishes to `queue` as it is, and waits until the broker has all of it.
#[expect(clippy::disallowed_methods, reason = "a foreign client")]
async fn publish(channel: &Channel, queue: &str, order: &[&Delivery]) -> Result<()> {
    let mut confirms = Vec::with_capacity(order.len());
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    for delivery in order {
        let confirm = channel
            .basic_publish(
                "".into(),
                queue.into(),
                mandatory,
                &delivery.data,
                delivery.properties.clone(),
            )
            .await?;
        confirms.push(confirm);
    }
    for confirm in confirms {
        let confirm = confirm.await.context("no confirm")?;
        ensure!(
            matches!(confirm, lapin::Confirmation::Ack(None)),
            "the broker did not take a message: {confirm:?}"
        );
    }
    Ok(())
}
