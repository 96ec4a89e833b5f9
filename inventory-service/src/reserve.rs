//! `inventory.reserve.v1`: hold all items of an order, or none.

use common::contract::{
    Envelope, Reason, Unreadable, clock,
    inventory::{ReserveStock, StockItem, StockReservationFailed, StockReserved},
};
use tracing::info;

use crate::{
    SOURCE,
    batch::Batch,
    command::Command,
    metrics::{FAILURES, RESERVATIONS},
    reservations::{Reservation, Status},
    wanted::merge,
};

/// Reads the command, each product once.
///
/// # Errors
/// It asks for what cannot be done.
pub(crate) fn read(message: &Envelope) -> Result<ReserveStock, Unreadable> {
    let asked: ReserveStock = message.data()?;
    Ok(ReserveStock {
        items: merge(message, asked.items)?,
        ..asked
    })
}

/// Holds `items`, each product once, or says why not.
pub(crate) fn execute(batch: &mut Batch, command: &Command, items: Vec<StockItem>) -> Envelope {
    let order_id = command.body.order_id();
    batch.tally.add(&RESERVATIONS, &[], 1);
    if let Err(refusal) = batch.stock.reserve(&items) {
        let (reason, product_id) = (refusal.reason, refusal.product_id);
        info!(saga.id = %command.key.saga, %order_id, %reason, product_id, "refused to reserve");
        batch.tally.add(&FAILURES, &[reason.as_str()], 1);
        let data = StockReservationFailed {
            order_id,
            items,
            reason,
            detail: Some(product_id),
        };
        return command.reply(SOURCE, &data);
    }
    batch.reservations.add(Reservation {
        id: clock::new_id(),
        saga_id: command.key.saga,
        step: command.key.step.clone(),
        order_id,
        items: items.clone(),
        status: Status::Reserved,
    });
    command.reply(SOURCE, &StockReserved { order_id, items })
}

/// What to answer to the reservation that comes after its release.
pub(crate) fn already_compensated(compensation: &Command) -> Envelope {
    let data = StockReservationFailed {
        order_id: compensation.body.order_id(),
        items: Vec::new(),
        reason: Reason::ALREADY_COMPENSATED,
        detail: None,
    };
    compensation.reply(SOURCE, &data)
}
