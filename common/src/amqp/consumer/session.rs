//! One subscription: it takes what has arrived, has it handled, and passes it on to be acked.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use lapin::{message::Delivery, options::BasicCancelOptions};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout, timeout_at},
};
use tracing::{Instrument, info_span, warn};

use super::{
    ack::{Acks, Begun, HandledBatch, Saying},
    decode::{Dead, DeliveryTag, Item, decode},
    handler::Handler,
    retry::{Attempts, Done, SessionOver},
};
use crate::{
    amqp::broker::Hold,
    batch::{BATCH_MAX, BatchingWindow},
    contract::Trace,
    metrics::{BATCH_MESSAGES, CONSUMED, REDELIVERED},
    telemetry::{Span, is_collected, messaging},
    watchdog::{idle, watched},
};

/// Batches that may wait for their confirms. A destination that does not confirm delays acks for a second, and what is
/// handled meanwhile is no more than was delivered.
const UNCONFIRMED_BATCHES: usize = 64;
/// How long a session that stops waits for answers. What is not handled by then is delivered again.
const LAST_ANSWERS: Duration = Duration::from_secs(15);
/// How often the log names messages that cannot be read.
const SAID_EVERY: Duration = Duration::from_secs(1);
/// How long the broker may take to let a consumer go.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// One subscription: it ends with its channel.
pub(super) struct Session<'a, H: Handler> {
    attempts: Attempts<'a, H>,
    handled: mpsc::Sender<HandledBatch>,
    acks: JoinHandle<()>,
    /// Messages that somebody else is being asked about.
    answers: JoinSet<Item<H::Input>>,
    unreadable: Unreadable,
}

/// What a batch begins with.
enum First<I> {
    Delivery(Box<Delivery>),
    Answer(Item<I>),
}

impl<'a, H: Handler> Session<'a, H> {
    pub(super) fn new(attempts: Attempts<'a, H>) -> Self {
        let (handled, batches) = mpsc::channel(UNCONFIRMED_BATCHES);
        let acks = Acks {
            broker: attempts.broker.clone(),
            queue: attempts.queue,
            handler: Arc::clone(attempts.handler),
            channel: attempts.channel.clone(),
        };
        let acks = tokio::spawn(watched(
            format!("acks of {}", attempts.queue),
            acks.run(batches),
        ));
        Self {
            attempts,
            handled,
            acks,
            answers: JoinSet::new(),
            unreadable: Unreadable::default(),
        }
    }

    pub(super) async fn run(mut self, mut deliveries: lapin::Consumer) {
        let mut window = BatchingWindow::default();
        loop {
            idle(window.wait()).await;
            let _not_ready = self.hold();
            let first = idle(async {
                tokio::select! {
                    biased;
                    () = self.attempts.shutdown.cancelled() => None,
                    Some(answer) = self.answers.join_next() => answer.ok().map(First::Answer),
                    next = next(self.attempts.handler.ready(), &mut deliveries) => next.map(|next| First::Delivery(Box::new(next))),
                }
            });
            let Some(first) = first.await else { break };
            if self
                .process(first, Some(&mut deliveries), &mut window)
                .await
                .is_err()
            {
                break;
            }
        }
        if self.attempts.channel.status().connected() {
            // What is not acked goes back to the queue when the channel closes.
            let channel = &self.attempts.channel;
            let cancel = channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default());
            let _ = timeout(LEAVE_TIMEOUT, cancel).await;
        }
        if self.attempts.shutdown.is_cancelled() {
            self.finish(&mut window).await;
        }
        drop(self.handled);
        let _ = idle(self.acks).await;
        if self.attempts.channel.status().connected() {
            let close = self.attempts.channel.close(200, "unsubscribed".into());
            let _ = timeout(LEAVE_TIMEOUT, close).await;
        }
    }

    /// Says that the service is not ready while the handler can handle nothing.
    fn hold(&self) -> Option<Hold> {
        let is_held_up = self.attempts.handler.is_held_up();
        is_held_up.then(|| self.attempts.broker.hold())
    }

    /// Handles what somebody else is being asked about already.
    async fn finish(&mut self, window: &mut BatchingWindow) {
        let deadline = Instant::now() + LAST_ANSWERS;
        while let Ok(Some(Ok(answer))) = timeout_at(deadline, self.answers.join_next()).await {
            let first = First::Answer(answer);
            if self.process(first, None, window).await.is_err() {
                return;
            }
        }
    }

    /// Handles `first` and what has arrived behind it, and passes it on to be acked.
    async fn process(
        &mut self,
        first: First<H::Input>,
        deliveries: Option<&mut lapin::Consumer>,
        window: &mut BatchingWindow,
    ) -> Result<(), SessionOver> {
        let queue = self.attempts.queue;
        let mut arrived = self.gather(first, deliveries);
        self.unreadable.add(queue, &arrived.dead);
        let batch = arrived.batch;
        window.start(batch.len());
        let messages: usize = arrived.begun.iter().map(|begun| begun.messages).sum();
        CONSUMED.add(&[queue], messages as u64);
        REDELIVERED.add(&[queue], arrived.redelivered);
        BATCH_MESSAGES.record(&[queue], batch.len() as f64);
        let mut tags: Vec<_> = batch.iter().map(|item| item.origin.delivery).collect();
        let span = info_span!("batch", queue, messages = batch.len());
        let together = together(queue, &batch);
        let handled = self.attempts.handle(batch).instrument(span).await?;
        together.end();
        let Done {
            mut outgoing,
            postponed,
            later,
        } = handled;
        outgoing.append(&mut arrived.dead.letters);
        for (origin, answer) in later {
            remove_one(&mut tags, origin.delivery);
            let item = async move {
                let input = answer.await;
                Item { origin, input }
            };
            self.answers.spawn(item.in_current_span());
        }
        let batch = HandledBatch {
            saying: Saying::publish(self.attempts.broker, outgoing, postponed).await,
            begun: arrived.begun,
            done: tags,
        };
        self.handled.send(batch).await.map_err(|_| SessionOver)
    }

    /// Takes what is there, up to a batch: answers, and deliveries while the handler is ready for them.
    fn gather(
        &mut self,
        first: First<H::Input>,
        deliveries: Option<&mut lapin::Consumer>,
    ) -> Arrived<H::Input> {
        let handler = self.attempts.handler.as_ref();
        let mut arrived = Arrived::default();
        match first {
            First::Answer(item) => arrived.batch.push(item),
            First::Delivery(delivery) => arrived.take(self.attempts.queue, handler, *delivery),
        }
        while arrived.batch.len() < BATCH_MAX
            && let Some(Ok(item)) = self.answers.try_join_next()
        {
            arrived.batch.push(item);
        }
        let Some(deliveries) = deliveries else {
            return arrived;
        };
        while arrived.batch.len() < BATCH_MAX
            && let Some(Some(delivery)) = next(handler.ready(), deliveries).now_or_never()
        {
            arrived.take(self.attempts.queue, handler, delivery);
        }
        arrived
    }
}

/// The span of handling messages together, where there are several that are traced.
fn together<I>(queue: &'static str, batch: &[Item<I>]) -> Span {
    if !is_collected() {
        return Span::default();
    }
    let places = batch
        .iter()
        .filter_map(|item| item.origin.message.envelope.trace());
    let places: Vec<_> = places.filter(Trace::is_sampled).collect();
    match places.len() {
        0 | 1 => Span::default(),
        _ => messaging::process_batch(queue, batch.len(), &places),
    }
}

/// The next delivery, when it may be taken; `None` when no more come.
async fn next(
    ready: impl Future<Output = ()>,
    deliveries: &mut lapin::Consumer,
) -> Option<Delivery> {
    ready.await;
    deliveries.next().await?.ok()
}

/// Messages that cannot be read, and that the log does not name yet. Whoever sends one may send many.
#[derive(Default)]
struct Unreadable {
    messages: usize,
    said_at: Option<Instant>,
}

impl Unreadable {
    fn add(&mut self, queue: &'static str, dead: &Dead) {
        self.messages += dead.letters.len();
        let is_due = self.said_at.is_none_or(|at| at.elapsed() >= SAID_EVERY);
        if is_due && let Some(error) = &dead.first {
            let messages = std::mem::take(&mut self.messages);
            self.said_at = Some(Instant::now());
            warn!(queue, messages, %error, "dead letters: they cannot be read");
        }
    }
}

fn remove_one(tags: &mut Vec<DeliveryTag>, tag: DeliveryTag) {
    if let Some(position) = tags.iter().position(|other| *other == tag) {
        tags.swap_remove(position);
    }
}

/// What has arrived.
struct Arrived<I> {
    batch: Vec<Item<I>>,
    dead: Dead,
    begun: Vec<Begun>,
    /// Deliveries that came before.
    redelivered: u64,
}

impl<I> Default for Arrived<I> {
    fn default() -> Self {
        Self {
            batch: Vec::new(),
            dead: Dead::default(),
            begun: Vec::new(),
            redelivered: 0,
        }
    }
}

impl<I> Arrived<I> {
    fn take<H: Handler<Input = I>>(
        &mut self,
        queue: &'static str,
        handler: &H,
        mut delivery: Delivery,
    ) {
        let before = self.batch.len();
        decode(
            (queue, handler),
            &mut delivery,
            &mut self.batch,
            &mut self.dead,
        );
        let messages = self.batch.len() - before;
        self.redelivered += u64::from(delivery.redelivered);
        self.begun.push(Begun {
            tag: delivery.delivery_tag,
            acker: delivery.acker,
            messages,
        });
    }
}
