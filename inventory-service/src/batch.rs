//! What a batch of commands does, in memory, until all of it is written at once.

use common::{amqp, db::LazyTransaction, metrics::Tally};

use crate::{
    command::Command,
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
    /// What will be counted when it is committed.
    pub(crate) tally: Tally,
}

impl Batch {
    /// Adds all of it, which `commands` have done, to `work`, and returns the events to enqueue.
    pub(crate) fn write(
        self,
        work: &mut LazyTransaction<'_>,
        commands: &[&Command],
    ) -> Vec<amqp::Message> {
        let writes = &mut work.writes;
        let changes = self.stock.changes().into_iter();
        let changes = changes.map(|change| {
            let cause = commands[change.cause];
            change.told(|event| cause.caused(event))
        });
        let events = stock::write(writes, changes.collect());
        self.reservations.write(writes);
        self.restocks.write(writes);
        work.tally.extend(self.tally);
        events
    }
}
