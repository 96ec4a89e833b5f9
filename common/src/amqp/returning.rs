//! Dead letters go back to their queue in the order in which they were there.

use std::{collections::BTreeSet, time::Duration};

use lapin::{
    Channel,
    options::{BasicGetOptions, BasicNackOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::time::{Instant, sleep, timeout};

use super::Error;

/// How long RabbitMQ may take for each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// Letters that are given back at once. RabbitMQ keeps the order of so many, and mixes up more: it folds over a map of
/// them, and Erlang sorts maps of at most 32 entries only.
const PUT_BACK: usize = 32;
/// Parts that are given back before somebody looks whether they are there.
const PARTS_UNDER_WAY: usize = 16;
/// How often he looks, ...
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// ... and for how long at most.
const BACK_TIMEOUT: Duration = Duration::from_secs(1);

/// Letters on their way back, and acks on their way to the queue.
///
/// A channel keeps acks and returns to itself while several are under way to the queue, and forgets them when it is closed. So
/// it is closed only when the queue has taken all of them.
#[derive(Debug)]
pub(super) struct Returning {
    pub(super) channel: Channel,
    pub(super) queue: String,
    /// The delivery tags of what goes back, slice by slice, in the order of the queue.
    pub(super) held: Vec<BTreeSet<u64>>,
    /// Whether anything was acked on this channel.
    pub(super) has_acked: bool,
}

impl Returning {
    /// Puts all of it back in its order, and ends the channel when the queue has it.
    ///
    /// # Errors
    /// RabbitMQ does not answer: then the letters are back when the channel ends.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        let given_back = self.give_back().await;
        let channel = self.channel;
        let close = async move { in_time(channel.close(200, "done looking".into())).await };
        if given_back.is_err() {
            // Then its end gives them back, for which nobody waits.
            tokio::spawn(close);
            return given_back;
        }
        close.await
    }

    async fn give_back(&mut self) -> Result<(), Error> {
        if self.has_acked {
            self.flush_acks().await?;
        }
        let mut expected = ready(&self.channel, &self.queue).await?;
        let parts = self.held.iter().flat_map(|slice| {
            let tags: Vec<_> = slice.iter().copied().collect();
            let part = |part: &[u64]| (part[part.len() - 1], part.len());
            tags.chunks(PUT_BACK).map(part).collect::<Vec<_>>()
        });
        for (number, (last, letters)) in parts.enumerate() {
            let all_before = BasicNackOptions {
                multiple: true,
                requeue: true,
            };
            in_time(self.channel.basic_nack(last, all_before)).await?;
            expected = expected.saturating_add(u32::try_from(letters).unwrap_or(u32::MAX));
            if (number + 1).is_multiple_of(PARTS_UNDER_WAY) {
                self.until_back(expected).await?;
            }
        }
        self.until_back(expected).await
    }

    /// Waits until the queue has taken the acks. It answers `basic.get` only after that, and the letter that it gives goes back
    /// with the others, whose successor it is.
    async fn flush_acks(&mut self) -> Result<(), Error> {
        let get = self
            .channel
            .basic_get(self.queue.as_str().into(), BasicGetOptions::default());
        if let Some(letter) = in_time(get).await? {
            self.held
                .push(BTreeSet::from([letter.delivery.delivery_tag]));
        }
        Ok(())
    }

    /// Waits until as many letters can be seen as were given back, unless somebody else takes some.
    async fn until_back(&self, letters: u32) -> Result<(), Error> {
        let deadline = Instant::now() + BACK_TIMEOUT;
        while ready(&self.channel, &self.queue).await? < letters && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

/// How many letters can be taken.
pub(super) async fn ready(channel: &Channel, queue: &str) -> Result<u32, Error> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), passive, FieldTable::default());
    Ok(in_time(declared).await?.message_count())
}

/// The result of `step`. A queue without a leader does not answer.
pub(super) async fn in_time<T>(step: impl Future<Output = lapin::Result<T>>) -> Result<T, Error> {
    let late = |_| Error::Unreachable(format!("no answer within {STEP_TIMEOUT:?}"));
    Ok(timeout(STEP_TIMEOUT, step).await.map_err(late)??)
}
