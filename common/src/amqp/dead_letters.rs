//! Dead letters, taken out of their queue to be looked at, and put back or acked.
//!
//! ```text
//! Broker::dead_letters ─► take ─► take … ─► ack what is dealt with ─► put_back the others, in their order
//! ```
//!
//! Nothing is lost whatever becomes of the reader: what is not acked goes back when its channel ends.
//!
//! A letter can only be read by taking it. RabbitMQ before 4.0 counts every way of giving it back as a delivery:
//! `basic.nack`, `basic.reject`, and the end of the channel. From 4.0 on, only the last two count as failed deliveries,
//! and from 4.3 on, only these count towards the limit. So `basic.nack` is the gentlest way everywhere, and where it
//! counts, the limit of a dead-letter queue is out of reach.
//! Source: <https://www.rabbitmq.com/docs/4.3/nack>, `return_one` in
//! <https://github.com/rabbitmq/rabbitmq-server/blob/main/deps/rabbit/src/rabbit_fifo.erl>

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::timeout;

use super::{
    Error, Outgoing, Raw, header, properties,
    returning::{Returning, in_time, ready},
};

/// When no letter has come for so long, others have taken those that were there.
const NEXT_TIMEOUT: Duration = Duration::from_secs(1);
/// Letters that are under way at once. Their bodies are in memory.
const SLICE: u32 = 128;
/// Letters of one dead-letter queue that nobody else can see until they are put back.
#[derive(Debug)]
pub struct DeadLetters {
    channel: Channel,
    queue: String,
    /// Letters that were in the queue at first, and are not taken yet.
    left: u32,
    /// What is neither acked nor put back: the delivery tags, in the order of the queue.
    held: Vec<BTreeSet<u64>>,
    has_acked: bool,
    /// What is held is on its way back.
    is_over: bool,
}

/// A dead letter as it is in its queue.
#[derive(Debug)]
pub struct DeadLetter {
    delivery: Delivery,
}

impl DeadLetters {
    /// Prepares to take letters out of `queue`.
    pub(super) async fn open(channel: Channel, queue: &str) -> Result<Self, Error> {
        let left = ready(&channel, queue).await?;
        let qos = channel.basic_qos(SLICE as u16, BasicQosOptions::default());
        in_time(qos).await?;
        Ok(Self {
            channel,
            queue: queue.to_owned(),
            left,
            held: Vec::new(),
            has_acked: false,
            is_over: false,
        })
    }

    /// Letters that were in the queue at first, and are not taken yet.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Takes the next letters, some hundred at most; none where there are no more.
    ///
    /// # Errors
    /// RabbitMQ does not answer.
    pub async fn take(&mut self) -> Result<Vec<DeadLetter>, Error> {
        let wanted = self.left.min(SLICE);
        if wanted == 0 {
            return Ok(Vec::new());
        }
        // Each consumer gets no more than a slice, because nothing is acked while it is there.
        let consuming = self.channel.basic_consume(
            self.queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut consumer = in_time(consuming).await?;
        let mut letters = Vec::new();
        while letters.len() < wanted as usize
            && let Ok(Some(next)) = timeout(NEXT_TIMEOUT, consumer.next()).await
        {
            letters.push(DeadLetter { delivery: next? });
        }
        let cancel = self
            .channel
            .basic_cancel(consumer.tag(), BasicCancelOptions::default());
        in_time(cancel).await?;
        // Letters may have come since: they are held, too.
        while let Some(next) = timeout(NEXT_TIMEOUT, consumer.next()).await.ok().flatten() {
            letters.push(DeadLetter { delivery: next? });
        }
        let taken = u32::try_from(letters.len()).unwrap_or(u32::MAX);
        self.left = if taken < wanted {
            0
        } else {
            self.left.saturating_sub(taken)
        };
        self.held
            .push(letters.iter().map(DeadLetter::tag).collect());
        Ok(letters)
    }

    /// Takes `letters` away for good: they are dealt with.
    ///
    /// # Errors
    /// The channel is gone, and they are in the queue again.
    pub async fn ack(&mut self, letters: &[DeadLetter]) -> Result<(), Error> {
        let tags: BTreeSet<_> = letters.iter().map(DeadLetter::tag).collect();
        let Some(last) = tags.last() else {
            return Ok(());
        };
        // To the queue, one ack for all of them costs as much as one for a single letter.
        let held = self.held.iter().flat_map(|slice| slice.range(..=last));
        if held.eq(&tags) {
            self.ack_one(*last, true).await?;
        } else {
            for tag in &tags {
                self.ack_one(*tag, false).await?;
            }
        }
        for slice in &mut self.held {
            slice.retain(|tag| !tags.contains(tag));
        }
        Ok(())
    }

    async fn ack_one(&mut self, tag: u64, multiple: bool) -> Result<(), Error> {
        self.has_acked = true;
        in_time(self.channel.basic_ack(tag, BasicAckOptions { multiple })).await
    }

    /// Puts back what is not acked, in its order, and waits until RabbitMQ has done so.
    ///
    /// # Errors
    /// The channel is gone: then the letters are back all the same.
    pub async fn put_back(mut self) -> Result<(), Error> {
        self.returning().finish().await
    }

    fn returning(&mut self) -> Returning {
        self.is_over = true;
        Returning {
            channel: self.channel.clone(),
            queue: self.queue.clone(),
            held: std::mem::take(&mut self.held),
            has_acked: std::mem::take(&mut self.has_acked),
        }
    }
}

impl Drop for DeadLetters {
    /// Whoever was reading has been dropped himself.
    fn drop(&mut self) {
        if !self.is_over
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let returning = self.returning();
            runtime.spawn(async move { returning.finish().await });
        }
    }
}

impl DeadLetter {
    fn tag(&self) -> u64 {
        self.delivery.delivery_tag
    }

    /// The body, as it came.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.delivery.data
    }

    /// The AMQP property `message_id`.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        text(self.delivery.properties.message_id())
    }

    /// The AMQP property `correlation_id`.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        text(self.delivery.properties.correlation_id())
    }

    /// The AMQP property `type`.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        text(self.delivery.properties.kind())
    }

    /// The AMQP property `content_type`.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        text(self.delivery.properties.content_type())
    }

    /// The AMQP property `timestamp`.
    #[must_use]
    pub fn timestamp(&self) -> Option<DateTime<Utc>> {
        let seconds = (*self.delivery.properties.timestamp())?;
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)
    }

    /// All headers, as JSON.
    #[must_use]
    pub fn headers(&self) -> serde_json::Map<String, serde_json::Value> {
        let headers = self.delivery.properties.headers().as_ref();
        headers.map(header::table).unwrap_or_default()
    }

    /// The letter as it goes to the working `queue` again, for the `times`th time: with its own properties, without what
    /// says why it died, and with what says that it was redriven, by which `redrive`.
    #[must_use]
    pub fn again(&self, queue: &str, times: u32, redrive: &str) -> Outgoing {
        let properties = properties::redriven(&self.delivery.properties, times, redrive);
        Raw::to_queue(queue, self.delivery.data.clone(), properties).into()
    }

    /// Frees the memory of its body: only who has to be acked or put back is remembered.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        self.delivery.data = Vec::new();
        self
    }
}

fn text(property: &Option<lapin::types::ShortString>) -> Option<&str> {
    property.as_ref().map(|text| text.as_str())
}
