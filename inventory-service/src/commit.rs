//! `inventory.commit.v1`: the goods of an order leave the warehouse. There is no way to refuse, and no way back.

use common::{
    amqp::consumer::Error,
    contract::{Envelope, inventory::StockCommitted},
};

use crate::{
    SOURCE, batch::Batch, command::Command, metrics::COMMITS, reservations::Status, wanted::Sum,
};

/// Makes what the order holds final; also where another saga has done so before.
///
/// # Errors
/// The order holds nothing that could leave, or the books do not balance: somebody must look.
pub(crate) fn execute(batch: &mut Batch, command: &Command) -> Result<Envelope, Error> {
    let order_id = command.body.order_id();
    let mut shipped = Sum::default();
    for reservation in batch.reservations.of_order(order_id) {
        match reservation.status {
            Status::Reserved => {
                batch.stock.ship(&reservation.items)?;
                reservation.status = Status::Committed;
                batch.tally.add(&COMMITS, &[], 1);
            }
            Status::Committed => {}
            Status::Released => continue,
        }
        shipped.add(&reservation.items);
    }
    if shipped.is_empty() {
        let error = anyhow::anyhow!("order {order_id} is to be shipped but holds nothing");
        return Err(Error::Failed(error));
    }
    let items = shipped.into_items()?;
    Ok(command.reply(SOURCE, &StockCommitted { order_id, items }))
}
