//! What a batch of commands does, in memory, until all of it is written at once.

use common::{amqp, db::Writes};

use crate::{
    reservations, restocks,
    stock::{self, Stock},
};

/// What a transaction has locked. Each command finds it as the command before has left it.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The products.
    pub(crate) stock: Stock,
    /// The reservations.
    pub(crate) reservations: reservations::Book,
    /// What came back.
    pub(crate) restocks: restocks::Book,
}

impl Batch {
    /// Adds all of it to `writes`, and returns the events to enqueue.
    pub(crate) fn write(self, writes: &mut Writes) -> Vec<amqp::Message> {
        let events = stock::write(writes, self.stock.changes());
        self.reservations.write(writes);
        self.restocks.write(writes);
        events
    }
}
