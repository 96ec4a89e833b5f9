//! The way from a transaction that committed messages to the relay of their lane.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use crate::amqp::Message;

/// Batches of a lane that wait to be published. Whoever commits more has to wait, which is the back-pressure.
pub(super) const BATCHES_MAX: usize = 4;
/// How long a batch waits for a relay that takes nothing: a broker that confirms nothing must not keep orders from
/// being placed.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long a batch waits at least. A relay that was idle took nothing for a long time either.
const MOMENT: Duration = Duration::from_millis(20);

/// The end at which transactions hand over. Clones share the way.
#[derive(Clone, Debug)]
pub(super) struct Handover {
    batches: mpsc::Sender<Vec<Message>>,
    taken: watch::Receiver<Instant>,
}

/// The end at which the relay takes.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) batches: mpsc::Receiver<Vec<Message>>,
    /// When the relay took something last, not counting what it took while nothing was confirmed.
    pub(super) taken: watch::Sender<Instant>,
}

/// Both ends of a new way.
pub(super) fn handover() -> (Handover, Receiver) {
    let (sender, batches) = mpsc::channel(BATCHES_MAX);
    let (taken, seen) = watch::channel(Instant::now());
    let handover = Handover {
        batches: sender,
        taken: seen,
    };
    (handover, Receiver { batches, taken })
}

impl Handover {
    /// Hands `messages` over, or gives them back when the relay has stopped or is stuck.
    pub(super) async fn send(&self, messages: Vec<Message>) -> Result<(), Vec<Message>> {
        let idle = Instant::now() + MOMENT;
        let patience = (*self.taken.borrow() + TIMEOUT).max(idle);
        match timeout_at(patience, self.batches.reserve()).await {
            Ok(Ok(place)) => {
                place.send(messages);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(messages),
        }
    }
}
