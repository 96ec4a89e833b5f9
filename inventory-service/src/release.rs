//! `inventory.release.v1`: the compensation, which lets go of what an order holds, whether or not it holds anything.

use common::{
    amqp::consumer::Error,
    contract::{Envelope, Reason, inventory::StockReleased},
};

use crate::{SOURCE, batch::Batch, command::Command, metrics::RELEASES, reservations::Status};

/// Lets go of what the action of `command`'s step holds.
///
/// # Errors
/// The goods have left, or the books do not balance.
pub(crate) fn execute(
    batch: &mut Batch,
    command: &Command,
    reason: Reason,
) -> Result<Envelope, Error> {
    let mut items = Vec::new();
    if let Some(reservation) = batch.reservations.made_by(&command.key) {
        match reservation.status {
            Status::Reserved => {
                batch.stock.release(&reservation.items)?;
                items.clone_from(&reservation.items);
                reservation.status = Status::Released;
                batch.tally.add(&RELEASES, &[], 1);
            }
            Status::Released => {}
            // The order refuses to be cancelled once it is shipped, so this is no race but a fault.
            Status::Committed => {
                let saga = command.key.saga;
                let error = anyhow::anyhow!("the goods of saga {saga} have left: no release");
                return Err(Error::Failed(error));
            }
        }
    }
    let data = StockReleased {
        order_id: command.body.order_id(),
        items,
        reason,
    };
    Ok(command.reply(SOURCE, &data))
}
