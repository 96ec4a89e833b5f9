//! The way from a transaction that committed messages to the relay of their lane.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use crate::amqp::Outgoing;

/// Batches of a lane that wait to be published; who commits more has to wait, which is the back-pressure.
pub(super) const HANDED_OVER_MAX: usize = 4;
/// How long a batch waits for a relay that takes nothing: a broker that confirms nothing must not keep orders from
/// being placed.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a batch waits at least, for a relay that was idle has not taken anything for long.
const HAND_OVER_MOMENT: Duration = Duration::from_millis(20);

/// The way to the relay of a lane.
#[derive(Clone, Debug)]
pub(super) struct Handover {
    pub(super) batches: mpsc::Sender<Vec<Outgoing>>,
    /// When the relay took something last, not counting what it took while nothing was confirmed.
    pub(super) taken: watch::Receiver<Instant>,
}

impl Handover {
    /// Gives them back when the relay has stopped, or does not get on.
    pub(super) async fn send(&self, messages: Vec<Outgoing>) -> Result<(), Vec<Outgoing>> {
        let idle = Instant::now() + HAND_OVER_MOMENT;
        let patience = (*self.taken.borrow() + HAND_OVER_TIMEOUT).max(idle);
        match timeout_at(patience, self.batches.reserve()).await {
            Ok(Ok(place)) => {
                place.send(messages);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(messages),
        }
    }
}
