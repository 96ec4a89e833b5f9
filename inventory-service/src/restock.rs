//! `inventory.restock.v1`: goods that came back are on the shelf again. There is no way to refuse, and no way back.

use common::{
    amqp::consumer::Error,
    contract::{
        Envelope, Unreadable,
        inventory::{Restock, Restocked},
    },
};

use crate::{
    SOURCE,
    batch::Batch,
    command::Command,
    metrics::RESTOCKS,
    reservations::Status,
    wanted::{Sum, merge},
};

/// Reads the command, each product once.
///
/// # Errors
/// It asks for what cannot be done.
pub(crate) fn read(message: &Envelope) -> Result<Restock, Unreadable> {
    let asked: Restock = message.data()?;
    Ok(Restock {
        items: merge(message, asked.items)?,
        ..asked
    })
}

/// Puts the goods on the shelf, unless a faster replica has done so, which the frame is about to notice.
///
/// # Errors
/// More came back than was shipped: somebody must look.
pub(crate) fn execute(
    batch: &mut Batch,
    command: &Command,
    asked: &Restock,
) -> Result<Envelope, Error> {
    if !batch.restocks.is_recorded(&command.key) {
        let mut shipped = Sum::default();
        for reservation in batch.reservations.of_order(asked.order_id) {
            if reservation.status == Status::Committed {
                shipped.add(&reservation.items);
            }
        }
        batch.restocks.add(&command.key, asked, &shipped)?;
        batch.stock.restock(&asked.items)?;
        batch.tally.add(&RESTOCKS, &[], 1);
    }
    let data = Restocked {
        order_id: asked.order_id,
        return_id: asked.return_id,
        items: asked.items.clone(),
    };
    Ok(command.reply(SOURCE, &data))
}
